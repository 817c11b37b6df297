# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What fleets have in common: the table of ``forecasting/typical.py``, from real traces."""

from __future__ import annotations

import collections
import typing as t

import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import fleet, typical
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.problem import Problem
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.seasonal_naive import newest_known

HORIZONS = {True: (48, 480), False: (288, 2000)}


def table(fleets: t.Iterable[tuple[str, np.ndarray, int]]) -> t.Iterator[str]:
    """The lines of the table, from the fleets that are given: the mean over traces of the weights of each.

    :param fleets: Name of the trace, samples of shape (series, time), and steps in a day.
    """
    found: dict[tuple[bool, int], dict[str, list[np.ndarray]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    for name, values, day in fleets:
        coarse = day <= fleet.COARSE
        values = newest_known(values[np.isnan(values).mean(axis=1) < 0.2])
        for horizon in HORIZONS[coarse]:
            for place, weights in _weights(Problem(values, 86400 // day, horizon, typical.LEVELS)):
                found[coarse, place][name].append(weights)
    for (coarse, place), by_name in sorted(found.items()):
        mean = np.mean([np.mean(some, axis=0) for some in by_name.values()], axis=0)
        yield f"    ({coarse}, {place}): ("
        for level, row in zip(typical.LEVELS, mean, strict=True):
            yield f"        ({', '.join(f'{weight:.2f}' for weight in row)}),  # {level}"
        yield "    ),"


def _weights(problem: Problem) -> list[tuple[int, np.ndarray]]:
    """The stretch, and the weights by level, of each half of a fleet, shape (levels, candidates)."""
    seen = []
    made = fleet._priors

    def watched(problem, centre, scale, design, layout, levels):
        priors = made(problem, centre, scale, design, layout, levels)
        for part, row in zip(design.stretches, priors, strict=True):
            place = int(np.searchsorted(fleet.EDGES, design.ahead[part.start]))
            seen.append((place, np.stack([one.weights for one in row])))
        return priors

    fleet._priors = watched
    try:
        fleet.predict(problem)
    finally:
        fleet._priors = made
    return seen
