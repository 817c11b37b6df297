# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused before anything is shifted; all else is tested on a real balancer."""

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import traffic_shift

GATE = {"metric": "latency_ms", "query": None, "below": 100.0, "ratio": None, "forecast": None, "least": 0.001}
GATE |= {"tolerance": 0.05}


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ([{"tolerance": 0.0}], r"gates\[0\]\.tolerance: 0 is no share of readings"),
        ([{"tolerance": 1.0}], r"gates\[0\]\.tolerance: 1 is no share"),
        ([{"tolerance": float("nan")}], r"gates\[0\]\.tolerance: nan is no share"),
        ([{"below": float("nan")}], r"gates\[0\]\.below: nan is no limit"),
        ([{}, {"metric": "error_rate", "ratio": float("inf")}], r"gates\[1\]\.ratio: inf is no limit"),
        ([{}, {"below": 200.0}], r"gates\[1\]\.metric: 'latency_ms' is named twice"),
    ],
)
def test_gates_that_tell_nothing_are_refused(gates, message):
    with pytest.raises(InvalidOption, match=message):
        traffic_shift.check_gates([GATE | gate for gate in gates])


def test_gates_that_tell_something():
    traffic_shift.check_gates([GATE, GATE | {"metric": "error_rate", "below": None, "ratio": 2.0}])
