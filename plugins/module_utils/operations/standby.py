# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module ``standby``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import typing as t

from .. import options, power_options, timing
from ..actuators.change import Course, Policy, change
from ..actuators.power import Provider, Server, UnknownServer
from ..actuators.readiness import answers
from ..errors import InvalidOption
from ..planning.demand import owned_standbys
from . import means, spending, tenants

SPEC: options.ArgumentSpec = dict(
    **power_options.POWER,
    connection=dict(type="dict", options=options.VSPHERE, apply_defaults=True),
    connections=dict(
        type="list", elements="dict", default=[], options=dict(name=dict(type="str", required=True), **options.VSPHERE)
    ),
    pools=dict(type="dict", default={}),
    tenant=dict(type="str"),
    tenants=dict(type="dict", default={}),
    **options.STATE,
    part=dict(type="str", choices=["both", "activate", "release"], default="both"),
    names=dict(type="list", elements="str", default=[]),
    activate=dict(type="list", elements="str", default=[]),
    release=dict(type="list", elements="str", default=[]),
    candidates=dict(type="list", elements="str", default=[]),
    plan=dict(type="dict"),
    now=dict(type="str"),
    wait=dict(type="bool", default=True),
    timeout=dict(type="str", default="5m"),
    shutdown_timeout=dict(type="str", default="2m"),
    parallel=dict(type="int", default=16),
)

Group = t.Tuple[means.Means, Policy, Provider]


class Wishes(t.NamedTuple):
    """What is asked for: servers to wake, to put to sleep, and to wake in place of one that fails.

    :param pools: Which pools of the plan name a server; a candidate of a pool stands in for servers of that pool only.
    :param woken_for: The pool whose plan wakes a server.
    :param moves: For each standby that goes from one pool to another, awake as it is, these two pools.
    """

    activate: list[str]
    release: list[str]
    candidates: list[str]
    pools: dict[str, set[str]] = {}  # noqa: RUF012 - a named tuple's default, which nothing changes
    woken_for: dict[str, str] = {}  # noqa: RUF012
    moves: dict[str, tuple[str, str]] = {}  # noqa: RUF012

    @property
    def asked(self) -> list[str]:
        """The servers that are to change, each once."""
        return [*self.activate, *self.release]

    def fits(self, candidate: str, server: str) -> bool:
        """Whether a candidate may wake in place of a server."""
        own, theirs = self.pools.get(candidate), self.pools.get(server)
        return own is None or theirs is None or bool(own & theirs)


def standby(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Wake standbys, put them to sleep, or only look.

    :returns: ``servers`` by name, ``words``, ``warnings``, ``diff``; and ``failed`` with ``msg`` when a server failed.
    """
    wishes = wanted(params)
    pools = tenants.chosen({**params, "pool": []}) if params["pools"] else {}
    names = list(dict.fromkeys([*params["names"], *wishes.asked, *wishes.candidates, *wishes.moves]))
    if pools and not names:
        names = list(dict.fromkeys(server for pool in pools.values() for server in tenants.standbys(pool)))
    tenants.require_own(names, pools, params["tenant"])
    for name, pool in pools.items():
        for server in tenants.standbys(pool):
            wishes.pools.setdefault(server, set()).add(name)
    with contextlib.ExitStack() as stack:
        groups = _groups(names, params, pools, stack)
        servers = _together(lambda group: _look(group, params), groups)
        if not wishes.asked and not wishes.moves:
            return _gathered(servers)
        if check_mode:
            idle = {
                name: group.settings["idle_state"] for group, _policy_of, _provider in groups for name in group.servers
            }
            result = _foretold(wishes, servers, idle)
        else:
            notes = spending.Notes(params, pools, _pool_of(wishes, pools))
            notes.moved(wishes.moves, datetime.datetime.now(datetime.UTC))
            courses = _noted(
                notes, wishes, servers, lambda: _together(lambda group: _change(*group, servers, wishes), groups)
            )
            order = [name for name in wishes.asked if name in courses]
            result = _done({name: courses[name] for name in dict.fromkeys([*order, *courses])}, wishes)
    told = {name: _item(servers[name], ready=_up(servers[name])) for name in (*params["names"], *wishes.moves)}
    result["servers"] = told | result["servers"]
    result["words"] += [
        f"{name}: it goes from {old} to {new}, awake as it is" for name, (old, new) in wishes.moves.items()
    ]
    result["pools"] = _by_pool(result, wishes, pools, check_mode)
    return result


def _groups(
    names: list[str], params: dict[str, t.Any], pools: dict[str, t.Any], stack: contextlib.ExitStack
) -> list[Group]:
    """The servers by what wakes them, each group with its session open."""
    if params["parallel"] < 1:
        raise InvalidOption(
            f"{params['parallel']} calls at a time make no progress", option="parallel", remedy="Give at least 1"
        )
    groups = [(group, _policy(group.settings, params)) for group in means.grouped(names, params, pools)]
    return [
        (group, policy, stack.enter_context(means.provider(group.settings, params["parallel"])))
        for group, policy in groups
    ]


def _together(work: t.Callable[[Group], dict[str, t.Any]], groups: list[Group]) -> dict[str, t.Any]:
    """The results of all groups, worked on at the same time."""
    result: dict[str, t.Any] = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(groups)) as pool:
        for own in pool.map(work, groups):
            result |= own
    return result


def _look(group: Group, params: dict[str, t.Any]) -> dict[str, Server]:
    """The state of the servers of a group, or of all there are."""
    means_of, _policy_of, provider = group
    try:
        return provider.look(means_of.servers or provider.names())
    except UnknownServer as exc:
        options_naming = (name for name in ("names", "activate", "release", "candidates") if exc.server in params[name])
        exc.option = exc.option or next(options_naming, "plan" if params["plan"] else "pools")
        raise


def _noted(
    notes: spending.Notes,
    wishes: Wishes,
    servers: dict[str, Server],
    work: t.Callable[[], dict[str, Course]],
) -> dict[str, Course]:
    """Do the work, and note what it wakes and puts to sleep.

    What is to wake is noted before, so that it is paid for even if this run is killed meanwhile.
    """
    start = datetime.datetime.now(datetime.UTC)
    waking = {name: start for name in wishes.activate if servers[name].power != "on"}
    notes.woken(waking)
    courses = work()
    end = datetime.datetime.now(datetime.UTC)
    others = [course for name, course in courses.items() if course.replaces and course.server.power == "on"]
    instead = {name: course.replaces for name, course in courses.items()}
    for course in others:
        first = _first(course.name, instead)
        if first in notes.owner:
            notes.owner[course.name] = notes.owner[first]
    notes.woken({course.name: end - datetime.timedelta(seconds=course.seconds) for course in others})
    slept = [name for name in wishes.release if servers[name].power == "on" and courses[name].server.power != "on"]
    notes.asleep(dict.fromkeys([*slept, *(name for name in waking if courses[name].server.power != "on")], end))
    return courses


def _change(
    group: means.Means, policy: Policy, provider: Provider, servers: dict[str, Server], wishes: Wishes
) -> dict[str, Course]:
    """Bring the servers of a group to where they are wanted."""
    own = set(group.servers)
    activate, release, candidates = ([name for name in names if name in own] for names in wishes[:3])
    return change(
        provider,
        servers,
        activate=activate,
        release=release,
        candidates=candidates,
        fits=wishes.fits,
        policy=policy,
    )


def wanted(params: dict[str, t.Any]) -> Wishes:
    """The wishes of the options and of the plan together, or the part of them asked for.

    A release of the plan that is not due yet is left for a later run.

    :raises InvalidOption: on a server that is to wake and to sleep, or a plan that is none.
    """
    now = timing.moment(params["now"] or datetime.datetime.now(datetime.UTC), "now")
    wishes = Wishes(list(params["activate"]), list(params["release"]), list(params["candidates"]), {}, {}, {})
    for name, pool in _pools(params["plan"]).items():
        woken = [item["server"] for item in pool.get("activate", [])]
        wishes.activate.extend(woken)
        wishes.woken_for.update(dict.fromkeys(woken, name) if name else {})
        wishes.candidates.extend(pool.get("candidates", []))
        for server in (*woken, *pool.get("candidates", [])):
            wishes.pools.setdefault(server, set()).add(name)
        wishes.moves.update({item["server"]: (name, item["to"]) for item in pool.get("moved", [])})
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
    for name in (*params["activate"], *params["candidates"]):
        wishes.pools.pop(name, None)
    unique = Wishes(*(list(dict.fromkeys(names)) for names in wishes[:3]), *wishes[3:])
    unique = unique._replace(candidates=[name for name in unique.candidates if name not in unique.asked])
    if params["part"] == "activate":
        return unique._replace(release=[])
    return unique._replace(activate=[], candidates=[], moves={}) if params["part"] == "release" else unique


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


def _policy(settings: t.Mapping[str, t.Any], params: dict[str, t.Any]) -> Policy:
    check = settings["check"]
    probe = None
    if check:
        seconds = timing.duration(check["timeout"], "check.timeout")

        def probe(server: Server) -> bool:
            return answers(str(server.ip), check["port"], check["path"], seconds)

    return Policy(
        idle_state=settings["idle_state"],
        wait=params["wait"],
        timeout=timing.duration(params["timeout"], "timeout"),
        shutdown_timeout=timing.duration(params["shutdown_timeout"], "shutdown_timeout"),
        probe=probe,
    )


def _pool_of(wishes: Wishes, pools: dict[str, dict[str, t.Any]]) -> dict[str, str]:
    """The pool that each standby is woken for: the one whose plan names it alone, else the weightiest that may use it."""
    owner = {server: name for name, servers in owned_standbys(pools).items() for server in servers}
    return owner | wishes.woken_for


def _by_pool(
    result: dict[str, t.Any], wishes: Wishes, pools: dict[str, dict[str, t.Any]], check_mode: bool
) -> dict[str, list[str]]:
    """The servers that a pool gets and that are ready: activated for it, or moved to it; in check mode all that it would get."""
    owner, by_pool = _pool_of(wishes, pools), {}
    for server, item in result["servers"].items():
        if not check_mode and not item["ready"]:
            continue
        if server in wishes.moves:
            by_pool.setdefault(wishes.moves[server][1], []).append(server)
            continue
        first = _first(server, {name: item["replaces"] for name, item in result["servers"].items()})
        if first in wishes.activate and first in owner:
            by_pool.setdefault(owner[first], []).append(server)
    return by_pool


def _first(name: str, replaces: t.Mapping[str, str | None]) -> str:
    """The server in whose place, perhaps by way of others, a candidate was woken; itself where it is none."""
    while replaces.get(name):
        name = t.cast(str, replaces[name])
    return name


def _item(
    server: Server,
    *,
    ready: bool,
    changed: bool = False,
    failed: str | None = None,
    replaces: str | None = None,
    seconds: float = 0.0,
) -> dict[str, t.Any]:
    return {
        "power": server.power,
        "ready": ready,
        "ip": server.ip,
        "changed": changed,
        "failed": failed,
        "replaces": replaces,
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


def _foretold(wishes: Wishes, servers: dict[str, Server], idle: dict[str, str]) -> dict[str, t.Any]:
    """The result of check mode: what a run would do, if all goes well.

    :param idle: What a server becomes when it is released.
    """
    items, after, words = {}, {}, []
    for name in wishes.asked:
        server = servers[name]
        awake = name in wishes.activate
        changes = (server.power == "on") != awake
        after[name] = ("on" if awake else idle[name]) if changes else server.power
        items[name] = _item(server, ready=_up(server), changed=changes)
        words.append(f"{name}: {_would(server, awake, idle[name], changes)}")
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
            replaces=course.replaces,
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
