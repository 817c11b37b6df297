# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When standbys were woken and went to sleep, noted where runs keep their state, and what that has cost today."""

from __future__ import annotations

import contextlib
import datetime
import typing as t

from .. import history, timing
from ..errors import InvalidOption, NotFound
from ..planning import quota, updates
from . import tenants

KIND = "activation"
DAY = 86400.0
LONGEST = 365 * DAY  # that notes are looked for

Pools = t.Dict[str, t.Dict[str, t.Any]]


class Notes:
    """Notes what becomes of standbys, each with the tenant of its pool.

    :param params: Checked options with V(state) (or V(history)) and V(tenants).
    :param owner: The pool that each standby is woken for.
    :raises InvalidOption: when a tenant has a budget, and nothing is given to note in.
    """

    def __init__(self, params: t.Mapping[str, t.Any], pools: Pools, owner: t.Mapping[str, str]) -> None:
        self.params, self.pools, self.owner = params, pools, dict(owner)
        if not params.get("state") and not params.get("history"):
            limits = tenants.checked(params.get("tenants") or {})
            dear = next(
                (name for name in {pool["tenant"] for pool in pools.values()} & set(limits)
                 if limits[name]["budget_per_day"] is not None), None,
            )  # fmt: skip
            if dear is not None:
                raise InvalidOption(
                    f"tenant {dear!r} has a budget, and there is nowhere to note what is spent of it",
                    option="state",
                    remedy="Give a store of type duckdb or postgresql, as the variable lowtide_state",
                )

    def woken(self, servers: t.Mapping[str, datetime.datetime]) -> None:
        """Servers were woken, each at a moment."""
        self._append(servers, woken=True)

    def asleep(self, servers: t.Mapping[str, datetime.datetime]) -> None:
        """Servers went to sleep, each at a moment."""
        self._append(servers, woken=False)

    def moved(self, servers: t.Mapping[str, tuple[str, str]], now: datetime.datetime) -> None:
        """Servers went from one pool to another, awake as they are: the first pays no longer for them, the second does."""
        for places, note in ((0, self.asleep), (1, self.woken)):
            self.owner |= {server: pools[places] for server, pools in servers.items()}
            note(dict.fromkeys(servers, now))

    def _append(self, servers: t.Mapping[str, datetime.datetime], *, woken: bool) -> None:
        if not (self.params.get("state") or self.params.get("history")):
            return
        by_tenant: dict[str, list[str]] = {}
        for server in servers:
            if server in self.owner:
                by_tenant.setdefault(self.pools[self.owner[server]]["tenant"], []).append(server)
        for tenant, names in by_tenant.items():
            with history.open_state(self.params, tenant=tenant) as store:
                for server in names:
                    pool = self.owner[server]
                    price = self.pools[pool]["standby"]["cost_per_hour"]
                    body = {"pool": pool, "woken": woken, "price_per_hour": price}
                    store.append(KIND, server, body, now=servers[server])


def limited(
    params: t.Mapping[str, t.Any],
    plan: dict[str, t.Any],
    pools: Pools,
    *,
    now: datetime.datetime,
    awake: t.Collection[str],
    demand: t.Mapping[str, float],
) -> dict[str, t.Any]:
    """A scaling plan, cut down to what tenants may have; see :func:`quota.limited`.

    :param pools: Those that are planned. :param awake: Standbys awake, those of other pools too.
    """
    limits = tenants.checked(params["tenants"])
    if not limits:
        return plan
    planned = {server for item in plan["pools"].values() for server in item["awake"]}
    elsewhere = _elsewhere(params, pools, [server for server in awake if server not in planned])
    spent = {}
    for tenant in sorted({pool["tenant"] for pool in pools.values()}):
        if limits[tenant]["budget_per_day"] is not None:
            prices = dict(elsewhere.get(tenant, {}))
            for name, item in plan["pools"].items():
                if pools[name]["tenant"] == tenant:
                    prices |= dict.fromkeys(item["awake"], pools[name]["standby"]["cost_per_hour"])
            start, _end = quota.day_of(now, limits[tenant]["time_zone"], f"tenants.{tenant}.time_zone")
            spent[tenant] = quota.spent(_events(params, tenant, start, now), prices, start, now)
    return quota.limited(plan, pools, limits, now=now, spent_today=spent, demand_now=demand, elsewhere=elsewhere)


def _events(
    params: t.Mapping[str, t.Any], tenant: str, start: datetime.datetime, now: datetime.datetime
) -> list[quota.Event]:
    """What was noted of a tenant's standbys from a moment to another."""
    with contextlib.suppress(NotFound), history.open_state(params, tenant=tenant, read_only=True) as store:
        return [
            quota.Event(item.name, item.body["pool"], item.body["woken"], item.at, item.body["price_per_hour"])
            for item in store.records(KIND, since=start)
            if item.at <= now
        ]
    return []


def woke_at(params: t.Mapping[str, t.Any], pools: Pools, now: datetime.datetime) -> dict[str, datetime.datetime]:
    """When standbys woke that must stay awake for a time and were not sent to sleep since, as far as that was noted.

    Looked at is what was noted within the last day, or as long as the longest C(min_awake).
    """
    least = (timing.duration(pool["standby"]["min_awake"]) for pool in pools.values() if pool["standby"])
    seconds = min(max(DAY, *least, 0.0), LONGEST)
    noted = (
        _noted_awake(params, tenant, now, seconds) for tenant in sorted({pool["tenant"] for pool in pools.values()})
    )
    return {event.server: event.at for events in noted for event in events}


def _noted_awake(
    params: t.Mapping[str, t.Any], tenant: str, now: datetime.datetime, seconds: float = DAY
) -> list[quota.Event]:
    """The wakings of a tenant's standbys within the last day, or so many seconds, that no sleep followed, as far as noted."""
    woke: dict[str, quota.Event] = {}
    start = now - datetime.timedelta(seconds=seconds)
    for event in _events(params, tenant, start, now) if _notes_kept(params) else ():
        if event.woken:
            woke[event.server] = event
        else:
            woke.pop(event.server, None)
    return list(woke.values())


def _notes_kept(params: t.Mapping[str, t.Any]) -> bool:
    """Whether there is a store that can keep notes."""
    kept = params.get("state") or params.get("history") or {}
    return bool(kept.get("path") or (kept.get("type") != "prometheus" and kept.get("url")))


def allowances(
    params: t.Mapping[str, t.Any], pools: Pools, *, now: datetime.datetime, awake: t.Collection[str]
) -> dict[str, updates.Allowance]:
    """What each tenant with limits has left for the standbys of an update.

    :param pools: Those that are planned. :param awake: Their standbys awake; of other pools, those count that were noted.
    :raises LowtideError: when a tenant has a budget, and what is spent of it can't be read.
    """
    limits = tenants.checked(params.get("tenants") or {})
    planned = {server for pool in pools.values() for server in tenants.standbys(pool)}
    result = {}
    for tenant in sorted({pool["tenant"] for pool in pools.values()} & set(limits)):
        prices = {
            event.server: event.price for event in _noted_awake(params, tenant, now) if event.server not in planned
        }
        for pool in pools.values():
            if pool["tenant"] == tenant:
                prices |= {name: pool["standby"]["cost_per_hour"] for name in tenants.standbys(pool) if name in awake}
        paid = 0.0
        if limits[tenant]["budget_per_day"] is not None:
            start, _end = quota.day_of(now, limits[tenant]["time_zone"], f"tenants.{tenant}.time_zone")
            paid = quota.spent(_events(params, tenant, start, now), prices, start, now)
        result[tenant] = updates.Allowance(tenant, limits[tenant], len(prices), paid, sum(prices.values()))
    return result


def _elsewhere(params: t.Mapping[str, t.Any], pools: Pools, awake: t.Collection[str]) -> dict[str, dict[str, float]]:
    """Standbys awake of pools that are not planned now, by tenant, with the price of an hour of each."""
    result: dict[str, dict[str, float]] = {}
    planned = {pool["tenant"] for pool in pools.values()}
    others = [
        name for name, pool in params["pools"].items() if name not in pools and tenants.tenant_of(pool) in planned
    ]
    if not others or not awake:
        return result
    for pool in tenants.chosen({**params, "pool": others, "tenant": None}).values():
        for server in tenants.standbys(pool):
            if server in awake:
                result.setdefault(pool["tenant"], {})[server] = pool["standby"]["cost_per_hour"]
    return result


def require_standbys(names: t.Collection[str], params: t.Mapping[str, t.Any], option: str) -> list[str]:
    """Names given in an option, each a standby of some pool, planned or not.

    :raises InvalidOption: on one that no pool names.
    """
    known = set()
    for pool in params["pools"].values():
        standby = pool.get("standby") if isinstance(pool, dict) else None
        known.update((standby or {}).get("servers") or ())
    stray = next((name for name in names if name not in known), None)
    if stray is not None:
        raise InvalidOption(
            f"{stray!r} is not a standby of the pools",
            option=option,
            remedy="Name servers from the pools' standby.servers",
        )
    return list(names)
