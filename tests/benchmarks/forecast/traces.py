# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real traces that forecasts are scored on; see the README beside the data for their sources and licences."""

from __future__ import annotations

import csv
import gzip
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
METRICS = ("cpu_pct", "mem_kb", "net_rx_kbps", "net_tx_kbps", "disk_read_kbps", "disk_write_kbps")


def folder(given: str | None) -> pathlib.Path:
    """The folder of the traces; ends the process with a clear message where there is none."""
    path = pathlib.Path(given) if given else ROOT.parent / "shared" / "data"
    if not (path / "README.md").is_file():
        sys.exit(f"No traces in {path}: name their folder with --data")
    return path


def bitbrains(data: pathlib.Path, month: str, metric: str = "cpu_pct", count: int | None = None) -> np.ndarray:
    """VMs of one month, shape (series, time), 5-minute steps."""
    return np.load(data / f"bitbrains_rnd_2013-{month}.npz")[metric].T[:count].astype(float)


def azure(data: pathlib.Path, count: int | None = None) -> np.ndarray:
    """CPU of VMs, shape (series, time), 5-minute steps."""
    return np.load(data / "azure2017_microsoft_avg_100.npz")["cpu"].T[:count].astype(float)


def m4_hourly(data: pathlib.Path) -> tuple[list[np.ndarray], np.ndarray]:
    """M4's hourly series to learn from, of several lengths, and the 48 hours after each, shape (series, 48)."""
    parts = []
    for name in ("train", "test"):
        with gzip.open(data / "m4" / f"m4_hourly_{name}.csv.gz", "rt") as lines:
            rows = csv.reader(lines)
            next(rows)
            parts.append([np.array([float(cell) for cell in row[1:] if cell not in ("", "NA")]) for row in rows])
    return parts[0], np.stack(parts[1])


def hourly(values: np.ndarray) -> np.ndarray:
    """Means of twelve 5-minute steps, of those known; NaN where none is."""
    parts = values[:, -(values.shape[1] // 12 * 12) :].reshape(len(values), -1, 12)
    count = (~np.isnan(parts)).sum(axis=2)
    return np.where(count > 0, np.nansum(parts, axis=2) / np.maximum(count, 1), np.nan)


def aggregates(data: pathlib.Path) -> dict[str, np.ndarray]:
    """Loads of whole clusters and of one site by name, shape (time,), 5-minute steps."""
    found = {}
    for name in ("azure_v2", "google2019", "alibaba2018"):
        with (data / f"dct_{name}_5min.csv").open() as lines:
            rows = csv.reader(lines)
            metrics = next(rows)
            columns = np.array(list(rows), dtype=float).T
        found.update({f"{name} {metric}": column for metric, column in zip(metrics, columns, strict=True)})
    with gzip.open(data / "worldcup98_1min.csv.gz", "rt") as lines:
        requests = np.genfromtxt(lines, delimiter=",", skip_header=1, usecols=-1)
    requests = requests[: len(requests) // 5 * 5].reshape(-1, 5)
    found["worldcup98"] = np.where(np.isnan(requests).all(axis=1), np.nan, np.nansum(requests, axis=1))
    return found
