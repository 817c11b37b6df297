# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: forecast
short_description: The load of pools and servers ahead, with quantiles
version_added: 0.1.0
author: "The Lowtide authors (@lowtide)"
description:
  - What the module M(lowtide.fleet.forecast) answers, where a playbook or a template wants it as a value.
options:
  _terms:
    description: Names of the pools to look at. All of O(pools) when there is none.
    type: list
    elements: str
  history:
    description: Where the series of the pools are kept, as in the module M(lowtide.fleet.forecast).
    type: dict
    required: true
    vars:
      - name: lowtide_history
  pools:
    description: The pools, by name, as in the module M(lowtide.fleet.forecast).
    type: dict
    required: true
    vars:
      - name: lowtide_pools
  tenant:
    description: The tenant that this run is for, as in the module M(lowtide.fleet.forecast).
    type: str
    vars:
      - name: lowtide_tenant
  tenants:
    description: What each tenant may have, as in the module M(lowtide.fleet.forecast).
    type: dict
    default: {}
    vars:
      - name: lowtide_tenants
  now:
    description: The moment to decide for, ISO 8601; UTC unless it has an offset. The present when unset.
    type: str
    vars:
      - name: lowtide_now
  compare:
    description:
      - Whether to put the samples that came beside the forecast, in C(actual) and C(error).
      - Needs O(now) in the past, to make the forecast as it was made then. An error where nothing came yet.
    type: bool
    default: false
extends_documentation_fragment:
  - lowtide.fleet.forecast
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with a history of type C(duckdb))
  - statsmodels >= 0.14 (with O(model=arima) and O(model=ets))
  - scikit-learn >= 1.4 (with O(model=gbm))
  - torch >= 2.2 (with O(model=lstm))
seealso:
  - module: lowtide.fleet.forecast
"""

EXAMPLES = r"""
- name: The median at the peak of the next six hours
  ansible.builtin.debug:
    msg: "{{ (lookup('lowtide.fleet.forecast', 'web', horizon='6h') | first).quantiles['0.5'] | max }}"
"""

RETURN = r"""
_raw:
  description: The forecasts, as RV(lowtide.fleet.forecast#module:forecasts) of the module.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import forecast

display = Display()


class LookupModule(LookupBase):
    """Calls the operation of the module, with the variables the module's options are usually set from."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[dict]:
        """The forecasts of the pools named."""
        self.set_options(var_options=variables, direct=kwargs)
        # What is set by a variable comes as it is written there, with the templates in it.
        given = {name: self._templar.template(value) for name, value in self.get_options().items() if name != "_terms"}
        try:
            params = options.checked({**given, "pool": list(terms)}, forecast.SPEC, "forecast")
            result = face.plain(forecast.forecast(params, check_mode=bool((variables or {}).get("ansible_check_mode"))))
        except LowtideError as exc:
            raise AnsibleLookupError(str(exc)) from exc
        for warning in result["warnings"]:
            display.warning(warning)
        return [result["forecasts"]]
