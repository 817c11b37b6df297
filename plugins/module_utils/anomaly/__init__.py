# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deviates from the past: detectors behind one interface, one score, flags from scores.

Pure: arrays in, arrays out. :func:`score` scores every sample causally; :class:`stream.Stream` goes on from there one
sample at a time; :func:`flags.find` turns scores into flags.
"""

from __future__ import annotations

from .detectors import DETECTORS
from .scoring import score, score_groups, surprise_of

__all__ = ["DETECTORS", "score", "score_groups", "surprise_of"]
