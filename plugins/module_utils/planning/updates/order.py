# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which servers may be out together, and which go before which."""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ...errors import InvalidOption

Pool = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Group:
    """Servers that may be out together: of one failure domain, or one that is pinned."""

    hosts: tuple[str, ...]
    domain: str | None = None
    pinned: str | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """Groups of one pool that may go in any order; stages follow one another."""

    pool: str
    groups: tuple[Group, ...]


def stages(name: str, pool: Pool, loads: dict[str, float] | None) -> list[Stage]:
    """The servers of a pool: those pinned first one by one, the domains, those pinned last one by one.

    Inside a domain the least loaded go first, and the domain with the least load per server is the first; a server that
    reports no load may be the busiest, and goes last.

    :raises InvalidOption: when one is pinned that is not a server of the pool.
    """
    rules, servers = pool["update"], pool["servers"]
    for option in ("first", "last"):
        stray = next((host for host in rules[option] if host not in servers), None)
        if stray is not None:
            raise InvalidOption(
                f"{stray!r} is not a server of the pool",
                option=f"pools.{name}.update.{option}",
                remedy="Name servers of the pool only",
            )
    position = {server: place for place, server in enumerate(servers)}
    weight = {
        server: math.inf if math.isnan(load := (loads or {}).get(server, math.inf)) else load for server in servers
    }
    pinned = {*rules["first"], *rules["last"]}
    domains: dict[str | None, list[str]] = {}
    for server in servers:
        if server not in pinned:
            domain = rules["failure_domains"].get(server)
            domains.setdefault(None if domain is None else str(domain), []).append(server)
    for hosts in domains.values():
        hosts.sort(key=lambda server: (weight[server], position[server]))
    middle = sorted(domains.items(), key=lambda item: sum(weight[host] for host in item[1]) / len(item[1]))
    groups = tuple(Group(tuple(hosts), domain) for domain, hosts in middle)
    return [
        *(Stage(name, (Group((host,), pinned="first"),)) for host in rules["first"]),
        *([Stage(name, groups)] if groups else []),
        *(Stage(name, (Group((host,), pinned="last"),)) for host in rules["last"] if host not in rules["first"]),
    ]
