# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What servers and overload are expected to cost, and how many servers are worth their money."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
import typing as t

from ..libraries import numpy as np
from .distribution import DemandForecast

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]

# Where no overload cost says how much certainty is worth.
DEFAULT_QUANTILE = 0.95
# A forecast's distribution is summed over these slices of probability, thinner where overload is told from.
EDGES = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a number of servers at each step is expected to bring.

    :param server_hours: Of the servers. :param unserved: Server-hours of demand that is not served.
    :param overload_minutes: Time in which demand exceeds what the servers carry. :param cost: Of both.
    """

    server_hours: float
    unserved: float
    overload_minutes: float
    cost: float


def demand_quantile(pool: Pool) -> float:
    """The level of the demand forecast that is worth covering: C(slo.quantile), or else what costs say.

    An hour in which one server's worth of demand is not served costs C(overload_cost_per_hour); an hour of a server
    that was not needed costs C(standby.cost_per_hour). The cheapest level is their critical ratio, which no history of some weeks can
    tell beyond 99.9 %.

    Source: Arrow, Harris, Marschak, "Optimal Inventory Policy", Econometrica 19 (1951).
    """
    if pool["slo"].get("quantile") is not None:
        return float(pool["slo"]["quantile"])
    overload = pool["slo"]["overload_cost_per_hour"]
    if overload is None:
        return DEFAULT_QUANTILE
    server = server_cost(pool)
    ratio = overload / (overload + server) if overload + server > 0 else DEFAULT_QUANTILE
    return min(max(round(ratio, 4), 0.5), 0.999)


def server_cost(pool: Pool) -> float:
    """What an hour of one more server costs."""
    return float(pool["standby"]["cost_per_hour"]) if pool["standby"] else 1.0


def overload_cost(pool: Pool) -> float:
    """What an hour of overload costs; where nobody said, what makes the level that is covered the cheapest."""
    stated = pool["slo"]["overload_cost_per_hour"]
    if stated is not None:
        return float(stated)
    quantile = demand_quantile(pool)
    return server_cost(pool) * quantile / (1 - quantile)


def woken_for(count: int, failure: float, level: float) -> int:
    """How many standbys to wake so that *count* of them boot with a probability of *level*.

    :param failure: The chance that one doesn't boot.
    """
    if count < 1 or failure <= 0:
        return max(0, count)
    woken, chance = count, (1 - failure) ** count
    term = chance
    while chance < level and woken < 4 * count + 8:
        # One more: the chance that the last success comes with the boot of number *woken* + 1 (negative binomial).
        term *= failure * woken / (woken - count + 1)
        chance += term
        woken += 1
    return woken


@functools.lru_cache(maxsize=64)
def _slices(levels: tuple[float, ...]) -> tuple[t.Any, t.Any]:
    """How to read the middle of each slice of probability off the quantiles, shape (levels, slices), and its width."""
    normal = statistics.NormalDist()
    known = [normal.inv_cdf(level) for level in levels]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(EDGES)]
    scores = [normal.inv_cdf(middle) for middle in middles]
    weights = np.array([np.interp(scores, known, row) for row in np.eye(len(levels))])
    return weights, np.diff(EDGES)


def outcomes(forecast: DemandForecast, steps: slice = slice(None)) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Demands that may come, shape (steps, slices), and the probability of each, shape (slices,)."""
    weights, widths = _slices(tuple(float(level) for level in forecast.levels))
    return forecast.quantiles[steps] @ weights, widths


def expected(
    pool: Pool, demands: numpy.ndarray, widths: numpy.ndarray, counts: numpy.ndarray, step_seconds: float
) -> Expected:
    """What so many servers at each step bring.

    :param demands, widths: As :func:`outcomes` gives them.
    :param counts: Servers at each step, shape (steps,) or one number.
    """
    each, hours = pool["load"]["server_capacity"], step_seconds / 3600
    counts = np.broadcast_to(np.asarray(counts, dtype=float), (len(demands),))
    missing = np.maximum(demands / each - counts[:, None], 0)
    share = float(((missing > 0) @ widths).sum())
    unserved, total = float((missing @ widths).sum() * hours), float(counts.sum() * hours)
    size = share * hours if pool["slo"].get("overload") == "time" else unserved
    cost = total * server_cost(pool) + size * overload_cost(pool)
    return Expected(total, unserved, share * step_seconds / 60, cost)


def table(pool: Pool, forecast: DemandForecast, first: int, counts: numpy.ndarray) -> list[dict[str, t.Any]]:
    """What the planned servers are expected to bring over the rest of the forecast, and one more and one less all along."""
    demands, widths = outcomes(forecast, slice(first, None))
    rows = []
    for change in (-1, 0, 1):
        if int(counts.min()) + change < 0:
            continue
        told = expected(pool, demands, widths, counts + change, forecast.step_seconds)
        rows.append(
            {
                "servers": change,
                "cost": round(told.cost, 4),
                "server_hours": round(told.server_hours, 3),
                "overload_minutes": round(told.overload_minutes, 3),
            }
        )
    return rows


def cheapest(pool: Pool, demands: numpy.ndarray, widths: numpy.ndarray, most: int) -> int:
    """The number of servers whose cost and expected overload is least, where any overload costs the same.

    Demand counts as overload where it exceeds the target utilization, so that both ways of counting plan to the same room.
    None below what the middle of the demands needs is looked at, as in :func:`.policies.cheapest`.
    """
    each = pool["load"]["server_capacity"] * pool["load"]["target_utilization"]
    top = max(1, min(most, math.ceil(float(demands.max()) / each - 1e-9)))
    inside = np.searchsorted(np.cumsum(widths), [0.5 - 1e-9, 0.5 + 1e-9])
    middle = demands[:, inside].mean(axis=1).max()
    least = min(top, math.floor(float(middle) / each + 1e-9))
    # Only where a demand is just served does the chance of an overload fall; between, servers only cost more.
    served = np.floor(np.append(demands, 0.0) / each)
    counts = np.unique(np.clip([served, served + 1], least, top)).astype(int)
    chance = ((demands[:, :, None] > counts * each + 1e-9) * widths[None, :, None]).sum(axis=1).max(axis=0)
    return int(counts[(counts * server_cost(pool) + chance * overload_cost(pool)).argmin()])


def gains(pool: Pool, demands: numpy.ndarray, widths: numpy.ndarray, have: int, wanted: int) -> numpy.ndarray:
    """What each further server saves per hour, in expected loss times the pool's weight, shape (wanted,); never rises.

    :param have: Servers there are without any of them.
    """
    each = pool["load"]["server_capacity"] * pool["load"]["target_utilization"]
    counts = have + np.arange(wanted + 1)
    missing = np.maximum(demands[:, :, None] / each - counts, 0)
    loss = (missing * widths[None, :, None]).sum(axis=1).mean(axis=0)
    # An expected loss is convex in the servers there are; a rounding error must not make it otherwise.
    return np.minimum.accumulate(-np.diff(loss)) * overload_cost(pool) * pool["weight"]
