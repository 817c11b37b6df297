# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles in a play over several hosts, on balancers that are configured by a file."""

from __future__ import annotations

import pathlib
import sys

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import EnvoyProxy, HAProxy, LoadGenerator, TraefikProxy, make_servers, members_of, run_playbook, running

HOSTS = ("-i", "web1,web2,", "-c", "local")


@pytest.fixture
def servers(tmp_path):
    servers = make_servers(tmp_path, 3)
    with running(servers.values()):
        yield servers


def call(given, **values):
    given = {**given, "backend": "web", **values}
    return balancer_pool(options.checked(given, options.BALANCER_POOL, "balancer_pool"), check_mode=False)


@pytest.fixture(params=["envoy", "traefik"])
def reached(request, tmp_path, servers):
    """How the balancer is reached, and its address."""
    proxy = EnvoyProxy(tmp_path) if request.param == "envoy" else TraefikProxy(tmp_path)
    given = {"provider": request.param, "file": str(proxy.members)}
    new = [{"name": one.name, "address": one.address, "port": one.port} for one in servers.values()]
    call(given, members=new, settle="0s")
    given |= {"admin": proxy.admin} if request.param == "envoy" else {"settle": "0.7s"}
    with proxy:
        yield given, proxy.url


def role(name, way=None):
    return {"ansible.builtin.include_role": {"name": f"lowtide.fleet.{name}", **({"tasks_from": way} if way else {})}}


def states(given):
    return {name: (one["state"], one["weight"]) for name, one in call(given)["members"].items()}


IN = {"web1": ("ready", 100), "web2": ("ready", 100), "web3": ("ready", 100)}


def book(tasks, **variables):
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks, "vars": variables}]


def test_each_host_goes_out_and_comes_back(reached, tmp_path):
    given, url = reached
    balancer = {**given, "backend": "web"}
    out = {"balancer_out_balancer": balancer}
    back = {"balancer_in_balancer": balancer, "balancer_in_gated": "admin" in given, "balancer_in_bake": "1s"}
    back |= {"balancer_in_min_requests": 5, "balancer_in_pause": 0.1, "balancer_in_steps": ["50%", "100%"]}
    with LoadGenerator(tmp_path, url, [60], seconds_per_point=300) as load:
        run = run_playbook(tmp_path, book([role("balancer_out")], **out), *HOSTS)
        assert run.returncode == 0, run.stdout + run.stderr
        assert states(given) == IN | {"web1": ("maintenance", 100), "web2": ("maintenance", 100)}
        run = run_playbook(tmp_path, book([role("balancer_in")], **back), *HOSTS)
        assert run.returncode == 0, run.stdout + run.stderr
        assert load.stop()["failed"] == 0
    assert states(given) == IN


def test_a_batch_goes_out_and_comes_back_in_one_call(reached, tmp_path):
    given, url = reached
    shared = {
        "balancer_pool": {"balancer": {**given, "backend": "web"}},
        "balancer_members": "{{ ansible_play_batch }}",
    }
    shared |= {
        "balancer_pause": 0.1,
        "balancer_bake": "1s",
        "balancer_min_requests": 5,
    }
    with LoadGenerator(tmp_path, url, [60], seconds_per_point=300) as load:
        run = run_playbook(tmp_path, book([role("balancer", "out")], **shared), *HOSTS)
        assert run.returncode == 0, run.stdout + run.stderr
        watched = "admin" in given
        weight = 0 if watched else 100
        assert states(given) == IN | {"web1": ("drain", weight), "web2": ("drain", weight)}
        assert ("web 50%: web1 50, web2 50; " in run.stdout) is watched, run.stdout
        untold = "latency_ms" if watched else "error_rate, latency_ms"
        assert f"web: the balancer does not tell {untold} of its members" in run.stdout
        assert ("nothing is watched as members leave" in run.stdout) is not watched
        run = run_playbook(tmp_path, book([role("balancer", "in")], **shared), *HOSTS)
        assert run.returncode == 0, run.stdout + run.stderr
        assert load.stop()["failed"] == 0
    assert ("web 25%: web1 25, web2 25; " in run.stdout) is watched, run.stdout
    assert ("so the weights rise by time alone" in run.stdout) is not watched, run.stdout
    assert states(given) == IN
    again = run_playbook(tmp_path, book([role("balancer", "in")], **shared), *HOSTS)
    assert again.returncode == 0 and "changed=1" not in again.stdout, again.stdout + again.stderr


def test_what_goes_wrong_once_stops_every_host_of_the_batch(tmp_path, servers):
    with HAProxy(tmp_path, {"web": members_of(servers)}) as proxy:
        pool = {"balancer": {"socket": [proxy.tcp_socket], "backend": "web"}}
        after = {"ansible.builtin.debug": {"msg": "went on"}}
        few = {"balancer_pool": pool, "balancer_members": ["web1", "web2"], "balancer_min_ready": 2}
        run = run_playbook(tmp_path, book([role("balancer", "out"), after], **few), *HOSTS)
        assert run.returncode == 2 and "min_ready: without web1, web2 only 1" in run.stdout + run.stderr
        assert "went on" not in run.stdout
        unknown = {"balancer_pool": pool, "balancer_members": ["web1", "web9"]}
        run = run_playbook(tmp_path, book([role("balancer", "in"), after], **unknown), *HOSTS)
        assert run.returncode == 2 and "members[1].name: the backend has no member 'web9'" in run.stdout + run.stderr
        assert "went on" not in run.stdout
        assert states({"socket": [proxy.tcp_socket]}) == IN


def test_weights_that_can_not_rise_in_steps_are_refused_while_members_are_in(tmp_path, servers):
    with HAProxy(tmp_path, {"web": members_of(servers, weight=1)}) as proxy:
        pool = {"balancer": {"socket": [proxy.tcp_socket], "backend": "web"}}
        shared = {"balancer_pool": pool, "balancer_members": ["web1", "web2"]}
        for gated, told in ((True, "25% of the weight 1 of web1 can't"), (False, "25% of a full weight of 1 can't")):
            run = run_playbook(tmp_path, book([role("balancer", "foresee")], balancer_gated=gated, **shared), *HOSTS)
            assert run.returncode == 2 and told in run.stdout + run.stderr, run.stdout + run.stderr
        whole = {"balancer_gated": False, "balancer_steps": ["100%"]}
        run = run_playbook(tmp_path, book([role("balancer", "foresee")], **whole, **shared), *HOSTS)
        assert run.returncode == 0 and "changed=1" not in run.stdout, run.stdout + run.stderr
        assert {name: seen[0] for name, seen in states({"socket": [proxy.tcp_socket]}).items()} == dict.fromkeys(
            IN, "ready"
        )


def test_a_member_that_does_not_answer_never_comes_in(tmp_path, servers):
    """What its check said before maintenance does not count."""
    with HAProxy(tmp_path, {"web": members_of(servers)}) as proxy:
        given = {"socket": [proxy.tcp_socket]}
        call(given, members=[{"name": "web1", "state": "maintenance"}])
        servers["web1"].stop()
        back = {"balancer_in_balancer": {**given, "backend": "web"}, "balancer_in_health_timeout": 2}
        back |= {"balancer_in_gated": False, "balancer_in_pause": 0}
        with LoadGenerator(tmp_path, proxy.url("web"), [60], seconds_per_point=300) as load:
            run = run_playbook(tmp_path, book([role("balancer_in")], **back), "-i", "web1,", "-c", "local")
            assert load.stop()["failed"] == 0
        assert run.returncode == 2, run.stdout + run.stderr
        assert states(given)["web1"][0] == "drain"
