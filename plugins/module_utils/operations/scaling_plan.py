# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``scaling_plan``."""

from __future__ import annotations

import typing as t

from .. import options, timing
from ..planning import scaling
from . import outlook, spending

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    **options.STATE,
    **outlook.SPEC,
    awake=dict(type="list", elements="str", default=[]),
    hold=dict(type="str", default="30m"),
)


def scaling_plan(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Servers required ahead, standbys to wake and to release.

    :returns: ``plan``, a plain dict; ``forecasts`` it was made from; ``words``; ``warnings``.
    """
    hold = timing.duration(params["hold"], "hold")
    seen = outlook.outlook(params, scaling.demand_quantile)
    awake = spending.require_standbys(params["awake"], params)
    plan = scaling.plan(
        seen.pools, seen.forecasts, now=seen.now, awake=awake, demand_now=seen.demand, hold_seconds=hold
    )
    plan = spending.limited(params, plan, seen.pools, now=seen.now, awake=awake, demand=seen.demand)
    return {
        "changed": False,
        "plan": plan,
        "forecasts": seen.items,
        "words": plan["words"],
        "warnings": seen.warnings,
    }
