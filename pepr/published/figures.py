"""The paper's figures, redrawn from the authors' tables, and those of the audit: tables in, figures out.

Filled markers and solid lines are as published or measured; hollow markers and dashed lines are estimates
or mended values. Efficient models are triangles, others circles, by each model's own label.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pepr.display.style import (
    NARROW_IN,
    PALETTE,
    WIDTH_IN,
    legend_below,
    legend_entry,
    log_axis,
    theme,
)
from pepr.published.reproduction import FINAL, Peak, scores
from pepr.published.tables import EPOCHS, SETTINGS
from pepr.published.versions import Versions
from pepr.verdicts import Entry

MARKS = {True: ("^", PALETTE["green"], "efficient"), False: ("o", PALETTE["blue"], "other")}
FEW = (1, 3)
"""Times powers of ten: the numbers on the axes of small panels."""
SHORTER = {
    "Small models perform as well as large ones": "Small minus large",
    "Pretrained and fine-tuned on a tenth is as good as from scratch on all data": (
        "Pretrained on 10% minus from scratch on all"
    ),
    "Pretraining beats training from scratch": "Pretrained minus from scratch",
    "Fine-tuning on a tenth of": "10% minus 100%:",
    " costs little": "",
    "the data, over the three datasets": "the three datasets",
}
"""What a claim on accuracies is called in a figure."""
RESOURCE_WORDS = {"e": "energy", "c": "carbon", "m": "memory", "t": "training time"}


def publications_per_capita(rates: pd.DataFrame) -> Figure:
    """Publications per million people by region and year (`reproduction.publications`)."""
    theme()
    order = rates[rates["year"] == 2023].sort_values("published")["region"].tolist()
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.6))
    places = np.arange(len(order))
    handles = []
    for year, colour, marker in ((2013, PALETTE["orange"], "s"), (2023, PALETTE["blue"], "o")):
        rows = rates[rates["year"] == year].set_index("region").loc[order]
        axes.hlines(places, rows["published"], rows["corrected"], color=colour, lw=1)
        axes.plot(rows["published"], places, marker, color=colour, mec="white", ms=7, ls="none")
        axes.plot(rows["corrected"], places, marker, mfc="none", mec=colour, ms=10, ls="none")
        handles.append(legend_entry(marker, colour, f"{year}, as published"))
        handles.append(legend_entry(marker, colour, f"{year}, populations mended", hollow=True, size=10))
    axes.set(xlabel="Publications per million people", yticks=places)
    axes.set_yticklabels(order)
    log_axis(axes, "x")
    legend_below(figure, handles, columns=2)
    return figure


def model_space(means: pd.DataFrame, drawn: pd.Series) -> Figure:
    """Mean training energy against parameters; models that the paper's figure marks wrongly are ringed."""
    theme()
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.4))
    _by_size(axes, means, means["energy"] * 1000)
    wrong = means[drawn.loc[means.index] != means["efficient"]]
    ring = {"mfc": "none", "mec": PALETTE["vermillion"], "ms": 12, "mew": 1.2}
    axes.plot(wrong["num_param"] / 1e6, wrong["energy"] * 1000, "o", **ring)
    axes.set(ylabel="Mean energy of ten epochs (Wh)")
    log_axis(axes, "y")
    words = "marked otherwise in the paper's figures"
    ringed = legend_entry("o", PALETTE["vermillion"], words, hollow=True, size=11)
    legend_below(figure, [*_mark_handles(), ringed], columns=3)
    return figure


def violins(table: pd.DataFrame) -> Figure:
    """Test accuracy with and without pretraining, and on a tenth or all of the data: one line a model."""
    theme()
    wide = table.pivot(index="model", columns="dataset", values=FINAL)
    full = wide[["derma_pt", "lidc", "pneumonia"]].mean(axis=1, skipna=False)
    tenth = wide[["derma_small", "lidc_small", "pneumonia_small"]].mean(axis=1, skipna=False)
    panels = (
        ("Derma", ("from scratch", wide["derma"]), ("pretrained", wide["derma_pt"])),
        ("Mean of three datasets", ("10% of the data", tenth), ("100% of the data", full)),
    )
    figure, all_axes = plt.subplots(1, 2, figsize=(WIDTH_IN, 4.2), sharey=True)
    for axes, (title, first, second) in zip(all_axes, panels, strict=True):
        both = pd.DataFrame(dict((first, second))).dropna()
        axes.plot([0, 1], both.to_numpy().T, color=PALETTE["grey"], lw=0.5, alpha=0.35, zorder=1)
        colours = [PALETTE["orange"], PALETTE["sky"]]
        sns.violinplot(both, ax=axes, palette=colours, inner="quart", cut=0, linewidth=1, width=0.6)
        axes.set(title=f"{title} (n = {len(both)})", xlabel="")
    all_axes[0].set(ylabel="Test accuracy, last epoch")
    return figure


def accuracy_and_score(means: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Accuracy and PePR-E of each model, averaged over the settings, against parameters; `narrow`, for a
    phone, has one panel below the other."""
    return _panels(means, (("accuracy", "Test accuracy"), ("pepr_e", "PePR-E")), narrow=narrow)


PANELS = {"derma_pt": "Derma", "lidc": "LIDC", "pneumonia": "Pneumonia"}
"""The settings that start from ImageNet weights and have all training images, one a data set."""


def by_data_set(table: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Accuracy and PePR-E of each model against parameters, one data set beside the other; see `PANELS`.

    `table` is a corrected one of `Versions`: where its `energy_kind` is estimated, the score is hollow.
    `narrow`, for a phone, has the data sets below one another.
    """
    theme()
    shape = (len(PANELS), 2) if narrow else (2, len(PANELS))
    size = (NARROW_IN, 2.1 * len(PANELS)) if narrow else (WIDTH_IN * 1.25, 5.0)
    figure, grid = plt.subplots(*shape, figsize=size, sharex=True)
    scored = table.assign(score=scores(table))
    for (setting, title), pair in zip(PANELS.items(), grid if narrow else grid.T, strict=True):
        rows = scored[scored["dataset"] == setting]
        for axes, column, label in zip(pair, (FINAL, "score"), ("accuracy", "PePR-E"), strict=True):
            hollow = (rows["energy_kind"] == "estimated") & (column == "score")
            for efficient, (marker, colour, _) in MARKS.items():
                for part, face in ((~hollow, colour), (hollow, "white")):
                    some = rows[part & (rows["efficient"].astype(bool) == efficient)]
                    style = {"mfc": face, "mec": colour, "ms": 4, "ls": "none"}
                    axes.plot(some["num_param"] / 1e6, some[column], marker, **style)
            axes.set(title=f"{title}: {label}")
            log_axis(axes, "x", FEW)
    for axes in grid[-1]:
        axes.set(xlabel="Parameters (millions)")
    hollow = legend_entry("o", PALETTE["black"], "estimated", hollow=True, size=5)
    legend_below(figure, [*_mark_handles(), hollow])
    return figure


def other_scores(means: pd.DataFrame) -> Figure:
    """PePR-C, PePR-M and PePR-T against parameters (the paper's appendix)."""
    return _panels(means, tuple((f"pepr_{k}", f"PePR-{k.upper()}, by {RESOURCE_WORDS[k]}") for k in "cmt"))


def imagenet(table: pd.DataFrame) -> Figure:
    """ImageNet accuracy and PePR-M against parameters, as published and with each model's own entry."""
    theme()
    figure, all_axes = plt.subplots(1, 2, figsize=(WIDTH_IN * 1.2, 4.2))
    size = table["num_param"] / 1e6
    panels = (
        (table["top1"] / 100, table["own_top1"] / 100, "ImageNet top-1 accuracy"),
        (table["pepr_m"], table["pepr_m_own"], "PePR-M on ImageNet"),
    )
    wrong = table["joined_wrongly"].to_numpy()
    for axes, (published, own, label) in zip(all_axes, panels, strict=True):
        axes.plot(size[~wrong], published[~wrong], "o", color=PALETTE["blue"], mec="white", ms=6)
        axes.vlines(size[wrong], published[wrong], own[wrong], color=PALETTE["vermillion"], lw=0.8)
        axes.plot(size[wrong], published[wrong], "X", color=PALETTE["vermillion"], mec="white", ms=8)
        axes.plot(size[wrong], own[wrong], "o", mfc="white", mec=PALETTE["vermillion"], ms=6)
        axes.set(xlabel="Parameters (millions)", ylabel=label, ylim=(-0.04, None))
        log_axis(axes, "x")
    right = legend_entry("o", PALETTE["blue"], "the model's own entry")
    wrongly = legend_entry("X", PALETTE["vermillion"], "another's entry, or none (0)")
    mended = legend_entry("o", PALETTE["vermillion"], "with the own entry", hollow=True)
    legend_below(figure, [right, wrongly, mended], columns=3)
    return figure


def energy_time_lines(runs: Versions) -> Figure:
    """Energy against time in every setting: rows that own their energy, rows that carry another's, lines."""
    theme()
    table = runs.published
    copied = set(runs.replaced["model"] + runs.replaced["dataset"])
    is_copy = (table["model"] + table["dataset"]).isin(copied)
    figure, all_axes = plt.subplots(2, 4, figsize=(WIDTH_IN * 1.45, 5.2))
    for axes, setting in zip(all_axes.flat, SETTINGS, strict=True):
        here = table["dataset"] == setting
        own, copies = table[here & ~is_copy], table[here & is_copy]
        line = runs.lines[runs.lines["setting"] == setting].iloc[0]
        times = table.loc[here, "train_time"]
        time = np.geomspace(times.min(), times.max(), 60)
        fitted = line["intercept_wh"] + line["slope_w"] * EPOCHS * time / 3600
        axes.plot(time, np.where(fitted > 0, fitted, np.nan), color=PALETTE["black"], lw=1, zorder=1)
        axes.plot(own["train_time"], own["energy"] * 1000, "o", color=PALETTE["blue"], ms=3.5, mew=0)
        red = PALETTE["vermillion"]
        axes.plot(copies["train_time"], copies["energy"] * 1000, "x", color=red, ms=4.5, mew=1)
        counted = f"{len(copies)} of {int(here.sum())}"
        axes.text(0.04, 0.9, counted, transform=axes.transAxes, fontsize=9, color=red)
        axes.set(title=setting)
        log_axis(axes, "xy", FEW)
    for axes in all_axes[-1]:
        axes.set(xlabel="Last epoch (s)")
    for axes in all_axes[:, 0]:
        axes.set(ylabel="Ten epochs (Wh)")
    owned = legend_entry("o", PALETTE["blue"], "own energy")
    copied = legend_entry("x", PALETTE["vermillion"], "energy of another run (counted)")
    line = Line2D([], [], color=PALETTE["black"], label="line of the setting")
    legend_below(figure, [owned, copied, line], columns=3)
    return figure


def implied_power(table: pd.DataFrame, limit_w: float, ceiling_w: float) -> Figure:
    """Energy over time of every row, by setting, with the device's limit and the most that could be drawn."""
    theme()
    power = table["energy"] * 3.6e6 / (EPOCHS * table["train_time"])
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.2))
    rng = np.random.default_rng(0)
    for place, setting in enumerate(SETTINGS):
        values = power[table["dataset"] == setting]
        height = place + rng.uniform(-0.28, 0.28, len(values))
        over = (values > ceiling_w).to_numpy()
        axes.plot(values[~over], height[~over], "o", color=PALETTE["blue"], ms=3.5, mew=0, alpha=0.7)
        axes.plot(values[over], height[over], "x", color=PALETTE["vermillion"], ms=4.5, mew=1)
    for value, style, text in (
        (limit_w, ":", "limit of the card"),
        (ceiling_w, "--", "with host and overhead"),
    ):
        axes.axvline(value, color=PALETTE["black"], ls=style, lw=1.2, label=f"{text}, {value:,.0f} W")
    axes.set(xlabel="Mean power implied by energy and time (W)", yticks=range(len(SETTINGS)))
    axes.set_yticklabels(SETTINGS)
    axes.invert_yaxis()
    log_axis(axes, "x")
    axes.grid(axis="y", visible=False)
    possible = legend_entry("o", PALETTE["blue"], "possible")
    beyond = legend_entry("x", PALETTE["vermillion"], "beyond what can be drawn")
    legend_below(figure, [possible, beyond, *axes.get_legend_handles_labels()[0]], columns=2)
    return figure


def curves(peaks: Sequence[Peak]) -> Figure:
    """The PePR-E curve of every setting, published and corrected, with each peak and its 95% interval."""
    theme()
    styles = {
        "published": ("-", PALETTE["blue"], "o", -1, "published"),
        "corrected": ("--", PALETTE["vermillion"], "s", 1, "corrected (estimates)"),
    }
    figure, all_axes = plt.subplots(2, 4, figsize=(WIDTH_IN * 1.45, 5.2), sharex=True)
    for axes, setting in zip(all_axes.flat, SETTINGS, strict=True):
        here = [peak for peak in peaks if peak.setting == setting]
        top = max(peak.score for peak in here)
        for peak in here:
            style, colour, marker, side, _ = styles[peak.table]
            width = 2.4 if peak.table == "published" else 1.2
            axes.plot(peak.curve.resource_norm, peak.curve.score, style, color=colour, lw=width)
            height = top * (1.045 + 0.02 * side)
            axes.plot([peak.low, peak.high], [height, height], color=colour, lw=2.5, solid_capstyle="butt")
            face = colour if peak.table == "published" else "white"
            axes.plot(peak.energy_norm, peak.score, marker, mfc=face, mec=colour, ms=6, mew=1.4, zorder=4)
        axes.set(title=setting, xlim=(-0.001, 1.05))
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
    for axes in all_axes[-1]:
        axes.set(xlabel="Normalised energy")
    for axes in all_axes[:, 0]:
        axes.set(ylabel="PePR-E")
    handles = [
        legend_entry(marker, colour, words, hollow=name != "published", line=style)
        for name, (style, colour, marker, _, words) in styles.items()
    ]
    handles.append(Line2D([], [], color=PALETTE["grey"], lw=2.5, label="95% interval of the peak's place"))
    legend_below(figure, handles, columns=3)
    return figure


def rank_sensitivity(rows: pd.DataFrame) -> Figure:
    """Rank correlation and top-ten overlap with the published PePR-E, by setting and variant."""
    theme()
    rows = rows.assign(variant=rows["table"] + ", " + rows["normalisation"])
    figure, all_axes = plt.subplots(1, 2, figsize=(WIDTH_IN * 1.25, 4.6), sharey=True)
    panels = (("spearman", "Rank correlation"), ("top_ten_overlap", "Overlap of the ten best"))
    for axes, (column, title) in zip(all_axes, panels, strict=True):
        grid = rows.pivot(index="variant", columns="setting", values=column)[list(SETTINGS)]
        grid = grid.loc[rows["variant"].drop_duplicates()]
        look = {"vmin": 0, "vmax": 1, "cmap": "cividis", "cbar": False}
        sns.heatmap(grid, ax=axes, annot=True, fmt=".2f", annot_kws={"size": 8}, **look)
        axes.set(xlabel="", ylabel="", title=title)
        axes.set_xticks(
            axes.get_xticks(), axes.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor"
        )
    return figure


def claims(records: Sequence[Entry], title: str = "") -> Figure:
    """Effects in test accuracy with their intervals, published and corrected, against the margin of each.

    A claim that has no average in either table, since its parts point in different directions, is left out.
    """
    theme()
    of_accuracy = [r for r in records if r["id"].startswith(("small_as_good", "tenth", "pretraining"))]
    shown = [r for r in of_accuracy if None not in (r["effect"], r["effect_corrected"])]
    figure, axes = plt.subplots(figsize=(WIDTH_IN * 1.25, 0.36 * len(shown) + 1.4))
    axes.axvline(0, color=PALETTE["black"], lw=0.8)
    for place, record in enumerate(shown):
        if record["margin"]:
            band = 100 * np.array([-1, 1]) * record["margin"]
            axes.fill_betweenx([place - 0.5, place + 0.5], *band, color=PALETTE["grey"], alpha=0.18, lw=0)
        for suffix, shift, marker, colour, face in (
            ("", -0.13, "o", PALETTE["blue"], PALETTE["blue"]),
            ("_corrected", 0.13, "s", PALETTE["vermillion"], "white"),
        ):
            effect, low, high = (100 * record[f"{name}{suffix}"] for name in ("effect", "low", "high"))
            axes.plot([low, high], [place + shift] * 2, color=colour, lw=1.6)
            axes.plot(effect, place + shift, marker, mfc=face, mec=colour, ms=5.5)
    axes.set(xlabel="Difference in accuracy (points)", yticks=range(len(shown)), title=title)
    axes.set_yticklabels([_short(record["claim"]) for record in shown])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    published = legend_entry("o", PALETTE["blue"], "published", line="-")
    corrected = legend_entry("s", PALETTE["vermillion"], "corrected", hollow=True, line="-")
    band = Patch(color=PALETTE["grey"], alpha=0.18, label="margin of equivalence")
    legend_below(figure, [published, corrected, band])
    return figure


def _short(claim: str) -> str:
    """The claim as a row label: which difference is drawn."""
    words = claim.rstrip(".")
    for long, short in SHORTER.items():
        words = words.replace(long, short)
    return words


def _panels(means: pd.DataFrame, columns: Sequence[tuple[str, str]], *, narrow: bool = False) -> Figure:
    theme()
    if narrow:
        figure, all_axes = plt.subplots(len(columns), 1, figsize=(NARROW_IN, 2.7 * len(columns)), sharex=True)
    else:
        size = (WIDTH_IN * 1.25, 3.6)
        figure, all_axes = plt.subplots(1, len(columns), figsize=size, sharey=len(columns) > 2)
    for axes, (column, label) in zip(all_axes, columns, strict=True):
        _by_size(axes, means, means[column])
        axes.set(title=label)
    all_axes[0].set(ylabel="Mean of the settings")
    legend_below(figure, _mark_handles())
    return figure


def _by_size(axes: Axes, means: pd.DataFrame, values: pd.Series) -> None:
    size = means["num_param"] / 1e6
    for efficient, (marker, colour, _) in MARKS.items():
        rows = means["efficient"] == efficient
        axes.plot(size[rows], values[rows], marker, color=colour, mec="white", mew=0.5, ms=6.5, ls="none")
    axes.set(xlabel="Parameters (millions)")
    log_axis(axes, "x")


def _mark_handles() -> list[Line2D]:
    return [legend_entry(*mark, size=6.5) for mark in MARKS.values()]
