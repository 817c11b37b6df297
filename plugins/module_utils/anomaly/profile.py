# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How unlike the last hour is to any hour before it."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame


def left_profile(values: numpy.ndarray, length: int) -> numpy.ndarray:
    """Euclidean distance of each window to the nearest earlier one that does not overlap it.

    The left matrix profile of Yeh et al. (2016, 'Matrix Profile I'), of windows as they are, not z-normalised: load
    that has the usual shape at ten times the usual height is strange. Takes time² steps for each series.

    :param values: Shape (series, time); a window with a missing sample has no distance.
    :returns: Shape (series, time), at each window's last sample.
    """
    series, time = values.shape
    best = np.full((series, time), np.inf)
    known = ~np.isnan(values)
    # Squares of differences must stay numbers.
    filled = np.clip(np.where(known, values, np.inf), -1e75, 1e75)
    for lag in range(length, time - length + 1):
        squares = (filled[:, lag:] - filled[:, :-lag]) ** 2
        squares = np.where(known[:, lag:] & known[:, :-lag], squares, np.inf)
        sums = np.lib.stride_tricks.sliding_window_view(squares, length, axis=1).sum(axis=-1)
        np.minimum(best[:, lag + length - 1 :], sums, out=best[:, lag + length - 1 :])
    return np.sqrt(np.where(np.isfinite(best), best, np.nan))


def matrix_profile(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance of the last hour to the nearest hour of the past."""
    return [left_profile(frame.values, frame.hour)]
