#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backtest
short_description: How a pool would have been scaled in its past, and what that would have cost
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Replays the history of each pool under its own rules, and beside them under others - reactive, as Kubernetes'
    HorizontalPodAutoscaler computes it, at the pool's target utilization and at the headroom that costs least; all that
    the peak needs, all the time; what the day before needed, but never less than the newest demand; and an oracle, which
    knows what comes, and has after each decision the fewest with which nothing is ever short; the hold does not bind it.
  - At every step only what was known by then is used. Between the forecast and the newest demand it is chosen as in
    M(lowtide.fleet.scaling_plan), at each step anew. Standbys carry load after C(standby.lead_time), and are kept for
    O(hold) or C(standby.min_awake), whichever is longer. The pool's own servers are always on, and it never has more than those
    and its standbys.
  - The first 14 days, or half of a shorter history, are learned from and not judged.
  - It recommends C(slo.quantile) and C(load.target_utilization) where others would have cost clearly less.
  - Where the pool has C(rules), those are replayed, on the utilization predicted.
options:
  step:
    description: The spacing of decisions, and of the samples they are made from.
    type: str
    default: 5m
  history_window:
    description: How far to look back. Less than four days of samples are refused.
    type: str
    default: 30d
  hold:
    description: How long a standby is kept after it was last wanted, under every policy but the oracle.
    type: str
    default: 15m
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with O(history.type=duckdb))
seealso:
  - module: lowtide.fleet.scaling_plan
  - module: lowtide.fleet.standby_sizing
  - module: lowtide.fleet.report
"""

EXAMPLES = r"""
- name: Try the rules on the past
  lowtide.fleet.backtest:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
  register: backtest

- name: Say how they did
  ansible.builtin.debug:
    msg: "{{ backtest.words }}"

- name: Show it beside the others
  lowtide.fleet.report:
    dest: /tmp/backtest.html
    backtest: "{{ backtest }}"
"""

RETURN = r"""
pools:
  description: What the replay of each pool showed, by name.
  type: dict
  returned: success
  contains:
    policies:
      description:
        - Figures by policy, V(lowtide), V(reactive), V(reactive_best_headroom), V(static_peak), V(seasonal_naive) and
          V(oracle).
        - C(theta_u) and C(theta_o) are the mean under- and oversupply relative to the servers needed, C(tau_u) and C(tau_o) the
          share of time with too few and too many, C(adaptations_per_hour) how often the number of servers changed.
        - C(server_hours) counts servers that were powered on, boots included; C(relative_hours) is that relative to the demand in
          servers' worth; C(overload_minutes) is time with too few; C(cost) is of servers and overload.
      type: dict
      returned: always
    spared_overload_minutes:
      description: Overload under reactive, less that under the pool's own rules, in minutes.
      type: float
      returned: always
    mode:
      description: What M(lowtide.fleet.scaling_plan) does at the end of that past, V(predictive) or V(reactive).
      type: str
      returned: always
    reactive_share:
      description: The share of the time judged in which reactive had cost less lately, so that plans went reactive.
      type: float
      returned: always
    best_headroom:
      description: The headroom at which reactive costs least.
      type: float
      returned: always
    recommended:
      description: Whether to C(change), to which C(slo.quantile) and C(load.target_utilization), and the C(cost) then.
      type: dict
      returned: always
    scored_days:
      description: The days that were judged.
      type: float
      returned: always
policies:
  description: The figures of all pools, by pool and policy, as M(lowtide.fleet.report) shows them.
  type: dict
  returned: success
words:
  description: What it showed, in sentences.
  type: list
  elements: str
  returned: success
  sample: ["web: over 16 days 35 min of overload and 1204 server-hours, reactive 240 min and 1231, an oracle 0 min and 1020"]
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import backtest


def main() -> None:
    face.run(backtest.backtest, backtest.SPEC)


if __name__ == "__main__":
    main()
