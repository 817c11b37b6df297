# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every history can do, and the helpers they share."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ..errors import InvalidOption, NotEnoughHistory
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from ..timing import iso, words
from .ledger import Lease, Record

if t.TYPE_CHECKING:
    import numpy

AGGREGATIONS = ("mean", "max", "last", "rate")
LONGEST_SECONDS = 50 * 365 * 86400  # that are read at once: stores count them in 32 bits

Pools = t.Union[t.Mapping[str, t.Sequence[str]], t.Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric of a source.

    :param name: What the history calls it.
    :param expression: What the source calls it: a PromQL query, a column, a counter.
    :param aggregation: How raw samples become one per step: C(mean), C(max), C(last) or C(rate), the increase per
        second of a counter that may be reset. None leaves it to the source.
    :param unit: Free text, kept with the series.
    """

    name: str
    expression: str
    aggregation: str | None = None
    unit: str | None = None


@dataclasses.dataclass(frozen=True)
class Batch:
    """Series to store together with others, and what was asked to get them.

    :param units: Unit by metric. :param aggregation: How samples are made coarser.
    :param source: Fingerprint of the source, or None to note no coverage. :param metric: The metric asked for.
    :param covered: First and last epoch second by pool and server (empty for the pool's total).
    """

    series: Series
    units: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    aggregation: str = "mean"
    source: str | None = None
    metric: str | None = None
    covered: t.Mapping[tuple[str, str], tuple[int, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Mark:
    """A time whose samples tell of maintenance, not of load. :param servers: None for the pool as a whole."""

    pool: str
    servers: tuple[str, ...] | None
    start: datetime.datetime
    end: datetime.datetime
    why: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a history holds of one series. :param gaps: Runs of missing steps between its oldest and newest sample."""

    key: SeriesKey
    step_seconds: int
    samples: int
    gaps: int
    oldest: datetime.datetime
    newest: datetime.datetime
    unit: str | None = None

    @property
    def missing(self) -> int:
        """Missing steps between the oldest and the newest sample."""
        return int((self.newest - self.oldest).total_seconds()) // self.step_seconds + 1 - self.samples


class History(t.Protocol):
    """Series by pool, server and metric."""

    where: str

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
        """One metric of some pools on a grid of stamps in (start, end], both aligned down to the step.

        :param pools: Servers by pool, or names of pools, which stands for all servers the history knows of them.
        :returns: A row per server that has a sample, and one with O(server=None) where the history holds a pool's
            total; NaN where a sample is missing.
        :param leave_out_marked: Whether steps that a maintenance mark touches are NaN too.
        :raises NotEnoughHistory: when a pool has no sample at all.
        """

    def write(self, series: Series, *, units: t.Mapping[str, str] | None = None, pretend: bool = False) -> int:
        """Store the samples that are not NaN; one of the same series and stamp is replaced.

        :param units: Unit by metric.
        :param pretend: Count only.
        :returns: How many samples are new or differ from what was there.
        """

    def newest(self, *, metric: str, pools: Pools) -> dict[SeriesKey, datetime.datetime]:
        """Stamp of the newest sample of each series that has one."""

    def summaries(
        self,
        *,
        metric: str,
        pools: Pools,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        gaps: bool = True,
    ) -> list[Summary]:
        """What is held of each series of a metric, in (start, end]; gaps are counted unless told not to."""

    def marks(
        self, pools: t.Sequence[str], start: datetime.datetime | None = None, end: datetime.datetime | None = None
    ) -> list[Mark]:
        """The maintenance marks of pools that touch a time."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> History: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Store(History, t.Protocol):
    """A history that can be written to, and notes what was collected."""

    def put(self, batches: t.Sequence[Batch], *, pretend: bool = False) -> list[dict[str, int]]:
        """Store all batches or none; see :meth:`History.write`.

        :returns: For each batch, how many samples of each pool are new or differ from what was there.
        """

    def coverage(self, source: str, metric: str, pools: Pools) -> dict[tuple[str, str], tuple[int, int]]:
        """What was asked of a source before: first and last epoch second by pool and server."""

    def mark(self, marks: t.Sequence[Mark], *, pretend: bool = False) -> int:
        """Note maintenance; the same mark twice is one. Returns how many are new."""

    def prune(self, now: datetime.datetime) -> int:
        """Drop what is older than the retention, and return how many samples that were."""

    def acquire(self, name: str, *, holder: str, seconds: float, now: datetime.datetime, why: str = "") -> Lease:
        """See :meth:`~.ledger.Ledger.acquire`."""

    def renew(self, name: str, *, holder: str, seconds: float, now: datetime.datetime) -> Lease:
        """See :meth:`~.ledger.Ledger.renew`."""

    def release(self, name: str, *, holder: str) -> bool:
        """See :meth:`~.ledger.Ledger.release`."""

    def leases(self) -> list[Lease]:
        """See :meth:`~.ledger.Ledger.leases`."""

    def append(self, kind: str, name: str, body: t.Mapping[str, t.Any], *, now: datetime.datetime) -> int:
        """See :meth:`~.ledger.Ledger.append`."""

    def records(self, kind: str, name: str | None = None, *, since: datetime.datetime | None = None) -> list[Record]:
        """See :meth:`~.ledger.Ledger.records`."""

    def __enter__(self) -> Store: ...


class Closing:
    """Makes a class with ``close`` a context manager."""

    #: How many metrics may be fetched at once, and requests be under way.
    at_once = 1

    def close(self) -> None:
        """Let go of what is held."""
        raise NotImplementedError

    def __enter__(self) -> t.Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def metrics(values: t.Mapping[str, t.Any] | None, key: str, option: str) -> dict[str, Metric]:
    """Metrics as users write them: ``{requests: 'a query'}`` or ``{requests: {query: ..., aggregation: max}}``.

    :param key: What the long form calls the expression: C(query), C(column) ...
    :raises InvalidOption: on none at all, or on one that is wrong.
    """
    if not values:
        raise InvalidOption("no metric is named", option=option, remedy=f"Give a {key} for each metric")
    return {name: _metric(name, value, key, f"{option}.{name}") for name, value in values.items()}


def _metric(name: str, value: t.Any, key: str, option: str) -> Metric:
    """One metric, checked."""
    fields = {key: value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not isinstance(fields.get(key), str) or not fields[key].strip():
        raise InvalidOption(
            f"a {key} is wanted", option=option, remedy=f"Write the {key} as text, or a dictionary with '{key}'"
        )
    unknown = sorted(set(fields) - {key, "aggregation", "unit"})
    if unknown:
        raise InvalidOption(
            f"there is no key {unknown[0]!r}", option=option, remedy=f"The keys are {key}, aggregation and unit"
        )
    aggregation = fields.get("aggregation")
    if aggregation not in (None, *AGGREGATIONS):
        raise InvalidOption(
            f"there is no aggregation {aggregation!r}",
            option=f"{option}.aggregation",
            remedy=f"Choose one of {', '.join(AGGREGATIONS)}",
        )
    return Metric(name, fields[key].strip(), aggregation, fields.get("unit"))


def aligned(start: datetime.datetime, end: datetime.datetime, step_seconds: int) -> tuple[int, int]:
    """Both ends in epoch seconds, aligned down to the grid.

    :raises InvalidOption: when no step lies between them.
    """
    first, last = (int(time.timestamp()) // step_seconds * step_seconds for time in (start, end))
    if last - first > LONGEST_SECONDS:
        raise InvalidOption(
            f"{words(last - first)} is more than any history holds",
            option="history_window",
            remedy="Look back some weeks",
        )
    if last <= first:
        raise InvalidOption(
            f"no step of {words(step_seconds)} lies between {iso(start)} and {iso(end)}",
            option="now",
            remedy="Ask for a longer window, or a shorter step",
        )
    return first, last


def wanted(pools: Pools) -> dict[str, list[str] | None]:
    """Servers by pool; None stands for all that are known."""
    if isinstance(pools, t.Mapping):
        return {pool: list(servers) for pool, servers in pools.items()}
    return dict.fromkeys(pools)


def assembled(
    rows: dict[SeriesKey, numpy.ndarray], last: int, step_seconds: int, columns: int, metric: Metric | None = None
) -> Series:
    """Series from rows of equal length, sorted by pool and server, the pool's total first.

    :param metric: What they are of, for its unit.
    """
    keys = sorted(rows, key=lambda key: (key.pool, key.server is not None, key.server or "", key.metric))
    values = np.stack([rows[key] for key in keys]) if keys else np.empty((0, columns))
    units = {metric.name: metric.unit} if metric is not None and metric.unit else {}
    return Series(tuple(keys), values, datetime.datetime.fromtimestamp(last, datetime.UTC), step_seconds, units=units)


def summarised(series: Series) -> list[Summary]:
    """What there is of each series that has a sample."""
    result = []
    times = series.times
    for key, row in zip(series.keys, series.values, strict=True):
        known = np.flatnonzero(~np.isnan(row))
        if known.size:
            oldest, newest = (datetime.datetime.fromtimestamp(int(times[at]), datetime.UTC) for at in known[[0, -1]])
            gaps = int((np.diff(known) > 1).sum())
            unit = series.units.get(key.metric)
            result.append(Summary(key, series.step_seconds, int(known.size), gaps, oldest, newest, unit))
    return result


def require_all(series: Series, metric: str, pools: t.Iterable[str], where: str, remedy: str, option: str) -> Series:
    """The series, if each pool has one.

    :raises NotEnoughHistory: naming the first pool that has none.
    """
    found = {key.pool for key in series.keys}
    for pool in pools:
        if pool not in found:
            times = series.times
            raise NotEnoughHistory(
                f"{where} holds no sample of {metric!r} for pool {pool!r} from "
                f"{iso(int(times[0]) - series.step_seconds)} to {iso(series.end)}",
                option=option,
                remedy=remedy,
            )
    return series
