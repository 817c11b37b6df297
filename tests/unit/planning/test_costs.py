# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import statistics

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import costs
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from scipy import stats

NOW = datetime.datetime(2026, 3, 29, tzinfo=datetime.UTC)
LEVELS = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999])


def pool(**slo):
    standby = {"servers": ["s0"], "cost_per_hour": 2.0}
    load = {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0}
    return options.pools({"web": {"servers": ["w0"], "load": load, "standby": standby, "slo": slo}})["web"]


def normal(mean=500.0, deviation=80.0, steps=3):
    """A forecast that is normal."""
    line = [mean + deviation * statistics.NormalDist().inv_cdf(level) for level in LEVELS]
    return DemandForecast("web", LEVELS, np.repeat([line], steps, axis=0), NOW, 3600)


@pytest.mark.parametrize("count", [4, 5, 6, 7])
def test_what_is_expected_is_near_what_is_true(count):
    demands, widths = costs.outcomes(normal())
    told = costs.expected(pool(overload_cost_per_hour=50), demands, widths, np.full(3, count), 3600)
    score = (count * 100 - 500) / 80
    unserved = 80 * (stats.norm.pdf(score) - score * stats.norm.sf(score)) / 100
    assert told.unserved == pytest.approx(3 * unserved, rel=0.03, abs=0.01)
    assert told.overload_minutes == pytest.approx(180 * stats.norm.sf(score), abs=180 * 0.05)
    assert told.server_hours == 3 * count
    assert told.cost == pytest.approx(2 * 3 * count + 50 * told.unserved)


def test_the_table_says_what_one_more_and_one_less_change():
    rows = costs.table(pool(overload_cost_per_hour=50), normal(), 0, np.full(3, 6))
    assert [row["servers"] for row in rows] == [-1, 0, 1]
    assert [row["server_hours"] for row in rows] == [15, 18, 21]
    minutes = [row["overload_minutes"] for row in rows]
    assert minutes == sorted(minutes, reverse=True)
    assert minutes[0] > minutes[2]


def test_the_quantile_covered_is_about_the_cheapest():
    one = pool(overload_cost_per_hour=50)
    demands, widths = costs.outcomes(normal())
    by_count = [costs.expected(one, demands, widths, np.full(3, count), 3600).cost for count in range(3, 10)]
    covered = int(np.ceil(normal().level(costs.demand_quantile(one))[0] / 100))
    assert abs(covered - (3 + int(np.argmin(by_count)))) <= 1


def test_where_any_overload_costs_the_same_the_cheapest_number_is_sought():
    demands, widths = costs.outcomes(normal())
    counts = [
        costs.cheapest(pool(overload_cost_per_hour=cost, overload="time"), demands, widths, 9) for cost in (1, 60, 6000)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2]


def test_the_middle_of_what_may_come_is_covered_however_dear_a_server_is():
    demands, widths = costs.outcomes(normal())
    least = costs.cheapest(pool(overload_cost_per_hour=0, overload="time"), demands, widths, 9)
    assert least == int(normal().level(0.5)[0] // 100)
    assert costs.cheapest(pool(overload_cost_per_hour=0, overload="time"), demands, widths, 2) == 2


@pytest.mark.parametrize(
    ("count", "failure", "level"), [(1, 0.1, 0.95), (3, 0.1, 0.95), (10, 0.02, 0.999), (5, 0.5, 0.9)]
)
def test_so_many_are_woken_that_enough_boot(count, failure, level):
    woken = costs.woken_for(count, failure, level)
    assert stats.binom.sf(count - 1, woken, 1 - failure) >= level - 1e-12
    assert woken == count or stats.binom.sf(count - 1, woken - 1, 1 - failure) < level


def test_none_is_woken_for_nothing_and_no_more_where_all_boot():
    assert (costs.woken_for(0, 0.5, 0.9), costs.woken_for(4, 0.0, 0.999)) == (0, 4)


def test_savings_never_rise():
    demands, widths = costs.outcomes(normal())
    told = costs.gains(pool(overload_cost_per_hour=50), demands, widths, 2, 7)
    assert (np.diff(told) <= 0).all()
    assert told[0] == pytest.approx(50, rel=0.05)


def test_a_quantile_that_is_set_is_taken():
    assert costs.demand_quantile(pool(overload_cost_per_hour=5, quantile=0.8)) == 0.8
    assert costs.overload_cost(pool(quantile=0.8)) == pytest.approx(8.0)
