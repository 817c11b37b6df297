# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How well anomalies are found, and how fast: prints the tables of docs/anomalies.md.

python tests/benchmarks/anomalies.py --data ../shared/data [nab|kpi|faults|clean|noise|speed ...]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import anomalies_faults as faults  # noqa: E402
import anomalies_kpi as kpi  # noqa: E402
import anomalies_nab as nab  # noqa: E402
import anomalies_rivals as rivals  # noqa: E402
import anomalies_vus as vus  # noqa: E402
import conftest  # noqa: E402
import scipy.signal  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils import anomaly  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly import flags, scoring, stream  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly.frame import Frame, clean  # noqa: E402

STEP = 300
WEEK = 7 * 86400 / STEP
RIVALS = ("auto", "isolation_forest", "three_sigma")


def nab_files(data: pathlib.Path) -> list[nab.File]:
    """The AWS CloudWatch files, with their official windows."""
    windows = json.loads((data / "nab" / "combined_windows.json").read_text())
    files = []
    for path in sorted((data / "nab" / "realAWSCloudwatch").glob("*.csv")):
        rows = [line.split(",") for line in path.read_text().split("\n")[1:] if line]
        stamps = [row[0] for row in rows]
        spans = windows[f"realAWSCloudwatch/{path.name}"]
        places = [(stamps.index(first[:19]), stamps.index(last[:19])) for first, last in spans]
        files.append(nab.File(path.name, np.array([float(row[1]) for row in rows]), places))
    return files


def run_nab(data: pathlib.Path, detectors: list[str]) -> None:
    """NAB's scores, and the operating point with at least 25 of the 30 windows found."""
    files = nab_files(data)
    weeks = sum(len(file.values) for file in files) / WEEK
    for detector in detectors:
        # The length of a step tells nothing about the whole file; everything else is left as it comes.
        scores = [anomaly.score(file.values[None], step_seconds=STEP, detector=detector)[0] for file in files]
        for name, profile in nab.PROFILES.items():
            at = nab.best(files, scores, profile)
            print(
                f"NAB AWS, {detector}, {name}: {at.score:.1f} at {at.threshold:.4f}, {at.found} of 30 found, "
                f"{at.false_alarms / weeks:.2f} false alarms per series and week"
            )
        points = nab.evaluate(files, scores, nab.PROFILES["standard"])
        for wanted in (20, 22, 24, 25, 26):
            point = next((point for point in points if point.found >= wanted), points[-1])
            delay = np.median(nab.delays(files, scores, point.threshold) or [np.nan])
            print(
                f"NAB AWS, {detector}: {point.found} of 30 at {point.false_alarms / weeks:.2f} false alarms per series "
                f"and week, median delay {delay:.0%} of the window, score {point.score:.1f}"
            )


def holdout(data: pathlib.Path) -> dict[str, np.ndarray]:
    """Series that nothing was chosen on: Bitbrains of September, the Azure VMs that development did not use."""
    bitbrains = np.load(data / "bitbrains_rnd_2013-09.npz")["cpu_pct"].T.astype(float)
    azure = np.load(data / "azure2017_microsoft_avg_100.npz")["cpu"].T.astype(float)
    steady = [row for row in range(len(bitbrains)) if np.isfinite(bitbrains[row]).mean() > 0.95]
    drawn = np.random.default_rng(1).choice(100, 50, replace=False)
    unused = np.setdiff1d(np.arange(50, 100), drawn)
    return {"Bitbrains 2013-09": bitbrains[steady[::5]], "Azure": azure[unused]}


def run_clean(data: pathlib.Path) -> None:
    """Flags raised against flags asked for, on series without an injected fault."""
    fleets = holdout(data)
    random = np.random.default_rng(5)
    day = 2 * np.pi * np.arange(8640) / 288
    fleets["synthetic"] = 10 + random.uniform(1, 5, (100, 1)) * np.sin(day) + random.normal(0, 0.5, (100, 8640))
    for name, values in fleets.items():
        frame = Frame(clean(values), STEP)
        scores = scoring.score_frame(frame, "auto")
        months = np.isfinite(frame.values).sum() / (4.2857142857 * WEEK)
        for rate in (0.5, 1.0, 4.0):
            found = flags.find(frame, scores, rate=rate)
            print(
                f"clean, {name}: asked {rate:g}, raised {len(found) / months:.2f} flags per series and month "
                f"({len(values)} series)"
            )


def run_noise() -> None:
    """Flags raised for each asked, on noise at several steps; the correlation of what is not white is that of time."""
    random = np.random.default_rng(3)
    for step, series in ((60, 20), (300, 30), (900, 60), (3600, 60)):
        time = 30 * 86400 // step
        day = np.sin(2 * np.pi * np.arange(time) * step / 86400)
        keep = 0.95 ** (step / 300)
        white = random.normal(size=(series, time + 2000))
        red = scipy.signal.lfilter([np.sqrt(1 - keep**2)], [1, -keep], white, axis=1)[:, 2000:]
        white = random.normal(size=(series, time))
        kinds = {
            "white": 10 + white,
            "autoregressive": 50 + 3 * red,
            "day, lognormal": np.exp(2 + 0.5 * day + 0.2 * white),
        }
        for name, values in kinds.items():
            frame = Frame(clean(values), step)
            scores = scoring.score_frame(frame, "auto")
            cells = (
                f"{rate:g}: {len(flags.find(frame, scores, rate=rate)) / series / rate:.2f}" for rate in (0.5, 1, 2, 4)
            )
            print(f"noise, {step} s, {name} ({series} series of 30 days): raised for each asked, {', '.join(cells)}")


def run_faults(data: pathlib.Path, detectors: list[str]) -> None:
    """Recall and delay of injected faults at one false alarm per series and week on the same series without them."""
    for name, values in holdout(data).items():
        values = values[:25, :4032]
        values = np.where(np.isnan(values), np.nanmedian(values, axis=1, keepdims=True), values)
        for detector in detectors:
            scores = anomaly.score(values, step_seconds=STEP, detector=detector)
            level = faults.threshold(scores, 1.0)
            cells = []
            for kind in faults.FAULTS:
                job = faults.inject(values, kind, seed=11)
                share, delay = faults.recall(
                    job, anomaly.score(job.values, step_seconds=STEP, detector=detector), level
                )
                cells.append(f"{kind} {share:.0%} {delay:.0f} min")
            print(f"faults, {name}, {detector}: " + "; ".join(cells))


def run_kpi(data: pathlib.Path, detectors: list[str], *, final: bool) -> None:
    """VUS-PR on curves of web services: on sets that methods are chosen on, with two seeds, or on those for the end."""
    sets = kpi.final(data, holdout(data)) if final else [*kpi.development(data, 1), *kpi.development(data, 2)]
    for curves in sets:
        for detector in detectors:
            if detector in rivals.RIVALS:
                scores, told = rivals.scores(detector, curves.values), ""
            else:
                scores = anomaly.score(curves.values, step_seconds=curves.step_seconds, detector=detector)
                told = f", {(scores > 0.5).mean():.3%} of samples are news"
            each = [vus.vus_pr(label, score) for label, score in zip(curves.labels, scores, strict=True)]
            print(
                f"VUS-PR, {curves.name} ({len(each)} curves, {curves.labels.mean():.1%} labelled), {detector}: "
                f"mean {np.mean(each):.3f}, median {np.median(each):.3f}{told}"
            )


def run_speed() -> None:
    """CPU of 1,000 series of 8,640 samples, and of one more sample of each, state read and kept."""
    random = np.random.default_rng(0)
    day = np.sin(2 * np.pi * np.arange(8640) / 288)
    values = 100 + 20 * day + random.normal(0, 3, (1000, 8640)) + random.normal(0, 0.2, (1000, 8640)).cumsum(axis=1)
    start = time.process_time()
    anomaly.score(values, step_seconds=STEP)
    used = time.process_time() - start
    print(f"speed: 1,000 x 8,640 in {used:.1f} s of CPU, {values.size / used:,.0f} points per second")
    state = stream.Stream(1000, STEP)
    state.seen = [type(seen)(values) for seen in state.seen]
    with tempfile.TemporaryDirectory() as directory:
        state.save(directory)
        program = (
            "import sys, numpy; sys.path[:0] = sys.argv[2:];"
            "from ansible_collections.lowtide.fleet.plugins.module_utils.anomaly.stream import Stream;"
            "state = Stream.load(sys.argv[1]);"
            "state.update(numpy.full(1000, 101.0));"
            "state.save(sys.argv[1])"
        )
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program, directory, str(conftest.COLLECTIONS)], check=True)
        used = time.perf_counter() - start
        print(f"speed: one more sample of 1,000 series in {used:.2f} s: a new process, imports, state read and kept")


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--detectors", nargs="+", default=None)
    parser.add_argument("--final", action="store_true", help="part kpi: the sets that nothing was chosen on")
    parser.add_argument("part", nargs="*", default=["nab", "kpi", "clean", "noise", "faults", "speed"])
    asked = parser.parse_args()
    if not asked.data.is_dir():
        print(f"There are no traces at {asked.data}: name their folder with --data.", file=sys.stderr)
        return 2
    if "nab" in asked.part:
        run_nab(asked.data, asked.detectors or ["auto", "novelty", "residual"])
    if "kpi" in asked.part:
        names = ["auto", "novelty", "residual", "time_of_day", "three_sigma", *rivals.RIVALS]
        run_kpi(asked.data, asked.detectors or names, final=asked.final)
    if "clean" in asked.part:
        run_clean(asked.data)
    if "noise" in asked.part:
        run_noise()
    if "faults" in asked.part:
        run_faults(asked.data, asked.detectors or list(RIVALS))
    if "speed" in asked.part:
        run_speed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
