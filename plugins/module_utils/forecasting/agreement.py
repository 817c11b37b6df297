# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes forecasts of a whole and its parts agree.

Hyndman, Ahmed, Athanasopoulos and Shang, *Optimal combination forecasts for hierarchical time series*, Computational
Statistics and Data Analysis 55 (2011), where bottom-up and top-down are the two simple cases chosen between here.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    from .api import Forecast

BOTTOM_UP = "sum of servers"


def agreeing(answer: Forecast) -> Forecast:
    """A forecast whose first row is the whole and whose others are all its parts, made to add up.

    Where its parts did not sum to the whole so far (standbys carried some of it, or the balancer counts otherwise),
    nothing is changed. Where the sum of the parts' medians was nearer in the backtest, the whole takes it, and keeps its own widths around
    it. Else the parts are scaled so that their medians sum to the whole's.
    """
    if not _adds_up(answer):
        return answer
    quantiles = answer.quantiles.copy()
    middle = answer.levels.index(0.5)
    total, parts = quantiles[0, :, middle], quantiles[1:, :, middle].sum(axis=0)
    model = list(answer.model)
    if _parts_are_nearer(answer):
        quantiles[0] += (parts - total)[:, None]
        model[0] = BOTTOM_UP
    else:
        ratio = np.where((parts > 0) & (total > 0), total / np.where(parts > 0, parts, 1.0), 1.0)
        quantiles[1:] *= ratio[None, :, None]
    return dataclasses.replace(answer, quantiles=quantiles, model=model)


def _adds_up(answer: Forecast) -> bool:
    """Whether the parts' samples summed to the whole's, within a hundredth, in the backtest."""
    if answer.tested is None:
        return False
    whole, parts = answer.tested.actual[0], answer.tested.actual[1:].sum(axis=0)
    known = ~np.isnan(whole) & ~np.isnan(parts)
    return bool(known.any() and (np.abs(whole - parts)[known].sum() <= 0.01 * np.abs(whole[known]).sum()))


def _parts_are_nearer(answer: Forecast) -> bool:
    """Whether the sum of the parts had the smaller absolute error, over the samples that all of them had."""
    actual, median = answer.tested.actual, answer.tested.median
    known = ~np.isnan(actual).any(axis=0)
    direct, summed = (np.abs(actual[0] - guess)[known].sum() for guess in (median[0], median[1:].sum(axis=0)))
    return bool(summed < direct)
