"""Does the same network win on every set, and what a choice made on one set loses on another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis import units
from pepr.analysis.across.sets import Sets
from pepr.analysis.claims import more_cautious
from pepr.models.space import family_of

SAME, NOT_THERE = "the same choice", "not trained there"
NO_INTERVAL = (SAME, NOT_THERE)
"""What a loss is over where it has no interval."""


@dataclass(frozen=True)
class Agreement:
    """How two sets rank the networks that both have: Spearman's rho, and which network leads each."""

    first: str
    second: str
    rho: stats.TestResult
    leaders: tuple[str, str]


@dataclass(frozen=True)
class Loss:
    """What the network chosen on one set has less on another than the one chosen there, in test AUROC."""

    chosen_on: str
    used_on: str
    taken: tuple[str, str]
    instead: tuple[str, str]
    loss: stats.Interval
    over: str


def aurocs(sets: Sets, cells: tuple[str, ...] = ("scratch_full",)) -> pd.DataFrame:
    """Mean test AUROC [networks, sets] of each network in each of some cells, over the splits and seeds that
    all of these have on a set; the index is (cell, model)."""
    columns = {}
    for dataset in sets.names:
        parts = [rows.assign(side=cell) for cell in cells if len(rows := sets.cell(dataset, cell))]
        if parts:
            means = units.on_common(pd.concat(parts)).groupby(["side", "model"])["test_auroc"].mean()
            columns[dataset] = means.rename_axis(["cell", "model"]).astype("float64")
    return pd.DataFrame(columns)


def agreements(means: pd.DataFrame) -> list[Agreement]:
    """Every two sets of a table of `aurocs`: over networks, or over families where that is more cautious."""
    found = []
    for first, second in itertools.combinations(means.columns, 2):
        both = means[[first, second]].dropna()
        families = family_of(model for _, model in both.index)
        rho = more_cautious(
            *(stats.rank_correlation(both[first], both[second], clusters=of) for of in (None, families))
        )
        if len(both) >= stats.FEWEST_UNITS:
            found.append(
                Agreement(first, second, rho, tuple(both[name].idxmax()[1] for name in (first, second)))
            )
    return found


def losses(sets: Sets) -> list[Loss]:
    """What each set's choice by validation loses on every other set; NaN where it was not trained there."""
    chosen = {dataset: sets.chosen(dataset) for dataset in sets.names}
    found = []
    for chosen_on, used_on in itertools.permutations(sets.names, 2):
        taken, instead = chosen[chosen_on], chosen[used_on]
        ours = sets.cell(used_on, taken.cell, [taken.model])
        best = sets.cell(used_on, instead.cell, [instead.model])
        if ours.empty:
            loss, over = stats.Interval(np.nan, np.nan, np.nan), NOT_THERE
        elif (taken.model, taken.cell) == (instead.model, instead.cell):
            loss, over = stats.Interval(0.0, 0.0, 0.0), SAME
        else:
            mean = units.mean_of(best, sets.auroc, sets.images, ours)
            loss, over = mean.interval, mean.over
        pair = (taken.model, taken.cell), (instead.model, instead.cell)
        found.append(Loss(chosen_on, used_on, *pair, loss, over))
    return found
