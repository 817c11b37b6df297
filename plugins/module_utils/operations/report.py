# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``report``."""

from __future__ import annotations

import datetime
import math
import os
import pathlib
import typing as t

from .. import history as histories
from .. import options, timing
from ..errors import InvalidOption, NotEnoughHistory
from ..planning.demand import pool_demand
from ..reporting import page, traffic
from ..reporting.charts import Capacity, Tail
from . import tenants

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    history=dict(options.COMMON["history"], required=False),
    pools=dict(type="dict"),
    dest=dict(type="path", required=True),
    title=dict(type="str", default="Fleet report"),
    time_zone=dict(type="str"),
    history_tail=dict(type="str", default="2d"),
    forecasts=dict(type="list", elements="dict", default=[]),
    plan=dict(type="dict"),
    update_plan=dict(type="dict"),
    traffic=dict(type="list", elements="path", default=[]),
    marks=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(time=dict(type="str", required=True), end=dict(type="str"), label=dict(type="str", required=True)),
    ),
    anomalies=dict(type="list", elements="dict", default=[]),
    backtest=dict(type="dict"),
    words=dict(type="list", elements="str", default=[]),
)

# What each input must have, so that a wrong one is told by name; the rest of its shape is as its module makes it.
_NEEDED = {
    "forecasts": ("pool", "metric", "start", "step_seconds", "quantiles", "model", "samples", "missing", "words"),
    "anomalies": ("pool", "metric", "since", "score"),
}
_KINDS = {"plan": "scaling", "update_plan": "update"}


def report(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """One HTML file with forecasts, plans and traffic as pictures.

    :returns: ``dest``, ``size`` in bytes, ``words``; ``warnings``, of which pool no demand so far is drawn.
    :raises InvalidOption: naming the option, when an input is not what its module makes, or dest can't be written.
    """
    _check_inputs(params)
    lacking: dict[str, NotEnoughHistory] = {}
    text = page.render(_contents(params, lacking)).encode()
    dest = pathlib.Path(params["dest"])
    changed = _read(dest) != text
    if changed and not check_mode:
        _write(dest, text)
    words = [f"the report is at {dest}" if not check_mode else f"the report would be at {dest}"]
    warnings = [f"Of pool {name!r} no demand so far is drawn: {why}" for name, why in lacking.items()]
    return {"changed": changed, "dest": str(dest), "size": len(text), "words": words, "warnings": warnings}


def _check_inputs(params: dict[str, t.Any]) -> None:
    for option, keys in _NEEDED.items():
        for number, item in enumerate(params[option]):
            absent = next((key for key in keys if key not in item), None)
            if absent is not None:
                raise InvalidOption(
                    f"it has no {absent}",
                    option=f"{option}[{number}]",
                    remedy=f"Give what the module {option.removesuffix('s') if option == 'forecasts' else option} returns",
                )
    for option, kind in _KINDS.items():
        plan = params[option]
        if plan is not None and plan.get("kind") != kind:
            raise InvalidOption(
                f"it is not a plan of kind {kind!r}",
                option=option,
                remedy=f"Give the plan that the module {kind}_plan returns, without what is around it",
            )


def _contents(params: dict[str, t.Any], lacking: dict[str, NotEnoughHistory]) -> page.Contents:
    pools = tenants.chosen(params) if params["pools"] else {}
    zones = {
        name: timing.zone(pool["calendar"]["time_zone"], f"pools.{name}.calendar.time_zone")
        for name, pool in pools.items()
    }
    names = {zone.key for zone in zones.values()}
    common = params["time_zone"] or (names.pop() if len(names) == 1 else "UTC")
    wanted = set(pools) if params["tenant"] else set(params["pool"])
    forecasts = [item for item in params["forecasts"] if not wanted or item["pool"] in wanted]
    return page.Contents(
        title=params["title"],
        now=_now(params),
        zone=timing.zone(common, "time_zone"),
        zones=zones,
        units={name: pool["load"]["unit"] or pool["load"]["metric"] for name, pool in pools.items()},
        capacities=_capacities(pools, params["plan"]),
        tails=_tails(params, pools, forecasts, lacking),
        forecasts=forecasts,
        plan=params["plan"],
        update_plan=params["update_plan"],
        streams=traffic.read(params["traffic"], "traffic"),
        marks=[
            {**mark, "time": timing.moment(mark["time"], "marks.time"), "end": _end(mark)} for mark in params["marks"]
        ],
        anomalies=params["anomalies"],
        backtest=params["backtest"],
        words=params["words"],
    )


def _end(mark: dict[str, t.Any]) -> datetime.datetime | None:
    return timing.moment(mark["end"], "marks.end") if mark["end"] else None


def _now(params: dict[str, t.Any]) -> datetime.datetime:
    """The moment the inputs were made for, so that the same inputs make the same page."""
    given = [params["now"], *((params[option] or {}).get("now") for option in _KINDS)]
    stated = next((moment for moment in given if moment), None)
    return timing.moment(stated, "now") if stated else datetime.datetime.now(datetime.UTC)


def _capacities(pools: dict[str, dict[str, t.Any]], plan: dict[str, t.Any] | None) -> dict[str, Capacity]:
    """What the servers in service carry: those the plan names, else the pool's own."""
    planned, result = plan["pools"] if plan else {}, {}
    for name, pool in pools.items():
        serving = len(planned.get(name, {}).get("in_service", pool["servers"]))
        each = pool["load"]["server_capacity"]
        result[name] = Capacity(serving * each, each, pool["standby"]["servers"] if pool["standby"] else ())
    return result


def _tails(
    params: dict[str, t.Any],
    pools: dict[str, dict[str, t.Any]],
    forecasts: list[dict[str, t.Any]],
    lacking: dict[str, NotEnoughHistory],
) -> dict[str, Tail]:
    """The newest demand of the pools that have a forecast, up to where it begins.

    :param lacking: Takes why there is none of a pool; the others are drawn all the same.
    """
    if params["history"] is None:
        return {}
    length = datetime.timedelta(seconds=timing.duration(params["history_tail"], "history_tail"))
    tails = {}
    for item in forecasts:
        pool = pools.get(item["pool"])
        if pool is None or item.get("server") is not None:
            continue
        end = timing.moment(item["start"]) - datetime.timedelta(seconds=item["step_seconds"])
        standbys = pool["standby"]["servers"] if pool["standby"] else []
        with histories.open(params["history"], tenant=pool["tenant"], read_only=True) as store:
            try:
                series = store.read(
                    metric=item["metric"],
                    pools={item["pool"]: pool["servers"] + standbys},
                    start=end - length,
                    end=end,
                    step_seconds=item["step_seconds"],
                )
            except NotEnoughHistory as exc:
                lacking[item["pool"]] = exc
                continue
        demand = pool_demand(series, item["pool"], item["metric"])
        values = [float(value) for value in demand.values[0]]
        if not all(map(math.isnan, values)):
            tails[item["pool"]] = Tail([int(time) for time in demand.times], values)
    return tails


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidOption(f"{path} can't be read: {exc.strerror}", option="dest", remedy="Name a file") from exc


def _write(path: pathlib.Path, text: bytes) -> None:
    """Write the file as a whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            partial.write_bytes(text)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as exc:
        raise InvalidOption(
            f"{path} can't be written: {exc.strerror}", option="dest", remedy="Name a file in a folder that exists"
        ) from exc
