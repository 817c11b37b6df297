# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cheap forecasts of a quantile, for a regression to combine.

Each candidate is the quantile of some samples that resemble the step ahead: the newest ones, or those of its time of
day on the days and weekdays before. All are known at the moment the forecast is made.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ..libraries import numpy as np

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
    :param week: Steps in a week; 0 where the history does not hold two.
    :param near: Samples on either side of a slot that resemble it.
    :param windows: Lengths of the newest windows, in steps, rising.
    :param offset: Local time less UTC at each column of the history and the horizon, in steps; None where it is
        the same throughout.
    """

    day: int
    week: int
    near: int
    windows: tuple[int, ...]
    offset: numpy.ndarray | None

    @classmethod
    def of(cls, length: int, day: int, week: int, offset: numpy.ndarray | None) -> Layout:
        """The layout for a history of so many samples."""
        hour = max(1, day // 24)
        wanted = (min(12, max(3, hour)), min(72, max(6, 6 * hour)), day, week)
        most = max(1, length // 3)
        windows = tuple(sorted({min(window, most) for window in wanted}))
        return cls(
            day if day >= 2 and length >= 2 * day else 0, week if length >= 2 * week else 0, NEAR, windows, offset
        )

    @property
    def names(self) -> list[str]:
        """The candidates, in the order of the last axis."""
        names = ["newest", "newest mean", *(f"newest {window}" for window in self.windows)]
        if self.day:
            names += [
                "days near",
                "days",
                "yesterday near",
                "yesterday",
                "profile at this level",
                "yesterday at this level",
            ]
        if self.week:
            names += ["weeks near", "last week", "last week at this level", "yesterday with last week's change"]
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
    :returns: float32, shape (series, moments, ahead, levels, candidates).
    """
    shape = (len(values), len(moments), len(ahead), len(levels), len(layout.names))
    result = np.empty(shape, dtype=np.float32)
    place = iter(range(shape[-1]))

    def put(part: numpy.ndarray, axes: tuple[int, ...]) -> None:
        """Into the next candidate's place, repeated along the axes that it lacks."""
        result[..., next(place)] = np.expand_dims(part, axes)

    hour = max(1, layout.day // 24)
    newest = _newest(values, moments, layout.windows[0], 1)
    level = newest.mean(axis=-1)
    put(newest[..., 0], (2, 3))
    put(level, (2, 3))
    for window in layout.windows:
        put(quantiles_of(_newest(values, moments, window, stride(window, hour)), levels), (2,))
    if layout.day:
        days = _slots(values, moments, ahead, layout, layout.day, DAYS)
        near = quantiles_of(days.reshape(*days.shape[:3], -1), [*levels, 0.5])
        put(near[..., :-1], ())
        put(quantiles_of(days[..., layout.near], levels), ())
        put(days[:, :, :, 0].mean(axis=-1), (3,))
        put(days[:, :, :, 0, layout.near], (3,))
        put(near[..., -1] + (level - _profile(values, moments, layout))[:, :, None], (3,))
        before = _season_ago(values, moments, layout.windows[0], layout, layout.day)
        put(days[:, :, :, 0, layout.near] + (level - before)[:, :, None], (3,))
    if layout.week:
        weeks = _slots(values, moments, ahead, layout, layout.week, WEEKS)
        put(quantiles_of(weeks.reshape(*weeks.shape[:3], -1), levels), ())
        last = weeks[:, :, :, 0, layout.near]
        put(last, (3,))
        day = _newest(values, moments, layout.day, stride(layout.day, hour)).mean(axis=-1)
        put(last + (day - _season_ago(values, moments, layout.day, layout, layout.week))[:, :, None], (3,))
        put(days[:, :, :, 0, layout.near] + last - _slot_before(values, moments, ahead, layout), (3,))
    result[..., next(place)] = 1.0
    return result


def quantiles_of(values: numpy.ndarray, levels: t.Sequence[float]) -> numpy.ndarray:
    """Quantiles along the last axis at (n + 1) * level, which are not biased inwards; shape (..., levels)."""
    ordered = np.sort(values, axis=-1)
    count = values.shape[-1]
    place = np.clip(np.asarray(levels) * (count + 1) - 1, 0, count - 1)
    low = np.floor(place).astype(np.int64)
    share = (place - low).astype(np.float32)
    return ordered[..., low] * (1 - share) + ordered[..., np.minimum(low + 1, count - 1)] * share


def _newest(values: numpy.ndarray, moments: numpy.ndarray, window: int, spacing: int) -> numpy.ndarray:
    """The newest samples at each moment, newest first, shape (series, moments, window / spacing)."""
    back = 1 + np.arange(0, window, spacing)
    return values[:, np.maximum(moments[:, None] - back, 0)]


def _slots(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, layout: Layout, season: int, count: int
) -> numpy.ndarray:
    """The same slot in the seasons before, newest first, with its neighbours.

    :returns: shape (series, moments, ahead, count, 2 * near + 1).
    """
    target = moments[:, None] + ahead[None, :] - 1
    back = season * ((ahead[:, None] - 1) // season + 1 + np.arange(count))
    column = _local(target[:, :, None], target[:, :, None] - back, layout)
    column = column[..., None] + np.arange(-layout.near, layout.near + 1)
    column = np.minimum(column, moments[:, None, None, None] - 1)
    column = np.where(column < 0, column % season, column)
    return values[:, np.minimum(column, moments[:, None, None, None] - 1)]


def _season_ago(
    values: numpy.ndarray, moments: numpy.ndarray, window: int, layout: Layout, season: int
) -> numpy.ndarray:
    """The mean of the newest window's slots one season before, shape (series, moments)."""
    now = moments[:, None] - 1 - np.arange(0, window, stride(window, max(1, layout.day // 24)))
    column = _local(now, now - season, layout)
    column = np.clip(np.where(column < 0, column % season, column), 0, moments[:, None] - 1)
    return values[:, column].mean(axis=-1)


def _slot_before(values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """What was last week on the day that yesterday's slot is a week after, shape (series, moments, ahead)."""
    target = moments[:, None] + ahead[None, :] - 1
    back = layout.day * ((ahead - 1) // layout.day + 1) + layout.week * ((ahead - 1) // layout.week + 1)
    column = _local(target, target - back, layout)
    return values[:, np.where(column < 0, column % layout.week, column)]


def _profile(values: numpy.ndarray, moments: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """The median of the newest window's slots on the days before, shape (series, moments)."""
    now = (moments[:, None] - 1 - np.arange(layout.windows[0]))[:, :, None]
    column = _local(now, now - layout.day * np.arange(1, DAYS + 1), layout)
    column = np.clip(np.where(column < 0, column % layout.day, column), 0, moments[:, None, None] - 1)
    part = values[:, column]
    return quantiles_of(part.reshape(*part.shape[:2], -1), [0.5])[..., 0]


def _local(target: numpy.ndarray, column: numpy.ndarray, layout: Layout) -> numpy.ndarray:
    """Columns moved so that their local time of day is that of the target, across a change of the clock."""
    if layout.offset is None:
        return column
    return column + layout.offset[target] - layout.offset[np.maximum(column, 0)]
