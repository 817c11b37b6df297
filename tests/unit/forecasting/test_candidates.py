# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.candidates import (
    Layout,
    candidates,
    network,
    quantiles_across,
    quantiles_of,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.data())
def test_the_network_puts_each_rank_asked_for_where_it_belongs(data):
    count = data.draw(st.integers(1, 40))
    ranks = frozenset(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    values = data.draw(st.permutations(range(count)))
    ordered = list(values)
    for one, other in network(count, ranks):
        assert one < other
        ordered[one], ordered[other] = sorted((ordered[one], ordered[other]))
    assert all(ordered[rank] == rank for rank in ranks)


def test_the_network_makes_no_comparison_that_no_rank_depends_on():
    assert network(1, frozenset([0])) == []
    assert len(network(8, frozenset(range(8)))) == 19  # the least there is
    assert len(network(21, frozenset([20]))) < len(network(21, frozenset(range(21))))


@pytest.mark.parametrize("count", [1, 2, 6, 7, 21])
def test_quantiles_across_are_those_of_each_column(count):
    values = np.random.default_rng(count).standard_normal((count, 3, 5)).astype(np.float32)
    levels = (0.001, 0.1, 0.5, 0.9, 0.999)
    across = quantiles_across(values, levels)
    np.testing.assert_array_equal(across, quantiles_of(np.moveaxis(values, 0, -1), levels))
    assert across.shape == (5, 3, 5)
    if count > 1:
        median = np.median(values, axis=0)
        np.testing.assert_allclose(across[2], median, rtol=1e-5, atol=1e-6)


def test_each_candidate_looks_where_its_name_says():
    """Of a series that tells its own column, hourly, at a moment five weeks in and thirty hours ahead."""
    day, week, known, ahead = 24, 168, 5 * 168, 30
    values = np.arange(known, dtype=np.float32)[None]
    layout = Layout.of(known, day, week, None)
    told = candidates(values, np.array([known]), np.array([ahead]), layout, (0.5,))[0, :, 0, 0, 0]
    told = dict(zip(layout.names, told.tolist(), strict=True))
    target = known + ahead - 1
    assert told["newest"] == known - 1
    assert told["yesterday"] == target - 2 * day
    assert told["days"] == told["days near"] == target - 2 * day - 3 * day
    assert told["last week"] == target - week
    assert told["weeks near"] == target - week - week / 2
    assert told["yesterday at this level"] == target - 2 * day + day
    assert told["days alike"] == target - 4 * day  # nearest are 2, 3, 7, 4, 5 days ago: the weekday counts twice
    assert told["days alike at this level"] == pytest.approx(target, abs=0.1)
    assert told["last week at this level"] == pytest.approx(target - week + week, abs=1)
    assert told["constant"] == 1
