#!/usr/bin/env bash
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Builds the HTML pages in docs/_build/html: those of this folder, and one per plugin from its documentation.
# The collection must be found on ANSIBLE_COLLECTIONS_PATH.

set -euo pipefail
cd "$(dirname "$0")"

rm -rf _build
mkdir -p _build/rst _build/html
cp -R ./*.md ./*.rst conf.py _static _build/rst/
sed 's#(docs/#(#g' ../CONTRIBUTING.md >_build/rst/contributing.md
python forecast_pictures.py _build/rst/pictures
antsibull-docs --config-file antsibull-docs.cfg collection --use-current --fail-on-error \
    --dest-dir _build/rst lowtide.fleet
sphinx-build --builder html --fail-on-warning --keep-going --quiet _build/rst _build/html
