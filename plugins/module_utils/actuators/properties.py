# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading properties of many vSphere objects with one call."""

from __future__ import annotations

import typing as t

from ..libraries import pyvmomi

if t.TYPE_CHECKING:
    from .vcenter import Session


def specification(wanted: t.Mapping[str, tuple[t.Sequence[t.Any], t.Sequence[str]]]) -> t.Any:
    """What a property collector is to read: by kind of object, the objects and the names of the properties."""
    collector = pyvmomi.vmodl.query.PropertyCollector
    kinds = {"VirtualMachine": pyvmomi.vim.VirtualMachine, "Task": pyvmomi.vim.Task, "Folder": pyvmomi.vim.Folder}
    given = {kind: pair for kind, pair in wanted.items() if pair[0]}
    return collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=obj) for objects, _paths in given.values() for obj in objects],
        propSet=[
            collector.PropertySpec(type=kinds[kind], pathSet=list(paths)) for kind, (_objs, paths) in given.items()
        ],
    )


def retrieve(session: Session, objects: t.Sequence[t.Any], paths: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """Properties of objects that are all of one kind, by object id; what is unset is left out."""
    if not objects:
        return {}
    kind = {pyvmomi.vim.VirtualMachine: "VirtualMachine", pyvmomi.vim.Task: "Task", pyvmomi.vim.Folder: "Folder"}
    return _pages(session, specification({kind[type(objects[0])]: (objects, paths)}))


def retrieve_below(session: Session, root: t.Any, kind: t.Any, paths: t.Sequence[str]) -> dict[t.Any, dict[str, t.Any]]:
    """Properties of all objects of a kind below a folder, by object."""
    collector = pyvmomi.vmodl.query.PropertyCollector
    view = session.content.viewManager.CreateContainerView(root, [kind], True)
    try:
        traversal = collector.TraversalSpec(type=type(view), path="view", skip=False)
        spec = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
            propSet=[collector.PropertySpec(type=kind, pathSet=list(paths))],
        )
        pages = _pages(session, spec)
    finally:
        view.DestroyView()
    return {kind(identity, session.stub): properties for identity, properties in pages.items()}


def _pages(session: Session, spec: t.Any) -> dict[str, dict[str, t.Any]]:
    collector = session.content.propertyCollector
    options = pyvmomi.vmodl.query.PropertyCollector.RetrieveOptions()
    page = collector.RetrievePropertiesEx([spec], options)
    result = {}
    while page is not None:
        for item in page.objects:
            result[item.obj._GetMoId()] = {change.name: change.val for change in item.propSet}
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return result
