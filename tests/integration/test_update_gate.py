# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate in a real run of ansible-playbook: it stops at a host of batch 1 that is out of reach.

The environment variable LOWTIDE_ANSIBLE_PLAYBOOK names the ansible-playbook to run it with, such as one of another version.
"""

from __future__ import annotations

import datetime
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import updates
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey
from ports import free_port
from processes import ansible_playbook

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOSTS = ["w0", "w1", "w2", "w3"]


@pytest.fixture
def lab(tmp_path):
    """A directory with a history, a plan of two batches and an inventory of this host four times; and how to run a play there."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    end = datetime.datetime.fromtimestamp(int(now.timestamp()) // 300 * 300, datetime.UTC)
    pools = {"web": {"servers": HOSTS, "load": {"metric": "requests", "server_capacity": 100}}}
    pools["web"]["update"] = {"max_unavailable": "50%", "duration": "10s"}
    kept = options.checked({"path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")
    days = 150 + 20 * np.sin(2 * np.pi * np.arange(4 * 288) / 288)
    with history.open(kept, tenant="default", read_only=False) as store:
        store.write(Series((SeriesKey("web", None, "requests"),), days[None, :], end, 300))
    ahead = np.full((100, 2), 180.0)
    forecast = DemandForecast("web", np.array([0.5, 0.999]), ahead, end + datetime.timedelta(minutes=5), 300)
    plan = updates.plan(options.pools(pools), {"web": forecast}, now=now, deadline=forecast.end)
    assert plan["serial"] == [2, 2]
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    variables = {"lowtide_history": {"path": kept["path"]}, "lowtide_pools": pools}
    (tmp_path / "variables.json").write_text(json.dumps(variables), encoding="utf-8")

    def run(away=(), **gate):
        reach = {
            name: {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}
            if name in away
            else {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
            for name in HOSTS
        }
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": reach}}), encoding="utf-8")
        play = {
            "hosts": "{{ lookup('lowtide.fleet.update_hosts', plan=playbook_dir ~ '/plan.json') }}",
            "serial": "{{ lookup('lowtide.fleet.update_batches', plan=playbook_dir ~ '/plan.json') }}",
            "order": "inventory",
            "gather_facts": False,
            "pre_tasks": [
                {
                    "name": "Go only where there is room",
                    "lowtide.fleet.update_gate": {
                        "history": "{{ lowtide_history }}",
                        "pools": "{{ lowtide_pools }}",
                        "plan": "{{ playbook_dir }}/plan.json",
                        "timeout": "5s",
                        "interval": "1s",
                        "history_window": "4d",
                        **gate,
                    },
                    "run_once": True,
                    "register": "gate",
                },
                {"ansible.builtin.debug": {"msg": "{{ gate.words }}"}, "run_once": True},
            ],
            "tasks": [
                {"name": "Reach it", "ansible.builtin.ping": {}},
                {
                    "name": "Update",
                    "when": "inventory_hostname in gate.hosts",
                    "ansible.builtin.copy": {"content": "new", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.new"},
                },
            ],
        }
        (tmp_path / "playbook.yml").write_text(json.dumps([play]), encoding="utf-8")
        done = subprocess.run(
            **ansible_playbook(
                tmp_path / "ansible", ROOT / ".build", "-i", "inventory.json", "-e", "@variables.json", "playbook.yml",
                ANSIBLE_SSH_ARGS="-o ConnectTimeout=5 -o BatchMode=yes",
            ),
            cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, sorted(path.stem for path in tmp_path.glob("*.new"))

    return run


def test_all_batches_go_where_there_is_room(lab):
    code, said, updated = lab()
    assert code == 0, said
    assert updated == HOSTS
    assert "batch 2 of 2 (w2, w3): go" in said


def test_a_host_of_the_first_batch_that_is_out_of_reach_stops_the_run(lab):
    code, said, updated = lab(away=["w1"])
    assert code != 0
    assert updated == ["w0"], said
    assert "batch 2 of 2 does not go: w1 failed or can't be reached, and at most 0 may" in " ".join(said.split())


def test_with_one_failure_allowed_a_batch_shrinks_to_what_there_is_room_for(lab):
    # Three servers are left and two must stay: one of the second batch may go.
    code, said, updated = lab(away=["w1"], max_failures=1, shrink=True)
    assert updated == ["w0", "w2"], said
    assert "there is room for w2; w3 must be left for later" in said
    assert code != 0  # Ansible tells of the host that it could not reach.
