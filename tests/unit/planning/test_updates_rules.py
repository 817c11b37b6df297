# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a plan heeds besides the demand, and what it says about it."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import updates
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)


def at(minutes):
    return NOW + datetime.timedelta(minutes=minutes)


def planned(
    demand, servers=4, standbys=0, closed=(), durations=None, spread=1.0, minutes=None, min_gain=0.03, **update
):
    definition = {
        "servers": [f"w{number}" for number in range(servers)],
        "load": {"metric": "requests", "server_capacity": 100},
        "update": {"max_unavailable": "100%", **update},
    }
    if standbys:
        names = [f"s{number}" for number in range(standbys)]
        definition["standby"] = {"servers": names, "lead_time": "7m", "cost_per_hour": 6}
    demand = np.array(demand, dtype=float)
    values = np.stack([demand, demand * spread], axis=1)
    forecast = DemandForecast("web", np.array([0.5, 0.999]), values, at(5), 300)
    pools = options.pools({"web": definition})
    spare = pools["web"]["standby"]["servers"] if standbys else []
    return updates.plan(
        pools,
        {"web": forecast},
        now=NOW,
        deadline=at(minutes) if minutes else forecast.end,
        spare_standbys={"web": spare},
        closed={"web": [(at(begin), at(end)) for begin, end in closed]},
        durations=durations,
        min_gain=min_gain,
    )


def starts(plan):
    return [int((timing.moment(batch["start"]) - NOW).total_seconds() / 60) for batch in plan["batches"]]


def test_no_batch_reaches_into_a_blackout_and_the_next_begins_where_it_ends():
    plan = planned([150.0] * 20, closed=[(0, 7), (12, 30)], max_unavailable="2")
    assert starts(plan) == [30, 35]
    assert plan["why_not_sooner"].startswith("the best that begins sooner, at ")
    only = planned([150.0] * 20, closed=[(0, 7), (12, 33), (38, 60)], max_unavailable="2", minutes=45)
    assert starts(only) == [7, 33]


def test_a_peak_in_between_is_waited_out():
    plan = planned([150.0, 390.0, 390.0, 150.0, 390.0], minutes=20)
    assert (starts(plan), plan["serial"]) == ([0, 15], [2, 2])


def test_batches_grow_and_shrink_with_the_room_of_the_hour():
    assert planned([450.0, 350.0, 250.0, 590.0], servers=6, minutes=15)["serial"] == [1, 2, 3]
    assert planned([250.0, 350.0, 450.0, 590.0], servers=6, minutes=15)["serial"] == [3, 2, 1]


def test_a_standby_is_woken_for_the_batch_that_needs_it_and_not_before():
    # The first has room of its own; the others need one standby more.
    demand = [100.0, 350.0, 350.0, 350.0, 350.0, 350.0, 350.0, 350.0]
    plan = planned(demand, standbys=2, minutes=30, failure_domains={f"w{n}": f"d{n}" for n in range(4)})
    (standby,) = plan["standbys"]["each"]
    begin = timing.moment(plan["batches"][standby["first_batch"] - 1]["start"])
    assert standby["first_batch"] == 2
    assert timing.moment(standby["ready"]) == begin
    assert timing.moment(standby["wake"]) == max(NOW, begin - datetime.timedelta(minutes=7))
    awake = (timing.moment(standby["release_after"]) - timing.moment(standby["wake"])).total_seconds()
    assert standby["cost"] == pytest.approx(awake / 3600 * 6, abs=1e-3)


def test_domains_take_turns_only_where_that_displaces_less():
    two = {f"w{n}": f"d{n // 3}" for n in range(6)}
    plan = planned([100.0] * 20, servers=6, failure_domains=two)
    assert [batch["failure_domain"] for batch in plan["batches"]] == ["d0", "d1"]
    # Two batches of two in the low hour, and the third server of each domain before or after.
    low = [380.0, 40.0, 40.0, 380.0, 380.0, 380.0]
    turns = planned(low, servers=6, failure_domains=two, max_unavailable="2", minutes=20)
    at_low = [
        batch["failure_domain"] for batch in turns["batches"] if batch["start"] in map(timing.iso, (at(5), at(10)))
    ]
    assert sorted(at_low) == ["d0", "d1"]
    assert turns["serial"] == [1, 2, 2, 1]


def test_what_takes_no_time_takes_a_second():
    """A batch without a length could begin where the forecast ends, where no demand is known."""
    assert planned([100.0] * 20, duration="0s")["durations"]["web"]["seconds"] == 1.0
    assert planned([100.0] * 20, durations={"web": [0.0] * 9})["durations"]["web"]["seconds"] == 1.0


def test_how_long_a_server_takes_is_learned_from_enough_earlier_updates():
    few = planned([100.0] * 20, durations={"web": [500.0] * 4})
    assert few["durations"]["web"] == {"seconds": 300.0, "learned_from": 0, "quantile": None}
    known = planned([100.0] * 20, durations={"web": [400.0, 410.0, 420.0, 900.0, *[430.0] * 16]})
    assert known["durations"]["web"] == {"seconds": 430.0, "learned_from": 20, "quantile": 0.9}
    assert any("nine of ten of its last 20 updates" in word for word in known["words"])


def test_the_risk_is_of_the_whole_batch():
    short, long = (planned([150.0] * 20, spread=1.3, duration=length) for length in ("5m", "15m"))
    assert long["batches"][0]["risk"] > short["batches"][0]["risk"]
    assert short["risk_of_any"] >= short["risk"]
    assert short["spare_servers"] == min(batch["spare_servers"] for batch in short["batches"])


@pytest.mark.parametrize(
    ("demand", "more", "words"),
    [
        ([100.0] * 6, {}, "it begins as soon as it can"),
        ([350.0] * 3 + [100.0] * 6, {}, "at 2026-03-29T00:00:00Z pool 'web' needs 4 servers in service, and has 4"),
        (
            [200.0] * 3 + [100.0] * 6,
            {},
            "the best that begins sooner, at 2026-03-29T00:00:00Z, displaces 25% more load",
        ),
        (
            [200.0] * 3 + [150.0] + [100.0] * 6,
            {},
            "begun as soon as it can, at 2026-03-29T00:00:00Z, it displaces 25% more load; the best that begins "
            "sooner, at 2026-03-29T00:15:00Z, displaces 12% more load",
        ),
        ([100.0] * 9, {"closed": [(0, 10)]}, "may not be updated before 2026-03-29T00:10:00Z"),
    ],
)
def test_why_not_sooner(demand, more, words):
    assert words in planned(demand, **more)["why_not_sooner"]


def test_where_blackouts_bind_they_are_named_and_lifting_them_helps():
    with pytest.raises(
        updates.NoWindow, match=r"^pools\.web\.update\.blackouts: .* leave 10 min .*Lift the blackouts"
    ) as error:
        planned([100.0] * 6, closed=[(5, 20)], max_unavailable="1", minutes=25)
    assert "give" not in error.value.remedy
    assert planned([100.0] * 6, max_unavailable="1", minutes=25)["serial"] == [1, 1, 1, 1]


def test_batch_numbers_of_all():
    plan = planned([100.0] * 20)
    assert plan["batch_of"] == {host: batch["number"] for batch in plan["batches"] for host in batch["hosts"]}


@pytest.mark.parametrize(
    ("demand", "min_gain", "begin"),
    [
        ([102.0] * 4 + [100.0] * 6, 0.03, 0),
        ([104.0] * 4 + [100.0] * 6, 0.03, 20),
        ([104.0] * 4 + [100.0] * 6, 0.0, 20),
        ([130.0] * 4 + [100.0] * 6, 0.29, 20),
        ([130.0] * 4 + [100.0] * 6, 0.31, 0),
    ],
)
def test_what_gains_less_than_the_least_gain_is_not_waited_for(demand, min_gain, begin):
    plan = planned(demand, min_gain=min_gain)
    assert starts(plan)[0] == begin
    assert (plan["why_not_sooner"] == "it begins as soon as it can") == (begin == 0)


@pytest.mark.parametrize(
    ("demand", "begin"),
    [
        # No server can be spared now; one at a time, done by the time the others would be; half of them, and a long pause.
        ([350.0] * 4 + [100.0] * 6, 20),
        ([290.0] * 4 + [100.0] * 6, 0),
        ([290.0] * 2 + [390.0] * 2 + [100.0] * 6, 20),
    ],
)
def test_beginning_at_once_takes_no_more_risk_ends_no_later_and_does_not_pause_for_long(demand, begin):
    plan = planned(demand, min_gain=100.0)
    assert starts(plan)[0] == begin
    assert plan["risk"] <= 0.01
    assert plan["window"]["end"] <= planned(demand)["window"]["end"]


def test_a_standby_that_is_not_ready_yet_is_not_waited_for_longer_than_its_lead_time():
    demand = [380.0] * 6 + [345.0] * 8
    assert starts(planned(demand, standbys=2))[0] == 30
    assert starts(planned(demand, standbys=2, min_gain=0.2))[0] == 7
