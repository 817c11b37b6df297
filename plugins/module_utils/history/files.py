# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CSV and Parquet files as a source, in long form (one sample a line) or wide form (one column per metric)."""

from __future__ import annotations

import glob
import itertools
import typing as t

from ..errors import InvalidOption, LowtideError, NotFound
from ..libraries import duckdb
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from .base import Closing, Metric, Pools, assembled, metrics, wanted
from .grid import to_grid
from .inline import keyed

_COLUMNS = {"time": "time", "pool": "pool", "server": "server", "metric": "metric", "value": "value"}
_PARQUET = (".parquet", ".pq")


class Files(Closing):
    """Reads metrics from files.

    Columns are C(time) (ISO 8601, UTC unless it has an offset, or epoch seconds), optionally C(server) and C(pool), and
    either C(metric) and C(value) or one column per metric. A line without server is the pool's total. One without pool
    belongs to the pool that has the server, or to the only pool there is.
    """

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """:param spec: Checked values of ``options.SOURCE``.

        :raises NotFound: where no file matches.
        """
        self.option = option
        self.metrics = metrics(spec.get("metrics"), "column", f"{option}.metrics")
        unknown = sorted(set(spec.get("columns") or {}) - set(_COLUMNS))
        if unknown:
            raise InvalidOption(
                f"there is no column {unknown[0]!r} to name",
                option=f"{option}.columns",
                remedy=f"The columns are {', '.join(_COLUMNS)}; metrics are named in metrics",
            )
        self.columns = _COLUMNS | {role: str(name) for role, name in (spec.get("columns") or {}).items()}
        patterns = spec.get("paths") or []
        self.paths = sorted({path for pattern in patterns for path in glob.glob(pattern)})
        if not self.paths:
            raise NotFound(
                f"no file matches {', '.join(patterns)}" if patterns else "no file is named",
                option=f"{option}.paths",
                remedy="Give paths or patterns of CSV or Parquet files",
            )
        self.where = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths)} files"

    def fingerprint(self, metric: Metric) -> None:
        """None: a file is read whole each time, and what is known is not stored again."""
        return

    def close(self) -> None:
        """Nothing is held."""

    def fetch(self, metric: Metric, pools: Pools, first: int, last: int, step_seconds: int) -> Series:
        """One metric on the grid of stamps in (first, last]; see :meth:`~.base.History.read`. May be empty."""
        parts: dict[SeriesKey, list[t.Any]] = {}
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
            # A column in which some times have an offset is text, and one without is read in the session's time zone.
            connection.execute("SET TimeZone = 'UTC'")
            for path in self.paths:
                for key, samples in self._samples(connection, path, metric, wanted(pools), first, last, step_seconds):
                    parts.setdefault(key, []).append(samples)
        grid = {"first": first, "last": last, "step_seconds": step_seconds, "aggregation": metric.aggregation or "mean"}
        rows = {}
        for key, found in parts.items():
            times, values = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
            row = to_grid(times, values, **grid)
            if not np.isnan(row).all():
                rows[key] = row
        return assembled(rows, last, step_seconds, (last - first) // step_seconds, metric)

    def _samples(
        self,
        connection: t.Any,
        path: str,
        metric: Metric,
        pools: t.Mapping[str, list[str] | None],
        first: int,
        last: int,
        step: int,
    ) -> t.Iterator[tuple[SeriesKey, tuple[t.Any, t.Any]]]:
        """Times and values of each series in a file."""
        np.load()  # by itself, before the library of the files does
        try:
            read = "read_parquet(?)" if path.endswith(_PARQUET) else "read_csv(?, auto_detect=true, header=true)"
            relation = f"SELECT * FROM {read}"
            kinds = {name: kind for name, kind, *_rest in connection.execute(f"DESCRIBE {relation}", [path]).fetchall()}
            query = self._query(kinds, metric, path)
            found = connection.execute(
                f"SELECT * FROM ({query.format(relation=relation)}) WHERE value IS NOT NULL "
                "AND time > ? AND time <= ? ORDER BY pool, server, time",
                [path, first - 2 * step, last],
            ).fetchnumpy()
        except duckdb.Error as exc:
            raise LowtideError(
                f"{path} can't be read: {str(exc).splitlines()[0]}",
                option=f"{self.option}.paths",
                remedy="Check that it is a CSV file with a header, or a Parquet file",
            ) from exc
        if not len(found["time"]):
            return
        names = list(zip(found["pool"].tolist(), found["server"].tolist(), strict=True))
        breaks = [0, *(at for at in range(1, len(names)) if names[at] != names[at - 1]), len(names)]
        for begin, until in itertools.pairwise(breaks):
            key = keyed(*names[begin], metric, pools)
            if key is not None:
                yield key, (found["time"][begin:until], np.asarray(found["value"][begin:until]))

    def _query(self, kinds: t.Mapping[str, str], metric: Metric, path: str) -> str:
        """The statement that gives time, pool, server and value of one metric; C({relation}) stands for the file."""
        time = self.columns["time"]
        long = self.columns["metric"] in kinds and metric.expression not in kinds
        value = self.columns["value"] if long else metric.expression
        for name, option in ((time, "columns.time"), (value, "columns.value" if long else f"metrics.{metric.name}")):
            if name not in kinds:
                raise InvalidOption(
                    f"{path} has no column {name!r}",
                    option=f"{self.option}.{option}",
                    remedy=f"Its columns are {', '.join(kinds)}",
                )
        kind = kinds[time]
        stamp = f"epoch({_name(time)})" if kind.startswith(("TIMESTAMP", "DATE")) else f"{_name(time)}::DOUBLE"
        if kind == "VARCHAR":
            stamp = f"epoch({_name(time)}::TIMESTAMPTZ)"
        texts = {
            role: f"coalesce({_name(self.columns[role])}::VARCHAR, '')" if self.columns[role] in kinds else "''"
            for role in ("pool", "server")
        }
        statement = f"SELECT {stamp} AS time, {texts['pool']} AS pool, {texts['server']} AS server, "
        statement += f"{_name(value)}::DOUBLE AS value FROM ({{relation}})"
        if long:
            statement += f" WHERE {_name(self.columns['metric'])} = '{_quoted(metric.expression)}'"
        return statement


def _name(column: str) -> str:
    """A column's name in a statement."""
    return '"' + column.replace('"', '""').replace("{", "{{").replace("}", "}}") + '"'


def _quoted(text: str) -> str:
    """A text in a statement, between single quotes."""
    return text.replace("'", "''").replace("{", "{{").replace("}", "}}")
