# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of the faces that plan; kept in step with SPEC in module_utils/operations/outlook.py."""

    DOCUMENTATION = r"""
options:
  forecasts:
    description:
      - Forecasts to plan by, as the module M(lowtide.fleet.forecast) returned them, one for each pool.
      - Made anew when unset, with the quantiles the plan needs. Forecasts given lack those, unless you asked for them, and
        the plan then never claims more certainty than they hold.
    type: list
    elements: dict
  horizon:
    description: How far to look ahead.
    type: str
    default: 24h
  step:
    description: The spacing of the forecast, and of the samples it reads.
    type: str
    default: 5m
  model:
    description: The model to forecast by; see M(lowtide.fleet.forecast).
    type: str
    default: auto
  history_window:
    description: How far to look back.
    type: str
    default: 30d
  seed:
    description: Of everything random. The same question with the same seed and O(now) has the same answer.
    type: int
    default: 0
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with a history of type C(duckdb))
"""
