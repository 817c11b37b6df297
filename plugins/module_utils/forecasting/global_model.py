# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the models have in common that learn one function for the whole fleet from rows of features."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np
from . import intervals
from .calendar import offsets
from .calibration import calibrate
from .candidates import Layout, candidates
from .fleet import FEWEST, Design, location_and_scale
from .problem import Backtest, Prediction, Problem
from .seasonal_naive import newest_known, repeat

if t.TYPE_CHECKING:
    import numpy

LEVELS = (0.1, 0.5, 0.9)  # of the candidates that are features
SEQUENCE = 48  # newest samples that a model may read one after the other
ROWS = 60000  # at most that are learned from


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is known when a step ahead is forecast.

    :param features: float32, shape (rows, features): the candidates, how far ahead, time of day and of week.
    :param sequence: float32, shape (rows, SEQUENCE): the newest samples, oldest first.
    """

    features: numpy.ndarray
    sequence: numpy.ndarray

    def take(self, rows: numpy.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(self.features[rows], self.sequence[rows])


# A fitted model: rows -> quantiles, shape (rows, levels).
Fitted = t.Callable[[Rows], "numpy.ndarray"]
# (rows, targets, levels, seed) -> fitted model
Learner = t.Callable[[Rows, "numpy.ndarray", t.Tuple[float, ...], int], Fitted]


def predict(problem: Problem, learn: Learner, name: str) -> Prediction:
    """A forecast by one learned function. The newest third of the backtest's moments is not learned from for it."""
    series, length = problem.values.shape
    if length < FEWEST:
        return intervals.predict(problem, lambda part, moments: repeat(part, moments, part.day), "seasonal_naive")
    centre, scale = location_and_scale(problem.values)
    own = ((problem.values - centre[:, None]) / scale[:, None]).astype(np.float32)
    design = Design.of(length, problem.horizon, problem.day)
    layout = Layout.of(length, problem.day, problem.week, offsets(problem))
    filled = newest_known(own)
    column = design.moments[:, None] + design.ahead - 1
    target = np.where(column < length, own[:, np.minimum(column, length - 1)], np.nan)
    rows = _rows(filled, design.moments, design.ahead, layout, problem)
    known = ~np.isnan(target).ravel()
    split = len(design.moments) * 2 // 3
    older = np.zeros(target.shape, dtype=bool)
    older[:, :split] = column[:split] < design.moments[split]
    levels = tuple(sorted({0.5, *problem.levels}))
    rng = np.random.default_rng(problem.seed)

    def fit(which: numpy.ndarray) -> Fitted:
        chosen = np.flatnonzero(which)
        if len(chosen) > ROWS:
            chosen = np.sort(rng.choice(chosen, ROWS, replace=False))
        return learn(rows.take(chosen), target.ravel()[chosen], levels, problem.seed)

    now = _rows(filled, np.array([length]), np.arange(1, problem.horizon + 1), layout, problem)
    quantiles = np.sort(fit(known)(now), axis=1).reshape(series, problem.horizon, len(levels))
    wanted = [levels.index(level) for level in problem.levels]
    backtest = None
    if (known & older.ravel()).sum() >= FEWEST:
        later = np.zeros(target.shape, dtype=bool)
        later[:, split:] = True
        tested = np.sort(fit(known & older.ravel())(rows.take(np.flatnonzero(later))), axis=1)
        tested = tested.reshape(series, -1, len(design.ahead), len(levels))
        count = tested.shape[1]
        calibrate(quantiles, target[:, split:], tested, levels, [slice(0, count // 2), slice(count // 2, count)])
        tested = tested * scale[:, None, None, None] + centre[:, None, None, None]
        actual = target[:, split:] * scale[:, None, None] + centre[:, None, None]
        median = tested[..., levels.index(0.5)]
        backtest = Backtest(design.moments[split:], actual, median, tested[..., wanted], design.ahead)
    quantiles = quantiles[..., wanted] * scale[:, None, None] + centre[:, None, None]
    return Prediction(quantiles, backtest, [name] * series, [[] for row in range(series)])


def _rows(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, layout: Layout, problem: Problem
) -> Rows:
    """A row for each series, moment and step ahead, in that order."""
    x = np.moveaxis(candidates(values, moments, ahead, layout, LEVELS)[:, :-1], (0, 1), (3, 4))
    shape = x.shape[:3]
    target = np.broadcast_to(moments[:, None] + ahead, shape)
    time = [np.broadcast_to(ahead / problem.day, shape)]
    for season in (problem.day, problem.week):
        angle = 2 * np.pi * target / season
        time += [np.sin(angle), np.cos(angle)]
    features = np.concatenate([x.reshape(*shape, -1), np.stack(time, axis=-1)], axis=-1, dtype=np.float32)
    back = np.maximum(moments[:, None] - np.arange(SEQUENCE, 0, -1), 0)
    sequence = np.broadcast_to(values[:, back][:, :, None], (*shape, SEQUENCE))
    return Rows(features.reshape(-1, features.shape[-1]), sequence.reshape(-1, SEQUENCE))
