# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import scaling
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
STEP = 300
quick = settings(max_examples=60)


def pools(**definitions):
    """Pools of servers that carry 100 each; None stands for a pool without standbys."""
    defaults = {"load": {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0}}
    return options.pools({name: {**defaults, **definition} for name, definition in definitions.items()})


def web(servers=2, standbys=4, lead="5m", **more):
    standby = {"servers": [f"s{number}" for number in range(standbys)], "lead_time": lead}
    return {"servers": [f"w{number}" for number in range(servers)], "standby": standby, **more}


def sure(demand, start=NOW):
    """A forecast whose quantiles are all the same."""
    values = np.repeat(np.array(demand, dtype=float)[:, None], 2, axis=1)
    return DemandForecast("web", np.array([0.5, 0.999]), values, start + datetime.timedelta(seconds=STEP), STEP)


def planned(definition, forecast, **more):
    arguments = {"now": NOW, "hold_seconds": 900, **more}
    plan = scaling.plan(pools(web=definition), {} if forecast is None else {"web": forecast}, **arguments)
    assert face.plain(plan) == plan
    return plan["pools"]["web"]


def names(items):
    return [item["server"] for item in items]


@pytest.mark.parametrize(
    ("overload", "cost", "quantile"), [(None, 1, 0.95), (3, 1, 0.75), (0, 1, 0.5), (1e9, 1, 0.999)]
)
def test_the_quantile_is_what_an_overload_costs_against_a_server(overload, cost, quantile):
    pool = pools(web=web(slo={"overload_cost_per_hour": overload}))["web"]
    pool["standby"]["cost_per_hour"] = cost
    assert scaling.demand_quantile(pool) == quantile


def test_where_nothing_costs_anything_the_quantile_is_the_usual_one():
    pool = pools(web=web(slo={"overload_cost_per_hour": 0}))["web"]
    pool["standby"]["cost_per_hour"] = 0
    assert scaling.demand_quantile(pool) == scaling.DEFAULT_QUANTILE


@quick
@given(st.floats(0, 5e3), st.integers(1, 5), st.integers(0, 30))
def test_servers_are_enough_no_more_than_enough_and_within_the_limits(demand, least, more):
    pool = pools(web=web(limits={"min": least, "max": least + more}))["web"]
    count = int(scaling.servers_for(pool, demand))
    assert least <= count <= least + more
    assert count * 100 >= demand - 1e-6 or count == least + more
    assert (count - 1) * 100 < demand or count == least


@quick
@given(
    st.lists(st.floats(0, 900), min_size=1, max_size=12),
    st.none() | st.floats(0, 900),
    st.sets(st.sampled_from(["s0", "s1", "s2", "s3"])),
    st.integers(2, 9),
    st.integers(0, 1500),
)
def test_invariants(demand, demand_now, awake, most, late):
    now = NOW + datetime.timedelta(seconds=late)
    definition = web(limits={"min": 1, "max": most})
    newest = {} if demand_now is None else {"web": demand_now}
    result = planned(definition, sure(demand), awake=awake, demand_now=newest, now=now)
    activate, release = names(result["activate"]), names(result["release"])
    assert set(activate).isdisjoint(awake)
    assert set(release) <= awake
    assert not (activate and release)
    assert set(result["in_service"]) == {"w0", "w1"} | awake
    after = 2 + len(awake) + len(activate) - len(release)
    assert not activate or after <= most
    # Never below what the newest demand needs, while there are standbys to wake.
    if demand_now is not None:
        assert after >= min(most, math.ceil(demand_now / 100 - 1e-9), 6)
        assert result["short"] >= min(most, math.ceil(demand_now / 100 - 1e-9)) - after
    # Whatever is released, all that is known to come within the hold is carried, and all of the hold is known.
    if release:
        first = int(late // STEP)
        assert (len(demand) - first) * STEP >= late % STEP + 900 - 1e-6
        ahead = demand[first : first + math.ceil((late % STEP + 900) / STEP)]
        assert after >= min(most, math.ceil(max(ahead) / 100 - 1e-9))


def test_a_standby_is_woken_when_the_next_pass_would_be_too_late_and_not_before():
    quiet, busy = [100.0] * 2, [350.0] * 10
    assert names(planned(web(), sure(quiet + busy))["activate"]) == []
    assert names(planned(web(), sure(quiet[:1] + busy))["activate"]) == ["s0", "s1"]
    # Half a step later than the step began, the next pass would wake it half a step too late.
    half = NOW + datetime.timedelta(seconds=150)
    assert names(planned(web(), sure(quiet + busy), now=half)["activate"]) == ["s0", "s1"]


def test_upcoming_says_when_to_wake_so_that_the_lead_time_is_kept():
    upcoming = planned(web(lead="10m"), sure([100.0] * 6 + [250.0] * 2 + [450.0] * 2))["upcoming"]
    assert upcoming == [
        {"servers": 3, "by": timing.iso(NOW + datetime.timedelta(minutes=20))},
        {"servers": 4, "by": timing.iso(NOW + datetime.timedelta(minutes=30))},
        {"servers": 5, "by": timing.iso(NOW + datetime.timedelta(minutes=30))},
    ]


def test_only_what_nothing_needs_within_the_hold_is_released():
    later = sure([150.0] * 3 + [380.0] * 9)
    assert names(planned(web(), later, awake=["s0", "s1", "s2"], hold_seconds=900)["release"]) == ["s0", "s1", "s2"]
    assert names(planned(web(), later, awake=["s0", "s1", "s2"], hold_seconds=1200)["release"]) == ["s2"]


def test_what_the_forecast_does_not_reach_is_not_released_for():
    assert planned(web(), sure([50.0] * 2), awake=["s0"], hold_seconds=900)["release"] == []
    assert names(planned(web(), sure([50.0] * 3), awake=["s0"], hold_seconds=900)["release"]) == ["s0"]


@pytest.mark.parametrize("forecast", [None, sure([50.0] * 2, NOW - datetime.timedelta(hours=1))])
def test_without_a_forecast_it_follows_the_newest_demand_and_releases_nothing(forecast):
    result = planned(web(), forecast, awake=["s0"], demand_now={"web": 420.0})
    assert result["mode"] == "reactive"
    assert (result["required"], names(result["activate"]), result["release"]) == (5, ["s1", "s2"], [])
    result = planned(web(), forecast, awake=["s0"], demand_now={"web": 0.0})
    assert (result["activate"], result["release"]) == ([], [])


def test_without_anything_known_all_stays_as_it_is():
    result = planned(web(), None, awake=["s0"])
    assert (result["required"], result["activate"], result["release"]) == (3, [], [])
    assert "stays awake" in result["reasons"][0]


def test_the_weightier_pool_chooses_first_and_no_standby_is_given_twice():
    shared = {"servers": ["s0", "s1", "s2"], "lead_time": "5m"}
    both = pools(
        lab={"servers": ["l0"], "standby": shared, "weight": 1}, web={"servers": ["w0"], "standby": shared, "weight": 9}
    )
    plan = scaling.plan(both, {}, now=NOW, awake=["s0"], demand_now={"web": 300.0, "lab": 300.0})
    assert list(plan["pools"]) == ["lab", "web"]
    assert plan["pools"]["web"]["in_service"] == ["w0", "s0"]
    assert names(plan["pools"]["web"]["activate"]) == ["s1"]
    assert names(plan["pools"]["lab"]["activate"]) == ["s2"]
    assert plan["pools"]["lab"]["short"] == 1
    assert "lab: 1 more needed than there are standbys: expect overload" in plan["words"]


def test_a_limit_below_the_demand_is_said():
    result = planned(web(limits={"min": 1, "max": 3}), sure([900.0] * 6), demand_now={"web": 900.0})
    assert len(result["activate"]) == 1
    assert result["risk"] == 1
    assert any("limits.max" in reason for reason in result["reasons"])


def test_the_quantile_never_claims_more_than_the_forecast_gives():
    forecast = DemandForecast(
        "web", np.array([0.5, 0.9]), np.array([[10.0, 20.0]] * 9), NOW + datetime.timedelta(seconds=STEP), STEP
    )
    assert planned(web(), forecast)["quantile"] == 0.9


def test_a_standby_that_is_on_and_in_no_balancer_is_brought_in_before_another_is_woken():
    """It carries nothing: a run that was killed before it brought it in left it so."""
    result = planned(web(), sure([250.0] * 12), awake=["s2"], out=["s2"])
    assert (result["in_service"], result["awake"]) == (["w0", "w1"], ["s2"])
    assert names(result["activate"]) == ["s2"]
    assert "s2" not in result["candidates"]
    more = planned(web(), sure([450.0] * 12), awake=["s1", "s2"], out=["s2"])
    assert (names(more["activate"]), more["short"]) == (["s2", "s0"], 0)


def test_a_standby_that_is_on_and_in_no_balancer_is_the_first_to_sleep():
    calm = sure([250.0] * 12)
    assert names(planned(web(), calm, awake=["s0", "s1"], out=["s0"])["release"]) == ["s0"]
    # One that may not sleep yet does not send one that carries load to sleep in its place.
    young = {"awake_since": {"s0": NOW - datetime.timedelta(minutes=5)}}
    assert planned(web(), calm, awake=["s0", "s1"], out=["s0"], **young)["release"] == []
    # What the hold needs, or hides, stays on.
    rising = sure([250.0] * 2 + [350.0] * 10)
    assert planned(web(lead="0s"), rising, awake=["s0", "s1"], out=["s0"])["release"] == []
    assert planned(web(), None, awake=["s0", "s1"], out=["s0"])["release"] == []


def test_a_standby_that_is_in_no_balancer_goes_to_the_pool_that_needs_it():
    shared = {"servers": ["s0", "s1"], "lead_time": "5m"}
    definitions = pools(
        web={"servers": ["w0"], "standby": shared, "weight": 9}, lab={"servers": ["l0"], "standby": shared}
    )
    forecasts = {"web": sure([50.0] * 12), "lab": sure([150.0] * 12)}
    terms = {"now": NOW, "awake": ["s1"], "out": ["s1"]}
    result = scaling.plan(definitions, forecasts, **terms)["pools"]
    assert [(names(item["activate"]), item["awake"], item["moved"]) for item in result.values()] == [
        ([], [], []),
        (["s1"], ["s1"], []),
    ]
    # One that a balancer has half in is that pool's alone.
    result = scaling.plan(definitions, forecasts, owners={"s1": "web"}, **terms)["pools"]
    assert names(result["lab"]["activate"]) == ["s0"]
    assert names(result["web"]["release"]) == ["s1"]


def test_a_sample_that_is_absurd_asks_for_all_standbys_and_no_more_memory():
    for slo in ({}, {"overload_cost_per_hour": 50, "overload": "time"}):
        definition = web(slo=slo)
        definition["standby"]["boot_failure"] = 0.1
        result = planned(definition, sure([1e15] * 12), demand_now={"web": 1e15})
        assert names(result["activate"]) == ["s0", "s1", "s2", "s3"]
        assert result["short"] > 1e12
        assert len(result["upcoming"]) == scaling.MOST_TOLD


def test_thresholds_keep_to_the_least_also_where_nobody_knows_the_load():
    rules = [{"below": "90%", "for": "5m", "remove": 1}]
    result = planned(web(limits={"min": 4}, rules=rules), sure([10.0] * 12))
    assert (result["required"], names(result["activate"])) == (4, ["s0", "s1"])
