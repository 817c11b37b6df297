# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models by name: a new one is its file and its line here."""

from __future__ import annotations

import typing as t

from . import arima, fleet, seasonal_naive
from .problem import Prediction, Problem

Model = t.Callable[[Problem], Prediction]

MODELS: dict[str, Model] = {
    "auto": fleet.predict,
    "fleet": fleet.predict,
    "seasonal_naive": seasonal_naive.predict,
    "arima": arima.predict,
}
