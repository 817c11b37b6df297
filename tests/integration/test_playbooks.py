# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's playbooks, and a user's own, on a fleet of real parts under load."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import typing as t

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.standby import SPEC as STANDBY
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.standby import standby
from certificates import Authority
from fleet import Fleet, real_demand, rising_demand
from ports import free_port
from processes import ansible_playbook

ROOT = pathlib.Path(__file__).resolve().parents[2]

SERVERS = ["web1", "web2", "web3", "web4", "web5", "api1", "api2", "api3"]
# More than any run takes, however busy the machine: a load that ends in the middle of one leaves its gates nothing to see.
LOAD_SECONDS = 900

STANDBYS = ["web-s1", "web-s2", "web-s3", "api-s1", "api-s2", "api-s3"]

# What many a team has: a play with a serial, of which two lines are ours.
EXISTING = """
- name: Roll out
  hosts: "{{ lookup('lowtide.fleet.update_hosts', 'web') }}"
  serial: "{{ lookup('lowtide.fleet.update_batches', 'web') }}"
  order: inventory
  gather_facts: false
  tasks:
    - name: Say which batch it is
      ansible.builtin.debug:
        msg: "batch is {{ ansible_play_batch | join(',') }}"
      run_once: true
    - name: Write
      ansible.builtin.copy:
        content: "{{ version }}"
        dest: "{{ inventory_dir }}/{{ inventory_hostname }}.written"
        mode: "0644"
"""


@pytest.fixture(scope="module")
def past():
    return real_demand(rising_demand)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, past):
    with Fleet(tmp_path_factory.mktemp("fleet"), past, boot_seconds=1.0) as running:
        done = playbook(running, ROOT / "playbooks" / "collect.yml")
        assert done.returncode == 0, done.stdout
        yield running


def playbook(
    fleet: Fleet, path: pathlib.Path | str, *arguments: str, cwd: pathlib.Path | None = None, **variables: t.Any
) -> subprocess.CompletedProcess[str]:
    """Run a playbook on the fleet's inventory, with further variables of it."""
    inventory = fleet.write_inventory(**variables)
    return subprocess.run(
        **ansible_playbook(fleet.directory / "ansible", ROOT / ".build", "-i", str(inventory), str(path), *arguments),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False, cwd=cwd,
    )  # fmt: skip


def pools(fleet: Fleet, **changes: dict[str, t.Any]) -> dict[str, t.Any]:
    """The fleet's pools, with some of web's keys changed."""
    result = fleet.variables()["lowtide_pools"]
    result["web"] = {**result["web"], **changes}
    return result


def marked(fleet: Fleet) -> dict[str, set[str]]:
    """The servers that were marked, by why."""
    spec = options.checked(fleet.variables()["lowtide_history"], options.HISTORY, "lowtide_history")
    found: dict[str, set[str]] = {}
    with history.open(spec) as kept:
        for mark in kept.marks(list(fleet.variables()["lowtide_pools"])):
            found.setdefault(mark.why, set()).update(mark.servers)
    return found


def batches(output: str) -> list[list[str]]:
    return [line.split(",") for line in re.findall(r"batch is (\S+)", output)]


def test_a_rolling_update_under_load_loses_no_request(tmp_path, past):
    """Standbys wake before it and sleep after it, the least loaded go first, and every server ends updated and in."""
    with Fleet(tmp_path / "fleet", past, boot_seconds=2.0) as fleet:
        fleet.start_load(LOAD_SECONDS)
        done = playbook(
            fleet, ROOT / "playbooks" / "rolling_update.yml",
            lowtide_update_tasks=str(ROOT / "tests" / "demo" / "update.yml"),
            lowtide_update_plan_file=str(fleet.directory / "plan.json"),
        )  # fmt: skip
        reports = fleet.stop_load()
        assert done.returncode == 0, done.stdout
        assert {name: (report["failed"], report["reasons"]) for name, report in reports.items()} == {
            "web": (0, {}),
            "api": (0, {}),
        }
        assert min(report["sent"] for report in reports.values()) > 500
        assert {name: fleet.version(name) for name in SERVERS} == dict.fromkeys(SERVERS, "2.0")
        assert {name: fleet.powers()[name] for name in STANDBYS} == dict.fromkeys(STANDBYS, "suspended")
        actions = [(event["vm"], event["action"]) for event in fleet.vcenter.history()]
        plan = json.loads((fleet.directory / "plan.json").read_text())["plan"]
        woken = plan["standbys"]["activate"]
        assert woken
        # Forecasts leave out what the update did to its servers, and the boot to the standbys.
        assert marked(fleet) == {"update": set(SERVERS), "boot": set(woken)}
        assert [name for name, _action in actions[: len(woken)]] != []
        assert sorted({name for name, _action in actions}) == sorted(woken)
        # Of the shares each server has of its pool's load, the smallest come first.
        assert plan["hosts"] == ["web3", "web5", "web2", "web4", "web1", "api3", "api2", "api1"]
        assert max(plan["serial"]) < 5


BROKEN = """
- name: Fail on one server
  ansible.builtin.fail:
    msg: the release does not start here
  when: inventory_hostname == 'web5'
- name: Install it on the others
  ansible.builtin.copy:
    content: "2.0"
    dest: "{{ inventory_dir }}/{{ inventory_hostname }}.installed"
    mode: "0644"
"""


def test_a_server_that_fails_stays_out_and_the_rest_of_the_fleet_serves(tmp_path, past):
    """Its batch's other servers come back, no further batch goes, and the standbys stay awake in its place."""
    with Fleet(tmp_path / "fleet", past, boot_seconds=1.0) as fleet:
        (fleet.directory / "broken.yml").write_text(BROKEN)
        fleet.start_load(LOAD_SECONDS)
        done = playbook(
            fleet, ROOT / "playbooks" / "rolling_update.yml",
            lowtide_update_tasks=str(fleet.directory / "broken.yml"),
            lowtide_update_plan_file=str(fleet.directory / "plan.json"),
        )  # fmt: skip
        reports = fleet.stop_load()
        plan = json.loads((fleet.directory / "plan.json").read_text())["plan"]
        assert done.returncode != 0
        told = " ".join(done.stdout.split())
        assert "web5 failed or can''t be reached, and at most 0 may" in told, done.stdout
        assert "web5 (Fail on one server: the release does not start here, out of service)" in told, done.stdout
        (first,) = [batch["hosts"] for batch in plan["batches"] if "web5" in batch["hosts"]]
        assert sorted(path.stem for path in fleet.directory.glob("*.installed")) == sorted({*first} - {"web5"})
        assert {name: fleet.powers()[name] for name in plan["standbys"]["activate"]} == dict.fromkeys(
            plan["standbys"]["activate"], "on"
        )
        spec = {"socket": [fleet.haproxy.tcp_socket], "backend": "web"}
        members = balancer_pool(options.checked(spec, options.BALANCER_POOL, "balancer_pool"), check_mode=True)[
            "members"
        ]
        out = [name for name, member in members.items() if member["state"] != "ready" and name in SERVERS]
        assert out == ["web5"]
        assert all(members[name]["weight"] == 100 for name in first if name != "web5")
        assert [report["failed"] for report in reports.values()] == [0, 0]


def test_a_low_tide_too_far_ahead_is_not_waited_for(fleet):
    fleet.vcenter.forget()
    done = playbook(
        fleet, ROOT / "playbooks" / "rolling_update.yml", "-e", '{"lowtide_max_wait": -3600}',
        lowtide_update_tasks=str(ROOT / "tests" / "demo" / "update.yml"),
    )  # fmt: skip
    assert done.returncode != 0
    assert "Start this again then, set lowtide_max_wait" in " ".join(done.stdout.split()), done.stdout
    assert fleet.vcenter.history() == []


def test_check_mode_acts_on_nothing(fleet):
    """However far ahead the low tide is. It can tell how the plan would have gone in the last weeks."""
    fleet.vcenter.forget()
    done = playbook(
        fleet, ROOT / "playbooks" / "rolling_update.yml", "--check", "-e", '{"lowtide_max_wait": -3600}',
        lowtide_update_tasks=str(ROOT / "tests" / "demo" / "update.yml"), lowtide_simulate=True, lowtide_simulate_weeks=3,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "8 servers would be updated in" in done.stdout
    told = " ".join(done.stdout.split())
    # A quarter of five servers and of three is one each.
    assert re.search(
        r"in the last 3 \w+days this plan would have been short in \d+ of \d+ batches; serial: 25% begun now.* in \d+ of 24",
        told,
    ), done.stdout
    assert fleet.vcenter.history() == []
    assert {name: fleet.version(name) for name in SERVERS} == dict.fromkeys(SERVERS, "1.0")


def test_a_limit_that_leaves_out_localhost_is_refused(fleet):
    """The run is planned there, and its journal is kept from there; no server is touched without."""
    done = playbook(
        fleet, ROOT / "playbooks" / "rolling_update.yml", "--limit", "web",
        lowtide_update_tasks=str(ROOT / "tests" / "demo" / "update.yml"),
    )  # fmt: skip
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert "The limit web leaves it out: say --limit web,localhost, or name pools in lowtide_update_pools" in told, (
        done.stdout
    )
    assert {name: fleet.version(name) for name in SERVERS} == dict.fromkeys(SERVERS, "1.0")


@pytest.mark.parametrize("given", [{"lowtide_update_tasks": "relase.yml"}, {"lowtide_update_role": "relase"}])
def test_a_mistyped_update_is_told_before_the_update_begins(fleet, given):
    done = playbook(fleet, "lowtide.fleet.rolling_update", **given)
    assert done.returncode != 0
    assert "relase" in done.stdout and "TASK [lowtide.fleet.update : Begin the run" not in done.stdout, done.stdout


@pytest.mark.parametrize("given", [{"lowtide_update_tasks": "release.yml"}, {"lowtide_update_role": "release"}])
def test_an_update_is_found_where_the_command_is_given(fleet, tmp_path, given):
    """The playbook lies in the collection, the tasks and the role in the user's own folder; a survey's empty answers are none."""
    task = "- name: Release\n  ansible.builtin.debug:\n    msg: releasing {{ inventory_hostname }}\n"
    (tmp_path / "roles" / "release" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "release" / "tasks" / "main.yml").write_text(f"---\n{task}", encoding="utf-8")
    (tmp_path / "release.yml").write_text(f"---\n{task}", encoding="utf-8")
    empty = dict.fromkeys(("lowtide_update_tasks", "lowtide_update_role", "lowtide_rollback_tasks"), "")
    done = playbook(
        fleet, "lowtide.fleet.rolling_update", "--check", "--limit", "web,localhost", cwd=tmp_path,
        **{**empty, **given}, lowtide_update_pools="web, ",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert {name for name in SERVERS if f"releasing {name}" in done.stdout} == set(SERVERS[:5])
    assert "batch 1 of " in done.stdout and "putting right" not in done.stdout, done.stdout


def test_lookups_take_variables_with_templates_in_them(fleet, tmp_path):
    """As most pools have them: their servers are those of a group."""
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.debug": {"msg": "{{ (lookup('lowtide.fleet.forecast', 'web') | first).words }}"}},
            {"ansible.builtin.debug": {"msg": "{{ lookup('lowtide.fleet.anomalies', 'web') }}"}},
        ],
    }
    (tmp_path / "look.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = playbook(fleet, tmp_path / "look.yml")
    assert done.returncode == 0, done.stdout
    assert "requests of web: " in done.stdout


def send_to_sleep(fleet: Fleet) -> None:
    """Let a pass of autoscale find nothing that needs a standby; those that woke moments ago may sleep at once."""
    rested = {**pools(fleet)["web"]["standby"], "min_awake": "0s"}
    idle = playbook(
        fleet, ROOT / "playbooks" / "autoscale.yml", "-e", "lowtide_act=true",
        lowtide_pools=pools(fleet, load={"metric": "requests", "server_capacity": 100}, standby=rested),
    )  # fmt: skip
    assert idle.returncode == 0, idle.stdout
    assert {name: fleet.powers()[name] for name in STANDBYS} == dict.fromkeys(STANDBYS, "suspended")


def test_autoscale_only_says_until_it_may_act(fleet):
    """A forecast that needs more servers wakes standbys, in the balancer too, and one that needs fewer puts them to sleep."""
    fleet.vcenter.forget()
    tight = pools(fleet, load={"metric": "requests", "server_capacity": 30})
    said = playbook(fleet, ROOT / "playbooks" / "autoscale.yml", lowtide_pools=tight)
    assert said.returncode == 0, said.stdout
    assert "web: wake web-s1, web-s2 now" in said.stdout
    assert "forecast only: set lowtide_act to true to act" in said.stdout
    assert fleet.vcenter.history() == []

    acted = playbook(fleet, ROOT / "playbooks" / "autoscale.yml", "-e", "lowtide_act=true", lowtide_pools=tight)
    assert acted.returncode == 0, acted.stdout
    assert [name for name, power in fleet.powers().items() if name in STANDBYS and power == "on"] == [
        "web-s1",
        "web-s2",
    ]
    assert "7 of 8 members in service" in acted.stdout
    again = playbook(fleet, ROOT / "playbooks" / "autoscale.yml", "-e", "lowtide_act=true", lowtide_pools=tight)
    assert "web: nothing to wake and nothing to send to sleep" in again.stdout

    send_to_sleep(fleet)


def test_autoscale_brings_in_what_a_killed_run_left_out_of_the_balancer(fleet):
    """It is on, and carries nothing: it counts for nothing until it is in."""
    woken = {"connection": fleet.vcenter.connection, "activate": ["web-s3"]}
    assert standby(options.checked(woken, STANDBY, "standby"), check_mode=False)["servers"]["web-s3"]["ready"]
    tight = pools(fleet, load={"metric": "requests", "server_capacity": 30})
    acted = playbook(fleet, ROOT / "playbooks" / "autoscale.yml", "-e", "lowtide_act=true", lowtide_pools=tight)
    assert acted.returncode == 0, acted.stdout
    assert re.search(r"needs \d servers, and 5 are in service", " ".join(acted.stdout.split())), acted.stdout
    assert "web: wake web-s3, web-s1 now" in acted.stdout
    spec = {"socket": [fleet.haproxy.tcp_socket], "backend": "web"}
    found = balancer_pool(options.checked(spec, options.BALANCER_POOL, "balancer_pool"), check_mode=True)
    assert [name for name in found["members"] if name not in found["out"] and name in STANDBYS] == ["web-s1", "web-s3"]

    send_to_sleep(fleet)


def test_autoscale_scales_by_what_is_known_while_a_source_is_down(fleet):
    """And fails at its end, for somebody must be told."""
    down = [{**fleet.variables()["lowtide_sources"][0], "url": f"http://127.0.0.1:{free_port()}"}]
    tight = pools(fleet, load={"metric": "requests", "server_capacity": 30})
    said = playbook(fleet, ROOT / "playbooks" / "autoscale.yml", lowtide_pools=tight, lowtide_sources=down)
    assert said.returncode != 0
    assert re.search("web: wake web-s1, web-s2.* now", said.stdout), said.stdout
    told = " ".join(said.stdout.split())
    assert re.search(r"planned by what was known: .*sources\[0\]\.url: there is no connection to", told), said.stdout


WAKE = """
- name: Wake two
  hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: Wake
      ansible.builtin.include_role:
        name: lowtide.fleet.standby
        tasks_from: "{{ entry }}"
      vars:
        standby_names: [api-s1, web-s1]
        standby_pools: "{{ lowtide_pools }}"
"""


def test_a_pool_whose_balancer_takes_nobody_keeps_no_other_pools_standbys_out(fleet):
    (fleet.directory / "wake.yml").write_text(WAKE)
    broken = pools(fleet)
    broken["api"]["balancer"] = {**broken["api"]["balancer"], "backend": "nowhere"}
    woken = playbook(
        fleet, fleet.directory / "wake.yml", entry="wake", lowtide_pools={name: broken[name] for name in ("api", "web")}
    )
    assert woken.returncode != 0
    told = " ".join(woken.stdout.split()).replace("''", "'")
    assert re.search("api: api-s1 could not be brought in: backend: .* has no backend 'nowhere'", told), woken.stdout
    spec = {"socket": [fleet.haproxy.tcp_socket], "backend": "web"}
    found = balancer_pool(options.checked(spec, options.BALANCER_POOL, "balancer_pool"), check_mode=True)
    assert "web-s1" not in found["out"]
    slept = playbook(fleet, fleet.directory / "wake.yml", entry="sleep")
    assert slept.returncode == 0, slept.stdout


def test_the_past_is_replayed_and_drawn(fleet, tmp_path):
    kept, page = tmp_path / "backtest.json", tmp_path / "backtest.html"
    wanted = {"lowtide_backtest_file": str(kept), "lowtide_backtest_report": str(page)}
    done = playbook(fleet, ROOT / "playbooks" / "backtest.yml", **wanted)
    assert done.returncode == 0, done.stdout
    told = json.loads(kept.read_text(encoding="utf-8"))
    assert set(told["pools"]) == {"web", "api"}
    for pool in told["pools"].values():
        figures = pool["policies"]
        assert figures["oracle"]["server_hours"] <= figures["static_peak"]["server_hours"]
        assert figures["oracle"]["overload_minutes"] <= figures["lowtide"]["overload_minutes"]
    assert "what each policy would have spent" in page.read_text(encoding="utf-8")


@pytest.fixture
def existing(fleet):
    path = fleet.directory / "existing.yml"
    path.write_text(EXISTING)
    for name in SERVERS:
        (fleet.directory / f"{name}.written").unlink(missing_ok=True)
    return path


def written(fleet: Fleet) -> list[str]:
    return sorted(path.stem for path in fleet.directory.glob("*.written"))


def test_an_existing_playbook_runs(fleet, existing):
    done = playbook(fleet, existing, version=3)
    assert done.returncode == 0, done.stdout
    assert [host for batch in batches(done.stdout) for host in batch] == ["web3", "web5", "web2", "web4", "web1"]
    assert len(batches(done.stdout)) > 1
    assert written(fleet) == ["web1", "web2", "web3", "web4", "web5"]


def test_an_existing_playbook_under_check_writes_nothing(fleet, existing):
    done = playbook(fleet, existing, "--check", version=3)
    assert done.returncode == 0, done.stdout
    assert len(batches(done.stdout)) > 1
    assert written(fleet) == []


@pytest.mark.parametrize("option", ["--syntax-check", "--list-hosts", "--list-tasks"])
def test_an_existing_playbook_can_be_listed_without_a_history(fleet, existing, option):
    done = playbook(
        fleet, existing, option, lowtide_history={"type": "duckdb", "path": "/nowhere/history.duckdb"}, version=3
    )
    assert done.returncode == 0, done.stdout
    if option == "--list-hosts":
        assert sorted(re.findall(r"^ +(web\d)$", done.stdout, re.MULTILINE)) == ["web1", "web2", "web3", "web4", "web5"]


def test_limit_keeps_the_batches_apart(fleet, existing):
    done = playbook(fleet, existing, "--limit", "web1,web2,web3", version=3)
    assert done.returncode == 0, done.stdout
    everything = batches(playbook(fleet, existing, version=3).stdout)
    kept = [[host for host in batch if host in ("web1", "web2", "web3")] for batch in everything]
    assert batches(done.stdout) == [batch for batch in kept if batch]


def test_a_limit_without_a_server_of_the_plan_is_an_error(fleet, existing):
    done = playbook(fleet, existing, "--limit", "api1", version=3)
    assert done.returncode != 0
    assert "the limit 'api1' leaves no server of the plan" in done.stdout
    assert written(fleet) == []


def test_serial_alone_is_refused_where_the_order_is_not_the_plans(fleet, existing):
    existing.write_text(EXISTING.replace("{{ lookup('lowtide.fleet.update_hosts', 'web') }}", "web"))
    done = playbook(fleet, existing, version=3)
    assert done.returncode != 0
    assert "Take hosts: from the lookup lowtide.fleet.update_hosts" in done.stdout
    assert written(fleet) == []


# The same with a plan made beforehand, a gate before each batch, and web3 out of reach.
GATED = """
- name: Plan
  hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: Plan
      lowtide.fleet.update_plan:
        history: "{{ lowtide_history }}"
        pools: "{{ lowtide_pools }}"
        pool: [web]
        # Two and two, whether the load rises now or falls: of five, one might go first, alone.
        hosts: [web2, web3, web4, web5]
        deadline: 20m
        use_standbys: false
      register: update

- name: Roll out
  hosts: "{{ lookup('lowtide.fleet.update_hosts', plan=hostvars.localhost.update.plan) }}"
  serial: "{{ lookup('lowtide.fleet.update_batches', plan=hostvars.localhost.update.plan) }}"
  order: inventory
  gather_facts: false
  vars:
    ansible_connection: "{{ 'ssh' if inventory_hostname == 'web3' else 'local' }}"
    ansible_host: 127.0.0.1
    ansible_port: 1
  pre_tasks:
    - name: Go only where there is room
      lowtide.fleet.update_gate:
        history: "{{ lowtide_history }}"
        pools: "{{ lowtide_pools }}"
        plan: "{{ hostvars.localhost.update.plan }}"
      run_once: true
  tasks:
    - name: Write
      ansible.builtin.copy:
        content: "3"
        dest: "{{ inventory_dir }}/{{ inventory_hostname }}.written"
        mode: "0644"
"""


def test_the_gate_stops_the_run_when_a_host_of_the_first_batch_is_lost(fleet, existing):
    """Unreachable hosts count, which Ansible's own max_fail_percentage leaves out."""
    existing.write_text(GATED)
    roomy = pools(
        fleet,
        load={"metric": "requests", "server_capacity": 60},
        update={"max_unavailable": "2", "duration": "10s"},
    )
    done = playbook(fleet, existing, lowtide_pools=roomy)
    assert done.returncode != 0
    assert "web3 failed or can't be reached, and at most 0 may: repair them, then plan anew" in done.stdout, done.stdout
    assert written(fleet) == ["web5"]


BAD = {
    "no_history": (
        {"lowtide_history": {"type": "duckdb", "path": "/absent/history.duckdb"}, "lowtide_sources": []},
        r"history\.path: there is no history at /absent/history\.duckdb\. Check the path, or run lowtide\.fleet\.collect",
    ),
    "a_pool_without_data": (
        {"lowtide_sources": [], "metric": "latency"},
        r"pools\.web\.load\.metric|holds no .*'latency'",
    ),
    "a_pool_without_servers": ({"servers": []}, r"pools\.web\.servers: the pool has no servers\. Name them"),
    "a_server_unknown_to_vsphere": ({"ghost": True}, r"no virtual machine 'ghost'.*Check the server's name"),
    "a_wrong_password": ({"password": "guess"}, r"connection\.(username|password).*"),
    "an_untrusted_certificate": ({"authority": "other"}, r"connection\.ca_path|certificate"),
    "haproxy_down": ({"socket": True}, r"socket\[0\]: .*refused"),
    # It does not stand for all of them.
    "an_empty_tenant": ({"lowtide_tenant": ""}, r"tenant: no pool belongs to tenant ''.*Tenants with pools are"),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [("rolling_update.yml", case) for case in BAD]
    + [("autoscale.yml", "haproxy_down"), ("autoscale.yml", "an_empty_tenant")],
)
def test_bad_input_is_one_line_and_changes_nothing(fleet, name, case, tmp_path):
    change, message = BAD[case]
    variables = fleet.variables()
    variables.update({key: value for key, value in change.items() if key.startswith("lowtide_")})
    web, connection = variables["lowtide_pools"]["web"], variables["lowtide_vsphere"]
    if "metric" in change:
        web["load"]["metric"] = change["metric"]
    if "servers" in change:
        web["servers"] = change["servers"]
    if "ghost" in change:
        web["standby"]["servers"] = ["ghost"]
    if "password" in change:
        connection["password"] = change["password"]
    if "authority" in change:
        connection["ca_path"] = str(Authority(tmp_path).path)
    if "socket" in change:
        web["balancer"]["socket"] = [f"tcp://127.0.0.1:{free_port()}"]
    fleet.vcenter.forget()
    before = fleet.powers()
    done = playbook(
        fleet, ROOT / "playbooks" / name, "-e", "lowtide_act=true",
        lowtide_update_tasks=str(ROOT / "tests" / "demo" / "update.yml"), **variables,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    (fatal,) = [line for line in re.sub(r"\n {8,}", " ", done.stdout).splitlines() if line.strip().startswith("msg:")][
        -1:
    ]
    assert re.search(message, fatal.replace("''", "'")), fatal
    assert "Traceback" not in done.stdout
    assert fleet.vcenter.history() == []
    assert fleet.powers() == before
    assert {name: fleet.version(name) for name in SERVERS} == dict.fromkeys(SERVERS, "1.0")


def test_a_pool_without_history_stays_as_it_is_and_the_others_are_planned(fleet):
    variables = fleet.variables()
    variables["lowtide_pools"]["web"]["load"]["metric"] = "latency"
    fleet.vcenter.forget()
    before = fleet.powers()
    done = playbook(
        fleet, ROOT / "playbooks" / "autoscale.yml", "-e", "lowtide_act=true", **variables | {"lowtide_sources": []}
    )
    said = " ".join(done.stdout.split()).replace("''", "'")
    assert done.returncode == 0, done.stdout
    assert "Pool 'web' is not looked at: history.path: the history" in said
    assert "holds no sample of 'latency' for pool 'web'" in said
    assert "Until then the pool stays as it is." in said
    # What a standby takes to serve ends in the second step from now, or in the third where this one is nearly over.
    assert re.search("api: within 1[05] min demand stays below", said), done.stdout
    names = [name for name in STANDBYS if name.startswith("web")]
    assert not {event["vm"] for event in fleet.vcenter.history()} & set(names)
    assert {name: fleet.powers()[name] for name in names} == {name: before[name] for name in names}
