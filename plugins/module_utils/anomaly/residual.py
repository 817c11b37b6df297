# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a short forecast made of the past did not expect, and a running mean.

The forecast is a regression on the last values and on the same time of the day before, its weights by recursive least
squares with forgetting (Haykin, 'Adaptive Filter Theory'). Errors are clipped before they move the weights, so that an
anomaly is not learned at once; a new level is learned within some days, see :data:`MEMORY_DAYS`.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .frame import replayed

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

WARM = 24  # samples that set a series' origin and unit; there is no forecast before
MEMORY_DAYS = 3  # after which a sample weighs 1/e
CLIP = 4.0  # scales that an error is clipped to before it is learned from
BOUND = 1e4  # units that a sample is clipped to
WEIGHTS = 6
LARGEST_TRACE = 1e4  # of the inverse covariance, so that it stays bounded when nothing moves


class Residual:
    """Recursive one-step forecasts of many series; the state grows with a day's steps, not with time."""

    STATE = (
        "weights", "inverse", "recent", "last", "before", "level", "scale", "known", "count", "mean", "spread", "time",
    )  # fmt: skip

    def __init__(self, series: int, day: int) -> None:
        self.day = day
        self.weights = np.zeros((series, WEIGHTS))
        self.weights[:, 1] = 1
        self.inverse = np.tile(np.eye(WEIGHTS), (series, 1, 1))
        self.recent = np.full((day + 1, series), np.nan)  # ring of the last samples
        self.last, self.before, self.level, self.known, self.count, self.mean, self.spread = np.zeros((7, series))
        self.scale = np.full(series, 0.1)
        self.time = 0

    def update(self, values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """The forecast errors of one new sample of each series; then learn from it.

        :param values: Shape (series,), NaN = missing.
        :returns: The error in scales, the value that was expected, and the scale in the series' unit, each of shape
            (series,), NaN while a series is too young (and the first also where the sample is missing).
        """
        warm = self.count >= WARM
        unit = self._unit()
        sample = np.clip((values - self.mean) / unit, -BOUND, BOUND)
        learn = warm & ~np.isnan(values)
        features = self._features(unit)
        forecast = np.einsum("sk,sk->s", self.weights, features)
        error = np.where(learn, sample - forecast, 0)
        scale = np.maximum(self.scale, 1e-9)
        answer = (
            np.where(learn, error / scale, np.nan),
            np.where(warm, self.mean + unit * forecast, np.nan),
            np.where(warm, unit * scale, np.nan),
        )
        self._learn(features, error, learn)
        self._remember(sample, values, learn)
        return answer

    def _unit(self) -> numpy.ndarray:
        deviation = np.sqrt(self.spread / np.maximum(self.count, 1))
        return np.where(deviation > 0, deviation, np.maximum(np.abs(self.mean), 1e-100))

    def _features(self, unit: numpy.ndarray) -> numpy.ndarray:
        with np.errstate(over="ignore"):
            yesterday = np.clip((self.recent[(self.time + 1) % (self.day + 1)] - self.mean) / unit, -BOUND, BOUND)
            earlier = np.clip((self.recent[self.time % (self.day + 1)] - self.mean) / unit, -BOUND, BOUND)
        yesterday = np.where(np.isnan(yesterday), self.last, yesterday)
        earlier = np.where(np.isnan(earlier), self.last, earlier)
        return np.stack(
            [
                np.ones_like(self.last),
                self.last,
                self.last - self.before,
                yesterday - earlier,
                earlier - self.last,
                self.level - self.last,
            ],
            axis=1,
        )

    def _learn(self, features: numpy.ndarray, error: numpy.ndarray, learn: numpy.ndarray) -> None:
        forget = 1 - 1 / (MEMORY_DAYS * self.day)
        clipped = np.clip(error, -CLIP * self.scale, CLIP * self.scale)
        product = np.einsum("sij,sj->si", self.inverse, features)
        gain = product / (forget + np.einsum("si,si->s", features, product))[:, None]
        self.weights += np.where(learn, clipped, 0)[:, None] * gain
        inverse = (self.inverse - gain[:, :, None] * product[:, None, :]) / forget
        inverse *= np.minimum(1, LARGEST_TRACE / np.maximum(np.einsum("sii->s", inverse), 1e-300))[:, None, None]
        self.inverse = np.where(learn[:, None, None], inverse, self.inverse)
        self.known += learn
        share = np.maximum(1 / np.maximum(self.known, 1), 1 / self.day)
        grown = self.scale + share * (np.minimum(np.abs(error), CLIP * self.scale + 1e-6) * 1.25 - self.scale)
        self.scale = np.where(learn, grown, self.scale)

    def _remember(self, sample: numpy.ndarray, values: numpy.ndarray, learn: numpy.ndarray) -> None:
        self.recent[self.time % (self.day + 1)] = values
        self.time += 1
        self.before = np.where(learn, self.last, self.before)
        self.last = np.where(learn, sample, self.last)
        self.level = np.where(learn, self.level + (sample - self.level) / 12, self.level)
        young = (self.count < WARM) & ~np.isnan(values)
        count = self.count + young
        step = np.where(young, values - self.mean, 0)
        mean = self.mean + step / np.maximum(count, 1)
        self.spread = self.spread + np.where(young, step * (np.nan_to_num(values) - mean), 0)
        self.mean, self.count = mean, count


class RunningMean:
    """The mean of the last samples of many series, where there is a newest one and at least half of the others."""

    STATE = ("ring", "time")

    def __init__(self, series: int, length: int) -> None:
        self.ring = np.full((length, series), np.nan)
        self.time = 0

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """The mean with one new sample of each series, shape (series,); NaN where it or more than half are missing."""
        length = len(self.ring)
        self.ring[self.time % length] = values
        self.time += 1
        # In order of age, so that the sum does not depend on where the ring begins.
        ring = np.roll(self.ring, -(self.time % length), axis=0)
        there = ~np.isnan(ring)
        count = there.sum(axis=0)
        enough = ~np.isnan(values) & (2 * count >= length)
        return np.where(enough, np.where(there, ring, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def errors(values: numpy.ndarray, day: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Errors in scales, expected values and scales of every sample, each of shape (series, time)."""
    model = Residual(len(values), day)
    answers = [model.update(column) for column in np.ascontiguousarray(values.T)]
    if not answers:
        return (values.copy(),) * 3
    return tuple(np.array(part).T.copy() for part in zip(*answers, strict=True))


def means(values: numpy.ndarray, length: int) -> numpy.ndarray:
    """The mean of the last samples at every sample, shape (series, time)."""
    return replayed(RunningMean(len(values), length), values)


def residual(frame: Frame) -> list[numpy.ndarray]:
    """Detector: size of the forecast error, in robust scales of such errors."""
    return [np.abs(errors(frame.values, frame.day)[0])]
