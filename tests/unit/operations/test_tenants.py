# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tenant's pools keep to the tenant's own; a definition that does not is refused, with the reason."""

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import tenants

LOAD = {"metric": "requests", "server_capacity": 100}


def definitions(**bank):
    ledger = {"tenant": "bank", "servers": ["b0", "b1"], "load": LOAD, "standby": {"servers": ["bs0"]}, **bank}
    shop = {"tenant": "shop", "servers": ["w0"], "load": LOAD, "standby": {"servers": ["ws0", "ws1"]}}
    return {"web": shop, "ledger": ledger}


def chosen(pools, *, pool=(), tenant=None, limits=None):
    return tenants.chosen({"pools": pools, "pool": list(pool), "tenant": tenant, "tenants": limits or {}})


def test_a_tenants_run_has_the_tenants_pools():
    assert list(chosen(definitions())) == ["web", "ledger"]
    assert list(chosen(definitions(), tenant="bank")) == ["ledger"]
    with pytest.raises(
        InvalidOption, match="^pool: pool 'ledger' belongs to tenant 'bank', and this run is for 'shop'"
    ):
        chosen(definitions(), pool=["ledger"], tenant="shop")
    with pytest.raises(InvalidOption, match="^tenant: no pool belongs to tenant 'lab'.*bank, shop"):
        chosen(definitions(), tenant="lab")


@pytest.mark.parametrize(
    ("bank", "limits", "message"),
    [
        (
            {"standby": {"servers": ["w0"]}}, {},
            "^pools.ledger.standby.servers: 'w0' is a server of pool 'web' of tenant 'shop', not of 'bank'",
        ),
        ({"servers": ["w0"]}, {}, "'w0' is a server of pool 'ledger' of tenant 'bank', not of 'shop'"),
        (
            {"standby": {"servers": ["ws0"]}}, {},
            "^pools.ledger.standby.servers: standby 'ws0' is of pool 'web' of tenant 'shop' too, and no quota",
        ),
        (
            {"standby": {"servers": ["ws0"]}}, {"shop": {"max_standbys": 3}, "bank": {}},
            "no quota says how many tenant 'bank' may take",
        ),
        (
            {"standby": {"servers": ["ws0"]}}, {"shop": {"standbys": ["ws0", "ws1"]}, "bank": {"max_standbys": 1}},
            "^pools.ledger.standby.servers: 'ws0' belongs to tenant 'shop', not of 'bank'",
        ),
        (
            {"servers": ["ws1"]}, {"shop": {"standbys": ["ws0", "ws1"]}, "bank": {}},
            "'ws1' (belongs to tenant 'shop'|is a server of pool 'ledger')",
        ),
        (
            {"standby": {"servers": ["stray"]}}, {"shop": {}, "bank": {"standbys": ["bs0"]}},
            "^pools.ledger.standby.servers: 'stray' is not among the standbys of tenant 'bank'.*bs0",
        ),
        ({"tenant": "bnak"}, {"shop": {}, "bank": {}}, "^pools.ledger.tenant: tenant 'bnak' is not one of tenants"),
        ({}, {"shop": {"standbys": ["x"]}, "bank": {"standbys": ["x"]}}, "^tenants.bank.standbys: standby 'x' belongs"),
        ({}, {"shop": {"budget_per_day": float("nan")}, "bank": {}}, "^tenants.shop.budget_per_day: nan is out of"),
        ({}, {"shop": {"max_standbys": -1}, "bank": {}}, "^tenants.shop.max_standbys: -1 is out of range"),
        ({}, {"shop": {"quota": 1}, "bank": {}}, "^tenants.shop: .*quota"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tenant", [None, "bank", "shop"])
def test_a_hostile_definition_is_refused_whoever_runs(bank, limits, message, tenant):
    """Also when the pool that is wrong is not looked at."""
    if tenant == "bank" and bank.get("tenant"):
        tenant = None
    with pytest.raises(InvalidOption, match=message):
        chosen(definitions(**bank), tenant=tenant, limits=limits)


def test_tenants_with_quotas_may_share():
    shared = definitions(standby={"servers": ["ws1", "bs0"]})
    limits = {"shop": {"max_standbys": 2}, "bank": {"max_standbys": 1}}
    assert list(chosen(shared, limits=limits)) == ["web", "ledger"]


def test_only_own_standbys_are_acted_on():
    pools = chosen(definitions(), tenant="shop")
    tenants.require_own(["ws0"], pools, "shop")
    tenants.require_own(["anything"], pools, None)
    for name in ("bs0", "b0", "w0"):
        with pytest.raises(InvalidOption, match=f"^tenant: '{name}' is not a standby of tenant 'shop'"):
            tenants.require_own(["ws1", name], pools, "shop")
