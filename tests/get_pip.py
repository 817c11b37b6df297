# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installs pip, and the packages named, where there is no pip yet: ``python get_pip.py pip==24.2``.

``ansible-test`` looks for such a script in its cache before it fetches one; ``tests/setup.sh`` puts this one there.
"""

from __future__ import annotations

import subprocess
import sys


def main() -> None:
    """Bootstrap pip from Python itself, then let it install what was asked for."""
    # As a process of its own: it makes pip forget the user's settings.
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
    wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
    subprocess.run([sys.executable, "-m", "pip", "install", *wanted], check=True)


if __name__ == "__main__":
    main()
