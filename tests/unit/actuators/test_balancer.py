# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators import balancer
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators.balancer import Change, Status, Wanted
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotFound

POOL = {
    "web1": Status("ready", 100, 100, True, "10.0.0.1", 80),
    "web2": Status("ready", 50, 100, True, "10.0.0.2", 80),
    "web3": Status("maintenance", 1, 1, False, "10.0.0.3", 80),
}


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a\nb", 'a"b', "a'b", "a/b", "a#b", "ä", None, "x" * 128, "a\\b"])
def test_names_that_are_not_only_names_are_refused(name):
    with pytest.raises(InvalidOption, match=r"^members\[0\]\.name: .* Names are made of"):
        balancer.wanted([{"name": name, "state": "drain"}])


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"weight": "1.5"}, r"members\[0\]\.weight: '1.5' is not a weight"),
        ({"weight": "-1"}, "is not a weight"),
        ({"weight": "50%;"}, "is not a weight"),
        ({"address": "10.0.0.1"}, r"members\[0\]\.port: address and port go together"),
        ({"port": 80}, r"members\[0\]\.address: address and port"),
        ({"address": "10.0.0.1 weight 0", "port": 80}, "is not an address"),
        ({"address": "10.0.0.1", "port": 70000}, "70000 is not a port"),
    ],
)
def test_values_that_can_not_be_are_refused(member, message):
    with pytest.raises(InvalidOption, match=message):
        balancer.wanted([{"name": "web1", **member}])


def test_a_name_given_twice_is_refused():
    with pytest.raises(InvalidOption, match=r"members\[1\]\.name: 'web1' is named twice"):
        balancer.wanted([{"name": "web1"}, {"name": "web1"}])


def test_weights_are_absolute_or_shares():
    first, second, third = balancer.wanted(
        [{"name": "a", "weight": "50"}, {"name": "b", "weight": "12.5%"}, {"name": "c"}]
    )
    assert (first.weight, first.share) == (50, None)
    assert (second.weight, second.share) == (None, 0.125)
    assert (third.weight, third.share) == (None, None)


def test_differences_name_only_what_differs_and_set_weights_before_states():
    wants = [Wanted("web1", "ready", weight=100), Wanted("web2", "drain", share=1.0), Wanted("web3", "ready")]
    assert balancer.differences(wants, POOL, most=256, adds=True) == [
        Change("web2", "weight", 50, 100),
        Change("web2", "state", "ready", "drain"),
        Change("web3", "state", "maintenance", "ready"),
    ]


def test_what_the_changes_lead_to_needs_no_change():
    wants = [
        Wanted("web1", "maintenance", weight=7),
        Wanted("web2", "ready", address="10.0.0.9", port=81),
        Wanted("web3", "absent"),
        Wanted("web4", "ready", share=0.5, address="10.0.0.4", port=80),
    ]
    changes = balancer.differences(wants, POOL, most=256, adds=True)
    then = balancer.after(POOL, changes)
    assert sorted(then) == ["web1", "web2", "web4"]
    assert (then["web2"].address, then["web2"].port) == ("10.0.0.9", 81)
    assert then["web4"].weight == 50
    wants[3] = Wanted("web4", "ready", address="10.0.0.4", port=80)
    assert balancer.differences(wants, then, most=256, adds=True) == []


def test_a_share_that_whole_numbers_can_not_express_is_refused():
    with pytest.raises(InvalidOption, match=r"50% of a full weight of 1 can't be told .* larger weight"):
        balancer.differences([Wanted("web3", share=0.5)], POOL, most=256, adds=True)
    assert balancer.differences([Wanted("web3", share=0.0)], POOL, most=256, adds=True)[0].after == 0


def test_unknown_members_are_named_with_the_known():
    with pytest.raises(NotFound, match=r"members\[0\]\.name: the backend has no member 'web9'. .*web1, web2, web3"):
        balancer.differences([Wanted("web9", "drain")], POOL, most=256, adds=True)
    with pytest.raises(InvalidOption, match="can't remove members"):
        balancer.differences([Wanted("web1", "absent")], POOL, most=256, adds=False)
    assert balancer.differences([Wanted("web9", "absent")], POOL, most=256, adds=True) == []


def test_a_weight_over_the_balancers_is_refused():
    with pytest.raises(InvalidOption, match=r"257 is more than the balancer takes. Give a weight from 0 to 256"):
        balancer.differences([Wanted("web1", weight=257)], POOL, most=256, adds=True)


def test_the_last_member_in_service_is_kept():
    last = [Change("web1", "state", "ready", "drain"), Change("web2", "weight", 50, 0)]
    with pytest.raises(InvalidOption, match="min_ready: without web1, web2 only 0 members would be in service"):
        balancer.check_min_ready(POOL, last, least=1)
    balancer.check_min_ready(POOL, last, least=0)
    balancer.check_min_ready(POOL, last[:1], least=1)
    balancer.check_min_ready(POOL, [Change("web3", "state", "maintenance", "ready")], least=9)
