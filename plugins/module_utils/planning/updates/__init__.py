# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When to update which servers, in which batches, so that what stays in service carries the demand.

:mod:`.order` says which servers may go together, :mod:`.hours` when nothing may, :mod:`.room` how many may be out at a
time, :mod:`.optimum` finds the best batches for that, :mod:`.plan` puts them together, :mod:`.explanation` says why,
:mod:`.remedies` what would help where there is no plan, :mod:`.allowance` keeps it within what tenants may have, and
:mod:`.simulation` tells what a plan would have met in the past.
"""

from __future__ import annotations

from .allowance import Allowance, within
from .plan import MIN_GAIN, plan
from .remedies import NoWindow
from .room import max_unavailable
from .simulation import simulate

__all__ = ["MIN_GAIN", "Allowance", "NoWindow", "max_unavailable", "plan", "simulate", "within"]
