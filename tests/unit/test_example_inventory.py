# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory that users start from says nothing that the modules refuse."""

from __future__ import annotations

import pathlib

import yaml
from ansible_collections.lowtide.fleet.plugins.module_utils import options

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "inventories" / "example" / "group_vars" / "all" / "lowtide.yml"


def test_its_pools_history_and_sources_are_accepted():
    values = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for name, pool in values["lowtide_pools"].items():
        pool["servers"], pool["standby"]["servers"] = [f"{name}1", f"{name}2"], [f"{name}-s1"]
    assert list(options.pools(values["lowtide_pools"])) == ["web", "api"]
    options.checked(values["lowtide_history"], options.HISTORY, "history")
    options.checked(values["lowtide_vsphere"], options.VSPHERE, "connection")
    for source in values["lowtide_sources"]:
        options.checked(source, options.SOURCE, "sources")
