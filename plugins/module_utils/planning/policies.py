# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to decide how many servers to want, each for all moments of a history at once.

Demand is in servers' worth, shape (time,); each policy returns the servers wanted at the end of each step, float, same
shape. They know nothing of what comes later, but for the oracle.
"""

from __future__ import annotations

import typing as t

from ..forecasting.near import Near
from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

FINE = 40  # of the middle: numbers of servers are told apart this finely
COUNTS = 2 * FINE  # numbers of servers that the cheapest is sought among
CLEARLY = 0.97  # of the first policy's cost: one that costs no less than this does not take its place
TAIL = 3.0  # how fast a chance falls beyond all errors seen, as the power of a Pareto tail


def whole(demand: numpy.ndarray) -> numpy.ndarray:
    """Servers for a demand; NaN takes the newest before."""
    known = ~np.isnan(demand)
    place = np.maximum.accumulate(np.where(known, np.arange(len(demand)), 0))
    return np.maximum(np.ceil(np.nan_to_num(demand[place]) - 1e-9), 0)


def reactive(demand: numpy.ndarray, utilization: float) -> numpy.ndarray:
    """What the newest demand needs at a target utilization, as Kubernetes' HorizontalPodAutoscaler computes it.

    Its stabilization window is the hold of :mod:`.elasticity`.
    """
    return whole(demand / utilization)


def static(demand: numpy.ndarray, first: int) -> numpy.ndarray:
    """The peak, all the time: that of the time before *first*, or of all where there is none before."""
    known = demand[:first] if first and not np.isnan(demand[:first]).all() else demand
    return np.full(len(demand), whole(np.array([np.nanmax(known)]))[0])


def seasonal(demand: numpy.ndarray, utilization: float, day: int, lead: int) -> numpy.ndarray:
    """What the same time of the day before needed, and never less than the newest demand does."""
    ahead = np.full(len(demand), np.nan)
    back = day - lead
    if 0 < back < len(demand):
        ahead[back:] = demand[:-back]
    return np.fmax(whole(ahead / utilization), reactive(demand, utilization))


def oracle(demand: numpy.ndarray, lead: int) -> numpy.ndarray:
    """The fewest that leave no step short: all that any of the next *lead* steps will need, and no more.

    What serves a step must be on for all the *lead* decisions before it, so nobody who leaves none short has fewer on after
    any. Without a hold it has just these on; a hold that is no longer than the boot is kept by itself, as what is needed
    once is on for *lead* steps.

    :param lead: Steps from a decision to the first that it serves: those of a boot, and one.
    """
    needed = whole(demand)
    later = np.concatenate([needed[1:], np.repeat(needed[-1:], lead)])
    return np.lib.stride_tricks.sliding_window_view(later, lead).max(axis=1)


def quantile(near: Near, row: int, probability: float, utilization: float, demand: numpy.ndarray) -> numpy.ndarray:
    """Servers that carry a level of the demand expected one lead time ahead; reactive while nothing is learned."""
    level = near.level(row, probability)
    return np.where(np.isnan(level), reactive(demand, utilization), whole(level / utilization))


def cheapest(near: Near, row: int, ratio: float, utilization: float, demand: numpy.ndarray) -> numpy.ndarray:
    """The number whose servers and expected overload cost least, where any overload costs the same.

    None below the middle of what is expected is looked at, or a steep rise would be given up altogether where servers are dear.

    :param ratio: What an hour of overload costs, in hours of one server.
    """
    centre = near.centre[row] / utilization
    unit = np.maximum(1, np.round(centre / FINE))
    counts = np.maximum(np.floor(centre), 1)[:, None] + unit[:, None] * np.arange(COUNTS)
    errors = (counts / centre[:, None] - 1) / near.scale[row][:, None]
    result = reactive(demand, utilization)
    for part in near.stretches():
        known = near.spread(row, part.start)
        if len(known):
            cost = counts[part] + ratio * exceedance(known, errors[part])
            result[part] = np.take_along_axis(counts[part], cost.argmin(axis=1)[:, None], axis=1)[:, 0]
    return result


def exceedance(known: numpy.ndarray, errors: numpy.ndarray) -> numpy.ndarray:
    """The chance that an error is greater, by those known (ascending), in the shape of *errors*."""
    count = len(known)
    chance = 1 - np.interp(errors, known, np.arange(1, count + 1) / (count + 1), left=0.0)
    top = max(float(known[-1]), 1e-9)
    return np.where(errors > top, (top / np.maximum(errors, top)) ** TAIL / (count + 1), chance)
