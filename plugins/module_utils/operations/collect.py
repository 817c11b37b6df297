# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``collect`` does: fetch from sources what the history does not hold yet."""

from __future__ import annotations

import concurrent.futures
import datetime
import typing as t

from .. import history, options
from ..errors import InvalidOption, NotFound
from ..history import sources
from ..history.base import Batch, Mark, Metric, assembled
from ..history.health import report
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from ..timing import duration, iso, moment
from . import tenants

_GAPS_NAMED = 20

Range = t.Tuple[int, int]


def collect(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Fetch what is new from each source and store it, note maintenance, and report on what the history holds.

    :param params: Checked values of ``options.COLLECT``.
    :returns: C(changed), C(collected) with one item per source, pool and metric, C(marked), C(health) with one item per
        pool and metric, and C(words).
    """
    spec = options.checked(params["history"], options.HISTORY, "history")
    if params["sources"]:
        history.require_writable(spec)
    pools = tenants.chosen(params)
    now = moment(params["now"], "now") if params["now"] else datetime.datetime.now(datetime.UTC)
    run = _Run(spec, pools, now, params, check_mode)
    collected: list[dict[str, t.Any]] = []
    metrics = {name: {pool["load"]["metric"]} for name, pool in pools.items()}
    for index, values in enumerate(params["sources"]):
        option = f"sources[{index}]"
        own = _pools_of(values, pools, option)
        with sources.open(options.checked(values, options.SOURCE, option), option) as source:
            collected += run.collect(source, own)
            for name in own:
                metrics[name] |= set(source.metrics)
    marked = run.mark(_marks(params["marks"], pools, now))
    health = run.health(metrics) if params["health"] and not check_mode else []
    sentences = [_words(item, check_mode) for item in collected] + [item.pop("words") for item in health]
    return {
        "changed": bool(marked) or any(item["samples"] for item in collected),
        "collected": collected,
        "marked": marked,
        "health": health,
        "words": sentences,
    }


def _marks(
    values: t.Sequence[t.Mapping[str, t.Any]], pools: dict[str, dict[str, t.Any]], now: datetime.datetime
) -> dict[str, list[Mark]]:
    """The marks asked for, by tenant."""
    result: dict[str, list[Mark]] = {}
    for index, item in enumerate(values):
        option = f"marks[{index}]"
        start = moment(item["from"], f"{option}.from")
        end = moment(item["to"], f"{option}.to") if item.get("to") else now
        if end <= start:
            raise InvalidOption("it ends before it begins", option=option, remedy="Give 'from' before 'to'")
        why = item.get("why") or "maintenance"
        for name, servers in _touched(item, pools, option).items():
            result.setdefault(pools[name]["tenant"], []).append(Mark(name, servers, start, end, why))
    return result


def _touched(
    item: t.Mapping[str, t.Any], pools: dict[str, dict[str, t.Any]], option: str
) -> dict[str, tuple[str, ...] | None]:
    """The servers that a mark touches by pool, or None for all of a pool: of the pool it names, or of those that have them."""
    named = item.get("servers") or []
    if not item.get("pool") and not named:
        raise InvalidOption("it names neither a pool nor servers", option=option, remedy="Give one of them, or both")
    own = _pools_of({"pool": [item["pool"]] if item.get("pool") else []}, pools, option)
    members = {name: set(_servers(pool)) for name, pool in own.items()}
    unknown = sorted(set(named) - set().union(*members.values()))
    if unknown:
        raise InvalidOption(
            f"{unknown[0]!r} is no server of {'pool ' + repr(item['pool']) if item.get('pool') else 'the pools'}",
            option=f"{option}.servers",
            remedy="Name servers or standbys of the pool, or none for all of them",
        )
    if not named:
        return dict.fromkeys(own)
    return {name: tuple(sorted(servers & set(named))) for name, servers in members.items() if servers & set(named)}


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
        params: dict[str, t.Any],
        check_mode: bool,
    ) -> None:
        self.spec = spec
        self.pools = pools
        self.now = now
        self.check_mode = check_mode
        self.step = _step(params["step"])
        self.last = int(now.timestamp()) // self.step * self.step
        self.first = self.last - int(duration(params["window"], "window")) // self.step * self.step
        self.overlap = int(duration(params["overlap"], "overlap"))
        if self.first >= self.last:
            raise InvalidOption("it is shorter than a step", option="window", remedy="Give a longer one, such as 30d")

    def collect(self, source: sources.Source, pools: dict[str, dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """One source, tenant by tenant; each tenant has a history of its own."""
        items = []
        for tenant, servers in _by_tenant(pools).items():
            before = self._coverage(source, servers, tenant)
            with concurrent.futures.ThreadPoolExecutor(source.at_once) as pool:
                batches = list(
                    pool.map(
                        lambda metric, servers=servers, before=before: self._batch(
                            source, metric, servers, before.get(metric.name, {})
                        ),
                        source.metrics.values(),
                    )
                )
            counts = self._put(tenant, batches)
            items += [
                self._item(source, pool, batch, count.get(pool, 0))
                for batch, count in zip(batches, counts, strict=True)
                for pool in servers
            ]
        return items

    def _coverage(
        self, source: sources.Source, servers: dict[str, list[str]], tenant: str
    ) -> dict[str, dict[tuple[str, str], Range]]:
        """What was collected before, by metric, and by pool and server."""
        prints = {metric.name: source.fingerprint(metric) for metric in source.metrics.values()}
        if not any(prints.values()):
            return {}
        try:
            with history.open(self.spec, tenant=tenant) as kept:
                return {name: kept.coverage(text, name, servers) for name, text in prints.items() if text is not None}
        except NotFound:
            return {}

    def _batch(
        self,
        source: sources.Source,
        metric: Metric,
        servers: dict[str, list[str]],
        before: dict[tuple[str, str], Range],
    ) -> Batch:
        """What is not known yet of one metric: servers with the same range to fetch are asked for together."""
        asked: dict[int, dict[str, list[str]]] = {}
        for pool, names in servers.items():
            for server in ("", *names):
                begin = self._begin(before.get((pool, server)))
                asked.setdefault(begin, {}).setdefault(pool, []).append(server)
        width = (self.last - min(asked)) // self.step
        rows: dict[SeriesKey, t.Any] = {}
        for begin, members in asked.items():
            found = source.fetch(metric, members, begin, self.last, self.step)
            for key, values in zip(found.keys, found.values, strict=True):
                if (key.server or "") in members.get(key.pool, ()):
                    rows[key] = np.full(width, np.nan)
                    rows[key][width - len(values) :] = values
        series = assembled(rows, self.last, self.step, width)
        return Batch(
            series,
            units={metric.name: metric.unit} if metric.unit else {},
            aggregation=metric.aggregation or "mean",
            source=source.fingerprint(metric),
            metric=metric.name,
            covered=self._covered(series, servers),
        )

    def _begin(self, before: Range | None) -> int:
        """Where to begin for a series of which a range was collected before."""
        if before is None or before[0] > self.first:
            return self.first
        begin = (before[1] - self.overlap) // self.step * self.step
        return max(self.first, min(begin, self.last - self.step))

    def _put(self, tenant: str, batches: list[Batch]) -> list[dict[str, int]]:
        """Write what was fetched, all in one go, or count what would be written."""
        if self.check_mode:
            try:
                history.open(self.spec, tenant=tenant).close()
            except NotFound:
                return [_count_by_pool(batch.series) for batch in batches]
        with history.open(self.spec, tenant=tenant, read_only=False) as kept:
            counts = kept.put(batches, pretend=self.check_mode)
            if not self.check_mode:
                kept.prune(self.now)
        return counts

    def mark(self, marks: dict[str, list[Mark]]) -> int:
        """Note maintenance, and return how many marks are new."""
        count = 0
        for tenant, own in marks.items():
            if self.check_mode:
                try:
                    history.open_beside(self.spec, tenant=tenant, read_only=True).close()
                except NotFound:
                    count += len(own)
                    continue
            with history.open_beside(self.spec, tenant=tenant) as kept:
                count += kept.mark(own, pretend=self.check_mode)
        return count

    def health(self, metrics: dict[str, set[str]]) -> list[dict[str, t.Any]]:
        """What the history holds of each pool and metric; of the window, or of all that is kept where it is longer."""
        result = []
        for tenant, servers in _by_tenant(self.pools).items():
            try:
                kept = history.open(self.spec, tenant=tenant)
            except NotFound:
                continue
            with kept:
                for metric in sorted({metric for pool in servers for metric in metrics[pool]}):
                    pools = {pool: names for pool, names in servers.items() if metric in metrics[pool]}
                    found = kept.summaries(metric=metric, pools=pools, end=self.now)
                    result += [
                        report(
                            [item for item in found if item.key.pool == pool],
                            pool=pool,
                            metric=metric,
                            servers=self.pools[pool]["servers"],
                            now=self.now,
                        )
                        for pool in pools
                    ]
        return result

    def _covered(self, series: Series, servers: dict[str, list[str]]) -> dict[tuple[str, str], Range]:
        """What can count as collected: up to the newest sample of each pool, for a source may be late as a whole."""
        covered = {}
        for pool, names in servers.items():
            there = ~np.isnan(series.select(pool=pool).values).all(axis=0)
            if there.any():
                newest = int(series.times[np.flatnonzero(there)[-1]])
                covered.update({(pool, server): (self.first, newest) for server in ("", *names)})
        return covered

    def _item(self, source: sources.Source, pool: str, batch: Batch, count: int) -> dict[str, t.Any]:
        """What was collected of one metric of one pool."""
        own = batch.series.select(pool=pool)
        there = ~np.isnan(own.values)
        some = np.flatnonzero(there.any(axis=0))
        spans = there.shape[1] - there.argmax(axis=1) - there[:, ::-1].argmax(axis=1)
        broken = np.flatnonzero(spans > there.sum(axis=1)).tolist()
        gaps = [gap for row in broken for gap in _gaps(there[row], own.times, own.keys[row], self.step)]
        return {
            "source": source.where,
            "pool": pool,
            "metric": batch.metric,
            "unit": batch.units.get(batch.metric or ""),
            "servers": sum(key.server is not None for key in own.keys),
            "samples": count,
            "newest": iso(int(own.times[some[-1]])) if some.size else None,
            "missing": sum(gap["missing"] for gap in gaps),
            "gaps": gaps[:_GAPS_NAMED],
        }


def _servers(pool: dict[str, t.Any]) -> list[str]:
    """The servers of a pool and its standbys, which have a load too while they are awake."""
    return pool["servers"] + (pool["standby"]["servers"] if pool["standby"] else [])


def _by_tenant(pools: dict[str, dict[str, t.Any]]) -> dict[str, dict[str, list[str]]]:
    """Servers by tenant and pool."""
    result: dict[str, dict[str, list[str]]] = {}
    for name, pool in pools.items():
        result.setdefault(pool["tenant"], {})[name] = _servers(pool)
    return result


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
