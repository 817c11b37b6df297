# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cheapest batches, by dynamic programming over the moments at which one may begin.

One batch is out at a time, and holds servers of one group. A state is how many servers of each group are done; its value
at a moment is the least cost to get there. Where the states of all groups together are few, groups may take turns and the
answer is exact; else each group is finished before the next, in a few orders that are tried.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ...libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

# Costs that differ by less than this share count as equal; time decides between them.
EQUAL = 0.03

# Groups that take turns are harder to follow and spread a bad update: they must save this share.
TURNS = 0.01

# Values that a table of all groups' states may hold, its updates, and the values they touch.
_CELLS, _UPDATES, _TOUCHED = 8_000_000, 20_000, 150_000_000

# Prices of time that are tried, as multiples of the lowest.
_PRICES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

_NEVER = math.inf


@dataclasses.dataclass(frozen=True)
class Line:
    """What one pool allows at each moment that a batch may begin at, ascending.

    :param most: Servers that may be out, shape (moments,).
    :param cost: Of one server out, shape (moments,).
    :param end: When the batch ends, in seconds, shape (moments,).
    :param next: The first moment at or after its end, shape (moments,); their number where there is none.
    """

    most: numpy.ndarray
    cost: numpy.ndarray
    end: numpy.ndarray
    next: numpy.ndarray


class Piece(t.NamedTuple):
    """Servers of one group that go without a break by another: the group and how many."""

    group: int
    size: int


class Leg(t.NamedTuple):
    """Groups of one pool, which may go in any order; legs follow one another."""

    line: Line
    pieces: tuple[Piece, ...]


class Batch(t.NamedTuple):
    """A batch found: its leg, its group there, how many servers, at which moment."""

    leg: int
    group: int
    size: int
    moment: int


@dataclasses.dataclass(frozen=True)
class Solution:
    """Batches in their order, what they cost, when the first begins and the last ends."""

    batches: tuple[Batch, ...]
    cost: float
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        return self.end - self.begin


def best(
    moments: numpy.ndarray,
    legs: t.Sequence[Leg],
    *,
    first: numpy.ndarray | None = None,
    quick: bool = False,
    most: float | None = None,
) -> Solution | None:
    """The batches that cost least; among equals those that take the least time, and then those that end first.

    :param moments: When a batch may begin, ascending, in seconds, shape (moments,).
    :param legs: What is to be updated; pieces of a leg are its groups, in the order preferred.
    :param first: Where the first batch may begin, shape (moments,); anywhere when None.
    :param quick: Look at the cost only.
    :param most: Costs up to that count as equal; those within a share of C(EQUAL) of the least when None.
    :returns: None where not all servers fit, or only for more than ``most``.
    """
    ways = [(legs, _in_order)]
    if any(len(leg.pieces) > 1 for leg in legs):
        free = _all_states if all(_few(leg, len(moments)) for leg in legs) else None
        if free:
            ways.append((legs, free))
        elif not quick:
            ways.extend((split, _in_order) for split in _split(moments, legs))
    found = [(way, _solved(moments, *way, first)) for way in ways]
    found = [(way, solution) for way, solution in found if solution is not None]
    if not found:
        return None
    least = min(solution.cost for _way, solution in found)
    if most is None:
        most = least * (1 + EQUAL)
    if least > most:
        return None
    way, solution = next(item for item in found if item[1].cost <= min(least * (1 + TURNS), most))
    return solution if quick else _shortened(moments, way, first, solution, most)


def _shortened(moments: numpy.ndarray, way: t.Any, first: t.Any, solution: Solution, most: float) -> Solution:
    """The same with the highest price for time, of some, at which the cost is still no more than ``most``."""
    span, wait = max(solution.seconds, 1.0), max(solution.end - moments[0], 1.0)
    # At the lowest price, all the time that the solution known takes costs no more than what is spare.
    spare = max(most - solution.cost, 1e-9)
    low, high = 0, len(_PRICES)
    while low < high:
        middle = (low + high) // 2
        price = spare * _PRICES[middle]
        other = _solved(moments, *way, first, per_second=0.9 * price / span, per_wait=0.1 * price / wait)
        if other is not None and other.cost <= most:
            solution, low = other, middle + 1
        else:
            high = middle
    return solution


def _few(leg: Leg, moments: int) -> bool:
    sizes = [piece.size for piece in leg.pieces]
    cells = math.prod(size + 1 for size in sizes) * moments if len(sizes) <= 16 else _CELLS + 1
    updates = sum(sizes)
    return len(sizes) == 1 or (cells <= _CELLS and updates * moments <= _UPDATES and cells * updates <= _TOUCHED)


def _split(moments: numpy.ndarray, legs: t.Sequence[Leg]) -> list[list[Leg]]:
    """Orders in which all groups give their whole batches first, or their rests."""
    heads, tails = [], []
    for leg in legs:
        allowed = leg.line.most[leg.line.most > 0]
        size = int(np.median(allowed)) if len(allowed) else 1
        whole = [Piece(piece.group, piece.size // size * size) for piece in leg.pieces]
        rests = [Piece(piece.group, piece.size % size) for piece in leg.pieces]
        whole, rests = ([piece for piece in pieces if piece.size] for pieces in (whole, rests))
        heads.append(Leg(leg.line, tuple(whole + rests)))
        tails.append(Leg(leg.line, tuple(rests + whole)))
    return [heads, tails] if heads != tails else []


def _solved(
    moments: numpy.ndarray,
    legs: t.Sequence[Leg],
    table: t.Any,
    first: numpy.ndarray | None,
    per_second: float = 0.0,
    per_wait: float = 0.0,
) -> Solution | None:
    """The least of cost, time from the first to the last batch, and time to the last, each at its price."""
    ends = np.append(moments, max(float(leg.line.end.max()) for leg in legs))
    entry = -per_second * ends
    entry[-1] = _NEVER
    if first is not None:
        entry[:-1][~first] = _NEVER
    # A batch costs a little more than nothing, so that none is cut in two without need.
    scale = max(float(leg.line.cost.max(initial=0.0)) for leg in legs)
    touch = 1e-9 * (scale if scale > 0 else 1.0)
    traces = []
    for number, leg in enumerate(legs):
        values, trace = table(entry, leg, touch, number == 0 and first is not None)
        traces.append(trace)
        entry = values
    total = entry + (per_second + per_wait) * (ends - ends[0])
    place = int(np.argmin(total))
    if not np.isfinite(total[place]):
        return None
    batches: list[Batch] = []
    for number in range(len(legs) - 1, -1, -1):
        found, place = traces[number](place)
        batches = [Batch(number, group, size, moment) for group, size, moment in found] + batches
    lines = [legs[batch.leg].line for batch in batches]
    cost = sum(batch.size * float(line.cost[batch.moment]) for batch, line in zip(batches, lines, strict=True))
    end = float(lines[-1].end[batches[-1].moment])
    return Solution(tuple(batches), cost, float(moments[batches[0].moment]), end)


def _in_order(
    entry: numpy.ndarray, leg: Leg, touch: float, held: bool
) -> tuple[numpy.ndarray, t.Callable[[int], tuple[list[tuple[int, int, int]], int]]]:
    """Piece after piece.

    :param entry: Least cost with which the leg may begin by each moment, and after the last, shape (moments + 1,).
    :param held: Whether it must begin at a moment of ``entry`` itself, without waiting after it.
    :returns: The least cost with which it is done by each moment, and a function from such a moment to its batches
        (group, size, moment) and the moment of ``entry`` that they follow.
    """
    line = leg.line
    sizes = np.array([piece.size for piece in leg.pieces])
    count, width = len(sizes), int(sizes.max())
    moments = len(line.most)
    # Pieces below one another; the last state of one is the first of the next.
    table = np.full((moments + 1, count, width + 1), _NEVER)
    done = np.arange(width + 1)
    beyond = done[None, 1:] > sizes[:, None]
    for moment in range(moments + 1):
        here = table[moment]
        if moment:
            np.minimum(here, table[moment - 1], out=here)
        here[0, 0] = entry[moment] if held else min(here[0, 0], entry[moment])
        here[1:, 0] = here[np.arange(count - 1), sizes[:-1]]
        if moment < moments and line.most[moment] > 0:
            cost = float(line.cost[moment])
            reached = _least_before(here - done * cost, int(line.most[moment])) + done[1:] * cost + touch
            reached[beyond] = _NEVER
            target = table[line.next[moment]][:, 1:]
            np.minimum(target, reached, out=target)

    def trace(moment: int) -> tuple[list[tuple[int, int, int]], int]:
        batches: list[tuple[int, int, int]] = []
        piece, at = count - 1, int(sizes[-1])
        while True:
            if at == 0 and piece > 0:
                piece, at = piece - 1, int(sizes[piece - 1])
            while moment and not (held and at == 0) and table[moment - 1, piece, at] <= table[moment, piece, at]:
                moment -= 1
            if at == 0:
                return batches[::-1], moment
            options = []
            for before in np.flatnonzero((line.next == moment) & (line.most > 0)):
                least = max(0, at - int(line.most[before]))
                values = table[before, piece, least:at] + (at - np.arange(least, at)) * line.cost[before]
                # Of equals the smallest: what is left for the batches before it makes them larger.
                start = int(np.flatnonzero(values <= values.min() + 0.1 * touch)[-1])
                options.append((float(values[start]), int(before), least + start))
            _value, moment, start = min(options)
            batches.append((leg.pieces[piece].group, at - start, moment))
            at = start

    return table[:, -1, sizes[-1]].copy(), trace


def _least_before(values: numpy.ndarray, window: int) -> numpy.ndarray:
    """The least of the ``window`` values up to each but the last, along the last axis."""
    least = values[:, :-1].copy()
    if window >= least.shape[1]:
        return np.minimum.accumulate(least, axis=1)
    width = 1
    while width < window:
        shift = min(width, window - width)
        least[:, shift:] = np.minimum(least[:, shift:], least[:, :-shift])
        width += shift
    return least


def _all_states(
    entry: numpy.ndarray, leg: Leg, touch: float, held: bool
) -> tuple[numpy.ndarray, t.Callable[[int], tuple[list[tuple[int, int, int]], int]]]:
    """As :func:`_in_order`, over the states of all pieces together."""
    line, sizes = leg.line, [piece.size for piece in leg.pieces]
    moments = len(line.most)
    table = np.full((moments + 1, *(size + 1 for size in sizes)), _NEVER)
    nothing = (0,) * len(sizes)
    for moment in range(moments + 1):
        here = table[moment]
        if moment:
            np.minimum(here, table[moment - 1], out=here)
        here[nothing] = entry[moment] if held else min(here[nothing], entry[moment])
        if moment == moments or not np.isfinite(here).any():
            continue
        target, cost = table[line.next[moment]], float(line.cost[moment])
        for axis, size in enumerate(sizes):
            for out in range(1, min(int(line.most[moment]), size) + 1):
                before = (slice(None),) * axis + (slice(0, size + 1 - out),)
                after = (slice(None),) * axis + (slice(out, None),)
                np.minimum(target[after], here[before] + (out * cost + touch), out=target[after])

    def trace(moment: int) -> tuple[list[tuple[int, int, int]], int]:
        batches: list[tuple[int, int, int]] = []
        state = tuple(sizes)
        while True:
            bound = held and state == nothing
            while moment and not bound and table[(moment - 1, *state)] <= table[(moment, *state)]:
                moment -= 1
            if state == nothing:
                return batches[::-1], moment
            options = []
            for before in np.flatnonzero((line.next == moment) & (line.most > 0)):
                for axis, at in enumerate(state):
                    for out in range(1, min(int(line.most[before]), at) + 1):
                        start = (*state[:axis], at - out, *state[axis + 1 :])
                        value = float(table[(before, *start)]) + out * float(line.cost[before])
                        options.append((value, out, axis, int(before), start))
            least = min(value for value, *_rest in options) + 0.1 * touch
            out, axis, moment, state = min(rest for value, *rest in options if value <= least)
            batches.append((leg.pieces[axis].group, out, moment))

    return table[(slice(None), *sizes)].copy(), trace
