# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default detector: seven members. docs/anomalies.md tells what was tried.

Of the first six the most surprised one speaks, and makes news. The seventh, and two of them once more, tell what goes on
apart from noise: see :mod:`.lasting`.
"""

from __future__ import annotations

import typing as t

from .daily import profile
from .excursion import excursions
from .flat import standstill
from .logarithm import logarithms
from .novelty import nearest
from .residual import errors, means
from .spread import unrest

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

#: Of surprise that each member needs more than the others: what stands still does so often, and an hour is often far from
#: those before it for a day or two. They would crowd out the rest.
HANDICAPS = (0.0, 0.0, 0.0, 0.1, 0.0, 0.3)
LOGARITHM, ERROR, EXCURSION = 1, 2, 6  # places of members in the list


def ensemble(frame: Frame) -> list[numpy.ndarray]:
    """Detector, the default: novelty of the value, its logarithm and the forecast error; how far the hour's mean and
    spread are from their averages at this time of day; standing still; how far the logarithm is from its level of late.

    The forecast is one of the logarithm, and its error is taken as it is: in scales of the last day's errors, a busy
    day would make the next one's errors small.
    """
    logs = logarithms(frame.values)
    error, _expected, scale = errors(logs, frame.day)
    departures, usual = profile(means(logs, frame.hour), frame.day, frame.hour // 2)
    return [
        nearest(frame.values),
        nearest(logs),
        nearest(error * scale),
        departures,
        unrest(logs, frame.hour, frame.day),
        standstill(frame.values),
        excursions(logs - usual, frame.day, frame.hour),
    ]
