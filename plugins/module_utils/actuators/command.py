# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Standbys that commands of the user's own wake and put to sleep."""

from __future__ import annotations

import concurrent.futures
import subprocess
import typing as t

from .. import timing
from ..errors import ConnectionFailed, InvalidOption
from .power import Answer, Order, Provider, Server

_STATES = ("on", "off", "suspended")


class Command(Provider):
    """Power by commands, which run where the task runs, without a shell.

    :param commands: The checked option of that name: V(look), V(wake), V(suspend) and V(shut_down), each a list of
        words in which ``{server}`` stands for the server's name; and how long one may take, V(timeout).
    """

    needed: t.ClassVar[tuple[str, ...]] = ("look", "wake")
    _commands_of: t.ClassVar[dict[str, str]] = {
        "on": "wake", "suspend": "suspend", "shutdown": "shut_down", "off": "shut_down"
    }  # fmt: skip

    def __init__(self, commands: t.Mapping[str, t.Any], *, parallel: int = 16) -> None:
        super().__init__(parallel=parallel)
        for name in self.needed:
            if not commands.get(name):
                raise InvalidOption(
                    "it is needed",
                    option=f"commands.{name}",
                    remedy="Give the words of a command; {server} is the server",
                )
        self._commands = commands
        self._seconds = timing.duration(commands["timeout"], "commands.timeout")

    def look(self, names: t.Collection[str]) -> dict[str, Server]:
        with concurrent.futures.ThreadPoolExecutor(max_workers=self.parallel) as pool:
            return dict(zip(names, pool.map(self._look, names), strict=True))

    def act(self, name: str, order: Order) -> Answer:
        option = self._commands_of[order]
        if not self._commands.get(option):
            return Answer("refused", f"there is no command for it: give commands.{option}")
        try:
            run = self._run(option, name)
        except subprocess.TimeoutExpired:
            return Answer("lost", f"commands.{option} took longer than {timing.words(self._seconds)}")
        except OSError as exc:
            return Answer("refused", f"commands.{option} can't be run: {exc}")
        if run.returncode:
            return Answer("refused", f"commands.{option} ended with {run.returncode}: {_last_line(run)}")
        return Answer("accepted")

    def _look(self, name: str) -> Server:
        """What the command for it prints: the state, and the address once the server is up."""
        try:
            run = self._run("look", name)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ConnectionFailed(f"it can't be run for {name}: {exc}", option="commands.look") from exc
        state, _space, ip = run.stdout.strip().partition(" ")
        if run.returncode or state not in _STATES:
            raise ConnectionFailed(
                f"for {name} it ended with {run.returncode} and said {_last_line(run)!r}",
                option="commands.look",
                remedy="It must print on, off or suspended, and after on, once the server is up, its address",
            )
        return Server(power=state, up=state == "on" and bool(ip), ip=ip or None)

    def _run(self, option: str, name: str) -> subprocess.CompletedProcess[str]:
        words = [word.replace("{server}", name) for word in self._commands[option]]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=self._seconds, stdin=subprocess.DEVNULL, check=False
        )


def _last_line(run: subprocess.CompletedProcess[str]) -> str:
    lines = (run.stderr.strip() or run.stdout.strip()).splitlines()
    return lines[-1] if lines else ""
