# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An update plan as the plain dict that users and actuators take, with its reasons."""

from __future__ import annotations

import typing as t

from ... import timing
from ...libraries import numpy as np
from .case import Attempt, Batch, Case
from .room import FEW_RUNS, LONG_RUN, Room


def described(case: Case, found: Attempt, *, ordered_by_load: bool, runs: dict[str, int]) -> dict[str, t.Any]:
    """The plan.

    :param runs: By pool, how many earlier updates it is known of how long they took.
    """
    standbys = _standbys(case, found)
    batches = [_batch(number, case, found, batch, standbys) for number, batch in enumerate(found.batches, start=1)]
    start, end = case.time(found.solution.begin), case.time(found.solution.end)
    result = {
        "kind": "update",
        "version": 1,
        "now": timing.iso(case.now),
        "deadline": timing.iso(case.deadline),
        "window": {"start": timing.iso(start), "end": timing.iso(end)},
        "pools": list(case.pools),
        "hosts": [host for batch in batches for host in batch["hosts"]],
        "serial": [len(batch["hosts"]) for batch in batches],
        "batches": batches,
        "batch_of": {host: batch["number"] for batch in batches for host in batch["hosts"]},
        "standbys": {
            "activate": [item["server"] for item in standbys],
            "by": min((item["wake"] for item in standbys), default=timing.iso(start)),
            "release_after": timing.iso(end),
            "each": standbys,
            "cost": round(sum(item["cost"] for item in standbys), 4),
        },
        "durations": {name: _duration(seconds, runs[name]) for name, seconds in case.seconds.items()},
        "risk": max(batch["risk"] for batch in batches),
        "risk_of_any": round(min(1.0, sum(batch["risk"] for batch in batches)), 5),
        "spare_servers": min(batch["spare_servers"] for batch in batches),
        "displaced_load": round(found.solution.cost, 4),
        "ordered_by_load": ordered_by_load,
        "why_not_sooner": _why_not_sooner(case, found),
    }
    result["words"] = _words(result)
    return result


def _duration(seconds: float, runs: int) -> dict[str, t.Any]:
    known = runs if runs >= FEW_RUNS else 0
    return {"seconds": seconds, "learned_from": known, "quantile": LONG_RUN if known else None}


def _standbys(case: Case, found: Attempt) -> list[dict[str, t.Any]]:
    """Each standby that a batch needs: when to wake it, and after which batch it may sleep again."""
    result = []
    for name, room in found.rooms.items():
        mine = [(number, batch) for number, batch in enumerate(found.batches, start=1) if batch.pool == name]
        begins = np.array([batch.begin for _number, batch in mine])
        lacking = np.array([len(batch.hosts) for _number, batch in mine]) + room.need(begins) - room.serving
        for place in range(int(lacking.max(initial=0))):
            users = [item for item, lacks in zip(mine, lacking, strict=True) if lacks > place]
            (first, first_batch), (last, last_batch) = users[0], users[-1]
            wake = max(case.now, case.time(first_batch.begin - case.lead(name)))
            seconds = case.offset(case.time(last_batch.end)) - case.offset(wake)
            result.append(
                {
                    "server": case.standbys[name][place],
                    "pool": name,
                    "wake": timing.iso(wake),
                    "ready": timing.iso(case.time(first_batch.begin)),
                    "release_after": timing.iso(case.time(last_batch.end)),
                    "first_batch": first,
                    "last_batch": last,
                    "cost": round(seconds / 3600 * case.pools[name]["standby"]["cost_per_hour"], 4),
                }
            )
    return result


def _batch(number: int, case: Case, found: Attempt, batch: Batch, standbys: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    room = found.rooms[batch.pool]
    begin = np.array([batch.begin])
    first, last = (int(step[0]) for step in room.touched(begin))
    last = min(last, room.forecast.steps - 1)
    awake = room.serving + sum(
        item["pool"] == batch.pool and item["first_batch"] <= number <= item["last_batch"] for item in standbys
    )
    left, needed = awake - len(batch.hosts), int(room.need(begin)[0])
    capacity, allowed = left * room.pool["load"]["server_capacity"], room.pool["update"]["risk"]
    unit = room.pool["load"]["unit"] or room.pool["load"]["metric"]
    place = f" of {batch.group.domain}" if batch.group.domain else ""
    pinned = {"first": "it is pinned to the beginning and goes alone", "last": "it is pinned to the end and goes alone"}
    return {
        "number": number,
        "pool": batch.pool,
        "hosts": list(batch.hosts),
        "failure_domain": batch.group.domain,
        "start": timing.iso(case.time(batch.begin)),
        "end": timing.iso(case.time(batch.end)),
        "risk": round(room.forecast.risk(capacity, first, last, allowed), 5),
        "spare_servers": left - needed,
        "displaced_load": round(len(batch.hosts) * float(room.cost(begin)[0]), 4),
        "reasons": [
            f"{left} of {awake} servers stay in service and carry {capacity:.4g} {unit}; demand stays below "
            f"{float(room.bound(begin)[0]):.4g} with probability {1 - allowed:.4g}",
            pinned.get(batch.group.pinned or "", f"the least loaded{place} that are left"),
        ],
    }


def _why_not_sooner(case: Case, found: Attempt) -> str:
    """What stands against an earlier beginning, in words."""
    begin = found.solution.begin
    # Times are told by the second.
    if begin < case.earliest + 1.0:
        return "it begins as soon as it can"
    woken = case.everyone
    earlier = case.attempt(woken, quick=True, before=begin)
    if earlier is not None:
        best = earlier.solution.begin
        text = f"the best that begins sooner, at {timing.iso(case.time(best))}, {_displaced(earlier, found)}"
        soonest = None if case.large else _soonest(case, woken)
        if soonest is None or soonest.solution.begin > best - 1e-6:
            return text
        return (
            f"begun as soon as it can, at {timing.iso(case.time(soonest.solution.begin))}, it {_displaced(soonest, found)}; "
            f"{text}"
        )
    name = case.stages[0].pool
    room = case.rooms(woken)[name]
    return obstacle(case, room, case.earliest)


def _soonest(case: Case, woken: dict[str, int]) -> Attempt | None:
    """The best that begins now, or when the standbys are ready; None where neither can."""
    attempts = (case.attempt(woken, quick=True, at=moment) for moment in case.soonest)
    return next((attempt for attempt in attempts if attempt is not None), None)


def _displaced(other: Attempt, found: Attempt) -> str:
    """How much more load another attempt displaces than the one chosen, which may displace a little more to save time."""
    more = other.solution.cost / found.solution.cost - 1 if found.solution.cost > 0 else 0.0
    return f"displaces {more:.0%} more load" if more >= 0.005 else "displaces no less load, or takes longer"


def obstacle(case: Case, room: Room, moment: float) -> str:
    """What keeps a pool from sparing a server at a moment."""
    at = np.array([moment])
    if not room.open(at)[0]:
        free = [end for begin, end in room.closed if begin < moment + room.seconds and end > moment]
        if free:
            return (
                f"pool {room.name!r} may not be updated before {timing.iso(case.time(free[0]))}: update.blackouts, "
                "update.windows or its calendar say so"
            )
        return f"a batch begun at {timing.iso(case.time(moment))} would end after {timing.iso(case.latest)}"
    need = int(room.need(at)[0])
    text = (
        f"at {timing.iso(case.time(moment))} pool {room.name!r} needs {need} servers in service, and has {room.serving}"
    )
    if room.woken:
        text += f"; standbys that are woken now carry load from {timing.iso(case.time(room.ready))} on"
    if room.serving > need:
        text += "; what comes after would not fit before the demand rises"
    return text


def _words(result: dict[str, t.Any]) -> list[str]:
    window, sizes = result["window"], ", ".join(map(str, result["serial"]))
    words = [
        f"update {len(result['hosts'])} servers of {' and '.join(result['pools'])} in {len(result['batches'])} batches "
        f"({sizes}), from {window['start']} to {window['end']}, where they displace the least load before "
        f"{result['deadline']}",
        f"the risk that demand exceeds what is left in service is {result['risk']:.2%} at most in a batch, and "
        f"{result['risk_of_any']:.2%} at most in any of them; {result['spare_servers']} servers are spare at the least",
        f"why not sooner: {result['why_not_sooner']}",
    ]
    words += [
        f"wake {item['server']} at {item['wake']} to make room for batch {item['first_batch']}; it may sleep after "
        f"{item['release_after']}"
        for item in result["standbys"]["each"]
    ]
    if not result["standbys"]["each"]:
        words.append("no standby is needed for it")
    for name, duration in result["durations"].items():
        if duration["learned_from"]:
            words.append(
                f"{name}: a server takes {timing.words(duration['seconds'])}, as nine of ten of its last "
                f"{duration['learned_from']} updates did at most"
            )
    words += [
        f"batch {batch['number']}: {', '.join(batch['hosts'])}; {batch['reasons'][0]}" for batch in result["batches"]
    ]
    if not result["ordered_by_load"]:
        words.append("the history holds no load per server: each pool goes in the order it names its servers")
    return words
