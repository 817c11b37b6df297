# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a nonconformity to a tail probability, against each series' own past.

The rank of a new nonconformity among all that were seen before is a conformal p-value (Laxhammar and Falkman 2010,
'Conformal prediction for distribution-independent anomaly detection in streaming vessel data'). It can't fall below
1 / (samples + 1), which would make every record alike: above the tenth largest, the tail is carried on as a power law
whose index is Hill's estimator (Hill 1975, 'A simple general approach to inference about the tail of a distribution'),
shrunk towards a heavy tail. A short history therefore can't be very surprised: its ranks are coarse.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

OCTAVES = 32  # that the bins span, from LOWEST octaves below the first nonconformity that is not zero
LOWEST = -20
BINS_PER_OCTAVE = 4
TAIL = 10  # exceedances that the power law is fitted to
PRIOR_WEIGHT = 20.0  # exceedances that the prior is worth
PRIOR_INDEX = 0.7  # a tail heavier than any that has a mean
LARGEST_INDEX = 3.0


class Tail:
    """Counts of the nonconformities seen so far, in logarithmic bins, and the probability of a larger one.

    The state of S series is a matrix of S x 128 counts and four vectors; it doesn't grow.
    """

    STATE = ("counts", "seen", "unit", "place", "logs")

    def __init__(self, series: int) -> None:
        bins = OCTAVES * BINS_PER_OCTAVE
        self.counts = np.zeros((series, bins), np.int32)  # how many were in this bin or above it
        self.seen = np.zeros(series)
        self.unit = np.full(series, np.nan)  # log2 of the first one that was not zero
        self.place = np.full(series, -1)  # the highest bin with TAIL or more at or above it
        self.logs = np.zeros(series)  # sum of log2 of those, bin centres
        self._bins = np.arange(bins)
        self._rows = np.arange(series)

    def update(self, nonconformity: numpy.ndarray) -> numpy.ndarray:
        """The surprise, -log10 of the tail probability, of one new nonconformity for each series; then count it.

        :param nonconformity: Shape (series,), 0 or more; NaN where there is none.
        :returns: Shape (series,), 0 or more; NaN where there is none.
        """
        there = ~np.isnan(nonconformity)
        positive = there & (nonconformity > 0)
        logs = np.full(len(nonconformity), -np.inf)
        np.log2(nonconformity, out=logs, where=positive)
        self.unit = np.where(np.isnan(self.unit) & positive, logs, self.unit)
        logs = np.maximum(logs - np.where(np.isnan(self.unit), 0, self.unit), LOWEST)
        bins = np.clip((logs - LOWEST) * BINS_PER_OCTAVE, 0, len(self._bins) - 1).astype(np.int64)
        surprise = self._surprise(logs, bins)
        self._count(bins, there)
        surprise[~there] = np.nan
        return surprise

    def _surprise(self, logs: numpy.ndarray, bins: numpy.ndarray) -> numpy.ndarray:
        above = (self.counts[self._rows, bins] + 1) / (self.seen + 1)
        place = np.maximum(self.place, 0)
        edge = place / BINS_PER_OCTAVE + LOWEST
        exceeding = self.counts[self._rows, place]
        excess = np.maximum(self.logs - exceeding * edge, 0) * np.log(2)
        index = np.minimum((exceeding + PRIOR_WEIGHT) / (excess + PRIOR_WEIGHT / PRIOR_INDEX), LARGEST_INDEX)
        extrapolated = np.log10((exceeding + 1) / (self.seen + 1)) - index * np.maximum(logs - edge, 0) * np.log10(2)
        return np.maximum(-np.where((self.place > 0) & (bins >= place), extrapolated, np.log10(above)), 0)

    def _count(self, bins: numpy.ndarray, there: numpy.ndarray) -> None:
        bins = np.where(there, bins, -1)
        self.counts += self._bins <= bins[:, None]
        self.seen += there
        self.logs += np.where(there & (bins >= self.place) & (self.place >= 0), self._centre(bins), 0)
        last = len(self._bins) - 1
        while True:
            following = np.minimum(self.place + 1, last)
            rising = (self.place < last) & (self.counts[self._rows, following] >= TAIL)
            if not rising.any():
                return
            here = np.maximum(self.place, 0)
            left = self.counts[self._rows, here] - self.counts[self._rows, following]
            moved = self.logs - left * self._centre(here)
            # The first bin is reached with all that was counted so far in it or above it.
            self.logs = np.where(rising, np.where(self.place < 0, self._total(), moved), self.logs)
            self.place = np.where(rising, following, self.place)

    def _total(self) -> numpy.ndarray:
        inside = self.counts - np.concatenate([self.counts[:, 1:], np.zeros_like(self.counts[:, :1])], axis=1)
        return inside @ self._centre(self._bins)

    @staticmethod
    def _centre(bins: numpy.ndarray) -> numpy.ndarray:
        return (bins + 0.5) / BINS_PER_OCTAVE + LOWEST


def surprise(nonconformity: numpy.ndarray) -> numpy.ndarray:
    """The surprise of every sample of every series, each against what was before it.

    :param nonconformity: Shape (series, time), 0 or more; NaN where there is none.
    :returns: -log10 of the tail probability, shape (series, time); NaN where there is none.
    """
    tail = Tail(len(nonconformity))
    columns = [tail.update(column) for column in np.ascontiguousarray(nonconformity.T)]
    return np.array(columns).reshape(nonconformity.shape[::-1]).T.copy()
