# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default model is chosen for each series and stretch ahead."""

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import auto, forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.problem import stretches

ASKED = dict(step_seconds=3600, horizon=48, quantiles=(0.1, 0.5, 0.9))


def jobs(rows: int = 24, days: int = 12, seed: int = 8) -> np.ndarray:
    """Idle hours between jobs at some hours of the day, which a few days skip, and a level that walks."""
    rng = np.random.default_rng(seed)
    day = np.tile(rng.exponential(5, (rows, 24)) * (rng.random((rows, 24)) < 0.4), days)
    there = np.repeat(rng.random((rows, days)) < 0.95, 24, axis=1)
    there = there * rng.uniform(0.99, 1.01, day.shape)
    return 1 + day * there + 0.05 * rng.normal(size=day.shape).cumsum(axis=1) * (np.arange(rows) % 2)[:, None]


def test_no_stretch_is_worse_than_seasonal_naive_and_the_figures_say_who_carried_it():
    values = jobs()
    answer, fleet = forecast(values, **ASKED), forecast(values, model="fleet", **ASKED)
    mixed = shared = 0
    for row, told in enumerate(answer.backtest):
        parts = told["by_horizon"]
        assert [part["until_seconds"] for part in parts] == [3 * 3600, 48 * 3600]
        assert all(part["mase"] <= part["seasonal_naive_mase"] + 1e-6 for part in parts)
        assert answer.model[row] == ", ".join(dict.fromkeys(part["model"] for part in parts))
        mixed += len({part["model"] for part in parts}) > 1
        for part, before in zip(parts, fleet.backtest[row]["by_horizon"], strict=True):
            worse = before["seasonal_naive_mase"] < before["mase"]
            assert part["model"] in (("seasonal_naive", "fleet and seasonal_naive") if worse else ("fleet",))
            assert worse or part["mase"] == pytest.approx(before["mase"], rel=1e-5)
            begin, end = part["until_seconds"] // 3600 - 1, part["until_seconds"] // 3600
            assert worse or (answer.quantiles[row, begin:end] == fleet.quantiles[row, begin:end]).all()
            shared += part["model"] == "fleet and seasonal_naive"
    assert 0 < mixed < len(values)
    assert shared
    assert (np.diff(answer.quantiles, axis=2) >= 0).all()


def test_no_more_of_seasonal_naive_is_taken_than_it_needs():
    """Errors that cancel: a third of the way is better than either end, and a twentieth is no worse than the far one."""
    rng = np.random.default_rng(0)
    actual = rng.normal(size=(3, 60, 4))
    again = actual + np.array([1.0, 1.0, 0.0])[:, None, None]
    median = actual - np.array([1.02, 3.0, 1.0])[:, None, None]
    share = auto._share(actual, median, again)
    assert share.tolist() == [0.05, 0.5, 1.0]


def test_the_figures_do_not_hang_on_the_quantiles_asked_for():
    values = jobs()
    with_median, without = (
        forecast(values, **{**ASKED, "quantiles": levels}).backtest for levels in ((0.1, 0.5, 0.9), (0.1, 0.9))
    )
    for one, other in zip(with_median, without, strict=True):
        assert one["mase"] == pytest.approx(other["mase"], rel=1e-5)


def test_a_single_model_carries_every_stretch():
    told = forecast(jobs(rows=1), model="seasonal_naive", **ASKED).backtest[0]["by_horizon"]
    assert {part["model"] for part in told} == {"seasonal_naive"}
    assert told[-1]["until_seconds"] == 48 * 3600


@pytest.mark.parametrize(
    ("ahead", "horizon", "cuts", "ends"),
    [
        ([1, 2, 3, 4, 5, 45, 86, 288], 288, [0, 3], [3, 288]),
        ([1], 1, [0], [1]),
        ([1, 2, 3, 4], 700, [0, 3], [3, 700]),
        ([1, 3, 100], 100, [0, 2], [3, 100]),
        ([50, 100], 100, [0], [100]),
        ([1, 2], 10, [0], [10]),
    ],
)
def test_stretches_that_are_told_apart_are_tested(ahead, horizon, cuts, ends):
    assert stretches(np.array(ahead), horizon) == (cuts, ends)
