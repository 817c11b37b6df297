# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``update_plan`` and the lookups over it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import pathlib
import typing as t

from .. import options, timing
from ..errors import InvalidOption, LowtideError
from ..planning import updates
from ..planning.demand import owned_standbys
from . import demands, forecast, outlook, spending, update_rules

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    **outlook.SPEC,
    deadline=dict(type="str"),
    hosts=dict(type="list", elements="str", default=[]),
    awake=dict(type="list", elements="str", default=[]),
    resting=dict(type="list", elements="str", default=[]),
    use_standbys=dict(type="bool", default=True),
    durations=dict(type="dict", default={}),
    min_gain=dict(type="float", default=updates.MIN_GAIN),
    placement=dict(type="dict", options=options.PLACEMENT),
    anomalies=dict(type="str", choices=["hold", "ignore"], default="hold"),
    simulate=dict(type="bool", default=False),
    simulate_weeks=dict(type="int", default=4),
    **options.STATE,
)

# How many weeks back a simulation may look.
_MOST_WEEKS = 52


class Anomalous(LowtideError):
    """A pool behaves as it never did, so that its forecast can't be trusted."""


def update_plan(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """When to update which servers, in which batches, with which standbys awake.

    :returns: ``plan``, a plain dict; ``forecasts`` it was made from; ``words``; ``warnings``; and with ``simulate`` what it
        would have met in the past as ``simulation``.
    """
    if not 1 <= params["simulate_weeks"] <= _MOST_WEEKS:
        raise InvalidOption(
            f"{params['simulate_weeks']} is out of range",
            option="simulate_weeks",
            remedy=f"Give a number from 1 to {_MOST_WEEKS}",
        )
    if not 0 <= params["min_gain"] < math.inf:
        raise InvalidOption(
            f"{params['min_gain']} is no share", option="min_gain", remedy="Give 0 or more, 0.1 for a tenth for example"
        )
    seen = outlook.outlook(params, lambda pool: 1 - pool["update"]["risk"])
    ends = min(forecast.end for forecast in seen.forecasts.values())
    deadline = deadline_at(params["deadline"], seen.now) if params["deadline"] else ends
    if deadline <= seen.now:
        raise InvalidOption(
            f"{timing.iso(deadline)} is not after {timing.iso(seen.now)}",
            option="deadline",
            remedy="Give a later one, or a duration like 6h",
        )
    if params["anomalies"] == "hold" and (strange := update_rules.strange(params, seen.pools)):
        raise Anomalous(
            "; ".join(f"{name}: {words}" for name, words in strange.items()),
            option="anomalies",
            remedy="Look into it first, or plan all the same with anomalies=ignore",
        )
    awake = outlook.standbys(params["awake"], seen.pools, "awake")
    standbys = owned_standbys(seen.pools)
    in_service = {
        name: [server for server in pool["servers"] if server not in params["resting"]]
        + [server for server in standbys[name] if server in awake]
        for name, pool in seen.pools.items()
    }
    spare = {name: [server for server in names if server not in awake] for name, names in standbys.items()}
    plan = updates.within(
        _maker(params, seen, in_service, min(deadline, ends)),
        spare if params["use_standbys"] else None,
        seen.pools,
        spending.allowances(params, seen.pools, now=seen.now, awake=awake),
        seen.now,
    )
    simulation = _simulated(params, seen, plan, in_service) if params["simulate"] else None
    return {
        "changed": False,
        "plan": plan,
        "forecasts": seen.items,
        **({"simulation": simulation} if simulation else {}),
        "words": plan["words"] + (simulation["words"] if simulation else []),
        "warnings": seen.warnings,
    }


def _maker(
    params: dict[str, t.Any], seen: outlook.Outlook, in_service: dict[str, list[str]], deadline: datetime.datetime
) -> t.Callable[[dict[str, list[str]] | None], dict[str, t.Any]]:
    """Makes the plan from the standbys that may be woken, by pool."""
    narrowed = _narrowed(update_rules.placed(seen.pools, params["placement"]), params["hosts"])
    closed = update_rules.closed(seen.pools, seen.now, deadline)
    durations = {
        **update_rules.recorded(params, seen.pools, seen.now),
        **update_rules.durations(params["durations"], seen.pools),
    }

    def make(spare: dict[str, list[str]] | None) -> dict[str, t.Any]:
        return updates.plan(
            narrowed,
            seen.forecasts,
            now=seen.now,
            deadline=deadline,
            server_loads=seen.loads if any(seen.loads.values()) else None,
            in_service=in_service,
            spare_standbys=spare,
            closed=closed,
            durations=durations,
            min_gain=params["min_gain"],
        )

    return make


def _simulated(
    params: dict[str, t.Any], seen: outlook.Outlook, plan: dict[str, t.Any], in_service: dict[str, list[str]]
) -> dict[str, t.Any]:
    """What a plan would have met in the past, which may lie before the history that forecasts are made from."""
    pools = {name: seen.pools[name] for name in plan["pools"]}
    ahead = (timing.moment(plan["window"]["end"]) - seen.now).total_seconds()
    # The weeks wanted, those that the plan reaches into, and what may be between.
    weeks = params["simulate_weeks"] + math.ceil(max(0.0, ahead) / 604800) + 1
    asked = forecast.asked_for({**params, "quantiles": [0.5], "per_server": False, "history_window": f"{weeks}w"})
    asked = dataclasses.replace(asked, now=seen.now)
    return updates.simulate(
        plan,
        pools,
        dict(demands.read(params["history"], pools, asked)),
        in_service={name: len(in_service[name]) for name in pools},
        weeks=params["simulate_weeks"],
    )


def _narrowed(pools: dict[str, dict[str, t.Any]], hosts: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """The pools with only those servers that are to be updated, and without pools that have none; all when none is named.

    :raises InvalidOption: on a host that no pool has.
    """
    known = {server for pool in pools.values() for server in pool["servers"]}
    stray = next((host for host in hosts if host not in known), None)
    if stray is not None:
        raise InvalidOption(
            f"{stray!r} is a server of none of the pools",
            option="hosts",
            remedy="Name servers of the pools planned for",
        )
    result = {}
    for name, pool in pools.items() if hosts else ():
        update = pool["update"]
        # A share is one of the whole pool, however few of it are left to update.
        most = str(updates.max_unavailable(name, pool))
        pinned = {place: [host for host in update[place] if host in hosts] for place in ("first", "last")}
        servers = [server for server in pool["servers"] if server in hosts]
        if servers:
            result[name] = {**pool, "servers": servers, "update": {**update, **pinned, "max_unavailable": most}}
    return result or pools


def deadline_at(text: str, now: datetime.datetime) -> datetime.datetime:
    """A deadline as users write it: a time, or a duration from now."""
    try:
        return now + datetime.timedelta(seconds=timing.duration(text, "deadline"))
    except (InvalidOption, OverflowError):
        return timing.moment(text, "deadline")


def load(value: t.Any, option: str = "plan") -> dict[str, t.Any]:
    """An update plan, from the dict itself or from the path of a JSON file that holds it.

    :raises InvalidOption: when it is not an update plan that this version knows.
    """
    if isinstance(value, str):
        try:
            value = json.loads(pathlib.Path(value).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise InvalidOption(
                f"the plan can't be read from {value!r} ({exc})",
                option=option,
                remedy="Give the path of a file with the plan that update_plan returned, as JSON",
            ) from exc
    if isinstance(value, dict) and value.get("kind") != "update" and isinstance(value.get("plan"), dict):
        value = value["plan"]
    if not _is_plan(value):
        raise InvalidOption(
            "this is not an update plan of version 1",
            option=option,
            remedy="Give what the module update_plan returned as 'plan'",
        )
    return value


def _is_plan(value: t.Any) -> bool:
    """Whether it holds what the faces that take a plan read: each host in one batch, in order, and when."""
    try:
        batches = [batch["hosts"] for batch in value["batches"]]
        hosts = [host for batch in batches for host in batch]
        for time in (value["window"]["start"], value["window"]["end"], value["deadline"]):
            timing.moment(time)
        return (
            value["kind"] == "update"
            and value["version"] == 1
            and bool(hosts)
            and all(batches)
            and hosts == value["hosts"]
            and len(set(hosts)) == len(hosts)
            and [batch["number"] for batch in value["batches"]] == list(range(1, len(batches) + 1))
            and isinstance(value["pools"], list)
            and isinstance(value["standbys"]["activate"], list)
        )
    except (KeyError, TypeError, InvalidOption):
        return False
