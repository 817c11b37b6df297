# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forecasts at several steps agree."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import granularity
from hypothesis import given, settings
from hypothesis import strategies as st

MIDNIGHT = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
ASKED = dict(step_seconds=900, quantiles=(0.1, 0.5, 0.9))


def load(days: float, rows: int = 3, seed: int = 0) -> np.ndarray:
    """Quarters of an hour with a day and skewed noise."""
    rng = np.random.default_rng(seed)
    slots = np.arange(round(96 * days))
    return (
        10 + 5 * np.sin(2 * np.pi * slots / 96) * rng.uniform(0, 2, (rows, 1)) + rng.exponential(2, (rows, len(slots)))
    )


@given(
    past=st.integers(0, 7),
    horizon=st.integers(8, 120),
    coarser=st.sampled_from([(3600,), (1800, 3600), (7200,), (1800, 2700)]),
    days=st.sampled_from([0.3, 4, 9]),
    model=st.sampled_from(["auto", "seasonal_naive"]),
    missing=st.booleans(),
)
@settings(max_examples=25)
def test_the_centre_of_an_hour_is_the_mean_of_its_steps(past, horizon, coarser, days, model, missing):
    end = MIDNIGHT + datetime.timedelta(seconds=900 * past)
    values = load(days)
    if missing:
        values[0, 5::7], values[1] = np.nan, np.nan
    if horizon * 900 < 2 * max(coarser):
        horizon = 2 * max(coarser) // 900
    fine, parts = granularity.forecast(values, coarser, horizon=horizon, end=end, model=model, **ASKED)
    assert [part.grid.step_seconds for part in parts] == sorted(coarser)
    for part in parts:
        told, ratio = granularity.settled(part, fine), part.grid.step_seconds // 900
        begin = end + datetime.timedelta(seconds=900 * part.grid.first)
        assert begin.timestamp() % part.grid.step_seconds == 0
        count = told.quantiles.shape[1]
        assert 1 <= count <= horizon // ratio
        assert horizon - part.grid.first - count * ratio < ratio
        inside = fine.quantiles[:, part.grid.first : part.grid.first + count * ratio, 1]
        np.testing.assert_allclose(told.quantiles[..., 1], inside.reshape(3, count, ratio).mean(axis=2), rtol=1e-12)
        known = [0, 1, 2] if not missing else [0, 2]
        assert np.isfinite(told.quantiles[known]).all()
        assert (np.diff(told.quantiles[known], axis=2) >= 0).all()


def test_widths_are_those_of_means_and_not_means_of_widths():
    """Noise that is different in every step nearly goes away in a day's mean."""
    values = load(20)
    fine, (day,) = granularity.forecast(values, [86400], horizon=96, end=MIDNIGHT, **ASKED)
    told = granularity.settled(day, fine).quantiles
    narrow, wide = told[:, 0, 2] - told[:, 0, 0], (fine.quantiles[..., 2] - fine.quantiles[..., 0]).mean(axis=1)
    assert (narrow < 0.5 * wide).all()


def test_the_backtest_is_of_the_coarser_step():
    fine, (hour,) = granularity.forecast(load(20), [3600], horizon=96, end=MIDNIGHT, **ASKED)
    for told, finer in zip(hour.forecast.backtest, fine.backtest, strict=True):
        assert told["windows"] == 6
        assert told["days"] > 10
        assert 0 < told["wape"] < finer["wape"]
        assert 0.75 < told["coverage"]["0.9"] <= 1


def test_the_hours_are_believed_where_they_were_nearer():
    """Most steps of a series are idle, and one an hour is not: the means of its medians are far below the hour's."""
    rng = np.random.default_rng(3)
    place = rng.integers(0, 4, 20 * 24) + 4 * np.arange(20 * 24)
    values = np.full((1, 20 * 96), 1.0)
    values[0, place] = 10.0
    values *= 1 + 0.01 * rng.random(values.shape)
    fine, (hour,) = granularity.forecast(values, [3600], horizon=96, end=MIDNIGHT, **ASKED)
    told = granularity.settled(hour, fine).quantiles[0, :, 1]
    plain = granularity.api.forecast(values, horizon=96, end=MIDNIGHT, **ASKED).quantiles[0, :, 1]
    assert plain.mean() < 1.5
    assert np.abs(told - 3.25).mean() < 0.2
    assert hour.forecast.model[0] != granularity.MEAN


@pytest.mark.parametrize(
    ("coarser", "message"),
    [
        (900, "coarser_steps: 15 min is not a multiple of the step of 15 min"),
        (1000, "coarser_steps: .* is not a multiple"),
        (86400, "coarser_steps: no whole step of 24 h fits into the 12 h ahead"),
    ],
)
def test_steps_that_can_not_be_told_are_named(coarser, message):
    with pytest.raises(InvalidOption, match=message):
        granularity.forecast(load(3), [coarser], horizon=48, end=MIDNIGHT, **ASKED)
