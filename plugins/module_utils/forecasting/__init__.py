# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forecasts of many series at once: arrays in, arrays out.

Pure functions over matrices of shape (series, time); NaN is a missing sample. The way through is :func:`forecast`;
a model is one file here and one line in :mod:`.models`.
"""

from __future__ import annotations

from .api import Forecast, forecast

__all__ = ["Forecast", "forecast"]
