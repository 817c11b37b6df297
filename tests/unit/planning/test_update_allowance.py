# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import tenants
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import updates
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 3, 28, 20, 0, tzinfo=datetime.UTC)
POOLS = {
    "web": {"tenant": "shop", "weight": 5.0, "standby": {"cost_per_hour": 2.0}},
    "lab": {"tenant": "shop", "weight": 1.0, "standby": {"cost_per_hour": 1.0}},
    "ledger": {"tenant": "bank", "weight": 1.0, "standby": {"cost_per_hour": 10.0}},
}
SPARE = {"web": ["w0", "w1", "w2"], "lab": ["l0", "l1"], "ledger": ["b0"]}


def at(hours):
    return timing.iso(NOW + datetime.timedelta(hours=hours))


def allowance(tenant="shop", awake=0, spent=0.0, per_hour=0.0, **limits):
    return updates.Allowance(tenant, tenants.checked({tenant: limits})[tenant], awake, spent, per_hour)


def maker(wanted, begin=0.0, end=1.0, least=0):
    """Wants so many standbys of each pool, of those there are; no plan with fewer than *least*."""

    def make(spare):
        each = [
            {"server": server, "pool": name}
            for name, count in wanted.items()
            for server in (spare or {}).get(name, [])[:count]
        ]
        if len(each) < least:
            raise updates.NoWindow("it does not fit", option="deadline", remedy="A deadline of tomorrow helps")
        activate = [item["server"] for item in each]
        return {
            "standbys": {"activate": activate, "each": each, "by": at(begin), "release_after": at(end)},
            "words": ["so"],
        }

    return make


def within(make, *allowances, woken=True):
    plan = updates.within(make, SPARE if woken else None, POOLS, {one.tenant: one for one in allowances}, NOW)
    assert face.plain(plan) == plan
    return plan["standbys"]["activate"], plan["standbys"]["refused"], plan["words"]


def test_without_limits_all_that_is_wanted_is_woken():
    assert within(maker({"web": 2, "ledger": 1})) == (["w0", "w1", "b0"], [], ["so"])
    assert within(maker({"web": 2}), allowance()) == (["w0", "w1"], [], ["so"])
    assert within(maker({"web": 2}), allowance(max_standbys=0), woken=False) == ([], [], ["so"])


def test_a_quota_counts_what_is_awake_and_the_lightest_pool_goes_without():
    woken, refused, words = within(maker({"lab": 2, "web": 2, "ledger": 1}), allowance(max_standbys=5, awake=2))
    assert woken == ["l0", "w0", "w1", "b0"]
    assert [(item["server"], item["pool"]) for item in refused] == [("l1", "lab")]
    assert words[1] == ("l1 stays asleep: tenant shop has 2 standbys awake, 4 more are wanted, and max_standbys is 5")


@pytest.mark.parametrize(
    ("wanted", "awake", "said"),
    [(1, 1, "1 standby awake, 1 more is wanted"), (2, 0, "0 standbys awake, 2 more are wanted")],
)
def test_one_standby_is_said_in_the_singular(wanted, awake, said):
    _woken, _refused, words = within(maker({"lab": wanted}), allowance(max_standbys=1, awake=awake))
    assert f"tenant shop has {said}, and max_standbys is 1" in words[1]


def test_a_standby_that_is_refused_is_not_replaced_by_the_next_one():
    woken, refused, _words = within(maker({"web": 3}), allowance(max_standbys=1))
    assert woken == ["w0"]
    assert [item["server"] for item in refused] == ["w2", "w1"]


@pytest.mark.parametrize(
    ("budget", "spent", "per_hour", "woken"),
    [
        (4.0, 0.0, 0.0, ["w0", "w1"]),  # an hour of two, at 2 each
        (3.9, 0.0, 0.0, ["w0"]),
        (5.0, 1.1, 0.0, ["w0"]),
        (4.0, 0.0, 0.25, ["w0"]),  # what is awake takes 1 until midnight
        (0.0, 0.0, 0.0, []),
    ],
)
def test_a_budget_counts_what_is_spent_and_what_those_awake_will_cost(budget, spent, per_hour, woken):
    limit = allowance(spent=spent, per_hour=per_hour, budget_per_day=budget)
    assert within(maker({"web": 2}), limit)[0] == woken


def test_each_day_has_its_own_budget_by_the_tenants_clock():
    """From 22:00 to 02:00 UTC: in UTC two hours on each day, in Berlin one on the first and three on the second."""
    make = maker({"web": 1}, begin=2, end=6)
    assert within(make, allowance(budget_per_day=4.0))[0] == ["w0"]
    woken, refused, _words = within(make, allowance(budget_per_day=4.0, time_zone="Europe/Berlin"))
    assert woken == []
    assert refused[0]["reason"] == (
        "tenant shop has spent or planned 0.00 of the day that begins at 2026-03-28T23:00:00Z; 6.00 more would exceed "
        "budget_per_day of 4"
    )
    # Today is spent, and tomorrow is not.
    assert within(make, allowance(budget_per_day=4.0, spent=0.5))[0] == []
    assert within(maker({"web": 1}, begin=4, end=6), allowance(budget_per_day=4.0, spent=4.0))[0] == ["w0"]


def test_where_there_is_no_plan_without_those_refused_it_says_whose_quota_it_is():
    with pytest.raises(updates.NoWindow) as raised:
        within(maker({"web": 2}, least=2), allowance(max_standbys=1))
    assert str(raised.value) == (
        "deadline: it does not fit; w1 stays asleep: tenant shop has 0 standbys awake, 2 more are wanted, and "
        "max_standbys is 1. Raise the quota of the tenant, or do without it: A deadline of tomorrow helps."
    )
    with pytest.raises(updates.NoWindow, match="^deadline: it does not fit. A deadline of tomorrow helps.$"):
        within(maker({"web": 2}, least=9), allowance(max_standbys=1))


@given(
    wanted=st.fixed_dictionaries({"web": st.integers(0, 3), "lab": st.integers(0, 2), "ledger": st.integers(0, 1)}),
    most=st.none() | st.integers(0, 6),
    budget=st.none() | st.floats(0, 40),
    awake=st.integers(0, 3),
    begin=st.floats(0, 5),
    hours=st.floats(0.1, 30),
)
def test_what_is_woken_is_within_the_limits_and_one_more_would_not_be(wanted, most, budget, awake, begin, hours):
    limit = allowance(awake=awake, per_hour=awake * 1.0, max_standbys=most, budget_per_day=budget)
    make = maker(wanted, begin, begin + hours)
    woken, refused, _words = within(make, limit)
    owner = {server: name for name, names in SPARE.items() for server in names}
    asked = make(SPARE)["standbys"]["activate"]
    assert sorted([*woken, *(item["server"] for item in refused)]) == sorted(asked)
    assert {server for server in asked if owner[server] == "ledger"} <= set(woken)

    def prices(servers):
        return [POOLS[owner[server]]["standby"]["cost_per_hour"] for server in servers if owner[server] != "ledger"]

    assert limit.refusal(prices(woken), NOW, at(begin), at(begin + hours)) is None or not prices(woken)
    if refused:
        assert limit.refusal(prices([*woken, refused[-1]["server"]]), NOW, at(begin), at(begin + hours))
