# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``scaling_plan``."""

from __future__ import annotations

import datetime
import typing as t

from .. import options, timing
from ..errors import InvalidOption
from ..planning import scaling
from ..planning.allocation import Share
from . import near_term, outlook, spending, tenants

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    **options.STATE,
    **outlook.SPEC,
    awake=dict(type="list", elements="str", default=[]),
    out=dict(type="list", elements="str", default=[]),
    awake_since=dict(type="dict", default={}),
    owners=dict(type="dict", default={}),
    anomalies=dict(type="list", elements="dict", default=[]),
    mode=dict(type="str", choices=["auto", "predictive", "reactive"], default="auto"),
    hold=dict(type="str", default="30m"),
)


def scaling_plan(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Servers required ahead, standbys to wake and to release.

    :returns: ``plan``, a plain dict; ``forecasts`` it was made from; ``words``; ``warnings``.
    """
    hold = timing.duration(params["hold"], "hold")
    seen = outlook.outlook(params, scaling.demand_quantile, some_will_do=True)
    awake = spending.require_standbys(params["awake"], params, "awake")
    out = spending.require_standbys(params["out"], params, "out")
    forecasts, reactive, predictive = near_term.refined(seen, hold, params["mode"])
    woke = spending.woke_at(params, seen.pools, seen.now) if awake else {}
    plan = scaling.plan(
        seen.pools,
        forecasts,
        now=seen.now,
        awake=awake,
        demand_now=seen.demand,
        hold_seconds=hold,
        awake_since={**woke, **_since(params["awake_since"], seen.pools)},
        owners=_owners(params),
        shares=_shares(params),
        anomalies=params["anomalies"],
        reactive=reactive,
        predictive=predictive,
        out=out,
    )
    plan = spending.limited(params, plan, seen.pools, now=seen.now, awake=awake, demand=seen.demand)
    return {
        "changed": False,
        "plan": plan,
        "forecasts": seen.items,
        "words": plan["words"],
        "warnings": seen.warnings,
    }


def _since(values: dict[str, t.Any], pools: dict[str, dict[str, t.Any]]) -> dict[str, datetime.datetime]:
    """When standbys woke."""
    outlook.standbys(list(values), pools, "awake_since")
    return {server: timing.moment(time, f"awake_since.{server}") for server, time in values.items()}


def _owners(params: dict[str, t.Any]) -> dict[str, str]:
    """The pool that each standby serves, planned now or not.

    :raises InvalidOption: on a pool that may not use the standby.
    """
    owners = {server: str(name) for server, name in params["owners"].items()}
    spending.require_standbys(owners, params, "owners")
    for server, name in owners.items():
        standby = (params["pools"].get(name) or {}).get("standby") or {}
        if server not in (standby.get("servers") or ()):
            raise InvalidOption(
                f"{server!r} is not a standby of pool {name!r}",
                option="owners",
                remedy="Name a pool whose standby.servers has it",
            )
    return owners


def _shares(params: dict[str, t.Any]) -> dict[str, Share]:
    """What each tenant has a right to."""
    limits = tenants.checked(params.get("tenants") or {})
    return {name: Share(limit["guaranteed_standbys"], limit["max_standbys"]) for name, limit in limits.items()}
