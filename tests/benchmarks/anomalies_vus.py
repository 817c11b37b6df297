# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VUS-PR, the volume under the surface of range-based precision and recall.

Written from its description: Paparrizos et al. (2022), 'Volume Under the Surface: A New Accuracy Evaluation Measure for
Time-Series Anomaly Detection', PVLDB 15(11). Around each labelled segment lies a buffer in which labels fall from 1; a
detection there counts in part. Recall is multiplied by the share of segments of which something is detected. The area under
precision against recall is averaged over all widths of the buffer, from none to :data:`WIDTH`. As in the TSB-AD benchmark (Liu
and Paparrizos 2024, 'The Elephant in the Room: Towards A Reliable Time-Series Anomaly Detection Benchmark'), thresholds are
:data:`THRESHOLDS` scores at even ranks, and each curve's area is the sum of steps of recall times the precision after them.
"""

from __future__ import annotations

import numpy as np

WIDTH = 100  # samples, both sides of a segment together
THRESHOLDS = 250


def segments(labels: np.ndarray) -> list[tuple[int, int]]:
    """First column of each labelled segment, and the first one behind it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(labels, bool), [0]]).astype(int)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def soft_labels(labels: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """Labels with a buffer of each width, shape (width + 1, time).

    With width W the label of a sample D from a segment is sqrt(1 - D / W) for D up to W / 2; those of several segments
    are added, up to 1.
    """
    distance = np.arange(1, width // 2 + 1)
    widths = np.arange(width + 1)[:, None]
    share = np.sqrt(np.maximum(1 - distance / np.maximum(widths, 1), 0)) * (distance <= widths // 2)
    soft = np.tile(np.asarray(labels, float), (width + 1, 1))
    for first, end in segments(labels):
        behind = min(len(distance), soft.shape[1] - end)
        before = min(len(distance), first)
        soft[:, end : end + behind] += share[:, :behind]
        soft[:, first - before : first] += share[:, :before][:, ::-1]
    return np.minimum(soft, 1)


def vus_pr(labels: np.ndarray, scores: np.ndarray, width: int = WIDTH, thresholds: int = THRESHOLDS) -> float:
    """VUS-PR of the scores of one series, between 0 and 1; only their order counts.

    :param labels: 1 where a sample is anomalous, of which there must be one; shape (time,).
    :param scores: Larger = stranger, NaN counts as 0; shape (time,).
    """
    marked = np.asarray(labels, bool)
    score = np.nan_to_num(np.asarray(scores, float))
    ascending = np.sort(score)
    levels = ascending[::-1][np.linspace(0, len(score) - 1, thresholds).astype(int)]
    detected = len(score) - np.searchsorted(ascending, levels)
    found_at = np.searchsorted(-levels, -score)  # number of the first threshold that detects a sample
    soft = soft_labels(marked, width)
    positives = marked.sum()
    areas = []
    for label in soft:
        near = np.flatnonzero(label)
        true = _counts(found_at[near], label[near], thresholds)
        inside = _counts(found_at[marked], np.ones(positives), thresholds)
        # Of the buffer, only what is detected must have been found; half of it weighs.
        recall = np.minimum(true / (positives + (true - inside) / 2), 1) * _existence(label, found_at, thresholds)
        areas.append(np.sum(np.diff(recall, prepend=0) * true / detected))
    return float(np.mean(areas))


def _counts(found_at: np.ndarray, weights: np.ndarray, thresholds: int) -> np.ndarray:
    """The weight detected at each threshold."""
    return np.bincount(found_at, weights, minlength=thresholds).cumsum()


def _existence(label: np.ndarray, found_at: np.ndarray, thresholds: int) -> np.ndarray:
    """The share of segments, with their buffers, of which something is detected at each threshold."""
    found = [found_at[first:end].min() for first, end in segments(label > 0)]
    return np.bincount(found, minlength=thresholds).cumsum() / len(found)
