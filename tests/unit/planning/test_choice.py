# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import choice

DAY = 24


def made(costs, **more):
    """A choice between rows of costs, each of which wants its own number."""
    costs = np.asarray(costs, dtype=float)
    wanted = np.arange(1.0, len(costs) + 1)[:, None] * np.ones_like(costs)
    return choice.choose(wanted, costs, np.zeros_like(costs), day=DAY, **more)


def test_what_was_spent_fades_as_a_sum_by_hand_does():
    values = np.random.default_rng(0).random((2, 70))
    keep = 0.5 ** (1 / (choice.MEMORY_DAYS * DAY))
    for moment in (0, 1, 23, 24, 25, 69):
        by_hand = sum(keep ** (moment - past) * values[:, past] for past in range(moment))
        assert choice.faded(values, DAY)[:, moment] == pytest.approx(by_hand)


def test_the_one_that_was_cheaper_lately_takes_over_whoever_was_before():
    first = np.repeat([1.0, 3.0], 20 * DAY)
    told = made([first, 4 - first])
    assert not told.taken[: 20 * DAY].any()
    assert told.taken[-15 * DAY :].all()
    assert (told.wanted == told.taken + 1).all()
    assert told.lately[0] > told.lately[1]


def test_in_doubt_it_is_the_first():
    cost = np.ones(10 * DAY)
    assert not made([cost, 0.96 * cost]).taken.any()
    assert made([cost, 0.94 * cost]).taken[-1] == 1


def test_a_quiet_time_turns_nothing():
    told = made([np.append(np.full(5 * DAY, 2.0), np.zeros(30 * DAY)), np.append(np.ones(5 * DAY), np.zeros(30 * DAY))])
    assert told.taken[2 * DAY :].all()


def test_nobody_is_followed_before_a_day_of_costs_is_known():
    told = made([np.ones(6 * DAY), np.full(6 * DAY, 0.1)], first=3 * DAY)
    assert not told.taken[: 4 * DAY].any()
    assert told.taken[4 * DAY :].all()
    assert np.isnan(made([np.ones(DAY), np.ones(DAY)], first=2 * DAY).lately).all()


def test_a_cost_is_known_one_step_after_its_decision():
    costs = np.stack([np.ones(4 * DAY), np.full(4 * DAY, 1.2)])
    late = costs.copy()
    late[0, 3 * DAY :] = 1e6
    ours, theirs = made(costs), made(late)
    assert np.array_equal(ours.taken[: 3 * DAY + 1], theirs.taken[: 3 * DAY + 1])
    assert theirs.taken[3 * DAY + 1] == 1
