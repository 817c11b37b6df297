# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Standbys as virtual machines of vSphere: one session, whatever their number."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ..errors import ConnectionFailed
from ..libraries import pyvmomi
from .inventory import Finder
from .power import Answer, Order, Provider, Server
from .properties import retrieve, specification
from .vcenter import HTTP_SECONDS, Session, SessionEnded

_POWER = {"poweredOn": "on", "poweredOff": "off", "suspended": "suspended"}
_VM_PROPERTIES = ("runtime.powerState", "guest.toolsRunningStatus", "guest.ipAddress")
_TASK_PROPERTIES = ("info.state", "info.error")
_RUNNING = ("queued", "running")
_POWER_TASKS = ("VirtualMachine.powerOn", "VirtualMachine.powerOff", "VirtualMachine.suspend")


class VSphere(Provider):
    """Power over virtual machines, through vCenter or an ESXi host.

    :param connection: The checked option of that name.
    :param find: The checked option of that name: how servers are found among virtual machines.
    :param parallel: How many power calls are on their way at a time.
    :raises ConnectionFailed, AuthenticationFailed: when there is no session to be had.
    """

    poll_seconds = 0.5

    def __init__(
        self,
        connection: t.Mapping[str, t.Any],
        *,
        find: t.Mapping[str, t.Any] | None = None,
        parallel: int = 16,
    ) -> None:
        super().__init__(parallel=parallel)
        self.session = Session(connection, pool=parallel)
        self.session.open()
        self._finder = Finder(self.session, find or {})
        self._vms: dict[str, t.Any] = {}
        self._tasks: dict[str, t.Any] = {}  # the power task of each server that has one
        self._doubtful: set[str] = set()  # servers with an order whose answer was lost
        self._gone: set[str] = set()  # servers that vCenter has lost since they were found
        self._collector: t.Any = None
        self._version = ""
        self._watched: set[str] = set()
        self._mirror: dict[str, dict[str, t.Any]] = {}  # what vCenter said last: properties by object id

    def names(self) -> list[str]:
        """The servers of all virtual machines that fit the way to find them."""
        self._vms |= self._finder.all()
        return sorted(self._vms)

    def look(self, names: t.Collection[str]) -> dict[str, Server]:
        unknown = [name for name in names if name not in self._vms]
        if unknown:
            self._vms |= self._finder.find(unknown)
        vms = [self._vms[name] for name in names]
        self._mirror |= self.session.read(lambda: retrieve(self.session, vms, _VM_PROPERTIES))
        return {name: self._server(name) for name in names}

    def act(self, name: str, order: Order) -> Answer:
        vm = self._vms[name]
        method = {
            "on": vm.PowerOnVM_Task,
            "suspend": vm.SuspendVM_Task,
            "shutdown": vm.ShutdownGuest,
            "off": vm.PowerOffVM_Task,
        }[order]
        self._tasks.pop(name, None)
        self._collector = None  # what is watched has changed
        try:
            task = self.session.write(method)
        except (ConnectionFailed, SessionEnded) as exc:
            self._doubtful.add(name)
            return Answer("lost", exc.problem)
        except (pyvmomi.vim.fault.InvalidPowerState, pyvmomi.vim.fault.TaskInProgress) as exc:
            self._doubtful.add(name)
            return Answer("look", _reason(exc))
        except pyvmomi.vmodl.MethodFault as exc:
            return Answer("refused", _reason(exc))
        if task is not None:
            self._tasks[name] = task
        return Answer("accepted")

    def watch(self, names: t.Collection[str], seconds: float) -> dict[str, Server]:
        present = [name for name in names if name not in self._gone]
        generation = self.session.generation
        try:
            if present:
                with self.session.translated():
                    self._follow(present, seconds)
        except ConnectionFailed as exc:
            self._lose(exc.problem)
            time.sleep(self.poll_seconds)
            return {}
        except SessionEnded as exc:
            self._lose(exc.problem)
            with contextlib.suppress(ConnectionFailed):
                self.session.renew(generation)
            return {}
        except pyvmomi.vmodl.fault.ManagedObjectNotFound as exc:
            self._lose("")
            self._forget(exc.obj)
            return {}
        self.trouble = None
        return {name: self._server(name) for name in names}

    def close(self) -> None:
        self.session.close()

    def _follow(self, names: t.Collection[str], seconds: float) -> None:
        """Bring the mirror up to date: all of it when what is watched has changed, else as changes come."""
        if self._collector is None or not self._watched.issuperset(names):
            self._begin(names)
            return
        whole = int(min(seconds, HTTP_SECONDS / 2))
        if whole < 1:
            # vCenter counts in whole seconds; 0 asks for what there is.
            time.sleep(min(seconds, self.poll_seconds))
        options = pyvmomi.vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=whole)
        self._take(self._collector.WaitForUpdatesEx(self._version, options))

    def _begin(self, names: t.Collection[str]) -> None:
        """Watch anew; the first update holds the present state of everything watched."""
        self._adopt(names)
        collector = self.session.content.propertyCollector.CreatePropertyCollector()
        vms = [self._vms[name] for name in names]
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        collector.CreateFilter(
            specification({"VirtualMachine": (vms, _VM_PROPERTIES), "Task": (tasks, _TASK_PROPERTIES)}), False
        )
        options = pyvmomi.vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=0)
        self._version, self._mirror = "", {}
        while True:
            update = collector.WaitForUpdatesEx(self._version, options)
            self._take(update)
            if update is None or not update.truncated:
                break
        self._collector, self._watched = collector, set(names)

    def _adopt(self, names: t.Collection[str]) -> None:
        """Where an answer was lost, the order may be at work: take a power task that is running for ours."""
        doubtful = self._doubtful.intersection(names)
        if not doubtful:
            return
        vms = {self._vms[name]._GetMoId(): name for name in doubtful}
        found = retrieve(self.session, [self._vms[name] for name in doubtful], ("recentTask",))
        tasks = {task._GetMoId(): task for properties in found.values() for task in properties.get("recentTask", ())}
        infos = retrieve(self.session, list(tasks.values()), ("info.state", "info.descriptionId"))
        for vm, properties in found.items():
            for task in properties.get("recentTask", ()):
                info = infos.get(task._GetMoId(), {})
                if info.get("info.state") in _RUNNING and info.get("info.descriptionId") in _POWER_TASKS:
                    self._tasks[vms[vm]] = task
        self._doubtful -= doubtful

    def _take(self, update: t.Any) -> None:
        """Apply what WaitForUpdatesEx returned; None when nothing has changed."""
        if update is None:
            return
        self._version = update.version
        for filtered in update.filterSet:
            for item in filtered.objectSet:
                properties = self._mirror.setdefault(item.obj._GetMoId(), {})
                for change in item.changeSet:
                    properties[change.name] = change.val

    def _server(self, name: str) -> Server:
        if name in self._gone:
            return Server(power="off", failure="vCenter no longer has its virtual machine")
        properties = self._mirror.get(self._vms[name]._GetMoId(), {})
        task = self._mirror.get(self._tasks[name]._GetMoId(), {}) if name in self._tasks else {}
        error = task.get("info.error")
        failed = task.get("info.state") == "error"
        return Server(
            power=_POWER[properties["runtime.powerState"]],
            up=properties.get("guest.toolsRunningStatus") == "guestToolsRunning",
            ip=properties.get("guest.ipAddress") or None,
            busy=task.get("info.state") in _RUNNING,
            failure=_reason(error) if failed and error else None,
        )

    def _lose(self, trouble: str) -> None:
        self._collector = None
        self.trouble = trouble or None

    def _forget(self, obj: t.Any) -> None:
        """vCenter no longer has an object: a task that it dropped, or a virtual machine that was deleted."""
        for name, task in list(self._tasks.items()):
            if task._GetMoId() == obj._GetMoId():
                del self._tasks[name]
        self._gone |= {name for name, vm in self._vms.items() if vm._GetMoId() == obj._GetMoId()}


def _reason(fault: t.Any) -> str:
    """What vCenter says about a fault, with the fault's name, as nobody finds the cause by the sentence alone."""
    name = type(fault).__name__.rpartition(".")[2]
    text = (fault.msg or "").strip().rstrip(".")
    return f"{text} ({name})" if text else name
