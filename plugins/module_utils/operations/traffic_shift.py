# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Traffic moved between members in steps, each gated by figures: the face ``traffic_shift``."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import typing as t

from .. import timing
from ..actuators import balancer
from ..actuators.balancer import Instance, Wanted
from ..actuators.providers import open_instances
from ..errors import InvalidOption, LowtideError, NotFound
from ..planning import traffic
from ..planning.traffic import Evidence, Gate, Watch
from . import balancer_pool as pool
from .traffic_meter import Meter
from .traffic_restore import broken, interruptible

VERSION = 1

# The highest limit of an error rate that is relative to what was before.
MOST_RATE = 0.5


def traffic_shift(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Shift traffic, all of it or the next step of it.

    :param params: The options of the module. With C(progress), as an earlier call returned it, one step is made.
    :returns: C(changed), C(finished), C(rolled_back), C(steps), C(progress), C(words) and C(diff).
    :raises ShiftBroken: when the balancer fails, or the run is interrupted, while traffic is shifted.
    """
    if check_mode:
        with contextlib.ExitStack() as sessions:
            return Shift(params, open_instances(params, sessions)).foreseen()
    progress = params["progress"] or {"steps": []}
    with interruptible():
        try:
            return _go_on(params, progress)
        except LowtideError as exc:
            # Nothing was set yet, or all of it is done.
            if not progress["steps"] or progress["finished"]:
                raise
            raise broken(params, progress, exc) from exc


def _go_on(params: dict[str, t.Any], progress: dict[str, t.Any]) -> dict[str, t.Any]:
    """Begin, or go on where the progress is, which is kept up to date in place."""
    with contextlib.ExitStack() as sessions:
        shift = Shift(params, open_instances(params, sessions))
        if "before" not in progress:
            progress.update(shift.begin())
        while not progress["finished"]:
            shift.step(progress)
            if params["progress"] is not None:
                break
        return shift.result(progress)


class Shift:
    """One shift over open sessions. What it has seen so far is kept in a plain dictionary, the progress."""

    def __init__(self, params: dict[str, t.Any], instances: list[Instance]) -> None:
        self.params = params
        self.instances = instances
        self.shares = traffic.shares(params["steps"])
        self.seconds = {
            name: timing.duration(params[name], name)
            for name in ("pause", "bake", "patience", "every", "baseline", "restore_timeout")
        }
        if self.seconds["every"] <= 0:
            raise InvalidOption("readings need time between them", option="every", remedy="Write 2s, for example")
        if not 0 < params["false_alarm_rate"] < 1:
            raise InvalidOption(
                "it is not a rate", option="false_alarm_rate", remedy="Give a number above 0 and below 1"
            )
        self.receivers = [balancer.check_name(name, "receivers") for name in params["receivers"]]
        self.donors = [balancer.check_name(name, "donors") for name in params["donors"]]
        check_gates(params["gates"])
        if params["capacity"]:
            demand_ahead(params["capacity"])
        both = set(self.receivers) & set(self.donors)
        if both or not (self.receivers or self.donors):
            raise InvalidOption(
                f"{min(both)!r} is a donor too" if both else "there is none, and no donor",
                option="receivers",
                remedy="Name the members that get the traffic; they can't be those that give it",
            )
        self.members = pool.merged([instance.read() for instance in instances])
        for option, names in (("receivers", self.receivers), ("donors", self.donors)):
            for name in names:
                if name not in self.members:
                    raise NotFound(
                        f"the backend has no member {name!r}",
                        option=option,
                        remedy=f"Its members are {', '.join(sorted(self.members))}",
                    )
        full = {name: self.members[name].full_weight for name in self.receivers}
        traffic.weights(self.shares[0], full, {})
        # Those whose figures decide: the receivers, or else those that take over what the donors give.
        self.watched = self.receivers or [name for name in balancer.serving(self.members) if name not in self.donors]

    def foreseen(self) -> dict[str, t.Any]:
        """What the shift would do, step by step."""
        steps = [{"share": share, "weights": self._weights(share, self._before())} for share in self.shares]
        words = [f"Would set {_listed(step['weights'])} at {step['share']:.0%}." for step in steps]
        diff = {"before": self._before(), "after": steps[-1]["weights"]}
        return {"changed": True, "finished": False, "rolled_back": False, "steps": steps, "words": words, "diff": diff}

    def _before(self) -> dict[str, t.Any]:
        return {
            name: {"state": self.members[name].state, "weight": self.members[name].weight}
            for name in (*self.receivers, *self.donors)
        }

    def begin(self) -> dict[str, t.Any]:
        """Watch the pool as it is, fix the gates' limits, and return the progress of a shift that begins."""
        for instance in self.instances:
            instance.check_rights()
        sources = [name for name in balancer.serving(self.members) if name not in self.receivers]
        if not self.receivers and not self.watched:
            raise InvalidOption(
                "no member would stay in service",
                option="donors",
                remedy="Leave one out, or use balancer_pool to take out the last",
            )
        meter = Meter(self.instances, self.params, self.watched if not self.receivers else self.donors or sources)
        time.sleep(self.seconds["baseline"])
        meter.read()
        return {
            "version": VERSION,
            "finished": False,
            "rolled_back": False,
            "next": 0,
            "before": self._before(),
            "watched": self.watched,
            "baseline": meter.summary(),
            "gates": [dataclasses.asdict(gate) for gate in self._gates(meter)],
            "evidence": {},
            "steps": [],
            "words": [],
        }

    def _gates(self, meter: Meter) -> list[Gate]:
        """The gates with their limits, absolute or from the baseline."""
        gates = []
        for index, wanted in enumerate(self.params["gates"]):
            place = f"gates[{index}]"
            name = wanted["metric"]
            counts = name == "error_rate" and not wanted["query"]
            limit = wanted["below"]
            if limit is None:
                if wanted["ratio"] is None:
                    raise InvalidOption("it has no limit", option=place, remedy="Give 'below', or 'ratio'")
                base = wanted["forecast"] if wanted["forecast"] is not None else meter.base(name, counts)
                if base is None and (wanted["query"] or name not in meter.told):
                    raise InvalidOption(
                        f"{name} could not be read before the shift, so there is nothing to relate to",
                        option=place,
                        remedy="Give an absolute limit with 'below', name donors that serve, or lengthen 'baseline'",
                    )
                # Where nothing is known of before, nothing but the least is allowed.
                limit = max(wanted["ratio"] * (base or 0.0), wanted["least"])
                limit = min(limit, MOST_RATE) if counts and wanted["forecast"] is None else limit
            if counts and not 0 < limit < 0.9:
                raise InvalidOption(f"{limit} is no limit of a rate", option=place, remedy="Give one from 0 to 0.9")
            gates.append(Gate(name, limit, counts, wanted["tolerance"]))
        return gates

    def _weights(self, share: float, before: dict[str, t.Any]) -> dict[str, int]:
        full = {name: self.members[name].full_weight for name in self.receivers}
        return traffic.weights(share, full, {name: before[name]["weight"] for name in self.donors})

    def step(self, progress: dict[str, t.Any]) -> None:
        """Set the weights of the next step and watch until it is passed or undone."""
        share = self.shares[progress["next"]]
        self.watched = progress["watched"]
        weights = self._weights(share, progress["before"])
        record: dict[str, t.Any] = {"share": share, "weights": weights}
        progress["steps"].append(record)
        refused = self._wait_for_room(share, weights)
        if refused:
            record.update(verdict="undo", reasons=[refused], seconds=self.seconds["patience"], requests=0, gates={})
            self._roll_back(progress, record)
            return
        self._set([Wanted(name, "ready", weight=weights[name]) for name in self.receivers])
        self._set([Wanted(name, weight=weights[name]) for name in self.donors])
        self._watch(progress, record)
        if record["verdict"] == "undo":
            self._roll_back(progress, record)
            return
        progress["next"] += 1
        thin = f", though {' and '.join(record['reasons'])}" if record["reasons"] else ""
        progress["words"].append(
            f"{share:.0%}: {_listed(weights)}; {record['requests']} requests in {record['seconds']:.0f} s,"
            f" {_figures(record['gates'])}: passed{thin}."
        )
        if progress["next"] == len(self.shares):
            progress["finished"] = True
            for instance in self.instances:
                instance.save()

    def _wait_for_room(self, share: float, weights: dict[str, int]) -> str | None:
        """Wait until those watched are up and have room for the demand ahead; why not, when they never do."""
        end = time.monotonic() + self.seconds["patience"]
        while True:
            reason = self._lacks(share, weights)
            if reason is None or time.monotonic() >= end:
                return reason
            time.sleep(self.seconds["every"])

    def _lacks(self, share: float, weights: dict[str, int]) -> str | None:
        self.members = pool.merged([instance.read() for instance in self.instances])
        ups = [name for name in self.watched if name in self.members and self.members[name].up]
        reason = self._down()
        if reason:
            return reason
        room = self.params["capacity"]
        if not room:
            return None
        then = {name: weights.get(name, one.weight) for name, one in self.members.items() if one.state == "ready"}
        then |= {name: weights[name] for name in self.receivers}
        total = sum(then.values())
        part = sum(then.get(name, 0) for name in self.watched) / total if total else 1.0
        enough, text = traffic.spare_capacity(
            share=part,
            demand=demand_ahead(room),
            servers=len(ups) or len(self.watched),
            server_capacity=room["server_capacity"],
            target_utilization=room["target_utilization"],
        )
        return None if enough else text

    def _down(self) -> str | None:
        """Which of those watched are down, in words; a receiver in maintenance is not known to be."""
        down = [
            name
            for name in self.watched
            if name not in self.members or not (self.members[name].up or self.members[name].state == "maintenance")
        ]
        return f"{', '.join(down)} {'is' if len(down) == 1 else 'are'} down" if down else None

    def _watch(self, progress: dict[str, t.Any], record: dict[str, t.Any]) -> None:
        """Read until the gates say go or undo; write what was seen into the record."""
        gates = [Gate(**gate) for gate in progress["gates"]]
        evidence = {
            gate.name: Evidence(gate.healthy_rate, *(progress["evidence"].get(gate.name) or [])) for gate in gates
        }
        watches = {gate.name: Watch() for gate in gates}
        meter = Meter(self.instances, self.params, self.watched, {gate.name: gate.limit for gate in gates})
        started = time.monotonic()
        time.sleep(self.seconds["pause"])
        while True:
            time.sleep(self.seconds["every"])
            reading = meter.read()
            for gate in gates:
                value = reading.values.get(gate.name)
                failed, tried = traffic.trials(gate, value=value, requests=reading.requests, errors=reading.errors)
                watches[gate.name].add(failed, tried, value, few=value is None and gate.name in meter.few)
                evidence[gate.name].add(failed, tried)
            seconds = time.monotonic() - started
            verdict = traffic.judge(
                gates,
                evidence,
                watches,
                requests=meter.requests,
                seconds=seconds,
                bake=self.seconds["bake"],
                patience=max(self.seconds["patience"], self.seconds["bake"]),
                min_requests=self.params["min_requests"],
                false_alarm_rate=self.params["false_alarm_rate"],
                thin_passes=self.params["thin"] == "pass",
            )
            if verdict.thin:
                self.members = pool.merged(meter.last)
                reason = self._down()
                verdict = traffic.Verdict("undo", (reason,)) if reason else verdict
            if verdict.word != "hold":
                break
        progress["evidence"] = {name: [one.logs] for name, one in evidence.items()}
        record.update(
            verdict=verdict.word,
            reasons=list(verdict.reasons),
            seconds=round(seconds, 3),
            requests=meter.requests,
            gates={
                gate.name: {
                    "limit": gate.limit,
                    "value": _value(gate, watches[gate.name]),
                    "readings_missing": watches[gate.name].missing,
                    "log_evidence": round(evidence[gate.name].log, 3),
                }
                for gate in gates
            },
        )

    def _roll_back(self, progress: dict[str, t.Any], record: dict[str, t.Any]) -> None:
        """Give everyone the weight and state from before, donors first."""
        before = progress["before"]
        for names in (self.donors, self.receivers):
            self._set([Wanted(name, before[name]["state"], weight=before[name]["weight"]) for name in names])
        progress.update(finished=True, rolled_back=True)
        progress["words"].append(
            f"{record['share']:.0%}: {'; '.join(record['reasons'])}. The weights from before are back: "
            f"{_listed({name: one['weight'] for name, one in before.items()})}."
        )

    def _set(self, wants: list[Wanted]) -> None:
        plans = [
            balancer.differences(wants, instance.read(), most=instance.most, adds=False) for instance in self.instances
        ]
        for instance, plan in zip(self.instances, plans, strict=True):
            instance.apply(plan)

    def result(self, progress: dict[str, t.Any]) -> dict[str, t.Any]:
        """What the face returns."""
        now = pool.merged([instance.read() for instance in self.instances])
        names = list(progress["before"])
        after = {name: {"state": now[name].state, "weight": now[name].weight} for name in names}
        return {
            "changed": bool(progress["steps"]),
            "finished": progress["finished"],
            "rolled_back": progress["rolled_back"],
            "steps": progress["steps"],
            "progress": progress,
            "words": progress["words"],
            "diff": {"before": progress["before"], "after": after},
        }


def check_gates(gates: t.Sequence[dict[str, t.Any]]) -> None:
    """Refuse gates that nothing can be held against, before anything is shifted.

    :raises InvalidOption: on the first of them.
    """
    for index, gate in enumerate(gates):
        place = f"gates[{index}]"
        if any(other["metric"] == gate["metric"] for other in gates[:index]):
            raise InvalidOption(
                f"{gate['metric']!r} is named twice",
                option=f"{place}.metric",
                remedy="Give each figure one gate; a query takes a name of its own",
            )
        for name in ("below", "ratio", "least", "forecast"):
            if gate[name] is not None and not math.isfinite(gate[name]):
                raise InvalidOption(f"{gate[name]} is no limit", option=f"{place}.{name}", remedy="Give a number")
        if not 0 < gate["tolerance"] < 0.9:
            raise InvalidOption(
                f"{gate['tolerance']:g} is no share of readings that tells good from bad",
                option=f"{place}.tolerance",
                remedy="Give a number above 0 and below 0.9, such as 0.05",
            )


def demand_ahead(room: dict[str, t.Any]) -> float:
    """The demand to have room for: a number, or the peak of forecasts at the quantile asked for.

    :raises InvalidOption: when neither is given, or no forecast has the quantile.
    """
    if room["demand"] is not None:
        return float(room["demand"])
    peaks = [
        max(item["quantiles"][room["quantile"]])
        for item in room["forecasts"]
        if item.get("server") is None and item.get("quantiles", {}).get(room["quantile"])
    ]
    if not peaks:
        raise InvalidOption(
            f"there is no demand, and no pool's forecast at the quantile {room['quantile']}",
            option="capacity.forecasts",
            remedy="Give 'demand', or the forecasts that the module forecast returns for one pool",
        )
    return float(max(peaks))


def _value(gate: Gate, watch: Watch) -> float | None:
    if gate.counts:
        return watch.failures / watch.trials if watch.trials else None
    return watch.last


def _listed(weights: dict[str, int]) -> str:
    return ", ".join(f"{name} {weight}" for name, weight in weights.items())


def _figures(gates: dict[str, t.Any]) -> str:
    parts = [
        f"{name} {one['value']:.4g} (limit {one['limit']:.4g})"
        for name, one in gates.items()
        if one["value"] is not None
    ]
    return ", ".join(parts) or "no figure"
