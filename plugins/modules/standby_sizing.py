#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: standby_sizing
short_description: How many standbys each pool should have, from its history
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Serves the past of each pool with 0, 1, 2 and more standbys besides its servers, and counts what each number would have
    cost, asleep, awake, and in overload.
  - The cheapest number is recommended. Where the pool has no C(slo.overload_cost_per_hour), it is the least that leaves no
    more than 5 % of the days with an overload.
  - A standby is awake in steps whose demand needs it at the pool's C(load.target_utilization), and for O(hold) after. An
    overload is a step whose demand is above C(load.server_capacity) of all servers awake. It costs
    C(slo.overload_cost_per_hour) for each hour and each server that lacks.
  - How sure the number is comes from pasts drawn anew from these days, in blocks of a week.
options:
  history_window:
    description: How far to look back. Two months tell more than one; less than a week of whole days is refused.
    type: str
    default: 60d
  step:
    description: The spacing of the samples.
    type: str
    default: 5m
  hold:
    description: How long a standby stays awake after the last step that needs it.
    type: str
    default: 30m
  wake:
    description:
      - V(ahead) takes standbys to be awake when they are needed, as a forecast makes them.
      - V(late) takes them to be woken when the load is there, so that they carry load C(standby.lead_time) later.
    type: str
    choices: [ahead, late]
    default: ahead
  boot_failures:
    description: The share of standbys that do not wake when they are told to, such as V(0.02).
    type: float
    default: 0.0
  growth:
    description:
      - How demand grows. V(none), a share per month such as V(5%), or V(trend) for what the daily peaks show, from three
        weeks on.
    type: str
    default: none
  ahead:
    description: For what day after the last one to size, where demand grows.
    type: str
    default: 30d
  most:
    description: The most standbys to look at. Without it, and without C(limits.max), as many as the past would have needed.
    type: int
  seed:
    description: Of everything random.
    type: int
    default: 0
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with a history of type C(duckdb))
seealso:
  - module: lowtide.fleet.scaling_plan
  - module: lowtide.fleet.standby
"""

EXAMPLES = r"""
- name: How many standbys should we keep?
  lowtide.fleet.standby_sizing:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    growth: trend
  register: sizing

- name: Say it
  ansible.builtin.debug:
    msg: "{{ sizing.words }}"
"""

RETURN = r"""
pools:
  description: The sizes of each pool, by name.
  type: dict
  returned: success
  contains:
    recommended:
      description: How many standbys to have.
      type: int
      returned: always
    now:
      description: How many the pool has.
      type: int
      returned: always
    days:
      description: Whole days that were looked at; those with samples for less than three quarters of them are left out.
      type: int
      returned: always
    options:
      description: What each number of standbys means for the mean day. Costs are in the currency of the pool's own.
      type: list
      elements: dict
      returned: always
      contains:
        standbys:
          description: How many.
          type: int
          returned: always
        cost_per_day:
          description: All of it.
          type: float
          returned: always
        idle_cost_per_day:
          description: Of standbys asleep.
          type: float
          returned: always
        awake_cost_per_day:
          description: Of standbys awake.
          type: float
          returned: always
        overload_cost_per_day:
          description: Of demand that is not served.
          type: float
          returned: always
        overload_minutes_per_day:
          description: Time with an overload.
          type: float
          returned: always
        late_overload_minutes_per_day:
          description: The same, were standbys woken only once the load is there.
          type: float
          returned: always
        days_short:
          description: The share of days that have an overload.
          type: float
          returned: always
    peaks:
      description: The highest demand of each day, oldest first; none for a day without samples.
      type: list
      elements: float
      returned: always
    needed_by_day:
      description: The standbys that each day's peak needs, growth counted in.
      type: list
      elements: int
      returned: always
    growth_per_month:
      description: The growth that was counted in, as a share.
      type: float
      returned: always
    confidence:
      description:
        - How sure the number is. Of pasts drawn anew, C(share) recommend it, and four of five recommend C(low) to C(high).
        - C(beyond) is the chance that a day's peak is above all that were seen.
      type: dict
      returned: always
      sample: {low: 2, high: 3, share: 0.81, beyond: 0.0323}
    words:
      description: The sizes in sentences.
      type: list
      elements: str
      returned: always
words:
  description: All pools' sizes in sentences.
  type: list
  elements: str
  returned: success
  sample:
    - "web: 2 standbys are the cheapest over 59 days (3 now): 4.31 a day, 2.30 of it asleep, 1.20 awake and 0.81 for 0.1
      minutes of overload a day"
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby_sizing


def main() -> None:
    """Run the module."""
    face.run(standby_sizing.standby_sizing, standby_sizing.SPEC)


if __name__ == "__main__":
    main()
