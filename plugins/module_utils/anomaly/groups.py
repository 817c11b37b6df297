# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One server against its pool, and the metrics of one server together."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .novelty import nearest
from .residual import errors, means

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

FEWEST_PEERS = 3  # servers with a sample, for a median that one of them does not make
MEMORY_DAYS = 7  # after which a sample of the covariance weighs 1/e


def peers(frame: Frame) -> list[numpy.ndarray]:
    """Detector: novelty of a server's distance to the median of its pool, and of its short mean.

    What the whole pool does is not strange; what one server does alone is.
    """
    apart = np.full(frame.values.shape, np.nan)
    for group in np.unique(frame.groups):
        rows = frame.groups == group
        members = frame.values[rows]
        enough = (~np.isnan(members)).sum(axis=0) >= FEWEST_PEERS
        if enough.any():
            middle = np.full(members.shape[1], np.nan)
            middle[enough] = np.nanmedian(members[:, enough], axis=0)
            apart[rows] = members - middle
    return [nearest(apart), nearest(means(apart, frame.hour))]


def multivariate(frame: Frame) -> list[numpy.ndarray]:
    """Detector: Mahalanobis distance of the forecast errors of one server's metrics, taken together.

    Their covariance is an exponentially weighted one. Every metric of the server gets the same distance.
    """
    error, _expected, _scale = errors(frame.values, frame.day)
    answer = np.full(error.shape, np.nan)
    names, sizes = np.unique(frame.groups, return_counts=True)
    for size in np.unique(sizes):
        rows = np.array([np.flatnonzero(frame.groups == name) for name in names[sizes == size]])
        answer[rows] = _distances(error[rows], frame.day)[:, None, :]
    return [answer]


def _distances(error: numpy.ndarray, day: int) -> numpy.ndarray:
    """Distances of vectors of errors, shape (servers, metrics, time) -> (servers, time)."""
    servers, metrics, time = error.shape
    covariance = np.tile(np.eye(metrics), (servers, 1, 1))
    ridge = 0.05 * np.eye(metrics)
    share = 1 / (MEMORY_DAYS * day)
    answer = np.full((servers, time), np.nan)
    for step in range(time):
        vector = error[:, :, step]
        there = ~np.isnan(vector)
        # A missing metric says nothing: it counts as expected.
        filled = np.where(there, vector, 0)
        squared = np.einsum("si,si->s", filled, np.linalg.solve(covariance + ridge, filled[:, :, None])[:, :, 0])
        answer[:, step] = np.where(there.any(axis=1), np.sqrt(np.maximum(squared, 0)), np.nan)
        bounded = np.clip(filled, -10, 10)
        moved = covariance + share * (bounded[:, :, None] * bounded[:, None, :] - covariance)
        covariance = np.where(there.all(axis=1)[:, None, None], moved, covariance)
    return answer
