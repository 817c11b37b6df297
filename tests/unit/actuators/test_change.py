# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine over a provider that is a script: what it answers and when things happen, on a clock of its own."""

from __future__ import annotations

import dataclasses
import random

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators.change import Policy, change
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators.power import Answer, Provider, Server

POLICY = Policy(timeout=60.0, shutdown_timeout=20.0)
OFF, SUSPENDED, ON = Server("off"), Server("suspended"), Server("on", up=True, ip="192.0.2.1")


class Scripted(Provider):
    """Carries orders out after a time; ``answers`` are given first, each with whether the order is carried out."""

    def __init__(self, servers, *, boot=10.0, answers=(), away=(), shuts_down=True, tools=True):
        super().__init__(parallel=1)
        self.now = 0.0
        self.servers = dict(servers)
        self.boot, self.answers, self.away = boot, list(answers), away
        self.shuts_down, self.tools = shuts_down, tools
        self.given = []
        self._due = []

    def clock(self):
        return self.now

    def look(self, names):
        return {name: self.servers[name] for name in names}

    def act(self, name, order):
        answer, carried_out = self.answers.pop(0) if self.answers else (Answer("accepted"), True)
        self.given.append((name, order))
        if carried_out:
            self._carry_out(name, order)
        return answer

    def _carry_out(self, name, order):
        if order == "on":
            self.servers[name] = Server("on")
            if self.tools:
                self._due.append((self.now + self.boot, name, ON))
        elif order == "shutdown":
            if self.shuts_down:
                self._due.append((self.now + 5.0, name, OFF))
        else:
            self.servers[name] = SUSPENDED if order == "suspend" else OFF

    def watch(self, names, seconds):
        self.now += max(seconds, 0.01)
        for moment, name, server in list(self._due):
            if moment <= self.now:
                self._due.remove((moment, name, server))
                self.servers[name] = server
        if any(start <= self.now < end for start, end in self.away):
            self.trouble = "vCenter can't be reached"
            return {}
        self.trouble = None
        return self.look(names)

    def run(self, policy=POLICY, **wishes):
        return change(self, dict(self.servers), policy=policy, clock=self.clock, **wishes)


def test_wakes_and_puts_to_sleep_together():
    provider = Scripted({"a": OFF, "b": SUSPENDED, "c": ON})
    courses = provider.run(activate=["a", "b"], release=["c"])
    assert all(course.changed and not course.failed for course in courses.values())
    assert courses["a"].ready
    assert courses["b"].ready
    assert provider.servers["c"].power == "suspended"
    assert provider.now < 12
    assert sorted(provider.given) == [("a", "on"), ("b", "on"), ("c", "suspend")]


def test_nothing_to_do():
    provider = Scripted({"a": ON, "b": SUSPENDED, "c": OFF})
    courses = provider.run(activate=["a"], release=["b", "c"])
    assert provider.given == []
    assert provider.now == 0.0
    assert not any(course.changed for course in courses.values())


@pytest.mark.parametrize("carried_out", [True, False])
def test_lost_answer_is_followed_by_a_look(carried_out):
    provider = Scripted({"a": OFF}, answers=[(Answer("lost", "timeout"), carried_out)])
    course = provider.run(activate=["a"])["a"]
    assert course.ready
    assert course.changed
    assert len(provider.given) == (1 if carried_out else 2)


def test_lost_answer_while_away_is_not_repeated_before_a_look():
    provider = Scripted({"a": OFF}, answers=[(Answer("lost", "503"), True)], away=[(0.0, 30.0)])
    course = provider.run(activate=["a"])["a"]
    assert course.ready
    assert provider.given == [("a", "on")]
    assert provider.now >= 30


def test_away_for_too_long_names_the_trouble():
    provider = Scripted({"a": OFF}, answers=[(Answer("lost", "503"), False)], away=[(0.0, 1e9)])
    course = provider.run(activate=["a"])["a"]
    assert course.failed == "it was not powered on within 1 min: 503; vCenter can't be reached"
    assert provider.given == [("a", "on")]
    assert 60 <= provider.now < 66


def test_refused_is_final_and_a_candidate_takes_over():
    provider = Scripted(
        {"a": OFF, "b": ON, "c": SUSPENDED, "d": OFF}, answers=[(Answer("refused", "no license"), False)]
    )
    courses = provider.run(activate=["a"], candidates=["b", "c", "d"])
    assert courses["a"].failed == "no license"
    assert not courses["a"].changed
    assert courses["c"].replaces == "a"
    assert courses["c"].ready
    assert sorted(courses) == ["a", "c"]


def test_candidate_after_a_boot_that_never_ends_has_its_own_time():
    provider = Scripted({"a": OFF, "b": OFF}, tools=False)
    courses = provider.run(activate=["a"], candidates=["b"])
    assert courses["a"].failed == "it is powered on, but its guest tools were not running within 1 min"
    assert courses["b"].failed == courses["a"].failed
    assert 120 <= provider.now < 130


@pytest.mark.parametrize(
    ("shuts_down", "orders"), [(True, ["shutdown"]), (False, ["shutdown", "off"])], ids=["obedient", "hung"]
)
def test_shutdown_then_power_off(shuts_down, orders):
    provider = Scripted({"a": ON}, shuts_down=shuts_down)
    course = provider.run(dataclasses.replace(POLICY, idle_state="off"), release=["a"])["a"]
    assert provider.servers["a"].power == "off"
    assert course.changed
    assert [order for _name, order in provider.given] == orders
    assert provider.now >= (5 if shuts_down else 20)


def test_refused_shutdown_becomes_power_off():
    provider = Scripted({"a": ON}, answers=[(Answer("refused", "ToolsUnavailable"), False)])
    provider.run(dataclasses.replace(POLICY, idle_state="off"), release=["a"])
    assert [order for _name, order in provider.given] == ["shutdown", "off"]


def test_without_waiting_only_the_power_state_counts():
    provider = Scripted({"a": OFF}, boot=1e9)
    course = provider.run(dataclasses.replace(POLICY, wait=False), activate=["a"])["a"]
    assert not course.failed
    assert course.changed
    assert not course.ready


def test_readiness_is_what_the_probe_says():
    provider = Scripted({"a": OFF})
    asked = []

    def probe(server):
        asked.append(server)
        return provider.now > 20

    course = provider.run(dataclasses.replace(POLICY, probe=probe), activate=["a"])["a"]
    assert course.ready
    assert provider.now > 20
    assert all(server.up for server in asked)
    course = Scripted({"a": OFF}).run(dataclasses.replace(POLICY, probe=lambda server: False), activate=["a"])["a"]
    assert course.failed == "it is up at 192.0.2.1, but the readiness check did not pass within 1 min"


@pytest.mark.parametrize("seed", range(40))
def test_whatever_answers_come_nothing_is_powered_twice(seed):
    """Random lost, refused and carried-out orders: each server ends where it should, or is named as failed."""
    choice = random.Random(seed)
    names = [f"s{number}" for number in range(12)]
    servers = {name: choice.choice([ON, OFF, SUSPENDED]) for name in names}
    kinds = [
        (Answer("accepted"), True), (Answer("lost", "gone"), True), (Answer("lost", "gone"), False),
        (Answer("refused", "no"), False), (Answer("look", "busy"), False),
    ]  # fmt: skip
    provider = Scripted(servers, answers=choice.choices(kinds, k=15), away=[(3.0, 3.0 + choice.uniform(0, 20))])
    carried = []
    original = provider._carry_out
    provider._carry_out = lambda name, order: (carried.append((name, order)), original(name, order))
    courses = provider.run(activate=names[:6], release=names[6:])
    assert len(carried) == len(set(carried))
    for name, course in courses.items():
        awake = name in names[:6]
        if not course.failed:
            assert (provider.servers[name].power == "on") == awake
        assert course.changed == (provider.servers[name].power != servers[name].power)
