# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of vCenter that the simulator does not give: in any order, with holes, and with series of unlike lengths."""

from __future__ import annotations

import datetime
import types

import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils.history import vsphere
from ansible_collections.lowtide.fleet.plugins.module_utils.history.base import Metric
from pyVmomi import vim

NOW = 1_795_500_000
STEP = 300
COUNTER = 24
Kinds = vim.PerformanceManager


def answer(machine, samples, *, instances=("",), counter=COUNTER, cut=0):
    """What QueryPerf says of one machine. :param samples: Stamps and values. :param cut: Values missing at the end."""
    series = [
        Kinds.IntSeries(
            id=Kinds.MetricId(counterId=counter, instance=instance),
            value=[value for _stamp, value in samples][: len(samples) - cut],
        )
        for instance in instances
    ]
    stamps = [
        Kinds.SampleInfo(timestamp=datetime.datetime.fromtimestamp(stamp, datetime.UTC), interval=STEP)
        for stamp, _value in samples
    ]
    return Kinds.EntityMetric(entity=vim.VirtualMachine(machine), sampleInfo=stamps, value=series)


def source(answers, monkeypatch):
    """A source whose vCenter gives these answers, whatever it is asked."""
    manager = types.SimpleNamespace(QueryPerf=lambda querySpec: answers)
    result = vsphere.VSphere.__new__(vsphere.VSphere)
    result.option, result.where = "sources[0]", "vcenter"
    result._session = types.SimpleNamespace(
        content=types.SimpleNamespace(perfManager=manager), read=lambda function: function()
    )
    result._machines = {name: vim.VirtualMachine(f"vm-{name}") for name in ("web0", "web1")}
    result._counters = {"mem.usage.average": (COUNTER, 0.01)}
    monkeypatch.setattr(vsphere, "_pieces", lambda first, last, now: [(STEP, float(first), float(last))])
    return result


def fetch(answers, monkeypatch):
    metric = Metric("memory", "mem.usage.average", unit="%")
    found = source(answers, monkeypatch).fetch(metric, {"web": ["web0", "web1"]}, NOW - 4 * STEP, NOW, STEP)
    return dict(zip((key.server for key in found.keys), found.values, strict=True))


def test_samples_come_in_any_order_and_holes_stay(monkeypatch):
    samples = [(NOW, 4000), (NOW - STEP, -1), (NOW - 3 * STEP, 1000), (NOW - 2 * STEP, 2000)]
    found = fetch([answer("vm-web0", samples)], monkeypatch)
    np.testing.assert_array_equal(found["web0"], [10, 20, np.nan, 40])


def test_a_series_that_is_shorter_than_its_stamps_is_left_out_and_no_other(monkeypatch):
    samples = [(NOW - back * STEP, 1000 * back) for back in (3, 2, 1, 0)]
    found = fetch([answer("vm-web0", samples, cut=1), answer("vm-web1", samples)], monkeypatch)
    assert list(found) == ["web1"]
    np.testing.assert_array_equal(found["web1"], [30, 20, 10, 0])


def test_series_of_single_devices_and_of_other_counters_do_not_count(monkeypatch):
    samples = [(NOW - back * STEP, 1000) for back in (3, 2, 1, 0)]
    each = answer("vm-web0", samples, instances=("vmnic0", ""))
    each.value[0].value = [9999] * 4
    found = fetch([each, answer("vm-web1", samples, counter=COUNTER + 1)], monkeypatch)
    assert list(found) == ["web0"]
    np.testing.assert_array_equal(found["web0"], [10] * 4)


def test_an_answer_without_samples_is_no_error(monkeypatch):
    empty = Kinds.EntityMetric(entity=vim.VirtualMachine("vm-web0"))
    assert fetch([empty], monkeypatch) == {}
