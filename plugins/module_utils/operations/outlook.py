# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the planning operations look at: the pools, their demand ahead, and what each carries now."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .. import options, timing
from ..errors import InvalidOption, NotEnoughHistory
from ..libraries import numpy as np
from ..planning.demand import clustering, server_loads
from ..planning.distribution import DemandForecast
from ..series import Series
from . import demands, forecast, tenants

# Levels that every plan reads its tails from, besides those its pools ask for.
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)

# A newest sample older than this many steps does not tell what a pool carries now.
STALE_STEPS = 3

# What the planning faces take besides options.COMMON; documented in the fragment 'outlook'.
SPEC: options.ArgumentSpec = dict(
    forecasts=dict(type="list", elements="dict"),
    horizon=dict(type="str", default="24h"),
    step=dict(type="str", default="5m"),
    model=dict(type="str", default="auto"),
    history_window=dict(type="str", default="30d"),
    seed=dict(type="int", default=0),
)


@dataclasses.dataclass(frozen=True)
class Outlook:
    """The pools, and what is known of their demand.

    :param forecasts: Demand ahead by pool.
    :param demand: The newest demand by pool, in load units; a pool whose samples are stale is absent.
    :param loads: Mean load of the last day by pool and server, in load units; empty where servers have no series.
    :param totals: The demand of each pool so far, one row.
    :param items: The forecasts as the module M(lowtide.fleet.forecast) returns them.
    """

    now: datetime.datetime
    pools: dict[str, dict[str, t.Any]]
    forecasts: dict[str, DemandForecast]
    demand: dict[str, float]
    loads: dict[str, dict[str, float]]
    items: list[dict[str, t.Any]]
    warnings: list[str]
    totals: dict[str, Series] = dataclasses.field(default_factory=dict)


def outlook(
    params: dict[str, t.Any], levels: t.Callable[[dict[str, t.Any]], float], *, some_will_do: bool = False
) -> Outlook:
    """Read the history of the pools asked for, and forecast each.

    :param params: Checked values of ``options.COMMON`` and ``SPEC``.
    :param levels: The level of demand that a pool is planned by.
    :param some_will_do: Whether a pool without history is left out, with a warning, as long as others have one.
    :raises LowtideError: naming the option, when a pool has no history or an option is wrong.
    """
    pools = tenants.chosen(params)
    wanted = sorted({*LEVELS, *(levels(pool) for pool in pools.values())})
    asked = forecast.asked_for({**params, "quantiles": wanted, "per_server": True})
    given = {item.get("pool"): item for item in params["forecasts"] or [] if item.get("server") is None}
    missing = next((name for name in pools if params["forecasts"] is not None and name not in given), None)
    if missing is not None:
        raise InvalidOption(
            f"there is no forecast of pool {missing!r}",
            option="forecasts",
            remedy="Leave it out to have it made, or give the forecasts of all pools that are planned",
        )
    totals, loads = {}, {}
    lacking: dict[str, NotEnoughHistory] = {}
    for name, series in demands.read(params["history"], pools, asked, lacking=lacking if some_will_do else None):
        metric = pools[name]["load"]["metric"]
        totals[name] = series.rows([0])
        # What a server carried while it was out says nothing of what it carries; one that was out all day still has a load.
        load = dataclasses.replace(series, values=series.unmarked)
        loads[name] = server_loads(series, name, metric, 86400) | server_loads(load, name, metric, 86400)
    if not totals:
        raise next(iter(lacking.values()))
    made = {name: [item] for name, item in given.items()} or forecast.of_pools(totals, pools, asked)
    result = Outlook(asked.now, pools, {}, {}, {}, [], [])
    for name in pools:
        if name in lacking:
            result.warnings.append(f"{lacking[name]} Until then the pool stays as it is.")
            continue
        total, (item,) = totals[name], made[name]
        result.totals[name], result.loads[name] = total, loads[name]
        result.items.append(item)
        result.forecasts[name] = dataclasses.replace(DemandForecast.from_item(item), clustering=clustering(total))
        result.warnings.extend(f"{forecast.label(item)}: {warning}" for warning in item.get("warnings") or [])
        newest = _newest(total)
        if newest is None:
            result.warnings.append(
                f"{forecast.label(item)}: no sample in the {timing.words(STALE_STEPS * asked.step_seconds)} before "
                f"{timing.iso(asked.now)}; collect first, the plan does not know what the pool carries now"
            )
        else:
            result.demand[name] = newest
    return result


def _newest(total: Series) -> float | None:
    """The newest demand, when it is fresh."""
    recent = total.values[0, -STALE_STEPS:]
    known = recent[~np.isnan(recent)]
    return float(known[-1]) if known.size else None


def standbys(values: t.Sequence[str], pools: dict[str, dict[str, t.Any]], option: str) -> list[str]:
    """Names given as standbys, each one of some pool.

    :raises InvalidOption: on one that no pool names.
    """
    known = {server for pool in pools.values() if pool["standby"] for server in pool["standby"]["servers"]}
    stray = next((name for name in values if name not in known), None)
    if stray is not None:
        raise InvalidOption(
            f"{stray!r} is not a standby of the pools planned for",
            option=option,
            remedy="Name servers from the pools' standby.servers",
        )
    return list(values)
