# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A season that the calendar does not tell: the period of a load generator, a batch of jobs, a cache that is renewed.

Each series' own period is where its autocorrelation rises most from the trough before (the autocorrelation by Fourier
transform, Wiener and Khinchin), and is used only where repeating it was nearer than level forecasts were in the
newest quarter of the history, which it was not told from.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

FEWEST = 96  # samples below which no period is looked for
NEWEST = 8192  # samples that are looked at
SHORTEST = 4  # steps in a period
RISE = 0.1  # of the autocorrelation, from the trough to the peak, below which there is no period
ALIKE = 0.9  # of the highest rise: the shortest period that has so much is taken, not a multiple of it
NEARER = 0.97  # of the error of the best level, below which a period is used
COUNT = 7  # periods that are looked back
LEVELS = ((12, 1), (71, 7), (361, 19))  # windows and spacings of the levels that a period has to be better than
TRIED = 24  # moments that a period is tried at, and steps ahead of each


def own_periods(values: numpy.ndarray, horizon: int, hour: int) -> numpy.ndarray:
    """The period of each series in steps, with its fraction; 0 where it has none that helps.

    :param values: float32, shape (series, time), without NaN, in each series' own scale.
    :param horizon: Steps ahead that a period shall help with.
    :param hour: Steps in an hour, which is tried too: jobs run by the clock.
    :returns: float64, shape (series,).
    """
    values = values[:, -NEWEST:]
    length = values.shape[1]
    result = np.zeros(len(values))
    if length < FEWEST:
        return result
    start = length - length // 4
    moments = np.unique(np.linspace(start, length - 2, TRIED).round().astype(np.int64))
    ahead = np.unique(np.linspace(1, min(horizon, length // 8), TRIED).round().astype(np.int64))
    rise, found = _autocorrelated(values[:, :start])
    tried = [np.where(rise > RISE, found, 0.0)]
    if SHORTEST <= hour <= start // 3:
        tried.append(np.full(len(values), float(hour)))
    least = np.full(len(values), np.inf)
    for period in tried:
        rows = np.flatnonzero(period)
        if len(rows):
            error, level = _errors(values[rows], moments, ahead, period[rows])
            better = (error < NEARER * level) & (error < least[rows])
            least[rows[better]] = error[better]
            result[rows[better]] = period[rows[better]]
    return result


def slots(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, period: numpy.ndarray, near: int, count: int
) -> numpy.ndarray:
    """The same slot in the periods before, newest first, with its neighbours.

    :param period: Of each series, in steps, shape (series,).
    :returns: shape (count, 2 * near + 1, series, moments, ahead).
    """
    own = period[:, None, None]
    back = own * (np.ceil(ahead / own) + np.arange(count)[:, None, None, None])
    column = _inside(moments[:, None] + ahead - 1 - back, own)
    column = column[:, None] + np.arange(-near, near + 1)[:, None, None, None]
    return values[np.arange(len(values))[:, None, None], np.clip(column, 0, moments[:, None] - 1)]


def period_ago(values: numpy.ndarray, moments: numpy.ndarray, window: int, period: numpy.ndarray) -> numpy.ndarray:
    """The newest window as it was some periods before, newest first, shape (series, moments, window, COUNT)."""
    own = period[:, None, None, None]
    column = (moments[:, None] - 1 - np.arange(window))[None, :, :, None] - own * np.arange(1, COUNT + 1)
    return _taken(values, np.minimum(_inside(column, own), moments[:, None, None] - 1))


def newest_period(values: numpy.ndarray, moments: numpy.ndarray, period: numpy.ndarray, count: int) -> numpy.ndarray:
    """So many samples spread over the newest period, shape (series, moments, count)."""
    back = (period[:, None] * np.arange(count) / count).astype(np.int64)
    return _taken(values, np.maximum(moments[:, None] - 1 - back[:, None, :], 0))


def _taken(values: numpy.ndarray, column: numpy.ndarray) -> numpy.ndarray:
    """Samples at columns that differ by series, the first axis of both."""
    return values[np.arange(len(values)).reshape(-1, *(1,) * (column.ndim - 1)), column]


def _inside(column: numpy.ndarray, period: numpy.ndarray) -> numpy.ndarray:
    """The nearest column; before the history, that of the first period that it holds."""
    short = np.ceil(np.maximum(-column, 0) / period)
    return np.maximum(np.floor(column + short * period + 0.5), 0).astype(np.int64)


def _errors(
    values: numpy.ndarray, moments: numpy.ndarray, ahead: numpy.ndarray, period: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Sums of absolute errors of the median of the periods before, and of the best level; each of shape (series,)."""
    column = moments[:, None] + ahead - 1
    inside = column < values.shape[1]
    came = values[:, np.minimum(column, values.shape[1] - 1)]

    def error(guess: numpy.ndarray) -> numpy.ndarray:
        """Of a guess at all moments, shape (series,)."""
        return (np.abs(came - guess) * inside).sum(axis=(1, 2))

    before = slots(values, moments, ahead, period, 1, 4)
    repeated = np.median(before.reshape(-1, *before.shape[2:]), axis=0)
    last = period_ago(values, moments, 1, period)
    now = values[:, moments - 1]
    moved = before[0, 1] + (now - last[:, :, 0, 0])[:, :, None]
    newest = [values[:, np.maximum(moments[:, None] - 1 - np.arange(0, wide, step), 0)] for wide, step in LEVELS]
    levels = [np.median(part, axis=-1) for part in [*newest, newest_period(values, moments, period, 40)]]
    level = np.min([error(one[:, :, None]) for one in [now, *levels]], axis=0)
    return np.minimum(error(repeated), error(moved)), level


def _autocorrelated(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """How far the autocorrelation rises again, and the lag where it does; each of shape (series,)."""
    length = values.shape[1]
    most = length // 3
    time = np.linspace(-1, 1, length, dtype=np.float32)
    own = values - values.mean(axis=1, keepdims=True)
    own = own - (own @ time / (time @ time))[:, None] * time
    size = 2 ** int(np.ceil(np.log2(length + most + 1)))
    spectrum = np.fft.rfft(own, size, axis=1)
    product = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=1)[:, : most + 1]
    square = np.cumsum(own.astype(np.float64) ** 2, axis=1)
    back = np.arange(most + 1)
    total = square[:, -1:]
    early = square[:, length - 1 - back]
    late = total - np.where(back > 0, square[:, np.maximum(back - 1, 0)], 0)
    related = product / np.sqrt(np.maximum(early * late, 1e-12 * np.maximum(total, 1e-12) ** 2))
    rise = related - np.minimum.accumulate(related, axis=1)
    rise[:, :SHORTEST] = 0
    highest = rise.max(axis=1)
    first = (rise >= ALIKE * np.maximum(highest, 1e-9)[:, None]).argmax(axis=1)
    near = (back >= first[:, None]) & (back <= 1.25 * first[:, None] + 1)
    lag = np.where(near, rise, -1).argmax(axis=1)
    return highest, _refined(related, lag)


def _refined(related: numpy.ndarray, lag: numpy.ndarray) -> numpy.ndarray:
    """The period with its fraction, from the peaks at twice, four times, eight times the lag."""
    rows, most = np.arange(len(lag)), related.shape[1] - 1
    period = lag.astype(np.float64)
    height = related[rows, lag]
    window = np.arange(-2, 3)
    good = lag > 0
    for times in (2, 4, 8, 16, 32):
        place = np.rint(times * period).astype(np.int64)[:, None] + window
        good &= place[:, -1] <= most
        peak = related[rows[:, None], np.clip(place, 0, most)]
        best = peak.argmax(axis=1)
        good &= peak[rows, best] > 0.5 * height
        period = np.where(good, place[rows, best] / times, period)
    return period
