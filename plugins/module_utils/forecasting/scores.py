# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How good a forecast was.

MASE: Hyndman and Koehler, *Another look at measures of forecast accuracy*, International Journal of Forecasting 22
(2006). Weighted quantile loss: Park et al., *Learning quantile functions without quantile crossing for distribution-
free time series forecasting*, AISTATS 2022, and the GIFT-Eval benchmark (Aksu et al., 2024).
"""

from __future__ import annotations

import math
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
    return np.concatenate([_mean(np.abs(block[:, season:] - block[:, :-season]), axis=1) for block in blocks])


def quantile_loss(actual: numpy.ndarray, quantile: numpy.ndarray, level: float) -> numpy.ndarray:
    """Twice the pinball loss of one quantile, in the shape of both."""
    difference = actual - quantile
    return np.maximum(2 * level * difference, 2 * (level - 1) * difference)


def summary(backtest: Backtest, levels: t.Sequence[float], scale: numpy.ndarray) -> list[dict[str, t.Any]]:
    """For each series ``mase``, ``wql``, ``wape`` and ``coverage`` by quantile level; None where it can't be told.

    :param scale: What MASE divides by, shape (series,): the :func:`seasonal_error` of the history.
    """
    rows = range(0, len(scale), BLOCK)
    return [told for low in rows for told in _summary(backtest.rows(slice(low, low + BLOCK)), levels, scale[low:])]


def _summary(backtest: Backtest, levels: t.Sequence[float], scale: numpy.ndarray) -> list[dict[str, t.Any]]:
    """The same of a block of series."""
    actual = backtest.actual
    error = _mean(np.abs(actual - backtest.median), axis=(1, 2))
    size = _mean(np.abs(actual), axis=(1, 2))
    loss = np.mean(
        [
            _mean(quantile_loss(actual, backtest.quantiles[..., index], level), axis=(1, 2))
            for index, level in enumerate(levels)
        ],
        axis=0,
    )
    count = np.maximum((~np.isnan(actual)).sum(axis=(1, 2)), 1)[:, None]
    coverage = (actual[..., None] <= backtest.quantiles).sum(axis=(1, 2)) / count
    return [
        {
            "mase": _ratio(error[row], scale[row]),
            "wql": _ratio(loss[row], size[row]),
            "wape": _ratio(error[row], size[row]),
            "coverage": {
                str(float(level)): float(share)
                for level, share in zip(levels, coverage[row], strict=True)
                if math.isfinite(error[row])
            },
        }
        for row in range(len(actual))
    ]


def mase_by_part(backtest: Backtest, cuts: t.Sequence[int], scale: numpy.ndarray) -> list[list[float | None]]:
    """The MASE of each series in parts of what is tested, which begin at columns of *backtest.ahead*."""
    error = np.abs(backtest.actual - backtest.median)
    known = ~np.isnan(error)
    total = np.add.reduceat(np.where(known, error, 0.0).sum(axis=1), cuts, axis=1)
    count = np.add.reduceat(known.sum(axis=1), cuts, axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return [[_ratio(value, size) for value in line] for line, size in zip(mean, scale, strict=True)]


def _ratio(value: float, scale: float) -> float | None:
    """The ratio as a plain number; 0 for 0 of 0; None where it has no finite value."""
    if value == 0:
        return 0.0
    if not (math.isfinite(value) and math.isfinite(scale)) or scale <= 0:
        return None
    return float(value / scale)


def _mean(values: numpy.ndarray, axis: int | tuple[int, ...]) -> numpy.ndarray:
    """The mean of what is not missing; NaN, without a warning, where all is."""
    total = values.sum(axis=axis)
    missing = np.isnan(values)
    count = np.prod([values.shape[one] for one in np.atleast_1d(axis)]) - missing.sum(axis=axis)
    if np.isnan(total).any():
        total = np.where(missing, 0.0, values).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
