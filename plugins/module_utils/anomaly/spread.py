# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How restless a series is, beside how restless it usually is at this time of day.

Sees what no single value tells: a load that has lost its day, stands almost still, or trembles within its usual range.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .daily import profile
from .frame import replayed
from .logarithm import logarithms

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

LEAST = 1e-3  # of the logarithm, one part in a thousand: what is less restless stands still


class Spread:
    """The logarithm of the standard deviation of late of many series, one sample at a time.

    Mean and variance are exponentially weighted and updated together (West 1979, 'Updating Mean and Variance Estimates: An
    Improved Method'), which takes no difference of large numbers.
    """

    STATE = ("mean", "variance", "count")

    def __init__(self, series: int, memory: int) -> None:
        """:param memory: Samples after which one weighs 1/e, and before which there is no answer."""
        self.mean, self.variance, self.count = np.zeros((3, series))
        self._memory = memory

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """The logarithm with one new sample of each series, shape (series,); NaN where it is missing or too early."""
        there = ~np.isnan(values)
        self.count += there
        share = 1 / np.clip(self.count, 1, self._memory)
        change = np.where(there, values - self.mean, 0)
        self.mean += share * change
        self.variance = np.where(there, (1 - share) * (self.variance + share * change**2), self.variance)
        known = there & (self.count >= self._memory)
        return np.where(known, np.log(np.sqrt(self.variance) + LEAST), np.nan)


def unrest(values: numpy.ndarray, hour: int, day: int) -> numpy.ndarray:
    """How far what V(Spread) says of the last hour is from its average at this time of day, shape (series, time)."""
    return profile(replayed(Spread(len(values), hour), values), day, 0)[0]


def spread(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance of the last hour's spread, in logarithms, to its average at this time of day."""
    return [unrest(logarithms(frame.values), frame.hour, frame.day)]
