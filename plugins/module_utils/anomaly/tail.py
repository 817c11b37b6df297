# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a nonconformity to a tail probability, against each series' own past.

The rank of a new nonconformity among all that were seen before is a conformal p-value (Laxhammar and Falkman 2010,
'Conformal prediction for distribution-independent anomaly detection in streaming vessel data'). It can't fall below
1 / (samples + 1), which would make every record alike, and a short history deaf: beyond the third greatest one ever seen,
and only there, the tail is carried on as a power law, which adds how far beyond it a new one is. The third, so that one
incident does not hide the next. Its index is that of a heavy tail while the history is short, and falls as it grows, so that
in a long one the rank decides.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .frame import replayed

if t.TYPE_CHECKING:
    import numpy

OCTAVES = 44  # that the bins span, from LOWEST octaves below the first nonconformity that is not zero
LOWEST = -20
BINS_PER_OCTAVE = 4
GROUP = 16  # bins, a divisor of all
INDEX = 0.7  # of the power law in a young series: decades of probability per decade beyond the third greatest
HALVED = 1000.0  # samples after which the index is half of that
GREATEST = 3


class Tail:
    """Counts of the nonconformities seen so far, in logarithmic bins, and the probability of a larger one.

    The bins lie in groups, so that one more sample changes few counts. The state of S series is S x 187 counts and five
    vectors; it doesn't grow.
    """

    STATE = ("counts", "higher", "seen", "unit", "greatest")

    def __init__(self, series: int) -> None:
        groups = OCTAVES * BINS_PER_OCTAVE // GROUP
        self.counts = np.zeros((series, groups, GROUP), np.int32)  # how many were in this bin or above it in its group
        self.higher = np.zeros((series, groups), np.int32)  # how many were in the groups above
        self.seen = np.zeros(series)
        self.unit = np.full(series, np.nan)  # log2 of the first one that was not zero
        self.greatest = np.full((GREATEST, series), -np.inf)  # log2 of the greatest ones in that unit, ascending
        self._groups, self._within = np.arange(groups), np.arange(GROUP)
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
        bins = np.clip((logs - LOWEST) * BINS_PER_OCTAVE, 0, OCTAVES * BINS_PER_OCTAVE - 1).astype(np.int64)
        group, within = bins // GROUP, bins % GROUP
        rank = (self.higher[self._rows, group] + self.counts[self._rows, group, within] + 1) / (self.seen + 1)
        known = np.isfinite(self.greatest[0])
        beyond = np.where(known, np.maximum(logs - np.where(known, self.greatest[0], 0), 0), 0) * np.log10(2)
        index = INDEX * HALVED / (HALVED + self.seen)
        surprise = np.where(there, index * beyond - np.log10(rank), np.nan)
        self.higher += self._groups < np.where(there, group, -1)[:, None]
        self.counts[self._rows, group] += self._within <= np.where(there, within, -1)[:, None]
        self.seen += there
        self.greatest[0] = np.maximum(self.greatest[0], np.where(positive, logs, -np.inf))
        self.greatest.sort(axis=0)
        return surprise


def surprise(nonconformity: numpy.ndarray) -> numpy.ndarray:
    """The surprise of every sample of every series, each against what was before it.

    :param nonconformity: Shape (series, time), 0 or more; NaN where there is none.
    :returns: -log10 of the tail probability, shape (series, time); NaN where there is none.
    """
    return replayed(Tail(len(nonconformity)), nonconformity)
