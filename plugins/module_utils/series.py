# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one data type that crosses floors: many series on one time grid."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy


class SeriesKey(t.NamedTuple):
    """Names one series. O(server=None) is the pool as a whole."""

    pool: str
    server: str | None
    metric: str


@dataclasses.dataclass(frozen=True)
class Series:
    """Many series on one regular grid.

    A sample stamped *t* describes the step that ends at *t*.

    :param keys: What each row is.
    :param values: float64, shape (series, time); NaN where a sample is missing.
    :param end: UTC stamp of the last column, a whole multiple of the step since the epoch.
    :param step_seconds: The grid's spacing in seconds.
    :param marked: True where a sample tells of maintenance, not of load, bool, shape (series, time); None for nowhere.
        The samples are there: they are the present, but nothing to learn from.
    :param units: Unit by metric, of those that have one.
    """

    keys: tuple[SeriesKey, ...]
    values: numpy.ndarray
    end: datetime.datetime
    step_seconds: int
    marked: numpy.ndarray | None = None
    units: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[0] != len(self.keys):
            raise ValueError(f"values of shape {self.values.shape} do not fit {len(self.keys)} keys")
        if self.marked is not None and self.marked.shape != self.values.shape:
            raise ValueError(f"marks of shape {self.marked.shape} do not fit values of shape {self.values.shape}")

    @property
    def times(self) -> numpy.ndarray:
        """Epoch seconds of each column, int64, shape (time,)."""
        count = self.values.shape[1]
        return int(self.end.timestamp()) - self.step_seconds * np.arange(count - 1, -1, -1, dtype=np.int64)

    @property
    def missing(self) -> numpy.ndarray:
        """Missing samples of each series, shape (series,)."""
        return np.isnan(self.values).sum(axis=1)

    @property
    def unmarked(self) -> numpy.ndarray:
        """The values, with NaN where they are marked: what may be learned from; shape (series, time)."""
        return self.values if self.marked is None else np.where(self.marked, np.nan, self.values)

    @property
    def left_out(self) -> numpy.ndarray:
        """Samples of each series that are there and marked, shape (series,)."""
        return np.isnan(self.unmarked).sum(axis=1) - self.missing

    def select(
        self, *, pool: str | None = None, metric: str | None = None, servers: t.Collection[str | None] | None = None
    ) -> Series:
        """The rows that match all that is given, in their order here."""
        rows = [
            index
            for index, key in enumerate(self.keys)
            if (pool is None or key.pool == pool)
            and (metric is None or key.metric == metric)
            and (servers is None or key.server in servers)
        ]
        return self.rows(rows)

    def rows(self, rows: t.Sequence[int]) -> Series:
        """Some rows, in the order given."""
        return dataclasses.replace(
            self,
            keys=tuple(self.keys[row] for row in rows),
            values=self.values[rows],
            marked=None if self.marked is None else self.marked[rows],
        )
