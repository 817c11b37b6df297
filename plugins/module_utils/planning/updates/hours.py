# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When no server of a pool may be out: in its blackouts, and outside its windows."""

from __future__ import annotations

import datetime
import typing as t
import zoneinfo

from ... import timing
from ...errors import InvalidOption

Span = t.Tuple[datetime.datetime, datetime.datetime]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def closed(
    pool: dict[str, t.Any], begin: datetime.datetime, end: datetime.datetime, option: str = "pools"
) -> list[Span]:
    """The times in [begin, end) in which no server of a pool may be out, in UTC, apart and in order.

    :param pool: Checked pool; its C(update.blackouts) and C(update.windows) are read in its calendar's time zone.
    :raises InvalidOption: on a time zone or a rule that is wrong.
    """
    zone = timing.zone(pool["calendar"]["time_zone"], f"{option}.calendar.time_zone")
    rules = pool["update"]
    spans = _spans(rules["blackouts"], zone, begin, end, f"{option}.update.blackouts")
    if rules["windows"]:
        spans += _between(merged(_spans(rules["windows"], zone, begin, end, f"{option}.update.windows")), begin, end)
    return merged(spans)


def merged(spans: t.Iterable[Span]) -> list[Span]:
    """Spans that touch or overlap, as one each, in order."""
    result: list[Span] = []
    for begin, end in sorted(spans):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif end > begin:
            result.append((begin, end))
    return result


def _between(spans: t.Sequence[Span], begin: datetime.datetime, end: datetime.datetime) -> list[Span]:
    """What a list of spans that are apart and in order leaves free."""
    edges = [begin, *(time for span in spans for time in span), end]
    return [(left, right) for left, right in zip(edges[::2], edges[1::2], strict=True) if left < right]


def _spans(
    rules: t.Sequence[dict[str, t.Any]],
    zone: zoneinfo.ZoneInfo,
    begin: datetime.datetime,
    end: datetime.datetime,
    option: str,
) -> list[Span]:
    """The times in [begin, end) that rules name."""
    found = []
    for place, rule in enumerate(rules):
        where = f"{option}[{place}]"
        once = [rule[name] is not None for name in ("start", "end")]
        daily = [bool(rule["days"]), rule["from"] is not None, rule["to"] is not None]
        if any(once) == any(daily) or not (all(once) or any(daily)) or daily[1] != daily[2]:
            raise InvalidOption(
                "it is neither one time nor one of each week",
                option=where,
                remedy="Give start and end, or days, or from and to, with or without days",
            )
        found += [_once(rule, zone, where)] if all(once) else _weekly(rule, zone, begin, end, where)
    return [(max(first, begin), min(last, end)) for first, last in found if first < end and last > begin]


def _once(rule: dict[str, t.Any], zone: zoneinfo.ZoneInfo, option: str) -> Span:
    first, last = (_local(rule[name], zone, f"{option}.{name}") for name in ("start", "end"))
    if last <= first:
        raise InvalidOption("it ends before it begins", option=option, remedy="Give 'start' before 'end'")
    return first, last


def _local(value: str, zone: zoneinfo.ZoneInfo, option: str) -> datetime.datetime:
    """A time; one without an offset is in the zone given."""
    time = timing.moment(value, option)
    naive = datetime.datetime.fromisoformat(str(value).strip())
    return naive.replace(tzinfo=zone).astimezone(datetime.UTC) if naive.tzinfo is None else time


def _weekly(
    rule: dict[str, t.Any], zone: zoneinfo.ZoneInfo, begin: datetime.datetime, end: datetime.datetime, option: str
) -> list[Span]:
    """Each time that a weekly rule comes round; C(to) at or before C(from) is on the day after."""
    stray = next((day for day in rule["days"] or () if day.lower()[:3] not in DAYS), None)
    if stray is not None:
        raise InvalidOption(
            f"{stray!r} is not a day", option=f"{option}.days", remedy="Write mon, tue, wed, thu, fri, sat or sun"
        )
    wanted = {DAYS.index(day.lower()[:3]) for day in rule["days"] or DAYS}
    first = _clock(rule["from"] or "00:00", f"{option}.from")
    last = _clock(rule["to"] or "00:00", f"{option}.to")
    day, found = begin.astimezone(zone).date() - datetime.timedelta(days=1), []
    while day <= end.astimezone(zone).date():
        if day.weekday() in wanted:
            until = day if last > first else day + datetime.timedelta(days=1)
            found.append(
                (
                    datetime.datetime.combine(day, first, zone).astimezone(datetime.UTC),
                    datetime.datetime.combine(until, last, zone).astimezone(datetime.UTC),
                )
            )
        day += datetime.timedelta(days=1)
    return found


def _clock(text: str, option: str) -> datetime.time:
    try:
        time = datetime.time.fromisoformat(str(text).strip())
    except ValueError as exc:
        raise InvalidOption(
            f"{text!r} is not a time of day", option=option, remedy="Write it in quotes, as '22:00'"
        ) from exc
    if time.tzinfo is not None:
        raise InvalidOption(
            f"{text!r} has an offset", option=option, remedy="Leave it out: times are in the pool's time zone"
        )
    return time
