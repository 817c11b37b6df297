# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Curves as web services are watched by, with labelled faults, on which VUS-PR is measured.

In the style of public collections of such curves: minutes or five minutes, weeks long, day and week, drift, shifts and
peaks that nobody labelled, noise that grows with the level, and few labelled segments of some minutes to an hour.
"""

from __future__ import annotations

import dataclasses
import gzip
import pathlib

import numpy as np

DAY_SECONDS = 86400
LABELLED = 0.75  # of the faults
FIRST = 0.2  # of a curve, before which there is no fault


@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves of one kind.

    :param values: Shape (series, time), NaN = missing. :param labels: True in a fault, the same shape.
    """

    name: str
    step_seconds: int
    values: np.ndarray
    labels: np.ndarray


def _red(random: np.random.Generator, time: int, keep: float) -> np.ndarray:
    """Autoregressive noise of variance 1."""
    noise = random.normal(0, np.sqrt(1 - keep**2), time)
    noise[0] = random.normal()
    for column in range(1, time):
        noise[column] += keep * noise[column - 1]
    return noise


def _cycle(random: np.random.Generator, time: int, day: int) -> np.ndarray:
    """A day's shape with a second harmonic and quieter weekends, about 0."""
    column = np.arange(time) + random.integers(0, 7 * day)
    angle = 2 * np.pi * column / day
    shape = np.sin(angle) + random.uniform(0, 0.5) * np.sin(2 * angle + random.uniform(0, 6))
    weekend = (column // day) % 7 >= 5
    return random.uniform(0.1, 0.7) * shape - random.uniform(0, 0.4) * weekend


def _shifts(random: np.random.Generator, time: int, day: int) -> np.ndarray:
    """Drift, and on some curves a shift of level that nobody labelled."""
    drift = 0.15 * np.cumsum(random.normal(0, 1 / np.sqrt(7 * day), time))
    for _shift in range(random.poisson(0.7)):
        drift[random.integers(day, time) :] += random.normal(0, 0.25)
    return drift


def requests(random: np.random.Generator, time: int, day: int) -> np.ndarray:
    """Views or orders: a clear day, noise of some percent and that of counting."""
    level = 10 ** random.uniform(1.5, 4) * np.exp(_cycle(random, time, day) + _shifts(random, time, day))
    noise = random.uniform(0.01, 0.06) * (_red(random, time, 0.0) + _red(random, time, random.uniform(0.8, 0.98)))
    return np.maximum(random.normal(level, np.sqrt(level)) * np.exp(noise), 0).round()


def response_times(random: np.random.Generator, time: int, day: int) -> np.ndarray:
    """Milliseconds: a faint day, skewed noise, and many a single peak that nobody labelled."""
    level = np.log(random.uniform(20, 500)) + 0.25 * _cycle(random, time, day) + _shifts(random, time, day)
    noise = random.uniform(0.02, 0.1) * random.gamma(2, 1, time) + 0.03 * _red(random, time, 0.95)
    peaks = (random.random(time) < random.uniform(0, 4) / day) * random.exponential(0.5, time)
    return np.exp(level + noise + peaks)


def errors(random: np.random.Generator, time: int, day: int) -> np.ndarray:
    """Counts of failures: few, bursty, with the load."""
    level = random.uniform(1, 40) * np.exp(_cycle(random, time, day) + _shifts(random, time, day))
    return random.poisson(level * random.gamma(8, 1 / 8, time)).astype(float)


def shares(random: np.random.Generator, time: int, day: int) -> np.ndarray:
    """Percent of success: near a ceiling, with small noise."""
    lost = random.uniform(0.3, 3) * np.exp(0.4 * _cycle(random, time, day) + 0.3 * _red(random, time, 0.9))
    return 100 - np.minimum(lost * random.gamma(10, 0.1, time), 100)


KINDS = (requests, requests, response_times, errors, shares)


def _fault(random: np.random.Generator, part: np.ndarray, spread: float, hour: int) -> tuple[int, np.ndarray]:
    """The length of a fault and what it makes of the samples from its beginning."""
    kind = random.choice(["dip", "surge", "spike", "drop", "jitter", "outage"])
    least = 3 * spread / max(abs(np.median(part)), 1e-9)  # of what a person would see
    size = max(random.uniform(0.1, 0.6), least)
    length = int({"spike": random.integers(1, 5), "drop": random.integers(hour // 3, hour + hour // 2)}.get(
        str(kind), random.integers(hour // 12 + 1, hour)
    ))  # fmt: skip
    part = part[:length]
    ramp = np.minimum(np.arange(1, len(part) + 1) / random.integers(1, max(len(part) // 3, 2)), 1)
    if kind in ("dip", "drop"):
        return length, part * np.maximum(1 - size * (ramp if kind == "dip" else 1), 0)
    if kind == "surge":
        return length, part * (1 + size * random.uniform(1, 4) * ramp)
    if kind == "spike":
        return length, part * (1 + random.choice([-0.6, 1, 2, 4]) * size)
    if kind == "jitter":
        return length, np.maximum(part * (1 + random.normal(0, size, len(part))), 0)
    return length, part * random.uniform(0, 0.1)


def inject(values: np.ndarray, step_seconds: int, per_week: float, random: np.random.Generator) -> np.ndarray:
    """Put faults into curves, in place, none in the first fifth or within two hours of another; returns the labels.

    People label so: one of four is not labelled, and of the others the labels begin and end some samples off.
    """
    hour = max(3600 // step_seconds, 24)
    labels = np.zeros(values.shape, bool)
    weeks = values.shape[1] * step_seconds / (7 * DAY_SECONDS)
    for curve, label in zip(values, labels, strict=True):
        # Differences of differences leave out a slope; their median leaves out peaks.
        spread = np.nanmedian(np.abs(np.diff(curve, 2))) / 1.65
        taken = np.zeros(len(curve), bool)
        for _number in range(1 + random.poisson(per_week * weeks)):
            start = int(random.integers(FIRST * len(curve), len(curve) - 2 * hour))
            if taken[max(start - 2 * hour, 0) : start + 3 * hour].any():
                continue
            length, part = _fault(random, curve[start : start + 2 * hour].copy(), spread, hour)
            curve[start : start + length] = part
            taken[start : start + length] = True
            if random.random() < LABELLED or not label.any():
                first = start + random.integers(0, min(length, 4))
                label[first : max(start + length + random.integers(-2, 6), first + 1)] = True
    return labels


def synthetic(step_seconds: int, weeks: int, series: int, per_week: float, seed: int) -> Curves:
    """Curves of all kinds."""
    random = np.random.default_rng([seed, step_seconds])
    day = DAY_SECONDS // step_seconds
    values = np.array([KINDS[number % len(KINDS)](random, weeks * 7 * day, day) for number in range(series)])
    labels = inject(values, step_seconds, per_week, random)
    return Curves(f"synthetic, {step_seconds} s", step_seconds, values, labels)


def minutes(data: pathlib.Path) -> np.ndarray:
    """Requests of each minute to the site of the World Cup 1998, shape (time,)."""
    with gzip.open(data / "worldcup98_1min.csv.gz", "rt") as lines:
        cells = [line.split(",")[1] for line in lines.read().split("\n")[1:] if line]
    return np.array([float(cell) if cell else np.nan for cell in cells])


def worldcup(data: pathlib.Path) -> np.ndarray:
    """Five fortnights of them, shape (5, time); the first week left out."""
    return minutes(data)[7 * 1440 :][: 5 * 20160].reshape(5, 20160)


def totals(data: pathlib.Path) -> np.ndarray:
    """Totals of two clusters, four weeks of five minutes, shape (6, time)."""
    columns = []
    for name in ("dct_azure_v2_5min.csv", "dct_google2019_5min.csv"):
        lines = (data / name).read_text().split("\n")[1:]
        columns.extend(np.array([line.split(",") for line in lines if line], float).T[:, :8064])
    return np.array(columns)


def machines(data: pathlib.Path) -> np.ndarray:
    """CPU of VMs of Bitbrains in August 2013 and of those of Azure used in development, shape (48, time)."""
    bitbrains = np.load(data / "bitbrains_rnd_2013-08.npz")["cpu_pct"].T.astype(float)
    steady = np.flatnonzero(np.isfinite(bitbrains).mean(axis=1) > 0.95)
    azure = np.load(data / "azure2017_microsoft_avg_100.npz")["cpu"].T.astype(float)
    drawn = np.random.default_rng(1).choice(100, 50, replace=False)
    return np.concatenate([bitbrains[steady[::18]][:24, :8004], azure[np.sort(drawn)[::2]][:24]])


def faulty(name: str, values: np.ndarray, step_seconds: int, per_week: float, seed: int) -> Curves:
    """Real curves with faults put in."""
    changed = values.copy()
    return Curves(
        name, step_seconds, changed, inject(changed, step_seconds, per_week, np.random.default_rng([seed, 7]))
    )


def development(data: pathlib.Path, seed: int) -> list[Curves]:
    """The sets that methods are chosen on."""
    return [
        synthetic(60, 2, 30, 2.5, seed),
        synthetic(300, 6, 30, 3.0, seed),
        faulty("requests, World Cup 1998", np.tile(worldcup(data), (2, 1)), 60, 2.5, seed),
        faulty("cluster totals", np.tile(totals(data), (3, 1)), 300, 3.0, seed),
        faulty("CPU of VMs", machines(data), 300, 3.0, seed),
    ]


def final(data: pathlib.Path, machines: dict[str, np.ndarray]) -> list[Curves]:
    """Sets for the last look, by which nothing may be chosen.

    :param machines: CPU of VMs that were not used in development, by name.
    """
    rest = minutes(data)[7 * 1440 + 5 * 20160 :][None]
    lines = (data / "dct_alibaba2018_5min.csv").read_text().split("\n")[1:]
    alibaba = np.array([line.split(",") for line in lines if line], float).T
    return [
        synthetic(60, 3, 30, 1.5, 1009),
        synthetic(300, 4, 30, 3.0, 1009),
        faulty("requests, last days of World Cup 1998", np.tile(rest, (5, 1)), 60, 3.0, 1009),
        faulty("cluster totals, Alibaba", np.tile(alibaba, (3, 1)), 300, 3.0, 1009),
        *(faulty(f"CPU of VMs, {name}", values[:24, :8004], 300, 3.0, 1009) for name, values in machines.items()),
    ]
