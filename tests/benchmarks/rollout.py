#!/usr/bin/env python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rolling update of 24 servers in three failure domains with six standbys, 15 seconds each, under load of a real shape:

at low tide by rolling_update.yml; with serial: 25% at the peak of the day, for comparison; and killed with SIGKILL at ten
random moments, and started again each time.

Servers take one request at a time, so that their capacity is real: what is beyond it waits, and fails after five seconds.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import sys
import tempfile
import time
import typing as t

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

from conftest import link_collection  # noqa: E402

link_collection()

from fleet import demand  # noqa: E402
from rollout_lab import SHOP, Shop, Watch, shop_past  # noqa: E402

# What many a team has today.
SERIAL = """
- name: Update a quarter at a time
  hosts: shop
  serial: 25%
  gather_facts: false
  tasks:
    - name: Take them out
      ansible.builtin.include_role:
        name: lowtide.fleet.balancer
        tasks_from: out
      vars: &members
        balancer_pool: "{{ lowtide_pools.shop }}"
        balancer_members: "{{ ansible_play_batch }}"
        balancer_gated: false
    - name: Update
      ansible.builtin.include_tasks: "{{ lowtide_update_tasks }}"
    - name: Check their health
      ansible.builtin.uri:
        url: "{{ lowtide_health_url }}"
      delegate_to: localhost
      register: health
      until: health is succeeded
      retries: 60
      delay: 0.5
    - name: Bring them back
      ansible.builtin.include_role:
        name: lowtide.fleet.balancer
        tasks_from: in
      vars: *members
"""
SECONDS = 1500


def at_peak(past: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The past turned so that it ends at the highest hour of its mean day."""
    values = past[SHOP.name]
    hour = np.convolve(values[: len(values) // 288 * 288].reshape(-1, 288).mean(axis=0), np.ones(12) / 12, "same")
    return {SHOP.name: np.roll(values, -int(np.argmax(hour)))}


def told(fleet: Shop, watch: Watch, began: float) -> dict[str, t.Any]:
    """What became of the requests, of capacity and of the servers."""
    report = fleet.stop_load()[SHOP.name]
    powers = fleet.powers()
    return {
        "seconds": round(time.monotonic() - began),
        "sent": report["sent"],
        "failed": report["failed"],
        "p50_ms": report["p50_ms"],
        "p95_ms": report["p95_ms"],
        "least_spare_requests_per_second": round(watch.least.spare, 1),
        "looks_with_capacity_under_demand": sum(seen.spare < 0 for seen in watch.seen),
        "looks": len(watch.seen),
        "updated": sum(fleet.version(name) == "2.0" for name in SHOP.server_names),
        "in_service": fleet.haproxy.serving(SHOP.name),
        "standbys_awake": [name for name in SHOP.standby_names if powers[name] != "suspended"],
        "standbys_woken": sorted({event["vm"] for event in fleet.vcenter.history()} & set(SHOP.standby_names)),
        "updates": sum(fleet.updates().values()),
    }


def lab(directory: pathlib.Path, past: dict[str, np.ndarray]) -> Shop:
    """The fleet, with servers of real capacity: a tenth of a second for each request, one at a time."""
    return Shop(directory, past, update_seconds=15, service_seconds=0.1, at_once=1)


def low_tide(directory: pathlib.Path, past: dict[str, np.ndarray]) -> dict[str, t.Any]:
    """At low tide, undisturbed."""
    with lab(directory, past) as fleet:
        fleet.start_load(SECONDS, long=0)
        began = time.monotonic()
        with Watch(fleet, fleet.demand(SHOP, SECONDS)) as watch:
            playbook = fleet.start_playbook()
            code = playbook.wait(SECONDS)
        return {"exit_code": code, **told(fleet, watch, began)}


def serial(directory: pathlib.Path, past: dict[str, np.ndarray]) -> dict[str, t.Any]:
    """With serial: 25% at the peak of the day."""
    with lab(directory, at_peak(past)) as fleet:
        path = fleet.directory / "serial.yml"
        path.write_text(SERIAL, encoding="utf-8")
        fleet.start_load(SECONDS, long=0)
        began = time.monotonic()
        with Watch(fleet, fleet.demand(SHOP, SECONDS)) as watch:
            code = fleet.start_playbook(path).wait(SECONDS)
        return {"exit_code": code, **told(fleet, watch, began)}


def killed(directory: pathlib.Path, past: dict[str, np.ndarray], kills: int, seed: int) -> dict[str, t.Any]:
    """Killed at random moments, each after some seconds up to what a whole run takes."""
    chance = random.Random(seed)
    with lab(directory, past) as fleet:
        fleet.start_load(SECONDS, long=0)
        began, phases, repeated = time.monotonic(), [], []
        with Watch(fleet, fleet.demand(SHOP, SECONDS)) as watch:
            while len(phases) < kills:
                playbook = fleet.start_playbook()
                if not playbook.kill_in(chance.uniform(2, 40)):
                    break  # It was done before.
                run = (fleet.runs() or [None])[-1]
                done = {name: fleet.updates()[name] for name in run.done} if run else {}
                phases.append(f"{run.phase}, {len(run.done)} done, {len(run.half)} half" if run else "nothing begun")
                repeated.append(done)
            code = fleet.start_playbook().wait(SECONDS)
        updates = fleet.updates()
        again = sum(updates[name] != count for done in repeated for name, count in done.items())
        return {"exit_code": code, "killed_in": phases, "done_and_done_again": again, **told(fleet, watch, began)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["low_tide", "serial", "killed"], help="which to run")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args()
    past, result = shop_past(shape=demand), {}
    for part in arguments.parts:
        with tempfile.TemporaryDirectory(prefix="lowtide-rollout-", ignore_cleanup_errors=True) as name:
            directory = pathlib.Path(name) / "shop"
            if part == "killed":
                result[part] = killed(directory, past, arguments.kills, arguments.seed)
            else:
                result[part] = {"low_tide": low_tide, "serial": serial}[part](directory, past)
        print(json.dumps({part: result[part]}, indent=1), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
