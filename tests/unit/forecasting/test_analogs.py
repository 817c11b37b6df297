# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The days most like the last 24 hours are found and continued."""

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import analogs as code
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.analogs import DAYS, NEAREST, analogs


def in_turn(day: int, days: int, shapes: int = 3, rows: int = 2, seed: int = 0) -> np.ndarray:
    """Days of a few shapes, one after the other: neither yesterday nor last week is like today."""
    shape = np.random.default_rng(seed).normal(size=(rows, shapes * day))
    return np.tile(shape, -(-days // shapes))[:, : days * day].astype(np.float32)


def utc(target: np.ndarray, column: np.ndarray) -> np.ndarray:
    """No change of the clock."""
    return column


@pytest.mark.parametrize("day", [24, 100, 144, 288])
def test_days_in_turn_are_continued_as_they_were(day):
    values, moments, ahead = (
        in_turn(day, 21),
        np.array([17 * day + 5, 18 * day]),
        np.array([1, 7, day, day + 1, 3 * day]),
    )
    came, moved = analogs(values, moments, ahead, day, utc)
    truth = values[:, moments[:, None] + ahead - 1]
    assert came.shape == (NEAREST, *truth.shape)
    np.testing.assert_allclose(moved, truth, atol=0.05)
    near = ahead <= day  # farther ahead, fewer days of the same turn are known
    np.testing.assert_allclose(came[..., near], np.broadcast_to(truth[..., near], came[..., near].shape), atol=1e-6)


@pytest.mark.parametrize(("part", "columns"), [(1, 72), (1, 100), (4, 1440), (4, 1443)])
def test_spans_are_compared_by_their_means(part, columns):
    values = np.random.default_rng(0).normal(size=(3, columns)).astype(np.float32)
    edges = np.array([0, 1, 3, 10, 24])
    ends = np.arange(columns % part + 24 * part, columns + 1, part)
    for mean, new, old in zip(code._means(values, part, edges), edges[:-1], edges[1:], strict=True):
        truth = [values[:, end - old * part : end - new * part].mean(axis=1) for end in ends]
        np.testing.assert_allclose(mean, np.stack(truth, axis=1), atol=1e-6)


def test_only_what_is_known_is_looked_at():
    values, ahead = in_turn(24, 12), np.arange(1, 73)
    for known in (48, 49, 100, 200):
        other = values.copy()
        other[:, known:] = 99
        for told, same in zip(
            analogs(values, np.array([known]), ahead, 24, utc),
            analogs(other, np.array([known]), ahead, 24, utc),
            strict=True,
        ):
            np.testing.assert_array_equal(told, same)


def test_a_new_level_is_believed_where_the_day_is_moved():
    values = np.tile(np.sin(2 * np.pi * np.arange(24) / 24), 15)[None].astype(np.float32)
    values[:, -6:] += 3
    came, moved = analogs(values, np.array([15 * 24]), np.arange(1, 13), 24, utc)
    np.testing.assert_allclose(moved[0, 0], values[0, :12] + 3, atol=1e-5)
    np.testing.assert_allclose(came[:, 0, 0], np.tile(values[0, :12], (NEAREST, 1)), atol=1e-5)


@pytest.mark.parametrize("days", [2, 3, DAYS + 5])
def test_short_and_long_histories_have_an_answer(days):
    values = in_turn(24, days)
    came, moved = analogs(values, np.array([30, 24 * days]), np.arange(1, 24 * 9, 5), 24, utc)
    assert came.shape[0] == min(NEAREST, max(1, days - 1))
    assert np.isfinite(came).all()
    assert np.isfinite(moved).all()


def test_days_in_turn_are_forecast():
    rng = np.random.default_rng(1)
    values = in_turn(24, 28, rows=6) + 0.05 * rng.normal(size=(6, 28 * 24))
    answer = forecast(values[:, :-24], step_seconds=3600, horizon=24, quantiles=(0.1, 0.5, 0.9))
    error = np.abs(answer.quantiles[:, :, 1] - values[:, -24:]).mean()
    assert error < np.abs(values[:, -48:-24] - values[:, -24:]).mean() / 3


def test_a_burst_is_not_taken_for_a_new_level_and_what_lasts_is():
    """Of two hours that are higher, the lesser rise counts; a quarter of an hour leaves the second one as it was."""
    day = 288
    usual = np.tile(10 + 3 * np.sin(2 * np.pi * np.arange(day) / day), 10).astype(np.float32)[None]
    burst, level = usual.copy(), usual.copy()
    burst[:, -3:] += 1000
    level[:, -24:] += 5
    told = [
        analogs(values, np.array([usual.shape[1]]), np.arange(1, 100), day, lambda target, column: column)[1]
        for values in (usual, burst, level)
    ]
    np.testing.assert_allclose(told[1], told[0], atol=0.05)
    np.testing.assert_allclose(told[2], told[0] + 5, atol=0.3)
