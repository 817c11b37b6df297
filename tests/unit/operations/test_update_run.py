# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import os
import subprocess
import sys

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, Locked, NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import controller, update_run

NOW = datetime.datetime(2026, 1, 31, 3, 0, tzinfo=datetime.UTC)
POOLS = {"web": {"servers": ["w1", "w2", "w3"], "load": {"metric": "requests", "server_capacity": 100}}}
PLAN = {
    "kind": "update",
    "version": 1,
    "deadline": "2026-01-31T06:00:00Z",
    "window": {"start": "2026-01-31T03:00:00Z", "end": "2026-01-31T03:20:00Z"},
    "pools": ["web"],
    "hosts": ["w1", "w2", "w3"],
    "batches": [
        {"number": 1, "hosts": ["w1", "w2"], "start": "2026-01-31T03:00:00Z", "spare_servers": 1},
        {"number": 2, "hosts": ["w3"], "start": "2026-01-31T03:10:00Z", "spare_servers": 2},
    ],
    "standbys": {"activate": []},
}


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the operation, at some minute, as some process; the state is in a file of its own."""
    # Processes that run tests beside this one have the same command, and are no tasks of a killed run.
    command, own = controller.command, os.getpid()
    monkeypatch.setattr(controller, "command", lambda pid: "" if pid in (own, os.getpid()) else command(pid))
    state = {"type": "duckdb", "path": str(tmp_path / "state.duckdb")}

    def ask(note, *, minute=0.0, process=None, check_mode=False, said=None, **given):
        at = (NOW + datetime.timedelta(minutes=minute)).isoformat()
        values = {
            "history": {"path": str(tmp_path / "none.duckdb")},
            "state": state,
            "pools": POOLS,
            "note": note,
            "now": at,
        }
        params = options.checked({**values, **given}, update_run.SPEC, "update_run")
        say = print if said is None else said.append
        return update_run.update_run(params, check_mode=check_mode, process=process or os.getpid(), say=say)

    ask.state = state
    return ask


def leases(call):
    spec = options.checked(call.state, options.STATE["state"]["options"], "state")
    with history.open_state({"state": spec}) as store:
        return {lease.name: lease.holder for lease in store.leases()}


def records(call, kind):
    spec = options.checked(call.state, options.STATE["state"]["options"], "state")
    with history.open_state({"state": spec}) as store:
        return [(record.name, record.body) for record in store.records(kind)]


def batch(call, run, hosts, *, upto="in"):
    """A batch, as the role goes through it."""
    for note in ("batch", "out", "updating", "updated", "healthy", "in"):
        result = call(note, run=run, hosts=hosts)
        if note == upto:
            return result
    raise AssertionError(upto)


def test_a_run_from_beginning_to_end(call):
    begun = call("begin", update="2.4")
    assert (begun["resumed"], begun["left"], begun["half"]) == (False, ["w1", "w2", "w3"], [])
    run = begun["run"]
    assert leases(call) == {"pool:web": controller.holder(os.getpid())}
    call("planned", run=run, plan=PLAN)
    told = call("batch", run=run, hosts=["w1", "w2"], minute=1)["words"]
    assert told == [
        "batch 1 of 2 (w1, w2): 0 of 3 servers are updated; 1 servers to spare by plan; expected end "
        "2026-01-31T03:21:00Z, in 20 min"
    ]
    call("out", run=run, hosts=["w1", "w2"], minute=1)
    call("updating", run=run, hosts=["w1", "w2"])
    call("updated", run=run, hosts=["w1", "w2"])
    call("healthy", run=run, hosts=["w1", "w2"])
    assert call("in", run=run, hosts=["w1", "w2"], minute=3)["done"] == ["w1", "w2"]
    assert records(call, "update-duration") == [("web", {"seconds": 120.0, "server": name}) for name in ("w1", "w2")]
    assert batch(call, run, ["w3"])["left"] == []
    assert call("done", run=run)["phase"] == "done"
    assert leases(call) == {}
    assert not call("begin", update="2.4", minute=9)["resumed"]


@pytest.mark.parametrize("upto", ["batch", "out", "updating", "updated", "healthy", "in"])
def test_killed_in_a_batch_it_is_taken_up(call, ended, upto):
    run = call("begin", update="2.4", process=ended)["run"]
    call("planned", run=run, plan=PLAN, process=ended)
    for note in ("batch", "out", "updating", "updated", "healthy", "in"):
        call(note, run=run, hosts=["w1", "w2"], process=ended)
        if note == upto:
            break
    again = call("begin", update="2.4", watched=["w1", "w2", "w3"], serving=["w3"])
    assert (again["resumed"], again["run"]) == (True, run)
    half = [] if upto in ("batch", "in") else ["w1", "w2"]
    assert again["half"] == half
    assert again["returning"] == (half if upto in ("updated", "healthy") else [])
    assert again["done"] == (["w1", "w2"] if upto == "in" else [])
    assert leases(call) == {"pool:web": controller.holder(os.getpid())}
    left = call("look", run=run)
    assert left["plan"]["hosts"] == [host for host in PLAN["hosts"] if host in left["left"]]
    assert call("look", run=run, minute=21)["plan"] is None


def test_killed_before_the_balancer_let_go_a_server_is_as_good_as_untouched(call, ended):
    run = call("begin", update="2.4", process=ended)["run"]
    call("batch", run=run, hosts=["w1"], process=ended)
    call("out", run=run, hosts=["w1"], process=ended)
    again = call("begin", update="2.4", watched=["w1", "w2", "w3"], serving=["w1", "w2", "w3"])
    assert (again["half"], again["left"], again["lowered"]) == ([], ["w1", "w2", "w3"], ["w1"])


def test_one_that_was_updated_gets_no_weight_before_it_is_looked_at(call):
    """Killed as it came back: another update finds it serving, and leaves its weight to its own batch."""
    run = call("begin", update="2.4")["run"]
    batch(call, run, ["w1"], upto="healthy")
    call("out", run=run, hosts=["w2"])
    other = call("begin", update="2.5", watched=["w1", "w2", "w3"], serving=["w1", "w2", "w3"], minute=5)
    assert (other["half"], other["lowered"]) == ([], ["w2"])


def test_a_pass_of_autoscale_is_waited_for(call, monkeypatch):
    spec = options.checked(call.state, options.STATE["state"]["options"], "state")
    with history.open_state({"state": spec}) as store:
        store.acquire("pool:web", holder="ann@elsewhere, run 7", seconds=900, now=NOW, why="scale")

    def scaled(seconds):
        with history.open_state({"state": spec}) as store:
            store.release("pool:web", holder="ann@elsewhere, run 7")

    monkeypatch.setattr(update_run.time, "sleep", scaled)
    assert call("begin", update="2.4")["left"] == ["w1", "w2", "w3"]


def test_while_it_waits_for_the_low_tide_others_may_scale(call):
    run = call("begin", update="2.4")["run"]
    call("planned", run=run, plan=PLAN, expect="30m")
    assert leases(call) == {}
    call("batch", run=run, hosts=["w1"], minute=1)
    assert leases(call) == {"pool:web": controller.holder(os.getpid())}


def test_while_a_batch_waits_for_its_hour_the_pools_stay_held(call):
    late = {**PLAN["batches"][1], "start": "2026-01-31T05:00:00Z"}
    run = call("begin", update="2.4")["run"]
    call("planned", run=run, plan={**PLAN, "batches": [PLAN["batches"][0], late]})
    call("batch", run=run, hosts=["w3"], minute=20, expect="10m")
    spec = options.checked(call.state, options.STATE["state"]["options"], "state")
    with history.open_state({"state": spec}) as store:
        (lease,) = store.leases()
    assert lease.until == NOW + datetime.timedelta(hours=2, minutes=12)


@pytest.fixture
def other():
    """Another process that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_second_run_at_the_same_time_is_told_who_has_the_pools(call, other):
    call("begin", update="2.4", process=other.pid, now=None)
    held = rf"^pool: pool:web is held by .*, process {other.pid}.* to update 2\.4 since 20.*Z\. Wait for it"
    with pytest.raises(Locked, match=held):
        call("begin", update="2.4", now=None)


def test_a_run_that_does_not_get_all_its_pools_keeps_none(call, other):
    """So that others, on other hosts too, need not wait until a hold of nobody ends."""
    two = {"api": {**POOLS["web"], "servers": ["a1"]}, **POOLS}
    call("begin", update="2.4", pools=two, pool=["web"], process=other.pid, now=None)
    with pytest.raises(Locked, match="pool:web is held by"):
        call("begin", update="2.5", pools=two, now=None)
    assert list(leases(call)) == ["pool:web"]


def test_a_run_that_waited_leaves_what_another_has_done(call, other, monkeypatch):
    """The same command twice, both waiting for one low tide: the second of them finds the first at work, and then done."""
    run = call("begin", update="2.4", process=other.pid)["run"]
    call("planned", run=run, plan=PLAN, expect="30m", process=other.pid)
    call("begin", update="2.4")
    call("planned", run=run, plan=PLAN, expect="30m")
    spec = options.checked(call.state, options.STATE["state"]["options"], "state")
    mine = controller.holder(os.getpid())
    with history.open_state({"state": spec}) as store:
        store.acquire("pool:web", holder=mine, seconds=900, now=NOW, why="update 2.4")

    def go_on(seconds):
        call("woken", run=run)
        batch(call, run, ["w1", "w2"])
        batch(call, run, ["w3"])
        call("done", run=run)

    monkeypatch.setattr(controller, "gone", lambda text, since: False)
    monkeypatch.setattr(update_run.time, "sleep", go_on)
    with pytest.raises(
        Locked, match=r"^run: the update '2\.4' is done by another run meanwhile\. Leave it to that run"
    ):
        call("woken", run=run, process=other.pid, minute=4)
    assert leases(call) == {}


def test_a_run_that_waited_leaves_what_another_has_taken_up(call, other):
    run = call("begin", update="2.4", process=other.pid)["run"]
    call("planned", run=run, plan=PLAN, expect="30m", process=other.pid)
    call("begin", update="2.4")
    call("planned", run=run, plan=PLAN, expect="30m")
    with pytest.raises(Locked, match=rf"was taken up by .*, process {os.getpid()}.* meanwhile"):
        call("waking", run=run, standbys=[], process=other.pid, minute=4)
    assert call("woken", run=run, minute=5)["phase"] == "woken"


def test_a_plan_that_does_not_know_all_that_is_left_is_made_anew(call, ended):
    run = call("begin", update="2.4", process=ended)["run"]
    call("planned", run=run, plan=PLAN, process=ended)
    more = {"web": {**POOLS["web"], "servers": ["w1", "w2", "w3", "w4"]}}
    call("begin", update="2.4", pools=more)
    assert call("look", run=run, pools=more)["plan"] is None
    assert call("look", run=run, pools=more, hosts=["w1", "w3"])["plan"]["hosts"] == ["w1", "w3"]


def test_servers_that_are_in_no_pool_any_more_are_told_and_left(call, ended):
    run = call("begin", update="2.4", process=ended)["run"]
    call("planned", run=run, plan=PLAN, process=ended)
    call("batch", run=run, hosts=["w1", "w2"], process=ended)
    call("out", run=run, hosts=["w1", "w2"], process=ended)
    fewer = {"web": {**POOLS["web"], "servers": ["w1", "w4"]}}
    told = "w2 was taken out and not brought back, and is of none of the pools now: left alone"
    for check_mode in (True, False):
        again = call("begin", update="2.4", pools=fewer, minute=1, check_mode=check_mode)
        assert (again["half"], again["left"]) == (["w1"], ["w4"]) and told in again["words"]
    for note in ("out", "updating", "updated", "healthy", "in"):
        call(note, run=run, hosts=["w1"], pools=fewer)
    assert call("look", run=run, pools=fewer, max_failures=0)["left"] == ["w4"]
    assert told in call("begin", update="2.5", pools={"web": {**POOLS["web"], "servers": ["w1"]}}, minute=2)["words"]


def test_a_server_that_others_keep_out_is_updated_and_left_out(call, ended):
    """Also after the run was killed as it was at work on it, and one that a run itself has taken out comes back."""
    every = ["w1", "w2", "w3"]
    begun = call("begin", update="2.4", watched=every, serving=["w2", "w3"], resting=["w1"], process=ended)
    assert (begun["kept_out"], begun["left"]) == (["w1"], every)
    assert "w1 was out of service before, and is updated and left out" in begun["words"]
    run = begun["run"]
    for note in ("batch", "out", "updating"):
        call(note, run=run, hosts=["w1", "w2"], process=ended)
    again = call("begin", update="2.4", watched=every, serving=["w3"], resting=["w1", "w2"])
    assert (again["kept_out"], again["half"]) == (["w1"], ["w1", "w2"])
    batch(call, run, ["w1", "w2"], upto="updating")
    assert call("updated", run=run, hosts=["w1", "w2"])["bring"] == ["w2"]
    call("healthy", run=run, hosts=["w1", "w2"])
    assert call("in", run=run, hosts=["w1", "w2"], minute=3)["done"] == ["w1", "w2"]
    assert [body["server"] for _pool, body in records(call, "update-duration")] == ["w2"]
    other = call("begin", update="2.5", watched=every, serving=["w2", "w3"], resting=["w1"], minute=5)
    assert (other["kept_out"], other["half"]) == (["w1"], [])
    back = call("begin", update="2.5", watched=every, serving=every, minute=6)
    assert (back["resumed"], back["kept_out"]) == (True, [])


def test_one_that_was_rolled_back_and_not_brought_in_is_no_one_elses(call):
    run = call("begin", update="2.4")["run"]
    batch(call, run, ["w1"], upto="updating")
    call("failed", run=run, hosts=["w1"], why="no disk")
    call("rolled_back", run=run, hosts=["w1"])
    other = call("begin", update="2.5", watched=["w1", "w2"], serving=["w2"], resting=["w1"], minute=5)
    assert (other["kept_out"], other["half"]) == ([], ["w1"])


def test_a_run_that_lost_its_pools_still_ends(call, other):
    run = call("begin", update="2.4", process=other.pid)["run"]
    call("begin", update="2.5", take_over=True)
    (word,) = call("stopped", run=run, why="no room", process=other.pid)["words"]
    assert "pool:web is held by" in word


def test_a_run_can_be_pushed_aside(call, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(controller, "holder", lambda process: "ann@elsewhere, process 7")
        run = call("begin", update="2.4")["run"]
    assert call("begin", update="2.4", take_over=True)["resumed"]
    monkeypatch.setattr(controller, "holder", lambda process: "ann@elsewhere, process 7")
    with pytest.raises(Locked, match=f"pool:web is held by .*process {os.getpid()}"):
        call("batch", run=run, hosts=["w1"])


def test_the_hold_of_a_controller_that_was_lost_ends_by_itself(call, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(controller, "holder", lambda process: "ann@elsewhere, process 7")
        call("begin", update="2.4", expect="3m")
    with pytest.raises(Locked, match="its hold ends at 2026-01-31T03:05:00Z"):
        call("begin", update="2.4", minute=4.9)
    assert call("begin", update="2.4", minute=5.1)["resumed"]


def test_tasks_of_a_killed_run_are_waited_for(call, ended, monkeypatch):
    call("begin", update="2.4", process=ended)
    looks = iter([[7, 8], [7], []])
    monkeypatch.setattr(controller, "left_behind", lambda digest, before: next(looks))
    said = []
    assert call("begin", update="2.4", said=said)["resumed"]
    assert said == ["waiting for tasks of the run that was killed, which still work: process 7, 8"]
    monkeypatch.setattr(controller, "left_behind", lambda digest, before: [7])
    with pytest.raises(Locked, match="^wait_for_killed: tasks of the run that was killed still work, as process 7"):
        call("begin", update="2.4", wait_for_killed="0s")
    assert leases(call) == {}


def test_another_update_takes_over_what_the_first_left(call):
    run = call("begin", update="2.4")["run"]
    call("waking", run=run, standbys=["s1"])
    batch(call, run, ["w1"], upto="updated")
    other = call("begin", update="2.5", watched=["w1", "w2", "w3"], serving=["w2", "w3"], minute=5)
    assert (other["resumed"], other["half"], other["returning"], other["standbys"]) == (False, ["w1"], [], ["s1"])
    assert any(
        "'2.4' begun 2026-01-31T03:00:00Z was not finished; this one takes its place" in word for word in other["words"]
    )


def test_too_many_failures_stop_the_run_by_name(call):
    run = call("begin", update="2.4")["run"]
    batch(call, run, ["w1", "w2"], upto="updating")
    call("failed", run=run, hosts=["w1"], why="no disk")
    assert call("updated", run=run, hosts=["w1"], max_failures=2)["broken"] == {
        "w1": "no disk",
        "w2": "it could not be reached, or failed",
    }
    with pytest.raises(
        update_run.TooManyFailed, match=r"^w1, w2 failed .*, and at most 1 may \(w1: no disk; w2: it could"
    ):
        call("batch", run=run, hosts=["w3"], max_failures=1)
    stopped = call("stopped", run=run, why="because")
    assert (stopped["phase"], stopped["why"], leases(call)) == ("stopped", "because", {})
    assert call("stopped", run=run)["why"] == "because"


def test_check_mode_writes_nothing(call):
    call("begin", update="2.4")
    written = records(call, "update-run")
    assert call("begin", update="2.4", check_mode=True)["resumed"]
    assert call("begin", update="2.5", check_mode=True)["run"] == ""
    assert call("updated", hosts=["w1"], check_mode=True)["bring"] == ["w1"]
    assert call("done", check_mode=True)["changed"] is False
    assert records(call, "update-run") == written


def test_check_mode_looks_at_servers_alone_whatever_a_limit_names(call):
    call("begin", update="2.4")
    assert call("look", hosts=["w1", "w2", "localhost"], check_mode=True)["left"] == ["w1", "w2"]


def test_check_mode_tells_which_batch_it_is_by_the_plan_it_is_given(call):
    call("begin", update="2.4")
    told = call("batch", hosts=["w3"], plan=PLAN, check_mode=True)["words"]
    assert told[0].startswith("batch 2 of 2 (w3): 0 of 3 servers are updated"), told
    assert call("batch", hosts=["w3"], check_mode=True)["words"] == ["putting right w3; 0 of 3 servers are updated"]


def test_what_is_wrong_is_said(call):
    with pytest.raises(InvalidOption, match=r"^update: it is not given\. Name the update"):
        call("begin")
    call("begin", update="2.4")
    with pytest.raises(InvalidOption, match=r"^run: it is not given\. Give what note=begin returned"):
        call("look")
    with pytest.raises(NotFound, match=r"^run: there is no run 'x'\. Give what note=begin returned"):
        call("look", run="x")


def test_a_mistyped_history_is_not_made(call, tmp_path):
    with pytest.raises(NotFound, match="there is no history at"):
        call("begin", update="2.4", state=None)
    assert not (tmp_path / "none.duckdb").exists()
