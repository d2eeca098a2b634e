"""The look that every figure shares: size, colours, legends, axes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pepr.files import write_atomic

PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#222222",
    "grey": "#8A8A8A",
}
"""Okabe and Ito's colours, for readers with any colour vision; grey is for what stands behind."""

WIDTH_IN = 6.4
NARROW_IN = 4.2
LEGEND_CHARACTERS = 84
"""How many characters of legend text fit into the width of a figure."""


def theme() -> None:
    """Set the look of every figure (matplotlib's global settings)."""
    sns.set_theme(context="paper", style="ticks", palette=list(PALETTE.values()))
    plt.style.use("pepr.display.pepr")


def save(figure: Figure, path: Path, *, narrow: Figure | None = None, shown: bool = True) -> None:
    """Write a figure as SVG, atomically; the same figure gives the same bytes, and text stays text.

    `narrow` is what a phone sees in its place: it is written beside it, as `<stem>_narrow.svg`, and closed,
    so that a notebook shows one of the two. One that is not `shown` is closed too: a chapter has it.
    """
    if narrow is not None:
        save(narrow, path.with_stem(f"{path.stem}_narrow"))
        plt.close(narrow)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pepr"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    write_atomic(path, buffer.getvalue())
    if not shown:
        plt.close(figure)


def legend_entry(
    marker: str, colour: str, text: str, hollow: bool = False, size: float = 7, line: str = ""
) -> Line2D:
    """What a legend shows of a marker, and of the `line` that joins them, where there is one."""
    fill = "white" if hollow else colour
    style = {"marker": marker, "color": colour, "mfc": fill, "mec": colour, "mew": 1.4, "ms": size}
    return Line2D([], [], ls=line, label=text, **style)


def legend_below(figure: Figure, handles: Sequence[Line2D | Patch], columns: int | None = None) -> None:
    """A legend under the axes, in as many columns as its longest entry lets fit into the width."""
    longest = max(len(handle.get_label()) for handle in handles)
    fitting = min(len(handles), 3, max(1, LEGEND_CHARACTERS // (longest + 7)))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns or fitting)


def log_axis(axes: Axes, which: str, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Make one axis logarithmic, or with `xy` both, with plain numbers at `subs` times powers of ten."""
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axes.set(**{f"{name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
