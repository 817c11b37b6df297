# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default: the fleet model, except where repeating the day before was better, told for each stretch ahead."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np
from . import fleet, intervals, seasonal_naive
from .problem import Backtest, Prediction, Problem, stretches

if t.TYPE_CHECKING:
    import numpy


def predict(problem: Problem) -> Prediction:
    """The fleet model; where daily seasonal naive had the smaller backtest error, a series gets that.

    Each stretch of the horizon is looked at by itself: a level may carry the next minutes and the day before the rest.
    """
    answer = fleet.predict(problem)
    if answer.backtest is None or "fleet" not in answer.names:
        return answer
    test, quantiles = answer.backtest, answer.quantiles
    repeated = seasonal_naive.repeat(problem, test.origins, problem.day, test.ahead)
    cuts, ends = stretches(test.ahead, problem.horizon, problem.day)
    worse = np.add.reduceat(_errors(test, repeated) - _errors(test, test.median), cuts, axis=1) < 0
    begin = 0
    for number, (low, end) in enumerate(zip(cuts, ends, strict=True)):
        rows, columns = np.flatnonzero(worse[:, number]), slice(low, [*cuts, len(test.ahead)][number + 1])
        if len(rows):
            quantiles[rows, begin:end] = _ahead(problem, rows, slice(begin, end))[..., None]
            error = test.actual[rows, :, columns] - repeated[rows, :, columns]
            quantiles[rows, begin:end] += _width(error, problem.levels)[:, None]
            test.median[rows, :, columns] = repeated[rows, :, columns]
            test.quantiles[rows, :, columns] = repeated[rows, :, columns, None] + _held_out(error, problem.levels)
        begin = end
    quantiles.sort(axis=2)
    parts = [tuple("seasonal_naive" if one else "fleet" for one in line) for line in worse.tolist()]
    names = [", ".join(dict.fromkeys(part)) for part in parts]
    return dataclasses.replace(answer, names=names, parts=parts, repeated=repeated)


def _errors(test: Backtest, guess: numpy.ndarray) -> numpy.ndarray:
    """The sum of absolute errors by step ahead, shape (series, ahead)."""
    return np.nansum(np.abs(test.actual - guess), axis=1)


def _ahead(problem: Problem, rows: numpy.ndarray, steps: slice) -> numpy.ndarray:
    """The day before again, for some series and steps ahead, shape (rows, steps)."""
    now, ahead = np.array([problem.values.shape[1]]), np.arange(steps.start, steps.stop) + 1
    return seasonal_naive.repeat(problem.at(problem.values[rows]), now, problem.day, ahead)[:, 0]


def _width(error: numpy.ndarray, levels: tuple[float, ...]) -> numpy.ndarray:
    """Quantiles of the errors around the median, which stays; (rows, moments, ahead) -> (rows, levels)."""
    width = np.nan_to_num(intervals.quantiles_known(error.reshape(len(error), -1), levels))
    width[:, [level == 0.5 for level in levels]] = 0.0
    return width


def _held_out(error: numpy.ndarray, levels: tuple[float, ...]) -> numpy.ndarray:
    """Widths by moment, each half's from the errors of the other; (rows, moments, ahead) -> (rows, moments, 1, levels)."""
    half = error.shape[1] // 2
    older, newer = (_width(part, levels)[:, None] for part in (error[:, half:], error[:, :half]))
    return np.concatenate([np.repeat(older, half, axis=1), np.repeat(newer, error.shape[1] - half, axis=1)], axis=1)[
        :, :, None
    ]
