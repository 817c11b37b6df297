# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import calendar, forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.problem import Problem

END = datetime.datetime(2026, 3, 28, tzinfo=datetime.UTC)  # a Saturday; Berlin's clock goes forward on the 29th
LEVELS = (0.1, 0.5, 0.9)


def hourly(days: int = 28, end: datetime.datetime = END, zone: datetime.tzinfo = datetime.UTC) -> np.ndarray:
    """One hourly series that peaks at noon, local time, with a little noise."""
    stamps = [end - datetime.timedelta(hours=hours) for hours in range(24 * days - 1, -1, -1)]
    hour = np.array([stamp.astimezone(zone).hour for stamp in stamps])
    return (100 + 50 * (hour == 12) + np.random.default_rng(0).normal(0, 1, len(hour)))[None, :]


def ahead(values: np.ndarray, **more: object) -> np.ndarray:
    """The median of the next two days."""
    return forecast(values, step_seconds=3600, horizon=48, quantiles=LEVELS, end=END, **more).quantiles[0, :, 1]


def event(name: str, day: int, **more: object) -> dict[str, object]:
    """An event from 06:00 to 12:00, so many days after the history's end."""
    start = END + datetime.timedelta(days=day, hours=6)
    return {"name": name, "start": start, "end": start + datetime.timedelta(hours=6), **more}


def test_the_profile_follows_the_clock_when_it_changes():
    berlin = calendar.zone("Europe/Berlin")
    median = ahead(hourly(zone=berlin), time_zone="Europe/Berlin")
    peaks = np.flatnonzero(median > 130)
    stamps = [(END + datetime.timedelta(hours=int(peak) + 1)).astimezone(berlin) for peak in peaks]
    assert [(stamp.day, stamp.hour) for stamp in stamps] == [(28, 12), (29, 12)]


def test_offsets_count_in_steps():
    problem = Problem(hourly(), 1800, 96, LEVELS, END, "Europe/Berlin")
    offset = calendar.offsets(problem)
    assert offset.shape == (28 * 24 + 96,)
    assert offset[0] == 2
    change = datetime.datetime(2026, 3, 29, 1, tzinfo=datetime.UTC)
    column = 28 * 24 - 1 + round((change - END).total_seconds() / 1800)
    assert offset[column - 1] == 2
    assert offset[column] == 4


def test_a_given_effect_multiplies_what_it_touches():
    plain = ahead(hourly())
    marked = ahead(hourly(), events=[event("sale", 0, effect=2.0)])
    touched = np.zeros(48, dtype=bool)
    touched[6:12] = True
    np.testing.assert_allclose(marked[touched], 2 * plain[touched])
    np.testing.assert_allclose(marked[~touched], plain[~touched])


def test_an_effect_is_learned_from_the_event_before():
    values = hourly()
    marks = [event("sale", -9), event("sale", 0)]
    stamp = np.arange(-values.shape[1] + 1, 1)
    values[:, (stamp > 24 * -9 + 6) & (stamp <= 24 * -9 + 12)] *= 1.8
    lift = ahead(values, events=marks)[6:11] / ahead(hourly())[6:11]
    np.testing.assert_allclose(lift, 1.8, rtol=0.05)


def test_an_event_never_seen_has_no_effect_and_says_so():
    answer = forecast(hourly(), step_seconds=3600, horizon=48, quantiles=LEVELS, end=END, events=[event("launch", 0)])
    assert "event 'launch' was never seen before: it is taken to have no effect" in answer.warnings[0]


def test_maintenance_is_left_out_of_training():
    values = hourly()
    stamp = np.arange(-values.shape[1] + 1, 1)
    for day in range(1, 8):
        values[:, (stamp > -24 * day + 6) & (stamp <= -24 * day + 12)] = 0
    marks = [event("rollout", -day, maintenance=True) for day in range(1, 8)]
    assert (ahead(values, events=marks)[6:11] > 90).all()


def test_a_holiday_never_seen_is_like_a_sunday():
    values = hourly()
    stamps = END + np.arange(-values.shape[1] + 1, 1) * datetime.timedelta(hours=1)
    values[:, [(stamp - datetime.timedelta(minutes=30)).weekday() == 6 for stamp in stamps]] /= 4
    monday = END + datetime.timedelta(days=2)
    marks = [{"name": "holiday", "start": monday, "end": monday + datetime.timedelta(days=1)}]
    median = forecast(values, step_seconds=3600, horizon=72, quantiles=LEVELS, end=END, events=marks).quantiles[0, :, 1]
    assert np.median(median[49:71]) < 40


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([{"name": "sale"}], r"events\[0\]: an event has a start and an end"),
        ([event("sale", 0, effect=-1.0)], r"events\[0\]\.effect: -1\.0 is not an effect"),
        ([{"start": END, "end": END}], r"events\[0\]: the event ends before it starts"),
    ],
)
def test_events_without_sense_are_refused(wrong, message):
    with pytest.raises(InvalidOption, match=message):
        ahead(hourly(), events=wrong)


def test_an_unknown_zone_is_refused():
    with pytest.raises(InvalidOption, match="there is no time zone 'Mars/Olympus'"):
        ahead(hourly(), time_zone="Mars/Olympus")
