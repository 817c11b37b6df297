# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pool as it is at the moment of a plan, and what its demand needs."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..libraries import numpy as np
from .distribution import DemandForecast
from .rules import Alarm

Pool = t.Dict[str, t.Any]

FOR_EVER = 100 * 365 * 86400.0  # seconds: a standby that must stay awake longer stays awake


def servers_for(pool: Pool, demand: t.Any) -> t.Any:
    """Servers that carry a demand at the pool's target utilization, within its limits; int, of the demand's shape."""
    each = pool["load"]["server_capacity"] * pool["load"]["target_utilization"]
    most = pool["limits"]["max"] or np.inf
    # A demand that fills servers exactly needs no further one because of a rounding error.
    return np.clip(np.ceil(np.asarray(demand, dtype=float) / each - 1e-9), pool["limits"]["min"], most).astype(int)


def steps_within(forecast: DemandForecast, now: datetime.datetime, seconds: float) -> int:
    """How many steps, from the one that goes on now, begin within a time from now; at least that one."""
    until = (now - forecast.begin_of(forecast.step_at(now))).total_seconds() + seconds
    return max(1, math.ceil(until / forecast.step_seconds))


@dataclasses.dataclass(frozen=True)
class Situation:
    """A pool as it is at the moment of the plan.

    :param awake: Its standbys that are awake and carry load. :param standbys: All that it may use.
    :param demand: The newest demand in load units; None where it is not known.
    :param since: When each standby woke, where that is known.
    :param alarm: What anomalies ask for.
    :param out: Its standbys that are awake and carry nothing, for no balancer has them in.
    :param reactive_because: Why its forecast is not planned by, where it is not. :param predictive_because: Why it is.
    """

    name: str
    pool: Pool
    now: datetime.datetime
    awake: list[str]
    standbys: list[str]
    demand: float | None
    since: t.Mapping[str, datetime.datetime]
    alarm: Alarm
    out: list[str] = dataclasses.field(default_factory=list)
    reactive_because: str | None = None
    predictive_because: str | None = None

    @property
    def in_service(self) -> int:
        """Servers that carry load."""
        return len(self.pool["servers"]) + len(self.awake)

    @property
    def powered_on(self) -> int:
        """Servers that are on, whether they carry load or not."""
        return self.in_service + len(self.out)

    @property
    def unit(self) -> str:
        """The unit of its load, as a person says it."""
        return self.pool["load"]["unit"] or self.pool["load"]["metric"]

    @property
    def lead_seconds(self) -> float:
        """From power on to carrying load."""
        return timing.duration(self.pool["standby"]["lead_time"]) if self.pool["standby"] else 0.0

    @property
    def reactive(self) -> int:
        """Servers that the demand of this moment needs; those in service where it is not known."""
        return self.in_service if self.demand is None else int(servers_for(self.pool, self.demand))

    def rests_from(self, server: str) -> datetime.datetime:
        """The first moment a standby may be sent to sleep; now, where nobody knows when it woke."""
        woke = self.since.get(server)
        if woke is None:
            return self.now
        least = min(timing.duration(self.pool["standby"].get("min_awake") or 0), FOR_EVER)
        return max(self.now, woke + datetime.timedelta(seconds=least))


def situations(
    pools: dict[str, Pool],
    now: datetime.datetime,
    awake: t.Collection[str],
    owners: t.Mapping[str, str],
    details: t.Callable[[str], dict[str, t.Any]],
    out: t.Collection[str] = (),
) -> dict[str, Situation]:
    """Each pool as it is.

    A standby that is awake belongs to the pool that *owners* names, else to the weightiest that may use it. One that serves
    a pool which is not planned now is not to be had, nor is one that another pool's balancer has half in.
    """
    elsewhere = {server for server in awake if server in owners and owners[server] not in pools}
    awake, taken, found = set(awake), set(), {}
    for name in sorted(pools, key=lambda name: (-pools[name]["weight"], name)):
        pool = pools[name]
        standbys = [
            server
            for server in (pool["standby"]["servers"] if pool["standby"] else ())
            if server not in elsewhere and not (server in out and owners.get(server, name) != name)
        ]
        own = [
            server
            for server in standbys
            if server in awake and server not in taken and owners.get(server, name) == name
        ]
        taken.update(own)
        serving = [server for server in own if server not in out]
        left = [server for server in own if server in out]
        found[name] = Situation(name, pool, now, serving, standbys, out=left, **details(name))
    return {name: found[name] for name in pools}
