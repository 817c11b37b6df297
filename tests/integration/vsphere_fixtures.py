# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated vCenter for tests, and calls of ``standby`` against it."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby as operation
from vsphere_simulator import VsphereSimulator


def machines() -> list[dict[str, t.Any]]:
    """Six standbys that sleep, of which one is off, and a server that is on."""
    standbys = [
        {"name": f"web-s{number}", "folder": "standby/web", "power": "suspended", "ip": f"127.0.1.{number}",
         "attributes": {"server": f"spare{number}", "tier": "web"}, "tags": {"role": "standby"}, "host": "esx1"}
        for number in range(1, 6)
    ]  # fmt: skip
    return [
        *standbys,
        {"name": "api-s1", "folder": "standby/api", "power": "off", "ip": "127.0.1.11", "attributes": {"tier": "api"}},
        {"name": "web1", "power": "on", "ip": "127.0.1.20", "host": "esx2"},
    ]


@pytest.fixture(scope="session")
def simulator(tmp_path_factory):
    times = {"boot_seconds": 0.6, "resume_seconds": 0.3, "shutdown_seconds": 0.3, "task_seconds": 0.05}
    with VsphereSimulator(tmp_path_factory.mktemp("vsphere"), vms=machines(), defaults=times) as simulator:
        yield simulator


@pytest.fixture
def vcenter(simulator):
    """The simulator with every machine in its first state, no fault, and nothing in its history."""
    simulator.clear_faults()
    simulator.power(**{vm["name"]: vm["power"] for vm in machines()})
    simulator.wait(lambda states: states["web1"]["tools"])
    simulator.forget()
    return simulator


def standby(connection: dict[str, t.Any], *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """Call the operation as the module does, options checked."""
    parameters = {"connection": connection, "timeout": "15s", **options}
    checked = ArgumentSpecValidator(operation.SPEC).validate(parameters)
    assert not checked.error_messages
    return operation.standby(checked.validated_parameters, check_mode=check_mode)


def done(vcenter: t.Any, vm: str) -> list[str]:
    """The power calls that were carried out on a machine."""
    return [event["action"] for event in vcenter.history() if event["vm"] == vm and event["outcome"] == "done"]
