# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_batch
short_description: The number of the batch of an update plan that a server is in
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Returns the number of the batch, from 1, for playbooks that loop over batches instead of using C(serial).
  - A server that the plan does not know is an error. Under C(--syntax-check) and the C(--list) options it returns V(1) without
    planning.
extends_documentation_fragment:
  - lowtide.fleet.update_lookup
  - lowtide.fleet.update_plan
  - lowtide.fleet.outlook
  - lowtide.fleet.state
options:
  _terms:
    description: Names of servers. The host of the task when none is named.
    type: list
    elements: str
notes:
  - When O(plan) is unset, the plan is made for all O(pools).
seealso:
  - plugin: lowtide.fleet.update_batches
    plugin_type: lookup
  - module: lowtide.fleet.update_plan
"""

EXAMPLES = r"""
- name: Put each server into a group of its batch, such as update_batch_1
  hosts: web
  gather_facts: false
  tasks:
    - name: Group by batch
      ansible.builtin.group_by:
        key: "update_batch_{{ lookup('lowtide.fleet.update_batch', inventory_hostname, plan='update-plan.json') }}"

- name: Update what goes first
  hosts: update_batch_1
  roles:
    - my_update
"""

RETURN = r"""
_raw:
  description: The number of each server's batch.
  type: list
  elements: int
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.plugin_utils import update_lookup


class LookupModule(LookupBase):
    """The place of servers in the plan."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[int]:
        """The batch numbers."""
        seen = variables or {}
        self.set_options(var_options=seen, direct=kwargs)
        names = [str(term) for term in terms] or [seen["inventory_hostname"]]
        if update_lookup.only_listing():
            return [1] * len(names)
        try:
            return update_lookup.batch_numbers(update_lookup.plan_for(self, [], seen), names)
        except LowtideError as exc:
            raise AnsibleLookupError(str(exc)) from exc
