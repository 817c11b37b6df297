# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which steps of series tell of maintenance, not of load."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np
from ..series import Series
from .base import Mark

if t.TYPE_CHECKING:
    import numpy


def touched(series: Series, marks: t.Iterable[Mark]) -> numpy.ndarray:
    """The steps that a mark of a series' pool, and of its server where it has servers, touches.

    A pool's total is touched only by a mark of the whole pool: while some servers are out, others carry their load.

    :returns: bool, shape (series, time).
    """
    result = np.zeros(series.values.shape, dtype=bool)
    times = series.times
    for mark in marks:
        # A sample describes the step that ends at its stamp.
        steps = (times > mark.start.timestamp()) & (times - series.step_seconds < mark.end.timestamp())
        rows = [
            row
            for row, key in enumerate(series.keys)
            if key.pool == mark.pool and (mark.servers is None or key.server in mark.servers)
        ]
        result[np.ix_(rows, steps)] = True
    return result


def without(series: Series, marks: t.Iterable[Mark]) -> Series:
    """The series with NaN for each step that a mark touches; see :func:`touched`."""
    return dataclasses.replace(series, values=np.where(touched(series, marks), np.nan, series.values))
