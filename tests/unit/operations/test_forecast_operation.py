# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json

import duckdb
import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face, history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotEnoughHistory
from ansible_collections.lowtide.fleet.plugins.module_utils.history.base import Mark
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import forecast, outlook
from ansible_collections.lowtide.fleet.plugins.module_utils.options import checked
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
POOLS = {"web": {"servers": ["web1", "web2"], "load": {"metric": "requests", "server_capacity": 100, "unit": "/s"}}}


@pytest.fixture(name="store")
def _store(tmp_path):
    """A history of ten days of two servers."""
    spec = {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}
    slots = np.arange(10 * 288)
    line = 50 + 30 * np.sin(2 * np.pi * slots / 288) + np.random.default_rng(0).normal(0, 2, len(slots))
    keys = tuple(SeriesKey("web", name, "requests") for name in ("web1", "web2"))
    with history.open(spec, read_only=False) as store:
        store.write(Series(keys, np.stack([line, 2 * line]), NOW, 300))
    return spec


def ask(store, **options):
    """The operation's answer to options as a user gives them."""
    given = {"history": store, "pools": POOLS, "now": "2026-01-31T00:00:00Z", "horizon": "2h", **options}
    return forecast.forecast(checked(given, forecast.SPEC, "forecast"), check_mode=False)


def test_a_pool_is_the_sum_of_its_servers(store):
    result = ask(store)
    assert face.plain(json.loads(json.dumps(result))) == result
    (item,) = result["forecasts"]
    assert (item["pool"], item["server"], item["start"]) == ("web", None, "2026-01-31T00:05:00Z")
    assert list(item["quantiles"]) == ["0.5", "0.9", "0.99"]
    assert all(len(values) == 24 for values in item["quantiles"].values())
    assert 120 < item["quantiles"]["0.5"][0] < 180
    assert (item["samples"], item["missing"]) == (2880, 30 * 288 - 2880)
    assert "requests of web: " in result["words"][0]
    assert "seasonal naive by" in result["words"][0]


def test_what_was_measured_long_ago_is_not_now(store):
    assert "/s now, " in ask(store, now="2026-01-31T00:10:00Z")["words"][0]
    assert "/s at 2026-01-31 00:00Z, with no sample since, " in ask(store, now="2026-01-31T00:20:00Z")["words"][0]


def test_servers_too_when_asked_and_they_add_up(store):
    pool, *servers = ask(store, per_server=True)["forecasts"]
    assert [item["server"] for item in servers] == ["web1", "web2"]
    assert list(servers[0]["quantiles"]) == ["0.5"]
    total = np.sum([item["quantiles"]["0.5"] for item in servers], axis=0)
    np.testing.assert_allclose(pool["quantiles"]["0.5"], total, rtol=1e-9)


def test_hours_servers_and_five_minutes_agree(store):
    """At 00:20 the hour in progress is left out; what is told of 01:00 to 02:00 is the mean of its twelve steps."""
    given = dict(coarser_steps=["1h", "30m"], horizon="4h", per_server=True, now="2026-01-30T00:20:00Z")
    pool, *servers = ask(store, **given)["forecasts"]
    assert face.plain(pool) == pool
    half, hour = pool["coarser"]
    assert (hour["step_seconds"], hour["start"]) == (3600, "2026-01-30T02:00:00Z")
    assert (half["step_seconds"], half["start"]) == (1800, "2026-01-30T01:00:00Z")
    assert [len(part["quantiles"]["0.9"]) for part in (half, hour)] == [7, 3]
    fine = np.array(pool["quantiles"]["0.5"])
    np.testing.assert_allclose(hour["quantiles"]["0.5"], fine[8:44].reshape(3, 12).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(half["quantiles"]["0.5"], fine[2:44].reshape(7, 6).mean(axis=1), rtol=1e-12)
    total = np.sum([item["coarser"][1]["quantiles"]["0.5"] for item in servers], axis=0)
    np.testing.assert_allclose(hour["quantiles"]["0.5"], total, rtol=1e-9)
    assert list(servers[0]["coarser"][1]["quantiles"]) == ["0.5"]
    assert hour["backtest"]["windows"] == 6


def test_pools_are_read_with_one_look_and_forecast_by_calendar(store, monkeypatch):
    """In the order of their names in the options, whatever goes together."""
    line = 100 + 50 * np.sin(2 * np.pi * np.arange(10 * 288) / 288) + np.random.default_rng(1).normal(0, 2, 10 * 288)
    with history.open(store, read_only=False) as kept:
        for place, (name, metric) in enumerate([("api", "requests"), ("db", "queries"), ("paris", "requests")]):
            kept.write(Series((SeriesKey(name, None, metric),), line[None, :] * 10**place, NOW, 300))
    load = {"server_capacity": 100}
    pools = {
        "paris": {"servers": ["p1"], "load": {**load, "metric": "requests"}, "calendar": {"time_zone": "Europe/Paris"}},
        **POOLS,
        "db": {"servers": ["d1"], "load": {**load, "metric": "queries"}},
        "api": {"servers": ["a1"], "load": {**load, "metric": "requests"}},
    }
    opened, made = [], []
    real_open, real = history.open, forecast.carry_on
    monkeypatch.setattr(history, "open", lambda *given, **more: opened.append(1) or real_open(*given, **more))
    monkeypatch.setattr(forecast, "carry_on", lambda values, **more: made.append(len(values)) or real(values, **more))
    items = ask(store, pools=pools)["forecasts"]
    assert [item["pool"] for item in items] == ["paris", "web", "db", "api"]
    assert (len(opened), sorted(made)) == (2, [1, 3])
    api, database = (np.array(item["quantiles"]["0.5"]) for item in (items[3], items[2]))
    np.testing.assert_allclose(database, 10 * api, rtol=1e-3)


def mark(store, servers, begin, end, why="update"):
    """Mark maintenance, in steps before the end of the history."""
    step = datetime.timedelta(seconds=300)
    with history.open(store, read_only=False) as kept:
        kept.mark([Mark("web", servers, NOW - begin * step, NOW - end * step, why)])


def disturb(store, server, begin, end, value):
    """Let a server report something else, in steps before the end of the history."""
    end_time = NOW - datetime.timedelta(seconds=300 * end)
    with history.open(store, read_only=False) as kept:
        kept.write(
            Series((SeriesKey("web", server, "requests"),), np.full((1, begin - end), float(value)), end_time, 300)
        )


def test_maintenance_of_the_pool_is_not_learned_from_and_is_counted(store):
    """A move that took all load away for half a day, the newest half, makes no difference once it is marked."""
    (before,) = ask(store)["forecasts"]
    for server in ("web1", "web2"):
        disturb(store, server, 144, 0, 0)
    (misled,) = ask(store)["forecasts"]
    mark(store, None, 144, 0, "move")
    (item,) = ask(store)["forecasts"]
    assert np.mean(misled["quantiles"]["0.5"]) < 0.7 * np.mean(before["quantiles"]["0.5"])
    np.testing.assert_allclose(np.mean(item["quantiles"]["0.5"]), np.mean(before["quantiles"]["0.5"]), rtol=0.1)
    assert (item["left_out"], item["samples"]) == (144, 2880 - 144)
    assert item["missing"] == before["missing"]
    assert "; 144 samples of maintenance left out; " in item["words"]
    mark(store, None, 2880, 144, "move")
    with pytest.raises(
        NotEnoughHistory, match=r"^history_window: every sample of requests of pool 'web' .*maintenance"
    ):
        ask(store)


def test_maintenance_of_servers_leaves_them_out_and_not_the_pool(store):
    """While one server is out, the other carries its load: the sum is what the pool carried."""
    disturb(store, "web1", 24, 12, 0)
    mark(store, ("web1",), 24, 12)
    pool, web1, web2 = ask(store, per_server=True)["forecasts"]
    assert (pool["left_out"], web1["left_out"], web2["left_out"]) == (0, 12, 0)


def test_maintenance_never_hides_the_present(store):
    """What is marked up to now is still what the pool and its servers carry now."""
    disturb(store, "web1", 3, 0, 7)
    mark(store, ("web1",), 3, 0)
    mark(store, None, 2, 0, "move")
    params = {"history": store, "pools": POOLS, "pool": [], "now": "2026-01-31T00:00:00Z", "forecasts": None}
    given = checked({**params, "horizon": "2h"}, {**options.COMMON, **outlook.SPEC}, "outlook")
    seen = outlook.outlook(given, lambda pool: 0.9)
    with history.open(store) as kept:
        raw = kept.read(
            metric="requests", pools=["web"], start=NOW - datetime.timedelta(hours=1), end=NOW, step_seconds=300
        )
    assert seen.demand["web"] == pytest.approx(raw.values[:, -1].sum())
    assert set(seen.loads["web"]) == {"web1", "web2"}
    assert seen.items[0]["left_out"] == 2
    assert not seen.warnings


def test_the_unit_is_the_pools_or_the_historys(store):
    assert ask(store)["forecasts"][0]["unit"] == "/s"
    bare = {"web": {**POOLS["web"], "load": {"metric": "requests", "server_capacity": 100}}}
    assert ask(store, pools=bare)["forecasts"][0]["unit"] is None
    with history.open(store, read_only=False) as kept:
        line = kept.read(
            metric="requests", pools=["web"], start=NOW - datetime.timedelta(hours=1), end=NOW, step_seconds=300
        )
        kept.write(line, units={"requests": "1/s"})
    assert ask(store, pools=bare)["forecasts"][0]["unit"] == "1/s"


def test_earlier_forecasts_beside_what_came(store):
    (item,) = ask(store, now="2026-01-30T00:02:00Z", compare=True)["forecasts"]
    assert len(item["actual"]) == 24
    np.testing.assert_allclose(item["actual"], item["quantiles"]["0.5"], rtol=0.2)
    assert 0 < item["error"] < 0.1
    assert "; it was off by " in item["words"]
    with pytest.raises(NotEnoughHistory):
        ask(store, compare=True)


def test_forecasts_in_a_file(store, tmp_path):
    path = tmp_path / "ahead.parquet"

    def write(**more):
        given = {"history": store, "pools": POOLS, "now": "2026-01-31T00:00:00Z", "horizon": "2h", "output": str(path)}
        given["coarser_steps"] = ["1h"]
        params = checked({**given, "per_server": True}, forecast.SPEC, "forecast")
        return forecast.forecast(params, **more)

    assert write(check_mode=True)["changed"]
    assert not path.exists()
    result = write(check_mode=False)
    assert result["changed"]
    assert not write(check_mode=False)["changed"]
    rows = duckdb.read_parquet(str(path)).fetchall()
    assert len(rows) == (24 + 2) * 3 + 2 * (24 + 2)
    first = result["forecasts"][0]
    assert rows[0] == (
        "web",
        None,
        "requests",
        300,
        datetime.datetime(2026, 1, 31, 0, 5),
        0.5,
        first["quantiles"]["0.5"][0],
    )


SALE = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Lowtide//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
SUMMARY:Sale
DTSTART:20260123T000000Z
DTEND:20260123T020000Z
RRULE:FREQ=DAILY;INTERVAL=4
END:VEVENT
END:VCALENDAR
"""


def test_the_events_of_an_ics_file_are_heeded(tmp_path):
    """What a sale did on the days it was, it is expected to do on the next one; a day without one stays as it was."""
    spec = {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}
    load = np.random.default_rng(0).normal(100, 3, 10 * 288)
    for day in (2, 6):  # 2026-01-23 and 2026-01-27; the next is 2026-01-31
        load[day * 288 : day * 288 + 24] *= 3
    with history.open(spec, read_only=False) as store:
        store.write(Series((SeriesKey("web", "web1", "requests"),), load[None], NOW, 300))
    file = tmp_path / "sales.ics"
    file.write_text(SALE.replace("\n", "\r\n"))
    pool = {**POOLS["web"], "servers": ["web1"]}
    (blind,) = ask(spec, pools={"web": pool}, horizon="4h")["forecasts"]
    (aware,) = ask(spec, pools={"web": {**pool, "calendar": {"files": [str(file)]}}}, horizon="4h")["forecasts"]
    assert np.median(blind["quantiles"]["0.5"][2:22]) < 130
    assert np.median(aware["quantiles"]["0.5"][2:22]) > 200
    assert np.median(aware["quantiles"]["0.5"][28:]) < 130


def test_holidays_of_an_unknown_country_are_named(store):
    pools = {"web": {**POOLS["web"], "calendar": {"holidays": "XX"}}}
    with pytest.raises(InvalidOption, match=r"pools\.web\.calendar\.holidays: the holidays of 'XX' are not known"):
        ask(store, pools=pools)


def test_a_pool_without_samples_is_named(store):
    other = {"api": {"servers": ["api1"], "load": {"metric": "requests", "server_capacity": 1}}}
    with pytest.raises(NotEnoughHistory, match="api"):
        ask(store, pools={**POOLS, **other})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon": "1m"}, "horizon: 1m is shorter than one step"),
        ({"step": "0"}, "step: 0 seconds"),
        ({"coarser_steps": ["7m"]}, "coarser_steps: 7 min is not a multiple of the step of 5 min"),
        ({"coarser_steps": ["1d"]}, "coarser_steps: no whole step of 24 h fits into the 2 h ahead"),
        ({"quantiles": [1.5]}, "quantiles"),
        ({"history_window": "1s"}, "history_window"),
        ({"now": "soon"}, "now: 'soon'"),
    ],
)
def test_wrong_options_are_named(store, wrong, message):
    with pytest.raises(InvalidOption, match=message):
        ask(store, **wrong)
