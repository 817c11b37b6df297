# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From scores to flags: one for each incident, with its beginning, end, direction and what was expected."""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ..libraries import numpy as np
from .frame import Frame
from .residual import errors
from .scoring import surprise_of
from .threshold import thresholds

if t.TYPE_CHECKING:
    import numpy

YOUNG_SECONDS = 86400  # of a series, during which it is not flagged
CALM_SECONDS = 3600  # of expected samples that end an incident
LONGEST_SECONDS = 86400  # of an incident: what lasts longer is the new normal
HYSTERESIS = 0.5  # share of the threshold that surprise must stay above for an incident to go on
BOUND = 0.99  # of the errors of the past, by which the expected range is told


@dataclasses.dataclass(frozen=True)
class Flag:
    """One incident of one series.

    :param row: Which series.
    :param start: Column of its first sample. :param last: Column of its last sample so far.
    :param open: Whether it still goes on at the newest sample.
    :param score: The highest score in it.
    :param surprise: The highest surprise in it, -log10 of a tail probability.
    :param direction: V(high), V(low), or V(unusual) where the value is within the expected range.
    :param low, high: The range expected at its start, NaN where nothing was.
    :param value: The sample farthest out of that range.
    """

    row: int
    start: int
    last: int
    open: bool
    score: float
    surprise: float
    direction: str
    low: float
    high: float
    value: float


def find(frame: Frame, scores: numpy.ndarray, *, rate: float, silent: numpy.ndarray | None = None) -> list[Flag]:
    """The flags of a frame, by series and then by time.

    An alarm, news above the threshold, opens an incident. It goes on while the value stays out of the range expected
    when it began, also when that range moves as the day before did, or what :func:`scoring.surprise_of` reads from the
    scores stays above half of the threshold. It closes after an hour of neither, and is closed after a day at most: what
    lasts longer is the new normal.

    :param scores: What :func:`scoring.score` made of the frame.
    :param rate: About how many false alarms to raise per series and month.
    :param silent: True where a known event or maintenance explains what happens, shape (series, time): no incident
        begins there, one that goes on is closed, and nothing is counted.
    """
    quiet = np.zeros(scores.shape, bool) if silent is None else silent
    surprise = surprise_of(scores)
    known = np.cumsum(~np.isnan(scores), axis=1)
    news = (scores > 0.5) & ~quiet & (known > frame.steps(YOUNG_SECONDS))
    needed = thresholds(
        np.where(quiet, np.nan, surprise), news, step_seconds=frame.step_seconds, rate=rate
    ).at(scores.shape[1])  # fmt: skip
    alarms = news & (surprise >= needed)
    rows = np.flatnonzero(alarms.any(axis=1))
    if len(rows) == 0:
        return []
    low, high = expected_range(frame.values[rows], frame.day)
    flags = []
    for place, row in enumerate(rows):
        series = _Row(frame, int(row), scores[row], surprise[row], needed[row], quiet[row], low[place], high[place])
        flags.extend(series.flags(np.flatnonzero(alarms[row])))
    return flags


def expected_range(values: numpy.ndarray, day: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Lower and upper bound of each sample as forecast from those before, shape (series, time) each.

    The bounds hold :data:`BOUND` of the errors of the past, an adaptive conformal quantile (Gibbs and Candès 2021).
    """
    error, expected, scale = errors(values, day)
    size = np.abs(error).T
    bound = np.full(len(values), 3.0)
    bounds = np.empty_like(size)
    for step, now in enumerate(size):
        bounds[step] = bound
        out = now > bound
        moved = np.maximum(bound * (1 + 0.05 * (out - (1 - BOUND))), 0.5)
        bound = np.where(np.isnan(now), bound, moved)
    return expected - bounds.T * scale, expected + bounds.T * scale


@dataclasses.dataclass(frozen=True)
class _Row:
    frame: Frame
    row: int
    scores: numpy.ndarray
    surprise: numpy.ndarray
    needed: numpy.ndarray
    quiet: numpy.ndarray
    low: numpy.ndarray
    high: numpy.ndarray

    def flags(self, alarms: numpy.ndarray) -> list[Flag]:
        """One flag for each incident that the alarms open."""
        flags = []
        free = 0
        for start in alarms:
            if start < free:
                continue
            last, end = self._extent(int(start))
            free = last + 1 if end is None else end
            flags.append(self._flag(int(start), last, end is None))
        return flags

    def _extent(self, start: int) -> tuple[int, int | None]:
        """The last strange column, and the column at which it was over; none while it goes on."""
        values = self.frame.values[self.row]
        calm = self.frame.steps(CALM_SECONDS)
        last = start
        for column in range(start + 1, len(values)):
            if self.quiet[column] or column - start >= self.frame.steps(LONGEST_SECONDS) or column - last > calm:
                return last, column
            if self._outside(column, start) or self.surprise[column] >= HYSTERESIS * max(self.needed[start], 1.0):
                last = column
        return last, None

    def _outside(self, column: int, start: int) -> bool:
        """Whether a value is out of the range expected at the start, as it is and moved with the day before."""
        value = self.frame.values[self.row, column]
        moved = value - self._yesterday(column, start) + self._yesterday(start, start)
        return all(
            number < self.low[start] or number > self.high[start]
            for number in (value, value if math.isnan(moved) else moved)
        )

    def _yesterday(self, column: int, start: int) -> float:
        """The mean of the hour around the same time of the day before, of samples before the start."""
        middle, half = column - self.frame.day, self.frame.hour // 2
        part = self.frame.values[self.row, max(middle - half, 0) : min(middle + half + 1, start)]
        known = part[~np.isnan(part)]
        return float(known.mean()) if len(known) else math.nan

    def _flag(self, start: int, last: int, is_open: bool) -> Flag:
        values = self.frame.values[self.row, start : last + 1]
        low, high = float(self.low[start]), float(self.high[start])
        above, below = values - high, low - values
        out = np.fmax(above, below)
        farthest = int(np.nanargmax(out)) if (~np.isnan(out)).any() else int(np.isnan(values).argmin())
        direction = "unusual"
        if out[farthest] > 0:
            direction = "high" if above[farthest] > 0 else "low"
        return Flag(
            row=self.row,
            start=start,
            last=last,
            open=is_open,
            score=float(np.nanmax(self.scores[start : last + 1])),
            surprise=float(np.nanmax(self.surprise[start : last + 1])),
            direction=direction,
            low=low,
            high=high,
            value=float(values[farthest]),
        )
