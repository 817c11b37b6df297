# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which virtual machine is which server."""

from __future__ import annotations

import typing as t

from ..errors import InvalidOption, NotFound
from ..libraries import pyvmomi
from .properties import retrieve_below

if t.TYPE_CHECKING:
    from .vcenter import Session

Machines = t.Dict[str, t.Any]


class Finder:
    """Finds virtual machines by the names of servers.

    :param find: The checked option of that name. V(names) maps a server to its virtual machine's name, where they
        differ; V(attribute) names the custom attribute that holds the server's name instead; V(folder), V(tag) and
        V(attributes) leave out virtual machines that are elsewhere, or not so marked.
    """

    def __init__(self, session: Session, find: t.Mapping[str, t.Any]) -> None:
        self._session = session
        self._find = find

    def all(self) -> Machines:
        """All virtual machines that fit, by server name."""
        return {name: vms[0] for name, vms in self._candidates().items()}

    def find(self, names: t.Sequence[str]) -> Machines:
        """The virtual machines of the servers named.

        :raises NotFound: when one has none. :raises InvalidOption: when one has two.
        """
        candidates = self._candidates()
        mapping = self._find.get("names") or {}
        result = {}
        for name in names:
            vms = candidates.get(mapping.get(name, name), [])
            if not vms:
                raise NotFound(
                    f"vCenter has no virtual machine {mapping.get(name, name)!r}{self._where()}",
                    option=f"find.names.{name}" if name in mapping else None,
                    remedy="Check the server's name, and that the account may see it",
                )
            if len(vms) > 1:
                raise InvalidOption(
                    f"{len(vms)} virtual machines are called {mapping.get(name, name)!r}{self._where()}",
                    option="find.folder",
                    remedy="Name the folder that holds the right one",
                )
            result[name] = vms[0]
        return result

    def _where(self) -> str:
        folder = self._find.get("folder")
        return f" in folder {folder!r}" if folder else ""

    def _candidates(self) -> dict[str, list[t.Any]]:
        return self._session.read(self._read)

    def _read(self) -> dict[str, list[t.Any]]:
        root = self._session.content.rootFolder
        found: dict[str, list[t.Any]] = {}
        for vm, properties in retrieve_below(self._session, root, pyvmomi.vim.VirtualMachine, ("name",)).items():
            found.setdefault(properties["name"], []).append(vm)
        return found
