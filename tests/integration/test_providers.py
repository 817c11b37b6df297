# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One contract for all providers, and a rolling restart under load through each: no request is lost."""

from __future__ import annotations

import json
import pathlib
import sys
import time

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import EnvoyProxy, HAProxy, LoadGenerator, TraefikProxy, make_servers, members_of, running

OWN_TASKS = """
- when: lowtide_plan.action == 'apply'
  block:
    - ansible.builtin.set_fact:
        kept: "{{ lookup('ansible.builtin.file', 'STORE') | from_json }}"
    - ansible.builtin.set_fact:
        kept: "{{ kept | dict2items | rejectattr('key', 'in', names) | items2dict }}"
      vars:
        names: "{{ lowtide_plan.members | map(attribute='name') }}"
    - ansible.builtin.set_fact:
        kept: "{{ kept | combine({item.name: item}) }}"
      loop: "{{ lowtide_plan.members | rejectattr('state', 'eq', 'absent') }}"
    - ansible.builtin.copy:
        dest: STORE
        content: "{{ kept | to_json }}"
        mode: "0600"
- ansible.builtin.set_fact:
    lowtide_members: "{{ lookup('ansible.builtin.file', 'STORE') | from_json }}"
  when: lowtide_plan.action == 'read'
"""


class Balancer:
    """A provider under test: its options, and where its traffic goes."""

    def __init__(self, url: str, **given: object) -> None:
        self.url = url
        self.given = given

    def __call__(self, members=(), **values):
        given = {"backend": "web", "members": list(members), **self.given, **values}
        return balancer_pool(options.checked(given, options.BALANCER_POOL, "balancer_pool"), check_mode=False)


@pytest.fixture
def servers(tmp_path):
    servers = make_servers(tmp_path, 3)
    with running(servers.values()):
        yield servers


def additions(servers):
    return [{"name": one.name, "state": "ready", "address": one.address, "port": one.port} for one in servers.values()]


@pytest.fixture(params=["haproxy", "envoy", "traefik", "nginx", "tasks"])
def balancer(request, tmp_path, servers):
    """Each provider in turn, with the three servers as its members."""
    if request.param == "haproxy":
        with HAProxy(tmp_path, {"web": members_of(servers)}) as proxy:
            yield Balancer(proxy.url("web"), socket=[proxy.tcp_socket])
    elif request.param == "envoy":
        proxy = EnvoyProxy(tmp_path)
        Balancer("", provider="envoy", file=str(proxy.members), settle="0s")(additions(servers))
        with proxy:
            yield Balancer(proxy.url, provider="envoy", file=str(proxy.members), admin=proxy.admin)
    elif request.param == "traefik":
        proxy = TraefikProxy(tmp_path)
        balancer = Balancer(proxy.url, provider="traefik", file=str(proxy.members), settle="0.7s")
        balancer(additions(servers), settle="0s")
        with proxy:
            yield balancer
    elif request.param == "nginx":
        balancer = Balancer("", provider="nginx", file=str(tmp_path / "web.conf"), reload=["true"], settle="0s")
        balancer(additions(servers))
        yield balancer
    else:
        (tmp_path / "store.json").write_text("{}", encoding="utf-8")
        (tmp_path / "own.yml").write_text(OWN_TASKS.replace("STORE", str(tmp_path / "store.json")), encoding="utf-8")
        balancer = Balancer("", provider="tasks", tasks=str(tmp_path / "own.yml"))
        balancer(additions(servers))
        yield balancer


def test_the_contract(balancer):
    """Read, change, read back, change nothing twice, add and remove."""
    assert {name: one["state"] for name, one in balancer()["members"].items()} == dict.fromkeys(
        ("web1", "web2", "web3"), "ready"
    )
    wanted = [{"name": "web1", "state": "drain"}, {"name": "web2", "weight": "50%"}, {"name": "web3", "weight": "7"}]
    made = balancer(wanted)
    assert made["changed"]
    assert made["members"]["web1"]["state"] == "drain"
    assert [made["members"][name]["weight"] for name in ("web2", "web3")] == [50, 7]
    assert not balancer(wanted)["changed"]
    added = [{"name": "web4", "state": "maintenance", "address": "127.0.2.4", "port": 8080}]
    assert balancer(added)["members"]["web4"]["state"] == "maintenance"
    assert "web4" not in balancer([{"name": "web4", "state": "absent"}])["members"]
    with pytest.raises(InvalidOption, match=r"members\[0\]\.name"):
        balancer([{"name": "web1\nweb2", "state": "drain"}])


@pytest.mark.parametrize("balancer", ["haproxy", "envoy", "traefik"], indirect=True)
def test_a_rolling_restart_loses_nothing_and_a_kill_does(balancer, servers, tmp_path):
    with LoadGenerator(
        tmp_path, balancer.url, [150], seconds_per_point=40, paths={"/": 0.99, "/long?seconds=1": 0.01}
    ) as load:
        for name, server in servers.items():
            gone = balancer([{"name": name, "state": "maintenance"}], wait_for_sessions=True, timeout="10s")
            assert gone["remaining"] == {}
            server.stop()
            server.start()
            balancer([{"name": name, "state": "drain"}])
            end = time.monotonic() + 5
            while "admin" in balancer.given and not balancer()["members"][name]["checked"] and time.monotonic() < end:
                time.sleep(0.1)
            balancer([{"name": name, "state": "ready"}])
        assert load.stop()["failed"] == 0
    with LoadGenerator(tmp_path, balancer.url, [150], name="control", seconds_per_point=2) as control:
        time.sleep(0.7)
        servers["web2"].kill()
        report = control.wait(30)
    assert report["failed"] > 0, json.dumps(report)


def test_a_file_of_someone_else_is_left_alone(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text("resources: []\n", encoding="utf-8")
    with pytest.raises(InvalidOption, match=r"file: .* was not written by Lowtide"):
        Balancer("", provider="envoy", file=str(path))([{"name": "a", "address": "127.0.0.1", "port": 80}])
    assert path.read_text(encoding="utf-8") == "resources: []\n"
