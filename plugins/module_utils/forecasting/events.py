# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of a calendar: known ones with a given or learned effect, holidays, and maintenance.

An effect multiplies the load. What an event did to the past is taken out before a model looks at it, and put onto the
steps ahead that it will touch.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..errors import InvalidOption
from ..libraries import numpy as np
from .calendar import zone
from .problem import Problem

if t.TYPE_CHECKING:
    import numpy

HOLIDAY = "holiday"
DAYS_AROUND = 7  # on either side, that an event is compared with
LEAN_SAMPLES = 24  # of the fleet's effect, that a series' own is leant on


@dataclasses.dataclass(frozen=True)
class Event:
    """A stretch of time that is not like others.

    :param name: Events of one name share what is learned of their effect.
    :param start: UTC. :param end: UTC, after the start.
    :param effect: What the load is multiplied by; None to learn it from earlier events of the name.
    :param maintenance: The samples of it are left out of training, and it has no effect ahead.
    """

    name: str
    start: datetime.datetime
    end: datetime.datetime
    effect: float | None = None
    maintenance: bool = False


def events_of(values: t.Sequence[t.Mapping[str, t.Any]] | None, option: str = "events") -> list[Event]:
    """Events as users write them: ``{name, start, end, effect, maintenance}``.

    :raises InvalidOption: naming the event, when it ends before it starts or its effect is not above 0.
    """
    result = []
    for number, value in enumerate(values or []):
        place = f"{option}[{number}]"
        try:
            start, end = (timing.moment(value[key], f"{place}.{key}") for key in ("start", "end"))
        except (KeyError, TypeError) as exc:
            raise InvalidOption(
                "an event has a start and an end", option=place, remedy="Write {name: sale, start: ..., end: ...}"
            ) from exc
        effect = value.get("effect")
        if end <= start:
            raise InvalidOption("the event ends before it starts", option=place, remedy="Put the end after the start")
        if effect is not None and not (math.isfinite(effect) and effect > 0):
            raise InvalidOption(
                f"{effect} is not an effect", option=f"{place}.effect", remedy="Give what the load is multiplied by"
            )
        result.append(Event(str(value.get("name") or "event"), start, end, effect, bool(value.get("maintenance"))))
    return result


def take_out(problem: Problem, events: list[Event]) -> tuple[Problem, numpy.ndarray | None, list[str]]:
    """The problem without its events.

    :returns: The problem, past effects divided out and maintenance missing; what to multiply each step ahead by, shape
        (series, horizon), None where nothing will happen; what every reader must know.
    """
    if not events or problem.end is None:
        return problem, None, []
    length = problem.values.shape[1]
    values = problem.values.copy()
    touched = {id(event): _touched(event, problem) for event in events}
    special = np.zeros(length, dtype=bool)
    for event in events:
        special |= touched[id(event)][:length]
    plain = np.where(special, np.nan, problem.values)
    factor = np.ones((len(values), problem.horizon))
    notes: list[str] = []
    learned: dict[str, numpy.ndarray | None] = {}
    for event in events:
        past, ahead = touched[id(event)][:length], touched[id(event)][length:]
        if event.maintenance:
            values[:, past] = np.nan
            continue
        if event.effect is not None:
            values[:, past] /= event.effect
            factor[:, ahead] *= event.effect
            continue
        values[:, past] = np.nan
        if not ahead.any():
            continue
        if event.name not in learned:
            same = [other for other in events if other.name == event.name and other.effect is None]
            seen = np.zeros(length, dtype=bool)
            for other in same:
                seen |= touched[id(other)][:length]
            learned[event.name] = _effect(problem, plain, seen)
            if learned[event.name] is None and event.name == HOLIDAY:
                learned[event.name] = _sunday(problem, plain)
            if learned[event.name] is None:
                notes.append(f"event {event.name!r} was never seen before: it is taken to have no effect")
        effect = learned[event.name]
        if effect is not None:
            factor[:, ahead] *= effect[:, None]
    emptied = np.isnan(values).all(axis=1) & ~np.isnan(problem.values).all(axis=1)
    values[emptied] = problem.values[emptied]
    return problem.at(values), None if (factor == 1).all() else factor, notes


def _touched(event: Event, problem: Problem) -> numpy.ndarray:
    """Which steps of the history and the horizon the event overlaps; a step ends at its stamp."""
    length = problem.values.shape[1]
    stamp = int(problem.end.timestamp()) + problem.step_seconds * np.arange(1 - length, problem.horizon + 1)
    return (stamp > event.start.timestamp()) & (stamp - problem.step_seconds < event.end.timestamp())


def _effect(problem: Problem, plain: numpy.ndarray, seen: numpy.ndarray) -> numpy.ndarray | None:
    """What events did to each series, against the same slots on the days around; leant on the fleet's effect."""
    column = np.flatnonzero(seen)
    if not len(column):
        return None
    around = np.concatenate([np.arange(-DAYS_AROUND, 0), np.arange(1, DAYS_AROUND + 1)]) * problem.day
    other = column[:, None] + around
    inside = (other >= 0) & (other < plain.shape[1])
    usual = np.where(inside, plain[:, np.clip(other, 0, plain.shape[1] - 1)], np.nan)
    usual = _median(usual)
    actual = problem.values[:, column]
    known = ~np.isnan(actual) & ~np.isnan(usual)
    if not known.any():
        return None
    return _leant(np.where(known, actual, 0).sum(axis=1), np.where(known, usual, 0).sum(axis=1), known.sum(axis=1))


def _sunday(problem: Problem, plain: numpy.ndarray) -> numpy.ndarray | None:
    """Sundays against the other days, which stands for a holiday that was never seen."""
    length = plain.shape[1]
    place = zone(problem.time_zone)
    days = -(-length // problem.day)
    if days < 7:
        return None
    newest = problem.end - datetime.timedelta(seconds=problem.step_seconds / 2)
    back = [newest - datetime.timedelta(seconds=problem.step_seconds * column) for column in range(length)]
    sunday = np.array([moment.astimezone(place).weekday() == 6 for moment in reversed(back)])
    known = ~np.isnan(plain)
    means = [
        np.where(known & which, plain, 0).sum(axis=1) / np.maximum((known & which).sum(axis=1), 1)
        for which in (sunday, ~sunday)
    ]
    return _leant(means[0] * problem.day, means[1] * problem.day, (known & sunday).sum(axis=1))


def _leant(actual: numpy.ndarray, usual: numpy.ndarray, count: numpy.ndarray) -> numpy.ndarray:
    """Ratios of each series, leant on the fleet's median ratio and kept within a factor of 10; 1 where it has none."""
    good = (actual > 0) & (usual > 0) & (count > 0)
    if not good.any():
        return np.ones(len(actual))
    ratio = np.log(np.where(good, actual, 1) / np.where(good, usual, 1))
    fleet = float(np.median(ratio[good]))
    leant = (ratio * count + fleet * LEAN_SAMPLES) / (count + LEAN_SAMPLES)
    return np.exp(np.clip(np.where(good, leant, fleet), -math.log(10), math.log(10)))


def _median(values: numpy.ndarray) -> numpy.ndarray:
    """The median of the last axis that skips NaN; NaN where all is."""
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(values)).sum(axis=-1)
    newest = np.maximum(count - 1, 0)
    low, high = (np.take_along_axis(ordered, place[..., None], axis=-1) for place in (newest // 2, (newest + 1) // 2))
    return ((low + high) / 2)[..., 0]
