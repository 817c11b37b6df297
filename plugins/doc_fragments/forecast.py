# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that the module and the lookup forecast share; kept in step with SPEC in module_utils/operations/forecast.py."""

    DOCUMENTATION = r"""
options:
  horizon:
    description: How far to look ahead.
    type: str
    default: 24h
  step:
    description: The spacing of the forecast, and of the samples it reads.
    type: str
    default: 5m
  coarser_steps:
    description:
      - Coarser steps to tell of too, such as V(1h), whole multiples of O(step). Their medians are the means of those at
        O(step). An hour is forecast from hourly samples too, and the steps in it are moved to that by as much as was
        best at earlier moments.
      - Each takes fourteen forecasts in place of one, to try both ways at six earlier moments.
    type: list
    elements: str
    default: []
  quantiles:
    description:
      - The quantiles wanted, between 0 and 1. The median, V(0.5), is always among them.
    type: list
    elements: float
    default: [0.5, 0.9, 0.99]
  model:
    description:
      - V(fleet) regresses each quantile on what resembles the step ahead, for all series at once.
      - V(auto) is V(fleet), moved towards the day before for series and stretches ahead where repeating that was better in
        the backtest, by the least that makes it no worse there.
      - V(seasonal_naive) repeats the day or the week before.
      - V(arima) is an ARIMA with Fourier terms for the day, V(ets) exponential smoothing around a season found by STL.
        They need statsmodels, and seconds for each series.
      - V(gbm) is one gradient-boosted quantile model for all series. It needs scikit-learn.
      - V(lstm) is one recurrent network for all series. It needs PyTorch.
    type: str
    choices: [arima, auto, ets, fleet, gbm, lstm, seasonal_naive]
    default: auto
  per_server:
    description: Whether to forecast each server too.
    type: bool
    default: false
  history_window:
    description: How far to look back.
    type: str
    default: 30d
  seed:
    description: Of everything random. The same question with the same seed and O(now) has the same answer.
    type: int
    default: 0
  output:
    description:
      - A Parquet file to write all forecasts to, with the columns C(pool), C(server), C(metric), C(step_seconds), C(time),
        C(quantile) and C(value). Its folder must exist. Needs duckdb.
    type: path
"""
