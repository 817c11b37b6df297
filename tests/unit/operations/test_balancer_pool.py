# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What several instances that differ make of a member; all else is tested on a real balancer."""

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators.balancer import Status
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import balancer_pool


class Fake:
    """An instance that only tells."""

    most, adds, option, waiting = 256, True, "socket", 0

    def __init__(self, label, **members):
        self.label, self.members = label, members

    def read(self):
        return {name: Status(state, weight, 100, True) for name, (state, weight) in self.members.items()}


@pytest.mark.parametrize("restarted_is_first", [True, False])
def test_a_member_that_one_instance_has_out_is_out(monkeypatch, restarted_is_first):
    """One of two was restarted while web1 and web2 were out, and has forgotten it."""
    instances = [
        Fake("lb1", web1=("ready", 100), web2=("ready", 100), web3=("ready", 100), web4=("drain", 100)),
        Fake("lb2", web1=("drain", 0), web2=("maintenance", 100), web3=("ready", 100), web4=("drain", 100)),
    ]
    told = instances if restarted_is_first else instances[::-1]
    monkeypatch.setattr(balancer_pool, "open_instances", lambda params, sessions: told)
    params = options.checked({"backend": "web", "socket": ["a", "b"]}, options.BALANCER_POOL, "balancer_pool")
    seen = balancer_pool.balancer_pool(params, check_mode=True)
    assert {name: (one["state"], one["weight"]) for name, one in seen["members"].items()} == {
        "web1": ("drain", 0),
        "web2": ("maintenance", 100),
        "web3": ("ready", 100),
        "web4": ("drain", 100),
    }
    assert (seen["out"], seen["taking"]) == (["web1", "web2", "web4"], ["web1", "web2", "web3"])
    assert len(seen["warnings"]) == 2
