# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast update plans are made, how close to the optimum they come, and whether their risk is what happens.

    .venv/bin/python tests/benchmarks/updates.py speed [--servers 10000] [--steps 288] [--domains 50]
    .venv/bin/python tests/benchmarks/updates.py optimum [--instances 100] [--servers 12] [--domains 4]
    .venv/bin/python tests/benchmarks/updates.py calibration [--data FOLDER] [--pools 24] [--origins 60] [--seed 7]
    .venv/bin/python tests/benchmarks/updates.py simulate [--data FOLDER] [--pools 24] [--origins 28] [--seed 7]

``speed`` starts a process for each plan and counts its CPU time with all imports. ``optimum`` solves random updates with
scipy's HiGHS too. ``calibration`` sums VMs of real traces to pools, forecasts each at many moments from what was known
then, plans an update with a risk of 1 %, and looks at what came: in how many batches was capacity short? ``simulate`` does so
at random moments of the day, with C(serial: 25%) begun at that moment beside it, and compares what came with what the
simulation had told: the same weekday of the two weeks before.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import pathlib
import resource
import subprocess
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("tests/benchmarks/forecast", "tests/unit/planning", "tests")]

import conftest  # noqa: E402
import numpy as np  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils import options, timing  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import demand, updates  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey  # noqa: E402

conftest.link_collection()

NOW = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
STEP = 300
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)


def _pool(servers: int, capacity: float, **update: t.Any) -> dict[str, t.Any]:
    names = [f"s{number}" for number in range(servers)]
    domains = update.pop("domains", 0)
    if domains:
        update["failure_domains"] = {name: f"d{number % domains}" for number, name in enumerate(names)}
    load = {"metric": "load", "server_capacity": capacity}
    return options.pools({"web": {"servers": names, "load": load, "update": update}})


def _forecast(quantiles: np.ndarray, levels: t.Sequence[float] = LEVELS, clustering: float = 1.0) -> DemandForecast:
    start = NOW + datetime.timedelta(seconds=STEP)
    return DemandForecast("web", np.array(levels), np.sort(quantiles, axis=1), start, STEP, clustering)


def one_plan(asked: argparse.Namespace) -> None:
    """One plan of that size, for ``speed``."""
    rng = np.random.default_rng(0)
    wave = 1 + 0.45 * np.sin(np.arange(asked.steps) / 288 * 2 * np.pi - 1) + 0.02 * rng.standard_normal(asked.steps)
    median = 50.0 * asked.servers * wave
    forecast = _forecast(
        np.stack([median * (1 + 0.05 * z) for z in (0, 1.28, 2.33, 3.09)], axis=1), (0.5, 0.9, 0.99, 0.999)
    )
    pools = _pool(asked.servers, 100.0, domains=asked.domains, duration=asked.duration)
    plan = updates.plan(pools, {"web": forecast}, now=NOW, deadline=forecast.end)
    print(f"{len(plan['hosts'])} servers in {len(plan['batches'])} batches, from {plan['window']['start']}")


def speed(asked: argparse.Namespace) -> None:
    """CPU seconds of whole processes."""
    command = [sys.executable, __file__, "one-plan", "--servers", asked.servers, "--steps", asked.steps]
    for duration in ("2m", "5m", "7m", "20m"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        more = ["--domains", asked.domains, "--duration", duration]
        said = subprocess.run([str(part) for part in command + more], check=True, capture_output=True, text=True).stdout
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"a server takes {duration}: {cpu:.2f} s of CPU, {wall:.2f} s; {said.strip()}")


def optimum(asked: argparse.Namespace) -> None:
    """Load displaced, relative to the least possible."""
    import exact_updates as exact

    ratios, missed, alone = [], 0, 0
    for seed in range(asked.instances):
        definition, forecast, closed = case = exact.instance(seed, most=asked.servers, parts=asked.domains)
        pools, least = options.pools({"web": definition}), exact.optimum(*case)
        at = [tuple(exact.NOW + datetime.timedelta(seconds=exact.STEP * step) for step in span) for span in closed]
        spare = {"web": pools["web"]["standby"]["servers"]} if pools["web"]["standby"] else None
        try:
            plan = updates.plan(
                pools, {"web": forecast}, now=exact.NOW, deadline=forecast.end, spare_standbys=spare, closed={"web": at}
            )
        except updates.NoWindow:
            missed += least is not None
            continue
        alone += least is None
        if least is not None:
            ratios.append(plan["displaced_load"] / max(least, 1e-9))
    print(
        f"{len(ratios)} of {asked.instances} solved by both: {np.mean(ratios):.4f} of the least load displaced on average, "
        f"{max(ratios):.4f} at most; {missed} missed, {alone} solved between the solver's steps only"
    )


def calibration(asked: argparse.Namespace) -> None:
    """How often capacity was short in a batch."""
    import traces

    data = traces.folder(asked.data)
    sources = {
        "Bitbrains, August": (traces.bitbrains(data, "08"), 100),
        "Bitbrains, September": (traces.bitbrains(data, "09"), 100),
        "Azure": (traces.azure(data), 30),
        # Clusters as a whole, which nothing in the planner was chosen on.
        "Google 2019, held out": (_cluster(data / "dct_google2019_5min.csv", "cpu_util"), 1),
        "Azure V2, held out": (_cluster(data / "dct_azure_v2_5min.csv", "cpu_usage"), 1),
        "Alibaba 2018, held out": (_cluster(data / "dct_alibaba2018_5min.csv", "cpu_util_percent"), 1),
    }
    whole = np.zeros(2, int)
    for name, (machines, size) in sources.items():
        counts = {duration: np.zeros(2, int) for duration in ("5m", "10m", "30m")}
        for pool in _replays(machines, size, asked):
            for duration, count in counts.items():
                count += _short(*pool, duration)
        total = sum(counts.values())
        whole += 0 if size == 1 else total
        parts = ", ".join(f"{duration} {short / all_of:.2%}" for duration, (short, all_of) in counts.items())
        print(f"{name}: short in {total[0] / total[1]:.2%} of {total[1]} batches ({parts})", flush=True)
    print(f"all but those held out: short in {whole[0] / whole[1]:.2%} of {whole[1]} batches")


def simulate(asked: argparse.Namespace) -> None:
    """How often low tide and C(serial: 25%) begun by day were short, and how often the simulation had said so."""
    import traces

    data = traces.folder(asked.data)
    sources = {
        "Bitbrains, August": (traces.bitbrains(data, "08"), 100),
        "Bitbrains, September": (traces.bitbrains(data, "09"), 100),
        "Azure": (traces.azure(data), 30),
    }
    every = []
    for name, (machines, size) in sources.items():
        found = [
            updated
            for known, ahead, came in _replays(machines, size, asked, _by_day(machines.shape[1], asked))
            for duration in ("5m", "10m", "30m")
            for updated in _simulated(known, ahead, came, duration)
        ]
        every += found
        _say(name, found)
    _say("all", every)


def _by_day(steps: int, asked: argparse.Namespace) -> np.ndarray:
    """Random moments from 9:00 to 17:00 by the clock of a trace, of days with two weeks before them and one day after."""
    day = 86400 // STEP
    days = np.linspace(14, steps // day - 2, asked.origins).round().astype(int)
    return days * day + np.random.default_rng(asked.seed).integers(9 * 12, 17 * 12, asked.origins)


def _simulated(
    known: np.ndarray, ahead: DemandForecast, came: np.ndarray, duration: str
) -> t.Iterator[tuple[dict[str, t.Any], dict[str, t.Any]]]:
    """What a simulation told of an update, and what came of it; nothing where there is no plan."""
    servers = 24
    pools = _pool(servers, float(np.quantile(known, 0.99)) / (0.85 * servers), duration=duration)
    try:
        plan = updates.plan(pools, {"web": ahead}, now=NOW, deadline=ahead.end)
    except updates.NoWindow:
        return
    key, week = (SeriesKey("web", None, "load"),), datetime.timedelta(weeks=1)
    past = Series(key, known[None, :], NOW, STEP)
    # What came is replayed as if it had been a week ago.
    after = Series(key, np.concatenate([known, came])[None, :], ahead.end - week, STEP)
    told, was = (
        updates.simulate(plan, pools, {"web": series}, in_service={"web": servers}, weeks=weeks)
        for series, weeks in ((past, 2), (after, 1))
    )
    yield told, was


def _say(name: str, found: t.Sequence[tuple[dict[str, t.Any], dict[str, t.Any]]]) -> None:
    print(f"{name}: {len(found)} updates")
    for way, title in (("plan", "low tide"), ("serial", "serial: 25%")):
        for place, kind in ((1, "what came"), (0, "simulated")):
            seen = [item[place][way] for item in found]
            batches, short, weeks, minutes = (
                sum(figures[key] for figures in seen)
                for key in ("batches", "short_batches", "short_weeks", "overload_minutes")
            )
            runs = sum(len(figures["weeks"]) for figures in seen)
            print(
                f"  {title}, {kind}: short in {short / batches:.2%} of {batches} batches, in {weeks / runs:.1%} of {runs} "
                f"updates; {minutes / runs:.2f} minutes of overload each"
            )
        warned = [item[1][way]["short_weeks"] for item in found if item[0][way]["short_weeks"]]
        calm = [item[1][way]["short_weeks"] for item in found if not item[0][way]["short_weeks"]]
        for said, outcomes in (("where the simulation was short", warned), ("where it was not", calm)):
            share = f"{np.mean(outcomes):.1%}" if outcomes else "none"
            print(f"  {title}, {said}: short in {share} of {len(outcomes)} updates", flush=True)


def _cluster(path: pathlib.Path, column: str) -> np.ndarray:
    """The load of a cluster, shape (1, time)."""
    with path.open(encoding="utf-8") as lines:
        return np.array([[float(row[column] or "nan") for row in csv.DictReader(lines)]])


def _replays(
    machines: np.ndarray, size: int, asked: argparse.Namespace, moments: np.ndarray | None = None
) -> t.Iterator[tuple[t.Any, ...]]:
    """Pools at moments: what was known, the forecast, and what came."""
    from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast

    rng = np.random.default_rng(asked.seed)
    count = asked.pools if len(machines) > size else 1
    chosen = [rng.choice(len(machines), size, replace=False) for _pool in range(count)]
    pools = np.array([np.nansum(machines[rows], axis=0) for rows in chosen])
    day = 86400 // STEP
    # The newer half is replayed; a forecast knows only what was before it.
    newer = np.linspace(pools.shape[1] // 2, pools.shape[1] - day, asked.origins).astype(int)
    for now in newer if moments is None else moments:
        known = pools[:, :now]
        answer = forecast(known, step_seconds=STEP, horizon=day, quantiles=LEVELS)
        for row in range(len(pools)):
            series = Series((SeriesKey("web", None, "load"),), known[row : row + 1], NOW, STEP)
            ahead = _forecast(answer.quantiles[row], clustering=demand.clustering(series))
            yield known[row], ahead, pools[row, now : now + day]


def _short(known: np.ndarray, ahead: DemandForecast, came: np.ndarray, duration: str) -> np.ndarray:
    """Batches in which capacity was short, and all batches, of one plan; none where there is no plan."""
    servers = 80
    capacity = float(np.quantile(known, 0.99)) / (0.85 * servers)
    pools = _pool(servers, capacity, duration=duration, max_unavailable="100%")
    try:
        plan = updates.plan(pools, {"web": ahead}, now=NOW, deadline=ahead.end)
    except updates.NoWindow:
        return np.zeros(2, int)
    short = 0
    for batch in plan["batches"]:
        first, last = ((timing.moment(batch[edge]) - NOW).total_seconds() / STEP for edge in ("start", "end"))
        highest = came[int(first) : int(np.ceil(last - 1e-9))].max()
        short += bool(highest > (servers - len(batch["hosts"])) * capacity)
    return np.array([short, len(plan["batches"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, function, sizes in (
        ("speed", speed, {"servers": 10_000, "steps": 288, "domains": 50}),
        ("one-plan", one_plan, {"servers": 10_000, "steps": 288, "domains": 50}),
        ("optimum", optimum, {"instances": 100, "servers": 12, "domains": 4}),
        ("calibration", calibration, {"pools": 24, "origins": 60, "seed": 7}),
        ("simulate", simulate, {"pools": 24, "origins": 28, "seed": 7}),
    ):
        kind = kinds.add_parser(name)
        kind.set_defaults(function=function)
        for option, default in sizes.items():
            kind.add_argument(f"--{option}", type=int, default=default)
        if function is one_plan:
            kind.add_argument("--duration", default="5m")
        if function in (calibration, simulate):
            kind.add_argument("--data")
    asked = parser.parse_args()
    asked.function(asked)


if __name__ == "__main__":
    main()
