# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default detector, one new sample at a time, over thousands of series."""

from __future__ import annotations

import json
import pathlib
import typing as t

from ..libraries import numpy as np
from .daily import DailyMean
from .ensemble import EXCURSION
from .excursion import Excursion
from .flat import Standstill
from .frame import Frame, clean
from .logarithm import Logarithm
from .novelty import Seen
from .residual import Residual, RunningMean
from .scoring import Verdict
from .spread import Spread

if t.TYPE_CHECKING:
    import numpy

NOVELTIES = 3  # members that are distances to what was seen: value, logarithm, forecast error


class Stream:
    """Scores as :func:`scoring.score` gives them with the detector V(auto), continued sample by sample.

    The state holds every value seen of each member (8 bytes each), sorted, and otherwise does not grow.
    """

    def __init__(self, series: int, step_seconds: int) -> None:
        """:param series: How many. :param step_seconds: The grid's spacing."""
        frame = Frame(np.empty((series, 0)), step_seconds)
        self.step_seconds = step_seconds
        self.seen = [Seen(frame.values) for _member in range(NOVELTIES)]
        self.still = Standstill(series)
        self.mean_of_logarithm = RunningMean(series, frame.hour)
        self.daily = DailyMean(series, frame.day)
        self.spread = Spread(series, frame.hour)
        self.usual_spread = DailyMean(series, frame.day)
        self.logarithm = Logarithm(series)
        self.residual = Residual(series, frame.day)
        self.excursion = Excursion(series, frame.day, frame.hour)
        self.verdict = Verdict(EXCURSION + 1, series, step_seconds, default=True)
        self._half = frame.hour // 2

    def update(self, values: t.Any) -> numpy.ndarray:
        """The score of one new sample of each series, shape (series,); NaN where it can't say. The sample is kept."""
        now = clean(np.asarray(values, dtype=np.float64)[:, None])[:, 0]
        logs = self.logarithm.update(now)
        error, _expected, scale = self.residual.update(logs)
        inputs = now, logs, error * scale
        members = [seen.update(value) for seen, value in zip(self.seen, inputs, strict=True)]
        usual = self.daily.ahead(self._half)
        members.append(self.daily.update(self.mean_of_logarithm.update(logs)))
        members.append(self.usual_spread.update(self.spread.update(logs)))
        members.append(self.still.update(now))
        members.append(self.excursion.update(logs - usual))
        return self.verdict.update(members)

    def _parts(self) -> dict[str, t.Any]:
        parts = {"residual": self.residual, "still": self.still, "excursion": self.excursion}
        parts |= {"tail": self.verdict.tail, "onset": self.verdict.onset, "lasting": self.verdict.lasting}
        parts |= {"logarithm": self.logarithm, "mean_of_logarithm": self.mean_of_logarithm, "daily": self.daily}
        parts |= {"spread": self.spread, "usual_spread": self.usual_spread}
        parts |= {"excursion_hourly": self.excursion.hourly, "excursion_usual": self.excursion.usual}
        parts |= {f"seen{member}": part for member, part in enumerate(self.seen)}
        return parts

    def save(self, directory: str | pathlib.Path) -> None:
        """Keep the state in a directory, one file for each array; it is made where it is absent."""
        path = pathlib.Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        numbers = {"step_seconds": self.step_seconds}
        for name, part in self._parts().items():
            for field in part.STATE:
                value = getattr(part, field)
                if isinstance(value, int):
                    numbers[f"{name}.{field}"] = value
                    continue
                target = path / f"{name}.{field}.npy"
                # What is mapped from this very file has not changed since it was read.
                if str(getattr(value, "filename", "")) != str(target.resolve()):
                    beside = target.with_suffix(".new.npy")
                    np.save(beside, value)
                    beside.replace(target)
        (path / "numbers.json").write_text(json.dumps(numbers))

    @classmethod
    def load(cls, directory: str | pathlib.Path) -> Stream:
        """Go on from a state that :meth:`save` kept. The values seen stay in their files until they are asked for."""
        path = pathlib.Path(directory)
        numbers = json.loads((path / "numbers.json").read_text())
        read = np.lib.format.open_memmap
        series = read(path / "residual.last.npy", mode="r").shape[0]
        stream = cls(series, numbers["step_seconds"])
        for name, part in stream._parts().items():
            for field in part.STATE:
                if f"{name}.{field}" in numbers:
                    setattr(part, field, numbers[f"{name}.{field}"])
                else:
                    array = read(path / f"{name}.{field}.npy", mode="r")
                    setattr(part, field, array if field == "ordered" and array.size else np.array(array))
        return stream
