"""Every figure of the study: tables in, matplotlib figures out.

What is measured has filled markers and solid lines or bars; what is estimated has hollow markers, dashed
lines or hatched bars, and a legend that says so. What shared the processor has a stroke through its marker, a
cross where that keeps it from being ranked; what failed is named in the legend (`display.marks`). Colours are
those of Okabe and Ito, told apart by marker or line style as well, so that figures can be read in greyscale.

A figure of scores is of one set. Where a setting has several, on several machines for example, it is the one
with most models that were scored.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.isotonic import isotonic_regression

from pepr.analysis import measures
from pepr.analysis.leaders import leader
from pepr.analysis.ranked import enough
from pepr.analysis.scores import SET, earned, of_set, run_alike, usual_starts
from pepr.display.curve import PeakMark, draw_curve
from pepr.display.marks import failed_entries, shared_marks, too_few
from pepr.display.style import PALETTE, WIDTH_IN, legend_below, legend_entry, log_axis, theme
from pepr.display.words import fixed
from pepr.models.space import BASELINES
from pepr.quantities import MEASURES, RESOURCES
from pepr.score import of

MOST_NAMES = 16
"""How many names fit in a column beside the axes."""
STYLES = {
    "from scratch": ("o", PALETTE["vermillion"]),
    "pretrained": ("s", PALETTE["blue"]),
    "baseline": ("D", PALETTE["green"]),
}
"""Marker and colour of what a model starts from; a baseline starts from nothing."""
NETWORK_STARTS = ("from scratch", "pretrained")


def model_space(scores: pd.DataFrame, resource: str = "T") -> Figure:
    """Size of each model against what its training needs, on two log axes, on the most data that was used.

    `scores` is a table of `analysis.pepr_table`, of which what can be compared is drawn (`scores.run_alike`):
    one point a model and setting, shape and colour by pretraining, hollow where the resource is an estimate,
    marked where a run shared the CPU.
    """
    theme()
    rows = scores[(scores["resource"] == resource) & (scores["measure"] == scores["measure"].iloc[0])]
    failed = failed_entries(rows.loc[rows["status"] == "failed", "model"])
    rows = rows.dropna(subset=["resource_value", "num_params"])
    rows = run_alike(rows[rows["train_fraction"] == rows["train_fraction"].max()])
    label, factor = RESOURCES[resource].axis, RESOURCES[resource].scale
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.4))
    x, y = rows["num_params"].astype(float) / 1e6, rows["resource_value"] * factor
    for start, group in rows.groupby(_starts(rows)):
        _points(axes, x[group.index], y[group.index], group["kind"], start)
    shared = shared_marks(axes, x, y, rows["contended"], rows["shared"])
    axes.set(xlabel="Parameters (millions)", ylabel=label)
    if rows.empty:
        return figure
    log_axis(axes, "xy")
    axes.margins(0.07)
    legend_below(figure, [*_style_handles(rows), *shared, *failed])
    named = _worth_naming(rows)
    _side_labels(axes, x[named.index], y[named.index], named["model"])
    return figure


def performance_vs_resource(
    scores: pd.DataFrame, intervals: pd.DataFrame, setting: str, resource: str = "T", measure: str = "auroc"
) -> Figure:
    """Performance against a resource in one setting, with 95% intervals and lines of equal PePR.

    `scores` from `analysis.pepr_table`, `intervals` from `analysis.performance_intervals`. `measure` is any
    of `quantities.MEASURES`. The best score has a ring where `leaders.leader` names one.
    """
    theme()
    asked = _rows(scores, setting, resource, measure)
    rows = asked.dropna(subset=["resource_value", "performance"])
    bars = of_set(intervals[intervals["measure"] == measure], rows)
    bars = bars.set_index("model").reindex(rows["model"])
    label, factor = RESOURCES[resource].axis, RESOURCES[resource].scale
    x, y = rows["resource_value"].to_numpy() * factor, rows["performance"].to_numpy()
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.6))
    low, high = bars["low"].to_numpy(), bars["high"].to_numpy()
    spread = [np.maximum(y - low, 0), np.maximum(high - y, 0)]
    axes.errorbar(x, y, spread, fmt="none", ecolor="#9A9A9A", lw=1.2, zorder=2)
    for start, group in rows.groupby(_starts(rows)):
        _points(axes, group["resource_value"] * factor, group["performance"], group["kind"], start)
    marks = shared_marks(axes, x, y, rows["contended"], rows["shared"])
    found = leader(asked, "score")
    if found:
        best = rows[rows["model"].isin(found.models)]
        ring = {"mfc": "none", "mec": PALETTE["black"], "ms": 13, "mew": 1.4}
        axes.plot(best["resource_value"] * factor, best["performance"], "o", **ring)
        marks.append(legend_entry("o", PALETTE["black"], "best PePR", hollow=True, size=10))
    ranked = rows.dropna(subset=["score"])["resource_value"] * factor
    axes.set(xlabel=label, ylabel=MEASURES[measure].label)
    axes.set_xlim(*_padded(x, 0.06))
    axes.set_ylim(*_padded(np.concatenate([low, high]), 0.08))
    _pepr_lines(axes, ranked.min(), ranked.max())
    handles = [
        *_style_handles(rows),
        *([Line2D([], [], color=PALETTE["grey"], ls=":", label="equal PePR")] if len(ranked) > 1 else []),
        *marks,
        *failed_entries(asked.loc[asked["status"] == "failed", "model"]),
    ]
    legend_below(figure, handles)
    named = _worth_naming(rows)
    _side_labels(axes, named["resource_value"] * factor, named["performance"], named["model"])
    return figure


def pepr_curve(
    scores: pd.DataFrame,
    curves: pd.DataFrame,
    peaks: pd.DataFrame,
    setting: str,
    resource: str = "T",
    measure: str = "auroc",
) -> Figure:
    """The PePR curve of one setting: the best performance a budget buys, its score, and where it peaks.

    `curves` and `peaks` from `analysis.curves` and `analysis.peak_table`. The band is the 95% interval of the
    peak's location when test images and seeds are resampled; a setting without a peak has no band, and one
    of which too few models can be ranked (see `leaders`), as when all were contended, no curve.
    """
    theme()
    asked = _rows(scores, setting, resource, measure)
    rows = asked.dropna(subset=["score"])
    curve, peak = (of_set(_chosen(table, setting, resource, measure), rows) for table in (curves, peaks))
    estimated = bool((rows["kind"] == "estimated").any())
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.4))
    axes.set(
        xlabel=f"{RESOURCES[resource].label}, normalised over the setting",
        ylabel=MEASURES[measure].label,
        xlim=(-0.02, 1.02),
    )
    if not enough(len(rows), len(asked)):
        too_few(axes, len(rows), len(asked))
        return figure
    mark = None
    if len(peak):
        at = peak.iloc[0]
        place = (at["location_norm"], at["performance"], at["location_norm_low"], at["location_norm_high"])
        mark = PeakMark(at["model"], *place)
    points = (rows["resource_norm"], earned(rows["performance"]))
    marks = shared_marks(axes, *points, rows["contended"], rows["shared"])
    marks += failed_entries(asked.loc[asked["status"] == "failed", "model"])
    steps = (curve["resource_norm"], curve["best_performance"])
    draw_curve(figure, axes, points, steps, mark, estimated, marks)
    if estimated:
        axes.set_title("the resource is an estimate", fontsize=10, style="italic")
    return figure


def paired_slopes(runs: pd.DataFrame, measure: str = "auroc") -> Figure:
    """What pretraining and what data buy: the same model from scratch and pretrained, on all data (left) and
    on a tenth (middle); a tenth of the data and all of it (right). A line joins runs that differ in that.

    `runs` is a results table; only `ok` rows with all or a tenth of the data are drawn.
    """
    theme()
    done = usual_starts(runs[(runs["status"] == "ok") & ~runs["model"].isin(BASELINES)])
    done = done.assign(performance=measures.values(done, measure))
    column = "performance"
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH_IN * 1.25, 4.2), sharey=True)
    for axes, fraction, words in ((left, 1.0, "all data"), (middle, 0.1, "10% of data")):
        some = done[done["train_fraction"] == fraction]
        _slopes(axes, some, "pretrained", (False, True), ["dataset", "model", "seed"], column)
        axes.set_xticks([0, 1], ["from scratch", "pretrained"])
        axes.set(title=f"Pretraining, {words}")
    left.set(ylabel=MEASURES[measure].label)
    fractions = done[done["train_fraction"].isin([0.1, 1.0])]
    pair = ["dataset", "model", "seed", "pretrained"]
    _slopes(right, fractions, "train_fraction", (0.1, 1.0), pair, column)
    right.set_xticks([0, 1], ["10% of data", "all data"])
    right.set(title="Data, by starting point")
    for axes in (left, middle, right):
        axes.set_xlim(-0.25, 1.25)
        axes.grid(axis="x", visible=False)
    handles = [legend_entry(*STYLES[start], start, line="-") for start in NETWORK_STARTS]
    legend_below(figure, handles)
    return figure


def pepr_profile() -> Figure:
    """PePR over normalised resource and performance: the definition as a map, with lines of equal score."""
    theme()
    norm, performance = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101))
    score = of(performance, norm)
    figure, axes = plt.subplots(figsize=(WIDTH_IN * 0.8, 4.2))
    filled = axes.contourf(norm, performance, score, levels=np.linspace(0, 1, 11), cmap="cividis")
    lines = axes.contour(
        norm, performance, score, levels=np.linspace(0.1, 0.9, 9), colors="white", linewidths=0.8
    )
    axes.clabel(lines, fmt="%.1f", fontsize=9)
    axes.set(xlabel="Resource, normalised", ylabel="Performance")
    axes.grid(visible=False)
    figure.colorbar(filled, ax=axes, label="PePR")
    return figure


def rank_comparison(
    scores: pd.DataFrame, setting: str, resource: str = "T", measure: str = "auroc"
) -> Figure:
    """Ranks of the models of a setting when the range is the setting's own, and when it is frozen.

    A line that changes rank is drawn dark and solid, one that keeps it grey. `scores` from
    `analysis.pepr_table`.
    """
    theme()
    asked = _rows(scores, setting, resource, measure)
    rows = asked.dropna(subset=["score"]).copy()
    if not enough(len(rows), len(asked)):
        figure, axes = plt.subplots(figsize=(WIDTH_IN, 1.6))
        axes.set_axis_off()
        too_few(axes, len(rows), len(asked))
        return figure
    for column, by in (("left", "score"), ("right", "score_frozen")):
        rows[column] = rows[by].rank(ascending=False, method="first")
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.32 * len(rows) + 1.4))
    marks = []
    for side, column in enumerate(("left", "right")):
        at = np.full(len(rows), float(side))
        marks = shared_marks(axes, at, rows[column], rows["contended"], rows["shared"])
    marks += failed_entries(asked.loc[asked["status"] == "failed", "model"])
    for _, row in rows.iterrows():
        moved = row["rank"] != row["rank_frozen"]
        colour = PALETTE["vermillion"] if moved else PALETTE["grey"]
        axes.plot([0, 1], [row["left"], row["right"]], "-o", color=colour, lw=2 if moved else 1.2, ms=5)
        left = f"{row['model']}  {fixed(row['score'], 3)}"
        right = f"{fixed(row['score_frozen'], 3)}  {row['model']}"
        axes.text(-0.04, row["left"], left, ha="right", va="center", fontsize=9.5)
        axes.text(1.04, row["right"], right, ha="left", va="center", fontsize=9.5)
    axes.set_xticks([0, 1], ["range of\nthis setting", "range over\nall settings"])
    axes.set_yticks([])
    axes.set(xlim=(-1.3, 2.3), ylim=(len(rows) + 0.6, 0.4))
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    handles = [
        legend_entry("o", PALETTE["vermillion"], "changes rank", line="-"),
        legend_entry("o", PALETTE["grey"], "keeps its rank", line="-"),
    ]
    legend_below(figure, [*handles, *marks])
    return figure


def _rows(scores: pd.DataFrame, setting: str, resource: str, measure: str) -> pd.DataFrame:
    """The scores of one set: of those in the setting, the one with most models that have a score."""
    rows = _chosen(scores, setting, resource, measure)
    if rows.empty:
        return rows
    sets = rows.groupby(SET, dropna=False)
    largest = sets["score"].transform("count").idxmax()
    return rows[sets.ngroup() == sets.ngroup()[largest]]


def _chosen(table: pd.DataFrame, setting: str, resource: str, measure: str) -> pd.DataFrame:
    return table[
        (table["setting"] == setting) & (table["resource"] == resource) & (table["measure"] == measure)
    ]


def _worth_naming(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model: all models where their names fit beside the axes, else those with the best scores and
    the dearest, which sets the range."""
    each = rows.sort_values("score", ascending=False, kind="stable").drop_duplicates("model")
    if len(each) <= MOST_NAMES:
        return each
    dearest = each.loc[[each["resource_value"].idxmax()]]
    return pd.concat([each.drop(dearest.index).head(MOST_NAMES - 1), dearest])


def _starts(rows: pd.DataFrame) -> pd.Series:
    """What each row's model starts from: a key of `STYLES`."""
    starts = rows["pretrained"].astype(bool).map({False: "from scratch", True: "pretrained"})
    return starts.where(~rows["model"].isin(BASELINES), "baseline")


def _points(axes: Axes, x: pd.Series, y: pd.Series, kind: pd.Series, start: str) -> None:
    marker, colour = STYLES[start]
    estimated = (kind == "estimated").to_numpy()
    axes.plot(x[~estimated], y[~estimated], marker, color=colour, ms=7, mec="white", mew=0.6, zorder=3)
    axes.plot(x[estimated], y[estimated], marker, mfc="white", mec=colour, ms=7, mew=1.6, zorder=3)


def _style_handles(rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries for the combinations of start and estimation that are in the rows."""
    handles, starts = [], _starts(rows)
    for text, (marker, colour) in STYLES.items():
        kinds = set(rows.loc[starts == text, "kind"])
        if kinds - {"estimated"}:
            handles.append(legend_entry(marker, colour, text))
        if "estimated" in kinds:
            handles.append(legend_entry(marker, colour, f"{text} (estimated)", hollow=True))
    return handles


def _padded(values: np.ndarray, share: float) -> tuple[float, float]:
    low, high = np.nanmin(values), np.nanmax(values)
    pad = share * (high - low) or 0.05 * (abs(high) or 1.0)
    return low - pad, high + pad


def _pepr_lines(axes: Axes, low: float, high: float) -> None:
    """Lines of equal PePR for a resource range (low, high) in the axis's unit."""
    if not high > low:
        return
    x = np.linspace(*axes.get_xlim(), 50)
    norm = np.clip((x - low) / (high - low), 0, None)
    bottom, top = axes.get_ylim()
    for level in np.arange(0.1, 1.0, 0.1):
        y = level * (1 + norm)
        inside = (y >= bottom) & (y <= top)
        if inside.sum() < 5:
            continue
        axes.plot(x[inside], y[inside], ls=":", color=PALETTE["grey"], lw=1, zorder=1)
        last = np.flatnonzero(inside)[-1]
        axes.annotate(
            f"{level:.1f}",
            (x[last], y[last]),
            xytext=(-2, -2),
            textcoords="offset points",
            fontsize=8.5,
            color="#555555",
            ha="right",
            va="top",
            zorder=1.5,
            bbox={"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8},
        )


def _side_labels(axes: Axes, x: Sequence[float], y: Sequence[float], labels: Sequence[str]) -> None:
    """Names in a column at the right, none over another, each joined to its point by a thin line."""
    x, y, labels = np.asarray(x, dtype=float), np.asarray(y, dtype=float), list(labels)
    axes.figure.draw_without_rendering()
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = np.array([to_axes.transform(point)[1] for point in zip(x, y, strict=True)])
    spread = spread_out(heights, gap=13.5 / (axes.get_window_extent().height * 72 / axes.figure.dpi))
    for px, py, text, height in zip(x, y, labels, spread, strict=True):
        axes.annotate(
            text,
            (px, py),
            xytext=(1.04, height),
            xycoords="data",
            textcoords="axes fraction",
            fontsize=9,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#BBBBBB", "lw": 0.6, "shrinkA": 1, "shrinkB": 4},
        )


def spread_out(heights: np.ndarray, gap: float) -> np.ndarray:
    """Heights [n] moved as little as makes them at least `gap` apart, in the same order, none above 1."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    placed = isotonic_regression(heights[order] - steps) + steps
    out = np.empty_like(placed)
    out[order] = placed - max(0.0, placed[-1] - max(1.0, heights.max()))
    return out


def _slopes(axes: Axes, rows: pd.DataFrame, side: str, values: tuple, pair: list[str], column: str) -> None:
    """One line for every pair of runs that agree in `pair` and hold the two `values` of `side`."""
    for _, group in rows.groupby(pair):
        ends = [group.loc[group[side] == value, column] for value in values]
        if any(end.empty for end in ends):
            continue
        pretrained = bool(group["pretrained"].iloc[0]) if side != "pretrained" else None
        heights = [float(end.iloc[0]) for end in ends]
        line = PALETTE["grey"] if pretrained is None else STYLES[NETWORK_STARTS[pretrained]][1]
        axes.plot([0, 1], heights, "-", color=line, lw=1.3, zorder=1)
        for position, height in enumerate(heights):
            marker, colour = STYLES[NETWORK_STARTS[position if pretrained is None else pretrained]]
            axes.plot(position, height, marker, color=colour, ms=6.5, mec="white", mew=0.6)
