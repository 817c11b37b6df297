#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: standby
short_description: Wake standby servers, and put them to sleep again
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Brings any number of standbys into the power states that you, or a scaling plan, ask for. All of them are worked on
    together, in one session, and one that fails does not stop the others.
  - An activated server counts as ready when its guest tools run, its IP address is known, and O(check), where there is
    one, has passed.
  - An order whose answer was lost is repeated only after a look shows that it was not carried out. Lost connections,
    expired sessions and a vCenter that is away for a while are survived, within O(timeout).
  - Without a server to activate or release it only looks.
  - When standbys of O(pools) were woken and went to sleep is noted in O(state), which a tenant's budget is counted from.
seealso:
  - module: lowtide.fleet.scaling_plan
  - module: lowtide.fleet.update_plan
options:
  provider:
    description:
      - What the standbys are, and so what wakes them.
      - V(vsphere) means virtual machines of vCenter or an ESXi host.
      - V(command) runs O(commands) of your own, where the task runs.
      - V(kubernetes) scales a Deployment or StatefulSet.
      - V(wake_on_lan) sends magic packets to machines of the local network, and puts them to sleep by O(commands).
    type: str
    choices: [vsphere, command, wake_on_lan, kubernetes]
    default: vsphere
  find:
    description:
      - How servers are found among virtual machines. Without it, a server is the virtual machine of the same name.
    type: dict
    suboptions:
      names:
        description: Names of virtual machines by server name, where they differ.
        type: dict
        default: {}
      folder:
        description:
          - Look only in this folder, and below it. Its path starts below the folder C(vm) of the datacenter.
        type: str
      attribute:
        description: The custom attribute that holds the server's name. The virtual machine's name does where it is not given.
        type: str
      attributes:
        description: Look only among virtual machines whose custom attributes have these values.
        type: dict
        default: {}
      tag:
        description: Look only among virtual machines with this tag, C(name) or C(category:name).
        type: str
  commands:
    description:
      - Commands for O(provider=command) and O(provider=wake_on_lan), each a list of words that is run without a shell.
        C({server}) in a word stands for the server's name. A command that ends with another code than 0 has refused.
    type: dict
    suboptions:
      look:
        description:
          - Prints V(on), V(off) or V(suspended), and after V(on), once the server is up, a space and its address.
          - Needed with O(provider=command).
        type: list
        elements: str
      wake:
        description: Powers the server on, or resumes it. Needed with O(provider=command).
        type: list
        elements: str
      suspend:
        description: Suspends the server.
        type: list
        elements: str
      shut_down:
        description: Shuts the server down.
        type: list
        elements: str
      timeout:
        description: How long one command may take.
        type: str
        default: 60s
  wake_on_lan:
    description: How to wake servers by magic packet. Needed with O(provider=wake_on_lan).
    type: dict
    suboptions:
      macs:
        description: Hardware addresses by server name.
        type: dict
        required: true
      addresses:
        description: Addresses by server name, of servers whose name does not resolve.
        type: dict
        default: {}
      port:
        description: A server counts as on when it accepts TCP connections on this port.
        type: int
        default: 22
      broadcast:
        description: Where packets are sent to, usually the broadcast address of the standbys' network.
        type: str
        default: 255.255.255.255
      udp_port:
        description: The port they are sent to.
        type: int
        default: 9
  kubernetes:
    description:
      - Which workload to scale. Needed with O(provider=kubernetes).
      - Its standbys are replicas beyond O(kubernetes.replicas), in the order of O(kubernetes.servers); they wake and sleep in
        that order, and O(idle_state) does not matter. A HorizontalPodAutoscaler on the same workload would undo it.
      - The account needs C(get) and C(update) on the workload's C(scale), and C(list) on C(pods).
    type: dict
    suboptions:
      url:
        description: Address of the Kubernetes API.
        type: str
        required: true
      token_file:
        description: File with the token of an account. It is read at each request, as it may be renewed in place.
        type: path
      client_cert:
        description: PEM file of a certificate to show instead.
        type: path
      client_key:
        description: PEM file of the key of O(kubernetes.client_cert), where it is not in the same file.
        type: path
      validate_certs:
        description: Whether the server's certificate must be trusted.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed the server's certificate, where the system does not know it.
        type: path
      namespace:
        description: Where the workload is.
        type: str
        default: default
      workload:
        description: C(deployment/name) or C(statefulset/name).
        type: str
        required: true
      replicas:
        description: How many replicas run always, those that are the pool's servers.
        type: int
        required: true
      servers:
        description:
          - What the replicas beyond are called, the first to wake first. The standbys of a pool, where it is not given there.
        type: list
        elements: str
        default: []
      timeout:
        description: How long one request may take.
        type: str
        default: 30s
  connections:
    description: More vCenters, each with a name that C(standby.connection) of O(pools) may say instead of O(connection).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What pools call it.
        type: str
        required: true
      hostname:
        description: Name or address.
        type: str
      username:
        description: Account to log in with.
        type: str
      password:
        description: Its password.
        type: str
      port:
        description: Port of the vSphere API.
        type: int
        default: 443
      validate_certs:
        description: Whether the server's certificate must be trusted.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed the server's certificate, where the system does not know it.
        type: path
  pools:
    description:
      - The pools, as C(lowtide_pools). The standbys of a pool are woken by what its C(standby) says, those of different
        pools at the same time; what it leaves open, and other servers, by what this task says.
      - Where no server is named, it tells about the standbys of all of them.
    type: dict
    default: {}
  tenant:
    description: The tenant that this run is for. A server that is no standby of one of its O(pools) is refused.
    type: str
  tenants:
    description: What each tenant may have; see O(lowtide.fleet.scaling_plan#module:tenants).
    type: dict
    default: {}
  state:
    description:
      - Where it is noted when standbys of O(pools) were woken and went to sleep, which budgets are counted from.
      - Nothing is noted when unset, which a tenant with a budget does not let pass.
  part:
    description: Which part of what is asked for is done now.
    type: str
    choices: [both, activate, release]
    default: both
  names:
    description:
      - Servers to tell about, besides those to wake and to release.
      - Where no server is named at all, it tells about every one that the provider can list.
    type: list
    elements: str
    default: []
  activate:
    description: Servers to wake.
    type: list
    elements: str
    default: []
  release:
    description: Servers to put to sleep. One that is suspended or off already is left as it is.
    type: list
    elements: str
    default: []
  candidates:
    description:
      - Servers that take the place of those whose activation fails, in this order. One that is on already is passed over,
        and one that is not of the same pool, as far as O(plan) and O(pools) tell.
    type: list
    elements: str
    default: []
  plan:
    description:
      - A plan that M(lowtide.fleet.scaling_plan) returned. What it activates and releases is added to O(activate) and
        O(release), its candidates to O(candidates). One that goes from one pool to another stays as it is, and is in RV(pools)
        for the pool it goes to.
      - Or a plan that M(lowtide.fleet.update_plan) returned, whose standbys are added to O(activate).
      - A release that the plan does not want before a later moment is left for a later run.
    type: dict
  now:
    description: The moment to judge the plan's releases by, ISO 8601. The present when unset.
    type: str
  idle_state:
    description:
      - What a released server becomes.
      - V(suspended) wakes fastest. V(off) shuts the guest down first, if its tools run.
    type: str
    choices: [suspended, 'off']
    default: suspended
  wait:
    description:
      - Whether to wait until activated servers are ready. Otherwise only the power state is waited for.
    type: bool
    default: true
  timeout:
    description: How long each server may take.
    type: str
    default: 5m
  shutdown_timeout:
    description: How long a guest may take to shut down before its power is cut. Within O(timeout).
    type: str
    default: 2m
  check:
    description: What a server must do, beyond being up, to be ready.
    type: dict
    suboptions:
      port:
        description: It accepts TCP connections on this port of its address.
        type: int
        required: true
      path:
        description: It answers an HTTP request for this path with a status from 200 to 399.
        type: str
      timeout:
        description: How long one attempt may take.
        type: str
        default: 2s
  parallel:
    description: How many power calls may be under way at a time. Waiting is for all servers at once, whatever this is.
    type: int
    default: 16
requirements:
  - pyvmomi >= 8.0 (with O(provider=vsphere))
  - requests >= 2.28 (with O(provider=kubernetes))
extends_documentation_fragment:
  - lowtide.fleet.vsphere
  - lowtide.fleet.state
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Do what the plan says
  lowtide.fleet.standby:
    connection:
      hostname: vcenter.example.com
      username: lowtide@vsphere.local
      password: "{{ vcenter_password }}"
    plan: "{{ scaling.plan }}"
    check:
      port: 8080
      path: /health

- name: Wake two standbys before an update; a third stands by for them
  lowtide.fleet.standby:
    activate: [web-s1, web-s2]
    candidates: [web-s3]
  environment:
    VMWARE_HOST: vcenter.example.com
    VMWARE_USER: lowtide@vsphere.local
    VMWARE_PASSWORD: "{{ vcenter_password }}"

- name: Wake machines of a rack by magic packet, and count them as ready when their application answers
  lowtide.fleet.standby:
    provider: wake_on_lan
    wake_on_lan:
      macs: {rack1: "52:54:00:12:34:56", rack2: "52:54:00:12:34:57"}
      broadcast: 192.0.2.255
    commands:
      suspend: [ssh, "root@{server}", systemctl, suspend]
    activate: [rack1, rack2]
    check:
      port: 8080

- name: Wake cloud instances by a command
  lowtide.fleet.standby:
    provider: command
    commands:
      look: [/usr/local/bin/instance, state, "{server}"]
      wake: [/usr/local/bin/instance, start, "{server}"]
      shut_down: [/usr/local/bin/instance, stop, "{server}"]
    idle_state: "off"
    plan: "{{ scaling.plan }}"

- name: Do what the plan says, with what each pool says of its standbys
  lowtide.fleet.standby:
    pools: "{{ lowtide_pools }}"
    connection: "{{ lowtide_vsphere }}"
    connections: "{{ lowtide_vcenters }}"
    plan: "{{ scaling.plan }}"

- name: What state is everything in the folder of the standbys in?
  lowtide.fleet.standby:
    find:
      folder: standby/web
  register: standbys
"""

RETURN = r"""
servers:
  description: Every server asked for, and every candidate used, by name.
  type: dict
  returned: success
  contains:
    power:
      description: V(on), V(off) or V(suspended). In check mode, as it is.
      type: str
      returned: always
    ready:
      description: Whether it can carry load, as far as was looked.
      type: bool
      returned: always
    ip:
      description: Its address, while it is known.
      type: str
      returned: always
    changed:
      description: Whether its power state was changed, or would be.
      type: bool
      returned: always
    failed:
      description: Why it failed; none when it did not.
      type: str
      returned: always
    replaces:
      description: The server in whose place it was woken; none when it was asked for.
      type: str
      returned: always
    seconds:
      description: How long it took.
      type: float
      returned: always
  sample:
    web-s1: {power: 'on', ready: true, ip: 10.0.0.21, changed: true, failed: null, replaces: null, seconds: 9.2}
pools:
  description:
    - The activated servers that are ready, those that replace others, and those that the plan moves, by the pool they are for;
      in check mode those that would be woken or moved. Where O(pools) or O(plan) name a pool for them.
  type: dict
  returned: when a server is asked for
  sample: {web: [web-s1]}
words:
  description: What was done, or would be, a sentence for each server.
  type: list
  elements: str
  returned: success
  sample: ["web-s1: resumed, ready at 10.0.0.21 after 9 s"]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import standby


def main() -> None:
    """Run the module."""
    face.run(standby.standby, standby.SPEC)


if __name__ == "__main__":
    main()
