# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of the lookups that give C(hosts) and C(serial) an update plan.

    It goes before the fragments that they share with the module update_plan, and adds to them.
    """

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
    vars:
      - name: lowtide_deadline
  now:
    description: The moment to decide for. The present when unset.
    type: str
  use_standbys:
    description: Whether the plan may count on standbys. A playbook that counts on them must wake them before.
    type: bool
    default: false
  state:
    vars:
      - name: lowtide_state
  placement:
    vars:
      - name: lowtide_placement
"""
