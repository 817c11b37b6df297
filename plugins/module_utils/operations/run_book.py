# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the notes of a run are kept, and the leases by which it holds its pools."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing as t

from .. import history, timing
from ..errors import Locked, NotFound
from ..planning import journal
from ..planning.journal import Run
from . import controller, tenants, update_plan
from .lease import NAME

# Kinds of record in the ledger.
RUN, DURATION = "update-run", "update-duration"

# What a lease is for, in words.
_WHY = "update "


class Book:
    """The notes of a run, in the ledger of the pools' tenant, and the leases of its pools."""

    def __init__(self, params: dict[str, t.Any], *, check_mode: bool, process: int) -> None:
        self.params, self.check_mode, self.process = params, check_mode, process
        self.pools = tenants.chosen(params)
        self.holder = controller.holder(process)
        self.now = self.moment()
        self.seconds = timing.duration(params["lease"], "lease") + timing.duration(params["expect"], "expect")
        # A run is written down once, with the first tenant; leases lie with each pool's own.
        self.tenants = sorted({pool["tenant"] for pool in self.pools.values()})

    @contextlib.contextmanager
    def ledger(self, tenant: str | None = None) -> t.Iterator[t.Any]:
        """The ledger of a tenant, opened for one short use: others may wait for it."""
        with history.open_state(self.params, tenant=tenant or self.tenants[0], read_only=self.check_mode) as store:
            yield store

    def read(self, name: str) -> Run:
        """A run by its name.

        :raises NotFound: when there is none.
        """
        with self.ledger() as store:
            records = store.records(RUN, name)
        if not records:
            raise NotFound(f"there is no run {name!r}", option="run", remedy="Give what note=begin returned as 'run'")
        run = journal.read(name, [(record.at, record.body) for record in records])
        journal.narrow(run, self.servers())
        return run

    def runs(self, since: datetime.datetime) -> list[Run]:
        """The runs that were begun or written to since some time."""
        with self.ledger() as store:
            names = {record.name for record in store.records(RUN, since=since)}
            return [
                journal.read(name, [(record.at, record.body) for record in store.records(RUN, name)])
                for name in sorted(names)
            ]

    def foretold(self) -> Run:
        """A run that check mode did not begin, as if every server were where the task says."""
        run = Run("", pools=list(self.pools), hosts={name: journal.Host() for name in self.servers()})
        if self.params["plan"]:
            run.plan = update_plan.load(self.params["plan"])
        # A limit names others too, such as localhost.
        run.batch = [name for name in self.params["hosts"] if name in run.hosts]
        step = {"updating": "out", "updated": "updating", "healthy": "updated", "in": "healthy"}
        for name in run.batch:
            run.hosts[name].step = step.get(self.params["note"], "untouched")
        return run

    def servers(self) -> list[str]:
        """Every server of the pools."""
        return [server for pool in self.pools.values() for server in pool["servers"]]

    def write(self, run: Run, note: journal.Note) -> None:
        """Write a note, and bring the run forward by it. Its leases last longer by it too."""
        if not self.check_mode:
            with self.ledger() as store:
                store.append(RUN, run.name, note, now=self.now)
        journal.forward(run, self.now, note)

    def hold(self, run: Run) -> Run:
        """Hold the pools for longer, or again after the run waited for its low tide; return the run as it stands then.

        :raises Locked: when another run has one, or has taken this one up, or its place.
        """
        if self.check_mode:
            return run
        if self.params["note"] == "batch":
            self.seconds += journal.pause(run, self.params["hosts"], self.now)
        if run.phase == "planned":
            self.take(run.update, patient=True)
            run = self.read(run.name)
        else:
            self.renew()
        if not run.open or run.holder != self.holder:
            self.release()
            taken = f"was taken up by {run.holder}" if run.open else f"is {run.phase} by another run"
            raise Locked(
                f"the update {run.update!r} {taken} meanwhile",
                option="run",
                remedy="Leave it to that run; when it has ended, the same again does what is left, if anything is",
            )
        return run

    def renew(self) -> None:
        """Hold the pools for longer.

        :raises Locked: when another run has one.
        """
        for tenant, names in self._by_tenant().items() if not self.check_mode else ():
            with self.ledger(tenant) as store:
                for name in names:
                    store.renew(NAME.format(name), holder=self.holder, seconds=self.seconds, now=self.now)

    def take(self, update: str, *, patient: bool) -> None:
        """Take the pools. What is no update is short, such as a pass of autoscale, and is waited for.

        :param patient: Whether another update is waited for too.
        :raises Locked: when another run has one, for longer than O(wait_for_killed).
        """
        end = time.monotonic() + timing.duration(self.params["wait_for_killed"], "wait_for_killed")
        while True:
            try:
                for tenant, names in self._by_tenant().items() if not self.check_mode else ():
                    with self.ledger(tenant) as store:
                        for name in names:
                            self._take(store, name, f"{_WHY}{update}")
                return
            except history.LeaseHeld as exc:
                held = exc.lease
                if time.monotonic() > end or not (patient or not held.why.startswith(_WHY)):
                    self.release()  # Those that it got before this one.
                    raise Locked(
                        f"{held.name} is held by {held.holder} to {held.why} since {timing.iso(held.since)}",
                        option="pool",
                        remedy=f"Wait for it. If it was killed, its hold ends at {timing.iso(held.until)}; when you are sure, "
                        "take_over=true (lowtide_update_take_over) ends it now",
                    ) from exc
            time.sleep(1.0)
            self.now = self.moment()

    def _take(self, store: t.Any, pool: str, why: str) -> None:
        """Take one lease: also from a run of this user's and host's that was killed, or from any if told to."""
        terms = {"holder": self.holder, "seconds": self.seconds, "now": self.now, "why": why}
        try:
            store.acquire(NAME.format(pool), **terms)
        except history.LeaseHeld as exc:
            if not (self.params["take_over"] or controller.gone(exc.lease.holder, exc.lease.since)):
                raise
            store.release(NAME.format(pool), holder=exc.lease.holder)
            store.acquire(NAME.format(pool), **terms)

    def moment(self) -> datetime.datetime:
        return timing.moment(self.params["now"] or datetime.datetime.now(datetime.UTC), "now")

    def release(self) -> None:
        """Let the pools go."""
        for tenant, names in self._by_tenant().items() if not self.check_mode else ():
            with self.ledger(tenant) as store:
                for name in names:
                    store.release(NAME.format(name), holder=self.holder)

    def _by_tenant(self) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for name in sorted(self.pools):
            result.setdefault(self.pools[name]["tenant"], []).append(name)
        return result

    def learn(self, seconds: dict[str, float]) -> None:
        """Keep how long servers were out, for the planner to learn from."""
        if self.check_mode or not seconds:
            return
        for tenant, names in self._by_tenant().items():
            with self.ledger(tenant) as store:
                for name in names:
                    for server in (server for server in self.pools[name]["servers"] if server in seconds):
                        body = {"seconds": round(seconds[server], 1), "server": server}
                        store.append(DURATION, name, body, now=self.now)
