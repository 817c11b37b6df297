# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import NotEnoughHistory
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.demand import (
    owned_standbys,
    pool_demand,
    server_loads,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

END = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
NAN = float("nan")


def series(rows):
    return Series(tuple(SeriesKey(*key, "requests") for key in rows), np.array(list(rows.values())), END, 300)


def test_the_pools_own_series_is_its_demand():
    both = series({("web", "web1"): [1.0, 2.0], ("web", None): [10.0, NAN], ("db", None): [5.0, 5.0]})
    demand = pool_demand(both, "web", "requests")
    assert demand.keys == (SeriesKey("web", None, "requests"),)
    np.testing.assert_array_equal(demand.values, [[10.0, NAN]])


def test_else_the_sum_of_the_servers_that_report_and_nothing_is_not_zero():
    servers = series({("web", "web1"): [1.0, NAN, NAN, 0.0], ("web", "web2"): [2.0, 3.0, NAN, 0.0]})
    np.testing.assert_array_equal(pool_demand(servers, "web", "requests").values, [[3.0, 3.0, NAN, 0.0]])


def test_no_series_at_all():
    with pytest.raises(NotEnoughHistory, match=r"^pools\.db\.load\.metric: .*Collect it first"):
        pool_demand(series({("web", "web1"): [1.0]}), "db", "requests")


@pytest.mark.filterwarnings("error")
def test_loads_of_servers_look_back_over_the_window_only_and_leave_out_the_silent():
    rows = {("web", "a"): [9.0, 1.0, 3.0], ("web", "b"): [9.0, NAN, NAN], ("web", None): [1.0, 1.0, 1.0]}
    assert server_loads(series(rows), "web", "requests", 600) == {"a": 2.0}
    assert server_loads(series(rows), "db", "requests", 600) == {}


def test_a_shared_standby_is_the_weightier_pools():
    pools = {
        "lab": {"weight": 1.0, "standby": {"servers": ["s1", "s2", "s3"]}},
        "web": {"weight": 5.0, "standby": {"servers": ["s2"]}},
        "db": {"weight": 9.0, "standby": None},
    }
    assert owned_standbys(pools) == {"lab": ["s1", "s3"], "web": ["s2"], "db": []}
