# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passes of autoscale.yml for tenants, over standbys that commands wake, and the playbook that sizes standbys."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import secrets
import subprocess

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey
from haproxy import HAProxy
from lab import make_servers, members_of, running
from processes import ansible_playbook

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEP = 300
DAYS = 9
PLAN_OF_WEB = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - name: Plan
      lowtide.fleet.update_plan:
        history: "{{ lowtide_history }}"
        pools: "{{ lowtide_pools }}"
        pool: [web]
        tenants: "{{ lowtide_tenants }}"
        deadline: 6h
      register: answer
    - name: Say it
      ansible.builtin.debug:
        msg: "{{ answer.words }}"
"""


class Site:
    """Standbys that are files, a history in a store, and runs of playbooks over them.

    A standby whose name ends in C(broken) does not wake.
    """

    def __init__(self, directory, store):
        self.directory, self.store = directory, store
        self.tag = f"x{secrets.token_hex(4)}"
        now = datetime.datetime.now(datetime.UTC).timestamp()
        self.end = datetime.datetime.fromtimestamp(now // STEP * STEP, datetime.UTC)
        (directory / "power").mkdir()
        self.pools = {}

    def tenant(self, name):
        """The name of a tenant that no other test has."""
        return f"{self.tag}{name}"

    def add(self, name, tenant, demand, standbys, **more):
        """A pool whose two servers carry 100 each, and its past."""
        for server in standbys:
            self.power(server, "off")
        write = ["sh", "-c", 'case "$1" in *broken) echo no quota left >&2; exit 3;; esac; echo "$2" > "$0/$1"']
        write += [str(self.directory / "power"), "{server}"]
        self.pools[name] = {
            "tenant": self.tenant(tenant),
            "servers": [f"{name}1", f"{name}2"],
            "load": {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0},
            "standby": {
                "servers": standbys,
                "provider": "command",
                "idle_state": "off",
                "cost_per_hour": 2,
                "commands": {
                    "look": ["cat", f"{self.directory}/power/{{server}}"],
                    "wake": [*write, "on 127.0.0.1"],
                    "shut_down": [*write, "off"],
                },
            },
            **more,
        }
        values = (
            np.full((1, DAYS * 86400 // STEP), 100.0) if demand is None else np.asarray(demand, dtype=float)[None, :]
        )
        spec = options.checked(self.store, options.HISTORY, "history")
        with history.open(spec, tenant=self.tenant(tenant), read_only=False) as kept:
            kept.write(Series((SeriesKey(name, None, "requests"),), values, self.end, STEP))

    def power(self, server, state=None):
        path = self.directory / "power" / server
        if state is not None:
            path.write_text(state)
        return path.read_text().split()[0]

    def awake(self):
        return sorted(path.name for path in (self.directory / "power").iterdir() if path.read_text().startswith("on"))

    def run(self, playbook="autoscale.yml", *arguments, **variables):
        values = {"lowtide_history": self.store, "lowtide_pools": self.pools, "lowtide_act": True, **variables}
        path = self.directory / "variables.json"
        path.write_text(json.dumps(values))
        told = ["-i", "localhost,", str(ROOT / "playbooks" / playbook), "-e", f"@{path}", *arguments]
        done = subprocess.run(
            **ansible_playbook(self.directory / "home", ROOT / ".build", *told, COLUMNS="1000"),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
        return done.returncode, " ".join(done.stdout.replace("''", "'").split())

    def opened(self, tenant, **more):
        spec = options.checked({"state": self.store}, options.STATE, "options")
        return history.open_state(spec, tenant=self.tenant(tenant), **more)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path, {"type": "duckdb", "path": str(tmp_path / "history.duckdb")})


@pytest.fixture(params=["duckdb", "postgresql"])
def any_site(request, tmp_path):
    """The same in each store."""
    if request.param == "postgresql":
        return Site(tmp_path, request.getfixturevalue("postgresql"))
    return request.getfixturevalue("site")


def flat(demand):
    return np.full(DAYS * 86400 // STEP, float(demand))


def test_a_pass_keeps_to_the_limits_of_the_tenants_and_leaves_what_another_run_holds(any_site):
    """Quota and budget of the day; the candidate of a standby that fails; a pool in the hands of a rollout."""
    site = any_site
    site.add("web", "shop", flat(400), ["web-broken", "web-a", "web-b", "web-c"])
    site.add("lab", "shop", flat(350), ["lab-a", "lab-b"], weight=0.5)
    site.add("ledger", "bank", flat(300), ["ledger-a"])
    limits = {
        site.tenant("shop"): {"max_standbys": 3, "budget_per_day": 1000},
        site.tenant("bank"): {"budget_per_day": 0},
    }

    code, said = site.run("autoscale.yml", "--check", lowtide_tenants=limits)
    assert code == 0, said
    assert "ledger-a stays asleep" in said
    assert site.awake() == []
    with site.opened("shop") as store:
        assert (store.leases(), store.records("activation")) == ([], [])

    with site.opened("shop") as store:
        now = datetime.datetime.now(datetime.UTC)
        store.acquire("pool:lab", holder="ops@host, process 7", seconds=3600, now=now, why="update lab to 2.1")
    code, said = site.run(lowtide_tenants=limits)
    assert code == 0, said
    assert "lab: left alone, ops@host, process 7 holds it to update lab to 2.1 since" in said
    assert "web-broken: failed: commands.wake ended with 3: no quota left" in said
    assert site.awake() == ["web-a", "web-b"]
    assert f"ledger-a stays asleep: tenant {site.tenant('bank')} has spent 0.00 today" in said
    with site.opened("shop") as store:
        noted = [(item.name, item.body["woken"]) for item in store.records("activation")]
        assert [item.name for item in store.leases()] == ["pool:lab"]
        store.release("pool:lab", holder="ops@host, process 7")
    assert noted[:2] == [("web-broken", True), ("web-a", True)]
    assert sorted(noted[2:]) == [("web-b", True), ("web-broken", False)]

    code, said = site.run(lowtide_tenants=limits)
    assert code == 0, said
    assert site.awake() == ["lab-a", "web-a", "web-b"]
    tenant = site.tenant("shop")
    assert f"lab-b stays asleep: tenant {tenant} has 3 standbys awake or waking, and max_standbys is 3" in said


def test_the_budget_counts_what_was_noted_and_a_day_that_is_paid_for_lets_standbys_sleep(site):
    site.add("web", "shop", flat(300), ["web-a", "web-b"])
    limits = {site.tenant("shop"): {"budget_per_day": 100}}
    code, said = site.run(lowtide_tenants=limits)
    assert (code, site.awake()) == (0, ["web-a"]), said
    # Another standby of the tenant, far dearer, was woken; and the newest demand of this pool needs none of its own.
    with site.opened("shop") as store:
        store.append("activation", "web-old", {"pool": "web", "woken": True, "price_per_hour": 1e6}, now=site.end)
    site.add("web", "shop", [*flat(300)[:-6], *[150] * 6], ["web-a", "web-b"])
    site.power("web-a", "on 127.0.0.1")
    code, said = site.run(lowtide_tenants=limits)
    assert code == 0, said
    assert "the budget is used up" in said
    assert site.awake() == []


def test_a_tenants_run_touches_nothing_of_anothers(site):
    site.add("web", "shop", flat(300), ["web-a"])
    site.add("ledger", "bank", flat(300), ["ledger-a"])
    code, said = site.run(lowtide_tenant=site.tenant("shop"))
    assert (code, site.awake()) == (0, ["web-a"]), said
    assert "ledger" not in said
    with site.opened("bank") as store:
        assert store.records("activation") == []
        assert store.leases() == []

    site.power("web-a", "off")
    thief = {
        **site.pools,
        "web": {**site.pools["web"], "standby": {**site.pools["web"]["standby"], "servers": ["ledger-a"]}},
    }
    code, said = site.run(lowtide_tenant=site.tenant("shop"), lowtide_pools=thief)
    assert code != 0
    assert f"standby 'ledger-a' is of pool 'web' of tenant '{site.tenant('shop')}' too, and no quota says" in said
    assert site.awake() == []


def test_a_standby_that_saves_more_elsewhere_goes_there_awake_as_it_is(site, tmp_path):
    servers = make_servers(tmp_path, 5)
    members = members_of(servers)
    for member, name in zip(list(members), ("web1", "web2", "lab1", "lab2", "shared"), strict=True):
        members[members.index(member)] = dataclasses.replace(member, name=name, standby=name == "shared")
    web, lab, shared = members[:2], members[2:4], members[4]
    with running(servers.values()), HAProxy(tmp_path, {"web": [*web, shared], "lab": [*lab, shared]}) as haproxy:
        reached = {"provider": "haproxy", "socket": [haproxy.tcp_socket]}
        site.add("web", "shop", flat(150), ["shared"], weight=9, balancer={**reached, "backend": "web"})
        site.add("lab", "labs", flat(300), ["shared"], balancer={**reached, "backend": "lab"})
        limits = {site.tenant("shop"): {"max_standbys": 1}}
        limits[site.tenant("labs")] = {"max_standbys": 1, "budget_per_day": 100}
        more = {"lowtide_tenants": limits, "lowtide_heed_anomalies": False, "balancer_pause": 0.1}
        code, said = site.run(**more)
        assert code == 0, said
        assert (haproxy.serving("web"), haproxy.serving("lab"), site.awake()) == (2, 3, ["shared"])

        # The tenant whose web suddenly needs it may not have it; then it may.
        site.add("web", "shop", flat(300), [], weight=9, balancer={**reached, "backend": "web"})
        site.pools["web"]["standby"]["servers"] = ["shared"]
        limits[site.tenant("shop")]["max_standbys"] = 0
        code, said = site.run(**more)
        assert code == 0, said
        assert (haproxy.serving("web"), haproxy.serving("lab"), site.awake()) == (2, 3, ["shared"])

        limits[site.tenant("shop")]["max_standbys"] = 1
        code, said = site.run("autoscale.yml", "--check", **more)
        assert code == 0, said
        assert "lab: give up shared to web" in said
        assert (haproxy.serving("web"), haproxy.serving("lab")) == (2, 3)
        for _again in range(2):
            code, said = site.run(**more)
            assert code == 0, said
            assert (haproxy.serving("web"), haproxy.serving("lab"), site.awake()) == (3, 2, ["shared"])
    notes = {}
    for tenant in ("labs", "shop"):
        with site.opened(tenant) as store:
            notes[tenant] = [(item.body["pool"], item.body["woken"]) for item in store.records("activation")]
    assert notes == {"labs": [("lab", True), ("lab", False)], "shop": [("web", True)]}


def test_the_history_of_a_pool_is_its_tenants_even_under_the_same_name(any_site):
    """Pool web of tenant bank has no sample, though tenant shop has a pool of that name with many."""
    site = any_site
    site.add("web", "shop", flat(300), ["web-a"])
    with site.opened("bank"):
        pass
    stolen = {"web": {**site.pools["web"], "tenant": site.tenant("bank")}}
    code, said = site.run(lowtide_pools=stolen)
    assert code != 0
    assert "no sample of 'requests' for pool 'web'" in said, said
    assert site.awake() == []


def test_an_update_wakes_no_more_than_the_tenant_may_have(any_site):
    """One standby makes room for a batch; the budget of another pool's standby awake, or the quota, may leave none."""
    site = any_site
    site.add("web", "shop", flat(150), ["web-a", "web-b"])
    site.add("lab", "shop", flat(150), ["lab-a"])
    site.pools["web"]["update"] = {"duration": "10m", "max_unavailable": "1"}
    plan = site.directory / "plan.yml"
    plan.write_text(PLAN_OF_WEB)
    tenant = site.tenant("shop")

    code, said = site.run(plan, lowtide_tenants={tenant: {"max_standbys": 1, "budget_per_day": 100}})
    assert code == 0, said
    assert "wake web-a at" in said
    assert "stays asleep" not in said

    for limits, reason in (
        ({"budget_per_day": 0.01}, f"tenant {tenant} has spent or planned 0.00 of the day that begins at"),
        ({"max_standbys": 0}, f"tenant {tenant} has 0 standbys awake, 1 more is wanted, and max_standbys is 0"),
    ):
        code, said = site.run(plan, lowtide_tenants={tenant: limits})
        assert code != 0
        assert f"web-a stays asleep: {reason}" in said
        assert "Raise the quota of the tenant" in said

    # What another run woke for another pool of the tenant counts.
    with site.opened("shop") as store:
        body = {"pool": "lab", "woken": True, "price_per_hour": 2}
        store.append("activation", "lab-a", body, now=site.end - datetime.timedelta(minutes=5))
    code, said = site.run(plan, lowtide_tenants={tenant: {"max_standbys": 1}})
    assert code != 0
    assert f"web-a stays asleep: tenant {tenant} has 1 standby awake, 1 more is wanted, and max_standbys is 1" in said
    assert site.awake() == []


def test_standbys_are_sized_from_the_past(site):
    """A peak each weekday that needs one standby, and one day that needs three."""
    # Whole days: a peak that goes on over midnight would be two.
    site.end = site.end.replace(hour=0, minute=0)
    steps = 86400 // STEP
    day = np.full(steps, 150.0)
    day[100:124] = 280.0
    past = np.tile(day, 40)
    past[20 * steps + 100 : 20 * steps + 124] = 480.0
    site.add("web", "shop", past, ["web-a", "web-b", "web-c"], slo={"overload_cost_per_hour": 20})
    site.pools["web"]["standby"] |= {"idle_cost_per_hour": 0.2, "lead_time": "10m"}
    file = site.directory / "sizes.json"
    code, said = site.run("standby_sizing.yml", lowtide_sizing_file=str(file), lowtide_now=timing.iso(site.end))
    assert code == 0, said
    web = json.loads(file.read_text())["pools"]["web"]
    assert (web["recommended"], web["now"], web["growth_per_month"]) == (1, 3, 0)
    assert web["days"] in (39, 40)
    # Asleep 21.5 h at 0.2, awake 2 h and the hold of half an hour at 2; and one day in 39 or 40 that lacks 1.8 servers.
    one = web["options"][1]
    assert one["idle_cost_per_day"] == pytest.approx(21.5 * 0.2, abs=0.01)
    assert one["awake_cost_per_day"] == pytest.approx(5.0, abs=0.01)
    assert one["overload_cost_per_day"] == pytest.approx(2 * 1.8 * 20 / web["days"], abs=0.01)
    assert one["late_overload_minutes_per_day"] > one["overload_minutes_per_day"]
    assert f"1 standby is the cheapest over {web['days']} days (3 now)" in said
    assert "the 3 of now: +" in said
