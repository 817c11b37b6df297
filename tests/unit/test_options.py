# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption

POOL = {
    "servers": ["w0", "w1"],
    "load": {"metric": "requests", "server_capacity": 100},
    "standby": {"servers": ["s0"]},
    "limits": {},
    "update": {},
}


def changed(**values):
    """The pool with some options changed, by their path: load__metric."""
    pool = copy.deepcopy(POOL)
    for path, value in values.items():
        *way, last = path.split("__")
        place = pool
        for name in way:
            place = place.setdefault(name, {})
        place[last] = value
    return pool


def test_pools_are_completed_and_the_values_given_are_left_alone():
    given = {"web": changed(), "db": changed(servers=["d0"], standby={"servers": ["ds"]})}
    before = copy.deepcopy(given)
    result = options.pools(given)
    assert given == before
    assert list(result) == ["web", "db"]
    assert result["web"]["load"]["target_utilization"] == 0.7
    assert result["web"]["standby"]["lead_time"] == "5m"
    assert result["web"]["update"]["failure_domains"] == {}


def test_only_those_asked_for_are_looked_at():
    assert list(options.pools({"web": changed(), "broken": {}}, ["web"])) == ["web"]


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"servers": []}, r"pools\.web\.servers"),
        ({"servers": ["{{ groups['web'] }}"]}, r"pools\.web\.servers: .* is a template that nobody has rendered"),
        ({"balancr": {}}, r"pools\.web: there is no option 'balancr'; 'balancer' is the nearest"),
        ({"load__servercapacity": 1}, r"pools\.web: there is no option 'load\.servercapacity'; 'server_capacity' is"),
        ({"zzz": 1}, r"pools\.web: there is no option 'zzz'\. The options"),
        ({"servers": ["w0", "w0"]}, r"pools\.web\.servers: 'w0' is named twice"),
        ({"standby__servers": ["s0", "s0"]}, r"pools\.web\.standby\.servers: 's0' is named twice"),
        ({"standby__servers": ["w0"]}, r"pools\.web\.standby\.servers: 'w0' is a server of the pool"),
        ({"standby__lead_time": "soon"}, r"pools\.web\.standby\.lead_time"),
        ({"update__duration": "long"}, r"pools\.web\.update\.duration"),
        ({"update__first": ["w0", "w0"]}, r"pools\.web\.update\.first: 'w0' is named twice"),
        ({"update__first": ["w0"], "update__last": ["w0"]}, r"pools\.web\.update\.last: 'w0' is named twice"),
        ({"update__risk": 0}, r"pools\.web\.update\.risk"),
        ({"update__risk": 0.6}, r"pools\.web\.update\.risk"),
        ({"update__risk": "nan"}, r"pools\.web\.update\.risk"),
        ({"load__server_capacity": 0}, r"pools\.web\.load\.server_capacity"),
        ({"load__server_capacity": float("inf")}, r"pools\.web\.load\.server_capacity"),
        ({"load__target_utilization": 1.1}, r"pools\.web\.load\.target_utilization"),
        ({"weight": 0}, r"pools\.web\.weight"),
        ({"limits__min": 0}, r"pools\.web\.limits\.min"),
        ({"limits__min": 4, "limits__max": 3}, r"pools\.web\.limits\.max: 3 .*at least 4"),
        ({"slo": {"overload_cost_per_hour": -1}}, r"pools\.web\.slo\.overload_cost_per_hour"),
        ({"standby__cost_per_hour": -1}, r"pools\.web\.standby\.cost_per_hour"),
        ({"colour": "red"}, r"pools\.web: .*colour"),
        ({"load": "requests"}, r"pools\.web: "),
    ],
)
def test_what_is_wrong_is_named_with_its_path_and_a_remedy(values, option):
    with pytest.raises(InvalidOption, match=f"^{option}") as caught:
        options.pools({"web": changed(**values)})
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [None, {}, [], "web"])
def test_no_pool_at_all(values):
    with pytest.raises(InvalidOption, match="^lowtide_pools: no pool is defined.*Define at least one"):
        options.pools(values, option="lowtide_pools")


def test_a_pool_that_is_text_tells_how_to_pass_structures():
    with pytest.raises(InvalidOption, match=r"^pools\.web: a dictionary is wanted, not str\. .*JSON"):
        options.pools({"web": "{}"})


def test_a_name_that_is_not_there():
    with pytest.raises(InvalidOption, match=r"^pool: there is no pool 'wbe'\. The pools defined are db, web"):
        options.pools({"web": changed(), "db": changed()}, ["wbe"])


def test_a_server_carries_load_for_one_pool():
    both = {"web": changed(), "db": changed(servers=["d0", "w1"], standby=None)}
    with pytest.raises(InvalidOption, match=r"^pools\.db\.servers: server 'w1' is in pool 'web' too"):
        options.pools(both)


def test_a_standby_that_serves_another_pool():
    both = {"web": changed(), "db": changed(servers=["d0"], standby__servers=["w1"])}
    with pytest.raises(InvalidOption, match=r"^pools\.db\.standby\.servers: standby 'w1' is a server of pool 'web'"):
        options.pools(both)


def test_pools_may_share_standbys():
    assert set(options.pools({"web": changed(), "db": changed(servers=["d0"])})) == {"web", "db"}


@pytest.mark.parametrize("place", ["servers", "standby.servers"])
def test_a_list_that_came_as_text_is_refused(place):
    """As in -e 'lowtide_servers=[1,2]', which would be split at its commas, brackets and all."""
    text = '["web1", "web2"]'
    load = {"metric": "requests", "server_capacity": 100}
    web = {"servers": ["w0"], "load": load, "standby": {"servers": text}}
    if place == "servers":
        web = {"servers": text, "load": load}
    with pytest.raises(InvalidOption, match=f"^pools.web.{place}: it is text that looks like a list.*as JSON"):
        options.pools({"web": web})
