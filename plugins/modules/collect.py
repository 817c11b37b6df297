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
    description: Where to collect from, one after the other.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description:
          - V(prometheus) is a server that speaks the Prometheus API, at O(sources[].url).
          - V(files) are CSV and Parquet files, at O(sources[].paths).
        type: str
        choices: [prometheus, files]
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
          - What to read from the files, by metric name, as text or as a dictionary with C(column), C(aggregation) and C(unit).
          - The text names a column of its own, or, in files with one sample per row, the value in the column C(metric).
        type: dict
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
      servers: 8
      samples: 69117
      newest: "2026-02-01T00:00:00Z"
      missing: 3
      gaps: [{server: web3, from: "2026-01-12T04:05:00Z", to: "2026-01-12T04:15:00Z", missing: 3}]
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
