# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import math

import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.updates.room import Room
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
STEP = 300


def room(demand, servers, out, seconds):
    names = [f"w{number}" for number in range(servers)]
    update = {"max_unavailable": str(out)}
    pool = options.pools(
        {"web": {"servers": names, "load": {"metric": "requests", "server_capacity": 100}, "update": update}}
    )["web"]
    values = np.repeat(np.array(demand, dtype=float)[:, None], 2, axis=1)
    forecast = DemandForecast("web", np.array([0.5, 0.999]), values, NOW + datetime.timedelta(seconds=STEP), STEP)
    return Room(
        name="web", pool=pool, forecast=forecast, serving=servers, woken=0, ready=0.0, seconds=seconds,
        closed=np.empty((0, 2)), until=len(demand) * STEP,
    )  # fmt: skip


@given(st.data())
def test_no_batches_displace_less_than_the_floor(data):
    demand = data.draw(st.lists(st.floats(0, 1000), min_size=6, max_size=30))
    servers, out = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    seconds = float(data.draw(st.sampled_from([60, 200, 300, 420, 900])))
    subject = room(demand, servers, out, seconds)
    begin = float(data.draw(st.integers(0, 600)))
    moment, total, left = begin, 0.0, servers
    while left:
        moment += data.draw(st.floats(0, 400))
        size = data.draw(st.integers(1, min(out, left)))
        total += size * float(subject.cost(np.array([moment]))[0])
        moment, left = moment + seconds, left - size
    assert subject.floor(begin, moment) <= total + 1e-6


def test_the_floor_is_what_a_steady_load_displaces_and_says_where_there_is_no_time():
    subject = room([120.0] * 12, servers=4, out=2, seconds=300.0)
    assert subject.floor(0.0, 600.0) == subject.cost(np.array([0.0]))[0] * 4
    assert subject.floor(0.0, 300.0) == math.inf
