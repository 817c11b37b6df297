# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demand of pools so far, many pools with one look into the history."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .. import history as histories
from .. import timing
from ..errors import NotEnoughHistory
from ..history import marks
from ..history.base import Mark
from ..libraries import numpy as np
from ..planning.demand import pool_demand
from ..series import Series

Pools = t.Dict[str, t.Dict[str, t.Any]]

# Series that are read at once: a month of them in steps of five minutes takes 140 MB.
AT_ONCE = 2000


class Wanted(t.Protocol):
    """What is looked at: the series up to a moment."""

    @property
    def now(self) -> datetime.datetime: ...
    @property
    def step_seconds(self) -> int: ...
    @property
    def window_seconds(self) -> int: ...
    @property
    def per_server(self) -> bool: ...


def read(
    history: dict[str, t.Any], pools: Pools, asked: Wanted, *, lacking: dict[str, NotEnoughHistory] | None = None
) -> t.Iterator[tuple[str, Series]]:
    """The series of each pool: its demand in the first row, then its servers' when they are asked for.

    Maintenance is marked, not taken away: the newest sample is what a server carries, whatever is done to it. Pools come
    in an order of their own, those of a tenant and a metric together, as many at once as fit into memory.

    :param lacking: Takes why, for a pool that can't be told of, which is left out then.
    :raises NotEnoughHistory: naming the pool, when its demand has no sample, or none but of maintenance, and nothing takes why.
    """
    for some in together(pools):
        yield from _read(history, some, asked, lacking)


def together(pools: Pools) -> t.Iterator[Pools]:
    """Pools that can be read at once."""
    groups: dict[tuple[str, str], Pools] = {}
    for name, pool in pools.items():
        groups.setdefault((pool["tenant"], pool["load"]["metric"]), {})[name] = pool
    for group in groups.values():
        some: Pools = {}
        count = 0
        for name, pool in group.items():
            if some and count + len(carriers(pool)) > AT_ONCE:
                yield some
                some, count = {}, 0
            some[name] = pool
            count += len(carriers(pool))
        yield some


def carriers(pool: dict[str, t.Any]) -> list[str]:
    """The servers that carry the demand; a standby that was awake carried part of it."""
    return pool["servers"] + (pool["standby"]["servers"] if pool["standby"] else [])


def _read(
    history: dict[str, t.Any], pools: Pools, asked: Wanted, lacking: dict[str, NotEnoughHistory] | None
) -> t.Iterator[tuple[str, Series]]:
    """The series of pools of one tenant and metric."""
    first, *_others = pools.values()
    metric = first["load"]["metric"]
    end = datetime.datetime.fromtimestamp(
        int(asked.now.timestamp()) // asked.step_seconds * asked.step_seconds, datetime.UTC
    )
    start = end - datetime.timedelta(seconds=asked.window_seconds)
    with histories.open(history, tenant=first["tenant"], read_only=True) as store:
        try:
            series = store.read(
                metric=metric,
                pools={name: carriers(pool) for name, pool in pools.items()},
                start=start,
                end=end,
                step_seconds=asked.step_seconds,
            )
            maintenance = store.marks(list(pools), start, end)
        except NotEnoughHistory as exc:
            if lacking is None:
                raise
            series, maintenance = None, []
            if len(pools) == 1:
                lacking.update(dict.fromkeys(pools, exc))
                return
    if series is None:
        # One of them has nothing: each by itself tells which.
        for name, pool in pools.items():
            yield from _read(history, {name: pool}, asked, lacking)
        return
    rows: dict[str, list[int]] = {name: [] for name in pools}
    for row, key in enumerate(series.keys):
        rows[key.pool].append(row)
    when = f"from {timing.iso(start)} to {timing.iso(end)}"
    for name, pool in pools.items():
        own = [mark for mark in maintenance if mark.pool == name]
        try:
            yield name, _demand(series.rows(rows[name]), name, pool, asked, own, when)
        except NotEnoughHistory as exc:
            if lacking is None:
                raise
            lacking[name] = exc


def _demand(
    series: Series, name: str, pool: dict[str, t.Any], asked: Wanted, maintenance: t.Sequence[Mark], when: str
) -> Series:
    """The demand of one pool, and its servers' where they are asked for."""
    metric = pool["load"]["metric"]
    demand = pool_demand(series, name, metric)
    if np.isnan(demand.values).all():
        raise NotEnoughHistory(
            f"the history has no sample of {metric} of pool {name!r} {when}",
            option=f"pools.{name}.load.metric",
            remedy="Collect it first, or correct the metric or the time",
        )
    if asked.per_server:
        servers = series.select(pool=name, metric=metric, servers=pool["servers"])
        demand = dataclasses.replace(
            demand, keys=demand.keys + servers.keys, values=np.concatenate([demand.values, servers.values])
        )
    if not maintenance:
        return demand
    demand = dataclasses.replace(demand, marked=marks.touched(demand, maintenance))
    if np.isnan(demand.unmarked[0]).all():
        raise NotEnoughHistory(
            f"every sample of {metric} of pool {name!r} {when} is marked as maintenance",
            option="history_window",
            remedy="Look back further, or mark the servers that are updated, not the pool as a whole",
        )
    return demand
