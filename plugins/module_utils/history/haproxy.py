# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HAProxy's statistics as a source of what an application does: requests, sessions, latency, errors."""

from __future__ import annotations

import csv
import time
import typing as t

from ..actuators.haproxy import Session
from ..errors import InvalidOption, NotFound
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from ..timing import duration
from .base import Closing, Metric, Pools, assembled, metrics, wanted

DEFAULT = {
    "requests": {"field": "stot", "aggregation": "rate", "unit": "1/s"},
    "latency": {"field": "ttime", "unit": "ms"},
    "errors": {"field": "hrsp_5xx", "aggregation": "rate", "unit": "1/s"},
}
_COUNTERS = ("stot", "req_tot", "bin", "bout", "ereq", "econ", "eresp", "wretr", "wredis", "cli_abrt", "srv_abrt")
_SUMMED = (*_COUNTERS, "scur", "qcur", "rate", "hrsp_")

Rows = t.List[t.Tuple[float, t.Dict[str, t.Dict[str, str]]]]


class HAProxyStatistics(Closing):
    """Reads each HAProxy of a list twice, some seconds apart: a counter gives its rate between the two.

    What it reads is the present: its one sample is stamped with the newest step. Figures of several HAProxies before
    the same servers are added up; latencies are their mean. The backend's own line is the pool's total.
    """

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """:param spec: Checked values of ``options.SOURCE``."""
        self.option = option
        self._addresses = spec.get("socket") or []
        if not self._addresses:
            raise InvalidOption(
                "no HAProxy is named", option=f"{option}.socket", remedy="Give addresses such as tcp://lb1:9999"
            )
        self.where = ", ".join(self._addresses)
        self._backends: dict[str, str] = spec.get("backends") or {}
        self._interval = duration(spec.get("interval") or "5s", f"{option}.interval")
        self._timeout = duration(spec.get("timeout") or "30s", f"{option}.timeout")
        self.metrics = metrics(spec.get("metrics") or DEFAULT, "field", f"{option}.metrics")
        self._read: list[Rows] | None = None

    def close(self) -> None:
        """Nothing is held."""

    def fingerprint(self, metric: Metric) -> None:
        """None: what was is not kept there."""
        return

    def fetch(self, metric: Metric, pools: Pools, first: int, last: int, step_seconds: int) -> Series:
        """One metric now, at the last column; see :meth:`~.base.History.read`. May be empty."""
        columns = (last - first) // step_seconds
        rows: dict[SeriesKey, t.Any] = {}
        for pool, servers in wanted(pools).items():
            for line in ("BACKEND", *sorted(set(servers or ()) - {""})):
                value = self._value(metric, self._backends.get(pool, pool), line)
                if value is not None:
                    row = np.full(columns, np.nan)
                    row[-1] = value
                    rows[SeriesKey(pool, None if line == "BACKEND" else line, metric.name)] = row
        return assembled(rows, last, step_seconds, columns, metric)

    def _value(self, metric: Metric, backend: str, line: str) -> float | None:
        """The figure of one line of a backend over all HAProxies, or None where none has it."""
        field = metric.expression
        found = []
        for (before, old), (after, new) in self._readings():
            if backend not in {row["pxname"] for row in new.values()}:
                raise NotFound(
                    f"{self.where} has no backend {backend!r}",
                    option=f"{self.option}.backends",
                    remedy="Say which backend each pool is: {pool: backend}",
                )
            figures = new.get(f"{backend}/{line}")
            if figures is None:
                continue
            if field not in figures:
                raise InvalidOption(
                    f"HAProxy's statistics have no field {field!r}",
                    option=f"{self.option}.metrics.{metric.name}",
                    remedy="Take a column of 'show stat', such as stot, rate, scur, ttime or hrsp_5xx",
                )
            if figures[field] == "":
                continue
            value = float(figures[field])
            if metric.aggregation == "rate":
                start = float(old.get(f"{backend}/{line}", {}).get(field) or 0)
                value = (value - start if value >= start else value) / max(after - before, 1e-3)
            found.append(value)
        if not found:
            return None
        return sum(found) if field.startswith(_SUMMED) else sum(found) / len(found)

    def _readings(self) -> list[Rows]:
        """Two readings of each HAProxy: when, and the rows by backend and line."""
        if self._read is None:
            sessions = [
                Session(address, timeout=self._timeout, option=f"{self.option}.socket") for address in self._addresses
            ]
            try:
                first = [_reading(session) for session in sessions]
                time.sleep(self._interval)
                self._read = [[before, _reading(session)] for before, session in zip(first, sessions, strict=True)]
            finally:
                for session in sessions:
                    session.close()
        return self._read


def _reading(session: Session) -> tuple[float, dict[str, dict[str, str]]]:
    """When, and the rows of C(show stat) by backend and line."""
    (text,) = session.ask("show stat")
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return time.monotonic(), {f"{row['pxname']}/{row['svname']}": row for row in rows}
