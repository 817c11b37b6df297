# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import fleet, forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.periods import (
    newest_period,
    own_periods,
    period_ago,
    slots,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TENS = dict(step_seconds=10, quantiles=(0.1, 0.5, 0.9))


def cycles(period: float, length: int = 3000, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """A sawtooth of a period in steps, in [0, 1] but for noise."""
    rng = np.random.default_rng(seed)
    return np.arange(length) / period % 1 + noise * rng.standard_normal(length)


@given(st.floats(10, 400))
@settings(max_examples=25)
def test_the_period_is_found_with_its_fraction(period):
    """Or its double, where that is nearer to a whole number of steps."""
    found = own_periods(cycles(period)[None].astype(np.float32), 60, 0)[0]
    times = round(found / period)
    assert 1 <= times <= 2
    assert found == pytest.approx(times * period, abs=max(0.5, 0.002 * period))


def test_what_has_no_period_gets_none():
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.standard_normal((20, 4000)), axis=1)
    noise = rng.standard_normal((20, 4000))
    constant = np.zeros((1, 4000))
    values = np.concatenate([noise, constant, walk / walk.std(axis=1, keepdims=True)]).astype(np.float32)
    found = own_periods(values, 60, 0)
    assert not found[:21].any()
    assert (found[21:] > 0).mean() <= 0.2  # a walk may come back by chance


def test_a_period_that_has_ended_is_not_used():
    values = cycles(100, 4000)
    values[2900:] = 0.5 + 0.01 * np.random.default_rng(2).standard_normal(1100)
    assert own_periods(values[None].astype(np.float32), 60, 0)[0] == 0


def test_too_little_history_has_no_period():
    assert own_periods(np.zeros((2, 50), dtype=np.float32), 10, 0).tolist() == [0, 0]


def test_columns_of_periods_before():
    values = np.arange(100, dtype=np.float32)[None].repeat(2, axis=0)
    period = np.array([10.0, 7.5])
    told = slots(values, np.array([80]), np.array([1, 12]), period, 1, 2)
    assert told.shape == (2, 3, 2, 1, 2)
    assert told[0, 1, :, 0].tolist() == [[70, 71], [73, 76]]  # 80 less a period; 91 less two, as one is not yet known
    assert told[1, 1, 0, 0].tolist() == [60, 61]
    assert told[0, :, 0, 0, 0].tolist() == [69, 70, 71]
    assert period_ago(values, np.array([80]), 2, period)[0, 0, :, 0].tolist() == [69, 68]
    assert newest_period(values, np.array([80]), period, 5)[0, 0].tolist() == [79, 77, 75, 73, 71]


def test_nothing_is_taken_from_after_a_moment():
    values = np.zeros((1, 200), dtype=np.float32)
    values[:, 150:] = 1e6
    moments, ahead, period = np.array([150]), np.arange(1, 60), np.array([12.5])
    for told in (slots(values, moments, ahead, period, 1, 7), period_ago(values, moments, 20, period)):
        assert not told.any()
    assert not newest_period(values, moments, period, 40).any()


def test_cycles_that_the_calendar_does_not_tell_are_forecast():
    values = np.stack([50 + 40 * cycles(137.3, 6000, 0.02), 5 * cycles(61, 6000, 0.02, seed=1)])
    answer = forecast(values[:, :-300], horizon=300, **TENS)
    error = np.abs(answer.quantiles[:, :, 1] - values[:, -300:]).mean(axis=1)
    flat = np.abs(np.median(values, axis=1, keepdims=True) - values[:, -300:]).mean(axis=1)
    assert (error < 0.35 * flat).all()
    covered = (values[:, -300:] <= answer.quantiles[:, :, 2]).mean()
    assert 0.8 < covered < 0.98


def test_a_neighbour_without_a_period_changes_nothing_but_by_the_fleet():
    values = np.stack([cycles(90, 4000), np.random.default_rng(3).standard_normal(4000)])
    alone = forecast(values[:1], horizon=90, model="fleet", **TENS).quantiles
    both = forecast(values, horizon=90, model="fleet", **TENS).quantiles[:1]
    np.testing.assert_array_equal(alone, both)


def test_what_hardly_ever_happens_is_not_expected_to_last():
    """An error a minute ago is repeated by no model, though the newest sample was 0 nearly always."""
    rng = np.random.default_rng(5)
    values = rng.poisson(0.02, (3, 3000)).astype(float)
    values[:, -1] = 1
    answer = forecast(values, horizon=60, **TENS)
    assert (answer.quantiles[:, :, 1] < 0.2).all()


def test_a_history_of_two_days_keeps_to_the_calendar(monkeypatch):
    """The day is the season of a server, and what was chosen on it stays."""
    rng = np.random.default_rng(4)
    hours = np.arange(24 * 10)
    values = 10 + 3 * np.sin(2 * np.pi * hours / 24) + np.sin(2 * np.pi * hours / 7) + rng.normal(0, 0.1, len(hours))
    asked = []
    monkeypatch.setattr(fleet, "own_periods", lambda values, *_more: asked.append(len(values)) or np.zeros(len(values)))
    for length, looked_for in ((48, []), (47, [1])):
        answer = forecast(values[None, -length:], step_seconds=3600, horizon=24, quantiles=(0.5,), model="fleet")
        assert np.isfinite(answer.quantiles).all()
        assert asked == looked_for
