# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach the balancer of a pool; kept in step with options.BALANCER."""

    DOCUMENTATION = r"""
options:
  provider:
    description:
      - The kind of balancer.
      - V(haproxy) is changed over its runtime API at O(socket).
      - V(envoy), V(traefik) and V(nginx) read their members from O(file), on the host that the module runs on. Members that
        are not in it yet are added by naming their address and port. Shares refer to a full weight of 100.
      - V(tasks) is any other, through a task file of yours at O(tasks).
    type: str
    choices: [haproxy, envoy, traefik, nginx, tasks]
    default: haproxy
  socket:
    description:
      - Where the runtime API of each HAProxy listens, C(tcp://host:port) or C(unix:///path). Needed with V(haproxy).
      - Name all instances of a high-availability pair, and they are kept in step.
      - Changes need C(level admin) on the C(stats socket) line; reading does not.
      - The runtime API has no password. Let only the hosts that need it reach it.
    type: list
    elements: str
    default: []
  backend:
    description: Name of the backend; of the cluster in Envoy, of the service in Traefik, of the upstream in nginx.
    type: str
    required: true
  file:
    description:
      - The file that holds the members, written by Lowtide alone. Needed with V(envoy), V(traefik) and V(nginx).
      - For Envoy it is the C(path) of the cluster's C(path_config_source) and ends in C(.yaml); give its directory as
        C(watched_directory).
      - For Traefik it is in the directory of the file provider. Routers refer to the service O(backend) with C(@file).
      - For nginx, C(include) it in the C(http) block.
    type: path
  admin:
    description: Address of Envoy's administration interface, for figures, health, and to know that a change arrived.
    type: str
  reload:
    description:
      - Command that makes nginx read its configuration again. C(nginx -s reload) when empty.
      - A reload ends idle keep-alive connections of clients. A request that a client sends on one at that moment is lost unless
        the client sends it again; C(keepalive_timeout 0) avoids it.
    type: list
    elements: str
    default: []
  tasks:
    description:
      - A task file for any other balancer. Needed with V(tasks). It is run by C(ansible-playbook) on the host that the module runs
        on, with the variable C(lowtide_plan).
      - C(lowtide_plan) has C(backend), C(action) and C(members). With the action V(apply), members have C(name), C(state), C(weight),
        C(address) and C(port) as they shall be; the state may be V(absent).
      - With the action V(read), the file sets the fact C(lowtide_members), by name, each with C(state) and C(weight) and what it knows
        of C(full_weight), C(up), C(sessions), C(queue), C(requests) and C(errors).
    type: path
  settle:
    description:
      - How long to give a balancer that does not tell, to take a change and to end its requests.
      - Used with V(traefik) and V(nginx), and with V(envoy) without O(admin).
    type: str
    default: 2s
  reply_timeout:
    description: How long a connection to HAProxy, or one answer, may take.
    type: str
    default: 5s
  state_file:
    description:
      - File to leave the state of all servers of HAProxy in after a change, so that it survives a reload.
      - It is the C(server-state-file) of HAProxy's configuration, which needs C(load-server-state-from-file global) too, and
        is on the host that the module runs on. One O(socket) only.
    type: path
"""
