# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pictures of the report: plain data in, an SVG element out."""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t

from .. import timing
from ..libraries import mpl_ticker
from ..libraries import numpy as np
from . import drawing
from .drawing import BLUE, GREEN, INK, MUTED, ORANGE, RED, SERIES, SKY

if t.TYPE_CHECKING:
    import zoneinfo

    import matplotlib.axes

    from .traffic import Stream

Item = t.Dict[str, t.Any]

# Points of one line; more than the page is wide only make it large.
MOST_POINTS = 600
# Rows of the picture of batches; the table has them all.
MOST_BATCHES = 40


@dataclasses.dataclass(frozen=True)
class Tail:
    """The newest part of a pool's demand.

    :param times: Epoch seconds of each sample, the end of its step.
    :param values: Load units; NaN where a sample is missing.
    """

    times: t.Sequence[float]
    values: t.Sequence[float]


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What a pool carries, in load units.

    :param total: All its servers in service together.
    :param server: One of them.
    :param standbys: Names of its standbys.
    """

    total: float
    server: float
    standbys: t.Sequence[str] = ()


def thinned(times: t.Any, values: t.Any) -> tuple[list[datetime.datetime], t.Any]:
    """At most MOST_POINTS points; each is the greatest of those it stands for, so that no peak is lost."""
    times, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    every = math.ceil(len(values) / MOST_POINTS)
    if every <= 1:
        return drawing.moments(times), values
    starts = np.arange(0, len(values), every)
    # fmax passes NaN over unless all are.
    return drawing.moments(times[starts]), np.fmax.reduceat(values, starts)


def step_times(item: Item, count: int) -> t.Any:
    """Epoch seconds of the stamps of a forecast's steps."""
    return timing.moment(item["start"]).timestamp() + item["step_seconds"] * np.arange(count)


def forecast(
    item: Item, *, name: str, zone: zoneinfo.ZoneInfo, unit: str, tail: Tail | None, capacity: Capacity | None
) -> str:
    """Demand behind and ahead, with the bands of the forecast.

    :param item: A forecast as the module M(lowtide.fleet.forecast) returns it.
    :param capacity: What the servers in service carry.
    """
    figure, (axes,) = drawing.canvas(3.3)
    quantiles = {float(level): values for level, values in item["quantiles"].items()}
    times = step_times(item, len(quantiles[0.5]))
    top = max(float(np.max(values)) for values in quantiles.values())
    if tail is not None:
        axes.plot(*thinned(tail.times, tail.values), color=INK, linewidth=1.1, label="measured")
        top = max(top, float(np.nanmax(tail.values)))
        drawing.mark_now(axes, drawing.moments([times[0] - item["step_seconds"]])[0])
    _bands(axes, times, quantiles)
    if capacity is not None and capacity.total < 3 * top:
        axes.axhline(capacity.total, color=GREEN, linewidth=1.3, linestyle=(0, (6, 2)), label="capacity in service")
        top = max(top, capacity.total)
    axes.set_ylim(0, top * 1.08 or 1)
    axes.set_ylabel(f"demand ({unit})")
    axes.set_title(f"Demand of {item['pool']}" if item["server"] is None else f"Load of {item['server']}")
    axes.margins(x=0.01)
    drawing.time_axis(axes, zone)
    drawing.legend(axes)
    return drawing.svg(figure, name)


def _bands(axes: matplotlib.axes.Axes, times: t.Any, quantiles: dict[float, list[float]]) -> None:
    """The median as a line, and a band from each upper level shown to the next, below too where its counterpart is."""
    upper = lower = 0.5
    for level, opacity in zip(_shown(quantiles), (0.42, 0.24, 0.12), strict=False):
        low = next((other for other in quantiles if math.isclose(other, 1 - level)), None)
        text = f"{level * 100:.4g} % stay below" if low is None else f"{(level - low) * 100:.3g} % of outcomes"
        _fill(axes, times, quantiles[upper], quantiles[level], opacity, text)
        upper = level
        if low is not None:
            _fill(axes, times, quantiles[low], quantiles[lower], opacity, None)
            lower = low
    axes.plot(*thinned(times, quantiles[0.5]), color=BLUE, label="forecast, median")


def _fill(
    axes: matplotlib.axes.Axes, times: t.Any, low: list[float], high: list[float], opacity: float, label: str | None
) -> None:
    moments, top = thinned(times, high)
    axes.fill_between(moments, thinned(times, low)[1], top, color=BLUE, alpha=opacity, linewidth=0, label=label)


def _shown(quantiles: t.Iterable[float]) -> list[float]:
    """The upper levels that get a band, lowest first: more than three can't be told apart."""
    upper = sorted(level for level in quantiles if level > 0.5)
    usual = [level for level in upper if level in (0.9, 0.99)]
    return upper if len(upper) <= 3 else usual or [upper[0], upper[len(upper) // 2], upper[-1]]


def servers(pool: str, plan: Item, *, name: str, zone: zoneinfo.ZoneInfo, now: datetime.datetime) -> str:
    """Servers that the demand ahead needs, as steps, beside those in service and those that can be woken.

    :param plan: The pool's part of a scaling plan.
    """
    figure, (axes,) = drawing.canvas(2.7)
    required = plan["required_by_step"]
    stamps = step_times(plan, len(required))
    edges = drawing.moments([stamps[0] - plan["step_seconds"], *stamps])
    axes.stairs(required, edges, color=BLUE, linewidth=1.8, label="servers needed", baseline=None)
    axes.stairs(required, edges, color=BLUE, fill=True, alpha=0.15)
    serving = len(plan["in_service"])
    after = serving + len(plan["activate"]) - len(plan["release"])
    axes.axhline(serving, color=GREEN, linewidth=1.4, linestyle=(0, (6, 2)), label="in service now")
    if after != serving:
        axes.axhline(after, color=ORANGE, linewidth=1.4, linestyle=(0, (1, 1)), label="after this plan")
    for upcoming in plan["upcoming"]:
        moment = timing.moment(upcoming["by"])
        if edges[0] <= moment <= edges[-1]:
            axes.plot([moment], [upcoming["servers"]], marker=">", markersize=6, color=ORANGE, linestyle="none")
    if plan["upcoming"]:
        axes.plot([], [], marker=">", markersize=6, color=ORANGE, linestyle="none", label="power on the next by")
    axes.set_ylim(0, max([*required, serving, after]) + 1)
    axes.yaxis.set_major_locator(mpl_ticker.MaxNLocator(integer=True, nbins=6))
    axes.set_ylabel("servers")
    axes.set_title(f"Servers of {pool}")
    axes.margins(x=0.01)
    drawing.mark_now(axes, now)
    drawing.time_axis(axes, zone)
    drawing.legend(axes)
    return drawing.svg(figure, name)


def update(
    plan: Item,
    demand: dict[str, Item],
    *,
    name: str,
    zone: zoneinfo.ZoneInfo,
    units: dict[str, str],
    capacities: dict[str, Capacity],
) -> str:
    """The window of a rolling update on the demand curve of its pools, and its batches one below the other.

    :param plan: An update plan.
    :param demand: Forecasts of its pools, as far as they are known, by pool.
    :param capacities: What its pools carry, as far as it is known; it dips while servers are out.
    """
    batches = plan["batches"][:MOST_BATCHES]
    pools = list(dict.fromkeys(batch.get("pool") or "servers" for batch in plan["batches"]))
    curves = [pool for pool in pools if pool in demand]
    rows = [1.5] * len(curves) + [0.5 + 0.22 * len(batches)]
    figure, axes = drawing.canvas(0.8 + sum(rows), rows)
    colours = {pool: SERIES[place % len(SERIES)] for place, pool in enumerate(pools)}
    for axis, pool in zip(axes, curves, strict=False):
        _demand_with_batches(axis, demand[pool], plan, colours[pool], capacities.get(pool))
        axis.set_ylabel(units[pool])
        axis.set_title(f"Demand of {pool}, and its batches")
        drawing.time_axis(axis, zone)
        axis.set_xlabel("")
    _rows_of_batches(axes[-1], batches, colours, zone)
    return drawing.svg(figure, name)


def _demand_with_batches(
    axes: matplotlib.axes.Axes, item: Item, plan: Item, colour: str, capacity: Capacity | None
) -> None:
    quantiles = {float(level): values for level, values in item["quantiles"].items()}
    times = step_times(item, len(quantiles[0.5]))
    highest = max(quantiles)
    axes.plot(*thinned(times, quantiles[0.5]), color=INK, linewidth=1.2, label="median")
    if highest > 0.5:
        label = f"{highest * 100:.4g} % stay below"
        axes.plot(*thinned(times, quantiles[highest]), color=MUTED, linewidth=1, linestyle=(0, (3, 1)), label=label)
    labelled = False
    for batch in plan["batches"]:
        if batch.get("pool") in (None, item["pool"]):
            span = (timing.moment(batch["start"]), timing.moment(batch["end"]))
            axes.axvspan(*span, color=colour, alpha=0.35, linewidth=0, label=None if labelled else "batches")
            labelled = True
    top = max(quantiles[highest])
    if capacity is not None and capacity.total < 3 * top:
        steps = capacity_left(plan, item["pool"], capacity, (float(times[0]), float(times[-1])))
        axes.step(*steps, where="post", color=GREEN, linewidth=1.4, label="capacity in service")
        top = max(top, *steps[1])
    axes.set_ylim(0, top * 1.1 or 1)
    axes.margins(x=0.01)
    # An update that must end soon is not lost in a forecast of a day.
    begin, deadline = float(times[0]), timing.moment(plan["deadline"]).timestamp()
    axes.set_xlim(*drawing.moments([begin, min(float(times[-1]), begin + max(3600.0, 1.5 * (deadline - begin)))]))
    drawing.legend(axes)


def capacity_left(
    plan: Item, pool: str, capacity: Capacity, span: tuple[float, float]
) -> tuple[list[datetime.datetime], list[float]]:
    """What a pool carries while an update runs, as steps: the moment of each change, and the load units from then on.

    Standbys woken for the update count while it runs.

    :param span: First and last moment to show, in epoch seconds.
    """
    standbys = plan.get("standbys") or {}
    woken = len(set(standbys.get("activate") or []) & set(capacity.standbys))
    changes = [
        (timing.moment(plan["window"]["start"]).timestamp(), woken),
        (timing.moment(plan["window"]["end"]).timestamp(), -woken),
    ]
    for batch in plan["batches"]:
        if batch.get("pool") in (None, pool):
            changes.append((timing.moment(batch["start"]).timestamp(), -len(batch["hosts"])))
            changes.append((timing.moment(batch["end"]).timestamp(), len(batch["hosts"])))
    by_moment = {span[0]: 0.0, span[1]: 0.0}
    for moment, servers in changes:
        by_moment[moment] = by_moment.get(moment, 0.0) + servers
    moments = sorted(by_moment)
    left = capacity.total + capacity.server * np.cumsum([by_moment[moment] for moment in moments])
    return drawing.moments(moments), [float(value) for value in left]


def _rows_of_batches(
    axes: matplotlib.axes.Axes, batches: list[Item], colours: dict[str, str], zone: zoneinfo.ZoneInfo
) -> None:
    start, end = timing.moment(batches[0]["start"]), timing.moment(batches[-1]["end"])
    for row, batch in enumerate(batches):
        begins, ends = timing.moment(batch["start"]), timing.moment(batch["end"])
        colour = colours[batch.get("pool") or "servers"]
        axes.barh(row, ends - begins, left=begins, height=0.72, color=colour, alpha=0.75, linewidth=0)
        spare = batch["spare_servers"]
        text = f"{len(batch['hosts'])} out, {spare} spare, risk {batch['risk']:.1%}"
        before = ends - start > 0.62 * (end - start)
        axes.annotate(
            text,
            (begins if before else ends, row),
            xytext=(-5 if before else 5, 0),
            textcoords="offset points",
            va="center",
            ha="right" if before else "left",
            fontsize=8,
        )
    axes.set_yticks(range(len(batches)), [_hosts_label(batch) for batch in batches])
    axes.set_ylim(len(batches) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(start, end)
    axes.set_title("Batches in their order")
    drawing.time_axis(axes, zone)


def _hosts_label(batch: Item) -> str:
    names = ", ".join(batch["hosts"])
    if len(names) > 28:
        names = f"{batch['hosts'][0]} and {len(batch['hosts']) - 1} more"
    return f"{batch['number']}: {names}"


def traffic(streams: dict[str, Stream], marks: list[Item], *, name: str, zone: zoneinfo.ZoneInfo) -> str:
    """Requests, failures and latency, second by second, with what happened when."""
    figure, (rate, failures, latency) = drawing.canvas(5.4, (3, 1.2, 3), shared=True)
    times = sorted({time for stream in streams.values() for time in stream.times})
    failed = dict.fromkeys(times, 0)
    for place, (path, stream) in enumerate(streams.items()):
        colour = SERIES[place % len(SERIES)]
        rate.plot(*thinned(stream.times, stream.sent), color=colour, linewidth=1.2, label=path)
        for kind, style in (("p50_ms", (0, (1, 1))), ("p95_ms", "-")):
            values = [math.nan if value is None else value for value in getattr(stream, kind)]
            # The colours are told by the first picture's legend, the kinds of line by this one's.
            label = {"p50_ms": "median", "p95_ms": "95th percentile"}[kind] if place == 0 else None
            latency.plot(*thinned(stream.times, values), color=colour, linewidth=1.1, linestyle=style, label=label)
        for time, count in zip(stream.times, stream.failed, strict=True):
            failed[time] += count
    _failures(failures, times, failed)
    for axes, title, unit in (
        (rate, "Requests", "per second"),
        (failures, "Failed requests", "per second"),
        (latency, "Time to the answer", "ms"),
    ):
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.margins(x=0.01)
        axes.set_ylim(bottom=0)
        _draw_marks(axes, marks, numbered=axes is rate)
    _spread(latency, streams)
    drawing.legend(rate)
    drawing.legend(latency)
    drawing.time_axis(latency, zone)
    return drawing.svg(figure, name)


def _spread(axes: matplotlib.axes.Axes, streams: dict[str, Stream]) -> None:
    """A logarithmic axis where some paths answer many times slower than others, or the fast ones lie on the floor."""
    known = [value for stream in streams.values() for value in stream.p50_ms if value]
    if known and max(known) > 20 * min(known):
        axes.set_yscale("log")
        axes.set_ylim(bottom=min(known) / 2)
        axes.yaxis.set_major_formatter(mpl_ticker.FormatStrFormatter("%g"))


def _failures(axes: matplotlib.axes.Axes, times: list[float], failed: dict[float, int]) -> None:
    counts = [failed[time] for time in times]
    axes.yaxis.set_major_locator(mpl_ticker.MaxNLocator(integer=True, nbins=3))
    if any(counts):
        axes.vlines(drawing.moments(times), 0, counts, color=RED, linewidth=1.5)
        axes.set_ylim(0, max(counts) * 1.15)
    else:
        axes.set_ylim(0, 1)
        axes.set_yticks([0])
        axes.text(0.5, 0.5, "none failed", transform=axes.transAxes, ha="center", va="center", color=GREEN, fontsize=10)


def _draw_marks(axes: matplotlib.axes.Axes, marks: list[Item], *, numbered: bool) -> None:
    for number, mark in enumerate(marks, start=1):
        begins = timing.moment(mark["time"])
        if mark.get("end"):
            axes.axvspan(begins, timing.moment(mark["end"]), color=SKY, alpha=0.16, linewidth=0)
        axes.axvline(begins, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        if numbered:
            at = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            axes.annotate(str(number), (begins, 1), xytext=(3, -3), va="top", fontsize=8, fontweight="bold", **at)
