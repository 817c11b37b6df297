# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An event source for ansible-rulebook: one event when an anomaly begins, changes or ends."""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import sys
import types
import typing as t

DOCUMENTATION = r"""
short_description: An event when an anomaly of a pool or server begins, changes or ends
description:
  - Looks at the newest samples of the pools every O(interval) and puts one event for each anomaly that begins, changes or
    ends. One incident is one anomaly, however often it is looked at.
  - An event has C(change) with V(begun), V(changed) or V(ended), and C(anomaly) as the module
    M(lowtide.fleet.anomalies) returns it. What is none there is left out, C(server) of a pool as a whole for example.
  - When the history can't be read, C(change) is V(blind) and C(problem) says why, once; when it can be read again, C(change)
    is V(sighted). It goes on looking. Options that are wrong end it at once.
  - After a restart, anomalies that go on are told as begun again.
options:
  interval:
    description: The time between two looks. The spacing of the samples is a good one.
    type: str
    default: 5m
  history:
    description: Where the series are kept, as in the module M(lowtide.fleet.anomalies).
    type: dict
    required: true
  pools:
    description: The pools, by name, as in the module M(lowtide.fleet.anomalies).
    type: dict
    required: true
notes:
  - All other options of the module M(lowtide.fleet.anomalies), except O(now), are options of the event source too, with
    the same defaults.
requirements:
  - numpy >= 1.26
  - duckdb >= 1.1 (with a history of type C(duckdb))
"""

EXAMPLES = r"""
- lowtide.fleet.anomalies:
    interval: 5m
    false_alarms: 0.5
    history:
      type: duckdb
      path: /var/lib/lowtide/history.duckdb
    pools: "{{ lowtide_pools }}"
"""

# ansible-rulebook runs this file by its path. The collection has no name there, and where PyPI's ansible is installed can't
# get it: so the plugins' folder gets one that nobody else has.
COLLECTION = pathlib.Path(__file__).absolute().parents[4]
sys.modules.setdefault("lowtide_fleet", types.ModuleType("lowtide_fleet")).__path__ = [str(COLLECTION / "plugins")]

from lowtide_fleet.module_utils import face  # noqa: E402
from lowtide_fleet.module_utils.operations import anomaly_events  # noqa: E402


async def main(queue: asyncio.Queue[t.Any], args: dict[str, t.Any]) -> None:
    """Put events until it is cancelled.

    :raises LowtideError: on an option that is wrong, naming it.
    """
    params, interval = anomaly_events.asked_for(args)
    watch = anomaly_events.Watch(params)
    loop = asyncio.get_running_loop()
    while True:
        start = loop.time()
        # Off the loop: other sources and the rules go on meanwhile.
        changes = await asyncio.to_thread(watch.look, datetime.datetime.now(datetime.UTC))
        for change in changes:
            await queue.put(face.plain(anomaly_events.event(change)))
        await asyncio.sleep(max(start + interval - loop.time(), 0))
