# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collection through ansible-playbook and the operation, from a real Prometheus into DuckDB."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    CertificateRejected,
    InvalidOption,
    NotEnoughHistory,
    NotFound,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.collect import collect
from ansible_collections.lowtide.fleet.plugins.module_utils.timing import iso

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from simulators.certificates import Authority
from simulators.prometheus import Metric, Prometheus

END = 1_795_500_000
STEP = 300
DAYS = 3
TIMES = np.arange(END - DAYS * 86400 + STEP, END + 1, STEP)
SERVERS = {"web": [f"web{number}" for number in range(3)], "api": ["api0"]}
POOLS = {
    name: {"servers": servers, "load": {"metric": "requests", "server_capacity": 100}}
    for name, servers in SERVERS.items()
}


@dataclasses.dataclass
class Lab:
    """A server, what it holds and how to reach it."""

    prometheus: Prometheus
    authority: Authority
    values: dict[str, np.ndarray]

    def source(self, **changes):
        return {
            "type": "prometheus",
            "url": self.prometheus.url,
            "username": "reader",
            "password": "lowtide",
            "ca_path": str(self.authority.path),
            "queries": {"requests": "requests"},
        } | changes


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    rng = np.random.default_rng(1)
    values = {name: np.round(rng.gamma(3, 20, TIMES.size), 2) for servers in SERVERS.values() for name in servers}
    values["web1"][100:103] = np.nan
    counter = np.cumsum(np.full(TIMES.size, 600.0))
    counter[400:] -= counter[400]
    metrics = [
        Metric(
            "requests",
            [
                ({"instance": f"{name}:9100"}, zip(TIMES.tolist(), row.tolist(), strict=True))
                for name, row in values.items()
            ],
        ),
        Metric(
            "hits_total",
            [({"instance": "web0:9100"}, zip(TIMES.tolist(), counter.tolist(), strict=True))],
            kind="counter",
        ),
    ]
    directory = tmp_path_factory.mktemp("prometheus")
    authority = Authority(directory)
    server = Prometheus(directory, metrics, certificate=authority.sign("prometheus"), users={"reader": "lowtide"})
    with server:
        yield Lab(server, authority, values)


def asked(tmp_path, source, **changes):
    """The options of one collection."""
    return {
        "history": {"path": str(tmp_path / "history.duckdb")},
        "pools": POOLS,
        "pool": [],
        "now": iso(END),
        "sources": [source],
        "step": "5m",
        "window": "30d",
        "overlap": "1h",
        "marks": [],
        "health": True,
    } | changes


def kept(tmp_path, metric="requests", pools=None, spec=None):
    """What the history holds."""
    end = datetime.datetime.fromtimestamp(END, datetime.UTC)
    checked = options.checked(spec or {"path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")
    with history.open(checked) as found:
        return found.read(
            metric=metric,
            pools=SERVERS if pools is None else pools,
            start=end - datetime.timedelta(days=DAYS),
            end=end,
            step_seconds=STEP,
        )


def run_playbook(path):
    """Run a playbook with this checkout as the collection."""
    return subprocess.run(
        [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(path)],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(pathlib.Path(history.__file__).parents[6])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_collects_once_and_keeps_gaps(lab, tmp_path):
    first = collect(asked(tmp_path, lab.source()), check_mode=False)
    assert first["changed"]
    assert [(item["pool"], item["samples"], item["missing"]) for item in first["collected"]] == [
        ("web", 3 * TIMES.size - 3, 3),
        ("api", TIMES.size, 0),
    ]
    assert first["collected"][0]["gaps"] == [
        {"server": "web1", "from": iso(int(TIMES[100])), "to": iso(int(TIMES[102])), "missing": 3}
    ]
    series = kept(tmp_path)
    assert sorted(key.server for key in series.keys) == sorted(lab.values)
    for key, row in zip(series.keys, series.values, strict=True):
        np.testing.assert_array_equal(row, lab.values[key.server])
    second = collect(asked(tmp_path, lab.source()), check_mode=False)
    assert not second["changed"]


def test_check_mode_stores_nothing(lab, tmp_path):
    before = collect(asked(tmp_path, lab.source()), check_mode=True)
    assert before["changed"]
    assert before["words"][1] == f"requests of api: {TIMES.size} samples would be stored, 1 servers, up to {iso(END)}."
    assert list(tmp_path.iterdir()) == []


def test_prometheus_itself_as_history(lab, tmp_path):
    series = kept(tmp_path, spec=lab.source())
    assert series.select(servers=["web1"]).missing.tolist() == [3]
    total = kept(tmp_path, pools={"web": SERVERS["web"]}, spec=lab.source(queries={"requests": "sum(requests)"}))
    assert [key.server for key in total.keys] == [None]


def test_counters_become_rates_over_a_reset(lab, tmp_path):
    source = lab.source(queries={"hits": {"query": "hits_total", "aggregation": "rate"}})
    row = kept(tmp_path, metric="hits", pools={"web": SERVERS["web"]}, spec=source).values[0]
    expected = np.full(TIMES.size, 2.0)
    expected[[0, 400]] = np.nan, 0.0
    np.testing.assert_allclose(row, expected)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"password": "wrong"}, AuthenticationFailed, r"sources\[0\].username: .*refused the credentials"),
        ({"ca_path": None}, CertificateRejected, r"sources\[0\].ca_path: .*not trusted.*PEM"),
        ({"queries": {"requests": "sum("}}, InvalidOption, r"sources\[0\].queries.requests: .*parse error"),
    ],
)
def test_errors_name_option_and_remedy(lab, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        collect(asked(tmp_path, lab.source(**changes)), check_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_history_without_data(lab, tmp_path):
    with pytest.raises(NotFound, match=r"history.path: there is no history at .*lowtide.fleet.collect"):
        kept(tmp_path)
    collect(asked(tmp_path, lab.source(), pool=["web"]), check_mode=False)
    with pytest.raises(NotEnoughHistory, match=r"history.path: .*no sample of 'requests' for pool 'api'.*Collect it"):
        kept(tmp_path)


def test_module_through_ansible_playbook(lab, tmp_path):
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {"lowtide.fleet.collect": asked(tmp_path, lab.source()), "register": "once"},
            {"lowtide.fleet.collect": asked(tmp_path, lab.source()), "register": "twice"},
            {"ansible.builtin.assert": {"that": ["once.changed", "not twice.changed"]}},
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = run_playbook(tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_host_metrics_marks_and_health_through_ansible_playbook(tmp_path):
    pools = {"local": {"servers": ["localhost"], "load": {"metric": "cpu", "server_capacity": 2}}}
    common = {"history": {"path": str(tmp_path / "history.duckdb")}, "pools": pools}
    mark = {"pool": "local", "servers": ["localhost"], "from": "2026-11-23T10:00:00Z", "to": "2026-11-23T10:30:00Z"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {"lowtide.fleet.host_metrics": {"server": "localhost", "interval": 0.2}, "register": "host"},
            {
                "lowtide.fleet.collect": {
                    **common,
                    # A moment later: the sample belongs to the step that ends after it.
                    "now": "{{ '%Y-%m-%dT%H:%M:%SZ' | strftime(now().timestamp() + 300, utc=true) }}",
                    "sources": [{"type": "inline", "samples": "{{ host.samples }}"}],
                    "marks": [mark],
                },
                "register": "kept",
            },
            {"lowtide.fleet.collect": {**common, "marks": [mark]}, "register": "again"},
            {
                "ansible.builtin.assert": {
                    "that": [
                        "not host.changed",
                        "host.metrics.memory > 0",
                        "kept.changed and kept.marked == 1",
                        "kept.collected | map(attribute='samples') | sum == host.samples | length",
                        "kept.health | length == host.samples | length",
                        "not kept.health[0].enough",
                        "'not enough to forecast well' in kept.words[-1]",
                        "not again.changed and again.marked == 0",
                    ]
                }
            },
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = run_playbook(tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mark_finds_the_pools_of_its_servers(tmp_path):
    mark = {"servers": ["web0", "web2", "api0"], "from": iso(END - 600)}
    assert collect(asked(tmp_path, None, sources=[], marks=[mark]), check_mode=False)["marked"] == 2
    with history.open(options.checked({"path": str(tmp_path / "history.duckdb")}, options.HISTORY, "history")) as found:
        assert [(item.pool, item.servers) for item in found.marks(["web", "api"])] == [
            ("api", ("api0",)),
            ("web", ("web0", "web2")),
        ]
    with pytest.raises(InvalidOption, match=r"marks\[0\]: it names neither a pool nor servers"):
        collect(asked(tmp_path, None, sources=[], marks=[{"from": iso(END - 600)}]), check_mode=False)


ROLE = """
- hosts: localhost
  gather_facts: false
  roles:
    - role: lowtide.fleet.marks
      vars:
        marks_servers: [web0]
        marks_from: "2026-11-23T10:00:00Z"
        marks_why: update
  post_tasks:
    - ansible.builtin.debug:
        msg: the run goes on
"""


def test_the_role_marks_notes_maintenance_and_never_ends_a_run(tmp_path):
    spec = {"path": str(tmp_path / "history.duckdb")}
    (tmp_path / "play.yml").write_text(ROLE)
    (tmp_path / "group_vars").mkdir()
    for path, said in ((spec["path"], "the run goes on"), (str(tmp_path), "is not marked, and forecasts will learn")):
        variables = {"lowtide_history": {"path": path}, "lowtide_pools": POOLS}
        (tmp_path / "group_vars" / "all.yml").write_text(json.dumps(variables))
        done = run_playbook(tmp_path / "play.yml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the run goes on" in done.stdout
        assert said in done.stdout
    with history.open(options.checked(spec, options.HISTORY, "history")) as found:
        (mark,) = found.marks(["web"])
    assert (mark.servers, mark.why) == (("web0",), "update")


def test_what_can_not_be_stored_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(InvalidOption, match=r"marks\[0\].servers: 'x' is no server of pool 'web'"):
        collect(
            asked(tmp_path, None, sources=[], marks=[{"pool": "web", "servers": ["x"], "from": "2026-01-01"}]),
            check_mode=False,
        )
    with pytest.raises(InvalidOption, match=r"history.type: .*only read from"):
        collect(asked(tmp_path, {}, history={"type": "prometheus", "url": "http://localhost"}), check_mode=False)
    assert list(tmp_path.iterdir()) == []
