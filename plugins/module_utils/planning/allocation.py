# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets a scarce standby: by what each would save, exactly.

Standbys that several pools may use are alike, and what a further one saves never rises. Then taking the greatest saving
that is still possible, again and again, is optimal: what can be given out at once is a matroid (Edmonds, *Matroids and
the greedy algorithm*, Mathematical Programming 1, 1971), where pools name the same standbys with caps per tenant a laminar one, where
they name different ones without caps a transversal one. With both at once it is a good answer, not always the best.
"""

from __future__ import annotations

import dataclasses
import heapq
import typing as t

# By how much another's saving must exceed that of the pool that has a standby for it to change hands.
MARGIN = 0.25


@dataclasses.dataclass(frozen=True)
class Claim:
    """What one pool would do with standbys.

    :param pool: Its name. :param tenant: Whose it is.
    :param servers: Standbys that it may use, in its order of preference.
    :param gains: What the first, the second, ... would save, never rising.
    :param owned: Those that it has.
    """

    pool: str
    tenant: str
    servers: tuple[str, ...]
    gains: tuple[float, ...]
    owned: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Share:
    """What a tenant has a right to: so many standbys at least when it wants them, so many at most."""

    guaranteed: int = 0
    most: int | None = None


def share(
    claims: t.Sequence[Claim], shares: t.Mapping[str, Share] | None = None, *, margin: float = MARGIN
) -> dict[str, list[str]]:
    """The standbys that each pool gets.

    Those a pool has count with a bonus of *margin*, so that a small change of what is expected moves none. Guaranteed ones
    go first, whatever others would save. Equal savings go by the order of the claims.

    :returns: Standbys by pool, those it has first; a pool that gets none has an empty list.
    """
    shares = shares or {}
    holder: dict[str, str] = {}
    liked = {claim.pool: sorted(claim.servers, key=lambda one, own=claim.owned: one not in own) for claim in claims}
    got = dict.fromkeys(liked, 0)
    given: dict[str, int] = {}
    for guaranteed in (True, False):
        queue = [_next(claim, got[claim.pool], place, margin) for place, claim in enumerate(claims)]
        queue = [item for item in queue if item is not None]
        heapq.heapify(queue)
        while queue:
            _gain, place = heapq.heappop(queue)
            claim = claims[place]
            right = shares.get(claim.tenant, Share())
            limit = right.guaranteed if guaranteed else right.most
            if limit is not None and given.get(claim.tenant, 0) >= limit:
                continue
            if not _give(claim.pool, liked, holder):
                continue
            got[claim.pool] += 1
            given[claim.tenant] = given.get(claim.tenant, 0) + 1
            following = _next(claim, got[claim.pool], place, margin)
            if following is not None:
                heapq.heappush(queue, following)
    return _named(claims, holder)


def _next(claim: Claim, count: int, place: int, margin: float) -> tuple[float, int] | None:
    """What a pool that got so many would save with one more, negative so that the greatest comes first."""
    if count >= len(claim.gains):
        return None
    return -claim.gains[count] * (1 + margin if count < len(claim.owned) else 1), place


def _give(pool: str, liked: t.Mapping[str, t.Sequence[str]], holder: dict[str, str]) -> bool:
    """Give a pool one more standby, others changing theirs where that makes room; False where nothing does.

    The shortest way along which standbys change hands is sought (an augmenting path); its last one is free.
    """
    came: dict[str, str | None] = {}
    frontier: list[tuple[str, str | None]] = [(pool, None)]
    while frontier:
        following: list[tuple[str, str | None]] = []
        for name, through in frontier:
            for server in liked[name]:
                if server in came:
                    continue
                came[server] = through
                if server not in holder:
                    _hand_over(server, came, holder, pool)
                    return True
                following.append((holder[server], server))
        # A pool is entered once for each standby it holds, and its list looked through once.
        seen: dict[str, str | None] = {}
        for name, through in following:
            seen.setdefault(name, through)
        frontier = list(seen.items())
    return False


def _hand_over(server: str, came: t.Mapping[str, str | None], holder: dict[str, str], pool: str) -> None:
    """Along the way: each pool takes the standby that was found for it and leaves the one through which it was asked."""
    current: str | None = server
    while current is not None:
        through = came[current]
        holder[current] = pool if through is None else holder[through]
        current = through


def _named(claims: t.Sequence[Claim], holder: dict[str, str]) -> dict[str, list[str]]:
    """The names each pool gets; pools that could swap so that each keeps its own do."""
    given: dict[str, list[str]] = {claim.pool: [] for claim in claims}
    for server, pool in holder.items():
        given[pool].append(server)
    owner = {server: claim.pool for claim in claims for server in claim.owned}
    may = {claim.pool: set(claim.servers) for claim in claims}
    for claim in claims:
        for server in sorted(claim.owned):
            other = holder.get(server, "")
            if other in ("", claim.pool):
                if other == "" and any(owner.get(own) != claim.pool for own in given[claim.pool]):
                    spare = next(own for own in given[claim.pool] if owner.get(own) != claim.pool)
                    _swap(given, holder, claim.pool, spare, server)
                continue
            spare = next((own for own in given[claim.pool] if own not in claim.owned and own in may[other]), None)
            if spare is not None:
                given[other][given[other].index(server)] = spare
                given[claim.pool][given[claim.pool].index(spare)] = server
                holder[server], holder[spare] = claim.pool, other
    for claim in claims:
        order = {server: (server not in claim.owned, place) for place, server in enumerate(claim.servers)}
        given[claim.pool].sort(key=order.__getitem__)
    return given


def _swap(given: dict[str, list[str]], holder: dict[str, str], pool: str, old: str, new: str) -> None:
    """A free standby in place of one that a pool got."""
    given[pool][given[pool].index(old)] = new
    del holder[old]
    holder[new] = pool
