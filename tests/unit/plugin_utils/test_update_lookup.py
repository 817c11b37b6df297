# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.plugin_utils import update_lookup
from hypothesis import given, settings
from hypothesis import strategies as st

BATCHES = [["b", "a"], ["d"], ["c", "f", "e"]]
HOSTS = ["b", "a", "d", "c", "f", "e"]
PLAN = {"hosts": HOSTS, "batches": [{"hosts": batch} for batch in BATCHES]}
NUMBERED = {"batches": [{"number": place, "hosts": batch} for place, batch in enumerate(BATCHES, start=1)]}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(update_lookup, "_GIVEN", [])


def playing(hosts):
    return {"ansible_play_hosts_all": list(hosts)}


def test_all_of_the_plan():
    assert update_lookup.sizes(PLAN, playing(HOSTS)) == [2, 1, 3]
    assert update_lookup.sizes(PLAN, {}) == [2, 1, 3]


@settings(max_examples=40)
@given(st.sets(st.sampled_from(HOSTS), min_size=1))
def test_a_limit_shrinks_batches_and_never_moves_a_host_to_another(limited):
    left = [host for host in HOSTS if host in limited]
    sizes = update_lookup.sizes(PLAN, playing(left))
    assert all(size > 0 for size in sizes)
    hosts = iter(left)
    cut = [[next(hosts) for _place in range(size)] for size in sizes]
    assert cut == [kept for batch in BATCHES if (kept := [host for host in batch if host in limited])]
    assert next(hosts, None) is None


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ([*HOSTS, "x", "y"], "the plan does not know x, y"),
        (["x"], "the plan does not know x"),
        (sorted(HOSTS), "the play has its own order"),
        ([], "the play has no server of the plan"),
    ],
)
def test_other_hosts_and_another_order_are_errors(hosts, problem):
    with pytest.raises(InvalidOption, match=f"^hosts: .*{problem}.*update_hosts"):
        update_lookup.sizes(PLAN, playing(hosts))


def test_where_the_play_took_its_hosts_from_the_plan_the_inventorys_other_hosts_do_not_matter():
    assert update_lookup.hosts(PLAN, playing(["x", *sorted(HOSTS)])) == HOSTS
    assert update_lookup.sizes(PLAN, playing(["x", *sorted(HOSTS)])) == [2, 1, 3]
    update_lookup.hosts(PLAN, playing(["x"]))
    with pytest.raises(InvalidOption, match="no server of the plan"):
        update_lookup.sizes(PLAN, playing(["x"]))


def test_a_later_play_with_other_hosts_is_checked_though_an_earlier_one_took_its_hosts_from_the_plan():
    everyone = playing(["x", *sorted(HOSTS)])
    update_lookup.hosts(PLAN, everyone)
    assert update_lookup.sizes(PLAN, everyone) == [2, 1, 3]
    with pytest.raises(InvalidOption, match="the plan does not know x"):
        update_lookup.sizes(PLAN, everyone)


def test_a_play_that_would_not_wait_for_its_low_tide_is_warned():
    plan = {"now": "2026-01-31T12:00:00Z", "window": {"start": "2026-01-31T12:04:59Z"}}
    assert update_lookup.too_early(plan) == ""
    plan["window"] = {"start": "2026-02-01T03:00:00Z"}
    assert "begins at 2026-02-01T03:00:00Z, in 15 h, and this play does not wait" in update_lookup.too_early(plan)


def test_batch_numbers():
    assert update_lookup.batch_numbers(NUMBERED, ["d", "a", "e"]) == [2, 1, 3]
    with pytest.raises(InvalidOption, match="^_terms: the plan does not know x, y"):
        update_lookup.batch_numbers(NUMBERED, ["a", "x", "y"])


def test_a_limit_that_leaves_nothing_is_an_error_and_not_an_empty_play():
    with pytest.raises(InvalidOption, match=r"^--limit: the limit 'db' leaves no server of the plan.*b, a, d, c, f"):
        update_lookup.hosts(PLAN, {"ansible_limit": "db", **playing(["x"])})
    assert update_lookup.hosts(PLAN, {"ansible_limit": "a", **playing(["a"])}) == HOSTS
