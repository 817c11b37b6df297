# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How well servers fit a load that changes, and how fast a plan is made: prints the tables of docs/scaling.md.

python tests/benchmarks/scaling.py elasticity [--data ../shared/data] [--servers 20] [--boot 3] [--group "aimed at"]
python tests/benchmarks/scaling.py limits [--data ../shared/data] [--servers 20]
python tests/benchmarks/scaling.py machines [--data ../shared/data]
python tests/benchmarks/scaling.py speed

Elasticity: 5-minute control, 15-minute boot, 15-minute scale-in hold, the first 14 days (or half of a short trace)
unscored, a mean demand of so many servers' worth, one setting for all traces. The setting was chosen on Bitbrains 2013-08
and on the unscored days of the traces aimed at. A decision is made when a step has ended, so a boot of 3 steps serves the
step that ends 20 minutes later; with --boot 2 it serves the one that ends 15 minutes later.
Limits: what would be left of the excess if the same forecast could wait, so that it looks 15, 10 or 5 minutes ahead
instead of 20, and how many server-hours nobody can do without.
Machines: how far off the load of Azure 2017's 100 VMs is 20 minutes ahead, foreseen as their sum and one by one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import pathlib
import subprocess
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import conftest  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils import options  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import near  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import backtest, elasticity, policies  # noqa: E402

STEP = 300
DAY = 288
BOOT = HOLD = 3  # steps
TARGETS = (0.003, 0.01, 0.02)
HEADROOMS = np.arange(0, 4, 0.02)
RATIOS = np.geomspace(1, 128000, 60)  # what an hour of overload costs, in hours of a server


def column(path: pathlib.Path, name: str) -> np.ndarray:
    """One column of a CSV file."""
    with path.open(encoding="utf-8") as lines:
        return np.array([float(row[name] or "nan") for row in csv.DictReader(lines)])


def worldcup(data: pathlib.Path) -> np.ndarray:
    """Requests per minute, in means of 5 minutes."""
    with gzip.open(data / "worldcup98_1min.csv.gz", "rt") as lines:
        minutes = np.array([float(row["requests"] or "nan") for row in csv.DictReader(lines)])
    return minutes[: len(minutes) // 5 * 5].reshape(-1, 5).mean(axis=1)


def bitbrains(data: pathlib.Path, month: str) -> np.ndarray:
    """CPU of all VMs of a month, shape (time, VMs)."""
    return np.load(data / f"bitbrains_rnd_2013-{month}.npz")["cpu_pct"].astype(float)


def traces(data: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """The demand of each trace, by what it was used for."""
    august, september = bitbrains(data, "08"), bitbrains(data, "09")
    clouds = {}
    for path in sorted((data / "nab" / "realAWSCloudwatch").glob("*.csv")):
        clouds[path.stem] = column(path, "value")
    steady = {name: values for name, values in clouds.items() if len(values) > 3000 and np.median(values) > 0}
    return {
        "tuned on": {"bitbrains 2013-08": np.nansum(august, axis=1)}
        | {f"bitbrains 2013-08 {part}/20": np.nansum(august[:, part::20], axis=1) for part in range(8)},
        "aimed at": {
            "worldcup98": worldcup(data),
            "azure 2017, 100 VMs": np.load(data / "azure2017_microsoft_avg_100.npz")["cpu"].astype(float).sum(axis=1),
            "azure v2": column(data / "dct_azure_v2_5min.csv", "cpu_usage"),
            "google 2019": column(data / "dct_google2019_5min.csv", "cpu_util"),
        },
        "unseen": {
            "bitbrains 2013-09": np.nansum(september, axis=1),
            **{f"bitbrains 2013-09 {part}/20": np.nansum(september[:, part::20], axis=1) for part in range(8, 12)},
            "alibaba 2018": column(data / "dct_alibaba2018_5min.csv", "cpu_util_percent"),
            **steady,
        },
    }


def curve(
    rows: list[np.ndarray], demand: np.ndarray, first: int, hold: int = HOLD, boot: int = BOOT
) -> list[elasticity.Figures]:
    """The figures of each row of decisions."""
    return [
        elasticity.figures(row, demand, boot=boot, hold=hold, step_seconds=STEP, first=first, least=1) for row in rows
    ]


def at(points: list[elasticity.Figures], target: float, name: str = "relative_hours") -> float:
    """A figure where τU is *target*, on the line between the two points beside it; NaN where the curve doesn't reach it."""
    ordered = sorted(points, key=lambda point: point.tau_u)
    shares = np.array([point.tau_u for point in ordered])
    if target < shares[0]:
        return float("nan")
    return float(
        np.interp(np.log(target), np.log(np.maximum(shares, 1e-5)), [getattr(point, name) for point in ordered])
    )


def prepared(values: np.ndarray, servers: float) -> tuple[np.ndarray, int]:
    """Demand in servers' worth, and the first decision that is judged."""
    demand = np.maximum(values / np.nanmean(values) * servers, 1e-3)
    return demand, 14 * DAY if len(demand) > 20 * DAY else len(demand) // 2


def ours(demand: np.ndarray, first: int, lead: int) -> list[np.ndarray]:
    """What a plan would have wanted at each cost of overload, by what it is told *lead* steps ahead."""
    terms = {"lead": lead, "step_seconds": STEP}
    told, plain = near.replay(demand[None, :], **terms), near.carried_on(demand[None, :], **terms)
    rows = []
    for ratio in RATIOS:
        definition = {
            "servers": ["w"],
            "load": {"metric": "demand", "server_capacity": 1, "target_utilization": 1},
            "slo": {"overload_cost_per_hour": float(ratio), "overload": "time"},
            "standby": {"servers": ["s"], "cost_per_hour": 1, "lead_time": "15m"},
        }
        pool = options.pools({"web": definition})["web"]
        past = backtest.Past(pool, demand, told, plain, STEP, lead - 1, HOLD, first, least=1, most=float("inf"))
        rows.append(backtest.chosen(past).wanted)
    return rows


def peers(demand: np.ndarray, first: int, boot: int = BOOT) -> tuple[float, list[elasticity.Figures]]:
    """The server-hours of the oracle, which are the least there are, and reactive with every headroom."""
    (best,) = curve([policies.oracle(demand, boot + 1)], demand, first, hold=0, boot=boot)
    rows = [policies.reactive(demand, 1 / (1 + room)) for room in HEADROOMS]
    return best.relative_hours, curve(rows, demand, first, boot=boot)


def measure(values: np.ndarray, servers: float, boot: int = BOOT) -> list[tuple[float, ...]]:
    """For each target of τU: oracle's, reactive's, seasonal naive's and our hours; the share of the excess; adaptations."""
    demand, first = prepared(values, servers)
    best, peer = peers(demand, first, boot)
    rows = [policies.seasonal(demand, 1 / (1 + room), DAY, boot + 1) for room in HEADROOMS]
    naive = curve(rows, demand, first, boot=boot)
    own = curve(ours(demand, first, boot + 1), demand, first, boot=boot)
    result = []
    for target in TARGETS:
        hours = [at(points, target) for points in (peer, naive, own)]
        share = (hours[2] - best) / (hours[0] - best)
        moves = [at(points, target, "adaptations_per_hour") for points in (peer, own)]
        result.append((best, *hours, share, *moves))
    return result


def run_limits(data: pathlib.Path, servers: float) -> None:
    """What is left of reactive's excess with forecasts that look less far ahead."""
    leads = range(BOOT + 1, 0, -1)
    head = ["trace", "demand in whole servers", "oracle", "tau_U", *(f"{5 * lead} min ahead" for lead in leads)]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for use, found in traces(data).items():
        if use == "unseen":
            continue
        for name, values in found.items():
            demand, first = prepared(values, servers)
            best, peer = peers(demand, first)
            needed = policies.whole(demand)
            bare = needed[first + 1 :].sum() / np.nansum(demand[first + 1 :])
            waited = {}
            for lead in leads:
                late = BOOT + 1 - lead
                rows = [np.append(row[late:], np.repeat(row[-1:], late)) for row in ours(demand, first, lead)]
                waited[lead] = curve(rows, demand, first)
            for target in TARGETS:
                shares = [(at(waited[lead], target) - best) / (at(peer, target) - best) for lead in leads]
                cells = " | ".join(f"{share:.2f}" for share in shares)
                print(f"| {name} | {bare:.3f} | {best:.3f} | {target:.1%} | {cells} |")


def run_elasticity(data: pathlib.Path, servers: float, boot: int, group: str | None) -> None:
    """Server-hours relative to demand at equal τU."""
    head = ["trace", "tau_U", "oracle", "reactive", "seasonal", "lowtide", "excess", "moves/h reactive", "lowtide"]
    for use, found in traces(data).items():
        if group not in (None, use):
            continue
        print(f"\n{use}\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
        shares = []
        for name, values in found.items():
            rows = measure(values, servers, boot)
            shares.append([row[4] for row in rows])
            for target, (best, peer, naive, own, share, moves, own_moves) in zip(TARGETS, rows, strict=True):
                cells = [f"{figure:.3f}" for figure in (best, peer, naive, own)]
                print(f"| {name} | {target:.1%} | {' | '.join(cells)} | {share:.2f} | {moves:.2f} | {own_moves:.2f} |")
        means = np.exp(np.nanmean(np.log(np.maximum(shares, 0.05)), axis=0))
        print(f"geometric mean of the excess relative to reactive's: {' '.join(f'{mean:.2f}' for mean in means)}")


PROGRAM = """
import sys, datetime
sys.path[:0] = sys.argv[1:]
from ansible_collections.lowtide.fleet.plugins.module_utils.libraries import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import scaling
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
now = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
levels, random = np.array([0.5, 0.75, 0.9, 0.95, 0.99, 0.999]), np.random.default_rng(0)
shape = np.sin(np.arange(288) / 288 * 6.283)
pools, forecasts, demand = {}, {}, {}
for number in range(1000):
    servers = [f"s{number // 10}-{place}" for place in range(20)]
    pools[f"p{number}"] = {
        "tenant": "default", "weight": 1.0 + number % 7, "servers": [f"w{number}-{place}" for place in range(8)],
        "load": {"metric": "requests", "unit": None, "server_capacity": 100.0, "target_utilization": 0.7},
        "slo": {"overload_cost_per_hour": 20.0, "overload": "unserved", "quantile": None}, "limits": {"min": 1, "max": None},
        "rules": [], "anomalies": {"surge": "add", "low": "freeze"},
        "standby": {"servers": servers, "cost_per_hour": 1.0, "idle_cost_per_hour": 0.0, "lead_time": "5m",
                    "idle_state": "suspended", "min_awake": "30m", "boot_failure": 0.02},
    }
    base = 400 * (1 + 0.5 * shape) * random.uniform(0.5, 2)
    spread = np.array([1, 1.05, 1.1, 1.15, 1.25, 1.4])
    forecasts[f"p{number}"] = DemandForecast(f"p{number}", levels, base[:, None] * spread, now, 300)
    demand[f"p{number}"] = float(base[0])
plan = scaling.plan(pools, forecasts, now=now, demand_now=demand)
assert len(plan["pools"]) == 1000 and any(pool["activate"] for pool in plan["pools"].values())
"""


def run_machines(data: pathlib.Path) -> None:
    """The load of a pool 20 minutes ahead, told from its own past and from that of each machine."""
    values = np.nan_to_num(np.load(data / "azure2017_microsoft_avg_100.npz")["cpu"].T.astype(float))
    total, lead = values.sum(axis=0), BOOT + 1
    known, came = total[:-lead], total[lead:]
    whole = near.replay(total[None], lead=lead, step_seconds=STEP).centre[0, :-lead]
    summed = near.replay(values + 1e-3, lead=lead, step_seconds=STEP).centre.sum(axis=0)[:-lead]
    ratio = np.concatenate([np.ones(DAY + lead), came / summed])[: len(summed) + DAY]
    summed = summed * np.convolve(ratio, np.ones(DAY) / DAY, "valid")[: len(summed)]  # by the mean of its last day
    told = {"as it is": known, "as one": whole, "one by one": summed, "the mean of both": (whole + summed) / 2}
    for name, expected in told.items():
        error = (came / expected - 1)[14 * DAY :]
        high = "  ".join(f"{share}: {np.quantile(error, share):.3f}" for share in (0.9, 0.98, 0.99, 0.997))
        print(f"{name:16s} mean absolute error {np.abs(error).mean():.4f}   quantiles of the error {high}")


def run_speed() -> None:
    """A plan of 1,000 pools and 288 steps, ten pools to each set of standbys, in a new process."""
    timings = []
    for _attempt in range(3):
        begun, clock = time.perf_counter(), _children_cpu()
        subprocess.run([sys.executable, "-c", PROGRAM, str(conftest.link_collection())], check=True)
        timings.append((_children_cpu() - clock, time.perf_counter() - begun))
    used, elapsed = min(timings)
    print(
        f"speed: 1,000 pools x 288 steps, {used:.2f} s of CPU, {elapsed:.2f} s elapsed: a new process, imports, the plan"
    )


def _children_cpu() -> float:
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Run the part asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["elasticity", "limits", "machines", "speed"])
    parser.add_argument("--data", type=pathlib.Path, default=conftest.ROOT.parent / "shared" / "data")
    parser.add_argument("--servers", type=float, default=20.0)
    parser.add_argument("--boot", type=int, default=BOOT, help="steps, for elasticity")
    parser.add_argument("--group", choices=["tuned on", "aimed at", "unseen"], help="of traces, for elasticity")
    asked = parser.parse_args()
    if asked.part == "speed":
        run_speed()
        return 0
    if not (asked.data / "README.md").is_file():
        print(f"There are no traces at {asked.data}: name their folder with --data.", file=sys.stderr)
        return 2
    if asked.part == "elasticity":
        run_elasticity(asked.data, asked.servers, asked.boot, asked.group)
    elif asked.part == "limits":
        run_limits(asked.data, asked.servers)
    else:
        run_machines(asked.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
