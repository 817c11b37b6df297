# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Raw samples onto a regular grid."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy


def to_grid(
    times: numpy.ndarray,
    values: numpy.ndarray,
    *,
    first: int,
    last: int,
    step_seconds: int,
    aggregation: str,
) -> numpy.ndarray:
    """One series on the grid of stamps in (first, last].

    :param times: Epoch seconds, shape (samples,), in any order; of samples with one stamp the later in the array counts.
    :param values: Shape (samples,); NaN and infinity are no sample.
    :param first: Epoch seconds, a multiple of the step. :param last: Likewise.
    :param aggregation: C(mean), C(max), C(last), or C(rate): the increase per second of a counter.
    :returns: Shape (steps,), NaN where a step has no sample.
    """
    times, values = _in_order(np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64))
    if aggregation == "rate":
        return _rate(times, values, first, last, step_seconds)
    columns = (last - first) // step_seconds
    result = np.full(columns, np.nan)
    index = np.ceil((times - first) / step_seconds).astype(np.int64) - 1
    inside = (index >= 0) & (index < columns)
    index, values = index[inside], values[inside]
    if index.size == 0:
        return result
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    steps = index[starts]
    if aggregation == "last":
        result[index] = values
    elif aggregation == "max":
        result[steps] = np.maximum.reduceat(values, starts)
    else:
        result[steps] = np.add.reduceat(values, starts) / np.diff(starts, append=index.size)
    return result


def _in_order(times: numpy.ndarray, values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Samples by time, one per stamp, without NaN and infinity."""
    there = np.isfinite(values)
    if not there.all():
        times, values = times[there], values[there]
    if times.size > 1 and not (np.diff(times) > 0).all():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        newest = np.append(np.diff(times) > 0, True)
        times, values = times[newest], values[newest]
    return times, values


def _rate(times: numpy.ndarray, values: numpy.ndarray, first: int, last: int, step_seconds: int) -> numpy.ndarray:
    """Increase per second of a counter in each step.

    A fall is a reset to 0, as Prometheus takes it. The count at the grid's stamps is interpolated between samples that
    are at most two steps apart, and carried on for a tenth of a step beyond the outermost ones.
    """
    edges = np.arange(first, last + 1, step_seconds, dtype=np.float64)
    if times.size < 2:
        return np.full(edges.size - 1, np.nan)
    rises = np.diff(values)
    rises = np.where(rises < 0, values[1:], rises)
    count = np.concatenate(([0.0], np.cumsum(rises)))
    right = np.clip(np.searchsorted(times, edges), 1, times.size - 1)
    left = right - 1
    span = times[right] - times[left]
    reach = 0.1 * step_seconds
    known = (span <= 2 * step_seconds) & (edges >= times[0] - reach) & (edges <= times[-1] + reach)
    at_edge = count[left] + (count[right] - count[left]) * (edges - times[left]) / span
    return np.diff(np.where(known, at_edge, np.nan)) / step_seconds
