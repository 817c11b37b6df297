# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rolling update of 24 servers in three failure domains that is killed and started again, under load."""

from __future__ import annotations

import random

import pytest
from rollout_lab import SHOP, Shop, Watch, shop_past

LOAD_SECONDS = 1800
# What it prints at the beginning of the phases in which it is killed, and up to how many seconds later.
MOMENTS = [
    ("Wake the standbys and wait", 2.0),
    ("Shift their traffic away in steps", 4.0),
    ("Update, in a while", 3.0),
    ("Raise their weight in steps", 4.0),
]


@pytest.fixture(scope="module")
def past():
    return shop_past()


def test_killed_again_and_again_it_ends_as_if_it_never_was(tmp_path, past):
    """No request fails, capacity never falls under demand, and nothing that was done is done again."""
    chance = random.Random(6)
    with Shop(tmp_path / "shop", past, update_seconds=3) as fleet:
        rates = fleet.demand(SHOP, LOAD_SECONDS)
        fleet.start_load(LOAD_SECONDS)
        killed, done = [], {}
        with Watch(fleet, rates) as watch:
            for text, seconds in MOMENTS:
                playbook = fleet.start_playbook()
                killed.append(playbook.kill_after(text, chance.uniform(0, seconds)))
                (run,) = fleet.runs()
                done.update({name: fleet.updates()[name] for name in run.done})
            playbook = fleet.start_playbook()
            assert playbook.wait() == 0, playbook.output
        reports = fleet.stop_load()

        assert killed == [True] * len(MOMENTS)
        assert {name: fleet.version(name) for name in SHOP.server_names} == dict.fromkeys(SHOP.server_names, "2.0")
        updates = fleet.updates()
        assert {name: updates[name] for name in done} == done
        assert min(updates.values()) >= 1
        assert sum(updates.values()) <= len(updates) + 8 * len(MOMENTS)
        assert fleet.haproxy.serving(SHOP.name) == len(SHOP.server_names)
        powers = fleet.powers()
        assert {name: powers[name] for name in SHOP.standby_names} == dict.fromkeys(SHOP.standby_names, "suspended")
        assert {event["vm"] for event in fleet.vcenter.history()} & set(SHOP.standby_names)
        (run,) = fleet.runs()
        assert (run.phase, run.half, run.left) == ("done", [], [])
        assert {item["server"] for item in fleet.durations()} <= set(SHOP.server_names)
        assert min(item["seconds"] for item in fleet.durations()) > fleet.update_seconds
        assert (reports[SHOP.name]["failed"], reports[SHOP.name]["reasons"]) == (0, {})
        assert watch.least.spare >= 0, watch.least


def test_a_host_of_the_first_batch_that_is_lost_stops_the_run(tmp_path, past):
    """The gate counts it, the others of its batch come back, and once it can be reached again the same command goes on."""
    with Shop(tmp_path / "shop", past, update_seconds=0) as fleet:
        lost = {"ansible_connection": "{{ 'ssh' if inventory_hostname == 'shop8' else 'local' }}"}
        reach = {"ansible_host": "127.0.0.1", "ansible_port": 1}
        idle = {"balancer_patience": "2s"}  # Nothing is asked of the shop, which only slows each step.
        first = fleet.start_playbook(connection=lost, **reach, **idle)
        assert first.wait() != 0
        told = " ".join(first.output.split()).replace("''", "'")
        assert "shop8 failed or can't be reached, and at most 0 may" in told, first.output
        assert "shop8 (it could not be reached, or failed, out of service)" in told, first.output
        assert "stay awake in their place" in told
        (run,) = fleet.runs()
        assert (run.phase, run.half) == ("stopped", ["shop8"])
        assert sorted(name for name, count in fleet.updates().items() if count) == sorted(run.done)
        assert 0 < len(run.done) < 8
        assert fleet.haproxy.serving(SHOP.name) == len(SHOP.server_names) - 1 + len(run.woken)
        assert run.woken

        second = fleet.start_playbook(**idle)
        assert second.wait() == 0, second.output
        assert "shop8 was taken out and not updated, and is updated first" in second.output
        (run,) = fleet.runs()
        assert (run.phase, run.half, run.left, run.woken) == ("done", [], [], [])
        assert fleet.updates() == dict.fromkeys(SHOP.server_names, 1)
        assert fleet.haproxy.serving(SHOP.name) == len(SHOP.server_names)
