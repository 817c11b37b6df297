# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that speak the Prometheus HTTP API, as a source and as a history that is only read from."""

from __future__ import annotations

import datetime
import re
import typing as t

from ..errors import InvalidOption, NotEnoughHistory
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from .base import Closing, Metric, Pools, aligned, assembled, metrics, require_all, wanted
from .grid import to_grid
from .http import Client

if t.TYPE_CHECKING:
    import numpy

_MOST_POINTS = 11_000
_RAW_SECONDS = 10 * 86400
_SELECTOR = re.compile(
    r"[a-zA-Z_:][\w:]*\s*(?:\{(?:[^\"'{}]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')*\})?"
    r"|\{(?:[^\"'{}]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')*\}"
)
_PORT = re.compile(r":\d+$")

Labels = t.Dict[str, str]


class Prometheus(Closing):
    """Asks one server for the metrics of a specification.

    A query that is a plain selector is fetched as raw samples by a range selector and brought onto the grid here, so
    that a gap is a gap; the server's own evaluation would carry a sample on for five minutes. Any other query is
    evaluated by the server at the grid's stamps, in ranges below its limit of 11,000 points.
    """

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """:param spec: Checked values of ``options.HISTORY`` or ``options.SOURCE``."""
        self.option = option
        self.metrics = metrics(spec.get("queries"), "query", f"{option}.queries")
        self.server_label = spec.get("server_label") or "instance"
        self.pool_label = spec.get("pool_label") or "pool"
        self._client = Client(spec, option)
        self.where = self._client.url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def fingerprint(self, metric: Metric) -> str:
        """Tells one source of a metric from another, for what was collected before."""
        return f"prometheus {self.where} {metric.aggregation} {metric.expression}"

    def fetch(self, metric: Metric, pools: Pools, first: int, last: int, step_seconds: int) -> Series:
        """One metric on the grid of stamps in (first, last]; see :meth:`~.base.History.read`. May be empty."""
        columns = (last - first) // step_seconds
        if _SELECTOR.fullmatch(metric.expression):
            found = self._raw(metric, first, last, step_seconds)
        elif metric.aggregation in (None, "last"):
            found = self._evaluated(metric, first, last, step_seconds)
        else:
            raise InvalidOption(
                f"aggregation {metric.aggregation!r} goes with a plain selector, not with an expression",
                option=f"{self.option}.queries.{metric.name}.aggregation",
                remedy="Leave it out, and aggregate in the query: avg_over_time, max_over_time, rate",
            )
        rows: dict[SeriesKey, numpy.ndarray] = {}
        for labels, row in found:
            key = self._key(labels, metric, wanted(pools))
            if key is None or np.isnan(row).all():
                continue
            if key in rows:
                raise InvalidOption(
                    f"the query gives more than one series for {key.server or 'all'} of pool {key.pool!r}",
                    option=f"{self.option}.queries.{metric.name}",
                    remedy=f"Aggregate in the query: sum by ({self.server_label}) (...)",
                )
            rows[key] = row
        return assembled(rows, last, step_seconds, columns)

    def _raw(self, metric: Metric, first: int, last: int, step: int) -> list[tuple[Labels, numpy.ndarray]]:
        """Labels and grid row of each series, from raw samples."""
        aggregation = metric.aggregation or "mean"
        parts: dict[tuple[tuple[str, str], ...], list[numpy.ndarray]] = {}
        begin = first - 2 * step if aggregation == "rate" else first
        while begin < last:
            until = min(begin + _RAW_SECONDS, last)
            data = {"query": f"{metric.expression}[{until - begin}s]", "time": until}
            for labels, pairs in self._asked("/api/v1/query", data, metric):
                parts.setdefault(tuple(sorted(labels.items())), []).append(pairs)
            begin = until
        grid = {"first": first, "last": last, "step_seconds": step, "aggregation": aggregation}
        whole = {labels: np.concatenate(pairs) for labels, pairs in parts.items()}
        return [(dict(labels), to_grid(pairs[:, 0], pairs[:, 1], **grid)) for labels, pairs in whole.items()]

    def _evaluated(self, metric: Metric, first: int, last: int, step: int) -> list[tuple[Labels, numpy.ndarray]]:
        """Labels and grid row of each series, evaluated at the grid's stamps."""
        rows: dict[tuple[tuple[str, str], ...], numpy.ndarray] = {}
        begin = first + step
        while begin <= last:
            until = min(begin + (_MOST_POINTS - 1) * step, last)
            data = {"query": metric.expression, "start": begin, "end": until, "step": step}
            for labels, pairs in self._asked("/api/v1/query_range", data, metric):
                names = tuple(sorted(labels.items()))
                row = rows.setdefault(names, np.full((last - first) // step, np.nan))
                row[np.rint((pairs[:, 0] - first) / step).astype(np.int64) - 1] = pairs[:, 1]
            begin = until + step
        return [(dict(names), row) for names, row in rows.items()]

    def _asked(self, path: str, data: t.Mapping[str, t.Any], metric: Metric) -> list[tuple[Labels, numpy.ndarray]]:
        """Labels of each series of an answer and its samples, shape (samples, 2): epoch seconds and value."""
        response = self._client.post(path, data)
        try:
            answer = response.json()
            if answer["status"] == "success":
                return [
                    (item["metric"], np.array(item["values"], dtype=np.float64).reshape(-1, 2))
                    for item in answer["data"]["result"]
                ]
            problem = str(answer.get("error", response.status_code))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._client.broken() from exc
        raise InvalidOption(
            f"{self.where} refuses the query: {problem}",
            option=f"{self.option}.queries.{metric.name}",
            remedy="Try the query in the server's own web page",
        )

    def _key(self, labels: Labels, metric: Metric, pools: t.Mapping[str, list[str] | None]) -> SeriesKey | None:
        """What a series of an answer is, or None where it was not asked for."""
        value = labels.get(self.server_label)
        named = labels.get(self.pool_label)
        if value is None:
            if named is None and len(pools) == 1:
                named = next(iter(pools))
            if named is None:
                raise InvalidOption(
                    f"a series of the answer has neither the label {self.server_label!r} nor {self.pool_label!r}",
                    option=f"{self.option}.queries.{metric.name}",
                    remedy="Keep one of them in the query: sum by (...), or set server_label or pool_label",
                )
            return SeriesKey(named, None, metric.name) if named in pools else None
        bare = _PORT.sub("", value)
        for pool, servers in pools.items():
            if servers is None:
                if named == pool:
                    return SeriesKey(pool, bare, metric.name)
            elif value in servers:
                return SeriesKey(pool, value, metric.name)
            elif bare in servers:
                return SeriesKey(pool, bare, metric.name)
        return None


class PrometheusHistory(Prometheus):
    """A Prometheus server itself as the history."""

    def read(
        self, *, metric: str, pools: Pools, start: datetime.datetime, end: datetime.datetime, step_seconds: int
    ) -> Series:
        """See :meth:`~.base.History.read`."""
        series = self.fetch(self._metric(metric), pools, *aligned(start, end, step_seconds), step_seconds)
        return require_all(
            series,
            metric,
            wanted(pools),
            self.where,
            f"Check the query, and that the label {self.server_label!r} holds the names of the servers",
            f"{self.option}.queries.{metric}",
        )

    def _metric(self, name: str) -> Metric:
        """The metric of a name."""
        if name not in self.metrics:
            raise NotEnoughHistory(
                f"there is no query for the metric {name!r}",
                option=f"{self.option}.queries",
                remedy=f"Add one; there are queries for {', '.join(sorted(self.metrics))}",
            )
        return self.metrics[name]

    def newest(self, *, metric: str, pools: Pools) -> dict[SeriesKey, datetime.datetime]:
        """See :meth:`~.base.History.newest`; a look back of one day."""
        now = int(datetime.datetime.now(datetime.UTC).timestamp()) // 60 * 60
        series = self.fetch(self._metric(metric), pools, now - 86400, now, 60)
        return {
            key: datetime.datetime.fromtimestamp(int(series.times[~np.isnan(row)][-1]), datetime.UTC)
            for key, row in zip(series.keys, series.values, strict=True)
        }

    def write(self, series: Series, *, units: t.Mapping[str, str] | None = None, pretend: bool = False) -> int:
        """Refuse.

        :raises InvalidOption: always.
        """
        raise InvalidOption(
            f"{self.where} is only read from",
            option=f"{self.option}.type",
            remedy="Use type duckdb to keep what is collected",
        )
