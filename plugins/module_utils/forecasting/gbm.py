# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gradient-boosted trees for each quantile, one model for the whole fleet, by scikit-learn.

Ke et al., *LightGBM: a highly efficient gradient boosting decision tree*, NeurIPS 2017, whose histograms scikit-learn's
implementation follows.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from ..libraries import sklearn_ensemble
from . import global_model
from .problem import Prediction, Problem

if t.TYPE_CHECKING:
    import numpy


def predict(problem: Problem) -> Prediction:
    """The quantiles that boosted trees learn from the candidates and the time of day."""
    return global_model.predict(problem, _learn, "gbm")


def _learn(rows: global_model.Rows, target: numpy.ndarray, levels: tuple[float, ...], seed: int) -> global_model.Fitted:
    """A model for each level."""
    models = [
        sklearn_ensemble.HistGradientBoostingRegressor(
            loss="quantile", quantile=level, max_iter=100, learning_rate=0.1, min_samples_leaf=50, random_state=seed
        ).fit(rows.features, target)
        for level in levels
    ]
    return lambda ahead: np.stack([model.predict(ahead.features) for model in models], axis=1)
