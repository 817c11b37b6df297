# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When to update which servers, in which batches, so that what stays in service carries the demand."""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..errors import InvalidOption, LowtideError
from ..libraries import numpy as np
from .demand import owned_standbys
from .distribution import DemandForecast

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]

# Displaced loads that differ by less than this share count as equal.
_EQUAL = 0.02

# Lead time of a standby that a pool does not have yet, for the remedies.
_LEAD_SECONDS = 300.0


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

    :param need: Servers that must stay during a batch beginning in each step, shape (steps,).
    :param most: Servers that may be out during a batch beginning in each step, shape (steps,).
    :param demand: Median demand, mean over a batch beginning in each step, in load units, shape (steps,).
    :param serving: Servers in service, without the standbys woken.
    :param woken: Standbys woken for the update.
    :param span: Steps that a batch may touch.
    """

    pool: Pool
    forecast: DemandForecast
    need: numpy.ndarray
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
    :param spare_standbys: Standbys that may be woken, by pool; one that pools share is the weightier pool's.
    :returns: The plan, a plain dict; see the return value C(plan) of the module M(lowtide.fleet.update_plan).
    :raises NoWindow: when no start keeps the risk, naming what binds and what would help.
    :raises InvalidOption: when the forecasts do not fit the pools, each other or the time, or a rule of a pool is wrong.
    """
    _check_forecasts(pools, forecasts, now)
    owned = owned_standbys(pools)
    chunks = [chunk for name, pool in pools.items() for chunk in _chunks(name, pool, (server_loads or {}).get(name))]
    standbys = {
        name: [server for server in (spare_standbys or {}).get(name, ()) if server in owned[name]] for name in pools
    }
    serving = {name: len((in_service or {}).get(name, pool["servers"])) for name, pool in pools.items()}

    def attempt(woken: dict[str, list[str]]) -> _Plan | None:
        rooms = {name: _room(name, pools[name], forecasts[name], serving[name], len(woken[name])) for name in pools}
        schedule = _schedule(chunks, rooms, _earliest(pools, woken, now), deadline)
        return None if schedule is None else _Plan(schedule, woken, rooms)

    # Wake as many in every pool at once: none, one, two ... up to what the pool with the most of them has.
    most = max(map(len, standbys.values()), default=0)
    attempts = (attempt({name: standbys[name][:extra] for name in pools}) for extra in range(most + 1))
    tried = [item for item in attempts if item is not None]
    if not tried:
        raise _no_window(pools, forecasts, serving, standbys, chunks, now, deadline)
    least = min(item.schedule.displaced for item in tried) * (1 + _EQUAL)
    # min() keeps the first of equals, which wakes the fewest.
    best = min((item for item in tried if item.schedule.displaced <= least), key=lambda item: item.schedule.seconds)
    # One pool's need of standbys is no reason to wake another's.
    for name in pools:
        while best.woken[name]:
            fewer = attempt({**best.woken, name: best.woken[name][:-1]})
            if fewer is None or fewer.schedule.displaced > least or fewer.schedule.seconds > best.schedule.seconds:
                break
            best = fewer
    return _described(
        best.schedule,
        best.woken,
        best.rooms,
        chunks=chunks,
        now=now,
        deadline=deadline,
        ordered_by_load=bool(server_loads),
    )


def _check_forecasts(pools: dict[str, Pool], forecasts: dict[str, DemandForecast], now: datetime.datetime) -> None:
    """One for each pool, all on one grid, and not over yet."""
    remedy = "Make those of all pools anew, together"
    missing = next((name for name in pools if name not in forecasts), None)
    if missing is not None:
        raise InvalidOption(f"there is no forecast of pool {missing!r}", option="forecasts", remedy=remedy)
    grids = {name: (forecasts[name].start, forecasts[name].step_seconds) for name in pools}
    reference = next(iter(grids))
    other = next((name for name, grid in grids.items() if grid != grids[reference]), None)
    if other is not None:
        raise InvalidOption(
            f"those of pools {reference!r} and {other!r} differ in their start or their step",
            option="forecasts",
            remedy=remedy,
        )
    over = next((name for name in pools if forecasts[name].end <= now), None)
    if over is not None:
        raise InvalidOption(
            f"that of pool {over!r} ends at {timing.iso(forecasts[over].end)}, before now",
            option="forecasts",
            remedy=remedy,
        )


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
    weight = {
        server: math.inf if math.isnan(load := (loads or {}).get(server, math.inf)) else load for server in servers
    }
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


def _room(name: str, pool: Pool, forecast: DemandForecast, serving: int, woken: int) -> _Room:
    """What a pool can spare at each step."""
    duration = timing.duration(pool["update"]["duration"])
    span = math.ceil(duration / forecast.step_seconds) + 1
    windows = np.lib.stride_tricks.sliding_window_view
    demand = forecast.bound(pool["update"]["risk"])
    need = np.ceil(demand / pool["load"]["server_capacity"] - 1e-9).astype(int)
    need = np.maximum(need, pool["limits"]["min"])
    need = windows(np.concatenate([need, np.repeat(need[-1:], span - 1)]), span).max(axis=1)
    median = forecast.level(0.5)
    median = windows(np.concatenate([median, np.repeat(median[-1:], span - 1)]), span).mean(axis=1)
    most = np.clip(serving + woken - need, 0, max_unavailable(name, pool))
    return _Room(pool, forecast, need, most, median, serving, woken, span)


def max_unavailable(name: str, pool: Pool) -> int:
    """Servers of a pool that may be out at once; a share is rounded down, but allows one."""
    text, count = str(pool["update"]["max_unavailable"]).strip(), len(pool["servers"])
    number = text[:-1] if text.endswith("%") else text
    share = text.endswith("%")
    if not number.isdecimal() or int(number) < 1 or (share and int(number) > 100):
        raise InvalidOption(
            f"{text!r} is neither a number of servers nor a share of them",
            option=f"pools.{name}.update.max_unavailable",
            remedy="Write a whole number of at least 1, or a share from 1% to 100%",
        )
    return max(1, count * int(number) // 100) if share else int(number)


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """Batches as (chunk, offset in chunk, size, begin), the load they displace in load unit hours, how long they take."""

    batches: list[tuple[int, int, int, datetime.datetime]]
    displaced: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A schedule, and the standbys woken by pool and the rooms it is for."""

    schedule: _Schedule
    woken: dict[str, list[str]]
    rooms: dict[str, _Room]


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
    # Nobody knows the demand before the first step, nor after the end of the shortest forecast.
    offset = max(0.0, (earliest - reference.begin_of(0)).total_seconds())
    last = (min(deadline, *(room.forecast.end for room in rooms.values())) - reference.begin_of(0)).total_seconds()
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
    demand = float(room.forecast.bound(room.pool["update"]["risk"])[steps].max())
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
    """Which pool binds, and what would make the update possible: each remedy named was tried."""
    rooms = {name: _room(name, pools[name], forecasts[name], serving[name], len(standbys[name])) for name in pools}
    earliest = _earliest(pools, standbys, now)
    binding = next((name for name, room in rooms.items() if not _spares(room, earliest, deadline)), None)
    remedy = _remedy(rooms, standbys, chunks, now, deadline, binding)
    if binding is not None:
        room = rooms[binding]
        low = _lowest(room, earliest, deadline)
        return NoWindow(
            f"pool {binding!r} can spare no server before {timing.iso(deadline)}: even at "
            f"{timing.iso(room.forecast.begin_of(low))} {int(room.need[low])} servers must stay in service, and there are "
            f"{room.awake}, standbys included",
            option=f"pools.{binding}.update.risk",
            remedy=remedy,
        )
    least = sum(
        math.ceil(len(chunk.hosts) / max_unavailable(chunk.pool, pools[chunk.pool]))
        * timing.duration(pools[chunk.pool]["update"]["duration"])
        for chunk in chunks
    )
    return NoWindow(
        f"the update does not fit between {timing.iso(earliest)} and {timing.iso(deadline)}: it takes at least "
        f"{timing.words(least)}, and the demand does not leave the room for it in one piece",
        option="deadline",
        remedy=remedy,
    )


def _known(room: _Room, earliest: datetime.datetime, deadline: datetime.datetime) -> slice:
    """The steps that a batch may begin in."""
    return slice(room.forecast.step_at(earliest), min(room.forecast.step_at(deadline) + 1, room.forecast.steps))


def _spares(room: _Room, earliest: datetime.datetime, deadline: datetime.datetime) -> bool:
    """Whether a pool can spare a server at all; so also where there is no time to ask about."""
    most = room.most[_known(room, earliest, deadline)]
    return not most.size or int(most.max()) >= 1


def _lowest(room: _Room, earliest: datetime.datetime, deadline: datetime.datetime) -> int:
    """The step in which a pool needs the fewest servers."""
    known = _known(room, earliest, deadline)
    return known.start + int(np.argmin(room.need[known]))


def _remedy(
    rooms: dict[str, _Room],
    standbys: dict[str, list[str]],
    chunks: list[_Chunk],
    now: datetime.datetime,
    deadline: datetime.datetime,
    binding: str | None,
) -> str:
    """The single changes that make the update possible, as one sentence."""
    pools = {name: room.pool for name, room in rooms.items()}
    earliest = _earliest(pools, standbys, now)
    found = []
    name = binding or next(iter(rooms))
    standby = pools[name]["standby"]
    lead = timing.duration(standby["lead_time"]) if standby else _LEAD_SECONDS
    woken = max(earliest, now + datetime.timedelta(seconds=lead))

    def fits_with(more: int) -> bool:
        room = rooms[name]
        wider = _room(name, room.pool, room.forecast, room.serving, room.woken + more)
        return _schedule(chunks, {**rooms, name: wider}, woken, deadline) is not None

    most = int(rooms[name].need.max()) + len(pools[name]["servers"])
    more = _smallest(range(1, most + 1), fits_with)
    if more is not None:
        found.append(f"give pool {name!r} {more} more standby{'s' if more > 1 else ''}")
    reference = next(iter(rooms.values())).forecast
    later = [reference.begin_of(step + 1) for step in range(min(room.forecast.steps for room in rooms.values()))]
    end = _smallest(
        [time for time in later if time > deadline], lambda time: _schedule(chunks, rooms, earliest, time) is not None
    )
    if end is not None:
        found.append(f"give a deadline of {timing.iso(end)} or later")
    if binding is not None:
        room, others = rooms[binding], {name: room for name, room in rooms.items() if name != binding}

        def fits_at(risk: float) -> bool:
            bolder = {**room.pool, "update": {**room.pool["update"], "risk": risk}}
            wider = _room(binding, bolder, room.forecast, room.serving, room.woken)
            return _schedule(chunks, {**others, binding: wider}, earliest, deadline) is not None

        risk = _smallest([risk for risk in (0.02, 0.05, 0.1, 0.2, 0.5) if risk > room.pool["update"]["risk"]], fits_at)
        if risk is not None:
            found.append(f"allow a risk of {risk:g}")
    if not found:
        return (
            "Change several at once: a later deadline with a forecast that reaches it, more standbys, "
            "a larger update.max_unavailable, a shorter update.duration, more risk"
        )
    text = ", or ".join(found)
    return text[0].upper() + text[1:]


def _smallest(values: t.Sequence[t.Any], fits: t.Callable[[t.Any], bool]) -> t.Any:
    """The first of ascending values that fits, where all after one that fits do too; None when none does."""
    place = bisect.bisect_left(values, True, key=fits)
    return values[place] if place < len(values) else None
