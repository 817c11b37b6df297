# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scoring rules of the Numenta Anomaly Benchmark.

Written from their description: Lavin and Ahmad (2015), 'Evaluating Real-time Anomaly Detection Algorithms - the Numenta
Anomaly Benchmark', and the NAB white paper. Each labelled window earns the worth of its earliest detection; a detection
outside windows costs more the farther behind the window before it lies; a window without a detection costs. Detections
in a file's first 15 % (of at most 5,000 samples) don't count. A corpus is scored with one threshold for all files, the
best one, and normalised so that no detection at all is 0 and a detection at each window's first sample alone is 100.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

import numpy as np

PROBATION = 0.15
LONGEST = 5000
FAR = 3.0  # window lengths behind a window, from where a false alarm costs all


class Profile(t.NamedTuple):
    """What detections, false alarms and missed windows weigh."""

    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward low false positives": Profile(1.0, 0.22, 1.0),
    "reward low false negatives": Profile(1.0, 0.11, 2.0),
}


@dataclasses.dataclass(frozen=True)
class File:
    """One file: its samples, and its windows as first and last index."""

    name: str
    values: np.ndarray
    windows: list[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Result:
    """The score of a corpus at a threshold, what was found at it, and false alarms."""

    score: float
    threshold: float
    found: int
    false_alarms: int


def sigmoid(position: np.ndarray) -> np.ndarray:
    """Worth of a detection: near 1 at a window's left edge (-1), 0 at its right edge, -1 well behind it."""
    near = 2 / (1 + np.exp(5 * np.minimum(position, FAR))) - 1
    return np.where(position >= FAR, -1.0, near)


def probation(samples: int) -> int:
    """Samples at a file's beginning whose detections don't count."""
    return int(min(math.floor(PROBATION * samples), PROBATION * LONGEST))


def worth(file: File) -> tuple[np.ndarray, np.ndarray]:
    """The window of each sample (-1 = none) and what a detection there is worth before weights."""
    samples = len(file.values)
    window = np.full(samples, -1)
    value = np.full(samples, -1.0)
    best = float(sigmoid(np.array(-1.0)))
    for number, (first, last) in enumerate(file.windows):
        inside = np.arange(first, last + 1)
        window[inside] = number
        value[inside] = sigmoid(-(last - inside + 1) / (last - first + 1)) / best
        following = file.windows[number + 1][0] if number + 1 < len(file.windows) else samples
        behind = np.arange(last + 1, following)
        value[behind] = sigmoid((behind - last) / (last - first))
    return window, value


def evaluate(files: list[File], scores: list[np.ndarray], profile: Profile) -> list[Result]:
    """The corpus' score at every threshold, from no detection at all downwards."""
    total = sum(last >= probation(len(file.values)) for file in files for _first, last in file.windows)
    samples = []
    for number, (file, score) in enumerate(zip(files, scores, strict=True)):
        window, value = worth(file)
        start = probation(len(file.values))
        counted = np.flatnonzero(np.nan_to_num(score) > 0)
        counted = counted[counted >= start]
        samples.extend(zip(score[counted], [number] * len(counted), window[counted], value[counted], strict=True))
    samples.sort(key=lambda sample: -sample[0])
    raw = -profile.false_negative * total
    found: dict[tuple[int, int], float] = {}
    false_alarms = 0
    results = [Result(0.0, math.inf, 0, 0)]
    for place, (level, number, window, value) in enumerate(samples):
        if window < 0:
            raw += value * profile.false_positive
            false_alarms += 1
        else:
            before = found.get((number, window), -profile.false_negative)
            found[number, window] = max(before, value * profile.true_positive)
            raw += found[number, window] - before
        if place + 1 == len(samples) or samples[place + 1][0] != level:
            most = (profile.true_positive + profile.false_negative) * total
            normal = 100 * (raw + profile.false_negative * total) / most
            results.append(Result(float(normal), float(level), len(found), false_alarms))
    return results


def best(files: list[File], scores: list[np.ndarray], profile: Profile) -> Result:
    """The corpus' score at the best threshold."""
    return max(evaluate(files, scores, profile), key=lambda result: result.score)


def delays(files: list[File], scores: list[np.ndarray], threshold: float) -> list[float]:
    """For each window found, where in it its first detection lies: 0 its first sample, 1 its last."""
    places = []
    for file, score in zip(files, scores, strict=True):
        for first, last in file.windows:
            hits = np.flatnonzero(np.nan_to_num(score[first : last + 1]) >= threshold)
            if len(hits):
                places.append(float(hits[0] / (last - first)))
    return places
