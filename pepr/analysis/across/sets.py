"""The networks of a study side by side: of each dataset, from each start, and what validation takes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pepr import datasets, stats
from pepr.analysis import measures, units
from pepr.analysis.claims import CELLS, of_cell
from pepr.analysis.measures import N_RESAMPLES, Resampled
from pepr.analysis.scores import usual_starts, with_sets
from pepr.display.words import between
from pepr.models.space import BASELINES
from pepr.runs.metrics import GRADED
from pepr.runs.results import Results

FULL = ("pretrained_full", "scratch_full")
"""The cells on all training images."""
ARMS = {
    "shuffled_full": lambda rows: rows["shuffled"].fillna(False).astype(bool),
    "transferred_full": lambda rows: rows["init_from"].notna(),
}
"""What starts otherwise, on all training images: from ImageNet weights whose values changed places within
each tensor, and from the network that another run of the study left."""
TARGETS = {"breastmnist": 0.88, "retinamnist": 0.70, "pneumoniamnist": 0.93, "ham10000": 0.90}
"""The test AUROC (macro) that the network which validation takes was to reach, set before the runs."""
SERIES = re.compile(r"_?\d+$")


@dataclass(frozen=True)
class Chosen:
    """The network and start with the best mean validation accuracy on a dataset, on all training images.

    `auroc` is what its runs have on the test images, over what `over` says. Equal means go to the smaller
    network, as in `standings.choice`; here baselines and parts of the training images take no part.
    """

    dataset: str
    model: str
    cell: str
    n_seeds: int
    auroc: stats.Interval
    over: str


@dataclass(frozen=True)
class Sets:
    """The `ok` runs of the networks of a study, by dataset and cell of `claims.CELLS`.

    A dataset counts as a set where two networks or more were trained on all of its images: what is there
    besides, such as a second split of the same images, is compared with nothing.
    """

    results: Results
    n_resamples: int = N_RESAMPLES
    only: frozenset[str] | None = None
    """The run_ids that count; all where None."""

    @cached_property
    def done(self) -> pd.DataFrame:
        """Every `ok` row, baselines included, of what starts as `scores.usual_starts` says."""
        return usual_starts(self.everything)

    @cached_property
    def everything(self) -> pd.DataFrame:
        """Every `ok` row, whatever it starts from."""
        rows = with_sets(self.results.table).query("status == 'ok'")
        return rows if self.only is None else rows[rows["run_id"].isin(self.only)]

    @cached_property
    def networks(self) -> pd.DataFrame:
        return self.done[~self.done["model"].isin(BASELINES)]

    @cached_property
    def names(self) -> list[str]:
        """The sets, those with fewest training images first."""
        full = pd.concat([of_cell(self.networks, cell) for cell in FULL])
        counts = full.groupby("dataset").agg(models=("model", "nunique"), images=("n_train", "max"))
        return list(counts[counts["models"] > 1].sort_values("images", kind="stable").index)

    @cached_property
    def auroc(self) -> pd.Series:
        """Test AUROC by run_id."""
        return measures.values(self.everything.set_index("run_id"), "auroc")

    @cached_property
    def images(self) -> units.Images:
        """Draws of the test AUROC, test images resampled."""
        return Resampled(self.results, ("auroc",), self.n_resamples).of("auroc")

    def cell(self, dataset: str, cell: str, models: Collection[str] | None = None) -> pd.DataFrame:
        """The runs of one set in one cell, of some networks or of all; the cells of `ARMS` are two more."""
        if cell in ARMS:
            rows = self.everything[self.everything["dataset"] == dataset]
            rows = rows[(rows["train_fraction"] == 1.0) & ARMS[cell](rows)]
        else:
            rows = of_cell(self.networks[self.networks["dataset"] == dataset], cell)
        return rows if models is None else rows[rows["model"].isin(models)]

    def both(self, dataset: str, first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The runs of the networks that two cells of a set have in common, of each network the seeds that
        it has in both.

        Where all of them share fewer units than an interval takes, those that were repeated most often.
        """
        cells = [self.cell(dataset, name) for name in (first, second)]
        shared = {
            model: set.intersection(*(set(rows.loc[rows["model"] == model, "seed"]) for rows in cells))
            for model in set(cells[0]["model"]) & set(cells[1]["model"])
        }
        numbers = [len(seeds) for seeds in shared.values()]
        least = 1 if min(numbers, default=0) >= stats.FEWEST_UNITS else max([1, *numbers])
        pairs = {(model, seed) for model, seeds in shared.items() for seed in seeds if len(seeds) >= least}
        first_rows, second_rows = (
            rows[np.array([pair in pairs for pair in zip(rows["model"], rows["seed"], strict=True)], bool)]
            for rows in cells
        )
        return first_rows, second_rows

    def chosen(self, dataset: str) -> Chosen:
        """What validation takes of a set; see `Chosen`."""
        rows = self._taken(dataset)
        found = units.mean_of(rows, self.auroc, self.images)
        first = rows.iloc[0]
        cell = next(name for name in FULL if CELLS[name][0] == bool(first["pretrained"]))
        return Chosen(dataset, str(first["model"]), cell, rows["seed"].nunique(), found.interval, found.over)

    def _taken(self, dataset: str) -> pd.DataFrame:
        parts = [self.cell(dataset, cell) for cell in FULL]
        means = pd.concat(parts).groupby(["pretrained", "model"], as_index=False)
        means = means.agg(val_accuracy=("val_accuracy", "mean"), num_params=("num_params", "first"))
        best = means.sort_values(["val_accuracy", "num_params"], ascending=[False, True]).iloc[0]
        rows = pd.concat(parts)
        return rows[(rows["model"] == best["model"]) & (rows["pretrained"] == best["pretrained"])]


def title(dataset: str) -> str:
    """The short name of a dataset: BreastMNIST, HAM10000."""
    return datasets.find(dataset).short_title


def series(model: str) -> str:
    """The architecture of a network without its size: the pretrained ones are of two such series.

    Narrower than a family, which is a module of timm: one family holds both of them.
    """
    return SERIES.sub("", model)


def grades(sets: Sets, dataset: str) -> pd.DataFrame:
    """The agreement with ordered grades, on all training images: one row a start and model, best kappa first.

    Means over runs of the quadratic-weighted kappa and of the mean absolute error in grades, each with the
    ends of its 95% interval over what `over` says, as `units.mean_of` has it. Empty for a set whose classes
    are in no order.
    """
    rows = sets.done[(sets.done["dataset"] == dataset) & (sets.done["train_fraction"] == 1.0)]
    rows = rows[rows["test_mean_absolute_error"].notna()]
    found = []
    bounds = {"test_quadratic_kappa": (-1.0, 1.0)}
    bounds["test_mean_absolute_error"] = (0.0, len(datasets.find(dataset).classes) - 1.0)
    for (setting, model), group in rows.groupby(["setting", "model"]):
        of_runs, runs = units.contrast(group), group.set_index("run_id")
        kappa, error = (
            units.mean_of_contrast(of_runs, group, runs[column], _draws_of(sets, column), *ends)
            for column, ends in bounds.items()
        )
        found.append(
            {
                "setting": setting,
                "model": model,
                "runs": len(group),
                **units.with_ends("kappa", kappa.interval),
                **units.with_ends("error", error.interval),
                "over": kappa.over,
            }
        )
    ends = [f"{name}{end}" for name in ("kappa", "error") for end in ("", "_low", "_high")]
    table = pd.DataFrame(found, columns=["setting", "model", "runs", *ends, "over"])
    return table.sort_values("kappa", ascending=False, kind="stable", ignore_index=True)


def _draws_of(sets: Sets, column: str) -> units.Images:
    """Draws of a column of `metrics.GRADED`, test images resampled; 0 for a kappa of one grade."""

    def images(rows: pd.DataFrame) -> pd.DataFrame:
        draws = {}
        for run_id in rows["run_id"]:
            probabilities, labels = sets.results.predictions(run_id)
            groups = sets.results.groups(run_id)
            clusters = np.arange(len(labels)) if groups is None else groups
            counts = stats.cluster_counts(clusters, sets.n_resamples)
            draws[run_id] = np.nan_to_num(GRADED[column](probabilities, labels, counts))
        return pd.DataFrame(draws)

    return images


def tenths(sets: Sets) -> pd.DataFrame:
    """What a tenth of each set is: its images, about how many of the rarest class, the steps of a whole run,
    and the validation images, which are all there.

    The share of the rarest class is that of the test images. Sets without such runs have no row.
    """
    found = []
    for dataset in sets.names:
        tenth, full = (
            pd.concat([sets.cell(dataset, f"{start}_{part}") for start in ("pretrained", "scratch")])
            for part in ("tenth", "full")
        )
        if tenth.empty:
            continue
        _, labels = sets.results.predictions(full["run_id"].iloc[0])
        rarest = float(np.bincount(labels).min() / len(labels))
        found.append(
            {
                "dataset": dataset,
                "all": int(full["n_train"].iloc[0]),
                "tenth": int(tenth["n_train"].iloc[0]),
                "classes": len(np.unique(labels)),
                "rarest": rarest * int(tenth["n_train"].iloc[0]),
                "steps": _steps(tenth.iloc[0]),
                "steps_of_all": _steps(full.iloc[0]),
                "val": int(full["n_val"].iloc[0]),
                "test": len(labels),
            }
        )
    names = ["dataset", "all", "tenth", "classes", "rarest", "steps", "steps_of_all", "val", "test"]
    return pd.DataFrame(found, columns=names)


def last_epochs(sets: Sets) -> pd.DataFrame:
    """In how many runs on all images the epoch that validation takes is the last: more epochs might have
    served these better.

    One row a set with both starts, over the `n` networks and seeds that were trained both ways; `epochs` are
    those of a run. Sets without such runs have no row.
    """
    found = []
    for dataset in sets.names:
        sides = sets.both(dataset, *FULL)
        if sides[0].empty:
            continue
        last = [int((rows["best_epoch"] == rows["epochs"] - 1).sum()) for rows in sides]
        epochs = between(pd.concat(sides)["epochs"], "{:.0f}".format)
        found.append([dataset, epochs, *last, len(sides[0])])
    return pd.DataFrame(found, columns=["dataset", "epochs", "pretrained", "scratch", "n"])


def _steps(row: pd.Series) -> int:
    """The steps of a whole run: a last batch of a single image is left out, as the training does."""
    images, batch = int(row["n_train"]), int(row["batch_size"])
    images -= images % batch == 1
    return -(-images // batch) * int(row["epochs"])
