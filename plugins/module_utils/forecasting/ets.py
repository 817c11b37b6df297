# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exponential smoothing of what STL leaves, with the season that STL finds.

Cleveland et al., *STL: a seasonal-trend decomposition procedure based on loess*, Journal of Official Statistics 6
(1990); Hyndman et al., *Forecasting with exponential smoothing: the state space approach* (2008). Fitted by
statsmodels, one series after the other.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from ..libraries import smoothing, stl
from . import one_by_one
from .problem import Prediction, Problem

if t.TYPE_CHECKING:
    import numpy

DAYS = 14  # of history that are fitted
FEW = 12  # samples below which the newest level is carried on


def predict(problem: Problem) -> Prediction:
    """Simple exponential smoothing around the day that STL finds; without a season where a day was not seen twice."""
    return one_by_one.predict(problem, _one, "ets")


def _one(line: numpy.ndarray, moments: numpy.ndarray, problem: Problem) -> numpy.ndarray:
    """Medians of one series. The smoothing of the backtest's moments is that of the first of them."""
    result = np.empty((len(moments), problem.horizon))
    fitted: dict[str, t.Any] = {}
    for index, moment in enumerate(moments):
        known = line[max(0, int(moment) - DAYS * problem.day) : moment]
        if len(known) < FEW or float(known.std()) == 0.0:
            result[index] = known[-1]
            continue
        ahead = np.zeros(problem.horizon)
        if problem.day >= 2 and len(known) > 2 * problem.day:
            season = stl.STL(known, period=problem.day, seasonal=7).fit().seasonal
            known = known - season
            ahead = season[-problem.day :][np.arange(problem.horizon) % problem.day]
        model = smoothing.SimpleExpSmoothing(known, initialization_method="estimated")
        if not fitted or index == len(moments) - 1:
            fitted = {"smoothing_level": float(model.fit().params["smoothing_level"])}
        result[index] = ahead + model.fit(**fitted, optimized=False).forecast(problem.horizon)
    return result
