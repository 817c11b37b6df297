# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real HAProxy in front of given servers, with retries off: a request that meets a dead server is a failed request."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
import socket
import sys
import time
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from ports import free_port
from processes import NotReady, Program

GLOBAL = """global
  master-worker
  hard-stop-after 60s
  server-state-file {state_file}
  stats socket ipv4@127.0.0.1:{port} level admin expose-fd listeners
  stats socket {directory}/admin.sock level admin
  stats socket {directory}/operator.sock level operator
  stats socket {directory}/user.sock level user
  stats timeout 60s
defaults
  mode http
  retries 0
  no option redispatch
  option idle-close-on-response
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  timeout queue 5s
  load-server-state-from-file global
"""
BACKEND = """frontend {name}
  bind 127.0.0.1:{port}
  default_backend {name}
backend {name}
  balance roundrobin
  option httpchk GET {check}
  default-server inter 250ms fastinter 100ms downinter 100ms rise 1 fall 2
"""


@dataclasses.dataclass(frozen=True)
class Member:
    """A server of a backend. A standby starts in maintenance. :param at_once: Requests it gets at once; others wait."""

    name: str
    address: str
    port: int
    weight: int = 100
    standby: bool = False
    at_once: int | None = None


class HAProxy:
    """HAProxy in the foreground, all its files in one directory, ports chosen free.

    :param directory: Takes its configuration, unix sockets, server-state file and log.
    :param backends: Members by backend; each backend gets a frontend of its own.
    :param check: Path of the health checks.
    """

    def __init__(
        self, directory: pathlib.Path, backends: dict[str, t.Sequence[Member]], *, check: str = "/health"
    ) -> None:
        self.directory = directory
        self.backends = backends
        self.check = check
        self.stats_port = free_port()
        self.ports = {name: free_port() for name in backends}
        self.state_file = directory / "server-state"
        self.configuration = directory / "haproxy.cfg"
        self.program = Program(
            ["haproxy", "-W", "-db", "-f", str(self.configuration)], log=directory / "haproxy.log", ready=self._ready
        )

    @property
    def tcp_socket(self) -> str:
        """Address of the runtime API over TCP, at level admin."""
        return f"tcp://127.0.0.1:{self.stats_port}"

    def unix_socket(self, level: str = "admin") -> str:
        """Address of the runtime API over a unix socket, at the level given: admin, operator or user."""
        return f"unix://{self.directory}/{level}.sock"

    def url(self, backend: str) -> str:
        """Where the backend is reached."""
        return f"http://127.0.0.1:{self.ports[backend]}"

    def start(self) -> None:
        """Write the configuration, start, and return when the runtime API answers."""
        text = GLOBAL.format(directory=self.directory, port=self.stats_port, state_file=self.state_file)
        for name, members in self.backends.items():
            text += BACKEND.format(name=name, port=self.ports[name], check=self.check)
            for member in members:
                text += f"  server {member.name} {member.address}:{member.port} check weight {member.weight}"
                text += f" maxconn {member.at_once}" if member.at_once else ""
                text += " disabled\n" if member.standby else "\n"
        self.configuration.write_text(text, encoding="utf-8")
        self.state_file.touch()
        self.program.start()

    def reload(self, deadline: float = 10.0) -> None:
        """Reload as a service manager does, and return when the new worker answers."""
        if self.program.process is None:
            raise NotReady("HAProxy does not run")
        before = self._pid(self._ask("show info"))
        end = time.monotonic() + deadline
        again = 0.0
        while self._pid(self._ask("show info")) in ("", before):
            if time.monotonic() > end:
                raise NotReady("HAProxy did not reload: " + self.program.log.read_text(errors="replace")[-2000:])
            if time.monotonic() > again:  # The master misses a signal that comes while it still starts.
                self.program.process.send_signal(signal.SIGUSR2)
                again = time.monotonic() + 1.0
            time.sleep(0.05)

    def serving(self, backend: str) -> float:
        """Servers of a backend that take new requests, each counted by the share of its weight that it has.

        One whose health check only ran out of time counts: on a busy machine that tells of the machine, not of the server.
        """
        total = 0.0
        for line in self._ask("show stat -1 4 -1").splitlines():
            fields = line.split(",")
            if fields[0] == backend and (
                fields[17].startswith("UP") or (fields[17:18] + fields[36:37]) == ["DOWN", "L7TOUT"]
            ):
                total += min(1.0, int(fields[18]) / self.weight(backend, fields[1]))
        return total

    def weight(self, backend: str, name: str) -> int:
        """The full weight of a member."""
        return next(member.weight for member in self.backends[backend] if member.name == name)

    def stop(self) -> None:
        """End it."""
        self.program.stop()

    def _ready(self) -> bool:
        return bool(self._pid(self._ask("show info")))

    @staticmethod
    def _pid(info: str) -> str:
        return next((line.partition(": ")[2] for line in info.splitlines() if line.startswith("Pid: ")), "")

    def _ask(self, command: str) -> str:
        """The answer to one command; empty when nothing answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.stats_port), timeout=2) as connection:
                connection.sendall(f"{command}\n".encode())
                return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except OSError:
            return ""

    def __enter__(self) -> HAProxy:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
