# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx builds these pages; docs/build.sh calls it."""

from __future__ import annotations

project = "lowtide.fleet"
author = "The Lowtide authors"
copyright = author

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "lowtide.fleet"
html_static_path = ["_static"]
html_copy_source = False
highlight_language = "yaml"
default_role = "any"
