# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the simulators share: a program that is started, awaited and stopped."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import typing as t


class NotReady(RuntimeError):
    """A program ended, or did not become ready by its deadline; the text ends with its log."""


class Program:
    """A program in the foreground, its output in one log file.

    :param argv: The command and its arguments.
    :param log: File that takes its output; a second start appends.
    :param ready: Tells whether it can be used; asked until it says yes.
    :param deadline: Seconds it may take to become ready.
    """

    def __init__(
        self, argv: t.Sequence[str], *, log: pathlib.Path, ready: t.Callable[[], bool], deadline: float = 10.0
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self.ready = ready
        self.deadline = deadline
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it is ready.

        :raises NotReady: when it ends or its deadline passes first; it is stopped then.
        """
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        end = time.monotonic() + self.deadline
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise NotReady(f"{self.argv[0]} did not become ready: {tail}")
            time.sleep(0.02)

    def stop(self, grace: float = 10.0) -> None:
        """Ask it to end, and end it by force when it has not after so many seconds."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process = None


def listening(address: str, port: int) -> bool:
    """Whether a TCP connection to it is taken."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0


def ansible_playbook(
    home: pathlib.Path, collections: pathlib.Path, *arguments: str, **environment: str
) -> dict[str, t.Any]:
    """What :mod:`subprocess` takes to run C(ansible-playbook): C(args) and C(env).

    The environment variable E(LOWTIDE_ANSIBLE_PLAYBOOK) names the program of another version of Ansible to run.

    :param home: Where Ansible keeps its own files. :param collections: Where collections are found.
    """
    usual = pathlib.Path(sys.executable).with_name("ansible-playbook")
    program = os.environ.get("LOWTIDE_ANSIBLE_PLAYBOOK", str(usual))
    own = {
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "400",
    }
    return {"args": [program, *arguments], "env": {**os.environ, **own, **environment}}
