# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a history in DuckDB to a plan, and to a replay of the past."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, history
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotEnoughHistory
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import backtest, scaling_plan
from ansible_collections.lowtide.fleet.plugins.module_utils.options import checked
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

NOW = datetime.datetime(2026, 1, 31, 6, 0, tzinfo=datetime.UTC)
DAY = 288
STANDBY = {"servers": [f"s{number}" for number in range(20)], "lead_time": "15m"}
LOAD = {"metric": "requests", "server_capacity": 100}
POOL = {"servers": ["w0", "w1"], "load": LOAD, "standby": STANDBY, "slo": {"overload_cost_per_hour": 50}}

SURGE = {
    "pool": "web", "server": None, "metric": "requests", "open": True, "direction": "high",
    "since": "2026-01-31T05:45:00Z", "value": 3000.0, "expected": {"low": 0.0, "high": 2000.0},
}  # fmt: skip


def wave(days=20):
    """A load that rises steeply each morning from 06:00 on."""
    time = np.arange(days * DAY) - days * DAY + 1 + DAY / 4
    line = 200 + 1000 * np.clip(np.sin(2 * np.pi * (time / DAY - 0.25)) * 4, 0, 1)
    return np.maximum(line + np.random.default_rng(0).normal(0, 8, len(time)), 0)


@pytest.fixture(name="ask")
def _ask(tmp_path):
    """Calls an operation with a history of one load."""
    spec = {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}

    def run(values, module=scaling_plan, pool=None, **more):
        operation = getattr(module, module.__name__.rpartition(".")[2])
        with history.open(spec, read_only=False) as store:
            store.write(Series((SeriesKey("web", None, "requests"),), values[None, :], NOW, 300))
        given = {"history": spec, "pools": {"web": pool or POOL}, "now": NOW.isoformat(), **more}
        result = operation(checked(given, module.SPEC, "test"), check_mode=False)
        assert face.plain(json.loads(json.dumps(result))) == result
        return result

    return run


def test_standbys_are_woken_before_a_morning_that_reactive_would_miss(ask):
    ahead, behind = (ask(wave(), mode=mode)["plan"]["pools"]["web"] for mode in ("auto", "reactive"))
    assert (ahead["mode"], behind["mode"]) == ("predictive", "reactive")
    assert len(ahead["activate"]) >= len(behind["activate"]) + 3


def test_a_past_that_is_too_short_makes_it_reactive_and_it_says_so(ask):
    plan = ask(wave(3))["plan"]["pools"]["web"]
    assert plan["mode"] == "reactive"
    assert "follows the newest demand alone: the history of pool 'web' has 3.0 days" in plan["reasons"][0]
    assert ask(wave(3), mode="predictive")["plan"]["pools"]["web"]["mode"] == "predictive"


def test_a_past_that_a_forecast_would_have_cost_more_in_makes_it_reactive(ask):
    """Every afternoon is like the one before until the last week, in which the load is flat and low."""
    random = np.random.default_rng(2)
    values = 200 + 900 * random.random(20 * DAY // 6).repeat(6)
    values[-10 * DAY :] = 150 + random.normal(0, 1, 10 * DAY)
    pool = {**POOL, "slo": {"quantile": 0.999, "overload_cost_per_hour": 0.01}, "servers": ["w0"]}
    plan = ask(values, pool=pool)["plan"]["pools"]["web"]
    assert plan["mode"] == "reactive"
    assert "lately a day of going by the forecast would have cost" in plan["reasons"][0]
    assert ask(values, pool=pool, mode="predictive")["plan"]["pools"]["web"]["mode"] == "predictive"
    told = ask(values, backtest, pool=pool)["pools"]["web"]
    assert told["mode"] == "reactive"
    assert told["reactive_share"] > 0


def test_a_load_that_became_steady_is_followed_with_room_for_its_changes(ask):
    random = np.random.default_rng(3)
    values = 800 + 500 * (np.arange(20 * DAY) % 24 < 6) + random.normal(0, 5, 20 * DAY)
    values[-6 * DAY :] = 690 + random.normal(0, 5, 6 * DAY)
    pool = {**POOL, "slo": {"overload_cost_per_hour": 5000, "overload": "time"}}
    plan, alone = (ask(values, pool=pool, mode=mode)["plan"]["pools"]["web"] for mode in ("auto", "reactive"))
    assert plan["mode"] == alone["mode"] == "reactive"
    assert "with room for changes such as it had: lately a day" in plan["reasons"][0]
    assert plan["required"] > alone["required"]


def test_a_plan_by_the_forecast_says_why(ask):
    plan = ask(wave())["plan"]["pools"]["web"]
    assert plan["reasons"][0].startswith("it goes by the forecast: lately a day of")


def test_reactive_releases_what_the_greatest_demand_of_the_hold_does_not_need(ask):
    awake = [f"s{number}" for number in range(6)]
    plan = ask(wave(), mode="reactive", awake=awake)["plan"]["pools"]["web"]
    assert len(plan["release"]) >= 3
    assert len(plan["in_service"]) - len(plan["release"]) >= 3


def test_a_standby_noted_as_woken_lately_stays_awake(ask, tmp_path):
    awake = [f"s{number}" for number in range(6)]
    calm = ask(wave(), mode="reactive", awake=awake)["plan"]["pools"]["web"]
    with history.open_state(
        {"history": {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}}, tenant="default"
    ) as store:
        for server in awake:
            body = {"pool": "web", "woken": True, "price_per_hour": 1.0}
            store.append("activation", server, body, now=NOW - datetime.timedelta(minutes=5))
    young = ask(wave(), mode="reactive", awake=awake)["plan"]["pools"]["web"]
    assert calm["release"]
    assert young["release"] == []
    assert any("woke lately" in reason for reason in young["reasons"])


@pytest.mark.parametrize("least", ["3d", "10000000d"])
def test_a_standby_that_must_stay_awake_for_days_does(ask, tmp_path, least):
    spec = {"history": {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}}
    pool = {**POOL, "standby": {**STANDBY, "min_awake": least}}
    with history.open_state(spec, tenant="default") as store:
        body = {"pool": "web", "woken": True, "price_per_hour": 1.0}
        store.append("activation", "s5", body, now=NOW - datetime.timedelta(days=2))
    awake = [f"s{number}" for number in range(6)]
    told = ask(wave(), mode="reactive", awake=awake, pool=pool)["plan"]["pools"]["web"]
    assert [item["server"] for item in told["release"]][-1] == "s4"


def test_a_pool_without_history_stays_as_it_is_and_the_others_are_planned(ask):
    new = {"servers": ["n0"], "load": LOAD, "standby": {"servers": ["n1", "n2"]}}
    result = ask(wave(), pools={"new": new, "web": POOL}, awake=["n1"])
    told = result["plan"]["pools"]["new"]
    assert (told["mode"], told["activate"], told["release"], told["required"]) == ("reactive", [], [], 2)
    assert result["plan"]["pools"]["web"]["activate"]
    assert any("'new'" in text and "stays as it is" in text for text in result["warnings"])
    with pytest.raises(NotEnoughHistory, match="'new'"):
        ask(wave(), pools={"new": new})


def test_a_surge_that_anomalies_told_of_is_covered(ask):
    values = wave()
    calm, alarmed = (ask(values, anomalies=found)["plan"]["pools"]["web"] for found in ([], [SURGE]))
    assert calm["required"] < alarmed["required"]
    assert alarmed["required"] == 58  # 4,000 at 70 of 100 each
    assert any("unusually high" in reason for reason in alarmed["reasons"])


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"awake_since": {"w0": "2026-01-31T00:00:00Z"}}, "^awake_since: 'w0' is not a standby"),
        ({"awake_since": {"s0": "lately"}}, r"^awake_since\.s0: 'lately' is not a time"),
        ({"owners": {"w0": "web"}}, "^owners: 'w0' is not a standby"),
        ({"owners": {"s0": "lab"}}, "^owners: 's0' is not a standby of pool 'lab'"),
        ({"tenants": {"default": {"guaranteed_standbys": -1}}}, r"^tenants\.default\.guaranteed_standbys"),
        ({"forecasts": [{}]}, "^forecasts: there is no forecast of pool 'web'"),
        ({"anomalies": [SURGE | {"value": "much"}]}, "^anomalies: this is not an anomaly"),
        ({"anomalies": [SURGE | {"value": float("nan")}]}, "^anomalies: this is not an anomaly"),
        ({"anomalies": [SURGE | {"expected": [1, 2]}]}, "^anomalies: this is not an anomaly"),
        ({"pools": {"web": POOL, "lab": "gone"}, "pool": ["web"]}, "^pools.lab: a dictionary is wanted, not str"),
        ({"pools": {"web": POOL, "lab": {"standby": ["s0"]}}, "pool": ["web"]}, "^pools.lab.standby: a dictionary is"),
        ({"history_window": "100000d"}, "^history_window: 100000 d is more than any history holds"),
        ({"out": ["w0"]}, "^out: 'w0' is not a standby"),
    ],
)
def test_what_is_wrong_is_named(ask, more, error):
    with pytest.raises(InvalidOption, match=error):
        ask(wave(5), **more)


def test_a_standby_that_hardly_ever_sleeps_is_replayed_in_no_more_time(ask):
    pool = {**POOL, "standby": {**STANDBY, "min_awake": "1000000d"}}
    assert ask(wave(5), pool=pool)["plan"]["pools"]["web"]["required"] > 2


def replay(ask, values, **more):
    return ask(values, backtest, **more)


def test_a_replay_tells_what_each_policy_would_have_cost(ask):
    result = replay(ask, wave())
    figures = result["pools"]["web"]["policies"]
    assert set(figures) == {"lowtide", "reactive", "reactive_best_headroom", "static_peak", "seasonal_naive", "oracle"}
    assert figures["lowtide"]["overload_minutes"] < figures["reactive"]["overload_minutes"]
    assert figures["static_peak"]["server_hours"] > figures["lowtide"]["server_hours"]
    assert result["policies"]["web: seasonal naive"] == figures["seasonal_naive"]
    assert result["words"][0].startswith("web: over 10 days")
    assert not result["changed"]


def test_a_history_that_is_too_short_is_not_replayed(ask):
    with pytest.raises(NotEnoughHistory, match="^history_window: "):
        replay(ask, wave(2))
