# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.history.grid import to_grid
from hypothesis import given
from hypothesis import strategies as st

GRID = {"first": 0, "last": 1200, "step_seconds": 300}
TIMES = np.array([10.0, 300.0, 301.0, 599.0, 1200.0])
VALUES = np.array([1.0, 3.0, 10.0, 30.0, 7.0])


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("mean", [2, 20, np.nan, 7]), ("max", [3, 30, np.nan, 7]), ("last", [3, 30, np.nan, 7])],
)
def test_a_sample_belongs_to_the_step_that_ends_at_or_after_it(aggregation, expected):
    np.testing.assert_array_equal(to_grid(TIMES, VALUES, **GRID, aggregation=aggregation), expected)
    shuffled = np.array([3, 0, 4, 2, 1])
    np.testing.assert_array_equal(to_grid(TIMES[shuffled], VALUES[shuffled], **GRID, aggregation=aggregation), expected)


def test_nan_is_no_sample_and_a_stamp_counts_once():
    row = to_grid([10, 10, 20], [1.0, 5.0, np.nan], **GRID, aggregation="mean")
    np.testing.assert_array_equal(row, [5, np.nan, np.nan, np.nan])
    row = to_grid([10, 310, 610], [np.inf, -np.inf, 1.0], **GRID, aggregation="max")
    np.testing.assert_array_equal(row, [np.nan, np.nan, 1, np.nan])
    assert np.isnan(to_grid([], [], **GRID, aggregation="mean")).all()


def test_a_rate_survives_resets_and_stops_at_gaps():
    times = np.arange(0, 1201, 60.0)
    count = times * 2.0
    count[11:] -= count[11] - 2.0 * 60
    row = to_grid(times, count, **GRID, aggregation="rate")
    np.testing.assert_allclose(row, 2.0)
    holed = (times <= 240) | (times >= 960)
    row = to_grid(times[holed], times[holed] * 2.0, **GRID, aggregation="rate")
    assert np.isnan(row).tolist() == [True, True, True, True]


@given(
    st.lists(st.tuples(st.integers(-600, 2000), st.floats(-1e6, 1e6)), max_size=60),
    st.sampled_from(["mean", "max", "last"]),
)
def test_against_a_plain_loop(samples, aggregation):
    kept = dict(samples)
    expected = []
    for end in range(300, 1201, 300):
        inside = [value for stamp, value in sorted(kept.items()) if end - 300 < stamp <= end]
        fold = {"mean": lambda block: sum(block) / len(block), "max": max, "last": lambda block: block[-1]}[aggregation]
        expected.append(fold(inside) if inside else np.nan)
    times, values = [stamp for stamp, _value in samples], [value for _stamp, value in samples]
    np.testing.assert_allclose(to_grid(times, values, **GRID, aggregation=aggregation), expected, atol=1e-6)
