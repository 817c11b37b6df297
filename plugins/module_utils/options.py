# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that several faces share, and how they become plain checked values.

Each specification here has a documentation fragment of the same name in ``plugins/doc_fragments``.
"""

from __future__ import annotations

import collections
import difflib
import typing as t

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from . import power_options, timing
from .errors import InvalidOption
from .planning.rules import thresholds

ArgumentSpec = t.Dict[str, t.Dict[str, t.Any]]

# How to reach a server, and who asks.
_SERVER: ArgumentSpec = dict(
    url=dict(type="str"),
    username=dict(type="str"),
    password=dict(type="str", no_log=True),
    validate_certs=dict(type="bool", default=True),
    ca_path=dict(type="path"),
    client_cert=dict(type="path"),
    client_key=dict(type="path", no_log=False),
    timeout=dict(type="str", default="30s"),
)

# How to reach a server that speaks the Prometheus API, and what to ask it.
_PROMETHEUS: ArgumentSpec = dict(
    **_SERVER,
    queries=dict(type="dict"),
    server_label=dict(type="str", default="instance"),
    pool_label=dict(type="str", default="pool"),
    token=dict(type="str", no_log=True),
)

# Where a store keeps what it is given, and for how long.
_STORE: ArgumentSpec = dict(
    path=dict(type="path"),
    retention=dict(type="str", default="90d"),
)

# Where series are kept and read from.
HISTORY: ArgumentSpec = dict(
    type=dict(type="str", choices=["duckdb", "postgresql", "prometheus"], default="duckdb"), **_STORE, **_PROMETHEUS
)

# Where runs keep their leases and records, when it is not the history.
STATE: ArgumentSpec = dict(
    state=dict(
        type="dict",
        options=dict(type=dict(type="str", choices=["duckdb", "postgresql"], default="duckdb"), **_STORE, **_SERVER),
    ),
)

# How to reach vCenter or an ESXi host. What is needed of it is checked where it is used: other providers need none.
VSPHERE: ArgumentSpec = dict(
    hostname=dict(type="str", fallback=(env_fallback, ["VMWARE_HOST"])),
    username=dict(type="str", fallback=(env_fallback, ["VMWARE_USER"])),
    password=dict(type="str", no_log=True, fallback=(env_fallback, ["VMWARE_PASSWORD"])),
    port=dict(type="int", default=443, fallback=(env_fallback, ["VMWARE_PORT"])),
    validate_certs=dict(type="bool", default=True, fallback=(env_fallback, ["VMWARE_VALIDATE_CERTS"])),
    ca_path=dict(type="path"),
)

# Where to read which host a server runs on.
PLACEMENT: ArgumentSpec = dict(
    connection=dict(type="dict", options=VSPHERE, apply_defaults=True),
    find=dict(type="dict", options=power_options.FIND, apply_defaults=True),
)

# Where series are collected from.
SOURCE: ArgumentSpec = dict(
    type=dict(type="str", choices=["prometheus", "files", "vsphere", "haproxy", "inline"], required=True),
    pool=dict(type="list", elements="str", default=[]),
    paths=dict(type="list", elements="path"),
    columns=dict(type="dict", default={}),
    metrics=dict(type="dict"),
    samples=dict(type="list", elements="dict"),
    socket=dict(type="list", elements="str"),
    backends=dict(type="dict", default={}),
    interval=dict(type="str", default="5s"),
    connection=dict(type="dict", options=VSPHERE),
    find=dict(type="dict", default={}),
    **_PROMETHEUS,
)

# Times in which something may or may not be: one time, or one of each week, in the pool's time zone.
_TIMES: ArgumentSpec = {
    "start": dict(type="str"),
    "end": dict(type="str"),
    "days": dict(type="list", elements="str"),
    "from": dict(type="str"),
    "to": dict(type="str"),
}

# One pool: servers that share one demand.
POOL: ArgumentSpec = dict(
    tenant=dict(type="str", default="default"),
    weight=dict(type="float", default=1.0),
    servers=dict(type="list", elements="str", required=True),
    load=dict(
        type="dict",
        required=True,
        options=dict(
            metric=dict(type="str", required=True),
            unit=dict(type="str"),
            server_capacity=dict(type="float", required=True),
            target_utilization=dict(type="float", default=0.7),
        ),
    ),
    slo=dict(
        type="dict",
        default={},
        options=dict(
            overload_cost_per_hour=dict(type="float"),
            overload=dict(type="str", choices=["unserved", "time"], default="unserved"),
            quantile=dict(type="float"),
            latency_ms=dict(
                type="dict",
                options=dict(
                    quantile=dict(type="float", default=0.95),
                    below=dict(type="float", required=True),
                ),
            ),
        ),
    ),
    limits=dict(
        type="dict",
        default={},
        options=dict(min=dict(type="int", default=1), max=dict(type="int")),
    ),
    standby=dict(
        type="dict",
        options=dict(
            **power_options.POWER,
            connection=dict(type="str"),
            servers=dict(type="list", elements="str", required=True),
            cost_per_hour=dict(type="float", default=1.0),
            idle_cost_per_hour=dict(type="float", default=0.0),
            lead_time=dict(type="str", default="5m"),
            min_awake=dict(type="str", default="15m"),
            boot_failure=dict(type="float", default=0.0),
        ),
    ),
    rules=dict(
        type="list",
        elements="dict",
        default=[],
        options={
            "above": dict(type="str"),
            "below": dict(type="str"),
            "for": dict(type="str", default="10m"),
            "add": dict(type="int"),
            "remove": dict(type="int"),
        },
    ),
    anomalies=dict(
        type="dict",
        default={},
        options=dict(
            surge=dict(type="str", choices=["add", "ignore"], default="add"),
            low=dict(type="str", choices=["freeze", "ignore"], default="freeze"),
        ),
    ),
    balancer=dict(
        type="dict",
        options=dict(
            provider=dict(type="str", choices=["haproxy", "envoy", "traefik", "nginx", "tasks"], default="haproxy"),
            socket=dict(type="list", elements="str", default=[]),
            backend=dict(type="str", required=True),
            file=dict(type="path"),
            admin=dict(type="str"),
            reload=dict(type="list", elements="str", default=[]),
            tasks=dict(type="path"),
            settle=dict(type="str", default="2s"),
        ),
    ),
    calendar=dict(
        type="dict",
        default={},
        options=dict(
            time_zone=dict(type="str", default="UTC"),
            holidays=dict(type="str"),
            events=dict(
                type="list",
                elements="dict",
                default=[],
                options=dict(
                    name=dict(type="str", default="event"),
                    start=dict(type="str", required=True),
                    end=dict(type="str", required=True),
                    effect=dict(type="float"),
                    maintenance=dict(type="bool", default=False),
                    blackout=dict(type="bool", default=False),
                ),
            ),
            files=dict(type="list", elements="path", default=[]),
            blackouts=dict(type="list", elements="str", choices=["events", "files", "holidays"], default=[]),
        ),
    ),
    update=dict(
        type="dict",
        default={},
        options=dict(
            duration=dict(type="str", default="5m"),
            risk=dict(type="float", default=0.01),
            max_unavailable=dict(type="str", default="25%"),
            first=dict(type="list", elements="str", default=[]),
            last=dict(type="list", elements="str", default=[]),
            failure_domains=dict(type="dict", default={}),
            blackouts=dict(type="list", elements="dict", default=[], options=_TIMES),
            windows=dict(type="list", elements="dict", default=[], options=_TIMES),
        ),
    ),
)

# What one tenant may have: its own standbys, so many awake at a time, so much a day.
TENANT: ArgumentSpec = dict(
    standbys=dict(type="list", elements="str"),
    max_standbys=dict(type="int"),
    guaranteed_standbys=dict(type="int", default=0),
    budget_per_day=dict(type="float"),
    time_zone=dict(type="str", default="UTC"),
)

# What every face that looks at pools takes.
COMMON: ArgumentSpec = dict(
    history=dict(type="dict", required=True, options=HISTORY),
    pools=dict(type="dict", required=True),
    pool=dict(type="list", elements="str", default=[]),
    tenant=dict(type="str"),
    tenants=dict(type="dict", default={}),
    now=dict(type="str"),
)

# What the module collect takes.
COLLECT: ArgumentSpec = dict(
    **COMMON,
    sources=dict(type="list", elements="dict", default=[], options=SOURCE),
    marks=dict(
        type="list",
        elements="dict",
        default=[],
        options={
            "pool": dict(type="str"),
            "servers": dict(type="list", elements="str", default=[]),
            "from": dict(type="str", required=True),
            "to": dict(type="str"),
            "why": dict(type="str", default="maintenance"),
        },
    ),
    health=dict(type="bool", default=True),
    step=dict(type="str", default="5m"),
    window=dict(type="str", default="30d"),
    overlap=dict(type="str", default="1h"),
)

# One member of a balancer's backend, as it shall be.
MEMBER: ArgumentSpec = dict(
    name=dict(type="str", required=True),
    state=dict(type="str", choices=["ready", "drain", "maintenance", "absent"]),
    weight=dict(type="str"),
    address=dict(type="str"),
    port=dict(type="int"),
)

# How to reach the balancer of a pool.
BALANCER: ArgumentSpec = dict(
    provider=dict(type="str", choices=["haproxy", "envoy", "traefik", "nginx", "tasks"], default="haproxy"),
    socket=dict(type="list", elements="str", default=[]),
    backend=dict(type="str", required=True),
    file=dict(type="path"),
    admin=dict(type="str"),
    reload=dict(type="list", elements="str", default=[]),
    tasks=dict(type="path"),
    settle=dict(type="str", default="2s"),
)

# What the face balancer_pool takes.
BALANCER_POOL: ArgumentSpec = dict(
    **BALANCER,
    members=dict(type="list", elements="dict", default=[], options=MEMBER),
    wait_for_sessions=dict(type="bool", default=False),
    timeout=dict(type="str", default="60s"),
    reply_timeout=dict(type="str", default="5s"),
    min_ready=dict(type="int", default=1),
    state_file=dict(type="path"),
)

# A figure that gates a traffic shift.
GATE: ArgumentSpec = dict(
    metric=dict(type="str", required=True),
    query=dict(type="str"),
    below=dict(type="float"),
    ratio=dict(type="float"),
    forecast=dict(type="float"),
    least=dict(type="float", default=0.001),
    tolerance=dict(type="float", default=0.05),
)

# What the face traffic_shift takes.
TRAFFIC_SHIFT: ArgumentSpec = dict(
    **BALANCER,
    receivers=dict(type="list", elements="str", default=[]),
    donors=dict(type="list", elements="str", default=[]),
    steps=dict(type="list", elements="str", default=["5%", "25%", "50%", "100%"]),
    pause=dict(type="str", default="2s"),
    bake=dict(type="str", default="60s"),
    patience=dict(type="str", default="10m"),
    every=dict(type="str", default="2s"),
    baseline=dict(type="str", default="10s"),
    restore_timeout=dict(type="str", default="30s"),
    gates=dict(type="list", elements="dict", default=[dict(metric="error_rate", ratio=2.0)], options=GATE),
    min_requests=dict(type="int", default=100),
    thin=dict(type="str", choices=["undo", "pass"], default="undo"),
    false_alarm_rate=dict(type="float", default=0.01),
    capacity=dict(
        type="dict",
        options=dict(
            server_capacity=dict(type="float", required=True),
            target_utilization=dict(type="float", default=0.7),
            demand=dict(type="float"),
            forecasts=dict(type="list", elements="dict", default=[]),
            quantile=dict(type="str", default="0.9"),
        ),
    ),
    prometheus=dict(
        type="dict",
        options=dict(
            url=dict(type="str", required=True),
            username=dict(type="str"),
            password=dict(type="str", no_log=True),
            token=dict(type="str", no_log=True),
            validate_certs=dict(type="bool", default=True),
            ca_path=dict(type="path"),
            timeout=dict(type="str", default="30s"),
        ),
    ),
    progress=dict(type="dict"),
    reply_timeout=dict(type="str", default="5s"),
    state_file=dict(type="path"),
)


_DOCUMENTED = "The options of a pool are in the documentation of 'forecast'"


def checked(values: t.Any, spec: ArgumentSpec, option: str) -> dict[str, t.Any]:
    """Values checked and completed by a specification, as a module's own options are.

    :param option: The dotted path of the option the values come from, for the error.
    :raises InvalidOption: naming the option, on the first thing that does not fit.
    """
    if not isinstance(values, dict):
        raise InvalidOption(
            f"a dictionary is wanted, not {type(values).__name__}",
            option=option,
            remedy="On the command line, pass structured variables as JSON: -e '{\"name\": ...}'",
        )
    result = ArgumentSpecValidator(spec).validate(values)
    if result.unsupported_parameters:
        unknown = min(".".join(name) if isinstance(name, tuple) else name for name in result.unsupported_parameters)
        near = difflib.get_close_matches(unknown.rpartition(".")[2], set(_names(spec)), n=1)
        raise InvalidOption(
            f"there is no option {unknown!r}" + (f"; {near[0]!r} is the nearest" if near else ""),
            option=option,
            remedy=_DOCUMENTED,
        )
    if result.error_messages:
        raise InvalidOption(
            result.error_messages[0],
            option=option,
            remedy=_DOCUMENTED,
        )
    return result.validated_parameters


def _names(spec: ArgumentSpec) -> t.Iterator[str]:
    """The options of a specification, those of its parts too."""
    for name, option in spec.items():
        yield name
        yield from _names(option.get("options") or {})


def pools(values: t.Any, only: t.Sequence[str] = (), option: str = "pools") -> dict[str, dict[str, t.Any]]:
    """The pools asked for, each checked and completed.

    :param values: Pool definitions by name, as users write them in V(lowtide_pools).
    :param only: Names of the pools wanted; none means all.
    :raises InvalidOption: on a definition that is wrong, a pool without servers, a name that is not there, a
        server that two pools claim, or a standby that is in service in another.
    """
    if not isinstance(values, dict) or not values:
        raise InvalidOption(
            "no pool is defined", option=option, remedy="Define at least one, with its servers and load"
        )
    unknown = [name for name in only if name not in values]
    if unknown:
        raise InvalidOption(
            f"there is no pool {unknown[0]!r}",
            option="pool",
            remedy=f"The pools defined are {', '.join(sorted(values))}",
        )
    result = {name: _pool(values[name], f"{option}.{name}") for name in (only or values)}
    owners: dict[str, str] = {}
    for name, pool in result.items():
        for server in pool["servers"]:
            if owners.setdefault(server, name) != name:
                raise InvalidOption(
                    f"server {server!r} is in pool {owners[server]!r} too",
                    option=f"{option}.{name}.servers",
                    remedy="A server carries load for one pool: take it out of the other",
                )
    for name, pool in result.items():
        taken = next((server for server in (pool["standby"] or {"servers": []})["servers"] if server in owners), None)
        if taken is not None:
            raise InvalidOption(
                f"standby {taken!r} is a server of pool {owners[taken]!r}",
                option=f"{option}.{name}.standby.servers",
                remedy="What is in service carries load already: take it out of one of the two",
            )
    return result


def _pool(values: t.Any, option: str) -> dict[str, t.Any]:
    """One pool, checked beyond what a specification can say."""
    pool = checked(values, POOL, option)
    for place, given in (
        ("servers", values["servers"]),
        ("standby.servers", (values.get("standby") or {}).get("servers")),
    ):
        if isinstance(given, str) and given.lstrip().startswith("["):
            raise InvalidOption(
                "it is text that looks like a list",
                option=f"{option}.{place}",
                remedy="On the command line, pass structured variables as JSON: -e '{\"name\": ...}'",
            )
    if not pool["servers"]:
        raise InvalidOption(
            "the pool has no servers",
            option=f"{option}.servers",
            remedy="Name them, or check the inventory group they come from",
        )
    standbys = pool["standby"]["servers"] if pool["standby"] else []
    template = next((server for server in (*pool["servers"], *standbys) if "{{" in server), None)
    if template is not None:
        raise InvalidOption(
            f"{template!r} is a template that nobody has rendered",
            option=f"{option}.servers",
            remedy="Where no inventory is at hand, as in a rulebook, name the servers one by one",
        )
    first, last = pool["update"]["first"], pool["update"]["last"]
    for place, servers in (
        ("servers", pool["servers"]),
        ("standby.servers", standbys),
        ("update.first", first),
        ("update.last", [*first, *last]),
    ):
        twice = next((server for server, count in collections.Counter(servers).items() if count > 1), None)
        if twice is not None:
            raise InvalidOption(f"{twice!r} is named twice", option=f"{option}.{place}", remedy="Name each server once")
    both = sorted(set(pool["servers"]) & set(standbys))
    if both:
        raise InvalidOption(
            f"{both[0]!r} is a server of the pool and a standby of it",
            option=f"{option}.standby.servers",
            remedy="Keep standbys in an inventory group of their own",
        )
    timing.duration(pool["update"]["duration"], f"{option}.update.duration")
    if pool["standby"]:
        timing.duration(pool["standby"]["lead_time"], f"{option}.standby.lead_time")
        timing.duration(pool["standby"]["min_awake"], f"{option}.standby.min_awake")
        _within(pool["standby"]["boot_failure"], f"{option}.standby.boot_failure", least=0, most=0.9)
    thresholds(pool["rules"], f"{option}.rules")
    if pool["slo"]["quantile"] is not None:
        _within(pool["slo"]["quantile"], f"{option}.slo.quantile", least=0.5, most=0.999)
    _within(pool["load"]["server_capacity"], f"{option}.load.server_capacity", above=0)
    _within(pool["load"]["target_utilization"], f"{option}.load.target_utilization", above=0, most=1)
    _within(pool["update"]["risk"], f"{option}.update.risk", above=0, most=0.5)
    _within(pool["weight"], f"{option}.weight", above=0)
    _within(pool["limits"]["min"], f"{option}.limits.min", least=1)
    if pool["slo"]["overload_cost_per_hour"] is not None:
        _within(pool["slo"]["overload_cost_per_hour"], f"{option}.slo.overload_cost_per_hour", least=0)
    for cost in ("cost_per_hour", "idle_cost_per_hour") if pool["standby"] else ():
        _within(pool["standby"][cost], f"{option}.standby.{cost}", least=0)
    if pool["limits"]["max"] is not None:
        _within(pool["limits"]["max"], f"{option}.limits.max", least=pool["limits"]["min"])
    return pool


def _within(
    number: float, option: str, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> None:
    """Refuse a number out of its range; NaN and infinity are out of every range."""
    finite = number - number == 0
    if (
        finite
        and (above is None or number > above)
        and (least is None or number >= least)
        and (most is None or number <= most)
    ):
        return
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("above", above), ("at least", least), ("at most", most))
        if bound is not None
    ]
    raise InvalidOption(f"{number} is out of range", option=option, remedy=f"Give a number {' and '.join(bounds)}")
