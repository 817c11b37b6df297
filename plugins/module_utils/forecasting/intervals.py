# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quantiles around a point forecast, from the errors it made at earlier moments.

The errors are those of forecasts made without knowledge of what they are compared with (rolling origin, Tashman 2000),
so the width is honest even where the model is wrong; no distribution is assumed.
"""

from __future__ import annotations

import itertools
import typing as t

from ..libraries import numpy as np
from .problem import Backtest, Prediction, Problem, origins, windows_of

if t.TYPE_CHECKING:
    import numpy

# (problem, moments) -> medians of shape (series, moments, problem.horizon); a moment is the count of samples known.
PointModel = t.Callable[[Problem, "numpy.ndarray"], "numpy.ndarray"]


def predict(problem: Problem, model: PointModel, name: str) -> Prediction:
    """A point model's forecast with quantiles and backtest."""
    series, length = problem.values.shape
    starts, steps = origins(length, problem.horizon, problem.day)
    points = model(problem, np.append(starts, length))
    point = points[:, -1]
    warnings: list[list[str]] = [[] for row in range(series)]
    if not steps:
        for notes in warnings:
            notes.append(f"only {length} samples: the quantiles have no error to stand on and repeat the median")
        quantiles = np.repeat(point[:, :, None], len(problem.levels), axis=2)
        return Prediction(quantiles, None, [name] * series, warnings)
    actual = windows_of(problem.values, starts, steps)
    median = points[:, :-1, :steps]
    error = actual - median
    every = np.arange(len(starts))
    spread = _spread(error, problem.levels)
    out_of_fold = np.stack(
        [_spread(error[:, every != fold], problem.levels) if len(every) > 1 else spread for fold in every], axis=1
    )
    backtest = Backtest(starts, actual, median, median[..., None] + out_of_fold, np.arange(1, steps + 1))
    width = np.repeat(spread[:, -1:], problem.horizon, axis=1)
    width[:, :steps] = spread
    if problem.horizon > steps:
        ahead = np.arange(steps, problem.horizon)
        width[:, steps:] *= np.sqrt((ahead + 1) / steps)[None, :, None]
        for notes in warnings:
            notes.append(f"the history is too short to test more than {steps} steps ahead: later widths are a guess")
    return Prediction(point[:, :, None] + width, backtest, [name] * series, warnings)


def buckets(steps: int) -> list[slice]:
    """Neighbouring steps ahead that share one error distribution: 1, 2, 3-4, 5-8, ... at most 32 to a bucket."""
    edges = [0]
    while edges[-1] < steps:
        edges.append(min(steps, edges[-1] + max(1, min(32, edges[-1]))))
    return [slice(low, high) for low, high in itertools.pairwise(edges)]


def _spread(error: numpy.ndarray, levels: t.Sequence[float]) -> numpy.ndarray:
    """Quantiles of the errors by step ahead; (series, windows, steps) -> (series, steps, levels).

    A bucket with no error known takes those of the whole series, and 0 where there is none at all.
    """
    series, _windows, steps = error.shape
    result = np.empty((series, steps, len(levels)))
    whole = quantiles_known(error.reshape(series, -1), levels)
    whole = np.where(np.isnan(whole), 0.0, whole)
    for part in buckets(steps):
        inner = quantiles_known(error[:, :, part].reshape(series, -1), levels)
        result[:, part] = np.where(np.isnan(inner), whole, inner)[:, None, :]
    return result


def quantiles_known(values: numpy.ndarray, levels: t.Sequence[float], *, unseen: int = 0) -> numpy.ndarray:
    """Empirical quantiles of each row that skip NaN, shape (rows, levels); NaN for a row of nothing else.

    :param unseen: 1 for the levels at which one more value, like those there are, is to be below.
    """
    ordered = np.sort(values, axis=1)
    count = (~np.isnan(values)).sum(axis=1)
    last = np.maximum(count - 1, 0)[:, None]
    place = np.clip(np.asarray(levels)[None, :] * (last + 2 * unseen) - unseen, 0, last)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, last)
    share = place - low
    return np.take_along_axis(ordered, low, 1) * (1 - share) + np.take_along_axis(ordered, high, 1) * share
