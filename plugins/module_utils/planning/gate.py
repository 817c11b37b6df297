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
    """V(go), V(wait) (it may pass later) or V(stop) (it won't), and why."""

    decision: str
    reasons: list[str]


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
    """
    stop = _stops(plan, run, pools, now, max_failures)
    if stop:
        return Verdict("stop", stop)
    begin = timing.moment(plan["window"]["start"])
    if now < begin:
        return Verdict(
            "wait", [f"the window begins at {timing.iso(begin)}, in {timing.words((begin - now).total_seconds())}"]
        )
    verdicts = [
        _room(name, pool, run, forecasts[name], now=now, demand=demand.get(name), serving=serving[name])
        for name, pool in pools.items()
        if set(run.batch) & set(pool["servers"])
    ]
    reasons = [reason for verdict in verdicts for reason in verdict.reasons]
    return Verdict("wait" if any(verdict.decision == "wait" for verdict in verdicts) else "go", reasons)


def _stops(
    plan: dict[str, t.Any], run: Run, pools: dict[str, Pool], now: datetime.datetime, max_failures: int
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
    return []


def _room(
    name: str,
    pool: Pool,
    run: Run,
    forecast: DemandForecast,
    *,
    now: datetime.datetime,
    demand: float | None,
    serving: t.Collection[str],
) -> Verdict:
    """Whether what stays in service carries the demand while the batch is out."""
    unit = pool["load"]["unit"] or pool["load"]["metric"]
    if demand is None:
        return Verdict(
            "wait", [f"{name}: no fresh sample of {pool['load']['metric']}, so nobody knows what it carries now"]
        )
    until = now + datetime.timedelta(seconds=timing.duration(pool["update"]["duration"]))
    if until > forecast.end:
        return Verdict(
            "wait",
            [f"{name}: the forecast ends at {timing.iso(forecast.end)}, before the batch would; nobody knows beyond"],
        )
    steps = slice(forecast.step_at(now), forecast.step_at(until) + 1)
    expected = float(forecast.bound(pool["update"]["risk"])[steps].max())
    reach = max(demand, expected)
    needed = max(math.ceil(reach / pool["load"]["server_capacity"] - 1e-9), pool["limits"]["min"])
    left = len(set(serving) - set(run.batch))
    facts = (
        f"{name}: {demand:.4g} {unit} now, below {expected:.4g} until {timing.iso(until)} with probability "
        f"{1 - pool['update']['risk']:.4g}; that needs {needed} servers, and {left} stay in service"
    )
    return Verdict("go" if left >= needed else "wait", [facts])
