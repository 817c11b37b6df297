#!/usr/bin/env bash
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Writes tests/requirements.txt: the newest versions that fit tests/requirements.in, as a new environment gets them.

set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(mktemp --directory)
trap 'rm -rf "$venv"' EXIT
python3.11 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.in
{
    echo "# Made by 'make lock' from tests/requirements.in; pinned for Python 3.11 on Linux."
    "$venv/bin/python" -m pip freeze --all | grep --invert-match '^pip=='
} >tests/requirements.txt
