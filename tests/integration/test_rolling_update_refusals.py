# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to start a rolling update in which it would do harm, or nothing."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import ROOT, play, run_playbook


@pytest.mark.parametrize(
    ("strategy", "told"),
    [("free", "strategy: free lets no task wait"), ("host_pinned", "Set 'strategy: linear'"), ("linear", "no run 'x'")],
)
def test_strategies_without_batches(tmp_path, strategy, told):
    pools = {"web": {"servers": ["w1"], "load": {"metric": "requests", "server_capacity": 1}}}
    given = {"history": {"path": str(tmp_path / "none.duckdb")}, "pools": pools, "note": "batch", "run": "x"}
    given["state"] = {"type": "duckdb", "path": str(tmp_path / "state.duckdb")}
    run = run_playbook(tmp_path, play([{"lowtide.fleet.update_run": given}], strategy=strategy))
    assert run.returncode == 2 and told in run.stdout + run.stderr, run.stdout + run.stderr


def test_a_part_of_the_playbook(tmp_path):
    whole = [{"import_playbook": str(ROOT / "playbooks" / "rolling_update.yml")}]
    run = run_playbook(tmp_path, whole, "--tags", "install", "-e", "lowtide_update_role=mine")
    assert run.returncode == 2 and "--tags install leaves out the parts" in run.stdout + run.stderr, run.stdout


def test_a_file_of_tasks_that_is_not_there(tmp_path):
    whole = [{"import_playbook": str(ROOT / "playbooks" / "rolling_update.yml")}]
    pools = {"web": {"servers": ["w1"], "load": {"metric": "requests", "server_capacity": 1}}}
    given = {"lowtide_history": {"path": str(tmp_path / "none.duckdb")}, "lowtide_pools": pools}
    given["lowtide_update_tasks"] = str(tmp_path / "relaese.yml")
    run = run_playbook(tmp_path, whole, "-i", "w1,", "-e", json.dumps(given))
    assert run.returncode == 2 and "Begin the run" not in run.stdout
    assert f"{tmp_path}/relaese.yml" in run.stdout + run.stderr, run.stdout
