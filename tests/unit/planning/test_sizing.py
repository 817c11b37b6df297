# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import sizing

STEP = 3600


def rules(**more):
    return sizing.Rules(
        **{
            "servers": 2, "capacity": 100, "target": 1.0, "most": None, "awake_cost": 1.0, "idle_cost": 0.1,
            "overload_cost": 10.0, "hold_seconds": 0, **more,
        }
    )  # fmt: skip


def day(*hours):
    """A day of 24 hours: the demand given, and 100 for the rest."""
    return [*hours, *([100.0] * (24 - len(hours)))]


def by_hand(demand, rules, count):
    """The mean day's cost and overload minutes of a number of standbys, step by step."""
    total = minutes = 0.0
    for hours in demand:
        for value in hours:
            needed = max(0, math.ceil(value / (rules.capacity * rules.target)) - rules.servers)
            awake = min(needed, count)
            lacks = max(0.0, value / rules.capacity - rules.servers - awake)
            total += awake * rules.awake_cost + (count - awake) * rules.idle_cost + lacks * rules.overload_cost
            minutes += 60 * (lacks > 1e-9)
    return total / len(demand), minutes / len(demand)


@pytest.fixture
def past():
    rng = np.random.default_rng(7)
    return 150 + 250 * rng.random((14, 24)) ** 3


def test_each_number_is_paid_for_as_by_hand(past):
    made = sizing.size(past, rules(target=0.7), step_seconds=STEP, growth=0.0, ahead_days=0, seed=1)
    assert face.plain(made) == made
    assert len(made["options"]) == 5
    for item in made["options"]:
        cost, minutes = by_hand(past.tolist(), rules(target=0.7), item["standbys"])
        assert item["cost_per_day"] == pytest.approx(cost, abs=1e-3)
        assert item["overload_minutes_per_day"] == pytest.approx(minutes, abs=1e-3)
    least = min(made["options"], key=lambda item: item["cost_per_day"])
    assert made["recommended"] == least["standbys"]
    assert made["confidence"]["low"] <= made["recommended"] <= made["confidence"]["high"]


def test_a_standby_that_is_dearer_asleep_than_the_overload_it_spares_is_not_worth_it():
    past = np.array([day(300.0)] + [day()] * 6)
    cheap = sizing.size(past, rules(), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    dear = sizing.size(past, rules(idle_cost=1.0), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    # An overload of one server-hour a week costs 10; a standby asleep 7 x 24 x 0.1 = 16.8 or 168.
    assert (cheap["recommended"], dear["recommended"]) == (0, 0)
    vital = sizing.size(past, rules(overload_cost=100.0), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    assert vital["recommended"] == 1


def test_without_an_overload_cost_one_day_in_twenty_may_be_short():
    past = np.array([day(400.0)] + [day(300.0)] * 2 + [day()] * 37)
    made = sizing.size(past, rules(overload_cost=None), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    assert made["recommended"] == 1
    assert [item["days_short"] for item in made["options"]] == [0.075, 0.025, 0.0]


def test_a_late_standby_leaves_the_lead_time_short_however_many_there_are():
    past = np.array([day(*[100.0] * 8, 380.0, 380.0, 380.0)] * 7)
    made = sizing.size(past, rules(lead_seconds=3600), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    top = made["options"][-1]
    assert (top["overload_minutes_per_day"], top["late_overload_minutes_per_day"]) == (0.0, 60.0)


def test_the_hold_keeps_standbys_awake():
    past = np.array([day(300.0)] * 7)
    for hold, hours in ((0, 1), (2 * 3600, 3)):
        made = sizing.size(past, rules(hold_seconds=hold), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
        assert made["options"][1]["awake_cost_per_day"] == hours


def test_standbys_that_do_not_wake_ask_for_more():
    past = np.array([day(300.0, 300.0)] * 10)
    sure = sizing.size(past, rules(overload_cost=500), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    frail = sizing.size(
        past, rules(overload_cost=500, failure=0.2), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0
    )
    assert sure["recommended"] == 1
    # One leaves a fifth of 1,000 a day, two a twenty-fifth: 160 for 2.4 asleep. Three spare 32 more for 2.4.
    assert frail["recommended"] >= 3
    assert frail["options"][1]["overload_cost_per_day"] == pytest.approx(200)
    assert frail["options"][2]["overload_cost_per_day"] == pytest.approx(40)


@pytest.mark.parametrize("failure", [0.01, 0.3])
def test_the_odds_are_binomial(failure):
    odds = sizing._odds(np.arange(1200), failure)
    assert np.allclose(odds.sum(axis=1), 1)
    assert odds[5, 3] == pytest.approx(10 * (1 - failure) ** 3 * failure**2)


def test_a_trend_is_found_and_carried_on_and_none_is_made_up():
    rng = np.random.default_rng(3)
    days = np.arange(42)
    week = 1 + 0.2 * (days % 7 < 5)
    flat = 200 * week * (1 + 0.05 * rng.standard_normal(42))
    assert sizing.trend(flat) == 0.0
    assert sizing.trend(200 * 1.004 ** days[:20]) == 0.0
    growing = flat * 1.004**days
    assert sizing.trend(growing) == pytest.approx(math.log(1.004), rel=0.3)
    past = np.repeat(growing[:, None], 24, axis=1)
    made = sizing.size(past, rules(), step_seconds=STEP, growth=None, ahead_days=30, seed=0)
    still = sizing.size(past, rules(), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    assert made["growth_per_month"] == pytest.approx(1.004**30 - 1, rel=0.35)
    assert made["recommended"] > still["recommended"]


def test_the_most_that_may_be_is_kept(past):
    made = sizing.size(past, rules(most=1), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    assert [item["standbys"] for item in made["options"]] == [0, 1]


def test_days_with_few_samples_do_not_count(past):
    past[3, :20] = np.nan
    made = sizing.size(past, rules(), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    assert made["days"] == 13
    assert made["confidence"]["beyond"] == pytest.approx(1 / 14, abs=1e-4)
    whole = sizing.size(np.delete(past, 3, axis=0), rules(), step_seconds=STEP, growth=0.0, ahead_days=0, seed=0)
    assert made["options"] == whole["options"]
