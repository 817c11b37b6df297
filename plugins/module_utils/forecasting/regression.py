# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Linear quantile regression of many series at once, each leaning on its fleet.

The loss of a quantile is an absolute error with two slopes, and is minimized by least squares with weights that are
renewed from the errors (Schlossmacher, *An iterative technique for absolute deviations curve fitting*, JASA 68, 1973).
Combining the quantiles of several forecasts so is quantile regression averaging (Nowotarski and Weron, *Computing
electricity spot price prediction intervals using quantile regression and forecast averaging*, Computational
Statistics 30, 2015). Each series' Gram matrix is shrunk towards the fleet's, an empirical Bayes prior.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

CLOSEST = 0.1  # an error below this much of a series' scale weighs no more
RIDGE = 1e-4
FLOOR = 2e-6  # of the trace of a Gram matrix, added to its diagonal: some roundings of single precision
FLEET_ROUNDS = 6
OWN_ROUNDS = 3
LEANS = (0.005, 0.5)  # weights of the fleet's mean Gram matrix, in histories of one series, that are tried
SHARPNESS = 20  # how much more a lean with a smaller held-out loss counts


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What a fleet has in common, for one horizon bucket and level.

    :param weights: Of the candidates, shape (candidates,).
    :param gram: Mean Gram matrix of a series, shape (candidates, candidates).
    """

    weights: numpy.ndarray
    gram: numpy.ndarray


def fit_fleet(x: numpy.ndarray, y: numpy.ndarray, known: numpy.ndarray, level: float) -> Fleet:
    """One regression over the rows of all series.

    :param x: Candidates, float32, shape (candidates, series, rows), the last one constant.
    :param y: What came, shape (series, rows). :param known: 1 where it is known, else 0.
    """
    count = len(x)
    weights = np.full(count, 1 / (count - 1), dtype=np.float32)
    weights[-1] = 0
    start = weights
    flat, target, use = np.ascontiguousarray(x.reshape(count, -1).T), y.ravel(), known.ravel()
    for _round in range(FLEET_ROUNDS):
        weighted = flat * _reweight(target - flat @ weights, level, use)[:, None]
        gram = (weighted.T @ flat).astype(np.float64)
        lean = RIDGE * np.trace(gram) / count + 1e-9
        side = weighted.T @ target + lean * start
        weights = np.linalg.solve(gram + lean * np.eye(count), side).astype(np.float32)
    gram /= len(y)
    return Fleet(weights, (gram + 1e-3 * (np.trace(gram) / count + 1e-9) * np.eye(count)).astype(np.float32))


def fit_own(
    x: numpy.ndarray, y: numpy.ndarray, known: numpy.ndarray, level: float, fleet: Fleet, folds: list[slice]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """One regression for each series, and what it says of each fold of its rows without having seen it.

    How much a series leans on its fleet is told by the held-out loss: a smooth series hardly does, a noisy one does.

    :param x: Candidates, float32, shape (series, candidates, rows), the last one constant.
    :param folds: The rows of each fold.
    :returns: weights, shape (series, candidates); held-out forecasts, shape (series, rows).
    """
    weights = np.broadcast_to(fleet.weights, x.shape[:2])
    side_of_fleet = fleet.gram @ fleet.weights
    for current in range(OWN_ROUNDS):
        errors = y - (weights[:, None] @ x)[:, 0]
        weighted = x * _reweight(errors, level, known)[:, None]
        grams = [weighted[:, :, fold] @ x[:, :, fold].swapaxes(1, 2) for fold in folds]
        sides = [(weighted[:, :, fold] @ y[:, fold, None])[..., 0] for fold in folds]
        gram, side = sum(grams), sum(sides)
        if current < OWN_ROUNDS - 1:
            weights = _solve(gram, side, fleet.gram, side_of_fleet, LEANS[-1])
    own, told, losses = [], [], []
    for lean in LEANS:
        own.append(_solve(gram, side, fleet.gram, side_of_fleet, lean))
        held_out = np.empty_like(y)
        for fold, part, of_part in zip(folds, grams, sides, strict=True):
            without = _solve(gram - part, side - of_part, fleet.gram, side_of_fleet, lean)
            held_out[:, fold] = (without[:, None] @ x[:, :, fold])[:, 0]
        error = (y - held_out) * known
        told.append(held_out)
        losses.append(np.maximum(level * error, (level - 1) * error).sum(axis=1))
    loss = np.stack(losses) + np.float32(1e-6)
    share = (loss.min(axis=0) / loss) ** SHARPNESS
    share /= share.sum(axis=0)
    weights = sum(part[:, None] * solution for part, solution in zip(share, own, strict=True))
    return weights, sum(part[:, None] * line for part, line in zip(share, told, strict=True))


def _solve(
    gram: numpy.ndarray, side: numpy.ndarray, fleet: numpy.ndarray, side_of_fleet: numpy.ndarray, lean: float
) -> numpy.ndarray:
    """The weights of each series, leant on the fleet's.

    Candidates that are all alike leave fewer equations than weights, and single precision cannot tell which; the
    fleet's matrix, in the scale of other series, may be too small to tell, so a floor is added in this series' own.
    """
    left = gram + lean * fleet
    diagonal = np.einsum("...ii->...i", left)
    diagonal += FLOOR * diagonal.sum(axis=-1, keepdims=True)
    return np.linalg.solve(left, (side + lean * side_of_fleet)[..., None])[..., 0]


def _reweight(errors: numpy.ndarray, level: float, known: numpy.ndarray) -> numpy.ndarray:
    """Weights under which squares count as the quantile's loss.

    Between the closest errors of either sign the slope passes from one to the other, or a rounding error would decide
    whether a sample weighs a hundred times as much.
    """
    closest = np.float32(CLOSEST)
    above = np.clip(errors / (2 * closest) + np.float32(0.5), 0, 1)
    slope = np.float32(1 - level) + np.float32(2 * level - 1) * above
    return slope * known / np.maximum(np.abs(errors), closest)
