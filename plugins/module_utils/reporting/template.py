# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the report, as a Jinja2 template. It is Python, not a file of its own, because Ansible carries only
Python files to where a module runs."""

from __future__ import annotations

TEMPLATE = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root {
  --page: #f6f7f9; --card: #ffffff; --edge: #dfe3e8; --ink: #1c2733; --muted: #5c6b7a; --grid: #e4e8ec;
  --blue: #0072b2; --orange: #c25700; --green: #00795a; --pink: #a8487f; --sky: #2f8fc4; --red: #c0252b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12171d; --card: #1a2129; --edge: #2c3641; --ink: #e3e8ed; --muted: #9aa8b5; --grid: #2a333d;
    --blue: #56b4e9; --orange: #f0933e; --green: #2fc79a; --pink: #e08bbb; --sky: #8fd0f5; --red: #ff7b7f;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 0 0 0.5rem; }
header p, .note { color: var(--muted); margin: 0.25rem 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 0.75rem; margin: 1.5rem 0; }
.tile, section { background: var(--card); border: 1px solid var(--edge); border-radius: 0.5rem; }
.tile { padding: 0.75rem 1rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 0.875rem; display: block; }
.good b { color: var(--green); }
.bad b { color: var(--red); }
section { padding: 1.25rem 1.25rem 1rem; margin: 1rem 0; }
section > ul, section > ol { margin: 0.5rem 0; padding-left: 1.4rem; }
li { margin: 0.2rem 0; overflow-wrap: anywhere; }
figure { margin: 0.75rem 0 1rem; overflow-x: auto; }
figcaption { color: var(--muted); font-size: 0.9rem; margin-top: 0.25rem; }
svg { width: 100%; min-width: 40rem; height: auto; display: block; }
svg text { font-family: system-ui, sans-serif !important; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding: 0.25rem 0; }
th, td { text-align: left; padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
footer { color: var(--muted); font-size: 0.85rem; margin-top: 2rem; }
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<header>
<h1>{{ title }}</h1>
<p>{{ subtitle }}</p>
</header>
{% if tiles %}
<div class="tiles">
{% for tile in tiles %}
<div class="tile {{ tile.tone }}"><span>{{ tile.label }}</span><b>{{ tile.value }}</b><span>{{ tile.note }}</span></div>
{% endfor %}
</div>
{% endif %}
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{% if section.note %}
<p class="note">{{ section.note }}</p>
{% endif %}
{% if section.words %}
<ul>
{% for sentence in section.words %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% endif %}
{% for picture in section.pictures %}
<figure role="group" aria-label="{{ picture.caption }}">
{{ picture.svg | safe }}
<figcaption>{{ picture.caption }}</figcaption>
</figure>
{% endfor %}
{% if section.marks %}
<ol>
{% for mark in section.marks %}
<li>{{ mark }}</li>
{% endfor %}
</ol>
{% endif %}
{% for table in section.tables %}
<div class="scroll">
<table>
{% if table.caption %}
<caption>{{ table.caption }}</caption>
{% endif %}
<thead><tr>{% for cell in table.head %}<th{% if loop.index0 in table.numbers %} class="number"{% endif %}>{{ cell }}</th>
{%- endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td{% if loop.index0 in table.numbers %} class="number"{% endif %}>{{ cell }}</td>
{%- endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
</section>
{% endfor %}
<footer>Made by lowtide.fleet. This file needs no network.</footer>
</main>
</body>
</html>
"""
