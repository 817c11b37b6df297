# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans beside the exact optimum of HiGHS, on a hundred random updates."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import updates

from .exact_updates import NOW, STEP, instance, optimum


def planned(definition, forecast, closed):
    pools = options.pools({"web": definition})
    spans = [
        (NOW + datetime.timedelta(seconds=begin * STEP), NOW + datetime.timedelta(seconds=end * STEP))
        for begin, end in closed
    ]
    try:
        return updates.plan(
            pools,
            {"web": forecast},
            now=NOW,
            deadline=forecast.end,
            spare_standbys={"web": pools["web"]["standby"]["servers"]} if pools["web"]["standby"] else None,
            closed={"web": spans},
        )
    except updates.NoWindow:
        return None


@pytest.mark.parametrize("seed", range(100))
def test_a_plan_is_within_five_percent_of_the_optimum(seed):
    case = instance(seed)
    least, plan = optimum(*case), planned(*case)
    # What begins between two steps is not in the solver's reach: it may miss a plan, never the planner.
    assert least is None or plan is not None
    if least is not None:
        assert plan["displaced_load"] <= least * 1.05 + 1e-6


def test_most_of_the_hundred_can_be_done():
    assert 50 <= sum(planned(*instance(seed)) is not None for seed in range(100)) < 100
