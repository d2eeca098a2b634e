"""The PePR curve as a figure: what a budget buys, its score, and the peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from pepr.display.style import PALETTE, legend_below, legend_entry
from pepr.score import of


@dataclass(frozen=True)
class PeakMark:
    """Where the peak stands on axes of a normalised resource; `low` and `high` bound its place, if known."""

    model: str
    resource_norm: float
    performance: float
    low: float | None = None
    high: float | None = None


def draw_curve(
    figure: Figure,
    axes: Axes,
    points: tuple[ArrayLike, ArrayLike],
    curve: tuple[ArrayLike, ArrayLike],
    peak: PeakMark | None,
    estimated: bool = False,
    marks: Sequence[Line2D] = (),
) -> None:
    """Draw models (`points`: normalised resource, performance), the best within a budget, and its score.

    `curve` are the normalised resources at which the best performance rises, and that performance. Lines are
    dashed where the resource is an estimate. `marks` are the legend's entries of what else was drawn.
    """
    style = "--" if estimated else "-"
    if peak is not None:
        if peak.low is not None and peak.high is not None:
            span = (peak.low - 0.006, peak.high + 0.006)
            axes.axvspan(*span, color=PALETTE["yellow"], alpha=0.45, lw=0, zorder=0)
        axes.axvline(peak.resource_norm, color=PALETTE["black"], lw=1, ls="-.")
    norm = np.linspace(0, 1, 401)
    best = np.asarray(curve[1])[np.searchsorted(np.asarray(curve[0]), norm, side="right") - 1]
    axes.plot(norm, best, color=PALETTE["blue"], lw=1.8, ls=style, drawstyle="steps-post")
    axes.plot(norm, of(best, norm), color=PALETTE["vermillion"], lw=2.2, ls=style)
    axes.plot(*points, "o", color=PALETTE["grey"], ms=5)
    axes.margins(y=0.12)
    handles: list[Line2D | Patch] = [
        legend_entry("o", PALETTE["grey"], "one model"),
        Line2D([], [], color=PALETTE["blue"], lw=1.8, ls=style, label="best within a budget"),
        Line2D([], [], color=PALETTE["vermillion"], lw=2.2, ls=style, label="its PePR"),
    ]
    if peak is not None:
        _name_peak(axes, peak.model, peak.resource_norm, peak.performance)
        handles.append(Line2D([], [], color=PALETTE["black"], lw=1, ls="-.", label="peak"))
        if peak.low is not None:
            band = Patch(color=PALETTE["yellow"], alpha=0.45, label="95% interval of its place")
            handles.append(band)
    legend_below(figure, [*handles, *marks])


def _name_peak(axes: Axes, model: str, norm: float, performance: float) -> None:
    left = norm > 0.6
    axes.annotate(
        model,
        (norm, performance),
        xytext=(-6 if left else 6, 6),
        textcoords="offset points",
        fontsize=9.5,
        ha="right" if left else "left",
        va="bottom",
    )
