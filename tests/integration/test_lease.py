# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of ansible-playbook that want the same pools: one works, the others say who holds them; a killed one frees them."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import time

import pytest
import yaml
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.history import LeaseHeld
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import lease as operation

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOAD = {"metric": "requests", "server_capacity": 100}
NOW = "2026-03-29T00:00:00Z"


@pytest.fixture(params=["duckdb", "postgresql"])
def state(request, tmp_path):
    """A store of its own in each test, as users write it."""
    if request.param == "duckdb":
        return {"type": "duckdb", "path": str(tmp_path / "state.duckdb")}
    return request.getfixturevalue("postgresql")


@pytest.fixture
def pools():
    """Two pools of a tenant that no other test has; they share a standby."""
    tenant = f"t{secrets.token_hex(4)}"
    return {
        name: {"tenant": tenant, "servers": [f"{name}1"], "load": LOAD, "standby": {"servers": [f"{name}-s", "both"]}}
        for name in ("api", "web")
    }


def call(state, pools, *, check_mode=False, **more):
    params = options.checked({"history": state, "pools": pools, "now": NOW, **more}, operation.SPEC, "lease")
    return operation.lease(params, check_mode=check_mode)


def test_one_holder_at_a_time_all_or_nothing_or_what_is_left(state, pools):
    first = call(state, pools, pool=["web"], why="update web")
    assert (first["held"], first["changed"]) == (["web"], True)
    message = f"pool:web is held by {first['holder']} to update web, since {NOW}"
    with pytest.raises(LeaseHeld, match=message):
        call(state, pools)
    second = call(state, pools, others="skip")
    assert (second["held"], [item["pool"] for item in second["left"]]) == (["api"], ["web"])
    assert f"web: left alone, {first['holder']} holds it to update web since {NOW}" in second["words"][1]
    # The standby that the other run's pool has too is left to it.
    assert second["pools"]["api"]["standby"]["servers"] == ["api-s"]
    assert second["pools"]["web"] == pools["web"]
    assert call(state, pools, action="release", holder=second["holder"])["words"] == ["api: free again"]
    assert not call(state, pools, action="release", holder=second["holder"])["changed"]
    assert call(state, pools, action="release", holder=first["holder"])["changed"]
    assert call(state, pools)["held"] == ["api", "web"]


def test_a_hold_that_is_over_is_free_and_one_that_is_renewed_is_not(state, pools):
    first = call(state, pools, lifetime="10m")
    call(state, pools, action="renew", holder=first["holder"], lifetime="10m", now="2026-03-29T00:09:00Z")
    with pytest.raises(LeaseHeld):
        call(state, pools, now="2026-03-29T00:18:00Z")
    second = call(state, pools, now="2026-03-29T00:19:00Z")
    assert second["held"] == ["api", "web"]
    with pytest.raises(LeaseHeld, match=f"held by {second['holder']}"):
        call(state, pools, action="renew", holder=first["holder"], now="2026-03-29T00:20:00Z")


def test_check_mode_tells_and_holds_nothing(state, pools):
    foretold = call(state, pools, check_mode=True)
    assert (foretold["held"], foretold["changed"]) == (["api", "web"], True)
    assert foretold["words"][0].startswith("api: would be held until")
    first = call(state, pools, pool=["api"])
    with pytest.raises(LeaseHeld, match=f"held by {first['holder']}"):
        call(state, pools, check_mode=True)
    assert call(state, pools, check_mode=True, others="skip")["held"] == ["web"]
    looked = call(state, pools, action="look")
    assert (looked["changed"], looked["held"], looked["left"][0]["holder"]) == (False, ["web"], first["holder"])
    call(state, pools, check_mode=True, action="release", holder=first["holder"])
    assert call(state, pools, action="look")["held"] == ["web"]


def test_what_is_missing_is_named(state, pools):
    with pytest.raises(InvalidOption, match="^holder: it is not given"):
        call(state, pools, action="renew")
    with pytest.raises(
        InvalidOption, match=r"^history\.path: a history of type prometheus keeps no .*leases.*lowtide_state"
    ):
        call({"type": "prometheus", "url": "http://127.0.0.1:1"}, pools)
    with pytest.raises(InvalidOption, match="^lifetime: "):
        call(state, pools, lifetime="8d")


def test_the_leases_of_tenants_are_apart(state, pools):
    call(state, pools)
    other = {name: {**pool, "tenant": f"{pool['tenant']}x"} for name, pool in pools.items()}
    assert call(state, other)["held"] == ["api", "web"]


WORK = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - lowtide.fleet.lease: {history: "{{ state }}", pools: "{{ pools }}", why: "work", lifetime: "{{ lifetime }}"}
      register: hold
    - ansible.builtin.copy: {content: "{{ hold.holder }}", dest: "{{ mark }}", mode: "0644"}
    - ansible.builtin.wait_for: {path: "{{ mark }}.end", timeout: 120}
    - lowtide.fleet.lease:
        {action: release, history: "{{ state }}", pools: "{{ pools }}", holder: "{{ hold.holder }}"}
"""


class Run:
    """An ansible-playbook that holds the pools until it is let go."""

    def __init__(self, directory, name, state, pools, lifetime):
        self.mark, self.log = directory / name, directory / f"{name}.log"
        path = directory / "work.yml"
        path.write_text(WORK)
        variables = {"state": state, "pools": pools, "mark": str(self.mark), "lifetime": lifetime}
        (directory / f"{name}.yml").write_text(yaml.safe_dump(json.loads(json.dumps(variables))))
        environment = {
            **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000",
        }  # fmt: skip
        program = pathlib.Path(sys.executable).parent / "ansible-playbook"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(program), "-i", "localhost,", str(path), "-e", f"@{directory / name}.yml"],
                env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def begun(self):
        return self.mark.exists()

    def let_go(self):
        pathlib.Path(f"{self.mark}.end").touch()
        return self.process.wait(120)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_of_two_runs_at_once_one_works_and_the_other_says_who_does(state, pools, tmp_path):
    runs = [Run(tmp_path, name, state, pools, "10m") for name in ("a", "b")]
    try:
        until(lambda: any(run.process.poll() is not None for run in runs) and any(run.begun() for run in runs))
        (worker,) = [run for run in runs if run.begun()]
        (other,) = [run for run in runs if not run.begun()]
        assert other.process.wait(60) != 0
        assert f"pool:api is held by {worker.mark.read_text()} to work" in other.log.read_text()
        assert worker.let_go() == 0, worker.log.read_text()
        third = Run(tmp_path, "c", state, pools, "10m")
        runs.append(third)
        assert third.let_go() == 0, third.log.read_text()
    finally:
        for run in runs:
            if run.process.poll() is None:
                run.kill()


def test_a_run_that_is_killed_frees_its_pools_when_its_time_is_over(state, pools, tmp_path):
    run = Run(tmp_path, "a", state, pools, "30s")
    until(run.begun)
    run.kill()
    spec = options.checked({"state": state}, options.STATE, "options")
    with history.open_state(spec, tenant=pools["web"]["tenant"], read_only=True) as store:
        held = {item.name: item for item in store.leases()}
    assert {item.holder for item in held.values()} == {run.mark.read_text()}
    over = max(item.until for item in held.values())
    early = Run(tmp_path, "b", state, pools, "1m")
    try:
        if early.process.wait(60) == 0:
            raise AssertionError(early.log.read_text())
        assert "is held by" in early.log.read_text() or time.time() > over.timestamp()
        until(lambda: time.time() > over.timestamp())
        late = Run(tmp_path, "c", state, pools, "1m")
        assert late.let_go() == 0, late.log.read_text()
    finally:
        if early.process.poll() is None:
            early.kill()
