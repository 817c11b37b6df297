# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default: the fleet model, moved towards the day before where repeating that was better, for each stretch ahead."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np
from . import fleet, intervals, seasonal_naive
from .calibration import put_in_order
from .problem import Backtest, Prediction, Problem, stretches

if t.TYPE_CHECKING:
    import numpy


SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)  # of seasonal naive that are tried where the fleet model was worse


def predict(problem: Problem) -> Prediction:
    """The fleet model, with as much of daily seasonal naive as it takes to be no worse than that in the backtest.

    Each stretch of the horizon is looked at by itself: a level may carry the next minutes and the day before the rest. A
    part of it is enough nearly always, as errors of two forecasts cancel (Bates and Granger, *The combination of
    forecasts*, Operational Research Quarterly 20, 1969); the least that is enough loses least of the fleet model's widths.
    A history of less than two days has no day before to repeat.
    """
    answer = fleet.predict(problem)
    if answer.backtest is None or "fleet" not in answer.names or problem.values.shape[1] < 2 * problem.day:
        return answer
    test, quantiles = answer.backtest, answer.quantiles
    repeated = seasonal_naive.repeat(problem, test.origins, problem.day, test.ahead)
    cuts, ends = stretches(test.ahead, problem.horizon)
    worse = np.add.reduceat(_errors(test, repeated) - _errors(test, test.median), cuts, axis=1) < 0
    share = np.zeros(worse.shape)
    begin = 0
    for number, (low, end) in enumerate(zip(cuts, ends, strict=True)):
        rows, columns = np.flatnonzero(worse[:, number]), slice(low, [*cuts, len(test.ahead)][number + 1])
        if len(rows):
            actual, again, median = (part[rows, :, columns] for part in (test.actual, repeated, test.median))
            part = share[rows, number] = _share(actual, median, again)
            error = actual - again
            naive = _ahead(problem, rows, slice(begin, end))[..., None] + _width(error, problem.levels)[:, None]
            quantiles[rows, begin:end] = _between(quantiles[rows, begin:end], naive, part)
            test.median[rows, :, columns] = _between(median, again, part)
            naive = again[..., None] + _held_out(error, problem.levels)
            test.quantiles[rows, :, columns] = _between(test.quantiles[rows, :, columns], naive, part)
        begin = end
    put_in_order(quantiles)
    parts = [tuple(_name(one) for one in line) for line in share.tolist()]
    names = [", ".join(dict.fromkeys(part)) for part in parts]
    return dataclasses.replace(answer, names=names, parts=parts, repeated=repeated)


def _share(actual: numpy.ndarray, median: numpy.ndarray, again: numpy.ndarray) -> numpy.ndarray:
    """The least of :data:`SHARES` of *again* that is no worse than it; (rows, moments, ahead) -> (rows,)."""
    errors = np.stack([np.nansum(np.abs(actual - (median + (again - median) * one)), axis=(1, 2)) for one in SHARES])
    return np.asarray(SHARES)[(errors <= errors[-1]).argmax(axis=0)]


def _between(one: numpy.ndarray, other: numpy.ndarray, share: numpy.ndarray) -> numpy.ndarray:
    """So much of the way from one to the other, a share for each row."""
    return one + (other - one) * np.expand_dims(share, tuple(range(1, one.ndim)))


def _name(share: float) -> str:
    """What carried a stretch."""
    return "fleet" if share == 0 else "seasonal_naive" if share == 1 else "fleet and seasonal_naive"


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
