# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models by name: a new one is its file and its line here."""

from __future__ import annotations

import typing as t

from . import arima, auto, ets, fleet, gbm, lstm, seasonal_naive
from .problem import Prediction, Problem
from .shifts import believing

Model = t.Callable[[Problem], Prediction]

MODELS: dict[str, Model] = {
    "arima": arima.predict,
    "auto": believing(auto.predict),
    "ets": ets.predict,
    "fleet": believing(fleet.predict),
    "gbm": gbm.predict,
    "lstm": lstm.predict,
    "seasonal_naive": seasonal_naive.predict,
}
