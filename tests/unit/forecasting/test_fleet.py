# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the series of a fleet have in common, and what each has of its own."""

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import fleet, forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.candidates import Layout
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.problem import Problem
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.regression import Fleet, fit_own

DAY = 24
ASKED = dict(step_seconds=3600, horizon=24, quantiles=(0.1, 0.5, 0.9))


def mixed(half: int = 30, days: int = 21, seed: int = 0) -> np.ndarray:
    """Servers that keep their level for days, then others that repeat their days."""
    rng = np.random.default_rng(seed)
    length = days * DAY
    steady = np.repeat(rng.uniform(10, 50, (half, days)), DAY, axis=1) + rng.normal(0, 0.1, (half, length))
    daily = 30 + 10 * np.sin(2 * np.pi * np.arange(length) / DAY + rng.uniform(0, 6, (half, 1)))
    return np.concatenate([steady, daily + rng.normal(0, 0.1, (half, length))])


def groups(values: np.ndarray) -> list[list[int]]:
    problem = Problem(values, 3600, 24, (0.5,), None, "UTC", 0)
    layout = Layout.of(values.shape[1], DAY, 7 * DAY, None)
    return [rows.tolist() for rows, _period in fleet._groups(problem, *fleet.location_and_scale(values), layout)]


def test_a_large_fleet_leans_in_two_halves_by_what_repeats():
    values = mixed()
    assert groups(values) == [list(range(30, 60)), list(range(30))]
    assert groups(values * 1000 - 5) == groups(values)


@pytest.mark.parametrize("values", [mixed(half=20), np.repeat(mixed(half=1), 30, axis=0)[:30], np.ones((60, 500))])
def test_few_series_and_series_that_are_alike_stay_together(values):
    assert groups(values) == [list(range(len(values)))]


def test_missing_samples_do_not_decide_who_leans_on_whom():
    values = mixed()
    values[:, 100:140] = np.nan
    values[3] = np.nan
    values[3, -1] = 1.0
    low, high = groups(values)
    assert 3 in low  # nothing is known of it; the one nearest to the others has to change sides for it
    assert len(set(low) - {3} - set(range(30, 60))) == 0
    assert len(set(high) - set(range(30))) == 1


def test_order_of_a_large_fleet_does_not_matter():
    values = mixed()
    order = np.random.default_rng(1).permutation(len(values))
    plain, shuffled = forecast(values, **ASKED).quantiles, forecast(values[order], **ASKED).quantiles
    np.testing.assert_allclose(shuffled, plain[order], rtol=1e-3, atol=0.02)


def test_what_held_long_ago_is_left_out_where_it_holds_no_longer():
    """Two candidates and a constant; the first told what came in the older half, the second in the newer."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 3, 600)).astype(np.float32)
    x[:, 2] = 1
    y = np.where(np.arange(600) < 300, x[:, 0], x[:, 1]).astype(np.float32)
    folds = [slice(low, low + 100) for low in range(0, 600, 100)]
    prior = Fleet(np.array([0.5, 0.5, 0], dtype=np.float32), np.eye(3, dtype=np.float32))
    all_of_it, told = fit_own(x, y, np.ones_like(y), 0.5, prior, folds)
    both, told_by_both = fit_own(x, y, np.ones_like(y), 0.5, prior, folds, newest=(0, 3))
    assert (np.abs(both[:, :2] - [0, 1]).sum(axis=1) < np.abs(all_of_it[:, :2] - [0, 1]).sum(axis=1)).all()
    assert told.shape == told_by_both.shape == y.shape


def test_a_fold_is_told_by_weights_that_have_not_seen_it():
    """Whatever is in the last fold, what is said of it stays: also where the history begins with it."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, 60)).astype(np.float32)
    y = rng.normal(size=(2, 60)).astype(np.float32)
    known = np.ones_like(y)
    folds = [slice(low, low + 10) for low in range(0, 60, 10)]
    known[:, folds[-1]] = 0
    prior = Fleet(np.zeros(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    _own, told = fit_own(x, y, known, 0.5, prior, folds, newest=(0, 2, 5))
    y[:, folds[-1]] += 100
    _own, again = fit_own(x, y, known, 0.5, prior, folds, newest=(0, 2, 5))
    np.testing.assert_array_equal(told[:, folds[-1]], again[:, folds[-1]])


def test_daily_steps_have_an_answer():
    values = 10 + 3 * (np.arange(60) % 7 < 5) + np.random.default_rng(0).normal(0, 0.1, (2, 60))
    answer = forecast(values, step_seconds=86400, horizon=14, quantiles=(0.1, 0.5, 0.9))
    assert np.isfinite(answer.quantiles).all()


def test_a_short_burst_is_not_believed_half_a_day_later():
    """A lonely server's last quarter of an hour is ten times its peak; that night is as other nights, or nearly."""
    hours = np.arange(30 * 288) / 12
    values = (
        420 + 300 * np.cos(2 * np.pi * (hours - hours[-1]) / 24) + np.random.default_rng(0).normal(0, 5, len(hours))
    )
    values[-3:] = 5000
    answer = forecast(values[None], step_seconds=300, horizon=144, quantiles=(0.5, 0.99))
    assert answer.quantiles[0, 120:, 1].max() < 600
