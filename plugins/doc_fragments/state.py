# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where runs keep their leases and records; kept in step with STATE of module_utils/options.py."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - Where runs keep what they remember, that is who works on which pool, and how far a rollout is.
      - The history when unset. Needed with a history of type V(prometheus), which can't be written to.
      - Usually set once for all, as the variable C(lowtide_state).
    type: dict
    suboptions:
      type:
        description:
          - V(duckdb) is one file on the controller, at O(state.path), and one more for each further tenant.
          - V(postgresql) is a schema C(lowtide) in a database, at O(state.url), and one more for each further tenant; for
            controllers that forget their disk.
        type: str
        choices: [duckdb, postgresql]
        default: duckdb
      path:
        description: The DuckDB file, by its whole path. Needed with O(state.type=duckdb).
        type: path
      retention:
        description: How long records are kept. At least 30 days.
        type: str
        default: 90d
      url:
        description: C(postgresql://host:5432/database) with O(state.type=postgresql).
        type: str
      username:
        description: User of the database.
        type: str
      password:
        description: Password of that user.
        type: str
      validate_certs:
        description: Whether the server's certificate must be trusted.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed the server's certificate, where the system does not know it.
        type: path
      client_cert:
        description: PEM file of a certificate to show to the server.
        type: path
      client_key:
        description: PEM file of the key of O(state.client_cert), where it is not in the same file.
        type: path
      timeout:
        description: How long one statement may wait.
        type: str
        default: 30s
"""
