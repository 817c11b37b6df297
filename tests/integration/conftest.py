# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests, each kind in a file of its own; and the order in which workers take their files."""

from __future__ import annotations

import typing as t

from postgresql_fixtures import postgresql
from vsphere_fixtures import simulator, vcenter

if t.TYPE_CHECKING:
    import pytest

__all__ = ["postgresql", "simulator", "vcenter"]

# The longest first, so that at the end no worker waits for another: a file is the work of one.
LONGEST = [
    "test_playbooks.py",
    "test_rolling_update.py",
    "test_tenants.py",
    "test_rolling_update_failures.py",
    "test_traffic_shift.py",
    "test_lease.py",
    "test_providers.py",
    "test_balancer_roles.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; tests keep their order within a file."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
