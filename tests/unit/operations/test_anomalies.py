# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.history.base import Mark
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import anomalies
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

STEP = 900
DAY = 96
END = datetime.datetime(2026, 1, 31, 6, 0, tzinfo=datetime.UTC)
SERVERS = ["web1", "web2", "web3"]
POOLS = {"web": {"servers": SERVERS, "load": {"metric": "requests", "server_capacity": 450, "unit": "/s"}}}


def loads():
    random = np.random.default_rng(0)
    time = np.arange(8 * DAY)
    return 200 + 60 * np.sin(2 * np.pi * time / DAY) + random.normal(0, 4, (3, len(time)))


@pytest.fixture
def ask(tmp_path):
    """Writes loads to a history and asks what is strange in it."""

    def asking(values, **more):
        spec = options.checked({"type": "duckdb", "path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")
        keys = tuple(SeriesKey("web", server, "requests") for server in SERVERS)
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


def test_refuses(ask):
    with pytest.raises(InvalidOption, match=r"false_alarms: 0\.0 is out of range"):
        ask(loads(), false_alarms=0)
    with pytest.raises(InvalidOption, match="history_window: 1d is too short"):
        ask(loads(), history_window="1d")
    with pytest.raises(InvalidOption, match=r"silent\[0\]: it ends before it begins"):
        ask(loads(), silent=[{"name": "x", "start": "2026-01-31T06:00:00Z", "end": "2026-01-31T05:00:00Z"}])
    spec = {"type": "duckdb", "path": "absent.duckdb"}
    params = options.checked({"history": spec, "pools": POOLS}, anomalies.SPEC, "anomalies")
    with pytest.raises(NotFound):
        anomalies.anomalies(params, check_mode=False)
