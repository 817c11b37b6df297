# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Weights and states of a balancer's members made so, and its figures read: the face ``balancer_pool``."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t

from .. import timing
from ..actuators import balancer
from ..actuators.balancer import Change, Instance, Status, Wanted
from ..actuators.providers import open_instances

POLL_SECONDS = 0.1
LEAVING = ("drain", "maintenance", "absent")


def balancer_pool(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Make the members of a backend what is wanted, on every instance, and tell what they are.

    Everything is read and checked on all instances before the first change on any.

    :param params: The options of the module, checked by its specification.
    :returns: C(changed), C(members), C(pool), C(taking), C(out), C(remaining), C(words), C(warnings) and C(diff).
    """
    wants = balancer.wanted(params["members"])
    timeout = timing.duration(params["timeout"], "timeout")
    with contextlib.ExitStack() as sessions:
        instances = open_instances(params, sessions)
        before = [instance.read() for instance in instances]
        plans = [_plan(instance, wants, actual, params) for instance, actual in zip(instances, before, strict=True)]
        remaining: dict[str, int] = {}
        if any(plans) and not check_mode:
            for instance in instances:
                instance.check_rights()
        if not check_mode:
            remaining = _carry_out(instances, plans, wants, wait=params["wait_for_sessions"], timeout=timeout)
        still = check_mode or not (any(plans) or params["wait_for_sessions"])
        now = before if still else [instance.read() for instance in instances]
    then = [balancer.after(actual, plan) for actual, plan in zip(before, plans, strict=True)] if check_mode else now
    return _result(instances, before, then, now, plans, remaining, timeout)


def _plan(instance: Instance, wants: list[Wanted], actual: dict[str, Status], params: dict[str, t.Any]) -> list[Change]:
    """The changes one instance needs, checked."""
    plan = balancer.differences(wants, actual, most=instance.most, adds=instance.adds)
    balancer.check_min_ready(actual, plan, least=params["min_ready"])
    return plan


def _carry_out(
    instances: list[Instance], plans: list[list[Change]], wants: list[Wanted], *, wait: bool, timeout: float
) -> dict[str, int]:
    """Make the changes; return the sessions that remained, by member.

    With O(wait), members go to maintenance or away only once their sessions are gone; those whose sessions are not by
    the deadline stay in drain.
    """
    drains = [_drains_first(plan) if wait else [c for c in plan if c.what != "remove"] for plan in plans]
    removed = any(change.what == "remove" for plan in plans for change in plan)
    for instance, plan in zip(instances, drains, strict=True):
        instance.apply(plan)
    remaining: dict[str, int] = {}
    if wait or removed:
        leaving = [want.name for want in wants if want.state in LEAVING]
        remaining = wait_for_sessions(instances, leaving, timeout)
        for instance, plan in zip(instances, plans, strict=True):
            instance.apply([change for change in plan if _leaves(change) and change.name not in remaining])
    if any(plans):
        for instance in instances:
            instance.save()
    return remaining


def _leaves(change: Change) -> bool:
    return change.what == "remove" or change.after == "maintenance"


def _drains_first(plan: list[Change]) -> list[Change]:
    """The plan with drain in the place of maintenance and removal, for members that take requests now."""
    result = []
    for change in plan:
        if not _leaves(change):
            result.append(change)
        elif change.before == "ready" or change.what == "remove":
            result.append(Change(change.name, "state", "ready", "drain"))
    return result


def wait_for_sessions(instances: list[Instance], names: list[str], timeout: float) -> dict[str, int]:
    """Wait until no instance has a session on the members; return those left at the deadline, by member."""
    end = time.monotonic() + timeout
    while True:
        left: dict[str, int] = {}
        for instance in instances if names else ():
            actual = instance.read()
            for name in names:
                busy = (actual[name].sessions or 0) + actual[name].queue if name in actual else 0
                if busy:
                    left[name] = left.get(name, 0) + busy
        if not left or time.monotonic() >= end:
            return left
        time.sleep(POLL_SECONDS)


def merged(readings: t.Sequence[dict[str, Status]]) -> dict[str, Status]:
    """Each member as all instances together see it: out where one has it out, counts added up, latency weighted by samples."""
    result: dict[str, Status] = {}
    for reading in readings:
        for name, status in reading.items():
            result[name] = _joined(result[name], status) if name in result else status
    return result


def _joined(one: Status, other: Status) -> Status:
    samples = one.samples + other.samples
    latency = one.latency_ms if other.latency_ms is None else other.latency_ms
    if one.latency_ms is not None and other.latency_ms is not None and samples:
        latency = (one.latency_ms * one.samples + other.latency_ms * other.samples) / samples
    return dataclasses.replace(
        one,
        state=max(one.state, other.state, key=balancer.STATES.index),
        weight=min(one.weight, other.weight),
        up=one.up and other.up,
        checked=_both(one.checked, other.checked),
        sessions=_sum(one.sessions, other.sessions),
        queue=one.queue + other.queue,
        requests=_sum(one.requests, other.requests),
        errors=_sum(one.errors, other.errors),
        requests_per_second=_sum(one.requests_per_second, other.requests_per_second),
        latency_ms=latency,
        samples=samples,
    )


def _both(one: bool | None, other: bool | None) -> bool | None:
    """Whether both say yes, of those that say anything."""
    return other if one is None else one if other is None else one and other


def _sum(one: t.Any, other: t.Any) -> t.Any:
    return None if one is None or other is None else one + other


def pool_figures(members: t.Mapping[str, Status], waiting: int = 0) -> dict[str, t.Any]:
    """The figures of the pool as a whole. :param waiting: Requests that wait for any of its members."""

    def total(name: str) -> t.Any:
        values = [getattr(status, name) for status in members.values()]
        return None if None in values else sum(values)

    timed = [status for status in members.values() if status.latency_ms is not None and status.requests_per_second]
    rate = sum(status.requests_per_second for status in timed)
    latency = sum(status.latency_ms * status.requests_per_second for status in timed) / rate if rate else None
    return {
        "members": len(members),
        "serving": len(balancer.serving(members)),
        "sessions": total("sessions"),
        "queue": total("queue") + waiting,
        "requests": total("requests"),
        "errors": total("errors"),
        "requests_per_second": total("requests_per_second"),
        "latency_ms": latency,
    }


def _result(
    instances: list[Instance],
    before: list[dict[str, Status]],
    then: list[dict[str, Status]],
    now: list[dict[str, Status]],
    plans: list[list[Change]],
    remaining: dict[str, int],
    timeout: float,
) -> dict[str, t.Any]:
    """What the face returns."""
    members = merged(now)
    warnings = [
        f"{name} still has {count} sessions after {timing.words(timeout)}; it stays in drain"
        for name, count in remaining.items()
    ] + differing(instances, then)
    return {
        "changed": any(plans),
        "members": {name: dataclasses.asdict(status) for name, status in members.items()},
        "pool": pool_figures(members, sum(instance.waiting for instance in instances)),
        "taking": sorted({name for reading in now for name, one in reading.items() if _takes(one)}),
        "out": [name for name, one in members.items() if one.state != "ready" or one.weight < one.full_weight],
        "remaining": remaining,
        "words": _words(plans, members, remaining),
        "warnings": warnings,
        "diff": {"before": _view(instances, before, plans), "after": _view(instances, then, plans)},
    }


def _takes(status: Status) -> bool:
    """Whether an instance was told to send a member requests."""
    return status.state == "ready" and status.weight > 0


def differing(instances: t.Sequence[Instance], readings: t.Sequence[dict[str, Status]]) -> list[str]:
    """A warning for each member that the instances do not agree on."""
    result = []
    for name in sorted({name for reading in readings for name in reading}):
        seen = [(reading[name].state, reading[name].weight) if name in reading else None for reading in readings]
        if len(set(seen)) > 1:
            told = (
                f"{instance.label} has it {'not at all' if one is None else f'{one[0]} with weight {one[1]}'}"
                for instance, one in zip(instances, seen, strict=True)
            )
            result.append(
                f"the instances differ about {name}: {', '.join(told)}; name it in 'members' to bring them in step"
            )
    return result


def _view(
    instances: t.Sequence[Instance], readings: t.Sequence[dict[str, Status]], plans: list[list[Change]]
) -> dict[str, t.Any]:
    """The members that change, as a diff shows them."""
    result: dict[str, t.Any] = {}
    for instance, reading, plan in zip(instances, readings, plans, strict=True):
        names = sorted({change.name for change in plan} & set(reading))
        result[instance.label] = {
            name: {
                "state": reading[name].state,
                "weight": reading[name].weight,
                "address": f"{reading[name].address}:{reading[name].port}",
            }
            for name in names
        }
    return result


def _words(plans: list[list[Change]], members: dict[str, Status], remaining: dict[str, int]) -> list[str]:
    """What was done, one sentence per member, and what carries the load now."""
    texts: dict[str, list[str]] = {}
    for change in (change for plan in plans for change in plan):
        text = {"add": "added", "remove": "removed"}.get(change.what, f"{change.what} {change.before} → {change.after}")
        said = texts.setdefault(change.name, [])
        if text not in said:
            said.append(text)
    result = [f"{name}: {', '.join(said)}." for name, said in texts.items()]
    result += [f"{name}: {count} sessions remain." for name, count in remaining.items()]
    figures = pool_figures(members)
    rate = figures["requests_per_second"]
    result.append(
        f"{figures['serving']} of {figures['members']} members in service"
        + (f", {rate:g} requests/s." if rate is not None else ".")
    )
    return result
