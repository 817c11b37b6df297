#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic_shift
short_description: Moves traffic between members of a balancer in steps, and back when figures get worse
version_added: 0.1.0
description:
  - Raises the weights of O(receivers) and lowers those of O(donors), step by step. Each step is watched until it is safe to go on.
  - A gate that is breached, or a step that is in doubt for longer than O(patience), gives all of them the state and weight from before.
  - Little traffic and missing figures hold a step, for O(patience). What becomes of it then, O(thin) says.
  - Without O(receivers), donors give their traffic to all other members, whose figures are watched then.
  - The evidence of a gate is a mixture sequential probability ratio test, which may be looked at after every reading; it is
    described at O(false_alarm_rate).
  - In a playbook each step is printed as it ends.
author:
  - "The Lowtide authors (@lowtide)"
extends_documentation_fragment:
  - lowtide.fleet.attributes
  - lowtide.fleet.balancer
attributes:
  check_mode:
    support: full
    details: Returns the steps and weights; what the figures would be, it can't know.
  diff_mode:
    support: full
  idempotent:
    support: none
    details: Each run is a shift of its own.
options:
  receivers:
    description:
      - Members that get the traffic. They are made ready.
      - Without them, it goes to the members that are in service and are no donors; they are watched, and their weights stay.
    type: list
    elements: str
    default: []
  donors:
    description:
      - Members that give it, down to a weight of 0 at the end.
      - Without them, receivers only rise to their full weight.
      - Their state stays as it is, and requests under way go on; M(lowtide.fleet.balancer_pool) takes them out then.
    type: list
    elements: str
    default: []
  steps:
    description: Rising shares of the receivers' full weight. Donors keep the rest of what theirs was.
    type: list
    elements: str
    default: [5%, 25%, 50%, 100%]
  pause:
    description: How long after a change of weights figures are not looked at yet.
    type: str
    default: 2s
  bake:
    description: How long each step is watched at least.
    type: str
    default: 60s
  patience:
    description: How long a step may last until it is undone. Never less than O(bake).
    type: str
    default: 10m
  every:
    description: Time between readings.
    type: str
    default: 2s
  baseline:
    description:
      - How long the donors are watched before the shift; without them or without receivers, the other members in service.
      - What the balancer has counted since it started is taken for the error rate before, where that says more.
    type: str
    default: 10s
  restore_timeout:
    description:
      - How long to try to set the weights from before when the balancer fails in mid-shift or the run is interrupted.
      - The task fails then, and says what state the members of each instance are in.
    type: str
    default: 30s
  min_requests:
    description:
      - Requests that the receivers (or, without them, the others in service) must have answered in a step before it is passed.
      - Where fewer were answered before the shift, a limit relative to it is O(gates[].least).
    type: int
    default: 100
  thin:
    description:
      - What becomes of a step that lacks nothing but requests at the end of O(patience).
      - V(undo) gives all the weight from before. V(pass) goes on, if those that are watched are up and no gate is in doubt, so
        that little traffic slows a shift and does not end it. Neither passes a figure that is missing.
      - V(pass) does not wait for O(patience) to end once O(min_requests) are out of reach by then at the traffic seen so far.
    type: str
    choices: [undo, pass]
    default: undo
  gates:
    description: Figures that must stay good. The error rate, at most twice what it was before, when nothing is given.
    type: list
    elements: dict
    default: [{metric: error_rate, ratio: 2.0}]
    suboptions:
      metric:
        description:
          - V(error_rate) (share of requests), V(latency_ms) (mean) or V(queue) as the balancer tells them of the receivers; or any
            name for the figure of O(gates[].query).
          - HAProxy tells all three. Envoy tells the error rate. For a quantile of the latency, use a query.
          - The queue is that of the receivers and that of the backend as a whole.
        type: str
        required: true
      query:
        description: PromQL that gives one number, asked at O(prometheus).
        type: str
      below:
        description: An absolute limit.
        type: float
      ratio:
        description:
          - A limit relative to what was before the shift, or to O(gates[].forecast).
          - For the error rate, 'before' is the upper end of its 95 % interval, and the limit is never above 0.5.
        type: float
      forecast:
        description: What the figure should be at this hour, for O(gates[].ratio).
        type: float
      least:
        description: A relative limit is never lower than this.
        type: float
        default: 0.001
      tolerance:
        description: For all but the error rate, the share of readings of a healthy system that may be over the limit.
        type: float
        default: 0.05
  false_alarm_rate:
    description:
      - Greatest chance that a healthy shift is undone by its gates, whole and however often one looks; shared by the gates.
      - Healthy means that, whatever came before, a request fails with at most the limit's probability, and a reading is over its
        limit with at most the probability in O(gates[].tolerance).
    type: float
    default: 0.01
  capacity:
    description: Before each step, the receivers must have room for their share of the demand ahead. Not looked at when unset.
    type: dict
    suboptions:
      server_capacity:
        description: Load units that one receiver carries.
        type: float
        required: true
      target_utilization:
        description: Share of it to plan with.
        type: float
        default: 0.7
      demand:
        description: Demand of the whole backend.
        type: float
      forecasts:
        description: Instead of it, the forecasts of one pool, as M(lowtide.fleet.forecast) returns them; their peak is used.
        type: list
        elements: dict
        default: []
      quantile:
        description: Which quantile of the forecasts.
        type: str
        default: "0.9"
  prometheus:
    description: The Prometheus API that queries are asked at.
    type: dict
    suboptions:
      url:
        description: Its base address, without C(/api/v1).
        type: str
        required: true
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
        description: PEM file of the authority that signed the server's certificate.
        type: path
      timeout:
        description: How long one request may take.
        type: str
        default: 30s
  progress:
    description:
      - RV(progress) of the call before, to make the next step only; an empty dictionary to begin so.
      - The action plugin uses it to print each step as it ends.
    type: dict
"""

EXAMPLES = r"""
- name: Move web from the old servers to the new
  lowtide.fleet.traffic_shift:
    socket: [tcp://lb1:9999]
    backend: web
    donors: [web1, web2]
    receivers: [web3, web4]
    steps: [5%, 25%, 50%, 100%]
    bake: 60s
    gates:
      - {metric: error_rate, ratio: 2}
      - {metric: latency_ms, ratio: 1.5}
      - metric: p95_seconds
        query: histogram_quantile(0.95, sum by (le) (rate(request_seconds_bucket{version="2"}[1m])))
        below: 0.3
    prometheus: {url: "https://prometheus.example"}
    capacity: {server_capacity: 450, demand: 612}
  delegate_to: localhost
  register: shift
  failed_when: shift is failed or shift.rolled_back
"""

RETURN = r"""
finished:
  description: Whether the shift is at its end, good or bad.
  returned: success
  type: bool
rolled_back:
  description: Whether the weights from before were set again.
  returned: success
  type: bool
steps:
  description: Each step that was made, with its weights, the verdict, the reasons, and per gate limit, value and evidence.
  returned: success
  type: list
  elements: dict
  sample:
    - share: 0.05
      weights: {web3: 5, web1: 95}
      verdict: go
      reasons: []
      seconds: 60.1
      requests: 1502
      gates: {error_rate: {limit: 0.001, value: 0.0, readings_missing: 0, log_evidence: -0.9}}
progress:
  description: What a further call needs to go on; not in check mode.
  returned: when not in check mode
  type: dict
words:
  description: What was done, one sentence per step.
  returned: success
  type: list
  elements: str
  sample: ["5%: web3 5, web1 95; 1502 requests in 60 s, error_rate 0 (limit 0.001): passed."]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face, options
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.traffic_shift import traffic_shift


def main() -> None:
    face.run(traffic_shift, options.TRAFFIC_SHIFT)


if __name__ == "__main__":
    main()
