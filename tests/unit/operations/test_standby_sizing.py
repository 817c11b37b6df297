# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, history
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby_sizing
from ansible_collections.lowtide.fleet.plugins.module_utils.options import checked
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
DAY = 288


@pytest.fixture(name="ask")
def _ask(tmp_path):
    """Calls the operation with ten days of a load that is 100 at night and 500 by day."""
    spec = {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}

    def run(capacity=100.0, glitch=None, **more):
        values = np.where(np.arange(10 * DAY) % DAY < DAY // 2, 100.0, 500.0)
        if glitch is not None:
            values[3 * DAY] = glitch
        with history.open(spec, read_only=False) as store:
            store.write(Series((SeriesKey("web", None, "requests"),), values[None, :], NOW, 300))
        load = {"metric": "requests", "server_capacity": capacity, "target_utilization": 1.0}
        web = {
            "servers": ["w0", "w1"],
            "load": load,
            "standby": {"servers": ["s0"]},
            "slo": {"overload_cost_per_hour": 50},
        }
        given = {"history": spec, "pools": {"web": web}, "now": NOW.isoformat(), **more}
        result = standby_sizing.standby_sizing(checked(given, standby_sizing.SPEC, "test"), check_mode=False)
        assert face.plain(result) == result
        return result["pools"]["web"]

    return run


def test_the_past_asks_for_what_its_days_need(ask):
    assert ask()["recommended"] == 3
    assert ask(hold="1000000d")["recommended"] == 3


def test_a_capacity_in_another_unit_or_an_absurd_sample_is_told(ask):
    message = (
        r"^pools.web.load.server_capacity: a peak of .* needs .* standbys, .* no more than 2000.* unit of the load"
    )
    with pytest.raises(InvalidOption, match=message):
        ask(capacity=1e-6)
    with pytest.raises(InvalidOption, match=message):
        ask(glitch=1e15)
    assert ask(glitch=1e15, most=5)["recommended"] >= 3


def test_a_step_that_does_not_divide_a_day_is_refused(ask):
    for step in ("2d", "25m"):
        with pytest.raises(InvalidOption, match=f"^step: {step} does not divide a day"):
            ask(step=step)
