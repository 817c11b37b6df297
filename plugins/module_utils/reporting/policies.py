# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture of a backtest: what each policy would have spent, and how much overload was left."""

from __future__ import annotations

import typing as t

from . import drawing
from .drawing import INK, MUTED, SERIES

Figures = t.Dict[str, float]

# As many as there are policies, none twice.
_COLOURS = (*SERIES, INK)

# What the figures of a policy are called in a table.
HEADS = {
    "theta_u": "θ under",
    "theta_o": "θ over",
    "tau_u": "τ under",
    "tau_o": "τ over",
    "adaptations_per_hour": "changes/h",
    "server_hours": "server-hours",
    "relative_hours": "to demand",
    "overload_minutes": "overload, min",
}

CAPTION = (
    "θ: how far under and over the servers needed, in the mean; τ: the share of the time under and over; "
    "to demand: server-hours relative to the demand in servers' worth."
)


def by_pool(policies: dict[str, Figures]) -> dict[str, dict[str, Figures]]:
    """Figures by pool and policy, of those that can be drawn; policies are named V(pool: policy) or V(policy)."""
    found: dict[str, dict[str, Figures]] = {}
    for label, figures in policies.items():
        pool, _colon, policy = label.rpartition(": ")
        if {"server_hours", "overload_minutes"} <= figures.keys():
            found.setdefault(pool, {})[policy] = figures
    return found


def points(policies: dict[str, Figures]) -> dict[tuple[float, float], list[str]]:
    """The policies at each point of server-hours and overload: those that spend and leave the same are one."""
    found: dict[tuple[float, float], list[str]] = {}
    for policy, figures in policies.items():
        where = (round(figures["server_hours"], 1), round(figures["overload_minutes"], 1))
        found.setdefault(where, []).append(policy)
    return found


def picture(pool: str, policies: dict[str, Figures], *, name: str) -> str:
    """Server-hours against overload, one point for each policy; nearer to the lower left corner is better."""
    figure, (axes,) = drawing.canvas(2.8)
    title = f"{pool}: what each policy would have spent and left" if pool else "What each policy would have left"
    axes.set_title(title, pad=24)
    for place, (point, alike) in enumerate(points(policies).items()):
        label = " = ".join(policy.replace("_", " ") for policy in alike)
        axes.plot(*point, marker="o", markersize=8, linestyle="", color=_COLOURS[place % len(_COLOURS)], label=label)
    axes.margins(x=0.08)
    axes.set_xlabel("server-hours", color=MUTED, fontsize=8.5)
    axes.set_ylabel("overload, minutes")
    most = max(figures["overload_minutes"] for figures in policies.values())
    axes.set_ylim(-0.05 * (most or 1.0), 1.15 * (most or 1.0))
    drawing.legend(axes)
    return drawing.svg(figure, name)
