# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The window, the order and the batches of a rolling update, and the standbys woken for it."""

from __future__ import annotations

import bisect
import datetime
import typing as t

from ... import timing
from ...errors import InvalidOption
from ..demand import owned_standbys
from ..distribution import DemandForecast
from . import explanation, remedies
from .case import Attempt, Case
from .hours import Span, merged
from .optimum import EQUAL
from .order import stages
from .room import learned, seconds_of

Pool = t.Dict[str, t.Any]

# Share of the load displaced that waiting must save, where nothing else is said: less counts as equal everywhere.
MIN_GAIN = EQUAL


def plan(
    pools: dict[str, Pool],
    forecasts: dict[str, DemandForecast],
    *,
    now: datetime.datetime,
    deadline: datetime.datetime,
    server_loads: dict[str, dict[str, float]] | None = None,
    in_service: dict[str, t.Sequence[str]] | None = None,
    spare_standbys: dict[str, t.Sequence[str]] | None = None,
    closed: dict[str, t.Sequence[Span]] | None = None,
    durations: dict[str, t.Sequence[float]] | None = None,
    min_gain: float = MIN_GAIN,
) -> dict[str, t.Any]:
    """The window, the order and the batches of a rolling update.

    Servers go pool after pool, at most one failure domain out at once. A batch is as large as the demand of its time lets
    it be: with the risk the pool allows, demand stays below what the servers left in service carry. Of all plans that do,
    it is the one that displaces the least load; among equals the one that takes the least time, and among those the one
    that keeps standbys awake for the least cost. One that begins as soon as it can goes before it where waiting gains little.

    :param pools: Pools by name, as :func:`options.pools` gives them.
    :param forecasts: Demand ahead, one for each pool.
    :param now: The moment to decide for; nothing starts before it.
    :param deadline: When the last batch must have ended.
    :param server_loads: Expected load by pool and server, in load units; decides the order. Servers in the order the
        pool names them where it is absent.
    :param in_service: Servers that carry load now, by pool; the pool's servers where it is absent.
    :param spare_standbys: Standbys that may be woken, by pool; one that pools share is the weightier pool's.
    :param closed: Times in which no server of a pool may be out, by pool, as :func:`.hours.closed` gives them.
    :param durations: How long earlier updates of one server took, by pool, in seconds; where there are enough, a high
        quantile of them goes before the pool's own C(update.duration).
    :param min_gain: Share of load displaced that waiting must save; 0 or more.
    :returns: The plan, a plain dict; see the return value C(plan) of the module M(lowtide.fleet.update_plan).
    :raises NoWindow: when no plan keeps the risk, naming what binds and what would help.
    :raises InvalidOption: when the forecasts do not fit the pools, each other or the time, or a rule of a pool is wrong.
    """
    check_forecasts(pools, forecasts, now)
    owned = owned_standbys(pools)
    case = Case(
        pools=pools,
        forecasts={name: forecasts[name] for name in pools},
        stages=tuple(
            stage for name, pool in pools.items() for stage in stages(name, pool, (server_loads or {}).get(name))
        ),
        serving={name: len((in_service or {}).get(name, pool["servers"])) for name, pool in pools.items()},
        standbys={name: [s for s in (spare_standbys or {}).get(name, ()) if s in owned[name]] for name in pools},
        closed={name: merged((closed or {}).get(name, ())) for name in pools},
        seconds={name: learned((durations or {}).get(name, ()), seconds_of(pool)) for name, pool in pools.items()},
        now=now,
        deadline=deadline,
    )
    found = _best(case)
    if found is None:
        raise remedies.no_window(case)
    found = _at_once(case, found, min_gain) or found
    return explanation.described(
        case,
        found,
        ordered_by_load=bool(server_loads),
        runs={name: len((durations or {}).get(name, ())) for name in pools},
    )


def _at_once(case: Case, found: Attempt, min_gain: float) -> Attempt | None:
    """The attempt that begins as soon as it can, where waiting for the one found gains less than that share of load.

    It must end no later than the one found, and take at most twice as long.
    """
    moments = [
        moment
        for moment in case.soonest
        if moment < found.solution.begin - 1e-6
        and _floor(case, found, moment) <= found.solution.cost * (1 + min_gain) + 1e-9
    ]
    cheapest = case.attempt(case.everyone, quick=True) if moments else None
    if cheapest is None:
        return None
    most = min(cheapest.solution.cost, found.solution.cost) * (1 + min_gain) + 1e-9
    for moment in moments:
        if case.attempt(case.everyone, quick=True, at=moment, most=most) is None:
            continue
        other = _best(case, at=moment, most=most)
        if (
            other is not None
            and other.solution.end <= found.solution.end + 1e-6
            and other.solution.seconds <= 2 * found.solution.seconds + 1e-6
        ):
            return other
    return None


def _floor(case: Case, found: Attempt, begin: float) -> float:
    """What an attempt that begins then displaces at the least, if it takes at most twice as long as the one found."""
    end = begin + 2 * found.solution.seconds
    return sum(room.floor(begin, end) for room in found.rooms.values())


def _best(case: Case, *, at: float | None = None, most: float | None = None) -> Attempt | None:
    """The attempt with the fewest standbys of those that displace the least and, of them, take the least time.

    :param at: Begin at that moment. :param most: Displace no more than that; all that do count as equal.
    """
    everyone = case.everyone
    largest = max(everyone.values(), default=0)
    if not largest:
        return case.attempt(everyone, at=at, most=most)
    quick = case.large
    all_awake = case.attempt(everyone, quick=quick, at=at, most=most)
    if all_awake is None:
        return None
    least = all_awake.solution.cost * (1 + EQUAL) if most is None else most
    fastest = all_awake.solution.seconds

    def enough(woken: dict[str, int]) -> bool:
        other = case.attempt(woken, quick=quick, at=at, most=most)
        return (
            other is not None
            and other.solution.cost <= least + 1e-9
            and (quick or other.solution.seconds <= fastest + 1e-6)
        )

    # As many in every pool at once, then fewer in each that does not need them.
    common = bisect.bisect_left(
        range(largest), True, key=lambda extra: enough({n: min(extra, c) for n, c in everyone.items()})
    )
    woken = {name: min(common, count) for name, count in everyone.items()}
    for name, count in list(woken.items()):
        fewer = bisect.bisect_left(range(count), True, key=lambda extra, name=name: enough({**woken, name: extra}))
        woken[name] = fewer
    return case.attempt(woken, at=at, most=most) or case.attempt(everyone, at=at, most=most)


def check_forecasts(pools: dict[str, Pool], forecasts: dict[str, DemandForecast], now: datetime.datetime) -> None:
    """One for each pool, all on one grid, and not over yet."""
    remedy = "Make those of all pools anew, together"
    missing = next((name for name in pools if name not in forecasts), None)
    if missing is not None:
        raise InvalidOption(f"there is no forecast of pool {missing!r}", option="forecasts", remedy=remedy)
    grids = {name: (forecasts[name].start, forecasts[name].step_seconds) for name in pools}
    reference = next(iter(grids))
    other = next((name for name, grid in grids.items() if grid != grids[reference]), None)
    if other is not None:
        raise InvalidOption(
            f"those of pools {reference!r} and {other!r} differ in their start or their step",
            option="forecasts",
            remedy=remedy,
        )
    over = next((name for name in pools if forecasts[name].end <= now), None)
    if over is not None:
        raise InvalidOption(
            f"that of pool {over!r} ends at {timing.iso(forecasts[over].end)}, before now",
            option="forecasts",
            remedy=remedy,
        )
