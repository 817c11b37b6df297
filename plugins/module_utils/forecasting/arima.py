# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ARIMA errors around a season of Fourier terms (dynamic harmonic regression).

Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition (2021), chapter 10. Fitted by
statsmodels, one series after the other: minutes for a fleet, so it is there to compare with.
"""

from __future__ import annotations

import typing as t

from ..libraries import arima_model
from ..libraries import numpy as np
from . import one_by_one
from .problem import Prediction, Problem

if t.TYPE_CHECKING:
    import numpy

ORDER = (2, 0, 1)
DAYS = 7  # of history that are fitted
HARMONICS = 6  # of the day
FEW = 50  # samples below which a random walk is fitted


def predict(problem: Problem) -> Prediction:
    """An ARIMA(2, 0, 1) around the day's first harmonics; the newest level on under 50 samples."""
    return one_by_one.predict(problem, _one, "arima")


def _one(line: numpy.ndarray, moments: numpy.ndarray, problem: Problem) -> numpy.ndarray:
    """Medians of one series. The parameters of the backtest's moments are those of the first of them."""
    result = np.empty((len(moments), problem.horizon))
    parameters = None
    for index, moment in enumerate(moments):
        start = max(0, int(moment) - DAYS * problem.day)
        known = line[start:moment]
        if len(known) < FEW or float(known.std()) == 0.0:
            result[index] = known[-1]
            continue
        terms = _fourier(np.arange(start, moment + problem.horizon), problem.day, len(known))
        season = terms @ np.linalg.lstsq(terms[: len(known)], known, rcond=None)[0]
        model = arima_model.ARIMA(known - season[: len(known)], order=ORDER, trend="n")
        if parameters is None or index == len(moments) - 1:
            parameters = model.fit(method="innovations_mle").params
        result[index] = season[len(known) :] + model.filter(parameters).forecast(problem.horizon)
    return result


def _fourier(slots: numpy.ndarray, day: int, known: int) -> numpy.ndarray:
    """A constant, and sine and cosine of the day's harmonics where a day was seen twice; shape (slots, terms)."""
    harmonics = min(HARMONICS, day // 2 - 1) if known >= 2 * day else 0
    angle = 2 * np.pi * slots[:, None] / day * np.arange(1, harmonics + 1)
    return np.concatenate([np.ones((len(slots), 1)), np.sin(angle), np.cos(angle)], axis=1)
