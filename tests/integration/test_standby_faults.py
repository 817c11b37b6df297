# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong with vCenter, one after the other: the end state is right, and nothing was powered twice."""

from __future__ import annotations

import threading

import pytest
from vsphere_fixtures import done, standby


def test_power_on_refused(vcenter):
    vcenter.fault("refuse", vm="web-s1")
    result = standby(vcenter.connection, activate=["web-s1", "web-s2"])
    assert result["failed"]
    assert result["msg"] == (
        "1 of 2 servers failed: web-s1: There are not enough licenses installed to perform the operation "
        "(NotEnoughLicenses)."
    )
    assert result["changed"]
    assert (result["servers"]["web-s1"]["power"], result["servers"]["web-s1"]["changed"]) == ("suspended", False)
    assert result["servers"]["web-s2"]["ready"]
    assert done(vcenter, "web-s1") == []
    assert vcenter.calls()["PowerOnVM_Task"] == 2


def test_task_error(vcenter):
    vcenter.fault("task_error", vm="web-s1", times=1)
    result = standby(vcenter.connection, activate=["web-s1", "web-s2"])
    assert "web-s1: Module 'Disk' power on failed (GenericVmConfigFault)" in result["msg"]
    assert not result["servers"]["web-s1"]["changed"]
    assert result["servers"]["web-s2"]["ready"]
    assert vcenter.calls()["PowerOnVM_Task"] == 2


def test_already_on(vcenter):
    """Someone else powers it on after the look and before the call."""
    vcenter.fault("slow", vm="web-s1", method="PowerOnVM_Task", times=1, seconds=0.6)
    timer = threading.Timer(0.3, lambda: vcenter.power(**{"web-s1": "on"}))
    timer.start()
    result = standby(vcenter.connection, activate=["web-s1"])
    timer.join()
    assert "failed" not in result
    assert result["servers"]["web-s1"]["ready"]
    assert not result["changed"]
    assert done(vcenter, "web-s1") == []


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("PowerOnVM_Task", {"activate": ["web-s1"]}),
        ("SuspendVM_Task", {"release": ["web1"]}),
        ("ShutdownGuest", {"release": ["web1"], "idle_state": "off"}),
    ],
)
def test_reply_lost_after_execution(vcenter, method, options):
    vcenter.fault("lose_reply", method=method, times=1)
    result = standby(vcenter.connection, **options)
    (item,) = result["servers"].values()
    assert "failed" not in result
    assert item["changed"]
    assert item["power"] == {"PowerOnVM_Task": "on", "SuspendVM_Task": "suspended", "ShutdownGuest": "off"}[method]
    assert vcenter.calls()[method] == 1


def test_replies_lost_on_some_of_many(vcenter):
    vcenter.fault("lose_reply", vm="web-s[12]", times=2)
    result = standby(vcenter.connection, activate=[f"web-s{number}" for number in range(1, 6)])
    assert "failed" not in result
    assert all(item["ready"] and item["changed"] for item in result["servers"].values())
    assert vcenter.calls()["PowerOnVM_Task"] == 5


def test_connection_dropped_before_execution(vcenter):
    vcenter.fault("drop_connection", method="PowerOnVM_Task", times=1)
    result = standby(vcenter.connection, activate=["web-s1"])
    assert result["servers"]["web-s1"]["ready"]
    assert done(vcenter, "web-s1") == ["PowerOnVM_Task"]
    assert vcenter.calls()["PowerOnVM_Task"] == 2


@pytest.mark.parametrize(
    "method", ["PowerOnVM_Task", "WaitForUpdatesEx", "RetrievePropertiesEx", "CreateContainerView"]
)
@pytest.mark.parametrize("kind", ["expire_session", "drop_connection"])
def test_session_or_connection_ends(vcenter, method, kind):
    vcenter.fault(kind, method=method, times=1)
    names = ["web-s1", "web-s2", "web-s3"]
    result = standby(vcenter.connection, activate=names)
    assert "failed" not in result
    assert all(result["servers"][name]["ready"] for name in names)
    assert all(done(vcenter, name) == ["PowerOnVM_Task"] for name in names)


def test_session_ends_while_waiting(vcenter):
    timer = threading.Timer(0.2, vcenter.expire_sessions)
    timer.start()
    result = standby(vcenter.connection, activate=["web-s1", "api-s1"])
    timer.join()
    assert result["servers"]["api-s1"]["ready"]
    assert vcenter.calls()["Login"] == 2
    assert done(vcenter, "api-s1") == ["PowerOnVM_Task"]


def test_vcenter_is_away_for_a_while(vcenter):
    """HTTP 503 from the first power call on, sessions lost."""
    vcenter.fault("unavailable", method="PowerOnVM_Task", times=1, seconds=3)
    names = ["web-s1", "web-s2", "web-s3"]
    result = standby(vcenter.connection, activate=names)
    assert "failed" not in result
    assert all(result["servers"][name]["ready"] for name in names)
    assert all(done(vcenter, name) == ["PowerOnVM_Task"] for name in names)


def test_vcenter_refuses_connections_for_a_while(vcenter):
    timer = threading.Timer(0.2, lambda: vcenter.shut(3))
    timer.start()
    result = standby(vcenter.connection, activate=["api-s1", "web-s1"])
    timer.join()
    assert "failed" not in result
    assert all(done(vcenter, name) == ["PowerOnVM_Task"] for name in ("api-s1", "web-s1"))


def test_vcenter_stays_away(vcenter):
    vcenter.fault("unavailable", method="PowerOnVM_Task", times=1, seconds=4)
    result = standby(vcenter.connection, activate=["web-s1", "web-s2"], timeout="2s")
    assert result["failed"]
    for name in ("web-s1", "web-s2"):
        assert f"{name}: it was not powered on within 2 s" in result["msg"]
    assert "503 Service Unavailable" in result["msg"]
    vcenter.clear_faults()
    assert [vcenter.states()[name]["power"] for name in ("web-s1", "web-s2")] == ["suspended", "suspended"]


def test_one_machine_never_gets_tools(vcenter):
    vcenter.fault("no_tools", vm="web-s1")
    result = standby(vcenter.connection, activate=["web-s1", "web-s2"], timeout="2s")
    assert result["msg"] == (
        "1 of 2 servers failed: web-s1: it is powered on, but its guest tools were not running within 2 s."
    )
    item = result["servers"]["web-s1"]
    assert (item["power"], item["ready"], item["ip"], item["changed"]) == ("on", False, None, True)
    assert done(vcenter, "web-s1") == ["PowerOnVM_Task"]
    assert result["servers"]["web-s2"]["ready"]


def test_candidate_takes_the_place(vcenter):
    vcenter.fault("refuse", vm="web-s1")
    vcenter.fault("task_error", vm="web-s3", times=1)
    result = standby(
        vcenter.connection, activate=["web-s1", "web-s2"], candidates=["web1", "web-s3", "web-s4", "web-s5"]
    )
    assert "failed" not in result
    assert sorted(result["servers"]) == ["web-s1", "web-s2", "web-s3", "web-s4"]
    assert result["servers"]["web-s4"]["ready"]
    assert len(result["warnings"]) == 2
    assert result["warnings"][0].startswith("web-s1: There are not enough licenses")
    assert any(line.startswith("web-s4: resumed in place of web-s3, ready at") for line in result["words"])
    assert vcenter.states()["web-s5"]["power"] == "suspended"


def test_candidates_run_out(vcenter):
    vcenter.fault("refuse", vm="web-s[134]")
    result = standby(vcenter.connection, activate=["web-s1", "web-s2"], candidates=["web-s3", "web-s4"])
    assert result["msg"].startswith("1 of 2 servers failed: web-s1: ")
    assert "web-s3: " in result["msg"]
    assert "web-s4: " in result["msg"]
    assert result["servers"]["web-s2"]["ready"]


def test_guest_without_tools_is_powered_off(vcenter):
    vcenter.fault("no_tools", vm="web-s1")
    vcenter.power(**{"web-s1": "on"})
    result = standby(vcenter.connection, release=["web-s1"], idle_state="off")
    assert result["servers"]["web-s1"]["power"] == "off"
    assert done(vcenter, "web-s1") == ["PowerOffVM_Task"]


def test_machine_at_work_already(vcenter):
    """Another client's suspend is under way: wait for its end, then wake it."""
    vcenter.power(**{"web-s1": "on"})
    vcenter.wait(lambda states: states["web-s1"]["tools"])
    first = threading.Thread(target=standby, args=(vcenter.connection,), kwargs={"release": ["web-s1"]})
    vcenter.fault("slow", method="WaitForUpdatesEx", times=1, seconds=0.1)
    first.start()
    vcenter.wait(lambda states: states["web-s1"]["power"] == "suspended")
    result = standby(vcenter.connection, activate=["web-s1"])
    first.join()
    assert result["servers"]["web-s1"]["ready"]
