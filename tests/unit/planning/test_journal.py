# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import Locked
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import journal
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 1, 31, 3, 0, tzinfo=datetime.UTC)
SERVERS = ["w1", "w2", "w3", "w4"]
BEGUN = {"event": "begun", "update": "2.4", "pools": ["web"], "servers": SERVERS, "holder": "me", "command": "c"}
PLAN = {
    "window": {"start": "2026-01-31T03:00:00Z", "end": "2026-01-31T03:20:00Z"},
    "deadline": "2026-01-31T06:00:00Z",
    "batches": [
        {"number": 1, "hosts": ["w1", "w2"], "start": "2026-01-31T03:00:00Z", "spare_servers": 1},
        {"number": 2, "hosts": ["w3", "w4"], "start": "2026-01-31T03:10:00Z", "spare_servers": 0},
    ],
    "hosts": SERVERS,
    "serial": [2, 2],
    "batch_of": {"w1": 1, "w2": 1, "w3": 2, "w4": 2},
}


def run(*notes, name="r", begun=None, every=60):
    """The run of some notes, a minute apart."""
    told = [begun or BEGUN, *notes]
    return journal.read(
        name, [(NOW + datetime.timedelta(seconds=every * place), note) for place, note in enumerate(told)]
    )


def note(event, *hosts, **more):
    return {"event": event, "hosts": list(hosts), **more}


def test_a_run_that_just_began_has_everything_left():
    begun = run()
    assert (begun.phase, begun.open, begun.left, begun.half, begun.done) == ("begun", True, SERVERS, [], [])


@pytest.mark.parametrize("killed", range(len(journal.STEPS)))
def test_a_batch_is_half_done_until_it_is_back(killed):
    """Wherever it is killed, nothing of it counts as untouched or done; what is updated need only come back."""
    notes = [note("batch", "w1", "w2", number=1), *(note(step, "w1", "w2") for step in journal.STEPS[: killed + 1])]
    half = run(*notes)
    back = journal.STEPS[killed] == "in"
    updated = journal.STEPS[killed] in ("updated", "healthy")
    assert half.half == ([] if back else ["w1", "w2"])
    assert half.done == (["w1", "w2"] if back else [])
    assert half.returning == (["w1", "w2"] if updated else [])
    assert half.left == ["w3", "w4"]


def test_a_server_that_failed_does_not_come_back_with_its_batch():
    failed = run(
        note("batch", "w1", "w2"),
        note("out", "w1", "w2"),
        note("updating", "w1", "w2"),
        note("failed", "w1", why="no disk"),
    )
    assert journal.follows(failed, "updated", ["w1", "w2"]) == ["w2"]
    assert failed.failures == ["w1"]
    assert failed.hosts["w1"].why == "no disk"
    assert failed.half == ["w1", "w2"]
    assert run(note("out", "w1"), note("failed", "w1"), note("rolled_back", "w1")).left == SERVERS


def test_what_is_updated_is_not_taken_for_new_when_it_goes_out_again():
    again = run(note("out", "w1", "w2"), note("updating", "w1", "w2"), note("updated", "w1"))
    assert journal.follows(again, "out", ["w1", "w2"]) == ["w2"]


def test_a_server_that_the_play_lost_is_told():
    batch = [note("batch", "w1", "w2"), note("out", "w1", "w2"), note("updating", "w1", "w2")]
    assert journal.lost(run(*batch), ["w2"]) == ["w1"]
    assert journal.lost(run(*batch, note("failed", "w1")), ["w2"]) == []


def test_standbys_stay_until_they_sleep():
    woken = run({"event": "waking", "standbys": ["s1", "s2"]}, {"event": "woken", "standbys": ["s1", "s2"]})
    assert (woken.phase, woken.woken) == ("woken", ["s1", "s2"])
    assert run({"event": "waking", "standbys": ["s1"]}, {"event": "asleep", "standbys": ["s1"]}).woken == []


def resumed(**more):
    return {"event": "resumed", "servers": SERVERS, "holder": "you", "command": "c", **more}


def test_taken_up_again_failures_are_forgiven_and_times_forgotten():
    again = run(note("out", "w1"), note("failed", "w1", why="x"), resumed())
    assert (again.failures, again.half, again.holder) == ([], ["w1"], "you")
    assert journal.seconds_out(again, ["w1"], NOW) == {}
    assert run(note("out", "w1"), resumed(untouched=["w1"])).left == SERVERS


def test_how_long_a_server_was_out():
    back = run(note("out", "w1"), note("updating", "w1"), note("updated", "w1"))
    assert journal.seconds_out(back, ["w1"], NOW + datetime.timedelta(minutes=6)) == {"w1": 300.0}


def test_balancers_know_better_than_notes():
    """A note comes before the deed: a server noted as out that serves was never taken out."""
    half = run(note("out", "w1", "w2"), note("out", "w3"), note("failed", "w3"), note("rolled_back", "w3"))
    assert journal.in_and_out(half, serving=["w1", "w4"], watched=SERVERS) == (["w1"], ["w3"])
    assert journal.in_and_out(half, serving=[], watched=[]) == ([], [])
    shifted = run(note("out", "w1"), note("updating", "w1"), note("updated", "w1"), note("healthy", "w1"))
    assert journal.in_and_out(shifted, serving=["w1"], watched=SERVERS) == ([], [])


def up(runs, *, update="2.4", pools=("web",), hours=1.0, within=86400):
    return journal.take_up(runs, update=update, pools=pools, now=NOW + datetime.timedelta(hours=hours), within=within)


def test_the_same_update_is_taken_up():
    known = run()
    assert up([known]) == (known, [])


@pytest.mark.parametrize("event", journal.ENDS)
def test_what_has_ended_is_not_taken_up(event):
    assert up([run({"event": event})]) == (None, [])


def test_one_that_stopped_is_taken_up():
    known = run({"event": "stopped", "why": "x"})
    assert up([known]) == (known, [])


def test_another_update_or_an_old_one_is_superseded():
    known = run()
    assert up([known], update="2.5") == (None, [known])
    assert up([known], hours=25) == (None, [known])
    assert up([known], pools=["web", "api"]) == (None, [known])


def test_other_pools_are_left_alone():
    assert up([run()], pools=["api"]) == (None, [])


@pytest.mark.parametrize(
    "told",
    [[note("out", "w1")], [note("planned", plan=PLAN)], [note("waking", standbys=["s1"]), note("stopped", why="x")]],
)
def test_a_run_of_more_pools_is_in_the_way_once_it_has_begun_with_any(told):
    wider = {**BEGUN, "pools": ["web", "api"]}
    for idle in (run(begun=wider), run(note("stopped", why="the low tide is too far ahead"), begun=wider)):
        assert up([idle]) == (None, [idle])
    known = run(*told, begun=wider)
    with pytest.raises(
        Locked, match=r"lowtide_update_pools: the update '2.4' of web, api, .* is not finished\. Finish it"
    ):
        up([known])


def test_a_plan_shrinks_to_what_is_left():
    left = journal.remaining(PLAN, ["w2", "w4", "w3"])
    assert (left["serial"], left["hosts"]) == ([1, 2], ["w2", "w3", "w4"])
    assert [batch["spare_servers"] for batch in left["batches"]] == [2, 0]
    assert journal.remaining(PLAN, ["w4"])["batches"][0]["number"] == 1
    assert journal.remaining(PLAN, []) is None
    assert journal.remaining(PLAN, SERVERS) == PLAN


def test_a_plan_whose_time_is_over_is_stale():
    assert not journal.stale(PLAN, NOW + datetime.timedelta(minutes=19))
    assert journal.stale(PLAN, NOW + datetime.timedelta(minutes=20))
    assert journal.stale({**PLAN, "deadline": "2026-01-31T03:10:00Z"}, NOW + datetime.timedelta(minutes=11))


def test_the_end_moves_with_the_delay():
    late = NOW + datetime.timedelta(minutes=15)
    assert journal.expected_end(PLAN, 2, late) == late + datetime.timedelta(minutes=10)


EVENTS = [*journal.STEPS, "failed", "rolled_back"]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sets(st.sampled_from(SERVERS))), max_size=30), st.integers(0, 30))
def test_no_server_is_ever_lost_from_sight(events, cut):
    """Whatever is noted, and wherever it breaks off, each server is done, half-done or left, and exactly one of them."""
    told = run(*(note(event, *hosts) for event, hosts in events[:cut]))
    assert sorted(told.done + told.half + told.left) == SERVERS


def test_servers_without_room_are_set_aside_until_the_run_is_taken_up():
    notes = [note("batch", "w1", "w2", number=1), note("set_aside", "w2")]
    notes += [note(step, "w1") for step in journal.STEPS]
    aside = run(*notes)
    assert (aside.batch, aside.set_aside, aside.done, aside.half) == (["w1"], ["w2"], ["w1"], [])
    assert aside.left == ["w2", "w3", "w4"]
    assert journal.lost(aside, ["w1"]) == []
    assert run(*notes, resumed()).set_aside == []
