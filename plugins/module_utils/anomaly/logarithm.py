# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load on a scale of factors: half and twice as much are equally far from what is usual."""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from .frame import replayed

if t.TYPE_CHECKING:
    import numpy

FIRST = 24  # samples other than zero that set a series' unit; there is no logarithm before
SHARE = 0.1  # of their mean magnitude, below which the scale is linear
LEAST_UNIT = 1e-100


class Logarithm:
    """The inverse hyperbolic sine of many series, each in a unit of its own first samples.

    It is a logarithm for values well above the unit, linear about zero, and has negative values too (Burbidge, Magee
    and Robb 1988, 'Alternative transformations to handle extreme values of the dependent variable').
    """

    STATE = ("total", "count")

    def __init__(self, series: int) -> None:
        self.total = np.zeros(series)
        self.count = np.zeros(series)

    def update(self, values: numpy.ndarray) -> numpy.ndarray:
        """One new sample of each series, shape (series,), NaN where it is missing or a series too young."""
        learn = (self.count < FIRST) & ~np.isnan(values) & (values != 0)
        self.total += np.where(learn, np.abs(values), 0)
        self.count += learn
        unit = np.maximum(SHARE * self.total / FIRST, LEAST_UNIT)
        return np.where(self.count == FIRST, np.arcsinh(values / unit), np.nan)


def logarithms(values: numpy.ndarray) -> numpy.ndarray:
    """What :class:`Logarithm` says at every sample, shape (series, time)."""
    return replayed(Logarithm(len(values)), values)
