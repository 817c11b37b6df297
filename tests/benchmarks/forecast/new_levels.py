# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long new levels last in real traces, and what it brings to take them for what they are."""

from __future__ import annotations

import dataclasses
import typing as t

import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import fleet, shifts
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.problem import Problem

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
AGES = (3, 5, 9, 17, 33, 65, 200)  # hours
HOUR, DAY = 12, 288  # steps
PARTS = (slice(0, HOUR), slice(HOUR, 8 * HOUR), slice(8 * HOUR, DAY))


@dataclasses.dataclass
class Seen:
    """One new level. Losses are relative to the seasonal error, by stretch: the next hour, up to eight, up to a day.

    :param age: Hours it had lasted.
    :param still: Whether the load was nearer the new level than the old one, by hour of the day after.
    :param loss: With the shift taken for what it is. :param without: As if there were none.
    """

    age: float
    still: np.ndarray
    loss: np.ndarray
    without: np.ndarray


def seen(values: np.ndarray, moments: t.Iterable[int]) -> t.Iterator[Seen]:
    """The new levels of a fleet at some moments. Values of 5 minutes, shape (series, time)."""
    believing = shifts.believing(fleet.predict)
    for moment in moments:
        known, actual = values[:, :moment], values[:, moment : moment + DAY]
        problem = Problem(known, 300, DAY, LEVELS)
        found = shifts.find(problem)
        if not len(found.rows):
            continue
        scale = np.nanmean(np.abs(known[:, DAY:] - known[:, :-DAY]), axis=1)
        usual = np.nanmedian(known[:, known.shape[1] % DAY :].reshape(len(known), -1, DAY), axis=1)
        losses = [
            _loss(model(problem).quantiles, actual) / np.maximum(scale, 1e-9) for model in (believing, fleet.predict)
        ]
        beyond = (actual - usual)[found.rows] * np.sign(found.by)[:, None] > np.abs(found.by)[:, None] / 2
        still = beyond.reshape(len(found.rows), -1, HOUR).mean(axis=2) > 0.5
        for place, row in enumerate(found.rows):
            yield Seen(found.since[place] / HOUR, still[place], losses[0][:, row], losses[1][:, row])


def _loss(quantiles: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Mean quantile loss, shape (parts, series)."""
    level, difference = np.array(LEVELS), actual[..., None] - quantiles
    loss = np.maximum(level * difference, (level - 1) * difference).mean(axis=2)
    return np.stack([np.nanmean(loss[:, part], axis=1) for part in PARTS])


def table(all_seen: t.Sequence[Seen]) -> t.Iterator[str]:
    """A line for each stretch of ages."""
    yield "hours     levels  still there after 1, 4, 8, 24 h  (told)                  loss / without: 1 h, 8 h, 24 h"
    for low, high in zip(AGES, (*AGES[1:], np.inf), strict=True):
        some = [one for one in all_seen if low <= one.age < high]
        if not some:
            continue
        age = np.array([one.age for one in some])[:, None]
        ahead = np.array([1, 4, 8, 24])
        still = np.mean([one.still[ahead - 1] for one in some], axis=0)
        told = ((age / (age + ahead)) ** shifts.LASTING).mean(axis=0)
        ratio = np.nansum([one.loss for one in some], axis=0) / np.nansum([one.without for one in some], axis=0)
        shares = " ".join(f"{share:.2f} ({other:.2f})" for share, other in zip(still, told, strict=True))
        yield f"{low:3g} to {high:<5g} {len(some):4d}  {shares}   {' '.join(f'{part:.2f}' for part in ratio)}"
