# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Series whose season the calendar does not tell: a day of 10-second samples under load generators, and others.

The made series follow a hidden number of users that goes up and down in cycles of 7 to 90 minutes. The real one is a
site's requests a minute, of which the model is told that a step is 10 seconds: its day is then a season of 1,440 steps of
which the calendar knows nothing. It is forecast by itself, without a fleet.
"""

from __future__ import annotations

import csv
import gzip
import pathlib

import numpy as np
from scipy.signal import lfilter

LENGTH = 8834  # about a day of 10-second samples
HOUR = 360
SHAPES = ("square", "triangle", "sine", "stairs", "none")


def application(seed: int, count: int = 8) -> np.ndarray:
    """Series of one application under a load generator, 10-second steps, shape (count, LENGTH)."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    users = 20 + 80 * _cycle(rng, shape) * (1 + 0.3 * _shifts(rng))
    rows = []
    for row in range(count):
        load = users * rng.lognormal(0, 0.7) * (1 + 0.2 * rng.random() * _shifts(rng))
        kind = row % 4
        if kind == 0:  # requests counted
            rows.append(rng.poisson(np.maximum(load, 0) * rng.choice([0.2, 2, 20])))
        elif kind == 1:  # CPU, with noise that lasts
            rows.append(load * (1 + 0.08 * _lasting(rng, 0.8)) + rng.normal(0, 0.05, LENGTH) * load.mean())
        elif kind == 2:  # latency, with bursts
            burst = np.repeat(rng.random(LENGTH // 6 + 1) < 0.01, 6)[:LENGTH] * rng.lognormal(1, 0.6, LENGTH)
            busy = load / load.max()
            rows.append(20 / (1.15 - 0.8 * busy) * rng.lognormal(0, 0.12, LENGTH) * (1 + burst))
        else:  # errors, which are rare
            rows.append(rng.poisson(np.maximum(load, 0) / load.mean() * rng.choice([0.02, 0.1, 0.5])))
    return np.array(rows, dtype=float)


def _cycle(rng: np.random.Generator, shape: str) -> np.ndarray:
    """A cycle in [0, 1] of 7 to 90 minutes, each as long as the others but for think time."""
    if shape == "none":
        walk = np.cumsum(rng.normal(0, 1, LENGTH))
        return (walk - walk.min()) / np.ptp(walk)
    period = np.exp(rng.uniform(np.log(42), np.log(540)))
    lengths = period * (1 + rng.choice([0, 0.005, 0.03]) * rng.normal(0, 1, int(LENGTH / period * 1.5) + 3))
    starts = np.concatenate([[0], np.cumsum(lengths)]) - rng.uniform(0, period)
    phase = np.interp(np.arange(LENGTH), starts, np.arange(len(starts))) % 1
    if shape == "square":
        ramp = rng.uniform(0.01, 0.1)
        return np.clip(np.minimum(phase, rng.uniform(0.4, 0.8) - phase) / ramp, 0, 1)
    if shape == "triangle":
        return 1 - np.abs(2 * phase - 1)
    if shape == "sine":
        return 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    return np.floor(phase * 5) / 4


def _shifts(rng: np.random.Generator) -> np.ndarray:
    """A level that shifts now and then."""
    marks = np.sort(rng.integers(0, LENGTH, rng.integers(0, 4)))
    return rng.normal(0, 1, len(marks) + 1)[np.searchsorted(marks, np.arange(LENGTH), side="right")]


def _lasting(rng: np.random.Generator, share: float) -> np.ndarray:
    """Noise of which a share stays from step to step."""
    return lfilter([1], [1, -share], rng.normal(0, 1, LENGTH))


def requests(data: pathlib.Path) -> np.ndarray:
    """Requests a minute to one site, shape (1, time), without the weeks before it was known."""
    with gzip.open(data / "worldcup98_1min.csv.gz", "rt") as lines:
        return np.array([[float(row[1] or "nan") for row in list(csv.reader(lines))[1:]]])
