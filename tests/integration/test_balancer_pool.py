# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``balancer_pool`` on a real HAProxy."""

from __future__ import annotations

import pathlib
import sys
import time

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    InvalidOption,
    LowtideError,
    NotFound,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import HAProxy, LoadGenerator, Member, make_servers, members_of, play, run_playbook, running


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = make_servers(tmp_path_factory.mktemp("servers"), 3)
    with running(servers.values()):
        yield servers


@pytest.fixture
def proxy(tmp_path, servers):
    members = members_of(servers)
    members.append(Member("standby", members[0].address, members[0].port, standby=True))
    with HAProxy(tmp_path, {"web": members, "api": members[:1]}) as proxy:
        yield proxy


def call(proxy: HAProxy | None, *, check_mode: bool = False, **values):
    """The operation, its options checked as the module's are."""
    given = {"backend": "web", **({"socket": [proxy.tcp_socket]} if proxy else {}), **values}
    return balancer_pool(options.checked(given, options.BALANCER_POOL, "balancer_pool"), check_mode=check_mode)


def test_states_and_weights_of_many_in_one_call(proxy):
    members = [
        {"name": "web1", "state": "drain"},
        {"name": "web2", "weight": "30%"},
        {"name": "standby", "state": "ready", "weight": "7"},
    ]
    foreseen = call(proxy, members=members, check_mode=True)
    assert foreseen["changed"] and foreseen["members"]["web1"]["state"] == "ready"
    made = call(proxy, members=members)
    assert made["diff"] == foreseen["diff"]
    assert {name: (one["state"], one["weight"]) for name, one in made["members"].items()} == {
        "web1": ("drain", 100),
        "web2": ("ready", 30),
        "web3": ("ready", 100),
        "standby": ("ready", 7),
    }
    assert made["words"][0] == "web1: state ready → drain."
    again = call(proxy, members=members)
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]


def test_figures_count_what_the_load_was(proxy, tmp_path):
    with LoadGenerator(tmp_path, proxy.url("web"), [100], seconds_per_point=2) as load:
        report = load.wait(20)
    figures = call(proxy)
    assert report["failed"] == 0
    assert figures["pool"]["requests"] == report["sent"]
    assert figures["pool"]["errors"] == 0
    assert 0.5 * report["p50_ms"] < figures["members"]["web1"]["latency_ms"] < 1.5 * report["p50_ms"]


def test_waits_for_sessions_and_says_which_remained(proxy, tmp_path):
    with LoadGenerator(tmp_path, proxy.url("web"), [10], seconds_per_point=1, paths={"/long?seconds=2": 1}) as load:
        time.sleep(0.8)
        member = [{"name": "web1", "state": "maintenance"}]
        short = call(proxy, members=member, wait_for_sessions=True, timeout="0.2s")
        assert short["remaining"]["web1"] > 0
        assert short["members"]["web1"]["state"] == "drain"
        assert any("web1 still has" in warning for warning in short["warnings"])
        gone = call(proxy, members=member, wait_for_sessions=True, timeout="10s")
        assert gone["remaining"] == {}
        assert gone["members"]["web1"]["state"] == "maintenance"
        assert load.wait(20)["failed"] == 0


def test_two_instances_are_kept_in_step(tmp_path, servers):
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    pair = [HAProxy(place, {"web": members_of(servers)}) for place in places]
    with running(pair):
        both = [pair[0].tcp_socket, pair[1].unix_socket()]
        call(pair[1], members=[{"name": "web2", "weight": "10"}])
        assert any("differ about web2" in warning for warning in call(None, socket=both)["warnings"])
        made = call(None, socket=both, members=[{"name": "web2", "weight": "10"}, {"name": "web3", "state": "drain"}])
        assert made["changed"] and made["warnings"] == []
        for one in pair:
            members = call(one)["members"]
            assert (members["web2"]["weight"], members["web3"]["state"]) == (10, "drain")
        pair[1].stop()
        with pytest.raises(ConnectionFailed, match=r"socket\[1\]"):
            call(None, socket=both, members=[{"name": "web1", "state": "drain"}])
        assert call(pair[0])["members"]["web1"]["state"] == "ready"


def test_state_survives_a_reload(proxy, tmp_path):
    members = [
        {"name": "web1", "state": "drain"},
        {"name": "web2", "weight": "20"},
        {"name": "standby", "state": "ready"},
    ]
    call(proxy, members=members, state_file=str(proxy.state_file))
    proxy.reload()
    assert not call(proxy, members=members)["changed"]


def test_members_come_and_go_at_run_time(proxy, servers, tmp_path):
    new = {"name": "new", "state": "ready", "address": servers["web3"].address, "port": servers["web3"].port}
    with LoadGenerator(tmp_path, proxy.url("web"), [100], seconds_per_point=3) as load:
        assert call(proxy, members=[new])["changed"]
        assert not call(proxy, members=[new])["changed"]
        time.sleep(0.5)
        gone = call(proxy, members=[{"name": "new", "state": "absent"}])
        assert gone["changed"] and "new" not in gone["members"]
        assert not call(proxy, members=[{"name": "new", "state": "absent"}])["changed"]
        assert load.wait(20)["failed"] == 0


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"backend": "wbe"}, NotFound, r"backend: .* has no backend 'wbe'. Its backends are api, web"),
        ({"members": [{"name": "web9", "state": "drain"}]}, NotFound, r"members\[0\]\.name: .* no member 'web9'"),
        ({"members": [{"name": "web1", "weight": "300"}]}, InvalidOption, r"members\[0\]\.weight: 300 is more"),
        ({"backend": "web; shutdown"}, InvalidOption, "backend: .* can't be the name"),
        ({"socket": ["tcp://127.0.0.1:1"]}, ConnectionFailed, r"socket\[0\]: .* can't be reached: Connection refused"),
        ({"socket": ["unix:///no/such.sock"]}, ConnectionFailed, "No such file"),
    ],
)
def test_each_error_is_its_own_and_nothing_is_half_done(proxy, values, error, message):
    before = call(proxy)["members"]["web1"]["state"]
    values.setdefault("members", [{"name": "web1", "state": "drain"}])
    values["members"] = [{"name": "web2", "state": "drain"}, *values["members"]]
    with pytest.raises(error, match=message.replace("[0\\]", "[[01]\\]")):
        call(proxy, **values)
    members = call(proxy)["members"]
    assert (members["web1"]["state"], members["web2"]["state"]) == (before, "ready")


def test_a_level_that_is_too_low_reads_but_does_not_change(proxy):
    for level in ("user", "operator"):
        socket = [proxy.unix_socket(level)]
        assert len(call(None, socket=socket)["members"]) == 4
        with pytest.raises(AuthenticationFailed, match=rf"socket\[0\]: .* level '{level}'.* Add 'level admin'"):
            call(None, socket=socket, members=[{"name": "web1", "state": "drain"}])


def test_the_last_member_stays_in_service(proxy):
    with pytest.raises(LowtideError, match="min_ready: "):
        call(proxy, members=[{"name": f"web{number}", "state": "maintenance"} for number in (1, 2, 3)])


def test_through_ansible(proxy, tmp_path):
    module = {"socket": [proxy.tcp_socket], "backend": "web"}
    task = {"lowtide.fleet.balancer_pool": {**module, "members": [{"name": "web1", "state": "drain", "weight": "40%"}]}}
    tasks = [
        {**task, "check_mode": True, "register": "foreseen"},
        {**task, "register": "made"},
        {**task, "register": "again"},
        {"lowtide.fleet.balancer_pool": module, "register": "read"},
        {
            "ansible.builtin.assert": {
                "that": [
                    "foreseen is changed and made is changed and again is not changed and read is not changed",
                    "read.members.web1.state == 'drain' and read.members.web1.weight == 40",
                ]
            }
        },
        {"lowtide.fleet.balancer_pool": {**module, "members": [{"name": "web1;web2", "state": "drain"}]}},
    ]
    run = run_playbook(tmp_path, play(tasks), "--diff")
    assert run.returncode == 2, run.stdout + run.stderr
    assert "members[0].name: 'web1;web2' can't be the name of a member" in run.stdout + run.stderr
    assert "failed=1" in run.stdout and "ok=5" in run.stdout
