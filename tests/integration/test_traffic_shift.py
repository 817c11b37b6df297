# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``traffic_shift`` and the roles on a real HAProxy under load."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators.haproxy import Session
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.history import instant
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.traffic_restore import ShiftBroken
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.traffic_shift import traffic_shift

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import ROOT, HAProxy, LoadGenerator, NginxProxy, make_servers, members_of, play, run_playbook, running
from ports import free_port
from prometheus import Metric, Prometheus

SHIFT = {
    "backend": "web", "donors": ["web1", "web2"], "receivers": ["web3", "web4"], "steps": ["10%", "50%", "100%"],
    "pause": "0.2s", "bake": "1s", "every": "0.25s", "baseline": "1.5s", "patience": "8s", "min_requests": 20,
    "gates": [{"metric": "error_rate", "ratio": 2.0}, {"metric": "latency_ms", "ratio": 1.8}],
}  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = make_servers(tmp_path_factory.mktemp("servers"), 4)
    with running(servers.values()):
        yield servers


@pytest.fixture
def proxy(tmp_path, servers):
    members = members_of({name: servers[name] for name in ("web1", "web2")})
    members += members_of({name: servers[name] for name in ("web3", "web4")}, standby=True)
    with HAProxy(tmp_path, {"web": members}) as proxy:
        yield proxy
    for server in servers.values():
        control(server, errors=0, latency=1)


def control(server, **knobs):
    query = "&".join(f"{name}={value}" for name, value in knobs.items())
    urllib.request.urlopen(f"http://{server.address}:{server.port}/control?{query}", timeout=5).close()


def shift(proxy, *, check_mode=False, **values):
    given = {**SHIFT, "socket": [proxy.tcp_socket], **values}
    return traffic_shift(options.checked(given, options.TRAFFIC_SHIFT, "traffic_shift"), check_mode=check_mode)


def weights(proxy):
    given = {"socket": [proxy.tcp_socket], "backend": "web"}
    read = balancer_pool(options.checked(given, options.BALANCER_POOL, "balancer_pool"), check_mode=False)
    return {name: (one["state"], one["weight"]) for name, one in read["members"].items()}


def test_a_healthy_version_gets_all_the_traffic(proxy, tmp_path):
    assert shift(proxy, check_mode=True)["steps"][0]["weights"] == {"web3": 10, "web4": 10, "web1": 90, "web2": 90}
    with LoadGenerator(tmp_path, proxy.url("web"), [250], seconds_per_point=300) as load:
        result = shift(proxy)
        assert load.stop()["failed"] == 0
    assert result["finished"] and not result["rolled_back"], result["words"]
    assert [step["verdict"] for step in result["steps"]] == ["go", "go", "go"]
    assert weights(proxy) == {
        "web1": ("ready", 0),
        "web2": ("ready", 0),
        "web3": ("ready", 100),
        "web4": ("ready", 100),
    }


@pytest.mark.parametrize(("knobs", "reason"), [({"errors": 0.05}, "error_rate"), ({"latency": 3}, "latency_ms")])
def test_a_bad_version_is_caught_and_the_weights_before_are_back(proxy, servers, tmp_path, knobs, reason):
    before = weights(proxy)
    for name in ("web3", "web4"):
        control(servers[name], **knobs)
    with LoadGenerator(tmp_path, proxy.url("web"), [250], seconds_per_point=300):
        result = shift(proxy, patience="30s")
    assert result["rolled_back"] and reason in result["words"][-1], result["words"]
    assert "weights from before are back" in result["words"][-1]
    assert weights(proxy) == before


def test_without_traffic_it_holds_and_then_goes_back(proxy):
    before = weights(proxy)
    result = shift(proxy, gates=[{"metric": "error_rate", "below": 0.01}], patience="1.5s", baseline="0s")
    assert result["rolled_back"] and "0 of 20 requests seen" in result["words"][-1]
    assert weights(proxy) == before


def test_without_traffic_it_may_pass_late_but_not_to_a_member_that_is_down(proxy, servers):
    quick = {"bake": "0.5s", "patience": "1s", "baseline": "0.2s", "steps": ["50%", "100%"], "thin": "pass"}
    result = shift(proxy, **quick)
    assert not result["rolled_back"] and "0 of 20 requests seen" in result["words"][-1], result["words"]
    assert weights(proxy)["web3"] == ("ready", 100)
    control(servers["web1"], healthy=False)
    result = shift(proxy, receivers=["web1"], donors=[], **{**quick, "patience": "3s"})
    control(servers["web1"], healthy=True)
    assert result["rolled_back"] and "web1 is down" in result["words"][-1], result["words"]


@pytest.mark.parametrize("healthy", [True, False])
def test_donors_give_their_traffic_to_those_that_stay_which_are_watched(proxy, servers, tmp_path, healthy):
    given = {"receivers": [], "donors": ["web1"], "steps": ["50%", "100%"], "patience": "30s"}
    with LoadGenerator(tmp_path, proxy.url("web"), [250], seconds_per_point=300):
        if not healthy:  # One that fails as soon as it carries all.
            thread = threading.Thread(target=lambda: (reached(proxy, "web1", 50), control(servers["web2"], errors=0.3)))
            thread.start()
        result = shift(proxy, **given)
    if healthy:
        assert result["finished"] and not result["rolled_back"], result["words"]
        assert weights(proxy)["web1"] == ("ready", 0)
        return
    thread.join()
    assert result["rolled_back"] and "error_rate is over" in result["words"][-1], result["words"]
    assert weights(proxy) == {
        "web1": ("ready", 100),
        "web2": ("ready", 100),
        "web3": ("maintenance", 100),
        "web4": ("maintenance", 100),
    }


def test_the_last_can_not_give_its_traffic_to_anybody(proxy):
    before = weights(proxy)
    with pytest.raises(InvalidOption, match="no member would stay in service"):
        shift(proxy, receivers=[], donors=["web1", "web2"])
    assert weights(proxy) == before


def reached(proxy, name, weight):
    """Return when a member has a weight."""
    end = time.monotonic() + 30
    while weights(proxy)[name][1] != weight:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def prometheus(tmp_path):
    now = int(time.time())
    stamps = range(now - 120, now + 1, 15)
    series = [
        ({"pool": "web"}, [(stamp, 120.0) for stamp in stamps]),
        ({"pool": "api"}, [(stamp, 900.0) for stamp in stamps]),
    ]
    with Prometheus(tmp_path / "prometheus", [Metric("latency_p95_ms", series)]) as server:
        yield server


@pytest.mark.parametrize(("pool", "undone"), [("web", False), ("api", True)])
def test_a_query_is_a_gate(proxy, prometheus, tmp_path, pool, undone):
    gate = {"metric": "p95", "query": f"latency_p95_ms{{pool='{pool}'}}", "below": 300}
    with LoadGenerator(tmp_path, proxy.url("web"), [250], seconds_per_point=300):
        result = shift(proxy, gates=[gate], prometheus={"url": prometheus.url}, patience="30s", baseline="0s")
    assert result["rolled_back"] is undone, result["words"]
    if undone:
        assert "p95" in result["words"][-1]


def test_a_query_that_nobody_answers_holds_and_then_goes_back(proxy, tmp_path):
    before = weights(proxy)
    gate = {"metric": "p95", "query": "latency_p95_ms", "below": 300}
    with LoadGenerator(tmp_path, proxy.url("web"), [250], seconds_per_point=300):
        result = shift(
            proxy, gates=[gate], prometheus={"url": f"http://127.0.0.1:{free_port()}"}, patience="2s", baseline="0s"
        )
    assert result["rolled_back"] and "p95" in result["words"][-1], result["words"]
    assert weights(proxy) == before


@pytest.mark.parametrize(
    ("query", "message"),
    [("latency_p95_ms", "gives 2 series.*Aggregate to one"), ("rate(", "does not understand 'rate\\('.*Try the query")],
)
def test_a_query_without_one_answer_is_refused(prometheus, query, message):
    with pytest.raises(InvalidOption, match=rf"gates\.query: .*{message}"):
        instant.number({"url": prometheus.url}, query)


def test_what_a_query_may_answer(prometheus):
    server = {"url": prometheus.url}
    assert instant.number(server, "sum(latency_p95_ms)") == 1020
    assert instant.number(server, "scalar(latency_p95_ms{pool='web'})") == 120
    assert instant.number(server, "absent_metric") is None
    assert instant.number(server, "0 / (latency_p95_ms{pool='web'} * 0)") is None


def test_receivers_without_room_for_the_demand_ahead_get_nothing(proxy):
    before = weights(proxy)
    room = {"server_capacity": 10, "demand": 1000}
    result = shift(proxy, gates=[], capacity=room, patience="0.3s", baseline="0s")
    assert result["rolled_back"] and "2 receivers carry 14 at 70%" in result["words"][-1]
    assert weights(proxy) == before


def test_limits_relate_to_the_forecast_for_this_hour(proxy, tmp_path):
    gates = [
        {"metric": "error_rate", "ratio": 2.0, "forecast": 0.01},
        {"metric": "latency_ms", "ratio": 3.0, "forecast": 20},
        {"metric": "queue", "below": 5},
    ]
    forecasts = [
        {"server": None, "quantiles": {"0.5": [100, 200], "0.9": [150, 270]}},
        {"server": "web1", "quantiles": {"0.9": [9000]}},
    ]
    room = {"server_capacity": 200, "target_utilization": 0.7, "forecasts": forecasts}
    with LoadGenerator(tmp_path, proxy.url("web"), [150], seconds_per_point=300):
        result = shift(proxy, gates=gates, capacity=room, steps=["50%", "100%"])
    assert not result["rolled_back"], result["words"]
    limits = {name: one["limit"] for name, one in result["steps"][0]["gates"].items()}
    assert limits == {"error_rate": 0.02, "latency_ms": 60.0, "queue": 5.0}


def test_receivers_must_carry_the_peak_of_the_forecast(proxy):
    before = weights(proxy)
    room = {"server_capacity": 100, "forecasts": [{"quantiles": {"0.9": [100, 290], "0.5": [10, 20]}}]}
    quick = {"gates": [], "min_requests": 0, "bake": "0.2s", "baseline": "0s", "patience": "0.5s"}
    result = shift(proxy, capacity=room, steps=["20%", "100%"], **quick)
    assert [step["verdict"] for step in result["steps"]] == ["go", "undo"]
    assert "2 receivers carry 140 at 70%, and 100% of the demand ahead is 290" in result["words"][-1]
    assert weights(proxy) == before
    with pytest.raises(InvalidOption, match=r"capacity\.forecasts: .* at the quantile 0\.99"):
        shift(proxy, capacity={**room, "quantile": "0.99"}, **quick)
    assert weights(proxy) == before


def test_a_queue_at_the_receivers_is_caught(proxy, servers, tmp_path):
    before = weights(proxy)
    session = Session(proxy.tcp_socket, timeout=5, option="socket")
    for name in ("web3", "web4"):
        control(servers[name], latency=10)
        session.ask(f"set maxconn server web/{name} 1")
    session.close()
    with LoadGenerator(tmp_path, proxy.url("web"), [250], seconds_per_point=300):
        result = shift(proxy, gates=[{"metric": "queue", "below": 3}], steps=["50%", "100%"], patience="30s")
    assert result["rolled_back"] and "queue is over 3" in result["words"][-1], result["words"]
    assert weights(proxy) == before


def test_steps_are_printed_and_the_roles_serve_a_playbook(proxy, servers, tmp_path):
    balancer = {"socket": [proxy.tcp_socket], "backend": "web"}
    role = {
        "balancer_out_balancer": balancer,
        "balancer_out_member": "web2",
        "balancer_in_balancer": balancer,
        "balancer_in_member": "web2",
        "balancer_in_bake": "1s",
        "balancer_in_min_requests": 5,
    }
    tasks = [
        {"ansible.builtin.include_role": {"name": "lowtide.fleet.balancer_out"}},
        {"lowtide.fleet.balancer_pool": balancer, "register": "pool"},
        {"ansible.builtin.assert": {"that": "pool.members.web2.state == 'maintenance'"}},
        {"ansible.builtin.include_role": {"name": "lowtide.fleet.balancer_in"}},
        {"lowtide.fleet.balancer_pool": balancer, "register": "pool"},
        {"ansible.builtin.assert": {"that": "pool.members.web2.state == 'ready' and pool.members.web2.weight == 100"}},
    ]
    with LoadGenerator(tmp_path, proxy.url("web"), [100], seconds_per_point=300) as load:
        run = run_playbook(tmp_path, play(tasks, vars=role))
        assert run.returncode == 0, run.stdout + run.stderr
        assert load.stop()["failed"] == 0
    assert "web 10%: web2 10; " in run.stdout and "web 100%: web2 100; " in run.stdout


# A shift that holds at its first step for as long as it is let: no traffic comes.
HELD = {
    "steps": ["10%", "100%"], "gates": [], "baseline": "0s", "bake": "60s", "patience": "60s", "restore_timeout": "20s",
}  # fmt: skip


def at_step(proxy, then):
    """Run something in a thread once the first step's weights are set."""

    def run() -> None:
        end = time.monotonic() + 30
        while weights(proxy)["web3"] != ("ready", 10):
            assert time.monotonic() < end
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("keeps_state", [True, False])
def test_a_balancer_that_restarts_in_mid_shift_gets_the_weights_from_before(proxy, keeps_state):
    before = weights(proxy)

    def restart() -> None:
        call = {"socket": [proxy.tcp_socket], "backend": "web", "state_file": str(proxy.state_file)}
        member = [{"name": "web3", "weight": "11"}]
        if keeps_state:
            balancer_pool(
                options.checked({**call, "members": member}, options.BALANCER_POOL, "balancer_pool"), check_mode=False
            )
        proxy.program.process.kill()
        proxy.stop()
        time.sleep(1.0)
        # Started as it would be by a service manager, with the state file as it is.
        proxy.program.start()

    thread = at_step(proxy, restart)
    with pytest.raises(
        ShiftBroken, match=r"broke off at 10% because .* has the weights from before again: web3 "
    ) as error:
        shift(proxy, **HELD)
    thread.join()
    assert "web1 ready 100" in str(error.value) and "web3 maintenance 100" in str(error.value)
    assert weights(proxy) == before


def test_a_balancer_that_stays_away_in_mid_shift_is_named_with_what_it_had(proxy, servers, tmp_path):
    """One of a pair dies: the other is set back, and the error says which was not."""
    (tmp_path / "other").mkdir()
    members = members_of({name: servers[name] for name in ("web1", "web2")})
    members += members_of({name: servers[name] for name in ("web3", "web4")}, standby=True)
    with HAProxy(tmp_path / "other", {"web": members}) as other:
        before = weights(proxy)
        thread = at_step(proxy, other.stop)
        with pytest.raises(ShiftBroken) as error:
            shift(proxy, **HELD | {"restore_timeout": "1s"}, socket=[proxy.tcp_socket, other.tcp_socket])
        thread.join()
    text = str(error.value)
    assert f"{proxy.tcp_socket} has the weights from before again: web3 maintenance 100" in text
    assert f"{other.tcp_socket} could not be set back" in text and "may have the weights of that step" in text
    assert "Then set the weights from before, web3 maintenance 100" in text
    assert weights(proxy) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_shift_sets_the_weights_back(proxy, tmp_path, number):
    before = weights(proxy)
    given = {**SHIFT, **HELD, "socket": [proxy.tcp_socket]}
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given}), encoding="utf-8")
    module = ROOT / ".build" / "ansible_collections" / "lowtide" / "fleet" / "plugins" / "modules" / "traffic_shift.py"
    run = subprocess.Popen(
        [sys.executable, str(module), str(arguments)], env={"PYTHONPATH": str(ROOT / ".build")}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    thread = at_step(proxy, lambda: run.send_signal(number))
    out, err = run.communicate(timeout=60)
    thread.join()
    assert run.returncode == 1, out + err
    message = json.loads(out)["msg"]
    assert f"broke off at 10% because the run was ended by {number.name}" in message
    assert "has the weights from before again: web3 maintenance 100" in message
    assert weights(proxy) == before


def test_a_failure_between_two_calls_sets_the_weights_back(proxy):
    """As the action plugin calls it: each step is a call of its own."""
    before = weights(proxy)
    quick = {"gates": [], "min_requests": 0, "bake": "0.2s", "baseline": "0s", "steps": ["10%", "100%"]}
    first = shift(proxy, **quick, progress={})
    assert not first["finished"] and weights(proxy)["web3"] == ("ready", 10)
    with pytest.raises(ShiftBroken, match="broke off at 10% because the backend has no member 'web9'"):
        shift(proxy, **quick | {"donors": ["web1", "web2", "web9"]}, progress=first["progress"])
    assert weights(proxy) == before


def test_a_reload_that_fails_in_mid_shift_is_named(servers, tmp_path):
    proxy = NginxProxy(tmp_path)
    reload = tmp_path / "reload"
    reload.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    reload.chmod(0o755)
    given = {"backend": "web", "provider": "nginx", "file": str(proxy.members), "settle": "0s", "reload": [str(reload)]}
    new = [{"name": one.name, "address": one.address, "port": one.port} for one in servers.values()]
    made = balancer_pool(options.checked({**given, "members": new}, options.BALANCER_POOL, ""), check_mode=False)
    before = {name: one["weight"] for name, one in made["members"].items()}
    with proxy:
        quick = {**SHIFT, **given, "gates": [], "min_requests": 0, "bake": "0.2s", "baseline": "0s"}

        def go(**values):
            return traffic_shift(options.checked({**quick, **values}, options.TRAFFIC_SHIFT, ""), check_mode=False)

        first = go(progress={}, patience="30s")
        assert first["progress"]["next"] == 1, first
        reload.write_text("#!/bin/sh\necho broken >&2\nexit 1\n", encoding="utf-8")
        with pytest.raises(
            ShiftBroken, match=r"^reload: the shift broke off .* could not be set back .*when seen last"
        ):
            go(progress=first["progress"], restore_timeout="0.5s")
    assert before == dict.fromkeys(before, 100)
