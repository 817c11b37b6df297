# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.history.prometheus import _SELECTOR, _pairs, _taken_apart


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_answers_are_taken_apart_without_a_change(separators):
    values = [[1000, "1.5"], [1300.25, "NaN"], [1600, "+Inf"], [1900, "-2e-3"]]
    result = [
        {"metric": {"instance": 'odd "values":[[1,2]] name'}, "values": values},
        {"metric": {}, "values": values[:1]},
        {"metric": {}, "values": []},
    ]
    body = json.dumps({"data": {"result": result}}, separators=separators).encode()
    samples, frame = _taken_apart(body)
    answer = json.loads(frame)["data"]["result"]
    assert [item["metric"] for item in answer] == [item["metric"] for item in result]
    for item, given in zip(answer, result, strict=True):
        expected = np.array(given["values"], dtype=float).reshape(-1, 2)
        np.testing.assert_array_equal(_pairs(item["values"], samples), expected)


@pytest.mark.parametrize("text", [b'1000,"x"', b'1000,"1"],[1300', b'1000,"1"],["y","2"'])
def test_samples_that_are_no_numbers_are_refused(text):
    with pytest.raises(ValueError):
        _pairs(0, [text])


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("requests", True),
        ('node_load1{job="node",x=~"a}b"}', True),
        ('{__name__="x"}', True),
        ("sum(requests)", False),
        ("a + b", False),
        ('a{b="c"} + d{e="f"}', False),
        ("rate(a[5m])", False),
    ],
)
def test_plain_selectors_are_told_from_expressions(query, plain):
    assert bool(_SELECTOR.fullmatch(query)) is plain
