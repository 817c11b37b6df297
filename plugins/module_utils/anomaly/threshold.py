# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the rate of false alarms that a person puts up with to a threshold, which adapts to the fleet."""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

MONTH_SECONDS = 30 * 86400
DAY_SECONDS = 86400
#: Alarms per series and month of 5-minute steps at a surprise of PRIOR_SURPRISE, and decades fewer for each one more.
#: Between VMs of one month (Bitbrains, half of Azure's), which have 9 to 11 and 0.8 decades, and noise, which has 4 to 5 and
#: 1.1 to 1.3; none with an injected fault.
PRIOR_SURPRISE, PRIOR_ALARMS, PRIOR_SLOPE = 2.5, 7.0, 0.9
#: Power of how many times more samples a shorter step has by which alarms are more, on noise at steps of 20 s to an hour:
#: less than 1, as news is the most surprising of twelve hours at any step.
PRIOR_SAMPLES = 0.7
PRIOR_MONTHS = 6.0  # of the fleet that the prior is worth
OWN_PRIOR_MONTHS = 1.0  # of one series
SHARE = 3.0  # times the asked rate that one series may count or flag
AHEAD = 0.4  # decades by which what is far out reaches a level before the ranks of a series' age do
GRID_STEP = 0.05
GRID_TOP = 12.0


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The surprise that an alarm needs, shape (series, days), from what was seen before each day."""

    values: numpy.ndarray
    steps_per_day: int

    def at(self, time: int) -> numpy.ndarray:
        """The threshold of every sample, shape (series, time)."""
        days = np.minimum(np.arange(time) // self.steps_per_day, self.values.shape[1] - 1)
        return self.values[:, days]


def thresholds(surprise: numpy.ndarray, news: numpy.ndarray, *, step_seconds: int, rate: float) -> Thresholds:
    """Thresholds at which about V(rate) alarms are raised per series and month when nothing is wrong.

    Each day, alarms counted on the days before are set against the prior, over all series and for each of its own. A
    level that a series is too young to reach is not counted as time without an alarm at it: else a young fleet would
    find itself quiet, and have too many alarms later. A series counts for the fleet with at most :data:`SHARE` times
    what was asked, so that a noisy one can't deafen the others; it needs a higher surprise itself instead.

    :param surprise: Shape (series, time), NaN where there is none.
    :param news: Where an alarm could be raised, shape (series, time).
    :param rate: Alarms per series and month.
    """
    series, time = surprise.shape
    day = max(1, round(DAY_SECONDS / step_seconds))
    grid = np.arange(0, GRID_TOP, GRID_STEP)
    prior = PRIOR_ALARMS * 10 ** (-PRIOR_SLOPE * (grid - PRIOR_SURPRISE)) * (300 / step_seconds) ** PRIOR_SAMPLES
    counts = np.zeros((series, len(grid)))  # alarms at or above each level
    months = np.zeros((series, len(grid)))  # in which each level could be reached
    known = ~np.isnan(surprise)
    age = np.zeros(series)
    reachable = 10 ** (grid - AHEAD)
    answer = []
    for start in range(0, max(time, 1), day):
        answer.append(_levels(counts, months, prior, grid, rate))
        part = slice(start, start + day)
        row, column = np.nonzero(news[:, part])
        place = np.minimum(surprise[:, part][row, column] / GRID_STEP, len(grid) - 1).astype(int)
        today = np.zeros_like(counts)
        np.add.at(today, (row, place), 1)
        counts += np.cumsum(today[:, ::-1], axis=1)[:, ::-1]
        new = known[:, part].sum(axis=1)
        age += new
        months += np.clip(age[:, None] - reachable, 0, new[:, None]) * step_seconds / MONTH_SECONDS
    return Thresholds(np.array(answer).T.copy(), day)


def _levels(
    counts: numpy.ndarray, months: numpy.ndarray, prior: numpy.ndarray, grid: numpy.ndarray, rate: float
) -> numpy.ndarray:
    together = np.minimum(counts, SHARE * rate * (months + OWN_PRIOR_MONTHS)).sum(axis=0)
    usual = (prior * PRIOR_MONTHS + together) / (PRIOR_MONTHS + months.sum(axis=0))
    own = (usual * OWN_PRIOR_MONTHS + counts) / (OWN_PRIOR_MONTHS + months)
    return np.maximum(_least(usual[None], grid, rate), _least(own, grid, SHARE * rate))


def _least(expected: numpy.ndarray, grid: numpy.ndarray, rate: float) -> numpy.ndarray:
    """The least level at which no more alarms are expected than asked; the highest where there is none."""
    low = expected <= rate
    return grid[np.where(low.any(axis=1), low.argmax(axis=1), len(grid) - 1)]
