# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet model: all series in one matrix, all backtest moments at once.

For every quantile and every stretch of the horizon, a regression combines the :mod:`.candidates`; each series'
weights lean on the fleet's (:mod:`.regression`). The errors of forecasts made without knowledge of the stretch they
are compared with then move each quantile to where its share of samples is below it (conformalized quantile regression:
Romano, Patterson and Candès, NeurIPS 2019).
"""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

from ..libraries import numpy as np
from . import intervals, typical
from .calendar import offsets
from .calibration import calibrate
from .candidates import Layout, candidates
from .periods import own_periods
from .problem import Backtest, Prediction, Problem
from .regression import Fleet, fit_fleet, fit_own
from .seasonal_naive import newest_known

if t.TYPE_CHECKING:
    import numpy

FEWEST = 24  # samples below which there is nothing to regress on
MOMENTS = 60
FOLDS = 3
# The same of a history of few steps, which costs less for each moment.
COARSE = 48  # steps in a day at most
MOMENTS_COARSE = 120
FOLDS_COARSE = 6
AHEAD = 12
SPAN_DAYS = 18
BLOCK = 64  # series at a time, so that they stay in cache
PRIOR_SERIES = 96  # of a large fleet, or of a half of it, that its weights are fitted to
HALF = 24  # series at least in each half of a fleet
NEAR_HOURS = 2
THIN = 1500  # samples of a series that its median and scale are told from, an odd number of steps apart
EDGES = (3, 96, 288)  # steps ahead at which a new stretch of the horizon begins
BURST = EDGES[1]  # steps ahead beyond which candidates are kept within what they were before
KEPT = 2**25 - 2**14  # bytes, just below the 32 MiB that glibc looks at


@dataclasses.dataclass(frozen=True)
class Design:
    """What is regressed: moments, steps ahead, and how they are grouped.

    :param moments: Samples known, rising, shape (moments,).
    :param ahead: Steps ahead that are tested, from 1, rising, shape (ahead,).
    :param stretches: Columns of *ahead* in each stretch of the horizon.
    :param folds: Rows of *moments* in each fold: neighbours, so that what is close in time stays together.
    :param newest: The first fold of each history that is fitted to.
    """

    moments: numpy.ndarray
    ahead: numpy.ndarray
    stretches: list[slice]
    folds: list[slice]
    newest: tuple[int, ...]

    @classmethod
    def of(cls, length: int, horizon: int, day: int) -> Design:
        """The design for a history of so many samples."""
        span = min(SPAN_DAYS * day, length - 2 * day if length > 3 * day else length // 2)
        most = min(horizon, max(1, span // 2))
        near = np.arange(1, min(most, 4) + 1)
        ahead = np.unique(np.append(near, np.linspace(min(5, most), most, max(1, AHEAD - 4)).round().astype(np.int64)))
        count, parts = (MOMENTS_COARSE, FOLDS_COARSE) if day <= COARSE else (MOMENTS, FOLDS)
        moments = np.unique(np.linspace(length - span, length - 1, count).round().astype(np.int64))
        cuts = np.unique(np.append(np.searchsorted(ahead, EDGES, side="right"), [0, len(ahead)]))
        stretches = [slice(low, high) for low, high in itertools.pairwise(cuts)]
        marks = np.unique(np.linspace(0, len(moments), parts + 1).round().astype(np.int64))
        folds = [slice(low, high) for low, high in itertools.pairwise(marks)]
        thirds = (0, len(folds) // 3, 2 * len(folds) // 3)
        return cls(moments, ahead, stretches, folds, thirds if len(folds) == FOLDS_COARSE else (0,))

    def stretch_of(self, horizon: int) -> numpy.ndarray:
        """The stretch of each step ahead; beyond what is tested, the last one. Shape (horizon,)."""
        ends = self.ahead[[part.stop - 1 for part in self.stretches]]
        return np.minimum(np.searchsorted(ends, np.arange(1, horizon + 1)), len(ends) - 1)


def predict(problem: Problem) -> Prediction:
    """The forecast of a whole fleet."""
    series, length = problem.values.shape
    if length < FEWEST:
        return intervals.predict(problem, _newest_level, "newest level")
    _keep_memory()
    centre, scale = location_and_scale(problem.values)
    levels = tuple(sorted({0.5, *problem.levels}))
    design = Design.of(length, problem.horizon, problem.day)
    layout = Layout.of(length, problem.day, problem.week, offsets(problem))
    quantiles = np.empty((len(levels), series, problem.horizon), dtype=np.float32)
    shape = (series, len(design.moments), len(design.ahead))
    actual, tested = np.empty(shape, dtype=np.float32), np.empty((len(levels), *shape), dtype=np.float32)
    for group, period in _groups(problem, centre, scale, layout):
        own = dataclasses.replace(layout, own=period)
        some = problem if len(group) == series else problem.at(problem.values[group])
        priors = _priors(some, centre[group], scale[group], design, own, levels)
        for low in range(0, len(group), BLOCK):
            part = slice(low, low + BLOCK)
            rows = group[part]
            block = _block(problem.values[rows], centre[rows], scale[rows], problem.day)
            asked = (problem.horizon, design, own.of_rows(part), levels, priors)
            quantiles[:, rows], actual[rows], tested[:, rows] = _series(*block, *asked)
    wanted = [levels.index(level) for level in problem.levels]

    def back(part: numpy.ndarray, axis: int) -> numpy.ndarray:
        """Out of the series' own scale, in the precision of the samples given; *axis* is that of the series."""
        axes = tuple(range(1, part.ndim - axis))
        part = part.astype(problem.values.dtype, copy=False)
        part *= np.expand_dims(scale, axes).astype(part.dtype)
        part += np.expand_dims(centre, axes).astype(part.dtype)
        return part

    test, ahead = back(tested, 1), back(quantiles, 1)
    median = test[levels.index(0.5)].copy()  # what is done to it is not done to the level
    if len(wanted) < len(levels):
        test, ahead = test[wanted], ahead[wanted]
    backtest = Backtest(design.moments, back(actual, 0), median, np.moveaxis(test, 0, -1), design.ahead)
    return Prediction(np.moveaxis(ahead, 0, -1), backtest, ["fleet"] * series, _warnings(problem, design))


def _keep_memory() -> None:
    """Let what one block of series took serve the next.

    glibc gives freed memory back beyond twice the largest piece freed so far, and the kernel clears each page that is
    taken again: a tenth of all CPU time. A large piece, freed untouched, sets that bound high.
    """
    np.empty(KEPT, dtype=np.uint8)


def _groups(
    problem: Problem, centre: numpy.ndarray, scale: numpy.ndarray, layout: Layout
) -> list[tuple[numpy.ndarray, numpy.ndarray | None]]:
    """Rows that lean on one another, with the period of their own that they have; none of them empty.

    Where the history holds two days, the day is the period, and a large fleet has two halves.
    """
    rows = np.arange(len(problem.values))
    if layout.day:
        far = _restlessness(problem.values, layout.day)
        high = far > np.median(far)
        halves = [np.flatnonzero(~high), np.flatnonzero(high)]
        return [(part, None) for part in (halves if min(map(len, halves)) >= HALF else [rows])]
    found = [
        own_periods(
            _block(problem.values[part], centre[part], scale[part], problem.day)[0], problem.horizon, problem.day // 24
        )
        for part in (slice(low, low + BLOCK) for low in range(0, len(rows), BLOCK))
    ]
    period = np.concatenate(found)
    none, some = np.flatnonzero(period == 0), np.flatnonzero(period)
    return [(part, own) for part, own in ((none, None), (some, period[some])) if len(part)]


def _restlessness(values: numpy.ndarray, day: int) -> numpy.ndarray:
    """How far a sample is from that of the day before, relative to how far from that of two hours before; shape (series,).

    What keeps its level for hours and what repeats its days want other candidates.
    """
    column = np.arange(values.shape[1] - 1, day - 1, -(max(1, values.shape[1] // THIN) | 1))
    now, hours = np.take(values, column, axis=1), max(1, NEAR_HOURS * day // 24)
    far, near = (np.abs(now - np.take(values, column - back, axis=1)) for back in (day, hours))
    both = ~np.isnan(far + near)
    far, near = (np.where(both, change, 0).sum(axis=1) for change in (far, near))
    return np.divide(far, near, out=np.where(far > 0, np.inf, 0), where=near > 0)


def location_and_scale(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """About the median and mean absolute deviation of each series; a constant one has scale 1."""
    blocks = [_location_and_scale(values[low : low + BLOCK]) for low in range(0, len(values), BLOCK)]
    centre, scale = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return centre, scale


def _location_and_scale(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The same of a block of series."""
    thin = values[:, :: max(1, values.shape[1] // THIN) | 1]
    empty = np.isnan(thin).all(axis=1)
    thin = np.where(empty[:, None], newest_known(values)[:, -1:], thin) if empty.any() else thin
    ordered = np.sort(thin, axis=1)
    count = (~np.isnan(thin)).sum(axis=1)
    centre = np.take_along_axis(ordered, (count // 2)[:, None], axis=1)[:, 0]
    scale = np.nansum(np.abs(thin - centre[:, None]), axis=1) / np.maximum(count, 1)
    for row in np.flatnonzero(scale == 0):  # what varies fell between the samples looked at
        scale[row] = np.nanmean(np.abs(values[row] - centre[row]))
    return centre, np.where(scale > 1e-12 * np.abs(centre), scale, 1.0)


def _block(
    values: numpy.ndarray, centre: numpy.ndarray, scale: numpy.ndarray, day: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Series in their own scale, float32: gaps filled, and where samples are known."""
    own = ((values - centre[:, None]) / scale[:, None]).astype(np.float32, order="C")
    known = ~np.isnan(own)
    return own if known.all() else _filled(own, day), known


def _filled(values: numpy.ndarray, day: int) -> numpy.ndarray:
    """Gaps filled from the day before, or the one before that, else from the newest sample before; *values* are changed."""
    flat, length = values.reshape(-1), values.shape[1]
    gaps = np.flatnonzero(np.isnan(flat))
    for _day in range(2):
        later = gaps[gaps % length >= day]
        flat[later] = flat[later - day]
        gaps = gaps[np.isnan(flat[gaps])]
    rest = np.unique(gaps // length)
    if len(rest):
        values[rest] = newest_known(values[rest])
    return values


def _priors(
    problem: Problem,
    centre: numpy.ndarray,
    scale: numpy.ndarray,
    design: Design,
    layout: Layout,
    levels: tuple[float, ...],
) -> list[list[Fleet]]:
    """The fleet's weights by stretch and level, from a sample of it that does not depend on the order of series."""
    series = len(problem.values)
    rows = np.arange(series)
    if series > PRIOR_SERIES:
        by_size = np.lexsort((scale, centre / scale))
        rows = by_size[np.linspace(0, series - 1, PRIOR_SERIES).round().astype(np.int64)]
    values, known = _block(problem.values[rows], centre[rows], scale[rows], problem.day)
    thin = dataclasses.replace(design, moments=design.moments[:: 2 if series > 32 else 1])
    x, y, use = _rows(values, known, thin, layout.of_rows(rows), levels)

    def prior(part: slice, index: int) -> Fleet:
        """That of one stretch and level."""
        stretch = int(np.searchsorted(EDGES, design.ahead[part.start]))
        common = typical.weights(layout.names, problem.day <= COARSE, stretch, levels[index])
        return fit_fleet(_flat(x[index], part), _flat(y, part), _flat(use, part), levels[index], common)

    return [[prior(part, index) for index in range(len(levels))] for part in design.stretches]


def _rows(
    values: numpy.ndarray, known: numpy.ndarray, design: Design, layout: Layout, levels: tuple[float, ...]
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Candidates, shape (levels, candidates, series, moments, ahead); what came, and where it is known, without the first two."""
    x = candidates(values, design.moments, design.ahead, layout, levels)
    column = design.moments[:, None] + design.ahead - 1
    inside = column < values.shape[1]
    column = np.minimum(column, values.shape[1] - 1)
    return x, np.take(values, column, axis=1, mode="clip"), (known[:, column] & inside).astype(np.float32)


def _flat(values: numpy.ndarray, part: slice) -> numpy.ndarray:
    """Moments and the steps ahead of one stretch, of the last two axes, as one axis of rows."""
    taken = np.take(values, np.arange(part.start, part.stop), axis=-1, mode="clip")  # faster than a copy of a slice
    return taken.reshape(*values.shape[:-2], -1)


def _series(
    values: numpy.ndarray,
    known: numpy.ndarray,
    horizon: int,
    design: Design,
    layout: Layout,
    levels: tuple[float, ...],
    priors: list[list[Fleet]],
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """A block of series.

    :returns: quantiles, shape (levels, series, horizon); what came, shape (series, moments, ahead), NaN where it is
        not known; what would have been said, shape (levels, series, moments, ahead).
    """
    x, y, use = _rows(values, known, design, layout, levels)
    now = candidates(values, np.array([values.shape[1]]), np.arange(1, horizon + 1), layout, levels)
    stretch_of = design.stretch_of(horizon)
    now = now[:, :, :, 0].transpose(0, 2, 1, 3)  # levels, series, candidates, horizon
    actual = np.where(use > 0, y, np.float32(np.nan))
    quantiles = np.empty((len(levels), len(values), horizon), dtype=np.float32)
    tested = np.empty((len(levels), *y.shape), dtype=np.float32)
    for number, part in enumerate(design.stretches):
        width = part.stop - part.start
        folds = [slice(fold.start * width, fold.stop * width) for fold in design.folds]
        target, weight = _flat(y, part), _flat(use, part)
        steps = slice(*np.searchsorted(stretch_of, [number, number + 1]))
        ahead, held_out = np.empty_like(quantiles[:, :, steps]), np.empty_like(tested[..., part])
        for index, level in enumerate(levels):
            rows = _flat(x[index], part).swapaxes(0, 1)
            own, told = fit_own(rows, target, weight, level, priors[number][index], folds, design.newest)
            asked = now[index][..., steps]
            if design.ahead[part.start] > BURST:
                asked = _within(asked, rows, weight)
            ahead[index] = (own[:, None] @ asked)[:, 0]
            held_out[index] = told.reshape(held_out[index].shape)
        calibrate(np.moveaxis(ahead, 0, -1), actual[..., part], np.moveaxis(held_out, 0, -1), levels, design.folds)
        quantiles[:, :, steps], tested[..., part] = ahead, held_out
    return quantiles, actual, tested


def _within(asked: numpy.ndarray, rows: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
    """Candidates no farther out than they were where what came after them is known.

    A burst that is higher than any before it says nothing of what is hours away, and would weigh in by how high it is.

    :param asked: Shape (series, candidates, steps). :param rows: Shape (series, candidates, rows).
    :param weight: Which rows are known, shape (series, rows).
    """
    unknown = weight[:, None] == 0
    low = np.where(unknown, np.inf, rows).min(axis=2, keepdims=True)
    high = np.where(unknown, -np.inf, rows).max(axis=2, keepdims=True)
    return np.where(low <= high, np.clip(asked, low, high), asked)


def _warnings(problem: Problem, design: Design) -> list[list[str]]:
    """What follows from a short history, for each series."""
    farthest = int(design.ahead[-1])
    notes = []
    if farthest < problem.horizon:
        notes.append(f"the history is too short to test more than {farthest} steps ahead: later widths are a guess")
    return [list(notes) for row in problem.values]


def _newest_level(problem: Problem, moments: numpy.ndarray) -> numpy.ndarray:
    """The newest sample known at each moment, carried on; shape (series, moments, horizon)."""
    level = newest_known(problem.values)[:, np.maximum(moments - 1, 0)]
    return np.repeat(level[:, :, None], problem.horizon, axis=2)
