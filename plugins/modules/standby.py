#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: standby
short_description: Wakes standbys and puts them to sleep, hundreds of virtual machines in one session
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Makes power states in vSphere what a plan, or the lists given, ask for, and waits until the servers woken can carry load.
  - All virtual machines are handled together in one session. One that fails does not stop the others; the task fails at the
    end and names each.
  - A power-on whose reply was lost may have happened; it looks before it orders again.
  - Asked for nothing, it only tells what is.
options:
  provider:
    description: What has power over the servers.
    type: str
    choices: [vsphere]
    default: vsphere
  connection:
    description: How to reach vCenter or an ESXi host. Usually set once for all, as the variable C(lowtide_vsphere).
    type: dict
    required: true
    suboptions:
      hostname:
        description: Its name or address. C(VMWARE_HOST) of the environment when unset.
        type: str
      username:
        description: The user. C(VMWARE_USER) of the environment when unset.
        type: str
      password:
        description: The password. C(VMWARE_PASSWORD) of the environment when unset.
        type: str
      port:
        description: The port. C(VMWARE_PORT) of the environment when unset.
        type: int
        default: 443
      validate_certs:
        description: Whether its certificate must be trusted. C(VMWARE_VALIDATE_CERTS) of the environment when unset.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed its certificate, where the system does not know it.
        type: path
  names:
    description: Servers to tell about, besides those woken and released. All when nothing is named or asked for.
    type: list
    elements: str
    default: []
  activate:
    description: Servers to wake; those suspended are resumed, those off are powered on.
    type: list
    elements: str
    default: []
  release:
    description: Servers to put to sleep.
    type: list
    elements: str
    default: []
  plan:
    description:
      - A plan of M(lowtide.fleet.scaling_plan), whose servers to wake and to release are added to the lists, or of
        M(lowtide.fleet.update_plan), whose standbys are woken.
    type: dict
  idle_state:
    description: What a released server becomes. V(off) shuts its guest down first.
    type: str
    choices: [suspended, 'off']
    default: suspended
  wait:
    description: Whether to wait until a woken server is ready - its guest tools run, it has an address, and O(check) passed.
    type: bool
    default: true
  timeout:
    description: How long each server may take.
    type: str
    default: 5m
  shutdown_timeout:
    description: How long a guest may take to shut down before its power is cut, with O(idle_state=off).
    type: str
    default: 2m
  check:
    description: What must answer at a woken server's address.
    type: dict
    suboptions:
      port:
        description: The TCP port.
        type: int
        required: true
      path:
        description: A path, to ask over HTTP; a TCP connection is enough when unset.
        type: str
      timeout:
        description: How long one attempt may take.
        type: str
        default: 2s
  parallel:
    description: How many orders are given to vCenter at the same time.
    type: int
    default: 16
requirements:
  - pyvmomi >= 8.0
extends_documentation_fragment:
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: lowtide.fleet.scaling_plan
"""

EXAMPLES = r"""
- name: Look what the standbys are
  lowtide.fleet.standby:
    connection: "{{ lowtide_vsphere }}"
    names: "{{ groups['web_standby'] }}"
  register: standbys

- name: Wake what the plan says, and wait until it answers
  lowtide.fleet.standby:
    connection: "{{ lowtide_vsphere }}"
    plan: "{{ scaling.plan }}"
    check:
      port: 80
      path: /health

- name: Send two back to sleep
  lowtide.fleet.standby:
    connection:
      hostname: vcenter.example
      username: lowtide@vsphere.local
      password: "{{ vsphere_password }}"
    release: [web-s1, web-s2]
"""

RETURN = r"""
servers:
  description: What each server is, or in check mode would be.
  type: dict
  returned: success
  sample:
    web-s1: {power: 'on', ready: true, ip: 192.0.2.11, changed: true, failed: null, seconds: 41.7}
words:
  description: What was done, in sentences.
  type: list
  elements: str
  returned: success
  sample: ["web-s1: suspended → on in 41.7 s and ready"]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby


def main() -> None:
    face.run(standby.standby, standby.SPEC)


if __name__ == "__main__":
    main()
