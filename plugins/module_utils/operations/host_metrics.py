# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``host_metrics`` does: read the load of the host it runs on from ``/proc``.

It runs on managed hosts: the standard library only, and nothing newer than what ansible-core asks of them.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..errors import InvalidOption, LowtideError

SPEC = dict(
    server=dict(type="str"),
    interval=dict(type="float", default=1.0),
    metrics=dict(
        type="list",
        elements="str",
        choices=["cpu", "load", "memory", "network_received", "network_sent", "disk_read", "disk_written"],
        default=["cpu", "load", "memory", "network_received", "network_sent", "disk_read", "disk_written"],
    ),
)
UNITS = {
    "cpu": "cores",
    "load": "tasks",
    "memory": "bytes",
    "network_received": "bytes/s",
    "network_sent": "bytes/s",
    "disk_read": "bytes/s",
    "disk_written": "bytes/s",
}
# /proc/diskstats counts sectors of this size, whatever the device's own.
_SECTOR = 512
# Devices whose traffic is that of another device below them.
_STACKED = ("loop", "ram", "zram", "dm-", "md", "sr", "fd")


def host_metrics(params: t.Dict[str, t.Any], *, check_mode: bool, root: str = "/") -> t.Dict[str, t.Any]:
    """Read the counters twice and return what happened in between.

    :param params: The module's options. :param root: Where ``proc`` and ``sys`` are, for tests.
    :returns: C(metrics) and C(units) by name, C(cores), and C(samples) as the source V(inline) of C(collect) takes them.
    """
    interval = params["interval"]
    if not 0.1 <= interval <= 60:
        raise InvalidOption(f"{interval} is out of range", option="interval", remedy="Give seconds from 0.1 to 60")
    before, began = _counters(root), time.monotonic()
    time.sleep(interval)
    after, elapsed = _counters(root), time.monotonic() - began
    values = _rates(before, after, elapsed)
    values["load"] = float(_read(root, "proc/loadavg").split()[0])
    values["memory"] = float(_memory_used(_read(root, "proc/meminfo")))
    metrics = {name: values[name] for name in params["metrics"]}
    now = time.time()
    server = params["server"] or os.uname()[1]
    return {
        "changed": False,
        "metrics": metrics,
        "units": {name: UNITS[name] for name in metrics},
        "cores": os.cpu_count() or 1,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "samples": [
            {"time": now, "server": server, "metric": name, "value": value} for name, value in sorted(metrics.items())
        ],
    }


def _read(root: str, path: str) -> str:
    """The text of a file of the kernel's."""
    whole = os.path.join(root, path)
    try:
        with open(whole, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as exc:
        raise LowtideError(
            f"{whole} can't be read: {exc.strerror}", remedy="This module works on Linux, with /proc mounted"
        ) from exc


def _counters(root: str) -> t.Dict[str, float]:
    """The counters as they are now."""
    counters = {"cpu": busy_seconds(_read(root, "proc/stat"))}
    counters["network_received"], counters["network_sent"] = network_bytes(_read(root, "proc/net/dev"))
    counters["disk_read"], counters["disk_written"] = disk_bytes(_read(root, "proc/diskstats"), _disks(root))
    return counters


def _rates(before: t.Dict[str, float], after: t.Dict[str, float], elapsed: float) -> t.Dict[str, float]:
    """Increase per second; a counter that fell was reset, and began at 0 again."""
    return {
        name: (after[name] - before[name] if after[name] >= before[name] else after[name]) / elapsed for name in before
    }


def busy_seconds(stat: str) -> float:
    """Seconds that cores were not idle, from ``/proc/stat``: all but idle and iowait, guests counted once."""
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:]]
    return float(sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _memory_used(meminfo: str) -> int:
    """Bytes that programs can't have: all less what is available."""
    fields = {}
    for line in meminfo.splitlines():
        name, _colon, rest = line.partition(":")
        if rest.split():
            fields[name] = int(rest.split()[0]) * 1024
    free = fields.get("MemAvailable")
    if free is None:
        free = fields["MemFree"] + fields.get("Buffers", 0) + fields.get("Cached", 0)
    return fields["MemTotal"] - free


def network_bytes(text: str) -> t.Tuple[float, float]:
    """Bytes received and sent by all interfaces but the loopback, from ``/proc/net/dev``."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _colon, rest = line.partition(":")
        if name.strip() != "lo":
            fields = rest.split()
            received += int(fields[0])
            sent += int(fields[8])
    return float(received), float(sent)


def _disks(root: str) -> t.Set[str]:
    """The whole disks: partitions are not in ``/sys/block``."""
    try:
        names = os.listdir(os.path.join(root, "sys/block"))
    except OSError:
        return set()
    return {name.replace("!", "/") for name in names}


def disk_bytes(text: str, disks: t.Set[str]) -> t.Tuple[float, float]:
    """Bytes read and written on whole disks, from ``/proc/diskstats``; all that is there where disks are not known."""
    read = written = 0
    for line in text.splitlines():
        fields = line.split()
        name = fields[2]
        if (name in disks or not disks) and not name.startswith(_STACKED):
            read += int(fields[5])
            written += int(fields[9])
    return float(read * _SECTOR), float(written * _SECTOR)
