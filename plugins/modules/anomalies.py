#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: anomalies
short_description: What is strange in pools and servers, since when, and how far from what was expected
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Reads what pools and their servers carried from the history and flags what is unlike all that came before.
  - One incident is one flag. It begins with the first strange sample, ends after an hour of expected ones, and is over
    after a day at most, when what was strange has become the new normal.
  - What O(lowtide.fleet.collect#module:marks) says was maintenance is neither flagged nor learned from.
  - A pool without history is named in RV(without_history) and in a warning, and the others are looked at; it fails when
    none has a history.
  - A series is not flagged during its first day, nor one that never moved. A missing or infinite sample is no anomaly;
    O(detector=flat_line) finds those.
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with O(history.type=duckdb))
  - scikit-learn >= 1.4 (with O(detector=isolation_forest) or O(detector=one_class_svm))
extends_documentation_fragment:
  - lowtide.fleet.anomalies
  - lowtide.fleet.pools
  - lowtide.fleet.attributes
  - lowtide.fleet.attributes.reads
seealso:
  - plugin: lowtide.fleet.anomalies
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: What is strange in the web servers
  lowtide.fleet.anomalies:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    pool: [web]
  register: strange

- name: Say it
  ansible.builtin.debug:
    msg: "{{ strange.words }}"

- name: Go no further while the pool is anomalous
  ansible.builtin.assert:
    that: not strange.pools.web.anomalous

- name: The server that misbehaves while its pool is fine, the deploy of that morning left out
  lowtide.fleet.anomalies:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    detector: peers
    false_alarms: 0.5
    silent:
      - name: deploy
        start: "2026-01-31T06:00:00Z"
        end: "2026-01-31T06:40:00Z"
        pools: [web]
"""

RETURN = r"""
anomalies:
  description: One for each incident that goes on or ended within O(since), the newest first.
  type: list
  elements: dict
  returned: success
  contains:
    pool:
      description: The pool.
      type: str
      returned: always
    server:
      description: The server, or none for the pool as a whole.
      type: str
      returned: always
    metric:
      description: The metric.
      type: str
      returned: always
    unit:
      description: Its unit, from the pool or from the history, or none where neither says it.
      type: str
      returned: always
    since:
      description: When it began, ISO 8601 in UTC.
      type: str
      returned: always
    until:
      description: When it was over, ISO 8601 in UTC, or none while it goes on.
      type: str
      returned: always
    open:
      description: Whether it goes on.
      type: bool
      returned: always
    duration_seconds:
      description: How long it lasted, or has lasted so far.
      type: int
      returned: always
    score:
      description: The highest score in it, between 0.5 and 1, comparable across series.
      type: float
      returned: always
    direction:
      description: V(high) or V(low), or V(unusual) for a value within the expected range that is strange all the same.
      type: str
      returned: always
    value:
      description: The value farthest out of the expected range, or none where samples are missing.
      type: float
      returned: always
    expected:
      description: The range expected when it began.
      type: dict
      returned: always
      contains:
        low:
          description: Lower bound, or none where nothing was expected.
          type: float
          returned: always
        high:
          description: Upper bound, or none where nothing was expected.
          type: float
          returned: always
    unusual:
      description: How the newest hour of it differs from the same hour of all days before, at most 14, where
        RV(anomalies[].direction) is V(unusual); none where it does not.
      type: dict
      returned: always
      contains:
        what:
          description: V(mean), or V(spread), its standard deviation.
          type: str
          returned: always
        over_seconds:
          description: How long that is taken over, an hour, or six steps where these are longer.
          type: int
          returned: always
        now:
          description: That of the hour.
          type: float
          returned: always
        usual:
          description: The median of the days before.
          type: float
          returned: always
    words:
      description: The anomaly in a sentence, for the person on call.
      type: str
      returned: always
pools:
  description: The state of each pool, by name, but of those in RV(without_history).
  type: dict
  returned: success
  contains:
    anomalous:
      description: Whether an anomaly of the pool as a whole goes on.
      type: bool
      returned: always
    open:
      description: How many anomalies go on, of the pool and its servers.
      type: int
      returned: always
    servers:
      description: The servers with an anomaly that goes on.
      type: list
      elements: str
      returned: always
    series:
      description: How many series were looked at.
      type: int
      returned: always
    left_out:
      description: Samples left out because they are marked as maintenance, see O(lowtide.fleet.collect#module:marks).
      type: int
      returned: always
    newest:
      description: Stamp of the newest sample, ISO 8601 in UTC.
      type: str
      returned: always
without_history:
  description: Why a pool can't be told of, by name of the pool; empty when all could be looked at.
  type: dict
  returned: success
  sample: {}
words:
  description: The sentence of each anomaly, and one for each pool that was looked at and has none.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import anomalies


def main() -> None:
    """Run the module."""
    face.run(anomalies.anomalies, anomalies.SPEC)


if __name__ == "__main__":
    main()
