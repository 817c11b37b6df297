# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), (90, 90), ("90s", 90), ("1h30m", 5400), ("30d", 2592000), ("0.5m", 30), ("2W", 1209600)],
)
def test_duration(text, seconds):
    assert timing.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "five minutes", "-5m", "-1", "nan", "inf", True, None, "5m later"])
def test_duration_refuses(text):
    with pytest.raises(InvalidOption, match=r"lead_time: .*Write seconds"):
        timing.duration(text, "lead_time")


def test_moment_takes_offsets_and_assumes_utc():
    utc = datetime.datetime(2026, 1, 31, 6, 30, tzinfo=datetime.UTC)
    assert timing.moment("2026-01-31T06:30:00Z") == utc
    assert timing.moment("2026-01-31T07:30:00+01:00") == utc
    assert timing.moment("2026-01-31 06:30") == utc
    assert timing.iso(timing.moment("2026-01-31T07:30:00+01:00")) == "2026-01-31T06:30:00Z"


def test_moment_refuses():
    with pytest.raises(InvalidOption, match="now: 'tomorrow' is not a time"):
        timing.moment("tomorrow", "now")
    for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        with pytest.raises(InvalidOption, match="now: '.*' is a time that nobody measures"):
            timing.moment(text, "now")


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (120, "2 min"), (3600, "1 h"), (5400, "1 h 30 min"), (200000, "2 d 7 h")]
)
def test_words(seconds, text):
    assert timing.words(seconds) == text


@pytest.mark.parametrize("name", ["Europe/Berlim", "Europe", "../etc/passwd", "", "\0"])
def test_zone_refuses(name):
    """A folder of zones is none, and neither is a path out of them."""
    with pytest.raises(InvalidOption, match=r"time_zone: there is no time zone .*Europe/Berlin"):
        timing.zone(name, "time_zone")


def test_zone():
    assert timing.zone("Europe/Berlin").key == "Europe/Berlin"
