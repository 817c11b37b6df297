#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_metrics
short_description: Read CPU, memory, network and disk load of a host
version_added: 0.1.0
author: "The Lowtide authors (@lowtide)"
description:
  - Reads the load of the host it runs on from C(/proc). It needs no agent and no library, for fleets without a metrics server.
  - Hand its RV(samples) to M(lowtide.fleet.collect) as a source of type C(inline) to keep them.
extends_documentation_fragment:
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
options:
  server:
    description: The name of the server in the pools. The host's own name when unset.
    type: str
  interval:
    description: How many seconds the counters are watched.
    type: float
    default: 1.0
  metrics:
    description:
      - What to read. V(cpu) is the number of cores in use, V(load) the load average of a minute, V(memory) the bytes that
        programs can not have, and the others are bytes per second.
    type: list
    elements: str
    choices: [cpu, load, memory, network_received, network_sent, disk_read, disk_written]
    default: [cpu, load, memory, network_received, network_sent, disk_read, disk_written]
"""

EXAMPLES = r"""
- name: Read the load of all hosts
  lowtide.fleet.host_metrics:
    server: "{{ inventory_hostname }}"
  register: host

- name: Keep it
  run_once: true
  delegate_to: localhost
  lowtide.fleet.collect:
    history: {path: "{{ playbook_dir }}/history.duckdb"}
    pools: "{{ lowtide_pools }}"
    sources:
      - type: inline
        samples: "{{ ansible_play_hosts | map('extract', hostvars, ['host', 'samples']) | flatten }}"
"""

RETURN = r"""
metrics:
  description: The values by metric.
  returned: success
  type: dict
  sample: {cpu: 1.62, memory: 3221225472.0}
units:
  description: Their units.
  returned: success
  type: dict
  sample: {cpu: cores, memory: bytes}
cores:
  description: How many cores the host has.
  returned: success
  type: int
  sample: 4
time:
  description: When they were read.
  returned: success
  type: str
  sample: "2026-02-01T00:00:03Z"
samples:
  description: The same as a source of type C(inline) takes it.
  returned: success
  type: list
  elements: dict
  sample: [{time: 1769904003.2, server: web1, metric: cpu, value: 1.62}]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import host_metrics


def main() -> None:
    """Run the module."""
    face.run(host_metrics.host_metrics, host_metrics.SPEC)


if __name__ == "__main__":
    main()
