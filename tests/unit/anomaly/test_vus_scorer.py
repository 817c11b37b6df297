# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))

import anomalies_vus as vus

LABELS = np.zeros(5000, int)
LABELS[1000:1025] = 1
LABELS[3000:3040] = 1


def detected(*spans):
    """Scores of 1 in the spans, and below them an order that says nothing."""
    scores = np.random.default_rng(1).uniform(0, 0.1, len(LABELS))
    for first, end in spans:
        scores[first:end] = 1
    return scores


def by_definition(labels, scores, width, thresholds):
    """Sample by sample and threshold by threshold, for labels whose buffers don't meet."""
    ranks = np.linspace(0, len(scores) - 1, thresholds).astype(int)
    areas = []
    for wide in range(width + 1):
        soft = labels.astype(float)
        for column in range(len(labels)):
            distance = np.abs(np.flatnonzero(labels) - column).min()
            if 0 < distance <= wide // 2:
                soft[column] = np.sqrt(1 - distance / wide)
        before = area = 0.0
        for level in np.sort(scores)[::-1][ranks]:
            said = scores >= level
            true = (soft * said).sum()
            expected = (labels.sum() + (soft * np.where(labels == 1, 1, said)).sum()) / 2
            found = np.mean([said[first:end].any() for first, end in vus.segments(soft > 0)])
            recall = min(true / expected, 1) * found
            area += (recall - before) * true / said.sum()
            before = recall
        areas.append(area)
    return np.mean(areas)


@pytest.mark.parametrize("rounded", [False, True])
def test_it_is_what_the_definition_says(rounded):
    labels = np.zeros(400, int)
    labels[60:75] = labels[200:201] = labels[300:330] = 1
    scores = np.random.default_rng(3).normal(size=400) + labels
    scores = np.round(scores) if rounded else scores
    assert vus.vus_pr(labels, scores, 12, 40) == pytest.approx(by_definition(labels, scores, 12, 40))


def test_perfect_scores_are_near_1_and_random_ones_near_the_prevalence():
    assert vus.vus_pr(LABELS, LABELS + detected()) > 0.9
    random = np.mean([vus.vus_pr(LABELS, np.random.default_rng(seed).random(5000)) for seed in range(10)])
    soft = vus.soft_labels(LABELS).mean()
    assert LABELS.mean() * 0.7 < random < soft * 1.3


def test_only_the_order_counts():
    scores = np.random.default_rng(2).normal(size=5000) + 2 * LABELS
    assert vus.vus_pr(LABELS, scores) == vus.vus_pr(LABELS, 3 + np.exp(scores))


def test_a_detection_in_the_buffer_counts_in_part_and_the_more_the_nearer():
    exact, near, far, outside = (
        vus.vus_pr(LABELS, detected((1000 - early, 1025 - early), (3000 + early, 3040 + early)))
        for early in (0, 10, 30, 200)
    )
    assert exact > near > far > outside + 0.1


def test_no_score_counts_as_0():
    scores = detected((1000, 1025))
    gaps = scores.copy()
    gaps[2000:2100] = np.nan
    scores[2000:2100] = 0
    assert vus.vus_pr(LABELS, gaps) == vus.vus_pr(LABELS, scores)


def test_each_segment_needs_a_detection():
    one, both = vus.vus_pr(LABELS, detected((3000, 3040))), vus.vus_pr(LABELS, detected((1000, 1025), (3000, 3020)))
    assert both > one + 0.15


def test_segments():
    assert vus.segments(np.array([1, 1, 0, 1, 0, 0, 1])) == [(0, 2), (3, 4), (6, 7)]
    assert vus.segments(np.zeros(3)) == []
