#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: forecast
short_description: The load of pools and servers ahead, with quantiles
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - Reads what pools carried from the history and says what they will carry, as quantiles, how good such forecasts were
    before, and what repeating the day before would have been worth.
  - A series that is short, constant, gappy or absurd gets a wide answer and a warning, and doesn't disturb the others.
    A pool without a single sample is an error that names it.
options:
  compare:
    description:
      - Whether to put the samples that came beside the forecast, in RV(forecasts[].actual) and RV(forecasts[].error).
      - Needs O(now) in the past, to make the forecast as it was made then. An error where nothing came yet.
    type: bool
    default: false
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with O(history.type=duckdb))
  - statsmodels >= 0.14 (with O(model=arima) and O(model=ets))
  - scikit-learn >= 1.4 (with O(model=gbm))
  - torch >= 2.2 (with O(model=lstm))
extends_documentation_fragment:
  - lowtide.fleet.forecast
  - lowtide.fleet.pools
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - plugin: lowtide.fleet.forecast
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: What the web servers will carry in the next day
  lowtide.fleet.forecast:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    pool: [web]
  register: ahead

- name: Say it
  ansible.builtin.debug:
    msg: "{{ ahead.words }}"

- name: Every server over the next two hours, as it was seen at six that morning
  lowtide.fleet.forecast:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    per_server: true
    horizon: 2h
    now: "2026-01-31T06:00:00Z"
    compare: true

- name: The next week by five minutes and by hours, which agree
  lowtide.fleet.forecast:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    horizon: 7d
    coarser_steps: [1h]
"""

RETURN = r"""
forecasts:
  description:
    - One for each pool, in the order of O(pools), each followed by those of its servers with O(per_server=true).
    - Servers without a sample in O(history_window) have none.
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
      description: What is forecast, the pool's C(load.metric).
      type: str
      returned: always
    unit:
      description: The load's unit, from the pool or from the history, or none where neither says it.
      type: str
      returned: always
    step_seconds:
      description: The spacing of the values, in seconds.
      type: int
      returned: always
    start:
      description: When the first step ahead ends, ISO 8601 in UTC; a value describes the step that ends at its time.
      type: str
      returned: always
    quantiles:
      description:
        - Values ahead by quantile, in load units, one list for each of O(quantiles). V(0.5), the median, is always
          there; it is all there is for a server.
      type: dict
      returned: always
    model:
      description: The model, or models, that carried weight; which stretch ahead each did is in RV(forecasts[].backtest).
      type: str
      returned: always
    samples:
      description: Samples it is based on.
      type: int
      returned: always
    missing:
      description: Samples missing in O(history_window).
      type: int
      returned: always
    left_out:
      description: Samples left out because they are marked as maintenance, see O(lowtide.fleet.collect#module:marks).
      type: int
      returned: always
    backtest:
      description:
        - How good forecasts made the same way at earlier moments were. A figure the history can't tell is none.
      type: dict
      returned: always
      contains:
        mase:
          description: Mean absolute error, relative to that of repeating the day before, within the history.
          type: float
          returned: always
        wql:
          description: Quantile loss over O(quantiles), relative to the mean load.
          type: float
          returned: always
        wape:
          description: Mean absolute error, relative to the mean load.
          type: float
          returned: always
        seasonal_naive_mase:
          description: The same figure of the model that repeats the day before.
          type: float
          returned: always
        seasonal_naive_wql:
          description: The same figure of the model that repeats the day before.
          type: float
          returned: always
        seasonal_naive_wape:
          description: The same figure of the model that repeats the day before.
          type: float
          returned: always
        by_horizon:
          description: The stretches ahead that are told apart, and what carried each.
          type: list
          elements: dict
          returned: always
          contains:
            until_seconds:
              description: Where the stretch ends, in seconds ahead. It begins where the one before ends.
              type: int
              returned: always
            model:
              description: The model that carried it, or both, joined by C(and).
              type: str
              returned: always
            mase:
              description: The figure above, within the stretch.
              type: float
              returned: always
            seasonal_naive_mase:
              description: The same figure of the model that repeats the day before.
              type: float
              returned: always
        coverage:
          description: By quantile, the share of values that were at or below it. An honest V(0.9) has V(0.9).
          type: dict
          returned: always
        windows:
          description: How many earlier moments were tested.
          type: int
          returned: always
        days:
          description: How many days the tested moments cover.
          type: float
          returned: always
    coarser:
      description: The same load at each of O(coarser_steps), rising, of their steps that lie wholly ahead.
      type: list
      elements: dict
      returned: with O(coarser_steps)
      contains:
        step_seconds:
          description: The spacing of the values, in seconds.
          type: int
          returned: always
        start:
          description: When the first step ends, as in RV(forecasts[].start); steps begin at whole multiples of themselves in UTC.
          type: str
          returned: always
        quantiles:
          description:
            - As RV(forecasts[].quantiles). V(0.5) is the mean of V(0.5) of the finer steps; the others are told from
              samples of the coarser step, and are not means of the finer steps' quantiles.
          type: dict
          returned: always
        model:
          description: What the median is from, the mean of finer steps or the model of the coarser samples.
          type: str
          returned: always
        backtest:
          description: As RV(forecasts[].backtest), at the coarser step.
          type: dict
          returned: always
    actual:
      description: The samples that came, none where one is missing.
      type: list
      elements: float
      returned: with O(compare=true)
    error:
      description: Mean absolute error of the median, relative to the mean of the samples that came.
      type: float
      returned: with O(compare=true)
    warnings:
      description: What the reader of this forecast must know.
      type: list
      elements: str
      returned: always
    words:
      description: The forecast in a sentence, for the person on call.
      type: str
      returned: always
words:
  description: The sentence of each forecast.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import forecast


def main() -> None:
    """Run the module."""
    face.run(forecast.forecast, forecast.SPEC)


if __name__ == "__main__":
    main()
