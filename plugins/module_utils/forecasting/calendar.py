# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Local time: where the clock changes, and which days are holidays."""

from __future__ import annotations

import datetime
import typing as t

from .. import timing
from ..libraries import numpy as np
from .problem import Problem

if t.TYPE_CHECKING:
    import numpy


def zone(name: str, option: str = "time_zone") -> datetime.tzinfo:
    """The time zone of an IANA name; UTC needs no data of zones.

    :raises InvalidOption: when there is none.
    """
    if name == "UTC":
        return datetime.UTC
    return timing.zone(name, option)


def offsets(problem: Problem) -> numpy.ndarray | None:
    """Local time less UTC at each column of the history and the horizon, in whole steps.

    :returns: int64, shape (time + horizon,); None where time of day is unknown or the clock does not change.
    """
    if problem.end is None or problem.time_zone == "UTC":
        return None
    place = zone(problem.time_zone)
    count = problem.values.shape[1] + problem.horizon
    newest = int(problem.end.timestamp())
    first = newest - problem.step_seconds * (problem.values.shape[1] - 1)
    result = np.empty(count, dtype=np.int64)
    low = 0
    while low < count:
        offset = _offset(first + low * problem.step_seconds, place)
        high = _until(first, problem.step_seconds, low, count, offset, place)
        result[low:high] = round(offset / problem.step_seconds)
        low = high
    return None if (result == result[0]).all() else result


def _until(first: int, step: int, low: int, count: int, offset: float, place: datetime.tzinfo) -> int:
    """The first column from *low* on whose offset differs, found by halving at most a week at a time."""
    stride = max(1, 7 * 86400 // step)
    while low < count and _offset(first + min(low + stride, count - 1) * step, place) == offset:
        low += stride
    if low >= count:
        return count
    same, differs = low, min(low + stride, count - 1)
    while differs - same > 1:
        middle = (same + differs) // 2
        same, differs = (middle, differs) if _offset(first + middle * step, place) == offset else (same, middle)
    return differs


def _offset(stamp: int, place: datetime.tzinfo) -> float:
    return datetime.datetime.fromtimestamp(stamp, place).utcoffset().total_seconds()
