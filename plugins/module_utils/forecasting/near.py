# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a series will be one lead time ahead, said at every moment of its history at once.

A pool that is scaled needs one number from its forecast again and again: the demand when a server that is powered on
now can carry load. For that one distance, a regression combines the last minutes with what the same time did on days and
weeks before, by how well each did so far; a second regression tells the size of its errors; and the errors divided by
that size give the distribution (a location-scale model with conformal quantiles: Lei, G'Sell, Rinaldo, Tibshirani
and Wasserman, *Distribution-free predictive inference for regression*, JASA 113, 2018).

Every figure at a moment is made from samples up to it: both regressions are renewed every hour, from all before.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np
from .problem import DAY, WEEK
from .seasonal_naive import newest_known

if t.TYPE_CHECKING:
    import numpy

MEMORY_DAYS = 60  # the half-life of what a regression learned
SPREAD_DAYS = 21  # how far back errors are looked at
RIDGE = 1e-3
FAINT = 1e-3  # of a feature's sum of squares: one that hardly varied gets no weight
ROBUST = 2.0  # an error of more typical errors than this weighs less (Huber)
FLOOR = 0.3  # of the mean of the last day: what is below, an outage, is taken as this
MOST = 1.5  # of a logarithm of a ratio that a regression looks at
SMALLEST = 0.01  # a relative error that is as good as none


@dataclasses.dataclass(frozen=True)
class Near:
    """What was said at each moment about *lead* steps later.

    :param centre: The middle of what was expected, float64, shape (series, time).
    :param scale: The size of error that was expected, relative to the centre, same shape.
    :param errors: What came, as ``(actual / centre - 1) / scale``, by the moment it was said at; NaN where nothing came yet.
    :param lead: Steps ahead. :param day: Steps in a day.
    :param first: The first column at which something was said that had been learned; before it all is a guess.
    """

    centre: numpy.ndarray
    scale: numpy.ndarray
    errors: numpy.ndarray
    lead: int
    day: int
    first: int

    def row(self, row: int) -> Near:
        """What was said of one series."""
        one = slice(row, row + 1)
        return dataclasses.replace(self, centre=self.centre[one], scale=self.scale[one], errors=self.errors[one])

    def spread(self, row: int, moment: int) -> numpy.ndarray:
        """The errors of a series that were known at a moment, ascending; empty where there are none."""
        oldest = max(self.first // 2, moment - SPREAD_DAYS * self.day)
        known = self.errors[row, oldest : max(0, moment + 1 - self.lead)]
        return np.sort(known[~np.isnan(known)])

    def stretches(self, length: int | None = None) -> list[slice]:
        """The columns from *first* on, a day at a time: within a day the same errors are looked at."""
        end = self.centre.shape[1] if length is None else length
        return [slice(low, min(low + self.day, end)) for low in range(self.first, end, self.day)]

    def level(self, row: int, probability: float) -> numpy.ndarray:
        """The value not exceeded with a probability, as it was said at each moment; NaN before *first*. Shape (time,)."""
        result = np.full(self.centre.shape[1], np.nan)
        for part in self.stretches():
            ordered = self.spread(row, part.start)
            if len(ordered):
                place = probability * (len(ordered) + 1) - 1
                error = np.interp(place, np.arange(len(ordered)), ordered)
                result[part] = self.centre[row, part] * (1 + self.scale[row, part] * error)
        return np.maximum(result, 0)

    def newest(self, row: int, levels: t.Sequence[float]) -> numpy.ndarray | None:
        """Quantiles of the value *lead* steps after the newest sample, shape (levels,); None where nothing is learned yet."""
        last = self.centre.shape[1] - 1
        ordered = self.spread(row, last)
        if last < self.first or not len(ordered):
            return None
        place = np.asarray(levels) * (len(ordered) + 1) - 1
        error = np.interp(place, np.arange(len(ordered)), ordered)
        return np.maximum(self.centre[row, last] * (1 + self.scale[row, last] * error), 0)


def replay(values: numpy.ndarray, *, lead: int, step_seconds: int) -> Near:
    """Say at every moment of a history what will be *lead* steps later.

    :param values: Not negative, float, shape (series, time); NaN = missing, taken as the newest sample before. Each series
        has a sample.
    :param lead: Steps ahead, at least 1.
    :param step_seconds: The grid's spacing in seconds.
    """
    day, week = max(1, round(DAY / step_seconds)), max(1, round(WEEK / step_seconds))
    known = ~np.isnan(values)
    filled = np.maximum(newest_known(np.asarray(values, dtype=float)), 0)
    usual = np.maximum(_mean(filled, day), 1e-9)
    logs = np.log(np.maximum(filled, FLOOR * usual))
    target = np.full(logs.shape, np.nan)
    target[:, :-lead] = np.where(known[:, lead:], logs[:, lead:] - logs[:, :-lead], np.nan)
    seen = _changes(logs, np.log(usual), lead, day, week)
    expected = np.clip(_learn(seen, target, lead, day, day, np.zeros(logs.shape), robust=True), -1, 1)
    centre = np.exp(logs + expected)
    came = np.full(logs.shape, np.nan)
    came[:, :-lead] = np.where(known[:, lead:], filled[:, lead:] / centre[:, :-lead] - 1, np.nan)
    size = np.clip(np.abs(np.nan_to_num(came)), 0, 1)
    sizes, start = _sizes(logs, np.log(usual), size, lead, day)
    wanted = np.where(np.isnan(came), np.nan, np.log(size + SMALLEST / 2))
    scale = np.exp(_learn(sizes, wanted, lead, day, 2 * day, start, done=day))
    return Near(centre, scale, came / scale, lead, day, 4 * day)


def carried_on(values: numpy.ndarray, *, lead: int, step_seconds: int) -> Near:
    """The same, told from the newest sample alone: it stays, but for changes such as were seen before.

    Its levels are a headroom over the newest sample that its own changes call for. Parameters as in :func:`replay`.
    """
    day = max(1, round(DAY / step_seconds))
    filled = np.maximum(newest_known(np.asarray(values, dtype=float)), 0)
    centre = np.maximum(filled, FLOOR * np.maximum(_mean(filled, day), 1e-9))
    came = np.full(centre.shape, np.nan)
    came[:, :-lead] = np.where(~np.isnan(values[:, lead:]), filled[:, lead:] / centre[:, :-lead] - 1, np.nan)
    return Near(centre, np.ones(centre.shape), came, lead, day, 4 * day)


def _lag(values: numpy.ndarray, steps: int) -> numpy.ndarray:
    """Each column as it was some steps before; the first one before the beginning."""
    if steps <= 0:
        return values
    steps = min(steps, values.shape[1])
    return np.concatenate([np.repeat(values[:, :1], steps, axis=1), values[:, : values.shape[1] - steps]], axis=1)


def _since(values: numpy.ndarray, column: int, before: numpy.ndarray | float = 0.0) -> numpy.ndarray:
    """The values from a column on, and what stands for them before, where the history does not reach back enough."""
    return np.where(np.arange(values.shape[1]) >= column, values, before)


def _mean(values: numpy.ndarray, width: int) -> numpy.ndarray:
    """The mean of the newest *width* columns, of those there are at the beginning."""
    total = np.cumsum(values, axis=1)
    before = np.zeros_like(total)
    before[:, width:] = total[:, :-width]
    return (total - before) / np.minimum(np.arange(1, values.shape[1] + 1), width)


def _around(values: numpy.ndarray, steps: int, near: int) -> numpy.ndarray:
    """The mean of the columns around one some steps before, *steps* > *near*."""
    return _lag(_mean(values, 2 * near + 1), steps - near)


def _changes(logs: numpy.ndarray, usual: numpy.ndarray, lead: int, day: int, week: int) -> numpy.ndarray:
    """What a change *lead* steps ahead is told from, shape (series, time, features)."""
    hour = max(1, day // 24)
    parts = [logs - _lag(logs, back) for back in (1, 2, 3, max(1, hour // 2), hour)]
    parts += [logs - _mean(logs, width) for width in (max(2, hour // 2), hour, 5 * hour, 15 * hour)]
    parts.append(logs - usual)
    ago = [back for back in (day, 2 * day, 3 * day, week, 2 * week) if back > lead + 1]
    rises = []
    for back in ago:
        then, later = _around(logs, back, 1), _around(logs, back - lead, 1)
        rises.append(_since(later - then, back + 1))
        parts += [rises[-1], _since(later - logs, back + 1), _since(_lag(logs, back - lead) - then, back + 1)]
    if rises:
        parts += [np.median(rises, axis=0), np.mean(rises, axis=0)]
    came = logs - _lag(logs, lead)  # the change that ended now; it was expected *lead* steps ago
    before = [_since(_lag(came, back * day - lead), back * day) for back in range(1, 8) if back * day > lead]
    if before:
        parts += [np.mean(before, axis=0), np.median(before, axis=0)]
    parts += [came, np.ones(logs.shape)]
    return np.clip(np.stack(parts, axis=2), -MOST, MOST)


def _sizes(
    logs: numpy.ndarray, usual: numpy.ndarray, size: numpy.ndarray, lead: int, day: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What the size of an error is told from, shape (series, time, features), and a first guess at its logarithm."""
    hour = max(1, day // 24)
    known, step = _lag(size, lead), np.clip(np.abs(logs - _lag(logs, 1)), 0, 1)
    parts = [_mean(known, width) for width in (max(2, hour // 3), hour, 5 * hour, 20 * hour, 9 * day)]
    usually, near = parts[-1], max(1, hour // 2)
    parts += [
        _since(_around(size, back * day, near), back * day + near, usually)
        for back in (1, 2, 7)
        if back * day > lead + near
    ]
    before = [_since(_lag(size, back * day), back * day, usually) for back in range(1, 8) if back * day > lead]
    if before:
        parts.append(np.mean(before, axis=0))
    parts += [step, np.clip(np.abs(logs - _lag(logs, 3)), 0, 1), _mean(step, hour), _mean(step, 3 * day)]
    parts = [np.log(part + SMALLEST) for part in parts]
    start = parts[3]
    parts += [np.clip(logs - usual, -2, 2), np.ones(logs.shape)]
    return np.stack(parts, axis=2), start


def _learn(
    x: numpy.ndarray,
    y: numpy.ndarray,
    lead: int,
    day: int,
    begin: int,
    start: numpy.ndarray,
    *,
    done: int = 0,
    robust: bool = False,
) -> numpy.ndarray:
    """What a regression that is renewed every hour says at each moment, knowing what came until then.

    :param x: Shape (series, time, features). :param y: What came, by the moment it is asked at, NaN where unknown.
    :param begin: The first column at which it speaks; before it, *start* does.
    :param done: The first column that it learns from.
    """
    step = max(1, day // 24)
    use, target = ~np.isnan(y), np.nan_to_num(y)
    count = x.shape[2]
    gram, side = np.zeros((len(x), count, count)), np.zeros((len(x), count))
    weights, told = np.zeros((len(x), count)), start.copy()
    for low in range(begin, x.shape[1], step):
        part = slice(done, low + 1 - lead)
        if part.stop <= part.start:
            continue
        rows, wanted, weight = x[:, part], target[:, part], use[:, part].astype(float)
        if robust:
            lately = slice(max(0, part.stop - day), part.stop)
            error = np.abs(target[:, lately] - (x[:, lately] @ weights[:, :, None])[..., 0])
            typical = 1.5 * np.median(error, axis=1, keepdims=True) + 1e-3
            weight *= np.minimum(1, ROBUST * typical / np.maximum(error[:, part.start - part.stop :], 1e-9))
        weighted = (rows * weight[..., None]).transpose(0, 2, 1)
        fade = 0.5 ** ((part.stop - part.start) / (day * MEMORY_DAYS))
        gram = gram * fade + weighted @ rows
        side = side * fade + (weighted @ wanted[..., None])[..., 0]
        done = part.stop
        size = np.sqrt(np.einsum("sii->si", gram) + FAINT)
        scaled = gram / size[:, :, None] / size[:, None, :] + RIDGE * np.eye(count)
        weights = np.linalg.solve(scaled, (side / size)[..., None])[..., 0] / size
        told[:, low : low + step] = (x[:, low : low + step] @ weights[:, :, None])[..., 0]
    return told
