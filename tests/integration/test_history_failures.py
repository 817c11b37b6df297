# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong at the history and its sources: each has an error of its own, and nothing that was there is lost."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import duckdb
import numpy as np
import psycopg
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    CertificateRejected,
    ConnectionFailed,
    InvalidOption,
    Locked,
    LowtideError,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.history import duckdb_store
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.collect import collect
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from simulators.certificates import Authority
from simulators.postgresql import PostgreSQL
from simulators.prometheus import Prometheus

END = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
STEP = 300
SPAWN = multiprocessing.get_context("spawn")


def series(count, columns, offset=0.0):
    rows = np.random.default_rng(5).gamma(2, 50, (count, columns)) + offset
    return Series(tuple(SeriesKey("web", f"web{row}", "requests") for row in range(count)), rows, END, STEP)


def checked(values):
    return options.checked(values, options.HISTORY, "history")


def read(spec, columns):
    with history.open(spec) as kept:
        start = END - datetime.timedelta(seconds=STEP * columns)
        return kept.read(metric="requests", pools=["web"], start=start, end=END, step_seconds=STEP)


def same(found, expected):
    assert sorted(found.keys) == sorted(expected.keys)
    order = [found.keys.index(key) for key in expected.keys]
    np.testing.assert_array_equal(found.values[order], expected.values)


@pytest.fixture(params=["duckdb", "postgresql"])
def spec(request, tmp_path):
    """A history that holds a day of ten servers."""
    if request.param == "duckdb":
        values = checked({"path": str(tmp_path / "history.duckdb")})
    else:
        values = checked(request.getfixturevalue("postgresql"))
        with history.open(values, read_only=False) as kept:
            kept._rows("TRUNCATE samples, series, coverage, marks")
    with history.open(values, read_only=False) as kept:
        kept.write(series(10, 288))
    return values


def _write_many(spec, offset, barrier):
    """What a collector does, over and over."""
    barrier.wait()
    for round_number in range(5):
        with history.open(spec, read_only=False) as kept:
            kept.write(series(10, 288, offset=offset + round_number))
    sys.exit(0)


def test_two_collectors_at_once_neither_corrupt_nor_deadlock(spec):
    barrier = SPAWN.Barrier(2)
    workers = [SPAWN.Process(target=_write_many, args=(spec, offset, barrier)) for offset in (100, 200)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = read(spec, 288)
    assert len(found.keys) == 10
    offset = found.values[0, 0] - read_first()
    assert round(offset) in (104, 204)
    same(found, series(10, 288, offset=round(offset)))
    with history.open(spec) as kept:
        assert [item.samples for item in kept.summaries(metric="requests", pools=["web"])] == [288] * 10


def read_first():
    """The first sample before any offset."""
    return series(10, 288).values[0, 0]


def _die_in_mid_write(spec, started):
    """Write much, and tell when the samples are on their way."""
    with history.open(spec, read_only=False) as kept:
        merge = kept._merge

        def told(*arguments):
            counts = merge(*arguments)
            started.set()
            time.sleep(30)
            return counts

        kept._merge = told
        kept.write(series(200, 8640, offset=1))


def test_a_crash_in_mid_write_loses_nothing_that_was_there(spec):
    started = SPAWN.Event()
    worker = SPAWN.Process(target=_die_in_mid_write, args=(spec, started))
    worker.start()
    assert started.wait(60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    same(read(spec, 288), series(10, 288))
    with history.open(spec, read_only=False) as kept:
        assert kept.write(series(10, 288)) == 0
        assert kept.write(series(10, 288, offset=1)) == 2880


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_crash_at_any_moment_leaves_all_or_nothing(tmp_path, moment):
    spec = checked({"path": str(tmp_path / "history.duckdb")})
    with history.open(spec, read_only=False) as kept:
        kept.write(series(10, 288))
    started = SPAWN.Event()
    worker = SPAWN.Process(target=_write_large, args=(spec, started))
    worker.start()
    assert started.wait(60)
    time.sleep(moment)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    found = read(spec, 288)
    large = series(60, 8640, offset=1)
    written = Series(large.keys, large.values[:, -288:], END, STEP)
    same(found, series(10, 288) if len(found.keys) == 10 else written)


def _write_large(spec, started):
    """One write of half a million samples, which may end."""
    large = series(60, 8640, offset=1)
    started.set()
    with history.open(spec, read_only=False) as kept:
        kept.write(large)
    time.sleep(30)


def _write_with_little_room(spec, room, answer):
    """Write under a limit on the size of files."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        with history.open(spec, read_only=False) as kept:
            kept.write(series(400, 8640, offset=0.123456789))
        answer.put(("no error", ""))
    except LowtideError as exc:
        answer.put((type(exc).__name__, str(exc)))


def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    spec = checked({"path": str(tmp_path / "history.duckdb")})
    with history.open(spec, read_only=False) as kept:
        kept.write(series(10, 288))
    answer = SPAWN.Queue()
    room = (tmp_path / "history.duckdb").stat().st_size + 2**20
    worker = SPAWN.Process(target=_write_with_little_room, args=(spec, room, answer))
    worker.start()
    kind, words = answer.get(timeout=120)
    worker.join()
    assert kind == "LowtideError"
    assert "history.path: the disk of" in words
    assert "is full. Make room" in words
    assert "\n" not in words
    same(read(spec, 288), series(10, 288))
    with history.open(spec, read_only=False) as kept:
        assert kept.write(series(10, 288, offset=1)) == 2880


def _hold(spec, started):
    """Hold the file."""
    with history.open(spec, read_only=False):
        started.set()
        time.sleep(30)


def test_a_file_that_is_held_is_told(tmp_path, monkeypatch):
    spec = checked({"path": str(tmp_path / "history.duckdb")})
    started = SPAWN.Event()
    worker = SPAWN.Process(target=_hold, args=(spec, started))
    worker.start()
    assert started.wait(30)
    monkeypatch.setattr(duckdb_store, "_PATIENCE", 0.2)
    try:
        with pytest.raises(Locked, match=r"history.path: another process holds .*Wait until it has ended"):
            history.open(spec)
    finally:
        worker.kill()
        worker.join()


def test_a_file_that_is_no_history(tmp_path):
    (tmp_path / "text.duckdb").write_text("no database at all" * 1000)
    with pytest.raises(LowtideError, match=r"history.path: DuckDB can't use .*Check that it is a history"):
        history.open(checked({"path": str(tmp_path / "text.duckdb")}))
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    for read_only in (True, False):
        with pytest.raises(InvalidOption, match=r"history.path: .* is a database, but no history of Lowtide"):
            history.open(checked({"path": str(tmp_path / "other.duckdb")}), read_only=read_only)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"password": "wrong"}, AuthenticationFailed, r"history.username: .*refused the credentials"),
        ({"ca_path": None}, CertificateRejected, r"history.ca_path: .*not trusted"),
        ({"url": "postgresql://localhost:1/postgres"}, ConnectionFailed, r"history.url: .*can't be reached"),
        ({"url": "mysql://localhost"}, InvalidOption, r"history.url: .*postgresql://"),
    ],
)
def test_postgresql_errors(postgresql, changes, error, words):
    with pytest.raises(error, match=words) as caught:
        history.open(checked({key: value for key, value in (postgresql | changes).items() if value is not None}))
    assert "\n" not in str(caught.value)


def test_a_postgresql_that_never_answers_is_told(postgresql):
    with socket.create_server(("localhost", 0)) as silent:
        url = f"postgresql://localhost:{silent.getsockname()[1]}/postgres"
        with pytest.raises(ConnectionFailed, match=r"history.url: .*can't be reached.*time.*out") as caught:
            history.open(checked(postgresql | {"url": url, "timeout": "2s"}))
    assert "\n" not in str(caught.value)


def test_a_postgresql_that_ends_the_session_in_mid_write_loses_nothing(postgresql):
    spec = checked(postgresql)
    with history.open(spec, read_only=False) as kept:
        kept._rows("TRUNCATE samples, series, coverage, marks")
        kept.write(series(3, 288))
    ended = pytest.raises(ConnectionFailed, match="ended the session")
    with ended, history.open(spec, read_only=False) as kept, kept._transaction():
        kept._merge(np.zeros(1, np.int64), np.array([int(END.timestamp())]), np.array([-1.0]))
        ((own,),) = kept._rows("SELECT pg_backend_pid()")
        with history.open(spec) as other:
            other._rows("SELECT pg_terminate_backend(?)", [own])
        kept._rows("SELECT 1")
    same(read(spec, 288), series(3, 288))


def test_postgresql_with_an_expired_certificate():
    with tempfile.TemporaryDirectory(prefix="lowtide-", dir="/var/tmp") as directory:
        pathlib.Path(directory).chmod(0o755)
        authority = Authority(f"{directory}/ca")
        server = PostgreSQL(f"{directory}/postgresql", certificate=authority.sign("old", expired=True))
        with server, pytest.raises(CertificateRejected, match=r"history.ca_path: .*expired"):
            history.open(
                checked(
                    {
                        "type": "postgresql",
                        "url": server.url,
                        "username": server.user,
                        "password": server.password,
                        "ca_path": str(authority.path),
                    }
                )
            )


@pytest.fixture
def small_disk():
    """A file system of 64 MiB of its own."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    with tempfile.TemporaryDirectory(prefix="lowtide-", dir="/var/tmp") as directory:
        pathlib.Path(directory).chmod(0o755)
        mounted = f"{directory}/disk"
        pathlib.Path(mounted).mkdir()
        subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "lowtide", mounted], check=True)
        try:
            yield pathlib.Path(mounted)
        finally:
            subprocess.run([*sudo, "umount", mounted], check=True)


def test_postgresql_on_a_full_disk_is_told_and_loses_nothing(postgresql, small_disk):
    """A real full disk: the schema's tables lie in a tablespace on a file system that is too small."""
    place = small_disk / "tables"
    place.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(place, "nobody")
    spec = checked(postgresql)
    tenant = "full"
    with psycopg.connect(
        spec["url"], user=spec["username"], password=spec["password"], sslmode="verify-full",
        sslrootcert=spec["ca_path"], autocommit=True,
    ) as connection:  # fmt: skip
        connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        connection.execute("ALTER DATABASE postgres SET default_tablespace = small")
        try:
            with history.open(spec, tenant=tenant, read_only=False) as kept:
                kept.write(series(10, 288))
                with pytest.raises(LowtideError, match=r"history.url: .* is out of room .*Make room there") as caught:
                    kept.write(series(400, 8640, offset=1))
                assert "\n" not in str(caught.value)
            with history.open(spec, tenant=tenant, read_only=False) as kept:
                start = END - datetime.timedelta(days=1)
                same(
                    kept.read(metric="requests", pools=["web"], start=start, end=END, step_seconds=STEP),
                    series(10, 288),
                )
                assert kept.write(series(10, 288, offset=1)) == 2880
        finally:
            connection.execute("ALTER DATABASE postgres RESET default_tablespace")
            connection.execute("DROP SCHEMA lowtide_full CASCADE")
            connection.execute("DROP TABLESPACE small")


def test_a_password_is_never_in_an_error(postgresql):
    secret = postgresql["url"].replace("://", "://lowtide:topsecret@")
    with pytest.raises(AuthenticationFailed) as caught:
        history.open(checked(postgresql | {"url": secret, "password": "topsecret"}))
    assert "topsecret" not in str(caught.value)


GOOD = json.dumps(
    {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [{"metric": {"instance": "web0"}, "values": [[END.timestamp(), "1"]]}],
        },
    }
).encode()


@contextlib.contextmanager
def server(*answers):
    """An HTTP server that gives one answer after the other, and the last again: (status, body, declared length, wait)."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            status, body, length, wait = left.pop(0) if len(left) > 1 else left[0]
            time.sleep(wait)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                self.send_header("Content-Length", str(length if length is not None else len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *arguments):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def asked(tmp_path, url, **changes):
    """The options of one collection from a server."""
    source = {"type": "prometheus", "url": url, "queries": {"requests": "requests"}} | changes
    return {
        "history": {"path": str(tmp_path / "history.duckdb")},
        "pools": {"web": {"servers": ["web0"], "load": {"metric": "requests", "server_capacity": 9}}},
        "pool": [],
        "now": END.isoformat(),
        "sources": [source],
        "step": "5m",
        "window": "1d",
        "overlap": "1h",
        "marks": [],
        "health": False,
    }


@pytest.mark.parametrize(
    ("answer", "changes", "error", "words"),
    [
        ((500, b"oops", None, 0), {}, ConnectionFailed, r"sources\[0\].url: .* answered 500 .*nothing was lost"),
        ((503, b"oops", None, 0), {}, ConnectionFailed, r"sources\[0\].url: .* answered 503"),
        (
            (200, GOOD, None, 3),
            {"timeout": "1s"},
            ConnectionFailed,
            r"sources\[0\].timeout: .*did not answer within 1 s",
        ),
        ((200, GOOD[:40], len(GOOD), 0), {}, ConnectionFailed, r"sources\[0\].url: .*cut off"),
        ((200, GOOD[:40], None, 0), {}, ConnectionFailed, r"sources\[0\].url: .*cut off"),
        ((200, b"<html>", None, 0), {}, ConnectionFailed, r"sources\[0\].url: .*no answer of such a server"),
        ((401, b"", None, 0), {}, AuthenticationFailed, r"sources\[0\].username: .*401"),
        ((403, b"", None, 0), {"token": "x"}, AuthenticationFailed, r"sources\[0\].token: .*403"),
    ],
)
def test_a_failing_source_loses_nothing(tmp_path, answer, changes, error, words):
    spec = checked({"path": str(tmp_path / "history.duckdb")})
    with history.open(spec, read_only=False) as kept:
        kept.write(series(1, 288))
    with server(answer) as url, pytest.raises(error, match=words) as caught:
        collect(asked(tmp_path, url, **changes), check_mode=False)
    assert "\n" not in str(caught.value)
    same(read(spec, 288), series(1, 288))


def test_a_moments_weakness_is_tried_again(tmp_path):
    with server((503, b"", None, 0), (200, GOOD, None, 0)) as url:
        result = collect(asked(tmp_path, url), check_mode=False)
    assert result["collected"][0]["samples"] == 1


def test_an_expired_certificate_of_prometheus(tmp_path):
    authority = Authority(tmp_path / "ca")
    with (
        Prometheus(tmp_path / "data", certificate=authority.sign("old", expired=True)) as running,
        pytest.raises(CertificateRejected, match=r"sources\[0\].url: .*has expired\. Renew it"),
    ):
        collect(asked(tmp_path, running.url, ca_path=str(authority.path)), check_mode=False)
