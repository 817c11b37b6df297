# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vSphere's PerformanceManager as a source: CPU, memory, network and disk of virtual machines."""

from __future__ import annotations

import datetime
import math
import time
import typing as t

from ..actuators.inventory import Finder
from ..actuators.vcenter import Session
from ..errors import InvalidOption
from ..libraries import numpy as np
from ..libraries import pyvmomi
from ..series import Series, SeriesKey
from .base import Closing, Metric, Pools, assembled, metrics, wanted
from .grid import to_grid

if t.TYPE_CHECKING:
    import numpy

DEFAULT = {
    "cpu": {"counter": "cpu.usage.average", "unit": "%"},
    "memory": {"counter": "mem.usage.average", "unit": "%"},
    "network": {"counter": "net.usage.average", "unit": "KB/s"},
    "disk": {"counter": "disk.usage.average", "unit": "KB/s"},
}
# Interval of vCenter's statistics, and how long it keeps them; seconds. The first is of the hosts themselves.
_INTERVALS = ((20, 3600), (300, 86400), (1800, 7 * 86400), (7200, 31 * 86400), (86400, 366 * 86400))
# vCenter refuses a query of more counters than config.vpxd.stats.maxQueryMetrics, which is 64 where nobody changed it.
_ENTITIES = 64


class VSphere(Closing):
    """Asks for one counter of many virtual machines per call, in the finest interval vCenter still has.

    A sample of a coarser interval than the grid stands for each step it covers. Series of one machine may come in any
    order, with holes (-1), or with fewer values than stamps: the latter can't be placed, and are left out.
    """

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """Log in. :param spec: Checked values of ``options.SOURCE``."""
        self.option = option
        self.metrics = metrics(spec.get("metrics") or DEFAULT, "counter", f"{option}.metrics")
        self._session = Session(spec.get("connection") or {})
        self._session.open()
        self.where = self._session.place
        self._find = spec.get("find") or {}
        self._machines: dict[str, t.Any] | None = None
        self._counters: dict[str, tuple[int, float]] | None = None

    def close(self) -> None:
        """Log out."""
        self._session.close()

    def fingerprint(self, metric: Metric) -> str:
        """Tells one source of a metric from another, for what was collected before."""
        return f"vsphere {self.where} {metric.expression}"

    def fetch(self, metric: Metric, pools: Pools, first: int, last: int, step_seconds: int) -> Series:
        """One metric on the grid of stamps in (first, last]; see :meth:`~.base.History.read`. May be empty."""
        columns = (last - first) // step_seconds
        owners = {server: pool for pool, servers in wanted(pools).items() for server in servers or () if server}
        machines = self._found()
        known = {machines[server]._GetMoId(): server for server in owners if server in machines}
        number, scale = self._counter(metric)
        rows: dict[SeriesKey, numpy.ndarray] = {}
        for interval, begin, until in _pieces(first, last, time.time()):
            for server, times, values in self._samples(known, machines, number, interval, begin, until):
                key = SeriesKey(owners[server], server, metric.name)
                row = rows.setdefault(key, np.full(columns, np.nan))
                times, values = _spread(times, values * scale, interval, step_seconds)
                part = to_grid(
                    times,
                    values,
                    first=first,
                    last=last,
                    step_seconds=step_seconds,
                    aggregation=metric.aggregation or "mean",
                )
                np.copyto(row, part, where=~np.isnan(part))
        return assembled(rows, last, step_seconds, columns, metric)

    def _found(self) -> dict[str, t.Any]:
        """The virtual machines by server."""
        if self._machines is None:
            self._machines = self._session.read(Finder(self._session, self._find).all)
        return self._machines

    def _counter(self, metric: Metric) -> tuple[int, float]:
        """Number of a counter, and what its values are multiplied by: vCenter counts percents in hundredths.

        :raises InvalidOption: where there is none of that name.
        """
        if self._counters is None:
            listed = self._session.read(lambda: self._session.content.perfManager.perfCounter)
            self._counters = {
                f"{item.groupInfo.key}.{item.nameInfo.key}.{item.rollupType}": (
                    item.key,
                    0.01 if item.unitInfo.key == "percent" else 1.0,
                )
                for item in listed
            }
        if metric.expression not in self._counters:
            raise InvalidOption(
                f"{self.where} has no counter {metric.expression!r}",
                option=f"{self.option}.metrics.{metric.name}",
                remedy="Write group, name and rollup, such as cpu.usage.average",
            )
        return self._counters[metric.expression]

    def _samples(
        self, known: dict[str, str], machines: dict[str, t.Any], counter: int, interval: int, begin: float, until: float
    ) -> t.Iterator[tuple[str, numpy.ndarray, numpy.ndarray]]:
        """Server, stamps and values of each virtual machine that has some."""
        servers = sorted(known.values())
        kinds = pyvmomi.vim.PerformanceManager
        manager = self._session.content.perfManager
        for at in range(0, len(servers), _ENTITIES):
            specs = [
                kinds.QuerySpec(
                    entity=machines[server],
                    metricId=[kinds.MetricId(counterId=counter, instance="")],
                    intervalId=interval,
                    startTime=datetime.datetime.fromtimestamp(begin, datetime.UTC),
                    endTime=datetime.datetime.fromtimestamp(until, datetime.UTC),
                    maxSample=math.ceil((until - begin) / interval) + 1 if interval == _INTERVALS[0][0] else None,
                    format="normal",
                )
                for server in servers[at : at + _ENTITIES]
            ]
            for answer in self._session.read(lambda specs=specs: manager.QueryPerf(querySpec=specs)):
                stamps = np.array([info.timestamp.timestamp() for info in answer.sampleInfo], dtype=np.float64)
                for series in answer.value:
                    values = np.array(series.value, dtype=np.float64)
                    if series.id.counterId == counter and not series.id.instance and len(values) == len(stamps):
                        values[values < 0] = np.nan
                        yield known[answer.entity._GetMoId()], stamps, values


def _pieces(first: int, last: int, now: float) -> t.Iterator[tuple[int, float, float]]:
    """Interval, begin and end of the queries for a range, the coarsest first, so that a finer one counts.

    Each reaches one of its own intervals into the next finer one's time, so that no step between them is left out.
    """
    until = float(last)
    pieces = []
    for interval, kept in _INTERVALS:
        begin = max(float(first), now - kept)
        if begin < until:
            pieces.append((interval, begin, min(until + interval, float(last))))
            until = begin
    yield from reversed(pieces)


def _spread(
    times: numpy.ndarray, values: numpy.ndarray, interval: int, step: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """A sample for each step that a sample of a coarser interval covers."""
    copies = max(interval // step, 1)
    back = step * np.arange(copies, dtype=np.float64)
    return (times[:, None] - back).ravel(), np.repeat(values, copies)
