# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import random

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import traffic
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.traffic import Evidence, Gate, Watch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

ERRORS = Gate("error_rate", 0.001, counts=True)
LATENCY = Gate("latency_ms", 20.0)


def until_alarm(source: random.Random, rate: float, limit: float, requests: int, alpha: float) -> int | None:
    """Requests until the evidence is enough, looked at after each one."""
    evidence = Evidence(limit)
    for count in range(1, requests + 1):
        evidence.add(int(source.random() < rate), 1)
        if evidence.log >= math.log(1 / alpha):
            return count
    return None


def test_false_alarms_stay_below_their_rate_at_the_very_limit():
    source = random.Random(1)
    alarms = sum(until_alarm(source, 0.05, 0.05, 400, 0.1) is not None for _run in range(300))
    assert alarms <= 300 * 0.1


def test_two_percent_of_errors_are_found_within_thirty_seconds_of_five_percent_of_500_per_second():
    source = random.Random(2)
    found = [until_alarm(source, 0.02, 0.001, 750, 0.01) for _run in range(200)]
    assert sum(count is not None for count in found) >= 196
    assert sorted(count or 751 for count in found)[100] < 350


def judged(gates=(ERRORS,), *, trials=1000, failures=0, missed=False, requests=1000, seconds=60.0, **more):
    evidence = {gate.name: Evidence(gate.healthy_rate) for gate in gates}
    watches = {gate.name: Watch() for gate in gates}
    for gate in gates:
        evidence[gate.name].add(failures, trials)
        watches[gate.name].add(failures, trials, 0.0)
        if missed:
            watches[gate.name].add(0, 0, None)
    given = {"bake": 60.0, "patience": 600.0, "min_requests": 100, "false_alarm_rate": 0.01, **more}
    return traffic.judge(gates, evidence, watches, requests=requests, seconds=seconds, **given)


def test_verdicts():
    assert judged().word == "go"
    assert judged(seconds=59.0).word == "hold"
    assert judged(failures=30).word == "undo"
    assert judged(failures=30, seconds=1.0).word == "undo"
    assert judged(trials=100, failures=1, requests=100).reasons == ("error_rate is in doubt",)


def test_little_traffic_and_missing_figures_hold_and_in_the_end_undo():
    assert judged(requests=99).reasons == ("99 of 100 requests seen",)
    assert judged(missed=True).reasons == ("error_rate is missing",)
    assert judged(trials=0, requests=0).word == "hold"
    verdict = judged(missed=True, seconds=600.0)
    assert verdict.word == "undo" and "patience is at its end" in verdict.reasons[0]


def test_readings_count_against_their_limit_and_gates_share_the_rate():
    assert traffic.trials(LATENCY, value=None, requests=9, errors=0) == (0, 0)
    assert traffic.trials(LATENCY, value=20.1, requests=9, errors=0) == (1, 1)
    assert traffic.trials(ERRORS, value=None, requests=None, errors=0) == (0, 0)
    assert judged((LATENCY,), trials=3, failures=3).word == "undo"
    assert judged((LATENCY,), trials=1, failures=1).word == "hold"
    assert judged((LATENCY, ERRORS), trials=1000, failures=6, false_alarm_rate=1e-9).word == "hold"


def test_steps():
    assert traffic.shares(["5%", "50%", "100%"]) == [0.05, 0.5, 1.0]
    for steps in ([], ["0%"], ["50%", "50%"], ["101%"], ["x"], ["nan"]):
        with pytest.raises(InvalidOption, match=r"^steps"):
            traffic.shares(steps)
    assert traffic.weights(0.05, {"new": 100}, {"old": 100, "other": 50}) == {"new": 5, "old": 95, "other": 48}
    with pytest.raises(InvalidOption, match="can't be expressed"):
        traffic.weights(0.05, {"new": 1}, {})


def test_spare_capacity():
    room = {"servers": 2, "server_capacity": 100, "target_utilization": 0.7}
    assert traffic.spare_capacity(share=0.2, demand=700, **room)[0]
    assert not traffic.spare_capacity(share=0.21, demand=700, **room)[0]


def test_upper_rate_covers_the_rate():
    source = random.Random(3)
    covered = sum(
        traffic.upper_rate(sum(source.random() < 0.01 for _run in range(500)), 500) >= 0.01 for _run in range(400)
    )
    assert covered >= 0.93 * 400
    assert traffic.upper_rate(0, 0) == 1.0


@pytest.mark.parametrize(("start", "more"), [(0, 100), (400, 400), (5000, 300)])
def test_the_mean_of_late_is_taken_out_of_a_moving_average(start, more):
    """HAProxy's sliding sum: plain at first, exponential once its window is full."""
    window, total, told = 512, 0.0, []
    for count in range(1, start + more + 1):
        value = 10.0 if count <= start else 30.0
        total = total + value if count <= window else total - total / window + value
        told.append(math.ceil(total / min(count, window)))
    before = (float(told[start - 1]) if start else 0.0, start)
    mean, error = traffic.recent_mean(before, (float(told[-1]), start + more), window)
    assert abs(mean - 30.0) < 4 * error + 2.0


def test_thin_traffic_passes_late_where_it_may_and_what_is_missing_or_in_doubt_never_does():
    late = {"seconds": 600.0, "thin_passes": True}
    verdict = judged(trials=3, requests=3, **late)
    assert (verdict.word, verdict.thin, verdict.reasons) == ("go", True, ("3 of 100 requests seen",))
    # 100 requests are not out of the question yet.
    assert judged(trials=90, requests=90, **late | {"seconds": 590.0}).word == "hold"
    assert judged(trials=90, requests=90, **late).word == "go"
    assert judged(trials=3, requests=3, **late | {"thin_passes": False}).word == "undo"
    assert judged(trials=3, requests=3, failures=1, **late).word == "undo"
    assert judged(trials=3, requests=3, missed=True, **late).word == "undo"
    assert judged(trials=0, requests=0, **late).word == "undo"
    assert not judged().thin


def test_a_step_that_can_not_see_enough_in_time_passes_at_once_where_it_may():
    idle = {"trials": 1, "requests": 0, "patience": 600.0, "min_requests": 20}
    assert judged(**idle, seconds=100.0, thin_passes=True).word == "hold"
    assert judged(**idle, seconds=150.0, thin_passes=True).thin
    assert judged(**idle, seconds=150.0).word == "hold"
    assert judged(**idle, seconds=150.0, thin_passes=True, missed=True).word == "hold"
    assert judged(**idle, seconds=150.0, thin_passes=True, failures=1).word == "undo"
    # Not before it was watched as long as it shall be.
    assert judged(**idle, seconds=150.0, thin_passes=True, bake=200.0).word == "hold"


@given(count=st.integers(0, 2000))
def test_the_upper_limit_of_requests_is_that_of_a_poisson_rate(count):
    exact = stats.gamma.ppf(0.99, count + 1)
    assert traffic.most_by(count, 10.0, 10.0) == pytest.approx(exact, rel=0.02)
    assert traffic.most_by(count, 10.0, 30.0) == pytest.approx(3 * exact, rel=0.02)


def test_a_figure_that_is_told_of_no_request_yet_is_not_missing():
    evidence, watches = {ERRORS.name: Evidence(ERRORS.limit)}, {ERRORS.name: Watch()}
    given = {"requests": 0, "seconds": 600.0, "bake": 60.0, "patience": 600.0, "min_requests": 20}
    given |= {"false_alarm_rate": 0.01, "thin_passes": True}
    watches[ERRORS.name].add(0, 0, None, few=True)
    assert traffic.judge([ERRORS], evidence, watches, **given).thin
    watches[ERRORS.name].add(0, 0, None)
    assert traffic.judge([ERRORS], evidence, watches, **given).word == "undo"


def test_the_rate_before_is_told_by_the_balancers_counts_unless_it_is_worse_now():
    few, many = traffic.upper_rate(0, 40), traffic.upper_rate(10, 100_000)
    assert traffic.rate_before((0, 40), (10, 100_000), 20) == many < few
    assert traffic.rate_before((0, 40), (0, 0), 20) == few
    assert traffic.rate_before((4, 40), (10, 100_000), 20) == traffic.upper_rate(4, 40)
    assert traffic.rate_before((0, 19), (0, 19), 20) is None
    assert traffic.rate_before((0, 0), (0, 0), 0) is None
