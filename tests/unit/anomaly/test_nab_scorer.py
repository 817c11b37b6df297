# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))

import anomalies_nab as nab

FILES = [
    nab.File("one", np.zeros(1000), [(300, 399), (700, 799)]),
    nab.File("two", np.zeros(2000), [(1000, 1199)]),
    nab.File("three", np.zeros(500), []),
]
STANDARD = nab.PROFILES["standard"]


def scores(*hits):
    answer = [np.zeros(len(file.values)) for file in FILES]
    for number, place in hits:
        answer[number][place] = 1.0
    return answer


@pytest.mark.parametrize("profile", nab.PROFILES.values())
def test_no_detection_is_0_and_a_perfect_one_100(profile):
    assert nab.best(FILES, scores(), profile).score == 0
    perfect = nab.best(FILES, scores((0, 300), (0, 700), (1, 1000)), profile)
    assert perfect.score == pytest.approx(100)
    assert (perfect.found, perfect.false_alarms) == (3, 0)


def test_the_sigmoid_has_its_published_values():
    np.testing.assert_allclose(
        nab.sigmoid(np.array([-1.0, -0.5, 0.0, 1.0, 3.0])), [0.98661, 0.84828, 0.0, -0.98661, -1.0], atol=5e-6
    )


def test_a_late_detection_earns_less_and_only_the_first_counts():
    early = nab.best(FILES, scores((0, 300)), STANDARD).score
    late = nab.best(FILES, scores((0, 390)), STANDARD).score
    assert 0 < late < early == pytest.approx(100 / 3)
    assert nab.best(FILES, scores((0, 300), (0, 390)), STANDARD).score == pytest.approx(early)


def test_a_false_alarm_costs_its_weight_and_less_just_behind_a_window():
    (_none, far) = nab.evaluate(FILES, scores((2, 400)), STANDARD)
    assert far.score == pytest.approx(100 * -0.11 / 6)
    (_none, near) = nab.evaluate(FILES, scores((0, 400)), STANDARD)
    assert far.score < near.score < 0
    (_none, low) = nab.evaluate(FILES, scores((2, 400)), nab.PROFILES["reward low false positives"])
    assert low.score == pytest.approx(2 * far.score)


def test_the_beginning_of_a_file_does_not_count():
    assert nab.probation(4032) == 604
    assert nab.probation(22695) == 750
    (only,) = nab.evaluate(FILES, scores((2, 10)), STANDARD)
    assert only.false_alarms == 0
