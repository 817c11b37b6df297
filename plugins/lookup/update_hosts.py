# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_hosts
short_description: The servers to update, in the order of an update plan, for C(hosts)
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Returns the servers of a plan as one list, for C(hosts) of a play, which needs C(order=inventory) to keep it.
  - It never returns an empty list. Under C(--syntax-check) and the C(--list) options it names the servers without planning.
  - A C(--limit) that leaves no server of the plan is an error.
extends_documentation_fragment:
  - lowtide.fleet.update_lookup
  - lowtide.fleet.update_plan
  - lowtide.fleet.outlook
  - lowtide.fleet.state
notes:
  - C(hosts) of a play sees no inventory variables; for O(history) and O(pools) this lookup reads C(lowtide_history) and
    C(lowtide_pools) from the inventory itself, and with them C(lowtide_state), C(lowtide_placement), C(lowtide_tenant) and
    C(lowtide_tenants).
seealso:
  - plugin: lowtide.fleet.update_batches
    plugin_type: lookup
  - module: lowtide.fleet.update_plan
"""

EXAMPLES = r"""
- name: An existing rolling update, at low tide
  hosts: "{{ lookup('lowtide.fleet.update_hosts', 'web') }}"
  serial: "{{ lookup('lowtide.fleet.update_batches', 'web') }}"
  order: inventory
  roles:
    - my_update
"""

RETURN = r"""
_raw:
  description: One list of the servers' names.
  type: list
  elements: list
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.plugin_utils import update_lookup


class LookupModule(LookupBase):
    """The order of the plan."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[list[str]]:
        """The servers, in order."""
        seen = variables or {}
        self.set_options(var_options=seen, direct=kwargs)
        try:
            if update_lookup.only_listing():
                return [update_lookup.servers(self, terms, seen)]
            return [update_lookup.hosts(update_lookup.plan_for(self, terms, seen), seen)]
        except LowtideError as exc:
            raise AnsibleLookupError(str(exc)) from exc
