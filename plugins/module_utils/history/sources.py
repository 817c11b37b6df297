# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be collected from."""

from __future__ import annotations

import typing as t

from ..series import Series
from .base import Metric, Pools
from .files import Files
from .haproxy import HAProxyStatistics
from .inline import Inline
from .prometheus import Prometheus
from .vsphere import VSphere


class Source(t.Protocol):
    """Gives metrics of pools on a grid."""

    option: str
    where: str
    metrics: t.Mapping[str, Metric]
    at_once: int

    def fingerprint(self, metric: Metric) -> str | None:
        """Tells one source of a metric from another, for what was collected before; None where that can't be told."""

    def fetch(self, metric: Metric, pools: Pools, first: int, last: int, step_seconds: int) -> Series:
        """One metric on the grid of stamps in (first, last], epoch seconds; servers without a sample are left out."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> Source: ...

    def __exit__(self, *exc_info: object) -> None: ...


def open(spec: t.Mapping[str, t.Any], option: str) -> Source:
    """The source that a specification describes.

    :param spec: Checked values of ``options.SOURCE``.
    :param option: Dotted path of the specification, for errors.
    """
    kinds: dict[str, t.Callable[[t.Mapping[str, t.Any], str], Source]] = {
        "prometheus": Prometheus,
        "files": Files,
        "vsphere": VSphere,
        "haproxy": HAProxyStatistics,
        "inline": Inline,
    }
    return kinds[spec["type"]](spec, option)
