# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The history in PostgreSQL, for controllers whose disk is forgotten after each job. One schema per tenant.

Samples are partitioned by time, see :mod:`.partitions`. They come by COPY in its binary form,
what is newer than all there is straight into its partition and the rest by one upsert, and go as one binary array per
series; numpy reads and writes both as they lie.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import typing as t
import urllib.parse

from ..errors import AuthenticationFailed, CertificateRejected, ConnectionFailed, InvalidOption, LowtideError, NotFound
from ..libraries import numpy as np
from ..libraries import psycopg
from ..timing import duration
from . import partitions
from .tables import FORMAT, TABLES, Tables, retention

if t.TYPE_CHECKING:
    import numpy

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_AT_ONCE = 200_000  # samples
# A tuple of COPY's binary form: the number of fields, and before each field its length in bytes.
_SAMPLE = (
    ("fields", ">i2"),
    ("a", ">i4"),
    ("series", ">i4"),
    ("b", ">i4"),
    ("time", ">i8"),
    ("c", ">i4"),
    ("value", ">f8"),
)
_UPSERT = """
WITH changed AS (
    INSERT INTO samples SELECT series, time, value FROM fresh ORDER BY series, time
    ON CONFLICT (series, time) DO UPDATE SET value = excluded.value WHERE samples.value IS DISTINCT FROM excluded.value
    RETURNING series
) SELECT series, count(*) FROM changed GROUP BY series
"""


class PostgreSQLHistory(Tables):
    """See :class:`~.base.Store`."""

    last_of = "(array_agg(value ORDER BY time DESC))[1]"

    def __init__(self, spec: t.Mapping[str, t.Any], *, tenant: str, read_only: bool, option: str) -> None:
        """Connect, and make the schema where it is missing and written to."""
        self.option = f"{option}.url"
        self._options = option
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", tenant):
            raise InvalidOption(
                f"{tenant!r} can't be a tenant's name",
                option="tenant",
                remedy="Use letters, digits, hyphens and underscores: it names the tenant's own schema",
            )
        self.schema = "lowtide" if tenant == "default" else f"lowtide_{tenant}"
        self.retention_seconds = retention(spec, option)
        self.where = self._named(spec.get("url") or "")
        self._connection = self._connected(spec)
        try:
            self._prepare(read_only)
        except BaseException:
            self.close()
            raise

    def _named(self, url: str) -> str:
        """The address as it may be printed, without a password.

        :raises InvalidOption: when it is none.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise InvalidOption(
                "an address that begins with postgresql:// is wanted",
                option=self.option,
                remedy="Write postgresql://host:5432/database",
            )
        host = parts.netloc.rpartition("@")[2]
        return f"postgresql://{host}{parts.path}, schema {self.schema}"

    def _connected(self, spec: t.Mapping[str, t.Any]) -> t.Any:
        """A connection; the certificate is verified unless it is said not to."""
        seconds = duration(spec.get("timeout") or "30s", f"{self._options}.timeout")
        wanted: dict[str, t.Any] = {
            "connect_timeout": max(2, round(seconds)),
            "options": f"-c statement_timeout={round(seconds * 10_000)} -c lock_timeout={round(seconds * 1000)}",
            "application_name": "lowtide",
            "sslmode": "verify-full" if spec.get("validate_certs", True) else "require",
            "sslrootcert": spec.get("ca_path") or "system",
        }
        if not spec.get("validate_certs", True):
            del wanted["sslrootcert"]
        for name, key in (
            ("user", "username"),
            ("password", "password"),
            ("sslcert", "client_cert"),
            ("sslkey", "client_key"),
        ):
            if spec.get(key):
                wanted[name] = spec[key]
        try:
            return psycopg.connect(spec["url"], autocommit=True, **wanted)
        except psycopg.Error as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc: Exception) -> LowtideError:
        """What PostgreSQL says, as an error of ours."""
        text = " ".join(str(exc).split())
        state = getattr(exc, "sqlstate", None) or ""
        if "certificate" in text and "verify failed" in text:
            return CertificateRejected(
                f"the certificate of {self.where} is not trusted, or has expired",
                option=f"{self._options}.ca_path",
                remedy="Give the PEM file of the authority that signed it, or renew it on the server",
            )
        if state.startswith("28") or "authentication failed" in text or "no password supplied" in text:
            return AuthenticationFailed(
                f"{self.where} refused the credentials",
                option=f"{self._options}.username",
                remedy="Check username and password",
            )
        if state == "42501":
            return AuthenticationFailed(
                f"{self.where} does not let this user do that: {text}",
                option=f"{self._options}.username",
                remedy="Grant it CREATE on the database, or make it the owner of the schema",
            )
        if state.startswith("53"):
            return LowtideError(
                f"{self.where} is out of room or connections: {text}",
                option=self.option,
                remedy="Make room there, and run it again: what the history held is still there",
            )
        if isinstance(exc, psycopg.OperationalError):
            return ConnectionFailed(
                f"{self.where} can't be reached, or ended the session: {text}",
                option=self.option,
                remedy="Check the address, and that PostgreSQL is up; what the history held is still there",
            )
        return LowtideError(
            f"{self.where} refuses a statement: {text}", option=self.option, remedy="Look at PostgreSQL's own log"
        )

    def _prepare(self, read_only: bool) -> None:
        """Check the format, and make the tables in a new schema."""
        with self._errors():
            self._connection.execute(
                psycopg.sql.SQL("SET search_path TO {}, pg_temp").format(psycopg.sql.Identifier(self.schema))
            )
            if not self._format_is_known() and read_only:
                raise NotFound(
                    f"there is no history in {self.where}",
                    option=self.option,
                    remedy="Check the address, or run lowtide.fleet.collect to fill it",
                )
        if not read_only:
            with self._transaction():
                if not self._format_is_known():
                    self._connection.execute(
                        psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg.sql.Identifier(self.schema))
                    )
                    self._connection.execute(TABLES.format(text="TEXT"))
                    partitions.create(self._rows)
                    self._rows("INSERT INTO lowtide VALUES (?, 0)", [FORMAT])
                    self.format = FORMAT
                self._upgrade("TEXT")

    def _format_is_known(self) -> bool:
        """Whether the tables are there, of a format that is known.

        :raises InvalidOption: when they are of a newer one.
        """
        # Not to_regclass: it goes by what the session knows of schemas, and that is old where another has just made this one.
        there = self._rows(
            "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = ? AND tablename = 'lowtide'", [self.schema]
        )
        if there:
            self._check_format(self._rows("SELECT format FROM lowtide")[0][0])
        return bool(there)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    @contextlib.contextmanager
    def _errors(self) -> t.Iterator[None]:
        """PostgreSQL's errors become ours."""
        try:
            yield
        except psycopg.Error as exc:
            raise self._failure(exc) from exc

    def _rows(self, statement: str, values: t.Sequence[t.Any] = ()) -> list[t.Any]:
        """See :meth:`~.ledger.Ledger._rows`."""
        with self._errors():
            cursor = self._connection.execute(statement.replace("?", "%s"), list(values))
            return cursor.fetchall() if cursor.description else []

    def _insert(self, table: str, rows: list[tuple[t.Any, ...]], conflict: str = "") -> None:
        """See :meth:`~.tables.Tables._insert`."""
        values = ", ".join(["%s"] * len(rows[0]))
        with self._connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES ({values}) {conflict}", rows)

    @contextlib.contextmanager
    def _transaction(self) -> t.Iterator[t.Callable[[], None]]:
        """See :meth:`~.ledger.Ledger._transaction`. An advisory lock makes writers of one schema wait for each other."""
        undone: list[bool] = []
        with self._errors(), self._connection.transaction() as transaction:
            self._connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"lowtide {self.schema}"])
            yield lambda: undone.append(True)
            if undone:
                raise psycopg.Rollback(transaction)

    def _samples(
        self, ids: numpy.ndarray, first: int, last: int, folded: str | None, step_seconds: int
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """See :meth:`~.tables.Tables._samples`."""
        low, high = int(ids.min()), int(ids.max())
        few = len(ids) * 2 < high - low + 1
        chosen = f"series IN ({', '.join(map(str, ids.tolist()))})" if few else f"series BETWEEN {low} AND {high}"
        what, group = f"time - {first} AS after, value", ""
        if folded is not None:
            what = (
                f"(time - {first} + {step_seconds - 1}) / {step_seconds} * {step_seconds} AS after, {folded} AS value"
            )
            group = "GROUP BY series, after"
        inner = f"SELECT series, {what} FROM samples WHERE {chosen} AND time > {first} AND time <= {last} {group}"
        statement = f"SELECT series, array_agg(after::int4), array_agg(value) FROM ({inner}) AS found GROUP BY series"
        with self._errors(), self._connection.cursor(binary=True) as cursor:
            answer = cursor.execute(statement).pgresult
            rows = [[answer.get_value(row, column) for column in range(3)] for row in range(answer.ntuples)]
        offsets = [_elements(after, ">i4") for _number, after, _value in rows]
        values = [_elements(value, ">f8") for _number, _after, value in rows]
        numbers = [np.full(len(own), int.from_bytes(row[0], "big")) for row, own in zip(rows, offsets, strict=True)]
        if not rows:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
        return np.concatenate(numbers), np.concatenate(offsets).astype(np.int64), np.concatenate(values).astype(float)

    def _merge(
        self, ids: numpy.ndarray, times: numpy.ndarray, values: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """See :meth:`~.tables.Tables._merge`."""
        if not len(ids):
            return ids, ids
        partitions.extend(self._rows, int(times.min()), int(times.max()))
        later = times > self._newest(ids)
        if later.all():
            self._copy("samples", ids, times, values)
            return np.unique(ids, return_counts=True)
        self._connection.execute(
            "CREATE TEMP TABLE fresh (series INTEGER, time BIGINT, value DOUBLE PRECISION) ON COMMIT DROP"
        )
        self._copy("fresh", ids[~later], times[~later], values[~later])
        found = np.array(self._rows(_UPSERT), dtype=np.int64).reshape(-1, 2)
        self._connection.execute("DROP TABLE fresh")
        if later.any():
            self._copy("samples", ids[later], times[later], values[later])
        numbers, place = np.unique(np.concatenate([found[:, 0], ids[later]]), return_inverse=True)
        return numbers, np.bincount(place, weights=np.append(found[:, 1], np.ones(later.sum()))).astype(np.int64)

    def _newest(self, ids: numpy.ndarray) -> numpy.ndarray:
        """The newest stamp of the series of each sample, 0 where there is none; shape (samples,).

        What is newer than that can't be there yet: COPY takes it straight in, several times faster than an upsert.
        """
        numbers, place = np.unique(ids, return_inverse=True)
        found = self._rows(
            "SELECT number, coalesce((SELECT time FROM samples WHERE series = number ORDER BY time DESC LIMIT 1), 0) "
            "FROM unnest(?::int4[]) AS number",
            [numbers.tolist()],
        )
        newest = dict(found)
        return np.array([newest[number] for number in numbers.tolist()], dtype=np.int64)[place]

    def _copy(self, table: str, ids: numpy.ndarray, times: numpy.ndarray, values: numpy.ndarray) -> None:
        """Append samples to a table, a part of them at a time."""
        with self._connection.cursor().copy(f"COPY {table} (series, time, value) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(_SIGNATURE)
            for begin in range(0, len(ids), _AT_ONCE):
                part = slice(begin, begin + _AT_ONCE)
                rows = np.empty(len(ids[part]), dtype=list(_SAMPLE))
                rows["fields"], rows["a"], rows["b"], rows["c"] = 3, 4, 8, 8
                rows["series"], rows["time"], rows["value"] = ids[part], times[part], values[part]
                copy.write(rows.tobytes())
            copy.write(_TRAILER)

    def prune(self, now: datetime.datetime) -> int:
        """See :meth:`~.base.Store.prune`. Partitions or chunks that are too old as a whole are dropped."""
        with self._transaction():
            gone = partitions.drop(self._rows, int(now.timestamp() - self.retention_seconds))
        return gone + super().prune(now)


def _elements(array: bytes, kind: str) -> numpy.ndarray:
    """The elements of an array of one dimension in PostgreSQL's binary form: a head of 20 bytes, each with its length."""
    return np.frombuffer(array, dtype=[("length", ">i4"), ("value", kind)], offset=20)["value"]
