#!/usr/bin/env python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job once through, on a fleet of real parts: forecast, decide, wake standbys, update at low tide, sleep again.

It runs the collection's own playbooks with ansible-playbook, says what they say, and leaves a page with pictures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "simulators"))

from conftest import link_collection  # noqa: E402
from fleet import Fleet, real_demand  # noqa: E402
from processes import ansible_playbook  # noqa: E402

LOAD_SECONDS = 900
EXPECTED = "about two minutes"


class Broken(RuntimeError):
    """The demo did not show what it promises."""


def say(text: str = "") -> None:
    """One line for the person who watches."""
    print(text, flush=True)


def run_playbook(fleet: Fleet, inventory: pathlib.Path, name: str, *arguments: str) -> list[dict[str, str]]:
    """Run one of the collection's playbooks, and pass on what it says in words; return when each batch went.

    :raises Broken: when it fails; the end of its output is in the error.
    """
    marks: list[dict[str, str]] = []
    log = fleet.directory / f"{pathlib.Path(name).stem}.log"
    started = ansible_playbook(
        fleet.directory / "ansible", link_collection(), "-i", str(inventory), str(ROOT / "playbooks" / name), *arguments,
        PYTHONUNBUFFERED="1",
    )  # fmt: skip
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(**started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            for line in said(keep(process.stdout, file)):
                say(f"  {line}")
                if line.startswith("batch ") and line.endswith(": go"):
                    marks.append(
                        {"time": datetime.datetime.now(datetime.UTC).isoformat(), "label": line.split(" (")[0]}
                    )
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise Broken(f"{name} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    return marks


def keep(lines: t.Iterable[str], file: t.TextIO) -> t.Iterator[str]:
    """The lines, each kept in a file too."""
    for line in lines:
        file.write(line)
        yield line.rstrip("\n")


def said(lines: t.Iterable[str]) -> t.Iterator[str]:
    """The sentences among the output of a playbook: what its debug tasks say, as YAML lists and texts."""
    sentence, inside = "", False
    for line in lines:
        text = line.strip()
        starts = line.startswith("    - ") or (line.startswith("    msg: ") and text != "msg: |-")
        if (starts or not line.startswith("    ")) and sentence:
            yield sentence.strip("'").replace("''", "'")
            sentence = ""
        inside = line.startswith("    msg:") or (inside and line.startswith("    "))
        if inside and starts:
            sentence = text.removeprefix("- ").removeprefix("msg: ").strip("'")
        elif inside and sentence and line.startswith("        "):
            sentence += " " + text
    if sentence:
        yield sentence.strip("'")


def check(fleet: Fleet, before: dict[str, str], reports: dict[str, dict[str, t.Any]]) -> tuple[int, int]:
    """Hold the end against the promise; return how many requests were sent and how many failed.

    :raises Broken: when a server was not updated, a standby never woke or did not sleep again, or a request failed.
    """
    serving = [name for tier in fleet.tiers for name in tier.server_names]
    standbys = [name for tier in fleet.tiers for name in tier.standby_names]
    powers, woken = fleet.powers(), {event["vm"] for event in fleet.vcenter.history()} & set(standbys)
    versions = {name: fleet.version(name) for name in serving}
    sent = sum(report["sent"] for report in reports.values())
    failed = sum(report["failed"] for report in reports.values())
    troubles = [f"{name} runs version {version}" for name, version in versions.items() if version != "2.0"]
    troubles += [f"{name} is {powers[name]}" for name in standbys if powers[name] != before[name]]
    if not woken:
        troubles.append("no standby was woken")
    if failed:
        troubles.append(f"{failed} of {sent} requests failed: {[report['reasons'] for report in reports.values()]}")
    if troubles:
        raise Broken("; ".join(troubles))
    say(
        f"The standbys {', '.join(sorted(woken))} were woken for it and sleep again; all {len(serving)} servers run version 2.0."
    )
    return sent, failed


def show(fleet: Fleet, reports: dict[str, dict[str, t.Any]]) -> None:
    """One line about the traffic of each pool."""
    for name, report in reports.items():
        say(f"  {name}: {report['sent']} requests, {report['failed']} failed; half within {report['p50_ms']:.0f} ms, "
            f"95 % within {report['p95_ms']:.0f} ms (2 % of them ask for two seconds)")  # fmt: skip


def demonstrate(directory: pathlib.Path, page: pathlib.Path) -> None:
    """All of it."""
    say("Starting HAProxy, eight HTTP servers, a simulated vCenter with six suspended standbys, and Prometheus.")
    with Fleet(directory, real_demand()) as fleet:
        before = fleet.powers()
        inventory = fleet.write_inventory(
            lowtide_update_tasks=str(ROOT / "tests" / "demo" / "update.yml"),
            lowtide_scaling_plan_file=str(directory / "scaling-plan.json"),
            lowtide_update_plan_file=str(directory / "update-plan.json"),
        )
        fleet.start_load(LOAD_SECONDS)
        say("\n1. Thirty days of history, from Prometheus into one DuckDB file (collect.yml)")
        run_playbook(fleet, inventory, "collect.yml")
        say("\n2. What comes, and what it needs (autoscale.yml, acting)")
        run_playbook(fleet, inventory, "autoscale.yml", "-e", "lowtide_act=true")
        say("\n3. Every server updated at low tide, under load (rolling_update.yml)")
        marks = run_playbook(fleet, inventory, "rolling_update.yml")
        time.sleep(2)
        reports = fleet.stop_load()
        say("\n4. What the users of it noticed")
        show(fleet, reports)
        write_page(fleet, inventory, page, marks)
        sent, failed = check(fleet, before, reports)
    say(f"\n{sent} requests sent, {failed} failed, with HAProxy's retries off.")
    say(f"The pictures are in {page}")


def write_page(fleet: Fleet, inventory: pathlib.Path, page: pathlib.Path, marks: list[dict[str, str]]) -> None:
    """The page with forecast, plans and traffic."""
    given = {
        "lowtide_report_file": str(page),
        "lowtide_report_title": "Lowtide demo: a rolling update at low tide",
        "lowtide_traffic_files": [str(load.csv_file) for load in fleet.loads],
        "lowtide_report_marks": marks,
    }
    run_playbook(fleet, inventory, "report.yml", "-e", json.dumps(given))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "demo-report.html", help="where the page goes")
    arguments = parser.parse_args()
    say(f"This takes {EXPECTED}. It runs on this machine's loopback alone, and cleans up after itself.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it otherwise
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lowtide-demo-", ignore_cleanup_errors=True) as directory:
            demonstrate(pathlib.Path(directory), arguments.page.resolve())
    except KeyboardInterrupt:
        say("\nInterrupted; everything that was started has ended.")
        return 130
    except Broken as exc:
        say(f"\nThe demo failed: {exc}")
        return 1
    say(f"It took {time.monotonic() - began:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
