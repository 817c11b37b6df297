# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pictures have in common: their style, their time axes, and how they become part of a page.

Pictures are drawn in stand-in colours that become variables of the page's style sheet, so that one picture is legible
on a light and on a dark page.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import re
import typing as t

from ..libraries import matplotlib, mpl_dates, mpl_figure

if t.TYPE_CHECKING:
    import zoneinfo

    import matplotlib.axes
    import matplotlib.figure

# Stand-in colours by role; the style sheet of the page gives each its shade for light and for dark.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
# Told apart by people with any of the usual colour blindnesses.
# Source: Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, PINK, SKY, RED = "#040401", "#040402", "#040403", "#040404", "#040405", "#040406"
SERIES = (BLUE, ORANGE, GREEN, PINK, SKY)
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PINK: "pink",
    SKY: "sky",
    RED: "red",
}

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "lowtide",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


@contextlib.contextmanager
def style() -> t.Iterator[None]:
    """Within it, figures are drawn in the style of the report."""
    with matplotlib.rc_context(_STYLE):
        yield


def canvas(height: float, ratios: t.Sequence[float] = (1,), *, shared: bool = False) -> tuple[t.Any, list[t.Any]]:
    """A figure and its axes, one below the other.

    :param height: Of the figure, in inches; its width is that of the page.
    :param ratios: Heights of the axes, relative to each other.
    :param shared: Whether the axes share their time axis.
    """
    figure = mpl_figure.Figure(figsize=(9.6, height), layout="constrained")
    axes = figure.subplots(len(ratios), 1, squeeze=False, sharex=shared, height_ratios=list(ratios))[:, 0]
    return figure, list(axes)


def moments(epoch_seconds: t.Iterable[float]) -> list[datetime.datetime]:
    """Epoch seconds as UTC moments, which is what time axes take."""
    return [datetime.datetime.fromtimestamp(second, datetime.UTC) for second in epoch_seconds]


def time_axis(axes: matplotlib.axes.Axes, zone: zoneinfo.ZoneInfo) -> None:
    """Label the horizontal axis with the times of a zone, and name the zone."""
    locator = mpl_dates.AutoDateLocator(tz=zone, minticks=5, maxticks=11)
    formatter = mpl_dates.ConciseDateFormatter(
        locator,
        tz=zone,
        formats=["%Y", "%b", "%a %d %b", "%H:%M", "%H:%M", "%H:%M:%S"],
        zero_formats=["", "%Y", "%b", "%a %d %b", "%H:%M", "%H:%M:%S"],
        offset_formats=["", "%Y", "%b %Y", "%d %b %Y", "%d %b %Y", "%d %b %Y %H:%M"],
        show_offset=False,
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel(f"time ({zone.key})", color=MUTED, fontsize=8.5)


def mark_now(axes: matplotlib.axes.Axes, now: datetime.datetime) -> None:
    """A line where the present is."""
    axes.axvline(now, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.annotate(
        "now",
        (now, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=MUTED,
    )


def legend(axes: matplotlib.axes.Axes) -> None:
    """A legend above the picture, on the right, clear of the data and of the title."""
    handles, _labels = axes.get_legend_handles_labels()
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 0.995), ncols=len(handles), borderaxespad=0.2, columnspacing=1.4
    )


def svg(figure: matplotlib.figure.Figure, name: str) -> str:
    """The figure as an element of an HTML page.

    :param name: Letters, digits and dashes, of this figure alone: it keeps the page's element ids apart.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'\bxlink:href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    # Fonts are the page's: those the figure was measured with may not be there.
    text = re.sub(r"font: ([\w ]*?[\d.]+px)[^;\"]*", r"font: \1 sans-serif", text)
    text = re.sub(r"[ \t]*\n\s*", "\n", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var(--{variable})")
    return text.strip()
