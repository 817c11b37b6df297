# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each source of collect against the real thing: vCenter's simulator, HAProxy, VictoriaMetrics, files, this host."""

from __future__ import annotations

import datetime
import pathlib
import subprocess
import sys
import time
import urllib.request

import duckdb
import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators import vcenter as vcenter_module
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    CertificateRejected,
    ConnectionFailed,
    InvalidOption,
    NotFound,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.history import sources
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.host_metrics import host_metrics

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from simulators.certificates import Authority
from simulators.haproxy import HAProxy, Member
from simulators.http_server import HttpServer
from simulators.ports import free_port
from simulators.processes import Program, listening
from simulators.prometheus import Metric, Prometheus
from simulators.victoria_metrics import VictoriaMetrics
from simulators.vsphere_simulator import VsphereSimulator

STEP = 300
NOW = int(time.time()) // STEP * STEP


def fetch(values, metric, pools, first, last, step=STEP):
    """One metric of a source."""
    with sources.open(options.checked(values, options.SOURCE, "sources[0]"), "sources[0]") as source:
        return source.fetch(source.metrics[metric], pools, first, last, step)


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory):
    machines = [{"name": name, "power": "on"} for name in ("web0", "web1", "web2")]
    with VsphereSimulator(tmp_path_factory.mktemp("vsphere"), vms=machines) as simulator:
        begin = NOW - 3 * 86400
        simulator.load("web0", "cpu.usage.average", [(begin, 2500), (NOW - 1800, 5000)])
        simulator.load("web1", "cpu.usage.average", [(NOW - 3600, 100)])
        simulator.load("web0", "net.usage.average", [(begin, 77)])
        simulator.load("web0", "mem.usage.average", [(begin, 6400)])
        simulator.load("web1", "mem.usage.average", [(begin, 3200)])
        simulator.load("web1", "disk.usage.average", [(NOW - 1200, 12)])
        yield simulator


def test_vsphere_gives_counters_of_many_machines(vcenter):
    source = {"type": "vsphere", "connection": vcenter.connection}
    series = fetch(source, "cpu", {"web": ["web0", "web1", "web2"]}, NOW - 2 * 86400, NOW)
    assert [key.server for key in series.keys] == ["web0", "web1"]
    web0, web1 = series.values
    assert not np.isnan(web0).any()
    assert web0[:-7].tolist() == [25.0] * (len(web0) - 7)
    assert web0[-5:].tolist() == [50.0] * 5
    assert np.isnan(web1[:-13]).all()
    assert web1[-10:].tolist() == [1.0] * 10
    network = fetch(source, "network", {"web": ["web0"]}, NOW - 3600, NOW)
    assert network.values.tolist() == [[77.0] * 12]


def test_vsphere_gives_memory_network_and_disk_with_their_units(vcenter):
    """Of one machine one counter may begin later than another; each has its own stamps."""
    with sources.open(
        options.checked({"type": "vsphere", "connection": vcenter.connection}, options.SOURCE, "sources[0]"),
        "sources[0]",
    ) as source:
        found = {
            name: source.fetch(metric, {"web": ["web0", "web1", "web2"]}, NOW - 3600, NOW, STEP)
            for name, metric in source.metrics.items()
        }
    assert {name: series.units.get(name) for name, series in found.items()} == {
        "cpu": "%", "memory": "%", "network": "KB/s", "disk": "KB/s",
    }  # fmt: skip
    assert [key.server for key in found["memory"].keys] == ["web0", "web1"]
    assert found["memory"].values.tolist() == [[64.0] * 12, [32.0] * 12]
    assert [key.server for key in found["network"].keys] == ["web0"]
    assert [key.server for key in found["disk"].keys] == ["web1"]
    assert found["disk"].values[0, -3:].tolist() == [12.0] * 3
    assert np.isnan(found["disk"].values[0, :7]).all()


def test_vsphere_asks_for_many_machines_per_call(vcenter):
    vcenter.forget()
    fetch(
        {"type": "vsphere", "connection": vcenter.connection}, "cpu", {"web": ["web0", "web1", "web2"]}, NOW - 3600, NOW
    )
    assert vcenter.calls()["QueryPerf"] <= 2


@pytest.mark.parametrize(
    ("changes", "error"), [({"password": "wrong"}, AuthenticationFailed), ({"ca_path": None}, CertificateRejected)]
)
def test_vsphere_errors(vcenter, changes, error):
    source = {"type": "vsphere", "connection": vcenter.connection | changes}
    with pytest.raises(error, match="connection"):
        fetch(source, "cpu", {"web": ["web0"]}, NOW - 3600, NOW)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("hang", "did not answer|timed out"),
        ("unavailable", "503"),
        ("lose_reply", "closed|ended|lost"),
        ("drop_connection", "closed|ended|lost"),
    ],
)
def test_a_vcenter_that_fails_is_told_after_a_while(vcenter, monkeypatch, kind, words):
    monkeypatch.setattr(vcenter_module, "PATIENCE", 1.0)
    monkeypatch.setattr(vcenter_module, "HTTP_SECONDS", 1.0)
    source = {"type": "vsphere", "connection": vcenter.connection}
    vcenter.fault(kind, method="QueryPerf", seconds=20.0)
    try:
        with pytest.raises(ConnectionFailed, match=words) as caught:
            fetch(source, "cpu", {"web": ["web0"]}, NOW - 3600, NOW)
    finally:
        vcenter.clear_faults()
    assert "\n" not in str(caught.value)
    assert fetch(source, "cpu", {"web": ["web0"]}, NOW - 3600, NOW).values.shape == (1, 12)


def test_a_vcenter_away_for_a_moment_is_asked_again(vcenter):
    vcenter.fault("drop_connection", method="QueryPerf", times=1)
    found = fetch({"type": "vsphere", "connection": vcenter.connection}, "cpu", {"web": ["web0"]}, NOW - 3600, NOW)
    assert found.values.shape == (1, 12)


def test_an_expired_certificate_of_vcenter(tmp_path):
    with VsphereSimulator(tmp_path, vms=[{"name": "web0", "power": "on"}], expired=True) as simulator:
        source = {"type": "vsphere", "connection": simulator.connection}
        with pytest.raises(CertificateRejected, match="expired"):
            fetch(source, "cpu", {"web": ["web0"]}, NOW - 3600, NOW)


def test_vsphere_unknown_counter(vcenter):
    source = {"type": "vsphere", "connection": vcenter.connection, "metrics": {"cpu": "cpu.nonsense.average"}}
    with pytest.raises(InvalidOption, match=r"sources\[0\].metrics.cpu: .*no counter 'cpu.nonsense.average'"):
        fetch(source, "cpu", {"web": ["web0"]}, NOW - 3600, NOW)


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory):
    directory = tmp_path_factory.mktemp("haproxy")
    servers = [HttpServer(directory, f"web{number}", "127.0.0.1", free_port()) for number in range(2)]
    members = [Member(server.name, server.address, server.port) for server in servers]
    with servers[0], servers[1], HAProxy(directory, {"web-backend": members}) as proxy:
        yield proxy


def test_haproxy_tells_rates_now(haproxy):
    source = {
        "type": "haproxy",
        "socket": [haproxy.tcp_socket],
        "backends": {"web": "web-backend"},
        "interval": "1s",
        "metrics": {"requests": {"field": "stot", "aggregation": "rate"}, "total": "stot", "latency": "ttime"},
    }
    url = haproxy.url("web-backend")
    client = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, time, urllib.request\n"
            "for _ in range(400):\n    urllib.request.urlopen(sys.argv[1]).read(); time.sleep(0.005)",
            url,
        ]
    )  # fmt: skip
    try:
        with urllib.request.urlopen(url) as answer:
            answer.read()
        with sources.open(options.checked(source, options.SOURCE, "sources[0]"), "sources[0]") as opened:
            found = {
                name: opened.fetch(metric, {"web": ["web0", "web1", "asleep"]}, NOW - 600, NOW, STEP)
                for name, metric in opened.metrics.items()
            }
    finally:
        client.terminate()
        client.wait()
    assert [key.server for key in found["requests"].keys] == [None, "web0", "web1"]
    rates = found["requests"].values[:, -1]
    assert np.isnan(found["requests"].values[:, 0]).all()
    assert rates[0] > 5
    assert rates[0] == pytest.approx(rates[1] + rates[2], rel=0.2)
    assert found["total"].values[0, -1] >= rates[0]


def test_haproxy_errors(haproxy):
    source = {"type": "haproxy", "socket": [haproxy.tcp_socket], "interval": "0"}
    with pytest.raises(NotFound, match=r"sources\[0\].backends: .* no backend 'web'"):
        fetch(source, "requests", {"web": ["web0"]}, NOW - 600, NOW)
    source |= {"backends": {"web": "web-backend"}, "metrics": {"requests": "nonsense"}}
    with pytest.raises(InvalidOption, match=r"sources\[0\].metrics.requests: .*no field 'nonsense'"):
        fetch(source, "requests", {"web": ["web0"]}, NOW - 600, NOW)


def test_victoria_metrics_over_tls(tmp_path):
    authority = Authority(tmp_path / "ca")
    times = [NOW - 300 * back for back in range(47, -1, -1)]
    values = [float(number) for number in range(48)]
    with VictoriaMetrics(
        tmp_path / "data", certificate=authority.sign("vm"), user="reader", password="lowtide"
    ) as server:
        server.load([({"__name__": "requests", "instance": "web0:80"}, times, values)], ca_path=authority.path)
        source = {
            "type": "prometheus",
            "url": server.url,
            "username": "reader",
            "password": "lowtide",
            "ca_path": str(authority.path),
            "queries": {"requests": "requests", "double": "2 * sum by (instance) (requests)"},
        }
        pools = {"web": ["web0"]}
        assert fetch(source, "requests", pools, times[0] - STEP, NOW).values.tolist() == [values]
        assert fetch(source, "double", pools, NOW - 1200, NOW).values.tolist() == [[88.0, 90.0, 92.0, 94.0]]
        with pytest.raises(AuthenticationFailed, match=r"sources\[0\].username"):
            fetch(source | {"password": "wrong"}, "requests", pools, NOW - 600, NOW)
        with pytest.raises(CertificateRejected, match=r"sources\[0\].ca_path"):
            fetch(source | {"ca_path": None}, "requests", pools, NOW - 600, NOW)


def test_a_client_certificate_is_shown_to_prometheus(tmp_path):
    """Mutual TLS: without a certificate, with an expired one and with a stranger's the server refuses, and each is told."""
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    samples = [(NOW - STEP, 1.5), (NOW, 2.5)]
    with Prometheus(
        tmp_path / "data", [Metric("requests", [({"instance": "web0:80"}, samples)])],
        certificate=authority.sign("prometheus"), client_authority=authority.path,
    ) as server:  # fmt: skip
        source = {
            "type": "prometheus",
            "url": server.url,
            "ca_path": str(authority.path),
            "queries": {"requests": "requests"},
        }

        def ask(**more):
            return fetch(source | more, "requests", {"web": ["web0"]}, NOW - 2 * STEP, NOW)

        certificate, key = authority.sign("client")
        assert ask(client_cert=certificate, client_key=key).values.tolist() == [[1.5, 2.5]]
        both = tmp_path / "both.pem"
        both.write_bytes(pathlib.Path(certificate).read_bytes() + pathlib.Path(key).read_bytes())
        assert ask(client_cert=str(both)).values.tolist() == [[1.5, 2.5]]
        with pytest.raises(AuthenticationFailed, match=r"sources\[0\].client_cert: .* wants a client certificate"):
            ask()
        for other in (authority.sign("old", expired=True), stranger.sign("other")):
            with pytest.raises(
                AuthenticationFailed, match=r"sources\[0\].client_cert: .* refused the client certificate"
            ):
                ask(client_cert=other[0], client_key=other[1])
        with pytest.raises(InvalidOption, match=r"sources\[0\].client_cert: .*nowhere.*PEM file"):
            ask(client_cert="/nowhere.pem")
        with pytest.raises(InvalidOption, match=r"sources\[0\].ca_path: .*absent.*PEM file"):
            ask(client_cert=certificate, client_key=key, ca_path="/absent.pem")


GUARD = """defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend guard
  bind 127.0.0.1:{port} ssl crt {certificate}
  http-request deny deny_status 401 unless {{ req.hdr(authorization) "Bearer {token}" }}
  default_backend prometheus
backend prometheus
  server prometheus 127.0.0.1:{behind}
"""


def test_a_bearer_token_is_sent(tmp_path):
    """Through a real HAProxy that lets nobody else to the Prometheus behind it."""
    authority = Authority(tmp_path / "ca")
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(pathlib.Path(path).read_bytes() for path in authority.sign("guard")))
    port = free_port()
    samples = [(NOW - STEP, 1.5), (NOW, 2.5)]
    with Prometheus(tmp_path / "data", [Metric("requests", [({"instance": "web0:80"}, samples)])]) as server:
        (tmp_path / "guard.cfg").write_text(
            GUARD.format(port=port, certificate=both, token="s3cret", behind=server.port)
        )
        guard = Program(
            ["haproxy", "-db", "-f", str(tmp_path / "guard.cfg")],
            log=tmp_path / "guard.log", ready=lambda: listening("127.0.0.1", port), deadline=30,
        )  # fmt: skip
        guard.start()
        try:
            source = {
                "type": "prometheus",
                "url": f"https://localhost:{port}",
                "ca_path": str(authority.path),
                "queries": {"requests": "requests"},
            }
            pools = {"web": ["web0"]}
            good = fetch(source | {"token": "s3cret"}, "requests", pools, NOW - 2 * STEP, NOW)
            assert good.values.tolist() == [[1.5, 2.5]]
            with pytest.raises(AuthenticationFailed, match=r"sources\[0\].token: .*401.*token") as caught:
                fetch(source | {"token": "wrong"}, "requests", pools, NOW - 2 * STEP, NOW)
            assert "wrong" not in str(caught.value)
        finally:
            guard.stop()


LONG = """time,pool,server,metric,value
{a},web,web0,requests,1.5
{a},web,web1,requests,2.5
{b},web,web0,requests,
{b},web,web1,requests,4.5
{b},web,,requests,9
{b},web,web0,cpu,0.5
"""


def stamp(offset):
    return datetime.datetime.fromtimestamp(NOW + offset, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_csv_in_long_form(tmp_path):
    (tmp_path / "a.csv").write_text(LONG.format(a=stamp(-300), b=stamp(0)))
    source = {"type": "files", "paths": [str(tmp_path / "*.csv")], "metrics": {"requests": "requests"}}
    series = fetch(source, "requests", {"web": ["web0", "web1"]}, NOW - 600, NOW)
    assert [key.server for key in series.keys] == [None, "web0", "web1"]
    np.testing.assert_array_equal(series.values, [[np.nan, 9], [1.5, np.nan], [2.5, 4.5]])


@pytest.fixture
def new_york(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_csv_with_times_of_several_forms_is_in_utc_wherever_the_controller_is(tmp_path, new_york):
    times = ["2026-01-31T00:05:00Z", "2026-01-31T00:10:00", "2026-01-31T01:15:00+01:00"]
    lines = [f"{text},web1,{number}" for number, text in enumerate(times)]
    (tmp_path / "a.csv").write_text("\n".join(["time,server,requests", *lines]))
    first = int(datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC).timestamp())
    source = {"type": "files", "paths": [str(tmp_path / "a.csv")], "metrics": {"requests": "requests"}}
    found = fetch(source, "requests", {"web": ["web1"]}, first, first + 3 * STEP)
    assert found.values.tolist() == [[0.0, 1.0, 2.0]]


def test_parquet_in_wide_form_with_epoch_seconds(tmp_path):
    path = tmp_path / "a.parquet"
    duckdb.sql(
        f"COPY (SELECT {NOW} - 60 * range AS stamp, 'web0' AS host, 10.0 * range AS rps FROM range(10)) TO '{path}'"
    )
    source = {
        "type": "files",
        "paths": [str(path)],
        "columns": {"time": "stamp", "server": "host"},
        "metrics": {"requests": {"column": "rps", "aggregation": "max"}},
    }
    series = fetch(source, "requests", {"web": ["web0"]}, NOW - 600, NOW)
    assert series.values.tolist() == [[90.0, 40.0]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "time,server\n1,web0\n", r"sources\[0\].metrics.requests: .*no column 'requests'.*time, server"),
        ("a.parquet", "no parquet", r"sources\[0\].paths: .*a.parquet can't be read"),
        ("b.txt", "", r"sources\[0\].paths: no file matches"),
    ],
)
def test_bad_files(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    source = {"type": "files", "paths": [str(tmp_path / "a.*")], "metrics": {"requests": "requests"}}
    with pytest.raises(Exception, match=words) as caught:
        fetch(source, "requests", {"web": ["web0"]}, NOW - 600, NOW)
    assert "\n" not in str(caught.value)


def test_this_host_and_inline_samples():
    found = host_metrics(
        {"server": "web0", "interval": 0.2, "metrics": ["cpu", "memory", "network_sent"]}, check_mode=False
    )
    assert found["metrics"]["memory"] > 1e6
    assert 0 <= found["metrics"]["cpu"] <= found["cores"] * 1.5
    last = (int(time.time()) // STEP + 1) * STEP
    series = fetch({"type": "inline", "samples": found["samples"]}, "memory", {"web": ["web0"]}, last - STEP, last)
    assert series.values.tolist() == [[found["metrics"]["memory"]]]
    # Asked in the middle of a step, which the collection of that moment does not see the end of.
    series = fetch(
        {"type": "inline", "samples": found["samples"]}, "memory", {"web": ["web0"]}, last - 2 * STEP, last - STEP
    )
    assert series.values.tolist() == [[found["metrics"]["memory"]]]
    known = {"server": "web0", "metric": "memory", "time": last - STEP, "value": 5}
    series = fetch(
        {"type": "inline", "samples": [known, *found["samples"]]},
        "memory",
        {"web": ["web0"]},
        last - 2 * STEP,
        last - STEP,
    )
    assert series.values.tolist() == [[5.0]]
    with pytest.raises(InvalidOption, match=r"sources\[0\].samples\[0\]: .*time, metric and value"):
        fetch({"type": "inline", "samples": [{"server": "web0"}]}, "memory", {"web": ["web0"]}, last - STEP, last)
