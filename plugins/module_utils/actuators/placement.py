# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ESXi host each server runs on."""

from __future__ import annotations

import contextlib
import typing as t

from ..errors import NotFound
from ..libraries import pyvmomi
from .inventory import Finder
from .properties import retrieve, retrieve_below
from .vcenter import Session


def esxi_hosts(
    connection: t.Mapping[str, t.Any], names: t.Sequence[str], *, find: t.Mapping[str, t.Any] | None = None
) -> dict[str, str]:
    """The name of the ESXi host of each server, read in one session.

    :param connection: The checked option of that name, as in V(options.VSPHERE).
    :param find: How servers are found among virtual machines; see the module M(lowtide.fleet.standby).
    :raises UnknownServer: when a server has no virtual machine. :raises NotFound: when one is on no host that the account sees.
    """
    session = Session(connection)
    session.open()
    with contextlib.closing(session):
        machines = Finder(session, find or {}).find(names)
        placed = session.read(lambda: retrieve(session, list(machines.values()), ("runtime.host",)))
        root, kind = session.content.rootFolder, pyvmomi.vim.HostSystem
        known = session.read(lambda: retrieve_below(session, root, kind, ("name",)))
        titles = {host._GetMoId(): properties["name"] for host, properties in known.items()}
        result = {}
        for name, machine in machines.items():
            host = placed.get(machine._GetMoId(), {}).get("runtime.host")
            if host is None or host._GetMoId() not in titles:
                raise NotFound(
                    f"vCenter does not tell which host {name!r} runs on",
                    option="placement",
                    remedy="Let the account see the hosts, or write the domains in update.failure_domains",
                )
            result[name] = titles[host._GetMoId()]
    return result
