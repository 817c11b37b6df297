# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When to update which servers, in which batches, so that what stays in service carries the demand."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..errors import InvalidOption, LowtideError
from ..libraries import numpy as np
from .distribution import DemandForecast

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]

# Displaced loads that differ by less than this share count as equal.
_EQUAL = 0.02


class NoWindow(LowtideError):
    """No start within the deadline keeps the risk that was asked for."""


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Servers of one pool that may be out together: one failure domain, or one canary."""

    pool: str
    hosts: tuple[str, ...]
    domain: str | None = None
    single: bool = False


@dataclasses.dataclass(frozen=True)
class _Room:
    """What one pool can spare at each step, with its standbys awake.

    :param most: Servers that may be out during a batch beginning in each step, shape (steps,).
    :param demand: Median demand, mean over a batch beginning in each step, in load units, shape (steps,).
    :param serving: Servers in service, without the standbys woken.
    :param woken: Standbys woken for the update.
    :param span: Steps that a batch may touch.
    """

    pool: Pool
    forecast: DemandForecast
    most: numpy.ndarray
    demand: numpy.ndarray
    serving: int
    woken: int
    span: int

    @property
    def awake(self) -> int:
        """Servers in service before any is taken out."""
        return self.serving + self.woken


def plan(
    pools: dict[str, Pool],
    forecasts: dict[str, DemandForecast],
    *,
    now: datetime.datetime,
    deadline: datetime.datetime,
    server_loads: dict[str, dict[str, float]] | None = None,
    in_service: dict[str, t.Sequence[str]] | None = None,
    spare_standbys: dict[str, t.Sequence[str]] | None = None,
) -> dict[str, t.Any]:
    """The window, the order and the batches of a rolling update.

    Servers go pool after pool, one failure domain after another, the least loaded first. A batch is as large as the
    demand of its time lets it be: with the risk the pool allows, demand stays below what the servers left in service
    carry. The start and the number of standbys woken are those that displace the least load; among equals those that
    take the least time, and among those the fewest standbys.

    :param pools: Pools by name, as :func:`options.pools` gives them.
    :param forecasts: Demand ahead, one for each pool.
    :param now: The moment to decide for; nothing starts before it.
    :param deadline: When the last batch must have ended.
    :param server_loads: Expected load by pool and server, in load units; decides the order. Servers in the order the
        pool names them where it is absent.
    :param in_service: Servers that carry load now, by pool; the pool's servers where it is absent.
    :param spare_standbys: Standbys that may be woken, by pool.
    :returns: The plan, a plain dict; see the return value C(plan) of the module M(lowtide.fleet.update_plan).
    :raises NoWindow: when no start keeps the risk, naming what binds and what would help.
    """
    chunks = [chunk for name, pool in pools.items() for chunk in _chunks(name, pool, (server_loads or {}).get(name))]
    standbys = {name: list((spare_standbys or {}).get(name, ())) for name in pools}
    serving = {name: len((in_service or {}).get(name, pool["servers"])) for name, pool in pools.items()}
    tried = []
    # Wake as many in every pool at once: none, one, two ... up to what the pool with the most of them has.
    for extra in range(max(map(len, standbys.values()), default=0) + 1):
        woken = {name: standbys[name][:extra] for name in pools}
        rooms = {name: _room(pools[name], forecasts[name], serving[name], len(woken[name])) for name in pools}
        schedule = _schedule(chunks, rooms, _earliest(pools, woken, now), deadline)
        if schedule is not None:
            tried.append((schedule, woken, rooms))
    if not tried:
        raise _no_window(pools, forecasts, serving, standbys, chunks, now, deadline)
    least = min(schedule.displaced for schedule, _woken, _rooms in tried)
    # min() keeps the first of equals, which wakes the fewest.
    best = min((item for item in tried if item[0].displaced <= least * (1 + _EQUAL)), key=lambda item: item[0].seconds)
    return _described(*best, chunks=chunks, now=now, deadline=deadline, ordered_by_load=bool(server_loads))


def _chunks(name: str, pool: Pool, loads: dict[str, float] | None) -> list[_Chunk]:
    """The servers of a pool in the order they are updated, cut where a batch must end."""
    rules, servers = pool["update"], pool["servers"]
    pinned = rules["first"] + rules["last"]
    for option, hosts in (("first", rules["first"]), ("last", rules["last"])):
        stray = next((host for host in hosts if host not in servers), None)
        if stray is not None:
            raise InvalidOption(
                f"{stray!r} is not a server of the pool",
                option=f"pools.{name}.update.{option}",
                remedy="Name servers of the pool only",
            )
    position = {server: place for place, server in enumerate(servers)}
    # A server that reports no load may be the busiest: it goes last.
    weight = {server: (loads or {}).get(server, math.inf) for server in servers}
    domains: dict[str | None, list[str]] = {}
    for server in servers:
        if server not in pinned:
            domains.setdefault(rules["failure_domains"].get(server), []).append(server)
    for hosts in domains.values():
        hosts.sort(key=lambda server: (weight[server], position[server]))
    middle = sorted(domains.items(), key=lambda item: sum(weight[host] for host in item[1]) / len(item[1]))
    return (
        [_Chunk(name, (host,), single=True) for host in rules["first"]]
        + [_Chunk(name, tuple(hosts), None if domain is None else str(domain)) for domain, hosts in middle]
        + [_Chunk(name, (host,), single=True) for host in rules["last"] if host not in rules["first"]]
    )


def _room(pool: Pool, forecast: DemandForecast, serving: int, woken: int) -> _Room:
    """What a pool can spare at each step."""
    duration = timing.duration(pool["update"]["duration"])
    span = math.ceil(duration / forecast.step_seconds) + 1
    windows = np.lib.stride_tricks.sliding_window_view
    demand = forecast.level(1 - pool["update"]["risk"])
    need = np.ceil(demand / pool["load"]["server_capacity"] - 1e-9).astype(int)
    need = np.maximum(need, pool["limits"]["min"])
    need = windows(np.concatenate([need, np.repeat(need[-1:], span - 1)]), span).max(axis=1)
    median = forecast.level(0.5)
    median = windows(np.concatenate([median, np.repeat(median[-1:], span - 1)]), span).mean(axis=1)
    most = np.clip(serving + woken - need, 0, _max_unavailable(pool))
    return _Room(pool, forecast, most, median, serving, woken, span)


def _max_unavailable(pool: Pool) -> int:
    """Servers of a pool that may be out at once; a share is rounded down, but allows one."""
    text, count = str(pool["update"]["max_unavailable"]).strip(), len(pool["servers"])
    number = text[:-1] if text.endswith("%") else text
    if not number.isdigit() or int(number) < 1:
        raise InvalidOption(
            f"{text!r} is neither a number of servers nor a share of them",
            option="update.max_unavailable",
            remedy="Write a whole number of at least 1, or a share like 25%",
        )
    return max(1, count * int(number) // 100) if text.endswith("%") else int(number)


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """Batches as (chunk, offset in chunk, size, begin), the load they displace in load unit hours, how long they take."""

    batches: list[tuple[int, int, int, datetime.datetime]]
    displaced: float
    seconds: float


def _earliest(pools: dict[str, Pool], woken: dict[str, list[str]], now: datetime.datetime) -> datetime.datetime:
    """No sooner than the standbys woken for it can carry load."""
    leads = [timing.duration(pools[name]["standby"]["lead_time"]) for name, names in woken.items() if names]
    return now + datetime.timedelta(seconds=max(leads, default=0.0))


def _schedule(
    chunks: list[_Chunk], rooms: dict[str, _Room], earliest: datetime.datetime, deadline: datetime.datetime
) -> _Schedule | None:
    """The batches of the best start, all starts tried at once; None when none fits."""
    reference = next(iter(rooms.values())).forecast
    step = reference.step_seconds
    offset = (earliest - reference.begin_of(0)).total_seconds()
    last = (min(deadline, reference.end) - reference.begin_of(0)).total_seconds()
    # The earliest moment, and the beginning of each later step, in seconds since the first step began.
    starts = np.concatenate([[offset], step * np.arange(math.floor(offset / step) + 1, math.floor(last / step) + 1)])
    clock, feasible, displaced = starts.astype(float), np.ones(len(starts), bool), np.zeros(len(starts))
    trace = []
    for number, chunk in enumerate(chunks):
        room, done = rooms[chunk.pool], np.zeros(len(starts), int)
        seconds = timing.duration(room.pool["update"]["duration"])
        while (todo := feasible & (done < len(chunk.hosts))).any():
            index = np.clip((clock // step).astype(int), 0, len(room.most) - 1)
            size = np.where(todo, np.minimum(room.most[index], len(chunk.hosts) - done), 0)
            feasible &= ~todo | (size > 0)
            trace.append((number, done.copy(), size, clock.copy()))
            displaced += size * room.demand[index] / room.serving * seconds / 3600
            done += size
            clock = np.where(todo, clock + seconds, clock)
    feasible &= clock <= last
    if not feasible.any():
        return None
    # Among equals the earliest: a low tide that is certain now beats one that is a little lower later.
    least = displaced[feasible].min()
    best = int(np.argmax(feasible & (displaced <= least * (1 + _EQUAL))))
    origin = reference.begin_of(0)
    batches = [
        (number, int(done[best]), int(size[best]), origin + datetime.timedelta(seconds=float(begin[best])))
        for number, done, size, begin in trace
        if size[best] > 0
    ]
    return _Schedule(batches, float(displaced[best]), float(clock[best] - starts[best]))


def _described(
    schedule: _Schedule,
    woken: dict[str, list[str]],
    rooms: dict[str, _Room],
    *,
    chunks: list[_Chunk],
    now: datetime.datetime,
    deadline: datetime.datetime,
    ordered_by_load: bool,
) -> dict[str, t.Any]:
    """The schedule as the plain dict that users and actuators take."""
    batches = []
    for number, (place, done, size, begin) in enumerate(schedule.batches, start=1):
        chunk = chunks[place]
        batches.append(_batch(number, chunk, chunk.hosts[done : done + size], begin, rooms[chunk.pool]))
    start, end = schedule.batches[0][3], timing.moment(batches[-1]["end"])
    standby = [server for name in rooms for server in woken[name]]
    by = max(now, start - (_earliest({name: room.pool for name, room in rooms.items()}, woken, now) - now))
    result = {
        "kind": "update",
        "version": 1,
        "now": timing.iso(now),
        "deadline": timing.iso(deadline),
        "window": {"start": timing.iso(start), "end": timing.iso(end)},
        "pools": list(rooms),
        "hosts": [host for batch in batches for host in batch["hosts"]],
        "serial": [len(batch["hosts"]) for batch in batches],
        "batches": batches,
        "standbys": {"activate": standby, "by": timing.iso(by), "release_after": timing.iso(end)},
        "risk": max(batch["risk"] for batch in batches),
        "displaced_load": round(schedule.displaced, 4),
        "ordered_by_load": ordered_by_load,
    }
    result["words"] = _words(result, rooms)
    return result


def _batch(
    number: int, chunk: _Chunk, hosts: t.Sequence[str], begin: datetime.datetime, room: _Room
) -> dict[str, t.Any]:
    seconds = timing.duration(room.pool["update"]["duration"])
    first = min(room.forecast.step_at(begin), room.forecast.steps - 1)
    steps = slice(first, first + room.span)
    left = room.awake - len(hosts)
    capacity = left * room.pool["load"]["server_capacity"]
    demand = float(room.forecast.level(1 - room.pool["update"]["risk"])[steps].max())
    needed = max(math.ceil(demand / room.pool["load"]["server_capacity"] - 1e-9), room.pool["limits"]["min"])
    place = f" of {chunk.domain}" if chunk.domain else ""
    unit = room.pool["load"]["unit"] or room.pool["load"]["metric"]
    return {
        "number": number,
        "pool": chunk.pool,
        "hosts": list(hosts),
        "failure_domain": chunk.domain,
        "start": timing.iso(begin),
        "end": timing.iso(begin + datetime.timedelta(seconds=seconds)),
        "risk": round(float(room.forecast.exceedance(capacity)[steps].max()), 5),
        "spare_servers": left - needed,
        "displaced_load": round(len(hosts) * float(room.demand[first]) / room.serving * seconds / 3600, 4),
        "reasons": [
            f"{left} of {room.awake} servers stay in service and carry {capacity:.4g} {unit}; demand stays below "
            f"{demand:.4g} with probability {1 - room.pool['update']['risk']:.4g}",
            "a canary goes alone" if chunk.single else f"the least loaded{place} that are left",
        ],
    }


def _words(result: dict[str, t.Any], rooms: dict[str, _Room]) -> list[str]:
    window, sizes = result["window"], ", ".join(map(str, result["serial"]))
    words = [
        f"update {len(result['hosts'])} servers of {' and '.join(rooms)} in {len(result['batches'])} batches ({sizes}), "
        f"from {window['start']} to {window['end']}, where they displace the least load before {result['deadline']}",
        f"the risk that demand exceeds what is left in service is {result['risk']:.2%} at most",
    ]
    if result["standbys"]["activate"]:
        words.append(f"wake {', '.join(result['standbys']['activate'])} by {result['standbys']['by']} to make room")
    else:
        words.append("no standby is needed for it")
    words += [
        f"batch {batch['number']}: {', '.join(batch['hosts'])}; {batch['reasons'][0]}" for batch in result["batches"]
    ]
    if not result["ordered_by_load"]:
        words.append("the history holds no load per server: each pool goes in the order it names its servers")
    return words


def _no_window(
    pools: dict[str, Pool],
    forecasts: dict[str, DemandForecast],
    serving: dict[str, int],
    standbys: dict[str, list[str]],
    chunks: list[_Chunk],
    now: datetime.datetime,
    deadline: datetime.datetime,
) -> NoWindow:
    """Which pool binds, and what would make the update possible."""
    for name, pool in pools.items():
        forecast = forecasts[name]
        room = _room(pool, forecast, serving[name], len(standbys[name]))
        first, last = forecast.step_at(now), min(forecast.step_at(deadline) + 1, forecast.steps)
        demand = forecast.level(1 - pool["update"]["risk"])
        needed = np.maximum(np.ceil(demand / pool["load"]["server_capacity"] - 1e-9), pool["limits"]["min"])
        if first >= last or int(room.most[first:last].max(initial=0)) >= 1:
            continue
        low = first + int(np.argmin(needed[first:last]))
        missing = int(needed[low]) + 1 - room.awake
        later = np.flatnonzero(room.most[last:] >= 1)
        hint = f" or a deadline after {timing.iso(forecast.begin_of(last + int(later[0])))}" if later.size else ""
        return NoWindow(
            f"pool {name!r} can spare no server before {timing.iso(deadline)}: even at {timing.iso(forecast.begin_of(low))} "
            f"demand may reach {float(demand[low]):.4g}, for which all {room.awake} servers, standbys included, are needed",
            option=f"pools.{name}.update.risk",
            remedy=f"Give it {max(1, missing)} more standbys{hint}, or allow more risk than {pool['update']['risk']:g}",
        )
    least = sum(
        math.ceil(len(chunk.hosts) / _max_unavailable(pools[chunk.pool]))
        * timing.duration(pools[chunk.pool]["update"]["duration"])
        for chunk in chunks
    )
    return NoWindow(
        f"the update does not fit before {timing.iso(deadline)}: it takes at least {timing.words(least)}, and the demand "
        "does not leave the room for it in one piece",
        option="deadline",
        remedy="Give a later deadline, more standbys, a larger update.max_unavailable or a shorter update.duration",
    )
