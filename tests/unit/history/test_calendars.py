# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.history.calendars import Event, events


def utc(*parts):
    return datetime.datetime(*parts, tzinfo=datetime.UTC)


ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:test
BEGIN:VEVENT
UID:1
SUMMARY:Sale
DTSTART;TZID=Europe/Berlin:20260327T080000
DTEND;TZID=Europe/Berlin:20260327T100000
RRULE:FREQ=DAILY;COUNT=4
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:Fair
DTSTART;VALUE=DATE:20260330
DTEND;VALUE=DATE:20260401
END:VEVENT
END:VCALENDAR
"""


def test_holidays_begin_and_end_at_local_midnight():
    found = events({"time_zone": "Europe/Berlin", "holidays": "DE"}, utc(2026, 12, 24), utc(2026, 12, 27))
    assert [(event.start, event.end, event.kind) for event in found] == [
        (utc(2026, 12, 24, 23), utc(2026, 12, 25, 23), "holiday"),
        (utc(2026, 12, 25, 23), utc(2026, 12, 26, 23), "holiday"),
    ]
    bavaria = events({"time_zone": "Europe/Berlin", "holidays": "DE-BY"}, utc(2026, 1, 5, 12), utc(2026, 1, 6, 12))
    assert len(bavaria) == 1


def test_own_events_are_in_the_pools_time_zone():
    calendar = {
        "time_zone": "Europe/Berlin",
        "events": [{"name": "sale", "start": "2026-07-01 10:00", "end": "2026-07-01T10:00:00Z", "effect": 1.8}],
    }
    found = events(calendar, utc(2026, 7, 1), utc(2026, 7, 2))
    assert found == [Event("sale", utc(2026, 7, 1, 8), utc(2026, 7, 1, 10), "event", 1.8)]
    assert events(calendar, utc(2026, 7, 1, 10), utc(2026, 7, 2)) == []


def test_ics_files_recur_over_a_change_of_clocks(tmp_path):
    (tmp_path / "a.ics").write_text(ICS.replace("\n", "\r\n"))
    calendar = {"time_zone": "Europe/Berlin", "files": [str(tmp_path / "a.ics")]}
    found = events(calendar, utc(2026, 3, 28), utc(2026, 4, 3))
    assert [(event.name, event.start, event.end) for event in found] == [
        ("Sale", utc(2026, 3, 28, 7), utc(2026, 3, 28, 9)),
        ("Sale", utc(2026, 3, 29, 6), utc(2026, 3, 29, 8)),
        ("Fair", utc(2026, 3, 29, 22), utc(2026, 3, 31, 22)),
        ("Sale", utc(2026, 3, 30, 6), utc(2026, 3, 30, 8)),
    ]


@pytest.mark.parametrize(
    ("calendar", "error", "words"),
    [
        ({"time_zone": "Mars/Base"}, InvalidOption, r"calendar.time_zone: there is no time zone"),
        ({"holidays": "XX"}, InvalidOption, r"calendar.holidays: .*'XX' are not known"),
        ({"files": ["absent.ics"]}, NotFound, r"calendar.files\[0\]: absent.ics can't be read"),
        ({"events": [{"name": "x", "start": "2026-01-01"}]}, InvalidOption, r"calendar.events\[0\].end: it is missing"),
        (
            {"events": [{"name": "x", "start": "2026-01-02", "end": "2026-01-01"}]},
            InvalidOption,
            r"calendar.events\[0\]: it ends before it begins",
        ),
        (
            {"events": [{"name": "x", "start": "2026-01-01", "end": "2026-01-02", "effect": "big"}]},
            InvalidOption,
            r"calendar.events\[0\].effect: 'big'",
        ),
    ],
)
def test_errors(calendar, error, words):
    with pytest.raises(error, match=words):
        events(calendar, utc(2026, 1, 1), utc(2026, 2, 1))


def test_a_file_that_is_no_calendar(tmp_path):
    (tmp_path / "a.ics").write_text("nonsense")
    with pytest.raises(InvalidOption, match=r"calendar.files\[0\]: .*is no calendar"):
        events({"files": [str(tmp_path / "a.ics")]}, utc(2026, 1, 1), utc(2026, 2, 1))
