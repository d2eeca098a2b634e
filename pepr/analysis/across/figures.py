"""The figures across sets: what pretraining adds, how soon it is ahead, and how sets rank the networks."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pepr import stats
from pepr.analysis.across.arms import Shared
from pepr.analysis.across.pretraining import Difference
from pepr.analysis.across.sets import title
from pepr.display.style import PALETTE, WIDTH_IN, legend_below, legend_entry, log_axis, theme

MARKERS = ("s", "^", "o", "D", "v", "P")
COLOURS = ("blue", "orange", "green", "purple", "vermillion", "sky")


def differences(
    found: Sequence[Difference], together: stats.TestResult | None, drawn: stats.TestResult | None
) -> Figure:
    """Pretrained less from scratch, a row a set and series of networks, with 95% intervals.

    `found` from `pretraining.by_series`; the last rows are the mean of the sets, where there is one
    (`pretraining.pooled`), and that with the networks drawn (`pretraining.mixed`).
    """
    theme()
    rows = [
        (f"{title(one.dataset)}, {'all' if one.whom == 'all' else one.whom}", one.result, one.whom == "all")
        for one in found
    ]
    means = (("mean of the sets", together), ("the same, networks drawn", drawn))
    rows += [(words, result, True) for words, result in means if result is not None]
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 1.3 + 0.34 * max(len(rows), 3)))
    axes.set_xlabel("Test AUROC gained by pretraining")
    if not rows:
        return _empty(figure, axes, "No network was trained both ways.")
    for place, (_, result, whole) in enumerate(rows):
        colour = PALETTE["blue" if whole else "grey"]
        known = np.isfinite(result.low) and np.isfinite(result.high)
        if known:
            axes.plot([result.low, result.high], [place, place], "-", color=colour, lw=1.8)
        marker = "s" if whole else "o"
        axes.plot(result.effect, place, marker, mfc=colour if known else "white", mec=colour, ms=7)
    axes.axvline(0, color=PALETTE["black"], lw=1)
    axes.set_yticks(range(len(rows)), [words for words, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    handles = [
        legend_entry("s", PALETTE["blue"], "all networks", line="-"),
        legend_entry("o", PALETTE["grey"], "one series", line="-"),
    ]
    if any(not np.isfinite(result.low) for _, result, _ in rows):
        handles.append(legend_entry("o", PALETTE["grey"], "too few seeds for an interval", hollow=True))
    legend_below(figure, handles)
    return figure


def parity(rows: pd.DataFrame) -> Figure:
    """The share of the energy from scratch after which a pretrained network is where its twin ends, by size.

    `rows` from `parity.pairs`: a marker a seed, hollow since the energy is estimated, filled where it was
    measured; on the upper edge, those that never are there.
    """
    theme()
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.2))
    axes.set(xlabel="Parameters (millions)", ylabel="Share of the energy from scratch")
    if rows.empty:
        return _empty(figure, axes, "No network was trained both ways.")
    reached = rows["share"].where(np.isfinite(rows["share"]))
    top = 1.15 * max(float(reached.max(skipna=True)) if reached.notna().any() else 0.0, 1.0)
    handles = []
    for place, (dataset, group) in enumerate(rows.groupby("dataset", sort=False)):
        marker, colour = MARKERS[place % len(MARKERS)], PALETTE[COLOURS[place % len(COLOURS)]]
        beside = group["num_params"].astype(float) / 1e6 * (1 + 0.012 * (place - 1))
        filled = "white" if group["estimated"].any() else colour
        share = group["share"].where(np.isfinite(group["share"]), top)
        axes.plot(beside, share, marker, mfc=filled, mec=colour, mew=1.4, ms=6.5)
        words = f"{title(str(dataset))}{' (estimated)' if filled == 'white' else ''}"
        handles.append(legend_entry(marker, colour, words, hollow=filled == "white"))
    if not np.isfinite(rows["share"]).all():
        axes.axhline(top, color=PALETTE["grey"], ls=":", lw=1)
        axes.annotate(
            "never", (1, top), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9
        )
    axes.axhline(1, color=PALETTE["black"], lw=1, ls="--")
    handles.append(Line2D([], [], color=PALETTE["black"], ls="--", lw=1, label="as much as from scratch"))
    axes.set_ylim(0, 1.08 * top)
    log_axis(axes, "x")
    legend_below(figure, handles)
    return figure


def shared_bills(found: Sequence[Shared]) -> Figure:
    """How much higher mean PePR-E is for networks that start from another set's run than from scratch,
    against the uses over which the energy of that run is shared.

    `found` from `arms.shared_bills`; dashed lines and hollow markers are estimates.
    """
    theme()
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 3.8))
    axes.set(xlabel="Uses that share the energy of pretraining", ylabel="PePR-E gained over from scratch")
    if not found:
        return _empty(figure, axes, "No start from another run has an energy that can be compared.")
    handles = []
    for place, dataset in enumerate(dict.fromkeys(one.dataset for one in found)):
        rows = [one for one in found if one.dataset == dataset]
        marker, colour = MARKERS[place % len(MARKERS)], PALETTE[COLOURS[place % len(COLOURS)]]
        hollow = any(one.estimated for one in rows)
        gained = [one.transferred - one.scratch for one in rows]
        line = "--" if hollow else "-"
        fill = "white" if hollow else colour
        axes.plot(
            [one.uses for one in rows], gained, line, marker=marker, color=colour, mfc=fill, mew=1.4, ms=7
        )
        words = f"{title(dataset)}{' (estimated)' if hollow else ''}"
        handles.append(legend_entry(marker, colour, words, hollow=hollow, line=line))
    axes.axhline(0, color=PALETTE["black"], lw=1)
    log_axis(axes, "x")
    legend_below(figure, handles)
    return figure


def ranks(means: pd.DataFrame) -> Figure:
    """The rank of each network on each set, joined by a line; the first of any set stand out.

    `means` from `agreement.aurocs`. Ranked are the networks that all of its sets have, so that a rank is
    of as many on each.
    """
    theme()
    ranked = means.dropna().rank(ascending=False, method="first")
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 1.4 + 0.3 * max(len(ranked), 4)))
    if ranked.shape[1] < 2 or len(ranked) < 2:
        return _empty(figure, axes, "It takes two sets with the same networks from scratch.")
    places = np.arange(ranked.shape[1])
    leaders = [index for index in ranked.index if (ranked.loc[index] == 1).any()]
    for index, row in ranked.iterrows():
        first = index in leaders
        colour = PALETTE[COLOURS[leaders.index(index) % len(COLOURS)]] if first else PALETTE["grey"]
        axes.plot(places, row, "-", color=colour, lw=2.2 if first else 1, zorder=3 if first else 2)
        marker = MARKERS[leaders.index(index) % len(MARKERS)] if first else "o"
        axes.plot(places, row, marker, color=colour, ms=6.5 if first else 4, zorder=3 if first else 2)
        axes.annotate(
            index[1],
            (places[-1], row.iloc[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour if first else "#555555",
        )
    axes.set_xticks(places, [title(name) for name in ranked.columns])
    axes.set_xlim(-0.15, ranked.shape[1] - 1 + 0.55)
    axes.set_ylim(len(ranked) + 0.5, 0.5)
    axes.set_yticks(range(1, len(ranked) + 1))
    axes.set_ylabel("Rank by test AUROC")
    axes.grid(axis="x", visible=False)
    return figure


def _empty(figure: Figure, axes: Axes, words: str) -> Figure:
    """Say in empty axes why nothing is drawn."""
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
    return figure
