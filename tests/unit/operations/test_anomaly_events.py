# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import conftest
import numpy as np
import pytest
import yaml
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import anomaly_events
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

FLEET = conftest.link_collection() / "ansible_collections" / "lowtide" / "fleet"
SOURCE = FLEET / "extensions" / "eda" / "plugins" / "event_source" / "anomalies.py"
RULEBOOK = FLEET / "extensions" / "eda" / "rulebooks" / "anomalies.yml"
STEP = 900
DAY = 96
SERVERS = ["web1", "web2", "web3"]
POOLS = {"web": {"servers": SERVERS, "load": {"metric": "requests", "server_capacity": 450, "unit": "/s"}}}
START = datetime.datetime(2026, 1, 31, 6, 0, tzinfo=datetime.UTC)


@pytest.fixture
def fleet(tmp_path):
    """A history of eight calm days, written up to a moment, and the options to watch it."""
    random = np.random.default_rng(0)
    time = np.arange(9 * DAY)
    values = 200 + 60 * np.sin(2 * np.pi * time / DAY) + random.normal(0, 4, (3, len(time)))
    given = {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}
    spec = options.checked(given, options.HISTORY, "history")

    class Fleet:
        """Eight days before the start, one after it."""

        args = {"history": given, "pools": POOLS, "step": "15m", "false_alarms": 2.0}  # noqa: RUF012
        loads = values

        @staticmethod
        def moment(steps, start=START):
            return start + datetime.timedelta(seconds=STEP * steps)

        def write(self, steps, start=START):
            """Write the samples up to so many steps after the start."""
            end = self.moment(steps, start)
            keys = tuple(SeriesKey("web", server, "requests") for server in SERVERS)
            with history.open(spec, read_only=False) as store:
                store.write(Series(keys, self.loads[:, : 8 * DAY + steps], end, STEP))
            return end + datetime.timedelta(seconds=7)

    return Fleet()


def told(events):
    return [(event["change"], event["anomaly"]["server"]) for event in events]


def test_one_incident_is_told_when_it_begins_grows_and_ends(fleet):
    fleet.loads[1, 8 * DAY + 2 : 8 * DAY + 8] += 400
    fleet.loads[1, 8 * DAY + 5 : 8 * DAY + 8] += 3000
    params, _interval = anomaly_events.asked_for({**fleet.args, "metrics": ["requests"]})
    watch = anomaly_events.Watch(params)
    events = []
    for steps in (0, 3, 4, 6, 24, 30):
        new = watch.look(fleet.write(steps))
        events += [event for event in new if event["anomaly"]["server"] == "web2"]
    assert [event["change"] for event in events] == ["begun", "changed", "ended"]
    assert {event["anomaly"]["since"] for event in events} == {"2026-01-31T06:30:00Z"}
    assert events[0]["anomaly"]["open"] and not events[-1]["anomaly"]["open"]
    assert "2026-01-31T08:00:00Z" <= events[-1]["anomaly"]["until"] <= "2026-01-31T12:00:00Z"


def test_a_pool_that_goes_blind_is_told_once_and_the_others_are_watched(fleet):
    """Why names times, which move: it is one problem all the same."""
    fleet.loads[:, 8 * DAY + 2 :] = 0
    mail = {"servers": ["mail1"], "load": {"metric": "requests", "server_capacity": 450}}
    args = {**fleet.args, "pools": {**POOLS, "mail": mail}, "history_window": "9d", "false_alarms": 1.0}
    params, _interval = anomaly_events.asked_for(args)
    watch = anomaly_events.Watch(params)
    events = [event for steps in (0, 2, 4) for event in watch.look(fleet.write(steps))]
    assert [event["change"] for event in events].count("blind") == 1
    assert "for pool 'mail'" in events[0]["problem"]
    assert ("begun", None) in told(event for event in events if event["change"] != "blind")


def test_what_goes_on_in_a_pool_that_goes_blind_is_not_over(fleet):
    fleet.loads[:, 8 * DAY + 1 :] = 0
    params, _interval = anomaly_events.asked_for({**fleet.args, "per_server": False})
    watch = anomaly_events.Watch(params)
    assert [event["change"] for event in watch.look(fleet.write(4))] == ["begun"]
    later = fleet.moment(4) + datetime.timedelta(days=60)
    assert [event["change"] for event in watch.look(later)] == ["blind"]
    assert watch.look(later + datetime.timedelta(days=1)) == []


def test_what_began_and_ended_between_two_looks_is_told(fleet):
    fleet.loads[0, 8 * DAY + 2 : 8 * DAY + 4] += 400
    watch = anomaly_events.Watch(anomaly_events.asked_for(fleet.args)[0])
    watch.look(fleet.write(0))
    events = [event for event in watch.look(fleet.write(40)) if event["anomaly"]["server"] == "web1"]
    assert told(events) == [("begun", "web1"), ("ended", "web1")]
    assert watch.look(fleet.write(41)) == []


def test_what_was_over_before_the_first_look_is_not_told(fleet):
    fleet.loads[0, 8 * DAY - 30 : 8 * DAY - 28] += 400
    watch = anomaly_events.Watch(anomaly_events.asked_for(fleet.args)[0])
    assert watch.look(fleet.write(0)) == []


def test_a_history_that_is_away_is_told_once_and_watched_again(fleet):
    watch = anomaly_events.Watch(anomaly_events.asked_for(fleet.args)[0])
    (event,) = watch.look(START)
    assert event["change"] == "blind" and "history.duckdb" in event["problem"]
    assert watch.look(START) == []
    assert [event["change"] for event in watch.look(fleet.write(0))] == ["sighted"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"interval": "0s"}, "interval: 0s is too short"),
        ({"interval": "often"}, "interval"),
        ({"false_alarms": 99}, "false_alarms: 99.0 is out of range"),
        ({"detektor": "auto"}, "there is no such option.*detector, false_alarms"),
        ({"now": "2026-01-31"}, "now: there is no such option"),
        ({"pool": ["db"]}, "there is no pool 'db'"),
        ({"pools": {}}, "no pool is defined"),
        ({"pools": "{{ pools }}"}, "pools"),
    ],
)
def test_a_wrong_option_is_named(fleet, more, message):
    with pytest.raises(InvalidOption, match=message):
        anomaly_events.asked_for({**fleet.args, **more})


def test_names_that_the_runner_adds_are_not_options(fleet):
    assert "eda_feedback_queue" not in anomaly_events.asked_for({**fleet.args, "eda_feedback_queue": object()})[0]


PROGRAM = """
import asyncio, json, runpy, sys
import ansible_collections_of_somebody_else
async def run():
    queue = asyncio.Queue()
    main = runpy.run_path(sys.argv[1])["main"]
    task = asyncio.create_task(main(queue, json.loads(sys.argv[2])))
    done, _ = await asyncio.wait([task, asyncio.create_task(queue.get())], return_when=asyncio.FIRST_COMPLETED, timeout=50)
    if task in done:
        task.result()
    print(json.dumps([part.result() for part in done][0]))
    print(json.dumps(any(name.startswith("ansible.plugins") for name in sys.modules)))
    task.cancel()
asyncio.run(run())
"""


def started(tmp_path, args):
    """The source, run by its path in a process that knows nothing of the collection."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "ansible_collections").mkdir(parents=True)
    (elsewhere / "ansible_collections" / "__init__.py").touch()
    (elsewhere / "ansible_collections_of_somebody_else.py").write_text("import ansible_collections\n")
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SOURCE), json.dumps(args)],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(elsewhere), "PATH": "/usr/bin"},
    )  # fmt: skip


def test_the_source_runs_by_its_path_beside_another_ansible_collections(fleet, tmp_path):
    """PyPI's ansible is such a package, and hides the name that collections share."""
    now = datetime.datetime.now(datetime.UTC)
    start = datetime.datetime.fromtimestamp(now.timestamp() // STEP * STEP, datetime.UTC) - datetime.timedelta(hours=5)
    fleet.loads[:, 8 * DAY + 18 :] += 400
    fleet.write(20, start)
    answer = started(tmp_path, {**fleet.args, "per_server": False})
    assert answer.returncode == 0, answer.stderr
    event, plugins = map(json.loads, answer.stdout.splitlines())
    assert event["change"] == "begun"
    assert event["anomaly"]["pool"] == "web" and "server" not in event["anomaly"]
    assert event["anomaly"]["words"].startswith("requests of web: ")
    assert plugins is False, "the plugin loader was started"


def test_the_source_ends_on_a_wrong_option(fleet, tmp_path):
    answer = started(tmp_path, {**fleet.args, "interval": "soon"})
    assert answer.returncode != 0
    assert re.search("InvalidOption: interval: ", answer.stderr)


def test_the_source_lets_others_run_meanwhile_and_can_be_cancelled(fleet):
    fleet.write(0)
    # Not by runpy: ansible-test's own finder of collections would take the path for a folder.
    spec = importlib.util.spec_from_file_location("source", SOURCE)
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)

    async def run():
        task = asyncio.create_task(source.main(asyncio.Queue(), fleet.args))
        beats = 0
        for _beat in range(20):
            await asyncio.sleep(0.01)
            beats += 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return beats

    assert asyncio.run(run()) == 20


def test_the_rulebook_names_the_source_and_changes_there_are():
    (rules,) = yaml.safe_load(RULEBOOK.read_text(encoding="utf-8"))
    (source,) = [name for name in rules["sources"][0] if name != "name"]
    assert source == f"lowtide.fleet.{SOURCE.stem}"
    assert set(rules["sources"][0][source]) <= set(anomaly_events.SPEC)
    named = set(re.findall(r'event\.change == "(\w+)"', str(rules["rules"])))
    assert named == {"begun", "changed", "ended", "blind"}
    assert pathlib.Path(SOURCE).is_file()
