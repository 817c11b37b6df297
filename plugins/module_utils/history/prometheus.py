# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that speak the Prometheus HTTP API, as a source and as a history that is only read from."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import json
import re
import threading
import typing as t

from ..errors import InvalidOption, NotEnoughHistory, NotFound
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from .base import (
    Closing,
    Mark,
    Metric,
    Pools,
    Summary,
    aligned,
    assembled,
    metrics,
    require_all,
    summarised,
    wanted,
)
from .grid import to_grid
from .http import Client
from .marks import without

if t.TYPE_CHECKING:
    import numpy

    from .duckdb_store import DuckDBHistory

_MOST_POINTS = 11_000
_RAW_SECONDS = 10 * 86400
_STEP = 300
_SELECTOR = re.compile(
    r"[a-zA-Z_:][\w:]*\s*(?:\{(?:[^\"'{}]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')*\})?"
    r"|\{(?:[^\"'{}]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')*\}"
)
# In JSON, the quotes of this key can't be within a text: there they would be escaped.
_VALUES = re.compile(rb'"values":\[\[([^{}]*?)\]\]')
_PORT = re.compile(r":\d+$")

Labels = t.Dict[str, str]
Names = t.Tuple[t.Tuple[str, str], ...]


class Prometheus(Closing):
    """Asks one server for the metrics of a specification.

    A query that is a plain selector is fetched as raw samples by a range selector and brought onto the grid here, so
    that a gap is a gap; the server's own evaluation would carry a sample on for five minutes. Any other query is
    evaluated by the server at the grid's stamps, in ranges below its limit of 11,000 points.
    """

    at_once = 4

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """:param spec: Checked values of ``options.HISTORY`` or ``options.SOURCE``."""
        self.option = option
        self.metrics = metrics(spec.get("queries"), "query", f"{option}.queries")
        self.server_label = spec.get("server_label") or "instance"
        self.pool_label = spec.get("pool_label") or "pool"
        self._client = Client(spec, option)
        self._turns = threading.BoundedSemaphore(self.at_once)
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
        names = wanted(pools)
        owners = {server: pool for pool, servers in names.items() for server in servers or () if server}
        for labels, row in found:
            key = self._key(labels, metric, names, owners)
            if key is None or np.isnan(row).all():
                continue
            if key in rows:
                raise InvalidOption(
                    f"the query gives more than one series for {key.server or 'all'} of pool {key.pool!r}",
                    option=f"{self.option}.queries.{metric.name}",
                    remedy=f"Aggregate in the query: sum by ({self.server_label}) (...)",
                )
            rows[key] = row
        return assembled(rows, last, step_seconds, columns, metric)

    def _raw(self, metric: Metric, first: int, last: int, step: int) -> list[tuple[Labels, numpy.ndarray]]:
        """Labels and grid row of each series, from raw samples."""
        begin = first - 2 * step if metric.aggregation == "rate" else first
        forms = [
            {"query": f"{metric.expression}[{until - since}s]", "time": until}
            for since, until in _parts(begin, last, _RAW_SECONDS)
        ]
        parts: dict[Names, list[numpy.ndarray]] = {}
        for answer in self._all("/api/v1/query", forms, metric):
            for names, pairs in answer:
                parts.setdefault(names, []).append(pairs)
        grid = {"first": first, "last": last, "step_seconds": step, "aggregation": metric.aggregation or "mean"}
        whole = {names: np.concatenate(pairs) for names, pairs in parts.items()}
        return [(dict(names), to_grid(pairs[:, 0], pairs[:, 1], **grid)) for names, pairs in whole.items()]

    def _evaluated(self, metric: Metric, first: int, last: int, step: int) -> list[tuple[Labels, numpy.ndarray]]:
        """Labels and grid row of each series, evaluated at the grid's stamps."""
        forms = [
            {"query": metric.expression, "start": since + step, "end": until, "step": step}
            for since, until in _parts(first, last, _MOST_POINTS * step)
        ]
        rows: dict[Names, numpy.ndarray] = {}
        for answer in self._all("/api/v1/query_range", forms, metric):
            for names, pairs in answer:
                row = rows.setdefault(names, np.full((last - first) // step, np.nan))
                row[np.rint((pairs[:, 0] - first) / step).astype(np.int64) - 1] = np.where(
                    np.isfinite(pairs[:, 1]), pairs[:, 1], np.nan
                )
        return [(dict(names), row) for names, row in rows.items()]

    def _all(self, path: str, forms: list[dict[str, t.Any]], metric: Metric) -> list[list[tuple[Names, numpy.ndarray]]]:
        """The answers to several forms, a few of them asked at once."""
        if len(forms) == 1:
            return [self._asked(path, forms[0], metric)]
        with concurrent.futures.ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(lambda form: self._asked(path, form, metric), forms))

    def _asked(self, path: str, data: t.Mapping[str, t.Any], metric: Metric) -> list[tuple[Names, numpy.ndarray]]:
        """Labels of each series of an answer and its samples, shape (samples, 2): epoch seconds and value."""
        with self._turns:
            response = self._client.post(path, data)
        try:
            samples, frame = _taken_apart(response.content)
            answer = json.loads(frame)
            if answer["status"] == "success":
                return [
                    (tuple(sorted(item["metric"].items())), _pairs(item["values"], samples))
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

    def _key(
        self, labels: Labels, metric: Metric, pools: t.Mapping[str, list[str] | None], owners: t.Mapping[str, str]
    ) -> SeriesKey | None:
        """What a series of an answer is, or None where it was not asked for.

        :param owners: The pool of each server that is named.
        """
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
        for server in (value, _PORT.sub("", value)):
            if server in owners:
                return SeriesKey(owners[server], server, metric.name)
        if named in pools and pools[named] is None:
            return SeriesKey(named, _PORT.sub("", value), metric.name)
        return None


class PrometheusHistory(Prometheus):
    """A Prometheus server itself as the history; see :class:`~.base.History`. Marks lie in a file beside it, if there is one.

    :param beside: Opens the store of what the server can't keep, to be read from; None where there is none.
    """

    def __init__(
        self, spec: t.Mapping[str, t.Any], option: str, beside: t.Callable[[], DuckDBHistory] | None = None
    ) -> None:
        super().__init__(spec, option)
        self._beside = beside

    def read(
        self,
        *,
        metric: str,
        pools: Pools,
        start: datetime.datetime,
        end: datetime.datetime,
        step_seconds: int,
        leave_out_marked: bool = False,
    ) -> Series:
        """See :meth:`~.base.History.read`."""
        series = self.fetch(self._metric(metric), pools, *aligned(start, end, step_seconds), step_seconds)
        require_all(
            series,
            metric,
            wanted(pools),
            self.where,
            f"Check the query, and that the label {self.server_label!r} holds the names of the servers",
            f"{self.option}.queries.{metric}",
        )
        return without(series, self.marks(list(wanted(pools)), start, end)) if leave_out_marked else series

    def _metric(self, name: str) -> Metric:
        """The metric of a name."""
        if name not in self.metrics:
            raise NotEnoughHistory(
                f"there is no query for the metric {name!r}",
                option=f"{self.option}.queries",
                remedy=f"Add one; there are queries for {', '.join(sorted(self.metrics))}",
            )
        return self.metrics[name]

    def summaries(
        self,
        *,
        metric: str,
        pools: Pools,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        gaps: bool = True,
    ) -> list[Summary]:
        """See :meth:`~.base.History.summaries`; of the last 30 days in steps of 5 minutes where no time is given."""
        end = end or datetime.datetime.now(datetime.UTC)
        start = start or end - datetime.timedelta(days=30)
        return summarised(self.fetch(self._metric(metric), pools, *aligned(start, end, _STEP), _STEP))

    def newest(self, *, metric: str, pools: Pools) -> dict[SeriesKey, datetime.datetime]:
        """See :meth:`~.base.History.newest`; of the last 30 days."""
        return {item.key: item.newest for item in self.summaries(metric=metric, pools=pools)}

    def marks(
        self, pools: t.Sequence[str], start: datetime.datetime | None = None, end: datetime.datetime | None = None
    ) -> list[Mark]:
        """See :meth:`~.base.History.marks`."""
        with contextlib.suppress(NotFound):
            if self._beside is not None:
                with self._beside() as kept:
                    return kept.marks(pools, start, end)
        return []


def _taken_apart(body: bytes) -> tuple[list[bytes], bytes]:
    """The samples of each series of an answer as they came, and the rest, in which a number stands for them.

    Samples are nearly all of an answer, and numpy reads them several times faster than a JSON parser makes lists.
    """
    samples: list[bytes] = []

    def noted(found: re.Match[bytes]) -> bytes:
        samples.append(found[1])
        return b'"values":%d' % (len(samples) - 1)

    return samples, _VALUES.sub(noted, body)


def _pairs(values: t.Any, samples: list[bytes]) -> numpy.ndarray:
    """Epoch seconds and values, shape (samples, 2).

    :raises ValueError: when they are not pairs of numbers.
    """
    if isinstance(values, list):
        return np.array(values, dtype=np.float64).reshape(-1, 2)
    text = samples[values].translate(None, b'"[] ')
    pairs = np.fromstring(text, dtype=np.float64, sep=",")
    if pairs.size != text.count(b",") + 1:
        raise ValueError("a sample is no pair of numbers")
    return pairs.reshape(-1, 2)


def _parts(first: int, last: int, longest: int) -> t.Iterator[tuple[int, int]]:
    """A range in parts that are not too long."""
    while first < last:
        until = min(first + longest, last)
        yield first, until
        first = until
