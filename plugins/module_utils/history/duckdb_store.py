# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded history: one DuckDB file per tenant.

Samples lie in one long table without an index: DuckDB finds its way by the minima and maxima of row groups, compresses
columns well, and an index over tens of millions of samples would cost more than all of the rest. That a stamp exists
once is kept by the one way to write, which compares before it inserts.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import re
import time
import typing as t

from ..errors import InvalidOption, Locked, LowtideError, NotFound
from ..libraries import duckdb
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from ..timing import duration
from .base import Closing, Pools, aligned, assembled, require_all, wanted

if t.TYPE_CHECKING:
    import numpy

FORMAT = 1
_PATIENCE = 30.0
_TABLES = """
CREATE TABLE lowtide (format INTEGER NOT NULL, writes BIGINT NOT NULL);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, pool VARCHAR NOT NULL, server VARCHAR NOT NULL, metric VARCHAR NOT NULL,
    unit VARCHAR, aggregation VARCHAR, step_seconds INTEGER NOT NULL, UNIQUE (pool, server, metric)
);
CREATE TABLE samples (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
CREATE TABLE coverage (
    source VARCHAR NOT NULL, pool VARCHAR NOT NULL, server VARCHAR NOT NULL, metric VARCHAR NOT NULL,
    first BIGINT NOT NULL, last BIGINT NOT NULL, PRIMARY KEY (source, pool, server, metric)
);
"""
_CHANGED = """
CREATE TEMP TABLE changed AS
SELECT fresh.series, fresh.time, fresh.value, kept.value IS NOT NULL AS replaces
FROM fresh LEFT JOIN (
    SELECT series, time, value FROM samples
    WHERE time BETWEEN $first AND $last AND series IN (SELECT DISTINCT series FROM fresh)
) AS kept ON fresh.series = kept.series AND fresh.time = kept.time
WHERE kept.value IS DISTINCT FROM fresh.value
"""
_READ = """
SELECT rows.row::INTEGER AS row, ((samples.time - $first + $step - 1) // $step - 1)::INTEGER AS col, {value} AS value
FROM samples JOIN rows ON samples.series = rows.id
WHERE samples.time > $first AND samples.time <= $last {group}
"""


class DuckDBHistory(Closing):
    """See :class:`~.base.History`. The file is held locked while this is open."""

    def __init__(self, spec: t.Mapping[str, t.Any], *, tenant: str, read_only: bool, option: str) -> None:
        """Open the file, or make it.

        :raises Locked: when another process holds it for longer than half a minute.
        """
        self.option = f"{option}.path"
        self.path = _file(spec.get("path"), tenant, self.option)
        self.retention_seconds = retention(spec, option)
        if read_only and not self.path.exists():
            raise NotFound(
                f"there is no history at {self.path}",
                option=self.option,
                remedy="Check the path, or run lowtide.fleet.collect to fill it",
            )
        self._connection = self._opened(read_only)
        try:
            self._prepare(read_only)
        except BaseException:
            self.close()
            raise

    def _opened(self, read_only: bool) -> t.Any:
        """A connection, waiting while another process holds the file."""
        if not read_only:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return duckdb.connect(
                    os.fspath(self.path), read_only=read_only, config={"autoinstall_known_extensions": "false"}
                )
            except duckdb.IOException as exc:
                if "lock" not in str(exc):
                    raise self._failure(exc) from exc
                if time.monotonic() > deadline:
                    raise Locked(
                        f"another process holds the history {self.path}",
                        option=self.option,
                        remedy="Wait until it has ended, and run one collection at a time",
                    ) from exc
                time.sleep(0.05)
            except duckdb.Error as exc:
                raise self._failure(exc) from exc

    def _failure(self, exc: Exception) -> LowtideError:
        """What DuckDB says, as an error of ours."""
        return LowtideError(
            f"DuckDB can't use {self.path}: {str(exc).splitlines()[0]}",
            option=self.option,
            remedy="Check that it is a history of Lowtide, that you may read it, and that the disk has room",
        )

    def _prepare(self, read_only: bool) -> None:
        """Check the format, and make the tables of a new file."""
        tables = {row[0] for row in self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if not tables and not read_only:
            with self._transaction():
                self._connection.execute(_TABLES)
                self._connection.execute("INSERT INTO lowtide VALUES (?, 0)", [FORMAT])
            return
        if "lowtide" not in tables:
            raise InvalidOption(
                f"{self.path} is a database, but no history of Lowtide",
                option=self.option,
                remedy="Name another file; a new one is made",
            )
        (found,) = self._connection.execute("SELECT format FROM lowtide").fetchone()
        if found > FORMAT:
            raise InvalidOption(
                f"{self.path} has format {found}, and this version of Lowtide knows formats up to {FORMAT}",
                option=self.option,
                remedy="Update the collection lowtide.fleet, or name another file",
            )

    def close(self) -> None:
        """Close the file and let others have it."""
        self._connection.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection, self._failure)

    def read(
        self, *, metric: str, pools: Pools, start: datetime.datetime, end: datetime.datetime, step_seconds: int
    ) -> Series:
        """See :meth:`~.base.History.read`."""
        first, last = aligned(start, end, step_seconds)
        columns = (last - first) // step_seconds
        known = self._known(metric, wanted(pools))
        values = np.full((len(known), columns), np.nan)
        if known:
            self._fill(values, known, first, last, step_seconds)
        rows = {key: values[row] for row, (key, *_rest) in enumerate(known) if not np.isnan(values[row]).all()}
        return require_all(
            assembled(rows, last, step_seconds, columns),
            metric,
            wanted(pools),
            f"the history {self.path}",
            f"Collect it with lowtide.fleet.collect, from a source that has {metric!r}",
            self.option,
        )

    def _known(self, metric: str, pools: t.Mapping[str, list[str] | None]) -> list[tuple[SeriesKey, int, str, int]]:
        """Key, id, aggregation and step of the series wanted that the history has ever held."""
        found = self._connection.execute(
            "SELECT pool, server, id, aggregation, step_seconds FROM series WHERE metric = ? AND list_contains(?, pool)",
            [metric, list(pools)],
        ).fetchall()
        servers = {pool: None if names is None else {"", *names} for pool, names in pools.items()}
        return [
            (SeriesKey(pool, server or None, metric), number, aggregation, step)
            for pool, server, number, aggregation, step in found
            if servers[pool] is None or server in servers[pool]
        ]

    def _fill(
        self, values: numpy.ndarray, known: list[tuple[SeriesKey, int, str, int]], first: int, last: int, step: int
    ) -> None:
        """Put samples where they belong in ``values``, of shape (series, time)."""
        for aggregation in sorted({item[2] for item in known}):
            chosen = [(row, item) for row, item in enumerate(known) if item[2] == aggregation]
            finest = [item[3] for _row, item in chosen]
            odd = next((native for native in finest if step % native), None)
            if odd is not None:
                raise InvalidOption(
                    f"the history holds {known[0][0].metric!r} in steps of {odd} s, which don't make {step} s",
                    option="step",
                    remedy=f"Choose a multiple of {odd} s",
                )
            whole = all(native == step for native in finest)
            folded = {"max": "max(value)", "last": "arg_max(value, time)"}.get(aggregation, "avg(value)")
            query = _READ.format(value="value" if whole else folded, group="" if whole else "GROUP BY ALL")
            rows = {
                "row": np.array([row for row, _item in chosen], dtype=np.int32),
                "id": np.array([item[1] for _row, item in chosen], dtype=np.int32),
            }
            self._connection.register("rows", rows)
            found = self._connection.execute(query, {"first": first, "last": last, "step": step}).fetchnumpy()
            self._connection.unregister("rows")
            values[found["row"], found["col"]] = found["value"]

    def write(
        self,
        series: Series,
        *,
        units: t.Mapping[str, str] | None = None,
        aggregations: t.Mapping[str, str] | None = None,
        pretend: bool = False,
    ) -> int:
        """See :meth:`~.base.History.write`.

        :param aggregations: How each metric is made coarser, C(mean) where it is not said.
        """
        connection = self._connection
        with self._transaction() as transaction:
            connection.execute("UPDATE lowtide SET writes = writes + 1")
            numbers = self._numbers(series, units or {}, aggregations or {})
            rows, columns = np.nonzero(~np.isnan(series.values))
            times = series.times
            fresh = {"series": numbers[rows], "time": times[columns], "value": series.values[rows, columns]}
            connection.register("fresh", fresh)
            bounds = {"first": int(times[0]), "last": int(times[-1])} if len(times) else {"first": 0, "last": 0}
            connection.execute(_CHANGED, bounds)
            count, replaced = connection.execute("SELECT count(*), count(*) FILTER (replaces) FROM changed").fetchone()
            if replaced:
                connection.execute(
                    "DELETE FROM samples USING changed "
                    "WHERE samples.series = changed.series AND samples.time = changed.time AND changed.replaces"
                )
            if count:
                connection.execute("INSERT INTO samples SELECT series, time, value FROM changed ORDER BY series, time")
            connection.execute("DROP TABLE changed")
            connection.unregister("fresh")
            if pretend:
                transaction.undo()
        return int(count)

    def _numbers(self, series: Series, units: t.Mapping[str, str], aggregations: t.Mapping[str, str]) -> numpy.ndarray:
        """The id of each row, given out where a series is new; shape (series,), int32."""
        connection = self._connection
        known = {
            (pool, server, metric): (number, step)
            for number, pool, server, metric, step in connection.execute(
                "SELECT id, pool, server, metric, step_seconds FROM series"
            ).fetchall()
        }
        following = max((number for number, _step in known.values()), default=-1) + 1
        numbers = np.empty(len(series.keys), dtype=np.int32)
        for row, key in enumerate(series.keys):
            place = (key.pool, key.server or "", key.metric)
            number, step = known.get(place, (following, None))
            numbers[row] = number
            if step is None:
                known[place] = (number, series.step_seconds)
                following += 1
                connection.execute(
                    "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        number,
                        *place,
                        units.get(key.metric),
                        aggregations.get(key.metric, "mean"),
                        series.step_seconds,
                    ],
                )
            elif series.step_seconds < step:
                connection.execute("UPDATE series SET step_seconds = ? WHERE id = ?", [series.step_seconds, number])
        return numbers

    def newest(self, *, metric: str, pools: Pools) -> dict[SeriesKey, datetime.datetime]:
        """See :meth:`~.base.History.newest`."""
        keys = {number: key for key, number, *_rest in self._known(metric, wanted(pools))}
        found = self._connection.execute(
            "SELECT series, max(time) FROM samples WHERE list_contains(?, series) GROUP BY series", [list(keys)]
        ).fetchall()
        return {keys[number]: datetime.datetime.fromtimestamp(stamp, datetime.UTC) for number, stamp in found}

    def coverage(self, source: str, metric: str, pools: Pools) -> dict[tuple[str, str], tuple[int, int]]:
        """What was asked of a source before: first and last epoch second by pool and server."""
        found = self._connection.execute(
            "SELECT pool, server, first, last FROM coverage WHERE source = ? AND metric = ? AND list_contains(?, pool)",
            [source, metric, list(wanted(pools))],
        ).fetchall()
        return {(pool, server): (first, last) for pool, server, first, last in found}

    def cover(self, source: str, metric: str, asked: t.Mapping[tuple[str, str], tuple[int, int]]) -> None:
        """Note what was asked of a source; a range grows, and never shrinks."""
        connection = self._connection
        with self._transaction():
            connection.execute("UPDATE lowtide SET writes = writes + 1")
            for (pool, server), (first, last) in asked.items():
                connection.execute(
                    "INSERT INTO coverage VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                    "first = least(first, excluded.first), last = greatest(last, excluded.last)",
                    [source, pool, server, metric, first, last],
                )

    def prune(self, now: datetime.datetime) -> int:
        """Drop samples older than the retention, and return how many."""
        oldest = int(now.timestamp() - self.retention_seconds)
        connection = self._connection
        with self._transaction():
            connection.execute("UPDATE lowtide SET writes = writes + 1")
            (count,) = connection.execute("SELECT count(*) FROM samples WHERE time < ?", [oldest]).fetchone()
            if count:
                connection.execute("DELETE FROM samples WHERE time < ?", [oldest])
        return int(count)


class _Transaction:
    """All or nothing; DuckDB's errors become ours."""

    def __init__(self, connection: t.Any, failure: t.Callable[[Exception], LowtideError]) -> None:
        self._connection = connection
        self._failure = failure
        self._undo = False

    def undo(self) -> None:
        """Roll back at the end."""
        self._undo = True

    def __enter__(self) -> _Transaction:
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _traceback: object) -> None:
        if kind is None and not self._undo:
            try:
                self._connection.execute("COMMIT")
            except duckdb.Error as failed:
                raise self._failure(failed) from failed
            return
        self._connection.execute("ROLLBACK")
        if isinstance(exc, duckdb.Error):
            raise self._failure(exc) from exc


def _file(path: str | None, tenant: str, option: str) -> pathlib.Path:
    """The tenant's file: V(history.duckdb), or V(history.shop.duckdb) for tenant V(shop)."""
    if not path:
        raise InvalidOption(
            "the path of the DuckDB file is missing", option=option, remedy="Give the file's path; a new one is made"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", tenant):
        raise InvalidOption(
            f"{tenant!r} can't be a tenant's name",
            option="tenant",
            remedy="Use letters, digits, hyphens and underscores: it names the tenant's own file",
        )
    whole = pathlib.Path(path).expanduser()
    return whole if tenant == "default" else whole.with_name(f"{whole.stem}.{tenant}{whole.suffix}")


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
