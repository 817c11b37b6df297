# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the next batch of a rolling update may go now."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from .distribution import DemandForecast

Pool = t.Dict[str, t.Any]
Span = t.Tuple[datetime.datetime, datetime.datetime]


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of the run so far.

    :param hosts: All hosts of the play, those that failed or became unreachable included.
    :param remaining: Hosts of the play that have neither failed nor become unreachable.
    :param batch: Hosts that are about to be updated.
    """

    hosts: t.Sequence[str]
    remaining: t.Sequence[str]
    batch: t.Sequence[str]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """V(go), V(wait) (it may pass later) or V(stop) (it won't), and why.

    :param hosts: Servers of the batch that may go now, in its order: all with V(go), and with V(wait) as many as there is
        room for.
    """

    decision: str
    reasons: list[str]
    hosts: list[str] = dataclasses.field(default_factory=list)


def judge(
    plan: dict[str, t.Any],
    run: Run,
    pools: dict[str, Pool],
    forecasts: dict[str, DemandForecast],
    *,
    now: datetime.datetime,
    demand: dict[str, float],
    serving: dict[str, t.Collection[str]],
    max_failures: int = 0,
    closed: dict[str, t.Sequence[Span]] | None = None,
    watched: t.Collection[str] = (),
    anomalous: dict[str, str] | None = None,
) -> Verdict:
    """Decide on the next batch. What is not known holds it back; it never waves it through.

    :param plan: An update plan.
    :param run: Where the run stands.
    :param pools: Pools by name.
    :param forecasts: The newest demand ahead by pool.
    :param now: The moment to decide for.
    :param demand: The newest demand by pool, in load units; a pool whose samples are stale is absent.
    :param serving: Names of the servers that carry load now, by pool.
    :param max_failures: Hosts that may have failed, over the whole run.
    :param closed: Times in which no server of a pool may be out, by pool.
    :param watched: Pools of which a balancer says who serves, so that a server updated that does not is known.
    :param anomalous: Pools that behave as never before, and what is strange about them.
    """
    until = {name: now + datetime.timedelta(seconds=_seconds(plan, name, pool)) for name, pool in pools.items()}
    concerned = {name: pool for name, pool in pools.items() if set(run.batch) & set(pool["servers"])}
    stop = _stops(plan, run, pools, now, max((until[name] for name in concerned), default=now), max_failures)
    if stop:
        return Verdict("stop", stop)
    held = _holds(
        plan, run, pools, now, until, max_failures, serving, closed or {}, watched, anomalous or {}, concerned
    )
    verdicts = [
        _room(name, pool, run, forecasts[name], now, until[name], demand.get(name), serving[name])
        for name, pool in concerned.items()
    ]
    reasons = held + [reason for verdict in verdicts for reason in verdict.reasons]
    if held:
        return Verdict("wait", reasons)
    room = {host for verdict in verdicts for host in verdict.hosts}
    hosts = [host for host in run.batch if host in room]
    return Verdict("wait" if any(verdict.decision == "wait" for verdict in verdicts) else "go", reasons, hosts)


def _seconds(plan: dict[str, t.Any], name: str, pool: Pool) -> float:
    """How long a batch takes, as the plan counted on."""
    told = plan.get("durations", {}).get(name)
    return float(told["seconds"]) if told else timing.duration(pool["update"]["duration"])


def _holds(
    plan: dict[str, t.Any],
    run: Run,
    pools: dict[str, Pool],
    now: datetime.datetime,
    until: dict[str, datetime.datetime],
    max_failures: int,
    serving: dict[str, t.Collection[str]],
    closed: dict[str, t.Sequence[Span]],
    watched: t.Collection[str],
    anomalous: dict[str, str],
    concerned: dict[str, Pool],
) -> list[str]:
    """What holds the batch back whatever its size."""
    begin = timing.moment(plan["window"]["start"])
    if now < begin:
        return [f"the window begins at {timing.iso(begin)}, in {timing.words((begin - now).total_seconds())}"]
    found = []
    for name in concerned:
        shut = next((span for span in closed.get(name, ()) if span[0] < until[name] and span[1] > now), None)
        if shut is not None:
            found.append(f"{name}: no update may run from {timing.iso(shut[0])} to {timing.iso(shut[1])}")
    found += [f"{name}: {words}" for name, words in anomalous.items()]
    updated = _updated(plan, run)
    away = [
        host
        for name in watched
        for host in pools[name]["servers"]
        if host in updated and host in run.remaining and host not in serving[name]
    ]
    lost = [host for host in run.hosts if host not in run.remaining]
    if away and len(away) + len(lost) > max_failures:
        found.append(f"{', '.join(away)} of earlier batches are not back in service, by their balancer")
    return found


def _updated(plan: dict[str, t.Any], run: Run) -> set[str]:
    """Hosts of the play that are in batches before this one."""
    place = {host: number for number, host in enumerate(plan["hosts"])}
    first = min((place[host] for host in run.batch if host in place), default=0)
    return {host for host in run.hosts if host in place and place[host] < first}


def _stops(
    plan: dict[str, t.Any],
    run: Run,
    pools: dict[str, Pool],
    now: datetime.datetime,
    until: datetime.datetime,
    max_failures: int,
) -> list[str]:
    """What no waiting puts right."""
    strangers = [host for host in run.hosts if host not in plan["hosts"]]
    if strangers:
        return [
            f"{', '.join(strangers)} of this play are not in the plan: take hosts: from the lookup update_hosts, or plan anew"
        ]
    homeless = [host for host in run.batch if not any(host in pool["servers"] for pool in pools.values())]
    if homeless:
        return [f"{', '.join(homeless)} are servers of none of the pools any more: plan anew"]
    lost = [host for host in run.hosts if host not in run.remaining]
    if len(lost) > max_failures:
        return [
            f"{', '.join(lost)} failed or can't be reached, and at most {max_failures} may: repair them, then plan anew "
            "for those that are left"
        ]
    deadline = timing.moment(plan["deadline"])
    if now >= deadline:
        return [f"the deadline {timing.iso(deadline)} has passed: plan anew for those that are left"]
    if until > deadline:
        return [
            f"the batch would end at {timing.iso(until)}, after the deadline {timing.iso(deadline)}: plan anew for those "
            "that are left"
        ]
    return []


def _room(
    name: str,
    pool: Pool,
    run: Run,
    forecast: DemandForecast,
    now: datetime.datetime,
    until: datetime.datetime,
    demand: float | None,
    serving: t.Collection[str],
) -> Verdict:
    """Whether what stays in service carries the demand while the batch is out, and else how many of it may go."""
    unit = pool["load"]["unit"] or pool["load"]["metric"]
    if demand is None:
        return Verdict(
            "wait", [f"{name}: no fresh sample of {pool['load']['metric']}, so nobody knows what it carries now"]
        )
    if until > forecast.end:
        return Verdict(
            "wait",
            [f"{name}: the forecast ends at {timing.iso(forecast.end)}, before the batch would; nobody knows beyond"],
        )
    first, last = forecast.step_at(now), forecast.step_at(until)
    bound = forecast.bound(pool["update"]["risk"], last - first + 1)
    expected = float(bound[first : last + 1].max())
    reach = max(demand, expected)
    needed = max(math.ceil(reach / pool["load"]["server_capacity"] - 1e-9), pool["limits"]["min"])
    up, hosts = set(serving), [host for host in run.batch if host in pool["servers"]]
    left = len(up - set(run.batch))
    facts = (
        f"{name}: {demand:.4g} {unit} now, below {expected:.4g} until {timing.iso(until)} with probability "
        f"{1 - pool['update']['risk']:.4g}; that needs {needed} servers, and {left} stay in service"
    )
    if left >= needed:
        return Verdict("go", [facts], hosts)
    # What does not serve takes nothing away by going.
    spare = max(0, len(up) - needed)
    carrying = [host for host in hosts if host in up][:spare]
    return Verdict("wait", [facts], [host for host in hosts if host in carrying or host not in up])
