# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many servers each pool needs, and which standbys to wake for it or to send back to sleep."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .. import timing
from ..libraries import numpy as np
from . import allocation, costs, rules
from .costs import DEFAULT_QUANTILE, demand_quantile
from .distribution import DemandForecast
from .situation import Situation, servers_for, situations, steps_within

__all__ = ["DEFAULT_QUANTILE", "demand_quantile", "plan", "servers_for"]

Pool = t.Dict[str, t.Any]

# Further servers that C(upcoming) tells of: a sample that is wrong, or a capacity in another unit, asks for any number.
MOST_TOLD = 1000


@dataclasses.dataclass(frozen=True)
class _Need:
    """What one pool needs, before standbys are given out.

    :param due: Servers that it needs now or by the time one woken now could help.
    :param held: Servers below which none is released now.
    :param gains: What each further standby would save, from those it has without any.
    :param reach: The demand it was planned for.
    :param told: What the plan says of it.
    """

    due: int
    held: int
    gains: tuple[float, ...]
    reach: float
    told: dict[str, t.Any]
    reasons: list[str]


def plan(
    pools: dict[str, Pool],
    forecasts: dict[str, DemandForecast],
    *,
    now: datetime.datetime,
    awake: t.Collection[str] = (),
    demand_now: dict[str, float] | None = None,
    hold_seconds: float = 1800.0,
    awake_since: t.Mapping[str, datetime.datetime] | None = None,
    owners: t.Mapping[str, str] | None = None,
    shares: t.Mapping[str, allocation.Share] | None = None,
    anomalies: t.Sequence[dict[str, t.Any]] = (),
    reactive: t.Mapping[str, str] | None = None,
    predictive: t.Mapping[str, str] | None = None,
    out: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """Servers required at each step, standbys to wake now, and standbys that may sleep.

    A standby is due when its pool's demand needs it within the lead time and one step more, so that the next pass
    would be too late. One that is awake is released when nothing within the hold time needs it and it has been awake for
    as long as it must. Nothing is released for a time that the forecast does not reach. A pool without a forecast, or
    whose forecast is over, is planned for the demand it has, and releases nothing. Where pools share standbys, each goes
    where it saves most (:mod:`.allocation`).

    :param pools: Pools by name, as :func:`options.pools` gives them.
    :param forecasts: Demand ahead by pool; a pool that is absent is planned reactively.
    :param now: The moment to decide for.
    :param awake: Standbys that are awake, of all pools.
    :param demand_now: The newest demand by pool, in load units; the plan never goes below what it needs.
    :param hold_seconds: How long nothing may need a standby before it is released.
    :param awake_since: When standbys woke, for the minimum time awake; one that is absent may sleep.
    :param owners: The pool that each awake standby serves, where pools share them.
    :param shares: What tenants have a right to, of shared standbys.
    :param anomalies: Open anomalies, as the module M(lowtide.fleet.anomalies) returns them.
    :param reactive: Why a pool is planned by its newest demand: its forecast here is that demand, carried on.
    :param predictive: Why a pool is planned by its forecast, where that was chosen.
    :param out: Standbys awake that carry nothing: they are woken before those asleep, which only brings them in, or sleep again.
    :returns: The plan, a plain dict; see the return value C(plan) of the module M(lowtide.fleet.scaling_plan).
    """

    def details(name: str) -> dict[str, t.Any]:
        return {
            "demand": (demand_now or {}).get(name),
            "since": awake_since or {},
            "alarm": rules.alarm(pools[name], name, anomalies),
            "reactive_because": (reactive or {}).get(name),
            "predictive_because": (predictive or {}).get(name),
        }

    seen = situations(pools, now, awake, owners or {}, details, out)
    needs = {name: _need(one, forecasts.get(name), hold_seconds) for name, one in seen.items()}
    given = _given(seen, needs, shares or {}, out)
    has = {server: name for name, servers in given.items() for server in servers}
    ordered = {name: _pool_plan(seen[name], needs[name], given.get(name, []), has, hold_seconds, out) for name in pools}
    taken = {server for one in seen.values() for server in (*one.awake, *one.out)} | set(has)
    for name, one in seen.items():
        ordered[name]["candidates"] = [server for server in one.standbys if server not in taken]
    horizon = max((forecast.steps * forecast.step_seconds for forecast in forecasts.values()), default=0)
    return {
        "kind": "scaling",
        "version": 1,
        "now": timing.iso(now),
        "horizon_seconds": horizon,
        "pools": ordered,
        "words": [f"{name}: {reason}" for name, item in ordered.items() for reason in item["reasons"]],
    }


def _need(situation: Situation, forecast: DemandForecast | None, hold_seconds: float) -> _Need:
    if forecast is None or forecast.end <= situation.now:
        return _without_forecast(situation)
    pool, alarm = situation.pool, situation.alarm
    quantile = min(_cautious(situation), float(forecast.levels[-1]))
    demand = np.maximum(forecast.level(quantile), 0)
    first = forecast.step_at(situation.now)
    urgent = steps_within(forecast, situation.now, situation.lead_seconds + forecast.step_seconds)
    ahead = servers_for(pool, demand[first:])
    reach = float(demand[first : first + urgent].max())
    outcomes, widths = costs.outcomes(forecast, slice(first, first + urgent))
    verdict = None
    if pool.get("rules"):
        limits = rules.thresholds(pool["rules"])
        served = situation.in_service * pool["load"]["server_capacity"]
        verdict = rules.judge(
            limits, demand[first:] / max(served, 1e-9), forecast.step_seconds, urgent, situation.in_service
        )
        due = _within(pool, verdict.wanted)
    elif pool["slo"].get("overload") == "time":
        due = _within(pool, costs.cheapest(pool, outcomes, widths, int(servers_for(pool, outcomes.max()))))
    else:
        due = int(ahead[:urgent].max())
    floor = 0 if situation.demand is None else situation.reactive
    due = max(due, floor, int(servers_for(pool, alarm.demand)) if alarm.demand else 0)
    holding = max(urgent, steps_within(forecast, situation.now, hold_seconds))
    # What the forecast does not reach may need all that is awake; an anomaly may hide a need.
    frozen = alarm.freeze or holding > len(ahead) or (verdict is not None and situation.demand is None)
    if frozen:
        held = situation.powered_on
    else:
        held = max(verdict.keep, floor) if verdict else max(int(ahead[:holding].max()), due)
    told = _told(situation, forecast, demand, ahead, first, urgent, quantile, due)
    reasons = _reasons(situation, forecast, told, due, urgent, reach, quantile, verdict)
    wanted = min(max(0, due - len(pool["servers"])), len(situation.standbys))
    gains = costs.gains(pool, outcomes, widths, len(pool["servers"]), wanted)
    return _Need(due, held, tuple(gains.tolist()), max(reach, alarm.demand), told, reasons)


def _cautious(situation: Situation) -> float:
    """The level to cover: half the risk where nobody knows what the pool carries now."""
    quantile = demand_quantile(situation.pool)
    return quantile if situation.demand is not None else 1 - (1 - quantile) / 2


def _within(pool: Pool, count: int) -> int:
    return int(np.clip(count, pool["limits"]["min"], pool["limits"]["max"] or max(count, pool["limits"]["min"])))


def _without_forecast(situation: Situation) -> _Need:
    alarm = situation.alarm
    due = max(situation.reactive, int(servers_for(situation.pool, alarm.demand)) if alarm.demand else 0)
    told = {"mode": "reactive", "quantile": None, "peak": None, "required_by_step": [], "risk": None, "upcoming": []}
    told["alternatives"] = []
    wanted = min(max(0, due - len(situation.pool["servers"])), len(situation.standbys))
    each = costs.overload_cost(situation.pool) * situation.pool["weight"]
    return _Need(
        due, situation.powered_on, (each,) * wanted, alarm.demand, told, [_reactive_words(situation), *alarm.reasons]
    )


def _told(
    situation: Situation,
    forecast: DemandForecast,
    demand: t.Any,
    ahead: t.Any,
    first: int,
    urgent: int,
    quantile: float,
    due: int,
) -> dict[str, t.Any]:
    """What the plan says of the time ahead."""
    pool = situation.pool
    top = first + int(np.argmax(demand[first:]))
    served = situation.in_service * pool["load"]["server_capacity"]
    counts = ahead.copy()
    counts[:urgent] = np.maximum(counts[:urgent], min(due, situation.in_service))
    return {
        "mode": "reactive" if situation.reactive_because else "predictive",
        "quantile": round(quantile, 4),
        "peak": {"time": timing.iso(forecast.begin_of(top)), "demand": round(float(demand[top]), 3)},
        "required_by_step": servers_for(pool, demand).tolist(),
        "start": timing.iso(forecast.start),
        "step_seconds": forecast.step_seconds,
        "upcoming": _upcoming(situation, forecast, ahead, first),
        "risk": round(float(forecast.exceedance(served, slice(first, first + urgent)).max()), 5),
        "alternatives": costs.table(pool, forecast, first, counts),
    }


def _reasons(
    situation: Situation,
    forecast: DemandForecast,
    told: dict[str, t.Any],
    due: int,
    urgent: int,
    reach: float,
    quantile: float,
    verdict: rules.Verdict | None,
) -> list[str]:
    unit, serving = situation.unit, situation.in_service
    why = situation.reactive_because or situation.predictive_because
    reasons = [] if why is None else [why]
    reasons.append(
        f"within {timing.words(urgent * forecast.step_seconds)} demand stays below "
        f"{reach:.4g} {unit} with probability {quantile:.4g}; "
        f"that needs {due} servers, and {serving} are in service"
    )
    if verdict:
        reasons += verdict.reasons or ["no threshold is passed for its time"]
    elif situation.reactive_because is None:
        peak = told["peak"]
        count = int(servers_for(situation.pool, peak["demand"]))
        reasons.append(f"the peak of that level is {peak['demand']:.4g} {unit} at {peak['time']}, for {count} servers")
    if situation.demand is None:
        reasons.append("nobody knows what it carries now, so half the risk is taken")
    return reasons + list(situation.alarm.reasons) + _cost_words(told["alternatives"])


def _cost_words(alternatives: list[dict[str, t.Any]]) -> list[str]:
    """What the plan is expected to cost, and what one server more or less would change."""
    by_change = {row["servers"]: row for row in alternatives}
    own = by_change[0]
    words = f"expected until the forecast ends: cost {own['cost']:.4g}, overload {own['overload_minutes']:.3g} min"
    for change, name in ((1, "one server more"), (-1, "one fewer")):
        if change in by_change:
            other = by_change[change]
            words += (
                f"; {name}: cost {other['cost'] - own['cost']:+.3g}, "
                f"overload {other['overload_minutes'] - own['overload_minutes']:+.3g} min"
            )
    return [words]


def _given(
    seen: dict[str, Situation],
    needs: dict[str, _Need],
    shares: t.Mapping[str, allocation.Share],
    out: t.Collection[str],
) -> dict[str, list[str]]:
    """The standbys that each pool has after the plan, before any is released.

    Only where somebody wants more than is free does who saves most matter; a pool keeps what it has and needs or must hold.
    One that is on already is the first to go where it is wanted.
    """
    claims = []
    for name in sorted(seen, key=lambda name: (-seen[name].pool["weight"], name)):
        situation, need = seen[name], needs[name]
        failure = (situation.pool["standby"] or {}).get("boot_failure") or 0.0
        more = min(need.due - situation.in_service, len(situation.standbys))
        wanted = len(situation.awake) + costs.woken_for(more, failure, demand_quantile(situation.pool))
        gains = need.gains[: max(0, wanted)]
        # Those woken in case others don't boot save what the last one does, times the chance that it doesn't.
        spare = max(0, wanted - len(gains)) if more > 0 else 0
        gains += ((gains[-1] if gains else 0.0) * failure,) * spare
        gains = gains[: len(situation.standbys)]
        if gains:
            claims.append(
                allocation.Claim(
                    name,
                    situation.pool["tenant"],
                    tuple(sorted(situation.standbys, key=lambda server: server not in out)),
                    gains,
                    frozenset(situation.awake),
                )
            )
    return allocation.share(claims, shares)


def _pool_plan(
    situation: Situation,
    need: _Need,
    given: list[str],
    has: dict[str, str],
    hold_seconds: float,
    out: t.Collection[str],
) -> dict[str, t.Any]:
    """What one pool does.

    :param given: The standbys it has after the plan. :param has: Which pool has each standby then.
    """
    pool, name = situation.pool, situation.name
    moved = [
        {"server": server, "to": has[server], "reason": f"it saves more in {has[server]}"}
        for server in situation.awake
        if has.get(server, name) != name
    ]
    gone = {item["server"] for item in moved}
    fresh = [server for server in given if server not in situation.awake]
    idle = [server for server in situation.out if server not in has]
    on = {*situation.awake, *idle, *(server for server in fresh if server in out)}
    reason = f"{need.due} servers are needed, {situation.in_service} are in service"
    result: dict[str, t.Any] = {
        "in_service": pool["servers"] + situation.awake,
        "awake": [server for server in situation.standbys if server in on],
        **need.told,
        "required": need.due,
        "activate": [{"server": server, "by": timing.iso(situation.now), "reason": reason} for server in fresh],
        "moved": moved,
    }
    result["release"], waiting = ([], []) if fresh else _release(situation, need.held, gone, idle, hold_seconds)
    short = need.due - situation.in_service + len(moved) - len(fresh)
    result["short"] = max(0, short)
    reasons = need.reasons + _limit_words(pool, max(need.reach, situation.demand or 0.0), situation.unit)
    result["reasons"] = reasons + _action_words(result, short, waiting)
    return result


def _release(
    situation: Situation, held: int, gone: t.Collection[str], idle: list[str], hold_seconds: float
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The standbys to send to sleep now, and those that nothing needs and that were awake too briefly.

    :param gone: Those that move. :param idle: Those that carry nothing, the first to go.
    """
    serving = [server for server in situation.awake if server not in gone]
    count = len(situation.pool["servers"]) + len(serving)
    reason = f"no more than {held} servers are needed within {timing.words(hold_seconds)}"
    picked: list[str] = []
    later: list[str] = []
    # One that carries nothing and may not sleep yet is no reason to send one to sleep that does.
    for stay, spare in ((serving, max(0, count - held)), (idle, max(0, min(len(idle), count + len(idle) - held)))):
        rested = [server for server in stay if situation.rests_from(server) <= situation.now]
        own = rested[max(0, len(rested) - spare) :] if spare else []
        young = [server for server in stay if server not in rested]
        later += young[max(0, len(young) - (spare - len(own))) :] if spare > len(own) else []
        picked += own

    def items(servers: list[str]) -> list[dict[str, str]]:
        return [
            {"server": server, "not_before": timing.iso(situation.rests_from(server)), "reason": reason}
            for server in servers
        ]

    return items(picked), items(later)


def _upcoming(situation: Situation, forecast: DemandForecast, ahead: t.Any, first: int) -> list[dict[str, t.Any]]:
    """When each further server must be powered on at the latest, for all that the horizon needs."""
    need = np.maximum.accumulate(ahead)
    counts = np.arange(situation.in_service + 1, min(int(need[-1]), situation.in_service + MOST_TOLD) + 1)
    lead = datetime.timedelta(seconds=situation.lead_seconds)
    return [
        {"servers": int(count), "by": timing.iso(max(situation.now, forecast.begin_of(first + int(step)) - lead))}
        for count, step in zip(counts, np.searchsorted(need, counts), strict=True)
    ]


def _reactive_words(situation: Situation) -> str:
    if situation.demand is None:
        return "no forecast and no newest demand: what is awake stays awake"
    return (
        f"no forecast, so by the newest demand alone: {situation.demand:.4g} {situation.unit} needs "
        f"{situation.reactive} servers; {situation.in_service} are in service, and none is released"
    )


def _limit_words(pool: Pool, demand: float, unit: str) -> list[str]:
    """What V(limits.max) withholds."""
    most = pool["limits"]["max"]
    if most is None or demand <= most * pool["load"]["server_capacity"] * pool["load"]["target_utilization"] + 1e-9:
        return []
    return [f"limits.max of {most} keeps it from having the servers that {demand:.4g} {unit} need"]


def _action_words(result: dict[str, t.Any], short: int, waiting: list[dict[str, str]]) -> list[str]:
    words = []
    if result["activate"]:
        words.append(f"wake {', '.join(item['server'] for item in result['activate'])} now")
    if result["moved"]:
        words.append("give up " + ", ".join(f"{item['server']} to {item['to']}" for item in result["moved"]))
    if short > 0:
        words.append(f"{short} more needed than there are standbys: expect overload")
    if result["release"]:
        words.append(f"send {', '.join(item['server'] for item in result['release'])} to sleep")
    if waiting:
        words.append(
            f"{', '.join(item['server'] for item in waiting)} woke lately and may sleep from {waiting[0]['not_before']}"
        )
    if not (words or short > 0):
        words.append("nothing to wake and nothing to send to sleep")
    if not result["activate"] and result["upcoming"]:
        words.append(f"wake the next standby by {result['upcoming'][0]['by']}")
    return words
