# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What each module supports. A module names the ones it has, and its own C(diff_mode) and C(idempotent)."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what it would do, without doing it.
  diff_mode:
    description: Returns what it changed (or would change) when in diff mode.
  idempotent:
    description: Run twice with the same options, it changes nothing the second time.
  action_group:
    description: Use C(group/lowtide.fleet.fleet) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - lowtide.fleet.fleet
"""

    # For modules that only look: they change nothing, in check mode and out of it.
    READS = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
"""
