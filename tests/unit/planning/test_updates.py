# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import math
import re

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_plan
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import updates
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from hypothesis import assume, given, settings
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
STEP = 300
# Times in a plan are cut to the second.
MOMENT = datetime.timedelta(seconds=1)


def at(minutes):
    return NOW + datetime.timedelta(minutes=minutes)


def web(servers=4, standbys=0, **update):
    """A pool whose servers carry 100 each."""
    definition = {
        "servers": [f"w{number}" for number in range(servers)],
        "load": {"metric": "requests", "server_capacity": 100},
        "update": {"max_unavailable": "50%", **update},
    }
    if standbys:
        definition["standby"] = {"servers": [f"s{number}" for number in range(standbys)], "lead_time": "7m"}
    return definition


def other(definition, prefix="d", **more):
    """The same pool with other servers."""
    return {**definition, "servers": [name.replace("w", prefix) for name in definition["servers"]], **more}


def sure(demand, *, start=NOW, step=STEP, top=None):
    """A forecast with the median given, and the highest quantile, else the same."""
    values = np.stack([demand, demand if top is None else top], axis=1).astype(float)
    return DemandForecast("web", np.array([0.5, 0.999]), values, start + datetime.timedelta(seconds=step), step)


def planned(definitions, forecasts, deadline=None, *, now=NOW, standbys=True, **more):
    """The plan, with what must hold of any plan checked."""
    pools = options.pools(definitions)
    ends = min(forecasts[name].end for name in pools)
    deadline = deadline or ends
    spare = {name: pool["standby"]["servers"] for name, pool in pools.items() if pool["standby"] and standbys}
    plan = updates.plan(pools, forecasts, now=now, deadline=deadline, spare_standbys=spare, **more)
    assert face.plain(plan) == plan
    assert update_plan.load({"plan": plan}) is plan
    _holds(plan, pools, forecasts, now, min(deadline, ends), more.get("in_service"))
    return plan


def _holds(plan, pools, forecasts, now, deadline, in_service):
    everyone = [server for pool in pools.values() for server in pool["servers"]]
    assert sorted(plan["hosts"]) == sorted(everyone)
    assert plan["serial"] == [len(batch["hosts"]) for batch in plan["batches"]]
    woken = plan["standbys"]["each"]
    assert plan["standbys"]["activate"] == [item["server"] for item in woken]
    assert len({item["server"] for item in woken}) == len(woken)
    for item in woken:
        standby = pools[item["pool"]]["standby"]
        assert item["server"] in standby["servers"]
        ready, wake = timing.moment(item["ready"]), timing.moment(item["wake"])
        assert now <= wake + datetime.timedelta(seconds=1)
        assert wake + datetime.timedelta(seconds=timing.duration(standby["lead_time"])) <= ready + MOMENT
    for name, pool in pools.items():
        forecast = forecasts[name]
        share = str(pool["update"]["max_unavailable"])
        most = int(share.rstrip("%"))
        most = max(1, most * len(pool["servers"]) // 100) if share.endswith("%") else most
        pins = set(pool["update"]["first"] + pool["update"]["last"])
        batches = [batch for batch in plan["batches"] if batch["pool"] == name]
        order = [host for batch in batches for host in batch["hosts"]]
        assert sorted(order) == sorted(pool["servers"])
        assert order[: len(pool["update"]["first"])] == pool["update"]["first"]
        assert order[len(order) - len(pool["update"]["last"]) :] == pool["update"]["last"]
        for batch in batches:
            out = len(batch["hosts"])
            assert 1 <= out <= most
            assert out == 1 or not pins & set(batch["hosts"])
            if not pins & set(batch["hosts"]):
                assert len({pool["update"]["failure_domains"].get(host) for host in batch["hosts"]}) == 1
            begin, end = timing.moment(batch["start"]), timing.moment(batch["end"])
            assert abs(end - begin - datetime.timedelta(seconds=timing.duration(pool["update"]["duration"]))) <= MOMENT
            assert now - MOMENT < begin
            serving = len((in_service or {}).get(name, pool["servers"])) + sum(
                item["pool"] == name
                and timing.moment(item["ready"]) <= begin
                and end <= timing.moment(item["release_after"])
                for item in woken
            )
            assert end <= deadline
            # By the forecast itself, step after step that the batch touches.
            left, bound = serving - out, forecast.level(1 - pool["update"]["risk"])
            touched = [
                s for s in range(forecast.steps) if forecast.begin_of(s) < end and begin < forecast.begin_of(s + 1)
            ]
            assert forecast.begin_of(touched[0]) <= begin
            assert max(bound[touched]) <= left * pool["load"]["server_capacity"] + 1e-6
            assert left >= pool["limits"]["min"]
            assert batch["risk"] <= pool["update"]["risk"] + 1e-5
            assert batch["spare_servers"] >= 0
    for one, next_one in zip(plan["batches"], plan["batches"][1:], strict=False):
        assert timing.moment(one["end"]) <= timing.moment(next_one["start"])
    assert plan["window"] == {"start": plan["batches"][0]["start"], "end": plan["batches"][-1]["end"]}
    assert plan["risk"] == max(batch["risk"] for batch in plan["batches"])


@st.composite
def fleets(draw):
    definitions, forecasts = {}, {}
    steps = draw(st.integers(8, 30))
    for name in draw(st.sampled_from([["a"], ["a", "b"]])):
        count = draw(st.integers(1, 7))
        servers = [f"{name}{number}" for number in range(count)]
        pins = draw(st.permutations(servers))[: draw(st.integers(0, 2))]
        share = draw(st.sampled_from(["1", "3", "10%", "50%", "100%"]))
        definitions[name] = {
            "servers": servers,
            "weight": draw(st.sampled_from([1.0, 2.0])),
            "load": {"metric": "requests", "server_capacity": 100},
            "limits": {"min": draw(st.integers(1, count))},
            "standby": {"servers": [f"{name}s", "shared"], "lead_time": draw(st.sampled_from(["0", "5m", "7m"]))},
            "update": {
                "duration": draw(st.sampled_from(["90s", "5m", "7m"])),
                "risk": draw(st.sampled_from([0.001, 0.01, 0.1])),
                "max_unavailable": share,
                "first": pins[:1],
                "last": pins[1:],
                "failure_domains": {server: draw(st.sampled_from(["r1", "r2"])) for server in servers[1:]},
            },
        }
        median = np.array(draw(st.lists(st.floats(0, 100 * count), min_size=steps, max_size=steps)))
        forecasts[name] = sure(median, top=median * 1.3)
    return definitions, forecasts


REMEDY = re.compile(
    r"give pool '(\w+)' (\d+) more standbys?|a deadline of (\S+) or later|allow a risk of ([\d.]+)", re.I
)


def apply(error, definitions, now):
    """Each remedy an error names, as (definitions, deadline or None)."""
    for name, more, deadline, risk in REMEDY.findall(error.remedy):
        pool = {key: dict(value) if isinstance(value, dict) else value for key, value in definitions.items()}
        if more:
            old = pool[name].get("standby") or {"servers": [], "lead_time": "5m"}
            pool[name]["standby"] = {**old, "servers": old["servers"] + [f"new{i}" for i in range(int(more))]}
            yield pool, None
        elif deadline:
            yield pool, timing.moment(deadline)
        else:
            name = error.option.split(".")[1]
            pool[name]["update"] = {**pool[name]["update"], "risk": float(risk)}
            yield pool, None


@settings(max_examples=80)
@given(fleets(), st.integers(0, 1000), st.integers(20, 150))
def test_any_plan_holds_and_any_remedy_works(fleet, late, minutes):
    definitions, forecasts = fleet
    now = NOW + datetime.timedelta(seconds=late)
    deadline = min(at(minutes), *(forecast.end for forecast in forecasts.values()))
    assume(deadline > now)
    try:
        planned(definitions, forecasts, deadline, now=now)
    except updates.NoWindow as error:
        assert error.option == "deadline" or error.option in {f"pools.{name}.update.risk" for name in definitions}
        for changed, later in apply(error, definitions, now):
            assert later is None or later > deadline
            planned(changed, forecasts, later or deadline, now=now)


def test_the_low_tide_is_chosen_and_the_earliest_of_equals():
    plan = planned({"web": web()}, {"web": sure([190.0] * 6 + [50.0] * 12 + [190.0] * 6)})
    assert plan["window"] == {"start": timing.iso(at(30)), "end": timing.iso(at(40))}
    assert plan["serial"] == [2, 2]
    assert plan["standbys"]["activate"] == []


def test_the_least_loaded_go_first_and_those_without_a_load_last():
    loads = {"web": {"w0": 9.0, "w1": float("nan"), "w2": 1.0}}
    assert planned({"web": web()}, {"web": sure([0.0] * 20)}, server_loads=loads)["hosts"] == ["w2", "w0", "w1", "w3"]


def test_one_server_needs_a_standby():
    forecasts = {"web": sure([50.0] * 20)}
    with pytest.raises(updates.NoWindow, match=r"^pools\.web\.update\.risk: .*Give pool 'web' 1 more standby\.$"):
        planned({"web": web(1)}, forecasts)
    plan = planned({"web": web(1, 1)}, forecasts)
    assert plan["standbys"]["activate"] == ["s0"]
    assert plan["standbys"]["by"] == timing.iso(NOW)
    assert plan["standbys"]["release_after"] == plan["window"]["end"]
    assert timing.moment(plan["window"]["start"]) >= at(7)


def test_a_standby_that_is_awake_already_makes_room_without_waking():
    plan = planned({"web": web(1, 1)}, {"web": sure([50.0] * 20)}, standbys=False, in_service={"web": ["w0", "s0"]})
    assert plan["standbys"]["activate"] == []
    assert plan["window"]["start"] == timing.iso(NOW)


def test_standbys_are_woken_only_for_the_pool_they_help():
    roomy = other(web(4), standby={"servers": ["d-s"], "lead_time": "1m"})
    plan = planned({"web": web(1, 1), "db": roomy}, {"web": sure([50.0] * 20), "db": sure([10.0] * 20)})
    assert plan["standbys"]["activate"] == ["s0"]


def test_a_standby_that_two_pools_share_makes_room_in_one_of_them_only():
    both = {"web": web(1, 1), "db": {**other(web(1, 1)), "weight": 5}}
    with pytest.raises(updates.NoWindow, match="pools.web.update.risk"):
        planned(both, {"web": sure([50.0] * 20), "db": sure([50.0] * 20)})


def test_a_plan_for_one_pool_looks_at_no_other():
    forecasts = {"db": sure([50.0] * 3, start=at(7), step=60), "web": sure([50.0] * 20)}
    assert planned({"web": web()}, forecasts)["pools"] == ["web"]


@pytest.mark.parametrize("wrong", [sure([5.0] * 20, start=at(5)), sure([5.0] * 20, step=60)])
def test_forecasts_on_different_grids_are_refused(wrong):
    with pytest.raises(InvalidOption, match="^forecasts: those of pools 'web' and 'db' differ"):
        planned({"web": web(), "db": other(web())}, {"web": sure([5.0] * 20), "db": wrong}, at(30))


def test_the_shortest_forecast_ends_the_window():
    forecasts = {"web": sure([5.0] * 20), "db": sure([5.0] * 4)}
    planned({"web": web(), "db": other(web())}, forecasts, at(100))
    with pytest.raises(updates.NoWindow, match="^deadline"):
        planned({"web": web(), "db": other(web())}, {**forecasts, "db": sure([5.0] * 3)}, at(100))


def test_a_forecast_that_is_missing_over_or_too_sure_is_refused():
    with pytest.raises(InvalidOption, match="^forecasts: there is no forecast of pool 'web'"):
        updates.plan(options.pools({"web": web()}), {}, now=NOW, deadline=at(30))
    with pytest.raises(InvalidOption, match="^forecasts: that of pool 'web' ends"):
        planned({"web": web()}, {"web": sure([5.0] * 3)}, at(300), now=at(15))
    with pytest.raises(InvalidOption, match="^forecasts: .*0.999"):
        planned({"web": web(risk=0.0001)}, {"web": sure([5.0] * 3)})


def test_nothing_starts_before_the_forecast_does():
    plan = planned({"web": web()}, {"web": sure([5.0] * 9, start=at(10))})
    assert plan["window"]["start"] == timing.iso(at(10))


@pytest.mark.parametrize("deadline", [at(1), at(4.9)])
def test_a_deadline_before_the_first_batch_can_end(deadline):
    with pytest.raises(updates.NoWindow, match=r"^deadline: .* at least 10 min.*a deadline of 2026-03-29T00:10:00Z or"):
        planned({"web": web()}, {"web": sure([5.0] * 20)}, deadline)


def test_an_update_longer_than_the_horizon():
    with pytest.raises(updates.NoWindow, match=r"^deadline: .* at least 4 h.*Change several at once"):
        planned({"web": web(duration="2h")}, {"web": sure([5.0] * 20)})


@pytest.mark.parametrize("text", ["0%", "0", "150%", "-1", "half", "", "%", "1.5", "²", "25 %"])
def test_what_is_no_share_is_refused_by_its_path(text):
    with pytest.raises(InvalidOption, match=r"^pools\.web\.update\.max_unavailable: .*from 1% to 100%"):
        planned({"web": web(max_unavailable=text)}, {"web": sure([5.0] * 20)})


@pytest.mark.parametrize(
    ("text", "sizes"), [("1", [1, 1, 1, 1]), ("1%", [1, 1, 1, 1]), ("99", [3, 1]), ("100%", [3, 1])]
)
def test_shares(text, sizes):
    assert planned({"web": web(max_unavailable=text)}, {"web": sure([5.0] * 20)})["serial"] == sizes


def test_a_pinned_stranger():
    with pytest.raises(InvalidOption, match=r"^pools\.web\.update\.first: 'x' is not a server"):
        planned({"web": web(first=["x"])}, {"web": sure([5.0] * 20)})


def test_bounds_are_whole_servers_without_rounding_errors():
    assert math.isclose(0.1 * 3 / 0.1, 3)
    tight = {**web(4), "load": {"metric": "requests", "server_capacity": 0.1}}
    assert planned({"web": tight}, {"web": sure([0.1 * 3] * 20)})["serial"] == [1, 1, 1, 1]
