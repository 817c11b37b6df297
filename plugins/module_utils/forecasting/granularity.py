# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forecasts at several steps that agree: the centre of an hour is the mean of the centres of its five minutes.

An hour is forecast both ways, from hourly samples and as the mean of its finer steps, and both are tried at earlier
moments (Athanasopoulos, Hyndman, Kourentzes and Petropoulos, *Forecasting with temporal hierarchies*, European Journal
of Operational Research 262, 2017). Quantiles of an hour's mean are not means of quantiles: they are those of the
forecast from hourly samples, which is calibrated on errors of hourly means.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..errors import InvalidOption
from ..libraries import numpy as np
from . import api
from .cleaning import clean
from .problem import DAY, Backtest, Prediction, Problem

if t.TYPE_CHECKING:
    import numpy

WINDOWS = 6  # earlier moments that both ways are tried at
SPAN_DAYS = 14  # that they are taken from
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the mean of fine steps to the forecast from coarse samples
MEAN = "mean of finer steps"


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the steps of a coarser grid fall on the fine one.

    :param step_seconds: The coarser step. :param ratio: Fine steps in it.
    :param phase: Fine steps known of the coarser step in progress, less than the ratio.
    """

    step_seconds: int
    ratio: int
    phase: int

    @property
    def first(self) -> int:
        """Fine steps ahead until the first coarser step begins that lies wholly ahead."""
        return -self.phase % self.ratio

    @property
    def skipped(self) -> int:
        """Coarser steps ahead that have begun already: one or none."""
        return int(self.phase > 0)

    def count(self, steps: int) -> int:
        """Coarser steps that lie wholly within so many fine ones ahead."""
        return max(0, (steps - self.first) // self.ratio)

    def ahead(self, part: numpy.ndarray) -> numpy.ndarray:
        """Means over the coarser steps, of what is known; (..., fine steps ahead) -> (..., coarser steps)."""
        count = self.count(part.shape[-1])
        inside = part[..., self.first : self.first + count * self.ratio]
        return _means(inside.reshape(*part.shape[:-1], count, self.ratio))

    def history(self, values: numpy.ndarray) -> numpy.ndarray:
        """Means over the coarser steps that are complete; shape (series, coarser steps)."""
        length = values.shape[1] - self.phase
        count = max(0, length // self.ratio)
        return _means(values[:, length - count * self.ratio : length].reshape(len(values), count, self.ratio))

    def moved(self, fine: numpy.ndarray, centre: numpy.ndarray, share: numpy.ndarray) -> numpy.ndarray:
        """Fine medians, moved so that their means lie nearer to the coarser centre, by a share of the way for each series."""
        away = (centre - self.ahead(fine)) * np.expand_dims(share, tuple(range(1, fine.ndim)))
        result = fine.copy()
        result[..., self.first : self.first + away.shape[-1] * self.ratio] += np.repeat(away, self.ratio, axis=-1)
        return result


@dataclasses.dataclass(frozen=True)
class Coarse:
    """The forecast at a coarser step.

    :param grid: Its steps; the first one told of begins ``grid.first`` fine steps ahead.
    :param forecast: What it says before the fine one is changed otherwise, see :func:`settled`.
    """

    grid: Grid
    forecast: api.Forecast

    def rows(self, which: slice) -> Coarse:
        """Some of the series."""
        return dataclasses.replace(self, forecast=self.forecast.rows(which))


def forecast(
    values: numpy.ndarray,
    coarser: t.Sequence[int],
    *,
    step_seconds: int,
    horizon: int,
    quantiles: t.Sequence[float] = (0.5, 0.9, 0.99),
    end: datetime.datetime | None = None,
    **asked: t.Any,
) -> tuple[api.Forecast, list[Coarse]]:
    """Carry many series on, at a step and at coarser ones, so that they agree once they are :func:`settled`.

    :param values: As :func:`.api.forecast` takes them.
    :param coarser: Seconds of the coarser steps, whole multiples of the step. They begin at whole multiples of
        themselves since the epoch; without *end*, now.
    :param quantiles: The median is always among them.
    :param asked: What else :func:`.api.forecast` takes.
    :returns: the forecast at the step itself; one for each coarser step, rising, of its steps that lie wholly ahead.
    :raises InvalidOption: when a coarser step is no multiple of the step, or none of it fits into the horizon.
    """
    asked |= {"quantiles": sorted({0.5, *quantiles})}
    grids = [_grid(seconds, step_seconds, horizon, end) for seconds in sorted(set(coarser))]
    fine = api.forecast(values, step_seconds=step_seconds, horizon=horizon, end=end, **asked)
    values, _warnings = clean(np.asarray(values, dtype=np.float64), step_seconds)
    direct = [_direct(values, grid, horizon, end, step_seconds, asked) for grid in grids]
    origins, steps = _origins(values, horizon, round(DAY / step_seconds), grids)
    if not len(origins):
        return fine, [_of_mean(one, grid) for one, grid in zip(direct, grids, strict=True)]
    lengths = origins.tolist()
    ends = [end and end - datetime.timedelta(seconds=step_seconds * (values.shape[1] - one)) for one in lengths]
    past = [(values[:, :one], then) for one, then in zip(lengths, ends, strict=True)]
    told = np.stack(
        [
            api.forecast(part, step_seconds=step_seconds, horizon=steps, end=then, **asked).quantiles
            for part, then in past
        ],
        axis=1,
    )
    tried = [
        np.stack([_direct(part, grid, steps, then, step_seconds, asked).quantiles for part, then in past], axis=1)
        for grid in grids
    ]
    came = values[:, origins[:, None] + np.arange(steps)]
    middle = fine.levels.index(0.5)
    now, then = fine.quantiles[..., middle], told[..., middle]
    shares = []
    for grid, one, earlier in zip(grids, direct, tried, strict=True):
        share = _share(grid, came, then, earlier[..., middle])
        now, then = (
            grid.moved(median, guess[..., middle], share) for median, guess in ((now, one.quantiles), (then, earlier))
        )
        shares.append(share)
    problem = Problem(values, step_seconds, horizon, fine.levels, end, asked.get("time_zone", "UTC"))
    fine = dataclasses.replace(fine, quantiles=_around(fine.quantiles, now, middle))
    test = _backtest(origins, came, _around(told, then, middle), middle, np.arange(1, steps + 1))
    fine = _with_figures(fine, np.flatnonzero(np.any(shares, axis=0)), problem, test)
    result = []
    for grid, one, earlier, share in zip(grids, direct, tried, shares, strict=True):
        centred = _around(earlier, grid.ahead(then), middle)
        columns = (origins - grid.phase) // grid.ratio - (values.shape[1] - grid.phase) // grid.ratio
        history = grid.history(values)
        ahead = grid.skipped + np.arange(1, centred.shape[2] + 1)
        test = _backtest(history.shape[1] + columns, grid.ahead(came), centred, middle, ahead)
        coarse = dataclasses.replace(problem, values=history, step_seconds=grid.step_seconds)
        quantiles = _around(one.quantiles, grid.ahead(now), middle)
        named = dataclasses.replace(one, quantiles=quantiles, model=_named(one.model, share))
        result.append(Coarse(grid, _with_figures(named, np.arange(len(values)), coarse, test)))
    return fine, result


def settled(coarse: Coarse, fine: api.Forecast) -> api.Forecast:
    """The coarser forecast, moved to the means of the fine one's medians; the same series in the same order."""
    middle = fine.levels.index(0.5)
    centre = coarse.grid.ahead(fine.quantiles[..., middle])
    own = coarse.forecast.quantiles
    quantiles = _around(own + (centre - own[..., middle])[..., None], centre, middle)
    return dataclasses.replace(coarse.forecast, quantiles=quantiles)


def _grid(seconds: int, step: int, horizon: int, end: datetime.datetime | None) -> Grid:
    """A coarser grid, checked."""
    if seconds <= step or seconds % step:
        raise InvalidOption(
            f"{timing.words(seconds)} is not a multiple of the step of {timing.words(step)}",
            option="coarser_steps",
            remedy="Give steps that hold whole steps of the forecast, such as 1h for 5m",
        )
    grid = Grid(seconds, seconds // step, 0 if end is None else int(end.timestamp()) // step % (seconds // step))
    if not grid.count(horizon):
        raise InvalidOption(
            f"no whole step of {timing.words(seconds)} fits into the {timing.words(horizon * step)} ahead",
            option="coarser_steps",
            remedy="Look further ahead, or leave it out",
        )
    return grid


def _direct(
    values: numpy.ndarray,
    grid: Grid,
    horizon: int,
    end: datetime.datetime | None,
    step: int,
    asked: dict[str, t.Any],
) -> api.Forecast:
    """The forecast from samples of the coarser step, without the step in progress."""
    last = end and end - datetime.timedelta(seconds=grid.phase * step)
    count = grid.skipped + grid.count(horizon)
    answer = api.forecast(grid.history(values), step_seconds=grid.step_seconds, horizon=count, end=last, **asked)
    return dataclasses.replace(answer, quantiles=answer.quantiles[:, grid.skipped :], tested=None)


def _origins(values: numpy.ndarray, horizon: int, day: int, grids: list[Grid]) -> tuple[numpy.ndarray, int]:
    """Samples known at the moments that both ways are tried at, rising, and fine steps ahead that are tried.

    All are whole coarser steps before now, in the newer two thirds of the history.
    """
    known = ~np.isnan(values).all(axis=0)
    length = len(known) - int(known.argmax()) if known.any() else 0
    unit = math.lcm(*(grid.ratio for grid in grids))
    steps = min(horizon, length // 3)
    nearest, farthest = -(-steps // unit), min(steps + SPAN_DAYS * day, length * 2 // 3) // unit
    if nearest > farthest or not all(grid.count(steps) for grid in grids):
        return np.zeros(0, dtype=np.int64), 0
    back = np.unique(np.linspace(farthest, nearest, WINDOWS).round().astype(np.int64))
    return (len(known) - unit * back)[::-1], steps


def _share(grid: Grid, came: numpy.ndarray, fine: numpy.ndarray, coarse: numpy.ndarray) -> numpy.ndarray:
    """How far to move the fine medians to the coarser ones, so that both were nearest together; shape (series,).

    What is gained for the hours may be lost for the minutes: the product of both errors tells.
    """
    products = []
    for share in SHARES:
        guess = grid.moved(fine, coarse, np.full(len(fine), share))
        products.append(_error(came, guess) * _error(grid.ahead(came), grid.ahead(guess)))
    return np.asarray(SHARES)[np.argmin(products, axis=0)]


def _error(came: numpy.ndarray, guess: numpy.ndarray) -> numpy.ndarray:
    """The sum of absolute errors of each series, over what is known."""
    return np.nansum(np.abs(came - guess), axis=(1, 2))


def _named(direct: list[str], share: numpy.ndarray) -> list[str]:
    """What each coarser centre is from."""
    both = [(MEAN, name) for name in direct]
    return [
        " and ".join(pair[0 if part < 1 else 1 : 1 if part == 0 else 2]) if pair[1] else ""
        for pair, part in zip(both, share.tolist(), strict=True)
    ]


def _around(quantiles: numpy.ndarray, centre: numpy.ndarray, middle: int) -> numpy.ndarray:
    """The quantiles with another median; the others stay where they are calibrated, on their side of it."""
    result = quantiles.copy()
    result[..., middle] = centre
    np.minimum(result[..., :middle], centre[..., None], out=result[..., :middle])
    np.maximum(result[..., middle + 1 :], centre[..., None], out=result[..., middle + 1 :])
    return result


def _backtest(
    origins: numpy.ndarray, came: numpy.ndarray, quantiles: numpy.ndarray, middle: int, ahead: numpy.ndarray
) -> Backtest:
    """The tried moments as a backtest; what could not be forecast then is not counted."""
    median = quantiles[..., middle]
    return Backtest(origins, np.where(np.isnan(median), np.nan, came), median, quantiles, ahead)


def _with_figures(answer: api.Forecast, rows: numpy.ndarray, problem: Problem, test: Backtest) -> api.Forecast:
    """The forecast, with the figures of another backtest for some series."""
    figures = api.figures(problem, Prediction(answer.quantiles, test, answer.model, answer.warnings))
    told = list(answer.backtest)
    for row in rows:
        told[row] = figures[row]
    return dataclasses.replace(answer, backtest=told)


def _of_mean(direct: api.Forecast, grid: Grid) -> Coarse:
    """A coarser forecast with nothing to choose by."""
    return Coarse(grid, dataclasses.replace(direct, model=[MEAN if name else name for name in direct.model]))


def _means(parts: numpy.ndarray) -> numpy.ndarray:
    """Means of the last axis over what is known; NaN where nothing is."""
    count = (~np.isnan(parts)).sum(axis=-1)
    return np.where(count > 0, np.nansum(parts, axis=-1) / np.maximum(count, 1), np.nan)
