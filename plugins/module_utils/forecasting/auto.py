# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default: the fleet model, except where repeating the day before was better."""

from __future__ import annotations

import dataclasses

from ..libraries import numpy as np
from . import fleet, intervals, seasonal_naive
from .problem import Prediction, Problem


def predict(problem: Problem) -> Prediction:
    """The fleet model; a series for which daily seasonal naive had the smaller backtest error gets that."""
    answer = fleet.predict(problem)
    if answer.backtest is None or "fleet" not in answer.names:
        return answer
    peer = seasonal_naive.peer(problem, answer.backtest)
    known = ~np.isnan(peer.actual)
    ours, theirs = (
        np.abs(np.subtract(test.actual, test.median, where=known, out=np.zeros(known.shape))).sum(axis=(1, 2))
        for test in (answer.backtest, peer)
    )
    rows = np.flatnonzero(theirs < ours)
    if not len(rows):
        return dataclasses.replace(answer, peer=peer)
    median, quantiles = answer.backtest.median.copy(), answer.backtest.quantiles.copy()
    median[rows], quantiles[rows] = peer.median[rows], peer.quantiles[rows]
    backtest = dataclasses.replace(answer.backtest, median=median, quantiles=quantiles)
    error = (peer.actual - peer.median)[rows].reshape(len(rows), -1)
    width = np.nan_to_num(intervals.quantiles_known(error, problem.levels))
    width[:, [level == 0.5 for level in problem.levels]] = 0.0
    now = np.array([problem.values.shape[1]])
    ahead = seasonal_naive.repeat(problem.at(problem.values[rows]), now, problem.day)[:, 0]
    result = answer.quantiles.copy()
    result[rows] = np.sort(ahead[:, :, None] + width[:, None, :], axis=2)
    names = ["seasonal_naive" if worse else name for worse, name in zip(theirs < ours, answer.names, strict=True)]
    return Prediction(result, backtest, names, answer.warnings, peer)
