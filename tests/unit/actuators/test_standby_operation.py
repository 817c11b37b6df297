# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import socket
import sys
import threading

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import ConnectionFailed, InvalidOption, NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "simulators"))
from ports import free_port


def call(*, check_mode=False, **options):
    checked = ArgumentSpecValidator(standby.SPEC).validate({"timeout": "5s", **options})
    assert not checked.error_messages
    return standby.standby(checked.validated_parameters, check_mode=check_mode)


@pytest.fixture
def commands(tmp_path):
    """Servers that are files: their content is their state."""
    for name, state in (("a", "off"), ("b", "on 192.0.2.2"), ("c", "suspended")):
        (tmp_path / name).write_text(state)
    write = ["sh", "-c", 'echo "$2" > "$0/$1"', str(tmp_path), "{server}"]
    return {
        "look": ["cat", f"{tmp_path}/{{server}}"],
        "wake": [*write, "on 192.0.2.9"],
        "suspend": [*write, "suspended"],
        "shut_down": [*write, "off"],
    }


def test_commands_wake_and_release(commands):
    wishes = {"activate": ["a", "c"], "release": ["b"]}
    foretold = call(provider="command", commands=commands, check_mode=True, **wishes)
    result = call(provider="command", commands=commands, **wishes)
    assert result["diff"] == foretold["diff"] == {
        "before": {"a": "off", "c": "suspended", "b": "on"}, "after": {"a": "on", "c": "on", "b": "suspended"}
    }  # fmt: skip
    assert result["servers"]["a"]["ip"] == "192.0.2.9"
    assert not call(provider="command", commands=commands, **wishes)["changed"]


def test_command_that_refuses_is_quoted(commands):
    commands["wake"] = ["sh", "-c", "echo no quota left >&2; exit 3"]
    result = call(provider="command", commands=commands, activate=["a"])
    assert result["msg"] == "1 of 1 servers failed: a: commands.wake ended with 3: no quota left."


def test_command_that_is_missing(commands):
    del commands["suspend"]
    result = call(provider="command", commands=commands, release=["b"])
    assert "there is no command for it: give commands.suspend" in result["msg"]
    with pytest.raises(InvalidOption, match=r"commands\.wake: it is needed"):
        call(provider="command", commands={"look": ["true"]}, activate=["a"])


@pytest.mark.parametrize("look", [["true"], ["echo", "asleep"], ["no-such-program"], ["false"]])
def test_look_that_says_nothing_useful(commands, look):
    with pytest.raises(ConnectionFailed, match=r"commands\.look: "):
        call(provider="command", commands=commands | {"look": look}, activate=["a"])


def test_wake_on_lan():
    """A server that begins to answer when the magic packet for it arrives."""
    packets = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as network:
        network.bind(("127.0.0.1", 0))
        network.settimeout(10)
        port = free_port()

        def wake():
            packets.append(network.recv(200))
            packets.append(socket.create_server(("127.0.0.1", port)))

        thread = threading.Thread(target=wake)
        thread.start()
        lan = {
            "macs": {"rack1": "52:54:00:12:34:56"},
            "addresses": {"rack1": "127.0.0.1"},
            "port": port,
            "broadcast": "127.0.0.1",
            "udp_port": network.getsockname()[1],
        }
        result = call(provider="wake_on_lan", wake_on_lan=lan, activate=["rack1"])
        thread.join()
    packet, listener = packets
    with listener:
        assert packet == bytes.fromhex("ff" * 6 + "525400123456" * 16)
        rack = result["servers"]["rack1"]
        assert (rack["power"], rack["ready"], rack["ip"], rack["changed"]) == ("on", True, "127.0.0.1", True)
        again = call(provider="wake_on_lan", wake_on_lan=lan, activate=["rack1"])
        assert not again["changed"]


@pytest.mark.parametrize("mac", ["52:54:00:12:34", "52:54:00:12:34:5g"])
def test_hardware_address_that_is_none(mac):
    with pytest.raises(InvalidOption, match=r"wake_on_lan\.macs\.rack1: .* is not a hardware address"):
        call(provider="wake_on_lan", wake_on_lan={"macs": {"rack1": mac}}, activate=["rack1"])


def test_wake_on_lan_knows_no_such_server():
    with pytest.raises(NotFound, match=r"activate: no hardware address is known of 'rack2'"):
        call(provider="wake_on_lan", wake_on_lan={"macs": {}}, activate=["rack2"])
    with pytest.raises(InvalidOption, match="wake_on_lan: it is needed"):
        call(provider="wake_on_lan", activate=["rack2"])


def a_pool(commands, *servers, **more):
    standby = {"servers": list(servers), "provider": "command", "commands": commands, **more}
    return {"servers": [f"of-{servers[0]}"], "load": {"metric": "m", "server_capacity": 1}, "standby": standby}


def test_each_pool_says_what_wakes_its_standbys(commands):
    """Pools of one task, each with its own provider and idle state; the task's own holds for other servers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        lan = {
            "macs": {"rack": "52:54:00:12:34:56"},
            "addresses": {"rack": "127.0.0.1"},
            "port": server.getsockname()[1],
        }
        pools = {
            "web": a_pool(commands, "a", "b", idle_state="off"),
            "lab": a_pool({}, "rack", provider="wake_on_lan", wake_on_lan=lan),
        }
        wishes = {"pools": pools, "provider": "command", "commands": commands, "activate": ["a", "rack", "c"]}
        foretold = call(check_mode=True, release=["b"], **wishes)
        result = call(release=["b"], **wishes)
    assert result["diff"]["after"] == foretold["diff"]["after"] == {"a": "on", "rack": "on", "c": "on", "b": "off"}
    assert result["servers"]["rack"]["ip"] == "127.0.0.1"
    assert result["pools"] == foretold["pools"] == {"web": ["a"], "lab": ["rack"]}


def test_a_candidate_of_the_same_pool_takes_the_place(commands, tmp_path):
    """Not that of another pool, though it is named first; and it is told which pool it was woken for."""
    (tmp_path / "d").write_text("off")
    refusing = commands | {
        "wake": ["sh", "-c", '[ "$0" != a ] && ' + f'echo on 192.0.2.7 > "{tmp_path}/$0"', "{server}"]
    }
    pools = {"web": a_pool(refusing, "a", "c"), "lab": a_pool(refusing, "d")}
    result = call(pools=pools, activate=["a"], candidates=["d", "c"])
    assert (result["pools"], result["servers"]["c"]["replaces"]) == ({"web": ["c"]}, "a")
    assert "d" not in result["servers"]
    assert result["warnings"] == ["a: commands.wake ended with 1: ; a candidate took its place"]


def test_what_pools_say_of_a_standby_must_agree(commands):
    pools = {"web": a_pool(commands, "a"), "lab": {**a_pool(commands, "a", idle_state="off"), "servers": ["l"]}}
    with pytest.raises(InvalidOption, match=r"^pools\.lab\.standby: standby 'a' is of pool 'web' too, which has other"):
        call(pools=pools, activate=["a"])
    named = {"web": a_pool({}, "a", provider="vsphere", connection="lab")}
    with pytest.raises(InvalidOption, match=r"^pools\.web\.standby\.connection: there is no connection 'lab'"):
        call(pools=named, activate=["a"])


def test_a_run_for_a_tenant_acts_on_its_standbys_only(commands):
    pools = {"web": {**a_pool(commands, "a"), "tenant": "shop"}, "lab": {**a_pool(commands, "b"), "tenant": "bank"}}
    with pytest.raises(InvalidOption, match="^tenant: 'b' is not a standby of tenant 'shop'"):
        call(pools=pools, tenant="shop", release=["b"])
    assert list(call(pools=pools, tenant="shop")["servers"]) == ["a"]
    with pytest.raises(InvalidOption, match="^state: tenant 'shop' has a budget, and there is nowhere to note"):
        call(pools=pools, tenants={"shop": {"budget_per_day": 5}, "bank": {}}, activate=["a"])


def test_plan_that_is_none():
    with pytest.raises(InvalidOption, match="plan: it is neither a scaling plan"):
        call(plan={"kind": "shopping"})


@pytest.mark.parametrize(
    ("option", "value"), [("timeout", "soon"), ("shutdown_timeout", "-1"), ("parallel", 0), ("now", "later")]
)
def test_options_that_make_no_sense(option, value):
    with pytest.raises(InvalidOption, match=f"{option}: "):
        call(**{"provider": "command", "activate": ["a"], option: value})
