# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which virtual machine is which server."""

from __future__ import annotations

import typing as t

from ..errors import InvalidOption, NotFound
from ..libraries import pyvmomi
from . import tags
from .power import UnknownServer
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

        :raises UnknownServer: when one has none. :raises InvalidOption: when one has two.
        """
        candidates = self._candidates()
        mapping = self._find.get("names") or {}
        result = {}
        for name in names:
            vms = candidates.get(mapping.get(name, name), [])
            if not vms:
                raise UnknownServer(
                    name,
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
        places = [f" in folder {self._find['folder']!r}"] if self._find.get("folder") else []
        places += [f" with tag {self._find['tag']!r}"] if self._find.get("tag") else []
        return "".join(places)

    def _candidates(self) -> dict[str, list[t.Any]]:
        """Virtual machines by the name that servers are found by."""
        tag = self._find.get("tag")
        tagged = tags.machines(self._session.connection, tag) if tag else None
        return self._session.read(lambda: self._read(tagged))

    def _read(self, tagged: set[str] | None) -> dict[str, list[t.Any]]:
        attribute = self._find.get("attribute")
        attributes = self._find.get("attributes") or {}
        paths = ("name", "customValue") if attribute or attributes else ("name",)
        machines = self._below(paths)
        if tagged is not None:
            machines = {vm: properties for vm, properties in machines.items() if vm._GetMoId() in tagged}
        keys = self._attribute_keys([*attributes, *([attribute] if attribute else [])])
        found: dict[str, list[t.Any]] = {}
        for vm, properties in machines.items():
            # The newest value of an attribute is its last.
            values = {item.key: item.value for item in properties.get("customValue", ())}
            if any(values.get(keys[name]) != str(value) for name, value in attributes.items()):
                continue
            name = values.get(keys[attribute]) if attribute else properties["name"]
            if name:
                found.setdefault(name, []).append(vm)
        return found

    def _below(self, paths: t.Sequence[str]) -> Machines:
        """Properties of the virtual machines that are in the right folders."""
        machine = pyvmomi.vim.VirtualMachine
        if not self._find.get("folder"):
            return retrieve_below(self._session, self._session.content.rootFolder, machine, paths)
        found: Machines = {}
        for folder in self._folders():
            found |= retrieve_below(self._session, folder, machine, paths)
        return found

    def _folders(self) -> list[t.Any]:
        """The folders of that path, one in each datacenter that has it."""
        root = self._session.content.rootFolder
        folders = retrieve_below(self._session, root, pyvmomi.vim.Folder, ("name", "parent"))
        wanted = self._find["folder"].strip("/")
        found = [folder for folder in folders if _path(folder, folders) == wanted]
        if not found:
            raise NotFound(
                f"vCenter has no folder {wanted!r} for virtual machines",
                option="find.folder",
                remedy="Give its path below the datacenter's folder 'vm', such as standby/web",
            )
        return found

    def _attribute_keys(self, names: t.Sequence[str]) -> dict[str, int]:
        """The numbers that vCenter knows custom attributes by."""
        if not names:
            return {}
        keys = {field.name: field.key for field in self._session.content.customFieldsManager.field}
        unknown = [name for name in names if name not in keys]
        if unknown:
            raise NotFound(
                f"vCenter has no custom attribute {unknown[0]!r}",
                option="find.attribute" if unknown[0] == self._find.get("attribute") else "find.attributes",
                remedy=f"Those it has are {', '.join(sorted(keys)) or 'none'}",
            )
        return keys


def _path(folder: t.Any, folders: t.Mapping[t.Any, dict[str, t.Any]]) -> str | None:
    """A folder's path below its datacenter's folder for virtual machines; none for folders of other kinds."""
    names = []
    while folder in folders:
        names.append(folders[folder]["name"])
        folder = folders[folder].get("parent")
    return "/".join(reversed(names[:-1])) if isinstance(folder, pyvmomi.vim.Datacenter) and names[-1] == "vm" else None
