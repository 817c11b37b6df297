# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a forecast that a standby woken now is for: told from the last minutes too, or from them alone.

A forecast of a day is made for all its steps alike. What is due now hangs on the few within the lead time, so these come
from :mod:`..forecasting.near`, which weighs the last minutes by how well they told so far. Where a replay of the
pool's past shows that reactive would have cost less, or there is too little past to tell, the plan goes reactive.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import NotEnoughHistory
from ..libraries import numpy as np
from ..planning.backtest import Past, pasts_of, prefers_reactive
from ..planning.distribution import DemandForecast
from .outlook import Outlook


def refined(seen: Outlook, hold_seconds: float, mode: str) -> tuple[dict[str, DemandForecast], dict[str, str]]:
    """The forecasts to plan by, and for each pool that is planned reactively why.

    :param mode: V(auto) lets the past decide, V(predictive) and V(reactive) don't.
    """
    forecasts, reasons = {}, {}
    known = [name for name in seen.forecasts if name in seen.demand and name in seen.totals]
    by_step: dict[int, dict[str, t.Any]] = {}
    for name in known if mode != "reactive" else ():
        series = seen.totals[name]
        by_step.setdefault(series.step_seconds, {})[name] = series.values[0]
    pasts: dict[str, Past | NotEnoughHistory] = {}
    for step_seconds, demands in by_step.items():
        found, lacking = pasts_of(seen.pools, demands, step_seconds, hold_seconds)
        pasts |= found | lacking
    for name, forecast in seen.forecasts.items():
        if name not in known:
            forecasts[name] = forecast
            continue
        forecasts[name], reason = _refined(seen, name, forecast, pasts.get(name), hold_seconds, mode)
        if reason is not None:
            reasons[name] = reason
    return forecasts, reasons


def _refined(
    seen: Outlook,
    name: str,
    forecast: DemandForecast,
    past: Past | NotEnoughHistory | None,
    hold_seconds: float,
    mode: str,
) -> tuple[DemandForecast, str | None]:
    if past is None:
        return _flat(seen, name, forecast, hold_seconds), "it is told to follow the newest demand alone"
    if isinstance(past, NotEnoughHistory):
        if mode == "predictive":
            return forecast, None
        return _flat(seen, name, forecast, hold_seconds), f"it follows the newest demand alone: {past.problem}"
    if mode == "auto":
        better, ours, theirs = prefers_reactive(past)
        if better:
            return _flat(seen, name, forecast, hold_seconds), (
                "it follows the newest demand alone: in the past replayed, that would have cost "
                f"{theirs.cost:.4g}, and going by the forecast {ours.cost:.4g}"
            )
    return _with_last_minutes(past, seen.demand[name], forecast), None


def _flat(seen: Outlook, name: str, forecast: DemandForecast, hold_seconds: float) -> DemandForecast:
    """The greatest demand within the hold, carried on: Kubernetes' stabilization window."""
    series = seen.totals[name]
    width = max(1, round(hold_seconds / series.step_seconds))
    demand = max(seen.demand[name], float(np.nanmax(series.values[0, -width:], initial=0.0)))
    return dataclasses.replace(forecast, quantiles=np.full_like(forecast.quantiles, demand))


def _with_last_minutes(past: Past, newest: float, forecast: DemandForecast) -> DemandForecast:
    """The forecast with its first steps on the line from the newest demand to what the last minutes tell of the lead time."""
    told = past.near.newest(0, [float(level) for level in forecast.levels])
    reach = min(past.boot + 1, forecast.steps)
    if told is None or forecast.step_seconds != past.step_seconds:
        return forecast
    goal = told * past.pool["load"]["server_capacity"]
    share = (np.arange(1, reach + 1) / (past.boot + 1))[:, None]
    quantiles = forecast.quantiles.copy()
    quantiles[:reach] = newest * (1 - share) + goal * share
    return dataclasses.replace(forecast, quantiles=quantiles)
