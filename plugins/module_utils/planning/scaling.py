# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many servers each pool needs, and which standbys to wake for it or to send back to sleep."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..libraries import numpy as np
from .distribution import DemandForecast

Pool = t.Dict[str, t.Any]

# Where no overload cost says how much certainty is worth.
DEFAULT_QUANTILE = 0.95


def demand_quantile(pool: Pool) -> float:
    """The level of the demand forecast that is worth covering.

    An hour in which one server's worth of demand is not served costs C(overload_cost_per_hour); an hour of a server
    that was not needed costs C(standby.cost_per_hour). The cheapest level is their critical ratio, which no history of some weeks can
    tell beyond 99.9 %.

    Source: Arrow, Harris, Marschak, "Optimal Inventory Policy", Econometrica 19 (1951).
    """
    overload = pool["slo"]["overload_cost_per_hour"]
    if overload is None:
        return DEFAULT_QUANTILE
    server = pool["standby"]["cost_per_hour"] if pool["standby"] else 1.0
    ratio = overload / (overload + server) if overload + server > 0 else DEFAULT_QUANTILE
    return min(max(round(ratio, 4), 0.5), 0.999)


def servers_for(pool: Pool, demand: t.Any) -> t.Any:
    """Servers that carry a demand at the pool's target utilization, within its limits; int, of the demand's shape."""
    each = pool["load"]["server_capacity"] * pool["load"]["target_utilization"]
    most = pool["limits"]["max"] or np.inf
    # A demand that fills servers exactly needs no further one because of a rounding error.
    return np.clip(np.ceil(np.asarray(demand, dtype=float) / each - 1e-9), pool["limits"]["min"], most).astype(int)


def plan(
    pools: dict[str, Pool],
    forecasts: dict[str, DemandForecast],
    *,
    now: datetime.datetime,
    awake: t.Collection[str] = (),
    demand_now: dict[str, float] | None = None,
    hold_seconds: float = 1800.0,
) -> dict[str, t.Any]:
    """Servers required at each step, standbys to wake now, and standbys that may sleep.

    A standby is due when its pool's demand needs it within the lead time and one step more, so that the next pass
    would be too late. One that is awake is released when nothing within the hold time needs it. Nothing is
    released for a time that the forecast does not reach. A pool without a forecast, or whose forecast is over, is
    planned for the demand it has, and releases nothing. Where pools share standbys, the weightier pool
    chooses first.

    :param pools: Pools by name, as :func:`options.pools` gives them.
    :param forecasts: Demand ahead by pool; a pool that is absent is planned reactively.
    :param now: The moment to decide for.
    :param awake: Standbys that are awake, of all pools.
    :param demand_now: The newest demand by pool, in load units; the plan never goes below what it needs.
    :param hold_seconds: How long nothing may need a standby before it is released.
    :returns: The plan, a plain dict; see the return value C(plan) of the module M(lowtide.fleet.scaling_plan).
    """
    taken: set[str] = set()
    planned: dict[str, dict[str, t.Any]] = {}
    for name in sorted(pools, key=lambda name: (-pools[name]["weight"], name)):
        situation = _Situation.of(pools[name], name, now, awake, taken, (demand_now or {}).get(name))
        planned[name] = _pool_plan(situation, forecasts.get(name), hold_seconds)
        taken.update(item["server"] for item in planned[name]["activate"])
        taken.update(situation.awake)
    for name, pool in pools.items():
        standbys = pool["standby"]["servers"] if pool["standby"] else []
        planned[name]["candidates"] = [server for server in standbys if server not in taken]
    ordered = {name: planned[name] for name in pools}
    horizon = max((forecast.steps * forecast.step_seconds for forecast in forecasts.values()), default=0)
    return {
        "kind": "scaling",
        "version": 1,
        "now": timing.iso(now),
        "horizon_seconds": horizon,
        "pools": ordered,
        "words": [f"{name}: {reason}" for name, item in ordered.items() for reason in item["reasons"]],
    }


@dataclasses.dataclass(frozen=True)
class _Situation:
    """A pool as it is at the moment of the plan."""

    name: str
    pool: Pool
    now: datetime.datetime
    awake: list[str]
    asleep: list[str]
    demand: float | None

    @classmethod
    def of(
        cls,
        pool: Pool,
        name: str,
        now: datetime.datetime,
        awake: t.Collection[str],
        taken: t.Collection[str],
        demand: float | None,
    ) -> _Situation:
        standbys = [server for server in (pool["standby"]["servers"] if pool["standby"] else []) if server not in taken]
        return cls(
            name,
            pool,
            now,
            [server for server in standbys if server in awake],
            [server for server in standbys if server not in awake],
            demand,
        )

    @property
    def in_service(self) -> int:
        return len(self.pool["servers"]) + len(self.awake)

    @property
    def lead_seconds(self) -> float:
        return timing.duration(self.pool["standby"]["lead_time"]) if self.pool["standby"] else 0.0

    @property
    def reactive(self) -> int:
        """Servers that the demand of this moment needs; those in service where it is not known."""
        return self.in_service if self.demand is None else int(servers_for(self.pool, self.demand))


def _pool_plan(situation: _Situation, forecast: DemandForecast | None, hold_seconds: float) -> dict[str, t.Any]:
    pool, unit = situation.pool, situation.pool["load"]["unit"] or situation.pool["load"]["metric"]
    result: dict[str, t.Any] = {
        "in_service": pool["servers"] + situation.awake,
        "awake": situation.awake,
        "upcoming": [],
        "release": [],
    }
    if forecast is None or forecast.end <= situation.now:
        required, reasons = situation.reactive, [_reactive_words(situation, unit)]
        result |= {"mode": "reactive", "quantile": None, "peak": None, "required_by_step": [], "risk": None}
        due, reach = required, 0.0
    else:
        quantile = min(demand_quantile(pool), float(forecast.levels[-1]))
        demand = forecast.level(quantile)
        first = forecast.step_at(situation.now)
        ahead = servers_for(pool, demand[first:])
        urgent = _steps_within(forecast, situation.now, situation.lead_seconds + forecast.step_seconds)
        reactive = 0 if situation.demand is None else situation.reactive
        due = max(int(ahead[:urgent].max()), reactive)
        holding = max(urgent, _steps_within(forecast, situation.now, hold_seconds))
        # What the forecast does not reach may need all that is awake.
        held = max(int(ahead[:holding].max()), due) if holding <= len(ahead) else situation.in_service
        required = due
        top = first + int(np.argmax(demand[first:]))
        result |= {
            "mode": "predictive",
            "quantile": round(quantile, 4),
            "peak": {"time": timing.iso(forecast.begin_of(top)), "demand": round(float(demand[top]), 3)},
            "required_by_step": [int(value) for value in servers_for(pool, demand)],
            "start": timing.iso(forecast.start),
            "step_seconds": forecast.step_seconds,
            "upcoming": _upcoming(situation, forecast, ahead, first),
            "release": _release(situation, held, hold_seconds),
        }
        served = situation.in_service * pool["load"]["server_capacity"]
        result["risk"] = round(float(forecast.exceedance(served)[first : first + urgent].max()), 5)
        reach = float(demand[first : first + urgent].max())
        reasons = [
            f"within {timing.words(urgent * forecast.step_seconds)} demand stays below "
            f"{reach:.4g} {unit} with probability {quantile:.4g}; "
            f"that needs {due} servers, and {situation.in_service} are in service",
            f"the peak of that level is {float(demand[top]):.4g} {unit} at {timing.iso(forecast.begin_of(top))}, for "
            f"{int(servers_for(pool, demand[top]))} servers",
        ]
    result["required"] = required
    result["activate"] = _activate(situation, due)
    short = due - situation.in_service - len(result["activate"])
    reasons += _limit_words(pool, max(reach, situation.demand or 0.0), unit) + _action_words(result, short)
    result["short"] = max(0, short)
    result["reasons"] = reasons
    return result


def _steps_within(forecast: DemandForecast, now: datetime.datetime, seconds: float) -> int:
    """How many steps, from the one that goes on now, begin within a time from now; at least that one."""
    until = (now - forecast.begin_of(forecast.step_at(now))).total_seconds() + seconds
    return max(1, math.ceil(until / forecast.step_seconds))


def _activate(situation: _Situation, due: int) -> list[dict[str, str]]:
    wanted = max(0, due - situation.in_service)
    reason = f"{due} servers are needed, {situation.in_service} are in service"
    return [
        {"server": server, "by": timing.iso(situation.now), "reason": reason} for server in situation.asleep[:wanted]
    ]


def _release(situation: _Situation, held: int, hold_seconds: float) -> list[dict[str, str]]:
    spare = max(0, situation.in_service - held)
    reason = f"no more than {held} servers are needed within {timing.words(hold_seconds)}"
    released = situation.awake[max(0, len(situation.awake) - spare) :] if spare else []
    return [{"server": server, "not_before": timing.iso(situation.now), "reason": reason} for server in released]


def _upcoming(situation: _Situation, forecast: DemandForecast, ahead: t.Any, first: int) -> list[dict[str, t.Any]]:
    """When each further server must be powered on at the latest, for all that the horizon needs."""
    need = np.maximum.accumulate(ahead)
    counts = np.arange(situation.in_service + 1, int(need[-1]) + 1)
    steps = [first + int(np.searchsorted(need, count)) for count in counts]
    lead = datetime.timedelta(seconds=situation.lead_seconds)
    return [
        {"servers": int(count), "by": timing.iso(max(situation.now, forecast.begin_of(step) - lead))}
        for count, step in zip(counts, steps, strict=True)
    ]


def _reactive_words(situation: _Situation, unit: str) -> str:
    if situation.demand is None:
        return "no forecast and no newest demand: what is awake stays awake"
    return (
        f"no forecast, so by the newest demand alone: {situation.demand:.4g} {unit} needs {situation.reactive} servers; "
        f"{situation.in_service} are in service, and none is released"
    )


def _limit_words(pool: Pool, demand: float, unit: str) -> list[str]:
    """What V(limits.max) withholds."""
    most = pool["limits"]["max"]
    if most is None or demand <= most * pool["load"]["server_capacity"] * pool["load"]["target_utilization"] + 1e-9:
        return []
    return [f"limits.max of {most} keeps it from having the servers that {demand:.4g} {unit} need"]


def _action_words(result: dict[str, t.Any], short: int) -> list[str]:
    words = []
    if result["activate"]:
        words.append(f"wake {', '.join(item['server'] for item in result['activate'])} now")
    if short > 0:
        words.append(f"{short} more needed than there are standbys: expect overload")
    if result["release"]:
        words.append(f"send {', '.join(item['server'] for item in result['release'])} to sleep")
    if not (result["activate"] or result["release"] or short > 0):
        words.append("nothing to wake and nothing to send to sleep")
    if not result["activate"] and result["upcoming"]:
        words.append(f"wake the next standby by {result['upcoming'][0]['by']}")
    return words
