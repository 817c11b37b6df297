# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_plan, update_rules
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

NOW = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
DEFINITION = {"web": {"servers": ["w0", "w1"], "load": {"metric": "requests", "server_capacity": 100}}}


def params(tmp_path, **more):
    given = {"history": {"path": str(tmp_path / "h.duckdb")}, "pools": DEFINITION, "now": timing.iso(NOW), **more}
    return options.checked(given, update_plan.SPEC, "update_plan")


def keep(asked, values):
    with history.open(asked["history"], tenant="default", read_only=False) as store:
        store.write(Series((SeriesKey("web", None, "requests"),), values[None, :], NOW, 300))


def test_what_earlier_runs_took_is_read_from_their_records(tmp_path):
    asked, pools = params(tmp_path), options.pools(DEFINITION)
    assert update_rules.recorded(asked, pools, NOW) == {}
    keep(asked, np.full(288, 50.0))
    with history.open_state(asked) as store:
        for number in range(6):
            at = NOW + datetime.timedelta(hours=number - 5)
            store.append("update-duration", "web", {"seconds": 100.0 + number, "server": "w0"}, now=at)
        store.append("update-duration", "other", {"seconds": 1.0, "server": "o0"}, now=NOW)
    assert update_rules.recorded(asked, pools, NOW) == {"web": [100.0, 101.0, 102.0, 103.0, 104.0, 105.0]}
    before = NOW - datetime.timedelta(hours=3)
    assert update_rules.recorded(asked, pools, before) == {"web": [100.0, 101.0, 102.0]}
    plan = update_plan.update_plan(asked, check_mode=True)["plan"]
    assert plan["durations"]["web"] == {"seconds": 105.0, "learned_from": 6, "quantile": 0.9}
    told = update_plan.update_plan(params(tmp_path, durations={"web": [7] * 5}), check_mode=True)["plan"]
    assert told["durations"]["web"]["seconds"] == 7.0


def test_a_history_that_keeps_no_records_tells_nothing(tmp_path):
    asked = params(tmp_path, history={"type": "prometheus", "url": "http://localhost:1"})
    assert update_rules.recorded(asked, options.pools(DEFINITION), NOW) == {}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"db": [1]}, "durations: 'db' is none of the pools"),
        ({"web": 3}, r"durations\.web: it is not a list of seconds"),
        ({"web": ["soon"]}, r"durations\.web: it is not a list of seconds"),
        ({"web": [-1]}, r"durations\.web: it has a duration that can't be"),
        ({"web": [float("nan")]}, r"durations\.web: it has a duration that can't be"),
    ],
)
def test_durations_that_are_none(given, problem):
    with pytest.raises(InvalidOption, match=f"^{problem}"):
        update_rules.durations(given, options.pools(DEFINITION))


def test_demand_as_never_before_is_strange_and_the_usual_is_not(tmp_path):
    asked, pools = params(tmp_path), options.pools(DEFINITION)
    noise = np.random.default_rng(0).normal(0, 2, 10 * 288)
    usual = 100 + 40 * np.sin(2 * np.pi * np.arange(10 * 288) / 288) + noise
    keep(asked, usual)
    assert update_rules.strange(asked, pools) == {}
    usual[-3:] = 900
    keep(asked, usual)
    assert "8.5 times the 99 % bound" in update_rules.strange(asked, pools)["web"]


def closed(calendar, days=4):
    pools = options.pools({"web": {**DEFINITION["web"], "calendar": calendar}})
    spans = update_rules.closed(pools, NOW, NOW + datetime.timedelta(days=days))["web"]
    return [(timing.iso(begin), timing.iso(end)) for begin, end in spans]


def test_events_of_the_calendar_that_are_blackouts(tmp_path):
    events = [
        {"name": "sale", "start": "2026-03-03T10:00", "end": "2026-03-03T12:00", "blackout": True},
        {"name": "fair", "start": "2026-03-04T10:00", "end": "2026-03-04T12:00"},
    ]
    sale, fair = ("2026-03-03T09:00:00Z", "2026-03-03T11:00:00Z"), ("2026-03-04T09:00:00Z", "2026-03-04T11:00:00Z")
    assert closed({"time_zone": "Europe/Berlin", "events": events}) == [sale]
    assert closed({"time_zone": "Europe/Berlin", "events": events, "blackouts": ["events"]}) == [sale, fair]


def test_holidays_and_files_that_are_blackouts(tmp_path):
    path = tmp_path / "freeze.ics"
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x"]
    for name, day, more in (("freeze", 3, ["CATEGORIES:ops,Blackout"]), ("fair", 4, [])):
        lines += ["BEGIN:VEVENT", f"UID:{name}", f"SUMMARY:{name}", "DTSTAMP:20260301T000000Z"]
        lines += [f"DTSTART:2026030{day}T080000Z", f"DTEND:2026030{day}T090000Z", *more, "END:VEVENT"]
    path.write_text("\r\n".join([*lines, "END:VCALENDAR", ""]), encoding="utf-8")
    freeze, fair = ("2026-03-03T08:00:00Z", "2026-03-03T09:00:00Z"), ("2026-03-04T08:00:00Z", "2026-03-04T09:00:00Z")
    assert closed({"files": [str(path)]}) == [freeze]
    assert closed({"files": [str(path)], "blackouts": ["files"]}) == [freeze, fair]
    assert closed({"holidays": "DE"}, days=40) == []
    good_friday = ("2026-04-03T00:00:00Z", "2026-04-04T00:00:00Z")
    assert closed({"holidays": "DE", "blackouts": ["holidays"]}, days=34) == [good_friday]
