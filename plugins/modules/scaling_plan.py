#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: scaling_plan
short_description: How many servers each pool needs ahead, and which standbys to wake or to send to sleep
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Forecasts the demand of each pool and turns it into servers required at each step ahead, standbys to wake now, and
    standbys that may sleep, with the reasons in words.
  - It decides and explains; it acts on nothing. Give the plan to M(lowtide.fleet.standby) to make it so.
  - The level of demand to cover is what the pool's C(slo.overload_cost_per_hour) is worth against its
    C(standby.cost_per_hour); without an overload cost it is the 95 % level. C(slo.quantile) sets it outright, and C(rules)
    plan by thresholds of predicted utilization instead.
  - The steps within the lead time are told from the last minutes as well, weighed by how well those told so far.
  - Where pools share standbys and there are too few, each goes where it saves most expected loss times the pool's C(weight). It
    stays there unless another would save a quarter more. Tenants get their C(guaranteed_standbys) first.
  - The plan never goes below what the newest demand needs.
  - Where O(tenants) limits a tenant, standbys beyond its C(max_standbys) or its C(budget_per_day) stay asleep, and the plan
    says so. What is spent is what M(lowtide.fleet.standby) noted in O(state), and what is planned until the day ends. A
    budget that is used up also releases standbys, down to what the newest demand needs.
options:
  awake:
    description:
      - Standbys that are awake, as M(lowtide.fleet.standby) told. The others count as asleep.
      - Those of pools that are not planned now count against the limits of their tenant.
    type: list
    elements: str
    default: []
  out:
    description:
      - Standbys in O(awake) that carry no load, since no balancer has them in with their full weight. A run that was killed
        between waking one and bringing it in leaves it so, and so does a balancer that forgot its members' states.
      - They don't count as servers in service. Where more are needed, they are in C(activate) before any that is asleep, which
        brings them in; where not, they are the first to sleep.
    type: list
    elements: str
    default: []
  awake_since:
    description:
      - When standbys woke, by name, ISO 8601, so that none is sent to sleep before its pool's C(standby.min_awake).
      - For one that is absent here, what M(lowtide.fleet.standby) noted in O(state) or O(history) within the last day counts, or within the
        longest C(standby.min_awake). Where nothing was noted, it may be sent to sleep.
    type: dict
    default: {}
  owners:
    description:
      - The pool that each standby in O(awake) serves, by name, where pools share standbys. As their balancers tell, for example.
      - One that is absent counts for the pool of the greatest weight that may use it.
      - One that serves a pool which is not planned now stays there.
    type: dict
    default: {}
  anomalies:
    description:
      - Open anomalies, as M(lowtide.fleet.anomalies) returned them.
      - A surge of a pool's load is covered as far as it has come and as much again as it exceeds what was expected, and load that is
        unusually low or strange freezes release, unless the pool's C(anomalies) says V(ignore).
    type: list
    elements: dict
    default: []
  mode:
    description:
      - V(auto) replays each pool's past first, and goes by what would have cost least lately, where what is two days old counts half
        - by the forecast, by the newest demand with room for changes such as it had, or by it alone. In doubt, up to 5 % of
        the servers' cost, it is the forecast. Where the past is shorter than four days, the plan follows the newest demand alone.
        The reasons tell which, and what each would have cost.
      - V(predictive) goes by the forecast, V(reactive) by the newest demand alone, whatever the past says.
    type: str
    choices: [auto, predictive, reactive]
    default: auto
  hold:
    description: A standby is sent to sleep only when nothing needs it for this long.
    type: str
    default: 30m
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.outlook
  - lowtide.fleet.state
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
seealso:
  - module: lowtide.fleet.standby
  - module: lowtide.fleet.forecast
"""

EXAMPLES = r"""
- name: Decide which standbys to wake
  lowtide.fleet.scaling_plan:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    awake: "{{ standbys.servers | dict2items | selectattr('value.power', 'equalto', 'on') | map(attribute='key') }}"
  register: scaling

- name: Say why
  ansible.builtin.debug:
    msg: "{{ scaling.words }}"

- name: Make it so
  lowtide.fleet.standby:
    connection: "{{ lowtide_vsphere }}"
    plan: "{{ scaling.plan }}"
"""

RETURN = r"""
plan:
  description: The plan, to hand on, keep or show. Its form changes only with C(version).
  type: dict
  returned: success
  contains:
    kind:
      description: Always V(scaling).
      type: str
      returned: always
    version:
      description: Of the plan's form.
      type: int
      returned: always
    now:
      description: The moment it was made for.
      type: str
      returned: always
    horizon_seconds:
      description: How far it looks ahead.
      type: int
      returned: always
    pools:
      description: The plan of each pool, by name.
      type: dict
      returned: always
      sample:
        web:
          mode: predictive
          in_service: [web1, web2, web3]
          awake: []
          required: 4
          quantile: 0.999
          peak: {time: "2026-01-31T19:05:00Z", demand: 812.0}
          required_by_step: [4, 4, 5]
          activate:
            - {server: web-s1, by: "2026-01-31T17:56:00Z", reason: "4 servers are needed, 3 are in service"}
          candidates: [web-s2, web-s3]
          release: []
          upcoming:
            - {servers: 5, by: "2026-01-31T18:06:00Z"}
          risk: 0.012
          short: 0
          moved: []
          alternatives:
            - {servers: -1, cost: 131.2, server_hours: 72.0, overload_minutes: 41.0}
            - {servers: 0, cost: 98.7, server_hours: 96.0, overload_minutes: 1.2}
            - {servers: 1, cost: 120.3, server_hours: 120.0, overload_minutes: 0.1}
          refused: []
    tenants:
      description: What each tenant that is limited may have, and has.
      type: dict
      returned: when O(tenants) is given
      sample:
        shop:
          max_standbys: 3
          standbys: 1
          budget_per_day: 50.0
          spent_today: 12.4
          planned_today: 4.8
          refused: 0
          words: ["tenant shop: 12.40 of 50 spent since 2026-01-31T00:00:00Z, 4.80 more planned until 2026-02-01T00:00:00Z"]
    words:
      description: The plan in sentences.
      type: list
      elements: str
      returned: always
forecasts:
  description: The forecasts it was made from, as M(lowtide.fleet.forecast) returns them.
  type: list
  elements: dict
  returned: success
words:
  description: The plan in sentences, for the person on call.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import scaling_plan


def main() -> None:
    face.run(scaling_plan.scaling_plan, scaling_plan.SPEC)


if __name__ == "__main__":
    main()
