# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes this checkout importable as ``ansible_collections.lowtide.fleet``, for tests and what they start."""

from __future__ import annotations

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / ".build"


def link_collection() -> pathlib.Path:
    """Link the checkout into a collections path of its own, and return that path."""
    link = COLLECTIONS / "ansible_collections" / "lowtide" / "fleet"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)
    return COLLECTIONS


sys.path.insert(0, str(link_collection()))
