# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from hypothesis import given, settings
from hypothesis import strategies as st

START = datetime.datetime(2026, 3, 29, 0, 5, tzinfo=datetime.UTC)
LEVELS = (0.1, 0.5, 0.9, 0.99)


def item(rows, levels=LEVELS, **changes):
    """A forecast as the module returns it, from rows (steps, levels)."""
    quantiles = {str(level): [row[place] for row in rows] for place, level in enumerate(levels)}
    return {"pool": "web", "start": "2026-03-29T00:05:00Z", "step_seconds": 300, "quantiles": quantiles, **changes}


demands = st.lists(
    st.lists(st.floats(0, 1e6) | st.integers(0, 5).map(float), min_size=4, max_size=4), min_size=1, max_size=6
)
quick = settings(max_examples=40)


@quick
@given(demands, st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_higher_probability_never_reads_a_lower_demand(rows, one, other):
    forecast = DemandForecast.from_item(item(rows))
    low, high = sorted((one, other))
    assert (forecast.level(low) <= forecast.level(high) * (1 + 1e-12)).all()


@quick
@given(demands)
def test_the_quantiles_given_are_read_back_whatever_their_order(rows):
    forecast = DemandForecast.from_item(item(rows))
    expected = np.sort(np.array(rows), axis=1)
    for place, level in enumerate(LEVELS):
        assert forecast.level(level) == pytest.approx(expected[:, place])


@quick
@given(demands, st.floats(0.1, 0.99))
def test_what_is_not_exceeded_with_a_probability_is_exceeded_with_no_more_than_the_rest(rows, probability):
    forecast = DemandForecast.from_item(item(rows))
    above = forecast.level(probability) * (1 + 1e-9) + 1e-9
    assert (forecast.exceedance(above) <= 1 - probability + 1e-6).all()


@quick
@given(demands, st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_capacity_is_never_exceeded_more_often(rows, one, other):
    forecast = DemandForecast.from_item(item(rows))
    low, high = sorted((one, other))
    assert (forecast.exceedance(low) >= forecast.exceedance(high) - 1e-12).all()


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.77, 0.9, 0.95, 0.99])
def test_exceedance_is_the_inverse_where_quantiles_rise(probability):
    forecast = DemandForecast.from_item(item([[10.0, 20.0, 40.0, 90.0], [1.0, 2.0, 3.0, 4.0]]))
    assert forecast.exceedance(forecast.level(probability)) == pytest.approx(1 - probability)


def test_beyond_the_outermost_quantiles_it_claims_no_more_certainty_than_they_do():
    forecast = DemandForecast.from_item(item([[10.0, 20.0, 40.0, 90.0]]))
    assert forecast.exceedance(1e9) == pytest.approx(0.01)
    assert forecast.exceedance(9.99) == 1
    assert forecast.level(0.9999) == 90
    assert forecast.level(0.001) == 10


def test_equal_quantiles_are_exceeded_as_seldom_as_the_highest_of_them_says():
    forecast = DemandForecast.from_item(item([[0.0, 0.0, 0.0, 5.0], [7.0, 7.0, 7.0, 7.0]]))
    assert forecast.exceedance(np.array([0.0, 7.0])) == pytest.approx([0.1, 0.01])


def test_a_risk_smaller_than_the_forecast_knows_is_refused():
    forecast = DemandForecast.from_item(item([[10.0, 20.0, 40.0, 90.0]]))
    assert forecast.bound(0.01) == 90
    with pytest.raises(InvalidOption, match=r"^forecasts: .*0\.99, .* risk of 0\.001.*quantile 0\.999"):
        forecast.bound(0.001)


def test_a_single_level():
    forecast = DemandForecast.from_item(item([[3.0], [4.0]], levels=(0.9,)))
    assert forecast.level(0.5) == pytest.approx([3, 4])
    assert forecast.exceedance(3.0) == pytest.approx([0.1, 1])


@pytest.mark.parametrize("step", range(3))
def test_a_step_begins_where_the_one_before_ends(step):
    forecast = DemandForecast.from_item(item([[1.0, 2.0, 3.0, 4.0]] * 3))
    begin = forecast.begin_of(step)
    assert forecast.step_at(begin) == step
    assert forecast.step_at(begin + datetime.timedelta(seconds=299)) == step
    assert forecast.step_at(begin + datetime.timedelta(seconds=300)) == step + 1
    assert forecast.step_at(START - datetime.timedelta(days=1)) == 0
    assert forecast.end == forecast.begin_of(3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantiles": {}},
        {"quantiles": {"0.5": []}},
        {"quantiles": {"0.5": 3.0}},
        {"quantiles": {"0.5": [1.0], "0.9": [1.0, 2.0]}},
        {"quantiles": {"0.5": [1.0], "0.50": [1.0]}},
        {"quantiles": {"0.5": [float("nan")]}},
        {"quantiles": {"0": [1.0]}},
        {"quantiles": {"1": [1.0]}},
        {"quantiles": {"nan": [1.0]}},
        {"quantiles": {"median": [1.0]}},
        {"quantiles": [1.0]},
        {"step_seconds": 0},
        {"step_seconds": float("inf")},
        {"start": "soon"},
    ],
)
def test_what_is_no_forecast_is_refused(wrong):
    with pytest.raises(InvalidOption, match="^forecasts|is not a time"):
        DemandForecast.from_item(item([[1.0, 2.0, 3.0, 4.0]], **wrong))
