# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a demand forecast: the level that a probability asks for, and the probability that a level is exceeded.

Between the quantiles a forecast gives, both read off a straight line over the normal score of the probability, which
bends like the tail does; beyond the outermost they hold the last value, so an answer never claims more certainty than
the forecast gave.
"""

from __future__ import annotations

import dataclasses
import datetime
import statistics
import typing as t

from .. import timing
from ..errors import InvalidOption
from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

_NORMAL = statistics.NormalDist()


@dataclasses.dataclass(frozen=True)
class DemandForecast:
    """The demand of one pool ahead.

    :param pool: The pool's name.
    :param levels: Probabilities, ascending, shape (levels,).
    :param quantiles: Demand in load units, shape (steps, levels), not falling along levels.
    :param start: UTC stamp of the first step; a step stamped *t* ends at *t*.
    :param step_seconds: Length of a step.
    :param clustering: Exceedances that begin anew, as a share of all: the extremal index, in (0, 1]. Of 1, each step
        exceeds by itself, which is what is assumed where nobody knows.
    """

    pool: str
    levels: numpy.ndarray
    quantiles: numpy.ndarray
    start: datetime.datetime
    step_seconds: int
    clustering: float = 1.0

    @classmethod
    def from_item(cls, item: dict[str, t.Any], option: str = "forecasts") -> DemandForecast:
        """One item of the result of the module M(lowtide.fleet.forecast).

        :raises InvalidOption: when the item is not such a result.
        """
        try:
            pairs = sorted((float(level), values) for level, values in item["quantiles"].items())
            levels = np.array([level for level, _values in pairs], dtype=float)
            # Quantiles that cross are rearranged: Chernozhukov, Fernández-Val, Galichon, "Quantile and Probability
            # Curves Without Crossing", Econometrica 78 (2010).
            quantiles = np.sort(np.array([values for _level, values in pairs], dtype=float).T, axis=-1)
            forecast = cls(item["pool"], levels, quantiles, timing.moment(item["start"]), int(item["step_seconds"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
            raise InvalidOption(
                f"this is not a forecast ({exc!r})", option=option, remedy="Give what the module forecast returned"
            ) from exc
        if (
            quantiles.ndim != 2
            or not quantiles.size
            or not np.isfinite(quantiles).all()
            or not ((levels > 0) & (levels < 1)).all()
            or not (np.diff(levels) > 0).all()
            or forecast.step_seconds < 1
        ):
            raise InvalidOption(
                f"the forecast of pool {forecast.pool!r} is empty, not finite, or has levels or a step that can't be",
                option=option,
                remedy="Make it anew with the module forecast",
            )
        return forecast

    @property
    def steps(self) -> int:
        """How many steps ahead it reaches."""
        return int(self.quantiles.shape[0])

    @property
    def end(self) -> datetime.datetime:
        """UTC stamp of the last step."""
        return self.start + datetime.timedelta(seconds=self.step_seconds * (self.steps - 1))

    def begin_of(self, step: int) -> datetime.datetime:
        """When a step begins (its stamp is when it ends)."""
        return self.start + datetime.timedelta(seconds=self.step_seconds * (step - 1))

    def step_at(self, time: datetime.datetime) -> int:
        """The step that goes on after a moment; the first one for a moment before it."""
        return max(0, int((time - self.begin_of(0)).total_seconds() // self.step_seconds))

    def level(self, probability: float) -> numpy.ndarray:
        """Demand that is not exceeded with a probability, in load units, shape (steps,)."""
        scores = np.array([_NORMAL.inv_cdf(level) for level in self.levels])
        score = np.clip(_NORMAL.inv_cdf(probability), scores[0], scores[-1])
        right = int(np.clip(np.searchsorted(scores, score), 1, max(1, len(scores) - 1)))
        if len(scores) == 1:
            return self.quantiles[:, 0]
        share = (score - scores[right - 1]) / (scores[right] - scores[right - 1])
        return self.quantiles[:, right - 1] * (1 - share) + self.quantiles[:, right] * share

    def fresh_steps(self, steps: int) -> float:
        """How many steps, each exceeding by itself, exceed as often in all as so many steps one after another.

        Exceedances come in clusters, so that longer is less than proportionally riskier: Leadbetter, "Extremes and local
        dependence in stationary sequences", Zeitschrift für Wahrscheinlichkeitstheorie 65 (1983).
        """
        return 1 + (steps - 1) * self.clustering

    def bound(self, risk: float, steps: int = 1) -> numpy.ndarray:
        """Demand that is exceeded in so many steps together with no more than a risk, in load units, shape (steps,).

        For several steps the level is higher than that of the risk. Where the forecast holds none that high, the line
        through its highest two is drawn on: what must stay in service may be guessed high, never low.

        :param steps: How many steps one after another are looked at; the largest of their bounds holds for all.
        :raises InvalidOption: when the forecast holds no level as high as the risk asks for in one step.
        """
        if self.levels[-1] < 1 - risk - 1e-9:
            raise InvalidOption(
                f"the forecast of pool {self.pool!r} ends at the quantile {self.levels[-1]:g}, which can't show a risk of {risk:g}",
                option="forecasts",
                remedy=f"Make it with the quantile {1 - risk:.12g} too, or leave forecasts out to have it made",
            )
        probability = 1 - risk / self.fresh_steps(steps)
        if probability <= self.levels[-1] or len(self.levels) == 1:
            return self.level(probability)
        low, high, wanted = (_NORMAL.inv_cdf(level) for level in (*self.levels[-2:], probability))
        rise = (self.quantiles[:, -1] - self.quantiles[:, -2]) / (high - low)
        return self.quantiles[:, -1] + rise * (wanted - high)

    def risk(self, capacity: float, first: int, last: int, allowed: float) -> float:
        """Probability that demand exceeds a capacity in load units in any of the steps from first to last.

        :param allowed: A risk; the answer is no more than that where the capacity is no less than its bound.
        """
        steps = slice(first, last + 1)
        length = last - first + 1
        risk = min(1.0, float(self.exceedance(capacity)[steps].max()) * self.fresh_steps(length))
        return min(risk, allowed) if float(self.bound(allowed, length)[steps].max()) <= capacity + 1e-6 else risk

    def exceedance(self, capacity: numpy.ndarray | float, steps: slice = slice(None)) -> numpy.ndarray:
        """Probability, per step, that demand exceeds a capacity in load units, shape (steps,).

        :param capacity: One number, or shape (steps,).
        :param steps: Those asked about.
        """
        scores = np.array([_NORMAL.inv_cdf(level) for level in self.levels])
        quantiles = self.quantiles[steps]
        capacity = np.broadcast_to(np.asarray(capacity, dtype=float), (len(quantiles),))
        right = np.clip((quantiles <= capacity[:, None]).sum(axis=1), 1, max(1, len(scores) - 1))
        if len(scores) == 1:
            return np.where(quantiles[:, 0] > capacity, 1.0, 1 - self.levels[0])
        rows = np.arange(len(quantiles))
        low, high = quantiles[rows, right - 1], quantiles[rows, right]
        # Where quantiles are equal, the highest of them tells how sure their value is.
        rises = high > low
        share = np.where(rises, (np.clip(capacity, low, high) - low) / np.where(rises, high - low, 1.0), 1.0)
        score = scores[right - 1] * (1 - share) + scores[right] * share
        exceed = 1 - np.array([_NORMAL.cdf(value) for value in score])
        return np.where(capacity < quantiles[:, 0], 1.0, exceed)
