# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.updates.hours import closed, merged

# The night in which Berlin's clocks go from 02:00 to 03:00, a Sunday.
BEGIN = datetime.datetime(2026, 3, 28, 12, 0, tzinfo=datetime.UTC)
END = BEGIN + datetime.timedelta(days=2)


def shut(zone="Europe/Berlin", **update):
    pool = {
        "servers": ["w0"],
        "load": {"metric": "requests", "server_capacity": 100},
        "calendar": {"time_zone": zone},
        "update": update,
    }
    spans = closed(options.pools({"web": pool})["web"], BEGIN, END, "pools.web")
    return [f"{a:%d %H:%M}-{b:%d %H:%M}" for a, b in spans]


def test_a_blackout_of_each_day_follows_the_local_clock():
    every = [{"from": "01:00", "to": "04:00"}]
    assert shut(blackouts=every) == ["29 00:00-29 02:00", "29 23:00-30 02:00"]
    assert shut("UTC", blackouts=every) == ["29 01:00-29 04:00", "30 01:00-30 04:00"]


def test_a_rule_over_midnight_belongs_to_the_day_it_begins_on():
    assert shut("UTC", blackouts=[{"days": ["Sat"], "from": "22:00", "to": "06:00"}]) == ["28 22:00-29 06:00"]
    # What began on the day before the first is still there.
    assert shut("UTC", blackouts=[{"days": ["fri"], "from": "22:00", "to": "13:00"}]) == ["28 12:00-28 13:00"]


def test_a_whole_day():
    assert shut(blackouts=[{"days": ["sunday"]}]) == ["28 23:00-29 22:00"]


def test_one_time_is_local_unless_it_has_an_offset():
    assert shut(blackouts=[{"start": "2026-03-28T14:00", "end": "2026-03-28T15:00"}]) == ["28 13:00-28 14:00"]
    assert shut(blackouts=[{"start": "2026-03-28T14:00Z", "end": "2026-03-28T16:00+01:00"}]) == ["28 14:00-28 15:00"]


def test_outside_windows_nothing_may_go():
    assert shut("UTC", windows=[{"from": "01:00", "to": "03:00"}]) == [
        "28 12:00-29 01:00",
        "29 03:00-30 01:00",
        "30 03:00-30 12:00",
    ]
    assert shut("UTC", windows=[{"start": "2027-01-01", "end": "2027-01-02"}]) == ["28 12:00-30 12:00"]


def test_a_blackout_goes_before_a_window():
    both = {
        "windows": [{"from": "01:00", "to": "03:00"}],
        "blackouts": [{"days": ["sun"], "from": "02:00", "to": "05:00"}],
    }
    assert shut("UTC", **both)[1] == "29 02:00-30 01:00"


def test_spans_that_touch_are_one():
    hour = datetime.timedelta(hours=1)
    assert merged([(BEGIN + hour, END), (BEGIN, BEGIN + hour), (END, END)]) == [(BEGIN, END)]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({}, r"blackouts\[0\]: it is neither one time nor one of each week"),
        ({"start": "2026-03-28T14:00Z"}, r"blackouts\[0\]: it is neither"),
        ({"start": "2026-03-28", "end": "2026-03-29", "days": ["mon"]}, r"blackouts\[0\]: it is neither"),
        ({"from": "22:00"}, r"blackouts\[0\]: it is neither"),
        ({"days": ["noday"]}, r"blackouts\[0\]\.days: 'noday' is not a day"),
        ({"from": "25:00", "to": "26:00"}, r"blackouts\[0\]\.from: '25:00' is not a time of day"),
        ({"from": "22:00Z", "to": "23:00"}, r"blackouts\[0\]\.from: '22:00Z' has an offset"),
        ({"start": "2026-03-29", "end": "2026-03-28"}, r"blackouts\[0\]: it ends before it begins"),
        ({"start": "soon", "end": "2026-03-28"}, r"blackouts\[0\]\.start: 'soon' is not a time"),
    ],
)
def test_a_rule_that_is_wrong_is_named(rule, problem):
    with pytest.raises(InvalidOption, match=rf"^pools\.web\.update\.{problem}"):
        shut(blackouts=[rule])


def test_a_time_zone_that_is_none():
    with pytest.raises(InvalidOption, match=r"^pools\.web\.calendar\.time_zone: there is no time zone 'Mars'"):
        shut("Mars")
