# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_batches
short_description: The batch sizes of an update plan, for C(serial)
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Returns the sizes of a plan's batches as one list, for C(serial) of a play whose C(hosts) come from
    P(lowtide.fleet.update_hosts#lookup), so that each of Ansible's batches is one of the plan's.
  - Under C(--limit) each batch shrinks to those of its servers that the play has; no two batches flow together.
  - It never returns an empty list or a zero, which Ansible would take for every host at once. Under C(--syntax-check) and the
    C(--list) options it returns V([1]) without planning.
  - A play whose hosts are not in the plan, or not in its order, is an error.
extends_documentation_fragment:
  - lowtide.fleet.update_lookup
  - lowtide.fleet.update_plan
  - lowtide.fleet.outlook
  - lowtide.fleet.state
notes:
  - Use C(lookup), not C(query).
seealso:
  - plugin: lowtide.fleet.update_hosts
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
  description: One list of batch sizes.
  type: list
  elements: list
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.plugin_utils import update_lookup


class LookupModule(LookupBase):
    """The sizes of the plan."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[list[int]]:
        """The batch sizes."""
        seen = variables or {}
        self.set_options(var_options=seen, direct=kwargs)
        if update_lookup.only_listing():
            return [[1]]
        try:
            plan = update_lookup.plan_for(self, terms, seen)
            return [update_lookup.sizes(plan, seen)]
        except LowtideError as exc:
            raise AnsibleLookupError(str(exc)) from exc
