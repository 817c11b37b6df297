# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a sample is from the level of the last hours, the day taken out, in scales of such distances.

The forecast error of :mod:`.residual` is large where a dip begins and where it ends; this distance is large all through it.
Errors are clipped before they move the level, as Huber (1964, 'Robust Estimation of a Location Parameter') clips them, so
that what lasts less than an hour or so hardly moves it.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .daily import profile
from .frame import replayed
from .logarithm import logarithms
from .residual import means

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

MEMORY = 24  # samples after which one weighs 1/e in the level, and before which there is no distance
CLIP = 1.0  # scales that a distance is clipped to before it moves the level
SCALE_CLIP = 3.0  # and before it moves the scale
GROWTH = 1.1  # of the scale, for what clipping takes from it
LEAST_SCALE = 1e-3  # of the logarithm, one part in a thousand


class Excursion:
    """The level of many series and the scale of distances to it, one sample at a time."""

    STATE = ("level", "scale", "count")

    def __init__(self, series: int, day: int) -> None:
        self.day = day
        self.level, self.scale, self.count = np.zeros((3, series))

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """How many scales one new sample of each series is from the level; then learn from it.

        :param values: What is left of the samples without the day, shape (series,), NaN = missing.
        :returns: Shape (series,), 0 or more; NaN for a missing sample and where a series is too young.
        """
        there = ~np.isnan(values)
        warm = self.count >= MEMORY
        level = np.where(there & (self.count == 0), values, self.level)
        error = np.where(there, values - level, 0)
        size = np.abs(error)
        distance = np.where(there & warm, size / np.maximum(self.scale, LEAST_SCALE), np.nan)
        limit = np.where(warm, self.scale, np.inf)
        self.count += there
        known = np.maximum(self.count, 1)
        self.level = level + np.clip(error, -CLIP * limit, CLIP * limit) / np.minimum(known, MEMORY)
        grown = self.scale + (np.minimum(size, SCALE_CLIP * limit) * GROWTH - self.scale) / np.minimum(known, self.day)
        self.scale = np.where(there, grown, self.scale)
        return distance


def excursions(values: numpy.ndarray, day: int) -> numpy.ndarray:
    """What :class:`Excursion` says at every sample, shape (series, time)."""
    return replayed(Excursion(len(values), day), values)


def excursion(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance of the logarithm, less its usual hour's mean around this time of day, to the level of late."""
    logs = logarithms(frame.values)
    _departure, usual = profile(means(logs, frame.hour), frame.day, frame.hour // 2)
    return [excursions(logs - usual, frame.day)]
