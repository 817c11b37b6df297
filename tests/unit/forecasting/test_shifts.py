# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import hypothesis
import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast, seasonal_naive, shifts
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.problem import Backtest, Problem
from hypothesis import strategies as st

LEVELS = (0.01, 0.5, 0.9, 0.99)


def days(count: int = 20, *, step: int = 300, rows: int = 1, noise: float = 2.0, seed: int = 0) -> np.ndarray:
    """Series around 50 that swing by 10 a day, shape (rows, time)."""
    time = np.arange(count * 86400 // step) * step / 86400
    return 50 + 10 * np.cos(2 * np.pi * time) + np.random.default_rng(seed).normal(0, noise, (rows, len(time)))


def asked(values: np.ndarray, step: int = 300, levels: tuple[float, ...] = LEVELS) -> Problem:
    return Problem(values, step, 288, levels)


def found(values: np.ndarray, step: int = 300) -> list[tuple[int, int, int]]:
    """Row, samples since, and the shift, rounded to tens."""
    shifts_ = shifts.find(asked(values, step))
    return [
        (int(row), int(since), round(by, -1))
        for row, since, by in zip(shifts_.rows, shifts_.since, shifts_.by, strict=True)
    ]


@pytest.mark.parametrize("step", [10, 60, 300, 420, 900, 3600])
@pytest.mark.parametrize("by", [100, -30])
def test_a_level_that_lasts_is_found_to_the_sample(step, by):
    values = days(12, step=step, rows=3)
    since = 5 * 3600 // step + (7 if step < 900 else 0)
    values[1, -since:] += by
    ((row, lasted, moved),) = found(values, step)
    assert (row, moved) == (1, by)
    assert abs(lasted - since) <= 1


def test_a_day_of_few_steps_has_blocks_of_one():
    values = np.tile([10.0, 11, 12, 11], 40)[None, :]
    values[0, -5:] += 7
    assert found(values, 6 * 3600) == [(0, 5, 10)]
    assert found(values[:, :-3], 6 * 3600) == []


@pytest.mark.parametrize("samples", [1, 3, 12, 24])
def test_a_burst_is_not_a_level(samples):
    values = days()
    values[0, -samples:] += 100
    assert found(values) == []


def test_what_has_ended_is_no_level():
    values = days()
    values[0, -12 * 12 : -6] += 100
    assert found(values) == []


def test_it_has_to_last_twice_as_long_as_anything_like_it():
    values = days()
    values[0, 1000:1072] += 80  # six hours, once
    values[0, -8 * 12 :] += 100
    assert found(values) == []
    values[0, -14 * 12 :] = days()[0, -14 * 12 :] + 100
    assert found(values) == [(0, 14 * 12, 100)]


def test_nights_and_weekends_are_no_levels():
    values = days(28)
    weekend = np.arange(28 * 288) // 288 % 7 >= 5
    values[0, weekend] -= 30
    for end in range(21 * 288, 28 * 288, 36):
        assert found(values[:, :end]) == [], end


def test_what_rises_slowly_or_swings_is_no_level():
    values = days(rows=3)
    values[0] += np.linspace(0, 200, values.shape[1])
    values[1, -600:] += np.linspace(0, 200, 600)
    values[2] += 100 * np.sin(np.arange(values.shape[1]) / 900)
    assert found(values) == []


def test_without_a_shift_there_is_none():
    values = np.concatenate([days(rows=50, noise=noise, seed=int(noise)) for noise in (0, 1, 10, 40)])
    assert found(values) == []
    assert found(np.full((2, 4000), 0.1)) == []


def test_a_short_history_knows_no_weekend():
    values = days(9)
    values[0, -72:] += 100
    assert found(values) == []


def test_gaps_neither_make_nor_hide_a_level():
    values = days()
    values[0, -100:] += 100
    values[0, 3000:3500] = np.nan
    values[0, -50:-20] = np.nan
    values[0, ::7] = np.nan
    assert [(row, by) for row, _since, by in found(values)] == [(0, 100)]
    values = days()
    values[0, -1000:] = np.nan
    assert found(values) == []


@pytest.mark.parametrize(("samples", "missing"), [(12, 60), (30, 12), (30, 300)])
def test_a_burst_before_a_gap_is_no_level_however_long_nothing_comes(samples, missing):
    values = days()
    values[0, -samples - missing :] += 100
    values[0, -missing:] = np.nan
    assert found(values) == []


@hypothesis.given(
    move=st.floats(-1e4, 1e4), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 50), since=st.integers(36, 2000)
)
def test_shifts_move_and_scale_with_their_series(move, scale, seed, since):
    values = days(seed=seed, rows=2)
    values[1, -since:] += 100
    one, other = shifts.find(asked(values)), shifts.find(asked(move + scale * values))
    np.testing.assert_array_equal(other.rows, one.rows)
    np.testing.assert_array_equal(other.since, one.since)
    np.testing.assert_allclose(other.by, scale * one.by, rtol=1e-6)


@pytest.mark.parametrize("model", ["auto", "fleet"])
@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize(("hours", "tomorrow"), [(4, 0.5), (30, 0.9)])
def test_a_new_level_is_carried_on_and_may_end(model, rows, hours, tomorrow):
    values = days(rows=rows)
    values[-1, -hours * 12 :] += 100
    usual = 50 + 10 * np.cos(2 * np.pi * np.arange(values.shape[1], values.shape[1] + 288) / 288)
    answer = forecast(values, step_seconds=300, horizon=288, quantiles=(*LEVELS, tomorrow), model=model)
    ahead = answer.quantiles[-1] - usual[:, None]
    assert np.abs(ahead[:60, answer.levels.index(0.5)] - 100).max() < 10
    assert np.abs(ahead[-1, answer.levels.index(tomorrow)] - 100).max() < 10
    assert ahead[:, -1].max() < 125  # wide, not absurd
    assert ahead[-1, 0] < 15  # as it was before
    told = " ".join(answer.warnings[-1])
    assert (hours > 24 and not told) or re.fullmatch(
        rf"its level has been (100|99\.\d|10\d) higher for {hours} h, longer than ever before; it is taken to last another "
        rf"{hours} h with a probability of 90%",
        told,
    )
    assert not any(answer.warnings[:-1])


def test_other_models_are_as_they_were():
    values = days()
    values[0, -60:] += 100
    answer = forecast(values, step_seconds=300, horizon=288, quantiles=(0.5,), model="seasonal_naive")
    np.testing.assert_array_equal(answer.quantiles, seasonal_naive.predict(asked(values, levels=(0.5,))).quantiles)
    assert answer.warnings == [[]]


def test_the_backtest_is_of_the_series_as_it_was():
    values = days(rows=2)
    since = 2 * 288
    values[1, -since:] += 100
    answer = forecast(values, step_seconds=300, horizon=288, quantiles=LEVELS)
    test, begin = answer.tested, values.shape[1] - since
    column = np.minimum(test.origins[:, None] + test.ahead - 1, values.shape[1] - 1)
    seen = ~np.isnan(test.actual)
    np.testing.assert_allclose(test.actual[seen], values[:, column][seen], rtol=1e-5)
    told = (test.origins[:, None] <= begin) & (column >= begin)
    assert told.any() and not seen[1][told].any()
    assert seen[0][told].any()
    assert np.nanmax(np.abs(test.median - test.actual)) < 20
    assert 0 < answer.backtest[1]["mase"] < 1


def test_what_was_known_at_the_shift_is_put_back():
    actual = np.array([[[6.0], [17], [18]]])
    tested = Backtest(np.array([5, 7, 8]), actual, actual + 1, np.stack([actual, actual + 2], axis=-1), np.array([1]))
    moved = shifts.Shifts(np.array([0]), np.array([2]), np.array([10.0]))
    back = shifts._put_back(tested, asked(np.zeros((1, 10))), moved)
    np.testing.assert_array_equal(back.actual.ravel(), [-4, 7, np.nan])
    np.testing.assert_array_equal(back.median.ravel(), [-3, 8, 19])
    np.testing.assert_array_equal(back.quantiles[..., 1].ravel(), [-2, 9, 20])


@hypothesis.given(
    values=st.lists(st.floats(-100, 100), min_size=3, max_size=3),
    by=st.floats(-300, 300).filter(lambda by: abs(by) > 1e-3),
    share=st.floats(0, 1),
    levels=st.sampled_from([(0.1, 0.5, 0.9), (0.5, 0.9, 0.99), (0.2, 0.5, 0.9), (0.9, 0.95, 0.99)]),
)
def test_a_mixture_is_between_both_and_rises(values, by, share, levels):
    quantiles = np.sort(values)[None, None, :]
    mixed = shifts._mixture(quantiles, levels, np.array([[[by]]]), np.array([[[share]]]))
    assert (np.diff(mixed[0, 0]) >= -1e-9).all()
    reach = 0.5 * (quantiles.max() - quantiles.min()) + 0.02 * abs(by) + 1e-6
    assert (mixed >= np.minimum(quantiles, quantiles - by) - reach).all()
    assert (mixed <= np.maximum(quantiles, quantiles - by) + reach).all()


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("by", [30.0, -30.0, 1.5])
def test_a_mixture_has_the_quantiles_of_its_samples(share, by):
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    samples = np.linspace(0, 10, 20001)
    quantiles = np.quantile(samples, levels)[None, None, :]
    mixed = shifts._mixture(quantiles, levels, np.array([[[by]]]), np.array([[[share]]]))[0, 0]
    both = np.concatenate([np.repeat(samples, round(100 * share)), np.repeat(samples - by, round(100 - 100 * share))])
    np.testing.assert_allclose([(both <= value).mean() for value in mixed], levels, atol=0.03)


def test_one_level_is_one_of_both():
    quantiles = np.full((1, 2, 1), 100.0)
    mixed = shifts._mixture(quantiles, (0.5,), np.array([[[60.0]]]), np.array([[[0.7], [0.3]]]))
    np.testing.assert_allclose(mixed.ravel(), [100, 40], atol=2)


def test_the_longer_it_lasted_the_longer_it_lasts():
    lasting = shifts.Shifts(np.arange(2), np.array([36, 360]), np.ones(2)).lasting(np.array([36, 360]))
    np.testing.assert_allclose(lasting[[0, 1], [0, 1]], 0.5**shifts.LASTING)
    assert lasting[0, 1] < lasting[0, 0] < lasting[1, 0] < 1
