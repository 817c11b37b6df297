# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast and how small the history is, beside SQLite and Parquet, and beside a bare read from Prometheus.

    python tests/benchmarks/history.py store      # 1,000 servers x 30 days x 5 minutes: write, read, size
    python tests/benchmarks/history.py collect    # one step of 1,000 servers x 6 metrics into 30 days of them
    python tests/benchmarks/history.py postgresql # the same 8.64 million samples in a PostgreSQL on loopback
    python tests/benchmarks/history.py prometheus # 100 series x 30 days, against a bare read of the same bytes

Each read is a process of its own, so that imports count. Values are random to two decimals: no trace is so incompressible.
Beside each elapsed time of this process stands its CPU time (user and system), which a busy machine disturbs less.
Exits with 1 when a figure misses its bound.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".build")]
import conftest

conftest.link_collection()

SERVERS, DAYS, STEP = 1000, 30, 300
END = 1_795_500_000 // 86400 * 86400
COLUMNS = DAYS * 86400 // STEP
RUNS = 3


def moment(seconds: float) -> datetime.datetime:
    """Epoch seconds as a time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def fleet(metric: str, end: int = END, columns: int = COLUMNS, servers: int = SERVERS) -> t.Any:
    """Random load of a fleet."""
    import numpy as np
    from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

    values = np.round(np.random.default_rng(len(metric)).gamma(3, 20, (servers, columns)), 2)
    keys = tuple(SeriesKey("web", f"web{number}", metric) for number in range(servers))
    return Series(keys, values, moment(end), STEP)


def write_lowtide(path: str, series: t.Any) -> None:
    """Into the embedded store."""
    from ansible_collections.lowtide.fleet.plugins.module_utils import history

    with history.open({"type": "duckdb", "path": path}, read_only=False) as kept:
        kept.write(series)


def read_lowtide(path: str) -> t.Any:
    """From the embedded store, as forecasting asks for it."""
    from ansible_collections.lowtide.fleet.plugins.module_utils import history

    servers = [f"web{number}" for number in range(SERVERS)]
    with history.open({"type": "duckdb", "path": path}) as kept:
        return kept.read(
            metric="cpu", pools={"web": servers}, start=moment(END - DAYS * 86400), end=moment(END), step_seconds=STEP
        ).values


def write_sqlite(path: str, series: t.Any) -> None:
    """Into the table one would make in SQLite: clustered by series and time, upserted."""
    times = series.times.tolist()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE samples (series INTEGER, time INTEGER, value REAL, PRIMARY KEY (series, time)) WITHOUT ROWID"
        )
        for number, row in enumerate(series.values.tolist()):
            connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                zip([number] * len(row), times, row, strict=True),
            )
    connection.close()


def read_sqlite(path: str) -> t.Any:
    """Into a matrix."""
    import numpy as np

    values = np.full((SERVERS, COLUMNS), np.nan)
    connection = sqlite3.connect(path)
    first = END - DAYS * 86400
    found = np.array(
        connection.execute(
            "SELECT series, time, value FROM samples WHERE time > ? AND time <= ?", (first, END)
        ).fetchall()
    )
    values[found[:, 0].astype(int), (found[:, 1].astype(int) - first) // STEP - 1] = found[:, 2]
    return values


def write_parquet(path: str, series: t.Any) -> None:
    """One long table, compressed with zstd; what was there is rewritten as a whole."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(series.keys)
    table = pa.table(
        {
            "series": np.repeat(np.arange(count, dtype=np.int32), COLUMNS),
            "time": np.tile(series.times, count),
            "value": series.values.ravel(),
        }
    )
    pq.write_table(table, path, compression="zstd")


def read_parquet(path: str) -> t.Any:
    """Into a matrix."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    values = np.full((SERVERS, COLUMNS), np.nan)
    at = (table["time"].to_numpy() - (END - DAYS * 86400)) // STEP - 1
    values[table["series"].to_numpy(), at] = table["value"].to_numpy()
    return values


KINDS = {
    "lowtide": (write_lowtide, read_lowtide),
    "sqlite": (write_sqlite, read_sqlite),
    "parquet": (write_parquet, read_parquet),
}


def timed(function: t.Callable[[], t.Any]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def cpu(function: t.Callable[[], t.Any]) -> float:
    """CPU seconds that a call takes in this process."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def in_a_process(kind: str, path: str) -> float:
    """Seconds from the start of a process to the matrix in its memory, less the start of Python itself."""

    def run(*arguments: str) -> float:
        command = [sys.executable, __file__, *arguments]
        return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))

    return statistics.median(run("read", kind, path) - run("nothing") for _run in range(RUNS))


def store() -> dict[str, t.Any]:
    """Write, read and size of each kind, and Lowtide's as a ratio to the others."""
    series = fleet("cpu")
    result: dict[str, t.Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for kind, (write, _read) in KINDS.items():
            path = f"{directory}/{kind}"
            result[kind] = {
                "write_s": timed(lambda write=write, path=path: write(path, series)),
                "read_s": in_a_process(kind, path),
                "mib": sum(file.stat().st_size for file in pathlib.Path(directory).glob(f"{kind}*")) / 2**20,
            }
    for other in ("sqlite", "parquet"):
        result[f"ratio_to_{other}"] = {name: result["lowtide"][name] / result[other][name] for name in result[other]}
    bounds = {"write_s": 10, "read_s": 1.5, "mib": 100}
    result["met"] = all(result["lowtide"][name] < bound for name, bound in bounds.items())
    return result


def postgresql() -> dict[str, t.Any]:
    """Write into empty tables, write the same again, and read into a matrix."""
    from ansible_collections.lowtide.fleet.plugins.module_utils import history
    from simulators.certificates import Authority
    from simulators.postgresql import PostgreSQL

    series = fleet("cpu")
    with contextlib.ExitStack() as stack:
        # PostgreSQL runs as a user without rights, who must be able to enter.
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="lowtide-", dir="/var/tmp"))
        pathlib.Path(directory).chmod(0o755)
        authority = Authority(f"{directory}/ca")
        server = stack.enter_context(PostgreSQL(f"{directory}/postgresql", certificate=authority.sign("postgresql")))
        spec = {
            "type": "postgresql", "url": server.url, "username": server.user, "password": server.password,
            "ca_path": str(authority.path),
        }  # fmt: skip
        kept = stack.enter_context(history.open(spec, read_only=False))
        result: dict[str, t.Any] = {}
        for name, work in (
            ("write", lambda: kept.write(series)),
            ("write_again", lambda: kept.write(series)),
            ("read", lambda: kept.read(metric="cpu", pools=["web"], start=moment(END - DAYS * 86400), end=moment(END),
                                       step_seconds=STEP)),
        ):  # fmt: skip
            elapsed: list[float] = []
            result[f"{name}_cpu_s"] = cpu(lambda work=work, elapsed=elapsed: elapsed.append(timed(work)))
            result[f"{name}_s"] = elapsed[0]
        ((size,),) = kept._rows("SELECT pg_database_size(current_database())")
    return {**result, "mib": size / 2**20, "met": True}


def collect_step() -> dict[str, t.Any]:
    """One step of six metrics from Prometheus, beside 30 days of them that are there."""
    from ansible_collections.lowtide.fleet.plugins.module_utils.operations.collect import collect
    from simulators.prometheus import Metric, Prometheus

    names = ("cpu", "memory", "network", "disk", "requests", "latency")
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/history.duckdb"
        for name in names:
            write_lowtide(path, fleet(name))
        new = fleet("new", end=END + 2 * STEP, columns=26)
        metrics = [
            Metric(name, [({"instance": key.server}, zip(new.times.tolist(), row.tolist(), strict=True))
                          for key, row in zip(new.keys, new.values, strict=True)])
            for name in names
        ]  # fmt: skip
        params = {
            "history": {"path": path},
            "pools": {"web": {"servers": [key.server for key in new.keys], "load": {"metric": "cpu", "server_capacity": 1}}},
            "pool": [], "marks": [], "health": True, "step": "5m", "window": "30d", "overlap": "1h",
        }  # fmt: skip
        with Prometheus(f"{directory}/prometheus", metrics) as server:
            source = {"type": "prometheus", "url": server.url, "queries": {name: name for name in names}}
            collect({**params, "sources": [source], "now": moment(END + STEP).isoformat()}, check_mode=False)
            result: dict[str, t.Any] = {}
            for health in (True, False):
                step = {**params, "sources": [source], "health": health, "now": moment(END + 2 * STEP).isoformat()}
                before = time.perf_counter()
                collected = collect(step, check_mode=False)["collected"]
                result["step_s" if health else "step_again_without_health_s"] = time.perf_counter() - before
                result.setdefault("new_samples", sum(item["samples"] for item in collected))
        result["mib"] = pathlib.Path(path).stat().st_size / 2**20
    result["met"] = result["step_s"] < 3
    return result


def prometheus() -> dict[str, t.Any]:
    """100 series x 30 days: the history's read beside a bare read of the same bytes."""
    import requests
    from ansible_collections.lowtide.fleet.plugins.module_utils import history
    from simulators.prometheus import Metric, Prometheus

    series = fleet("cpu", servers=100)
    rows = [
        ({"instance": key.server}, zip(series.times.tolist(), row.tolist(), strict=True))
        for key, row in zip(series.keys, series.values, strict=True)
    ]
    asked: list[tuple[str, dict[str, t.Any]]] = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Prometheus(directory, [Metric("cpu", rows)]))
        spec = {"type": "prometheus", "url": server.url, "queries": {"cpu": "cpu"}}
        with history.open(spec) as kept:
            post = kept._client.post
            kept._client.post = lambda path, data: (asked.append((path, dict(data))), post(path, data))[1]
            servers = [key.server for key in series.keys]

            def read() -> t.Any:
                return kept.read(
                    metric="cpu",
                    pools={"web": servers},
                    start=moment(END - DAYS * 86400),
                    end=moment(END),
                    step_seconds=STEP,
                )

            assert (read().values == read().values).all()
            forms = asked[: len(asked) // 2]

            def bare() -> None:
                with requests.Session() as session:
                    for path, data in forms:
                        len(session.post(server.url + path, data=data).content)

            bare()
            pairs = [(timed(read), timed(bare)) for _run in range(5)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {"read_s": ours, "bare_s": theirs, "ratio": ours / theirs, "met": ours / theirs <= 1.5}


def main(arguments: list[str]) -> int:
    """Run what is asked for and print its figures as JSON."""
    if arguments[:1] == ["nothing"]:
        return 0
    if arguments[:1] == ["read"]:
        values = KINDS[arguments[1]][1](arguments[2])
        return 0 if values.shape == (SERVERS, COLUMNS) else 1
    jobs = {"store": store, "postgresql": postgresql, "collect": collect_step, "prometheus": prometheus}
    names = arguments or list(jobs)
    if not set(names) <= jobs.keys():
        sys.exit(f"what to measure is one of {', '.join(jobs)}")
    met = True
    for name in names:
        result = jobs[name]()
        met &= result["met"]
        print(json.dumps({name: result}, default=float, indent=2))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
