# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded history: one DuckDB file per tenant.

Samples lie in one table without an index: DuckDB finds its way by the minima and maxima of row groups, compresses
columns well, and an index over tens of millions of samples would cost more than all of the rest. That a stamp exists
once is kept by the one way to write, which compares before it inserts, one writer at a time.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import time
import typing as t

from ..errors import InvalidOption, Locked, LowtideError, NotFound
from ..libraries import duckdb
from ..libraries import numpy as np
from .tables import FORMAT, TABLES, Tables, retention

if t.TYPE_CHECKING:
    import numpy

_PATIENCE = 30.0
_SAMPLES = "CREATE TABLE samples (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);"
_CHANGED = """
CREATE TEMP TABLE changed AS
SELECT fresh.series, fresh.time, fresh.value, kept.value IS NOT NULL AS replaces
FROM fresh LEFT JOIN (
    SELECT series, time, value FROM samples
    WHERE time BETWEEN $first AND $last AND series BETWEEN $low AND $high
) AS kept ON fresh.series = kept.series AND fresh.time = kept.time
WHERE kept.value IS DISTINCT FROM fresh.value
"""


class DuckDBHistory(Tables):
    """See :class:`~.base.Store`. The file is held locked while this is open."""

    def __init__(self, spec: t.Mapping[str, t.Any], *, tenant: str, read_only: bool, option: str) -> None:
        """Open the file, or make it.

        :raises Locked: when another process holds it for longer than half a minute.
        """
        self.option = f"{option}.path"
        self.path = file_of(spec.get("path"), tenant, self.option)
        self.where = str(self.path)
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
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if not read_only:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                return duckdb.connect(
                    os.fspath(self.path), read_only=read_only, config={"autoinstall_known_extensions": "false"}
                )
            except OSError as exc:
                raise self._failure(exc) from exc
            except duckdb.Error as exc:
                if "Could not set lock" not in str(exc):
                    raise self._failure(exc) from exc
                if time.monotonic() > deadline:
                    raise Locked(
                        f"another process holds the history {self.path}",
                        option=self.option,
                        remedy="Wait until it has ended, and run one collection at a time",
                    ) from exc
                time.sleep(0.05)

    def _failure(self, exc: Exception) -> LowtideError:
        """What DuckDB or the system says, as an error of ours."""
        full = any(word in str(exc) for word in ("No space left", "File too large", "Disk quota"))
        return LowtideError(
            f"the disk of {self.path} is full" if full else f"DuckDB can't use {self.path}: {_first_line(exc)}",
            option=self.option,
            remedy="Make room, and run it again: what the history held is still there"
            if full
            else "Check that it is a history of Lowtide, and that this user may read and write it",
        )

    def _prepare(self, read_only: bool) -> None:
        """Check the format, and make the tables of a new file."""
        tables = {row[0] for row in self._rows("SELECT table_name FROM duckdb_tables()")}
        if not tables and not read_only:
            with self._transaction():
                self._rows(TABLES.format(text="VARCHAR") + _SAMPLES)
                self._rows("INSERT INTO lowtide VALUES (?, 0)", [FORMAT])
            self.format = FORMAT
            return
        self._check_format(self._rows("SELECT format FROM lowtide")[0][0] if "lowtide" in tables else None)
        if self.format < FORMAT and not read_only:
            with self._transaction():
                self._upgrade("VARCHAR")

    def close(self) -> None:
        """Close the file and let others have it."""
        self._connection.close()

    @contextlib.contextmanager
    def _errors(self) -> t.Iterator[None]:
        """DuckDB's errors become ours."""
        try:
            yield
        except duckdb.Error as exc:
            raise self._failure(exc) from exc

    def _rows(self, statement: str, values: t.Sequence[t.Any] = ()) -> list[t.Any]:
        """See :meth:`~.ledger.Ledger._rows`."""
        with self._errors():
            return self._connection.execute(statement, list(values) or None).fetchall()

    def _insert(self, table: str, rows: list[tuple[t.Any, ...]], conflict: str = "") -> None:
        """See :meth:`~.tables.Tables._insert`."""
        columns = {f"c{at}": np.array(column) for at, column in enumerate(zip(*rows, strict=True))}
        self._connection.register("rows", columns)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM rows {conflict}")
        self._connection.unregister("rows")

    @contextlib.contextmanager
    def _transaction(self) -> t.Iterator[t.Callable[[], None]]:
        """See :meth:`~.ledger.Ledger._transaction`. Two writers at once in one process conflict at the first row."""
        undone: list[bool] = []
        with self._errors():
            self._connection.execute("BEGIN")
            try:
                if self._rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'lowtide'"):
                    self._connection.execute("UPDATE lowtide SET writes = writes + 1")
                yield lambda: undone.append(True)
                self._connection.execute("ROLLBACK" if undone else "COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.TransactionException):
                    self._connection.execute("ROLLBACK")
                raise

    def _samples(
        self, ids: numpy.ndarray, first: int, last: int, folded: str | None, step_seconds: int
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """See :meth:`~.tables.Tables._samples`."""
        low, high = int(ids.min()), int(ids.max())
        few = len(ids) * 2 < high - low + 1
        chosen = f" AND series IN ({', '.join(map(str, ids.tolist()))})" if few else ""
        what, group = "(time - $first)::INTEGER AS after, value", ""
        if folded is not None:
            what = f"((time - $first + $step - 1) // $step * $step)::INTEGER AS after, {folded} AS value"
            group = "GROUP BY series, after"
        with self._errors():
            found = self._connection.execute(
                f"SELECT series, {what} FROM samples "
                f"WHERE time > $first AND time <= $last AND series BETWEEN $low AND $high{chosen} {group}",
                {"first": first, "last": last, "low": low, "high": high}
                | ({} if folded is None else {"step": step_seconds}),
            ).fetchnumpy()
        return found["series"], found["after"], found["value"]

    def _merge(
        self, ids: numpy.ndarray, times: numpy.ndarray, values: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """See :meth:`~.tables.Tables._merge`."""
        if not len(ids):
            return ids, ids
        connection = self._connection
        connection.register("fresh", {"series": ids, "time": times, "value": values})
        bounds = {"first": times.min(), "last": times.max(), "low": ids.min(), "high": ids.max()}
        connection.execute(_CHANGED, {name: int(value) for name, value in bounds.items()})
        counts = connection.execute(
            "SELECT series, count(*) AS count, sum(replaces::INTEGER) AS replaced FROM changed GROUP BY series"
        ).fetchnumpy()
        if np.sum(counts["replaced"]):
            connection.execute(
                "DELETE FROM samples USING changed "
                "WHERE samples.series = changed.series AND samples.time = changed.time AND changed.replaces"
            )
        connection.execute("INSERT INTO samples SELECT series, time, value FROM changed ORDER BY series, time")
        connection.execute("DROP TABLE changed")
        connection.unregister("fresh")
        return counts["series"], counts["count"]

    last_of = "arg_max(value, time)"


def file_of(path: str | None, tenant: str, option: str) -> pathlib.Path:
    """The tenant's file: V(history.duckdb), or V(history.shop.duckdb) for tenant V(shop)."""
    if not path:
        raise InvalidOption(
            "the path of the DuckDB file is missing", option=option, remedy="Give the file's path; a new one is made"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", tenant):
        raise InvalidOption(
            f"{tenant!r} can't be a tenant's name",
            option="tenant",
            remedy="Use letters, digits, hyphens and underscores: it names the tenant's own history",
        )
    whole = pathlib.Path(path).expanduser()
    if not whole.is_absolute():
        # A module starts in the directory of its playbook, the collection's for one, and a lookup where the user is.
        raise InvalidOption(
            f"{path!r} is relative, and would be one file for tasks and another for lookups",
            option=option,
            remedy="Give the whole path, such as /var/lib/lowtide/history.duckdb",
        )
    return whole if tenant == "default" else whole.with_name(f"{whole.stem}.{tenant}{whole.suffix}")


def _first_line(exc: Exception) -> str:
    """The first line of an error's text."""
    return (str(exc).splitlines() or [type(exc).__name__])[0]
