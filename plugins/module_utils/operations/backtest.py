# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``backtest``."""

from __future__ import annotations

import typing as t

from .. import options, timing
from ..planning import backtest as past
from . import demands, forecast, tenants

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    step=dict(type="str", default="5m"),
    history_window=dict(type="str", default="30d"),
    hold=dict(type="str", default="15m"),
)


def backtest(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """The past of each pool under its own rules, and under others beside them.

    :returns: ``pools``, what :func:`planning.backtest.replay` tells of each; ``policies``, the figures by pool and
        policy, as the module report shows them; ``words``.
    """
    hold = timing.duration(params["hold"], "hold")
    asked = forecast.asked_for(
        {**params, "horizon": params["step"], "quantiles": [0.5], "model": "auto", "per_server": False, "seed": 0}
    )
    told = {}
    pools = tenants.chosen(params)
    for name, series in demands.read(params["history"], pools, asked):
        told[name] = past.replay(past.Past.of(pools[name], series.values[0], series.step_seconds, hold, name))
    told = {name: told[name] for name in pools}
    rows = {
        f"{name}: {policy.replace('_', ' ')}": figures
        for name, item in told.items()
        for policy, figures in item["policies"].items()
    }
    words = [line for name, item in told.items() for line in past.words(name, item)]
    return {"changed": False, "pools": told, "policies": rows, "words": words}
