# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.gate import Run, judge
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
HOSTS = ["w0", "w1", "w2", "w3"]
PLAN = {
    "hosts": HOSTS,
    "window": {"start": timing.iso(NOW), "end": timing.iso(NOW + datetime.timedelta(minutes=20))},
    "deadline": timing.iso(NOW + datetime.timedelta(minutes=30)),
}


def verdict(demand=(150.0,) * 12, *, minutes=0.0, newest=150.0, batch=("w0",), serving=tuple(HOSTS), lost=(), **more):
    """What the gate says of four servers that carry 100 each."""
    definition = {
        "servers": HOSTS,
        "load": {"metric": "requests", "server_capacity": 100},
        "update": {"duration": "5m"},
    }
    values = np.repeat(np.array(demand, dtype=float)[:, None], 2, axis=1)
    start = NOW + datetime.timedelta(minutes=5)
    hosts = more.pop("hosts", HOSTS)
    return judge(
        {**PLAN, **more.pop("plan", {})},
        Run(hosts, [host for host in hosts if host not in lost], batch),
        options.pools({"web": definition}),
        {"web": DemandForecast("web", np.array([0.5, more.pop("top", 0.99)]), values, start, 300)},
        now=NOW + datetime.timedelta(minutes=minutes),
        demand={} if newest is None else {"web": newest},
        serving={"web": serving},
        **more,
    )


def says(judged, decision, *words):
    assert judged.decision == decision
    assert all(word in " ".join(judged.reasons) for word in words), judged.reasons
    return True


def test_with_room_it_goes_and_says_why():
    assert says(verdict(), "go", "that needs 2 servers, and 3 stay in service")


@pytest.mark.parametrize("lost", [("w3",), ("w0", "w3")])
def test_a_host_that_failed_or_is_unreachable_stops_the_run(lost):
    assert says(verdict(lost=lost), "stop", ", ".join(lost), "at most 0")
    assert verdict(lost=lost, max_failures=len(lost)).decision == "go"


def test_strangers_stop_the_run():
    assert says(verdict(hosts=[*HOSTS, "x"]), "stop", "x", "not in the plan")


def test_a_host_of_no_pool_stops_the_run():
    assert says(verdict(batch=("w0", "gone")), "stop", "gone", "plan anew")


@pytest.mark.parametrize(("minutes", "decision"), [(-1, "wait"), (0, "go"), (25, "go"), (25.1, "stop"), (99, "stop")])
def test_window_and_deadline(minutes, decision):
    assert verdict(minutes=minutes).decision == decision


@pytest.mark.parametrize("more", [{"lost": ("w3",)}, {"minutes": 30}, {"hosts": [*HOSTS, "x"]}])
def test_what_stops_is_not_waited_for(more):
    assert verdict(newest=None, serving=[], **more).decision == "stop"


def test_a_batch_that_would_end_after_the_deadline_does_not_begin():
    longer = {"durations": {"web": {"seconds": 900.0}}}
    assert says(verdict(minutes=16, plan=longer), "stop", "would end at 2026-03-29T00:31:00Z, after the deadline")
    assert verdict(minutes=15, plan=longer).decision == "go"


@pytest.mark.parametrize(("minutes", "decision"), [(4, "go"), (6, "wait"), (14, "wait"), (15, "go")])
def test_no_batch_reaches_into_a_blackout(minutes, decision):
    shut = {"web": [(NOW + datetime.timedelta(minutes=10), NOW + datetime.timedelta(minutes=15))]}
    assert verdict(minutes=minutes, closed=shut).decision == decision


def test_a_server_updated_that_its_balancer_does_not_show_in_service_holds_the_next_batch():
    some = {"serving": ["w1", "w2", "w3"], "batch": ("w1",), "watched": ["web"]}
    assert says(verdict(**some), "wait", "w0 of earlier batches are not back in service")
    assert verdict(**some, max_failures=1).decision == "go"
    assert verdict(**{**some, "watched": []}).decision == "go"


def test_what_is_strange_about_a_pool_holds_it():
    assert says(verdict(anomalous={"web": "requests is unusually high"}), "wait", "web: requests is unusually high")


def test_where_there_is_room_for_some_of_a_batch_it_says_for_which():
    judged = verdict(newest=250.0, batch=("w2", "w1"))
    assert (judged.decision, judged.hosts) == ("wait", ["w2"])
    assert verdict(newest=50.0, batch=("w2", "w1")).hosts == ["w2", "w1"]
    assert verdict(newest=500.0, batch=("w2", "w1"), serving=["w0", "w1", "w3"]).hosts == ["w2"]
    assert verdict(newest=None, batch=("w2", "w1")).hosts == []


def test_without_a_fresh_sample_it_waits():
    assert says(verdict(newest=None), "wait", "no fresh sample of requests")


def test_beyond_the_end_of_the_forecast_it_waits():
    assert verdict([0.0] * 4, minutes=15).decision == "go"
    assert says(verdict([0.0] * 4, minutes=15.1), "wait", "nobody knows beyond")


def test_a_forecast_that_knows_too_little_is_refused():
    with pytest.raises(InvalidOption, match="^forecasts"):
        verdict(top=0.9)


@pytest.mark.parametrize("step", range(12))
def test_demand_while_the_batch_is_out_counts_and_later_demand_does_not(step):
    demand = [0.0] * 12
    demand[step] = 390.0
    assert verdict(demand, minutes=12).decision == ("wait" if step in (2, 3) else "go")


@settings(max_examples=60)
@given(
    st.floats(0, 500),
    st.floats(0, 500),
    st.sets(st.sampled_from(HOSTS)),
    st.lists(st.sampled_from(HOSTS), unique=True, min_size=1),
)
def test_it_goes_only_with_room(expected, newest, serving, batch):
    judged = verdict([expected] * 12, newest=newest, serving=serving, batch=batch)
    left = len(serving - set(batch))
    assert (judged.decision == "go") == (left >= 1 and left * 100 >= max(expected, newest) - 1e-6)
    assert judged.reasons
