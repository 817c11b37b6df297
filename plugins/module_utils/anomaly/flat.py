# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples that don't move, and samples that don't come."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

CHANGES = 10  # that a series must have shown before standing still can be strange


def run_lengths(same: numpy.ndarray) -> numpy.ndarray:
    """At each sample, for how many samples on end the condition has held, shape (series, time)."""
    column = np.arange(1, same.shape[1] + 1)
    return column - np.maximum.accumulate(np.where(same, 0, column), axis=1)


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
