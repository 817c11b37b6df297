# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Change of level and of variance, and the three-sigma rule that benchmarks compare with."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

PAST = 6  # how many times longer the past is than the present it is compared with


def _moments(values: numpy.ndarray, length: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean and variance of the last samples, NaN where more than half are missing, shape (series, time)."""
    first = np.where(np.isnan(values[:, :1]), 0, values[:, :1])
    centred = values - first
    there = ~np.isnan(centred)
    # Moments need squares that stay numbers.
    filled = np.where(there, np.clip(centred, -1e75, 1e75), 0)
    count, total, squares = (_sums(part, length) for part in (there.astype(float), filled, filled**2))
    enough = 2 * count >= length
    count = np.maximum(count, 1)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    return np.where(enough, mean, np.nan), np.where(enough, variance, np.nan)


def _sums(values: numpy.ndarray, length: int) -> numpy.ndarray:
    padded = np.pad(values, ((0, 0), (length - 1, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, length, axis=1).sum(axis=-1)


def _earlier(values: numpy.ndarray, steps: int) -> numpy.ndarray:
    late = np.full_like(values, np.nan)
    late[:, steps:] = values[:, : max(values.shape[1] - steps, 0)]
    return late


def level_shift(frame: Frame) -> list[numpy.ndarray]:
    """Detector: the mean of the last hour against that of the six hours before it, in their standard deviations."""
    now, _variance = _moments(frame.values, frame.hour)
    mean, variance = (_earlier(part, frame.hour) for part in _moments(frame.values, PAST * frame.hour))
    return [np.abs(now - mean) / np.sqrt(variance + 1e-12 * mean**2 + 1e-200)]


def variance_change(frame: Frame) -> list[numpy.ndarray]:
    """Detector: logarithm of the ratio of the last hour's variance to that of the six hours before it."""
    mean, now = _moments(frame.values, frame.hour)
    before = _earlier(_moments(frame.values, PAST * frame.hour)[1], frame.hour)
    floor = 1e-12 * np.nan_to_num(mean) ** 2 + 1e-200
    return [np.abs(np.log((now + floor) / (before + floor)))]


def three_sigma(frame: Frame) -> list[numpy.ndarray]:
    """Detector: distance to the mean of the day before, in its standard deviations."""
    mean, variance = (_earlier(part, 1) for part in _moments(frame.values, frame.day))
    return [np.abs(frame.values - mean) / np.sqrt(variance + 1e-12 * mean**2 + 1e-200)]
