# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The figures of some of a balancer's members, read again and again while traffic is shifted."""

from __future__ import annotations

import dataclasses
import typing as t

from ..actuators.balancer import Instance, Status
from ..errors import ConnectionFailed
from ..history import instant
from ..planning import traffic


@dataclasses.dataclass
class Reading:
    """What came in since the reading before. None is missing."""

    requests: int | None
    errors: int | None
    values: dict[str, float | None]


class Meter:
    """Reads the figures of some members, again and again.

    :param limits: By gate. A mean latency is told once it is exact to a third of its limit.
    """

    def __init__(
        self,
        instances: list[Instance],
        params: dict[str, t.Any],
        names: list[str],
        limits: dict[str, float] | None = None,
    ) -> None:
        self.instances, self.params = instances, params
        self.names = names
        self.limits = limits or {}
        self.requests = 0
        self.errors = 0
        self.few: set[str] = set()
        self.values: dict[str, float | None] = {}
        self.last = self._members()
        self.timed = self.last
        known = [status for reading in self.last for name, status in reading.items() if name in names]
        self.ever = tuple(sum(getattr(one, name) or 0 for one in known) for name in ("errors", "requests"))
        # What the balancer tells of them at all, once there are requests.
        self.told = {"queue"}
        self.told |= {"error_rate"} if known and all(None not in (one.errors, one.requests) for one in known) else set()
        self.told |= {"latency_ms"} if known and all(one.window for one in known) else set()

    def _members(self) -> list[dict[str, Status]]:
        return [instance.read() for instance in self.instances]

    def read(self) -> Reading:
        """One reading of every figure."""
        now = self._members()
        requests, errors = self._grown(now, "requests"), self._grown(now, "errors")
        self.last = now
        self.requests += requests or 0
        self.errors += errors or 0
        rate = errors / requests if requests and errors is not None else None
        self.values = {"error_rate": rate, "latency_ms": self._latency(now), "queue": self._queue(now)}
        counted = requests is not None and errors is not None
        self.few = {name for name, value in self.values.items() if value is None and name in self.told and counted}
        for gate in self.params["gates"]:
            if gate["query"]:
                self.few.discard(gate["metric"])
                self.values[gate["metric"]] = self._asked(gate["query"])
        return Reading(requests, errors, self.values)

    def _asked(self, query: str) -> float | None:
        """What Prometheus says; while it can't be reached the figure is missing, which holds the step."""
        try:
            return instant.number(self.params["prometheus"] or {}, query)
        except ConnectionFailed:
            return None

    def _pairs(self, then: list[dict[str, Status]], now: list[dict[str, Status]]) -> list[tuple[Status, Status]]:
        return [
            (old[name], new[name])
            for old, new in zip(then, now, strict=True)
            for name in self.names
            if name in old and name in new
        ]

    def _grown(self, now: list[dict[str, Status]], name: str) -> int | None:
        """How much a counter grew; missing when it is not told or was reset."""
        grown = 0
        for old, new in self._pairs(self.last, now):
            before, after = getattr(old, name), getattr(new, name)
            if before is None or after is None or after < before:
                return None
            grown += after - before
        return grown

    def _latency(self, now: list[dict[str, Status]]) -> float | None:
        """Mean latency since it was last told, weighted by requests."""
        total, variance, count = 0.0, 0.0, 0
        for old, new in self._pairs(self.timed, now):
            more = (new.requests or 0) - (old.requests or 0)
            if more > 0 and new.latency_ms is not None and new.window:
                mean, error = traffic.recent_mean(
                    (old.latency_ms or 0.0, old.requests or 0), (new.latency_ms, new.requests or 0), new.window
                )
                total, variance, count = total + mean * more, variance + (error * more) ** 2, count + more
        if not count:
            return None
        limit = self.limits.get("latency_ms")
        if limit is not None and 2 * variance**0.5 / count > limit / 3:
            return None
        self.timed = now
        return total / count

    def _queue(self, now: list[dict[str, Status]]) -> float:
        """Requests that wait for these members, or for any: HAProxy queues those that are bound to none at the backend."""
        waiting = sum(instance.waiting for instance in self.instances)
        return float(waiting + sum(new.queue for _old, new in self._pairs(now, now)))

    def base(self, name: str, counts: bool) -> float | None:
        """What a limit relates to: an upper estimate of a rate, or the figure itself."""
        if counts:
            return traffic.rate_before((self.errors, self.requests), self.ever, max(1, self.params["min_requests"]))
        if name == "latency_ms" and self.values.get(name) is None:
            return self._latest()
        return self.values.get(name)

    def _latest(self) -> float | None:
        """Mean latency of the latest requests there were, however long ago."""
        known = [one for reading in self.last for name, one in reading.items() if name in self.names]
        timed = [one for one in known if one.latency_ms is not None and one.samples]
        count = sum(one.samples for one in timed)
        return sum(one.latency_ms * one.samples for one in timed) / count if count else None

    def summary(self) -> dict[str, t.Any]:
        """The figures since the meter began."""
        return {"requests": self.requests, "errors": self.errors, **self.values}
