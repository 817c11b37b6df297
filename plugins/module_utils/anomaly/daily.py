# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far an hour is from what this time of day has been on average, on all days so far.

Sees what is strange for the time of day though no value is new: at night, a load that is usual at noon, which the forecast
from the last samples follows. Nothing is forgotten, as in :mod:`.novelty`.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .logarithm import logarithms
from .residual import means

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame


class DailyMean:
    """The mean of many series at each step of the day; the state is one day of means and counts."""

    STATE = ("mean", "count", "time")

    def __init__(self, series: int, day: int) -> None:
        self.mean = np.zeros((day, series))
        self.count = np.zeros((day, series))
        self.time = 0

    def ahead(self, steps: int) -> numpy.ndarray:
        """The mean so far at the time of day that many steps after the next sample's, shape (series,); NaN = none.

        Of a mean over an hour, that half an hour ahead is the mean around the next sample's time of day.
        """
        place = (self.time + steps) % len(self.mean)
        return np.where(self.count[place] > 0, self.mean[place], np.nan)

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """How far one new sample of each series is from the mean of its time of day; then count it in.

        :param values: Shape (series,), NaN = missing.
        :returns: Shape (series,), 0 or more; NaN for a missing sample, and where there was none at this time of day.
        """
        place = self.time % len(self.mean)
        self.time += 1
        mean, count = self.mean[place], self.count[place]
        change = values - mean
        there = ~np.isnan(values)
        distance = np.where(count > 0, np.abs(change), np.nan)
        count += there
        mean += np.where(there, change, 0) / np.maximum(count, 1)
        return distance


def profile(values: numpy.ndarray, day: int, steps: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What :class:`DailyMean` says at every sample, and the mean so far V(steps) later in the day, shape (series, time) each."""
    daily = DailyMean(len(values), day)
    distances, means_ahead = np.empty(values.shape[::-1]), np.empty(values.shape[::-1])
    for time, column in enumerate(np.ascontiguousarray(values.T)):
        means_ahead[time] = daily.ahead(steps)
        distances[time] = daily.update(column)
    return distances.T.copy(), means_ahead.T.copy()


def time_of_day(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance of the hour's mean logarithm to its average at this time of day."""
    return [profile(means(logarithms(frame.values), frame.hour), frame.day, 0)[0]]
