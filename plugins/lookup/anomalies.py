# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: anomalies
short_description: What is strange in pools and servers, since when, and how far from what was expected
version_added: 0.1.0
author: "The Lowtide authors (@lowtide)"
description:
  - What the module M(lowtide.fleet.anomalies) answers, where a playbook or a template wants it as a value.
  - A pool without history is named in a warning, and the others are looked at; it fails when none has a history.
options:
  _terms:
    description: Names of the pools to look at. All of O(pools) when there is none.
    type: list
    elements: str
  history:
    description: Where the series of the pools are kept, as in the module M(lowtide.fleet.anomalies).
    type: dict
    required: true
    vars:
      - name: lowtide_history
  pools:
    description: The pools, by name, as in the module M(lowtide.fleet.anomalies).
    type: dict
    required: true
    vars:
      - name: lowtide_pools
  tenant:
    description: The tenant that this run is for, as in the module M(lowtide.fleet.anomalies).
    type: str
    vars:
      - name: lowtide_tenant
  tenants:
    description: What each tenant may have, as in the module M(lowtide.fleet.anomalies).
    type: dict
    default: {}
    vars:
      - name: lowtide_tenants
  now:
    description: The moment to decide for, ISO 8601; UTC unless it has an offset. The present when unset.
    type: str
    vars:
      - name: lowtide_now
extends_documentation_fragment:
  - lowtide.fleet.anomalies
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with a history of type C(duckdb))
  - scikit-learn >= 1.4 (with O(detector=isolation_forest) or O(detector=one_class_svm))
seealso:
  - module: lowtide.fleet.anomalies
"""

EXAMPLES = r"""
- name: Whether something goes on in the web servers
  ansible.builtin.debug:
    msg: "{{ lookup('lowtide.fleet.anomalies', 'web') | selectattr('open') | map(attribute='words') }}"
"""

RETURN = r"""
_raw:
  description: The anomalies, as RV(lowtide.fleet.anomalies#module:anomalies) of the module.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import anomalies

display = Display()


class LookupModule(LookupBase):
    """Calls the operation of the module, with the variables the module's options are usually set from."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[list[dict]]:
        """The anomalies of the pools named."""
        self.set_options(var_options=variables, direct=kwargs)
        # What is set by a variable comes as it is written there, with the templates in it.
        given = {name: self._templar.template(value) for name, value in self.get_options().items() if name != "_terms"}
        try:
            params = options.checked({**given, "pool": list(terms)}, anomalies.SPEC, "anomalies")
            result = face.plain(anomalies.anomalies(params, check_mode=False))
        except LowtideError as exc:
            raise AnsibleLookupError(str(exc)) from exc
        for warning in result["warnings"]:
            display.warning(warning)
        return [result["anomalies"]]
