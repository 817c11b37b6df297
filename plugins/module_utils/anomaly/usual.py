# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an hour is beside the same hour of the days before, for a person who is to believe a flag."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

DAYS = 14  # before, at most
FEWEST = 3  # of them that must be known
DUST = 1e-9  # of a mean, which is what rounding can make of equal samples
LEAST = 0.05  # of a logarithm, by which the spread must be off


@dataclasses.dataclass(frozen=True)
class Unusual:
    """What an hour was that it was on none of the days before.

    :param what: V(mean) or V(spread), its standard deviation.
    :param now: That of the hour. :param usual: The median of the days before.
    """

    what: str
    now: float
    usual: float


def beside_usual(values: numpy.ndarray, column: int, hour: int, day: int) -> Unusual | None:
    """What was farther from usual in the hour that ends at a sample: its mean or its spread.

    Each is compared with how far the same hour of the days before was from their median at most. Nothing is told where neither is
    farther, most of this hour is missing, or fewer than :data:`FEWEST` days are known. Of what stands still, the spread is told.

    :param values: One series, shape (time,), NaN = missing. :param column: The sample.
    :param hour, day: Steps of an hour and a day.
    """
    ends = column - day * np.arange(min(DAYS, column // day) + 1)
    places = ends[:, None] - np.arange(hour)
    hours = np.where(places >= 0, values[places], np.nan)
    known = 2 * (~np.isnan(hours)).sum(axis=1) > hour
    if not known[0] or known.sum() <= FEWEST:
        return None
    hours = hours[known]
    mean, spread = np.nanmean(hours, axis=1), np.nanstd(hours, axis=1)
    spread[spread <= DUST * np.abs(mean)] = 0
    tiny = 1e-3 * np.abs(mean).max() + 1e-300
    told = [
        (_beyond(mean, tiny), Unusual("mean", float(mean[0]), float(np.median(mean[1:])))),
        (_beyond(np.log(spread + tiny), LEAST), Unusual("spread", float(spread[0]), float(np.median(spread[1:])))),
    ]
    told = [(farther, unusual) for farther, unusual in told if farther > 1]
    # What stands still is stuck, though its mean drifts farther off with each hour.
    still = spread[0] <= tiny
    return max(told, key=lambda one: (still and one[1].what == "spread", one[0]), default=(0.0, None))[1]


def _beyond(numbers: numpy.ndarray, least: float) -> float:
    """How far the first number is from the others' median, relative to how far those are at most."""
    usual = np.median(numbers[1:])
    return float(abs(numbers[0] - usual) / max(np.abs(numbers[1:] - usual).max(), least))
