# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One contract for all providers, and a rolling restart under load through each: no request is lost."""

from __future__ import annotations

import json
import pathlib
import sys
import time
from contextlib import nullcontext

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    InvalidOption,
    NotFound,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import EnvoyProxy, HAProxy, LoadGenerator, NginxProxy, TraefikProxy, make_servers, members_of, running

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
        proxy = NginxProxy(tmp_path)
        balancer = Balancer(proxy.url, provider="nginx", file=str(proxy.members), reload=proxy.reload, settle="1.2s")
        balancer(additions(servers), settle="0s", reload=["true"])
        with proxy:
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
    for name in ("web 1", "web1;web2", "web1\nweb2", 'web1"', "web1'"):
        with pytest.raises(InvalidOption, match=r"members\[0\]\.name: .* can't be the name"):
            balancer([{"name": name, "state": "drain"}])
        with pytest.raises(InvalidOption, match=r"backend: .* can't be the name"):
            balancer(backend=name)
    with pytest.raises(NotFound, match=r"members\[0\]\.name: the backend has no member 'web9'"):
        balancer([{"name": "web9", "state": "drain"}])
    with (
        pytest.raises((NotFound, InvalidOption), match="^backend: ") if "tasks" not in balancer.given else nullcontext()
    ):
        balancer(backend="other")


@pytest.mark.parametrize("balancer", ["haproxy", "envoy", "traefik", "nginx"], indirect=True)
def test_a_rolling_restart_loses_nothing_and_a_kill_does(balancer, servers, tmp_path):
    with LoadGenerator(
        tmp_path, balancer.url, [150], seconds_per_point=300, paths={"/": 0.99, "/long?seconds=1": 0.01}
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


@pytest.mark.parametrize("balancer", ["nginx"], indirect=True)
def test_a_reload_that_fails_leaves_the_file_and_nginx_as_they_were(balancer, servers):
    path = pathlib.Path(balancer.given["file"])
    before = path.read_text(encoding="utf-8")
    change = [{"name": "web1", "state": "drain"}]
    with pytest.raises(ConnectionFailed, match=r"reload: 'false' failed: .* Check the configuration"):
        balancer(change, reload=["false"])
    with pytest.raises(ConnectionFailed, match=r"reload: '/no/such' could not run"):
        balancer(change, reload=["/no/such"])
    away = [{"name": name, "state": "absent"} for name in servers]
    with pytest.raises(ConnectionFailed, match="no servers are inside upstream"):
        balancer(away, min_ready=0)
    assert path.read_text(encoding="utf-8") == before
    assert balancer()["members"]["web1"]["state"] == "ready"


@pytest.mark.parametrize("balancer", ["nginx"], indirect=True)
def test_what_nginx_would_not_see_needs_no_reload(balancer):
    balancer([{"name": "web1", "state": "drain"}])
    made = balancer([{"name": "web1", "state": "maintenance"}], reload=["false"])
    assert made["members"]["web1"]["state"] == "maintenance"


@pytest.mark.parametrize("balancer", ["envoy"], indirect=True)
def test_an_envoy_that_can_not_be_asked_or_does_not_follow_is_an_error(balancer, tmp_path):
    drain = [{"name": "web1", "state": "drain"}]
    with pytest.raises(ConnectionFailed, match=r"admin: http://127.0.0.1:1 can't be reached"):
        balancer(drain, admin="http://127.0.0.1:1")
    other = str(tmp_path / "other.yaml")
    new = [{"name": "web1", "state": "ready", "address": "127.0.2.9", "port": 80}]
    with pytest.raises(ConnectionFailed, match=r"file: Envoy at .* does not follow .*other.yaml"):
        balancer(new, file=other)
    assert balancer(file=other)["members"] == {}


@pytest.mark.parametrize("provider", ["envoy", "traefik", "nginx"])
def test_a_file_that_can_not_be_written_is_an_error(provider, tmp_path):
    new = [{"name": "a", "address": "127.0.0.1", "port": 80}]
    with pytest.raises(AuthenticationFailed, match=r"file: .*/missing can't be written to"):
        Balancer("", provider=provider, file=str(tmp_path / "missing" / "web.yaml"))(new)
    (tmp_path / "web.yaml").mkdir()
    with pytest.raises(AuthenticationFailed, match=r"file: .*/web.yaml can't be read: Is a directory"):
        Balancer("", provider=provider, file=str(tmp_path / "web.yaml"))(new)
