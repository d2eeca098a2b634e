"""Figures on how sure a ranking is, what choosing costs and what pretraining buys: tables in, figures out."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from pepr.display.style import NARROW_IN, PALETTE, WIDTH_IN, legend_below, legend_entry, theme
from pepr.published.strategies import SIZES

PARTS = (
    ("share_models", "between models", PALETTE["blue"]),
    ("share_epoch", "epoch", PALETTE["orange"]),
    ("share_images", "test images", "#D9D9D9"),
)
LINES = (("random cheap", "o", "-", "vermillion"), ("cheap by family", "s", "--", "blue"))
ALONE = {
    "cheapest alone": "v",
    "winner of other sets": "P",
    "best on ImageNet": "X",
    "cheapest third": "^",
    "successive halving": "D",
    "PePR winner": "*",
    "full sweep": "h",
}
"""Markers of the strategies without a size."""
SIZE_OF = {"PePR winner": 14}


def signal(rows: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Rank correlation of the last two epochs, by accuracy and by PePR-T, and parts of the variance."""
    theme()
    shape = (2, 1) if narrow else (1, 2)
    size = (NARROW_IN, 7.4) if narrow else (WIDTH_IN * 1.2, 4.2)
    figure, (left, right) = plt.subplots(*shape, figsize=size, sharey=not narrow)
    places = np.arange(len(rows))
    looks = (("accuracy_epochs", "o", "blue", -0.14), ("pepr_t_epochs", "s", "orange", 0.14))
    for name, marker, colour, shift in looks:
        error = [rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]
        style = {"fmt": marker, "color": PALETTE[colour], "ms": 6, "mec": "white", "lw": 1.4}
        left.errorbar(rows[name], places + shift, xerr=error, **style)
    start = np.zeros(len(rows))
    for name, _, colour in PARTS:
        right.barh(places, rows[name], left=start, color=colour, edgecolor="white", height=0.7)
        start += rows[name].to_numpy()
    for axes in (left, right):
        axes.set_yticks(places, rows["setting"])
        axes.grid(axis="y", visible=False)
    left.set(xlabel="Rank correlation, epochs 9 and 10", xlim=(-0.1, 1.02))
    right.set(xlabel="Share of the variance of accuracy", xlim=(0, 1))
    left.invert_yaxis()
    if narrow:
        right.invert_yaxis()
    handles = [
        legend_entry("o", PALETTE["blue"], "by accuracy"),
        legend_entry("s", PALETTE["orange"], "by PePR-T"),
        *(Patch(facecolor=colour, edgecolor="white", label=f"variance: {word}") for _, word, colour in PARTS),
    ]
    legend_below(figure, handles, columns=2 if narrow else None)
    return figure


def choosing(summary: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Points lost against the share of the sweep's energy, by strategy; bars and bands are over settings."""
    theme()
    figure, axes = plt.subplots(figsize=(NARROW_IN, 6.4) if narrow else (WIDTH_IN, 5.0))
    rows = summary.set_index("strategy")
    for words, marker, style, colour in LINES:
        part = rows.loc[[f"{size} {words}" for size in SIZES]]
        share, band = part["energy_share_mean"], (part["lost_lower"], part["lost_upper"])
        axes.fill_between(share, *band, color=PALETTE[colour], alpha=0.15, lw=0)
        axes.plot(share, part["lost_mean"], style, marker=marker, color=PALETTE[colour], ms=5)
    looks = {
        name: {"color": PALETTE["black"], "mec": "white", "mew": 0.5, "ms": SIZE_OF.get(name, 9)}
        for name in ALONE
    }
    for name, marker in ALONE.items():
        row = rows.loc[name]
        spread = [[row["lost_mean"] - row["lost_lower"]], [row["lost_upper"] - row["lost_mean"]]]
        at = (row["energy_share_mean"], row["lost_mean"])
        axes.errorbar(*at, yerr=np.maximum(spread, 0), fmt=marker, lw=1, **looks[name])
    axes.axhline(0, color=PALETTE["black"], lw=0.8)
    axes.set(xscale="log", xlabel="Energy spent, share of training all", ylabel="Points of accuracy lost")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    lines = [
        legend_entry(marker, PALETTE[colour], f"{SIZES[0]} to {SIZES[-1]} {words}", line=style)
        for words, marker, style, colour in LINES
    ]
    marks = [
        Line2D([], [], marker=marker, ls="none", label=name, **looks[name]) for name, marker in ALONE.items()
    ]
    legend_below(figure, [*lines, *marks], columns=1 if narrow else None)
    return figure


def pretraining(shares: pd.DataFrame, by_size: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Left: the share of models above their own end from scratch, by epoch; right: a tenth pretrained minus
    all from scratch, by size."""
    theme()
    shape = (2, 1) if narrow else (1, 2)
    size = (NARROW_IN, 7.0) if narrow else (WIDTH_IN * 1.2, 4.0)
    figure, (left, right) = plt.subplots(*shape, figsize=size)
    looks = (
        ("all", "o", "-", "blue", "pretrained, all data"),
        ("tenth", "s", "--", "vermillion", "on a tenth"),
    )
    for name, marker, style, colour, _ in looks:
        part = shares[shares["data"] == name]
        left.fill_between(part["epoch"], part["low"], part["high"], color=PALETTE[colour], alpha=0.15, lw=0)
        left.plot(part["epoch"], part["share"], style, marker=marker, color=PALETTE[colour], ms=5)
    left.set(xlabel="Epoch", ylabel="Above the own end from scratch", ylim=(0, 1))
    left.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f}%"))
    _points_by_size(right, by_size)
    handles = [
        legend_entry(marker, PALETTE[colour], words, line=style) for _, marker, style, colour, words in looks
    ]
    legend_below(figure, handles)
    return figure


def _points_by_size(axes: Axes, by_size: pd.DataFrame) -> None:
    places = np.arange(len(by_size))
    error = [by_size["points"] - by_size["low"], by_size["high"] - by_size["points"]]
    axes.errorbar(places, by_size["points"], yerr=error, fmt="s", color=PALETTE["vermillion"], ms=7, lw=1.6)
    axes.axhline(0, color=PALETTE["black"], lw=0.8)
    words = [f"{row.from_params / 1e6:.0f} to {row.to_params / 1e6:.0f}" for row in by_size.itertuples()]
    axes.set_xticks(places, words)
    axes.set(xlabel="Parameters (millions)", ylabel="Tenth pretrained minus scratch (points)")
    axes.margins(x=0.2)
