# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long waking many standbys takes, against waking one, and against a loop of vmware.vmware.vm_powerstate.

    .venv/bin/python tests/benchmarks/standby.py [--vms 100] [--boot 2] [--sample 5]

Every figure is a whole run of ``ansible-playbook`` against the simulated vCenter, less what the same playbook takes
without the task. The loop is run over a sample and extrapolated; it needs the collection vmware.vmware (PyPI package
``ansible``), and is left out where that is missing. It only powers on; ``standby`` waits until the guests are ready.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("simulators", "integration")]
sys.path.insert(0, str(ROOT / "tests"))

import conftest  # noqa: E402
from lab import play, run_playbook  # noqa: E402
from vsphere_simulator import VsphereSimulator  # noqa: E402


class Bench:
    """Runs plays against one simulated vCenter.

    :param names: The machines, all off when a measurement begins.
    """

    def __init__(self, directory: pathlib.Path, vcenter: VsphereSimulator, names: list[str]) -> None:
        self.directory, self.vcenter, self.names = directory, vcenter, names

    def seconds(self, tasks: list[dict[str, t.Any]]) -> float | None:
        """What a playbook of these tasks takes; none when Ansible does not know the module."""
        self.vcenter.power(**dict.fromkeys(self.names, "off"))
        began = time.monotonic()
        run = run_playbook(self.directory, play(tasks), "-e", f"ansible_python_interpreter={sys.executable}")
        seconds = time.monotonic() - began
        if "couldn't resolve module" in run.stdout + run.stderr:
            return None
        if run.returncode:
            raise SystemExit(run.stdout + run.stderr)
        return seconds

    def standby(self, count: int) -> list[dict[str, t.Any]]:
        """Wake so many in one task."""
        return [{"lowtide.fleet.standby": {"connection": self.vcenter.connection, "activate": self.names[:count]}}]

    def loop(self, count: int) -> list[dict[str, t.Any]]:
        """Power on so many, one module call each."""
        connection = {key: value for key, value in self.vcenter.connection.items() if key != "ca_path"}
        task = {"datacenter": "DC0", "name": "{{ item }}", "state": "powered-on", **connection}
        return [
            {
                "vmware.vmware.vm_powerstate": task,
                "loop": self.names[:count],
                # It takes no authority of its own, but what Python trusts.
                "environment": {"SSL_CERT_FILE": str(self.vcenter.ca_path)},
            }
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vms", type=int, default=100)
    parser.add_argument("--boot", type=float, default=2.0, help="seconds until a guest is up")
    parser.add_argument("--sample", type=int, default=5, help="over how many the loop is measured")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts")
    arguments = parser.parse_args()
    conftest.link_collection()
    names = [f"standby{number}" for number in range(arguments.vms)]
    vms = [
        {"name": name, "folder": "standby", "power": "off", "ip": f"127.0.{number // 250}.{number % 250 + 1}"}
        for number, name in enumerate(names)
    ]
    times = {"boot_seconds": arguments.boot, "task_seconds": 0.1}
    with (
        tempfile.TemporaryDirectory(prefix="lowtide-") as place,
        VsphereSimulator(pathlib.Path(place) / "vsphere", vms=vms, defaults=times) as vcenter,
    ):
        bench = Bench(pathlib.Path(place), vcenter, names)

        def best(tasks: list[dict[str, t.Any]]) -> float | None:
            runs = [seconds for _run in range(arguments.repeat) if (seconds := bench.seconds(tasks)) is not None]
            return min(runs, default=None)

        empty = best([{"ansible.builtin.debug": {"msg": "nothing"}}])
        one, many = best(bench.standby(1)) - empty, best(bench.standby(arguments.vms)) - empty
        result = {
            "vms": arguments.vms,
            "boot_seconds": arguments.boot,
            "one_seconds": round(one, 2),
            "all_seconds": round(many, 2),
            "all_to_one": round(many / one, 2),
        }
        sampled = best(bench.loop(arguments.sample))
        if sampled is not None:
            loop = (sampled - empty) / arguments.sample * arguments.vms
            result |= {
                "loop_seconds": round(loop, 1),
                "loop_sample": arguments.sample,
                "loop_to_all": round(loop / many, 1),
            }
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
