# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``lease``: one run at a time works on a pool."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import socket
import typing as t

from .. import history, options, timing
from ..errors import InvalidOption, LowtideError, NotFound
from ..history import Lease
from . import controller, tenants

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    **options.STATE,
    action=dict(type="str", choices=["acquire", "renew", "release", "look"], default="acquire"),
    holder=dict(type="str"),
    why=dict(type="str", default=""),
    lifetime=dict(type="str", default="15m"),
    others=dict(type="str", choices=["fail", "skip"], default="fail"),
)

# The name of a pool's lease; rolling updates take the same.
NAME = "pool:{}"


def lease(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Hold pools for a run, hold them longer, give them back, or look who holds them.

    :returns: C(holder), C(held), C(left), C(pools), C(words).
    :raises LeaseHeld: when another run holds a pool, and O(others=fail). :raises Locked: when a lease to renew is lost.
    """
    action = params["action"]
    if action in ("renew", "release") and not params["holder"]:
        raise InvalidOption(
            "it is not given",
            option="holder",
            remedy="Give the 'holder' that action=acquire returned, to say whose it is",
        )
    keeper = _Keeper(params, tenants.chosen(params), pretend=check_mode or action == "look")
    if action == "release":
        return keeper.release()
    if action == "renew":
        return keeper.renew()
    return keeper.acquire()


class _Keeper:
    """The leases of the pools of one run."""

    def __init__(self, params: dict[str, t.Any], pools: dict[str, dict[str, t.Any]], *, pretend: bool) -> None:
        self.params, self.pools, self.pretend = params, pools, pretend
        self.holder = params["holder"] or f"{controller.user()}@{socket.gethostname()}, run {secrets.token_hex(4)}"
        self.seconds = timing.duration(params["lifetime"], "lifetime")
        self.now = timing.moment(params["now"] or datetime.datetime.now(datetime.UTC), "now")

    def acquire(self) -> dict[str, t.Any]:
        """Take what is free."""
        held: list[str] = []
        skipped: dict[str, Lease] = {}
        # In one order, so that two runs at once do not each get a part that the other needs.
        for name in sorted(self.pools):
            try:
                self._take(name)
                held.append(name)
            except history.LeaseHeld as exc:
                if self.params["others"] == "fail" and self.params["action"] != "look":
                    self._give_back(held)
                    raise
                skipped[name] = exc.lease
            except LowtideError:
                self._give_back(held)
                raise
        return self._result(held, skipped, changed=bool(held) and self.params["action"] != "look")

    def renew(self) -> dict[str, t.Any]:
        """Hold all of it for longer."""
        for name in sorted(self.pools):
            if not self.pretend:
                with self._store(name) as store:
                    store.renew(NAME.format(name), holder=self.holder, seconds=self.seconds, now=self.now)
        return self._result(sorted(self.pools), {}, changed=bool(self.pools))

    def release(self) -> dict[str, t.Any]:
        """Give back what this holder has; what it does not have is left."""
        names = [name for name in sorted(self.pools) if self._mine(name)]
        if not self.pretend:
            self._give_back(names)
        words = [f"{name}: free again" for name in names]
        return {"changed": bool(names), "holder": self.holder, "held": [], "left": [], "pools": {}, "words": words}

    def _take(self, name: str) -> None:
        """Hold one pool, or, when only pretending, see whether that would go.

        :raises LeaseHeld: when it would not.
        """
        if not self.pretend:
            with self._store(name) as store:
                store.acquire(
                    NAME.format(name), holder=self.holder, seconds=self.seconds, now=self.now, why=self.params["why"]
                )
            return
        lease_of = self._leases(self.pools[name]["tenant"]).get(name)
        if lease_of is not None and lease_of.holder != self.holder:
            raise history.LeaseHeld(lease_of, "state" if self.params["state"] else "history")

    def _give_back(self, names: list[str]) -> None:
        for name in names if not self.pretend else ():
            with self._store(name) as store:
                store.release(NAME.format(name), holder=self.holder)

    def _mine(self, name: str) -> bool:
        lease_of = self._leases(self.pools[name]["tenant"], over=True).get(name)
        return lease_of is not None and lease_of.holder == self.holder

    def _store(self, name: str) -> history.Store:
        """The store of a pool's tenant, opened for one short use: others may wait for it."""
        return history.open_state(self.params, tenant=self.pools[name]["tenant"])

    def _leases(self, tenant: str, *, over: bool = False) -> dict[str, Lease]:
        """The leases of a tenant's pools, by pool; those that are over only when asked for."""
        with contextlib.suppress(NotFound), history.open_state(self.params, tenant=tenant, read_only=True) as store:
            prefix = NAME.format("")
            return {
                item.name.removeprefix(prefix): item
                for item in store.leases()
                if item.name.startswith(prefix) and (over or item.until > self.now)
            }
        return {}

    def _result(self, held: list[str], skipped: dict[str, Lease], *, changed: bool) -> dict[str, t.Any]:
        would = "would be " if self.pretend else ""
        until = timing.iso(self.now + datetime.timedelta(seconds=self.seconds))
        words = [] if self.params["action"] == "look" else [f"{name}: {would}held until {until}" for name in held]
        words += [f"{name}: left alone, {_whose(item)}" for name, item in skipped.items()]
        return {
            "changed": changed,
            "holder": self.holder,
            "held": held,
            "left": [
                {
                    "pool": name,
                    "holder": item.holder,
                    "why": item.why,
                    "since": timing.iso(item.since),
                    "until": timing.iso(item.until),
                }
                for name, item in skipped.items()
            ],
            "pools": self._left(held),
            "words": words,
        }

    def _left(self, held: list[str]) -> dict[str, t.Any]:
        """The definitions as they were given, but for standbys that are in the hands of another run."""
        others: set[str] = set()
        defined = self.params["pools"]
        for tenant in sorted({pool["tenant"] for pool in self.pools.values()}):
            for name, item in self._leases(tenant).items():
                if item.holder != self.holder and name in defined:
                    others.update((defined[name].get("standby") or {}).get("servers") or ())
        return {name: _without(pool, others if name in held else set()) for name, pool in defined.items()}


def _without(pool: dict[str, t.Any], servers: set[str]) -> dict[str, t.Any]:
    """A pool's definition without some standbys."""
    named = (pool.get("standby") or {}).get("servers") or []
    if not servers & set(named):
        return pool
    return {**pool, "standby": {**pool["standby"], "servers": [name for name in named if name not in servers]}}


def _whose(item: Lease) -> str:
    why = f" to {item.why}" if item.why else ""
    return f"{item.holder} holds it{why} since {timing.iso(item.since)}, and unless it goes on, it is free at {timing.iso(item.until)}"
