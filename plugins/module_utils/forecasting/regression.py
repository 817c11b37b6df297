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
FEW = 8  # series at most in a fleet that leans on what fleets have in common, too
LEANS_OF_FEW = (1e-5, 1e-3, 0.03, 1.0)  # the same of such a fleet, whose matrix has that in it
COMMON = 1.0  # how much a single series leans on it, in histories of its own
SHARPNESS = 20  # how much more a lean with a smaller held-out loss counts


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What a fleet has in common, for one horizon bucket and level.

    :param weights: Of the candidates, shape (candidates,).
    :param gram: Mean Gram matrix of a series, shape (candidates, candidates).
    :param leans: The weights of that matrix, in histories of one series, that are tried.
    """

    weights: numpy.ndarray
    gram: numpy.ndarray
    leans: tuple[float, ...] = LEANS


def fit_fleet(
    x: numpy.ndarray,
    y: numpy.ndarray,
    known: numpy.ndarray,
    level: float,
    common: numpy.ndarray | None = None,
) -> Fleet:
    """One regression over the rows of all series.

    :param x: Candidates, float32, shape (candidates, series, rows), the last one constant.
    :param y: What came, shape (series, rows). :param known: 1 where it is known, else 0.
    :param common: The weights that fleets have in common, shape (candidates,); None where nobody knows. They count less
        by the cube of the number of series, and nothing in a fleet of more than a few.
    """
    count, series = len(x), len(y)
    weights = np.full(count, 1 / (count - 1), dtype=np.float32)
    weights[-1] = 0
    start, few = weights, common is not None and series <= FEW
    more, toward = (COMMON / series**3, common) if few else (0.0, start)
    flat, target, use = np.ascontiguousarray(x.reshape(count, -1).T), y.ravel(), known.ravel()
    for _round in range(FLEET_ROUNDS):
        weighted = flat * _reweight(target - flat @ weights, level, use)[:, None]
        gram = (weighted.T @ flat).astype(np.float64)
        size = np.trace(gram) / count
        lean = RIDGE * size + 1e-9
        side = weighted.T @ target + lean * start + more * size * toward
        weights = np.linalg.solve(gram + (lean + more * size) * np.eye(count), side).astype(np.float32)
    gram /= series
    gram += (1e-3 + more) * (np.trace(gram) / count + 1e-9) * np.eye(count)
    return Fleet(weights, gram.astype(np.float32), LEANS_OF_FEW if few else LEANS)


def fit_own(
    x: numpy.ndarray,
    y: numpy.ndarray,
    known: numpy.ndarray,
    level: float,
    fleet: Fleet,
    folds: list[slice],
    newest: t.Sequence[int] = (0,),
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """One regression for each series, and what it says of each fold of its rows without having seen it.

    How much a series leans on its fleet, and how far back it is to be looked, is told by the held-out loss: a smooth
    series hardly leans, a noisy one does.

    :param x: Candidates, float32, shape (series, candidates, rows), the last one constant.
    :param folds: The rows of each fold, rising.
    :param newest: Folds before which rows are left out, for each history that is tried.
    :returns: weights, shape (series, candidates); held-out forecasts, shape (series, rows).
    """
    weights = np.broadcast_to(fleet.weights, x.shape[:2])
    every = slice(0, y.shape[1])
    for _round in range(OWN_ROUNDS - 1):
        weighted = _weighted(x, y, known, level, weights)
        weights = _solve(*_products(weighted, x, y, every), fleet, fleet.leans[-1])
    weighted = _weighted(x, y, known, level, weights)
    parts = [_products(weighted, x, y, fold) for fold in folds]
    solved = np.concatenate([_solutions(parts, first, fleet) for first in newest], axis=2)
    told = np.empty((len(y), solved.shape[2], y.shape[1]), dtype=np.float32)
    for fold, without in zip(folds, solved[1:], strict=True):
        told[:, :, fold] = without @ x[:, :, fold]
    error = (y[:, None] - told) * known[:, None]
    loss = np.maximum(level * error, (level - 1) * error).sum(axis=2, keepdims=True) + np.float32(1e-6)
    share = (loss.min(axis=1, keepdims=True) / loss) ** SHARPNESS
    share /= share.sum(axis=1, keepdims=True)
    return (share * solved[0]).sum(axis=1), (share * told).sum(axis=1)


def _solutions(parts: list[tuple[numpy.ndarray, numpy.ndarray]], first: int, fleet: Fleet) -> numpy.ndarray:
    """The weights for each lean, of the folds from the first one on, and of the same without each fold.

    :param parts: Both sides of the normal equations of each fold.
    :returns: shape (1 + folds, series, leans, candidates).
    """
    gram, side = (sum(part) for part in zip(*parts[first:], strict=True))
    grams = [gram, *(gram - part if fold >= first else gram for fold, (part, _side) in enumerate(parts))]
    sides = [side, *(side - part if fold >= first else side for fold, (_gram, part) in enumerate(parts))]
    grams, sides = np.stack(grams), np.stack(sides)
    return np.stack([_solve(grams, sides, fleet, lean) for lean in fleet.leans], axis=2)


def _weighted(
    x: numpy.ndarray, y: numpy.ndarray, known: numpy.ndarray, level: float, weights: numpy.ndarray
) -> numpy.ndarray:
    """The candidates, each row by how much it weighs."""
    errors = y - (weights[:, None] @ x)[:, 0]
    return x * _reweight(errors, level, known)[:, None]


def _products(
    weighted: numpy.ndarray, x: numpy.ndarray, y: numpy.ndarray, rows: slice
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The two sides of the normal equations of some rows, shapes (series, candidates, candidates) and (series, candidates)."""
    weighted = weighted[:, :, rows]
    return weighted @ x[:, :, rows].swapaxes(1, 2), (weighted @ y[:, rows, None])[..., 0]


def _solve(gram: numpy.ndarray, side: numpy.ndarray, fleet: Fleet, lean: float) -> numpy.ndarray:
    """The weights of each series, leant on the fleet's.

    Candidates that are all alike leave fewer equations than weights, and single precision cannot tell which; the
    fleet's matrix, in the scale of other series, may be too small to tell, so a floor is added in this series' own.
    """
    left = gram + lean * fleet.gram
    diagonal = np.einsum("...ii->...i", left)
    diagonal += FLOOR * diagonal.sum(axis=-1, keepdims=True)
    return np.linalg.solve(left, (side + lean * (fleet.gram @ fleet.weights))[..., None])[..., 0]


def _reweight(errors: numpy.ndarray, level: float, known: numpy.ndarray) -> numpy.ndarray:
    """Weights under which squares count as the quantile's loss.

    Between the closest errors of either sign the slope passes from one to the other, or a rounding error would decide
    whether a sample weighs a hundred times as much.
    """
    closest = np.float32(CLOSEST)
    above = np.clip(errors / (2 * closest) + np.float32(0.5), 0, 1)
    slope = np.float32(1 - level) + np.float32(2 * level - 1) * above
    return slope * known / np.maximum(np.abs(errors), closest)
