# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gradual traffic shifts: the steps, and the evidence on which each is passed, held or undone. Pure.

The test. Each gate turns what it sees into Bernoulli trials: for the error rate one per request, which fails when the request
did; for any other figure one per reading, which fails when the reading is over its limit. Under 'healthy', a trial fails with
a probability of at most p0, whatever came before it. For any p > p0 the likelihood ratio of p against p0 is then a
non-negative supermartingale, and so is its mean over several p (Robbins 1970, the mixture sequential probability ratio test
of Wald 1945; Johari et al. 2022, 'Always valid inference'; Ramdas et al. 2023, 'Game-theoretic statistics and safe
anytime-valid inference'). By Ville's inequality the chance that it ever reaches 1/alpha is at most alpha: one may look after
every request, and stop at once. With several gates alpha is shared among them, and the evidence is carried on from step to
step, so that alpha is the false-alarm rate of a whole shift.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ..errors import InvalidOption

# How many rates worse than the limit the evidence is averaged over, evenly in their logarithm.
ALTERNATIVES = 12


@dataclasses.dataclass(frozen=True)
class Gate:
    """A figure and its limit.

    :param name: How it is called in results. :param limit: What a healthy figure stays under.
    :param counts: Whether it is a rate of failures among requests. :param tolerance: Otherwise, the share of readings of a
        healthy system that may be over the limit.
    """

    name: str
    limit: float
    counts: bool = False
    tolerance: float = 0.05

    @property
    def healthy_rate(self) -> float:
        """The highest rate of failing trials under which all is well."""
        return self.limit if self.counts else self.tolerance


@dataclasses.dataclass
class Evidence:
    """Evidence against a gate's 'healthy' since the shift began. :param logs: Log likelihood ratio of each alternative."""

    rate: float
    logs: list[float] = dataclasses.field(default_factory=lambda: [0.0] * ALTERNATIVES)

    @property
    def alternatives(self) -> list[float]:
        """Rates above the healthy one, up to nearly 1."""
        top = math.log(0.98 / self.rate)
        return [self.rate * math.exp(top * (index + 1) / ALTERNATIVES) for index in range(ALTERNATIVES)]

    def add(self, failures: int, trials: int) -> None:
        """Take in trials."""
        for index, other in enumerate(self.alternatives):
            worse, better = math.log(other / self.rate), math.log1p(-other) - math.log1p(-self.rate)
            self.logs[index] += failures * worse + (trials - failures) * better

    @property
    def log(self) -> float:
        """Natural logarithm of the evidence; 0 is none either way."""
        top = max(self.logs)
        return top + math.log(sum(math.exp(value - top) for value in self.logs) / len(self.logs))


@dataclasses.dataclass
class Watch:
    """What was seen of one gate during one step.

    :param missed_last: Whether the figure was missing lately. :param few: Whether it was not, and only told nothing yet.
    """

    failures: int = 0
    trials: int = 0
    missing: int = 0
    last: float | None = None
    missed_last: bool = True
    few: bool = False

    def add(self, failures: int, trials: int, value: float | None, *, few: bool = False) -> None:
        """Book a reading. :param few: The balancer tells this figure, and there were too few requests for it."""
        self.few = few
        if few:
            self.missed_last = False
            return
        self.failures += failures
        self.trials += trials
        self.last = value if value is not None else self.last
        self.missed_last = value is None
        self.missing += value is None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """V(go), V(hold) or V(undo), and why. A step that goes for all that has been V(thin)."""

    word: str
    reasons: tuple[str, ...] = ()

    @property
    def thin(self) -> bool:
        """Whether a step is passed with fewer requests than wanted."""
        return self.word == "go" and bool(self.reasons)


def trials(gate: Gate, *, value: float | None, requests: int | None, errors: int | None) -> tuple[int, int]:
    """Failed trials and trials in one reading; none where the figure is missing."""
    if gate.counts:
        return (0, 0) if requests is None or errors is None else (min(errors, requests), requests)
    return (0, 0) if value is None else (int(value > gate.limit), 1)


def judge(
    gates: t.Sequence[Gate],
    evidence: t.Mapping[str, Evidence],
    watches: t.Mapping[str, Watch],
    *,
    requests: int,
    seconds: float,
    bake: float,
    patience: float,
    min_requests: int,
    false_alarm_rate: float,
    thin_passes: bool = False,
) -> Verdict:
    """What to do at this moment of a step.

    :param requests: Answered by the members watched during this step. :param seconds: Since its weights were set.
    :param thin_passes: Whether a step passes when nothing but requests is lacking at the end of patience, or as soon as it
        is clear that they will be lacking then. So few requests that nothing can be told from them are also few that can
        fail; a figure that is missing or in doubt never passes.
    """
    needed = math.log(len(gates) / false_alarm_rate) if gates else math.inf
    breached = [gate for gate in gates if evidence[gate.name].log >= needed]
    if breached:
        return Verdict("undo", tuple(_breach(gate, watches[gate.name]) for gate in breached))
    reasons, thin = [], []
    if seconds < bake:
        reasons.append(f"watched for {seconds:.0f} of {bake:.0f} s")
    if requests < min_requests:
        thin.append(f"{requests} of {min_requests} requests seen")
    for gate in gates:
        watch = watches[gate.name]
        if watch.missed_last or (watch.trials == 0 and not watch.few):
            reasons.append(f"{gate.name} is missing")
        elif evidence[gate.name].log > 0:
            reasons.append(f"{gate.name} is in doubt")
        elif watch.trials == 0:
            thin.append(f"{gate.name} can't be told from so few")
    over = seconds >= patience or most_by(requests, seconds, patience) < min_requests
    if not reasons and (not thin or (thin_passes and over)):
        return Verdict("go", tuple(thin))
    reasons = thin + reasons
    if seconds >= patience:
        return Verdict("undo", tuple(f"{reason}, and patience is at its end" for reason in reasons))
    return Verdict("hold", tuple(reasons))


def most_by(requests: int, seconds: float, end: float, z: float = 2.326) -> float:
    """How many requests there will be after *end* seconds at most, with 99 % confidence by default.

    The upper limit of a Poisson rate, in the approximation of Wilson and Hilferty (1931), for as many requests in so many seconds.
    """
    count = requests + 1
    return count * (1 - 1 / (9 * count) + z / (3 * math.sqrt(count))) ** 3 * end / max(seconds, 1e-9)


def _breach(gate: Gate, watch: Watch) -> str:
    if gate.counts:
        return f"{gate.name} is over {gate.limit:.2%}: {watch.failures} of {watch.trials} requests of this step failed"
    last = "nothing" if watch.last is None else f"{watch.last:.4g}"
    return (
        f"{gate.name} is over {gate.limit:.4g}: {watch.failures} of {watch.trials} readings of this step, lately {last}"
    )


def shares(steps: t.Sequence[str], option: str = "steps") -> list[float]:
    """Steps like V(5%), rising, as shares; the last is the end of the shift.

    :raises InvalidOption: when a step is no share, or not above the one before.
    """
    result: list[float] = []
    for index, step in enumerate(steps):
        try:
            share = float(str(step).strip().removesuffix("%")) / 100
        except ValueError:
            share = math.nan
        if not 0 < share <= 1 or (result and share <= result[-1]):
            raise InvalidOption(
                f"{step!r} is not a step", option=f"{option}[{index}]", remedy="Write rising shares like 5%, 25%, 100%"
            )
        result.append(share)
    if not result:
        raise InvalidOption("there is no step", option=option, remedy="Write rising shares like 5%, 25%, 100%")
    return result


def weights(share: float, receivers: t.Mapping[str, int], donors: t.Mapping[str, int]) -> dict[str, int]:
    """Weights of a step: receivers have this share of their full weight, donors the rest of the weight they had.

    :param receivers: Full weights. :param donors: Weights before the shift.
    :raises InvalidOption: when the weights are too small to express the share.
    """
    result = {name: round(full * share) for name, full in receivers.items()}
    small = next(
        (name for name, weight in result.items() if weight == 0 or abs(weight / share / receivers[name] - 1) > 0.5),
        None,
    )
    if small is not None:
        raise InvalidOption(
            f"{share:.0%} of the weight {receivers[small]} of {small} can't be expressed",
            option="steps",
            remedy="Give the members a larger weight in the balancer's configuration, such as 100, or take larger steps",
        )
    return result | {name: round(weight * (1 - share)) for name, weight in donors.items()}


def spare_capacity(
    *, share: float, demand: float, servers: int, server_capacity: float, target_utilization: float
) -> tuple[bool, str]:
    """Whether the receivers can carry a share of the demand ahead, and the sentence that says so."""
    room = servers * server_capacity * target_utilization
    load = share * demand
    text = f"{servers} receivers carry {room:.4g} at {target_utilization:.0%}, and {share:.0%} of the demand ahead is {load:.4g}"
    return load <= room, text


def rate_before(watched: tuple[int, int], ever: tuple[int, int], least_requests: int) -> float | None:
    """An upper estimate of the share of requests that failed before a shift, from failures and requests.

    A few seconds tell little of a rate that is low. So what the balancer has counted since it started is taken instead,
    where that says more, and unless it is worse now than it was ever.

    :param watched: What was watched just before. :param ever: Counted since the balancer started.
    :param least_requests: Fewer requests than these tell nothing.
    :returns: None where both are fewer.
    """
    latest, longer = upper_rate(*watched), upper_rate(*ever)
    worse_now = watched[1] > 0 and 1 - upper_rate(watched[1] - watched[0], watched[1]) > longer
    best = latest if worse_now else min(latest, longer)
    return best if max(watched[1], ever[1]) >= least_requests and (watched[1] or ever[1]) else None


def upper_rate(failures: int, count: int, z: float = 1.645) -> float:
    """Upper end of Wilson's interval of a rate (Wilson 1927), 95 % one-sided by default; 1 of nothing."""
    if count == 0:
        return 1.0
    rate = failures / count
    centre = rate + z * z / (2 * count)
    spread = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return min(1.0, (centre + spread) / (1 + z * z / count))


def recent_mean(before: tuple[float, int], after: tuple[float, int], window: int) -> tuple[float, float]:
    """Mean of the values that came in between, from two readings of a balancer's moving average, and its standard error.

    The average is plain over the first O(window) values, and exponential with that window after them; what is told is
    rounded to whole numbers, which is where the error comes from.

    :param before: Average told and values so far. :param after: The same, later.
    """
    (first, have), (second, total) = before, after
    count = total - have
    if total <= window:
        return (second * total - first * have) / count, 0.29 * math.hypot(have, total) / count
    kept = (1 - 1 / window) ** count * (min(have, window) / window)
    return (second - first * kept) / (1 - kept), 0.29 * math.hypot(1, kept) / (1 - kept)
