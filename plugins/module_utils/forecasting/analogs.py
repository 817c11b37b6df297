# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The days most like the last 24 hours, continued.

The method of analogues (Lorenz, *Atmospheric predictability as revealed by naturally occurring analogues*, Journal of
the Atmospheric Sciences 26, 1969), at whole days: the 24 hours before this time of day on each day before are compared
with the 24 hours that ended now.
"""

from __future__ import annotations

import itertools
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

DAYS = 28  # before, that are compared
NEAREST = 5  # of them, that are continued
HOURS = (0, 1, 2, 4, 8, 14, 24)  # ago, between which means are compared
PARTS = 72  # of a day, to whole ones of which the ends of these spans are rounded
FADE = 0.9  # how much a difference counts that is an hour longer ago
OTHER = 2.0  # how many times as far another day of the week counts
LIKE = 0.5  # how much farther than the nearest day one is that counts 1 / e as much, in distances of the nearest
LEAST = 0.05  # added to that distance, in the series' own scale
AGE = 1e-3  # added to the distance for each day ago, so that of days that are alike the newer ones are taken
FAR = 1e6  # the distance of a day whose 24 hours are not known, for each day ago

# (target columns, columns some days before) -> the latter, moved to the same local time of day
Local = t.Callable[["numpy.ndarray", "numpy.ndarray"], "numpy.ndarray"]


def analogs(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, day: int, local: Local
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What came after the nearest days.

    :param values: float32, in the series' own scale, shape (series, time), without NaN, at least two days.
    :param moments: Samples known, shape (moments,).
    :param ahead: Steps ahead, from 1, rising, shape (ahead,).
    :param day: Steps in a day, at least 2.
    :returns: what came after each of the nearest days, shape (nearest, series, moments, ahead); its mean, weighted by
        likeness and moved to today's level, shape (series, moments, ahead).
    """
    whole = (ahead - 1) // day  # days ahead; of a day fewer days ago than that it is not yet known what came after it
    count = min(DAYS, max(1, values.shape[1] // day - 1))
    distance, change = _likeness(values, moments, day, 1 + np.arange(count + int(whole[-1])), local)
    shape = (len(values), len(moments), len(ahead))
    nearest = min(NEAREST, count)
    came, moved = np.empty((nearest, *shape), dtype=np.float32), np.empty(shape, dtype=np.float32)
    flat, first = values.reshape(-1), (np.arange(len(values)) * values.shape[1])[:, None, None]
    for days in np.unique(whole).tolist():
        steps = slice(*np.searchsorted(whole, [days, days + 1]))
        far, rise = distance[:, :, days : days + count], change[:, :, days : days + count]
        chosen = np.argpartition(far, nearest - 1, axis=2)[:, :, :nearest]
        far, rise = np.take_along_axis(far, chosen, 2), np.take_along_axis(rise, chosen, 2)
        target = moments[:, None] + ahead[steps] - 1
        back = (day * (1 + days + chosen)).transpose(2, 0, 1)[..., None]
        column = local(np.broadcast_to(target, (*back.shape[:3], target.shape[1])), target - back)
        column = np.minimum(column, moments[:, None] - 1)
        early = column < 0
        if early.any():
            column[early] %= day
        column += first
        came[..., steps] = then = flat[column]
        least = far.min(axis=2, keepdims=True)
        weight = np.exp((least - far) / (LIKE * (least + LEAST)))
        weight /= weight.sum(axis=2, keepdims=True)
        moved[..., steps] = np.einsum("ksma,smk->sma", then, weight) + (weight * rise).sum(axis=2)[..., None]
    return came, moved


def _likeness(
    values: numpy.ndarray, moments: numpy.ndarray, day: int, back: numpy.ndarray, local: Local
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """How far each day before is from the last 24 hours, and how much higher both of the newest two hours are than its own.

    The lesser of the two rises, none where one hour is higher and the other lower: a burst of one hour is not believed.

    :param back: Days before, shape (back,).
    :returns: two of shape (series, moments, back).
    """
    edges = np.unique(np.round(np.array(HOURS) * day / 24).astype(np.int64))
    width = np.diff(edges)
    newest = moments[:, None] - 1
    ends = local(newest, newest - day * np.append(0, back)) + 1
    unknown = ends < day
    part = day // PARTS if day % PARTS == 0 else 1
    place = np.where(unknown, ends % day + day, ends) - values.shape[1] % part
    place = np.maximum(place // part - day // part, 0)
    weight = width * FADE ** (edges[:-1] * 24 / day)
    weight = (weight / weight.sum()).astype(np.float32)
    rises, distance = [], np.float32(0)
    for mean, share in zip(_means(values, part, edges // part), weight, strict=True):
        ago = mean[:, place]
        rises.append(ago[:, :, :1] - ago[:, :, 1:])
        distance = distance + share * np.abs(rises[-1])
    distance *= np.where(back % 7 == 0, 1, OTHER).astype(np.float32)
    distance += (AGE * back).astype(np.float32)
    distance = np.where(unknown[:, 1:], (FAR * back).astype(np.float32), distance)
    last, before = rises[0], rises[min(1, len(rises) - 1)]
    return distance, np.maximum(np.minimum(last, before), 0) + np.minimum(np.maximum(last, before), 0)


def _means(values: numpy.ndarray, part: int, edges: numpy.ndarray) -> t.Iterator[numpy.ndarray]:
    """Means of the spans before each end of a part of so many columns, from the end of the first day on.

    Sums of any length are made of sums of one, two, four, ... parts: few additions, and none over the whole history.

    :param edges: Parts ago between which the spans are, rising from 0 to a day.
    :returns: for each span float32, shape (series, parts - a day + 1).
    """
    whole = values[:, values.shape[1] % part :]
    sums = [whole.reshape(len(values), -1, part) @ np.full(part, 1 / part, dtype=np.float32)]
    for power in range(int(np.diff(edges).max()).bit_length() - 1):
        sums.append(sums[-1][:, : -(2**power)] + sums[-1][:, 2**power :])
    day, count = int(edges[-1]), sums[0].shape[1] - int(edges[-1]) + 1
    for new, old in itertools.pairwise(edges.tolist()):
        total, first = np.float32(0), day - old
        for power, twice in enumerate(sums):
            if (old - new) >> power & 1:
                total = total + twice[:, first : first + count]
                first += 2**power
        yield total * np.float32(1 / (old - new))
