# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users say outright: thresholds of predicted utilization, and what an anomaly does to a plan."""

from __future__ import annotations

import dataclasses
import math
import typing as t

from .. import timing
from ..errors import InvalidOption
from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

Pool = t.Dict[str, t.Any]
Item = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """One rule: predicted utilization above (or below) a share for some time adds (or removes) servers."""

    share: float
    seconds: float
    change: int

    @property
    def words(self) -> str:
        """As a person says it."""
        return f"{'above' if self.change > 0 else 'below'} {self.share:.0%} for {timing.words(self.seconds)}".replace(
            "%", " %"
        )


def thresholds(rules: t.Sequence[Item], option: str = "rules") -> list[Threshold]:
    """The rules of a pool, checked.

    :raises InvalidOption: on a rule that has not exactly one direction, or moves against it.
    """
    return [_threshold(rule, f"{option}[{place}]") for place, rule in enumerate(rules)]


def _threshold(rule: Item, option: str) -> Threshold:
    above, below, add, remove = (rule.get(name) for name in ("above", "below", "add", "remove"))
    if (above is None) == (below is None):
        raise InvalidOption(
            "it must have one of above and below", option=option, remedy="Write {above: 80%, for: 10m, add: 1}"
        )
    name, change = ("above", add) if above is not None else ("below", remove)
    unfit = remove if above is not None else add
    if unfit is not None or (change is not None and change < 1):
        raise InvalidOption(
            "above adds servers and below removes them, at least one",
            option=option,
            remedy="Write {above: 80%, for: 10m, add: 1} or {below: 30%, for: 30m, remove: 1}",
        )
    count = 1 if change is None else int(change)
    return Threshold(
        _share(rule[name], f"{option}.{name}"),
        timing.duration(rule.get("for") or "10m", f"{option}.for"),
        count if above is not None else -count,
    )


def _share(value: t.Any, option: str) -> float:
    """V(80%) or V(0.8) as a number."""
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not 0 < number <= 10:
        raise InvalidOption(f"{value!r} is not a share", option=option, remedy="Write 80% or 0.8")
    return number


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What thresholds say: servers wanted, those that may go at most to, and why."""

    wanted: int
    keep: int
    reasons: tuple[str, ...]


def judge(
    rules: t.Sequence[Threshold], utilization: numpy.ndarray, step_seconds: int, urgent: int, serving: int
) -> Verdict:
    """What a pool's thresholds want.

    A rule that adds acts when predicted utilization passes it for its time, beginning no later than a standby woken now
    could help; one that removes acts when it stays below from now on for its time, as far as is known.

    :param utilization: Predicted share of what the servers in service carry, shape (steps,), from now on.
    :param urgent: Steps within which a need must be acted on now.
    """
    wanted, keep, reasons = serving, serving, []
    for rule in rules:
        length = max(1, math.ceil(rule.seconds / step_seconds))
        if rule.change > 0:
            over = utilization[: urgent + length - 1] > rule.share
            runs = (
                np.lib.stride_tricks.sliding_window_view(over, length).all(axis=1) if len(over) >= length else over[:0]
            )
            if runs.any() and serving + rule.change > wanted:
                wanted = serving + rule.change
                reasons.append(f"predicted utilization is {rule.words}: {rule.change} more")
        elif len(utilization) >= length and (utilization[:length] < rule.share).all() and serving + rule.change < keep:
            keep = serving + rule.change
            reasons.append(f"predicted utilization is {rule.words}: {-rule.change} fewer")
    return Verdict(wanted, serving if wanted > serving else keep, tuple(reasons))


@dataclasses.dataclass(frozen=True)
class Alarm:
    """What anomalies of a pool's load do: demand to cover at least, whether nothing may be released, and why."""

    demand: float = 0.0
    freeze: bool = False
    reasons: tuple[str, ...] = ()


def alarm(pool: Pool, name: str, anomalies: t.Sequence[Item]) -> Alarm:
    """What the open anomalies of a pool's load mean for its plan.

    A surge goes on as far as it has come: as much again as it exceeds what was expected is covered. Low or strange
    load freezes release: it may be an outage, or metrics that lie.

    :param anomalies: As the module M(lowtide.fleet.anomalies) returns them.
    :raises InvalidOption: on one that is not such an item.
    """
    wanted = pool.get("anomalies") or {"surge": "add", "low": "freeze"}
    result = Alarm()
    try:
        for item in anomalies:
            if item["pool"] == name and item["open"] and item["metric"] == pool["load"]["metric"]:
                result = _with(result, item, wanted)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise InvalidOption(
            f"this is not an anomaly ({exc!r})", option="anomalies", remedy="Give what the module anomalies returned"
        ) from exc
    return result


def _with(so_far: Alarm, item: Item, wanted: dict[str, str]) -> Alarm:
    """One more anomaly."""
    value, high = item["value"], (item.get("expected") or {}).get("high")
    of_pool = item.get("server") is None
    if item["direction"] == "high":
        if wanted["surge"] == "ignore" or not of_pool or value is None:
            return so_far
        demand = value + max(0.0, value - high) if high is not None else value
        if not math.isfinite(demand):
            raise ValueError(f"its value is {value}")
        reason = f"load is unusually high since {item['since']}: {demand:.4g} is covered, and nothing is released"
        return Alarm(max(so_far.demand, float(demand)), True, (*so_far.reasons, reason))
    if wanted["low"] == "ignore" or not of_pool:
        return so_far
    kind = "low" if item["direction"] == "low" else "strange"
    reason = f"load is unusually {kind} since {item['since']}: nothing is released until that is over"
    return Alarm(so_far.demand, True, (*so_far.reasons, reason))
