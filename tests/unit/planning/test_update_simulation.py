# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import zoneinfo

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import NotEnoughHistory
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import updates
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 3, 3, 14, 0, tzinfo=datetime.UTC)  # a Tuesday
STEP = 300
WEEK = 7 * 288


def pool(servers=8, zone="UTC", **update):
    """A pool whose servers carry 100 each."""
    names = [f"w{number}" for number in range(servers)]
    load = {"metric": "requests", "server_capacity": 100}
    return options.pools(
        {
            "web": {
                "servers": names,
                "load": load,
                "calendar": {"time_zone": zone},
                "update": {"duration": "5m", **update},
            }
        }
    )


def plan(*batches, now=NOW, seconds=300.0, standbys=()):
    """A plan of batches, each its beginning and how many servers."""
    hosts = iter(f"w{number}" for number in range(99))
    return {
        "now": timing.iso(now),
        "pools": ["web"],
        "batches": [
            {
                "number": number,
                "pool": "web",
                "hosts": [next(hosts) for _place in range(size)],
                "start": timing.iso(begin),
            }
            for number, (begin, size) in enumerate(batches, start=1)
        ],
        "standbys": {"each": [{"pool": "web", "first_batch": first, "last_batch": last} for first, last in standbys]},
        "durations": {"web": {"seconds": seconds}},
    }


def past(values, end=NOW, step=STEP):
    return {"web": Series((SeriesKey("web", None, "requests"),), np.asarray(values, float)[None, :], end, step)}


def spikes(*moments, weeks=6, usual=100.0, high=900.0, end=NOW):
    """A steady demand with one step of a high one, each that begins then."""
    values = np.full(weeks * WEEK, usual)
    for moment in moments:
        values[len(values) - 1 - round((end - moment).total_seconds() / STEP) + 1] = high
    return past(values, end)


def at(hour, day=4, minute=0):
    """The morning after, that day of March."""
    return datetime.datetime(2026, 3, day, hour, minute, tzinfo=datetime.UTC)


def simulated(plan, demand, weeks=4, servers=8, in_service=None, **more):
    result = updates.simulate(
        plan, pool(servers, **more), demand, in_service={"web": in_service or servers}, weeks=weeks
    )
    assert face.plain(result) == result
    return result


NIGHT = plan((at(2), 4), (at(2, minute=5), 4))


def test_a_quiet_past_is_never_short():
    result = simulated(NIGHT, spikes())
    assert result["weeks"] == {"asked": 4, "replayed": 4, "left_out": []}
    assert result["plan"] == {
        "start": "2026-03-04T02:00:00Z",
        "end": "2026-03-04T02:10:00Z",
        "weekday": "Wednesday",
        "serial": [4, 4],
        "batches": 8,
        "short_batches": 0,
        "short_weeks": 0,
        "overload_minutes": 0.0,
        "worst": None,
        "weeks": [
            {"start": timing.iso(at(2) - datetime.timedelta(weeks=back)), "short_batches": 0, "overload_minutes": 0.0}
            for back in (1, 2, 3, 4)
        ],
    }
    assert result["serial"]["serial"] == [2, 2, 2, 2]
    assert (result["serial"]["start"], result["serial"]["end"]) == ("2026-03-03T14:00:00Z", "2026-03-03T14:20:00Z")
    assert result["words"] == [
        "in the last 4 Wednesdays this plan would have been short in 0 of 8 batches; serial: 25% begun now, in the last 4 "
        "Tuesdays, in 0 of 16"
    ]


def test_a_spike_in_a_batch_is_short_and_the_worst_is_told():
    weeks = datetime.timedelta(weeks=1)
    result = simulated(NIGHT, spikes(at(2, minute=5) - 2 * weeks, at(1, minute=55) - weeks, at(2, minute=10) - weeks))
    told = result["plan"]
    assert (told["short_batches"], told["short_weeks"], told["overload_minutes"]) == (1, 1, 5.0)
    assert told["worst"] == {
        "pool": "web",
        "batch": 2,
        "time": timing.iso(at(2, minute=5) - 2 * weeks),
        "demand": 900.0,
        "capacity": 400.0,
        "lacking": 500.0,
        "share": 0.5556,
    }
    assert [week["short_batches"] for week in told["weeks"]] == [0, 1, 0, 0]
    assert result["words"][1] == (
        "this plan: short for 5 min in 1 of 4 weeks; at worst web had 900 requests at 2026-02-18T02:05:00Z and servers for "
        "400, so that 56% of it had none"
    )


def test_serial_begins_now_and_its_batches_follow_one_another():
    back = datetime.timedelta(weeks=3)
    result = simulated(NIGHT, spikes(NOW + datetime.timedelta(minutes=15) - back, NOW - 2 * back))
    assert (result["serial"]["short_batches"], result["serial"]["worst"]["batch"]) == (1, 4)
    # Of 900, two of eight out leave 600.
    assert (result["serial"]["worst"]["capacity"], result["serial"]["worst"]["share"]) == (600.0, 0.3333)
    assert "serial: 25%: short for 5 min in 1 of 4 weeks" in result["words"][1]


def test_part_of_a_step_counts_as_that_part():
    batch = plan((at(2, minute=2), 8), seconds=120.0)
    week = datetime.timedelta(weeks=1)
    assert simulated(batch, spikes(at(2) - week, usual=0.0))["plan"]["overload_minutes"] == 2.0
    longer = plan((at(2, minute=2), 8), seconds=240.0)
    assert simulated(longer, spikes(at(2) - week, usual=0.0))["plan"]["overload_minutes"] == 3.0
    assert simulated(longer, spikes(at(2, minute=5) - week, usual=0.0))["plan"]["overload_minutes"] == 1.0


def test_standbys_carry_from_their_first_batch_to_their_last():
    demand = past(np.full(6 * WEEK, 450.0))
    assert simulated(NIGHT, demand)["plan"]["short_batches"] == 8
    for span, short in (((1, 2), 0), ((2, 2), 4), ((1, 1), 4)):
        woken = plan((at(2), 4), (at(2, minute=5), 4), standbys=[span])
        assert simulated(woken, demand)["plan"]["short_batches"] == short
    assert simulated(NIGHT, demand, in_service=9)["plan"]["short_batches"] == 0


@pytest.mark.parametrize(
    ("servers", "sizes"), [(1, [1]), (3, [1, 1, 1]), (8, [2, 2, 2, 2]), (10, [2, 2, 2, 2, 2]), (11, [2, 2, 2, 2, 2, 1])]
)
def test_a_quarter_is_what_ansible_makes_of_it(servers, sizes):
    assert simulated(plan((at(2), servers)), spikes(), servers=servers)["serial"]["serial"] == sizes


def test_the_hour_is_the_local_one_on_both_sides_of_a_change_of_the_clock():
    """Berlin goes to summer time on 29 March: 02:00 there is 00:00 UTC after it and 01:00 UTC before."""
    now = datetime.datetime(2026, 3, 31, 22, 0, tzinfo=datetime.UTC)
    begin = datetime.datetime(2026, 4, 1, 2, 0, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    night = plan((begin, 4), now=now)
    result = simulated(night, spikes(end=now), zone="Europe/Berlin")
    assert [week["start"] for week in result["plan"]["weeks"]] == [
        "2026-03-25T01:00:00Z",
        "2026-03-18T01:00:00Z",
        "2026-03-11T01:00:00Z",
        "2026-03-04T01:00:00Z",
    ]
    # It is Wednesday there already as serial begins, and Tuesday in UTC.
    assert (result["plan"]["weekday"], result["serial"]["weekday"]) == ("Wednesday", "Wednesday")
    spike = datetime.datetime(2026, 3, 25, 1, 0, tzinfo=datetime.UTC)
    assert simulated(night, spikes(spike, end=now), zone="Europe/Berlin")["plan"]["short_batches"] == 1
    assert simulated(night, spikes(spike, end=now))["plan"]["short_batches"] == 0


def test_an_hour_that_the_clock_left_out_is_the_one_after_it():
    now = datetime.datetime(2026, 4, 4, 22, 0, tzinfo=datetime.UTC)
    begin = datetime.datetime(2026, 4, 5, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    weeks = simulated(plan((begin, 4), now=now), spikes(end=now), zone="Europe/Berlin")["plan"]["weeks"]
    assert [week["start"] for week in weeks[:2]] == ["2026-03-29T01:30:00Z", "2026-03-22T01:30:00Z"]


def test_weeks_that_are_not_known_are_named_and_not_counted():
    demand = spikes(at(2) - datetime.timedelta(weeks=2))
    gap = demand["web"].values.copy()
    gap[0, -2 * WEEK + 12 * 12 + 1] = np.nan  # The second step of the night two weeks ago, where the spike is.
    gap = past(gap[0])
    result = simulated(NIGHT, gap)
    assert result["weeks"] == {
        "asked": 4,
        "replayed": 3,
        "left_out": [{"start": "2026-02-18T02:00:00Z", "why": "web: 1 of 6 samples missing or of maintenance"}],
    }
    assert (result["plan"]["batches"], result["plan"]["short_batches"]) == (6, 0)
    assert (result["serial"]["batches"], len(result["serial"]["weeks"])) == (12, 3)
    assert result["words"][0].startswith(
        "in 3 of the last 4 Wednesdays this plan would have been short in 0 of 6 batches"
    )
    assert result["words"][-1] == (
        "the week of 2026-02-18T02:00:00Z is not replayed: web: 1 of 6 samples missing or of maintenance"
    )


def test_maintenance_of_the_whole_pool_tells_nothing_of_its_demand():
    series = spikes()["web"]
    marked = np.zeros(series.values.shape, bool)
    marked[0, -2 * WEEK :] = True
    result = simulated(NIGHT, {"web": Series(series.keys, series.values, series.end, STEP, marked)})
    assert result["weeks"]["replayed"] == 2


def test_without_any_week_it_says_what_to_do():
    with pytest.raises(NotEnoughHistory) as caught:
        simulated(NIGHT, past(np.ones(500)))
    assert str(caught.value) == (
        "simulate: none of the last 4 Wednesdays can be replayed (web: 6 of 6 samples missing or of maintenance on "
        "2026-02-25). Collect for longer, raise simulate_weeks where older weeks are known, or plan without it."
    )
    assert simulated(NIGHT, past(np.ones(WEEK + 200)))["weeks"]["replayed"] == 1


def test_a_plan_more_than_a_week_ahead_meets_weeks_that_are_over():
    later = plan((at(2, day=13), 4))
    starts = [week["start"] for week in simulated(later, spikes(), weeks=2)["plan"]["weeks"]]
    assert starts == ["2026-02-27T02:00:00Z", "2026-02-20T02:00:00Z"]


def test_pools_are_replayed_each_on_its_own_demand():
    pools = options.pools(
        {
            name: {"servers": [f"{name}0", f"{name}1"], "load": {"metric": metric, "server_capacity": 100}}
            for name, metric in (("web", "requests"), ("db", "queries"))
        }
    )
    both = plan((at(2), 1), (at(3), 1))
    both["pools"], both["durations"]["db"] = ["web", "db"], {"seconds": 600.0}
    both["batches"][1] = {**both["batches"][1], "pool": "db", "hosts": ["db0"]}
    demand = {"web": past(np.full(6 * WEEK, 50.0))["web"], "db": past(np.full(6 * WEEK, 150.0))["web"]}
    result = updates.simulate(both, pools, demand, in_service={"web": 2, "db": 2}, weeks=2)
    assert (result["plan"]["short_batches"], result["plan"]["overload_minutes"]) == (2, 20.0)
    assert (result["plan"]["worst"]["pool"], result["plan"]["worst"]["batch"]) == ("db", 2)
    assert result["serial"]["end"] == timing.iso(NOW + datetime.timedelta(minutes=15))
    assert "at worst db had 150 queries" in result["words"][1]


@st.composite
def cases(draw):
    servers = draw(st.integers(2, 9))
    sizes = draw(st.lists(st.integers(1, servers), min_size=1, max_size=5))
    begin = NOW + datetime.timedelta(seconds=draw(st.integers(0, 20 * 86400)))
    gaps = draw(st.lists(st.integers(0, 7200), min_size=len(sizes), max_size=len(sizes)))
    seconds = draw(st.sampled_from([0.0, 45.0, 300.0, 777.0]))
    starts = [
        begin + datetime.timedelta(seconds=int(offset)) for offset in np.cumsum(gaps) + seconds * np.arange(len(sizes))
    ]
    values = np.random.default_rng(draw(st.integers(0, 999))).uniform(0, 100 * servers, 9 * WEEK)
    zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"]))
    return servers, plan(*zip(starts, sizes, strict=True), seconds=seconds), values, zone


@settings(max_examples=60)
@given(cases(), st.floats(1.0, 5.0))
def test_more_demand_is_never_less_short_and_less_than_what_is_left_never_is(case, factor):
    servers, wanted, values, zone = case
    figures = [simulated(wanted, past(values * scale), servers=servers, zone=zone) for scale in (1.0, factor)]
    for way in ("plan", "serial"):
        for figure in ("batches", "short_batches", "short_weeks", "overload_minutes"):
            assert figures[0][way][figure] <= figures[1][way][figure]
        before, after = (figure[way]["worst"] for figure in figures)
        assert before is None or before["share"] <= after["share"]
    largest = max(len(batch["hosts"]) for batch in wanted["batches"])
    room = 100.0 * (servers - largest)
    calm = simulated(wanted, past(values * room / max(values.max(), 1.0)), servers=servers, zone=zone)["plan"]
    assert (calm["short_batches"], calm["overload_minutes"], calm["worst"]) == (0, 0.0, None)


@settings(max_examples=60)
@given(cases())
def test_it_counts_what_a_loop_over_steps_counts(case):
    servers, wanted, values, zone = case
    result = simulated(wanted, past(values), servers=servers, zone=zone)["plan"]
    place = zoneinfo.ZoneInfo(zone)
    origin = NOW.timestamp() - STEP * len(values)
    short, seconds = 0, 0.0
    for week in range(len(result["weeks"])):
        back = round(
            (timing.moment(wanted["batches"][0]["start"]) - timing.moment(result["weeks"][week]["start"])).days / 7
        )
        for batch in wanted["batches"]:
            local = timing.moment(batch["start"]).astimezone(place) - datetime.timedelta(weeks=back)
            begin = local.timestamp() - origin
            end, over = begin + wanted["durations"]["web"]["seconds"], 0.0
            for step in range(int(begin // STEP), int(end // STEP) + 1):
                if values[min(step, len(values) - 1)] > 100 * (servers - len(batch["hosts"])):
                    over += max(0.0, min(end, (step + 1) * STEP) - max(begin, step * STEP))
            short += over > 0
            seconds += over
    assert result["short_batches"] == short
    assert result["overload_minutes"] == pytest.approx(seconds / 60, abs=0.01)
