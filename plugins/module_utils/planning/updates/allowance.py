# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An update plan within what tenants may have awake, and spend in a day."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ... import timing
from ..quota import day_of, standbys
from .remedies import NoWindow

Plan = t.Dict[str, t.Any]
Names = t.Dict[str, t.List[str]]


@dataclasses.dataclass(frozen=True)
class Allowance:
    """What a tenant has left for the standbys of an update.

    :param limits: Checked values of ``options.TENANT``.
    :param awake: Standbys of the tenant that are awake now.
    :param spent: What standbys have cost since the tenant's day began.
    :param per_hour: What those awake cost in an hour: they are taken to stay awake until the day ends.
    """

    tenant: str
    limits: t.Mapping[str, t.Any]
    awake: int = 0
    spent: float = 0.0
    per_hour: float = 0.0

    def refusal(self, prices: t.Sequence[float], now: datetime.datetime, begin: str, end: str) -> str | None:
        """Why so many standbys more, each at its price for an hour, may not be awake from a time to another; None if they may."""
        most, budget = self.limits["max_standbys"], self.limits["budget_per_day"]
        if most is not None and self.awake + len(prices) > most:
            return (
                f"tenant {self.tenant} has {standbys(self.awake)} awake, "
                f"{len(prices)} more {'is' if len(prices) == 1 else 'are'} wanted, "
                f"and max_standbys is {most}"
            )
        if budget is None or not prices:
            return None
        moment, until = max(now, timing.moment(begin)), timing.moment(end)
        while moment < until:
            day, over = day_of(moment, self.limits["time_zone"], f"tenants.{self.tenant}.time_zone")
            cost = sum(prices) * (min(over, until) - moment).total_seconds() / 3600
            taken = self.spent + self.per_hour * (over - now).total_seconds() / 3600 if day <= now else 0.0
            if taken + cost > budget + 1e-9:
                return (
                    f"tenant {self.tenant} has spent or planned {taken:.2f} of the day that begins at {timing.iso(day)}; "
                    f"{cost:.2f} more would exceed budget_per_day of {budget:g}"
                )
            moment = over
        return None


def within(
    make: t.Callable[[Names | None], Plan],
    spare: Names | None,
    pools: t.Mapping[str, t.Mapping[str, t.Any]],
    allowances: t.Mapping[str, Allowance],
    now: datetime.datetime,
) -> Plan:
    """The plan that tenants can afford: standbys that they can't stay asleep, and it is made anew without them.

    Standbys of the lightest pool stay asleep first. Each is counted from the first waking to the end of the update, as
    they are woken together and sleep again together.

    :param make: Makes the plan from the standbys that may be woken, by pool.
    :param spare: Those standbys; none may be woken where it is None.
    :param pools: All that may be planned. :param allowances: By tenant. One that is absent has no limit.
    :returns: The plan, with those that it wanted and was refused as C(refused) of its C(standbys), each with a reason.
    :raises NoWindow: when there is no plan without those refused, and that says so.
    """
    left = {name: list(names) for name, names in (spare or {}).items()}
    refused: list[dict[str, str]] = []
    while True:
        try:
            plan = make(left if spare is not None else None)
        except NoWindow as exc:
            if not refused:
                raise
            said = "; ".join(_words(refused))
            raise NoWindow(
                f"{exc.problem}; {said}",
                option=exc.option,
                remedy=f"Raise the quota of the tenant, or do without it: {(exc.remedy or '').rstrip('.')}",
            ) from None
        wanted = plan["standbys"]
        cut = next(filter(None, (_cut(plan, pools, one, now) for one in allowances.values())), None)
        if cut is None:
            return {**plan, "standbys": {**wanted, "refused": refused}, "words": plan["words"] + _words(refused)}
        refused += cut
        for item in cut:
            names = left[item["pool"]]
            # Those that the plan did not want come after it, and would take its place.
            left[item["pool"]] = names[: names.index(item["server"])] if item["server"] in names else names


def _cut(
    plan: Plan, pools: t.Mapping[str, t.Mapping[str, t.Any]], allowance: Allowance, now: datetime.datetime
) -> list[dict[str, str]] | None:
    """What one tenant may not have awake of a plan; None where it may have all."""
    wanted = plan["standbys"]
    mine = [item for item in wanted["each"] if pools[item["pool"]]["tenant"] == allowance.tenant]
    mine.sort(key=lambda item: (-pools[item["pool"]]["weight"], item["pool"]))  # stable: in the order they are woken
    cut: list[dict[str, str]] = []
    while mine:
        prices = [pools[item["pool"]]["standby"]["cost_per_hour"] for item in mine]
        reason = allowance.refusal(prices, now, wanted["by"], wanted["release_after"])
        if reason is None:
            break
        last = mine.pop()
        cut.append({"server": last["server"], "pool": last["pool"], "reason": reason})
    return cut or None


def _words(refused: t.Sequence[t.Mapping[str, str]]) -> list[str]:
    return [f"{item['server']} stays asleep: {item['reason']}" for item in refused]
