# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Standbys that wake by a magic packet in their network, and sleep by a command."""

from __future__ import annotations

import re
import socket
import typing as t

from ..errors import InvalidOption
from .command import Command
from .power import Answer, Order, Server, UnknownServer
from .readiness import answers

_MAC = re.compile(r"[0-9a-f]{12}")


class WakeOnLan(Command):
    """Wakes by the packet of AMD's 'Magic Packet Technology' (1995): six bytes FF and sixteen times the address.

    There is no answer to a magic packet, so a server counts as on when it accepts a TCP connection.

    :param network: The checked option V(wake_on_lan): by server its hardware address in V(macs) and, where the name
        does not resolve, its V(addresses); the V(port) that shows that it is up; V(broadcast).
    :param commands: As for :class:`Command`; only V(suspend) and V(shut_down) are used.
    """

    needed = ()

    def __init__(self, network: t.Mapping[str, t.Any], commands: t.Mapping[str, t.Any], *, parallel: int = 16) -> None:
        super().__init__(commands, parallel=parallel)
        self._network = network
        self._macs = {name: _mac(mac, f"wake_on_lan.macs.{name}") for name, mac in network["macs"].items()}

    def names(self) -> list[str]:
        return sorted(self._macs)

    def act(self, name: str, order: Order) -> Answer:
        if order != "on":
            return super().act(name, order)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sender.sendto(
                    b"\xff" * 6 + self._macs[name] * 16, (self._network["broadcast"], self._network["udp_port"])
                )
        except OSError as exc:
            return Answer("refused", f"the magic packet can't be sent: {exc}")
        # It may be lost on its way, so it is sent again while the server does not answer.
        return Answer("lost", "the server did not answer the magic packet")

    def _look(self, name: str) -> Server:
        if name not in self._macs:
            raise UnknownServer(
                name,
                f"no hardware address is known of {name!r}",
                remedy=f"Give it as wake_on_lan.macs.{name}",
            )
        address = self._network["addresses"].get(name, name)
        up = answers(address, self._network["port"], None, 1.0)
        return Server(power="on" if up else "off", up=up, ip=address if up else None)


def _mac(text: t.Any, option: str) -> bytes:
    """The six bytes of a hardware address."""
    digits = re.sub(r"[:.-]", "", str(text)).lower()
    if not _MAC.fullmatch(digits):
        raise InvalidOption(
            f"{text!r} is not a hardware address", option=option, remedy="Write it as 52:54:00:12:34:56, in quotes"
        )
    return bytes.fromhex(digits)
