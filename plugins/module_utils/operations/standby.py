# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``standby``."""

from __future__ import annotations

import datetime
import typing as t

from .. import options, timing
from ..actuators.change import Course, Policy, change
from ..actuators.command import Command
from ..actuators.power import Provider, Server, UnknownServer
from ..actuators.readiness import answers
from ..actuators.vsphere import VSphere
from ..actuators.wake_on_lan import WakeOnLan
from ..errors import InvalidOption

SPEC: options.ArgumentSpec = dict(
    provider=dict(type="str", choices=["vsphere", "command", "wake_on_lan"], default="vsphere"),
    connection=dict(type="dict", options=options.VSPHERE, apply_defaults=True),
    find=dict(type="dict", apply_defaults=True, options=options.FIND),
    commands=dict(
        type="dict",
        apply_defaults=True,
        options=dict(
            look=dict(type="list", elements="str"),
            wake=dict(type="list", elements="str"),
            suspend=dict(type="list", elements="str"),
            shut_down=dict(type="list", elements="str"),
            timeout=dict(type="str", default="60s"),
        ),
    ),
    wake_on_lan=dict(
        type="dict",
        options=dict(
            macs=dict(type="dict", required=True),
            addresses=dict(type="dict", default={}),
            port=dict(type="int", default=22),
            broadcast=dict(type="str", default="255.255.255.255"),
            udp_port=dict(type="int", default=9),
        ),
    ),
    names=dict(type="list", elements="str", default=[]),
    activate=dict(type="list", elements="str", default=[]),
    release=dict(type="list", elements="str", default=[]),
    candidates=dict(type="list", elements="str", default=[]),
    plan=dict(type="dict"),
    now=dict(type="str"),
    idle_state=dict(type="str", choices=["suspended", "off"], default="suspended"),
    wait=dict(type="bool", default=True),
    timeout=dict(type="str", default="5m"),
    shutdown_timeout=dict(type="str", default="2m"),
    check=dict(
        type="dict",
        options=dict(
            port=dict(type="int", required=True), path=dict(type="str"), timeout=dict(type="str", default="2s")
        ),
    ),
    parallel=dict(type="int", default=16),
)


class Wishes(t.NamedTuple):
    """What is asked for: servers to wake, to put to sleep, and to wake in place of one that fails."""

    activate: list[str]
    release: list[str]
    candidates: list[str]

    @property
    def asked(self) -> list[str]:
        """The servers that are to change, each once."""
        return [*self.activate, *self.release]


def standby(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Wake standbys, put them to sleep, or only look.

    :returns: ``servers`` by name, ``words``, ``warnings``, ``diff``; and ``failed`` with ``msg`` when a server failed.
    """
    wishes = wanted(params)
    policy = _policy(params)
    with _provider(params) as provider:
        names = list(dict.fromkeys([*params["names"], *wishes.asked, *wishes.candidates]))
        servers = _look(provider, names, params)
        if not wishes.asked:
            return _gathered(servers)
        if check_mode:
            result = _foretold(wishes, servers, params["idle_state"])
        else:
            result = _done(change(provider, servers, **wishes._asdict(), policy=policy), wishes)
    told = {name: _item(servers[name], ready=_up(servers[name])) for name in params["names"]}
    result["servers"] = told | result["servers"]
    return result


def _look(provider: Provider, names: list[str], params: dict[str, t.Any]) -> dict[str, Server]:
    """The state of the servers named, or of all there are."""
    try:
        return provider.look(names or provider.names())
    except UnknownServer as exc:
        options_naming = (name for name in ("names", "activate", "release", "candidates") if exc.server in params[name])
        exc.option = exc.option or next(options_naming, "plan")
        raise


def wanted(params: dict[str, t.Any]) -> Wishes:
    """The wishes of the options and of the plan together.

    A release of the plan that is not due yet is left for a later run.

    :raises InvalidOption: on a server that is to wake and to sleep, or a plan that is none.
    """
    now = timing.moment(params["now"] or datetime.datetime.now(datetime.UTC), "now")
    wishes = Wishes(list(params["activate"]), list(params["release"]), list(params["candidates"]))
    for pool in _pools(params["plan"]).values():
        wishes.activate.extend(item["server"] for item in pool.get("activate", []))
        wishes.candidates.extend(pool.get("candidates", []))
        wishes.release.extend(
            item["server"]
            for item in pool.get("release", [])
            if "not_before" not in item or timing.moment(item["not_before"], "plan") <= now
        )
    both = sorted(set(wishes.activate) & set(wishes.release))
    if both:
        raise InvalidOption(
            f"{both[0]!r} is to be activated and released",
            option="release",
            remedy="Name it in one of them; the servers of the plan count too",
        )
    unique = Wishes(*(list(dict.fromkeys(names)) for names in wishes))
    return unique._replace(candidates=[name for name in unique.candidates if name not in unique.asked])


def _pools(plan: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """What a plan asks for, by pool; an update plan has one list for all."""
    if plan is None:
        return {}
    if plan.get("kind") == "update" and isinstance(plan.get("standbys"), dict):
        return {"": {"activate": [{"server": server} for server in plan["standbys"].get("activate", [])]}}
    if plan.get("kind") != "scaling" or not isinstance(plan.get("pools"), dict):
        raise InvalidOption(
            "it is neither a scaling plan nor an update plan",
            option="plan",
            remedy="Pass what scaling_plan or update_plan returned as 'plan'",
        )
    return plan["pools"]


def _policy(params: dict[str, t.Any]) -> Policy:
    check = params["check"]
    probe = None
    if check:
        seconds = timing.duration(check["timeout"], "check.timeout")

        def probe(server: Server) -> bool:
            return answers(str(server.ip), check["port"], check["path"], seconds)

    return Policy(
        idle_state=params["idle_state"],
        wait=params["wait"],
        timeout=timing.duration(params["timeout"], "timeout"),
        shutdown_timeout=timing.duration(params["shutdown_timeout"], "shutdown_timeout"),
        probe=probe,
    )


def _provider(params: dict[str, t.Any]) -> Provider:
    if params["parallel"] < 1:
        raise InvalidOption(
            f"{params['parallel']} calls at a time make no progress", option="parallel", remedy="Give at least 1"
        )
    parallel = params["parallel"]
    if params["provider"] == "command":
        return Command(params["commands"], parallel=parallel)
    if params["provider"] == "wake_on_lan":
        if not params["wake_on_lan"]:
            raise InvalidOption(
                "it is needed with this provider", option="wake_on_lan", remedy="Give at least its macs"
            )
        return WakeOnLan(params["wake_on_lan"], params["commands"], parallel=parallel)
    return VSphere(params["connection"], find=params["find"], parallel=parallel)


def _item(
    server: Server, *, ready: bool, changed: bool = False, failed: str | None = None, seconds: float = 0.0
) -> dict[str, t.Any]:
    return {
        "power": server.power,
        "ready": ready,
        "ip": server.ip,
        "changed": changed,
        "failed": failed,
        "seconds": round(seconds, 1),
    }


def _up(server: Server) -> bool:
    return server.power == "on" and server.up and server.ip is not None


def _gathered(servers: dict[str, Server]) -> dict[str, t.Any]:
    """The result of only looking."""
    counts = {power: sum(server.power == power for server in servers.values()) for power in ("on", "suspended", "off")}
    return {
        "changed": False,
        "servers": {name: _item(server, ready=_up(server)) for name, server in servers.items()},
        "words": [", ".join(f"{count} {power}" for power, count in counts.items() if count) or "no server was found"],
    }


def _foretold(wishes: Wishes, servers: dict[str, Server], idle_state: str) -> dict[str, t.Any]:
    """The result of check mode: what a run would do, if all goes well."""
    items, after, words = {}, {}, []
    for name in wishes.asked:
        server = servers[name]
        awake = name in wishes.activate
        changes = (server.power == "on") != awake
        after[name] = ("on" if awake else idle_state) if changes else server.power
        items[name] = _item(server, ready=_up(server), changed=changes)
        words.append(f"{name}: {_would(server, awake, idle_state, changes)}")
    before = {name: servers[name].power for name in wishes.asked}
    return {
        "changed": before != after,
        "servers": items,
        "words": words,
        "diff": {"before": before, "after": after},
    }


def _would(server: Server, awake: bool, idle_state: str, changes: bool) -> str:
    if not changes:
        return f"it is {server.power} and stays so"
    return f"it is {server.power} and would be {'woken' if awake else 'suspended' if idle_state == 'suspended' else 'shut down'}"


def _done(courses: dict[str, Course], wishes: Wishes) -> dict[str, t.Any]:
    """The result of a run."""
    replaced = {course.replaces: name for name, course in courses.items() if course.replaces and not course.failed}
    items = {
        name: _item(
            course.server,
            ready=course.ready or (course.goal == "awake" and not course.policy.wait and _up(course.server)),
            changed=course.changed,
            failed=course.failed,
            seconds=course.seconds,
        )
        for name, course in courses.items()
    }
    words = [f"{name}: {_did(course)}" for name, course in courses.items()]
    result: dict[str, t.Any] = {
        "changed": any(course.changed for course in courses.values()),
        "servers": items,
        "words": words,
        "diff": {
            "before": {name: course.before.power for name, course in courses.items()},
            "after": {name: course.server.power for name, course in courses.items()},
        },
    }
    failures = {name: course.failed for name, course in courses.items() if course.failed}
    told = [f"{name}: {reason}" for name, reason in failures.items()]
    short = [name for name in wishes.asked if name in failures and _heir(name, courses, replaced) is None]
    if short:
        result["failed"] = True
        result["msg"] = f"{len(short)} of {len(wishes.asked)} servers failed: {'; '.join(told)}."
    else:
        result["warnings"] = [f"{text}; a candidate took its place" for text in told]
    return result


def _heir(name: str, courses: dict[str, Course], replaced: dict[str | None, str]) -> str | None:
    """The candidate that in the end stands in for a server, perhaps after other candidates failed."""
    heir = name
    while courses[heir].failed:
        followers = [other for other, course in courses.items() if course.replaces == heir]
        if not followers:
            return None
        heir = followers[0]
    return heir


def _did(course: Course) -> str:
    server, before = course.server, course.before
    place = f" in place of {course.replaces}" if course.replaces else ""
    if course.failed:
        return f"failed{place}: {course.failed}"
    if course.goal == "asleep":
        return f"{server.power}{'' if course.changed else ' already'}, after {timing.words(course.seconds)}"
    how = (
        {"off": "powered on", "suspended": "resumed"}.get(before.power, "powered on")
        if course.changed
        else "on already"
    )
    ready = f", ready at {server.ip} after {timing.words(course.seconds)}" if course.ready else ""
    return f"{how}{place}{ready}"
