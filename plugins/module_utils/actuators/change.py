# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings many servers into the power states wanted, over any provider of :mod:`.power`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
import typing as t

from ..timing import words
from .power import Answer, Order, Provider, Server

# A power call whose answer was lost is repeated only after a look, and not before this many seconds; each time the
# look shows that nothing came of it, it takes as many longer, up to the limit.
_LOOK_SECONDS = 2.0
_LONGEST_LOOK_SECONDS = 15.0
# The longest wait between two looks at the deadlines.
_WATCH_SECONDS = 5.0
# The same while servers are up, but not yet found ready.
_PROBE_SECONDS = 0.3
# The shortest, so that what is overdue does not make it spin.
_SHORTEST_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Policy:
    """How to go about it.

    :param idle_state: What a released server becomes: V(suspended) or V(off).
    :param wait: Whether to wait until servers are ready, or only for their power state.
    :param timeout: Seconds each server may take, from its order on.
    :param shutdown_timeout: Seconds a guest may take to shut down before its power is cut.
    :param probe: Says whether a server that is up carries load; none means that up with an address is enough.
    """

    idle_state: str = "suspended"
    wait: bool = True
    timeout: float = 300.0
    shutdown_timeout: float = 120.0
    probe: t.Callable[[Server], bool] | None = None


class Course:
    """One server on its way to a goal, V(awake) or V(asleep)."""

    def __init__(self, name: str, goal: str, before: Server, policy: Policy, now: float) -> None:
        self.name, self.goal, self.before, self.policy = name, goal, before, policy
        self.server = before
        self.started, self.deadline = now, now + policy.timeout
        self.seconds = 0.0  # what it took
        self.ready = False
        self.failed: str | None = None
        self.replaces: str | None = None
        self._over = False
        self._ordered: Order | None = None
        self._attempts = 0
        self._again: float | None = None  # when the order may be given again, after a look
        self._force = float("inf")  # when a shutdown becomes a power off
        self._ours = False
        self._reason = ""

    @property
    def over(self) -> bool:
        """Nothing more is to be done for it."""
        return self._over

    @property
    def changed(self) -> bool:
        """Its power state is another than it was, and by our order."""
        return self._ours and self.before.power != self.server.power

    @property
    def wants_probe(self) -> bool:
        """It is up, and must show that it carries load."""
        waits = self.goal == "awake" and self.policy.wait and not self._over
        return waits and not self.server.busy and self.server.power == "on" and self.server.up and bool(self.server.ip)

    def step(self, server: Server, now: float) -> Order | None:
        """Take in what is known of the server; return the order to give it now, if any."""
        self.server = server
        if server.busy:
            return None
        if server.failure:
            self._ours = False
        if (server.power == "on") == (self.goal == "awake"):
            if self.goal == "asleep" or not self.policy.wait:
                self._end(now)
            return None
        if server.failure:
            self._fail(server.failure, now)
            return None
        if self._ordered == "shutdown" and now >= self._force:
            self._again = None
            return self._give("off")
        if self._ordered is None or (self._again is not None and now >= self._again):
            return self._give(self._wanted(), now)
        return None

    def _wanted(self) -> Order:
        if self.goal == "awake":
            return "on"
        if self.policy.idle_state == "suspended":
            return "suspend"
        return "shutdown" if self.server.up and self._ordered != "off" else "off"

    def _give(self, order: Order, now: float | None = None) -> Order:
        self._ordered, self._again = order, None
        self._attempts += 1
        if order == "shutdown" and now is not None:
            self._force = now + self.policy.shutdown_timeout
        return order

    def answered(self, answer: Answer, now: float) -> None:
        """Take in what came of the order."""
        self._reason = answer.reason
        if answer.kind in ("accepted", "lost"):
            self._ours = True
        if answer.kind in ("lost", "look"):
            self._again = now + min(self._attempts * _LOOK_SECONDS, _LONGEST_LOOK_SECONDS)
        if answer.kind == "refused":
            if self._ordered == "shutdown":
                self._force = now
            else:
                self._fail(answer.reason, now)

    def probed(self, ready: bool, now: float) -> None:
        """Take in whether the server, which is up, carries load."""
        if ready:
            self.ready = True
            self._end(now)

    def expire(self, now: float, trouble: str | None) -> None:
        """Give it up if its time is over."""
        if not self._over and now >= self.deadline:
            self._fail(self._late() + (f"; {trouble}" if trouble else ""), now)

    def next_event(self) -> float:
        """When to look at it again even if nothing happens."""
        force = self._force if self._ordered == "shutdown" else float("inf")
        return min(self.deadline, force, self._again if self._again is not None else float("inf"))

    def _late(self) -> str:
        within = f"within {words(self.policy.timeout)}"
        server = self.server
        if self.goal == "asleep":
            return f"it is still powered on, it did not go to sleep {within}"
        if server.power != "on":
            return f"it was not powered on {within}" + (f": {self._reason}" if self._reason else "")
        if not server.up:
            return f"it is powered on, but {server.lacks} {within}"
        if not server.ip:
            return f"its guest runs, but got no IP address {within}"
        return f"it is up at {server.ip}, but the readiness check did not pass {within}"

    def _fail(self, reason: str, now: float) -> None:
        self.failed = reason
        self._end(now)

    def _end(self, now: float) -> None:
        self._over = True
        self.seconds = now - self.started


def change(
    provider: Provider,
    servers: t.Mapping[str, Server],
    *,
    activate: t.Sequence[str] = (),
    release: t.Sequence[str] = (),
    candidates: t.Sequence[str] = (),
    fits: t.Callable[[str, str], bool] = lambda _candidate, _server: True,
    policy: Policy,
    clock: t.Callable[[], float] = time.monotonic,
) -> dict[str, Course]:
    """Wake and release servers, all of them together; one that fails does not stop the others.

    A server whose activation fails is replaced by the first of the candidates that sleeps and fits.

    :param provider: What acts.
    :param servers: What is known of each server named, from ``provider.look``.
    :param fits: Whether a candidate can do what a server should have done.
    :param clock: Seconds that never go back.
    :return: How it ended, by server: all that were asked for, and the candidates that were used.
    """
    now = clock()
    courses = {name: Course(name, "awake", servers[name], policy, now) for name in activate}
    courses |= {name: Course(name, "asleep", servers[name], policy, now) for name in release}
    reserve = [name for name in candidates if name not in courses and servers[name].power != "on"]
    known: t.Mapping[str, Server] = servers
    replaced: set[str] = set()
    while True:
        _advance(provider, courses, known, clock)
        now = clock()
        for course in courses.values():
            course.expire(now, provider.trouble)
        fresh = {}
        for course, name in _replacements(courses, reserve, fits, replaced):
            fresh[name] = Course(name, "awake", servers[name], policy, now)
            fresh[name].replaces = course.name
        if fresh:
            courses |= fresh
            known = {name: servers[name] for name in fresh}
            continue
        pending = [course for course in courses.values() if not course.over]
        if not pending:
            return courses
        probing = any(course.wants_probe for course in pending)
        pause = min(course.next_event() for course in pending) - now
        pause = max(_SHORTEST_SECONDS, min(pause, _PROBE_SECONDS if probing else _WATCH_SECONDS))
        known = provider.watch([course.name for course in pending], pause)


def _advance(
    provider: Provider, courses: dict[str, Course], known: t.Mapping[str, Server], clock: t.Callable[[], float]
) -> None:
    """One step for every server that something is known of."""
    now = clock()
    orders: dict[str, Order] = {}
    for name, server in known.items():
        course = courses.get(name)
        if course is None or course.over:
            continue
        order = course.step(server, now)
        if order is not None:
            orders[name] = order
    if orders:
        answers = provider.order(orders)
        now = clock()
        for name, answer in answers.items():
            courses[name].answered(answer, now)
    _probe([courses[name] for name in known if name in courses and courses[name].wants_probe], provider, clock)


def _probe(courses: list[Course], provider: Provider, clock: t.Callable[[], float]) -> None:
    """Try all servers that are up, together."""
    if not courses:
        return
    probe = courses[0].policy.probe
    if probe is None:
        results = [True] * len(courses)
    else:
        with concurrent.futures.ThreadPoolExecutor(max_workers=provider.parallel) as pool:
            results = list(pool.map(probe, [course.server for course in courses]))
    now = clock()
    for course, ready in zip(courses, results, strict=True):
        course.probed(ready, now)


def _replacements(
    courses: dict[str, Course], reserve: list[str], fits: t.Callable[[str, str], bool], replaced: set[str]
) -> t.Iterator[tuple[Course, str]]:
    """A candidate for each activation that has failed and has none yet; both are crossed off."""
    for course in courses.values():
        if course.goal == "awake" and course.failed and course.name not in replaced:
            name = next((name for name in reserve if fits(name, course.name)), None)
            if name is not None:
                replaced.add(course.name)
                reserve.remove(name)
                yield course, name
