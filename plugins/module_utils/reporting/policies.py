# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture of a backtest: what each policy would have spent, and how much overload was left."""

from __future__ import annotations

import typing as t

from . import drawing
from .drawing import MUTED, SERIES

Figures = t.Dict[str, float]


def by_pool(policies: dict[str, Figures]) -> dict[str, dict[str, Figures]]:
    """Figures by pool and policy, of those that can be drawn; policies are named V(pool: policy) or V(policy)."""
    found: dict[str, dict[str, Figures]] = {}
    for label, figures in policies.items():
        pool, _colon, policy = label.rpartition(": ")
        if {"server_hours", "overload_minutes"} <= figures.keys():
            found.setdefault(pool, {})[policy] = figures
    return found


def picture(pool: str, policies: dict[str, Figures], *, name: str) -> str:
    """Server-hours against overload, one point for each policy; nearer to the lower left corner is better."""
    figure, (axes,) = drawing.canvas(2.8)
    axes.set_title(
        f"{pool}: what each policy would have spent and left" if pool else "What each policy would have left"
    )
    for place, (policy, figures) in enumerate(policies.items()):
        point = (figures["server_hours"], figures["overload_minutes"])
        axes.plot(*point, marker="o", linestyle="", color=SERIES[place % len(SERIES)], label=policy)
    axes.margins(x=0.08, y=0.15)
    axes.set_xlabel("server-hours", color=MUTED, fontsize=8.5)
    axes.set_ylabel("overload, minutes")
    axes.set_ylim(bottom=-0.03 * max(1.0, *(figures["overload_minutes"] for figures in policies.values())))
    drawing.legend(axes)
    return drawing.svg(figure, name)
