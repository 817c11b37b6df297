# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import fleet, forecast, regression, typical
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.candidates import Layout


def names(days: float, day: int = 288) -> list[str]:
    return Layout.of(round(days * day), day, 7 * day, None).names


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("stretch", range(len(fleet.EDGES) + 1))
@pytest.mark.parametrize("level", [0.001, 0.5, 0.9, 0.999])
def test_every_candidate_of_every_layout_has_a_weight(coarse, stretch, level):
    for days in (2, 4, 8, 20, 60):
        for day in (24, 48, 96, 288, 1440):
            some = names(days, day)
            weights = typical.weights(some, coarse, stretch, level)
            assert weights.shape == (len(some),)
            assert weights.dtype == np.float32
            assert np.abs(weights).max() < 2
            assert -0.2 < weights[:-1].sum() < 1.5


def test_the_candidates_are_those_of_a_long_history():
    some = names(30)
    assert len(some) == len(typical.NAMES)
    assert [one for one, other in zip(some, typical.NAMES, strict=True) if one != other] == [
        "newest 12", "newest 72", "newest 288", "newest 2016",
    ]  # fmt: skip
    row = typical.weights(some, False, 1, 0.5)
    np.testing.assert_allclose(row, typical.WEIGHTS[False, 1][typical.LEVELS.index(0.5)])


def test_levels_in_between_are_in_between_and_farther_ones_as_the_last():
    some = names(30)
    rows = np.array(typical.WEIGHTS[True, 0])
    np.testing.assert_allclose(typical.weights(some, True, 0, 0.825), (rows[4] + rows[5]) / 2, atol=1e-6)
    np.testing.assert_allclose(typical.weights(some, True, 0, 0.9999), rows[-1], atol=1e-6)


def test_the_newest_sample_says_nothing_of_what_is_hours_away():
    some = names(30)
    near, far = (typical.weights(some, False, stretch, 0.9)[:3].sum() for stretch in (0, 3))
    assert near > 0.5
    assert far < 0.15


def test_a_history_without_a_day_has_none():
    assert typical.weights(names(1), False, 0, 0.5) is None


@pytest.mark.parametrize(("series", "least", "most"), [(1, 0.5, 1.0), (3, 0.05, 0.6), (100, 0.0, 0.01)])
def test_the_fewer_series_there_are_the_more_what_is_common_counts(series, least, most):
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (6, series, 200)).astype(np.float32)
    x[-1] = 1
    own = np.array([1, 0, 0, 0, 0, 0], dtype=np.float32)
    common = np.array([0, 1, 0, 0, 0, 0], dtype=np.float32)
    y = np.tensordot(own, x, 1) + random.normal(0, 0.1, (series, 200)).astype(np.float32)
    known = np.ones_like(y)
    alone = regression.fit_fleet(x, y, known, 0.5).weights
    leant = regression.fit_fleet(x, y, known, 0.5, common).weights
    way = np.abs(leant - alone).sum() / np.abs(common - alone).sum()
    assert least <= way <= most


def test_a_single_series_is_nearer_and_covered_for_it(monkeypatch):
    """On series that are like none the weights come from: a day that is longer on some days, and noise that lasts."""
    time = np.arange(21 * 288) / 288
    errors, below = {}, {}
    series = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        noise = np.convolve(random.normal(0, 1, len(time) + 99), 0.97 ** np.arange(100), "valid")
        series.append(40 + 8 * np.sin(2 * np.pi * time) ** 3 * (1 + 0.3 * random.normal(0, 1, 21).repeat(288)) + noise)
    for common in (0.0, regression.COMMON):
        monkeypatch.setattr(regression, "COMMON", common)
        quantiles = [
            forecast(one[None, :-288], step_seconds=300, horizon=288, quantiles=(0.5, 0.95)).quantiles[0]
            for one in series
        ]
        actual = np.stack(series)[:, -288:]
        errors[common] = np.abs(actual - np.stack(quantiles)[..., 0]).mean()
        below[common] = (actual <= np.stack(quantiles)[..., 1]).mean()
    assert errors[regression.COMMON] < 0.97 * errors[0.0]
    assert below[0.0] < 0.95 <= below[regression.COMMON] < 0.98


def test_a_smooth_series_does_not_lean():
    """Its own past tells more than any other's: the held-out loss says so."""
    time = np.arange(21 * 288) / 288
    values = 50 + 10 * np.cos(2 * np.pi * time) * (1 + 0.8 * (time // 1 % 7 < 5))
    values += np.random.default_rng(0).normal(0, 0.1, len(time))
    median = forecast(values[None, :-288], step_seconds=300, horizon=288, quantiles=(0.5,)).quantiles[0, :, 0]
    assert np.abs(median - values[-288:])[3:].mean() < 0.2
