# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the models have in common that are fitted to one series after the other."""

from __future__ import annotations

import typing as t
import warnings

from ..libraries import numpy as np
from . import intervals
from .problem import Prediction, Problem
from .seasonal_naive import newest_known

if t.TYPE_CHECKING:
    import numpy

# (one series without gaps, in its own scale; moments; problem) -> medians, shape (moments, horizon)
OneSeries = t.Callable[["numpy.ndarray", "numpy.ndarray", Problem], "numpy.ndarray"]


def predict(problem: Problem, one: OneSeries, name: str) -> Prediction:
    """A forecast series by series; one that can't be fitted carries its newest level on, and says so."""
    failed: dict[int, str] = {}
    prediction = intervals.predict(problem, lambda part, moments: _points(part, moments, one, failed), name)
    for row, reason in failed.items():
        prediction.warnings[row].append(f"{name} could not be fitted ({reason}): the newest level is carried on")
    return prediction


def _points(problem: Problem, moments: numpy.ndarray, one: OneSeries, failed: dict[int, str]) -> numpy.ndarray:
    """Medians at each moment, shape (series, moments, horizon)."""
    values = newest_known(problem.values.astype(np.float64))
    result = np.empty((len(values), len(moments), problem.horizon))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels tells of slow convergence; the backtest tells what it costs
        for row, line in enumerate(values):
            scale = float(line.std()) or 1.0
            centre = float(line.mean())
            try:
                result[row] = one((line - centre) / scale, moments, problem) * scale + centre
            except (ValueError, np.linalg.LinAlgError) as exc:
                failed[row] = str(exc)
            if row in failed or not np.isfinite(result[row]).all():
                failed.setdefault(row, "it did not converge")
                result[row] = line[np.maximum(moments - 1, 0)][:, None]
    return result
