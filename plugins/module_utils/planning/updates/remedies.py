# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where there is no plan: what binds, and what would help. Each remedy named has been tried."""

from __future__ import annotations

import bisect
import dataclasses
import math
import typing as t

from ... import timing
from ...errors import LowtideError
from ...libraries import numpy as np
from .case import Case
from .room import Room, max_unavailable, moments

# Risks that are tried for what they would allow.
_RISKS = (0.02, 0.05, 0.1, 0.2, 0.5)


class NoWindow(LowtideError):
    """No start within the deadline keeps the risk that was asked for."""


def no_window(case: Case) -> NoWindow:
    """The error, for a case that has no plan with all its standbys awake."""
    woken = {name: len(names) for name, names in case.standbys.items()}
    rooms = case.rooms(woken)
    times = moments(list(rooms.values()), case.earliest, case.servers)
    if (
        len(times)
        and any(case.closed.values())
        and _fits(dataclasses.replace(case, closed={n: [] for n in case.pools}))
    ):
        return _closed(case, rooms, times)
    binding = next((name for name, room in rooms.items() if _never(room, times)), None)
    remedy = _remedy(case, binding)
    if binding is not None:
        room = rooms[binding]
        awake = room.serving + np.where(times >= room.ready, room.woken, 0)
        need = room.need(times)
        low = int(np.argmax(awake - need))
        return NoWindow(
            f"pool {binding!r} can spare no server before {timing.iso(case.deadline)}: even at "
            f"{timing.iso(case.time(float(times[low])))} {need[low]} servers must stay in service, and there are "
            f"{awake[low]}, standbys included",
            option=f"pools.{binding}.update.risk",
            remedy=remedy,
        )
    least = sum(
        math.ceil(len(group.hosts) / max_unavailable(stage.pool, case.pools[stage.pool])) * case.seconds[stage.pool]
        for stage in case.stages
        for group in stage.groups
    )
    return NoWindow(
        f"the update does not fit between {timing.iso(case.now)} and {timing.iso(case.latest)}: it takes at least "
        f"{timing.words(least)}, and the demand does not leave the room for all of it",
        option="deadline",
        remedy=remedy,
    )


def _fits(case: Case, more: dict[str, int] | None = None) -> bool:
    """Whether there is a plan, with all standbys, and some more that do not exist."""
    woken = {name: len(names) + (more or {}).get(name, 0) for name, names in case.standbys.items()}
    return case.attempt(woken, quick=True) is not None


def _never(room: Room, times: t.Any) -> bool:
    """Whether a pool can spare no server at any time there is."""
    open_times = times[room.open(times)] if len(times) else times
    return len(open_times) > 0 and int(room.most(open_times).max()) < 1


def _closed(case: Case, rooms: dict[str, Room], times: t.Any) -> NoWindow:
    """Blackouts and windows bind: without them there is a plan."""
    name = next((n for n in case.pools if _fits(dataclasses.replace(case, closed={**case.closed, n: []}))), None)
    pool = name or next(n for n in case.pools if case.closed[n])
    rules = case.pools[pool]["update"]
    option = "windows" if rules["windows"] else "blackouts"
    left = sum(
        float(np.clip(room_end, None, rooms[pool].until) - start) for start, room_end in _gaps(rooms[pool], case)
    )
    remedy = _remedy(case, None)
    lift = f"Lift the blackouts and windows of pool {pool!r}" if name else "Lift the blackouts and windows of all pools"
    return NoWindow(
        f"blackouts and windows leave {timing.words(max(left, 0.0))} before {timing.iso(case.latest)}, and the update does not "
        "fit there; without them it would",
        option=f"pools.{pool}.update.{option}",
        remedy=lift if remedy.startswith("Change several") else f"{lift}, or {remedy[0].lower()}{remedy[1:]}",
    )


def _gaps(room: Room, case: Case) -> list[tuple[float, float]]:
    """What blackouts leave free between the first moment and the last, in seconds."""
    edges = [case.earliest, *(float(time) for span in room.closed for time in span), room.until]
    return [(left, right) for left, right in zip(edges[::2], edges[1::2], strict=True) if right > left]


def _remedy(case: Case, binding: str | None) -> str:
    """The single changes that make the update possible, as one sentence."""
    found = []
    name = binding or case.stages[0].pool
    most = max(1, math.ceil(_highest(case, name)) + len(case.pools[name]["servers"]))
    more = _smallest(range(1, most + 1), lambda count: _fits(case, {name: count}))
    if more is not None:
        found.append(f"give pool {name!r} {more} more standby{'s' if more > 1 else ''}")
    forecast = next(iter(case.forecasts.values()))
    steps = min(forecast.steps for forecast in case.forecasts.values())
    later = [time for step in range(steps) if (time := forecast.begin_of(step + 1)) > case.deadline]
    end = _smallest(later, lambda time: _fits(dataclasses.replace(case, deadline=time)))
    if end is not None:
        found.append(f"give a deadline of {timing.iso(end)} or later")
    if binding is not None:
        allowed = case.pools[binding]["update"]["risk"]
        risk = _smallest([risk for risk in _RISKS if risk > allowed], lambda risk: _fits(_bolder(case, binding, risk)))
        if risk is not None:
            found.append(f"allow a risk of {risk:g}")
    if not found:
        return (
            "Change several at once: a later deadline with a forecast that reaches it, more standbys, "
            "a larger update.max_unavailable, a shorter update.duration, more risk"
        )
    text = ", or ".join(found)
    return text[0].upper() + text[1:]


def _bolder(case: Case, name: str, risk: float) -> Case:
    pool = case.pools[name]
    changed = {**pool, "update": {**pool["update"], "risk": risk}}
    return dataclasses.replace(case, pools={**case.pools, name: changed})


def _highest(case: Case, name: str) -> float:
    """The most servers that a pool ever needs."""
    forecast, pool = case.forecasts[name], case.pools[name]
    steps = 2 + int(case.seconds[name] // forecast.step_seconds)
    return float(forecast.bound(pool["update"]["risk"], steps).max()) / pool["load"]["server_capacity"]


def _smallest(values: t.Sequence[t.Any], fits: t.Callable[[t.Any], bool]) -> t.Any:
    """The first of ascending values that fits, where all after one that fits do too; None when none does."""
    place = bisect.bisect_left(values, True, key=fits)
    return values[place] if place < len(values) else None
