# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an update must heed besides the demand: blackouts, windows, failure domains, and how long earlier ones took."""

from __future__ import annotations

import datetime
import math
import typing as t

from .. import history as histories
from .. import timing
from ..actuators.placement import esxi_hosts
from ..anomaly import flags
from ..errors import InvalidOption, NotFound
from ..history import calendars
from ..planning.updates import hours
from . import anomalies

Pools = t.Dict[str, t.Dict[str, t.Any]]
Span = t.Tuple[datetime.datetime, datetime.datetime]

# The kind of record that tells how long an update of one server took, and how many of the newest count.
DURATION, NEWEST = "update-duration", 100

# What tells whether a pool is strange: the distance to what was ever seen, which is quick, over so many seconds.
DETECTOR, LOOK_BACK = "novelty", 14 * 86400.0

# What a calendar calls its parts, by the kind of their events.
_PARTS = {"event": "events", "holiday": "holidays", "calendar": "files"}


def closed(pools: Pools, begin: datetime.datetime, end: datetime.datetime) -> dict[str, list[Span]]:
    """The times in [begin, end) in which no server of a pool may be out, by pool.

    :raises LowtideError: on a calendar, a blackout or a window that is wrong.
    """
    return {name: _closed(name, pool, begin, end) for name, pool in pools.items()}


def _closed(name: str, pool: dict[str, t.Any], begin: datetime.datetime, end: datetime.datetime) -> list[Span]:
    calendar, option = pool["calendar"], f"pools.{name}"
    found = hours.closed(pool, begin, end, option)
    if calendar["blackouts"] or calendar["files"] or any(event["blackout"] for event in calendar["events"]):
        found += [
            (event.start, event.end)
            for event in calendars.events(calendar, begin, end, f"{option}.calendar")
            if event.blackout or _PARTS[event.kind] in calendar["blackouts"]
        ]
    return hours.merged(found)


def durations(given: dict[str, t.Any], pools: Pools) -> dict[str, list[float]]:
    """How long earlier updates of one server took, in seconds, by pool.

    :raises InvalidOption: on a pool that is not planned for, or what is no list of seconds.
    """
    result = {}
    for name, values in given.items():
        if name not in pools:
            raise InvalidOption(
                f"{name!r} is none of the pools planned for",
                option="durations",
                remedy=f"Those are {', '.join(sorted(pools))}",
            )
        try:
            result[name] = [float(value) for value in values]
        except (TypeError, ValueError) as exc:
            raise InvalidOption(
                "it is not a list of seconds", option=f"durations.{name}", remedy="Write it as [212, 240, 198]"
            ) from exc
        if not all(math.isfinite(value) and value >= 0 for value in result[name]):
            raise InvalidOption(
                "it has a duration that can't be", option=f"durations.{name}", remedy="Give seconds of 0 or more"
            )
    return result


def recorded(params: dict[str, t.Any], pools: Pools, now: datetime.datetime) -> dict[str, list[float]]:
    """How long the newest earlier updates of one server took, in seconds, by pool, from the records of earlier runs.

    :param params: Checked values of ``options.COMMON`` and ``options.STATE``. A history that keeps no records tells nothing.
    """
    if not params["state"] and params["history"]["type"] == "prometheus" and not params["history"]["path"]:
        return {}
    result: dict[str, list[float]] = {}
    for name, pool in pools.items():
        try:
            store = histories.open_state(params, tenant=pool["tenant"], read_only=True)
        except NotFound:
            continue  # Nothing has been kept yet.
        with store:
            known = [item for item in store.records(DURATION, name) if item.at <= now]
        result[name] = [float(item.body["seconds"]) for item in known[-NEWEST:]]
    return result


def strange(params: dict[str, t.Any], pools: Pools) -> dict[str, str]:
    """What is strange about the demand of a pool now, in words, by pool; those without are absent.

    :param params: Checked values of ``options.COMMON`` and ``outlook.SPEC``.
    :raises NotEnoughHistory: when one of them has no history: nobody can say that it is not strange.
    """
    asked = timing.duration(params["history_window"], "history_window")
    window = min(max(asked, 2 * flags.YOUNG_SECONDS), LOOK_BACK)
    given = {
        **params,
        "pool": list(pools),
        "metrics": [],
        "history_window": str(window),
        "since": "0s",
        "detector": DETECTOR,
        "false_alarms": 1.0,
        "per_server": False,
        "silent": [],
    }
    found, _states, lacking = anomalies.look(given, anomalies.asked_for(given))
    if lacking:
        raise next(iter(lacking.values()))
    return {item["pool"]: item["words"].rstrip(".") for item in found if item["open"] and not item["server"]}


def placed(pools: Pools, placement: dict[str, t.Any] | None) -> Pools:
    """The pools, with the ESXi host of each server as its failure domain where the pool names none.

    :param placement: C(connection) and C(find) as the module M(lowtide.fleet.standby) takes them; no change where None.
    """
    if placement is None:
        return pools
    domains = {name: pool["update"]["failure_domains"] for name, pool in pools.items()}
    wanted = [server for name, pool in pools.items() for server in pool["servers"] if server not in domains[name]]
    if not wanted:
        return pools
    hosts = esxi_hosts(placement["connection"], wanted, find=placement["find"])
    return {
        name: {
            **pool,
            "update": {
                **pool["update"],
                "failure_domains": {
                    **{server: hosts[server] for server in pool["servers"] if server in hosts},
                    **domains[name],
                },
            },
        }
        for name, pool in pools.items()
    }
