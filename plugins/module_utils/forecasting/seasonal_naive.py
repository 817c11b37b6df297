# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seasonal naive: what was a day ago, or a week ago, will be again."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np
from . import intervals
from .problem import Backtest, Prediction, Problem, origins, windows_of

if t.TYPE_CHECKING:
    import numpy


def predict(problem: Problem) -> Prediction:
    """The last day or the last week again, whichever was nearer for the series so far; quantiles from its errors."""
    return intervals.predict(problem, _nearer, "seasonal_naive")


def peer(problem: Problem, tested: Backtest, median: numpy.ndarray | None = None) -> Backtest:
    """What repeating the last day would have said where another model was tested, with quantiles from its errors.

    :param median: The same without quantiles, where it is known.
    """
    if median is None:
        median = repeat(problem, tested.origins, problem.day, tested.ahead)
    error = (tested.actual - median).reshape(len(median), -1)
    spread = np.nan_to_num(intervals.quantiles_known(error, problem.levels)).astype(median.dtype)
    quantiles = np.moveaxis(median + spread.T[..., None, None], 0, -1)
    return dataclasses.replace(tested, median=median, quantiles=quantiles)


def repeat(problem: Problem, moments: numpy.ndarray, season: int, steps: numpy.ndarray | None = None) -> numpy.ndarray:
    """The newest full season known at each moment, over and over.

    A gap in it takes the same slot of the season before, at most three more seasons back, then the newest sample
    known. A history shorter than a season repeats its newest sample.

    :param steps: Steps ahead, from 1; all of the horizon when None.
    :returns: shape (series, moments, steps).
    """
    values = problem.values
    ahead = np.arange(problem.horizon) if steps is None else steps - 1
    column = moments[:, None] - season + ahead % season
    result = np.where(column >= 0, values[:, np.maximum(column, 0)], np.nan)
    for back in range(1, 4):
        row, moment, step = np.nonzero(np.isnan(result))
        if not len(row):
            return result
        before = column[moment, step] - back * season
        result[row, moment, step] = np.where(before >= 0, values[row, np.maximum(before, 0)], np.nan)
    row, moment, step = np.nonzero(np.isnan(result))
    if len(row):
        rows, place = np.unique(row, return_inverse=True)
        level = newest_known(values[rows])[:, np.maximum(moments - 1, 0)]
        result[row, moment, step] = level[place, moment]
    return result


def newest_known(values: numpy.ndarray) -> numpy.ndarray:
    """Each sample, or where it is missing the newest one before it, or the first one after; shape of *values*."""
    known = ~np.isnan(values)
    place = np.where(known, np.arange(values.shape[1]), -1)
    place = np.maximum.accumulate(place, axis=1)
    first = known.argmax(axis=1)
    return np.take_along_axis(values, np.where(place < 0, first[:, None], place), axis=1)


def _nearer(problem: Problem, moments: numpy.ndarray) -> numpy.ndarray:
    """Daily or weekly for each series, by the mean absolute error over the backtest's windows."""
    by_day = repeat(problem, moments, problem.day)
    length = problem.values.shape[1]
    starts, steps = origins(length, problem.horizon, problem.day)
    if not steps or length < 2 * problem.week:
        return by_day
    by_week = repeat(problem, moments, problem.week)
    actual = windows_of(problem.values, starts, steps)
    tested = len(starts)
    errors = [np.abs(guess[:, :tested, :steps] - actual) for guess in (by_day, by_week)]
    known = ~np.isnan(actual)
    day_error, week_error = (np.where(known, error, 0.0).sum(axis=(1, 2)) for error in errors)
    return np.where((week_error < day_error)[:, None, None], by_week, by_day)
