# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failure domains read from the simulated vCenter."""

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_plan, update_rules


def pools(servers, **update):
    load = {"metric": "requests", "server_capacity": 100}
    return options.pools({"web": {"servers": servers, "load": load, "update": update}})


def placement(vcenter, **find):
    checked = {"history": {}, "pools": {"web": {}}, "placement": {"connection": vcenter.connection, "find": find}}
    return options.checked(checked, update_plan.SPEC, "update_plan")["placement"]


def test_the_host_a_server_runs_on_is_its_failure_domain(vcenter):
    asked = placement(vcenter, names={"a": "web-s1", "b": "web-s2", "c": "web1"})
    placed = update_rules.placed(pools(["a", "b", "c"]), asked)["web"]["update"]["failure_domains"]
    assert placed["a"] == placed["b"] == "esx1"
    assert placed["c"] == "esx2"


def test_what_the_pool_says_goes_before_it(vcenter):
    asked = placement(vcenter)
    placed = update_rules.placed(pools(["web1", "web-s1"], failure_domains={"web1": "rack7"}), asked)
    assert placed["web"]["update"]["failure_domains"] == {"web1": "rack7", "web-s1": "esx1"}


def test_a_server_without_a_machine_is_named(vcenter):
    with pytest.raises(NotFound, match="no virtual machine 'nobody'"):
        update_rules.placed(pools(["nobody"]), placement(vcenter))
