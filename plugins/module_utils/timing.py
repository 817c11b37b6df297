# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Durations, moments and time zones, as users write them and as the code counts them."""

from __future__ import annotations

import datetime
import math
import re
import zoneinfo

from .errors import InvalidOption

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def duration(value: str | int | float, option: str | None = None) -> float:
    """Seconds in a duration: V(90), V("90s"), V("1h30m"), V("30d").

    :raises InvalidOption: when it is not a duration, negative or not finite.
    """
    text = str(value).strip().lower()
    if _DURATION.fullmatch(text):
        return float(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if isinstance(value, bool) or not math.isfinite(seconds) or seconds < 0:
        raise InvalidOption(
            f"{value!r} is not a duration", option=option, remedy="Write seconds, or a form like 90s, 5m, 1h30m or 30d"
        )
    return seconds


def moment(value: str | datetime.datetime, option: str | None = None) -> datetime.datetime:
    """The UTC time in an ISO 8601 text; one without an offset is taken as UTC.

    :raises InvalidOption: when it is not a time.
    """
    if isinstance(value, datetime.datetime):
        time = value
    else:
        try:
            time = datetime.datetime.fromisoformat(str(value).strip())
        except ValueError as exc:
            raise InvalidOption(
                f"{value!r} is not a time", option=option, remedy="Write it as 2026-01-31T06:30:00Z"
            ) from exc
    if not 1970 < time.year < 9000:
        raise InvalidOption(
            f"{value!r} is a time that nobody measures", option=option, remedy="Write it as 2026-01-31T06:30:00Z"
        )
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.UTC)
    return time.astimezone(datetime.UTC)


def zone(name: str, option: str | None = None) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name.

    :raises InvalidOption: when there is none.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidOption(
            f"there is no time zone {name!r}",
            option=option,
            remedy="Write it as Europe/Berlin or UTC, or install tzdata where the system knows none",
        ) from exc


def iso(time: datetime.datetime | float) -> str:
    """A moment (or epoch seconds) as ISO 8601 in UTC, to the second: V(2026-01-31T06:30:00Z)."""
    if not isinstance(time, datetime.datetime):
        time = datetime.datetime.fromtimestamp(time, datetime.UTC)
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def words(seconds: float) -> str:
    """A duration as a person says it: V(4 min), V(1 h 30 min), V(45 s)."""
    seconds = round(seconds)
    if seconds < 120 and seconds % 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
