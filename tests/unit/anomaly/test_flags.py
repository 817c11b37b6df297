# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import anomaly
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly import flags, stream, threshold
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly.frame import Frame, clean

STEP = 300
DAY = 288


def fleet(days=6, series=4, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(days * DAY)
    return 100 + 30 * np.sin(2 * np.pi * time / DAY) + random.normal(0, 2, (series, len(time)))


def find(values, rate=1.0, silent=None):
    frame = Frame(clean(values), STEP)
    return flags.find(frame, anomaly.score(values, step_seconds=STEP), rate=rate, silent=silent)


def test_one_incident_is_one_flag():
    values = fleet()
    values[1, 1200:1230] += 150
    (flag,) = [flag for flag in find(values) if flag.row == 1]
    assert flag.start == 1200
    assert 1229 <= flag.last <= 1260
    assert not flag.open
    assert flag.direction == "high"
    assert flag.low < values[1, 1199] < flag.high + 20
    assert flag.value == pytest.approx(values[1, 1200:1230].max())


def test_a_peak_of_one_sample_is_a_short_flag():
    """Though the mean of the hour is new for an hour."""
    values = fleet()
    values[1, 1200] += 150
    (flag,) = [flag for flag in find(values) if flag.row == 1]
    assert flag.start == 1200
    assert flag.last < 1206


def test_an_incident_that_goes_on_is_open():
    values = fleet()
    values[2, -3:] = 0
    (flag,) = [flag for flag in find(values) if flag.row == 2]
    assert flag.open
    assert flag.direction == "low"
    assert flag.start == values.shape[1] - 3


def test_a_new_level_is_normal_after_a_day():
    values = fleet(days=8)
    values[0, 1500:] += 120
    (flag, *others) = [flag for flag in find(values) if flag.row == 0]
    assert flag.start == 1500
    assert flag.last - flag.start <= DAY
    assert all(other.start < 1500 + 2 * DAY for other in others)
    assert not any(other.open for other in others)


def test_a_known_event_is_silent():
    values = fleet()
    values[1, 1200:1230] += 150
    silent = np.zeros(values.shape, bool)
    silent[1, 1195:1235] = True
    assert [flag for flag in find(values, silent=silent) if 1190 < flag.start < 1240] == []


def test_a_first_day_and_a_constant_are_not_flagged():
    values = fleet()
    values[0, 100:110] += 200
    values[3] = 5.0
    found = find(values)
    assert not [flag for flag in found if flag.start < DAY]
    assert not [flag for flag in found if flag.row == 3]


def test_no_more_flags_than_asked_of_noise():
    values = np.random.default_rng(4).normal(0, 1, (15, 15 * DAY))
    found = find(values, rate=4.0)
    assert 0 < len(found) / 7.5 <= 8.0


def test_as_many_flags_as_asked_of_noise_at_a_minute():
    values = 50 + np.random.default_rng(6).normal(0, 3, (12, 10 * 1440))
    found = flags.find(Frame(values, 60), anomaly.score(values, step_seconds=60), rate=4.0)
    assert 8 <= len(found) <= 32


def test_a_few_days_are_enough_to_flag_what_is_far_out():
    """A rank of 384 samples can't be below 1 / 384, however far out a sample is."""
    random = np.random.default_rng(8)
    values = 100 + 30 * np.sin(2 * np.pi * np.arange(384) / 96) + random.normal(0, 2, (8, 384))
    values[3, -8:] *= 4
    values[5, -8:] = 0
    found = flags.find(Frame(values, 900), anomaly.score(values, step_seconds=900), rate=1.0)
    assert {(flag.row, flag.start) for flag in found} == {(3, 376), (5, 376)}


def test_a_young_fleet_does_not_find_itself_quiet():
    """Ranks of its first days can't reach a level, so that no alarm at it says nothing of alarms to come."""
    surprise = np.full((30, 2 * DAY), 1.0)
    none = np.zeros(surprise.shape, bool)
    young = threshold.thresholds(surprise, none, step_seconds=STEP, rate=1.0).values
    np.testing.assert_array_equal(young[:, 0], young[:, 1])
    grown = threshold.thresholds(np.full((30, 20 * DAY), 1.0), none, step_seconds=STEP, rate=1.0).values
    assert (grown[:, -1] < young[:, 0] - 0.3).all()


def test_one_noisy_series_does_not_deafen_the_others():
    values = fleet(days=8, series=12)
    random = np.random.default_rng(5)
    values[0] += np.where(random.random(values.shape[1]) < 0.02, random.pareto(0.6, values.shape[1]) * 500, 0)
    values[5, 2000:2020] += 150
    assert [flag for flag in find(values) if flag.row == 5 and 2000 <= flag.start < 2003]


def test_a_stream_goes_on_where_it_was(tmp_path):
    random = np.random.default_rng(6)
    values = random.normal(0, 1, (5, 700)).cumsum(axis=1)
    values[0, 300:310] = np.nan
    values[1] = 3.0
    values[2, 400] = np.inf
    values[3, 500] = -1e300
    state = stream.Stream(5, STEP)
    scores = []
    for step, column in enumerate(values.T):
        scores.append(state.update(column))
        if step in (3, 290, 600):
            state.save(tmp_path)
            state = stream.Stream.load(tmp_path)
    np.testing.assert_array_equal(np.array(scores).T, anomaly.score(values, step_seconds=STEP))
    state.save(tmp_path / "elsewhere")
    again = stream.Stream.load(tmp_path / "elsewhere")
    np.testing.assert_array_equal(again.update(values[:, 0]), state.update(values[:, 0]))
