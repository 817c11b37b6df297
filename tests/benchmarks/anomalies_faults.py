# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults as they happen to fleets, put into real series, and what detectors make of them."""

from __future__ import annotations

import dataclasses
import typing as t

import numpy as np

DAY = 288


@dataclasses.dataclass(frozen=True)
class Job:
    """Series with a fault each: which, and from which column up to which."""

    kind: str
    values: np.ndarray
    spans: list[tuple[int, int]]


def _surge(part: np.ndarray, past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return part * 2


def _drop(part: np.ndarray, past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return part * 0


def _stuck(part: np.ndarray, past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.full_like(part, part[0])


def _leak(part: np.ndarray, past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return part + np.linspace(0, 4 * np.nanstd(past), len(part))


def _neighbour(part: np.ndarray, past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return part + np.abs(random.normal(0, 2 * np.nanstd(past), len(part)))


def _season(part: np.ndarray, past: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.nanmean(past) + random.normal(0, np.nanmedian(np.abs(np.diff(past))) + 1e-9, len(part))


FAULTS: dict[str, tuple[t.Callable[..., np.ndarray], int]] = {
    "surge x 2": (_surge, 24),
    "drop to zero": (_drop, 24),
    "stuck value": (_stuck, 96),
    "slow leak": (_leak, 288),
    "noisy neighbour": (_neighbour, 48),
    "lost season": (_season, 288),
}


def inject(values: np.ndarray, kind: str, seed: int) -> Job:
    """One fault in each series, at a random moment after half of it."""
    random = np.random.default_rng([seed, list(FAULTS).index(kind)])
    fault, length = FAULTS[kind]
    changed = values.copy()
    spans = []
    for row in changed:
        start = int(random.integers(len(row) // 2, len(row) - length))
        row[start : start + length] = fault(row[start : start + length].copy(), row[start - 3 * DAY : start], random)
        spans.append((start, start + length))
    return Job(kind, changed, spans)


def threshold(scores: np.ndarray, alarms_per_week: float) -> float:
    """The threshold at which scores of clean series raise so many alarms per series and week.

    An alarm is a sample at or above it, none of the twelve hours before being so.
    """
    weeks = scores[:, DAY:].size / (7 * DAY)
    levels = np.unique(np.round(np.nan_to_num(scores[:, DAY:]), 4))[::-1]
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if len(onsets(scores, levels[middle])) <= alarms_per_week * weeks:
            low = middle
        else:
            high = middle - 1
    return float(levels[low])


def onsets(scores: np.ndarray, level: float) -> list[tuple[int, int]]:
    """Row and column of each alarm, after the first day."""
    answer = []
    for row, series in enumerate(np.nan_to_num(scores)):
        last = -DAY
        for column in np.flatnonzero(series >= level):
            if column - last > DAY // 2 and column >= DAY:
                answer.append((row, int(column)))
            last = column
    return answer


def recall(job: Job, scores: np.ndarray, level: float) -> tuple[float, float]:
    """Share of faults alarmed in their span, and the median delay in minutes of those."""
    found = {}
    for row, column in onsets(scores, level):
        first, last = job.spans[row]
        if first <= column < last:
            found.setdefault(row, column - first)
    delay = float(np.median(list(found.values()))) * 5 if found else float("nan")
    return len(found) / len(job.spans), delay
