# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How good a forecast was.

MASE: Hyndman and Koehler, *Another look at measures of forecast accuracy*, International Journal of Forecasting 22
(2006). Weighted quantile loss: Park et al., *Learning quantile functions without quantile crossing for distribution-
free time series forecasting*, AISTATS 2022, and the GIFT-Eval benchmark (Aksu et al., 2024).
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

    from .problem import Backtest


BLOCK = 32  # series at a time, so that they stay in cache


def seasonal_error(values: numpy.ndarray, season: int) -> numpy.ndarray:
    """Mean absolute difference between a sample and the one a season before, shape (series,).

    The season is shortened to one step where the history does not hold two seasons; NaN where nothing can be compared.
    """
    if values.shape[1] <= season:
        season = 1
    blocks = (values[low : low + BLOCK] for low in range(0, len(values), BLOCK))
    differences = (np.abs(block[:, season:] - block[:, :-season]) for block in blocks)
    return np.concatenate([_mean(block, np.isnan(block)) for block in differences])


def quantile_loss(actual: numpy.ndarray, quantile: numpy.ndarray, level: float) -> numpy.ndarray:
    """Twice the pinball loss of one quantile, in the shape of both."""
    difference = actual - quantile
    return np.maximum(2 * level * difference, 2 * (level - 1) * difference)


def summary(backtest: Backtest, levels: t.Sequence[float], scale: numpy.ndarray) -> list[dict[str, t.Any]]:
    """For each series ``mase``, ``wql``, ``wape`` and ``coverage`` by quantile level; None where it can't be told.

    :param scale: What MASE divides by, shape (series,): the :func:`seasonal_error` of the history.
    """
    parts = [slice(low, low + BLOCK) for low in range(0, len(scale), BLOCK)]
    return [told for part in parts for told in _summary(backtest.rows(part), levels, scale[part])]


def _summary(backtest: Backtest, levels: t.Sequence[float], scale: numpy.ndarray) -> list[dict[str, t.Any]]:
    """The same of a block of series."""
    series = len(backtest.actual)
    actual, median = backtest.actual.reshape(series, -1), backtest.median.reshape(series, -1)
    quantiles = [backtest.quantiles[..., index].reshape(series, -1) for index in range(len(levels))]
    error = np.abs(actual - median)
    missing = np.isnan(error)
    losses = [quantile_loss(actual, one, level) for one, level in zip(quantiles, levels, strict=True)]
    loss = np.mean([_mean(one, missing) for one in losses], axis=0)
    error, size = _mean(error, missing), _mean(np.abs(actual), missing)
    count = np.maximum((~missing).sum(axis=1), 1)
    coverage = np.stack([(actual <= one).sum(axis=1) / count for one in quantiles], axis=1)
    names = [str(float(level)) for level in levels]
    figures = (_ratios(error, scale), _ratios(loss, size), _ratios(error, size), coverage.tolist(), np.isfinite(error))
    return [
        {"mase": mase, "wql": wql, "wape": wape, "coverage": dict(zip(names, shares, strict=True)) if told else {}}
        for mase, wql, wape, shares, told in zip(*figures, strict=True)
    ]


def mase_by_part(backtest: Backtest, cuts: t.Sequence[int], scale: numpy.ndarray) -> list[list[float | None]]:
    """The MASE of each series in parts of what is tested, which begin at columns of *backtest.ahead*."""
    error = np.abs(backtest.actual - backtest.median)
    known = ~np.isnan(error)
    total = np.add.reduceat(np.where(known, error, 0.0).sum(axis=1), cuts, axis=1)
    count = np.add.reduceat(known.sum(axis=1), cuts, axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return [list(line) for line in zip(*(_ratios(part, scale) for part in mean.T), strict=True)]


def _ratios(values: numpy.ndarray, scale: numpy.ndarray) -> list[float | None]:
    """Ratios as plain numbers; 0 for 0 of 0; None where one has no finite value."""
    told = np.isfinite(values) & np.isfinite(scale) & (scale > 0)
    ratio = values / np.where(told, scale, 1)
    zero = values == 0
    return [
        one if known else None
        for one, known in zip(np.where(zero, 0, ratio).tolist(), (told | zero).tolist(), strict=True)
    ]


def _mean(values: numpy.ndarray, missing: numpy.ndarray) -> numpy.ndarray:
    """The mean of what is not missing of each row; NaN where all is. *values* are changed."""
    np.copyto(values, 0, where=missing)
    count = values.shape[1] - missing.sum(axis=1)
    return np.where(count > 0, values.sum(axis=1) / np.maximum(count, 1), np.nan)
