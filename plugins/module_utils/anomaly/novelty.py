# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a value is from the nearest one ever seen before it.

A value in a gap of the past, or beyond its ends, is new; the next one beside it is not. Distances are not normalised
and nothing is forgotten: both cost detections on every data set tried (docs/anomalies.md). The idea is the one-nearest-
neighbour conformal detector of Burnaev and Ishimtsev (2016, 'Conformalized density- and distance-based anomaly
detection in time-series data') with windows of one sample.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

TAIL = 256  # values kept unsorted before they are merged
DUST = 1e-9  # of a value, which is what rounding can make of equal ones


def nearest(values: numpy.ndarray) -> numpy.ndarray:
    """Each sample's distance to the nearest earlier sample of its series.

    Sorts once, then takes samples out of a linked list from the last to the first: what is left beside a sample when
    it is taken out are its nearest among the earlier ones.

    :param values: Shape (series, time); NaN = missing.
    :returns: The same shape, 0 or more; NaN for a missing sample and for the first.
    """
    series, time = values.shape
    filled = np.where(np.isnan(values), np.inf, values)
    order = np.argsort(filled, axis=1, kind="stable")
    width = time + 2
    ordered = np.full((series, width), np.inf)
    ordered[:, 0] = -np.inf
    ordered[:, 1:-1] = np.take_along_axis(filled, order, 1)
    place = np.empty((series, time), np.int64)
    np.put_along_axis(place, order, np.arange(1, time + 1)[None], 1)
    place = np.ascontiguousarray((place + width * np.arange(series)[:, None]).T)
    ordered = ordered.ravel()
    after = np.arange(1, series * width + 1)
    before = np.arange(-1, series * width - 1)
    distances = np.empty((time, series))
    with np.errstate(invalid="ignore"):
        for step in range(time - 1, -1, -1):
            here = place[step]
            lower, upper, value = before[here], after[here], ordered[here]
            distances[step] = np.minimum(value - ordered[lower], ordered[upper] - value)
            after[lower] = upper
            before[upper] = lower
    return _distinct(distances.T, values)


def _distinct(distance: numpy.ndarray, values: numpy.ndarray) -> numpy.ndarray:
    """Distances, 0 where rounding may have made them, NaN where there is none."""
    answer = np.where(distance <= DUST * np.abs(values), 0.0, distance)
    answer[~np.isfinite(distance) | np.isnan(values)] = np.nan
    return answer


class Seen:
    """All values of many series seen so far, for the distance of one new value each.

    Most are kept sorted; the newest are kept as they come, and merged when there are :data:`TAIL` of them.
    """

    STATE = ("ordered", "newest", "count")

    def __init__(self, values: numpy.ndarray) -> None:
        """:param values: What was seen so far, shape (series, time), NaN = missing."""
        self.ordered = np.sort(np.where(np.isnan(values), np.inf, values), axis=1)
        self.newest = np.full((len(values), TAIL), np.inf)
        self.count = 0

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """The distances of one new value of each series, shape (series,), NaN = none; then keep the values."""
        rows = np.arange(len(values))
        low, high = np.zeros(len(values), np.int64), np.full(len(values), self.ordered.shape[1])
        while (low < high).any():
            middle = np.minimum((low + high) // 2, self.ordered.shape[1] - 1)
            smaller = (self.ordered[rows, middle] < values) & (low < high)
            low, high = np.where(smaller, middle + 1, low), np.where(smaller, high, np.minimum(middle, high))
        with np.errstate(invalid="ignore"):
            distance = np.abs(self.newest - values[:, None]).min(axis=1)
            for place in (low - 1, low):
                inside = (place >= 0) & (place < self.ordered.shape[1])
                neighbour = np.where(inside, self._at(rows, place), np.inf)
                distance = np.fmin(distance, np.abs(neighbour - values))
        self._keep(values)
        return _distinct(distance, values)

    def _at(self, rows: numpy.ndarray, place: numpy.ndarray) -> numpy.ndarray:
        if self.ordered.shape[1] == 0:
            return np.full(len(rows), np.inf)
        return self.ordered[rows, np.clip(place, 0, self.ordered.shape[1] - 1)]

    def _keep(self, values: numpy.ndarray) -> None:
        self.newest[:, self.count] = np.where(np.isnan(values), np.inf, values)
        self.count += 1
        if self.count == TAIL:
            self.ordered = np.sort(np.concatenate([self.ordered, self.newest], axis=1), axis=1)
            self.newest = np.full_like(self.newest, np.inf)
            self.count = 0


def novelty(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance of the value to the nearest one ever seen before."""
    return [nearest(frame.values)]
