# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load of a pool as a whole."""

from __future__ import annotations

import dataclasses
import math
import typing as t
import warnings

from ..errors import NotEnoughHistory
from ..libraries import numpy as np
from ..series import Series, SeriesKey

# Steps that are enough to tell how the highest of a hundred come together.
_FEW_RISES = 1000


def pool_demand(series: Series, pool: str, metric: str) -> Series:
    """The demand of one pool, as one row.

    It is the pool's own series where the history holds one, else the sum of its servers' over those that report: a
    standby asleep reports nothing and carries nothing. A step in which none reports is NaN.

    :returns: a :class:`Series` of shape (1, time) whose key has no server.
    :raises NotEnoughHistory: where there is no series of the pool at all.
    """
    own = series.select(pool=pool, metric=metric, servers=(None,))
    if own.keys:
        return own
    servers = series.select(pool=pool, metric=metric)
    if not servers.keys:
        raise NotEnoughHistory(
            f"the history holds no {metric!r} of pool {pool!r}",
            option=f"pools.{pool}.load.metric",
            remedy="Collect it first, or name a metric that the history holds",
        )
    total = np.where(np.isnan(servers.values).all(axis=0), np.nan, np.nansum(servers.values, axis=0))
    return dataclasses.replace(servers, keys=(SeriesKey(pool, None, metric),), values=total[None, :], marked=None)


def clustering(series: Series) -> float:
    """How far steps in which demand is unusually high begin anew, instead of going on: the extremal index, in (0, 1].

    By the runs of the largest rises against the day before (runs estimator: Smith and Weissman, "Estimating the extremal
    index", Journal of the Royal Statistical Society B 56 (1994)), at the upper end of a one-sided interval of 90 %: what
    is uncertain of it counts as risk. 1, each step by itself, where the history is too short to tell.

    :param series: The demand, shape (1, time).
    """
    day = max(1, round(86400 / series.step_seconds))
    values = series.values[0]
    rise = values[day:] - values[:-day]
    known = rise[~np.isnan(rise)]
    if len(known) < _FEW_RISES:
        return 1.0
    high = rise > np.quantile(known, 0.99)
    count, begun = int(high.sum()), int((high[1:] & ~high[:-1]).sum()) + int(high[0])
    return min(1.0, (begun + 1.28 * math.sqrt(begun)) / count) if count else 1.0


def owned_standbys(pools: dict[str, dict[str, t.Any]]) -> dict[str, list[str]]:
    """The standbys of each pool that no weightier pool shares, so that none is counted twice.

    :param pools: Pools by name, as :func:`options.pools` gives them.
    """
    owned: dict[str, list[str]] = {name: [] for name in pools}
    taken: set[str] = set()
    for name in sorted(pools, key=lambda name: (-pools[name]["weight"], name)):
        standbys = pools[name]["standby"]["servers"] if pools[name]["standby"] else []
        owned[name] = [server for server in standbys if server not in taken]
        taken.update(standbys)
    return owned


def server_loads(series: Series, pool: str, metric: str, window_seconds: float) -> dict[str, float]:
    """The mean load of each server of a pool over the newest part of its history, in load units.

    :param window_seconds: How far back to look.
    :returns: the mean by server; servers without a sample in the window are absent.
    """
    servers = series.select(pool=pool, metric=metric)
    columns = max(1, round(window_seconds / series.step_seconds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # The mean of a row of NaN is NaN, which is meant.
        means = np.nanmean(servers.values[:, -columns:], axis=1) if servers.keys else []
    return {
        key.server: float(mean)
        for key, mean in zip(servers.keys, means, strict=True)
        if key.server and not math.isnan(mean)
    }
