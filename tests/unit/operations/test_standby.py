# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby

NOW = "2026-03-29T00:00:00Z"


def wanted(**params):
    return standby.wanted(options.checked({"now": NOW, **params}, standby.SPEC, "standby"))


def scaling(*pools):
    return {
        "kind": "scaling",
        "pools": {
            str(number): {
                "activate": [{"server": one} for one in wake],
                "release": [{"server": one, "not_before": when} for one, when in sleep],
            }
            for number, (wake, sleep) in enumerate(pools)
        },
    }


def test_nothing_is_asked():
    assert wanted() == standby.Wishes([], [], [], {})


def test_a_plan_adds_to_what_is_named_and_each_server_comes_once():
    plan = scaling((["s0"], []), (["s2"], [("s1", NOW)]))
    wishes = wanted(activate=["s0"], plan=plan, candidates=["s0", "s3"])
    assert wishes == standby.Wishes(["s0", "s2"], ["s1"], ["s3"], {"s2": {"1"}}, {"s0": "0", "s2": "1"})
    assert wanted(plan=plan, part="activate")[:3] == (["s0", "s2"], [], [])
    assert wanted(plan=plan, part="release")[:3] == ([], ["s1"], [])


def test_a_standby_that_moves_is_neither_woken_nor_put_to_sleep_for_it():
    plan = scaling((["s0"], []), ([], []))
    plan["pools"]["1"]["moved"] = [{"server": "s0", "to": "0"}]
    assert wanted(plan=plan, part="activate").moves == {"s0": ("1", "0")}
    assert wanted(plan=plan, part="release").moves == {}


def test_a_candidate_stands_in_for_servers_of_its_own_pool_only():
    plan = scaling((["s0"], []), (["s2"], []))
    plan["pools"]["0"]["candidates"], plan["pools"]["1"]["candidates"] = ["s1", "s9"], ["s3", "s9"]
    wishes = wanted(plan=plan, candidates=["s4"])
    assert [name for name in ("s1", "s3", "s4", "s9") if wishes.fits(name, "s0")] == ["s1", "s4", "s9"]
    assert [name for name in ("s1", "s3", "s4", "s9") if wishes.fits(name, "s2")] == ["s3", "s4", "s9"]


def test_a_release_waits_until_it_is_due():
    plan = scaling(([], [("s0", NOW), ("s1", "2026-03-29T00:00:01Z")]))
    assert wanted(plan=plan).release == ["s0"]


def test_an_update_plan_wakes_its_standbys():
    plan = {"kind": "update", "standbys": {"activate": ["s2"], "by": NOW}}
    assert wanted(plan=plan) == standby.Wishes(["s2"], [], [], {"s2": {""}})


@pytest.mark.parametrize("plan", [{}, {"kind": "scaling"}, {"kind": "update"}, {"plan": scaling()}, {"kind": "other"}])
def test_what_is_no_plan_is_refused(plan):
    with pytest.raises(InvalidOption, match="^plan: it is neither a scaling plan nor an update plan"):
        wanted(plan=plan)


def test_a_server_is_not_woken_and_released_at_once():
    with pytest.raises(InvalidOption, match="^release: 's0' is to be activated and released"):
        wanted(activate=["s0"], plan=scaling(([], [("s0", NOW)])))
