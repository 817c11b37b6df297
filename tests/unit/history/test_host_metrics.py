# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, LowtideError
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import host_metrics as code

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
  eth0:1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0
"""
DISKS = """   8       0 sda 10 0 100 0 20 0 50 0 0 0 0 0 0 0 0
   8       1 sda1 10 0 100 0 20 0 50 0 0 0 0 0 0 0 0
 253       0 dm-0 10 0 100 0 20 0 50 0 0 0 0 0 0 0 0
"""


def test_busy_leaves_out_idle_and_iowait_and_counts_guests_once():
    ticks = os.sysconf("SC_CLK_TCK")
    assert code.busy_seconds("cpu  100 0 50 1000 500 10 20 20 90 9\ncpu0 1") == pytest.approx(200 / ticks)


def test_loopback_partitions_and_stacked_devices_do_not_count():
    assert code.network_bytes(NET) == (1000.0, 2000.0)
    assert code.disk_bytes(DISKS, {"sda", "dm-0"}) == (51200.0, 25600.0)


def test_options_and_hosts_that_do_not_fit(tmp_path):
    params = {"server": None, "interval": 0.1, "metrics": ["cpu"]}
    with pytest.raises(LowtideError, match=r"proc/stat can't be read: .*works on Linux"):
        code.host_metrics(params, check_mode=False, root=str(tmp_path))
    with pytest.raises(InvalidOption, match="interval: 99 is out of range"):
        code.host_metrics({**params, "interval": 99}, check_mode=False)
