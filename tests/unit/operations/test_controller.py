# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
import uuid

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import controller

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def process():
    """A process that can be asked about, whose command no other has; ended at the end."""
    with subprocess.Popen([sys.executable, "-c", SLEEP, uuid.uuid4().hex]) as running:
        yield running
        running.kill()


def now():
    return datetime.datetime.now(datetime.UTC)


def test_a_user_without_a_name_is_told_by_number(monkeypatch):
    """As in a container that runs under a user id of its own."""

    def unnamed():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(controller.getpass, "getuser", unnamed)
    assert controller.holder(os.getpid()).startswith(f"uid {os.getuid()}@")
    assert not controller.gone(controller.holder(os.getpid()), now())


def test_a_holder_lives_as_long_as_its_process(process):
    holder = controller.holder(process.pid)
    assert f"process {process.pid}" in holder
    assert not controller.gone(holder, now())
    process.kill()
    process.wait()
    assert controller.gone(holder, now())


def test_a_process_that_nobody_has_waited_for_is_gone(process):
    process.kill()
    while controller.look(process.pid).state != "Z":
        pass
    assert controller.gone(controller.holder(process.pid), now())


def test_a_later_process_of_the_same_number_is_another(process):
    assert controller.gone(controller.holder(process.pid), now() - datetime.timedelta(hours=1))


@pytest.mark.parametrize("change", [("@", "@other."), (", process", " in the office, process"), ("process", "thread")])
def test_of_others_it_can_not_be_told(process, change):
    """Another host or user, or words that no holder says: only time frees what they hold."""
    process.kill()
    process.wait()
    assert not controller.gone(controller.holder(process.pid).replace(*change), now())


def test_another_container_is_another_host(process, monkeypatch):
    process.kill()
    process.wait()
    holder = controller.holder(process.pid)
    monkeypatch.setattr(controller, "_space", lambda: " in container 7")
    assert not controller.gone(holder, now())


def test_what_a_killed_playbook_left_behind_is_found(process):
    """Processes of its command that started before the one that asks, and no others."""
    while not (digest := controller.command(process.pid)):
        pass  # It has not begun to run yet.
    time.sleep(0.1)  # Start times are told in hundredths of a second.
    with subprocess.Popen([sys.executable, "-c", SLEEP, uuid.uuid4().hex]) as later:
        assert controller.left_behind(digest, later.pid) == [process.pid]
        while not (own := controller.command(later.pid)):
            pass
        assert controller.left_behind(own, later.pid) == []
        assert controller.left_behind(digest, process.pid) == []
        process.kill()
        process.wait()
        assert controller.left_behind(digest, later.pid) == []
        later.kill()
    assert controller.left_behind("", os.getpid()) == []
