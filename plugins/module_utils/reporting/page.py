# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the report: what was found, decided and done, in sections of words, pictures and tables."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
import typing as t
import zoneinfo

from .. import timing
from ..libraries import jinja2
from . import charts, drawing, policies, traffic
from .template import TEMPLATE

Item = t.Dict[str, t.Any]

_STAMP = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

# Pools that get pictures; the page says how many more there are.
MOST_POOLS = 8


@dataclasses.dataclass(frozen=True)
class Contents:
    """All that a page can show; what is empty has no section.

    :param zones: Time zone of each pool, by name.
    :param zone: Time zone of what is not about one pool.
    :param units: Unit of the load of each pool.
    :param capacities: What each pool carries.
    :param tails: The newest demand of each pool.
    :param marks: What happened when, beside the traffic: C(time), C(end) (or nothing) and C(label).
    """

    title: str
    now: datetime.datetime
    zone: zoneinfo.ZoneInfo
    zones: dict[str, zoneinfo.ZoneInfo] = dataclasses.field(default_factory=dict)
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    capacities: dict[str, charts.Capacity] = dataclasses.field(default_factory=dict)
    tails: dict[str, charts.Tail] = dataclasses.field(default_factory=dict)
    forecasts: list[Item] = dataclasses.field(default_factory=list)
    plan: Item | None = None
    update_plan: Item | None = None
    streams: dict[str, traffic.Stream] = dataclasses.field(default_factory=dict)
    marks: list[Item] = dataclasses.field(default_factory=list)
    anomalies: list[Item] = dataclasses.field(default_factory=list)
    backtest: Item | None = None
    words: list[str] = dataclasses.field(default_factory=list)


def render(contents: Contents) -> str:
    """The page as HTML, whole in itself: it names no other file and no other server."""
    with drawing.style():
        sections = [section for make in _SECTIONS for section in [make(contents)] if section]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE).render(
        title=contents.title,
        subtitle=f"As of {_clock(contents.now, contents.zone, day=True)} ({contents.zone.key})",
        tiles=_tiles(contents),
        sections=sections,
    )


def _clock(
    moment: datetime.datetime | str, where: zoneinfo.ZoneInfo, *, day: bool = False, seconds: bool = False
) -> str:
    text = "%a %d %b %Y %H:%M" if day else "%H:%M:%S" if seconds else "%a %H:%M"
    return timing.moment(moment).astimezone(where).strftime(text)


def _tiles(contents: Contents) -> list[Item]:
    tiles = []
    if contents.streams:
        sent, failed = traffic.totals(contents.streams.values())
        tone = "bad" if failed else "good"
        tiles.append({"label": "Requests failed", "value": f"{failed:,}", "note": f"of {sent:,} sent", "tone": tone})
    if contents.plan:
        pools = contents.plan["pools"].values()
        needed, serving = sum(pool["required"] for pool in pools), sum(len(pool["in_service"]) for pool in pools)
        wake = sum(len(pool["activate"]) for pool in pools)
        tiles.append({"label": "Servers needed now", "value": needed, "note": f"{serving} in service", "tone": ""})
        tiles.append({"label": "Standbys to wake", "value": wake, "note": "by the scaling plan", "tone": ""})
    if contents.update_plan:
        plan = contents.update_plan
        begins, ends = (_clock(plan["window"][edge], contents.zone) for edge in ("start", "end"))
        count = len(plan["batches"])
        note = f"{count} {'batch' if count == 1 else 'batches'}, {begins} to {ends}"
        tiles.append({"label": "Servers to update", "value": len(plan["hosts"]), "note": note, "tone": ""})
        risk = f"{max(batch['risk'] for batch in plan['batches']):.2%}"
        tiles.append(
            {"label": "Highest risk of a batch", "value": risk, "note": "of more demand than room", "tone": ""}
        )
    return tiles


def local(text: str, where: zoneinfo.ZoneInfo) -> str:
    """A sentence with its UTC stamps told as the clocks of a zone show them: V(Tue 03 Mar 18:20)."""
    return _STAMP.sub(lambda found: timing.moment(found.group()).astimezone(where).strftime("%a %d %b %H:%M"), text)


def _words(contents: Contents) -> Item | None:
    words = [local(sentence, contents.zone) for sentence in contents.words]
    return {"title": "In words", "words": words} if words else None


def _forecasts(contents: Contents) -> Item | None:
    pools = [item for item in contents.forecasts if item.get("server") is None]
    if not pools:
        return None
    pictures = [_forecast_picture(number, item, contents) for number, item in enumerate(pools[:MOST_POOLS])]
    head = ["pool", "model", "MASE", "of seasonal naive", "average error", "days tested", "samples", "missing"]
    rows = [_forecast_row(item) for item in pools]
    return {
        "title": "Forecasts",
        "note": _left_out(len(pools), "pools"),
        "pictures": pictures,
        "tables": [
            {"caption": "How each did on the pool's own past", "head": head, "rows": rows, "numbers": range(2, 8)}
        ],
    }


def _left_out(count: int, what: str, most: int = MOST_POOLS) -> str:
    return f"Pictures of the first {most} of {count} {what}." if count > most else ""


def _forecast_picture(number: int, item: Item, contents: Contents) -> Item:
    pool = item["pool"]
    picture = charts.forecast(
        item,
        name=f"forecast-{number}",
        zone=contents.zones.get(pool, contents.zone),
        unit=contents.units.get(pool, item["metric"]),
        tail=contents.tails.get(pool),
        capacity=contents.capacities.get(pool),
    )
    return {"svg": picture, "caption": local(item["words"], contents.zones.get(pool, contents.zone))}


def _forecast_row(item: Item) -> list[str]:
    scores = item.get("backtest") or {}
    figures = [
        _figure(scores.get("mase"), ".3f"),
        _figure(scores.get("seasonal_naive_mase"), ".3f"),
        _figure(scores.get("wape"), ".1%"),
        _figure(scores.get("days"), ".3g"),
    ]
    return [item["pool"], item["model"], *figures, f"{item['samples']:,}", f"{item['missing']:,}"]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:{form}}"


def _scaling(contents: Contents) -> Item | None:
    if not contents.plan:
        return None
    planned = contents.plan["pools"]
    pictures, rows = [], []
    drawn = [(pool, plan) for pool, plan in planned.items() if plan.get("required_by_step")]
    for number, (pool, plan) in enumerate(drawn[:MOST_POOLS]):
        where = contents.zones.get(pool, contents.zone)
        now = timing.moment(contents.plan["now"])
        picture = charts.servers(pool, plan, name=f"servers-{number}", zone=where, now=now)
        pictures.append({"svg": picture, "caption": local(f"{pool}: {'; '.join(plan['reasons'])}", where)})
    for pool, plan in planned.items():
        level = _figure(plan["quantile"], ".4g")
        wake, sleep = (", ".join(item["server"] for item in plan[what]) or "-" for what in ("activate", "release"))
        rows.append([pool, plan["mode"], level, len(plan["in_service"]), plan["required"], wake, sleep])
    head = ["pool", "mode", "quantile", "in service", "needed", "wake", "send to sleep"]
    return {
        "title": "Scaling plan",
        "note": _left_out(len(drawn), "pools"),
        "pictures": pictures,
        "tables": [{"head": head, "rows": rows, "numbers": range(2, 5)}],
    }


def _update(contents: Contents) -> Item | None:
    plan = contents.update_plan
    if not plan or not plan["batches"]:
        return None
    demand = {item["pool"]: item for item in contents.forecasts if item.get("server") is None}
    units = {pool: contents.units.get(pool, item["metric"]) for pool, item in demand.items()}
    picture = charts.update(
        plan, demand, name="update", zone=contents.zone, units=units, capacities=contents.capacities
    )
    standbys = plan.get("standbys") or {}
    woken = ", ".join(standbys.get("activate") or [])
    caption = f"Standbys woken for it: {woken}." if woken else "No standby is woken for it."
    rows = [_batch_row(batch, contents.zone) for batch in plan["batches"]]
    head = ["batch", "from", "to", "servers", "spare", "risk", "displaced load", "why"]
    note = _left_out(len(rows), "batches", charts.MOST_BATCHES)
    return {
        "title": "Update plan",
        "note": note,
        "pictures": [{"svg": picture, "caption": caption}],
        "tables": [{"head": head, "rows": rows, "numbers": (0, 4, 5, 6)}],
    }


def _batch_row(batch: Item, where: zoneinfo.ZoneInfo) -> list[t.Any]:
    return [
        batch["number"],
        _clock(batch["start"], where),
        _clock(batch["end"], where),
        ", ".join(batch["hosts"]),
        batch["spare_servers"],
        f"{batch['risk']:.2%}",
        f"{batch['displaced_load']:.4g}",
        local("; ".join(batch["reasons"]), where),
    ]


def _traffic(contents: Contents) -> Item | None:
    if not contents.streams:
        return None
    picture = charts.traffic(contents.streams, contents.marks, name="traffic", zone=contents.zone)
    rows = []
    for path, stream in contents.streams.items():
        sent, failed = traffic.totals([stream])
        worst = max((value for value in stream.p95_ms if value is not None), default=None)
        rows.append([path, f"{sent:,}", f"{failed:,}", f"{max(stream.sent):,}", _figure(worst, ".3g")])
    head = ["path", "sent", "failed", "most in a second", "worst second's 95th percentile (ms)"]
    marks = []
    for mark in contents.marks:
        until = f" to {_clock(mark['end'], contents.zone, seconds=True)}" if mark.get("end") else ""
        marks.append(f"{_clock(mark['time'], contents.zone, seconds=True)}{until}: {mark['label']}")
    return {
        "title": "Traffic",
        "pictures": [{"svg": picture, "caption": "What the load generator sent, and what became of it."}],
        "marks": marks,
        "tables": [{"head": head, "rows": rows, "numbers": range(1, 5)}],
    }


def _anomalies(contents: Contents) -> Item | None:
    if not contents.anomalies:
        return None
    rows = [
        [
            item["pool"],
            item.get("server") or "the pool",
            item["metric"],
            _clock(item["since"], contents.zones.get(item["pool"], contents.zone)),
            item.get("direction") or "-",
            f"{item['score']:.2f}",
        ]
        for item in sorted(contents.anomalies, key=lambda item: -item["score"])
    ]
    head = ["pool", "server", "metric", "since", "direction", "score"]
    return {"title": "Anomalies", "tables": [{"head": head, "rows": rows, "numbers": (5,)}]}


def _backtest(contents: Contents) -> Item | None:
    told = (contents.backtest or {}).get("policies")
    if not told:
        return None
    figures = list(dict.fromkeys(figure for scores in told.values() for figure in scores))
    rows = []
    for label, scores in told.items():
        pool, _colon, policy = label.rpartition(": ")
        rows.append([pool, policy.replace("_", " "), *(_figure(scores.get(name), ".4g") for name in figures)])
    head = ["pool", "policy", *(policies.HEADS.get(name, name.replace("_", " ")) for name in figures)]
    table = {"head": head, "rows": rows, "numbers": range(2, len(head)), "caption": policies.CAPTION}
    drawn = policies.by_pool(told)
    pictures = [
        {
            "svg": policies.picture(pool, found, name=f"policies-{number}"),
            "caption": "Nearer to the lower left is better.",
        }
        for number, (pool, found) in enumerate(list(drawn.items())[:MOST_POOLS])
    ]
    return {
        "title": "Backtest",
        "note": _left_out(len(drawn), "pools"),
        "words": contents.backtest.get("words") or [],
        "pictures": pictures,
        "tables": [table],
    }


_SECTIONS = (_words, _traffic, _forecasts, _scaling, _update, _anomalies, _backtest)
