"""Splits and seeds as random units: what a mean of runs is worth, and how models of a set move together.

A model is fixed; the split that it is trained and judged on, and its seed, are drawn. Seed i goes with split
i, so that a unit is both, and models are compared on the units that all of them have. Where every run has the
same split, the units are seeds, and the test images, which they share, are resampled besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pepr import stats

Images = Callable[[pd.DataFrame], pd.DataFrame]
"""Draws [resamples, runs] of a measure for rows of a results table, test images resampled, by run_id."""
SPLITS, SEEDS, IMAGES = "splits and seeds", "seeds and test images", "test images alone"
"""What an interval is over: splits with their seeds, seeds of one split, or neither."""


@dataclass(frozen=True)
class Contrast:
    """A mean over units, or a difference of two.

    `weights` are those of its runs, `unit` the unit of each, both by run_id; `resplit` says that each unit
    has test images of its own.
    """

    weights: pd.Series
    unit: pd.Series
    resplit: bool

    @property
    def n_units(self) -> int:
        return int(self.unit.nunique())

    def by_unit(self, values: pd.Series) -> np.ndarray:
        """The contrast of values by run_id in each unit [units]: the mean of these is the contrast."""
        known = values.reindex(self.weights.index).astype("float64")
        return (self.weights * known).groupby(self.unit).sum().to_numpy() * self.n_units

    def bounds(self, lowest: float, highest: float) -> tuple[float, float]:
        """The lowest and highest that the contrast can be of values from `lowest` to `highest`."""
        added = float(self.weights.clip(lower=0).sum())
        taken = float(self.weights.sum()) - added
        return added * lowest + taken * highest, added * highest + taken * lowest

    def draws(self, images: pd.DataFrame) -> np.ndarray:
        """The contrast [resamples] in each resample of the test images."""
        return images[list(self.weights.index)].to_numpy() @ self.weights.to_numpy()


@dataclass(frozen=True)
class Mean:
    """A mean or difference with its 95% interval, the number of units, and what the interval is over."""

    interval: stats.Interval
    n_units: int
    over: str


def contrast(first: pd.DataFrame, second: pd.DataFrame | None = None) -> Contrast:
    """The mean over the models of some runs, less that of a second group; models weigh alike in each unit.

    Only units that every model of both groups has count: a difference is paired by unit.
    """
    groups = [first] if second is None else [first, second]
    every = pd.concat(groups)
    resplit = resplits(every)
    label = _labels(every, resplit)
    sides = every.assign(side=np.repeat(range(len(groups)), [len(group) for group in groups]))
    common = common_units(sides, label) if all(map(len, groups)) else set()
    weights, units = [], []
    for sign, group in zip((1.0, -1.0), groups, strict=False):
        unit = _labels(group, resplit)
        kept, unit = group[unit.isin(common)], unit[unit.isin(common)]
        runs = kept.groupby([kept["model"], unit])["run_id"].transform("size")
        share = sign / (runs * kept["model"].nunique() * max(len(common), 1))
        weights.append(pd.Series(share.to_numpy(float), index=kept["run_id"].astype(str).to_numpy()))
        units.append(pd.Series(unit.to_numpy(), index=kept["run_id"].astype(str).to_numpy()))
    together = pd.concat(weights).groupby(level=0).sum()
    return Contrast(together, pd.concat(units).groupby(level=0).first(), resplit)


def mean_less_mean(first: pd.Series, second: pd.Series) -> pd.Series:
    """What each model counts in the mean of the first ones less that of the second, by name."""
    sides = ((1, first), (-1, second))
    return pd.Series({name: sign / len(names) for sign, names in sides for name in names}, dtype="float64")


def contrast_of_models(rows: pd.DataFrame, by_model: pd.Series) -> Contrast:
    """The sum over models of `by_model` (by name) times their mean, which is over the units that all have."""
    found = contrast(rows)
    of_run = rows.set_index("run_id")["model"].map(by_model) * rows["model"].nunique()
    return replace(found, weights=found.weights * of_run.reindex(found.weights.index))


def comparable(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """The models of some runs that can be compared with `second` on units that all of them have.

    A model's counterpart is itself, or the one model that `second` is of. See `widest`.
    """
    resplit = resplits(pd.concat([first, second]))
    mine, theirs = (_units_by_model(side, resplit) for side in (first, second))
    only = next(iter(theirs.values())) if len(theirs) == 1 else frozenset()
    return widest({model: own & theirs.get(model, only) for model, own in mine.items()})


def widest(units_of: Mapping[str, frozenset[int]]) -> list[str]:
    """As many models as share three units or more, of which alone an interval is made, sorted.

    Among equal numbers of models those that share most units; none where no model has three. It hangs on the
    units that models were run in, and never on what they scored.
    """
    distinct = set(units_of.values())
    shared = {one & other for one in distinct for other in distinct}
    if distinct:
        shared.add(frozenset.intersection(*distinct))
    groups = [
        (sorted(model for model, own in units_of.items() if units <= own), sorted(units))
        for units in shared
        if len(units) >= stats.FEWEST_UNITS
    ]
    return max(sorted(groups), key=lambda group: tuple(map(len, group)), default=([], []))[0]


def _units_by_model(rows: pd.DataFrame, resplit: bool) -> dict[str, frozenset[int]]:
    labels = _labels(rows, resplit)
    return {str(model): frozenset(found) for model, found in labels.groupby(rows["model"])}


def resplits(rows: pd.DataFrame) -> bool:
    """Whether runs are of several splits, each with test images of its own."""
    return bool(rows["split"].fillna(0).nunique() > 1)


def _labels(rows: pd.DataFrame, resplit: bool) -> pd.Series:
    return rows["split"].fillna(0).astype(int) if resplit else rows["seed"].astype(int)


def common_units(rows: pd.DataFrame, label: pd.Series) -> set[int]:
    """The units that every model (of each `side`, where rows have one) was run in."""
    keys = [name for name in ("side", "model") if name in rows]
    found = [set(units) for _, units in label.groupby([rows[key] for key in keys])]
    return set.intersection(*found) if found else set()


def on_common(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in the units that every model (of each `side`, where rows have one) was run in; all of them
    where there is no such unit."""
    label = _labels(rows, resplits(rows))
    common = common_units(rows, label)
    return rows[label.isin(common)] if common else rows


def with_ends(name: str, interval: stats.Interval) -> dict[str, float]:
    """An estimate and its two ends as columns of a table: `name`, and with `_low` and `_high`."""
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def mean_of(
    rows: pd.DataFrame,
    values: pd.Series,
    images: Images,
    second: pd.DataFrame | None = None,
    lowest: float = 0.0,
) -> Mean:
    """The mean of `values` (by run_id) over some `ok` runs, or of what they have over `second`.

    Over splits and seeds, or over seeds and test images, Student's t; with fewer than three units there is
    none of those, and the interval is over test images alone. It ends where the measure does: at `lowest`,
    see `measures.lowest`, and at 1.
    """
    every = rows if second is None else pd.concat([rows, second]).drop_duplicates("run_id")
    return mean_of_contrast(contrast(rows, second), every, values, images, lowest)


def mean_of_contrast(
    found: Contrast,
    rows: pd.DataFrame,
    values: pd.Series,
    images: Images,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> Mean:
    """`mean_of` for a contrast of some `rows`, which is the same for every measure, of values from `lowest`
    to `highest`."""
    by_unit = found.by_unit(values)
    if found.n_units >= stats.FEWEST_UNITS:
        shared = shared_variance(found, rows, images)
        over = SPLITS if found.resplit else SEEDS
        interval = stats.mean_interval(by_unit, shared).within(*found.bounds(lowest, highest))
        return Mean(interval, found.n_units, over)
    if not found.n_units:
        return Mean(stats.Interval(np.nan, np.nan, np.nan), 0, IMAGES)
    used = rows[rows["run_id"].isin(found.weights.index)]
    low, high = np.percentile(found.draws(images(used)), [2.5, 97.5])
    return Mean(stats.Interval(float(by_unit.mean()), float(low), float(high)), found.n_units, IMAGES)


def shared_variance(found: Contrast, rows: pd.DataFrame, images: Images) -> float:
    """The variance that test images add to a contrast and that its units, which share them, do not show."""
    if found.resplit:
        return 0.0
    return float(found.draws(images(rows[rows["run_id"].isin(found.weights.index)])).var())


def test_of(
    first: pd.DataFrame,
    second: pd.DataFrame,
    values: pd.Series,
    images: Images | None = None,
    margin: float | None = None,
) -> stats.TestResult:
    """Does one group of runs have more than a second, paired by unit? See `stats.unit_test`.

    Without `images` the variance of test images that all units share is left out.
    """
    found = contrast(first, second)
    every = pd.concat([first, second]).drop_duplicates("run_id")
    enough = images is not None and found.n_units >= stats.FEWEST_UNITS
    shared = shared_variance(found, every, images) if enough else 0.0
    name = "paired t over " + (SPLITS if found.resplit else SEEDS if enough else "seeds")
    return stats.unit_test(found.by_unit(values), shared, margin, name)


test_of.__test__ = False  # pytest collects functions by this name


@dataclass(frozen=True)
class Joint:
    """What the means of models could be together: draws [draws, models], of how many units, over what.

    `means` are those of the units that are drawn, by model: not of all runs, where models have unlike units.
    """

    draws: pd.DataFrame
    means: pd.Series
    n_units: int
    over: str


def joint(rows: pd.DataFrame, values: pd.Series, images: Images, n_draws: int, seed: int = 0) -> Joint:
    """Draws of the means of `values` (by run_id) of all models of a set, on the units that all of them have.

    From three common units on: their joint t distribution, and resampled test images where the units share
    them. Below that the test images alone are resampled, on the common units, or, where models have no unit
    in common, on each model's own.
    """
    resplit = resplits(rows)
    label = _labels(rows, resplit)
    common = common_units(rows, label)
    kept = rows[label.isin(common)] if common else rows
    n_units = len(common)
    known = values.reindex(kept["run_id"].astype(str)).astype("float64").to_numpy()
    by_unit = pd.Series(known).groupby([_labels(kept, resplit).to_numpy(), kept["model"].to_numpy()]).mean()
    by_unit = by_unit.unstack()
    if n_units < stats.FEWEST_UNITS:
        return Joint(_image_means(kept, images), by_unit.mean(), n_units, IMAGES)
    means = pd.DataFrame(stats.mean_draws(by_unit.to_numpy(), n_draws, seed), columns=by_unit.columns)
    if resplit:
        return Joint(means, by_unit.mean(), n_units, SPLITS)
    shared = _image_means(kept, images)[means.columns] - by_unit.mean()
    return Joint(means + shared.iloc[:n_draws], by_unit.mean(), n_units, SEEDS)


def _image_means(rows: pd.DataFrame, images: Images) -> pd.DataFrame:
    draws = images(rows)
    return pd.DataFrame(
        {model: draws[list(group["run_id"])].mean(axis=1) for model, group in rows.groupby("model")}
    )
