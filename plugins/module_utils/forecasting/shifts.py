# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New levels: what has lasted longer than anything like it before is believed, a burst is not.

A series whose load went up or down for hours, and stays there, is carried on from there: its past is moved to the new level
(a level shift: Tsay, *Outliers, level shifts, and variance changes in time series*, Journal of Forecasting 7, 1988), so
that days, weeks and errors are learned as if it had been there all along.

Nobody knows whether it stays. What has lasted a while lasts as long again with a probability that hardly depends on how
long it was (Harchol-Balter and Downey, *Exploiting process lifetime distributions for dynamic load balancing*, ACM
Transactions on Computer Systems 15, 1997), and with what is left of it the level is as before.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .. import timing
from ..libraries import numpy as np
from .problem import Backtest, Prediction, Problem
from .seasonal_naive import newest_known, repeat

if t.TYPE_CHECKING:
    import numpy

HOURS = 24  # blocks in a day that a series is looked at in
FEWEST_DAYS = 10  # of history: a weekend has been seen
FEWEST = 3  # blocks that a level has lasted
TIMES = 2  # as long as anything like it before
UNEVEN = 0.15  # of the shift: how far the middle half of what came since may be from its median
DRIFT = 0.25  # of the shift: how far the medians of its older and its newer half may be apart
ABRUPT = 0.75  # of the shift: how far it goes from the three blocks before to the three blocks after
LASTING = 0.15  # the index of the Pareto distribution of how long levels last
SURE = 0.95  # that the level lasts: what could come instead is not looked at
TINY = 1e3  # times what rounding makes: the least a level differs by
TAIL = 0.4  # of the distance of the last quantile from the middle: how much farther a distribution goes
NARROW = 0.01  # of the shift: the least of it
BLOCK = 256  # series at a time
CELLS = 10**5  # series times steps at a time


@dataclasses.dataclass(frozen=True)
class Shifts:
    """The series that have a new level.

    :param rows: Which they are, rising, shape (shifts,).
    :param since: How many samples are at the new level, same shape.
    :param by: How much higher it is, in the series' unit, same shape.
    """

    rows: numpy.ndarray
    since: numpy.ndarray
    by: numpy.ndarray

    def lasting(self, ahead: numpy.ndarray) -> numpy.ndarray:
        """How likely each level still holds so many steps ahead, shape (shifts, ahead)."""
        since = self.since[:, None]
        return (since / (since + ahead)) ** LASTING


def believing(model: t.Callable[[Problem], Prediction]) -> t.Callable[[Problem], Prediction]:
    """A model that takes new levels for what they are.

    Its backtest is of the series as they were. Of a series with a new level it leaves out what would have been said
    before it of what came after it: the model was told.
    """

    def predict(problem: Problem) -> Prediction:
        shifts = find(problem)
        if not len(shifts.rows):
            return model(problem)
        answer = model(problem.at(_moved(problem.values, shifts)))
        answer.quantiles[shifts.rows] = _doubtful(answer.quantiles[shifts.rows], problem, shifts)
        warnings = list(answer.warnings)
        for row, since, by in zip(*(part.tolist() for part in dataclasses.astuple(shifts)), strict=True):
            if since <= problem.day:  # later it is no news
                warnings[row] = [*warnings[row], _told(problem, since, by)]
        tested = None if answer.backtest is None else _put_back(answer.backtest, problem, shifts)
        if answer.repeated is not None:
            was = problem.at(problem.values[shifts.rows])
            answer.repeated[shifts.rows] = repeat(was, tested.origins, problem.day, tested.ahead)
        return dataclasses.replace(answer, backtest=tested, warnings=warnings)

    return predict


def find(problem: Problem) -> Shifts:
    """The series whose newest samples are at a level of their own.

    What is looked at is hours, less the median of their time of day. A new level is all that is beyond half the way to
    it, without a break up to now; at least twice as long as anything beyond that was before, and no more than half of
    the history; and even.
    """
    values, day = problem.values, problem.day
    none = np.zeros(0, dtype=np.int64)
    if values.shape[1] < FEWEST_DAYS * day:
        return Shifts(none, none, np.zeros(0))
    width = max(count for count in range(1, max(1, day // HOURS) + 1) if day % count == 0)
    found = [_find(values[low : low + BLOCK], width, day // width) for low in range(0, len(values), BLOCK)]
    rows, since, by = (np.concatenate(part) for part in zip(*found, strict=True))
    return Shifts(rows + BLOCK * np.repeat(np.arange(len(found)), [len(part[0]) for part in found]), since, by)


def _find(values: numpy.ndarray, width: int, day: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """The same of some series, looked at in blocks of *width* samples, of which *day* are a day."""
    blocks = values.shape[1] // (width * day) * day
    means, seen = _means(values[:, values.shape[1] - blocks * width :], width)
    usual = np.median(means.reshape(len(means), -1, day), axis=1)
    rest = means - np.tile(usual, blocks // day)
    by = np.median(rest[:, -FEWEST:], axis=1)
    rows = np.flatnonzero(np.abs(by) > TINY * np.finfo(values.dtype).eps * np.abs(means).max(axis=1))
    by = by[rows]
    for _round in range(2):  # the level is the median of all that is at it
        beyond = _beyond(rest[rows], by)
        lasted = (~beyond[:, ::-1]).argmax(axis=1)
        inside = (lasted >= FEWEST) & (lasted <= blocks // 2)
        rows, beyond, lasted = rows[inside], beyond[inside], lasted[inside]
        by = _median(rest[rows], np.arange(blocks) >= blocks - lasted[:, None])
    count = (seen[rows] & (np.arange(blocks) >= blocks - lasted[:, None])).sum(axis=1)
    newest = values[rows, -max(1, width // 2) :]
    known = ~np.isnan(newest)
    lately = _median(newest, known) - usual[rows, -1]
    there = (count >= FEWEST) & (count >= TIMES * _longest_before(beyond, lasted))
    there &= _is_level(rest[rows], by, lasted)
    there &= _beyond(lately[:, None], by)[:, 0] | ~known.any(axis=1)
    rows, by, lasted = rows[there], by[there], lasted[there]
    return rows, _since(values[rows], usual[rows], by, lasted, width), by


def _beyond(rest: numpy.ndarray, by: numpy.ndarray) -> numpy.ndarray:
    """Where a series is nearer the new level than the old one, shape of *rest*."""
    return rest * np.sign(by)[:, None] > np.abs(by)[:, None] / 2


def _longest_before(beyond: numpy.ndarray, lasted: numpy.ndarray) -> numpy.ndarray:
    """The most blocks in a row that were beyond half the way, but for the newest ones, shape (rows,)."""
    column = np.arange(beyond.shape[1])
    ended = np.where(beyond & (column < len(column) - lasted[:, None]), -1, column)
    return (column - np.maximum.accumulate(ended, axis=1)).max(axis=1)


def _is_level(rest: numpy.ndarray, by: numpy.ndarray, lasted: numpy.ndarray) -> numpy.ndarray:
    """Whether the newest blocks are one level that came abruptly: neither a slope nor a swing, shape (rows,)."""
    column = np.arange(rest.shape[1])
    begin = len(column) - lasted[:, None]
    new, middle = column >= begin, begin + lasted[:, None] // 2
    drift = _median(rest, column >= middle) - _median(rest, new & (column < middle))
    uneven = _median(np.abs(rest - by[:, None]), new)
    before = (column < begin) & (column >= begin - FEWEST)
    jump = _median(rest, new & (column < begin + FEWEST)) - _median(rest, before)
    far = np.abs(by)
    return (np.abs(drift) <= DRIFT * far) & (uneven <= UNEVEN * far) & (jump * np.sign(by) >= ABRUPT * far)


def _means(values: numpy.ndarray, width: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Means of blocks of samples, of one without a sample that of the one before; which have one. Shape (series, blocks)."""
    parts = np.ascontiguousarray(values).reshape(len(values), -1, width)
    means = parts @ np.full(width, 1 / width, dtype=values.dtype)
    unknown, seen = np.nonzero(np.isnan(means)), np.ones(means.shape, dtype=bool)
    if len(unknown[0]):
        some = parts[unknown]
        count = (~np.isnan(some)).sum(axis=1)
        means[unknown] = np.where(count > 0, np.nansum(some, axis=1) / np.maximum(count, 1), np.nan)
        seen[unknown] = count > 0
        gaps = np.unique(unknown[0])
        means[gaps] = np.nan_to_num(newest_known(means[gaps]))
    return means, seen


def _median(values: numpy.ndarray, where: numpy.ndarray) -> numpy.ndarray:
    """The median, the lower of two, of some of each row, shape (rows,)."""
    ordered = np.sort(np.where(where, values, np.inf), axis=1)
    return np.take_along_axis(ordered, np.maximum(where.sum(axis=1) - 1, 0)[:, None] // 2, axis=1)[:, 0]


def _since(
    values: numpy.ndarray, usual: numpy.ndarray, by: numpy.ndarray, lasted: numpy.ndarray, width: int
) -> numpy.ndarray:
    """How many samples are at the new level: the change is where fewest are nearer the other one, shape (rows,)."""
    length, day = values.shape[1], usual.shape[1]
    column = length - (lasted[:, None] + 1) * width + np.arange(2 * width)
    slot = (column - length) // width % day
    rest = np.take_along_axis(values, column, axis=1) - np.take_along_axis(usual, slot, axis=1)
    new = _beyond(rest, by)
    old = ~new & ~np.isnan(rest)
    none = np.zeros((len(values), 1), dtype=np.int64)
    wrong = np.hstack([none, np.cumsum(new, axis=1)]) + np.hstack([np.cumsum(old[:, ::-1], axis=1)[:, ::-1], none])
    return length - column[:, 0] - wrong.argmin(axis=1)


def _moved(values: numpy.ndarray, shifts: Shifts) -> numpy.ndarray:
    """The series with their past at the new level."""
    values = values.copy()
    before = np.arange(values.shape[1]) < values.shape[1] - shifts.since[:, None]
    values[shifts.rows] += np.where(before, shifts.by[:, None], 0).astype(values.dtype)
    return values


def _put_back(tested: Backtest, problem: Problem, shifts: Shifts) -> Backtest:
    """The backtest of what the series were; what was told to the model beforehand is left out."""
    begin = problem.values.shape[1] - shifts.since[:, None, None]
    known, column = tested.origins[:, None], tested.origins[:, None] + tested.ahead - 1
    by = np.where(column < begin, shifts.by[:, None, None], 0).astype(tested.actual.dtype)
    actual, median, quantiles = (part.copy() for part in (tested.actual, tested.median, tested.quantiles))
    actual[shifts.rows] = np.where((known <= begin) & (column >= begin), np.nan, actual[shifts.rows] - by)
    median[shifts.rows] -= by
    quantiles[shifts.rows] -= by[..., None]
    return dataclasses.replace(tested, actual=actual, median=median, quantiles=quantiles)


def _doubtful(quantiles: numpy.ndarray, problem: Problem, shifts: Shifts) -> numpy.ndarray:
    """Quantiles of what comes if the level may end: a mixture with the same at the level before.

    :param quantiles: Shape (shifts, horizon, levels), rising along the last axis.
    """
    result = quantiles.copy()
    lasting = shifts.lasting(np.arange(1, problem.horizon + 1))
    rows = np.flatnonzero(lasting[:, -1] < SURE)
    at_once = max(1, CELLS // problem.horizon)
    for some in (rows[low : low + at_once] for low in range(0, len(rows), at_once)):
        result[some] = _mixture(quantiles[some], problem.levels, shifts.by[some, None, None], lasting[some, :, None])
    return result


def _mixture(
    quantiles: numpy.ndarray, levels: tuple[float, ...], by: numpy.ndarray, share: numpy.ndarray
) -> numpy.ndarray:
    """Quantiles of a distribution with so much of the probability, and of the same moved down by *by* with the rest.

    Between its quantiles a distribution is taken as even. Levels that are asked for on one side of its middle alone are
    mirrored, and beyond the last one it goes on a little.
    """
    asked = np.asarray(levels)
    centre = int(np.abs(asked - 0.5).argmin())
    middle, low, high = (quantiles[..., index : index + 1] for index in (centre, 0, len(asked) - 1))
    under, over = np.flatnonzero(1 - asked < asked[0] - 1e-9), np.flatnonzero(1 - asked > asked[-1] + 1e-9)
    points = np.concatenate(
        [
            np.minimum(2 * middle - quantiles[..., under[::-1]], low),
            quantiles,
            np.maximum(2 * middle - quantiles[..., over[::-1]], high),
        ],
        axis=-1,
    )
    chance = np.concatenate([[0.0], 1 - asked[under[::-1]], asked, 1 - asked[over[::-1]], [1.0]])
    low, high, least = points[..., :1], points[..., -1:], NARROW * np.abs(by)
    low, high = low - np.maximum(TAIL * (middle - low), least), high + np.maximum(TAIL * (high - middle), least)
    points = np.concatenate([low, points, high], axis=-1)
    points += least * 1e-3 * np.arange(len(chance))  # no two are equal
    both = np.sort(np.concatenate([points, points - by], axis=-1), axis=-1)
    total = share * _below(both, points, chance) + (1 - share) * _below(both, points - by, chance)
    result = np.empty_like(quantiles)
    for index, level in enumerate(levels):
        above = np.clip((total < level).sum(axis=-1, keepdims=True), 1, both.shape[-1] - 1)
        (left, right), (less, more) = (
            [np.take_along_axis(part, place, axis=-1) for place in (above - 1, above)] for part in (both, total)
        )
        way = np.divide(level - less, more - less, out=np.ones_like(less), where=more > less)
        result[..., index] = (left + np.clip(way, 0, 1) * (right - left))[..., 0]
    return result


def _below(values: numpy.ndarray, points: numpy.ndarray, chance: numpy.ndarray) -> numpy.ndarray:
    """How likely less than each of some values is, where *chance* is how likely less than each of the *points* is."""
    total = np.zeros(values.shape)
    for index in range(len(chance) - 1):
        left, right = points[..., index : index + 1], points[..., index + 1 : index + 2]
        part = np.divide(values - left, right - left, out=(values >= right).astype(float), where=right > left)
        total += np.clip(part, 0, 1) * (chance[index + 1] - chance[index])
    return total


def _told(problem: Problem, since: int, by: float) -> str:
    """A new level in words."""
    lasted = timing.words(since * problem.step_seconds)
    return (
        f"its level has been {abs(by):.3g} {'higher' if by > 0 else 'lower'} for {lasted}, longer than ever before; it is "
        f"taken to last another {lasted} with a probability of {0.5**LASTING:.0%}"
    )
