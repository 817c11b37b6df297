# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The provider kubernetes, by playbooks, against a real cluster; ``make kubernetes`` builds it and runs these."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import itertools
import json
import threading
import time

import numpy as np
import pytest
import yaml
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey
from certificates import Authority
from kubernetes_cluster import NAMESPACE, KubernetesCluster, rule
from lab import ROOT, play, run_playbook
from ports import free_port

_numbers = itertools.count(1)


class Gate:
    """What the pods' readiness probes ask."""

    def __init__(self):
        self.open, gate = True, self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_args):
                pass

            def do_GET(self):
                self.send_response(200 if gate.open else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.port = free_port()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exc):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with KubernetesCluster(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


class Site:
    """A workload of one replica that always runs and three standbys."""

    def __init__(self, cluster, kind, directory, gate, **container):
        self.cluster, self.directory, self.gate = cluster, directory, gate
        self.name = f"web{next(_numbers)}"
        self.workload = f"{kind}/{self.name}"
        self.token = directory / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(cluster.token(), encoding="utf-8")
        # What is ready stays so while the gate is shut.
        probe = {
            "httpGet": {"host": "127.0.0.1", "port": gate.port, "path": "/"},
            "periodSeconds": 1,
            "failureThreshold": 1000,
        }
        cluster.create(kind, self.name, 1, readinessProbe=probe, **container)
        cluster.wait(lambda: cluster.ready(self.name) == 1)

    @property
    def kubernetes(self):
        return {
            "url": self.cluster.url, "ca_path": str(self.cluster.ca_path), "token_file": str(self.token),
            "namespace": NAMESPACE, "workload": self.workload, "replicas": 1, "servers": ["s0", "s1", "s2"],
        }  # fmt: skip

    def several(self, *calls, arguments=()):
        """What the module answers to one call after the other, run by ansible-playbook."""
        tasks = []
        for number, given in enumerate(calls):
            spec = {**self.kubernetes, **given.get("kubernetes", {})}
            spec = {key: value for key, value in spec.items() if value is not None}
            module = {"provider": "kubernetes", "timeout": "60s", **given, "kubernetes": spec}
            path = self.directory / f"{number}.json"
            copy = {"content": "{{ result | to_json }}", "dest": str(path), "mode": "0600"}
            tasks += [
                {"lowtide.fleet.standby": module, "register": "result", "ignore_errors": True},
                {"ansible.builtin.copy": copy, "check_mode": False, "diff": False},
            ]
        interpreter = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        done = run_playbook(self.directory, play(tasks, connection="local", vars=interpreter), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        paths = [self.directory / f"{number}.json" for number in range(len(calls))]
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def __call__(self, *arguments, **given):
        """What it answers to one call."""
        return self.several(given, arguments=arguments)[0]

    @contextlib.contextmanager
    def meanwhile(self, **given):
        """The module at work, from its write to the end of the block; ``result`` is what it answered."""
        worker = threading.Thread(target=lambda: setattr(self, "result", self(**given)))
        before = self.scale()
        worker.start()
        self.cluster.wait(lambda: self.scale() != before)
        yield
        worker.join()

    def scale(self, replicas=None):
        return self.cluster.scale(self.workload, replicas)

    def ready(self):
        return self.cluster.ready(self.name)


@pytest.fixture
def gate():
    with Gate() as running:
        yield running


@pytest.fixture(params=["deployment", "statefulset"])
def site(request, cluster, tmp_path, gate):
    made = Site(cluster, request.param, tmp_path, gate)
    yield made
    made.scale(0)


def test_wakes_sleeps_and_does_nothing_twice(site):
    foretold = site("--check", "--diff", activate=["s0", "s1"])
    assert (foretold["changed"], site.scale()) == (True, 1)
    assert foretold["diff"] == {"before": {"s0": "off", "s1": "off"}, "after": {"s0": "on", "s1": "on"}}
    check = {"port": site.gate.port, "path": "/"}
    made, again, seen, early = site.several(
        {"activate": ["s0", "s1"], "check": check},
        {"activate": ["s0", "s1"]},
        {},
        {"release": ["s0"]},
        arguments=["--diff"],
    )
    assert made["diff"] == foretold["diff"]
    told = [(one["power"], one["ready"], one["ip"]) for one in made["servers"].values()]
    assert told == [("on", True, "127.0.0.1")] * 2
    assert not again["changed"]
    assert again["words"][0].startswith("s0: on already, ready at 127.0.0.1")
    assert [one["power"] for one in seen["servers"].values()] == ["on", "on", "off"]
    assert "s0: replicas go in order, and s1 stays awake after it" in early["msg"]
    assert (site.scale(), site.ready()) == (3, 3)
    foretold = site("--check", release=["s1"])
    last, first, none, late = site.several(
        {"release": ["s1"]}, {"release": ["s1", "s0"]}, {"release": ["s1", "s0"]}, {"activate": ["s2"]}
    )
    assert last["diff"] == foretold["diff"] == {"before": {"s1": "on"}, "after": {"s1": "off"}}
    assert (last["changed"], first["changed"], none["changed"]) == (True, True, False)
    assert "s2: replicas come in order, and s0 comes before it" in late["msg"]
    assert site.scale() == 1


def test_a_client_certificate_serves_as_well(site):
    certificate, key = site.cluster.client
    given = {"token_file": None, "client_cert": certificate, "client_key": key}
    assert site(kubernetes=given, activate=["s0"])["servers"]["s0"]["ready"]


def test_the_rights_in_the_documentation_suffice(site):
    text = (ROOT / "docs" / "standby-providers.md").read_text(encoding="utf-8")
    role = yaml.safe_load(next(block for block in text.split("```yaml\n") if "kind: Role" in block).partition("```")[0])
    kind, _slash, name = site.workload.partition("/")
    role["rules"][0] |= {"resources": [f"{kind}s/scale"], "resourceNames": [name]}
    site.cluster.allow(f"documented-{kind}", *role["rules"])
    site.token.write_text(site.cluster.token(f"documented-{kind}"), encoding="utf-8")
    assert site(activate=["s0"])["servers"]["s0"]["ready"]


@pytest.mark.parametrize("lacking", ["get", "update", "list"])
def test_missing_rights_are_named(site, lacking):
    kind = site.workload.partition("/")[0]
    account = f"without-{lacking}-{kind}"
    site.cluster.allow(
        account,
        rule("apps", [f"{kind}s/scale"], [verb for verb in ("get", "update") if verb != lacking]),
        rule("", ["pods"], ["get"] if lacking == "list" else ["list"]),
    )
    site.token.write_text(site.cluster.token(account), encoding="utf-8")
    resource = "pods" if lacking == "list" else f"{kind}s/scale"
    text = site(activate=["s0"])["msg"]
    assert (
        f'is forbidden: User "system:serviceaccount:{NAMESPACE}:{account}" cannot {lacking} resource "{resource}"'
        in text
    )
    assert site.scale() == 1


def test_what_is_wrong_is_named(site, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("nobody's", encoding="utf-8")
    kind = site.workload.partition("/")[0]
    results = site.several(
        {"kubernetes": {"token_file": str(wrong)}, "activate": ["s0"]},
        {"kubernetes": {"token_file": None}},
        {"kubernetes": {"ca_path": str(Authority(tmp_path / "other").path)}},
        {"kubernetes": {"workload": f"{kind}/none"}},
        {"kubernetes": {"namespace": "none"}},
    )
    token, anonymous, authority, workload, namespace = [result["msg"] for result in results]
    assert token.startswith("kubernetes.token_file: the Kubernetes API refuses: Unauthorized.")
    assert 'User "system:anonymous" cannot get resource' in anonymous
    assert authority.startswith(f"kubernetes.ca_path: the certificate of {site.cluster.url}")
    assert workload.startswith("kubernetes.workload: ")
    assert workload.endswith('"none" not found.')
    # In a namespace where the account has no rights, the API does not tell what is there.
    assert namespace.startswith("kubernetes.token_file: ")
    assert 'in the namespace "none"' in namespace
    assert site.scale() == 1


def test_a_workload_that_others_change_all_the_time_is_scaled_under_its_newest_version(site):
    over = threading.Event()

    def change():
        for number in itertools.takewhile(lambda _number: not over.is_set(), itertools.count()):
            site.cluster.annotate(site.workload, str(number))
            over.wait(0.5)  # Sooner, a Deployment's own controller is always late, and makes no pod.

    worker = threading.Thread(target=change)
    worker.start()
    try:
        result = site(activate=["s0"])
    finally:
        over.set()
        worker.join()
    assert result["servers"]["s0"]["ready"], result
    assert site.scale() == 2


def test_an_api_that_ends_and_comes_again_is_waited_for(site):
    site.gate.open = False
    with site.meanwhile(activate=["s0"]):
        site.cluster.kill_api()
        time.sleep(3)
        site.gate.open = True
        site.cluster.api.start()
    assert site.result["servers"]["s0"]["ready"], site.result
    assert (site.result["changed"], site.scale()) == (True, 2)


def test_an_api_that_stays_away_is_named(site):
    site.gate.open = False
    try:
        with site.meanwhile(activate=["s0"], timeout="15s"):
            site.cluster.kill_api()
        assert "the Kubernetes API does not answer" in site.result["msg"]
        assert site("--check", activate=["s0"])["msg"].startswith("kubernetes.url: the Kubernetes API does not answer")
    finally:
        site.gate.open = True
        site.cluster.api.start()


def test_a_pod_that_is_never_ready_fails_at_the_deadline(site):
    site.gate.open = False
    text = site(activate=["s0"], timeout="8s")["msg"]
    assert "s0: it is powered on, but its pod " in text
    assert "was not ready (containers with unready status: [web]) within 8 s" in text
    assert site(release=["s0"])["changed"]


@pytest.mark.parametrize("kind", ["deployment", "statefulset"])
def test_a_pod_that_no_node_takes_fails_at_the_deadline(cluster, tmp_path, gate, kind):
    site = Site(cluster, kind, tmp_path, gate, ports=[{"containerPort": 80, "hostPort": free_port()}])
    text = site(activate=["s0"], timeout="8s")["msg"]
    assert "s0: it is powered on, but its pod " in text
    assert "0/1 nodes are available: 1 node(s) didn't have free ports" in text
    site.scale(0)


def test_what_others_scale_stays(site):
    site.scale(0)
    late, none = site.several({"activate": ["s1"]}, {"release": ["s0"]})
    assert "s1: replicas come in order, and s0 comes before it" in late["msg"]
    assert (none["changed"], site.scale()) == (False, 0)
    # One that wakes brings those that always run.
    assert site(activate=["s0"])["servers"]["s0"]["ready"]
    assert site.scale() == 2
    site.scale(6)
    early, same = site.several({"release": ["s2"]}, {"activate": ["s0", "s2"]})
    assert f"s2: replicas go in order, and others scaled {site.name} to 2 beyond its standbys" in early["msg"]
    assert (same["changed"], site.scale()) == (False, 6)


def test_what_others_scale_while_it_waits_stays(site):
    site.gate.open = False
    with site.meanwhile(activate=["s0"]):
        site.scale(5)
        site.gate.open = True
    assert site.result["servers"]["s0"]["ready"], site.result
    assert site.scale() == 5
    site.scale(1)
    site.gate.open = False
    with site.meanwhile(activate=["s0"], timeout="10s"):
        site.scale(1)
    assert "s0: it was not powered on within 10 s" in site.result["msg"]
    assert site.scale() == 1


def test_a_pass_of_autoscale_wakes_and_sends_to_sleep(site):
    step, days = 300, 9
    end = datetime.datetime.fromtimestamp(time.time() // step * step, datetime.UTC)
    store = {"type": "duckdb", "path": str(site.directory / "history.duckdb")}
    spec = {key: value for key, value in site.kubernetes.items() if key != "servers"}
    pool = {
        "servers": ["w"],
        "load": {"metric": "requests", "server_capacity": 100, "target_utilization": 1.0},
        "standby": {
            "servers": ["s0", "s1", "s2"], "provider": "kubernetes", "kubernetes": spec, "cost_per_hour": 2, "min_awake": "0s",
        },
    }  # fmt: skip

    def run(demand):
        values = np.full((1, days * 86400 // step), demand)
        with history.open(
            options.checked(store, options.HISTORY, "history"), tenant="default", read_only=False
        ) as kept:
            kept.write(Series((SeriesKey("web", None, "requests"),), values, end, step))
        (site.directory / "variables.json").write_text(
            json.dumps({"lowtide_history": store, "lowtide_pools": {"web": pool}, "lowtide_act": True}),
            encoding="utf-8",
        )
        plays = [{"import_playbook": str(ROOT / "playbooks" / "autoscale.yml")}]
        done = run_playbook(site.directory, plays, "-i", "localhost,", "-e", f"@{site.directory / 'variables.json'}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run(250.0)
    assert site.scale() == 3, said
    assert "s1: powered on, ready at 127.0.0.1" in said
    run(250.0)
    assert site.scale() == 3
    run(60.0)
    assert site.scale() == 1
