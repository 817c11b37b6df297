# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many standbys a pool should have: its own past is served with 0, 1, 2, ... of them, and each is paid for.

A day costs what standbys cost asleep and awake, and what the demand costs that no server was there for. The number with
the least mean is chosen; days drawn anew from the past, in blocks of a week, tell how sure that is.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

# Where no overload cost says what is worth it, so many days may have an overload.
DAYS_SHORT = 0.05
# Draws of the past that the confidence is told from, and the days that stay together in one.
DRAWS = 500
BLOCK_DAYS = 7
# Demand changed by less than this each month is no trend to plan by.
LEAST_TREND = 0.005
# A day of which less is known tells too little of its peak to count.
KNOWN_SHARE = 0.75
MONTH_DAYS = 30


@dataclasses.dataclass(frozen=True)
class Rules:
    """What standbys cost and do.

    :param servers: Servers that are always in service.
    :param capacity: Load units one carries. :param target: Share of it that is planned with.
    :param most: The most standbys to look at, or none for as many as the past asks for.
    :param awake_cost: Of a standby awake, per hour. :param idle_cost: Of one asleep, per hour.
    :param overload_cost: Of an hour in which one server's worth of demand is not served; None where nobody said.
    :param lead_seconds: From power on to carrying load.
    :param hold_seconds: How long a standby stays awake after the last step that needed it.
    :param ahead: Whether standbys are woken before they are needed, or once the load is there.
    :param failure: Probability that a standby does not wake.
    """

    servers: int
    capacity: float
    target: float
    most: int | None
    awake_cost: float
    idle_cost: float
    overload_cost: float | None
    lead_seconds: float = 300.0
    hold_seconds: float = 1800.0
    ahead: bool = True
    failure: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What each number of standbys would have meant, by number (first axis) and whole day (second).

    :param counts: Numbers of standbys, 0 and up, shape (counts,).
    :param idle, awake, overload: Cost, shape (counts, days). :param minutes: Of overload, shape (counts, days).
    """

    counts: numpy.ndarray
    idle: numpy.ndarray
    awake: numpy.ndarray
    overload: numpy.ndarray
    minutes: numpy.ndarray

    @property
    def total(self) -> numpy.ndarray:
        """Cost, shape (counts, days)."""
        return self.idle + self.awake + self.overload


def trend(peaks: numpy.ndarray) -> float:
    """Growth of a series of daily peaks, as a share per day: the median of the slopes of all pairs of days, of logs.

    Zero where it is too small or too short to tell: when the middle half of the slopes lies on both sides of zero, and
    below three weeks.

    Source: Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 63 (1968).

    :param peaks: Shape (days,); NaN for a day that is not known.
    """
    days = np.flatnonzero(np.isfinite(peaks) & (peaks > 0))
    if days.size < 3 * BLOCK_DAYS:
        return 0.0
    logs = np.log(peaks[days])
    first, second = np.triu_indices(days.size, 1)
    gaps = days[second] - days[first]
    # Only whole weeks apart, so that the days of the week do not pass for a trend.
    whole = gaps % BLOCK_DAYS == 0
    slopes = (logs[second] - logs[first])[whole] / gaps[whole]
    low, middle, high = np.quantile(slopes, [0.25, 0.5, 0.75])
    if low < 0 < high or abs(middle) * MONTH_DAYS < LEAST_TREND:
        return 0.0
    return float(middle)


def served(demand: numpy.ndarray, rules: Rules, step_seconds: float) -> Sizes:
    """The past, served with each number of standbys.

    :param demand: Load units, shape (days, steps of a day); NaN where it is not known, which counts as no demand.
    """
    days, steps = demand.shape
    hours = step_seconds / 3600
    load = np.where(np.isfinite(demand), demand, 0.0).ravel()
    needed = np.ceil(load / (rules.capacity * rules.target) - 1e-9).astype(int) - rules.servers
    most = max(0, int(needed.max())) if needed.size else 0
    if rules.most is not None:
        most = min(most, rules.most)
    counts = np.arange(most + _spare(most, rules.failure) + 1)
    if rules.most is not None:
        counts = counts[counts <= rules.most]
    lead = 0 if rules.ahead else math.ceil(rules.lead_seconds / step_seconds)
    hold = min(math.ceil(rules.hold_seconds / step_seconds), load.size)
    wanted = np.clip(_held(needed, lead, hold), 0, None)
    # Server-hours awake, server-hours that lack, and minutes of overload, by the number that wake (first axis).
    table = np.empty((3, len(counts), days))
    for count in counts.tolist():
        up = np.minimum(wanted, count)
        short = np.maximum(0.0, load / rules.capacity - (rules.servers + up))
        table[0, count] = (up * hours).reshape(days, steps).sum(axis=1)
        table[1, count] = (short * hours).reshape(days, steps).sum(axis=1)
        table[2, count] = (short > 1e-9).reshape(days, steps).sum(axis=1) * (step_seconds / 60)
    # Of n standbys, k wake; asleep are those that are not awake.
    odds = _odds(counts, rules.failure)
    awake, lacking, minutes = odds @ table
    day_hours = steps * hours
    idle = np.maximum(0.0, counts[:, None] * day_hours - awake) * rules.idle_cost
    return Sizes(counts, idle, awake * rules.awake_cost, lacking * (rules.overload_cost or 0.0), minutes)


def _held(needed: numpy.ndarray, lead: int, hold: int) -> numpy.ndarray:
    """Standbys wanted: the most needed in the hold time before, seen a lead time late; shape (time,)."""
    late = np.concatenate([np.full(lead, needed[0] if needed.size else 0), needed])[: needed.size]
    padded = np.concatenate([np.full(hold, late[0] if late.size else 0), late])
    return np.lib.stride_tricks.sliding_window_view(padded, hold + 1).max(axis=1)


def _spare(most: int, failure: float) -> int:
    """Standbys more than the highest need, that may be worth having because some do not wake."""
    if not most or not failure:
        return 0
    return math.ceil(most * failure / (1 - failure) + 3 * math.sqrt(most * failure) / (1 - failure))


def _odds(counts: numpy.ndarray, failure: float) -> numpy.ndarray:
    """Probability that of n standbys (rows) k wake (columns): binomial."""
    if not failure:
        return np.eye(len(counts))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(counts))))])  # of factorials
    failing = counts[:, None] - counts[None, :]
    ways = logs[:, None] - logs[None, :] - logs[np.maximum(failing, 0)]
    chance = ways + counts[None, :] * math.log1p(-failure) + failing * math.log(failure)
    return np.where(failing >= 0, np.exp(np.where(failing >= 0, chance, 0.0)), 0.0)


def best(sizes: Sizes, overload_cost: float | None, weights: numpy.ndarray) -> numpy.ndarray:
    """The number of standbys to have, for each weighting of the days, shape (draws,).

    It is the cheapest; without an overload cost, the least with which no more than :data:`DAYS_SHORT` of the days have
    an overload, or the most where none does.

    :param weights: How often each day counts, shape (draws, days).
    """
    if overload_cost is not None:
        return sizes.counts[np.argmin(weights @ sizes.total.T, axis=1)]
    short = weights @ (sizes.minutes > 0).T / weights.sum(axis=1, keepdims=True)
    fits = short <= DAYS_SHORT + 1e-12
    return sizes.counts[np.where(fits.any(axis=1), fits.argmax(axis=1), len(sizes.counts) - 1)]


def drawn(days: int, seed: int) -> numpy.ndarray:
    """How often each day comes in pasts drawn anew in blocks of a week, shape (:data:`DRAWS`, days).

    Source: Politis, Romano, "A Circular Block-Resampling Procedure for Stationary Data" (1992).
    """
    rng = np.random.default_rng(seed)
    block = min(BLOCK_DAYS, days)
    starts = rng.integers(0, days, size=(DRAWS, math.ceil(days / block)))
    picked = ((starts[:, :, None] + np.arange(block)) % days).reshape(DRAWS, -1)[:, :days]
    places = picked + days * np.arange(DRAWS)[:, None]
    return np.bincount(places.ravel(), minlength=DRAWS * days).reshape(DRAWS, days)


def size(
    demand: numpy.ndarray, rules: Rules, *, step_seconds: float, growth: float | None, ahead_days: float, seed: int
) -> dict[str, t.Any]:
    """How many standbys, what each number means, and how sure that is.

    :param demand: Load units, shape (days, steps of a day), whole days, oldest first; NaN where it is not known.
    :param growth: Of demand, as a share per month; None takes it from the daily peaks.
    :param ahead_days: For what day after the last one to size.
    :returns: A plain dict; see the return value C(sizes) of the module M(lowtide.fleet.standby_sizing).
    """
    days = demand.shape[0]
    known = np.isfinite(demand)
    peaks = np.where(known.any(axis=1), np.where(known, demand, -np.inf).max(axis=1), np.nan)
    daily = trend(peaks) if growth is None else math.log1p(growth) / MONTH_DAYS
    # Every day is carried to the day that is sized for.
    factors = np.exp(daily * (days - 1 + ahead_days - np.arange(days)))
    sizes = served(demand * factors[:, None], rules, step_seconds)
    late = served(demand * factors[:, None], dataclasses.replace(rules, ahead=False), step_seconds)
    counted = (known.mean(axis=1) >= KNOWN_SHARE).astype(float)
    (chosen,) = best(sizes, rules.overload_cost, counted[None, :]).tolist()
    draws = best(sizes, rules.overload_cost, drawn(days, seed) * counted)
    low, high = (int(value) for value in np.quantile(draws, [0.1, 0.9], method="nearest"))
    needed = np.maximum(0, np.ceil(peaks * factors / (rules.capacity * rules.target) - 1e-9) - rules.servers)
    return {
        "recommended": chosen,
        "options": _options(sizes, late, counted),
        "days": int(counted.sum()),
        "peaks": [None if math.isnan(peak) else round(float(peak), 3) for peak in peaks],
        "needed_by_day": [None if math.isnan(count) else int(count) for count in needed],
        "growth_per_month": round(math.expm1(daily * MONTH_DAYS), 4),
        "confidence": {
            "low": low,
            "high": high,
            "share": round(float((draws == chosen).mean()), 3),
            # The next day is as likely as any other of them to be the highest of all.
            "beyond": round(1 / (int(counted.sum()) + 1), 4),
        },
    }


def _options(sizes: Sizes, late: Sizes, counted: numpy.ndarray) -> list[dict[str, t.Any]]:
    """Each number of standbys, by the mean day."""
    days = counted.sum()
    mean = {
        name: values @ counted / days
        for name, values in (
            ("idle", sizes.idle),
            ("awake", sizes.awake),
            ("overload", sizes.overload),
            ("minutes", sizes.minutes),
            ("late", late.minutes),
            ("short", (sizes.minutes > 0).astype(float)),
        )
    }
    return [
        {
            "standbys": int(count),
            "cost_per_day": round(float(mean["idle"][at] + mean["awake"][at] + mean["overload"][at]), 4),
            "idle_cost_per_day": round(float(mean["idle"][at]), 4),
            "awake_cost_per_day": round(float(mean["awake"][at]), 4),
            "overload_cost_per_day": round(float(mean["overload"][at]), 4),
            "overload_minutes_per_day": round(float(mean["minutes"][at]), 3),
            "late_overload_minutes_per_day": round(float(mean["late"][at]), 3),
            "days_short": round(float(mean["short"][at]), 4),
        }
        for at, count in enumerate(sizes.counts.tolist())
    ]
