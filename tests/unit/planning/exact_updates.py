# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exact optimum of small updates, as a mixed-integer programme of its own, and random updates to solve with it.

Batches begin where steps begin. ``out[d, t]`` servers of domain *d* go out in a batch that begins with step *t*, and
``on[d, t]`` says whether there is such a batch.
"""

from __future__ import annotations

import datetime
import math

import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from scipy import optimize, sparse, stats

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
STEP = 300
CAPACITY = 100.0


def instance(seed: int, *, most: int = 12, parts: int = 4) -> tuple[dict, DemandForecast, list[tuple[int, int]]]:
    """A pool's definition, a forecast, and the blackouts as steps from and to.

    :param most: Servers it has at most. :param parts: Failure domains it has at most.
    """
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(most // 3, most + 1)), int(rng.integers(12, 25))
    servers = [f"w{number}" for number in range(count)]
    domains = rng.integers(0, int(rng.integers(1, parts + 1)), count)
    pins = list(rng.permutation(servers)[: rng.integers(0, 3)])
    standbys = int(rng.integers(0, 3))
    wave = 0.55 + 0.4 * np.sin(2 * np.pi * (np.arange(steps) / steps + rng.random()))
    median = count * CAPACITY * np.clip(wave + rng.normal(0, 0.08, steps), 0.05, None) * rng.uniform(0.6, 1.05)
    spread = rng.uniform(0.02, 0.2)
    quantiles = np.stack([median * (1 + spread * stats.norm.ppf(level)) for level in (0.5, 0.9, 0.99, 0.999)], axis=1)
    forecast = DemandForecast(
        "web",
        np.array([0.5, 0.9, 0.99, 0.999]),
        quantiles,
        NOW + datetime.timedelta(seconds=STEP),
        STEP,
        clustering=float(rng.choice([0.3, 1.0])),
    )
    begin = int(rng.integers(0, steps))
    closed = [(begin, begin + int(rng.integers(1, 4)))] if rng.random() < 0.4 else []
    definition = {
        "servers": servers,
        "load": {"metric": "requests", "server_capacity": CAPACITY},
        "limits": {"min": int(rng.integers(1, 3))},
        "update": {
            "duration": str(int(rng.choice([1, 1, 2])) * STEP),
            "max_unavailable": str(int(rng.integers(1, count + 1))),
            "first": pins[:1],
            "last": pins[1:],
            "failure_domains": {server: f"d{domain}" for server, domain in zip(servers, domains, strict=True)},
        },
    }
    if standbys:
        definition["standby"] = {
            "servers": [f"s{number}" for number in range(standbys)],
            "lead_time": str(int(rng.integers(0, 4)) * STEP),
        }
    return definition, forecast, closed


def optimum(definition: dict, forecast: DemandForecast, closed: list[tuple[int, int]]) -> float | None:
    """The least load displaced, in load units times hours; None where no plan is feasible."""
    pool = options.pools({"web": definition})["web"]
    rules = pool["update"]
    long = int(float(rules["duration"])) // STEP
    standby = pool["standby"] or {"servers": [], "lead_time": "0"}
    lead = int(float(standby["lead_time"])) // STEP
    # The last step's stamp is the end of the forecast.
    starts = range(len(forecast.quantiles) - long)
    level = 1 - rules["risk"] / (1 + (long - 1) * forecast.clustering)
    bound = _quantile(forecast, level)
    pinned = rules["first"] + rules["last"]
    sizes: dict[str, int] = {}
    for server in pool["servers"]:
        if server not in pinned:
            sizes[rules["failure_domains"][server]] = sizes.get(rules["failure_domains"][server], 0) + 1
    groups = [1] * len(rules["first"]) + list(sizes.values()) + [1] * len(rules["last"])
    front, back = len(rules["first"]), len(groups) - len(rules["last"])
    room = []
    for start in starts:
        need = max(math.ceil(bound[start : start + long].max() / CAPACITY - 1e-9), pool["limits"]["min"])
        awake = len(pool["servers"]) + (len(standby["servers"]) if start >= lead else 0)
        shut = any(start < end and begin < start + long for begin, end in closed)
        room.append(0 if shut else max(0, min(awake - need, int(rules["max_unavailable"]))))
    cost = [forecast.quantiles[s : s + long, 0].sum() * STEP / 3600 / len(pool["servers"]) for s in starts]
    count, width = len(groups), len(room)
    if not width:
        return None
    rows, low, high = [], [], []

    def out(group: int, start: int) -> int:
        return group * width + start

    def on(group: int, start: int) -> int:
        return count * width + group * width + start

    def add(entries: dict[int, float], least: float, most: float) -> None:
        rows.append(entries)
        low.append(least)
        high.append(most)

    for group, size in enumerate(groups):
        add({out(group, start): 1.0 for start in starts}, size, size)
        for start in starts:
            add({out(group, start): 1.0, on(group, start): -float(min(room[start], size))}, -np.inf, 0)
    for step in range(width + long - 1):
        running = [start for start in starts if start <= step < start + long]
        add({on(group, start): 1.0 for group in range(count) for start in running}, -np.inf, 1)
    for start in starts:
        # Once a pinned first server is out, or before a pinned last one, nothing of the others is where it may not be.
        for pin in range(front):
            for group in range(pin + 1, count):
                for later in range(start, width):
                    add({on(pin, later): 1.0, on(group, start): 1.0}, -np.inf, 1)
        for pin in range(back, count):
            for group in range(pin):
                for later in range(start, width):
                    add({on(group, later): 1.0, on(pin, start): 1.0}, -np.inf, 1)
    matrix = sparse.lil_matrix((len(rows), 2 * count * width))
    for number, entries in enumerate(rows):
        for column, value in entries.items():
            matrix[number, column] = value
    answer = optimize.milp(
        np.concatenate([np.tile(cost, count), np.zeros(count * width)]),
        constraints=optimize.LinearConstraint(matrix.tocsr(), low, high),
        integrality=np.ones(2 * count * width),
        bounds=optimize.Bounds(0, np.concatenate([np.repeat(groups, width), np.ones(count * width)])),
        options={"mip_rel_gap": 0.0},
    )
    assert answer.status in (0, 2), answer.message
    return float(answer.fun) if answer.status == 0 else None


def _quantile(forecast: DemandForecast, level: float) -> np.ndarray:
    """Between quantiles, along a straight line over the normal score."""
    scores, score = stats.norm.ppf(forecast.levels), stats.norm.ppf(level)
    return np.array([np.interp(score, scores, row) for row in forecast.quantiles])
