"""The figures of predicted costs. Whatever is predicted has hollow markers; what is measured is filled."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from pepr.costs.your_machine import CLASSES
from pepr.display.style import PALETTE, WIDTH_IN, legend_below, legend_entry, log_axis, theme

GB = 1e9
BAND = 0.10
NAMED = 5
ROOM = (110, 14)
"""Width and height that a name takes, in pixels of the figure as it is first laid out."""
TERM_LABELS = {
    "conv_flops": "convolutions (FLOPs)",
    "pointwise_flops": "1x1 convolutions (FLOPs)",
    "matmul_flops": "matrix products (FLOPs)",
    "large_depthwise_flops": "depthwise above 5x5 (FLOPs)",
    "bytes_moved": "memory traffic",
    "grouped_bytes": "traffic of grouped convolutions",
    "matmul_bytes": "traffic of matrix products",
    "image": "loading an image",
    "operations": "launching operations",
    "parameters": "updating parameters",
    "epoch": "starting an epoch",
}
HATCHES = ("", "////", "/|/|", "\\\\\\\\", "xxxx", "----", "++++", "\\-\\-", "||||", "/-/-", "")


def memory(rows: pd.DataFrame, setting: str = "lidc") -> Figure:
    """Predicted against published peak memory of every model of one setting, and the error of each.

    `rows` is `Evidence.memory`.
    """
    theme()
    here = rows[rows["setting"] == setting]
    observed, predicted = here["observed"] / GB, here["predicted"] / GB
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH_IN * 1.35, 3.9))
    _identity(left, observed, predicted)
    left.set(xlabel="Published peak memory (GB)", ylabel="Predicted peak memory (GB)")
    error = predicted / observed - 1
    right.axhspan(-BAND, BAND, color="#F0F0F0", zorder=0)
    right.axhline(0, color=PALETTE["black"], lw=0.8)
    right.plot(observed, error, "o", mfc="none", mec=PALETTE["blue"], ms=5)
    _name_worst(right, observed, error, here["model"])
    right.set(xlabel="Published peak memory (GB)", ylabel="Error of the prediction")
    right.yaxis.set_major_formatter(PercentFormatter(1, 0))
    log_axis(right, "x")
    one = legend_entry("o", PALETTE["blue"], "one model", hollow=True)
    legend_below(figure, [one, Patch(color="#E0E0E0", label="within 10%"), _equal_entry()])
    return figure


def energy(rows: pd.DataFrame, settings: Sequence[str]) -> Figure:
    """Energy predicted by a fit that never saw the model's family, against the published energy.

    `rows` is `Evidence.rows`; crosses lie outside their 90% interval.
    """
    theme()
    figure, all_axes = plt.subplots(1, len(settings), figsize=(WIDTH_IN * 1.35, 3.8))
    for axes, setting in zip(np.atleast_1d(all_axes), settings, strict=True):
        here = rows[(rows["setting"] == setting) & (rows["target"] == "energy_wh")]
        _identity(axes, here["observed"], here["predicted"], here["covered"])
        axes.set(title=setting, xlabel="Published energy (Wh)")
        _name_worst(axes, here["observed"], here["predicted"], here["model"], relative=True, most=3)
    np.atleast_1d(all_axes)[0].set(ylabel="Predicted energy (Wh)")
    inside = legend_entry("o", PALETTE["blue"], "predicted", hollow=True)
    outside = legend_entry("x", PALETTE["vermillion"], "outside its 90% interval")
    legend_below(figure, [inside, outside, _equal_entry()])
    return figure


def families(rows: pd.DataFrame, setting: str = "lidc") -> Figure:
    """Error of the predicted energy by family, each predicted without itself; the families missed most."""
    theme()
    here = rows[(rows["setting"] == setting) & (rows["target"] == "energy_wh")]
    here = here.assign(factor=here["predicted"] / here["observed"])
    worst = here.groupby("family")["factor"].median().map(np.log).abs().sort_values(ascending=False)
    names = worst.head(18).index[::-1]
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 5.0))
    axes.axvspan(1 / (1 + BAND), 1 + BAND, color="#F0F0F0", zorder=0)
    axes.axvline(1, color=PALETTE["black"], lw=0.8)
    for at, family in enumerate(names):
        values = here.loc[here["family"] == family, "factor"]
        axes.plot(values, np.full(len(values), at), "o", mfc="none", mec=PALETTE["blue"], ms=5)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="Predicted / published energy")
    log_axis(axes, "x", subs=(1, 1.5, 2, 3, 5, 7))
    return figure


def by_term(shares: pd.DataFrame) -> Figure:
    """What the predicted time of some models is made of; `shares` from `cost_evidence.time_by_term`."""
    theme()
    used = [name for name in shares.columns if shares[name].max() > 0.005]
    colours = [colour for name, colour in PALETTE.items() if name != "black"]
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.42 * len(shares) + 1.9))
    left = np.zeros(len(shares))
    handles = []
    for at, name in enumerate(used):
        style = {
            "facecolor": colours[at % len(colours)],
            "hatch": HATCHES[at % len(HATCHES)],
            "edgecolor": "white",
            "linewidth": 0.4,
        }
        axes.barh(shares.index, shares[name], left=left, **style)
        left += shares[name].to_numpy()
        handles.append(Patch(**style, label=TERM_LABELS[name]))
    axes.invert_yaxis()
    axes.set(xlabel="Share of the predicted training time", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    legend_below(figure, handles)
    return figure


def on_cpu(table: pd.DataFrame) -> Figure:
    """Times measured on a CPU against what was known from a GPU; `table` from `cost_evidence.on_this_cpu`."""
    theme()
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH_IN * 1.35, 3.9))
    have = table.reindex(columns=["model", "time_s", "published_wh"]).dropna()
    axes[0].plot(have["published_wh"], have["time_s"], "o", color=PALETTE["blue"], ms=6)
    axes[0].set(xlabel="Published LIDC energy on a GPU (Wh)", ylabel="Measured here, on a CPU (s)")
    log_axis(axes[0], "xy")
    _label(axes[0], have["published_wh"], have["time_s"], have["model"])
    used = table["calibrating"]
    axes[1].plot(table["calibrated_s"][~used], table["time_s"][~used], "o", mfc="none", mec=PALETTE["blue"])
    axes[1].plot(table["calibrated_s"][used], table["time_s"][used], "s", color=PALETTE["vermillion"], ms=6)
    span = [table["time_s"].min() * 0.8, table["time_s"].max() * 1.25]
    axes[1].plot(span, span, color=PALETTE["black"], lw=0.8)
    axes[1].set(xlabel="Predicted after calibration (s)")
    log_axis(axes[1], "xy")
    _label(axes[1], table["calibrated_s"], table["time_s"], table["model"])
    for each in axes:
        each.margins(0.18)
    both = legend_entry("o", PALETTE["blue"], "both measured")
    calibrating = legend_entry("s", PALETTE["vermillion"], "calibrated on")
    predicted = legend_entry("o", PALETTE["blue"], "predicted", hollow=True)
    legend_below(figure, [both, calibrating, predicted])
    return figure


def targets(table: pd.DataFrame, setting: str) -> Figure:
    """Energy until a target accuracy is reached, against the energy of the whole job; by
    `cost_evidence.energy_to_target`."""
    theme()
    reached = table.dropna(subset=["energy_to_target_wh"])
    never = table[table["energy_to_target_wh"].isna()]
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.2))
    axes.plot(reached["energy_wh"], reached["energy_to_target_wh"], "o", mfc="none", mec=PALETTE["blue"])
    floor = reached["energy_to_target_wh"].min() * 0.7
    axes.plot(never["energy_wh"], np.full(len(never), floor), "x", color=PALETTE["vermillion"], ms=5)
    until = f"Energy until {table['target'].iloc[0]:.1%} (Wh)"
    axes.set(xlabel="Energy of ten epochs (Wh)", ylabel=until, title=setting)
    log_axis(axes, "xy")
    first = reached.head(NAMED)
    _label(axes, first["energy_wh"], first["energy_to_target_wh"], first["model"])
    met = legend_entry("o", PALETTE["blue"], "reached", hollow=True)
    legend_below(figure, [met, legend_entry("x", PALETTE["vermillion"], "never in ten epochs")])
    return figure


def whole_runs(table: pd.DataFrame) -> Figure:
    """Whole runs against what a measured step says of them, and what the cost model does, by model;
    `table` from `swept_check.against_runs`."""
    theme()
    shown = (("train_time_s", "Training time"), ("peak_memory_bytes", "Peak memory"))
    order = table[table["target"] == "train_time_s"].groupby("model")["observed"].median().sort_values().index
    figure, all_axes = plt.subplots(1, 2, figsize=(WIDTH_IN * 1.35, 0.24 * len(order) + 1.9), sharey=True)
    for axes, (target, title) in zip(all_axes, shown, strict=True):
        here = table[table["target"] == target]
        at = here["model"].map({name: place for place, name in enumerate(order)})
        axes.axvspan(1 / (1 + BAND), 1 + BAND, color="#F0F0F0", zorder=0)
        axes.axvline(1, color=PALETTE["black"], lw=0.8)
        for name, style in SHAPE_AND_STEP.items():
            axes.plot(here[name] / here["observed"], at, ls="none", ms=5, **style)
        axes.set(title=title, xlabel="Predicted / measured")
        log_axis(axes, "x", subs=(1, 1.2, 1.5, 2, 3, 5, 7))
    all_axes[0].set_yticks(range(len(order)), order)
    legend_below(figure, [Line2D([], [], ls="none", ms=5, **style) for style in SHAPE_AND_STEP.values()])
    return figure


SHAPE_AND_STEP = {
    "by_shape": {"marker": "x", "color": PALETTE["vermillion"], "label": "by the cost model"},
    "by_step": {"marker": "o", "mfc": "none", "color": PALETTE["blue"], "label": "by a measured step"},
}


def machine(table: pd.DataFrame) -> Figure:
    """A training step on the authors' GPU and here, by model, and how many times slower than the median model
    each is here, by what models are made of; `table` from `your_machine.both`."""
    theme()
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH_IN * 1.35, 3.9))
    used = [name for name in CLASSES if (table["operators"] == name).any()]
    styles = {
        name: {"marker": marker, "mfc": "none", "color": list(PALETTE.values())[place], "ls": "none", "ms": 5}
        for place, (name, marker) in enumerate(zip(CLASSES, "P*DsXo", strict=True))
    }
    for name in used:
        part = table[table["operators"] == name]
        left.plot(1000 * part["there_s"], 1000 * part["here_s"], **styles[name])
        right.plot(part["ratio"], np.full(len(part), used.index(name)), **styles[name])
    left.set(xlabel="A step on the authors' GPU (ms)", ylabel="A step on this machine (ms)")
    log_axis(left, "xy")
    right.axvline(1, color=PALETTE["black"], lw=0.8)
    right.set_yticks(range(len(used)), [CLASSES[name] for name in used])
    right.invert_yaxis()
    right.set(xlabel="Time here over there (median model: 1)")
    log_axis(right, "x", subs=(1, 2, 3, 5))
    worst = table.loc[np.log(table["ratio"]).abs().nlargest(NAMED).index]
    _label(left, 1000 * worst["there_s"], 1000 * worst["here_s"], worst["model"])
    legend_below(figure, [Line2D([], [], **styles[name], label=CLASSES[name]) for name in used])
    return figure


def _identity(axes: Axes, x: pd.Series, y: pd.Series, covered: pd.Series | None = None) -> None:
    span = np.array([min(x.min(), y.min()) * 0.85, max(x.max(), y.max()) * 1.15])
    axes.fill_between(span, span / (1 + BAND), span * (1 + BAND), color="#F0F0F0", zorder=0, lw=0)
    axes.plot(span, span, color=PALETTE["black"], lw=0.8, zorder=1)
    inside = pd.Series(True, index=x.index) if covered is None else covered
    axes.plot(x[inside], y[inside], "o", mfc="none", mec=PALETTE["blue"], ms=5)
    axes.plot(x[~inside], y[~inside], "x", color=PALETTE["vermillion"], ms=5.5)
    log_axis(axes, "xy")
    axes.set(xlim=span, ylim=span)


def _equal_entry() -> Line2D:
    return Line2D([], [], color=PALETTE["black"], lw=0.8, label="equal")


def _name_worst(
    axes: Axes, x: pd.Series, y: pd.Series, names: pd.Series, relative: bool = False, most: int = NAMED
) -> None:
    off = np.log(y / x).abs() if relative else y.abs()
    worst = off.sort_values(ascending=False).head(most).index
    _label(axes, x[worst], y[worst], names[worst])


def _label(axes: Axes, x: pd.Series, y: pd.Series, names: pd.Series) -> None:
    """Names beside points, to the left of those in the right half; a name that would meet one is left out."""
    placed: list[np.ndarray] = []
    for at, name, value in zip(x, names, y, strict=True):
        where = axes.transData.transform((at, value))
        if any(abs(where[1] - other[1]) < ROOM[1] and abs(where[0] - other[0]) < ROOM[0] for other in placed):
            continue
        placed.append(where)
        right = axes.transAxes.inverted().transform(where)[0] > 0.5
        axes.annotate(
            name,
            (at, value),
            xytext=(-6 if right else 6, -2),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=7.5,
            color="#444444",
        )
