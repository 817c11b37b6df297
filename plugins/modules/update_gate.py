#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: update_gate
short_description: Lets the next batch of a rolling update go, makes it wait, or stops the run
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Put it first among the C(pre_tasks) of the play that updates, with C(run_once=true); it runs before each batch.
  - It goes on only when no more hosts than O(max_failures) have failed or become unreachable over the whole run (Ansible's
    own C(max_fail_percentage) counts each batch alone, and no unreachable ones), when the batch will have ended by the plan's
    deadline and reaches into no blackout, when the servers of earlier batches are back in service by their balancer, and
    when what stays in service carries the newest demand and the newest forecast.
  - Where room is lacking it looks again until O(timeout), then stops the run, or shrinks the batch with O(shrink). A metric
    that is missing holds it back too. Where the plan itself pauses before the batch, O(timeout) counts from its end.
  - Which servers are in service is read from the pool's balancer; a pool without one counts its servers, and the standbys
    that the plan woke, less those that the run has lost.
  - In check mode it looks once, says what it would do, and never fails.
  - With O(now) given it decides for that moment, at once and without waiting, as it would after O(timeout); the batch goes,
    shrinks or stops by what was known then.
options:
  plan:
    description: The plan that M(lowtide.fleet.update_plan) returned, or the path of a JSON file with it.
    type: raw
    required: true
  max_failures:
    description: How many hosts may fail or become unreachable over the whole run.
    type: int
    default: 0
  timeout:
    description: How long to wait for room, or for the window to begin.
    type: str
    default: 10m
  interval:
    description: How long to wait between two looks.
    type: str
    default: 15s
  anomalies:
    description:
      - V(hold) holds a batch back while the demand of a pool of the plan is flagged as anomalous, as M(lowtide.fleet.anomalies)
        does with the detector V(novelty) over the last 14 days.
    type: str
    choices: [hold, ignore]
    default: hold
  set_aside:
    description:
      - Hosts of the play that earlier batches left in service because O(shrink) found no room for them. They have neither failed
        nor been updated.
      - Those that others keep out of service too, so that nobody waits for them to be back.
    type: list
    elements: str
    default: []
  shrink:
    description:
      - Whether to let those servers of the batch go that there is room for, where there is still none for all of it after
        O(timeout).
      - The play must then update RV(hosts) only. Ansible can't put the others into a later batch of the same play; they are in
        RV(left), for a second run with a new plan.
    type: bool
    default: false
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.outlook
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
notes:
  - It is an action plugin; it runs on the controller and connects to no host.
seealso:
  - module: lowtide.fleet.update_plan
"""

EXAMPLES = r"""
- name: Update the web servers at low tide
  hosts: "{{ lookup('lowtide.fleet.update_hosts', plan='update-plan.json') }}"
  serial: "{{ lookup('lowtide.fleet.update_batches', plan='update-plan.json') }}"
  order: inventory
  pre_tasks:
    - name: Go only where there is room
      lowtide.fleet.update_gate:
        history: "{{ lowtide_history }}"
        pools: "{{ lowtide_pools }}"
        plan: update-plan.json
      run_once: true
  roles:
    - my_update
"""

RETURN = r"""
decision:
  description: V(go), or V(shrink) with O(shrink); in check mode V(wait) or V(stop) too, which fail otherwise.
  type: str
  returned: success
hosts:
  description: Servers of the batch that may go now, in its order.
  type: list
  elements: str
  returned: success
left:
  description: Servers of the batch that may not.
  type: list
  elements: str
  returned: success
batch:
  description: The number of the batch in the plan; 0 when none of its hosts is in the plan.
  type: int
  returned: success
batches:
  description: How many batches the plan has.
  type: int
  returned: success
waited_seconds:
  description: How long it waited.
  type: float
  returned: success
words:
  description: What it decided and why.
  type: list
  elements: str
  returned: success
  sample:
    - "batch 2 of 4 (web3, web1): go"
    - "web: 210 requests/s now, below 262 until 2026-01-31T03:20:00Z with probability 0.99; that needs 4 servers, and 5 stay
      in service"
"""
