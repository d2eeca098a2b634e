"""The figures of what runs cost: learning curves, energy by part and by window, carbon on other grids.

They keep the conventions of `analysis.figures`: an estimate is hollow, hatched or dashed, a model that shared
the processor says so beside its name, and a run that failed ends in a mark of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pepr.analysis.energy import band
from pepr.display.marks import FAILED, SHARED_NAME, failed_entries
from pepr.display.style import PALETTE, WIDTH_IN, legend_below, legend_entry, log_axis, theme
from pepr.quantities import VALIDATION

PROCESSOR_PART = "cpu"
"""The component of which the prior for a meter on the wall speaks."""
GRID_MARKERS = ("o", "s", "D", "^", "v", "P")


def learning_curves(epochs: pd.DataFrame, highlight: str | None = None, measure: str = "val_auroc") -> Figure:
    """Validation performance after each epoch, a panel a setting; the highlighted model stands out.

    `epochs` from `energy.learning_curves`.
    """
    theme()
    settings = sorted(epochs["setting"].unique())
    columns = min(2, len(settings))
    rows = -(-len(settings) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(WIDTH_IN, 2.3 * rows + 0.6), sharex=True, sharey=True, squeeze=False
    )
    for axes, setting in zip(grid.flat, settings, strict=False):
        for _, run in epochs[epochs["setting"] == setting].groupby("run_id"):
            chosen = run["model"].iloc[0] == highlight
            colour, marker = (PALETTE["blue"], "o") if chosen else (PALETTE["grey"], None)
            width, above = (2, 3) if chosen else (1, 2)
            axes.plot(run["epoch"], run[measure], color=colour, marker=marker, ms=5, lw=width, zorder=above)
            if run["status"].iloc[0] == "failed":
                last = run.iloc[-1]
                axes.plot(last["epoch"], last[measure], FAILED, color=PALETTE["black"], ms=10, zorder=4)
        axes.set_title(setting)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in list(grid.flat)[len(settings) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("Epoch")
    for axes in grid[:, 0]:
        axes.set_ylabel(VALIDATION[measure])
    handles = [Line2D([], [], color=PALETTE["grey"], lw=1, label="other models")]
    if highlight:
        handles.insert(0, legend_entry("o", PALETTE["blue"], highlight, line="-"))
    if (epochs["status"] == "failed").any():
        handles.append(legend_entry(FAILED, PALETTE["black"], "failed here", size=9))
    legend_below(figure, handles)
    return figure


def energy_by_component(components: pd.DataFrame, setting: str, failed: Sequence[str] = ()) -> Figure:
    """Training energy of each model of a setting, stacked by component; estimates are hatched.

    `components` from `energy.by_component`; seeds are averaged. `failed` are models that have no bar.
    """
    rows = components[components["setting"] == setting]
    colours = {"cpu": PALETTE["orange"], "gpu": PALETTE["blue"], "ram": PALETTE["sky"]}
    names = {"cpu": "CPU", "gpu": "GPU", "ram": "memory"}
    return _stacked_bars(rows, "component", colours, names, ~rows["measured"].astype(bool), failed)


def energy_by_window(windows: pd.DataFrame, setting: str, failed: Sequence[str] = ()) -> Figure:
    """Energy of training, validation and one pass over the test set, a bar a model; estimates are hatched.

    `windows` from `energy.by_window`; seeds are averaged. `failed` are models that have no bar.
    """
    rows = windows[windows["setting"] == setting].dropna(subset=["energy_wh"])
    colours = {"training": PALETTE["vermillion"], "validation": PALETTE["sky"], "inference": PALETTE["green"]}
    names = {"training": "training", "validation": "validation", "inference": "test pass"}
    return _stacked_bars(rows, "window", colours, names, rows["estimated"].astype(bool), failed)


def carbon_across_countries(grids: pd.DataFrame, country: str, n_countries: int = 14) -> Figure:
    """The same energy on different grids: grams of CO2-eq in countries spread over the whole range.

    `grids` from `grids.carbon_across_countries`; all of it is estimated, so every marker is hollow, and
    the chosen country is also ringed.
    """
    theme()
    spread = np.unique(np.linspace(0, len(grids) - 1, n_countries).round().astype(int))
    chosen = grids["country_code"] == country
    rows = pd.concat([grids.iloc[spread], grids[chosen]]).drop_duplicates("country_code")
    rows = rows.sort_values("co2eq_g", ascending=False, ignore_index=True)
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.29 * len(rows) + 1.3))
    axes.hlines(rows.index, 0, rows["co2eq_g"], color="#D0D0D0", lw=1, ls="--", zorder=1)
    axes.plot(rows["co2eq_g"], rows.index, "o", mfc="white", mec=PALETTE["blue"], mew=1.6, ms=7)
    here = rows[rows["country_code"] == country]
    axes.plot(here["co2eq_g"], here.index, "o", mfc="none", mec=PALETTE["vermillion"], mew=1.8, ms=13)
    axes.set_yticks(rows.index, rows["country"])
    axes.set(xlabel="Carbon (g CO2-eq), estimated", xlim=(0, None))
    axes.grid(axis="y", visible=False)
    words = "estimate: energy times the grid's yearly average"
    handles = [legend_entry("o", PALETTE["blue"], words, hollow=True)]
    for name in here["country"]:
        handles.append(legend_entry("o", PALETTE["vermillion"], name, hollow=True, size=10))
    legend_below(figure, handles, columns=1)
    return figure


def carbon_of_models(
    grams: pd.DataFrame, countries: Mapping[str, str], shared: Collection[str] = ()
) -> Figure:
    """Grams of CO2-eq of one training of each model on several grids, on a log axis: all of it estimated.

    `grams` from `carbon.grams_by_country`, one row a model; `countries` names the columns, by code; `shared`
    are the models that had other programs beside them.
    """
    theme()
    rows = grams.rename(index={model: model + SHARED_NAME for model in shared})
    rows = rows.sort_values(grams.columns[0], ascending=False)
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.3 * len(rows) + 1.4))
    places = np.arange(len(rows))
    axes.hlines(places, rows.min(axis=1), rows.max(axis=1), color="#D0D0D0", lw=1, ls="--", zorder=1)
    handles = []
    colours = [PALETTE[name] for name in ("green", "blue", "vermillion", "purple", "orange", "sky")]
    for (code, country), marker, colour in zip(countries.items(), GRID_MARKERS, colours, strict=False):
        axes.plot(rows[code], places, marker, mfc="white", mec=colour, mew=1.6, ms=7, ls="none")
        handles.append(legend_entry(marker, colour, f"{country} (estimated)", hollow=True))
    log_axis(axes, "x")
    axes.set_yticks(places, rows.index)
    axes.set(xlabel="Carbon of one training (g CO2-eq), estimated")
    axes.grid(axis="y", visible=False)
    legend_below(figure, handles, columns=2)
    return figure


def _stacked_bars(
    rows: pd.DataFrame,
    by: str,
    colours: dict[str, str],
    words: dict[str, str],
    estimated: pd.Series,
    failed: Sequence[str],
) -> Figure:
    theme()
    shared = rows["model"].isin(rows.loc[rows["contended"].astype(bool), "model"])
    names = rows["model"].where(~shared, rows["model"] + SHARED_NAME)
    named = rows.assign(estimated=estimated, model=names)
    means = named.groupby(["model", by])[["energy_wh", "estimated"]].mean()
    totals = means["energy_wh"].groupby("model").sum().sort_values(ascending=False)
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.32 * len(totals) + 1.4))
    start = pd.Series(0.0, index=totals.index)
    handles = []
    for part, colour in colours.items():
        if part not in means.index.get_level_values(by):
            continue
        block = means.xs(part, level=by).reindex(totals.index)
        guessed = bool(block["estimated"].max() > 0)
        fill = {"facecolor": _lighter(colour), "hatch": "////"} if guessed else {"facecolor": colour}
        style = {**fill, "edgecolor": colour, "linewidth": 1.0, "linestyle": "--" if guessed else "-"}
        axes.barh(totals.index, block["energy_wh"].fillna(0), left=start, height=0.68, **style)
        start = start + block["energy_wh"].fillna(0)
        handles.append(Patch(**style, label=f"{words[part]}{' (estimated)' if guessed else ''}"))
    if PROCESSOR_PART in means.index.get_level_values(by):
        handles += _wall_band(axes, totals, means.xs(PROCESSOR_PART, level=by))
    axes.set(xlabel="Energy (Wh)")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    legend_below(figure, [*handles, *failed_entries(failed)])
    return figure


def _wall_band(axes: Axes, totals: pd.Series, processor: pd.DataFrame) -> list[Patch]:
    """Where a meter on the wall may be, for the bars by model whose processor's part is estimated, and what
    the legend says of it. Of the other parts the prior says nothing: they are added as they are."""
    part = processor.loc[processor["estimated"] > 0, "energy_wh"].dropna()
    part = part[part > 0]
    if part.empty:
        return []
    grey = {"color": PALETTE["grey"], "alpha": 0.35}
    axes.hlines(part.index, *band(part, totals[part.index] - part), lw=7, **grey)
    return [Patch(**grey, label="had the CPU's part been read on the wall, by a prior (estimated)")]


def _lighter(colour: str) -> tuple[float, float, float]:
    return tuple(0.25 * channel + 0.75 for channel in mpl.colors.to_rgb(colour))
