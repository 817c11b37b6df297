# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import anomaly
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly import (
    daily,
    excursion,
    frame,
    lasting,
    novelty,
    residual,
    scoring,
    spread,
    tail,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly.detectors import GROUPED
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

STEP = 1800  # 48 steps a day keep the tests short
END = datetime.datetime(2026, 1, 31, 6, 30, tzinfo=datetime.UTC)
GROUPS = [0, 0, 0, 1, 1]


def scored(values, detector="auto", end=END):
    if detector in GROUPED:
        return anomaly.score_groups(values, GROUPS, step_seconds=STEP, end=end, detector=detector, seed=3)
    return anomaly.score(values, step_seconds=STEP, end=end, detector=detector, seed=3)


def fleet(time=240, seed=0):
    random = np.random.default_rng(seed)
    day = np.sin(2 * np.pi * np.arange(time) * STEP / 86400)
    values = 50 + 10 * day + random.normal(0, 1, (5, time))
    values[1, 100:110] = np.nan
    values[2, 150] = 400
    return values


@pytest.mark.parametrize("detector", anomaly.DETECTORS)
def test_a_prefix_has_the_same_scores(detector):
    values = fleet()
    whole = scored(values, detector)
    assert np.nanmin(whole) >= 0 and np.nanmax(whole) <= 1
    for cut in (1, 151):
        end = END - datetime.timedelta(seconds=STEP * (values.shape[1] - cut))
        np.testing.assert_array_equal(whole[:, :cut], scored(values[:, :cut], detector, end))


SAMPLES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.integers(-3, 3).map(float),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0]),
)


@settings(max_examples=12)
@given(
    values=arrays.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(0, 90)), elements=SAMPLES),
    cut=st.integers(0, 90),
)
def test_whatever_comes_scores_lie_in_range_and_are_causal(values, cut):
    scores = anomaly.score(values, step_seconds=STEP)
    assert scores.shape == values.shape
    known = ~np.isnan(scores)
    assert ((scores[known] >= 0) & (scores[known] <= 1)).all()
    assert not known[np.isnan(values)].any()
    np.testing.assert_array_equal(scores[:, :cut], anomaly.score(values[:, :cut], step_seconds=STEP))


@settings(max_examples=4)
@given(seed=st.integers(0, 1000), order=st.permutations(range(5)))
def test_the_order_of_series_does_not_matter(seed, order):
    values = fleet(160, seed)
    np.testing.assert_array_equal(scored(values)[order], scored(values[order]))


@settings(max_examples=30)
@given(values=arrays.arrays(np.float64, (2, 40), elements=st.one_of(st.integers(-5, 5).map(float), st.just(np.nan))))
def test_nearest_is_the_nearest(values):
    expected = np.full(values.shape, np.nan)
    for row in range(2):
        for column in range(40):
            past = values[row, :column]
            past = past[~np.isnan(past)]
            if len(past) and not np.isnan(values[row, column]):
                expected[row, column] = np.abs(past - values[row, column]).min()
    np.testing.assert_array_equal(novelty.nearest(values), expected)


def test_a_constant_series_is_never_news_and_its_first_change_is_once():
    values = np.full((1, 500), 7.0)
    assert not (anomaly.score(values, step_seconds=STEP) > 0.5).any()
    values[0, 400:] = 8.0
    news = np.flatnonzero(anomaly.score(values, step_seconds=STEP)[0] > 0.5)
    assert news[0] == 400
    assert len(news) <= 2


@pytest.mark.parametrize("values", [np.empty((0, 9)), np.empty((3, 0)), np.ones((1, 1)), np.full((2, 300), np.nan)])
def test_nothing_to_go_by_is_no_score(values):
    scores = anomaly.score(values, step_seconds=STEP)
    assert scores.shape == values.shape
    assert np.isnan(scores).all()


def test_a_huge_sample_is_news_once_and_does_not_deafen():
    values = fleet(400)
    values[0, 200] = 1e300
    values[0, 300] = 120
    scores = anomaly.score(values, step_seconds=STEP)[0]
    assert scores[200] > 0.9
    assert scores[300] > 0.5
    assert (scores[201:300] > 0.55).sum() <= 1


def test_scale_and_offset_change_no_rank_of_the_value():
    values = fleet(200)
    np.testing.assert_allclose(scored(values, "novelty"), scored(values * 1024, "novelty"), rtol=1e-9, equal_nan=True)


def test_surprise_is_read_back_from_scores():
    surprise = np.abs(np.random.default_rng(0).normal(0, 2, (3, 100)))
    onset = scoring.Onset(3, STEP)
    scores = np.array([onset.update(column, column) for column in surprise.T]).T
    np.testing.assert_allclose(scoring.surprise_of(scores), surprise, atol=1e-9)


@pytest.mark.parametrize("step_seconds", [60, 300, 3600])
def test_news_is_the_most_surprising_of_twelve_hours_at_any_step(step_seconds):
    hour = 3600 // step_seconds
    surprise = np.zeros((1, 40 * hour))
    surprise[0, [10 * hour, 18 * hour, 33 * hour]] = 5, 4.9, 4.8
    onset = scoring.Onset(1, step_seconds)
    scores = np.array([onset.update(column, column) for column in surprise.T])[:, 0]
    quiet = {60: 12, 300: 12, 3600: 24}[step_seconds]  # of an hour's steps, a day at least
    assert np.flatnonzero(scores > 0.5).tolist() == [10 * hour] + [33 * hour] * (quiet == 12)


def test_minutes_need_more_surprise_than_five_minutes():
    """There are five times as many, and as many false alarms would come of the same rank."""
    surprise = np.full((1,), 2.5)
    assert scoring.Onset(1, 300).update(surprise, surprise) > 0.5 > scoring.Onset(1, 60).update(surprise, surprise)


def test_what_lasts_is_stranger_than_noise_though_only_its_onset_is_news():
    random = np.random.default_rng(7)
    day = np.sin(2 * np.pi * np.arange(48 * 20) * STEP / 86400)
    values = (100 + 30 * day) * np.exp(random.normal(0, 0.03, (20, len(day))))
    values[:, 700:716] *= 0.7
    scores = scored(values)
    inside = scores[:, 702:716]
    assert (inside > 0.5).mean() < 0.05
    before = np.quantile(scores[:, 500:700], 0.99, axis=1, keepdims=True)
    assert (inside > before).mean() > 0.9


def test_an_excursion_is_far_from_the_level_all_through_and_a_new_level_is_learned():
    values = np.random.default_rng(6).normal(0, 1, (1, 800))
    values[0, 300:320] += 10
    values[0, 500:] += 10
    values[0, 400] = np.nan
    distance = excursion.excursions(values, 48, 6)[0]
    assert np.isnan(distance[: excursion.MEMORY]).all() and np.isnan(distance[400])
    assert distance[300:320].min() > 2 * np.nanquantile(distance[24:300], 0.9)
    assert distance[700:].mean() < 2
    np.testing.assert_array_equal(distance, excursion.excursions(values * 1024, 48, 6)[0])


def test_an_excursion_is_measured_by_what_is_usual_at_its_time_of_day():
    """The same distance is strange at noon, when samples lie close, and nothing at night."""
    random = np.random.default_rng(12)
    time = np.arange(48 * 30)
    night = time % 48 < 24
    values = random.normal(0, np.where(night, 1.0, 0.1), (20, len(time)))
    values[:, [28 * 48 + 12, 28 * 48 + 36]] += 1.5
    distance = excursion.excursions(values, 48, 6)
    assert np.median(distance[:, 28 * 48 + 36]) > 5 * np.median(distance[:, 28 * 48 + 12])
    calm = distance[:, 20 * 48 : 28 * 48]
    at_night = night[20 * 48 : 28 * 48]
    assert 0.5 < np.median(calm[:, at_night]) / np.median(calm[:, ~at_night]) < 2  # of samples, 10


def test_the_mean_is_of_neighbours_and_a_break_is_held():
    state = lasting.Lasting(2)
    quiet = np.zeros(2)
    first = state.update(quiet, quiet, quiet, np.array([4.0, np.nan]))
    np.testing.assert_allclose(first, [4 / 3.5, 0])
    for _sample in range(30):
        held = state.update(quiet, quiet, quiet, quiet)
    np.testing.assert_allclose(held, [2 / 3.5, 0])
    loud = [state.update(quiet, np.array([np.nan, 5.0]), quiet, quiet)[1] for _sample in range(2)]
    np.testing.assert_allclose(loud, [5 / 2.5 / 3.5, (2 + 3 / 2.5) / 3.5])
    gone = state.update(np.array([np.nan, 0]), quiet, quiet, quiet)
    assert np.isnan(gone[0]) and not np.isnan(gone[1])


def test_the_tail_of_noise_is_its_probability():
    random = np.random.default_rng(1)
    surprise = tail.surprise(np.abs(random.normal(size=(50, 2000))))[:, 500:]
    assert (surprise > 1).mean() == pytest.approx(0.085, rel=0.2)
    assert 0.001 < (surprise > 2).mean() < 0.0125


def test_within_the_past_surprise_is_the_rank():
    past = 2.0 ** np.random.default_rng(2).permutation(np.arange(-9, 11))
    for value in (2.0**-9, 2.0**3, 2.0**8):
        surprise = tail.surprise(np.append(past, value)[None])[0, -1]
        assert surprise == pytest.approx(-np.log10(((past >= value).sum() + 1) / 21))


def test_beyond_the_past_it_tells_how_far_and_one_incident_does_not_hide_the_next():
    past = np.random.default_rng(3).uniform(1, 2, 99)
    new, far, farther = (tail.surprise(np.append(past, value)[None])[0, -1] for value in (2.5, 200, 20000))
    assert 2 < new < 2.1
    assert far == pytest.approx(2 + 2 * 0.64, abs=0.02)
    assert farther == pytest.approx(2 + 4 * 0.64, abs=0.02)
    again = tail.surprise(np.concatenate([past, [200, 20000]])[None])[0, -1]
    assert again == pytest.approx(farther, abs=0.04)


def test_in_a_long_history_the_rank_decides():
    past = np.random.default_rng(4).uniform(1, 2, 9999)
    surprise = tail.surprise(np.append(past, 2e3)[None])[0, -1]
    assert 4 < surprise < 4 + 3 * 0.07


def test_the_forecast_learns_the_day():
    values = fleet(48 * 20)
    error, expected, _scale = residual.errors(values[3:4], 48)
    assert np.nanmean(np.abs(expected[0, -96:] - values[3, -96:])) < 1.6
    assert np.isnan(error[0, : residual.WARM]).all()


def test_what_the_whole_pool_does_is_not_strange_to_peers():
    random = np.random.default_rng(2)
    values = 10 + random.normal(0, 0.5, (6, 300))
    values[:, 200:220] += 30
    values[0, 260:] += 8
    scores = anomaly.score_groups(values, [0] * 6, step_seconds=STEP)
    assert np.nanmax(scores[:, 200:220]) < 0.55
    assert scores[0, 260] > 0.5


def test_metrics_that_part_are_strange_together():
    random = np.random.default_rng(3)
    shared = random.normal(0, 1, 900)
    values = 20 + shared + random.normal(0, 0.1, (3, 900))
    values[2, 800] -= 6
    scores = anomaly.score_groups(values, [4, 4, 4], step_seconds=STEP, detector="multivariate")
    assert (scores[:, 800] > 0.5).all()


def test_standing_still_is_strange_to_what_moved():
    values = fleet(300)
    values[0, 200:260] = values[0, 200]
    values[3, 200:260] = np.nan
    scores = scored(values, "flat_line")
    assert np.nanmax(scores[0, 200:260]) > 0.5
    assert np.nanmax(scores[3, 200:260]) > 0.5


def test_refuses():
    with pytest.raises(InvalidOption, match="detector: there is no detector 'magic'"):
        anomaly.score(np.ones((1, 3)), step_seconds=300, detector="magic")
    with pytest.raises(InvalidOption, match="which series belong together"):
        anomaly.score(np.ones((1, 3)), step_seconds=300, detector="peers")
    with pytest.raises(ValueError, match="matrix"):
        anomaly.score(np.ones(3), step_seconds=300)
    with pytest.raises(ValueError, match="groups"):
        anomaly.score_groups(np.ones((2, 3)), [1], step_seconds=300)
    with pytest.raises(InvalidOption, match="step: 0 is not a step"):
        anomaly.score(np.ones((1, 3)), step_seconds=0)


def test_a_lost_season_is_news():
    """The load of noon stays, so that no value is new and no step is far from the last."""
    random = np.random.default_rng(8)
    day = np.sin(2 * np.pi * np.arange(48 * 12) * STEP / 86400)
    day[492:] = 1
    values = 50 + 10 * day + random.normal(0, 1, (40, len(day)))
    seen = {
        detector: (scored(values, detector)[:, 492:540] > 0.5).any(axis=1).mean()
        for detector in ("auto", "time_of_day", "novelty")
    }
    assert seen["auto"] > 0.9
    assert seen["time_of_day"] > 0.9
    assert seen["novelty"] < 0.5


def test_what_stands_almost_still_or_trembles_at_its_usual_level_is_news():
    """Of a restless load, no value is new, and the mean is as ever."""
    random = np.random.default_rng(9)
    noise = random.normal(0, 1, (40, 48 * 12))
    values = 50 + 5 * noise
    values[:20, 492:540] = 50 + noise[:20, 492:540]
    values[20:, 492:540] = 50 + 12 * (-1) ** np.arange(48)
    seen = {
        detector: (scored(values, detector)[:, 492:540] > 0.5).any(axis=1).reshape(2, 20).mean(axis=1)
        for detector in ("auto", "spread", "time_of_day")
    }
    assert (seen["spread"] > 0.8).all()
    assert (seen["auto"] > 0.8).all()
    assert (seen["time_of_day"] < 0.3).all()


@given(
    values=arrays.arrays(np.float64, (2, 60), elements=st.one_of(st.floats(-40, 40), st.just(np.nan))),
    memory=st.integers(2, 8),
)
@settings(max_examples=30)
def test_spread_is_the_standard_deviation_with_weights_that_fall(values, memory):
    told = frame.replayed(spread.Spread(2, memory), values)
    for row in range(2):
        known, weights = [], []
        for column, value in enumerate(values[row]):
            if not np.isnan(value):
                share = 1 / min(len(known) + 1, memory)
                weights = [weight * (1 - share) for weight in weights] + [share]
                known.append(value)
            if np.isnan(value) or len(known) < memory:
                assert np.isnan(told[row, column])
                continue
            variance = np.cov(known, aweights=weights, ddof=0)
            assert told[row, column] == pytest.approx(np.log(np.sqrt(variance) + spread.LEAST), abs=1e-4)


def test_distance_to_the_mean_of_the_time_of_day():
    values = np.array([[1.0, 5, np.nan, 3, np.nan, 4, 5, 8, 4]])
    told, ahead = daily.profile(values, 3, 1)
    nan = np.nan
    np.testing.assert_allclose(told, [[nan, nan, nan, 2, nan, nan, 3, 3, 0]])
    np.testing.assert_allclose(ahead, [[nan, nan, 1, 5, nan, 2, 5, 4, 3]])


@given(values=arrays.arrays(np.float64, (3, 60), elements=st.one_of(st.floats(0, 1e30), st.just(np.nan))))
@settings(max_examples=30)
def test_the_rank_is_that_of_a_count_over_all_before(values):
    """As long as nothing lies beyond the third greatest, the surprise is the share of those in its bin or above."""
    told = tail.surprise(values)
    assert np.isnan(told[np.isnan(values)]).all()
    for row in range(3):
        known = values[row][~np.isnan(values[row])]
        unit = next((value for value in known if value > 0), None)
        if unit is None:
            continue
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log2(known) - np.log2(unit), tail.LOWEST)
        first = int(np.argmax(known > 0))
        logs[:first] = tail.LOWEST  # zeros before there is a unit
        bins = np.clip((logs - tail.LOWEST) * tail.BINS_PER_OCTAVE, 0, tail.OCTAVES * tail.BINS_PER_OCTAVE - 1)
        bins = bins.astype(int)
        expected = [-np.log10((np.sum(bins[:at] >= bins[at]) + 1) / (at + 1)) for at in range(len(bins))]
        answer = told[row][~np.isnan(values[row])]
        assert (answer >= np.array(expected) - 1e-9).all()
        third = [np.sort(known[:at])[-3] if at >= 3 else np.inf for at in range(len(known))]
        inside = known <= third
        np.testing.assert_allclose(answer[inside], np.array(expected)[inside], atol=1e-9)
