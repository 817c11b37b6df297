# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import NotEnoughHistory
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import near
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import backtest, elasticity, policies

STEP, DAY = 300, 288


def pool(**more):
    definition = {
        "servers": ["w0", "w1"],
        "load": {"metric": "requests", "server_capacity": 100, "target_utilization": 0.8},
        "slo": {"overload_cost_per_hour": 50},
        "standby": {"servers": [f"s{number}" for number in range(30)], "lead_time": "15m"},
        **more,
    }
    return options.pools({"web": definition})["web"]


def days(count=24, noise=20.0, seed=1):
    """A day's wave with a steep morning, and noise."""
    random = np.random.default_rng(seed)
    time = np.arange(count * DAY)
    wave = 400 + 1200 * np.clip(np.sin(2 * np.pi * time / DAY) * 2, 0, 1)
    return np.maximum(wave + random.normal(0, noise, len(time)), 0)


def past(demand=None, **more):
    return backtest.Past.of(pool(**more), days() if demand is None else demand, STEP, 900, "web")


def test_what_is_said_at_a_moment_is_told_from_samples_up_to_it():
    demand = days(16)
    later = demand.copy()
    later[10 * DAY :] = 5.0
    ours, theirs = (near.replay(values[None, :], lead=4, step_seconds=STEP) for values in (demand, later))
    known = slice(0, 10 * DAY)
    assert np.array_equal(ours.centre[:, known], theirs.centre[:, known])
    assert np.array_equal(ours.scale[:, known], theirs.scale[:, known])
    levels = [one.level(0, 0.9)[known] for one in (ours, theirs)]
    assert np.array_equal(*levels, equal_nan=True)
    assert np.isfinite(levels[0][5 * DAY :]).all()


def test_a_level_is_kept_about_as_often_as_it_says():
    demand = days(40, seed=3)
    told = near.replay(demand[None, :], lead=4, step_seconds=STEP)
    for level in (0.5, 0.9, 0.99):
        said = told.level(0, level)[14 * DAY : -4]
        assert np.mean(demand[14 * DAY + 4 :] <= said) == pytest.approx(level, abs=0.03)


def test_a_change_is_learned_within_the_day():
    """From the tenth day on, demand repeats every two hours; an hourly renewal knows it before the day is over."""
    random = np.random.default_rng(7)
    time = np.arange(11 * DAY)
    demand = 100 + random.normal(0, 1, len(time))
    demand[10 * DAY :] += 60 * np.sin(2 * np.pi * time[10 * DAY :] / 24)
    told = near.replay(demand[None, :], lead=4, step_seconds=STEP)
    miss = np.abs(demand[4:] - told.centre[0, :-4])
    assert miss[-24:].mean() < 0.7 * miss[10 * DAY : 10 * DAY + 24].mean()


def test_levels_rise_with_their_probability():
    told = near.replay(days(10, seed=4)[None, :], lead=4, step_seconds=STEP)
    levels = np.stack([told.level(0, probability) for probability in (0.1, 0.5, 0.9, 0.99)])[:, 4 * DAY :]
    assert (np.diff(levels, axis=0) >= 0).all()


@pytest.mark.parametrize("overload", ["time", "unserved"])
def test_decisions_at_a_moment_know_nothing_of_what_comes_later(overload):
    demand = days(16)
    later = demand.copy()
    later[10 * DAY + 7 :] = np.random.default_rng(2).uniform(1, 3000, len(demand) - 10 * DAY - 7)
    slo = {"overload_cost_per_hour": 50, "overload": overload}
    ours, theirs = (backtest.chosen(past(values, slo=slo)) for values in (demand, later))
    known = slice(0, 10 * DAY + 7)
    assert np.array_equal(ours.wanted[known], theirs.wanted[known])
    assert np.array_equal(ours.taken[known], theirs.taken[known])
    assert not np.array_equal(ours.wanted, theirs.wanted)


def test_newest_is_the_level_at_the_last_moment():
    told = near.replay(days(10)[None, :], lead=4, step_seconds=STEP)
    assert told.newest(0, [0.5, 0.9])[1] > told.newest(0, [0.5])[0]
    assert near.replay(days(2)[None, :], lead=4, step_seconds=STEP).newest(0, [0.5]) is None


def test_gaps_and_scale_do_not_matter():
    demand = days(16)
    told = near.replay(demand[None, :] * 1e6, lead=4, step_seconds=STEP)
    own = near.replay(demand[None, :], lead=4, step_seconds=STEP)
    assert np.allclose(told.centre / 1e6, own.centre, rtol=1e-6)
    demand[9 * DAY : 9 * DAY + 50] = np.nan
    assert np.isfinite(near.replay(demand[None, :], lead=4, step_seconds=STEP).centre).all()


def test_a_server_carries_load_after_its_boot_and_stays_for_the_hold():
    wanted = np.array([2, 2, 5, 2, 2, 2, 2, 2, 2], dtype=float)
    on = elasticity.powered(wanted, 3)
    assert on.tolist() == [2, 2, 5, 5, 5, 5, 2, 2, 2]
    assert elasticity.carrying(on, 3).tolist() == [2, 2, 2, 2, 2, 5, 2, 2, 2]


def test_figures_by_hand():
    told = elasticity.figures(
        np.full(5, 2.0),
        np.array([1.0, 1.5, 2.5, 3.5, np.nan]),
        boot=0,
        hold=0,
        step_seconds=3600,
        server_cost=1.0,
        overload_cost=10.0,
    )
    # Needed 2, 3, 4 with 2 there: short 0, 1/3, 2/4.
    assert told.theta_u == pytest.approx((1 / 3 + 1 / 2) / 3)
    assert (told.theta_o, told.tau_o, told.adaptations_per_hour) == (0, 0, 0)
    assert told.tau_u == pytest.approx(2 / 3)
    assert (told.server_hours, told.overload_minutes) == (6, 120)
    assert told.relative_hours == pytest.approx(6 / 7.5)
    assert told.cost == pytest.approx(6 + 10 * 2.0)


def test_an_oracle_leaves_nothing_short_and_nobody_does_it_with_less():
    one = past()
    told = backtest.replay(one)
    assert face.plain(told) == told
    oracle = told["policies"]["oracle"]
    assert oracle["tau_u"] == 0
    assert all(
        figures["server_hours"] >= oracle["server_hours"] - 1e-9 or figures["tau_u"] > 0
        for figures in told["policies"].values()
    )


@pytest.mark.parametrize(("boot", "hold"), [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)])
def test_of_all_decisions_there_are_none_serves_everything_with_fewer_than_the_oracle(boot, hold):
    """All rows of decisions over eight steps with up to two servers are tried; those whose hold is full are counted."""
    rows = np.array(list(itertools.product(range(3), repeat=8)), dtype=float)
    on = elasticity.powered(rows, hold)
    serving = elasticity.carrying(on, boot)
    counted = slice(hold, -1)
    for seed in range(20):
        demand = np.random.default_rng(seed).integers(0, 3, 8).astype(float)
        enough = (serving[:, counted] >= demand[hold + 1 :]).all(axis=1)
        best = policies.oracle(demand, boot + 1)
        assert (elasticity.carrying(best, boot)[counted] >= demand[hold + 1 :]).all()
        assert on[enough, counted].sum(axis=1).min() == best[counted].sum()


@pytest.mark.parametrize("boot", [0, 1, 3])
def test_one_server_fewer_at_any_step_leaves_the_oracle_short(boot):
    demand = np.random.default_rng(boot).uniform(0.1, 9, 60)
    best = policies.oracle(demand, boot + 1)
    terms = {"boot": boot, "hold": 0, "step_seconds": STEP}
    for step in range(len(demand) - 1):
        fewer = best - (np.arange(len(demand)) == step)
        assert elasticity.figures(fewer, demand, **terms).tau_u > 0


def test_what_steps_cost_sums_to_what_they_cost_together():
    demand = days(3) / 100
    demand[40:45] = np.nan
    wanted = np.stack([policies.reactive(demand, 0.8), policies.static(demand, DAY)])
    for by_time in (False, True):
        terms = {"boot": 3, "hold": 2, "step_seconds": STEP, "server_cost": 2.0, "overload_cost": 70.0}
        servers, overload = elasticity.spent(wanted, demand, by_time=by_time, **terms)
        for row, total in zip(wanted, (servers + overload).sum(axis=1), strict=True):
            assert total == pytest.approx(elasticity.figures(row, demand, by_time=by_time, **terms).cost)


def test_a_daily_wave_is_followed_ahead():
    told = backtest.replay(past())
    ours, theirs = told["policies"]["lowtide"], told["policies"]["reactive"]
    assert ours["overload_minutes"] < 0.1 * theirs["overload_minutes"]
    assert told["spared_overload_minutes"] > 0
    assert (told["mode"], told["reactive_share"]) == ("predictive", 0)
    assert "min of overload" in backtest.words("web", told)[0]


def test_where_any_overload_costs_the_same_less_certainty_is_bought_where_a_server_is_dearer():
    cheap, dear = (policies.cheapest(past().near, 0, ratio, 1.0, past().demand)[14 * DAY :] for ratio in (5, 500))
    assert (dear >= cheap).all()
    assert dear.sum() > cheap.sum()


def test_the_middle_of_what_is_expected_is_never_given_up():
    one = past()
    wanted = policies.cheapest(one.near, 0, 0.01, 1.0, one.demand)[4 * DAY :]
    assert (wanted >= np.floor(one.near.centre[0, 4 * DAY :])).all()


def test_a_level_that_changes_for_good_is_soon_followed_by_the_newest_demand():
    """A wave every two hours that is there for two weeks, and then no more, on another level."""
    random = np.random.default_rng(4)
    time = np.arange(21 * DAY)
    demand = 1500 + random.normal(0, 10, len(time)) + 900 * (time % 24 < 6)
    demand[14 * DAY :] = 700 + random.normal(0, 10, 7 * DAY)
    one = past(demand, slo={"overload_cost_per_hour": 5000, "overload": "time"})
    made = backtest.chosen(one)
    assert (made.taken[10 * DAY : 14 * DAY] == 0).all()
    assert (made.taken[17 * DAY :] > 0).mean() > 0.9
    assert one.figures(made.wanted).cost < one.figures(backtest.predictive(one)).cost


def test_levels_from_the_newest_alone_are_kept_about_as_often_as_they_say():
    demand = days(40, seed=3)
    told = near.carried_on(demand[None, :], lead=4, step_seconds=STEP)
    assert (told.centre[0] == demand).mean() > 0.99
    for level in (0.5, 0.9, 0.99):
        said = told.level(0, level)[14 * DAY : -4]
        assert np.mean(demand[14 * DAY + 4 :] <= said) == pytest.approx(level, abs=0.03)


def test_thresholds_are_replayed_within_what_there_is():
    rules = [{"above": "80%", "for": "10m", "add": 2}, {"below": "40%", "for": "30m", "remove": 1}]
    one = past(rules=rules)
    wanted = backtest.predictive(one)
    assert wanted.min() >= one.least
    assert wanted.max() <= one.most
    assert len(np.unique(wanted)) > 1
    assert one.figures(wanted).tau_u < 0.2


def test_a_better_setting_is_recommended():
    told = backtest.replay(
        past(
            days(noise=200.0),
            slo={"overload_cost_per_hour": 50, "quantile": 0.5},
            load={"metric": "requests", "server_capacity": 100, "target_utilization": 1.0},
        )
    )
    wise = told["recommended"]
    assert wise["change"]
    assert wise["slo.quantile"] > 0.5 or wise["load.target_utilization"] < 1
    assert "slo.quantile" in backtest.words("web", told)[1]


def test_a_history_that_is_too_short_is_refused():
    with pytest.raises(NotEnoughHistory, match="history_window.*a replay needs 4"):
        past(days(3))
