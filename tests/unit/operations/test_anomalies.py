# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotEnoughHistory, NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.history.base import Mark
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import anomalies
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

STEP = 900
DAY = 96
END = datetime.datetime(2026, 1, 31, 6, 0, tzinfo=datetime.UTC)
SERVERS = ["web1", "web2", "web3"]
POOLS = {"web": {"servers": SERVERS, "load": {"metric": "requests", "server_capacity": 450, "unit": "/s"}}}


def loads(days=8):
    random = np.random.default_rng(0)
    time = np.arange(days * DAY)
    return 200 + 60 * np.sin(2 * np.pi * time / DAY) + random.normal(0, 4, (3, len(time)))


@pytest.fixture
def ask(tmp_path):
    """Writes loads to a history and asks what is strange in it."""

    def asking(values, *, keys=None, **more):
        spec = options.checked({"type": "duckdb", "path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")
        keys = tuple(keys or (SeriesKey("web", server, "requests") for server in SERVERS))
        with history.open(spec, read_only=False) as store:
            store.write(Series(keys, values, END, STEP))
        given = {"history": spec, "pools": POOLS, "step": "15m", "now": "2026-01-31T06:07:00Z", **more}
        params = options.checked(given, anomalies.SPEC, "anomalies")
        result = face.plain(anomalies.anomalies(params, check_mode=True))
        json.dumps(result, allow_nan=False)
        return result

    def mark(*marks):
        spec = options.checked({"type": "duckdb", "path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")
        with history.open(spec, read_only=False) as store:
            store.mark(marks)

    asking.mark = mark
    return asking


def test_nothing_unusual(ask):
    result = ask(loads(), false_alarms=0.1)
    assert result["anomalies"] == []
    assert result["words"] == ["web: nothing unusual."]
    assert result["pools"]["web"] == {
        "anomalous": False,
        "open": 0,
        "servers": [],
        "series": 4,
        "left_out": 0,
        "newest": "2026-01-31T06:00:00Z",
    }


def test_one_server_alone(ask):
    values = loads()
    values[1, -2:] *= 4
    result = ask(values, false_alarms=0.5)
    (item,) = [item for item in result["anomalies"] if item["server"] == "web2"]
    assert item["open"] and item["until"] is None
    assert item["since"] == "2026-01-31T05:30:00Z"
    assert item["direction"] == "high"
    assert item["duration_seconds"] == 2 * STEP
    assert item["words"].startswith("requests of web2: ")
    assert "times the 99 % bound" in item["words"]
    assert "since 2026-01-31 05:30Z; the pool's other servers are normal." in item["words"]
    assert result["pools"]["web"]["servers"] == ["web2"]


def test_what_is_within_the_range_is_told_beside_its_time_of_day(ask):
    """No value is new where a load stands still."""
    values = loads(days=20)
    values[0, -30:] = values[0, -30]
    items = [item for item in ask(values)["anomalies"] if item["server"] == "web1"]
    item = next(item for item in items if item["unusual"])
    assert item["direction"] == "unusual"
    assert item["unusual"]["what"] == "spread" and item["unusual"]["over_seconds"] == 6 * STEP
    assert item["unusual"]["now"] == 0 < item["unusual"]["usual"]
    words = (
        "requests of web1: hardly moves, unlike usual at this time of day (varies by 0/s over 1 h 30 min, usually by "
    )
    assert item["words"].startswith(words)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (
            ("spread", 9.04, 3.0),
            "more restless than usual at this time of day (varies by 9.04% over 1 h, usually by 3%)",
        ),
        (("spread", 1.5, 3.0), "calmer than usual at this time of day (varies by 1.5% over 1 h, usually by 3%)"),
        (("spread", 0.0, 3.0), "hardly moves, unlike usual at this time of day (varies by 0% over 1 h, usually by 3%)"),
        (("mean", 41.0, 18.26), "higher than usual at this time of day (a mean of 41% over 1 h, usually 18.3%)"),
        (("mean", 8.0, 18.26), "lower than usual at this time of day (a mean of 8% over 1 h, usually 18.3%)"),
        (None, "unlike anything before (40%, expected 30 to 50%)"),
    ],
)
def test_an_anomaly_within_its_range_in_words(seen, told):
    item = {"metric": "cpu", "server": "web3", "pool": "web", "expected": {"low": 30.0, "high": 50.0}, "value": 40.0}
    item |= {"direction": "unusual", "since": "2026-01-31T05:30:00Z", "open": True, "unusual": None}
    if seen:
        item["unusual"] = dict(zip(("what", "now", "usual"), seen, strict=True), over_seconds=3600)
    expected = f"cpu of web3: {told} since 2026-01-31 05:30Z."
    assert anomalies.words(item, "%", None) == expected


def test_the_pool_drops(ask):
    values = loads()
    values[:, -3:] = 0
    result = ask(values)
    (item,) = [item for item in result["anomalies"] if item["server"] is None]
    assert item["direction"] == "low"
    assert "unusually low (0/s, expected" in item["words"]
    assert "all of its servers too" in item["words"]
    assert result["pools"]["web"]["anomalous"]


def test_a_silent_time_is_neither_flagged_nor_learned(ask):
    values = loads()
    values[:, -20:-10] *= 3
    mark = {"name": "sale", "start": "2026-01-31T00:45:00Z", "end": "2026-01-31T03:45:00Z"}
    assert ask(values)["anomalies"]
    assert ask(values, silent=[mark], false_alarms=0.1)["anomalies"] == []
    assert ask(values, silent=[{**mark, "pools": ["other"]}])["anomalies"]


def test_what_is_marked_as_maintenance_is_neither_flagged_nor_learned(ask):
    """An update of one server leaves that server out, and says how many samples; the others are looked at."""
    values = loads()
    values[1, -20:-10] *= 3
    assert any(item["server"] == "web2" for item in ask(values)["anomalies"])
    start, end = END - datetime.timedelta(seconds=20 * STEP), END - datetime.timedelta(seconds=10 * STEP)
    ask.mark(Mark("web", ("web2",), start, end, "update"))
    result = ask(values, false_alarms=0.1)
    assert [item for item in result["anomalies"] if item["server"] == "web2"] == []
    assert result["pools"]["web"]["left_out"] == 10
    assert result["words"][-1] == "web: 10 samples of maintenance left out."
    values[0, -2:] *= 4
    assert any(item["server"] == "web1" for item in ask(values, false_alarms=0.5)["anomalies"])


def test_what_is_over_is_told_for_a_while(ask):
    values = loads()
    values[:, -100:-90] *= 3
    old = ask(values, since="48h")["anomalies"]
    assert old and not any(item["open"] for item in old)
    assert " from 2026-01-30 05:00Z for " in next(item["words"] for item in old if item["server"] is None)
    assert all(item["duration_seconds"] < 5 * 3600 for item in old)
    assert ask(values, since="1h", false_alarms=0.1)["anomalies"] == []


@pytest.mark.parametrize("detector", ["peers", "multivariate", "flat_line"])
def test_other_detectors(ask, detector):
    values = loads()
    values[2, -2:] = 900
    result = ask(values, detector=detector)
    assert all(item["server"] for item in result["anomalies"])
    assert result["pools"]["web"]["series"] == 4


MORE = {
    **POOLS,
    "mail": {"servers": ["mail1"], "load": {"metric": "requests", "server_capacity": 450}},
    "db": {"servers": ["db1"], "load": {"metric": "queries", "server_capacity": 90}},
}


def test_a_pool_without_history_is_named_and_the_others_are_looked_at(ask):
    values = loads()
    values[:, -3:] = 0
    result = ask(values, pools=MORE)
    assert list(result["pools"]) == ["web"]
    assert {item["pool"] for item in result["anomalies"]} == {"web"}
    assert list(result["without_history"]) == ["mail", "db"]
    assert "no sample of 'requests' for pool 'mail'" in result["without_history"]["mail"]
    assert len(result["warnings"]) == 2
    assert result["warnings"][1].startswith("Pool 'db' is not looked at: ")
    alone = ask(values)
    assert result["anomalies"] == alone["anomalies"]
    assert alone["without_history"] == {} and alone["warnings"] == []


def test_it_fails_when_no_pool_has_a_history(ask):
    with pytest.raises(NotEnoughHistory, match="for pool 'mail'"):
        ask(loads(), pools=MORE, pool=["mail", "db"])
    with pytest.raises(NotEnoughHistory, match="none of the metrics is the load of pool 'web'"):
        ask(loads(), metrics=["cpu"], per_server=False)


def test_the_pools_of_a_metric_are_read_at_once(ask, monkeypatch):
    reads = []
    opened = history.open

    def counting(*args, **more):
        store = opened(*args, **more)
        read = store.read
        monkeypatch.setattr(store, "read", lambda **asked: reads.append(list(asked["pools"])) or read(**asked))
        return store

    monkeypatch.setattr(history, "open", counting)
    pools = {
        name: {"servers": [server], "load": POOLS["web"]["load"]} for name, server in zip("abc", SERVERS, strict=True)
    }
    keys = [SeriesKey(name, server, "requests") for name, server in zip("abc", SERVERS, strict=True)]
    result = ask(loads(), pools=pools, keys=keys)
    assert reads == [["a", "b", "c"]]
    assert list(result["pools"]) == ["a", "b", "c"]
    assert all(state["series"] == 2 for state in result["pools"].values())


def test_a_standby_that_carries_load_is_no_drop(ask):
    values = loads()
    moved = values[2, -20:].copy()
    values[2, -20:] = np.nan
    values = np.vstack([values, np.where(np.arange(values.shape[1]) < values.shape[1] - 20, np.nan, 0)])
    values[3, -20:] = moved
    pool = {**POOLS["web"], "standby": {"servers": ["spare"], "lead_time": "4m"}}
    keys = [SeriesKey("web", server, "requests") for server in [*SERVERS, "spare"]]
    result = ask(values, pools={"web": pool}, keys=keys)
    assert [item for item in result["anomalies"] if item["server"] is None] == []
    assert result["pools"]["web"]["series"] == 4


def test_refuses(ask):
    with pytest.raises(InvalidOption, match=r"false_alarms: 0\.0 is out of range"):
        ask(loads(), false_alarms=0)
    with pytest.raises(InvalidOption, match="history_window: 1d is too short"):
        ask(loads(), history_window="1d")
    with pytest.raises(InvalidOption, match=r"silent\[0\]: it ends before it begins"):
        ask(loads(), silent=[{"name": "x", "start": "2026-01-31T06:00:00Z", "end": "2026-01-31T05:00:00Z"}])
    spec = {"type": "duckdb", "path": "/absent/history.duckdb"}
    params = options.checked({"history": spec, "pools": POOLS}, anomalies.SPEC, "anomalies")
    with pytest.raises(NotFound):
        anomalies.anomalies(params, check_mode=False)


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_pools_that_are_scored_together_are_told_of_as_each_by_itself(ask, monkeypatch, at_once):
    monkeypatch.setattr(anomalies, "SCORED_AT_ONCE", at_once)
    values = np.concatenate([loads(4), loads(4)[:2] * 2, loads(4)[:1] * 3])
    values[1, -2:] *= 4
    values[4, -9:] *= 0.2
    members = {"a": ["a1", "a2", "a3"], "b": ["b1", "b2"], "c": ["c1"]}
    keys = [SeriesKey(pool, server, "requests") for pool, servers in members.items() for server in servers]
    pools = {name: {**POOLS["web"], "servers": servers} for name, servers in members.items()}
    common = {"keys": keys, "pools": pools, "detector": "novelty", "false_alarms": 20, "since": "4d"}
    together = ask(values, **common)
    assert {item["pool"] for item in together["anomalies"]} >= {"a", "b"}
    for name in members:
        alone = ask(values, pool=[name], **common)
        assert alone["anomalies"] == [item for item in together["anomalies"] if item["pool"] == name]
        assert alone["pools"][name] == together["pools"][name]
