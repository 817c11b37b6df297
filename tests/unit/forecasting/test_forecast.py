# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.models import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

HOURLY = dict(step_seconds=3600, horizon=24, quantiles=(0.1, 0.5, 0.9, 0.99))
FAST = ("auto", "fleet", "seasonal_naive")
NEEDS_TORCH = {"lstm"}


def fleet(days: int = 15, rows: int = 4, seed: int = 0) -> np.ndarray:
    """Hourly series with a day, a level each, and noise."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    day = np.sin(2 * np.pi * hours / 24)
    return 10 + rng.uniform(1, 5, (rows, 1)) * day + rng.normal(0, 0.5, (rows, len(hours)))


@pytest.mark.parametrize("name", sorted(set(MODELS) - NEEDS_TORCH))
def test_models_answer_in_shape_and_beat_a_flat_line(name):
    values = fleet(rows=2)
    answer = forecast(values[:, :-24], model=name, **HOURLY)
    assert answer.quantiles.shape == (2, 24, 4)
    assert np.isfinite(answer.quantiles).all()
    assert (np.diff(answer.quantiles, axis=2) >= 0).all()
    error = np.abs(answer.quantiles[:, :, 1] - values[:, -24:]).mean()
    assert error < np.abs(values[:, -24:] - values.mean()).mean() / 2
    for told in answer.backtest:
        assert 0 < told["mase"] < 1.5
        assert told["windows"] >= 5
        assert 0.8 <= told["coverage"]["0.9"] <= 1


@pytest.mark.parametrize("name", FAST)
@given(
    values=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 80)),
        elements=st.floats(allow_nan=True, allow_infinity=True, width=32),
    ),
    horizon=st.integers(1, 50),
)
@settings(max_examples=60)
def test_any_series_has_a_finite_rising_answer_or_none(name, values, horizon):
    answer = forecast(values, step_seconds=3600, horizon=horizon, quantiles=(0.1, 0.5, 0.99), model=name)
    known = np.isfinite(values).any(axis=1)
    assert np.isfinite(answer.quantiles[known]).all()
    assert np.isnan(answer.quantiles[~known]).all()
    assert (np.diff(answer.quantiles[known], axis=2) >= 0).all()
    assert [bool(name) for name in answer.model] == known.tolist()
    assert all(answer.warnings[row] for row in np.flatnonzero(~known))


@pytest.mark.parametrize("name", FAST)
def test_series_that_hardly_ever_vary_do_not_stop_the_fleet(name):
    """Their candidates are all alike, so that there are fewer equations than weights."""
    values = np.full((2, 49), -1.0)
    values[0, [17, 34, 42]] = 0
    values[1, 17] = 0
    answer = forecast(values, step_seconds=3600, horizon=3, quantiles=(0.1, 0.5, 0.99), model=name)
    assert np.isfinite(answer.quantiles).all()
    np.testing.assert_allclose(answer.quantiles[:, :, 1], -1, atol=0.2)


@pytest.mark.parametrize("name", FAST)
@given(scale=st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**20]), shift=st.sampled_from([-64.0, 0.0, 1024.0]))
@settings(max_examples=12)
def test_scale_and_shift_carry_over(name, scale, shift):
    values = fleet()
    plain = forecast(values, model=name, **HOURLY).quantiles
    moved = forecast(values * scale + shift, model=name, **HOURLY).quantiles
    np.testing.assert_allclose(moved, plain * scale + shift, rtol=1e-3, atol=2e-3 * scale)


@pytest.mark.parametrize("name", FAST)
@given(order=st.permutations(range(4)))
@settings(max_examples=10)
def test_order_of_series_does_not_matter(name, order):
    values = fleet()
    plain = forecast(values, model=name, **HOURLY).quantiles
    shuffled = forecast(values[list(order)], model=name, **HOURLY).quantiles
    np.testing.assert_allclose(shuffled, plain[list(order)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAST)
def test_same_question_same_bytes(name):
    values = fleet()
    assert (
        forecast(values, model=name, **HOURLY).quantiles.tobytes()
        == forecast(values, model=name, **HOURLY).quantiles.tobytes()
    )


def test_how_samples_lie_in_memory_does_not_matter():
    values = fleet()
    values[1, 50:90] = np.nan
    told, other = forecast(values, **HOURLY), forecast(np.asfortranarray(values), **HOURLY)
    np.testing.assert_array_equal(told.quantiles, other.quantiles)
    assert told.backtest == other.backtest


def test_what_was_given_stays_as_it_was():
    values = fleet(rows=1)
    values[0, 5] = np.inf
    before = values.copy()
    answer = forecast(values, **HOURLY)
    np.testing.assert_array_equal(values, before)
    assert answer.warnings[0] == ["1 samples are infinite: taken as missing"]


def test_no_sample_at_all_is_told_and_harms_nobody():
    values = fleet(rows=2)
    values[0] = np.nan
    answer = forecast(values, **HOURLY)
    assert answer.warnings[0] == ["no sample at all: there is no answer"]
    assert np.isnan(answer.quantiles[0]).all()
    assert np.isfinite(answer.quantiles[1]).all()
    assert answer.backtest[0]["mase"] is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(model="oracle"), "model: there is no model 'oracle'"),
        (dict(horizon=0), "horizon: 0 steps"),
        (dict(quantiles=[]), "quantiles"),
        (dict(quantiles=[0.5, 1.0]), "quantiles"),
        (dict(quantiles=[float("nan")]), "quantiles"),
    ],
)
def test_questions_without_sense_are_refused(wrong, message):
    with pytest.raises(InvalidOption, match=message):
        forecast(fleet(), **{**HOURLY, **wrong})
