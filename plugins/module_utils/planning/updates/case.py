# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that an update plan depends on, and the best batches for it with so many standbys awake."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ... import timing
from ...libraries import numpy as np
from ..distribution import DemandForecast
from . import optimum
from .hours import Span
from .order import Group, Stage
from .room import Pool, Room, moments

if t.TYPE_CHECKING:
    import numpy

# From so many servers times moments on, a search for standbys looks at the load displaced only.
_LARGE = 500_000

# Lead time of a standby that a pool does not have yet, for the remedies.
LEAD_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Servers that go together, when, in seconds since the first step of the forecasts began."""

    pool: str
    group: Group
    hosts: tuple[str, ...]
    begin: float
    end: float


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A way to do the update: the batches, and what each pool can spare."""

    solution: optimum.Solution
    batches: tuple[Batch, ...]
    rooms: dict[str, Room]


@dataclasses.dataclass(frozen=True)
class Case:
    """The question. All by pool, but the stages, which are in the order they go."""

    pools: dict[str, Pool]
    forecasts: dict[str, DemandForecast]
    stages: tuple[Stage, ...]
    serving: dict[str, int]
    standbys: dict[str, list[str]]
    closed: dict[str, list[Span]]
    seconds: dict[str, float]
    now: datetime.datetime
    deadline: datetime.datetime

    @property
    def origin(self) -> datetime.datetime:
        """When the first step of the forecasts begins."""
        return next(iter(self.forecasts.values())).begin_of(0)

    @property
    def earliest(self) -> float:
        """Nobody knows the demand before the first step."""
        return max(0.0, self.offset(self.now))

    @property
    def latest(self) -> datetime.datetime:
        """Nor after the end of the shortest forecast."""
        return min(self.deadline, *(forecast.end for forecast in self.forecasts.values()))

    @property
    def servers(self) -> int:
        """How many are to be updated."""
        return sum(len(group.hosts) for stage in self.stages for group in stage.groups)

    @property
    def everyone(self) -> dict[str, int]:
        """How many standbys each pool may have woken."""
        return {name: len(names) for name, names in self.standbys.items()}

    @property
    def soonest(self) -> list[float]:
        """When it may begin as soon as it can: now, and when the standbys of its first pool are ready."""
        name = self.stages[0].pool
        ready = self.offset(self.now) + self.lead(name) if self.standbys[name] else 0.0
        return sorted({self.earliest, max(self.earliest, ready)})

    @property
    def large(self) -> bool:
        """Whether every attempt takes long."""
        return self.servers * min(forecast.steps for forecast in self.forecasts.values()) > _LARGE

    def offset(self, time: datetime.datetime) -> float:
        """Seconds since the first step began."""
        return (time - self.origin).total_seconds()

    def time(self, seconds: float) -> datetime.datetime:
        """The other way round."""
        return self.origin + datetime.timedelta(seconds=seconds)

    def lead(self, name: str) -> float:
        """How long a standby of a pool takes until it carries load, in seconds."""
        standby = self.pools[name]["standby"]
        return timing.duration(standby["lead_time"]) if standby else LEAD_SECONDS

    def rooms(self, woken: dict[str, int]) -> dict[str, Room]:
        """What each pool can spare with so many standbys."""
        until = self.offset(self.latest)
        return {
            name: Room(
                name=name,
                pool=pool,
                forecast=self.forecasts[name],
                serving=self.serving[name],
                woken=woken.get(name, 0),
                ready=max(0.0, self.offset(self.now) + self.lead(name)),
                seconds=self.seconds[name],
                closed=np.array([[self.offset(a), self.offset(b)] for a, b in self.closed[name]]).reshape(-1, 2),
                until=until,
            )
            for name, pool in self.pools.items()
        }

    def attempt(
        self,
        woken: dict[str, int],
        *,
        quick: bool = False,
        before: float | None = None,
        at: float | None = None,
        most: float | None = None,
    ) -> Attempt | None:
        """The best batches; None where there are none.

        :param quick: Look at the load displaced only, and not at the time it takes.
        :param before: Begin before that.
        :param at: Begin at that moment.
        :param most: Displace no more than that; all that do count as equal.
        """
        rooms = self.rooms(woken)
        for chains in (False, True):
            times = moments(list(rooms.values()), self.earliest, self.servers, chains=chains)
            if not len(times):
                return None
            first = None
            if before is not None:
                first = times < before - 1e-6
            elif at is not None:
                first = np.abs(times - at) < 1e-6
            legs = self._legs(rooms, times)
            solution = optimum.best(times, legs, first=first, quick=quick, most=most)
            if solution is not None:
                return Attempt(solution, self._named(solution, times), rooms)
        return None

    def _legs(self, rooms: dict[str, Room], times: numpy.ndarray) -> list[optimum.Leg]:
        lines = {name: room.line(times) for name, room in rooms.items()}
        return [
            optimum.Leg(
                lines[stage.pool],
                tuple(optimum.Piece(place, len(group.hosts)) for place, group in enumerate(stage.groups)),
            )
            for stage in self.stages
        ]

    def _named(self, solution: optimum.Solution, times: numpy.ndarray) -> tuple[Batch, ...]:
        """The batches with the names of their servers: those of a group in its order."""
        done: dict[tuple[int, int], int] = {}
        named = []
        for batch in solution.batches:
            stage = self.stages[batch.leg]
            group, key = stage.groups[batch.group], (batch.leg, batch.group)
            start = done.get(key, 0)
            done[key] = start + batch.size
            begin = float(times[batch.moment])
            hosts = group.hosts[start : start + batch.size]
            named.append(Batch(stage.pool, group, hosts, begin, begin + self.seconds[stage.pool]))
        return tuple(named)
