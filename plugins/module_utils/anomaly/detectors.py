# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of detectors.

A detector takes a :class:`frame.Frame` and returns nonconformities: one or more matrices of the frame's shape, 0 or
more, larger = stranger, NaN where it can't say, each column computed from that column and earlier ones alone. Ranks are
all that is used of them, so their units don't matter.
"""

from __future__ import annotations

import typing as t

from .daily import time_of_day
from .ensemble import ensemble
from .excursion import excursion
from .flat import flat_line
from .groups import multivariate, peers
from .learned import isolation_forest, one_class_svm
from .novelty import novelty
from .profile import matrix_profile
from .residual import residual
from .shift import level_shift, three_sigma, variance_change
from .spread import spread

if t.TYPE_CHECKING:
    import numpy

    from .frame import Frame

    Detector = t.Callable[[Frame], list[numpy.ndarray]]

DETECTORS: dict[str, Detector] = {
    "auto": ensemble,
    "excursion": excursion,
    "flat_line": flat_line,
    "isolation_forest": isolation_forest,
    "level_shift": level_shift,
    "matrix_profile": matrix_profile,
    "multivariate": multivariate,
    "novelty": novelty,
    "one_class_svm": one_class_svm,
    "peers": peers,
    "residual": residual,
    "spread": spread,
    "three_sigma": three_sigma,
    "time_of_day": time_of_day,
    "variance_change": variance_change,
}

#: Those that need to know which rows belong together.
GROUPED = ("multivariate", "peers")
