# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which standby is woken by what: one provider, in one session, for all servers that have it in common."""

from __future__ import annotations

import json
import typing as t

from .. import power_options
from ..actuators.command import Command
from ..actuators.kubernetes import Kubernetes
from ..actuators.power import Provider
from ..actuators.vsphere import VSphere
from ..actuators.wake_on_lan import WakeOnLan
from ..errors import InvalidOption

Pools = t.Mapping[str, t.Mapping[str, t.Any]]


class Means(t.NamedTuple):
    """What wakes some servers, and puts them to sleep.

    :param settings: Checked values of ``power_options.POWER``, and V(connection).
    :param servers: Whom.
    """

    settings: dict[str, t.Any]
    servers: list[str]


def grouped(names: t.Sequence[str], params: t.Mapping[str, t.Any], pools: Pools) -> list[Means]:
    """Servers by what wakes them: what their pool says, else what the task says.

    :param names: Servers; where there are none, all that the task's own provider has.
    :param params: The checked options of the module ``standby``.
    :param pools: Checked pools.
    :raises InvalidOption: when two pools say different things of one server, or name a connection that is not there.
    """
    said = _said(params, pools)
    groups: dict[str, Means] = {}
    for name in names:
        settings = said.get(name) or _own(params)
        groups.setdefault(json.dumps(settings, sort_keys=True), Means(settings, [])).servers.append(name)
    return list(groups.values()) or [Means(_own(params), [])]


def _own(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the task itself says."""
    settings = {name: params[name] for name in (*power_options.POWER, "connection")}
    # A replica that is not there has no memory to keep.
    return settings | {"idle_state": "off"} if params["provider"] == "kubernetes" else settings


def _said(params: t.Mapping[str, t.Any], pools: Pools) -> dict[str, dict[str, t.Any]]:
    """What pools say of each of their standbys."""
    connections = {item["name"]: item for item in params["connections"]}
    said: dict[str, dict[str, t.Any]] = {}
    owner: dict[str, str] = {}
    for name, pool in pools.items():
        own = pool["standby"]
        for server in own["servers"] if own else ():
            settings = _of_pool(name, own, params, connections)
            if said.setdefault(server, settings) != settings:
                raise InvalidOption(
                    f"standby {server!r} is of pool {owner[server]!r} too, which has other settings for it",
                    option=f"pools.{name}.standby",
                    remedy="Give both the same provider and settings: it is one server",
                )
            owner[server] = name
    return said


def _of_pool(
    name: str, own: t.Mapping[str, t.Any], params: t.Mapping[str, t.Any], connections: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """What one pool says; what it leaves open comes from the task."""
    settings = {key: own[key] for key in power_options.POWER}
    settings["check"] = own["check"] or params["check"]
    if not any(own["find"].values()):
        settings["find"] = params["find"]
    settings["wake_on_lan"] = own["wake_on_lan"] or params["wake_on_lan"]
    settings["kubernetes"] = own["kubernetes"] or params["kubernetes"]
    if settings["kubernetes"]:
        servers = settings["kubernetes"]["servers"] or own["servers"]
        settings["kubernetes"] = {**settings["kubernetes"], "servers": servers}
    if settings["provider"] == "kubernetes":
        settings["idle_state"] = "off"
    if not any(value for key, value in own["commands"].items() if key != "timeout"):
        settings["commands"] = params["commands"]
    settings["connection"] = params["connection"]
    if own["connection"]:
        if own["connection"] not in connections:
            raise InvalidOption(
                f"there is no connection {own['connection']!r}",
                option=f"pools.{name}.standby.connection",
                remedy=f"Those given in connections are {', '.join(sorted(connections)) or 'none'}",
            )
        settings["connection"] = {key: value for key, value in connections[own["connection"]].items() if key != "name"}
    return settings


def provider(settings: t.Mapping[str, t.Any], parallel: int) -> Provider:
    """What acts, for a group of servers.

    :raises InvalidOption: when the settings lack what the provider needs.
    """
    kind = settings["provider"]
    if kind == "command":
        return Command(settings["commands"], parallel=parallel)
    if kind == "wake_on_lan":
        _needed(settings, kind, "Give at least its macs")
        return WakeOnLan(settings[kind], settings["commands"], parallel=parallel)
    if kind == "kubernetes":
        _needed(settings, kind, "Give at least its url, workload and replicas")
        return Kubernetes(settings[kind], parallel=parallel)
    return VSphere(settings["connection"], find=settings["find"], parallel=parallel)


def _needed(settings: t.Mapping[str, t.Any], kind: str, remedy: str) -> None:
    if not settings[kind]:
        raise InvalidOption("it is needed with this provider", option=kind, remedy=remedy)
