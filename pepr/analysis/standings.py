"""Which model is best, and how sure: chosen on validation, judged on test images, ties shown as ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pepr import datasets, stats
from pepr.analysis import measures, units
from pepr.analysis.claimed import overlap
from pepr.analysis.claims import more_cautious
from pepr.analysis.leaders import largest_set
from pepr.analysis.measures import N_RESAMPLES, Resampled
from pepr.analysis.peaks import values_by_run
from pepr.analysis.ranked import enough
from pepr.analysis.scores import SET, in_set, model_means, on_shared_units, usual_starts, with_sets
from pepr.display.numbers import Numbers, number
from pepr.display.words import ends, fixed, markdown, percent, tenths
from pepr.models.space import BASELINES, family_of
from pepr.quantities import MEASURES
from pepr.runs.results import Results

MEAN_COLUMNS = {
    "val_accuracy": "val_accuracy",
    "sensitivity": "test_sensitivity",
    "specificity": "test_specificity",
}
AUROC = "{:.3f}".format
"""An AUROC in words."""
PAPER = "paper_"
"""How the keys of numbers begin that stand beside the authors' tables."""
PUBLISHED_SETTINGS = {
    ("pneumoniamnist", True, 1.0): "pneumonia",
    ("pneumoniamnist", True, 0.1): "pneumonia_small",
    ("dermamnist", False, 1.0): "derma",
    ("dermamnist", True, 1.0): "derma_pt",
    ("dermamnist", True, 0.1): "derma_small",
    ("dermamnist", True, 0.01): "derma_smallest",
}
"""The paper's setting on the same data from the same start, by dataset, pretraining and training fraction."""
PUBLISHED_COLUMNS = {
    "accuracy": "test_09",
    "T": "train_time",
    "E": "energy",
    "M": "memM",
}
"""What stands beside our means in the authors' table: accuracy after the last epoch, seconds of the last
epoch, kWh of all epochs, GB at the peak."""


@dataclass(frozen=True)
class Choice:
    """The model and setting with the best mean validation accuracy on a dataset, judged on the test images.

    `accuracy` and `auroc` have intervals over what `over` says.
    """

    dataset: str
    model: str
    setting: str
    n_seeds: int
    val_accuracy: float
    accuracy: stats.Interval
    auroc: stats.Interval
    over: str


def standings(results: Results, measure: str = "auroc", n_resamples: int = N_RESAMPLES) -> pd.DataFrame:
    """How the models of each set stand: one row a set and model, best first within a set.

    Means over the runs of every measure, of validation accuracy, sensitivity and specificity; `low` and
    `high`, the 95% interval of `measure` over what `over` says. `probability_best` is how often the model is
    the best, and `tied` whether the 95% interval of its distance to the best holds zero, over what
    `compared_over` says. `low_overlap` is `low` if splits are not taken for independent, NaN where it is not
    over splits; `below_baseline` and `above_baseline`, whether a network is below or above the best baseline
    with the whole interval of their difference. All of it is of the `n_seeds` of a model's `n_runs` whose
    splits and seeds all networks of the set have (`scores.on_shared_units`); `n_units` of them, those that
    all models have, tell how models move together, each about the mean that it stands with.
    `n_models` counts those that failed too; a set of which too few finished (see `leaders`) has no share and
    no tie.
    """
    every = with_sets(results.table)
    table = on_shared_units(every)
    done = table[table["status"] == "ok"]
    values, images = values_by_run(done, measure), Resampled(results, (measure,), n_resamples).of(measure)
    means, lowest = model_means(done), measures.lowest(done, measure)
    parts = []
    for key, asked in table.groupby(SET, dropna=False):
        group = asked[asked["status"] == "ok"]
        if group.empty:
            continue
        part = means[(means[SET] == list(key)).all(axis=1)].set_index("model")
        part["n_runs"] = every[in_set(every, key) & (every["status"] == "ok")].groupby("model").size()
        for name, column in MEAN_COLUMNS.items():
            part[name] = group.groupby("model")[column].mean()
        of_models = group.groupby("model")
        own = {model: units.mean_of(runs, values, images, lowest=lowest) for model, runs in of_models}
        part["low"] = [own[model].interval.low for model in part.index]
        part["high"] = [own[model].interval.high for model in part.index]
        part["over"] = [own[model].over for model in part.index]
        share = overlap.share_of_tests(group)
        part["low_overlap"] = [overlap.lower_end(own[model], share) for model in part.index]
        gaps = _to_baseline(group, part[measure], values, images, lowest)
        part["below_baseline"] = [gap is not None and gap.high < 0 for gap in gaps]
        part["above_baseline"] = [gap is not None and gap.low > 0 for gap in gaps]
        together = units.joint(group, values, images, n_resamples)
        from_drawn = part[measure] - together.means.reindex(part.index)
        drawn = together.draws[list(part.index)].to_numpy() + from_drawn.fillna(0.0).to_numpy()
        behind = drawn[:, [int(np.argmax(part[measure]))]] - drawn
        part["n_models"], part["probability_best"], part["tied"] = asked["model"].nunique(), np.nan, pd.NA
        if enough(len(part), asked["model"].nunique()):
            part["probability_best"] = stats.probability_best(drawn)
            part["tied"] = np.percentile(behind, 2.5, axis=0) <= 0
        part["tied"] = part["tied"].astype("boolean")
        part["n_units"], part["compared_over"] = together.n_units, together.over
        parts.append(part.reset_index().sort_values(measure, ascending=False))
    kept = [*SET, "model", "num_params", "n_seeds", "n_runs", *MEAN_COLUMNS, *MEASURES]
    sure = ["low", "high", "over", "low_overlap", "below_baseline", "above_baseline"]
    sure += ["probability_best", "tied", "n_units", "compared_over", "n_models"]
    return pd.concat(parts, ignore_index=True)[[*kept, *sure]]


def _to_baseline(
    runs: pd.DataFrame, means: pd.Series, values: pd.Series, images: units.Images, lowest: float
) -> list[stats.Interval | None]:
    """What each model of `means` has more than the best baseline; None of baselines, of all without one."""
    baselines = means[means.index.isin(BASELINES)]
    if baselines.empty:
        return [None] * len(means)
    best = runs[runs["model"] == baselines.idxmax()]
    return [
        None
        if model in BASELINES
        else units.mean_of(runs[runs["model"] == model], values, images, best, lowest).interval
        for model in means.index
    ]


def choices(results: Results, n_resamples: int = N_RESAMPLES) -> list[Choice]:
    """The choice on each dataset of a study, in the order of their names; none on images of another that are
    divided otherwise."""
    done = usual_starts(results.table.query("status == 'ok'"))
    names = [name for name in sorted(done["dataset"].unique()) if datasets.find(name).same_images_as is None]
    return [choice(results, n_resamples, name) for name in names]


def choice(results: Results, n_resamples: int = N_RESAMPLES, dataset: str | None = None) -> Choice:
    """What a practitioner would have taken who sees the validation images alone, of one dataset or, without a
    name, of all. Equal means go to the smaller model."""
    table = usual_starts(with_sets(results.table))
    done = table[table["status"] == "ok"]
    if dataset is not None:
        done = done[done["dataset"] == dataset]
    means = done.groupby([*SET, "model"], dropna=False, as_index=False).agg(
        n_seeds=("seed", "nunique"),
        val_accuracy=("val_accuracy", "mean"),
        num_params=("num_params", "first"),
    )
    chosen = means.sort_values(["val_accuracy", "num_params"], ascending=[False, True]).iloc[0]
    drawn = Resampled(results, ("accuracy", "auroc"), n_resamples)
    runs = _runs_of(done, chosen)
    taken = {
        measure: units.mean_of(runs, values_by_run(done, measure), drawn.of(measure))
        for measure in drawn.measures
    }
    return Choice(
        str(chosen["dataset"]),
        str(chosen["model"]),
        str(chosen["setting"]),
        int(chosen["n_seeds"]),
        float(chosen["val_accuracy"]),
        taken["accuracy"].interval,
        taken["auroc"].interval,
        taken["auroc"].over,
    )


def agreement(results: Results, published: pd.DataFrame) -> pd.DataFrame:
    """Do the same models rank alike in the authors' table? One row a setting and quantity.

    `published` is the authors' table of all settings. Spearman's rho with its interval over the models
    that both have, or over their families where that is wider; ours are means over the seeds that all of
    ours have. Runs that a shared
    processor spoiled do not count, nor do other starts than the paper's.
    """
    rows, usual = [], on_shared_units(usual_starts(with_sets(results.table)))
    for key, group in model_means(usual).groupby(SET, dropna=False) if len(usual) else ():
        ours, first = dict(zip(SET, key, strict=True)), group.iloc[0]
        start = (ours["dataset"], bool(first["pretrained"]), float(first["train_fraction"]))
        theirs = PUBLISHED_SETTINGS.get(start)
        if theirs is None:
            continue
        pairs = group.merge(
            published[published["dataset"] == theirs], on="model", suffixes=("", "_published")
        )
        for name, column in PUBLISHED_COLUMNS.items():
            ranked = partial(stats.rank_correlation, pairs[name], pairs[column])
            found = more_cautious(ranked(), ranked(clusters=family_of(pairs["model"])))
            rows.append(
                {
                    "setting": ours["setting"],
                    "published_setting": theirs,
                    "quantity": name,
                    "n": found.n,
                    "rho": found.effect,
                    "low": found.low,
                    "high": found.high,
                }
            )
    columns = ["setting", "published_setting", "quantity", "n", "rho", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def selection_numbers(ranked: pd.DataFrame, chosen: Sequence[Choice], agreed: pd.DataFrame | None) -> Numbers:
    """What prose may quote of `standings`, `choices` and `agreement` (None without the authors' tables)."""
    out = {"choices_table": number(None, choices_table(chosen))}
    for setting, of_setting in ranked.groupby("setting"):
        rows = largest_set(of_setting)
        share = rows["probability_best"].max()
        if np.isnan(share):
            few = f"none, since {len(rows)} of {rows['n_models'].iloc[0]} models finished"
            out[f"standings_{setting}"] = number(None, standings_table(rows))
            out[f"tied_{setting}"] = number(None, few)
            continue
        tied, compared = int(rows["tied"].sum()), f"Shares and ties are over {compared_over(rows)}."
        if (rows["n_seeds"] < rows["n_runs"]).any():
            compared += " Of more runs than other networks have, those count whose split and seed all have."
        out[f"standings_{setting}"] = number(None, f"{standings_table(rows)}\n\n{compared}")
        out[f"tied_{setting}"] = number(tied, f"{tied} of {len(rows)} models")
    for _, row in (agreed if agreed is not None else pd.DataFrame()).iterrows():
        key = f"{PAPER}{row['setting']}_{row['quantity'].lower()}"
        out[f"{key}_n"] = number(int(row["n"]))
        for name in ("rho", "low", "high"):
            out[f"{key}_{name}"] = number(row[name], fixed)
    return out


def compared_over(rows: pd.DataFrame) -> str:
    """What the models of one setting were compared over, in words."""
    first = rows.iloc[0]
    if first["compared_over"] == units.IMAGES:
        return (
            f"{units.IMAGES} (splits with their seeds that all models have: {first['n_units']}; from fewer "
            f"than {stats.FEWEST_UNITS} nothing is known of how they move with them)"
        )
    return f"{first['n_units']} {first['compared_over']}"


def choices_table(chosen: Sequence[Choice]) -> str:
    """The choice on each dataset as a Markdown table."""
    alike = len({choice.over for choice in chosen}) == 1
    return markdown(
        {
            "Set": choice.dataset,
            "Model": choice.model,
            "Setting": choice.setting,
            "Runs": str(choice.n_seeds),
            "Validation accuracy": tenths(choice.val_accuracy),
            "Test AUROC": AUROC(choice.auroc.estimate),
            **_interval_cells(ends(choice.auroc.low, choice.auroc.high, AUROC), choice.over, alike),
            "Test accuracy": tenths(choice.accuracy.estimate),
        }
        for choice in chosen
    )


def _interval_cells(interval: str, over: str, alike: bool) -> dict[str, str]:
    """An interval, and what it is over: in the head of the table where all rows are alike."""
    if alike:
        return {f"95% interval over {over}": interval}
    return {"95% interval": interval, "Interval over": over}


def standings_table(rows: pd.DataFrame) -> str:
    """One set of `standings` as a Markdown table, best first, without columns that have nothing in them."""
    compared = bool(rows["probability_best"].notna().all())
    told = [name for name in ("accuracy", "sensitivity", "specificity") if rows[name].notna().any()]
    alike = rows["over"].nunique() == 1
    cells = []
    for _, row in rows.iterrows():
        of_model = {
            "Model": row["model"],
            "Runs": _runs_words(row["n_seeds"], row["n_runs"]),
            "AUROC": AUROC(row["auroc"]),
            **_interval_cells(ends(row["low"], row["high"], AUROC), row["over"], alike),
        }
        if compared:
            of_model["Share as best"] = percent(row["probability_best"])
            of_model["Tied"] = "yes" if row["tied"] else "no"
        for name in told:
            of_model[name.capitalize()] = tenths(row[name]) if pd.notna(row[name]) else "-"
        cells.append(of_model)
    return markdown(cells)


def _runs_words(n_compared: int, n_runs: int) -> str:
    """How many runs stand behind a mean, and of how many where some have no counterpart in other models."""
    return str(n_compared) if n_compared == n_runs else f"{n_compared} of {n_runs}"


def _runs_of(done: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    same = (done[SET] == chosen[SET].tolist()).all(axis=1) & (done["model"] == chosen["model"])
    return done[same]
