# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for servers that are told theirs.

A port that the kernel gave and that is closed again may be anyone's a moment later: another worker's, or the near end of a
connection. So each process claims a block of ports that the kernel gives to nobody by itself, and hands each out once.
"""

from __future__ import annotations

import pathlib
import socket
import threading
import typing as t

EPHEMERAL = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST, LAST = 20000, 65535
BLOCK = 500


class NoPort(RuntimeError):
    """No port is left that could be handed out."""


class Ports:
    """Hands out the ports of one process.

    A block is claimed by the name of an abstract unix socket: the kernel gives a name to one socket of the network that the
    ports belong to, and frees it when its process ends, however it ends.

    :param ephemeral: First and last port that the kernel hands out by itself.
    :param first: First port that may be handed out. :param last: The last. :param block: How many are claimed at once.
    :param name: What claims are named after; those of other names are not seen.
    """

    def __init__(
        self,
        ephemeral: tuple[int, int],
        *,
        first: int = FIRST,
        last: int = LAST,
        block: int = BLOCK,
        name: str = "lowtide-test-ports",
    ) -> None:
        self.ephemeral, self.name, self.block = ephemeral, name, block
        self.starts = iter(range(first, last + 2 - block, block))
        self.left: t.Iterator[int] = iter(())
        self.claims: list[socket.socket] = []
        self._lock = threading.Lock()

    def take(self) -> int:
        """A TCP port that nothing listens on at any address of this machine; never the same again.

        :raises NoPort: when every block is claimed, or is the kernel's own.
        """
        with self._lock:
            while True:
                for port in self.left:
                    if bindable(port):
                        return port
                self.left = iter(self._claimed())

    def close(self) -> None:
        """Leave the blocks to others."""
        for claim in self.claims:
            claim.close()

    def _claimed(self) -> range:
        """The next block that is nobody's."""
        low, high = self.ephemeral
        for start in self.starts:
            block = range(start, start + self.block)
            if block[-1] >= low and start <= high:
                continue
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0{self.name}-{start}")
            except OSError:
                claim.close()
                continue
            self.claims.append(claim)
            return block
        raise NoPort(f"every block of ports outside of {low}-{high}, which {EPHEMERAL} leaves to the kernel, is in use")


def bindable(port: int) -> bool:
    """Whether a server could listen on it, at every IPv4 address; connections that ended a moment ago do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def ephemeral() -> tuple[int, int]:
    """First and last port that the kernel hands out by itself."""
    low, high = EPHEMERAL.read_text(encoding="ascii").split()
    return int(low), int(high)


_own: Ports | None = None
_own_lock = threading.Lock()


def free_port() -> int:
    """A TCP port for one server; the way in which all tests and simulators get theirs."""
    global _own
    with _own_lock:
        if _own is None:
            _own = Ports(ephemeral())
    return _own.take()
