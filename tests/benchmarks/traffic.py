# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a load balancer's traffic costs and loses: ``python tests/benchmarks/traffic.py rolling|shift|session``.

C(rolling): every server of a pool of eight is taken out, restarted and brought back under 500 requests/s, retries off, long
requests among them; then the control, a kill without drain. C(shift): versions that answer 2 % errors or 3 times as slowly,
and healthy ones. C(session): 20 changes and the figures of 100 servers in one call, beside community.general.haproxy, which
is looked for at ANSIBLE_COLLECTIONS_PATH too.
C(--provider nginx) has keep-alive of clients off; C(nginx-keepalive) measures what a reload loses with it on.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

import conftest  # noqa: E402
import numpy as np  # noqa: E402
from lab import (  # noqa: E402
    EnvoyProxy,
    HAProxy,
    LoadGenerator,
    Member,
    NginxProxy,
    TraefikProxy,
    make_servers,
    members_of,
    play,
    running,
)  # fmt: skip

conftest.link_collection()
from ansible_collections.lowtide.fleet.plugins.module_utils import options  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.traffic_shift import traffic_shift  # noqa: E402
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import traffic  # noqa: E402

PATHS = {"/": 0.99, "/long?seconds=2": 0.01}


def pool(given: dict, members: list[dict], **more: object) -> dict:
    values = {"backend": "web", "members": members, **given, **more}
    return balancer_pool(options.checked(values, options.BALANCER_POOL, "balancer_pool"), check_mode=False)


def proxy_of(provider: str, directory: pathlib.Path, servers: dict) -> tuple[object, str, dict]:
    """A proxy, its address, and the options that reach it."""
    if provider == "haproxy":
        proxy = HAProxy(directory, {"web": members_of(servers)})
        return proxy, proxy.url("web"), {"socket": [proxy.tcp_socket]}
    new = [{"name": one.name, "state": "ready", "address": one.address, "port": one.port} for one in servers.values()]
    if provider.startswith("nginx"):
        proxy = NginxProxy(directory, keepalive=75 if provider == "nginx-keepalive" else 0)
        given = {"provider": "nginx", "file": str(proxy.members)}
        pool(given, new, settle="0s", reload=["true"])
        return proxy, proxy.url, given | {"settle": "2.5s", "reload": proxy.reload}
    proxy = (EnvoyProxy if provider == "envoy" else TraefikProxy)(directory)
    given = {"provider": provider, "file": str(proxy.members)}
    pool(given, new, settle="0s")
    # Traefik and nginx tell no sessions: they are given longer than the longest request takes.
    given |= {"admin": proxy.admin} if provider == "envoy" else {"settle": "2.5s"}
    return proxy, proxy.url, given


def rolling(provider: str, runs: int, rate: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        servers = make_servers(directory, 8)
        proxy, url, given = proxy_of(provider, directory, servers)
        with running([*servers.values(), proxy]):
            for run in range(runs):
                with LoadGenerator(directory, url, [rate], seconds_per_point=600, paths=PATHS) as load:
                    for server in servers.values():
                        restart(given, server)
                    report = load.stop()
                print_line(provider, f"run {run + 1}", report)
            with LoadGenerator(directory, url, [rate], seconds_per_point=8, paths=PATHS) as load:
                for server in list(servers.values())[:4]:
                    time.sleep(1)
                    server.kill()
                    server.start()
                print_line(provider, "control: kill without drain", load.wait(60))


def restart(given: dict, server: object) -> None:
    pool(given, [{"name": server.name, "state": "maintenance"}], wait_for_sessions=True, timeout="30s")
    tells = given.get("provider") not in ("traefik", "nginx")
    given = given | ({} if tells else {"settle": "0.5s"})
    server.stop()
    server.start()
    pool(given, [{"name": server.name, "state": "drain"}], min_ready=0)
    while tells and not pool(given, [])["members"][server.name]["checked"]:
        time.sleep(0.1)
    for weight in ("25%", "100%"):
        pool(given, [{"name": server.name, "state": "ready", "weight": weight}])
        time.sleep(0.1)


def print_line(provider: str, what: str, report: dict) -> None:
    print(
        f"{provider} {what}: {report['failed']} failed of {report['sent']} in {report['seconds']:.0f} s,"
        f" p95 {report['p95_ms']} ms, reasons {report['reasons']}",
        flush=True,
    )


def shift(runs: int) -> None:
    """Bad versions on a real HAProxy at 500 requests/s, 5 % of which go to the new version; healthy ones simulated."""
    for label, knobs in (("2 % errors", {"errors": 0.02}), ("3 times as slow", {"latency": 3.0})):
        for run in range(runs):
            with tempfile.TemporaryDirectory() as name:
                print(label, json.dumps(bad_version(pathlib.Path(name), knobs, seed=run)), flush=True)
    undone = sum(simulated(seed) for seed in range(100))
    print(f"healthy, simulated at an error rate of 0.05 % before and after: {undone} of 100 shifts rolled back")


def bad_version(directory: pathlib.Path, knobs: dict, *, seed: int) -> dict:
    servers = make_servers(directory, 4, seed=seed)
    for name in ("web3", "web4"):
        servers[name].write_version("2", **knobs)
    members = members_of({name: servers[name] for name in ("web1", "web2")})
    members += members_of({name: servers[name] for name in ("web3", "web4")}, standby=True)
    proxy = HAProxy(directory, {"web": members})
    values = {
        "backend": "web", "socket": [proxy.tcp_socket], "donors": ["web1", "web2"], "receivers": ["web3", "web4"],
        "gates": [{"metric": "error_rate", "ratio": 2.0}, {"metric": "latency_ms", "ratio": 1.8}],
        "bake": "60s", "every": "1s", "pause": "0s",
    }  # fmt: skip
    with running([*servers.values(), proxy]), LoadGenerator(directory, proxy.url("web"), [500], seconds_per_point=600):
        result = traffic_shift(options.checked(values, options.TRAFFIC_SHIFT, "traffic_shift"), check_mode=False)
    last = result["steps"][-1]
    seen = sum(step["requests"] for step in result["steps"])
    return {
        "rolled_back": result["rolled_back"], "step": last["share"], "seconds": last["seconds"], "requests": seen,
        "within": seen <= 500 * 0.05 * 30, "reasons": last["reasons"],
    }  # fmt: skip


def simulated(seed: int) -> bool:
    """Whether one healthy shift is undone: 500 requests/s, steps of 5, 25, 50 and 100 %, 60 s each, read every 2 s."""
    source = np.random.default_rng(seed)
    before = int(source.binomial(5000, 0.0005))
    gates = [traffic.Gate("error_rate", max(2 * traffic.upper_rate(before, 5000), 0.001), counts=True)]
    gates.append(traffic.Gate("latency_ms", 18.0))
    evidence = {gate.name: traffic.Evidence(gate.healthy_rate) for gate in gates}
    for share in (0.05, 0.25, 0.5, 1.0):
        watches = {gate.name: traffic.Watch() for gate in gates}
        requests, seconds, word = 0, 0, "hold"
        while word == "hold":
            seconds += 2
            count = int(1000 * share)
            errors = int(source.binomial(count, 0.0005))
            latency = float(source.gamma(4, 2.5, min(count, 50)).mean())
            requests += count
            for gate in gates:
                failed, tried = traffic.trials(gate, value=latency, requests=count, errors=errors)
                watches[gate.name].add(failed, tried, latency)
                evidence[gate.name].add(failed, tried)
            word = traffic.judge(
                gates, evidence, watches, requests=requests, seconds=seconds, bake=60, patience=600, min_requests=100,
                false_alarm_rate=0.01,
            ).word  # fmt: skip
        if word == "undo":
            return True
    return False


def session() -> None:
    """Time of a call with 20 changes among 100 servers, and of community.general.haproxy in a loop over the same 20."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        members = [Member(f"web{number}", "127.0.0.1", 9, weight=100) for number in range(100)]
        with HAProxy(directory, {"web": members}) as proxy:
            given = {"socket": [proxy.tcp_socket], "min_ready": 0}
            took = []
            for round_ in range(20):
                changes = [{"name": f"web{number}", "weight": str(50 + round_ % 2)} for number in range(20)]
                begun = time.perf_counter()
                result = pool(given, changes)
                took.append(1000 * (time.perf_counter() - begun))
                assert len(result["members"]) == 100
            print(
                f"lowtide: 20 changes and the figures of 100 servers, median {sorted(took)[10]:.1f} ms, most {max(took):.1f} ms"
            )
            ours = [
                {
                    "lowtide.fleet.balancer_pool": {
                        **given,
                        "backend": "web",
                        "members": [{"name": f"web{n}", "weight": "70"} for n in range(20)],
                    }
                }
            ]
            theirs = [
                {
                    "community.general.haproxy": {
                        "state": "enabled", "host": "{{ item }}", "backend": "web", "weight": "60", "socket": f"{directory}/admin.sock",
                    },
                    "loop": [f"web{n}" for n in range(20)],
                }
            ]  # fmt: skip
            print(f"ansible-playbook with balancer_pool: {playbook(directory, ours):.1f} s")
            print(f"ansible-playbook with community.general.haproxy in a loop: {playbook(directory, theirs):.1f} s")


def playbook(directory: pathlib.Path, tasks: list) -> float:
    path = directory / "book.yml"
    path.write_text(json.dumps(play(tasks)), encoding="utf-8")
    others = filter(None, [os.environ.get("ANSIBLE_COLLECTIONS_PATH")])
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join([str(ROOT / ".build"), *others])}
    begun = time.perf_counter()
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rolling", "shift", "session"])
    parser.add_argument(
        "--provider", choices=["haproxy", "envoy", "traefik", "nginx", "nginx-keepalive"], default="haproxy"
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=500)
    given = parser.parse_args()
    if given.what == "rolling":
        rolling(given.provider, given.runs, given.rate)
    elif given.what == "shift":
        shift(given.runs)
    else:
        session()


if __name__ == "__main__":
    main()
