#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: collect
short_description: Fetch metrics of pools into the history
version_added: 0.1.0
author: "The Lowtide authors (@lowtide)"
description:
  - Fetches the metrics of pools from one or more sources, brings them onto a regular grid and stores them in the history.
  - Only what is new is fetched. Run twice, nothing is doubled; samples that come in late or out of order find their place.
  - Missing samples stay missing. They are reported as gaps, and are never taken for 0.
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  sources:
    description: Where to collect from, one after the other. Nothing is fetched when empty.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description:
          - V(prometheus) is a server that speaks the Prometheus API, at O(sources[].url).
          - V(files) are CSV and Parquet files, at O(sources[].paths).
          - V(vsphere) is the PerformanceManager of vCenter or an ESXi host, at O(sources[].connection).
          - V(haproxy) are the statistics of the HAProxies at O(sources[].socket). They tell of the present, so collect just
            after the end of each step.
          - V(inline) are O(sources[].samples) given in the task, such as those that M(lowtide.fleet.host_metrics) returned.
        type: str
        choices: [prometheus, files, vsphere, haproxy, inline]
        required: true
      pool:
        description: Names of the pools this source knows. All when empty.
        type: list
        elements: str
        default: []
      url:
        description: Base address of the Prometheus API, without C(/api/v1).
        type: str
      queries:
        description:
          - PromQL by metric name, as text or as a dictionary with C(query), C(aggregation) and C(unit).
          - A plain selector such as C(node_load1{job="node"}) is fetched as raw samples. C(aggregation) then says how they
            become one sample per step - V(mean) (the default), V(max), V(last), or V(rate), which is the increase per second of
            a counter.
          - Any other expression is evaluated at the end of each step. Aggregate over the step in the query, for example
            C(sum by (instance\) (rate(http_requests_total[5m]\)\)).
        type: dict
      server_label:
        description: The label that holds the server's name; a port at its end is ignored.
        type: str
        default: instance
      pool_label:
        description: The label that holds the pool's name, for series that are the total of a pool.
        type: str
        default: pool
      username:
        description: User of HTTP basic authentication.
        type: str
      password:
        description: Password of HTTP basic authentication.
        type: str
      token:
        description: Bearer token, instead of user and password.
        type: str
      validate_certs:
        description: Whether the server's certificate must be trusted.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed the server's certificate, where the system does not know it.
        type: path
      client_cert:
        description: PEM file of a certificate to show to the server.
        type: path
      client_key:
        description: PEM file of the key of O(sources[].client_cert), where it is not in the same file.
        type: path
      timeout:
        description: How long one request may take.
        type: str
        default: 30s
      paths:
        description: Files to read, or patterns of them. Files that end in C(.parquet) or C(.pq) are Parquet, others CSV with a header.
        type: list
        elements: path
      columns:
        description:
          - What the columns of the files are called - C(time) (ISO 8601, or seconds since 1970), C(server), C(pool), C(metric) and
            C(value), which are the names taken when not given.
          - A row without server is the total of its pool. Without C(pool), a row belongs to the pool that has its server.
        type: dict
        default: {}
      metrics:
        description:
          - What to read, by metric name, as text or as a dictionary that also has C(aggregation) and C(unit).
          - With V(files) a C(column). It names a column of its own, or, in files with one sample per row, the value in the column
            C(metric).
          - With V(vsphere) a C(counter) as group, name and rollup. By default C(cpu), C(memory), C(network) and C(disk), from
            C(cpu.usage.average), C(mem.usage.average), C(net.usage.average) and C(disk.usage.average).
          - With V(haproxy) a C(field) of C(show stat). By default C(requests), C(latency) and C(errors), from C(stot), C(ttime) and
            C(hrsp_5xx).
          - With V(inline) a C(name), as the samples have it. By default all of them.
        type: dict
      samples:
        description: Samples, each with C(time), C(metric), C(value), and C(server) or C(pool).
        type: list
        elements: dict
      socket:
        description: Addresses of HAProxy's runtime API, such as C(tcp://lb1:9999) or C(unix:///run/haproxy/admin.sock).
        type: list
        elements: str
      backends:
        description: The backend of each pool at HAProxy, where it is not called like the pool.
        type: dict
        default: {}
      interval:
        description: How far apart HAProxy's counters are read twice, to tell their rate.
        type: str
        default: 5s
      connection:
        description: How to reach vCenter or an ESXi host.
        type: dict
        suboptions:
          hostname:
            description: Its name or address. The environment's E(VMWARE_HOST) when unset.
            type: str
          username:
            description: The account, which needs the right to read. The environment's E(VMWARE_USER) when unset.
            type: str
          password:
            description: Its password. The environment's E(VMWARE_PASSWORD) when unset.
            type: str
          port:
            description: The port of the API. The environment's E(VMWARE_PORT) when unset.
            type: int
            default: 443
          validate_certs:
            description: Whether the certificate must be trusted. The environment's E(VMWARE_VALIDATE_CERTS) when unset.
            type: bool
            default: true
          ca_path:
            description: PEM file of the authority that signed the certificate, where the system does not know it.
            type: path
      find:
        description: How servers are found among virtual machines, as O(lowtide.fleet.standby#module:find) has it.
        type: dict
        default: {}
  marks:
    description:
      - Maintenance to note, so that forecasts and anomaly scores leave its samples out - an update, a boot, a move.
      - What a pool carries now counts all the same, for plans and gates.
      - The same mark twice is one.
    type: list
    elements: dict
    default: []
    suboptions:
      pool:
        description: The pool. Those that have the O(marks[].servers) when unset.
        type: str
      servers:
        description:
          - The servers that were touched. All of O(marks[].pool), and its total, when empty.
          - A mark of servers leaves the pool's total alone, for others carry their load meanwhile. Mark the pool where its
            total is disturbed too.
        type: list
        elements: str
        default: []
      from:
        description: When it began, ISO 8601.
        type: str
        required: true
      to:
        description: When it ended, ISO 8601. O(now) when unset.
        type: str
      why:
        description: What it was.
        type: str
        default: maintenance
  health:
    description:
      - Whether to report how many days the history holds of each pool and metric, and whether that is enough to forecast.
      - Not in check mode.
    type: bool
    default: true
  step:
    description: Spacing of the grid. It must divide a day.
    type: str
    default: 5m
  window:
    description: How far back to fetch what was never fetched.
    type: str
    default: 30d
  overlap:
    description: How far back to look again for samples that came in late.
    type: str
    default: 1h
"""

EXAMPLES = r"""
- name: Collect requests and CPU from Prometheus
  lowtide.fleet.collect:
    history: {path: "{{ playbook_dir }}/history.duckdb"}
    pools: "{{ lowtide_pools }}"
    sources:
      - type: prometheus
        url: https://prometheus.example
        username: lowtide
        password: "{{ prometheus_password }}"
        queries:
          requests: sum by (instance) (rate(http_requests_total[5m]))
          cpu: {query: node_load1, aggregation: max}

- name: Load last month from files
  lowtide.fleet.collect:
    history: {path: "{{ playbook_dir }}/history.duckdb"}
    pools: "{{ lowtide_pools }}"
    now: "2026-02-01T00:00:00Z"
    sources:
      - type: files
        paths: ["{{ playbook_dir }}/january-*.csv"]
        columns: {time: timestamp, server: host}
        metrics: {requests: requests_per_second}

- name: Store what host_metrics returned on each host, and mark an update that just ended
  lowtide.fleet.collect:
    history: {path: "{{ playbook_dir }}/history.duckdb"}
    pools: "{{ lowtide_pools }}"
    sources:
      - type: inline
        samples: "{{ ansible_play_hosts | map('extract', hostvars, ['host', 'samples']) | flatten }}"
    marks:
      - {pool: web, servers: [web1, web2], from: "{{ update_started }}", why: update}
"""

RETURN = r"""
collected:
  description: What each source had, by pool and metric.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: The source's address, or its file.
      type: str
    pool:
      description: The pool.
      type: str
    metric:
      description: The metric.
      type: str
    unit:
      description: Its unit, or none where the source names none.
      type: str
    servers:
      description: How many servers have samples among what was fetched.
      type: int
    samples:
      description: How many samples are new, or differ from what the history held.
      type: int
    newest:
      description: Stamp of the newest sample fetched.
      type: str
    missing:
      description: How many samples are missing between the first and the last one fetched of each server.
      type: int
    gaps:
      description: The first twenty runs of missing samples, each with C(server), C(from), C(to) and C(missing).
      type: list
      elements: dict
  sample:
    - source: https://prometheus.example
      pool: web
      metric: requests
      unit: 1/s
      servers: 8
      samples: 69117
      newest: "2026-02-01T00:00:00Z"
      missing: 3
      gaps: [{server: web3, from: "2026-01-12T04:05:00Z", to: "2026-01-12T04:15:00Z", missing: 3}]
marked:
  description: How many marks are new.
  returned: success
  type: int
  sample: 0
health:
  description: What the history holds, by pool and metric - the metric that scales each pool, and all that are collected.
  returned: when O(health) is V(true)
  type: list
  elements: dict
  contains:
    pool:
      description: The pool.
      type: str
    metric:
      description: The metric.
      type: str
    unit:
      description: Its unit, as a source named it when it was collected, or none.
      type: str
    servers:
      description: How many servers of the pool have samples.
      type: int
    servers_wanted:
      description: How many servers the pool has, standbys not counted.
      type: int
    total:
      description: Whether the history holds the pool's total, which then counts alone.
      type: bool
    days:
      description: Days from the oldest to the newest sample.
      type: float
    samples:
      description: How many samples there are.
      type: int
    missing:
      description: How many are missing between the oldest and the newest of each series.
      type: int
    gaps:
      description: In how many runs they are missing.
      type: int
    oldest:
      description: Stamp of the oldest sample.
      type: str
    newest:
      description: Stamp of the newest sample.
      type: str
    age_seconds:
      description: How old the newest sample is.
      type: int
    fresh:
      description: Whether it is at most three steps old.
      type: bool
    enough:
      description: Whether there are two weeks of all servers, or of the total, with less than a fifth missing.
      type: bool
  sample:
    - pool: web
      metric: requests
      unit: 1/s
      servers: 8
      servers_wanted: 8
      total: false
      days: 30.0
      samples: 69117
      missing: 3
      gaps: 1
      oldest: "2026-01-02T00:05:00Z"
      newest: "2026-02-01T00:00:00Z"
      age_seconds: 12
      fresh: true
      enough: true
words:
  description: The same in plain sentences.
  returned: success
  type: list
  elements: str
  sample: ["requests of web: 69117 samples stored, 8 servers, up to 2026-02-01T00:00:00Z; 3 are missing in gaps."]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.collect import collect


def main() -> None:
    """Run the module."""
    face.run(collect, options.COLLECT)


if __name__ == "__main__":
    main()
