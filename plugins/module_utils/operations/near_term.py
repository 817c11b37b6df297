# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a forecast that a standby woken now is for: told from the last minutes too, or from them alone.

A forecast of a day is made for all its steps alike. What is due now hangs on the few within the lead time, so these come
from :mod:`..forecasting.near`, which weighs the last minutes by how well they told so far. Where a replay of the
pool's past shows that reactive would have cost less lately, or there is too little past to tell, the plan goes reactive.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import NotEnoughHistory
from ..libraries import numpy as np
from ..planning import backtest, choice
from ..planning.backtest import Past
from ..planning.distribution import DemandForecast
from .outlook import Outlook


def refined(
    seen: Outlook, hold_seconds: float, mode: str
) -> tuple[dict[str, DemandForecast], dict[str, str], dict[str, str]]:
    """The forecasts to plan by, for each pool that is planned reactively why, and for each that is not, where that was chosen.

    :param mode: V(auto) lets the past decide, V(predictive) and V(reactive) don't.
    """
    forecasts, reactive, predictive = {}, {}, {}
    known = [name for name in seen.forecasts if name in seen.demand and name in seen.totals]
    by_step: dict[int, dict[str, t.Any]] = {}
    for name in known if mode != "reactive" else ():
        series = seen.totals[name]
        by_step.setdefault(series.step_seconds, {})[name] = series.values[0]
    pasts: dict[str, Past | NotEnoughHistory] = {}
    for step_seconds, demands in by_step.items():
        found, lacking = backtest.pasts_of(seen.pools, demands, step_seconds, hold_seconds)
        pasts |= found | lacking
    for name, forecast in seen.forecasts.items():
        if name not in known:
            forecasts[name] = forecast
            continue
        forecasts[name], ahead, reason = _refined(seen, name, forecast, pasts.get(name), hold_seconds, mode)
        if reason is not None:
            (predictive if ahead else reactive)[name] = reason
    return forecasts, reactive, predictive


def _refined(
    seen: Outlook,
    name: str,
    forecast: DemandForecast,
    past: Past | NotEnoughHistory | None,
    hold_seconds: float,
    mode: str,
) -> tuple[DemandForecast, bool, str | None]:
    """What to plan by, whether that looks ahead, and why."""
    if past is None:
        return _flat(seen, name, forecast, hold_seconds), False, "it is told to follow the newest demand alone"
    if isinstance(past, NotEnoughHistory):
        if mode == "predictive":
            return forecast, True, None
        return (
            _flat(seen, name, forecast, hold_seconds),
            False,
            f"it follows the newest demand alone: {past.problem}",
        )
    ahead = _with_last_minutes(past, seen.demand[name], forecast)
    if mode == "predictive":
        return ahead, True, None
    made = backtest.chosen(past)
    way = backtest.WAYS[int(made.taken[-1])]
    if way == "forecast":
        return ahead, True, _words(made, "it goes by the forecast")
    if way == "newest":
        return _flat(seen, name, forecast, hold_seconds), False, _words(made, "it follows the newest demand alone")
    told = _with_headroom(past, _flat(seen, name, forecast, hold_seconds))
    return told, False, _words(made, "it follows the newest demand, with room for changes such as it had")


def _words(made: choice.Choice, what: str) -> str:
    """Why that is done, with the figures."""
    if np.isnan(made.lately).any() or not made.lately.any():
        return f"{what}: too little of the past is replayed yet to tell what else would cost"
    ahead, room, alone = made.lately
    return (
        f"{what}: lately a day of going by the forecast would have cost {ahead:.4g}, of following the newest demand with "
        f"room for its usual changes {room:.4g}, and without that room {alone:.4g}"
    )


def _flat(seen: Outlook, name: str, forecast: DemandForecast, hold_seconds: float) -> DemandForecast:
    """The greatest demand within the hold, carried on: Kubernetes' stabilization window."""
    series = seen.totals[name]
    width = max(1, round(hold_seconds / series.step_seconds))
    demand = max(seen.demand[name], float(np.nanmax(series.values[0, -width:], initial=0.0)))
    return dataclasses.replace(forecast, quantiles=np.full_like(forecast.quantiles, demand))


def _with_headroom(past: Past, flat: DemandForecast) -> DemandForecast:
    """A demand carried on, with its levels as far above it as its changes within the lead time make them."""
    told = past.plain.newest(0, [float(level) for level in flat.levels])
    if told is None:
        return flat
    share = told / max(float(past.plain.centre[0, -1]), 1e-9)
    return dataclasses.replace(flat, quantiles=flat.quantiles * share)


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
