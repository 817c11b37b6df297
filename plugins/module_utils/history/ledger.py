# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs remember in a store beside samples: leases, that keep two runs off one thing, and records of what they did.

A lease has a lifetime, so that a run that was killed frees what it held. A record is never changed: what is so follows
from reading them in order.

Source: Gray, Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency", SOSP (1989).
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import json
import typing as t

from ..errors import InvalidOption, Locked
from ..timing import iso

TABLES = """
CREATE TABLE leases (
    name {text} NOT NULL PRIMARY KEY, holder {text} NOT NULL, since FLOAT8 NOT NULL, until FLOAT8 NOT NULL,
    why {text} NOT NULL
);
CREATE TABLE records (
    number BIGINT NOT NULL PRIMARY KEY, kind {text} NOT NULL, name {text} NOT NULL, time FLOAT8 NOT NULL,
    body {text} NOT NULL
);
"""
# The format of a store that has these tables.
SINCE_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Lease:
    """Something held for a time. :param until: When it ends unless it is renewed."""

    name: str
    holder: str
    since: datetime.datetime
    until: datetime.datetime
    why: str


@dataclasses.dataclass(frozen=True)
class Record:
    """Something that happened. :param number: Rises from record to record of a store."""

    number: int
    kind: str
    name: str
    at: datetime.datetime
    body: dict[str, t.Any]


class LeaseHeld(Locked):
    """Another holds the lease. :param lease: Whose, and until when."""

    def __init__(self, lease: Lease, option: str) -> None:
        why = f" to {lease.why}" if lease.why else ""
        super().__init__(
            f"{lease.name} is held by {lease.holder}{why}, since {iso(lease.since)}",
            option=option,
            remedy=f"Wait until it has ended; if it was killed, {lease.name} is free at {iso(lease.until)}",
        )
        self.lease = lease


class Ledger(abc.ABC):
    """The part of a store that remembers runs; times are those of the caller's clock."""

    format: int
    option: str
    retention_seconds: float

    @abc.abstractmethod
    def _rows(self, statement: str, values: t.Sequence[t.Any] = ()) -> list[t.Any]:
        """Run a statement with C(?) for each value, and return its rows."""

    @abc.abstractmethod
    def _transaction(self) -> contextlib.AbstractContextManager[t.Callable[[], None]]:
        """All or nothing; what it gives, once called, makes it nothing. One writer at a time."""

    def acquire(self, name: str, *, holder: str, seconds: float, now: datetime.datetime, why: str = "") -> Lease:
        """Hold a lease for a time; one that this holder has is renewed.

        :param holder: Who, in words that tell a run from all others.
        :param why: What for, after the word "to".
        :raises LeaseHeld: when another holds it, and its time is not over.
        """
        _check_lifetime(seconds)
        with self._transaction():
            held = next((lease for lease in self.leases() if lease.name == name), None)
            mine = held is not None and held.holder == holder
            if held is not None and not mine and held.until > now:
                raise LeaseHeld(held, self.option)
            since = held.since if mine else now
            lease = Lease(name, holder, since, now + datetime.timedelta(seconds=seconds), why)
            self._rows(
                "INSERT INTO leases VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, "
                "since = excluded.since, until = excluded.until, why = excluded.why",
                [name, holder, lease.since.timestamp(), lease.until.timestamp(), why],
            )
        return lease

    def renew(self, name: str, *, holder: str, seconds: float, now: datetime.datetime) -> Lease:
        """Hold a lease for longer.

        :raises LeaseHeld: when another has taken it meanwhile.
        :raises Locked: when nobody holds it: this holder's was released.
        """
        held = next((lease for lease in self.leases() if lease.name == name), None)
        if held is None:
            raise Locked(
                f"{holder} does not hold {name} any more",
                option=self.option,
                remedy="Start the run again: somebody released what it held",
            )
        return self.acquire(name, holder=holder, seconds=seconds, now=now, why=held.why)

    def release(self, name: str, *, holder: str) -> bool:
        """Give a lease back; whether this holder had it."""
        with self._transaction():
            mine = bool(self._rows("SELECT 1 FROM leases WHERE name = ? AND holder = ?", [name, holder]))
            self._rows("DELETE FROM leases WHERE name = ? AND holder = ?", [name, holder])
        return mine

    def leases(self) -> list[Lease]:
        """All leases, by name, those that are over among them."""
        if self.format < SINCE_FORMAT:
            return []
        return [
            Lease(name, holder, _moment(since), _moment(until), why)
            for name, holder, since, until, why in self._rows(
                "SELECT name, holder, since, until, why FROM leases ORDER BY name"
            )
        ]

    def append(self, kind: str, name: str, body: t.Mapping[str, t.Any], *, now: datetime.datetime) -> int:
        """Record what happened, and return the record's number; what is older than the retention is forgotten.

        :param body: What JSON can hold.
        """
        text = json.dumps(body, allow_nan=False, sort_keys=True)
        with self._transaction():
            ((newest,),) = self._rows("SELECT coalesce(max(number), 0) FROM records")
            self._rows(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?)", [int(newest) + 1, kind, name, now.timestamp(), text]
            )
            oldest = now.timestamp() - self.retention_seconds
            self._rows("DELETE FROM records WHERE time < ?", [oldest])
            self._rows("DELETE FROM leases WHERE until < ?", [oldest])
        return int(newest) + 1

    def records(self, kind: str, name: str | None = None, *, since: datetime.datetime | None = None) -> list[Record]:
        """The records of a kind, in order. :param name: Of one name only. :param since: Not older than this."""
        if self.format < SINCE_FORMAT:
            return []
        conditions, values = ["kind = ?"], [kind]
        for condition, value in (("name = ?", name), ("time >= ?", since.timestamp() if since else None)):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return [
            Record(number, kind, own, _moment(at), json.loads(body))
            for number, own, at, body in self._rows(
                f"SELECT number, name, time, body FROM records WHERE {' AND '.join(conditions)} ORDER BY number", values
            )
        ]


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _check_lifetime(seconds: float) -> None:
    if not 0 < seconds <= 7 * 86400:
        raise InvalidOption(
            f"a lease of {seconds:g} s is out of range", option="lifetime", remedy="Give a time of up to 7d"
        )
