#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lease
short_description: Let one run at a time work on a pool
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Holds pools for a run, so that no other run works on them meanwhile. Who holds a pool is kept in O(state), with the
    tenant of the pool, so that runs on different controllers see each other where that is a database.
  - A hold has a lifetime. A run that is killed frees its pools when it is over; one that takes longer renews it.
  - C(playbooks/autoscale.yml) and C(playbooks/rolling_update.yml) keep each other off a pool by it.
options:
  action:
    description:
      - V(acquire) takes the pools for O(lifetime). What this holder has already is held for longer.
      - V(renew) holds pools for longer, and fails when they were lost.
      - V(release) gives back what the holder has.
      - V(look) only tells who holds what.
    type: str
    choices: [acquire, renew, release, look]
    default: acquire
  holder:
    description:
      - Who holds it. Made up from the user, the host and a random number when unset; give what O(action=acquire) returned
        to the tasks after it.
      - Needed with O(action=renew) and O(action=release).
    type: str
  why:
    description: What for, for those who find it held, after the word C(to).
    type: str
    default: ''
  lifetime:
    description: When a pool is free again if nothing more is heard from the run. Up to V(7d).
    type: str
    default: 15m
  others:
    description:
      - What to do when another run holds one of the pools.
      - V(fail) takes none of them. V(skip) takes the others, and tells which it left.
    type: str
    choices: [fail, skip]
    default: fail
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.state
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
    description: Tells what would be held and what would be left, and holds nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: Each call lets the pools be held for longer, and so changes something.
requirements:
  - duckdb >= 1.1 (with a state of type C(duckdb))
  - psycopg[binary] >= 3.1 (with a state of type C(postgresql))
seealso:
  - module: lowtide.fleet.scaling_plan
  - module: lowtide.fleet.standby
"""

EXAMPLES = r"""
- name: Work on what no other run works on
  block:
    - name: Hold the pools
      lowtide.fleet.lease:
        history: "{{ lowtide_history }}"
        pools: "{{ lowtide_pools }}"
        why: scale
        others: skip
      register: hold

    - name: Decide
      lowtide.fleet.scaling_plan:
        history: "{{ lowtide_history }}"
        pools: "{{ hold.pools }}"
        pool: "{{ hold.held }}"
      when: hold.held | length > 0
  always:
    - name: Give them back
      lowtide.fleet.lease:
        action: release
        history: "{{ lowtide_history }}"
        pools: "{{ lowtide_pools }}"
        pool: "{{ hold.held }}"
        holder: "{{ hold.holder }}"
      when: hold.held | default([]) | length > 0
"""

RETURN = r"""
holder:
  description: Who holds it.
  type: str
  returned: success
  sample: ops@controller, run 3f9a61c2
held:
  description: The pools that this run holds, or would hold; with O(action=look) those that no other run holds.
  type: list
  elements: str
  returned: success
left:
  description: The pools that another run holds.
  type: list
  elements: dict
  returned: success
  sample:
    - pool: api
      holder: ops@controller, run 77c0d1aa
      why: update api to 2.1
      since: "2026-01-31T01:00:00Z"
      until: "2026-01-31T01:15:00Z"
pools:
  description:
    - The definitions of O(pools), without the standbys that a pool in the hands of another run shares with those of this
      run. Give it to the tasks after it.
  type: dict
  returned: success
words:
  description: What is held and what is left, in sentences.
  type: list
  elements: str
  returned: success
  sample: ["web: held until 2026-01-31T01:20:00Z"]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import lease


def main() -> None:
    """Run the module."""
    face.run(lease.lease, lease.SPEC)


if __name__ == "__main__":
    main()
