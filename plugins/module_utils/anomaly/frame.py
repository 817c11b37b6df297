# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every detector looks at, cleaned once at the door."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

#: Larger magnitudes are taken as this one, so that their squares are still numbers.
HUGE = 1e100


@dataclasses.dataclass(frozen=True)
class Frame:
    """Many series on one grid, as a detector wants them.

    :param values: float64, shape (series, time); NaN = missing; finite otherwise, at most :data:`HUGE` in magnitude.
    :param step_seconds: The grid's spacing.
    :param end: UTC stamp of the last column, where it is known.
    :param seed: Of everything random.
    :param groups: What belongs together, one whole number for each row: the pool of a server, or the server of a metric.
    """

    values: numpy.ndarray
    step_seconds: int
    end: datetime.datetime | None = None
    seed: int = 0
    groups: numpy.ndarray | None = None

    def steps(self, seconds: float, *, least: int = 1) -> int:
        """Whole steps in a duration, at least V(least)."""
        return max(least, round(seconds / self.step_seconds))

    @property
    def day(self) -> int:
        """Steps in a day, at least 2."""
        return self.steps(86400, least=2)

    @property
    def hour(self) -> int:
        """Steps that a short mean is taken over: an hour, but six steps at least."""
        return self.steps(3600, least=6)


class Running(t.Protocol):
    """Something that looks at many series, one sample of each at a time."""

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """What it says of one new sample of each series, both of shape (series,)."""


def replayed(running: Running, values: numpy.ndarray) -> numpy.ndarray:
    """What it says at every sample, one after the other, shape (series, time) as *values*."""
    columns = [running.update(column) for column in np.ascontiguousarray(values.T)]
    return np.array(columns).reshape(values.shape[::-1]).T.copy()


def clean(values: t.Any) -> numpy.ndarray:
    """A float64 copy of shape (series, time) in which whatever is not a number is missing.

    Infinite samples are missing samples: they say that a measurement failed, not how much there was.

    :raises ValueError: when it is not a matrix of numbers.
    """
    matrix = np.array(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"a matrix of (series, time) is wanted, not {matrix.ndim} dimensions")
    matrix[~np.isfinite(matrix)] = np.nan
    return np.clip(matrix, -HUGE, HUGE)
