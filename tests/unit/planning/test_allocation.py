# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.allocation import Claim, Share, share
from scipy import optimize


def total(claims, given):
    return sum(sum(claim.gains[: len(given[claim.pool])]) for claim in claims)


def exact(claims, shares):
    """The greatest saving by scipy's MILP: x[p, s] that a standby goes to a pool, u[p, k] that it has its k-th."""
    servers = sorted({server for claim in claims for server in claim.servers})
    pairs = [(p, s) for p, claim in enumerate(claims) for s in claim.servers]
    units = [(p, k) for p, claim in enumerate(claims) for k in range(len(claim.gains))]
    count = len(pairs) + len(units)
    rows, low, high = [], [], []

    def require(entries, least, most):
        row = np.zeros(count)
        for column, value in entries:
            row[column] += value
        rows.append(row)
        low.append(least)
        high.append(most)

    for server in servers:
        require([(column, 1) for column, pair in enumerate(pairs) if pair[1] == server], 0, 1)
    for place in range(len(claims)):
        entries = [(column, 1) for column, pair in enumerate(pairs) if pair[0] == place]
        entries += [(len(pairs) + column, -1) for column, unit in enumerate(units) if unit[0] == place]
        require(entries, 0, 0)
    for tenant, right in shares.items():
        entries = [(len(pairs) + column, 1) for column, unit in enumerate(units) if claims[unit[0]].tenant == tenant]
        wanted = sum(len(claim.gains) for claim in claims if claim.tenant == tenant)
        require(entries, min(right.guaranteed, wanted), np.inf if right.most is None else right.most)
    saving = np.concatenate([np.zeros(len(pairs)), [claims[p].gains[k] for p, k in units]])
    answer = optimize.milp(
        -saving,
        integrality=np.ones(count),
        bounds=optimize.Bounds(0, 1),
        constraints=optimize.LinearConstraint(np.array(rows), low, high),
    )
    assert answer.success
    return -answer.fun


def instance(seed, *, alike):
    """Pools of three tenants with savings that never rise; the same standbys for all and shares, or different ones and none."""
    random = np.random.default_rng(seed)
    names = [f"s{number}" for number in range(int(random.integers(2, 10)))]
    claims = []
    for number in range(int(random.integers(2, 7))):
        wanted = int(random.integers(1, 6))
        gains = np.sort(random.exponential(size=wanted))[::-1] * random.choice([1, 5])
        own = names if alike else [name for name in names if random.random() < 0.5] or names[:1]
        gains = gains[: len(own)]
        claims.append(Claim(f"p{number}", f"t{number % 3}", tuple(own), tuple(gains.tolist())))
    if not alike:
        return claims, {}
    room = len(names)
    shares = {}
    for tenant in sorted({claim.tenant for claim in claims}):
        guaranteed = int(random.integers(0, room // 2 + 1))
        room -= guaranteed
        shares[tenant] = Share(guaranteed, guaranteed + int(random.integers(0, 4)) if random.random() < 0.5 else None)
    return claims, shares


def check_possible(claims, given, shares):
    names = [server for servers in given.values() for server in servers]
    assert len(names) == len(set(names))
    for claim in claims:
        assert set(given[claim.pool]) <= set(claim.servers)
        assert len(given[claim.pool]) <= len(claim.gains)
    for tenant, right in shares.items():
        got = sum(len(given[claim.pool]) for claim in claims if claim.tenant == tenant)
        assert right.most is None or got <= right.most


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("seed", range(100))
def test_it_saves_as_much_as_an_exact_solver(seed, alike):
    claims, shares = instance(seed, alike=alike)
    given = share(claims, shares)
    check_possible(claims, given, shares)
    assert total(claims, given) == pytest.approx(exact(claims, shares), rel=1e-9, abs=1e-9)


def two(first, second, owned=("b",)):
    return [
        Claim("a", "x", ("s0",), (first,), frozenset(["s0"]) if "a" in owned else frozenset()),
        Claim("b", "y", ("s0",), (second,), frozenset(["s0"]) if "b" in owned else frozenset()),
    ]


def test_a_small_change_moves_nothing_and_a_great_one_does():
    assert share(two(1.2, 1.0)) == {"a": [], "b": ["s0"]}
    assert share(two(1.3, 1.0)) == {"a": ["s0"], "b": []}
    assert share(two(1.2, 1.0, owned=())) == {"a": ["s0"], "b": []}


@pytest.mark.parametrize("seed", range(30))
def test_forecasts_that_change_a_little_reshuffle_nothing(seed):
    claims, shares = instance(seed, alike=False)
    before = share(claims, shares)
    random = np.random.default_rng(seed)
    after = share(
        [
            Claim(
                claim.pool,
                claim.tenant,
                claim.servers,
                tuple(np.sort(np.array(claim.gains) * random.uniform(0.95, 1.05, len(claim.gains)))[::-1].tolist()),
                frozenset(before[claim.pool]),
            )
            for claim in claims
        ],
        shares,
    )
    assert {pool: set(servers) for pool, servers in after.items()} == {
        pool: set(servers) for pool, servers in before.items()
    }


def test_a_guarantee_comes_first_and_only_as_far_as_it_is_wanted():
    claims = [Claim("a", "x", ("s0", "s1"), (9.0, 8.0)), Claim("b", "y", ("s0", "s1"), (1.0,))]
    assert share(claims) == {"a": ["s0", "s1"], "b": []}
    assert {pool: len(got) for pool, got in share(claims, {"y": Share(2)}).items()} == {"a": 1, "b": 1}
    assert {pool: len(got) for pool, got in share(claims, {"x": Share(0, 0)}).items()} == {"a": 0, "b": 1}
