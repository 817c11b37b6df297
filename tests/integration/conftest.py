# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests; each kind is in a file of its own."""

from __future__ import annotations

from postgresql_fixtures import postgresql
from vsphere_fixtures import simulator, vcenter

__all__ = ["postgresql", "simulator", "vcenter"]
