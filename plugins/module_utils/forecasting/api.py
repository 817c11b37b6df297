# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way into forecasting: check what is asked, ask the model, tell how good its answer is."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ..errors import InvalidOption
from ..libraries import numpy as np
from . import scores, seasonal_naive
from .calibration import put_in_order
from .cleaning import clean
from .events import events_of, take_out
from .models import MODELS
from .problem import DAY, Backtest, Prediction, Problem, stretches

if t.TYPE_CHECKING:
    import numpy

BLOCK = 256  # series at a time whose backtest is told of


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What will be, and how far to trust it.

    :param quantiles: float64, shape (series, horizon, levels), rising along the last axis. All NaN for a series
        without any sample.
    :param levels: The quantiles, rising.
    :param model: For each series the model, or models, that carried weight; empty where there is no answer.
    :param backtest: For each series ``mase``, ``wql``, ``wape`` (mean absolute error relative to the mean), the same
        with V(seasonal_naive_) before, ``by_horizon`` (which model carried each stretch ahead, until when, and both
        MASE there), ``coverage`` by level (V({"0.9": 0.91})), ``windows`` and the
        ``days`` they cover; a figure that the
        history can't tell is None.
    :param warnings: For each series what its reader must know.
    :param tested: The backtest itself; None where there is none, or a series has no sample.
    """

    quantiles: numpy.ndarray
    levels: tuple[float, ...]
    model: list[str]
    backtest: list[dict[str, t.Any]]
    warnings: list[list[str]]
    tested: Backtest | None = None

    def rows(self, which: slice) -> Forecast:
        """Some of the series."""
        return dataclasses.replace(
            self,
            quantiles=self.quantiles[which],
            model=self.model[which],
            backtest=self.backtest[which],
            warnings=self.warnings[which],
            tested=None if self.tested is None else self.tested.rows(which),
        )


def forecast(
    values: numpy.ndarray,
    *,
    step_seconds: int,
    horizon: int,
    quantiles: t.Sequence[float] = (0.5, 0.9, 0.99),
    end: datetime.datetime | None = None,
    model: str = "auto",
    time_zone: str = "UTC",
    events: t.Sequence[t.Mapping[str, t.Any]] | None = None,
    seed: int = 0,
) -> Forecast:
    """Carry many series on.

    :param values: float64 or float32, shape (series, time) on one regular grid; NaN = missing; the last column is the newest sample.
    :param step_seconds: The grid's spacing in seconds.
    :param horizon: How many steps ahead.
    :param quantiles: Levels wanted, in (0, 1), in any order; the result has them rising.
    :param end: UTC stamp of the last column. Without it, time of day is unknown to calendars.
    :param model: A name from :data:`.models.MODELS`.
    :param time_zone: IANA name of the zone whose days and weeks the series follow.
    :param events: What is not like other times: ``{name, start, end, effect, maintenance}``; see :mod:`.events`.
    :param seed: Of everything random; the same call gives the same bytes.
    :raises InvalidOption: when the question itself makes no sense. A series that is bad never raises: it gets a wide
        answer or none, and a warning.
    """
    levels = _levels(quantiles)
    if model not in MODELS:
        raise InvalidOption(
            f"there is no model {model!r}", option="model", remedy=f"The models are {', '.join(sorted(MODELS))}"
        )
    if horizon < 1:
        raise InvalidOption(f"{horizon} steps ahead is not ahead", option="horizon", remedy="Give at least one step")
    if step_seconds < 1:
        raise InvalidOption(f"{step_seconds} s is not a step", option="step", remedy="Give at least one second")
    marks = events_of(events)
    values, warnings = clean(values, int(step_seconds))
    known = np.full(len(values), bool(values.shape[1]))
    if values.shape[1]:
        unsure = np.flatnonzero(np.isnan(values[:, -1]))
        known[unsure] = ~np.isnan(values[unsure]).all(axis=1)
    for row in np.flatnonzero(~known):
        warnings[row].append("no sample at all: there is no answer")
    rows = np.flatnonzero(known)
    result = np.full((len(values), horizon, len(levels)), np.nan)
    if not len(rows):
        return Forecast(result, levels, [""] * len(values), [_no_backtest() for row in values], warnings, None)
    if len(rows) < len(values):
        values = values[rows]
    problem = Problem(values, int(step_seconds), int(horizon), levels, end, time_zone, seed)
    problem, factor, notes = take_out(problem, marks)
    answer = MODELS[model](problem)
    put_in_order(answer.quantiles)
    result[rows] = answer.quantiles
    if factor is not None:
        result[rows] = np.sort(result[rows] * factor[:, :, None], axis=2)
    names = [""] * len(known)
    scored = [_no_backtest() for row in known]
    for row, name, own, told in zip(rows, answer.names, answer.warnings, figures(problem, answer), strict=True):
        names[row], scored[row] = name, told
        warnings[row].extend([*own, *notes])
    return Forecast(result, levels, names, scored, warnings, answer.backtest if known.all() else None)


def _levels(quantiles: t.Sequence[float]) -> tuple[float, ...]:
    """The levels, checked, rising and each once."""
    levels = tuple(sorted({float(level) for level in quantiles}))
    if not levels or not all(0 < level < 1 for level in levels):
        raise InvalidOption(
            f"{list(quantiles)} are not quantile levels", option="quantiles", remedy="Give numbers between 0 and 1"
        )
    return levels


def _no_backtest() -> dict[str, t.Any]:
    names = ("mase", "wql", "wape")
    return {
        **{head + name: None for head in ("", "seasonal_naive_") for name in names},
        "by_horizon": [],
        "coverage": {},
        "windows": 0,
        "days": 0.0,
    }


def figures(problem: Problem, answer: Prediction) -> list[dict[str, t.Any]]:
    """The backtest of each series beside that of daily seasonal naive."""
    if answer.backtest is None:
        return [_no_backtest() for row in problem.values]
    told: list[dict[str, t.Any]] = []
    for low in range(0, len(problem.values), BLOCK):
        told += _figures(problem, answer, slice(low, low + BLOCK))
    return told


def _figures(problem: Problem, answer: Prediction, rows: slice) -> list[dict[str, t.Any]]:
    """The same of some series, so that seasonal naive's quantiles take little memory."""
    problem, tested = problem.at(problem.values[rows]), answer.backtest.rows(rows)
    scale = scores.seasonal_error(problem.values, problem.day)
    ours = scores.summary(tested, problem.levels, scale)
    peer = seasonal_naive.peer(problem, tested, None if answer.repeated is None else answer.repeated[rows])
    theirs = scores.summary(peer, problem.levels, scale)
    starts, length = tested.origins, problem.values.shape[1]
    seen = (~np.isnan(tested.actual)).any(axis=2)
    days = (length - starts[seen.argmax(axis=1)]) * problem.step_seconds / DAY
    cuts, ends = stretches(tested.ahead, problem.horizon)
    parts = [(name,) * len(ends) for name in answer.names[rows]] if answer.parts is None else answer.parts[rows]
    by_part = [scores.mase_by_part(one, cuts, scale) for one in (tested, peer)]
    return [
        {
            **one,
            **{f"seasonal_naive_{name}": other[name] for name in ("mase", "wql", "wape")},
            "by_horizon": [
                {"until_seconds": end * problem.step_seconds, "model": name, "mase": own, "seasonal_naive_mase": naive}
                for end, name, own, naive in zip(ends, names, *figure, strict=True)
            ],
            "windows": int(count),
            "days": float(span) if count else 0.0,
        }
        for one, other, names, count, span, *figure in zip(
            ours, theirs, parts, seen.sum(axis=1), days, *by_part, strict=True
        )
    ]
