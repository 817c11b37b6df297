# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a plan would have met in the past: the same batches at the same local hours of the same days, weeks ago.

Beside it what many a playbook does: ``serial: 25%``, begun at once, with no standby woken.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import typing as t

from ... import timing
from ...errors import NotEnoughHistory
from ...libraries import numpy as np
from ...series import Series

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]

_WEEK = 7 * 86400

# Clocks change where a quarter of an hour begins.
_QUARTER = 900

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclasses.dataclass(frozen=True)
class Course:
    """A way to do the update, batch after batch.

    :param pools: The pool of each batch.
    :param sizes: Servers out, shape (batches,).
    :param begins: In epoch seconds, shape (batches,).
    :param seconds: How long each takes, shape (batches,).
    :param left: Servers that stay in service, shape (batches,).
    """

    pools: list[str]
    sizes: numpy.ndarray
    begins: numpy.ndarray
    seconds: numpy.ndarray
    left: numpy.ndarray

    @property
    def end(self) -> float:
        """When the last batch ends, in epoch seconds."""
        return float((self.begins + self.seconds).max())


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a course met, all of shape (weeks, batches).

    :param begins: In epoch seconds. :param unknown, touched: Samples that are missing, of those that a batch touches.
    :param minutes: With demand above what was left in service. :param share: Of demand that had no server, at worst.
    :param demand: In load units, when the least of it, relative to it, was carried. :param time: When that step began.
    """

    begins: numpy.ndarray
    unknown: numpy.ndarray
    touched: numpy.ndarray
    minutes: numpy.ndarray
    share: numpy.ndarray
    demand: numpy.ndarray
    time: numpy.ndarray


def simulate(
    plan: dict[str, t.Any],
    pools: dict[str, Pool],
    demand: dict[str, Series],
    *,
    in_service: dict[str, int],
    weeks: int,
) -> dict[str, t.Any]:
    """Replay an update plan on the same weekdays of the past, and C(serial: 25%) begun at once beside it.

    A week counts where all samples that either touches are known, and none tells of maintenance of the whole pool; the
    two are then compared on the same weeks.

    :param plan: As :func:`.plan.plan` gives it.
    :param pools: The pools it updates, by name; days and hours are those of their time zones.
    :param demand: What came so far, by pool, one row each; steps may be of any length.
    :param in_service: Servers that carry load before the first is taken out, by pool, without standbys woken for it.
    :param weeks: How many to look back at.
    :returns: A plain dict; see the return value C(simulation) of the module M(lowtide.fleet.update_plan).
    :raises NotEnoughHistory: where no week counts.
    """
    courses = {"plan": _planned(plan, in_service), "serial": _quarters(plan, in_service)}
    zones = {name: timing.zone(pools[name]["calendar"]["time_zone"]) for name in plan["pools"]}
    newest = _newest_week(courses.values(), zones, demand)
    back = np.arange(newest, newest + weeks)
    replays = {name: _replay(course, pools, demand, zones, back) for name, course in courses.items()}
    whys = _unknown(courses, replays)
    days = {name: _weekday(course, zones) for name, course in courses.items()}
    known = np.array([not why for why in whys])
    left_out = [
        {"start": timing.iso(replays["plan"].begins[row, 0]), "why": why} for row, why in enumerate(whys) if why
    ]
    if not known.any():
        raise NotEnoughHistory(
            f"none of the last {weeks} {days['plan']}s can be replayed ({left_out[0]['why']} on {left_out[0]['start'][:10]})",
            option="simulate",
            remedy="Collect for longer, raise simulate_weeks where older weeks are known, or plan without it",
        )
    result = {
        "weeks": {"asked": weeks, "replayed": int(known.sum()), "left_out": left_out},
        **{name: _figures(course, replays[name], pools, known, days[name]) for name, course in courses.items()},
    }
    return {**result, "words": _words(result, pools)}


def _planned(plan: dict[str, t.Any], in_service: dict[str, int]) -> Course:
    """The course of a plan, with its standbys awake from the first batch that needs them to the last."""
    batches, standbys = plan["batches"], plan["standbys"]["each"]
    awake = [
        in_service[batch["pool"]]
        + sum(
            item["pool"] == batch["pool"] and item["first_batch"] <= batch["number"] <= item["last_batch"]
            for item in standbys
        )
        for batch in batches
    ]
    names, sizes = [batch["pool"] for batch in batches], np.array([len(batch["hosts"]) for batch in batches])
    begins = np.array([timing.moment(batch["start"]).timestamp() for batch in batches])
    return Course(names, sizes, begins, _seconds(plan, names), np.array(awake) - sizes)


def _quarters(plan: dict[str, t.Any], in_service: dict[str, int]) -> Course:
    """A quarter of each pool's servers after another, from now on, as Ansible rounds it: down, but one at least."""
    names: list[str] = []
    sizes: list[int] = []
    for name in plan["pools"]:
        count = sum(len(batch["hosts"]) for batch in plan["batches"] if batch["pool"] == name)
        size = max(1, count // 4)
        parts = [size] * (count // size) + ([count % size] if count % size else [])
        names += [name] * len(parts)
        sizes += parts
    seconds = _seconds(plan, names)
    begins = timing.moment(plan["now"]).timestamp() + np.concatenate([[0.0], np.cumsum(seconds)[:-1]])
    return Course(names, np.array(sizes), begins, seconds, np.array([in_service[name] for name in names]) - sizes)


def _seconds(plan: dict[str, t.Any], names: t.Sequence[str]) -> numpy.ndarray:
    return np.array([float(plan["durations"][name]["seconds"]) for name in names])


def _newest_week(courses: t.Iterable[Course], zones: dict[str, datetime.tzinfo], demand: dict[str, Series]) -> int:
    """How many weeks back the newest is that was over when the last sample came."""
    over = min(series.end.timestamp() for series in demand.values())
    last = max(course.end for course in courses)
    week = max(1, math.floor((last - over) / _WEEK))
    ends = np.array([last])
    return next(
        back
        for back in itertools.count(week)
        if all(_back(ends, np.array([back]), zone).max() <= over for zone in zones.values())
    )


def _back(times: numpy.ndarray, weeks: numpy.ndarray, zone: datetime.tzinfo) -> numpy.ndarray:
    """Moments of the same local day and hour so many weeks ago, in epoch seconds, shape (weeks, times)."""
    quarters, place = np.unique(np.floor(times / _QUARTER).astype(int), return_inverse=True)
    local = [datetime.datetime.fromtimestamp(int(quarter) * _QUARTER, zone) for quarter in quarters]
    # An hour that a change of the clock leaves out is the one after it.
    then = [[(time - datetime.timedelta(weeks=int(week))).timestamp() for time in local] for week in weeks]
    return np.array(then)[:, place] + times % _QUARTER


def _replay(
    course: Course,
    pools: dict[str, Pool],
    demand: dict[str, Series],
    zones: dict[str, datetime.tzinfo],
    weeks: numpy.ndarray,
) -> Replay:
    """What a course met, in weeks so many back."""
    fields = {field.name: np.zeros((len(weeks), len(course.pools))) for field in dataclasses.fields(Replay)}
    for name in dict.fromkeys(course.pools):
        mine = np.array([other == name for other in course.pools])
        begins = _back(course.begins[mine], weeks, zones[name])
        capacity = course.left[mine] * pools[name]["load"]["server_capacity"]
        for field, values in _met(demand[name], begins, course.seconds[mine], capacity).items():
            fields[field][:, mine] = values
    return Replay(**fields)


def _met(
    demand: Series, begins: numpy.ndarray, seconds: numpy.ndarray, capacity: numpy.ndarray
) -> dict[str, numpy.ndarray]:
    """The fields of a replay.

    :param begins: Shape (weeks, batches). :param seconds: Shape (batches,).
    :param capacity: Of what is left in service, in load units, shape (batches,).
    """
    step, values = demand.step_seconds, demand.unmarked[0]
    origin = float(demand.times[0]) - step
    ends = begins + seconds
    first = np.floor((begins - origin) / step).astype(int)
    longest = max(1, int((np.ceil((ends - origin) / step) - first).max()))
    # Steps that each batch may touch, shape (weeks, batches, longest).
    steps = first[..., None] + np.arange(longest)
    starts = origin + steps * step
    within = np.minimum(ends[..., None], starts + step) - np.maximum(begins[..., None], starts)
    touched = within > 0
    there = (steps >= 0) & (steps < len(values))
    load = np.where(there, values[np.clip(steps, 0, len(values) - 1)], np.nan)
    over = np.where(touched, load - capacity[:, None], np.nan)
    short = over > 1e-9 * np.maximum(1.0, capacity)[:, None]
    share = np.where(short, over / np.where(short, load, 1.0), 0.0)
    worst = share.argmax(axis=-1)[..., None]
    return {
        "begins": begins,
        "unknown": (touched & np.isnan(load)).sum(axis=-1),
        "touched": touched.sum(axis=-1),
        "minutes": np.where(short, within, 0.0).sum(axis=-1) / 60,
        "share": np.take_along_axis(share, worst, axis=-1)[..., 0],
        "demand": np.take_along_axis(load, worst, axis=-1)[..., 0],
        "time": np.take_along_axis(starts, worst, axis=-1)[..., 0],
    }


def _unknown(courses: dict[str, Course], replays: dict[str, Replay]) -> list[str]:
    """Of each week, what is not known of it, in words; empty where all is."""
    weeks = len(next(iter(replays.values())).begins)
    whys: list[list[str]] = [[] for _week in range(weeks)]
    names = dict.fromkeys(name for course in courses.values() for name in course.pools)
    for name in names:
        counts = np.zeros((2, weeks), dtype=int)
        for key, course in courses.items():
            mine = np.array([other == name for other in course.pools])
            counts += np.array(
                [part[:, mine].sum(axis=1) for part in (replays[key].unknown, replays[key].touched)], int
            )
        for row in np.flatnonzero(counts[0]):
            whys[row].append(f"{name}: {counts[0, row]} of {counts[1, row]} samples missing or of maintenance")
    return ["; ".join(why) for why in whys]


def _figures(
    course: Course, replay: Replay, pools: dict[str, Pool], known: numpy.ndarray, weekday: str
) -> dict[str, t.Any]:
    """What came of a course, in the weeks that are known."""
    short = replay.share > 0
    return {
        "start": timing.iso(course.begins[0]),
        "end": timing.iso(course.end),
        "weekday": weekday,
        "serial": [int(size) for size in course.sizes],
        "batches": int(known.sum()) * len(course.pools),
        "short_batches": int(short[known].sum()),
        "short_weeks": int(short[known].any(axis=1).sum()),
        "overload_minutes": round(float(replay.minutes[known].sum()), 2),
        "worst": _worst(course, replay, pools, known),
        "weeks": [
            {
                "start": timing.iso(replay.begins[row, 0]),
                "short_batches": int(short[row].sum()),
                "overload_minutes": round(float(replay.minutes[row].sum()), 2),
            }
            for row in np.flatnonzero(known)
        ],
    }


def _worst(course: Course, replay: Replay, pools: dict[str, Pool], known: numpy.ndarray) -> dict[str, t.Any] | None:
    """Where the largest share of demand had no server; None where all was carried."""
    share = np.where(known[:, None], replay.share, 0.0)
    week, batch = np.unravel_index(int(share.argmax()), share.shape)
    if not share[week, batch] > 0:
        return None
    name = course.pools[batch]
    demand = float(replay.demand[week, batch])
    capacity = float(course.left[batch] * pools[name]["load"]["server_capacity"])
    return {
        "pool": name,
        "batch": int(batch) + 1,
        "time": timing.iso(replay.time[week, batch]),
        "demand": round(demand, 4),
        "capacity": round(capacity, 4),
        "lacking": round(demand - capacity, 4),
        "share": round(float(share[week, batch]), 4),
    }


def _weekday(course: Course, zones: dict[str, datetime.tzinfo]) -> str:
    begin = datetime.datetime.fromtimestamp(float(course.begins[0]), zones[course.pools[0]])
    return _DAYS[begin.weekday()]


def _words(result: dict[str, t.Any], pools: dict[str, Pool]) -> list[str]:
    plan, serial = result["plan"], result["serial"]
    asked, replayed = result["weeks"]["asked"], result["weeks"]["replayed"]
    same = serial["weekday"] == plan["weekday"]
    other = "" if same else f", {_days(asked, replayed, serial['weekday'])},"
    words = [
        f"{_days(asked, replayed, plan['weekday'])} this plan would have been short in {plan['short_batches']} of {plan['batches']} batches; "
        f"serial: 25% begun now{other} in {serial['short_batches']} of {serial['batches']}"
    ]
    words += [
        _worst_words(name, figures, pools, replayed)
        for name, figures in (("this plan", plan), ("serial: 25%", serial))
        if figures["worst"]
    ]
    words += [f"the week of {week['start']} is not replayed: {week['why']}" for week in result["weeks"]["left_out"]]
    return words


def _days(asked: int, replayed: int, weekday: str) -> str:
    last = f"the last {asked} {weekday}s" if asked > 1 else f"the last {weekday}"
    return f"in {last}" if replayed == asked else f"in {replayed} of {last}"


def _worst_words(name: str, figures: dict[str, t.Any], pools: dict[str, Pool], replayed: int) -> str:
    worst = figures["worst"]
    load = pools[worst["pool"]]["load"]
    return (
        f"{name}: short for {timing.words(figures['overload_minutes'] * 60)} in {figures['short_weeks']} of {replayed} weeks; "
        f"at worst {worst['pool']} had {worst['demand']:.4g} {load['unit'] or load['metric']} at {worst['time']} and servers "
        f"for {worst['capacity']:.4g}, so that {worst['share']:.0%} of it had none"
    )
