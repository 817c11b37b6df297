#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer_pool
short_description: Sets states and weights of a load balancer's members, and reads how they do
version_added: 0.1.0
description:
  - Makes any number of members of one backend what they shall be, in one session with the balancer, and returns the figures
    of all its members.
  - Everything is read and checked on every instance before the first change on any of them. A member, backend or weight that
    can't be leaves everything as it was.
  - Without O(members) it only reads.
author:
  - "The Lowtide authors (@lowtide)"
extends_documentation_fragment:
  - lowtide.fleet.attributes
  - lowtide.fleet.balancer
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  members:
    description: The members to change. Others stay as they are.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the member in the balancer. Letters, digits, C(_), C(.), C(:) and C(-).
        type: str
        required: true
      state:
        description:
          - V(ready) takes requests, V(drain) finishes its sessions and gets no new ones, V(maintenance) is out and its
            health is not checked.
          - V(absent) is not in the backend at all; it is drained first.
          - Its state stays as it is when unset.
        type: str
        choices: [ready, drain, maintenance, absent]
      weight:
        description:
          - A whole number, or a share like V(50%) of the weight in the balancer's configuration.
          - HAProxy takes 0 to 256. Give the servers C(weight 100) in its configuration, so that shares can be expressed.
        type: str
      address:
        description:
          - Address of the member's server. A member that does not exist is added when this is given.
          - HAProxy forgets members added so when it reloads, and adds them only to backends whose algorithm is dynamic.
        type: str
      port:
        description: Port of the member's server.
        type: int
  wait_for_sessions:
    description:
      - Wait until members that are to be in drain, in maintenance or absent have no session left.
      - With it, V(maintenance) is set once the sessions are gone; a member whose sessions are not gone by O(timeout) stays in
        drain and is in RV(remaining).
    type: bool
    default: false
  timeout:
    description: How long to wait for sessions to end.
    type: str
    default: 60s
  min_ready:
    description:
      - Refuse changes that take members out and leave fewer than so many that are ready, up and of a weight above 0.
      - V(0) allows to take out the last.
    type: int
    default: 1
notes:
  - A weight of HAProxy is read as C(uweight), which C(slowstart) does not change.
  - Latency of HAProxy is the mean time in the queue, to connect and until the answer begins, over the latest 512 requests.
"""

EXAMPLES = r"""
- name: Take a server out, and wait until it has no request left
  lowtide.fleet.balancer_pool:
    socket: [tcp://lb1:9999, tcp://lb2:9999]
    backend: web
    members:
      - {name: web1, state: maintenance}
    wait_for_sessions: true
    timeout: 90s
  delegate_to: localhost
  register: out
  failed_when: out is failed or out.remaining | length > 0

- name: Bring it back with a tenth of its weight
  lowtide.fleet.balancer_pool:
    socket: [tcp://lb1:9999, tcp://lb2:9999]
    backend: web
    members:
      - {name: web1, state: ready, weight: 10%}
  delegate_to: localhost

- name: Read how the pool does
  lowtide.fleet.balancer_pool:
    socket: [unix:///run/haproxy/admin.sock]
    backend: web
  register: web
"""

RETURN = r"""
members:
  description:
    - All members of the backend by name, as all instances together see them; one is out where one instance has it out. What
      the balancer does not tell is null.
    - C(up) is what the balancer believes, C(checked) what its health check found since the member left maintenance.
  returned: success
  type: dict
  sample:
    web1:
      state: ready
      weight: 100
      full_weight: 100
      up: true
      checked: true
      address: 10.0.0.11
      port: 8080
      sessions: 3
      queue: 0
      requests: 81234
      errors: 2
      requests_per_second: 61.0
      latency_ms: 12.0
      samples: 512
pool:
  description:
    - Sums over the members, C(serving) (how many take requests) and the mean latency by requests.
    - Counts of requests and errors are since the balancer started.
  returned: success
  type: dict
  sample:
    members: 8
    serving: 7
    sessions: 21
    queue: 0
    requests: 650012
    errors: 17
    requests_per_second: 497.0
    latency_ms: 12.4
out:
  description:
    - Members that take less than their full share, because they are not ready or their weight is not their full one, on one
      instance at least.
  returned: success
  type: list
  elements: str
  sample: [web1]
taking:
  description: Members that are ready and of a weight above 0 on one instance at least, whether they are up or not.
  returned: success
  type: list
  elements: str
  sample: [web2]
remaining:
  description: Sessions that were left at the deadline, by member. Empty when all are gone.
  returned: success
  type: dict
  sample: {web1: 2}
words:
  description: What was done, in sentences.
  returned: success
  type: list
  elements: str
  sample: ["web1: state ready → maintenance.", "7 of 8 members in service, 497 requests/s."]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool


def main() -> None:
    face.run(balancer_pool, options.BALANCER_POOL)


if __name__ == "__main__":
    main()
