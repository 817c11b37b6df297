#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: update_plan
short_description: When to update which servers, in which batches, with which standbys awake
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Forecasts the demand of the pools and picks the window, the order and the batches of a rolling update that displace the
    least load, while what stays in service carries the demand with the risk each pool allows; among equals those that take
    the least time, and then those that keep standbys awake for the least cost.
  - Servers go pool after pool, in the order of O(pool), never two pools at once. At most one failure domain of a pool is out
    at once; each is finished before the next, unless taking turns displaces clearly less. The least loaded go first.
    C(update.first) and C(update.last) of a pool pin servers to its beginning and end, each alone in its batch.
  - A plan may pause between two batches, where the demand is high or a blackout comes between.
  - Standbys are woken only where they make room that the pool lacks, or save time, each when the first batch needs it.
  - How the risk is made is in the collection's documentation, on the page about updates.
  - It decides and explains; it acts on nothing. Where no window keeps the risk, it fails and says what binds and what would
    help.
options:
  hosts:
    description:
      - Servers to update, of those of the pools. All when empty.
      - The others stay in service and are not planned, for example because they are updated already.
    type: list
    elements: str
    default: []
  use_standbys:
    description: Whether standbys may be woken for the update.
    type: bool
    default: true
  simulate:
    description:
      - Whether to replay the plan on the history, on the same weekday of the last weeks at the same local hours, and beside it
        C(serial=25%) begun at O(now) without standbys. RV(simulation) tells how often capacity would have been short.
      - An error where none of these weeks is known.
    type: bool
    default: false
  simulate_weeks:
    description:
      - How many weeks to replay, from 1 to 52. They may lie before O(history_window).
      - Weeks of which the history lacks samples are named, and not counted.
    type: int
    default: 4
extends_documentation_fragment:
  - lowtide.fleet.update_plan
  - lowtide.fleet.pools
  - lowtide.fleet.outlook
  - lowtide.fleet.state
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
seealso:
  - plugin: lowtide.fleet.update_hosts
    plugin_type: lookup
  - plugin: lowtide.fleet.update_batches
    plugin_type: lookup
  - module: lowtide.fleet.update_gate
"""

EXAMPLES = r"""
- name: Find the low tide of the next twelve hours
  lowtide.fleet.update_plan:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    pool: [web]
    deadline: 12h
  register: update

- name: Say when, in which batches and why
  ansible.builtin.debug:
    msg: "{{ update.words }}"

- name: Ask how it would have gone in the last eight weeks, and serial with 25% begun now
  lowtide.fleet.update_plan:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    simulate: true
    simulate_weeks: 8
  register: replayed

- name: Keep the plan for the playbook that updates
  ansible.builtin.copy:
    content: "{{ update.plan | to_nice_json }}"
    dest: update-plan.json
    mode: "0644"
"""

RETURN = r"""
plan:
  description: The plan, to hand on, keep or show. Its form changes only with C(version).
  type: dict
  returned: success
  contains:
    kind:
      description: Always V(update).
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
    deadline:
      description: When the last batch must have ended.
      type: str
      returned: always
    window:
      description: When the first batch starts and the last one ends.
      type: dict
      returned: always
      sample: {start: "2026-01-31T03:05:00Z", end: "2026-01-31T03:25:00Z"}
    pools:
      description: The pools it updates.
      type: list
      elements: str
      returned: always
    hosts:
      description: All servers, in order.
      type: list
      elements: str
      returned: always
    serial:
      description: The size of each batch.
      type: list
      elements: int
      returned: always
    batches:
      description: Each batch, its time, the servers it can spare, its risk, and why.
      type: list
      elements: dict
      returned: always
      contains:
        number:
          description: From 1.
          type: int
          returned: always
        pool:
          description: The pool its servers are of.
          type: str
          returned: always
        hosts:
          description: Its servers.
          type: list
          elements: str
          returned: always
        failure_domain:
          description: The failure domain they share, if they have one.
          type: str
          returned: always
        start:
          description: When it is expected to start.
          type: str
          returned: always
        end:
          description: When it is expected to end.
          type: str
          returned: always
        risk:
          description: Probability that demand exceeds what stays in service at any time while it is out.
          type: float
          returned: always
        spare_servers:
          description: Servers in service beyond those needed, while it is out.
          type: int
          returned: always
        displaced_load:
          description: What its servers would have carried, in load units times hours.
          type: float
          returned: always
        reasons:
          description: Why it is as large as it is, and why it is its turn.
          type: list
          elements: str
          returned: always
    batch_of:
      description: The number of the batch that each server is in, by name.
      type: dict
      returned: always
      sample: {web3: 1, web1: 1, web2: 2}
    standbys:
      description:
        - Standbys to wake for it, the first of them by when, and when all may sleep again.
        - C(each) says it of each of them, with the batches that need it and what it costs awake. C(cost) is the sum.
        - C(refused) lists those that were wanted and that O(tenants) leaves asleep, each with its pool and a reason.
      type: dict
      returned: always
      sample:
        refused: []
        activate: [web-s1]
        by: "2026-01-31T03:00:00Z"
        release_after: "2026-01-31T03:25:00Z"
        cost: 0.17
        each:
          - server: web-s1
            pool: web
            wake: "2026-01-31T03:00:00Z"
            ready: "2026-01-31T03:05:00Z"
            release_after: "2026-01-31T03:25:00Z"
            first_batch: 1
            last_batch: 2
            cost: 0.17
    durations:
      description:
        - How long one batch of each pool takes, by its name; C(learned_from) is the number of earlier updates that say so, 0
          where it is the pool's C(update.duration), and C(quantile) the share of them that took no longer.
      type: dict
      returned: always
      sample: {web: {seconds: 300.0, learned_from: 0, quantile: null}}
    risk:
      description: The largest risk of a batch.
      type: float
      returned: always
    risk_of_any:
      description: The risk that any batch runs short, at most.
      type: float
      returned: always
    spare_servers:
      description: Servers in service beyond those needed, in the batch with the fewest.
      type: int
      returned: always
    why_not_sooner:
      description: What stands against an earlier beginning.
      type: str
      returned: always
    displaced_load:
      description: Of all batches, in load units times hours.
      type: float
      returned: always
    ordered_by_load:
      description: Whether the history told each server's load. If not, servers go in the order the pool names them.
      type: bool
      returned: always
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
simulation:
  description:
    - What the plan would have met on the same weekday of the last weeks, and C(serial=25%) begun at O(now) in its place.
    - A batch takes as long as in the plan, at the same local hour; what it leaves in service is what the plan leaves, with
      its standbys. Batches of C(serial=25%) are a quarter of each pool, one after another, with no standby woken.
  type: dict
  returned: when O(simulate)
  contains:
    weeks:
      description:
        - How many weeks were asked for and replayed.
        - C(left_out) names those that were not, by when the plan would have begun, and why.
      type: dict
      returned: always
      sample:
        asked: 4
        replayed: 3
        left_out: [{start: "2026-01-06T03:05:00Z", why: "web: 3 of 36 samples missing or of maintenance"}]
    plan:
      description: What came of the plan.
      type: dict
      returned: always
      contains: &figures
        start:
          description: When the first batch begins, this time.
          type: str
          returned: always
        end:
          description: When the last one ends, this time.
          type: str
          returned: always
        weekday:
          description: The day of the week that it begins on, in the time zone of its first pool; it is replayed on that day.
          type: str
          returned: always
        serial:
          description: The size of each batch.
          type: list
          elements: int
          returned: always
        batches:
          description: Batches in all the weeks replayed.
          type: int
          returned: always
        short_batches:
          description: Those in which demand was above what its servers in service carry, at any time.
          type: int
          returned: always
        short_weeks:
          description: Weeks that have such a batch.
          type: int
          returned: always
        overload_minutes:
          description: For how long demand was above it, in all.
          type: float
          returned: always
        worst:
          description:
            - When the largest share of demand had no server. Null where all was carried.
            - C(time) is when that step began; C(demand), C(capacity) of what was left in service, and C(lacking), their
              difference, are in load units; C(share) is what is lacking of the demand.
          type: dict
          returned: always
          sample:
            {pool: web, batch: 2, time: "2026-01-20T14:10:00Z", demand: 2610.0, capacity: 2290.0, lacking: 320.0, share: 0.1226}
        weeks:
          description: The same of each week replayed, the newest first; C(start) is when its first batch would have begun.
          type: list
          elements: dict
          returned: always
          sample: [{start: "2026-01-27T03:05:00Z", short_batches: 0, overload_minutes: 0.0}]
    serial:
      description: What came of C(serial=25%), in the same weeks.
      type: dict
      returned: always
      contains: *figures
    words:
      description: Both in sentences.
      type: list
      elements: str
      returned: always
      sample:
        - "in the last 4 Tuesdays this plan would have been short in 0 of 28 batches; serial: 25% begun now, in the last 4
          Mondays, in 3 of 16"
words:
  description: The plan in sentences, for the person on call, and with O(simulate) what the simulation says.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_plan


def main() -> None:
    face.run(update_plan.update_plan, update_plan.SPEC)


if __name__ == "__main__":
    main()
