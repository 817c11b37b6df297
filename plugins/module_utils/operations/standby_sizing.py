# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``standby_sizing``."""

from __future__ import annotations

import math
import typing as t

from .. import options, timing
from ..errors import InvalidOption, NotEnoughHistory
from ..libraries import numpy as np
from ..planning import sizing
from ..planning.quota import day_of
from ..series import Series
from . import demands, forecast, tenants

if t.TYPE_CHECKING:
    import numpy

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    history_window=dict(type="str", default="60d"),
    step=dict(type="str", default="5m"),
    hold=dict(type="str", default="30m"),
    wake=dict(type="str", choices=["ahead", "late"], default="ahead"),
    boot_failures=dict(type="float", default=0.0),
    growth=dict(type="str", default="none"),
    ahead=dict(type="str", default="30d"),
    most=dict(type="int"),
    seed=dict(type="int", default=0),
)

LEAST_DAYS = 7
USUAL_DAYS = 30
MOST_STANDBYS = 2000  # that are tried, each by itself


def standby_sizing(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """How many standbys each pool should have, from its history.

    :returns: ``pools`` by name, ``words``, ``warnings``.
    :raises NotEnoughHistory: when a pool has less than a week of whole days.
    """
    growth = _growth(params["growth"])
    if not 0 <= params["boot_failures"] < 1:
        raise InvalidOption(
            f"{params['boot_failures']} is not a share of wakings",
            option="boot_failures",
            remedy="Give 0 up to below 1, such as 0.02",
        )
    if params["most"] is not None and params["most"] < 0:
        raise InvalidOption(f"{params['most']} is below 0", option="most", remedy="Give 0 or more")
    asked = forecast.asked_for(
        {**params, "quantiles": [0.5], "horizon": params["step"], "model": "auto", "per_server": False}
    )
    if 86400 % asked.step_seconds:
        raise InvalidOption(
            f"{params['step']} does not divide a day", option="step", remedy="Choose one such as 1m, 5m or 1h"
        )
    ahead = timing.duration(params["ahead"], "ahead") / 86400
    pools = tenants.chosen(params)
    result: dict[str, t.Any] = {"changed": False, "pools": {}, "words": [], "warnings": []}
    series = dict(demands.read(params["history"], pools, asked))
    for name, pool in pools.items():
        demand = whole_days(series[name], pool, name)
        rules = _rules(pool, params)
        _require_few(demand, rules, name)
        answer = sizing.size(
            demand,
            rules,
            step_seconds=asked.step_seconds,
            growth=growth,
            ahead_days=ahead if growth != 0 else 0.0,
            seed=params["seed"],
        )
        answer["now"] = len(tenants.standbys(pool))
        answer["words"] = words(answer, pool, params)
        result["pools"][name] = answer
        result["words"] += [f"{name}: {sentence}" for sentence in answer["words"]]
        if answer["days"] < USUAL_DAYS:
            result["warnings"].append(
                f"{name}: the history has {answer['days']} days with samples; the number of standbys is surer from "
                f"{USUAL_DAYS} on"
            )
    return result


def _growth(text: str) -> float | None:
    """Growth per month as a share; None stands for what the history shows."""
    if text in ("none", "trend"):
        return 0.0 if text == "none" else None
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not -1 < share <= 10:
        raise InvalidOption(
            f"{text!r} is not a growth", option="growth", remedy="Write none, trend, or a share per month such as 5%"
        )
    return share


def _rules(pool: dict[str, t.Any], params: dict[str, t.Any]) -> sizing.Rules:
    load, standby, most = pool["load"], pool["standby"], params["most"]
    if pool["limits"]["max"] is not None:
        room = max(0, pool["limits"]["max"] - len(pool["servers"]))
        most = room if most is None else min(most, room)
    return sizing.Rules(
        servers=len(pool["servers"]),
        capacity=load["server_capacity"],
        target=load["target_utilization"],
        most=most,
        awake_cost=standby["cost_per_hour"] if standby else 1.0,
        idle_cost=standby["idle_cost_per_hour"] if standby else 0.0,
        overload_cost=pool["slo"]["overload_cost_per_hour"],
        lead_seconds=timing.duration(standby["lead_time"]) if standby else 300.0,
        hold_seconds=timing.duration(params["hold"], "hold"),
        ahead=params["wake"] == "ahead",
        failure=params["boot_failures"],
    )


def _require_few(demand: numpy.ndarray, rules: sizing.Rules, name: str) -> None:
    """Refuse a past that asks for more standbys than can be tried.

    :raises InvalidOption: naming the capacity, which may be in another unit than the load.
    """
    peak = float(np.nanmax(demand))
    needed = peak / (rules.capacity * rules.target) - rules.servers
    if min(needed, math.inf if rules.most is None else rules.most) > MOST_STANDBYS:
        raise InvalidOption(
            f"a peak of {peak:.4g} needs {needed:.4g} standbys, and no more than {MOST_STANDBYS} can be tried",
            option=f"pools.{name}.load.server_capacity",
            remedy="Give it in the unit of the load, correct the sample if it is wrong, or set most",
        )


def whole_days(series: Series, pool: dict[str, t.Any], name: str) -> numpy.ndarray:
    """A pool's demand by whole days of 24 hours that end at the newest midnight of its time zone, oldest first.

    Days before the first sample are left out; a day that the clocks are changed on keeps its 24 hours before the end.

    :raises NotEnoughHistory: when there is less than a week.
    """
    steps = 86400 // series.step_seconds
    midnight, _next = day_of(series.end, pool["calendar"]["time_zone"], f"pools.{name}.calendar.time_zone")
    over = int((series.end - midnight).total_seconds()) // series.step_seconds % steps
    row = series.values[0, : series.values.shape[1] - over]
    days = row.size // steps
    table = row[row.size - days * steps :].reshape(days, steps)
    known = np.flatnonzero(np.isfinite(table).mean(axis=1) >= sizing.KNOWN_SHARE)
    if known.size < LEAST_DAYS:
        raise NotEnoughHistory(
            f"the history has {known.size} whole days of pool {name!r} with samples",
            option="history_window",
            remedy=f"Collect at least {LEAST_DAYS} days, better {USUAL_DAYS}, and look back as far",
        )
    return table[known[0] :]


def words(answer: dict[str, t.Any], pool: dict[str, t.Any], params: dict[str, t.Any]) -> list[str]:
    """What the sizes say, for the person who pays."""
    chosen = answer["recommended"]
    by_count = {item["standbys"]: item for item in answer["options"]}
    own = by_count[chosen]
    has = answer["now"]
    why = (
        "cheapest"
        if pool["slo"]["overload_cost_per_hour"] is not None
        else "fewest that keep 95 % of days without overload"
    )
    sentences = [
        f"{chosen} {'standby is' if chosen == 1 else 'standbys are'} the {why} over {answer['days']} days ({has} now): {_day(own)}",
    ]
    if pool["slo"]["overload_cost_per_hour"] is None and own["days_short"] > sizing.DAYS_SHORT:
        sentences[0] = (
            f"{chosen} standbys are the most there may be, and too few over {answer['days']} days: {_day(own)}"
        )
    for count, step in ((chosen - 1, "fewer"), (chosen + 1, "more")):
        if count in by_count:
            sentences.append(f"one {step}: {_change(by_count[count], own)}")
    if chosen + 1 not in by_count:
        sentences.append("one more would never have been needed")
    if has != chosen and has in by_count:
        sentences.append(f"the {has} of now: {_change(by_count[has], own)}")
    confidence = answer["confidence"]
    low, high = confidence["low"], confidence["high"]
    most = f"{low} to {high}" if low < high else low
    sentences.append(
        f"of pasts drawn anew from these days {confidence['share'] * 100:.0f} % ask for {chosen}, and most of them for {most}; a day above "
        f"all of these comes about once in {round(1 / confidence['beyond'])} days"
    )
    if answer["growth_per_month"]:
        sentences.append(
            f"sized for {params['ahead']} ahead, at a growth of {answer['growth_per_month'] * 100:+.1f} % a month"
        )
    elif params["growth"] == "trend":
        sentences.append("the daily peaks show no trend")
    late = own["late_overload_minutes_per_day"] - own["overload_minutes_per_day"]
    if params["wake"] == "ahead" and late > 0.05:
        sentences.append(
            f"were they woken only once the load is there, a lead time of {_lead(pool)} would add {late:.1f} minutes of "
            "overload a day: that asks for a forecast or a faster boot, not for more standbys"
        )
    return sentences


def _lead(pool: dict[str, t.Any]) -> str:
    return timing.words(timing.duration(pool["standby"]["lead_time"])) if pool["standby"] else "5 min"


def _day(item: dict[str, t.Any]) -> str:
    return (
        f"{item['cost_per_day']:.2f} a day, {item['idle_cost_per_day']:.2f} of it asleep, "
        f"{item['awake_cost_per_day']:.2f} awake and {item['overload_cost_per_day']:.2f} for "
        f"{item['overload_minutes_per_day']:.1f} minutes of overload a day"
    )


def _change(item: dict[str, t.Any], own: dict[str, t.Any]) -> str:
    cost = item["cost_per_day"] - own["cost_per_day"]
    minutes = item["overload_minutes_per_day"] - own["overload_minutes_per_day"]
    return f"{cost:+.2f} a day, {minutes:+.1f} minutes of overload a day"
