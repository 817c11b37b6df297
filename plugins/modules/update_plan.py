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
  deadline:
    description: When the last batch must have ended; a time, or a duration from O(now). O(horizon) when unset.
    type: str
  awake:
    description: Standbys that are awake and carry load already.
    type: list
    elements: str
    default: []
  use_standbys:
    description: Whether standbys may be woken for the update.
    type: bool
    default: true
  durations:
    description:
      - How long earlier updates of one server took, by pool, each a list of seconds.
      - With five or more, what nine of ten took at most goes before C(update.duration) of the pool.
      - Those of earlier runs are read from O(state), or else O(history), for pools that are not named here.
    type: dict
    default: {}
  anomalies:
    description: V(hold) makes no plan while the demand of a pool is flagged as anomalous; its forecast can't be trusted then.
    type: str
    choices: [hold, ignore]
    default: ignore
  placement:
    description:
      - Where to read which ESXi host each server runs on, which becomes its failure domain; C(update.failure_domains) of a pool
        goes before it.
    type: dict
    suboptions:
      find:
        description: How servers are found among virtual machines, as in M(lowtide.fleet.standby).
        type: dict
        suboptions:
          names:
            description: Names of virtual machines by server name, where they differ.
            type: dict
            default: {}
          folder:
            description: Look only in this folder, and below it.
            type: str
          attribute:
            description: The custom attribute that holds the server's name.
            type: str
          attributes:
            description: Look only among virtual machines whose custom attributes have these values.
            type: dict
            default: {}
          tag:
            description: Look only among virtual machines with this tag, C(name) or C(category:name).
            type: str
      connection:
        description: How to reach vCenter, as in M(lowtide.fleet.standby). The account needs C(System.View) only.
        type: dict
        suboptions:
          hostname:
            description: Name or address. The environment variable E(VMWARE_HOST) where it is not given.
            type: str
          username:
            description: Account to log in with. The environment variable E(VMWARE_USER) where it is not given.
            type: str
          password:
            description: Its password. The environment variable E(VMWARE_PASSWORD) where it is not given.
            type: str
          port:
            description: Port of the vSphere API. The environment variable E(VMWARE_PORT) where it is not given.
            type: int
            default: 443
          validate_certs:
            description:
              - Whether the server's certificate must be trusted. The environment variable E(VMWARE_VALIDATE_CERTS) where it is
                not given.
            type: bool
            default: true
          ca_path:
            description: PEM file of the authority that signed the server's certificate, where the system does not know it.
            type: path
extends_documentation_fragment:
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
      type: dict
      returned: always
      sample:
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
words:
  description: The plan in sentences, for the person on call.
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
