# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
import sys

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    InvalidOption,
    NotFound,
)
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from simulators.kubernetes_api import KubernetesApi


@pytest.fixture(params=["statefulset", "deployment"])
def api(request):
    with KubernetesApi(f"{request.param}s", 3) as running:
        yield running


@pytest.fixture
def call(api, tmp_path):
    """The module, with three replicas that always run and three standbys."""
    (tmp_path / "token").write_text("secret\n")

    def call(*, check_mode=False, kubernetes=None, **given):
        spec = {
            "url": api.url, "token_file": str(tmp_path / "token"), "namespace": "shop",
            "workload": f"{api.kind[:-1]}/web", "replicas": 3, "servers": ["s0", "s1", "s2"], **(kubernetes or {}),
        }  # fmt: skip
        values = {"provider": "kubernetes", "kubernetes": spec, "timeout": "20s", **given}
        return standby.standby(options.checked(values, standby.SPEC, "standby"), check_mode=check_mode)

    return call


def test_replicas_wake_and_sleep_in_one_write(api, call):
    foretold = call(check_mode=True, activate=["s1", "s0"])
    assert api.writes == []
    result = call(activate=["s1", "s0"])
    assert result["diff"] == foretold["diff"]
    assert [(name, item["ready"], item["ip"]) for name, item in result["servers"].items()] == [
        ("s1", True, "10.0.0.4"),
        ("s0", True, "10.0.0.3"),
    ]
    assert not call(activate=["s1", "s0"])["changed"]
    assert [item["power"] for item in call()["servers"].values()] == ["on", "on", "off"]
    slept = call(check_mode=True, release=["s1"])["diff"]
    assert call(release=["s1"])["diff"] == slept == {"before": {"s1": "on"}, "after": {"s1": "off"}}
    assert api.writes == [5, 4]


def test_what_is_out_of_order_is_refused_and_nothing_else_is_touched(api, call):
    result = call(activate=["s2"])
    assert "s2: replicas come in order, and s0 comes before it" in result["msg"]
    call(activate=["s0", "s1"])
    result = call(release=["s0"])
    assert "s0: replicas go in order, and s1 stays awake after it" in result["msg"]
    assert api.replicas == 5
    call(release=["s0", "s1"])
    assert api.writes == [5, 3]


@pytest.mark.parametrize("fault", ["conflict", "scaled", "lost"])
def test_a_change_by_others_and_a_lost_reply_are_survived(api, call, fault):
    api.faults.append(fault)
    result = call(activate=["s0"])
    assert result["servers"]["s0"]["ready"], result
    # Another one scaled up meanwhile: s0 is awake then, and nothing is left to be done.
    assert api.writes == ([] if fault == "scaled" else [4])


def test_what_is_refused_is_said(api, call):
    api.faults.append("forbidden")
    assert "is forbidden" in call(activate=["s0"])["msg"]


def test_a_replica_that_never_is_ready_fails_and_says_why(api, call):
    api.broken.add(3)
    api.homeless.add(4)
    text = call(activate=["s0", "s1"], timeout="2s")["msg"]
    assert re.search(
        r"s0: it is powered on, but its pod web-\S* was not ready \(containers with unready status: \[web\]\)", text
    )
    assert re.search(r"s1: .* was not ready \(0/1 nodes are available: 1 Insufficient cpu.\) within 2 s", text)
    del api.pods[4]
    text = call(activate=["s1"], timeout="1s")["msg"]
    assert re.search(r"s1: it is powered on, but it had no pod, and pod web-\S* was not ready \(.*\) within 1 s", text)
    api.broken.clear()
    text = call(activate=["s1"], timeout="1s")["msg"]
    assert "s1: it is powered on, but it had no pod within 1 s" in text


def test_an_api_that_starts_again_may_refuse_for_a_moment(api, call):
    api.looks_refused = 2
    assert call(activate=["s0"])["servers"]["s0"]["ready"]
    api.writes.clear()
    api.looks_refused = 99
    assert re.search(
        r"within 2 s; the Kubernetes API refuses: .* is forbidden", call(activate=["s1"], timeout="2s")["msg"]
    )


def test_what_others_scale_stays(api, call):
    """More than the standbys, fewer than those that always run, and a change between look and order."""
    others, order = 8, standby.means.Kubernetes.order

    def meanwhile(self, orders):
        api._set(others)
        api.version += 1
        return order(self, orders)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standby.means.Kubernetes, "order", meanwhile)
        assert call(activate=["s0"])["servers"]["s0"]["ready"]
    assert "s2: replicas go in order, and others scaled web to 2 beyond its standbys" in call(release=["s2"])["msg"]
    assert (api.writes, api.replicas) == ([], 8)
    api._set(1)
    assert "s1: replicas come in order, and s0 comes before it" in call(activate=["s1"])["msg"]
    assert not call(release=["s0"])["changed"]
    assert (api.writes, api.replicas) == ([], 1)
    assert call(activate=["s0"])["changed"]
    assert api.writes == [4]


def test_a_workload_of_none_wakes_its_first(api, call):
    api._set(0)
    assert call(kubernetes={"replicas": 0}, activate=["s0"])["servers"]["s0"]["ready"]
    assert call(kubernetes={"replicas": 0}, release=["s0"])["changed"]
    assert api.writes == [1, 0]


def test_what_is_wrong_is_named(api, call, tmp_path):
    with pytest.raises(InvalidOption, match=r"^kubernetes\.workload: 'pod/web' is not a workload"):
        call(kubernetes={"workload": "pod/web"})
    with pytest.raises(NotFound, match="^activate: 's9' is no standby of web"):
        call(activate=["s9"])
    with pytest.raises(InvalidOption, match=r"^kubernetes: .* invalid path: .*Check ca_path"):
        call(kubernetes={"url": "https://127.0.0.1:1", "ca_path": str(tmp_path / "none")})
    with pytest.raises(InvalidOption, match=r"^kubernetes\.token_file: it can't be read"):
        call(kubernetes={"token_file": str(tmp_path / "none")})
    with pytest.raises(NotFound, match=r"^kubernetes\.workload: "):
        call(kubernetes={"namespace": "bank"})
    with pytest.raises(ConnectionFailed, match=r"^kubernetes\.url: "):
        call(kubernetes={"url": "http://127.0.0.1:1"})
    (tmp_path / "token").write_text("guess")
    with pytest.raises(AuthenticationFailed, match=r"^kubernetes\.token_file: "):
        call()
    with pytest.raises(InvalidOption, match="^kubernetes: it is needed"):
        standby.standby(options.checked({"provider": "kubernetes"}, standby.SPEC, "x"), check_mode=False)


def test_a_pools_standbys_are_its_replicas_in_their_order(api, call, tmp_path):
    spec = {"url": api.url, "token_file": str(tmp_path / "token"), "namespace": "shop", "replicas": 3}
    own = {
        "servers": ["s0", "s1"],
        "provider": "kubernetes",
        "kubernetes": {**spec, "workload": f"{api.kind[:-1]}/web"},
    }
    pools = {"web": {"servers": ["w"], "load": {"metric": "m", "server_capacity": 1}, "standby": own}}
    result = call(pools=pools, activate=["s0"])
    assert (result["pools"], api.writes) == ({"web": ["s0"]}, [4])
