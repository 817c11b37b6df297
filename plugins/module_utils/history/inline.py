# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples given in the task itself, such as those that host_metrics returned, as a source."""

from __future__ import annotations

import typing as t

from ..errors import InvalidOption
from ..series import Series, SeriesKey
from ..timing import moment
from .base import Closing, Metric, Pools, assembled, metrics, wanted
from .grid import to_grid

_KEYS = {"time", "value", "server", "pool", "metric"}


class Inline(Closing):
    """Each sample has C(time), C(metric), C(value), and C(server) or C(pool), or both."""

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """:param spec: Checked values of ``options.SOURCE``."""
        self.option = option
        self.where = "the task"
        self._samples = [
            _checked(sample, f"{option}.samples[{index}]") for index, sample in enumerate(spec.get("samples") or [])
        ]
        if not self._samples:
            raise InvalidOption("no sample is given", option=f"{option}.samples", remedy="Give at least one")
        named = {sample["metric"]: sample["metric"] for sample in self._samples}
        self.metrics = metrics(spec.get("metrics") or named, "name", f"{option}.metrics")

    def close(self) -> None:
        """Nothing is held."""

    def fingerprint(self, metric: Metric) -> None:
        """None: there is nothing to ask again."""
        return

    def fetch(self, metric: Metric, pools: Pools, first: int, last: int, step_seconds: int) -> Series:
        """One metric on the grid of stamps in (first, last]; see :meth:`~.base.History.read`. May be empty."""
        parts: dict[SeriesKey, list[tuple[float, float]]] = {}
        for sample in self._samples:
            key = keyed(sample.get("pool") or "", sample.get("server") or "", metric, wanted(pools))
            if sample["metric"] == metric.expression and key is not None:
                parts.setdefault(key, []).append((sample["time"], sample["value"]))
        parts = {key: _settled(samples, last, step_seconds) for key, samples in parts.items()}
        grid = {"first": first, "last": last, "step_seconds": step_seconds, "aggregation": metric.aggregation or "mean"}
        rows = {key: to_grid(*zip(*samples, strict=True), **grid) for key, samples in parts.items()}
        return assembled(rows, last, step_seconds, (last - first) // step_seconds, metric)


def _settled(samples: list[tuple[float, float]], last: int, step_seconds: int) -> list[tuple[float, float]]:
    """Samples of the step that has not ended count for the step before it, where that has none.

    What a host was just asked is of such a step always, and the next run does not hand it in again.
    """
    if any(last - step_seconds < time <= last for time, _value in samples):
        return samples
    return [(float(last) if last < time <= last + step_seconds else time, value) for time, value in samples]


def keyed(pool: str, server: str, metric: Metric, pools: t.Mapping[str, list[str] | None]) -> SeriesKey | None:
    """What a sample that names a pool, a server or both belongs to, or None where it was not asked for."""
    for name, servers in pools.items():
        if pool not in ("", name):
            continue
        if server:
            if (servers is not None and server in servers) or (servers is None and pool):
                return SeriesKey(name, server, metric.name)
        elif pool or len(pools) == 1:
            return SeriesKey(name, None, metric.name)
    return None


def _checked(sample: t.Any, option: str) -> dict[str, t.Any]:
    """One sample with its time in epoch seconds and its value as a number."""
    if not isinstance(sample, dict) or not {"time", "value", "metric"} <= set(sample) <= _KEYS:
        raise InvalidOption(
            "a sample has time, metric and value, and server or pool",
            option=option,
            remedy="Write it as {time: ..., server: web1, metric: cpu, value: 0.4}",
        )
    time = sample["time"]
    number = isinstance(time, int | float) and not isinstance(time, bool)
    try:
        value = float(sample["value"])
    except (TypeError, ValueError) as exc:
        raise InvalidOption(
            f"{sample['value']!r} is no number", option=f"{option}.value", remedy="Leave out what is missing"
        ) from exc
    seconds = float(time) if number else moment(time, f"{option}.time").timestamp()
    return {**sample, "time": seconds, "value": value}
