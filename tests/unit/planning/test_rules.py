# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import rules, scaling
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.allocation import Share
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast

NOW = datetime.datetime(2026, 3, 29, tzinfo=datetime.UTC)
STEP = datetime.timedelta(minutes=5)
RULES = [{"above": "80%", "for": "10m", "add": 2}, {"below": "0.3", "for": "30m", "remove": 1}]


def definition(**more):
    standby = {"servers": ["s0", "s1", "s2", "s3"], "lead_time": "5m", **more.pop("standby", {})}
    load = {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0}
    return {"servers": ["w0", "w1"], "load": load, "standby": standby, **more}


def planned(demand, more=None, **arguments):
    pools = options.pools({"web": definition(**(more or {}))})
    values = np.repeat(np.array(demand, dtype=float)[:, None], 2, axis=1)
    forecast = DemandForecast("web", np.array([0.5, 0.999]), values, NOW + STEP, 300)
    arguments = {"demand_now": {"web": float(demand[0])}, "hold_seconds": 900, **arguments}
    return scaling.plan(pools, {"web": forecast}, now=NOW, **arguments)["pools"]["web"]


def names(items):
    return [item["server"] for item in items]


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ({"for": "5m"}, "one of above and below"),
        ({"above": "80%", "below": "20%"}, "one of above and below"),
        ({"above": "80%", "remove": 1}, "above adds"),
        ({"below": "20%", "add": 1}, "above adds"),
        ({"above": "80%", "add": 0}, "at least one"),
        ({"above": "much"}, "'much' is not a share"),
        ({"above": "0%"}, "is not a share"),
        ({"above": "80%", "for": "soon"}, "is not a duration"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named(rule, what):
    with pytest.raises(InvalidOption, match=rf"^pools\.web\.rules\[0\].*{what}"):
        options.pools({"web": definition(rules=[rule])})


def test_a_threshold_that_is_passed_for_its_time_adds():
    told = planned([150, 170, 170, 100, 100, 100, 100], {"rules": RULES})
    assert names(told["activate"]) == ["s0", "s1"]
    assert any("above 80 % for 10 min: 2 more" in reason for reason in told["reasons"])
    assert names(planned([150, 170, 150, 170, 100, 100, 100], {"rules": RULES})["activate"]) == []


def test_a_threshold_acts_no_earlier_than_it_must():
    later = [100] * 6 + [170] * 6
    assert names(planned(later, {"rules": RULES})["activate"]) == []
    assert names(planned(later[4:], {"rules": RULES})["activate"]) == []
    assert names(planned(later[5:], {"rules": RULES})["activate"]) == ["s0", "s1"]


def test_a_threshold_below_removes_and_never_below_what_the_load_needs():
    awake = ["s0", "s1", "s2"]
    told = planned([100] * 12, {"rules": RULES}, awake=awake)
    assert names(told["release"]) == ["s2"]
    assert planned([100] * 4 + [200] * 8, {"rules": RULES}, awake=awake)["release"] == []
    assert planned([100] * 12, {"rules": RULES}, awake=awake, demand_now={"web": 450.0})["release"] == []


def anomaly(**more):
    return {
        "pool": "web",
        "server": None,
        "metric": "requests",
        "open": True,
        "direction": "high",
        "since": "2026-03-28T23:50:00Z",
        "value": 260.0,
        "expected": {"low": 100.0, "high": 200.0},
        **more,
    }


def test_a_surge_adds_servers_as_configured():
    told = planned([180] * 12, anomalies=[anomaly()])
    assert told["required"] == 4  # 260, and 60 more
    assert any("unusually high" in reason for reason in told["reasons"])
    ignored = planned([180] * 12, {"anomalies": {"surge": "ignore"}}, anomalies=[anomaly()])
    assert ignored["required"] == 2
    for other in ({"open": False}, {"pool": "lab"}, {"server": "w0"}, {"metric": "cpu"}):
        assert planned([180] * 12, anomalies=[anomaly(**other)])["required"] == 2


@pytest.mark.parametrize("direction", ["low", "unusual"])
def test_strange_load_freezes_release_as_configured(direction):
    strange = anomaly(direction=direction, value=5.0)
    assert names(planned([50] * 12, awake=["s0"])["release"]) == ["s0"]
    told = planned([50] * 12, awake=["s0"], anomalies=[strange])
    assert told["release"] == []
    assert any("nothing is released" in reason for reason in told["reasons"])
    ignored = planned([50] * 12, {"anomalies": {"low": "ignore"}}, awake=["s0"], anomalies=[strange])
    assert names(ignored["release"]) == ["s0"]


def test_what_is_no_anomaly_is_refused():
    with pytest.raises(InvalidOption, match=r"^anomalies: this is not an anomaly"):
        planned([50] * 12, anomalies=[{"pool": "web"}])


def test_a_standby_stays_awake_for_its_minimum():
    since = {"s0": NOW - datetime.timedelta(minutes=40), "s1": NOW - datetime.timedelta(minutes=10)}
    told = planned([50] * 12, {"standby": {"min_awake": "30m"}}, awake=["s0", "s1"], awake_since=since)
    assert names(told["release"]) == ["s0"]
    assert any("s1 woke lately and may sleep from 2026-03-29T00:20:00Z" in reason for reason in told["reasons"])


def test_more_are_woken_where_some_do_not_boot():
    told = planned([350] * 12, {"standby": {"boot_failure": 0.1}})
    assert (told["required"], len(told["activate"])) == (4, 3)


def test_not_knowing_the_load_halves_the_risk():
    values = np.repeat([[100.0, 180.0, 250.0]], 12, axis=0)
    forecast = DemandForecast("web", np.array([0.5, 0.9, 0.999]), values, NOW + STEP, 300)
    pools = options.pools({"web": definition(slo={"quantile": 0.9})})
    known, unknown = (
        scaling.plan(pools, {"web": forecast}, now=NOW, demand_now=demand)["pools"]["web"]
        for demand in ({"web": 100.0}, {})
    )
    assert (known["quantile"], unknown["quantile"]) == (0.9, 0.95)
    assert known["required"] <= unknown["required"]


def test_a_plan_says_what_it_costs():
    told = planned([180] * 12)
    assert [row["servers"] for row in told["alternatives"]] == [-1, 0, 1]
    assert told["alternatives"][0]["overload_minutes"] == 60
    assert told["alternatives"][1]["overload_minutes"] == 0
    assert any(reason.startswith("expected until the forecast ends: cost") for reason in told["reasons"])


def test_a_standby_moves_to_where_it_saves_clearly_more():
    load = {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0}
    standby = {"servers": ["s0"], "lead_time": "5m"}
    pools = options.pools(
        {
            "lab": {"servers": ["l0"], "load": load, "standby": standby, "tenant": "lab"},
            "web": {"servers": ["w0"], "load": load, "standby": standby, "weight": 9, "tenant": "shop"},
        }
    )
    arguments = {"now": NOW, "awake": ["s0"], "owners": {"s0": "lab"}, "demand_now": {"lab": 200.0, "web": 200.0}}
    told = scaling.plan(pools, {}, **arguments)["pools"]
    assert told["lab"]["moved"] == [{"server": "s0", "to": "web", "reason": "it saves more in web"}]
    assert names(told["web"]["activate"]) == ["s0"]
    assert (told["lab"]["release"], told["lab"]["short"]) == ([], 1)
    kept = scaling.plan(pools, {}, shares={"lab": Share(guaranteed=1)}, **arguments)["pools"]
    assert (kept["lab"]["moved"], kept["web"]["short"]) == ([], 1)


def test_a_standby_that_serves_a_pool_which_is_not_planned_stays_there():
    load = {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0}
    pools = options.pools({"web": {"servers": ["w0"], "load": load, "standby": {"servers": ["s0", "s1"]}}})
    told = scaling.plan(pools, {}, now=NOW, awake=["s0"], owners={"s0": "lab"}, demand_now={"web": 300.0})
    web = told["pools"]["web"]
    assert (web["awake"], names(web["activate"]), web["candidates"], web["short"]) == ([], ["s1"], [], 1)


def test_a_share_reads_as_percent_or_as_a_number():
    assert [rule.share for rule in rules.thresholds(RULES)] == [0.8, 0.3]
