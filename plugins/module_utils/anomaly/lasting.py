# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How strange a sample is beside others that are no news, such as the later ones of an incident.

The most surprised member makes news, at one sample. What lasts is told apart from noise by members that agree, by
neighbours that agree, and by a break shortly before.
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy

MEMORY = 2.5  # samples that surprise is averaged over, exponentially
HALF_LIFE = 30.0  # samples in which a break counts half
LOUDEST = 0.5  # what the most surprised member weighs, beside 1 for each other part
PARTS = 3.5  # of the sum


class Lasting:
    """The order of many series' samples that are no news, one sample at a time."""

    STATE = ("average", "held")

    def __init__(self, series: int) -> None:
        self.average, self.held = np.zeros((2, series))

    def update(
        self, loudest: numpy.ndarray, logarithm: numpy.ndarray, excursion: numpy.ndarray, error: numpy.ndarray
    ) -> numpy.ndarray:
        """The mean of four surprises of one new sample of each series, shape (series,) as each; NaN where there is none.

        :param loudest: That of the most surprised member, NaN for a missing sample.
        :param logarithm, excursion: Those of the logarithm's novelty, and of the distance to the level of late. These and
            the loudest are averaged over time.
        :param error: That of the novelty of the forecast error; the largest of late counts, by its age.
        """
        there = ~np.isnan(loudest)
        now = LOUDEST * loudest + np.nan_to_num(logarithm) + np.nan_to_num(excursion)
        self.average += np.where(there, now - self.average, 0) / MEMORY
        self.held = np.fmax(self.held * 0.5 ** (1 / HALF_LIFE), error)
        return np.where(there, (self.average + self.held) / PARTS, np.nan)
