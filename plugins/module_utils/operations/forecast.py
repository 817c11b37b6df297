# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the module and the lookup ``forecast``."""

from __future__ import annotations

import dataclasses
import datetime
import json
import typing as t

from .. import options, timing
from ..errors import InvalidOption
from ..forecasting import Forecast, granularity
from ..forecasting import forecast as carry_on
from ..forecasting.agreement import agreeing
from ..forecasting.events import HOLIDAY
from ..forecasting.models import MODELS
from ..history import calendars
from ..libraries import numpy as np
from ..series import Series, SeriesKey
from . import demands, forecast_file, tenants

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    horizon=dict(type="str", default="24h"),
    step=dict(type="str", default="5m"),
    coarser_steps=dict(type="list", elements="str", default=[]),
    quantiles=dict(type="list", elements="float", default=[0.5, 0.9, 0.99]),
    model=dict(type="str", choices=sorted(MODELS), default="auto"),
    per_server=dict(type="bool", default=False),
    history_window=dict(type="str", default="30d"),
    seed=dict(type="int", default=0),
    compare=dict(type="bool", default=False),
    output=dict(type="path"),
)

# Series that are forecast at once: more lean on each other no better, and take more memory.
AT_ONCE = 4000


@dataclasses.dataclass(frozen=True)
class Asked:
    """The options of a forecast, as the code counts them."""

    now: datetime.datetime
    step_seconds: int
    horizon: int
    quantiles: tuple[float, ...]
    model: str
    per_server: bool
    window_seconds: int
    seed: int
    coarser: tuple[int, ...] = ()


def forecast(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """The load of the pools ahead.

    :returns: ``forecasts``, a list of items by pool and, when asked, server; ``words``, a sentence each; ``warnings``.
    """
    asked = asked_for(params)
    pools = tenants.chosen(params)
    made = of_pools(dict(demands.read(params["history"], pools, asked)), pools, asked)
    items = [item for name in pools for item in made[name]]
    if params["compare"]:
        _compare(items, params["history"], pools, asked)
    output = params["output"]
    return {
        "changed": forecast_file.write(items, output, check_mode=check_mode) if output else False,
        "forecasts": items,
        "words": [item["words"] for item in items],
        "warnings": [f"{label(item)}: {warning}" for item in items for warning in item["warnings"]],
    }


def _compare(
    items: list[dict[str, t.Any]], history: dict[str, t.Any], pools: dict[str, dict[str, t.Any]], asked: Asked
) -> None:
    """Put what came beside what was forecast, in place: ``actual`` and ``error``.

    :raises NotEnoughHistory: when nothing came yet.
    """
    length = asked.horizon * asked.step_seconds
    later = dataclasses.replace(asked, now=asked.now + datetime.timedelta(seconds=length), window_seconds=length)
    came = {}
    for _name, series in demands.read(history, pools, later):
        came |= dict(zip(series.keys, zip(series.values, series.unmarked, strict=True), strict=True))
    nothing = np.full((2, asked.horizon), np.nan)
    for item in items:
        line, load = came.get(SeriesKey(item["pool"], item["server"], item["metric"]), nothing)
        known, compared = np.isfinite(line), np.isfinite(load)
        off = float(np.abs(load - item["quantiles"]["0.5"])[compared].sum())
        size = float(np.abs(load[compared]).sum())
        item["actual"] = [float(value) if there else None for value, there in zip(line, known, strict=True)]
        item["error"] = off / size if size > 0 else None
        if item["error"] is not None:
            item["words"] = f"{item['words'].rstrip('.')}; it was off by {item['error'] * 100:.0f} %."


def asked_for(params: dict[str, t.Any]) -> Asked:
    """The options of a forecast, checked.

    :raises InvalidOption: naming the option that is wrong.
    """
    now = timing.moment(params["now"], "now") if params["now"] else datetime.datetime.now(datetime.UTC)
    step = _whole(timing.duration(params["step"], "step"), "step")
    horizon = timing.duration(params["horizon"], "horizon") / step
    if horizon < 1:
        raise InvalidOption(
            f"{params['horizon']} is shorter than one step of {params['step']}",
            option="horizon",
            remedy="Look at least one step ahead",
        )
    window = _whole(timing.duration(params["history_window"], "history_window"), "history_window")
    if window < step:
        raise InvalidOption(
            f"{params['history_window']} is shorter than one step of {params['step']}",
            option="history_window",
            remedy="Look back some days",
        )
    levels = tuple(params["quantiles"])
    if not levels or not all(0 < level < 1 for level in levels):
        raise InvalidOption(
            f"{list(levels)} are not quantile levels", option="quantiles", remedy="Give numbers between 0 and 1"
        )
    levels = tuple(sorted({0.5, *levels}))
    coarser = tuple(
        _whole(timing.duration(text, "coarser_steps"), "coarser_steps") for text in params.get("coarser_steps") or []
    )
    return Asked(
        now, step, round(horizon), levels, params["model"], params["per_server"], window, params["seed"], coarser
    )


def _whole(seconds: float, option: str) -> int:
    if seconds < 1 or seconds != round(seconds):
        raise InvalidOption(
            f"{seconds:g} seconds is not a positive whole number of seconds", option=option, remedy="Write 5m or 30s"
        )
    return round(seconds)


def _events(series: Series, calendar: dict[str, t.Any], asked: Asked) -> list[dict[str, t.Any]]:
    """What the pool's calendar has in the time looked back at and ahead; all holidays share what is learned of them."""
    first = series.end - datetime.timedelta(seconds=series.step_seconds * series.values.shape[1])
    last = series.end + datetime.timedelta(seconds=series.step_seconds * asked.horizon)
    return [
        {
            "name": HOLIDAY if event.kind == "holiday" else event.name,
            "start": event.start,
            "end": event.end,
            "effect": event.effect,
            "maintenance": event.maintenance,
        }
        for event in calendars.events(calendar, first, last, f"pools.{series.keys[0].pool}.calendar")
    ]


def of_pools(
    series: t.Mapping[str, Series], pools: dict[str, dict[str, t.Any]], asked: Asked
) -> dict[str, list[dict[str, t.Any]]]:
    """The items of the result by pool, one for each row that has a sample; those of maintenance are not learned from.

    Pools of one tenant with one calendar are one fleet: they are forecast at once, and lean on each other.
    """
    fleets: dict[str, list[str]] = {}
    for name in series:
        fleet = json.dumps([pools[name]["tenant"], pools[name]["calendar"]], sort_keys=True, default=str)
        fleets.setdefault(fleet, []).append(name)
    result: dict[str, list[dict[str, t.Any]]] = {}
    for names in fleets.values():
        for some in _parts(names, series):
            result |= _of_fleet({name: series[name] for name in some}, pools, asked)
    return result


def _parts(names: list[str], series: t.Mapping[str, Series]) -> t.Iterator[list[str]]:
    """The pools of a fleet, as many at once as fit into memory."""
    ends = np.cumsum([len(series[name].keys) for name in names])
    part = (ends - 1) // AT_ONCE
    for number in np.unique(part):
        yield [name for name, own in zip(names, part.tolist(), strict=True) if own == number]


def _of_fleet(
    series: dict[str, Series], pools: dict[str, dict[str, t.Any]], asked: Asked
) -> dict[str, list[dict[str, t.Any]]]:
    """The items of pools that are forecast at once."""
    loads = {}
    for name, one in series.items():
        load = one.unmarked
        known = (~np.isnan(load)).any(axis=1)
        series[name], loads[name] = one.rows(np.flatnonzero(known).tolist()), load[known]
    first = next(iter(series.values()))
    calendar = pools[next(iter(series))]["calendar"]
    question = dict(
        step_seconds=first.step_seconds,
        horizon=asked.horizon,
        quantiles=asked.quantiles,
        end=first.end,
        model=asked.model,
        time_zone=calendar["time_zone"],
        events=_events(first, calendar, asked),
        seed=asked.seed,
    )
    values, coarser = np.concatenate(list(loads.values())), []
    if asked.coarser:
        answer, coarser = granularity.forecast(values, asked.coarser, **question)
    else:
        answer = carry_on(values, **question)
    result, begin = {}, 0
    for name, one in series.items():
        place = slice(begin, begin + len(one.keys))
        own, begin = answer.rows(place), place.stop
        if len(one.keys) > 1 and one.keys[0].server is None:
            own = agreeing(own)
        unit = pools[name]["load"]["unit"] or one.units.get(pools[name]["load"]["metric"])
        result[name] = [_item(key, one, own, row, asked, unit) for row, key in enumerate(one.keys)]
        if coarser:
            _put_coarser(result[name], one, own, [part.rows(place) for part in coarser])
    return result


def _put_coarser(
    items: list[dict[str, t.Any]], series: Series, fine: Forecast, coarser: list[granularity.Coarse]
) -> None:
    """Put what each item's coarser steps will carry into it, agreeing with what it says itself."""
    answers = [(part.grid, granularity.settled(part, fine)) for part in coarser]
    for row, item in enumerate(items):
        item["coarser"] = []
        for grid, answer in answers:
            begin = series.end + datetime.timedelta(seconds=series.step_seconds * grid.first)
            part = {
                "step_seconds": grid.step_seconds,
                "start": timing.iso(begin + datetime.timedelta(seconds=grid.step_seconds)),
                "quantiles": _quantiles(answer, row, series.keys[row]),
                "model": answer.model[row],
                "backtest": answer.backtest[row],
            }
            item["coarser"].append(part)


def _item(
    key: SeriesKey, series: Series, answer: Forecast, row: int, asked: Asked, unit: str | None
) -> dict[str, t.Any]:
    first = series.end + datetime.timedelta(seconds=series.step_seconds)
    item = {
        "pool": key.pool,
        "server": key.server,
        "metric": key.metric,
        "unit": unit,
        "step_seconds": series.step_seconds,
        "start": timing.iso(first),
        "quantiles": _quantiles(answer, row, key),
        "model": answer.model[row],
        "samples": int(np.isfinite(series.values[row]).sum() - series.left_out[row]),
        "missing": int(series.missing[row]),
        "left_out": int(series.left_out[row]),
        "backtest": answer.backtest[row],
        "warnings": answer.warnings[row],
    }
    seen = np.flatnonzero(np.isfinite(series.values[row]))[-1]
    newest, since = float(series.values[row, seen]), int(series.values.shape[1] - 1 - seen)
    item["words"] = words(item, newest=newest, since=since, unit=unit or "")
    return item


def _quantiles(answer: Forecast, row: int, key: SeriesKey) -> dict[str, list[float]]:
    """The quantiles of a series as plain numbers: all of a pool, the median of a server."""
    wanted = answer.levels if key.server is None else (0.5,)
    return {str(level): answer.quantiles[row, :, answer.levels.index(level)].astype(float).tolist() for level in wanted}


def label(item: dict[str, t.Any]) -> str:
    """What the item is about, as a person says it."""
    return f"{item['metric']} of {item['server'] or item['pool']}"


def words(item: dict[str, t.Any], *, newest: float, since: int, unit: str) -> str:
    """One sentence for the person on call: now, the peak ahead, and how far to trust it.

    :param newest: The newest sample. :param since: How many steps without one came after it; few are still now.
    """
    unit = f" {unit}" if unit else ""
    median = item["quantiles"]["0.5"]
    peak = max(range(len(median)), key=median.__getitem__)
    first = timing.moment(item["start"])
    time = first + datetime.timedelta(seconds=item["step_seconds"] * peak)
    far = item["step_seconds"] * len(median) > 86400
    seen = first - datetime.timedelta(seconds=item["step_seconds"] * (since + 1))
    when = "now" if since < 3 else seen.strftime("at %Y-%m-%d %H:%MZ, with no sample since")
    text = f"{label(item)}: {_number(newest)}{unit} {when}, {_number(median[peak])}{unit} at the peak at "
    text += time.strftime("%Y-%m-%d %H:%MZ" if far else "%H:%MZ")
    highest = max(item["quantiles"], key=float)
    if float(highest) > 0.5:
        text += f" ({float(highest) * 100:g} %: {_number(item['quantiles'][highest][peak])}{unit})"
    if item["left_out"]:
        text += f"; {item['left_out']} samples of maintenance left out"
    return text + "; " + _trust(item)


def _trust(item: dict[str, t.Any]) -> str:
    backtest = item["backtest"]
    ours, peer = backtest["wape"], backtest["seasonal_naive_wape"]
    if ours is None or peer is None:
        return "the history is too short to tell how far off it will be."
    days = timing.words(backtest["days"] * 86400)
    return f"off by {ours:.0%} on average over the last {days}, seasonal naive by {peer:.0%}.".replace("%", " %")


def _number(value: float) -> str:
    """Three significant digits, whole numbers whole: V(0.0123), V(4.57), V(812), V(23510)."""
    if value == 0:
        return "0"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
