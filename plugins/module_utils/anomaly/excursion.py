# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a sample is from the level of the last hours, the day taken out, in scales of such distances at this time of day.

The forecast error of :mod:`.residual` is large where a dip begins and where it ends; this distance is large all through it.
Errors are clipped before they move the level, as Huber (1964, 'Robust Estimation of a Location Parameter') clips them, so
that what lasts less than an hour or so hardly moves it. The scale is one of the time of day: at night the logarithm of few
requests is far more restless than at noon.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .daily import DailyMean, profile
from .frame import replayed
from .logarithm import logarithms
from .residual import RunningMean, means

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

MEMORY = 24  # samples after which one weighs 1/e in the level, and before which there is no distance
CLIP = 1.0  # scales that a distance is clipped to before it moves the level
SCALE_CLIP = 3.0  # and before it moves the scale
GROWTH = 1.1  # of the scale, for what clipping takes from it
LEAST_SCALE = 1e-3  # of the logarithm, one part in a thousand


class Excursion:
    """The level of many series and the scale of distances to it, one sample at a time.

    The scale at a time of day is the average on all days so far of the hour's mean distance around it; on the first day, that of
    all samples so far.
    """

    STATE = ("level", "scale", "count")

    def __init__(self, series: int, day: int, hour: int) -> None:
        self.day = day
        self.hourly, self.usual = RunningMean(series, hour), DailyMean(series, day)
        self._half = hour // 2
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
        usual = self.usual.ahead(self._half)
        scale = np.where(np.isnan(usual), self.scale, usual)
        distance = np.where(there & warm, size / np.maximum(scale, LEAST_SCALE), np.nan)
        limit = np.where(warm, self.scale, np.inf)
        self.count += there
        known = np.maximum(self.count, 1)
        self.level = level + np.clip(error, -CLIP * limit, CLIP * limit) / np.minimum(known, MEMORY)
        counted = np.minimum(size, SCALE_CLIP * limit) * GROWTH
        self.usual.update(self.hourly.update(np.where(there, counted, np.nan)))
        self.scale += np.where(there, counted - self.scale, 0) / np.minimum(known, self.day)
        return distance


def excursions(values: numpy.ndarray, day: int, hour: int) -> numpy.ndarray:
    """What :class:`Excursion` says at every sample, shape (series, time)."""
    return replayed(Excursion(len(values), day, hour), values)


def excursion(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance of the logarithm, less its usual hour's mean around this time of day, to the level of late."""
    logs = logarithms(frame.values)
    _departure, usual = profile(means(logs, frame.hour), frame.day, frame.hour // 2)
    return [excursions(logs - usual, frame.day, frame.hour)]
