# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly.usual import Unusual, beside_usual
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

HOUR, DAY = 12, 288


def week():
    noise = np.random.default_rng(1).normal(0, 2, 8 * DAY)
    return 50 + 20 * np.sin(2 * np.pi * np.arange(8 * DAY) / DAY) + noise


def told(values):
    return beside_usual(values, len(values) - 1, HOUR, DAY)


def test_an_hour_as_on_the_days_before_is_not_unusual():
    assert sum(beside_usual(week(), column, HOUR, DAY) is not None for column in range(7 * DAY, 8 * DAY, HOUR)) <= 10


def test_a_mean_and_a_spread_that_no_day_had():
    values = week()
    values[-HOUR:] += 20
    assert told(values) == Unusual("mean", pytest.approx(values[-HOUR:].mean()), pytest.approx(49, abs=3))
    values = week()
    values[-HOUR:] = values[-HOUR:].mean()
    still = told(values)
    assert (still.what, still.now) == ("spread", pytest.approx(0, abs=1e-9))
    assert 1 < still.usual < 4
    values = week()
    values[-HOUR:] += 30 * (-1) ** np.arange(HOUR)
    assert told(values).what == "spread"


def test_too_few_days_and_gaps_tell_nothing():
    values = week()
    values[-HOUR:] += 20
    assert told(values[5 * DAY :]) is None
    gone = values.copy()
    gone[-HOUR + 1 :] = np.nan
    assert told(gone) is None
    gone = values.copy()
    gone[: 5 * DAY] = np.nan
    assert told(gone) is None
    assert told(np.full(8 * DAY, 3.0)) is None


@given(
    values=arrays.arrays(np.float64, 40, elements=st.one_of(st.floats(-1e100, 1e100), st.just(np.nan))),
    column=st.integers(0, 39),
)
@settings(max_examples=60)
def test_whatever_comes_it_is_finite_or_nothing(values, column):
    answer = beside_usual(values, column, 2, 5)
    assert answer is None or np.isfinite([answer.now, answer.usual]).all()
