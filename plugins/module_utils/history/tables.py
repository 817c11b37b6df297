# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A history in the tables of a database: what DuckDB and PostgreSQL share.

C(series) names each series once; C(samples) is long and narrow: series, time (epoch seconds, the end of a step) and
value. C(coverage) notes what was asked of which source, so that a server that is silent is not asked for again.
C(marks) are times to leave out. C(lowtide) holds the format, and a counter that each writer raises first. What runs
remember is beside it: see :mod:`~.ledger`.
"""

from __future__ import annotations

import abc
import datetime
import json
import typing as t

from ..errors import InvalidOption
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from ..timing import duration
from . import ledger
from .base import Batch, Closing, Mark, Pools, Summary, aligned, require_all, wanted
from .marks import without

if t.TYPE_CHECKING:
    import numpy

FORMAT = 2
TABLES = (
    """
CREATE TABLE lowtide (format INTEGER NOT NULL, writes BIGINT NOT NULL);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, pool {text} NOT NULL, server {text} NOT NULL, metric {text} NOT NULL,
    unit {text}, aggregation {text} NOT NULL, step_seconds INTEGER NOT NULL, UNIQUE (pool, server, metric)
);
CREATE TABLE coverage (
    source {text} NOT NULL, pool {text} NOT NULL, server {text} NOT NULL, metric {text} NOT NULL,
    first BIGINT NOT NULL, last BIGINT NOT NULL, PRIMARY KEY (source, pool, server, metric)
);
CREATE TABLE marks (
    pool {text} NOT NULL, servers {text} NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, why {text} NOT NULL,
    PRIMARY KEY (pool, servers, first, last, why)
);
"""
    + ledger.TABLES
)
# What makes a store of one format less into one of each format.
UPGRADES = {2: ledger.TABLES}
_FOLDED = {"max": "max(value)", "mean": "avg(value)", "rate": "avg(value)"}
_ALL_SERVERS = "*"


class Known(t.NamedTuple):
    """A series that the history has ever held."""

    key: SeriesKey
    number: int
    aggregation: str
    step_seconds: int
    unit: str | None


class Tables(Closing, ledger.Ledger):
    """See :class:`~.base.Store`. A subclass says how statements are run and samples moved."""

    where: str
    option: str
    retention_seconds: float
    last_of: str

    # What a subclass does its own way, beside what the ledger needs of it.

    @abc.abstractmethod
    def _insert(self, table: str, rows: list[tuple[t.Any, ...]], conflict: str = "") -> None:
        """Insert rows into a table, many at once. :param conflict: The statement's C(ON CONFLICT), if it has one."""

    @abc.abstractmethod
    def _samples(
        self, ids: numpy.ndarray, first: int, last: int, folded: str | None, step_seconds: int
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """Series, seconds after ``first`` and value of samples in (first, last].

        :param folded: The expression that makes one of the samples of a step, or None to leave them as they are.
        :returns: Of at least the ids wanted; the stamps are the ends of steps when folded.
        """

    @abc.abstractmethod
    def _merge(
        self, ids: numpy.ndarray, times: numpy.ndarray, values: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Insert samples that are not there, and replace those that differ; returns ids and how many of each."""

    # What they share.

    def _check_format(self, found: int | None) -> None:
        """Refuse what this version does not know.

        :param found: The number in the table C(lowtide), or None without such a table.
        """
        if found is None:
            raise InvalidOption(
                f"{self.where} is a database, but no history of Lowtide",
                option=self.option,
                remedy="Name another one; it is made by the first collection",
            )
        self.format = found
        if found > FORMAT:
            raise InvalidOption(
                f"{self.where} has format {found}, and this version of Lowtide knows formats up to {FORMAT}",
                option=self.option,
                remedy="Update the collection lowtide.fleet, or name another history",
            )

    def _upgrade(self, text: str) -> None:
        """Make an older store one of this format. :param text: The database's type of a text."""
        while self.format < FORMAT:
            for statement in UPGRADES[self.format + 1].format(text=text).split(";"):
                if statement.strip():
                    self._rows(statement)
            self.format += 1
            self._rows("UPDATE lowtide SET format = ?", [self.format])

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
        first, last = aligned(start, end, step_seconds)
        columns = (last - first) // step_seconds
        known = sorted(self._known(metric, wanted(pools)), key=lambda item: _order(item.key))
        values = np.full((len(known), columns), np.nan)
        self._fill(values, known, first, last, step_seconds)
        there = ~np.isnan(values).all(axis=1)
        if not there.all():
            values = values[there]
        keys = tuple(item.key for item, some in zip(known, there.tolist(), strict=True) if some)
        unit = next((item.unit for item in known if item.unit), None)
        units = {metric: unit} if unit else {}
        series = Series(keys, values, datetime.datetime.fromtimestamp(last, datetime.UTC), step_seconds, units=units)
        require_all(
            series,
            metric,
            wanted(pools),
            f"the history {self.where}",
            f"Collect it with lowtide.fleet.collect, from a source that has {metric!r}",
            self.option,
        )
        return without(series, self.marks(list(wanted(pools)), start, end)) if leave_out_marked else series

    def _known(self, metric: str, pools: t.Mapping[str, list[str] | None]) -> list[Known]:
        """The series wanted that the history has ever held."""
        found = self._rows(
            "SELECT pool, server, id, aggregation, step_seconds, unit FROM series WHERE metric = ?", [metric]
        )
        servers = {pool: None if names is None else {"", *names} for pool, names in pools.items()}
        return [
            Known(SeriesKey(pool, server or None, metric), number, aggregation, step, unit)
            for pool, server, number, aggregation, step, unit in found
            if pool in servers and ((names := servers[pool]) is None or server in names)
        ]

    def _fill(self, values: numpy.ndarray, known: list[Known], first: int, last: int, step: int) -> None:
        """Put samples where they belong in ``values``, of shape (series, time)."""
        odd = next((item for item in known if step % item.step_seconds), None)
        if odd is not None:
            raise InvalidOption(
                f"the history holds {odd.key.metric!r} in steps of {odd.step_seconds} s, which don't make {step} s",
                option="step",
                remedy=f"Choose a multiple of {odd.step_seconds} s",
            )
        groups: dict[str | None, list[tuple[int, int]]] = {}
        for row, item in enumerate(known):
            fold = None if item.step_seconds == step else item.aggregation
            groups.setdefault(fold, []).append((row, item.number))
        for fold, members in groups.items():
            ids = np.array([number for _row, number in members], dtype=np.int64)
            rows = np.full(int(ids.max()) + 1, -1, dtype=np.int64)
            rows[ids] = [row for row, _number in members]
            folded = None if fold is None else _FOLDED.get(fold, self.last_of)
            series, offsets, found = self._samples(ids, first, last, folded, step)
            at = rows[series]
            if len(at) and at.min() < 0:
                chosen = at >= 0
                at, offsets, found = at[chosen], offsets[chosen], found[chosen]
            values[at, offsets // step - 1] = found

    def write(self, series: Series, *, units: t.Mapping[str, str] | None = None, pretend: bool = False) -> int:
        """See :meth:`~.base.History.write`."""
        counts = self.put([Batch(series, units=units or {})], pretend=pretend)
        return sum(sum(part.values()) for part in counts)

    def put(self, batches: t.Sequence[Batch], *, pretend: bool = False) -> list[dict[str, int]]:
        """See :meth:`~.base.Store.put`."""
        with self._transaction() as undo:
            numbers = self._numbers(batches)
            parts = [_flat(batch.series, ids) for batch, ids in zip(batches, numbers, strict=True)]
            ids, counts = self._merge(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
            by_id = dict(zip(ids.tolist(), counts.tolist(), strict=True))
            for batch in batches:
                self._cover(batch)
            if pretend:
                undo()
        result = []
        for batch, own in zip(batches, numbers, strict=True):
            by_pool: dict[str, int] = {}
            for key, number in zip(batch.series.keys, own.tolist(), strict=True):
                by_pool[key.pool] = by_pool.get(key.pool, 0) + by_id.get(number, 0)
            result.append(by_pool)
        return result

    def _numbers(self, batches: t.Sequence[Batch]) -> list[numpy.ndarray]:
        """The id of each row of each batch, given out where a series is new; shapes (series,), int32."""
        known = {
            (pool, server, metric): (number, step, unit)
            for number, pool, server, metric, step, unit in self._rows(
                "SELECT id, pool, server, metric, step_seconds, unit FROM series"
            )
        }
        following = max((number for number, _step, _unit in known.values()), default=-1) + 1
        fresh: list[tuple[t.Any, ...]] = []
        changes: dict[tuple[str, t.Any], list[int]] = {}
        result = []
        for batch in batches:
            own_step = batch.series.step_seconds
            numbers = np.empty(len(batch.series.keys), dtype=np.int32)
            for row, key in enumerate(batch.series.keys):
                place = (key.pool, key.server or "", key.metric)
                own_unit = batch.units.get(key.metric)
                number, step, unit = known.get(place, (following, None, None))
                numbers[row] = number
                if step is None:
                    following += 1
                    fresh.append((number, *place, own_unit, batch.aggregation, own_step))
                else:
                    if own_step < step:
                        changes.setdefault(("step_seconds", own_step), []).append(number)
                    if own_unit and own_unit != unit:
                        changes.setdefault(("unit", own_unit), []).append(number)
                known[place] = (number, min(own_step, step or own_step), own_unit or unit)
            result.append(numbers)
        if fresh:
            self._insert("series", fresh)
        for (column, value), ids in changes.items():
            chosen = ", ".join(map(str, ids))
            self._rows(f"UPDATE series SET {column} = ? WHERE id IN ({chosen})", [value])
        return result

    def _cover(self, batch: Batch) -> None:
        """Note what was asked of a source; a range grows, and never shrinks."""
        if batch.source is None or batch.metric is None or not batch.covered:
            return
        before = self.coverage(batch.source, batch.metric, sorted({pool for pool, _server in batch.covered}))
        rows = []
        for (pool, server), (first, last) in batch.covered.items():
            known = before.get((pool, server))
            whole = (first, last) if known is None else (min(first, known[0]), max(last, known[1]))
            if whole != known:
                rows.append((batch.source, pool, server, batch.metric, *whole))
        if rows:
            self._insert(
                "coverage",
                rows,
                "ON CONFLICT (source, pool, server, metric) DO UPDATE SET first = excluded.first, last = excluded.last",
            )

    def coverage(self, source: str, metric: str, pools: Pools) -> dict[tuple[str, str], tuple[int, int]]:
        """See :meth:`~.base.Store.coverage`."""
        found = self._rows(
            "SELECT pool, server, first, last FROM coverage WHERE source = ? AND metric = ?", [source, metric]
        )
        names = set(wanted(pools))
        return {(pool, server): (first, last) for pool, server, first, last in found if pool in names}

    def newest(self, *, metric: str, pools: Pools) -> dict[SeriesKey, datetime.datetime]:
        """See :meth:`~.base.History.newest`."""
        summaries = self.summaries(metric=metric, pools=pools, gaps=False)
        return {item.key: item.newest for item in summaries}

    def summaries(
        self,
        *,
        metric: str,
        pools: Pools,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        gaps: bool = True,
    ) -> list[Summary]:
        """See :meth:`~.base.Store.summaries`."""
        known = {item.number: item for item in self._known(metric, wanted(pools))}
        if not known:
            return []
        within = [int(start.timestamp()) if start else 0, int(end.timestamp()) if end else 2**62]
        low, high = min(known), max(known)
        found = self._rows(
            "SELECT series, count(*), min(time), max(time) FROM samples "
            "WHERE series BETWEEN ? AND ? AND time > ? AND time <= ? GROUP BY series",
            [low, high, *within],
        )
        found = [row for row in found if row[0] in known]
        holes: dict[int, int] = {}
        broken: dict[int, list[int]] = {}
        for number, count, oldest, newest in found if gaps else []:
            step = known[number].step_seconds
            if (newest - oldest) // step + 1 > count:
                broken.setdefault(step, []).append(number)
        for step, numbers in broken.items():
            holes |= self._holes(numbers, within, step)
        utc = datetime.UTC
        return sorted(
            (
                Summary(
                    known[number].key,
                    known[number].step_seconds,
                    count,
                    holes.get(number, 0),
                    datetime.datetime.fromtimestamp(oldest, utc),
                    datetime.datetime.fromtimestamp(newest, utc),
                    known[number].unit,
                )
                for number, count, oldest, newest in found
            ),
            key=lambda item: _order(item.key),
        )

    def _holes(self, numbers: list[int], within: list[int], step: int) -> dict[int, int]:
        """How many runs of steps are missing, by series."""
        chosen = ", ".join(map(str, numbers))
        return dict(
            self._rows(
                "SELECT series, count(*) FROM (SELECT series, time - lag(time) OVER (PARTITION BY series ORDER BY time) "
                f"AS wait FROM samples WHERE series IN ({chosen}) AND time > ? AND time <= ?) AS waits "
                "WHERE wait > ? GROUP BY series",
                [*within, step],
            )
        )

    def mark(self, marks: t.Sequence[Mark], *, pretend: bool = False) -> int:
        """See :meth:`~.base.Store.mark`."""
        with self._transaction() as undo:
            known = {tuple(row) for row in self._rows("SELECT pool, servers, first, last, why FROM marks")}
            fresh = sorted({_mark_row(mark) for mark in marks} - known)
            if fresh:
                self._insert("marks", fresh)
            if pretend:
                undo()
        return len(fresh)

    def marks(
        self, pools: t.Sequence[str], start: datetime.datetime | None = None, end: datetime.datetime | None = None
    ) -> list[Mark]:
        """See :meth:`~.base.Store.marks`."""
        low = start.timestamp() if start else float("-inf")
        high = end.timestamp() if end else float("inf")
        return [
            Mark(
                pool,
                None if servers == _ALL_SERVERS else tuple(json.loads(servers)),
                datetime.datetime.fromtimestamp(first, datetime.UTC),
                datetime.datetime.fromtimestamp(last, datetime.UTC),
                why,
            )
            for pool, servers, first, last, why in self._rows(
                "SELECT pool, servers, first, last, why FROM marks ORDER BY first, last, pool, servers, why"
            )
            if pool in pools and last > low and first < high
        ]

    def prune(self, now: datetime.datetime) -> int:
        """See :meth:`~.base.Store.prune`."""
        oldest = int(now.timestamp() - self.retention_seconds)
        ((some,),) = self._rows("SELECT count(*) FROM samples WHERE time < ?", [oldest])
        if some:
            with self._transaction():
                self._rows("DELETE FROM samples WHERE time < ?", [oldest])
                self._rows("DELETE FROM marks WHERE last < ?", [oldest])
        return int(some)


def retention(spec: t.Mapping[str, t.Any], option: str) -> float:
    """Seconds that samples are kept.

    :raises InvalidOption: below 30 days, which forecasting needs.
    """
    seconds = duration(spec.get("retention") or "90d", f"{option}.retention")
    if seconds < 30 * 86400:
        raise InvalidOption(
            f"{spec['retention']} is too short: forecasts learn from 30 days",
            option=f"{option}.retention",
            remedy="Keep at least 30d",
        )
    return seconds


def _flat(series: Series, numbers: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Id, time and value of each sample that is there."""
    rows, columns = np.nonzero(np.isfinite(series.values))
    return numbers[rows], series.times[columns], series.values[rows, columns]


def _order(key: SeriesKey) -> tuple[str, bool, str]:
    """By pool, its total first, then by server."""
    return key.pool, key.server is not None, key.server or ""


def _mark_row(mark: Mark) -> tuple[str, str, int, int, str]:
    """A mark as a row of its table."""
    servers = _ALL_SERVERS if mark.servers is None else json.dumps(sorted(mark.servers))
    return mark.pool, servers, int(mark.start.timestamp()), int(mark.end.timestamp()), mark.why
