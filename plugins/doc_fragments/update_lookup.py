# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of the lookups that give C(hosts) and C(serial) an update plan."""

    DOCUMENTATION = r"""
options:
  _terms:
    description: Names of the pools to update. All when none is named.
    type: list
    elements: str
  plan:
    description:
      - The plan that M(lowtide.fleet.update_plan) returned, or the path of a JSON file with it.
      - When unset, a plan is made on the spot, once for both lookups of a run.
    type: raw
  history:
    description: Where the series of the pools are kept; see M(lowtide.fleet.update_plan).
    type: dict
    vars:
      - name: lowtide_history
  pools:
    description: The pools, by name; see M(lowtide.fleet.update_plan).
    type: dict
    vars:
      - name: lowtide_pools
  tenant:
    description: The tenant that this run is for; see M(lowtide.fleet.update_plan).
    type: str
    vars:
      - name: lowtide_tenant
  tenants:
    description: What each tenant may have; see M(lowtide.fleet.update_plan).
    type: dict
    vars:
      - name: lowtide_tenants
  deadline:
    description: When the last batch must have ended; a time, or a duration from O(now).
    type: str
    vars:
      - name: lowtide_deadline
  now:
    description: The moment to decide for. The present when unset.
    type: str
  awake:
    description: Standbys that are awake and carry load already.
    type: list
    elements: str
    default: []
  use_standbys:
    description: Whether the plan may count on standbys. A playbook that counts on them must wake them before.
    type: bool
    default: false
  horizon:
    description: How far to look ahead.
    type: str
    default: 24h
  step:
    description: The spacing of the forecast.
    type: str
    default: 5m
  model:
    description: The model to forecast by.
    type: str
    default: auto
  history_window:
    description: How far to look back.
    type: str
    default: 30d
  seed:
    description: Of everything random.
    type: int
    default: 0
"""
