# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cheap forecasts of a quantile, for a regression to combine.

Each candidate is the quantile of some samples that resemble the step ahead: the newest ones, or those of its time of
day on the days and weekdays before. All are known at the moment the forecast is made.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing as t

from ..libraries import numpy as np
from . import periods
from .analogs import analogs

if t.TYPE_CHECKING:
    import numpy

SAMPLES = 40  # of a long window that are looked at
DAYS = 7
WEEKS = 2
NEAR = 1  # samples on either side of a slot that resemble it


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which samples each candidate looks at.

    :param day: Steps in a day; 0 where the history does not hold two.
    :param week: Steps in a week; 0 where the history does not hold two, or a day is one step.
    :param near: Samples on either side of a slot that resemble it.
    :param windows: Lengths of the newest windows, in steps, rising.
    :param offset: Local time less UTC at each column of the history and the horizon, in steps; None where it is
        the same throughout.
    :param own: The period of each series that is looked at, in steps, shape (series,); None where they have none.
    """

    day: int
    week: int
    near: int
    windows: tuple[int, ...]
    offset: numpy.ndarray | None
    own: numpy.ndarray | None = None

    @classmethod
    def of(cls, length: int, day: int, week: int, offset: numpy.ndarray | None) -> Layout:
        """The layout for a history of so many samples."""
        hour = max(1, day // 24)
        wanted = (min(12, max(3, hour)), min(72, max(6, 6 * hour)), day, week)
        most = max(1, length // 3)
        windows = tuple(sorted({min(window, most) for window in wanted}))
        days = day >= 2 and length >= 2 * day
        return cls(day if days else 0, week if days and length >= 2 * week else 0, NEAR, windows, offset)

    def of_rows(self, rows: slice | numpy.ndarray) -> Layout:
        """The layout for some of the series."""
        return self if self.own is None else dataclasses.replace(self, own=self.own[rows])

    @property
    def names(self) -> list[str]:
        """The candidates, in the order of the last axis."""
        names = ["newest", *(f"newest {window}" for window in self.windows)]
        if self.day:
            names += [
                "days near",
                "days",
                "yesterday",
                "yesterday at this level",
                "days alike",
                "days alike at this level",
            ]
        if self.week:
            names += ["weeks near", "last week", "last week at this level", "yesterday with last week's change"]
        if self.own is not None:
            names += [
                "newest period",
                "periods near",
                "periods",
                "last period near",
                "last period",
                "periods at this level",
                "last period at this level",
            ]
        return [*names, "constant"]


def stride(window: int, hour: int) -> int:
    """The spacing that thins a window to few samples, sharing no factor with the hour, or every cron job aliases."""
    spacing = max(1, window // SAMPLES)
    while spacing > 1 and math.gcd(spacing, max(2, hour)) > 1:
        spacing += 1
    return spacing


def candidates(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, layout: Layout, levels: t.Sequence[float]
) -> numpy.ndarray:
    """All candidates of all levels.

    :param values: float32, shape (series, time), without NaN.
    :param moments: Samples known, shape (moments,).
    :param ahead: Steps ahead, from 1, shape (ahead,).
    :returns: float32, shape (levels, candidates, series, moments, ahead).
    """
    shape = (len(levels), len(layout.names), len(values), len(moments), len(ahead))
    result = np.empty(shape, dtype=np.float32)
    place = iter(range(shape[1]))

    def put(part: numpy.ndarray) -> None:
        """Into the next candidate's place, the same for each level and step ahead where *part* has no axis of them."""
        result[:, next(place)] = part

    hour = max(1, layout.day // 24)
    newest = _newest(values, moments, layout.windows[0], 1)
    level = newest.mean(axis=-1)[:, :, None]
    put(newest[:, :, :1])
    for window in layout.windows:
        put(quantiles_of(_newest(values, moments, window, stride(window, hour)), levels)[..., None])
    if layout.day:
        days = _slots(values, moments, ahead, layout, layout.day, DAYS)
        yesterday = days[0, layout.near]
        put(quantiles_across(days.reshape(-1, *days.shape[2:]), levels))
        put(quantiles_across(days[:, layout.near], levels))
        put(yesterday)
        put(yesterday + (level - _season_ago(values, moments, layout.windows[0], layout, layout.day)))
        came, moved = analogs(values, moments, ahead, layout.day, lambda target, column: _local(target, column, layout))
        put(quantiles_across(came, levels))
        put(moved)
    if layout.week:
        weeks = _slots(values, moments, ahead, layout, layout.week, WEEKS)
        put(quantiles_across(weeks.reshape(-1, *weeks.shape[2:]), levels))
        last = weeks[0, layout.near]
        put(last)
        day = _newest(values, moments, layout.day, stride(layout.day, hour)).mean(axis=-1)[:, :, None]
        put(last + (day - _season_ago(values, moments, layout.day, layout, layout.week)))
        put(yesterday + last - _slot_before(values, moments, ahead, layout))
    if layout.own is not None:
        put(quantiles_of(periods.newest_period(values, moments, layout.own, SAMPLES), levels)[..., None])
        before = periods.slots(values, moments, ahead, layout.own, layout.near, periods.COUNT)
        near, last = quantiles_across(before.reshape(-1, *before.shape[2:]), [*levels, 0.5]), before[0, layout.near]
        ago = periods.period_ago(values, moments, layout.windows[0], layout.own)
        put(near[:-1])
        put(quantiles_across(before[:, layout.near], levels))
        put(before[0].mean(axis=0))
        put(last)
        put(near[-1] + (level - quantiles_of(ago.reshape(*ago.shape[:2], -1), [0.5])[0][:, :, None]))
        put(last + (level - ago[..., 0].mean(axis=-1)[:, :, None]))
    result[:, next(place)] = 1.0
    return result


def quantiles_of(values: numpy.ndarray, levels: t.Sequence[float]) -> numpy.ndarray:
    """Quantiles along the last axis at (n + 1) * level, which are not biased inwards; shape (levels, ...)."""
    ordered = np.sort(values, axis=-1)
    places = _places(values.shape[-1], levels)
    return np.stack([ordered[..., one] * (1 - part) + ordered[..., other] * part for one, other, part in places])


def quantiles_across(values: numpy.ndarray, levels: t.Sequence[float]) -> numpy.ndarray:
    """The same along the first axis, of few values, which are put in order by a sorting network.

    All columns go through one comparison at a time, several times as fast as sorting each by itself.
    """
    places = _places(len(values), levels)
    ordered = list(values)
    for one, other in network(len(values), frozenset(rank for *ranks, _share in places for rank in ranks)):
        first, second = ordered[one], ordered[other]
        ordered[one], ordered[other] = np.minimum(first, second), np.maximum(first, second)
    return np.stack([ordered[one] * (1 - part) + ordered[other] * part for one, other, part in places])


def _places(count: int, levels: t.Sequence[float]) -> list[tuple[int, int, numpy.float32]]:
    """For each level the ranks that it lies between, from 0, and how far beyond the lower one."""
    place = np.clip(np.asarray(levels) * (count + 1) - 1, 0, count - 1)
    low = np.floor(place).astype(np.int64)
    share = (place - low).astype(np.float32)
    high = np.where(share > 0, low + 1, low)
    return list(zip(low.tolist(), high.tolist(), share, strict=True))


@functools.lru_cache(maxsize=32)
def network(count: int, ranks: frozenset[int]) -> list[tuple[int, int]]:
    """Comparisons after which each of some ranks, from 0, holds the value that belongs there.

    Odd-even merge sort (Batcher, *Sorting networks and their applications*, AFIPS 1968), without the comparisons that no
    rank asked for depends on.
    """
    pairs = []
    half = 1
    while half < count:
        step = half
        while step >= 1:
            for low in range(step % half, count - step, 2 * step):
                within = range(low, min(low + step, count - step))
                pairs += [(one, one + step) for one in within if one // (2 * half) == (one + step) // (2 * half)]
            step //= 2
        half *= 2
    wanted, kept = set(ranks), []
    for one, other in reversed(pairs):
        if one in wanted or other in wanted:
            wanted |= {one, other}
            kept.append((one, other))
    return kept[::-1]


def _newest(values: numpy.ndarray, moments: numpy.ndarray, window: int, spacing: int) -> numpy.ndarray:
    """The newest samples at each moment, newest first, shape (series, moments, window / spacing).

    They are taken, not indexed, so that those of one moment lie side by side in memory and are sorted there.
    """
    back = 1 + np.arange(0, window, spacing)
    return np.take(values, moments[:, None] - back, axis=1, mode="clip")


def _slots(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, layout: Layout, season: int, count: int
) -> numpy.ndarray:
    """The same slot in the seasons before, newest first, with its neighbours.

    :returns: shape (count, 2 * near + 1, series, moments, ahead).
    """
    target = moments[:, None] + ahead - 1
    back = season * ((ahead - 1) // season + 1 + np.arange(count)[:, None, None])
    column = _local(np.broadcast_to(target, (count, *target.shape)), target - back, layout)
    column = column[:, None] + np.arange(-layout.near, layout.near + 1)[:, None, None]
    column = np.minimum(column, moments[:, None] - 1)
    column = np.minimum(np.where(column < 0, column % season, column), moments[:, None] - 1)
    result = np.empty((*column.shape[:2], len(values), *target.shape), dtype=values.dtype)
    for place in np.ndindex(*column.shape[:2]):
        np.take(values, column[place], axis=1, out=result[place], mode="clip")
    return result


def _season_ago(
    values: numpy.ndarray, moments: numpy.ndarray, window: int, layout: Layout, season: int
) -> numpy.ndarray:
    """The mean of the newest window's slots one season before, shape (series, moments, 1)."""
    now = moments[:, None] - 1 - np.arange(0, window, stride(window, max(1, layout.day // 24)))
    column = _local(now, now - season, layout)
    column = np.clip(np.where(column < 0, column % season, column), 0, moments[:, None] - 1)
    return values[:, column].mean(axis=-1)[:, :, None]


def _slot_before(values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """What was last week on the day that yesterday's slot is a week after, shape (series, moments, ahead)."""
    target = moments[:, None] + ahead[None, :] - 1
    back = layout.day * ((ahead - 1) // layout.day + 1) + layout.week * ((ahead - 1) // layout.week + 1)
    column = _local(target, target - back, layout)
    return np.take(values, np.where(column < 0, column % layout.week, column), axis=1, mode="clip")


def _local(target: numpy.ndarray, column: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """Columns moved so that their local time of day is that of the target, across a change of the clock."""
    if layout.offset is None:
        return column
    return column + layout.offset[target] - layout.offset[np.maximum(column, 0)]
