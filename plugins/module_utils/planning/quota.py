# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tenant may have awake, and spend in a day: a scaling plan is cut down to it, and says why."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .. import timing
from ..libraries import numpy as np
from .scaling import servers_for

Pools = t.Mapping[str, t.Mapping[str, t.Any]]
Plan = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Event:
    """A standby was woken, or went to sleep. :param price: Of an hour awake."""

    server: str
    pool: str
    woken: bool
    at: datetime.datetime
    price: float


def day_of(now: datetime.datetime, time_zone: str, option: str) -> tuple[datetime.datetime, datetime.datetime]:
    """When the tenant's day began, and when it ends, UTC. It has 23 or 25 hours when the clocks are changed.

    :raises InvalidOption: on a time zone that is none.
    """
    zone = timing.zone(time_zone, option)
    today = now.astimezone(zone).date()
    first, last = (
        datetime.datetime.combine(day, datetime.time(), zone).astimezone(datetime.UTC)
        for day in (today, today + datetime.timedelta(days=1))
    )
    return first, last


def spent(
    events: t.Iterable[Event], awake: t.Mapping[str, float], start: datetime.datetime, now: datetime.datetime
) -> float:
    """What the standbys of a tenant have cost since a moment.

    A server whose first event is that it went to sleep, and one that is awake without an event, was awake from the
    start on: it is counted rather too dear than too cheap.

    :param events: What happened since the start, in any order.
    :param awake: Standbys awake now, with the price of an hour.
    """
    own: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: event.at):
        own.setdefault(event.server, []).append(event)
    return sum(_cost(own.get(server, []), awake.get(server), start, now) for server in {*own, *awake})


def _cost(events: list[Event], price: float | None, start: datetime.datetime, now: datetime.datetime) -> float:
    """What one server has cost; it is awake now if it has a price."""
    total = 0.0
    since = start if (not events and price is not None) or (events and not events[0].woken) else None
    rate = events[0].price if events else price or 0.0
    for event in events:
        if event.woken and since is None:
            since, rate = event.at, event.price
        elif not event.woken and since is not None:
            total += rate * _hours(since, event.at)
            since = None
    if since is None and price is not None:
        # It was woken by other hands after it went to sleep.
        since, rate = events[-1].at, price
    # One that was woken, and neither sleeps nor was seen to go to sleep, was put to sleep by other hands.
    return total + (rate * _hours(since, now) if since is not None else 0.0)


def _hours(start: datetime.datetime, end: datetime.datetime) -> float:
    return max(0.0, (end - start).total_seconds()) / 3600


def standbys(count: int) -> str:
    """So many standbys, in words."""
    return f"{count} {'standby' if count == 1 else 'standbys'}"


def limited(
    plan: Plan,
    pools: Pools,
    tenants: t.Mapping[str, t.Mapping[str, t.Any]],
    *,
    now: datetime.datetime,
    spent_today: t.Mapping[str, float],
    demand_now: t.Mapping[str, float],
    elsewhere: t.Mapping[str, t.Mapping[str, float]] | None = None,
) -> Plan:
    """A scaling plan, cut down to what each tenant may have.

    Standbys of heavier pools go first. One that is refused stays asleep, and the plan says why in V(refused); when a
    day's budget is used up, standbys are released down to what the newest demand needs, never below.

    :param plan: As :func:`.scaling.plan` returns it; it is not changed.
    :param tenants: Checked values of ``options.TENANT`` by tenant. A tenant that is absent has no limit.
    :param spent_today: What standbys have cost since the tenant's day began, by tenant with a budget.
    :param demand_now: The newest demand by pool, in load units.
    :param elsewhere: Standbys awake of pools that are not planned, by tenant, with the price of an hour of each.
    :returns: A plan of the same form. Its pools have V(refused), a list of V(server) and V(reason); the plan has
        V(tenants), what each may have and has.
    """
    result = {**plan, "pools": {name: dict(item) for name, item in plan["pools"].items()}, "tenants": {}}
    for item in result["pools"].values():
        item["refused"] = []
    for tenant in sorted({pools[name]["tenant"] for name in result["pools"]} & set(tenants)):
        names = [name for name in result["pools"] if pools[name]["tenant"] == tenant]
        names.sort(key=lambda name: (-pools[name]["weight"], name))
        purse = _Purse(tenant, tenants[tenant], now, spent_today.get(tenant, 0.0))
        items = {name: result["pools"][name] for name in names}
        purse.pay_for_awake(items, pools)
        purse.pay_for_others((elsewhere or {}).get(tenant, {}))
        for name in names:
            _cut(items[name], pools[name], purse)
        for name in names:
            _explain(items[name], purse)
        for name in names if purse.overdrawn else ():
            _let_go(items[name], pools[name], purse, demand_now.get(name))
        result["tenants"][tenant] = purse.account()
    for name, server in _staying(result["pools"]):
        account = result["tenants"].get(pools[name]["tenant"], {"standbys": 0})
        account["standbys"] += 1
        _keep(result["pools"][name], server)
    result["words"] = [f"{name}: {reason}" for name, item in result["pools"].items() for reason in item["reasons"]]
    result["words"] += [words for account in result["tenants"].values() for words in account["words"]]
    return result


class _Purse:
    """What one tenant has left, while a plan is gone through."""

    def __init__(self, tenant: str, limits: t.Mapping[str, t.Any], now: datetime.datetime, spent_today: float) -> None:
        self.tenant, self.now, self.spent = tenant, now, spent_today
        self.most, self.budget = limits["max_standbys"], limits["budget_per_day"]
        self.start, self.end = day_of(now, limits["time_zone"], f"tenants.{tenant}.time_zone")
        self.awake = 0
        self.planned = 0.0
        self.refused = 0

    @property
    def overdrawn(self) -> bool:
        """Whether the day's budget is used up."""
        return self.budget is not None and self.spent >= self.budget

    def pay_for_awake(self, items: t.Mapping[str, dict[str, t.Any]], pools: Pools) -> None:
        """Set aside what is awake, and what it will cost until the day ends."""
        for name, item in items.items():
            hours = _hours_awake(item, pools[name], self.now, self.end)
            released = {entry["server"] for entry in (*item["release"], *item.get("moved", ()))}
            staying = [server for server in item["awake"] if server not in released]
            self.awake += len(staying)
            self.planned += sum(hours[: len(staying)]) * pools[name]["standby"]["cost_per_hour"] if staying else 0.0

    def pay_for_others(self, prices: t.Mapping[str, float]) -> None:
        """Set aside what is awake for pools that another run has in hand: nobody here knows until when."""
        self.awake += len(prices)
        self.planned += sum(prices.values()) * _hours(self.now, self.end)

    def refusal(self, cost: float) -> str | None:
        """Why one more standby that costs so much today is refused; none when it is granted, and then it is paid for."""
        if self.most is not None and self.awake >= self.most:
            return self.full()
        if self.budget is not None and self.spent + self.planned + cost > self.budget:
            return (
                f"tenant {self.tenant} has spent {self.spent:.2f} today and {self.planned:.2f} is planned until "
                f"{timing.iso(self.end)}; {cost:.2f} more would exceed budget_per_day of {self.budget:g}"
            )
        self.awake += 1
        self.planned += cost
        return None

    def full(self) -> str:
        """Why no further standby may be awake."""
        return f"tenant {self.tenant} has {standbys(self.awake)} awake or waking, and max_standbys is {self.most}"

    def account(self) -> dict[str, t.Any]:
        """What the plan says of the tenant."""
        words = []
        if self.budget is not None:
            words.append(
                f"tenant {self.tenant}: {self.spent:.2f} of {self.budget:g} spent since {timing.iso(self.start)}, "
                f"{self.planned:.2f} more planned until {timing.iso(self.end)}"
                + ("; the budget is used up" if self.overdrawn else "")
            )
        return {
            "max_standbys": self.most,
            "standbys": self.awake,
            "budget_per_day": self.budget,
            "spent_today": round(self.spent, 4),
            "planned_today": round(self.planned, 4),
            "refused": self.refused,
            "words": words,
        }


def _cut(item: dict[str, t.Any], pool: t.Mapping[str, t.Any], purse: _Purse) -> None:
    """Take out of one pool's plan what its tenant may not have."""
    if not item["activate"]:
        return
    hours = _hours_awake(item, pool, purse.now, purse.end)
    # One that is on already, and is only brought in, is paid for with those awake.
    granted = [entry for entry in item["activate"] if entry["server"] in item["awake"]]
    asleep = [entry for entry in item["activate"] if entry["server"] not in item["awake"]]
    refused = []
    for place, entry in enumerate(asleep, start=len(item["awake"])):
        cost = hours[place] * pool["standby"]["cost_per_hour"]
        reason = purse.refusal(cost)
        (refused if reason else granted).append({**entry, "reason": reason} if reason else entry)
    if not refused:
        return
    purse.refused += len(refused)
    item["activate"] = granted
    item["refused"] = [{"server": entry["server"], "reason": entry["reason"]} for entry in refused]
    item["short"] = item.get("short", 0) + len(refused)
    said = [reason for reason in item["reasons"] if not reason.startswith("wake ")]
    if granted:
        said.append(f"wake {', '.join(entry['server'] for entry in granted)} now")
    names = ", ".join(entry["server"] for entry in refused)
    said += [
        f"{names} {'stays' if len(refused) == 1 else 'stay'} asleep: {refused[0]['reason']}",
        f"{item['short']} more needed than may be awake: expect overload",
    ]
    item["reasons"] = said


def _staying(items: t.Mapping[str, dict[str, t.Any]]) -> list[tuple[str, str]]:
    """The standbys that were to move to a pool which was refused them, each with the pool that keeps it."""
    given = {name: {entry["server"] for entry in item["activate"]} for name, item in items.items()}
    return [
        (name, entry["server"])
        for name, item in items.items()
        for entry in item.get("moved", ())
        if entry["server"] not in given[entry["to"]]
    ]


def _keep(item: dict[str, t.Any], server: str) -> None:
    """A pool goes on with a standby that was to move."""
    item["moved"] = [entry for entry in item["moved"] if entry["server"] != server]
    item["short"] = max(0, item["short"] - 1)
    item["reasons"] = [
        *(said for said in item["reasons"] if not said.startswith("give up ")),
        *(f"give up {entry['server']} to {entry['to']}" for entry in item["moved"]),
        f"{server} stays: the pool that wants it may not have it",
    ]


def _explain(item: dict[str, t.Any], purse: _Purse) -> None:
    """Say which standbys the quota kept asleep that the plan itself did not give to the pool because of it."""
    kept = item.get("candidates", [])[: max(0, item["short"] - len(item["refused"]))]
    if not kept or purse.most is None or purse.awake < purse.most:
        return
    reason = purse.full()
    purse.refused += len(kept)
    item["refused"] = item["refused"] + [{"server": server, "reason": reason} for server in kept]
    item["reasons"] = [
        *(said for said in item["reasons"] if "needed than there are standbys" not in said),
        f"{', '.join(kept)} {'stays' if len(kept) == 1 else 'stay'} asleep: {reason}",
        f"{item['short']} more needed than may be awake: expect overload",
    ]


def _let_go(item: dict[str, t.Any], pool: t.Mapping[str, t.Any], purse: _Purse, demand: float | None) -> None:
    """Release what only the forecast needs, of the standbys that serve the pool and stay with it."""
    going = {entry["server"] for entry in (*item["release"], *item.get("moved", ()))}
    staying = [server for server in item["awake"] if server in item["in_service"] and server not in going]
    if demand is None or not staying:
        return
    floor = int(servers_for(dict(pool), demand))
    spare = min(len(staying), max(0, len(pool["servers"]) + len(staying) - floor))
    if not spare:
        return
    reason = f"the budget of tenant {purse.tenant} is used up, and the newest demand needs {floor} servers"
    names = staying[len(staying) - spare :]
    item["release"] = item["release"] + [
        {"server": name, "not_before": timing.iso(purse.now), "reason": reason} for name in names
    ]
    item["reasons"] = item["reasons"] + [f"send {', '.join(names)} to sleep: {reason}"]
    purse.awake -= spare


def _hours_awake(
    item: dict[str, t.Any], pool: t.Mapping[str, t.Any], now: datetime.datetime, end: datetime.datetime
) -> list[float]:
    """Hours until the day ends that the first, second, ... standby of a pool is needed.

    Without a forecast, and where it ends before the day does, it is needed on.
    """
    left = _hours(now, end)
    count = len(item["awake"]) + len(item["activate"]) + 1
    needed = np.array(item["required_by_step"] or [], dtype=int)
    if not needed.size:
        return [left] * count
    step = item["step_seconds"] / 3600
    first = (timing.moment(item["start"]) - now).total_seconds() / 3600 - step
    begins = np.clip(first + step * np.arange(needed.size), 0, left)
    ends = np.clip(first + step * np.arange(1, needed.size + 1), 0, left)
    beyond = max(0.0, left - (first + step * needed.size))
    places = len(pool["servers"]) + np.arange(1, count + 1)
    # It sleeps again only after its last need, or in between when that is long; the plan wakes it early, never late.
    hours = ((needed[None, :] >= places[:, None]) * (ends - begins)[None, :]).sum(axis=1)
    hours += np.where(needed[-1] >= places, beyond, 0.0)
    return [float(value) for value in np.maximum(hours, min(left, step))]
