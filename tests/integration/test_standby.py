# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import time

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    CertificateRejected,
    ConnectionFailed,
    InvalidOption,
    NotFound,
)
from lab import play, run_playbook
from ports import free_port
from vsphere_fixtures import done, standby
from vsphere_simulator import VsphereSimulator


def test_resumes_powers_on_and_waits_until_ready(vcenter):
    result = standby(vcenter.connection, activate=["web-s1", "web-s2", "api-s1"])
    assert "failed" not in result
    assert result["changed"]
    assert result["servers"]["web-s1"] == {
        "power": "on", "ready": True, "ip": "127.0.1.1", "changed": True, "failed": None, "replaces": None,
        "seconds": pytest.approx(0.5, abs=3),
    }  # fmt: skip
    states = vcenter.states()
    assert all(states[name]["tools"] for name in ("web-s1", "web-s2", "api-s1"))
    assert states["web-s3"]["power"] == "suspended"
    assert result["diff"] == {
        "before": {"web-s1": "suspended", "web-s2": "suspended", "api-s1": "off"},
        "after": {"web-s1": "on", "web-s2": "on", "api-s1": "on"},
    }
    assert result["words"][0].startswith("web-s1: resumed, ready at 127.0.1.1 after")
    assert result["words"][2].startswith("api-s1: powered on, ready at 127.0.1.11 after")


def test_second_run_changes_nothing(vcenter):
    wishes = {"activate": ["web-s1"], "release": ["web1"]}
    assert standby(vcenter.connection, **wishes)["changed"]
    vcenter.forget()
    again = standby(vcenter.connection, **wishes)
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"] == {"web-s1": "on", "web1": "suspended"}
    assert again["servers"]["web-s1"]["ready"]
    assert vcenter.history() == []


def test_check_mode_foretells_and_touches_nothing(vcenter):
    wishes = {"activate": ["web-s1", "web1"], "release": ["api-s1"]}
    foretold = standby(vcenter.connection, check_mode=True, **wishes)
    assert vcenter.history() == []
    assert foretold["words"] == [
        "web-s1: it is suspended and would be woken",
        "web1: it is on and stays so",
        "api-s1: it is off and stays so",
    ]
    real = standby(vcenter.connection, **wishes)
    assert (foretold["changed"], foretold["diff"]) == (real["changed"], real["diff"])


def test_idle_state_off_shuts_the_guest_down(vcenter):
    result = standby(vcenter.connection, release=["web1"], idle_state="off")
    assert result["servers"]["web1"]["power"] == "off"
    assert result["servers"]["web1"]["changed"]
    assert [(event["action"], event["outcome"]) for event in vcenter.history()] == [("ShutdownGuest", "accepted")]


def test_a_guest_that_will_not_shut_down_is_powered_off(vcenter):
    vcenter.fault("hung_guest", vm="web1")
    result = standby(vcenter.connection, release=["web1"], idle_state="off", shutdown_timeout="1s")
    assert result["servers"]["web1"]["power"] == "off"
    assert done(vcenter, "web1") == ["PowerOffVM_Task"]


def test_only_looks_when_nothing_is_asked(vcenter):
    result = standby(vcenter.connection, find={"folder": "standby"})
    assert not result["changed"]
    assert {name: item["power"] for name, item in result["servers"].items()} == {
        "api-s1": "off", **{f"web-s{number}": "suspended" for number in range(1, 6)}
    }  # fmt: skip
    assert result["words"] == ["5 suspended, 1 off"]


def test_plan_is_carried_out_and_a_later_release_left(vcenter):
    plan = {
        "kind": "scaling",
        "pools": {
            "web": {
                "activate": [{"server": "web-s3", "by": "2026-01-01T00:00:00Z"}],
                "release": [
                    {"server": "web1", "not_before": "2026-01-01T00:10:00Z"},
                    {"server": "web-s4", "not_before": "2026-01-01T00:00:00Z"},
                ],
            }
        },
    }
    result = standby(vcenter.connection, plan=plan, now="2026-01-01T00:05:00Z")
    assert {name: item["power"] for name, item in result["servers"].items()} == {"web-s3": "on", "web-s4": "suspended"}


def test_standbys_of_an_update_plan_are_woken(vcenter):
    plan = {"kind": "update", "standbys": {"activate": ["web-s2"]}}
    result = standby(vcenter.connection, plan=plan, names=["web1"])
    assert {name: item["power"] for name, item in result["servers"].items()} == {"web1": "on", "web-s2": "on"}


def test_one_session_serves_all(vcenter):
    standby(vcenter.connection, activate=[f"web-s{number}" for number in range(1, 6)])
    calls = vcenter.calls()
    assert (calls["Login"], calls["Logout"]) == (1, 1)
    assert calls["PowerOnVM_Task"] == 5
    assert calls["RetrievePropertiesEx"] <= 2


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def port_of_web_s1():
    with http.server.ThreadingHTTPServer(("127.0.1.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("path", [None, "/health"])
def test_readiness_check_passes(vcenter, port_of_web_s1, path):
    result = standby(vcenter.connection, activate=["web-s1"], check={"port": port_of_web_s1, "path": path})
    assert result["servers"]["web-s1"]["ready"]


def test_readiness_check_fails(vcenter, port_of_web_s1):
    result = standby(
        vcenter.connection, activate=["web-s1"], check={"port": port_of_web_s1, "path": "/"}, timeout="2s"
    )  # fmt: skip
    assert result["failed"]
    assert "web-s1: it is up at 127.0.1.1, but the readiness check did not pass within 2 s" in result["msg"]


@pytest.mark.parametrize(
    ("find", "asked", "machine"),
    [
        ({"names": {"spare-a": "web-s2"}}, "spare-a", "web-s2"),
        ({"attribute": "server"}, "spare3", "web-s3"),
        ({"folder": "/standby/web/", "attributes": {"tier": "web"}}, "web-s4", "web-s4"),
        ({"tag": "role:standby"}, "web-s5", "web-s5"),
        ({"tag": "standby"}, "web-s1", "web-s1"),
    ],
)
def test_finds(vcenter, find, asked, machine):
    result = standby(vcenter.connection, activate=[asked], find=find)
    assert result["servers"][asked]["ready"]
    assert done(vcenter, machine) == ["PowerOnVM_Task"]


@pytest.mark.parametrize(
    ("find", "option"),
    [
        ({"folder": "standby/db"}, "find.folder: vCenter has no folder 'standby/db'"),
        ({"attribute": "owner"}, "find.attribute: vCenter has no custom attribute 'owner'"),
        ({"tag": "role:db"}, "find.tag: vCenter has no tag 'role:db'"),
        ({"tag": "role:standby"}, "activate: vCenter has no virtual machine 'web1' with tag 'role:standby'"),
        ({"folder": "standby"}, "activate: vCenter has no virtual machine 'web1' in folder 'standby'"),
        ({"names": {"web1": "web9"}}, "find.names.web1: vCenter has no virtual machine 'web9'"),
    ],
)
def test_finds_nothing(vcenter, find, option):
    with pytest.raises(NotFound) as raised:
        standby(vcenter.connection, activate=["web1"], find=find)
    assert str(raised.value).startswith(option)


def test_unknown_server_is_named_and_nothing_done(vcenter):
    with pytest.raises(NotFound, match=r"release: vCenter has no virtual machine 'web-s9'\. Check"):
        standby(vcenter.connection, activate=["web-s1"], release=["web-s9"])
    assert vcenter.history() == []


def test_wake_and_sleep_of_one_server_is_refused(vcenter):
    with pytest.raises(InvalidOption, match="release: 'web-s1' is to be activated and released"):
        standby(vcenter.connection, activate=["web-s1"], release=["web-s1"])


def test_wrong_password(vcenter):
    with pytest.raises(AuthenticationFailed, match=r"connection\.password: .* refuses user 'lowtide@vsphere\.local'"):
        standby(vcenter.connection | {"password": "guess"}, activate=["web-s1"])


def test_untrusted_certificate(vcenter):
    with pytest.raises(
        CertificateRejected, match=r"connection\.ca_path: the certificate of localhost.* is not trusted"
    ):
        standby(vcenter.connection | {"ca_path": None}, activate=["web-s1"])
    assert standby(vcenter.connection | {"ca_path": None, "validate_certs": False})["servers"]


def test_certificate_of_another_host(tmp_path):
    with (
        VsphereSimulator(tmp_path, listen="127.0.0.2:0") as elsewhere,
        pytest.raises(CertificateRejected, match=r"not valid for '127\.0\.0\.2'"),
    ):
        standby(elsewhere.connection | {"hostname": "127.0.0.2"})


def test_host_down():
    with pytest.raises(ConnectionFailed, match=r"connection\.hostname: 127\.0\.0\.1:\d+ can't be reached: .*refused"):
        standby({"hostname": "127.0.0.1", "port": free_port(), "username": "u", "password": "p"})


def test_wrong_port(port_of_web_s1):
    with pytest.raises(ConnectionFailed, match=r"connection\.port: .* does not speak TLS"):
        standby({"hostname": "127.0.1.1", "port": port_of_web_s1, "username": "u", "password": "p"})


def test_missing_credentials_are_named():
    with pytest.raises(InvalidOption, match=r"connection\.username: .*VMWARE_USER"):
        standby({"hostname": "127.0.0.1"})


def test_authority_that_is_no_file(vcenter, tmp_path):
    with pytest.raises(InvalidOption, match=r"connection\.ca_path: .*missing\.pem can't be used"):
        standby(vcenter.connection | {"ca_path": str(tmp_path / "missing.pem")})


def playbook(tmp_path, vcenter, *arguments, **options):
    """Run a play of one ``standby`` task; its exit code and output."""
    task = {"connection": vcenter.connection | {"password": "{{ secret }}"}, "timeout": "15s", **options}
    words = {"ansible.builtin.debug": {"var": "result.words"}}
    plays = play([{"lowtide.fleet.standby": task, "register": "result"}, words])
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"secret": vcenter.connection["password"]}))
    run = run_playbook(
        tmp_path, plays, "-e", f"@{secret}", "-e", f"ansible_python_interpreter={sys.executable}", *arguments
    )
    return run.returncode, run.stdout + run.stderr


def test_playbook(vcenter, tmp_path):
    code, output = playbook(tmp_path, vcenter, "--check", "--diff", activate=["web-s1"])
    assert (code, vcenter.history()) == (0, []), output
    assert "changed=1" in output
    assert '-    "web-s1": "suspended"' in output
    assert '+    "web-s1": "on"' in output
    code, output = playbook(tmp_path, vcenter, activate=["web-s1"])
    assert code == 0, output
    assert "web-s1: resumed, ready at 127.0.1.1" in output
    assert vcenter.connection["password"] not in output
    code, output = playbook(tmp_path, vcenter, activate=["web-s1", "web-s9"])
    assert code == 2
    assert "activate: vCenter has no virtual machine 'web-s9'. Check the server's name" in output


def test_playbook_names_each_failure_and_does_the_rest(vcenter, tmp_path):
    vcenter.fault("refuse", vm="web-s1")
    vcenter.fault("task_error", vm="web-s2")
    code, output = playbook(tmp_path, vcenter, activate=["web-s1", "web-s2", "web-s3"])
    assert code == 2
    assert "2 of 3 servers failed: web-s1: There are not enough licenses" in output
    assert "web-s2: Module 'Disk' power on failed (GenericVmConfigFault)" in output
    assert vcenter.states()["web-s3"]["tools"]


def test_simulator_leaves_no_orphan(tmp_path):
    vms = [{"name": "a", "power": "on", "command": ["sleep", "300"]}]
    with VsphereSimulator(tmp_path, vms=vms) as killed:
        killed.wait(lambda states: states["a"]["pid"])
        pid = killed.states()["a"]["pid"]
        os.kill(killed.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not pathlib.Path(f"/proc/{pid}").exists()


def test_simulator_runs_commands_while_a_machine_is_on(tmp_path):
    command = ["sh", "-c", "echo $GREETING; exec sleep 0.2"]
    vms = [{"name": "a", "power": "off", "command": command, "env": {"GREETING": "hello"}}]
    times = {"boot_seconds": 0.2, "respawn_seconds": 0.1}
    with VsphereSimulator(tmp_path, vms=vms, defaults=times) as lab:
        assert lab.states()["a"]["pid"] == 0
        lab.power(a="on")
        log = tmp_path / "vms" / "a.log"
        lab.wait(lambda states: log.exists() and log.read_text().count("hello") >= 2)
        lab.power(a="suspended")
        assert lab.states()["a"]["pid"] == 0
        lines = log.read_text()
        time.sleep(0.5)
        assert log.read_text() == lines
