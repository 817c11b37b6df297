#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Forecasts, plans and traffic as pictures, in one HTML file
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Writes one HTML file that is whole in itself. It opens without a network, and is legible on a light and on a dark
    screen.
  - It shows what it is given. What is left out has no section.
  - The same inputs make the same file, down to the byte, as long as O(now), O(plan) or O(update_plan) say for which
    moment they were made.
  - It computes where it runs. Run it on the controller.
options:
  history:
    description:
      - Where the series of the pools are kept. With it, and O(pools), the pictures of O(forecasts) show what was
        measured before.
    required: false
  pools:
    description:
      - The pools, by name, as in the other modules. They give the pictures their units, time zones and the capacity in
        service.
    required: false
  pool:
    description: Names of the pools to show. All of them when empty.
  now:
    description:
      - The moment the report is for, ISO 8601; UTC unless it has an offset.
      - That of O(plan) or O(update_plan) when unset, or the present.
  dest:
    description: The HTML file to write. Its folder must exist.
    type: path
    required: true
  title:
    description: The heading of the page.
    type: str
    default: Fleet report
  time_zone:
    description:
      - The time zone of what is not about one pool, such as V(Europe/Berlin).
      - That of the pools when unset, if they share one, or UTC.
    type: str
  history_tail:
    description: How much of the history to show before each forecast.
    type: str
    default: 2d
  forecasts:
    description: The forecasts, as M(lowtide.fleet.forecast) or M(lowtide.fleet.scaling_plan) returns them.
    type: list
    elements: dict
    default: []
  plan:
    description: The scaling plan, as M(lowtide.fleet.scaling_plan) returns it.
    type: dict
  update_plan:
    description: The update plan, as M(lowtide.fleet.update_plan) returns it.
    type: dict
  traffic:
    description:
      - CSV files with the traffic, second by second.
      - Their columns are C(time) (epoch seconds), C(path), C(sent), C(failed), C(p50_ms) and C(p95_ms), with one line per
        second and path.
    type: list
    elements: path
    default: []
  marks:
    description: What happened when, to mark in the pictures of O(traffic).
    type: list
    elements: dict
    default: []
    suboptions:
      time:
        description: When it happened or began, ISO 8601.
        type: str
        required: true
      end:
        description: When it ended, for what lasted.
        type: str
      label:
        description: What it was.
        type: str
        required: true
  anomalies:
    description:
      - What was out of the ordinary, most of all first. Each has C(pool), C(metric), C(since) (ISO 8601) and C(score), and
        may have C(server) and C(direction).
    type: list
    elements: dict
    default: []
  backtest:
    description:
      - How policies would have done. C(policies) holds, by name of the policy, its figures by name; C(words) are
        sentences about them.
    type: dict
  words:
    description: Sentences to open the page with, for example those that other modules returned.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The difference between two pages of pictures tells a reader nothing.
  idempotent:
    support: full
requirements:
  - matplotlib >= 3.8
  - jinja2 >= 3.1
seealso:
  - module: lowtide.fleet.forecast
  - module: lowtide.fleet.scaling_plan
  - module: lowtide.fleet.update_plan
"""

EXAMPLES = r"""
- name: Plan
  lowtide.fleet.scaling_plan:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
  register: scaling

- name: Show the forecasts and the plan
  lowtide.fleet.report:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    forecasts: "{{ scaling.forecasts }}"
    plan: "{{ scaling.plan }}"
    words: "{{ scaling.words }}"
    dest: "{{ playbook_dir }}/report.html"
"""

RETURN = r"""
dest:
  description: The file.
  type: str
  returned: success
  sample: /srv/reports/fleet.html
size:
  description: Its size in bytes.
  type: int
  returned: success
  sample: 214016
words:
  description: Where the report is, in a sentence.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import report


def main() -> None:
    """Run the module."""
    face.run(report.report, report.SPEC)


if __name__ == "__main__":
    main()
