# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module and the lookup ``anomalies``."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import history as histories
from .. import options, timing
from ..anomaly import DETECTORS, flags, score, score_groups
from ..anomaly.detectors import GROUPED
from ..anomaly.frame import Frame, clean
from ..anomaly.usual import beside_usual
from ..errors import InvalidOption, NotEnoughHistory
from ..history import marks
from ..history.base import Mark
from ..libraries import numpy as np
from ..planning.demand import pool_demand
from ..series import Series, SeriesKey
from . import demands, tenants

if t.TYPE_CHECKING:
    import numpy

STILL = 0.1  # of the usual spread, below which a series hardly moves
SCORED_AT_ONCE = 256  # series: a detector goes through them step by step together, in little more time than for one

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    metrics=dict(type="list", elements="str", default=[]),
    step=dict(type="str", default="5m"),
    history_window=dict(type="str", default="30d"),
    since=dict(type="str", default="24h"),
    detector=dict(type="str", choices=sorted(DETECTORS), default="auto"),
    false_alarms=dict(type="float", default=1.0),
    per_server=dict(type="bool", default=True),
    silent=dict(
        type="list",
        elements="dict",
        default=[],
        options=dict(
            name=dict(type="str", required=True),
            start=dict(type="str", required=True),
            end=dict(type="str", required=True),
            pools=dict(type="list", elements="str", default=[]),
        ),
    ),
    seed=dict(type="int", default=0),
)


class Silence(t.NamedTuple):
    """A time that explains itself: an event or maintenance. No pools means all."""

    start: float
    end: float
    pools: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Asked:
    """The options, as the code counts them."""

    end: datetime.datetime
    step_seconds: int
    window_seconds: float
    since_seconds: float
    metrics: tuple[str, ...]
    detector: str
    false_alarms: float
    per_server: bool
    silent: tuple[Silence, ...]
    seed: int


def anomalies(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """What is strange in the pools, or was lately.

    :returns: ``anomalies``, a list of flags, newest first; ``pools``, the state of each; ``words``, a sentence each;
        ``without_history``, why a pool can't be told of, and the same as ``warnings``.
    :raises NotEnoughHistory: when no pool can be told of.
    """
    asked = asked_for(params)
    found, states, lacking = look(params, asked)
    if not states:
        raise next(iter(lacking.values()))
    quiet = [f"{name}: nothing unusual." for name in states if not any(item["pool"] == name for item in found)]
    left_out = [
        f"{name}: {state['left_out']} samples of maintenance left out."
        for name, state in states.items()
        if state["left_out"]
    ]
    return {
        "changed": False,
        "anomalies": found,
        "pools": states,
        "words": [item["words"] for item in found] + quiet + left_out,
        "without_history": {name: str(why) for name, why in lacking.items()},
        "warnings": [f"Pool {name!r} is not looked at: {why}" for name, why in lacking.items()],
    }


def look(
    params: dict[str, t.Any], asked: Asked
) -> tuple[list[dict[str, t.Any]], dict[str, dict[str, t.Any]], dict[str, NotEnoughHistory]]:
    """The flags, newest first, the state of each pool that has a history, and why the others can't be told of.

    :param params: Checked values of :data:`SPEC`.
    :param asked: As :func:`asked_for` returns them.
    """
    pools = tenants.chosen(params)
    found: list[dict[str, t.Any]] = []
    states = {}
    lacking: dict[str, NotEnoughHistory] = {}
    seen = (_Seen.of(series, name, asked) for name, series in read(params["history"], pools, asked, lacking))
    for one, scores in _scored(seen, asked):
        name, series = one.name, one.series
        items = in_pool(one, scores, pools[name], asked)
        states[name] = {
            "anomalous": any(item["open"] and item["server"] is None for item in items),
            "open": sum(item["open"] for item in items),
            "servers": sorted({item["server"] for item in items if item["open"] and item["server"]}),
            "series": len(series.keys),
            "left_out": int(series.left_out.sum()),
            "newest": _newest(series),
        }
        found.extend(items)
    place = {name: number for number, name in enumerate(pools)}
    found.sort(key=lambda item: place[item["pool"]])
    found.sort(key=lambda item: item["since"], reverse=True)
    inorder = sorted(lacking, key=place.__getitem__)
    return found, {name: states[name] for name in pools if name in states}, {name: lacking[name] for name in inorder}


def asked_for(params: dict[str, t.Any]) -> Asked:
    """The options, checked.

    :raises InvalidOption: naming the option that is wrong.
    """
    now = timing.moment(params["now"], "now") if params["now"] else datetime.datetime.now(datetime.UTC)
    step = timing.duration(params["step"], "step")
    if step < 1 or step != round(step):
        raise InvalidOption(f"{params['step']} is not a positive whole number of seconds", option="step")
    window = timing.duration(params["history_window"], "history_window")
    if window < 2 * flags.YOUNG_SECONDS:
        raise InvalidOption(
            f"{params['history_window']} is too short to tell what is usual",
            option="history_window",
            remedy="Look back some days, better weeks",
        )
    rate = params["false_alarms"]
    if not 0 < rate <= 20:
        raise InvalidOption(
            f"{rate} is out of range",
            option="false_alarms",
            remedy="Say how many false alarms per series and month to put up with, up to 20",
        )
    end = datetime.datetime.fromtimestamp(int(now.timestamp()) // int(step) * int(step), datetime.UTC)
    return Asked(
        end=end,
        step_seconds=int(step),
        window_seconds=window,
        since_seconds=timing.duration(params["since"], "since"),
        metrics=tuple(params["metrics"]),
        detector=params["detector"],
        false_alarms=rate,
        per_server=params["per_server"] or params["detector"] in GROUPED,
        silent=tuple(_silence(mark, f"silent[{place}]") for place, mark in enumerate(params["silent"])),
        seed=params["seed"],
    )


def _silence(mark: dict[str, t.Any], option: str) -> Silence:
    start, end = (timing.moment(mark[name], f"{option}.{name}").timestamp() for name in ("start", "end"))
    if end <= start:
        raise InvalidOption("it ends before it begins", option=option, remedy="Exchange start and end")
    return Silence(start, end, tuple(mark["pools"] or ()))


def read(
    history: dict[str, t.Any],
    pools: demands.Pools,
    asked: Asked,
    lacking: dict[str, NotEnoughHistory],
) -> t.Iterator[tuple[str, Series]]:
    """The series of each pool: for each metric that of the pool, then those of its servers where they are wanted.

    Of metrics other than the load only the servers' own are looked at: their sum means nothing. Pools come in an order
    of their own, those of a tenant and a metric together, as many at once as fit into memory.

    :param lacking: Takes why, for a pool that can't be told of, which is left out then.
    """
    for some in demands.together(pools):
        first, *_others = some.values()
        load = first["load"]["metric"]
        metrics = asked.metrics or (load,)
        if load not in metrics and not asked.per_server:
            for name in some:
                lacking[name] = NotEnoughHistory(
                    f"none of the metrics is the load of pool {name!r}",
                    option="per_server",
                    remedy=f"Look at the servers too, or at {load}",
                )
            continue
        yield from _read(history, some, metrics, asked, lacking)


def _read(
    history: dict[str, t.Any],
    pools: demands.Pools,
    metrics: tuple[str, ...],
    asked: Asked,
    lacking: dict[str, NotEnoughHistory],
) -> t.Iterator[tuple[str, Series]]:
    """The series of pools of one tenant and load metric, all with one look for each metric."""
    first, *others = pools.values()
    start = asked.end - datetime.timedelta(seconds=asked.window_seconds)
    try:
        with histories.open(history, tenant=first["tenant"], read_only=True) as store:
            found = {
                metric: store.read(
                    metric=metric,
                    pools={name: demands.carriers(pool) for name, pool in pools.items()},
                    start=start,
                    end=asked.end,
                    step_seconds=asked.step_seconds,
                )
                for metric in metrics
            }
            maintenance = store.marks(list(pools), start, asked.end)
    except NotEnoughHistory as exc:
        if not others:
            lacking.update(dict.fromkeys(pools, exc))
            return
        found = {}
    if not found:
        # One of them has nothing: each by itself tells which.
        for name, pool in pools.items():
            yield from _read(history, {name: pool}, metrics, asked, lacking)
        return
    rows = {metric: _rows_by_pool(series) for metric, series in found.items()}
    for name, pool in pools.items():
        parts = {metric: series.rows(rows[metric].get(name, [])) for metric, series in found.items()}
        own = [mark for mark in maintenance if mark.pool == name]
        try:
            yield name, _of_pool(parts, name, pool, asked, own)
        except NotEnoughHistory as exc:
            lacking[name] = exc


def _rows_by_pool(series: Series) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(series.keys):
        rows.setdefault(key.pool, []).append(row)
    return rows


def _of_pool(
    found: dict[str, Series], name: str, pool: dict[str, t.Any], asked: Asked, maintenance: t.Sequence[Mark]
) -> Series:
    """The series of one pool that are looked at, of what was read of each metric."""
    load = pool["load"]["metric"]
    parts = []
    units: dict[str, str] = {}
    for metric, series in found.items():
        if metric == load:
            parts.append(pool_demand(series, name, metric))
        if asked.per_server:
            parts.append(series.select(servers=pool["servers"]))
        units.update(series.units)
    result = dataclasses.replace(
        parts[0],
        keys=tuple(key for part in parts for key in part.keys),
        values=np.concatenate([part.values for part in parts]),
        units=units,
        marked=None,
    )
    return dataclasses.replace(result, marked=marks.touched(result, maintenance)) if maintenance else result


@dataclasses.dataclass(frozen=True)
class _Seen:
    """The series of a pool as a detector sees them.

    :param silent: Where an event or maintenance explains what happens, which is neither scored nor learned; shape (series, time).
    """

    name: str
    series: Series
    silent: numpy.ndarray
    frame: Frame

    @classmethod
    def of(cls, series: Series, name: str, asked: Asked) -> _Seen:
        silent = np.zeros(series.values.shape, bool) if series.marked is None else series.marked.copy()
        for mark in asked.silent:
            if not mark.pools or name in mark.pools:
                # A sample describes the step that ends at its stamp.
                silent |= (series.times > mark.start) & (series.times - series.step_seconds < mark.end)
        values = np.where(silent, np.nan, clean(series.values))
        return cls(name, series, silent, Frame(values, series.step_seconds, series.end, asked.seed))


def in_pool(one: _Seen, scores: numpy.ndarray, pool: dict[str, t.Any], asked: Asked) -> list[dict[str, t.Any]]:
    """The flags of one pool that are open, or were in the time asked about."""
    series, frame = one.series, one.frame
    found = flags.find(frame, scores, rate=asked.false_alarms, silent=one.silent)
    oldest = series.end.timestamp() - asked.since_seconds
    times = series.times
    lately = [flag for flag in found if flag.open or times[flag.last] > oldest]
    return [_item(flag, lately, series, pool, frame) for flag in lately]


def _scored(seen: t.Iterable[_Seen], asked: Asked) -> t.Iterator[tuple[_Seen, numpy.ndarray]]:
    """The scores of each pool. A series is scored by itself, so that those of many pools are scored at once."""
    if asked.detector in GROUPED:
        yield from ((one, _grouped_scores(one.frame, one.series.keys, asked)) for one in seen)
        return
    some: list[_Seen] = []
    for one in seen:
        if some and sum(len(other.series.keys) for other in some) + len(one.series.keys) > SCORED_AT_ONCE:
            yield from _scores(some, asked)
            some = []
        some.append(one)
    if some:
        yield from _scores(some, asked)


def _scores(some: list[_Seen], asked: Asked) -> t.Iterator[tuple[_Seen, numpy.ndarray]]:
    frame = some[0].frame
    values = np.concatenate([one.frame.values for one in some])
    scores = score(values, step_seconds=frame.step_seconds, end=frame.end, detector=asked.detector, seed=asked.seed)
    ends = np.cumsum([len(one.series.keys) for one in some])
    yield from zip(some, np.split(scores, ends[:-1]), strict=True)


def _grouped_scores(frame: Frame, keys: t.Sequence[SeriesKey], asked: Asked) -> numpy.ndarray:
    common = dict(step_seconds=frame.step_seconds, end=frame.end, detector=asked.detector, seed=asked.seed)
    # A pool as a whole has no peers: it is a group of its own, and gets no score.
    names = [key.server if asked.detector == "multivariate" else key.metric for key in keys]
    labels = [None if key.server is None else name for key, name in zip(keys, names, strict=True)]
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    scores = score_groups(frame.values, [order[label] for label in labels], **common)
    scores[[key.server is None for key in keys]] = np.nan
    return scores


def _item(
    flag: flags.Flag, others: list[flags.Flag], series: Series, pool: dict[str, t.Any], frame: Frame
) -> dict[str, t.Any]:
    key = series.keys[flag.row]
    times = series.times
    first, last = int(times[flag.start]), int(times[flag.last])
    load = pool["load"]
    unit = (load["unit"] if key.metric == load["metric"] else None) or series.units.get(key.metric)
    item = {
        "pool": key.pool,
        "server": key.server,
        "metric": key.metric,
        "unit": unit,
        "since": timing.iso(first - series.step_seconds),
        "until": None if flag.open else timing.iso(last),
        "open": flag.open,
        "duration_seconds": last - first + series.step_seconds,
        "score": flag.score,
        "direction": flag.direction,
        "value": _finite(flag.value),
        "expected": {"low": _finite(flag.low), "high": _finite(flag.high)},
        "unusual": None,
    }
    if flag.direction == "unusual":
        seen = beside_usual(frame.values[flag.row], flag.last, frame.hour, frame.day)
        if seen is not None:
            item["unusual"] = {**dataclasses.asdict(seen), "over_seconds": frame.hour * frame.step_seconds}
    item["words"] = words(item, unit or "", _peers(flag, others, series))
    return item


def _peers(flag: flags.Flag, others: list[flags.Flag], series: Series) -> str | None:
    """What the pool's other servers do meanwhile; nothing where none is looked at."""
    key = series.keys[flag.row]
    rows = [
        row
        for row, other in enumerate(series.keys)
        if other.metric == key.metric and other.server is not None and row != flag.row
    ]
    if not rows:
        return None
    strange = {
        other.row for other in others if other.row in rows and other.start <= flag.last and other.last >= flag.start
    }
    which = "the pool's other servers" if key.server else "its servers"
    if not strange:
        return f"{which} are normal"
    return f"{len(strange)} of {which} too" if len(strange) < len(rows) else f"all of {which} too"


def words(item: dict[str, t.Any], unit: str, peers: str | None) -> str:
    """One sentence for the person on call: what, how far out of what was expected, since when, and who else."""
    low, high, value = item["expected"]["low"], item["expected"]["high"], item["value"]
    text = f"{item['metric']} of {item['server'] or item['pool']}: "
    if value is None:
        text += "no sample"
    elif item["direction"] == "high" and high > 0:
        text += (
            f"{value / high:.1f} times the 99 % bound ({_number(value)}{unit}, expected up to {_number(high)}{unit})"
        )
    elif item["unusual"]:
        text += _beside_usual(item["unusual"], unit)
    elif low is not None and high is not None:
        what = {"high": "unusually high", "low": "unusually low"}.get(item["direction"], "unlike anything before")
        text += f"{what} ({_number(value)}{unit}, expected {_number(low)} to {_number(high)}{unit})"
    else:
        text += f"unlike anything before ({_number(value)}{unit})"
    since = timing.moment(item["since"]).strftime("%Y-%m-%d %H:%MZ")
    if item["open"]:
        text += f" since {since}"
    else:
        text += f" from {since} for {timing.words(item['duration_seconds'])}"
    return text + (f"; {peers}." if peers else ".")


def _beside_usual(seen: dict[str, t.Any], unit: str) -> str:
    now, usual = (f"{_number(seen[name])}{unit}" for name in ("now", "usual"))
    more, span = seen["now"] > seen["usual"], timing.words(seen["over_seconds"])
    if seen["what"] == "mean":
        return f"{'higher' if more else 'lower'} than usual at this time of day (a mean of {now} over {span}, usually {usual})"
    calm = "hardly moves, unlike usual" if seen["now"] <= STILL * seen["usual"] else "calmer than usual"
    return f"{'more restless than usual' if more else calm} at this time of day (varies by {now} over {span}, usually by {usual})"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _newest(series: Series) -> str | None:
    known = np.flatnonzero((~np.isnan(series.values)).any(axis=0))
    return timing.iso(float(series.times[known[-1]])) if len(known) else None


def _number(value: float) -> str:
    """Three significant digits, whole numbers whole."""
    return f"{value:.3g}" if abs(value) < 100 or abs(value) >= 1e9 else f"{value:.0f}"
