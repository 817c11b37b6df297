# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HAProxy over its runtime API: one connection, in prompt mode, for everything a call does.

What is sent is documented in HAProxy's management guide, section 9.3 ('Unix Socket commands').
"""

from __future__ import annotations

import csv
import os
import pathlib
import re
import socket
import tempfile
import time
import typing as t

from ..errors import AuthenticationFailed, ConnectionFailed, InvalidOption, LowtideError, NotFound
from .balancer import Change, Status, TimedOut, check_name

MOST = 256
PROMPT = b"\n> "
STATE_WORDS = {"ready": "ready", "drain": "drain", "maintenance": "maint"}

# Bits of srv_admin_state: forced, inherited, DNS and host name maintenance; forced and inherited drain.
IN_MAINTENANCE = 0x01 | 0x02 | 0x20 | 0x40
IN_DRAIN = 0x08 | 0x10

# How the answer to a command begins that did what it was told.
DONE = ("New server registered", "Server deleted", "no need to change", "IP changed", "port changed")

# How long HAProxy may take to close its idle connections to a server that is deleted.
IDLE_CONNECTIONS_SECONDS = 20.0

# HAProxy averages times over the latest so many requests (TIME_STATS_SAMPLES).
LATENCY_SAMPLES = 512


class Refused(LowtideError):
    """HAProxy did not do what a command asked for."""


class Session:
    """One connection to the runtime API.

    :param address: C(tcp://host:port), or C(unix://) and the path of a unix socket.
    :param timeout: Seconds that the connection, and each answer, may take.
    :param option: The option the address comes from, for the errors.
    :raises ConnectionFailed: when nothing listens there. :raises TimedOut: when it does not answer in time.
    """

    def __init__(self, address: str, *, timeout: float, option: str) -> None:
        self.address = address
        self.option = option
        self.timeout = timeout
        self.received = b""
        self.socket = self._connect()
        self.ask("prompt")

    def _connect(self) -> socket.socket:
        family, target = parse_address(self.address, self.option)
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(target)
        except TimeoutError as exc:
            connection.close()
            raise self._timed_out() from exc
        except OSError as exc:
            connection.close()
            raise ConnectionFailed(
                f"{self.address} can't be reached: {exc.strerror or exc}",
                option=self.option,
                remedy="Check the address, that HAProxy runs, and that its 'stats socket' line allows this user",
            ) from exc
        return connection

    def ask(self, *commands: str) -> list[str]:
        """Send commands at once and return their answers, in order, without the empty lines around them.

        :raises ValueError: on a command that is more than one. Names are checked long before; this is the last door.
        """
        for command in commands:
            if not command.isprintable() or ";" in command:
                raise ValueError(f"{command!r} is not one command")
        try:
            self.socket.sendall("".join(f"{command}\n" for command in commands).encode("ascii"))
            return [self._answer() for _command in commands]
        except TimeoutError as exc:
            raise self._timed_out() from exc
        except OSError as exc:
            raise self._ended(exc.strerror or str(exc)) from exc

    def _answer(self) -> str:
        while PROMPT not in self.received:
            part = self.socket.recv(262144)
            if not part:
                raise self._ended("it closed the connection")
            self.received += part
        answer, _prompt, self.received = self.received.partition(PROMPT)
        return answer.decode("utf-8", "replace").strip()

    def _timed_out(self) -> TimedOut:
        return TimedOut(
            f"{self.address} did not answer within {self.timeout:g} s",
            option="reply_timeout",
            remedy="Check that it is HAProxy's runtime API, or allow more time",
        )

    def _ended(self, reason: str) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self.address} ended the session: {reason}",
            option=self.option,
            remedy="Check that it is HAProxy's runtime API and that HAProxy still runs",
        )

    def close(self) -> None:
        """End the connection."""
        self.socket.close()


def parse_address(address: str, option: str) -> tuple[int, t.Any]:
    """Socket family and target of an address.

    :raises InvalidOption: when it is neither a TCP address nor the path of a unix socket.
    """
    found = re.fullmatch(r"tcp://\[?([^\[\]/\s]+?)\]?:(\d{1,5})", address)
    if found and 0 < int(found[2]) < 65536:
        family = socket.AF_INET6 if ":" in found[1] else socket.AF_INET
        return family, (found[1], int(found[2]))
    path = address.removeprefix("unix://")
    if path.startswith("/") and len(path.encode()) < 108:
        return socket.AF_UNIX, path
    raise InvalidOption(
        f"{address!r} is not the address of a runtime API",
        option=option,
        remedy="Write tcp://lb1:9999, or unix:///run/haproxy/admin.sock",
    )


class HAProxy:
    """One HAProxy's backend; an :class:`actuators.balancer.Instance`.

    :param backend: Name of the backend. :param state_file: Where C(save) leaves the state of all servers, in the form
        that C(server-state-file) takes; HAProxy reads it when it reloads.
    """

    most = MOST
    adds = True
    waiting = 0

    def __init__(
        self,
        address: str,
        backend: str,
        *,
        timeout: float = 5.0,
        option: str = "socket",
        state_file: str | None = None,
        backend_option: str = "backend",
    ) -> None:
        self.label = address
        self.option = option
        self.backend = check_name(backend, backend_option)
        self.backend_option = backend_option
        self.state_file = pathlib.Path(state_file) if state_file else None
        self.session = Session(address, timeout=timeout, option=option)

    def check_rights(self) -> None:
        """Raise unless the socket has level admin."""
        level = self.session.ask("show cli level")[0]
        if level != "admin":
            raise AuthenticationFailed(
                f"{self.label} has level {level!r}, and changes need 'admin'",
                option=self.option,
                remedy="Add 'level admin' to the 'stats socket' line in HAProxy's configuration",
            )

    def read(self) -> dict[str, Status]:
        """All servers of the backend.

        The statistics are asked for by number: a frontend may have the same name, and HAProxy would find that first.
        """
        states = self.session.ask(f"show servers state {self.backend}")[0]
        if not states.startswith("1\n#"):
            names = self.session.ask("show backend")[0].split("\n")[1:]
            raise NotFound(
                f"{self.label} has no backend {self.backend!r}",
                option=self.backend_option,
                remedy=f"Its backends are {', '.join(sorted(names))}",
            )
        rows = table(states.split("\n", 1)[1], " ")
        if not rows:
            return {}
        statistics = self.session.ask(f"show stat {rows[0]['be_id']} 6 -1")[0]
        figures = {row["svname"]: row for row in table(statistics, ",") if row["type"] == "2"}
        self.waiting = sum(int(row["qcur"] or 0) for row in table(statistics, ",") if row["type"] == "1")
        # A server that was added or deleted between the two answers is in one of them only.
        return {row["srv_name"]: status(row, figures[row["srv_name"]]) for row in rows if row["srv_name"] in figures}

    def apply(self, changes: t.Sequence[Change]) -> None:
        """Send all changes at once, and then the removals, one by one.

        :raises Refused: on the first that HAProxy refuses.
        """
        commands = [command for change in changes for command in self._commands(change)]
        for command, answer in zip(commands, self.session.ask(*commands) if commands else (), strict=True):
            if answer and not answer.startswith(DONE):
                raise self._refused(command, answer)
        for change in changes:
            if change.what == "remove":
                self._remove(change.name)

    def _remove(self, name: str) -> None:
        """Delete a server in maintenance; HAProxy first has to close the connections it keeps open to it."""
        command = f"del server {self.backend}/{name}"
        end = time.monotonic() + IDLE_CONNECTIONS_SECONDS
        while not (answer := self.session.ask(command)[0]).startswith(DONE):
            if "connection" not in answer or time.monotonic() > end:
                raise self._refused(command, answer)
            time.sleep(0.1)

    def _refused(self, command: str, answer: str) -> Refused:
        return Refused(
            f"{self.label} refused {command!r}: {answer}",
            option="members",
            remedy="The command and its conditions are in the management guide of this HAProxy version",
        )

    def _commands(self, change: Change) -> list[str]:
        server = f"{self.backend}/{change.name}"
        if change.what == "weight":
            return [f"set server {server} weight {change.after}"]
        if change.what == "state":
            return [f"set server {server} state {STATE_WORDS[change.after]}"]
        if change.what == "address":
            address, _colon, port = change.after.rpartition(":")
            return [f"set server {server} addr {address} port {port}"]
        if change.what == "remove":
            return [f"set server {server} state maint"]
        made = change.after
        return [
            f"add server {server} {made['address']}:{made['port']} weight {made['weight']} check",
            f"enable health {server}",
        ]

    def save(self) -> None:
        """Write the state file, whole or not at all."""
        if self.state_file is None:
            return
        text = self.session.ask("show servers state")[0] + "\n"
        try:
            with tempfile.NamedTemporaryFile(
                "w", dir=self.state_file.parent, prefix=f".{self.state_file.name}.", delete=False
            ) as partial:
                partial.write(text)
                os.fchmod(partial.fileno(), 0o644)
            os.replace(partial.name, self.state_file)
        except OSError as exc:
            raise InvalidOption(
                f"{self.state_file} can't be written: {exc.strerror}",
                option="state_file",
                remedy="Name the file of 'server-state-file' on the host of HAProxy, in a directory that exists",
            ) from exc

    def close(self) -> None:
        """End the session."""
        self.session.close()


def table(text: str, delimiter: str) -> list[dict[str, str]]:
    """The rows of an answer whose first line, after C(# ), names its columns."""
    return list(csv.DictReader(text.removeprefix("# ").splitlines(), delimiter=delimiter))


def status(state: t.Mapping[str, str], figures: t.Mapping[str, str]) -> Status:
    """One server, from its row of C(show servers state) and its row of C(show stat).

    The weight is C(uweight): C(weight) is lower while C(slowstart) lasts. The latency is the time in the queue, to connect and
    until the answer begins: C(ttime) would count the time that a client's connection was idle, too.
    """
    administrative = int(state["srv_admin_state"])
    word = "maintenance" if administrative & IN_MAINTENANCE else "drain" if administrative & IN_DRAIN else "ready"
    requests = int(figures["stot"] or 0)
    errors = sum(int(figures[name] or 0) for name in ("hrsp_5xx", "econ", "eresp"))
    return Status(
        state=word,
        weight=int(figures["uweight"]),
        full_weight=int(state["srv_iweight"]),
        up=state["srv_op_state"] != "0",
        address=state["srv_addr"],
        port=int(state["srv_port"]),
        checked=_checked(figures),
        sessions=int(figures["scur"] or 0),
        queue=int(figures["qcur"] or 0),
        requests=requests,
        errors=errors,
        requests_per_second=float(figures["rate"] or 0),
        latency_ms=sum(float(figures[name] or 0) for name in ("qtime", "ctime", "rtime")) if requests else None,
        samples=min(requests, LATENCY_SAMPLES),
        window=LATENCY_SAMPLES,
    )


def _checked(figures: t.Mapping[str, str]) -> bool | None:
    """Whether the health check is content. HAProxy shows no check where none is, or while it pauses in maintenance.

    A server that leaves maintenance keeps the last result from before, but not its credit: C(check_health) is full only
    after a check that went well.
    """
    word = figures["check_status"].removeprefix("* ")
    if not word:
        return None
    full = int(figures["check_rise"]) + int(figures["check_fall"]) - 1
    return word.startswith("L") and word.endswith("OK") and int(figures["check_health"]) >= full
