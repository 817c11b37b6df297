# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose a pool, a server and a standby is, and that a run keeps to its own."""

from __future__ import annotations

import typing as t

from .. import options
from ..errors import InvalidOption

Pool = t.Mapping[str, t.Any]


def chosen(params: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The pools that a run looks at: those named, else all, else, where the run is for a tenant, all of that tenant.

    :param params: V(pools), V(pool), V(tenant) and V(tenants), as in ``options.COMMON``.
    :raises InvalidOption: as :func:`options.pools`; when a pool named is another tenant's; and when a pool of any
        tenant, looked at or not, names a server or a standby that is another's.
    """
    limits = checked(params.get("tenants") or {})
    names, tenant = list(params["pool"]), params.get("tenant")
    if not isinstance(params["pools"], dict):
        return options.pools(params["pools"], names)
    for name, pool in params["pools"].items():
        _require_dictionary(pool, f"pools.{name}")
        _require_dictionary(pool.get("standby") or {}, f"pools.{name}.standby")
    owners = {name: tenant_of(pool) for name, pool in params["pools"].items()}
    if tenant is not None:
        stray = next((name for name in names if owners.get(name, tenant) != tenant), None)
        if stray is not None:
            raise InvalidOption(
                f"pool {stray!r} belongs to tenant {owners[stray]!r}, and this run is for {tenant!r}",
                option="pool",
                remedy="Name pools of the tenant only",
            )
        names = names or [name for name, owner in owners.items() if owner == tenant]
        if not names:
            raise InvalidOption(
                f"no pool belongs to tenant {tenant!r}",
                option="tenant",
                remedy=f"Tenants with pools are {', '.join(sorted(set(owners.values()))) or 'none'}",
            )
    _require_apart(params["pools"], owners, limits)
    return options.pools(params["pools"], names)


def checked(values: t.Any) -> dict[str, dict[str, t.Any]]:
    """What each tenant may have, checked.

    :raises InvalidOption: on a limit that is out of range, and on a standby that two tenants own.
    """
    if not isinstance(values, dict):
        raise InvalidOption(
            "a dictionary of tenants is wanted", option="tenants", remedy="Write limits by tenant, as lowtide_tenants"
        )
    result = {name: options.checked(value, options.TENANT, f"tenants.{name}") for name, value in values.items()}
    owner: dict[str, str] = {}
    for name, limits in result.items():
        for key in ("max_standbys", "guaranteed_standbys", "budget_per_day"):
            # Not 'limits[key] < 0', which NaN would pass.
            if limits[key] is not None and not 0 <= limits[key] < float("inf"):
                raise InvalidOption(
                    f"{limits[key]} is out of range", option=f"tenants.{name}.{key}", remedy="Give 0 or more"
                )
        for server in limits["standbys"] or ():
            if owner.setdefault(server, name) != name:
                raise InvalidOption(
                    f"standby {server!r} belongs to tenant {owner[server]!r} too",
                    option=f"tenants.{name}.standbys",
                    remedy="Give it to one of them",
                )
    return result


def standbys(pool: Pool) -> list[str]:
    """The standbys a pool names."""
    return list(pool["standby"]["servers"]) if pool["standby"] else []


def require_own(names: t.Sequence[str], pools: t.Mapping[str, Pool], tenant: str | None) -> None:
    """Refuse to act on servers that are no standby of the tenant a run is for.

    :raises InvalidOption: naming the first.
    """
    if tenant is None:
        return
    own = {server for pool in pools.values() for server in standbys(pool)}
    stray = next((name for name in names if name not in own), None)
    if stray is not None:
        raise InvalidOption(
            f"{stray!r} is not a standby of tenant {tenant!r}, for whom this run is",
            option="tenant",
            remedy="Name it in standby.servers of one of the tenant's pools, if it is the tenant's",
        )


def tenant_of(pool: t.Any) -> str:
    """The tenant of a pool that is not checked yet."""
    return str(pool.get("tenant") or "default") if isinstance(pool, dict) else "default"


def _require_dictionary(value: t.Any, option: str) -> None:
    """Refuse what is no definition, also of a pool that is not looked at: whose servers it has matters all the same.

    :raises InvalidOption: naming the option.
    """
    if not isinstance(value, dict):
        options.checked(value, {}, option)


def _named(pool: t.Any, key: str) -> list[str]:
    """Servers or standbys of a pool that is not checked yet."""
    place = pool if key == "servers" else pool.get("standby") if isinstance(pool, dict) else None
    names = place.get("servers") if isinstance(place, dict) else None
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []


def _require_apart(
    pools: t.Mapping[str, t.Any], owners: t.Mapping[str, str], limits: t.Mapping[str, t.Mapping[str, t.Any]]
) -> None:
    """Refuse a pool that names what is another tenant's.

    :raises InvalidOption: naming the pool, the server and whose it is.
    """
    unknown = next((name for name, owner in owners.items() if limits and owner not in limits), None)
    if unknown is not None:
        raise InvalidOption(
            f"tenant {owners[unknown]!r} is not one of tenants, so that nothing limits it",
            option=f"pools.{unknown}.tenant",
            remedy=f"Those there are {', '.join(sorted(limits))}; an empty dictionary there sets no limit",
        )
    serving = {server: name for name, pool in pools.items() for server in _named(pool, "servers")}
    set_of = {server: owner for owner, limit in limits.items() for server in limit["standbys"] or ()}
    sharers: dict[str, str] = {}
    for name, pool in pools.items():
        tenant = owners[name]
        for key in ("servers", "standby.servers"):
            for server in _named(pool, key):
                whose = owners.get(serving.get(server, name), tenant)
                where = f"is a server of pool {serving.get(server)!r} of"
                if whose == tenant and server in set_of:
                    whose, where = set_of[server], "belongs to"
                if whose != tenant:
                    raise InvalidOption(
                        f"{server!r} {where} tenant {whose!r}, not of {tenant!r}",
                        option=f"pools.{name}.{key}",
                        remedy="Take it out: a tenant's pool has the tenant's own servers and standbys",
                    )
        for server in _named(pool, "standby.servers"):
            _require_quota(server, name, tenant, limits, set_of, sharers, owners)


def _require_quota(
    server: str,
    name: str,
    tenant: str,
    limits: t.Mapping[str, t.Mapping[str, t.Any]],
    set_of: t.Mapping[str, str],
    sharers: dict[str, str],
    owners: t.Mapping[str, str],
) -> None:
    """A tenant with standbys of its own has no others; one without shares them only under a quota."""
    own = limits.get(tenant, {}).get("standbys")
    if own is not None and server not in set_of:
        raise InvalidOption(
            f"{server!r} is not among the standbys of tenant {tenant!r}",
            option=f"pools.{name}.standby.servers",
            remedy=f"Those are {', '.join(own) or 'none'}: name one of them, or add it to tenants.{tenant}.standbys",
        )
    other = owners[sharers.setdefault(server, name)]
    if other == tenant:
        return
    free = next((one for one in (tenant, other) if limits.get(one, {}).get("max_standbys") is None), None)
    if free is not None:
        raise InvalidOption(
            f"standby {server!r} is of pool {sharers[server]!r} of tenant {other!r} too, and no quota says how many "
            f"tenant {free!r} may take",
            option=f"pools.{name}.standby.servers",
            remedy="Give each its own standbys, or set tenants.<name>.max_standbys for both",
        )
