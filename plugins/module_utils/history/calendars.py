# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Known events and holidays: from the pool's own list, from the calendar of a country, from ICS files."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import typing as t
import zoneinfo

from .. import timing
from ..errors import InvalidOption, NotFound
from ..libraries import holidays, icalendar, recurring_ical_events
from ..timing import moment


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that is known to change the load.

    :param start: UTC. :param end: UTC, not part of it.
    :param kind: C(event), C(holiday) or C(calendar), which is an ICS file's.
    :param effect: Load while it lasts as a multiple of what it would be, where the user knows; else None.
    :param maintenance: What was measured while it lasted is left out of what is learned.
    :param blackout: No server may be out for an update while it lasts.
    """

    name: str
    start: datetime.datetime
    end: datetime.datetime
    kind: str
    effect: float | None = None
    maintenance: bool = False
    blackout: bool = False


def events(
    calendar: t.Mapping[str, t.Any], start: datetime.datetime, end: datetime.datetime, option: str = "calendar"
) -> list[Event]:
    """What a pool's calendar has in [start, end), by start.

    :param calendar: Checked C(calendar) of ``options.POOL``: C(time_zone), C(holidays) (a country, or a country and one
        of its parts, as C(DE) or C(DE-BY)), C(events) (each with C(name), C(start), C(end), and maybe C(effect) or
        C(maintenance)) and C(files).
    :raises InvalidOption: on a time zone, a country or an event that is wrong. :raises NotFound: when a file is missing.
    """
    zone = timing.zone(calendar.get("time_zone") or "UTC", f"{option}.time_zone")
    found = [_given(item, zone, f"{option}.events[{index}]") for index, item in enumerate(calendar.get("events") or [])]
    if calendar.get("holidays"):
        found += _holidays(calendar["holidays"], zone, start, end, f"{option}.holidays")
    for index, path in enumerate(calendar.get("files") or []):
        found += _file(path, zone, start, end, f"{option}.files[{index}]")
    return sorted(
        (event for event in found if event.end > start and event.start < end),
        key=lambda event: (event.start, event.end, event.name),
    )


def _given(item: t.Mapping[str, t.Any], zone: zoneinfo.ZoneInfo, option: str) -> Event:
    """One event of the user's own list."""
    for key in ("name", "start", "end"):
        if not item.get(key):
            raise InvalidOption("it is missing", option=f"{option}.{key}", remedy="An event has name, start and end")
    times = [_local(item[key], zone, f"{option}.{key}") for key in ("start", "end")]
    if times[1] <= times[0]:
        raise InvalidOption("it ends before it begins", option=option, remedy="Give 'start' before 'end'")
    effect = item.get("effect")
    if effect is not None and not (isinstance(effect, int | float) and 0 < effect < float("inf")):
        raise InvalidOption(
            f"{effect!r} is no multiple of load", option=f"{option}.effect", remedy="Write 1.8 for 80 % more"
        )
    effect = None if effect is None else float(effect)
    marks = [bool(item.get(mark)) for mark in ("maintenance", "blackout")]
    return Event(str(item["name"]), *times, "event", effect, *marks)


def _local(value: t.Any, zone: zoneinfo.ZoneInfo, option: str) -> datetime.datetime:
    """A time of the user's; one without an offset is in the pool's time zone."""
    text = str(value).strip()
    time = moment(text, option)
    naive = datetime.datetime.fromisoformat(text)
    return naive.replace(tzinfo=zone).astimezone(datetime.UTC) if naive.tzinfo is None else time


def _day(day: datetime.date, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    """When a day begins there."""
    return datetime.datetime.combine(day, datetime.time(), zone).astimezone(datetime.UTC)


def _holidays(
    place: str, zone: zoneinfo.ZoneInfo, start: datetime.datetime, end: datetime.datetime, option: str
) -> list[Event]:
    """The public holidays of a country, or of a part of one."""
    country, _hyphen, part = str(place).partition("-")
    years = range(start.astimezone(zone).year, end.astimezone(zone).year + 1)
    try:
        days = holidays.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as exc:
        raise InvalidOption(
            f"the holidays of {place!r} are not known",
            option=option,
            remedy="Write a country's two letters, or DE-BY for a part of one",
        ) from exc
    return [
        Event(name, _day(day, zone), _day(day + datetime.timedelta(days=1), zone), "holiday")
        for day, name in days.items()
    ]


def _file(
    path: str, zone: zoneinfo.ZoneInfo, start: datetime.datetime, end: datetime.datetime, option: str
) -> list[Event]:
    """The events of an ICS file (RFC 5545), each time that they recur. Its times without a zone are local.

    One of the category BLACKOUT is a blackout.
    """
    try:
        parsed = icalendar.Calendar.from_ical(pathlib.Path(path).expanduser().read_bytes())
    except OSError as exc:
        raise NotFound(
            f"{path} can't be read: {exc.strerror}", option=option, remedy="Give the path of an ICS file"
        ) from exc
    except ValueError as exc:
        raise InvalidOption(
            f"{path} is no calendar: {exc}", option=option, remedy="Give an ICS file (RFC 5545)"
        ) from exc
    found = []
    for item in recurring_ical_events.of(parsed).between(start - datetime.timedelta(days=1), end):
        first, last = (
            value.replace(tzinfo=value.tzinfo or zone).astimezone(datetime.UTC)
            if isinstance(value, datetime.datetime)
            else _day(value, zone)
            for value in (item.start, item.end)
        )
        if last > first:
            blackout = any(str(name).strip().upper() == "BLACKOUT" for name in getattr(item, "categories", ()))
            found.append(Event(str(item.get("SUMMARY", "")), first, last, "calendar", blackout=blackout))
    return found
