# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import (
    outlook,
    scaling_plan,
    update_gate,
    update_plan,
    update_rules,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.gate import Run

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
HOSTS = ["w0", "w1"]
SHARED = {"servers": ["s0"], "lead_time": "5m"}


def definitions():
    load = {"metric": "requests", "server_capacity": 100}
    return {
        "web": {"servers": HOSTS, "load": load, "standby": SHARED, "weight": 9},
        "lab": {"servers": ["l0"], "load": load, "standby": SHARED},
    }


@pytest.fixture
def ask(monkeypatch):
    """Calls an operation with pools that carry 50 and that much ahead, instead of a history."""

    def seen(params, levels, **_more):
        pools = options.pools(params["pools"], params["pool"])
        item = {
            "start": timing.iso(NOW + datetime.timedelta(minutes=5)),
            "step_seconds": 300,
            "quantiles": {"0.5": [50.0] * 12, "0.999": [50.0] * 12},
        }
        forecasts = {name: DemandForecast.from_item({"pool": name, **item}) for name in pools}
        return outlook.Outlook(NOW, pools, forecasts, dict.fromkeys(pools, params.get("demand", 50.0)), {}, [], ["so"])

    monkeypatch.setattr(outlook, "outlook", seen)
    monkeypatch.setattr(update_rules, "recorded", lambda params, pools, now: {})
    monkeypatch.setattr(update_rules, "strange", lambda params, pools: {})

    def run(operation, spec, demand=50.0, run=None, **params):
        given = {"history": {}, "pools": definitions(), "now": timing.iso(NOW), **params}
        checked = options.checked({name: value for name, value in given.items() if value is not None}, spec, "test")
        more = {} if run is None else {"run": run}
        return operation({**checked, "demand": demand}, check_mode=params.pop("check_mode", False), **more)

    return run


def test_scaling_wakes_and_keeps_by_what_is_awake(ask):
    result = ask(scaling_plan.scaling_plan, scaling_plan.SPEC, demand=210.0, awake=["s0"])
    web, lab = result["plan"]["pools"]["web"], result["plan"]["pools"]["lab"]
    assert (web["in_service"], web["required"], web["release"]) == (["w0", "w1", "s0"], 3, [])
    assert lab["activate"] == []
    assert (result["changed"], result["warnings"]) == (False, ["so"])


@pytest.mark.parametrize("operation", ["scaling_plan", "update_plan"])
def test_a_server_given_as_awake_must_be_a_standby(ask, operation):
    module = {"scaling_plan": scaling_plan, "update_plan": update_plan}[operation]
    with pytest.raises(InvalidOption, match="^awake: 'w0' is not a standby"):
        ask(getattr(module, operation), module.SPEC, awake=["w0"])


def test_a_wrong_hold_is_named(ask):
    with pytest.raises(InvalidOption, match="^hold: "):
        ask(scaling_plan.scaling_plan, scaling_plan.SPEC, hold="some")


def test_the_deadline_is_the_end_of_the_forecast_at_the_latest(ask):
    for deadline in (None, "9h"):
        plan = ask(update_plan.update_plan, update_plan.SPEC, pool=["web"], deadline=deadline)["plan"]
        assert plan["deadline"] == "2026-03-29T01:00:00Z"
    with pytest.raises(InvalidOption, match=r"^deadline: .* is not after"):
        ask(update_plan.update_plan, update_plan.SPEC, pool=["web"], deadline="0s")


def test_a_standby_awake_is_room_for_one_pool_and_needs_no_waking(ask):
    plan = ask(update_plan.update_plan, update_plan.SPEC, pool=["lab"], awake=["s0"])["plan"]
    assert (plan["serial"], plan["standbys"]["activate"]) == ([1], [])
    assert plan["window"]["start"] == timing.iso(NOW)
    with pytest.raises(update_plan.updates.NoWindow, match=r"pools\.lab\.update\.risk"):
        ask(update_plan.update_plan, update_plan.SPEC, awake=["s0"])


def test_standbys_are_left_asleep_when_told_so(ask):
    with pytest.raises(update_plan.updates.NoWindow, match=r"pools\.lab\.update\.risk"):
        ask(update_plan.update_plan, update_plan.SPEC, pool=["lab"], use_standbys=False)
    plan = ask(update_plan.update_plan, update_plan.SPEC, pool=["lab"])["plan"]
    assert plan["standbys"]["activate"] == ["s0"]


@pytest.fixture
def gate(ask):
    plan = ask(update_plan.update_plan, update_plan.SPEC, pool=["web"])["plan"]

    def run(**more):
        lost = more.pop("lost", ())
        batch = plan["hosts"][more.pop("batch", 1)]
        play = Run(HOSTS, [host for host in HOSTS if host not in lost], [batch])
        return ask(update_gate.update_gate, update_gate.SPEC, run=play, plan=plan, **more)

    return run


def test_the_gate_goes_with_room_and_knows_its_batch(gate):
    result = gate()
    assert (result["decision"], result["batch"], result["batches"], result["changed"]) == ("go", 2, 2, False)


def test_the_gate_stops_on_a_lost_host_at_once(gate):
    with pytest.raises(
        update_gate.Stopped, match="^batch 2 of 2 does not go: w0 failed or can't be reached.*plan anew"
    ):
        gate(lost=["w0"], timeout="10m")


@pytest.fixture
def clock(monkeypatch):
    """Seconds since then, as the gate sees them, which sleeping moves on."""
    passed = [0.0]
    monkeypatch.setattr(update_gate.time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(update_gate.time, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    monkeypatch.setattr(update_gate, "_present", lambda: NOW + datetime.timedelta(seconds=passed[0]))
    return passed


def test_the_gate_waits_no_longer_than_it_may(gate, clock):
    with pytest.raises(update_gate.Stopped, match="after waiting 45 s: web: "):
        gate(demand=150.0, timeout="50s", interval="15s", batch=0, now=None)
    assert clock == [45.0]


def test_the_gate_of_a_moment_that_is_given_answers_at_once(gate, clock):
    with pytest.raises(update_gate.Stopped, match="^batch 1 of 2 does not go: web: 150 requests now"):
        gate(demand=150.0, timeout="50s", interval="15s", batch=0)
    assert gate(batch=0)["waited_seconds"] == 0.0
    assert clock == [0.0]


def test_the_gate_waits_for_the_window_by_the_clock_and_not_at_a_moment_before_it(ask, clock):
    begin = timing.iso(NOW + datetime.timedelta(seconds=40))
    later = ask(update_plan.update_plan, update_plan.SPEC, pool=["web"])["plan"]
    later["window"]["start"] = begin
    play = Run(HOSTS, HOSTS, later["hosts"][:1])
    asked = {"run": play, "plan": later, "timeout": "50s", "interval": "15s"}
    with pytest.raises(update_gate.Stopped, match=f"does not go: the window begins at {begin}, in 40 s"):
        ask(update_gate.update_gate, update_gate.SPEC, **asked)
    # What holds a batch whatever its size leaves nothing to shrink it to.
    with pytest.raises(update_gate.Stopped, match="the window begins"):
        ask(update_gate.update_gate, update_gate.SPEC, **asked, shrink=True)
    result = ask(update_gate.update_gate, update_gate.SPEC, **asked, now=None)
    assert (result["decision"], result["waited_seconds"]) == ("go", 45.0)
    clock[0] = 0.0
    with pytest.raises(update_gate.Stopped, match="after waiting 15 s: the window begins"):
        ask(update_gate.update_gate, update_gate.SPEC, **{**asked, "timeout": "20s"}, now=None)


def test_the_gate_shrinks_a_batch_only_when_asked_and_only_after_waiting(ask, clock):
    wide = {**definitions()["web"], "servers": ["w0", "w1", "w2"], "update": {"max_unavailable": "100%"}}
    plan = ask(update_plan.update_plan, update_plan.SPEC, pools={"web": wide}, use_standbys=False)["plan"]
    assert plan["serial"] == [2, 1]
    play = Run(plan["hosts"], plan["hosts"], plan["hosts"][:2])
    asked = {"pools": {"web": wide}, "run": play, "plan": plan, "demand": 150.0, "timeout": "50s"}
    with pytest.raises(update_gate.Stopped, match="after waiting 45 s"):
        ask(update_gate.update_gate, update_gate.SPEC, **asked, now=None)
    for now, waited in ((None, 45.0), (timing.iso(NOW), 0.0)):
        clock[0] = 0.0
        result = ask(update_gate.update_gate, update_gate.SPEC, **asked, shrink=True, now=now)
        assert (result["decision"], result["hosts"]) == ("shrink", plan["hosts"][:1])
        assert (result["left"], result["waited_seconds"]) == (plan["hosts"][1:2], waited)


def test_a_server_that_rests_makes_no_room(ask):
    wide = {**definitions()["web"], "servers": ["w0", "w1", "w2", "w3"], "update": {"max_unavailable": "100%"}}
    asked = {"pools": {"web": wide}, "use_standbys": False, "hosts": ["w1", "w2", "w3"]}
    assert ask(update_plan.update_plan, update_plan.SPEC, **asked)["plan"]["serial"] == [3]
    assert ask(update_plan.update_plan, update_plan.SPEC, **asked, resting=["w0"])["plan"]["serial"] == [2, 1]


def test_the_gate_waits_through_a_pause_of_the_plan_itself(gate, clock):
    # The second batch is planned for five minutes after the first.
    with pytest.raises(update_gate.Stopped, match="after waiting 6 min"):
        gate(demand=150.0, timeout="60s", interval="15s", now=None)


def test_a_strange_pool_holds_the_gate_and_the_plan_unless_told_otherwise(gate, ask, monkeypatch):
    monkeypatch.setattr(update_rules, "strange", lambda params, pools: {"web": "requests is unusually high"})
    with pytest.raises(update_gate.Stopped, match="web: requests is unusually high"):
        gate(timeout="0s", batch=0)
    assert gate(timeout="0s", batch=0, anomalies="ignore")["decision"] == "go"
    with pytest.raises(update_plan.Anomalous, match="^anomalies: web: requests is unusually high.*anomalies=ignore"):
        ask(update_plan.update_plan, update_plan.SPEC, pool=["web"])
    ignored = ask(update_plan.update_plan, update_plan.SPEC, pool=["web"], anomalies="ignore")
    assert ignored["plan"]["pools"] == ["web"]


def test_members_that_are_no_servers_of_the_pool_carry_nothing(ask, monkeypatch):
    """A backup that says sorry is ready, up and of full weight."""
    serving = {"state": "ready", "up": True, "weight": 100}
    members = dict.fromkeys((*HOSTS, "s0", "sorry"), serving)
    monkeypatch.setattr(
        update_gate.balancer_pool, "balancer_pool", lambda params, check_mode: {"members": members, "out": []}
    )
    pools = {"web": {**definitions()["web"], "balancer": {"backend": "web", "socket": ["/run/a.sock"]}}}
    plan = ask(update_plan.update_plan, update_plan.SPEC, pools=pools)["plan"]
    play = Run(plan["hosts"], plan["hosts"], plan["hosts"][:1])
    told = ask(update_gate.update_gate, update_gate.SPEC, pools=pools, plan=plan, run=play)["words"]
    assert "that needs 1 servers, and 2 stay in service" in told[1]
