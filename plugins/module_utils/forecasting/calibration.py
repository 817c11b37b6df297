# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moves a quantile to where its share of held-out samples is below it.

Romano, Patterson and Candès, *Conformalized quantile regression*, NeurIPS 2019. The backtest's own quantiles are moved
by the errors of the other folds only, so that the coverage it tells of is not made of what it measures.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .candidates import network
from .intervals import quantiles_known

if t.TYPE_CHECKING:
    import numpy


def calibrate(
    quantiles: numpy.ndarray,
    actual: numpy.ndarray,
    tested: numpy.ndarray,
    levels: tuple[float, ...],
    folds: list[slice],
) -> None:
    """Move all quantiles but the median, in place, and put them in order.

    It is fastest where the levels, the last axis, are the first in memory.

    :param quantiles: The forecast, shape (series, steps, levels), of one stretch of the horizon.
    :param actual: What came, shape (series, moments, ahead); NaN where it is not known.
    :param tested: What would have been said, shape (series, moments, ahead, levels).
    :param folds: Rows of the moments in each fold.
    """
    middle = levels.index(0.5)
    put_in_order(quantiles)
    put_in_order(tested)
    median, ahead = tested[..., middle].copy(), quantiles[..., middle].copy()
    for index, level in enumerate(levels):
        if index == middle:
            continue
        away = np.abs(tested[..., index] - median)
        least = 0.1 * away.mean(axis=(1, 2)) + 1e-3
        unit = away + least[:, None, None]
        error = (actual - tested[..., index]) / unit
        quantiles[..., index] += _move(error, level)[:, None] * (np.abs(quantiles[..., index] - ahead) + least[:, None])
        for fold in folds:
            others = np.hstack([error[:, : fold.start], error[:, fold.stop :]]) if len(folds) > 1 else error
            tested[:, fold, :, index] += _move(others, level)[:, None, None] * unit[:, fold]
    put_in_order(quantiles)
    put_in_order(tested)


def put_in_order(quantiles: numpy.ndarray) -> None:
    """Sort the last axis, of few levels, in place: all rows by one comparison at a time."""
    levels = quantiles.shape[-1]
    for one, other in network(levels, frozenset(range(levels))):
        low, high = quantiles[..., one], quantiles[..., other]
        lower = np.minimum(low, high)
        np.maximum(low, high, out=high)
        low[...] = lower


def _move(error: numpy.ndarray, level: float) -> numpy.ndarray:
    """How far to move, in units of the error, for each series; not at all where no error is known."""
    move = quantiles_known(error.reshape(len(error), -1), [level], unseen=1)[:, 0]
    return np.nan_to_num(move).astype(error.dtype)
