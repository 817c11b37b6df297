# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import datetime
import json

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_plan

NOW = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
PLAN = {
    "kind": "update",
    "version": 1,
    "deadline": "2026-03-29T06:00:00Z",
    "window": {"start": "2026-03-29T02:00:00Z", "end": "2026-03-29T02:10:00Z"},
    "pools": ["web"],
    "hosts": ["w1", "w0", "w2"],
    "batches": [{"number": 1, "hosts": ["w1", "w0"]}, {"number": 2, "hosts": ["w2"]}],
    "standbys": {"activate": []},
}


def test_a_plan_comes_as_itself_in_a_result_or_in_a_file(tmp_path):
    path = tmp_path / "plan.json"
    for content in (PLAN, {"changed": False, "plan": PLAN}):
        assert update_plan.load(content) == PLAN
        path.write_text(json.dumps(content), encoding="utf-8")
        assert update_plan.load(str(path)) == PLAN


@pytest.mark.parametrize("content", ["", "{", None])
def test_a_file_that_can_not_be_read(tmp_path, content):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidOption, match=r"^plan: the plan can't be read from .*as JSON\.$"):
        update_plan.load(str(path))


@pytest.mark.parametrize("name", PLAN)
def test_a_plan_that_lacks_something_is_refused(name):
    with pytest.raises(InvalidOption, match="^plan: this is not an update plan of version 1"):
        update_plan.load({key: value for key, value in PLAN.items() if key != name})


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "scaling"},
        {"version": 2},
        {"deadline": "later"},
        {"window": {"start": "2026-03-29T02:00:00Z"}},
        {"hosts": ["w0", "w1", "w2"]},
        {"hosts": ["w1", "w0"]},
        {"hosts": [], "batches": []},
        {"batches": None},
        {"batches": [{}]},
        {"batches": [{"number": 1, "hosts": ["w1", "w0", "w2"]}, {"number": 2, "hosts": []}]},
        {"hosts": ["w1", "w1"], "batches": [{"number": 1, "hosts": ["w1", "w1"]}]},
    ],
)
def test_a_plan_that_was_tampered_with_is_refused(changes):
    with pytest.raises(InvalidOption, match="^plan: "):
        update_plan.load({**copy.deepcopy(PLAN), **changes})


@pytest.mark.parametrize("value", [None, 3, [], ["w1"], {}])
def test_what_is_no_plan_is_refused(value):
    with pytest.raises(InvalidOption, match="^plan: "):
        update_plan.load(value)


def test_a_deadline_is_a_time_or_a_duration_from_now():
    assert update_plan.deadline_at("6h", NOW) == NOW + datetime.timedelta(hours=6)
    assert update_plan.deadline_at("3600", NOW) == NOW + datetime.timedelta(hours=1)
    assert update_plan.deadline_at("2026-03-29T03:30:00+02:00", NOW) == timing.moment("2026-03-29T01:30:00Z")
    with pytest.raises(InvalidOption, match="^deadline: 'tonight' is not a time"):
        update_plan.deadline_at("tonight", NOW)
    with pytest.raises(InvalidOption, match="^deadline: "):
        update_plan.deadline_at("999999999999d", NOW)


@pytest.mark.parametrize("share", [-0.1, float("nan"), float("inf")])
def test_a_least_gain_that_is_no_share_is_refused(share):
    with pytest.raises(
        InvalidOption, match=r"^min_gain: .* is no share\. Give 0 or more, 0\.1 for a tenth for example"
    ):
        update_plan.update_plan({"simulate_weeks": 4, "min_gain": share}, check_mode=True)
