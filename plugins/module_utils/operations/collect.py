# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``collect`` does: fetch from sources what the history does not hold yet."""

from __future__ import annotations

import datetime
import pathlib
import typing as t

from .. import history, options
from ..errors import InvalidOption, NotFound
from ..history import sources
from ..history.base import Metric, assembled
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from ..timing import duration, iso, moment

_GAPS_NAMED = 20

Range = t.Tuple[int, int]


def collect(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Fetch what is new from each source and store it.

    :param params: The module's options.
    :returns: C(changed), C(collected) with one item per source, pool and metric, and C(words).
    """
    spec = options.checked(params["history"], options.HISTORY, "history")
    history.require_writable(spec)
    pools = options.pools(params["pools"], params["pool"])
    now = moment(params["now"], "now") if params["now"] else datetime.datetime.now(datetime.UTC)
    step = _step(params["step"])
    if not params["sources"]:
        raise InvalidOption("no source is given", option="sources", remedy="Name at least one source to collect from")
    run = _Run(spec, pools, now, step, params, check_mode)
    collected = []
    for index, values in enumerate(params["sources"]):
        option = f"sources[{index}]"
        with sources.open(options.checked(values, options.SOURCE, option), option) as source:
            collected += run.collect(source, _pools_of(values, pools, option))
    return {
        "changed": any(item["samples"] for item in collected),
        "collected": collected,
        "words": [_words(item, check_mode) for item in collected],
    }


def _step(value: str) -> int:
    """The grid's step in whole seconds."""
    seconds = duration(value, "step")
    if seconds < 1 or seconds % 1 or 86400 % seconds:
        raise InvalidOption(f"{value} does not divide a day", option="step", remedy="Choose one such as 1m, 5m or 1h")
    return int(seconds)


def _pools_of(
    values: t.Mapping[str, t.Any], pools: dict[str, dict[str, t.Any]], option: str
) -> dict[str, dict[str, t.Any]]:
    """The pools a source is asked for."""
    names = values.get("pool") or list(pools)
    unknown = [name for name in names if name not in pools]
    if unknown:
        raise InvalidOption(
            f"there is no pool {unknown[0]!r}",
            option=f"{option}.pool",
            remedy=f"The pools looked at are {', '.join(sorted(pools))}",
        )
    return {name: pools[name] for name in names}


class _Run:
    """One collection: what all of its sources share."""

    def __init__(
        self,
        spec: dict[str, t.Any],
        pools: dict[str, dict[str, t.Any]],
        now: datetime.datetime,
        step: int,
        params: dict[str, t.Any],
        check_mode: bool,
    ) -> None:
        self.spec = spec
        self.now = now
        self.step = step
        self.check_mode = check_mode
        self.last = int(now.timestamp()) // step * step
        self.first = self.last - int(duration(params["window"], "window")) // step * step
        self.overlap = int(duration(params["overlap"], "overlap"))

    def collect(self, source: sources.Source, pools: dict[str, dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """One source, tenant by tenant; each tenant has a history of its own."""
        items = []
        for tenant in sorted({pool["tenant"] for pool in pools.values()}):
            servers = {name: _servers(pool) for name, pool in pools.items() if pool["tenant"] == tenant}
            before = self._coverage(source, servers, tenant)
            fetched = {
                metric: self._fetch(source, metric, servers, before.get(metric.name, {}))
                for metric in source.metrics.values()
            }
            items += self._store(source, servers, tenant, fetched)
        return items

    def _coverage(
        self, source: sources.Source, servers: dict[str, list[str]], tenant: str
    ) -> dict[str, dict[tuple[str, str], Range]]:
        """What was collected before, by metric, and by pool and server."""
        try:
            kept = history.open(self.spec, tenant=tenant, read_only=True)
        except NotFound:
            return {}
        with kept:
            prints = {metric.name: source.fingerprint(metric) for metric in source.metrics.values()}
            return {name: kept.coverage(text, name, servers) for name, text in prints.items() if text is not None}

    def _fetch(
        self,
        source: sources.Source,
        metric: Metric,
        servers: dict[str, list[str]],
        before: dict[tuple[str, str], Range],
    ) -> Series:
        """What is not known yet of one metric: servers with the same range to fetch are asked for together."""
        asked: dict[int, dict[str, list[str]]] = {}
        for pool, names in servers.items():
            for server in ("", *names):
                begin = self._begin(before.get((pool, server)))
                asked.setdefault(begin, {}).setdefault(pool, []).append(server)
        earliest = min(asked)
        width = (self.last - earliest) // self.step
        rows: dict[SeriesKey, t.Any] = {}
        for begin, members in asked.items():
            found = source.fetch(metric, members, begin, self.last, self.step)
            for key, values in zip(found.keys, found.values, strict=True):
                if (key.server or "") in members.get(key.pool, ()):
                    rows[key] = np.full(width, np.nan)
                    rows[key][width - len(values) :] = values
        return assembled(rows, self.last, self.step, width)

    def _begin(self, before: Range | None) -> int:
        """Where to begin for a series of which a range was collected before."""
        if before is None or before[0] > self.first:
            return self.first
        begin = (before[1] - self.overlap) // self.step * self.step
        return max(self.first, min(begin, self.last - self.step))

    def _store(
        self, source: sources.Source, servers: dict[str, list[str]], tenant: str, fetched: dict[Metric, Series]
    ) -> list[dict[str, t.Any]]:
        """Write what was fetched, in one go per tenant, and say what it was."""
        path = self.spec.get("path")
        if self.check_mode and path and not pathlib.Path(path).expanduser().exists():
            counts = {metric: _count_by_pool(series) for metric, series in fetched.items()}
            return [
                self._item(source, pool, metric, fetched[metric], counts[metric])
                for metric in fetched
                for pool in servers
            ]
        items = []
        with history.open(self.spec, tenant=tenant, read_only=False) as kept:
            for metric, series in fetched.items():
                counts = {
                    pool: kept.write(
                        series.select(pool=pool),
                        units={metric.name: metric.unit} if metric.unit else {},
                        aggregations={metric.name: metric.aggregation or "mean"},
                        pretend=self.check_mode,
                    )
                    for pool in servers
                }
                items += [self._item(source, pool, metric, series, counts) for pool in servers]
                text = source.fingerprint(metric)
                if text is not None and not self.check_mode:
                    kept.cover(text, metric.name, self._covered(series, servers))
            if not self.check_mode:
                kept.prune(self.now)
        return items

    def _covered(self, series: Series, servers: dict[str, list[str]]) -> dict[tuple[str, str], Range]:
        """What can count as collected: up to the newest sample of each pool, for a source may be late as a whole."""
        covered = {}
        for pool, names in servers.items():
            there = ~np.isnan(series.select(pool=pool).values).all(axis=0)
            if there.any():
                newest = int(series.times[np.flatnonzero(there)[-1]])
                covered.update({(pool, server): (self.first, newest) for server in ("", *names)})
        return covered

    def _item(
        self, source: sources.Source, pool: str, metric: Metric, series: Series, counts: dict[str, int]
    ) -> dict[str, t.Any]:
        """What was collected of one metric of one pool."""
        own = series.select(pool=pool)
        there = ~np.isnan(own.values)
        some = np.flatnonzero(there.any(axis=0))
        gaps = [gap for row, key in enumerate(own.keys) for gap in _gaps(there[row], own.times, key, self.step)]
        return {
            "source": source.where,
            "pool": pool,
            "metric": metric.name,
            "servers": sum(key.server is not None for key in own.keys),
            "samples": counts[pool],
            "newest": iso(int(own.times[some[-1]])) if some.size else None,
            "missing": sum(gap["missing"] for gap in gaps),
            "gaps": gaps[:_GAPS_NAMED],
        }


def _servers(pool: dict[str, t.Any]) -> list[str]:
    """The servers of a pool and its standbys, which have a load too while they are awake."""
    return pool["servers"] + (pool["standby"]["servers"] if pool["standby"] else [])


def _count_by_pool(series: Series) -> dict[str, int]:
    """Samples of each pool."""
    counts: dict[str, int] = {}
    for key, there in zip(series.keys, (~np.isnan(series.values)).sum(axis=1).tolist(), strict=True):
        counts[key.pool] = counts.get(key.pool, 0) + there
    return counts


def _gaps(there: t.Any, times: t.Any, key: SeriesKey, step: int) -> list[dict[str, t.Any]]:
    """The runs of missing steps between the first and the last sample of one series."""
    known = np.flatnonzero(there)
    holes = np.flatnonzero(np.diff(known) > 1)
    return [
        {
            "server": key.server,
            "from": iso(int(times[known[hole]]) + step),
            "to": iso(int(times[known[hole + 1]]) - step),
            "missing": int(known[hole + 1] - known[hole] - 1),
        }
        for hole in holes
    ]


def _words(item: dict[str, t.Any], check_mode: bool) -> str:
    """One item as a sentence."""
    what = f"{item['metric']} of {item['pool']}"
    if item["newest"] is None:
        return f"{what}: {item['source']} has no new sample."
    verb = "would be stored" if check_mode else "stored"
    text = f"{what}: {item['samples']} samples {verb}, {item['servers']} servers, up to {item['newest']}"
    if item["missing"]:
        text += f"; {item['missing']} are missing in {'gaps' if item['missing'] > 1 else 'a gap'}"
    return text + "."
