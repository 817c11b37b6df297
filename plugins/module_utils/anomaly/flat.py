# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples that don't move, and samples that don't come."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .frame import replayed

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

CHANGES = 10  # that a series must have shown before standing still can be strange


def run_lengths(same: numpy.ndarray) -> numpy.ndarray:
    """At each sample, for how many samples on end the condition has held, shape (series, time)."""
    column = np.arange(1, same.shape[1] + 1)
    return column - np.maximum.accumulate(np.where(same, 0, column), axis=1)


class Standstill:
    """For how long each of many series has stood still, one sample at a time."""

    STATE = ("last", "run", "changes")

    def __init__(self, series: int) -> None:
        self.last = np.full(series, np.nan)
        self.run = np.zeros(series)
        self.changes = np.zeros(series)

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """Samples on end that were the same, as the power of two below, with one new sample of each series.

        Powers of two, so that a standstill becomes news again only when it has lasted twice as long.

        :returns: Shape (series,), NaN for a missing sample and the first, 0 for a series that has hardly ever moved.
        """
        there = ~np.isnan(values)
        first = np.isnan(self.last)
        same = values == self.last
        self.run = np.where(there, np.where(same, self.run + 1, 0), self.run)
        self.changes += there & ~same
        self.last = np.where(there, values, self.last)
        counted = (self.run > 0) & (self.changes > CHANGES)
        length = np.where(counted, 2 ** np.floor(np.log2(np.maximum(self.run, 1))), 0)
        return np.where(there & ~first, length, np.nan)


def standstill(values: numpy.ndarray) -> numpy.ndarray:
    """What :class:`Standstill` says at every sample, shape (series, time)."""
    return replayed(Standstill(len(values)), values)


def flat_line(frame: Frame) -> list[numpy.ndarray]:
    """Detector: for how long a series has stood still, and for how long it has been missing.

    It is the one detector that scores a missing sample. A series that hardly ever moved never surprises it.
    """
    gone = np.isnan(frame.values)
    same = np.zeros(frame.values.shape, bool)
    same[:, 1:] = frame.values[:, 1:] == frame.values[:, :-1]
    moved = np.cumsum(~same & ~gone, axis=1) > CHANGES
    still = np.where(gone, np.nan, np.where(moved, run_lengths(same), 0.0))
    return [still, np.where(moved, run_lengths(gone), 0.0)]
