# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import regression
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.calibration import calibrate, put_in_order
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.intervals import quantiles_known


def test_one_more_value_is_below_as_often_as_the_level_says():
    values = np.random.default_rng(0).random((20000, 20))
    known, more = values[:, :19], values[:, 19:]
    levels = (0.1, 0.5, 0.9)
    told = quantiles_known(known, levels, unseen=1)
    np.testing.assert_allclose((more <= told).mean(axis=0), levels, atol=0.01)
    assert (more <= quantiles_known(known, levels)).mean(axis=0)[2] < 0.88
    gaps = np.hstack([known, np.full((len(known), 3), np.nan)])
    np.testing.assert_array_equal(quantiles_known(gaps, levels, unseen=1), told)


def test_a_calibrated_quantile_covers_what_comes():
    rng = np.random.default_rng(1)
    actual = rng.normal(size=(2000, 12, 4))
    tested = np.broadcast_to(np.array([0.0, 0.1]), (2000, 12, 4, 2)).copy()
    ahead = np.broadcast_to(np.array([0.0, 0.1]), (2000, 10, 2)).copy()
    calibrate(ahead, actual, tested, (0.5, 0.9), [slice(0, 6), slice(6, 12)])
    assert (rng.normal(size=(2000, 10)) <= ahead[..., 1]).mean() == pytest.approx(0.9, abs=0.01)
    assert (actual <= tested[..., 1]).mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("levels", [1, 2, 5, 9])
def test_levels_are_put_in_order_however_they_lie_in_memory(levels):
    values = np.random.default_rng(0).normal(size=(levels, 7, 3))
    told, last = np.moveaxis(values.copy(), 0, -1), np.moveaxis(values, 0, -1).copy()
    put_in_order(told)
    put_in_order(last)
    np.testing.assert_array_equal(told, np.sort(np.moveaxis(values, 0, -1), axis=-1))
    np.testing.assert_array_equal(told, last)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.999])
def test_no_rounding_decides_how_much_a_sample_weighs(level):
    errors = np.linspace(-1, 1, 200001, dtype=np.float32)
    weights = regression._reweight(errors, level, np.ones_like(errors))
    assert np.abs(np.diff(weights)).max() < 1e-3
    away = np.abs(errors) >= regression.CLOSEST
    slopes = np.where(errors > 0, level, 1 - level)
    np.testing.assert_allclose((weights * np.abs(errors))[away], slopes[away], rtol=1e-4)
