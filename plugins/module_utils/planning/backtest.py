# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a pool would have done in its own past: under its own rules, and under others beside them."""

from __future__ import annotations

import dataclasses
import math
import typing as t

from .. import timing
from ..errors import NotEnoughHistory
from ..forecasting import near as nearby
from ..libraries import numpy as np
from . import choice, costs, elasticity, policies, rules

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]

WAYS = ("forecast", "headroom", "newest")  # by the forecast; by the newest demand and its usual changes; by it alone
UNSCORED_DAYS = 14  # at the beginning, or half of a history that is shorter than twice that
FEWEST_DAYS = 4  # of samples, below which nothing can be told
HEADROOMS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
UTILIZATIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
AT_ONCE = 32  # pools whose pasts are gone through together: a month of them takes half a gigabyte
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)


@dataclasses.dataclass(frozen=True)
class Past:
    """A pool's demand so far, and what its rules make of time.

    :param demand: In servers' worth of capacity, shape (time,), NaN where a sample is missing.
    :param near: What was expected one lead time ahead, of that demand. :param plain: The same, from the newest demand alone.
    :param boot: Steps from power on to carrying load. :param hold: Steps that a standby is kept after it was last wanted.
    :param first: The first decision that is judged.
    :param least, most: Servers that are always on, and all there are.
    """

    pool: Pool
    demand: numpy.ndarray
    near: nearby.Near
    plain: nearby.Near
    step_seconds: int
    boot: int
    hold: int
    first: int
    least: int
    most: float

    @classmethod
    def of(cls, pool: Pool, demand: numpy.ndarray, step_seconds: int, hold_seconds: float, name: str) -> Past:
        """The past of a pool.

        :param demand: In load units, shape (time,).
        :raises NotEnoughHistory: where there is too little to tell anything from.
        """
        pasts, lacking = pasts_of({name: pool}, {name: demand}, step_seconds, hold_seconds)
        if lacking:
            raise lacking[name]
        return pasts[name]

    @classmethod
    def _of(
        cls,
        pool: Pool,
        worth: numpy.ndarray,
        told: tuple[nearby.Near, nearby.Near],
        step_seconds: int,
        hold_seconds: float,
    ) -> Past:
        standby = pool["standby"]
        rest = timing.duration(standby.get("min_awake") or 0) if standby else 0.0
        boot = _boot(pool, step_seconds)
        least = max(pool["limits"]["min"], len(pool["servers"]))
        count = len(pool["servers"]) + (len(standby["servers"]) if standby else 0)
        first = min(UNSCORED_DAYS * told[0].day, len(worth) // 2)
        # Longer than the past is as long as the past.
        hold = min(math.ceil(max(hold_seconds, rest) / step_seconds), len(worth))
        most = max(least, min(count, pool["limits"]["max"] or count))
        return cls(pool, worth, *told, step_seconds, boot, hold, first, least, most)

    @property
    def ratio(self) -> float:
        """What an hour of overload costs, in hours of one server."""
        return costs.overload_cost(self.pool) / max(costs.server_cost(self.pool), 1e-9)

    @property
    def utilization(self) -> float:
        """The target utilization."""
        return float(self.pool["load"]["target_utilization"])

    def possible(self, wanted: numpy.ndarray) -> numpy.ndarray:
        """What the pool can have of what is wanted."""
        return np.clip(wanted, self.least, self.most)

    def figures(self, wanted: numpy.ndarray, hold: int | None = None) -> elasticity.Figures:
        """How decisions would have done, under the pool's hold or another."""
        limits = {"first": self.first, "least": self.pool["limits"]["min"]}
        return elasticity.figures(self.possible(wanted), self.demand, **limits, **self._terms(hold))

    def spent(self, wanted: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """What servers and overload would have cost in the step after each decision."""
        return elasticity.spent(self.possible(wanted), self.demand, **self._terms(None))

    def _terms(self, hold: int | None) -> dict[str, t.Any]:
        """What time and overload cost."""
        return {
            "boot": self.boot,
            "hold": self.hold if hold is None else hold,
            "step_seconds": self.step_seconds,
            "server_cost": costs.server_cost(self.pool),
            "overload_cost": costs.overload_cost(self.pool),
            "by_time": self.pool["slo"].get("overload") == "time",
        }


def pasts_of(
    pools: t.Mapping[str, Pool], demands: t.Mapping[str, numpy.ndarray], step_seconds: int, hold_seconds: float
) -> tuple[dict[str, Past], dict[str, NotEnoughHistory]]:
    """The pasts of many pools, by name, and why there is none of the others: too little to tell anything from.

    Those that look as far ahead, from as many samples, are gone through at once.

    :param demands: In load units, by pool, each of shape (time,), NaN where a sample is missing.
    """
    day = max(1, round(86400 / step_seconds))
    lacking: dict[str, NotEnoughHistory] = {}
    alike: dict[tuple[int, int], dict[str, numpy.ndarray]] = {}
    for name, demand in demands.items():
        there = ~np.isnan(demand)
        known = int(there.sum())
        if known < FEWEST_DAYS * day:
            lacking[name] = NotEnoughHistory(
                f"the history of pool {name!r} has {known / day:.1f} days of samples, and a replay needs {FEWEST_DAYS}",
                option="history_window",
                remedy="Collect for longer, or look further back",
            )
            continue
        worth = demand[int(there.argmax()) :] / pools[name]["load"]["server_capacity"]
        alike.setdefault((_boot(pools[name], step_seconds), len(worth)), {})[name] = worth
    pasts = {}
    for (boot, _length), worths in alike.items():
        names = list(worths)
        for some in (names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)):
            values, terms = np.stack([worths[name] for name in some]), {"lead": boot + 1, "step_seconds": step_seconds}
            near, plain = nearby.replay(values, **terms), nearby.carried_on(values, **terms)
            for row, name in enumerate(some):
                told = near.row(row), plain.row(row)
                pasts[name] = Past._of(pools[name], worths[name], told, step_seconds, hold_seconds)
    return pasts, lacking


def _boot(pool: Pool, step_seconds: int) -> int:
    """Steps from power on to carrying load."""
    return math.ceil((timing.duration(pool["standby"]["lead_time"]) if pool["standby"] else 0.0) / step_seconds)


def predictive(past: Past, quantile: float | None = None, utilization: float | None = None) -> numpy.ndarray:
    """What the pool's own rules would have wanted, or others in their place; never below what the newest demand needs."""
    utilization = utilization or past.utilization
    if past.pool.get("rules") and quantile is None:
        return _by_thresholds(past)
    if past.pool["slo"].get("overload") == "time" and quantile is None:
        wanted = policies.cheapest(past.near, 0, past.ratio, utilization, past.demand)
    else:
        level = costs.demand_quantile(past.pool) if quantile is None else quantile
        wanted = policies.quantile(past.near, 0, level, utilization, past.demand)
    return np.maximum(wanted, policies.reactive(past.demand, 1.0))


def _by_thresholds(past: Past) -> numpy.ndarray:
    """What thresholds would have wanted. Each decision starts from the one before, so they are made one after another."""
    level = past.near.level(0, costs.demand_quantile(past.pool))
    level = np.where(np.isnan(level), np.nan_to_num(past.demand), level)
    limits = rules.thresholds(past.pool["rules"])
    bounds = []
    for rule in limits:
        width = max(1, math.ceil(rule.seconds / past.step_seconds))
        bounds.append(elasticity.trailing(level, width, np.min if rule.change > 0 else np.max))
    floor = past.possible(policies.reactive(past.demand, 1.0))
    wanted, current = np.empty(len(level)), float(floor[0])
    for step in range(len(level)):
        load = [bound[step] / max(current, 1.0) for bound in bounds]
        add = max(
            (rule.change for rule, share in zip(limits, load, strict=True) if rule.change > 0 and share > rule.share),
            default=0,
        )
        cut = min(
            (rule.change for rule, share in zip(limits, load, strict=True) if rule.change < 0 and share < rule.share),
            default=0,
        )
        current = min(max(current + (add or cut), float(floor[step])), float(past.most))
        wanted[step] = current
    return wanted


def chosen(past: Past, quantile: float | None = None, utilization: float | None = None) -> choice.Choice:
    """What a plan would have wanted at each moment: by :data:`WAYS`, the one that would have cost least lately.

    The plan, the replay and the benchmark all ask this.
    """
    rows = [
        predictive(past, quantile, utilization),
        predictive(dataclasses.replace(past, near=past.plain), quantile, utilization),
        policies.reactive(past.demand, utilization or past.utilization),
    ]
    wanted = np.stack(rows)
    return choice.choose(wanted, *past.spent(wanted), day=past.near.day, first=past.near.first)


def replay(past: Past) -> dict[str, t.Any]:
    """A pool's past under its own rules, and beside them reactive, static peak, seasonal naive and an oracle.

    :returns: ``policies``, figures by name; ``spared_overload_minutes`` against reactive; ``recommended`` settings and
        what they would have cost; ``mode``, in which a plan made at its end would be, and ``reactive_share``, of the time judged.
    """
    own = chosen(past)
    rows = {
        "lowtide": own.wanted,
        "reactive": policies.reactive(past.demand, past.utilization),
        "static_peak": policies.static(past.demand, past.first),
        "seasonal_naive": policies.seasonal(past.demand, past.utilization, past.near.day, past.boot + 1),
    }
    found = {name: past.figures(row) for name, row in rows.items()}
    found["oracle"] = past.figures(policies.oracle(past.demand, past.boot + 1), hold=0)
    headroom, best = min(
        ((room, past.figures(policies.reactive(past.demand, 1 / (1 + room)))) for room in HEADROOMS),
        key=lambda pair: pair[1].cost,
    )
    found["reactive_best_headroom"] = best
    return {
        "policies": {name: figures.plain() for name, figures in found.items()},
        "spared_overload_minutes": round(found["reactive"].overload_minutes - found["lowtide"].overload_minutes, 3),
        "mode": "reactive" if own.taken[-1] else "predictive",
        "reactive_share": round(float((own.taken[past.first : -1] > 0).mean()), 4),
        "best_headroom": headroom,
        "recommended": _recommended(past, found["lowtide"]),
        "scored_days": round((len(past.demand) - 1 - past.first) * past.step_seconds / 86400, 3),
    }


def _recommended(past: Past, own: elasticity.Figures) -> dict[str, t.Any]:
    """The settings under which the past would have cost least, where that is clearly less than under those there are."""
    best = min(
        (
            (past.figures(chosen(past, quantile, utilization).wanted), quantile, utilization)
            for quantile in QUANTILES
            for utilization in UTILIZATIONS
        ),
        key=lambda item: item[0].cost,
    )
    figures, quantile, utilization = best
    if figures.cost >= policies.CLEARLY * own.cost:
        return {"change": False, "cost": round(own.cost, 6)}
    return {
        "change": True,
        "slo.quantile": quantile,
        "load.target_utilization": utilization,
        "cost": round(figures.cost, 6),
        "overload_minutes": round(figures.overload_minutes, 3),
    }


def words(name: str, told: dict[str, t.Any]) -> list[str]:
    """What a replay showed, for the person who sets the rules."""
    ours, theirs, best = (told["policies"][key] for key in ("lowtide", "reactive", "oracle"))
    text = (
        f"{name}: over {told['scored_days']:.3g} days {ours['overload_minutes']:.4g} min of overload and "
        f"{ours['server_hours']:.5g} server-hours, reactive {theirs['overload_minutes']:.4g} min and "
        f"{theirs['server_hours']:.5g}, an oracle {best['overload_minutes']:.4g} min and {best['server_hours']:.5g}"
    )
    if told["reactive_share"]:
        text += f"; for {told['reactive_share']:.0%} of the time reactive had cost less lately, so plans went reactive"
    lines = [text]
    wise = told["recommended"]
    if wise["change"]:
        lines.append(
            f"{name}: slo.quantile {wise['slo.quantile']:g} with load.target_utilization "
            f"{wise['load.target_utilization']:g} would have cost {wise['cost']:.5g} instead of {ours['cost']:.5g}"
        )
    return lines
