# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL over TLS, for the tests of all that is kept in a store."""

from __future__ import annotations

import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from simulators.certificates import Authority
from simulators.postgresql import PostgreSQL


@pytest.fixture(scope="module")
def postgresql():
    """How to reach it, as users write it in V(lowtide_history)."""
    with tempfile.TemporaryDirectory(prefix="lowtide-", dir="/var/tmp") as directory:
        authority = Authority(f"{directory}/ca")
        pathlib.Path(directory).chmod(0o755)
        with PostgreSQL(f"{directory}/postgresql", certificate=authority.sign("postgresql")) as server:
            yield {
                "type": "postgresql",
                "url": server.url,
                "username": server.user,
                "password": server.password,
                "ca_path": str(authority.path),
            }
