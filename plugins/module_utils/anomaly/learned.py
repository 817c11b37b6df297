# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""scikit-learn's outlier detectors on windows of values, forecast errors and time of day."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from ..libraries import sklearn_ensemble, sklearn_svm
from .residual import errors, means

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

SAMPLES = 1000  # of the past that a model is fitted to, at most
FEWEST = 64  # that it is fitted to at all


def _features(frame: Frame) -> numpy.ndarray:
    """Value, last change, short mean, forecast error, time of day: shape (series, time, 6)."""
    values = frame.values
    change = np.full_like(values, np.nan)
    change[:, 1:] = np.clip(np.diff(values, axis=1), -1e100, 1e100)
    error, _expected, _scale = errors(values, frame.day)
    first = int(frame.end.timestamp()) - frame.step_seconds * (values.shape[1] - 1) if frame.end else 0
    stamps = first + frame.step_seconds * np.arange(values.shape[1])
    angle = np.broadcast_to(2 * np.pi * (stamps % 86400) / 86400, values.shape)
    return np.stack([values, change, means(values, frame.hour), error, np.sin(angle), np.cos(angle)], axis=-1)


def _score(frame: Frame, build: t.Callable[[int], t.Any]) -> list[numpy.ndarray]:
    features = _features(frame)
    answer = np.full(frame.values.shape, np.nan)
    # Models are made anew at whole days of the series' own age, so that a prefix meets the same ones.
    for row, points in enumerate(features):
        complete = ~np.isnan(points).any(axis=1)
        for start in range(frame.day, len(points), frame.day):
            past = points[:start][complete[:start]]
            here = start + np.flatnonzero(complete[start : start + frame.day])
            if len(past) < FEWEST or len(here) == 0:
                continue
            random = np.random.default_rng([frame.seed, start])
            past = past[random.permutation(len(past))[:SAMPLES]]
            centre = np.median(past, axis=0)
            unit = np.median(np.abs(past - centre), axis=0) + 1e-9 * np.abs(centre) + 1e-100
            model = build(frame.seed)
            model.fit(np.clip((past - centre) / unit, -1e3, 1e3))
            normal = model.decision_function(np.clip((points[here] - centre) / unit, -1e3, 1e3))
            answer[row, here] = np.exp(-np.clip(normal, -500, 500))
    return [answer]


def isolation_forest(frame: Frame) -> list[numpy.ndarray]:
    """Detector: isolation forest (Liu, Ting, Zhou 2008), fitted to the past anew every day."""
    return _score(
        frame,
        lambda seed: sklearn_ensemble.IsolationForest(n_estimators=50, random_state=seed, n_jobs=1),
    )


def one_class_svm(frame: Frame) -> list[numpy.ndarray]:
    """Detector: one-class support vector machine (Schölkopf et al. 2001), fitted to the past anew every day."""
    return _score(frame, lambda seed: sklearn_svm.OneClassSVM(nu=0.02, gamma="scale"))
