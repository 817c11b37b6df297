# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From surprise to the score that all detectors share.

A score above one half is news: the series is more surprising than it was at any time in the twelve hours before, by a
margin where there was news, and surprising at all. While an anomaly lasts its score stays below one half, in order of
surprise, of the default in that of :mod:`.lasting`. So one threshold above one half gives an alarm at the onset of each
incident and no second one while it lasts, and the ranking of samples still tells how strange each is.
"""

from __future__ import annotations

import math
import typing as t

from ..errors import InvalidOption
from ..libraries import numpy as np
from .detectors import DETECTORS, GROUPED
from .ensemble import ERROR, EXCURSION, HANDICAPS, LOGARITHM
from .frame import Frame, clean
from .lasting import Lasting
from .tail import Tail

if t.TYPE_CHECKING:
    import datetime

    import numpy

QUIET_SECONDS = 12 * 3600  # that news must be the most surprising of
FEWEST_QUIET = 24  # steps that they are at least
CELLS = 144  # that their surprise is kept in, at most
#: Surprise, -log10 of a probability, below which nothing is news: more would crowd out what lasts. That of 5-minute steps;
#: shorter ones need as much more as there are more of them.
LEAST_NEWS, LEAST_NEWS_SECONDS = 2.2, 300
# Of surprise that news needs above other news of that time, so that an incident that grows little by little is one.
MARGIN = 0.2
HALVING = 3.0  # by which the distance of the score to its limit halves


class Onset:
    """Tells news from what goes on, for many series; the state is the surprise and the news of the last twelve hours.

    Where these are more steps than :data:`CELLS`, several share a cell, and the oldest are forgotten together.
    """

    STATE = ("recent", "raised", "time")

    def __init__(self, series: int, step_seconds: int) -> None:
        steps = max(round(QUIET_SECONDS / step_seconds), FEWEST_QUIET)
        self.shared = math.ceil(steps / CELLS)
        self.least = LEAST_NEWS + max(math.log10(LEAST_NEWS_SECONDS / step_seconds), 0)
        self.recent = np.full((math.ceil(steps / self.shared), series), -np.inf)
        self.raised = self.recent.copy()
        self.time = 0

    def update(self, surprise: numpy.ndarray, lasting: numpy.ndarray) -> numpy.ndarray:
        """The score of one new sample of each series, shape (series,); NaN where there is no surprise.

        :param surprise: By which it may be news, shape (series,). :param lasting: By which it is ordered where it is none.
        """
        there = ~np.isnan(surprise)
        level = np.where(there, surprise, 0)
        highest = np.maximum(self.recent.max(axis=0), self.raised.max(axis=0) + MARGIN)
        news = there & (level > self.least) & (level > highest)
        place = self.time // self.shared % len(self.recent)
        if self.time % self.shared == 0:
            self.recent[place] = self.raised[place] = -np.inf
        self.recent[place] = np.fmax(self.recent[place], surprise)
        self.raised[place] = np.maximum(self.raised[place], np.where(news, level, -np.inf))
        self.time += 1
        below = 0.5 - 0.5 * 2 ** (-np.where(there, lasting, 0) / HALVING)
        value = np.where(news, 1 - 0.5 * 2 ** (-(level - LEAST_NEWS) / HALVING), below)
        return np.where(there, value, np.nan)


def surprise_of(scores: numpy.ndarray) -> numpy.ndarray:
    """The surprise that scores were made of: -log10 of the tail probability, same shape; NaN where there is none.

    Where nothing is news, the default detector's is the mean of several, see :mod:`.lasting`.
    """
    news = scores > 0.5
    left = np.where(news, 2 * (1 - scores), 1 - 2 * scores)
    return np.where(news, LEAST_NEWS, 0) - HALVING * np.log2(np.maximum(left, 2.0**-52))


class Verdict:
    """From the members' nonconformities to the score, for many series, one sample at a time."""

    def __init__(self, members: int, series: int, step_seconds: int, *, default: bool) -> None:
        """:param default: Whether the members are those of :mod:`.ensemble`. Else the most surprised one speaks."""
        self.tail = Tail(members * series)
        self.onset = Onset(series, step_seconds)
        self.lasting = Lasting(series) if default else None
        self._handicaps = np.array(HANDICAPS)[:, None]

    def update(self, members: list[numpy.ndarray]) -> numpy.ndarray:
        """The score of one new sample of each series, shape (series,) as each member's nonconformity; NaN = none."""
        surprise = self.tail.update(np.concatenate(members)).reshape(len(members), -1)
        if self.lasting is None:
            loudest = np.fmax.reduce(surprise)
            return self.onset.update(loudest, loudest)
        loudest = np.fmax.reduce(np.maximum(surprise[: len(HANDICAPS)] - self._handicaps, 0))
        parts = (surprise[member] for member in (LOGARITHM, EXCURSION, ERROR))
        return self.onset.update(loudest, self.lasting.update(loudest, *parts))


def score_frame(frame: Frame, detector: str) -> numpy.ndarray:
    """Scores of a frame, shape (series, time), in [0, 1]; NaN where the detector can't say."""
    members = DETECTORS[detector](frame)
    for place, member in enumerate(members):
        members[place] = np.ascontiguousarray(member.T)
    verdict = Verdict(len(members), len(frame.values), frame.step_seconds, default=detector == "auto")
    answer = np.empty(frame.values.shape[::-1])
    for time in range(len(answer)):
        answer[time] = verdict.update([member[time] for member in members])
    return answer.T.copy()


def score(
    values: t.Any,
    *,
    step_seconds: int,
    end: datetime.datetime | None = None,
    detector: str = "auto",
    seed: int = 0,
) -> numpy.ndarray:
    """How strange each sample is, given only what came before it.

    :param values: Shape (series, time), NaN = missing, the last column the newest; infinite samples are missing ones.
    :param step_seconds: The grid's spacing.
    :param end: UTC stamp of the last column; only detectors that know the time of day use it.
    :param detector: A name of :data:`detectors.DETECTORS` that does not need groups.
    :param seed: Of detectors that draw at random.
    :returns: Scores in [0, 1] of the same shape, comparable across series; above 0.5 where an anomaly sets in; NaN
        where it can't say: missing samples and a series' first.
    :raises InvalidOption: on a detector that is not there, or one that needs groups.
    :raises ValueError: when the values are not a matrix of numbers.
    """
    if detector in GROUPED:
        raise InvalidOption(
            f"{detector} needs to know which series belong together",
            option="detector",
            remedy="Use score_groups, or another detector",
        )
    return score_frame(Frame(clean(values), _step(step_seconds), end, seed), _known(detector))


def score_groups(
    values: t.Any,
    groups: t.Any,
    *,
    step_seconds: int,
    end: datetime.datetime | None = None,
    detector: str = "peers",
    seed: int = 0,
) -> numpy.ndarray:
    """As :func:`score`, for detectors that compare series with each other.

    :param groups: One whole number for each series; series of one number belong together: servers of a pool
        (V(peers)), or metrics of a server (V(multivariate)).
    """
    matrix = clean(values)
    members = np.asarray(groups)
    if members.shape != matrix.shape[:1]:
        raise ValueError(f"{members.shape} groups do not fit {matrix.shape[0]} series")
    return score_frame(Frame(matrix, _step(step_seconds), end, seed, members), _known(detector))


def _step(step_seconds: int) -> int:
    if not step_seconds > 0:
        raise InvalidOption(f"{step_seconds} is not a step", option="step", remedy="Give a positive number of seconds")
    return step_seconds


def _known(detector: str) -> str:
    if detector not in DETECTORS:
        raise InvalidOption(
            f"there is no detector {detector!r}", option="detector", remedy=f"Choose from {', '.join(DETECTORS)}"
        )
    return detector
