# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which way of deciding to follow at each moment: the one that would have cost least lately.

Past cost fades, so that a load that changed for good is followed by who copes with it now, whoever did better before: the
idea of Herbster and Warmuth, *Tracking the best expert*, Machine Learning 32, 1998, with a fading memory in place of a share that switches.
Both sides of a comparison fade alike, so time alone never turns it.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

MEMORY_DAYS = 2.0  # the half-life of what was spent
MARGIN = 0.05  # of what the first one's servers cost: one that saves no more than this does not take its place
TRIED_DAYS = 1  # of which costs must be known before another than the first is followed


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen at each moment.

    :param wanted: Servers wanted, shape (time,).
    :param taken: Which candidate wanted them, int, same shape.
    :param lately: What a day of each candidate cost lately, as it is known at the newest moment, shape (candidates,); NaN
        where nothing is.
    """

    wanted: numpy.ndarray
    taken: numpy.ndarray
    lately: numpy.ndarray


def choose(
    wanted: numpy.ndarray, servers: numpy.ndarray, overload: numpy.ndarray, *, day: int, first: int = 0
) -> Choice:
    """At each moment, the candidate that would have cost least lately, of what is known by then; the first one in doubt.

    :param wanted: Servers wanted by each candidate at the end of each step, shape (candidates, time).
    :param servers, overload: What the step after each decision costs, same shape; it is known one column later.
    :param day: Steps in a day. :param first: The first decision whose cost counts.
    """
    length = wanted.shape[1]
    counts = (np.arange(length) >= first).astype(float)
    spent = faded((servers + overload) * counts, day)
    margin = MARGIN * faded(servers[0] * counts, day)
    judged = spent.copy()
    judged[1:] += margin
    taken = judged.argmin(axis=0)
    taken[: first + TRIED_DAYS * day] = 0
    weight = float(faded(counts, day)[-1]) if length else 0.0
    lately = spent[:, -1] / weight * day if weight else np.full(len(wanted), np.nan)
    return Choice(np.take_along_axis(wanted, taken[None, :], axis=0)[0], taken, lately)


def faded(values: numpy.ndarray, day: int) -> numpy.ndarray:
    """The sum of the columns before each, each worth half as much :data:`MEMORY_DAYS` later, in the shape of *values*."""
    keep = 0.5 ** (1 / (MEMORY_DAYS * day))
    result = np.zeros(values.shape)
    carried = np.zeros(values.shape[:-1])
    for low in range(0, values.shape[-1], day):
        part = values[..., low : low + day]
        power = keep ** np.arange(part.shape[-1])
        total = np.cumsum(part / power, axis=-1)
        before = np.concatenate([np.zeros_like(total[..., :1]), total[..., :-1]], axis=-1)
        result[..., low : low + day] = (carried[..., None] + before) * power
        carried = (carried + total[..., -1]) * power[-1] * keep
    return result
