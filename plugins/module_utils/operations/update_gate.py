# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the action ``update_gate``."""

from __future__ import annotations

import datetime
import time
import typing as t

from .. import options, timing
from ..errors import LowtideError
from ..planning import gate
from ..planning.demand import owned_standbys
from . import balancer_pool, outlook, update_plan, update_rules

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    **outlook.SPEC,
    plan=dict(type="raw", required=True),
    max_failures=dict(type="int", default=0),
    timeout=dict(type="str", default="10m"),
    interval=dict(type="str", default="15s"),
    set_aside=dict(type="list", elements="str", default=[]),
    shrink=dict(type="bool", default=False),
    anomalies=dict(type="str", choices=["hold", "ignore"], default="hold"),
)


class Stopped(LowtideError):
    """The next batch must not go."""


def update_gate(params: dict[str, t.Any], *, check_mode: bool, run: gate.Run) -> dict[str, t.Any]:
    """Let the next batch go, wait until it may, or stop the run. With C(now) given, it decides for that moment at once.

    :param run: Where the play stands.
    :returns: ``decision``, ``batch`` (its number in the plan), ``batches``, ``waited_seconds``, ``words``.
    :raises Stopped: when it must not go, or could not within the timeout; not in check mode, which only says so.
    """
    plan = update_plan.load(params["plan"])
    timeout = timing.duration(params["timeout"], "timeout")
    interval = max(1.0, timing.duration(params["interval"], "interval"))
    began = time.monotonic()
    patience = None
    strange: dict[int, dict[str, str]] = {}
    while True:
        verdict, warnings, now = _look(params, plan, run, strange, check_mode=check_mode)
        waited = time.monotonic() - began
        if patience is None:
            patience = timeout + _pause(plan, run, now)
        # At a moment that is given, nothing changes by waiting.
        if verdict.decision != "wait" or check_mode or params["now"] or waited + interval > patience:
            break
        time.sleep(interval)
    number, decision = _batch_number(plan, run), verdict.decision
    if decision == "wait" and params["shrink"] and verdict.hosts:
        decision = "shrink"
    if decision in ("wait", "stop") and not check_mode:
        waiting = f" after waiting {timing.words(waited)}" if decision == "wait" and not params["now"] else ""
        raise Stopped(
            f"batch {number} of {len(plan['batches'])} does not go{waiting}: {'; '.join(verdict.reasons)}",
            remedy="What was updated is back in service, and what was not is untouched; plan anew when the cause is gone",
        )
    left = [host for host in run.batch if host not in verdict.hosts]
    words = [f"batch {number} of {len(plan['batches'])} ({', '.join(run.batch)}): {decision}", *verdict.reasons]
    if check_mode and plan["standbys"]["activate"]:
        words.append(
            f"in check mode, standbys that the plan wakes count as awake: {', '.join(plan['standbys']['activate'])}"
        )
    if decision == "shrink":
        words.append(f"there is room for {', '.join(verdict.hosts)}; {', '.join(left)} must be left for later")
    return {
        "changed": False,
        "decision": decision,
        "hosts": verdict.hosts if decision in ("go", "shrink") else [],
        "left": left if decision in ("go", "shrink") else list(run.batch),
        "batch": number,
        "batches": len(plan["batches"]),
        "waited_seconds": round(waited, 1),
        "words": words,
        "warnings": warnings,
    }


def _pause(plan: dict[str, t.Any], run: gate.Run, now: datetime.datetime) -> float:
    """Seconds that the plan itself pauses before a batch after the first, from now on."""
    number = _batch_number(plan, run)
    starts = [batch.get("start") for batch in plan["batches"] if batch["number"] == number and number > 1]
    return max([0.0, *((timing.moment(start) - now).total_seconds() for start in starts if start)])


def _look(
    params: dict[str, t.Any],
    plan: dict[str, t.Any],
    run: gate.Run,
    strange: dict[int, dict[str, str]],
    *,
    check_mode: bool,
) -> tuple[gate.Verdict, list[str], datetime.datetime]:
    """The verdict of this moment, warnings, and the moment.

    :param strange: What was strange, by step, so that it is found out once in each.
    """
    seen = outlook.outlook({**params, "pool": plan["pools"]}, lambda pool: 1 - pool["update"]["risk"])
    standbys = owned_standbys(seen.pools)
    now = seen.now if params["now"] else _present()
    step = int(now.timestamp() // timing.duration(params["step"], "step"))
    if params["anomalies"] == "hold" and step not in strange:
        strange[step] = update_rules.strange(params, seen.pools)
    verdict = gate.judge(
        plan,
        run,
        seen.pools,
        seen.forecasts,
        now=now,
        demand=seen.demand,
        serving={
            name: _serving(name, pool, plan, run, standbys[name], check_mode=check_mode)
            for name, pool in seen.pools.items()
        },
        max_failures=params["max_failures"],
        closed=update_rules.closed(seen.pools, now, timing.moment(plan["deadline"])),
        watched=[name for name, pool in seen.pools.items() if pool["balancer"]],
        anomalous=strange.get(step),
    )
    return verdict, seen.warnings, now


def _present() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _serving(
    name: str, pool: dict[str, t.Any], plan: dict[str, t.Any], run: gate.Run, standbys: list[str], *, check_mode: bool
) -> list[str]:
    """Servers that carry load: those the balancer says are ready and up, or, without one, those the run has not lost.

    Check mode wakes no standby, so those that the plan wakes are added.
    """
    woken = [server for server in standbys if server in plan["standbys"]["activate"]]
    if pool["balancer"]:
        asked = options.checked(pool["balancer"], options.BALANCER_POOL, f"pools.{name}.balancer")
        members = balancer_pool.balancer_pool(asked, check_mode=True)["members"]
        # Others, such as a backup that only says sorry, carry none of the demand that the forecast is of.
        own = {*pool["servers"], *(pool["standby"]["servers"] if pool["standby"] else ())}
        seen = [server for server, member in members.items() if server in own and serves(member)]
        return seen + [server for server in woken if check_mode and server not in seen]
    lost = set(run.hosts) - set(run.remaining)
    return [server for server in pool["servers"] if server not in lost] + woken


def serves(member: dict[str, t.Any]) -> bool:
    """Whether a member of a balancer gets new requests."""
    return member["up"] and member["state"] == "ready" and member["weight"] > 0


def _batch_number(plan: dict[str, t.Any], run: gate.Run) -> int:
    """The number of the first batch of the plan that holds a host of this one."""
    numbers = [batch["number"] for batch in plan["batches"] if set(batch["hosts"]) & set(run.batch)]
    return min(numbers, default=0)
