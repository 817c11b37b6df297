# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import decimal
import json

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import face
from hypothesis import given, settings
from hypothesis import strategies as st

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(max_examples=40)
@given(trees)
def test_what_json_knows_passes_unchanged(value):
    assert face.plain(value) == value
    assert json.loads(json.dumps(face.plain(value), allow_nan=False)) == value


@pytest.mark.parametrize(
    "value",
    [
        np.float32(1),
        np.int64(1),
        np.bool_(True),
        np.array([1.0]),
        decimal.Decimal(1),
        {1},
        object(),
    ],
)
def test_any_other_type_is_refused_however_deep(value):
    for place in (value, [value], {"a": [{"b": value}]}):
        with pytest.raises(TypeError, match=type(value).__name__):
            face.plain(place)


def test_a_float64_of_numpy_becomes_a_float():
    (value,) = face.plain({"a": [np.float64(1.5)]})["a"]
    assert value == 1.5
    assert not isinstance(value, np.float64)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="in a result"):
        face.plain({"a": [value]})


def test_tuples_become_lists_and_keys_become_text():
    assert face.plain({1: (1, 2)}) == {"1": [1, 2]}
