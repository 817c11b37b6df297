# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a model is asked and what it answers."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

DAY = 86400
WEEK = 7 * DAY


@dataclasses.dataclass(frozen=True)
class Problem:
    """One question to a model: many series on one grid, each to be carried on.

    :param values: float64 or float32, shape (series, time); finite, or NaN where a sample is missing. Each series has a sample.
    :param step_seconds: The grid's spacing in seconds.
    :param horizon: How many steps ahead.
    :param levels: The quantiles wanted, rising, each in (0, 1).
    :param end: UTC stamp of the last column; None where time of day is unknown.
    :param time_zone: IANA name of the zone whose days and weeks the series follow.
    :param seed: Of everything random.
    """

    values: numpy.ndarray
    step_seconds: int
    horizon: int
    levels: tuple[float, ...]
    end: datetime.datetime | None = None
    time_zone: str = "UTC"
    seed: int = 0

    @property
    def day(self) -> int:
        """Steps in a day, at least 1."""
        return max(1, round(DAY / self.step_seconds))

    @property
    def week(self) -> int:
        """Steps in a week, at least 1."""
        return max(1, round(WEEK / self.step_seconds))

    def at(self, values: numpy.ndarray, horizon: int | None = None) -> Problem:
        """The same question about other values, or for another horizon."""
        return dataclasses.replace(self, values=values, horizon=horizon or self.horizon)


@dataclasses.dataclass(frozen=True)
class Backtest:
    """What a model would have said at earlier moments, beside what came.

    :param origins: How many samples were known at each moment, shape (windows,).
    :param actual: Shape (series, windows, ahead); NaN where a sample is missing.
    :param median: Same shape.
    :param quantiles: Shape (series, windows, ahead, levels); made without knowledge of their own window's errors.
    :param ahead: The steps ahead that were tested, from 1, shape (ahead,).
    """

    origins: numpy.ndarray
    actual: numpy.ndarray
    median: numpy.ndarray
    quantiles: numpy.ndarray
    ahead: numpy.ndarray

    def rows(self, which: slice) -> Backtest:
        """Some of the series."""
        return dataclasses.replace(
            self, actual=self.actual[which], median=self.median[which], quantiles=self.quantiles[which]
        )


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A model's answer.

    :param quantiles: Shape (series, horizon, levels), rising along the last axis; NaN where the model has no answer.
    :param backtest: None where the history is too short for one.
    :param names: For each series the model, or models, that carried weight.
    :param warnings: For each series what its reader must know.
    :param parts: For each series the model that carried each of the :func:`stretches` ahead; None where one carried all.
    :param repeated: What repeating the day before would have said where the model was tested, where it was made anyway.
    """

    quantiles: numpy.ndarray
    backtest: Backtest | None
    names: list[str]
    warnings: list[list[str]]
    parts: list[tuple[str, ...]] | None = None
    repeated: numpy.ndarray | None = None


def origins(length: int, horizon: int, day: int, windows: int = 14) -> tuple[numpy.ndarray, int]:
    """Moments to test a forecast at, and how far ahead to test it.

    The newest window ends with the history; the oldest starts in its newer half, at most 14 days and one horizon ago.

    :returns: Samples known at each moment, rising, shape (windows,); steps ahead that can be tested. Both are empty
        (0) where the history is shorter than 4 steps.
    """
    if length < 4:
        return np.zeros(0, dtype=np.int64), 0
    steps = min(horizon, max(1, length // 3))
    newest = length - steps
    oldest = max(newest - 14 * day, (length + 1) // 2, 3)
    if oldest >= newest:
        return np.array([newest]), steps
    count = min(windows, 1 + max(1, (newest - oldest) // max(1, steps // 4)))
    return np.unique(np.linspace(oldest, newest, count).round().astype(np.int64)), steps


def stretches(ahead: numpy.ndarray, horizon: int) -> tuple[list[int], list[int]]:
    """The horizon in parts that are told apart: the next 3 steps, and those beyond.

    :param ahead: Steps ahead that are tested; a part without one belongs to the next, or is the last.
    :returns: the first column of *ahead* in each part; the last step ahead of each.
    """
    edges = np.unique(np.minimum([3, ahead[-1]], ahead[-1]))
    stops, first = np.unique(np.searchsorted(ahead, edges, side="right"), return_index=True)
    edges, stops = edges[first][stops > 0], stops[stops > 0]
    return [0, *stops[:-1].tolist()], [*edges[:-1].tolist(), horizon]


def windows_of(values: numpy.ndarray, starts: numpy.ndarray, steps: int) -> numpy.ndarray:
    """What came after each start, shape (series, starts, steps)."""
    return values[:, starts[:, None] + np.arange(steps)]
