# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many servers of a pool may be out when, and what that displaces."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from ... import timing
from ...errors import InvalidOption
from ...libraries import numpy as np
from ..distribution import DemandForecast
from .optimum import Line

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]
Span = t.Tuple[datetime.datetime, datetime.datetime]

# Earlier updates of a server that are enough to go by, and the quantile of how long they took.
FEW_RUNS, LONG_RUN = 5, 0.9


def learned(seconds: t.Sequence[float], configured: float) -> float:
    """How long one server takes: what nine of ten earlier updates took at most, where there are enough of them.

    :returns: A second at least: what takes no time is in no step of a forecast.
    """
    took = float(np.quantile(seconds, LONG_RUN, method="higher")) if len(seconds) >= FEW_RUNS else configured
    return max(1.0, took)


def max_unavailable(name: str, pool: Pool) -> int:
    """Servers of a pool that may be out at once; a share is rounded down, but allows one.

    :raises InvalidOption: when it is neither a number nor a share.
    """
    text, count = str(pool["update"]["max_unavailable"]).strip(), len(pool["servers"])
    number = text[:-1] if text.endswith("%") else text
    share = text.endswith("%")
    if not number.isdecimal() or int(number) < 1 or (share and int(number) > 100):
        raise InvalidOption(
            f"{text!r} is neither a number of servers nor a share of them",
            option=f"pools.{name}.update.max_unavailable",
            remedy="Write a whole number of at least 1, or a share from 1% to 100%",
        )
    return max(1, count * int(number) // 100) if share else int(number)


@dataclasses.dataclass(frozen=True)
class Room:
    """What one pool can spare. Moments are seconds since the first step of the forecasts began.

    :param serving: Servers in service, without the standbys woken for the update.
    :param woken: Standbys that may be woken for it.
    :param ready: When those can carry load.
    :param seconds: How long one batch takes.
    :param closed: When no server may be out, from and to, shape (spans, 2), apart and in order.
    :param until: When the last batch must have ended.
    """

    name: str
    pool: Pool
    forecast: DemandForecast
    serving: int
    woken: int
    ready: float
    seconds: float
    closed: numpy.ndarray
    until: float

    @property
    def awake(self) -> int:
        """Servers in service before any is taken out, standbys included."""
        return self.serving + self.woken

    def touched(self, moments: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The first and the last step that a batch touches which begins at each moment."""
        step = self.forecast.step_seconds
        first = np.floor(moments / step + 1e-9).astype(int)
        last = np.maximum(first, np.ceil((moments + self.seconds) / step - 1e-9).astype(int) - 1)
        return first, last

    def bound(self, moments: numpy.ndarray) -> numpy.ndarray:
        """Demand that is exceeded, at any time of a batch, with no more than the pool's risk, shape (moments,)."""
        first, last = self.touched(moments)
        span = last - first + 1
        result = np.empty(len(moments))
        for length in np.unique(span):
            level = self.forecast.bound(self.pool["update"]["risk"], int(length))
            level = np.concatenate([level, np.repeat(level[-1:], length - 1)])
            highest = np.lib.stride_tricks.sliding_window_view(level, int(length)).max(axis=1)
            here = span == length
            result[here] = highest[np.minimum(first[here], len(highest) - 1)]
        return result

    def need(self, moments: numpy.ndarray) -> numpy.ndarray:
        """Servers that must stay in service during a batch that begins at each moment, shape (moments,)."""
        servers = np.ceil(self.bound(moments) / self.pool["load"]["server_capacity"] - 1e-9).astype(int)
        return np.maximum(servers, self.pool["limits"]["min"])

    def open(self, moments: numpy.ndarray) -> numpy.ndarray:
        """Whether a batch may begin: it is over in time, and no blackout comes between, shape (moments,)."""
        ends = moments + self.seconds
        if not len(self.closed):
            return ends <= self.until + 1e-6
        # The first blackout that is not over when the batch begins must not begin before it ends.
        place = np.searchsorted(self.closed[:, 1], moments + 1e-6, side="right")
        begins = np.append(self.closed[:, 0], np.inf)[place]
        return (ends <= self.until + 1e-6) & (ends <= begins + 1e-6)

    def most(self, moments: numpy.ndarray) -> numpy.ndarray:
        """Servers that may be out during a batch that begins at each moment, shape (moments,)."""
        awake = self.serving + np.where(moments >= self.ready - 1e-6, self.woken, 0)
        out = np.clip(awake - self.need(moments), 0, max_unavailable(self.name, self.pool))
        return np.where(self.open(moments), out, 0)

    def cost(self, moments: numpy.ndarray) -> numpy.ndarray:
        """What one server would have carried during a batch, in load units times hours, shape (moments,)."""
        step, median = self.forecast.step_seconds, self.forecast.level(0.5)
        edges = np.arange(len(median) + 1) * step
        total = np.concatenate([[0.0], np.cumsum(np.maximum(median, 0.0)) * step])
        within = np.interp(moments + self.seconds, edges, total) - np.interp(moments, edges, total)
        return np.maximum(within, 0.0) / max(self.serving, 1) / 3600

    def floor(self, begin: float, end: float) -> float:
        """No batches between ``begin`` and ``end`` that update all servers displace less, in load units times hours.

        Only one batch begins in any time as long as a batch. What it displaces bends only at the edges of steps.
        """
        servers, length = len(self.pool["servers"]), max(self.seconds, 1.0)
        cells = max(1, math.ceil((end - begin) / length - 1e-9))
        edges = np.arange(self.forecast.steps + 1) * self.forecast.step_seconds
        bends = np.concatenate([edges, edges - self.seconds])
        last = begin + cells * length
        bends = bends[(bends > begin) & (bends < last)]
        least = np.full(cells + 1, np.inf)
        np.minimum.at(least, ((bends - begin) // length).astype(int), self.cost(bends))
        rims = self.cost(begin + length * np.arange(cells + 1))
        least = np.sort(np.minimum(least[:-1], np.minimum(rims[:-1], rims[1:])))
        size = max_unavailable(self.name, self.pool)
        sizes = np.clip(servers - size * np.arange(cells), 0, size)
        return math.inf if sizes.sum() < servers else float(sizes @ least)

    def line(self, moments: numpy.ndarray) -> Line:
        """All of it, as the search for the optimum takes it."""
        ends = moments + self.seconds
        following = np.searchsorted(moments, ends - 1e-6, side="left")
        # What takes no time still goes one after another.
        following = np.maximum(following, np.arange(len(moments)) + 1)
        return Line(self.most(moments), self.cost(moments), ends, following)


def moments(rooms: t.Sequence[Room], earliest: float, servers: int, *, chains: bool = False) -> numpy.ndarray:
    """When a batch may begin, in seconds, ascending.

    What a pool can spare changes where a step begins, a blackout ends and standbys are ready: there, and one batch after
    another from there. As many as can be searched; a batch never begins earlier than it may for that, but maybe later.

    :param servers: How many are to be updated.
    :param chains: One batch after another from the first moment on, and from no other but the end of a blackout.
    """
    step = rooms[0].forecast.step_seconds
    last = max(room.until - room.seconds for room in rooms)
    special = [earliest, *(room.ready for room in rooms if room.woken)]
    special += [float(end) for room in rooms for end in (room.closed[:, 1] if len(room.closed) else ())]
    steps = step * np.arange(math.ceil(earliest / step), math.floor(max(last, 0.0) / step + 1e-9) + 1)
    bases = np.array(special, dtype=float) if chains else np.concatenate([special, steps])
    bases = np.unique(bases[(bases >= earliest) & (bases <= last + 1e-6)].round(3))
    if not len(bases):
        return bases
    lengths = sorted({room.seconds for room in rooms if room.seconds > 0})
    room_for = min(6000, max(len(bases), 12_000_000 // (servers + 1)))
    deep = max(1, min(servers + 1, room_for // (len(bases) * max(1, len(lengths)))))
    places = np.concatenate([[0.0], *(length * np.arange(1, deep) for length in lengths)])
    found = np.unique((bases[:, None] + places[None, :]).ravel().round(3))
    return found[found <= last + 1e-6]


def seconds_of(pool: Pool) -> float:
    """How long a pool says that one server takes."""
    return timing.duration(pool["update"]["duration"])
