# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``standby``: power states made what a plan says."""

from __future__ import annotations

import http.client
import socket
import typing as t

from .. import options, timing
from ..actuators.change import Course, Policy, change
from ..actuators.power import Server
from ..actuators.vsphere import VSphere
from ..errors import InvalidOption, LowtideError

SPEC: options.ArgumentSpec = dict(
    provider=dict(type="str", choices=["vsphere"], default="vsphere"),
    connection=dict(type="dict", required=True, options=options.VSPHERE),
    names=dict(type="list", elements="str", default=[]),
    activate=dict(type="list", elements="str", default=[]),
    release=dict(type="list", elements="str", default=[]),
    plan=dict(type="dict"),
    idle_state=dict(type="str", choices=["suspended", "off"], default="suspended"),
    wait=dict(type="bool", default=True),
    timeout=dict(type="str", default="5m"),
    shutdown_timeout=dict(type="str", default="2m"),
    check=dict(
        type="dict",
        options=dict(
            port=dict(type="int", required=True),
            path=dict(type="str"),
            timeout=dict(type="str", default="2s"),
        ),
    ),
    parallel=dict(type="int", default=16),
)


class NotAllDone(LowtideError):
    """Some servers did not reach the state that was asked for; the others did."""


def standby(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Wake and release servers, all in one session, and tell what each is.

    :param params: Checked values of ``SPEC``.
    :returns: ``changed``, ``servers``, ``words`` and ``diff``.
    :raises NotAllDone: naming each server that failed and why, when the others are done.
    """
    activate, release = _wanted(params)
    policy = _policy(params)
    names = list(dict.fromkeys([*params["names"], *activate, *release]))
    with VSphere(params["connection"], parallel=params["parallel"]) as vcenter:
        before = vcenter.look(names or vcenter.names())
        if check_mode:
            after = _would_be(before, activate, release, policy.idle_state)
            return _result(before, after, {})
        courses = change(vcenter, before, activate=activate, release=release, policy=policy)
        after = {name: courses[name].server if name in courses else server for name, server in before.items()}
    result = _result(before, after, courses)
    failed = {name: course.failed for name, course in courses.items() if course.failed}
    if failed:
        done = sorted(set(courses) - set(failed))
        raise NotAllDone(
            "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in failed.items())
            + (f". Done: {', '.join(done)}" if done else ""),
            remedy="Look at the virtual machines named, then run the task again: it does only what is left",
        )
    return result


def _wanted(params: dict[str, t.Any]) -> tuple[list[str], list[str]]:
    """Names to wake and to release, those of the plan among them."""
    activate, release = list(params["activate"]), list(params["release"])
    plan = params["plan"]
    if plan is not None:
        if plan.get("kind") == "scaling" and isinstance(plan.get("pools"), dict):
            for pool in plan["pools"].values():
                activate += [item["server"] for item in pool["activate"]]
                release += [item["server"] for item in pool["release"]]
        elif plan.get("kind") == "update" and isinstance(plan.get("standbys"), dict):
            activate += plan["standbys"]["activate"]
        else:
            raise InvalidOption(
                "this is neither a scaling plan nor an update plan",
                option="plan",
                remedy="Give what scaling_plan or update_plan returned as 'plan'",
            )
    activate, release = list(dict.fromkeys(activate)), list(dict.fromkeys(release))
    both = next((name for name in activate if name in release), None)
    if both is not None:
        raise InvalidOption(
            f"{both!r} is to be woken and released at once", option="release", remedy="Name it in one of the two"
        )
    return activate, release


def _policy(params: dict[str, t.Any]) -> Policy:
    check = params["check"]
    return Policy(
        idle_state=params["idle_state"],
        wait=params["wait"],
        timeout=timing.duration(params["timeout"], "timeout"),
        shutdown_timeout=timing.duration(params["shutdown_timeout"], "shutdown_timeout"),
        probe=None if check is None else _probe(check),
    )


def _probe(check: dict[str, t.Any]) -> t.Callable[[Server], bool]:
    """Whether a server answers: a TCP connection, or with a path an HTTP request that is answered with 2xx or 3xx."""
    seconds = timing.duration(check["timeout"], "check.timeout")

    def answers(server: Server) -> bool:
        if server.ip is None:
            return False
        try:
            if check["path"] is None:
                socket.create_connection((server.ip, check["port"]), timeout=seconds).close()
                return True
            connection = http.client.HTTPConnection(server.ip, check["port"], timeout=seconds)
            try:
                connection.request("GET", check["path"])
                return 200 <= connection.getresponse().status < 400
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            return False

    return answers


def _would_be(before: dict[str, Server], activate: list[str], release: list[str], idle_state: str) -> dict[str, Server]:
    """The states that a run out of check mode would lead to."""
    after = dict(before)
    after.update({name: Server(power="on") for name in activate if before[name].power != "on"})
    after.update({name: Server(power=idle_state) for name in release if before[name].power == "on"})
    return after


def _result(before: dict[str, Server], after: dict[str, Server], courses: dict[str, Course]) -> dict[str, t.Any]:
    moved = [name for name in before if before[name].power != after[name].power]
    servers = {
        name: {
            "power": server.power,
            "ready": courses[name].ready if name in courses else server.power == "on" and server.up,
            "ip": server.ip,
            "changed": name in moved,
            "failed": courses[name].failed if name in courses else None,
            "seconds": round(courses[name].seconds, 1) if name in courses else 0.0,
        }
        for name, server in after.items()
    }
    return {
        "changed": bool(moved),
        "servers": servers,
        "words": _words(before, after, courses, moved),
        "diff": {
            "before": {name: before[name].power for name in moved},
            "after": {name: after[name].power for name in moved},
        },
    }


def _words(
    before: dict[str, Server], after: dict[str, Server], courses: dict[str, Course], moved: list[str]
) -> list[str]:
    if not moved:
        awake = [name for name, server in after.items() if server.power == "on"]
        return [f"{len(awake)} of {len(after)} virtual machines are on; nothing was changed"]
    return [
        f"{name}: {before[name].power} → {after[name].power}"
        + (f" in {courses[name].seconds:.1f} s" if name in courses else "")
        + (" and ready" if name in courses and courses[name].ready and after[name].power == "on" else "")
        for name in moved
    ]
