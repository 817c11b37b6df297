# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leases and records, in each store that can keep them."""

from __future__ import annotations

import concurrent.futures
import datetime
import multiprocessing
import secrets
import threading

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    ConnectionFailed,
    InvalidOption,
    Locked,
    LowtideError,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.history import tables

NOW = datetime.datetime(2026, 1, 5, 12, tzinfo=datetime.UTC)


def later(seconds: float) -> datetime.datetime:
    """A moment after NOW."""
    return NOW + datetime.timedelta(seconds=seconds)


@pytest.fixture(params=["duckdb", "postgresql"])
def spec(request, tmp_path):
    """A state store of its own; each run in a file or schema that did not exist."""
    values = {"type": "duckdb", "path": str(tmp_path / "state.duckdb")}
    if request.param == "postgresql":
        values = request.getfixturevalue("postgresql")
    return options.checked({"state": values}, options.STATE, "options")


@pytest.fixture
def tenant():
    return f"t{secrets.token_hex(6)}"


def opened(spec, tenant, **more):
    return history.open_state(spec, tenant=tenant, **more)


def test_many_runs_may_open_a_new_schema_at_once(postgresql):
    """The first makes its tables, and the others, which waited for it, see them. A file of DuckDB has one writer at a time."""
    spec = options.checked({"state": postgresql}, options.STATE, "options")
    runs = 6
    barrier = threading.Barrier(runs)

    def open_it(tenant):
        barrier.wait(60)
        with opened(spec, tenant) as store:
            return store.leases()

    with concurrent.futures.ThreadPoolExecutor(runs) as pool:
        for _time in range(5):
            assert list(pool.map(open_it, [f"t{secrets.token_hex(6)}"] * runs)) == [[]] * runs


def test_a_lease_is_one_holders_until_it_is_over_or_given_back(spec, tenant):
    with opened(spec, tenant) as store:
        lease = store.acquire("pool:web", holder="a", seconds=60, now=NOW, why="update web")
        assert store.leases() == [lease] == [history.Lease("pool:web", "a", NOW, later(60), "update web")]
        with pytest.raises(history.LeaseHeld, match=r"pool:web is held by a to update web, since 2026-01-05T12:00:00Z"):
            store.acquire("pool:web", holder="b", seconds=60, now=later(59))
        assert store.acquire("pool:api", holder="b", seconds=60, now=NOW).holder == "b"
        assert store.acquire("pool:web", holder="b", seconds=60, now=later(60)).since == later(60)
        with pytest.raises(history.LeaseHeld, match="by b"):
            store.renew("pool:web", holder="a", seconds=60, now=later(61))
        assert store.release("pool:web", holder="a") is False
        assert store.release("pool:web", holder="b") is True
        with pytest.raises(Locked, match="b does not hold pool:web any more"):
            store.renew("pool:web", holder="b", seconds=60, now=later(62))


def test_a_holder_renews_and_keeps_its_since(spec, tenant):
    with opened(spec, tenant) as store:
        store.acquire("x", holder="a", seconds=10, now=NOW, why="try")
        assert store.renew("x", holder="a", seconds=10, now=later(5)) == history.Lease("x", "a", NOW, later(15), "try")
    with opened(spec, tenant, read_only=True) as store:
        assert [lease.until for lease in store.leases()] == [later(15)]
    with opened(spec, f"{tenant}b") as other:
        assert other.leases() == []


@pytest.mark.parametrize("seconds", [0, -1, 8 * 86400, float("nan")])
def test_a_lifetime_out_of_range_is_refused(spec, tenant, seconds):
    with opened(spec, tenant) as store, pytest.raises(InvalidOption, match="lifetime: a lease of .* up to 7d"):
        store.acquire("x", holder="a", seconds=seconds, now=NOW)


def test_records_come_back_in_order(spec, tenant):
    with opened(spec, tenant) as store:
        assert store.append("run", "web", {"event": "begun", "hosts": ["ä", 'a"b']}, now=NOW) == 1
        assert store.append("run", "api", {"event": "begun"}, now=later(1)) == 2
        assert store.append("run", "web", {"event": "done", "seconds": 1.5}, now=later(2)) == 3
        with pytest.raises(ValueError, match="Out of range float"):
            store.append("run", "web", {"seconds": float("nan")}, now=later(2))
    with opened(spec, tenant, read_only=True) as store:
        web = store.records("run", "web")
        assert [(item.number, item.at, item.body) for item in web] == [
            (1, NOW, {"event": "begun", "hosts": ["ä", 'a"b']}),
            (3, later(2), {"event": "done", "seconds": 1.5}),
        ]
        assert [item.number for item in store.records("run", since=later(1))] == [2, 3]
        assert store.records("other") == []


def test_what_is_older_than_the_retention_is_forgotten(spec, tenant):
    with opened(spec, tenant) as store:
        store.acquire("x", holder="a", seconds=10, now=NOW)
        store.append("run", "old", {}, now=NOW)
        number = store.append("run", "new", {}, now=NOW + datetime.timedelta(days=91))
        assert [item.name for item in store.records("run")] == ["new"]
        assert store.leases() == []
        assert number == 2


def _attempt(arguments):
    spec, tenant, holder = arguments
    with history.open_state(spec, tenant=tenant) as store:
        store.append("try", holder, {}, now=NOW)
        try:
            store.acquire("pool:web", holder=holder, seconds=60, now=NOW)
        except history.LeaseHeld as exc:
            return exc.lease.holder
    return holder


def test_of_many_at_once_one_has_the_lease_and_no_record_is_lost(spec, tenant):
    with opened(spec, tenant):
        pass
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as pool:
        holders = list(pool.map(_attempt, [(spec, tenant, f"run{number}") for number in range(12)]))
    assert len(set(holders)) == 1
    with opened(spec, tenant, read_only=True) as store:
        assert sorted(item.name for item in store.records("try")) == sorted(f"run{number}" for number in range(12))
        assert [item.number for item in store.records("try")] == list(range(1, 13))


def test_a_store_of_the_first_format_is_made_new(spec, tenant):
    with opened(spec, tenant) as store:
        for table in ("leases", "records"):
            store._rows(f"DROP TABLE {table}")
        store._rows("UPDATE lowtide SET format = 1")
    with opened(spec, tenant, read_only=True) as store:
        assert (store.leases(), store.records("run")) == ([], [])
    with opened(spec, tenant) as store:
        assert store.append("run", "web", {}, now=NOW) == 1
        assert store._rows("SELECT format FROM lowtide") == [(tables.FORMAT,)]


def test_a_history_that_is_only_read_from_needs_a_state(tmp_path):
    given = {"type": "prometheus", "url": "http://127.0.0.1:9", "queries": {"requests": "requests"}}
    params = {"history": options.checked(given, options.HISTORY, "history"), "state": None}
    with pytest.raises(
        InvalidOption, match=r"history.path: a history of type prometheus keeps no .*leases .* lowtide_state"
    ):
        history.open_state(params)
    params["history"] = options.checked({"path": str(tmp_path / "h.duckdb")}, options.HISTORY, "history")
    with history.open_state(params) as store:
        assert store.append("run", "web", {}, now=NOW) == 1


LOOKS = {
    "leases": lambda store: store.leases(),
    "records": lambda store: store.records("activation"),
    "marks": lambda store: store.marks(["web"]),
    "series": lambda store: store.summaries(metric="requests", pools=["web"]),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_session_that_ends_before_a_look_is_told(postgresql, tenant, look):
    spec = options.checked({"state": postgresql}, options.STATE, "options")
    with opened(spec, tenant) as store, opened(spec, tenant) as other:
        other._rows("SELECT pg_terminate_backend(?)", [store._connection.info.backend_pid])
        with pytest.raises(ConnectionFailed, match="^state.url: .* ended the session"):
            LOOKS[look](store)


@pytest.mark.parametrize("look", LOOKS)
def test_a_file_that_lacks_a_table_is_told(tmp_path, tenant, look):
    spec = options.checked({"state": {"path": str(tmp_path / "state.duckdb")}}, options.STATE, "options")
    with opened(spec, tenant) as store:
        store._rows(f"DROP TABLE {look}")
        with pytest.raises(LowtideError, match=f"^state.path: DuckDB can't use .*{look}.* Check that it is a history"):
            LOOKS[look](store)
