# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans in a real run of ansible-playbook: what a simulation tells, and what plans on the spot go by."""

from __future__ import annotations

import datetime
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey
from processes import ansible_playbook

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOSTS = [f"w{number}" for number in range(8)]
NOW = datetime.datetime(2026, 3, 3, 14, 0, tzinfo=datetime.UTC)  # a Tuesday, at the hour of the peak
DAYS = 30

PLAN = {
    "history": "{{ lowtide_history }}",
    "pools": "{{ lowtide_pools }}",
    "now": timing.iso(NOW),
    "simulate": True,
}


@pytest.fixture
def lab(tmp_path):
    """A directory with a history of a pool that is busy at two in the afternoon; and how to run a play there."""
    spec = options.checked({"path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")
    hours = np.arange(DAYS * 288) / 12 + 2
    noise = np.random.default_rng(0).normal(0, 5, len(hours))
    values = 420 + 300 * np.cos(2 * np.pi * (hours - hours[-1]) / 24) + noise

    def keep(values=values):
        with history.open(spec, tenant="default", read_only=False) as store:
            store.write(Series((SeriesKey("web", None, "requests"),), values[None, :], NOW, 300))

    keep()
    pools = {"web": {"servers": HOSTS, "load": {"metric": "requests", "server_capacity": 100}}}
    (tmp_path / "group_vars").mkdir()

    def run(play, *arguments, **more):
        variables = {"lowtide_history": {"path": str(tmp_path / "history.duckdb")}, "lowtide_pools": pools, **more}
        (tmp_path / "group_vars" / "all.json").write_text(json.dumps(variables), encoding="utf-8")
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = dict.fromkeys(["localhost", *HOSTS], local)
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        (tmp_path / "playbook.yml").write_text(json.dumps([{"gather_facts": False, **play}]), encoding="utf-8")
        done = subprocess.run(
            **ansible_playbook(
                tmp_path / "ansible", ROOT / ".build", "-i", "inventory.json", "playbook.yml", *arguments
            ),
            cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
        return done.returncode, " ".join(done.stdout.split())

    run.values, run.keep, run.directory = values, keep, tmp_path
    return run


def planning(tmp_path, **more):
    kept = {"content": "{{ update | to_json }}", "dest": str(tmp_path / "result.json")}
    return {
        "hosts": "localhost",
        "tasks": [
            {"lowtide.fleet.update_plan": {**PLAN, **more}, "register": "update"},
            {"ansible.builtin.debug": {"msg": "{{ update.words }}"}},
            {"ansible.builtin.copy": kept, "check_mode": False},
        ],
    }


@pytest.mark.parametrize("arguments", [(), ("--check",)])
def test_a_simulation_sets_the_low_tide_beside_serial_begun_at_the_peak(lab, arguments):
    code, said = lab(planning(lab.directory), *arguments)
    assert code == 0, said
    assert "Wednesdays this plan would have been short in 0 of " in said
    assert re.search(r"serial: 25% begun now, in the last 4 Tuesdays, in 16 of 16", said), said
    told = json.loads((lab.directory / "result.json").read_text(encoding="utf-8"))["simulation"]
    assert told["weeks"] == {"asked": 4, "replayed": 4, "left_out": []}
    assert (told["plan"]["short_batches"], told["plan"]["worst"]) == (0, None)
    # Six of eight servers carry 600 of the 720 or so.
    assert (told["serial"]["serial"], told["serial"]["overload_minutes"]) == ([2, 2, 2, 2], 80.0)
    assert told["serial"]["worst"]["capacity"] == 600.0
    assert 0.1 < told["serial"]["worst"]["share"] < 0.2


def test_weeks_that_are_missing_are_named_and_without_any_it_fails_with_the_remedy(lab):
    (lab.directory / "history.duckdb").unlink()
    lab.keep(lab.values[-9 * 288 :])
    code, said = lab(planning(lab.directory))
    assert code == 0, said
    assert "in 1 of the last 4 Wednesdays this plan would have been short in 0 of" in said
    assert said.count("is not replayed: web: ") == 3
    (lab.directory / "history.duckdb").unlink()
    lab.keep(lab.values[-5 * 288 :])
    code, said = lab(planning(lab.directory))
    assert code != 0
    assert "simulate: none of the last 4 Wednesdays can be replayed (web: " in said
    assert "Collect for longer, raise simulate_weeks where older weeks are known, or plan without it." in said
    code, said = lab(planning(lab.directory, simulate_weeks=0))
    assert "simulate_weeks: 0 is out of range. Give a number from 1 to 52." in said


def existing(**more):
    """A play with a serial that plans on the spot, at a moment that is given."""
    given = "".join(f", {name}={value!r}" for name, value in {"now": timing.iso(NOW), **more}.items())
    return {
        "hosts": f"{{{{ lookup('lowtide.fleet.update_hosts', 'web'{given}) }}}}",
        "serial": f"{{{{ lookup('lowtide.fleet.update_batches', 'web'{given}) }}}}",
        "order": "inventory",
        "tasks": [{"ansible.builtin.debug": {"msg": "batch is {{ ansible_play_batch }}"}, "run_once": True}],
    }


def test_plans_on_the_spot_learn_how_long_an_update_takes_from_the_inventorys_state(lab):
    kept = {"path": str(lab.directory / "state.duckdb")}
    asked = options.checked(
        {"history": {"path": str(lab.directory / "history.duckdb")}, "pools": {"web": {}}, "state": kept},
        {**options.COMMON, **options.STATE},
        "test",
    )
    with history.open_state(asked) as store:
        for number in range(6):
            at = NOW - datetime.timedelta(hours=number + 1)
            store.append("update-duration", "web", {"seconds": 640.0 + number, "server": "w0"}, now=at)
    code, said = lab(existing(), lowtide_state=kept)
    assert code == 0, said
    assert "web: a server takes 11 min, as nine of ten of its last 6 updates did at most" in said
    code, said = lab(existing(durations={"web": [30] * 5}), lowtide_state=kept)
    assert code == 0, said
    assert "web: a server takes 30 s, as nine of ten of its last 5 updates did at most" in said
    code, said = lab(existing())
    assert code == 0, said
    assert "nine of ten" not in said


def test_plans_on_the_spot_are_held_while_the_pool_is_anomalous(lab):
    strange = lab.values.copy()
    strange[-3:] = 5000
    lab.keep(strange)
    code, said = lab(existing())
    assert code != 0
    assert "anomalies: web: requests of web: 6.8 times the 99 % bound" in said, said
    assert "or plan all the same with anomalies=ignore" in said
    code, said = lab(existing(anomalies="ignore"))
    assert code == 0, said
    assert "batch is" in said
