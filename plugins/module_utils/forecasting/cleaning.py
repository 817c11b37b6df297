# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples that can't be true, and series that their reader must be warned of."""

from __future__ import annotations

import typing as t

from .. import timing
from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

HUGE = {8: 1e100, 4: 1e30}  # by bytes of a sample; beyond this, what is computed of samples may overflow
ABSURD = 1e6  # times the 99th percentile's distance from the median
GAP_SECONDS = 86400
THIN = 997  # samples of a series that are looked at for its shape


def clean(values: numpy.ndarray, step_seconds: int) -> tuple[numpy.ndarray, list[list[str]]]:
    """The samples that can be true, and what is to be said of each series.

    Infinite samples, and those more than a million times as far from the median as nearly all others, are taken as
    missing. The values given are not changed.

    :returns: float64, or float32 where that was given, shape (series, time); the warnings of each series.
    """
    # What follows is much slower where a series is spread in memory.
    values = np.atleast_2d(np.ascontiguousarray(values))
    if values.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    huge = HUGE[values.itemsize]
    warnings: list[list[str]] = [[] for row in values]
    if not values.size:
        return values, warnings
    low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    unsure = np.flatnonzero((low <= -huge) | (high >= huge))
    if len(unsure):
        values = values.copy()
        for row in unsure:
            _drop(values[row], ~(np.abs(values[row]) < huge) & ~np.isnan(values[row]), "infinite", warnings[row])
            known = values[row][~np.isnan(values[row])]
            low[row], high[row] = (known.min(), known.max()) if known.size else (np.nan, np.nan)
    step = max(1, values.shape[1] // THIN)
    thin = values[:, ::step] if values.shape[1] % step else values[:, step - 1 :: step]
    ordered = np.sort(thin, axis=1)
    count = (~np.isnan(ordered)).sum(axis=1)
    middle, far = (
        np.take_along_axis(ordered, (share * np.maximum(count - 1, 0)).astype(np.int64)[:, None], axis=1)[:, 0]
        for share in (0.5, 0.99)
    )
    near = np.take_along_axis(ordered, (0.01 * np.maximum(count - 1, 0)).astype(np.int64)[:, None], axis=1)[:, 0]
    reach = ABSURD * np.maximum(far - middle, middle - near)
    for row in np.flatnonzero((reach > 0) & (np.maximum(high - middle, middle - low) > reach) & (count >= 100)):
        values = values.copy() if not len(unsure) else values
        away = np.abs(values[row] - middle[row]) > reach[row]
        _drop(values[row], away, "a million times as far off as the others", warnings[row])
    for row in np.flatnonzero(low == high):
        if values.shape[1] > 1:
            warnings[row].append(f"every sample is {low[row]:g}")
    for row in np.flatnonzero(_counter(thin)):
        warnings[row].append("it only rises, like a counter: collect its rate instead")
    for row in np.flatnonzero(np.isnan(low) | np.isnan(thin).any(axis=1)):
        if np.count_nonzero(np.isnan(values[row])) * step_seconds > GAP_SECONDS:
            _tell_gap(values[row], step_seconds, warnings[row])
    return values, warnings


def _drop(line: numpy.ndarray, which: numpy.ndarray, what: str, warnings: list[str]) -> None:
    """Take samples as missing, in place."""
    if which.any():
        line[which] = np.nan
        warnings.append(f"{int(which.sum())} samples are {what}: taken as missing")


def _counter(thin: numpy.ndarray) -> numpy.ndarray:
    """Series of which nearly all changes are upwards, but for resets."""
    if thin.shape[1] < 50:
        return np.zeros(len(thin), dtype=bool)
    change = np.diff(thin, axis=1)
    return ((change > 0).mean(axis=1) > 0.95) & ((change < 0).sum(axis=1) <= 5)


def _tell_gap(line: numpy.ndarray, step_seconds: int, warnings: list[str]) -> None:
    """A gap of more than a day between samples, and a history that ended a while ago."""
    place = np.flatnonzero(~np.isnan(line))
    if not len(place):
        return
    longest = int(np.diff(place).max(initial=1) - 1) * step_seconds
    if longest > GAP_SECONDS:
        warnings.append(f"there is a gap of {timing.words(longest)}")
    late = (len(line) - 1 - int(place[-1])) * step_seconds
    if late > GAP_SECONDS:
        warnings.append(f"the newest sample is {timing.words(late)} old")
