# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import tenants
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import quota, scaling
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast

NOON = datetime.datetime(2026, 3, 29, 12, 0, tzinfo=datetime.UTC)
MIDNIGHT = NOON.replace(hour=0)
STEP = 3600


def at(hour):
    return MIDNIGHT + datetime.timedelta(hours=hour)


def pool(prefix, *, tenant="shop", weight=1.0, standbys=3, price=2.0, servers=2):
    return {
        "tenant": tenant,
        "weight": weight,
        "servers": [f"{prefix}{number}" for number in range(servers)],
        "load": {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0},
        "standby": {"servers": [f"{prefix}-s{number}" for number in range(standbys)], "cost_per_hour": price},
    }


def limited(definitions, demand, limits, *, awake=(), owners=None, spent=0.0, now_demand=None, out=()):
    """The plan of pools that all have the same demand ahead, cut down."""
    pools = options.pools(definitions)
    values = np.repeat(np.array(demand, dtype=float)[:, None], 2, axis=1)
    start = NOON + datetime.timedelta(seconds=STEP)
    forecasts = {name: DemandForecast(name, np.array([0.5, 0.999]), values, start, STEP) for name in pools}
    newest = dict.fromkeys(pools, demand[0] if now_demand is None else now_demand)
    terms = {"now": NOON, "awake": awake, "owners": owners, "out": out}
    plan = scaling.plan(pools, forecasts, demand_now=newest, hold_seconds=0, **terms)
    before = repr(plan)
    result = quota.limited(
        plan,
        pools,
        tenants.checked({"shop": limits}),
        now=NOON,
        spent_today={"shop": spent},
        demand_now=newest,
    )
    assert repr(plan) == before
    assert face.plain(result) == result
    return result


def names(items):
    return [item["server"] for item in items]


def test_a_plan_within_the_limits_is_left_as_it_is():
    plan = limited({"web": pool("w")}, [400] * 2 + [100] * 22, {"max_standbys": 2, "budget_per_day": 100})
    web = plan["pools"]["web"]
    assert (names(web["activate"]), web["refused"], web["short"]) == (["w-s0", "w-s1"], [], 0)
    # Two standbys for two hours at 2 an hour.
    assert plan["tenants"]["shop"]["planned_today"] == 8.0


def test_no_more_standbys_than_the_quota_and_the_weightier_pool_first():
    plan = limited(
        {"lab": pool("l"), "web": pool("w", weight=9)}, [400] * 24, {"max_standbys": 3}, awake=["l-s0"], now_demand=400
    )
    web, lab = plan["pools"]["web"], plan["pools"]["lab"]
    assert (names(web["activate"]), names(lab["activate"]), names(lab["refused"])) == (["w-s0", "w-s1"], [], ["l-s1"])
    assert lab["short"] == 1
    sentence = "tenant shop has 3 standbys awake or waking, and max_standbys is 3"
    assert lab["refused"][0]["reason"] == sentence
    assert f"lab: l-s1 stays asleep: {sentence}" in plan["words"]
    assert not any("lab: wake" in words for words in plan["words"])


def test_a_quota_that_the_plan_itself_kept_to_is_said_too():
    """Shares of scarce standbys are given out within the quota already; the words must not call it a lack of standbys."""
    pools = options.pools({"web": pool("w")})
    item = {
        "in_service": ["w0", "w1", "w-s0"], "awake": ["w-s0"], "activate": [], "release": [], "required_by_step": [],
        "short": 2, "candidates": ["w-s1", "w-s2"], "reasons": ["2 more needed than there are standbys: expect overload"],
    }  # fmt: skip
    plan = quota.limited(
        {"pools": {"web": item}}, pools, tenants.checked({"shop": {"max_standbys": 1}}),
        now=NOON, spent_today={}, demand_now={},
    )  # fmt: skip
    web = plan["pools"]["web"]
    sentence = "tenant shop has 1 standby awake or waking, and max_standbys is 1"
    assert web["refused"] == [{"server": name, "reason": sentence} for name in ("w-s1", "w-s2")]
    assert web["reasons"] == [f"w-s1, w-s2 stay asleep: {sentence}", "2 more needed than may be awake: expect overload"]


def test_what_is_spent_and_what_is_planned_stay_below_the_budget():
    # Until midnight one costs 24; 30 are spent, so that 80 leave room for two.
    plan = limited({"web": pool("w")}, [500] * 24, {"budget_per_day": 80}, spent=30)
    web = plan["pools"]["web"]
    assert (names(web["activate"]), names(web["refused"])) == (["w-s0", "w-s1"], ["w-s2"])
    assert "spent 30.00 today and 48.00 is planned" in web["refused"][0]["reason"]
    assert "24.00 more would exceed budget_per_day of 80" in web["refused"][0]["reason"]
    account = plan["tenants"]["shop"]
    assert account["spent_today"] + account["planned_today"] <= 80


def test_what_is_awake_is_paid_for_first():
    plan = limited({"web": pool("w")}, [400] * 24, {"budget_per_day": 47}, awake=["w-s0"], now_demand=400)
    assert names(plan["pools"]["web"]["refused"]) == ["w-s1"]


def test_a_budget_that_is_used_up_releases_down_to_the_newest_demand():
    plan = limited({"web": pool("w")}, [500] * 24, {"budget_per_day": 50}, awake=["w-s0", "w-s1", "w-s2"], spent=51, now_demand=310)  # fmt: skip
    web = plan["pools"]["web"]
    assert names(web["release"]) == ["w-s2"]
    assert "the budget of tenant shop is used up, and the newest demand needs 4 servers" in web["release"][0]["reason"]
    assert any("the budget is used up" in words for words in plan["words"])


def test_a_tenant_without_limits_and_another_tenants_quota_change_nothing():
    plan = limited({"web": pool("w", tenant="bank")}, [400] * 24, {"max_standbys": 0})
    assert names(plan["pools"]["web"]["activate"]) == ["w-s0", "w-s1"]
    assert plan["tenants"] == {}


@pytest.mark.parametrize(("budget", "goes"), [(100, True), (0, False)])
def test_a_standby_that_may_not_go_to_another_pool_stays(budget, goes):
    pools = {"lab": pool("l", tenant="labs", standbys=0), "web": pool("w", weight=9, standbys=0)}
    for one in pools.values():
        one["standby"]["servers"] = ["shared"]
    plan = limited(
        pools, [400] * 24, {"max_standbys": 1, "budget_per_day": budget}, awake=["shared"], owners={"shared": "lab"}
    )
    lab, web = (plan["pools"][name] for name in ("lab", "web"))
    assert (names(lab["moved"]), names(web["activate"])) == ((["shared"], ["shared"]) if goes else ([], []))
    assert (lab["short"], web["short"]) == ((2, 1) if goes else (1, 2))
    assert any(reason.startswith("give up shared to web" if goes else "shared stays") for reason in lab["reasons"])
    assert plan["tenants"]["shop"]["standbys"] == int(goes)


def event(server, woken, hour, price=2.0):
    return quota.Event(server, "web", woken, at(hour), price)


@pytest.mark.parametrize(
    ("events", "awake", "cost"),
    [
        ([], {}, 0),
        ([event("s", True, 10)], {"s": 2.0}, 4),
        ([event("s", True, 2), event("s", False, 5)], {}, 6),
        ([event("s", False, 5)], {}, 10),  # since yesterday
        ([], {"s": 2.0}, 24),  # nobody noted when
        ([event("s", False, 3)], {"s": 2.0}, 24),  # woken again by other hands
        ([event("s", True, 1), event("s", True, 2), event("s", False, 3)], {}, 4),  # woken once, noted twice
        ([event("s", True, 1, 5.0), event("s", False, 2, 2.0), event("r", True, 11)], {"r": 9.0}, 7),
    ],
)
def test_the_day_is_paid_for(events, awake, cost):
    assert quota.spent(reversed(events), awake, MIDNIGHT, NOON) == pytest.approx(cost)


def test_a_tenants_day_is_its_time_zones():
    start, end = quota.day_of(NOON, "Europe/Berlin", "x")
    assert (start, end) == (at(-1), at(22))  # 23 hours: the clocks go forward on that day
    with pytest.raises(InvalidOption, match="^tenants.shop.time_zone: there is no time zone 'Mars'"):
        quota.day_of(NOON, "Mars", "tenants.shop.time_zone")


def test_a_standby_that_is_only_brought_in_is_paid_for_as_awake():
    plan = limited({"web": pool("w")}, [300] * 24, {"max_standbys": 1}, awake=["w-s1"], out=["w-s1"])
    web = plan["pools"]["web"]
    assert (names(web["activate"]), web["refused"], plan["tenants"]["shop"]["standbys"]) == (["w-s1"], [], 1)


def test_a_budget_that_is_used_up_puts_no_standby_to_sleep_that_serves_another_pool_from_now_on():
    pools = {"lab": pool("l", standbys=0), "web": pool("w", tenant="bank", weight=9, standbys=0)}
    for one in pools.values():
        one["standby"]["servers"] = ["shared"]
    owners = {"shared": "lab"}
    plan = limited(
        pools, [400] * 24, {"budget_per_day": 1}, awake=["shared"], owners=owners, spent=2, now_demand=50
    )  # fmt: skip
    lab, web = (plan["pools"][name] for name in ("lab", "web"))
    assert (names(lab["moved"]), names(web["activate"]), names(lab["release"])) == (["shared"], ["shared"], [])
