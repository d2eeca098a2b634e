"""Measures of performance: of each run of a table, and of its test images when they are resampled.

A measure that a run records needs a line in `metrics.RESAMPLED`; a measure above chance needs one in each of
the two tables of chance, and nothing if its chance is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pepr.errors import InputError
from pepr.quantities import measure
from pepr.runs.metrics import RESAMPLED
from pepr.score import above_chance
from pepr.stats import FloatArray


def values(table: pd.DataFrame, name: str) -> pd.Series:
    """A measure of each run of a results table [runs]; NaN where it, or its chance, is not known.

    Raises InputError for a measure that there is none of.
    """
    known = measure(name)
    recorded = table[known.column].astype("float64")
    if not known.chance:
        return recorded
    return pd.Series(above_chance(recorded.to_numpy(), chance(table, name)), index=table.index)


def chance(table: pd.DataFrame, name: str) -> FloatArray:
    """What a guesser would have in each run by a measure above chance [runs]; NaN where not known."""
    return np.broadcast_to(CHANCE_OF_RUNS[measure(name).chance](table), len(table)).astype("float64")


def resampled(
    names: Sequence[str], probabilities: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> dict[str, FloatArray]:
    """Measures of one run [n_resamples] whose test images are drawn `counts` [n_resamples, n] times each.

    `probabilities` [n, classes], `labels` [n]. The rate of the majority is that of each resample, since it
    is no better known than the accuracy beside it. Raises InputError for a measure that there is none of,
    or that test predictions do not tell.
    """
    recorded: dict[str, FloatArray] = {}
    found = {}
    for name in names:
        known = measure(name)
        if known.base not in recorded:
            if known.base not in RESAMPLED:
                raise InputError(f"measure {name!r} cannot be worked out from test predictions")
            recorded[known.base] = RESAMPLED[known.base](probabilities, labels, counts)
        found[name] = recorded[known.base]
        if known.chance:
            found[name] = above_chance(found[name], CHANCE_OF_RESAMPLES[known.chance](labels, counts))
    return found


def _half(*_: object) -> float:
    return 0.5


def _one_over_classes(table: pd.DataFrame) -> FloatArray:
    """One over the classes that the test images have [runs]. Tables from before that was recorded tell it of
    two classes only, by a sensitivity."""
    classes = table["n_test_classes"].astype("float64")
    return 1.0 / classes.fillna(table["test_sensitivity"].notna().map({True: 2.0, False: np.nan})).to_numpy()


def _majority_rate(table: pd.DataFrame) -> FloatArray:
    return table["test_majority_rate"].astype("float64").to_numpy()


def _one_over_drawn_classes(labels: np.ndarray, counts: np.ndarray) -> FloatArray:
    """Balanced accuracy is a mean over the classes that were drawn, and so is its chance."""
    return 1.0 / (_drawn(labels, counts) > 0).sum(axis=0)


def _drawn_majority_rate(labels: np.ndarray, counts: np.ndarray) -> FloatArray:
    return _drawn(labels, counts).max(axis=0) / len(labels)


def _drawn(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Images of each class in each resample [classes, n_resamples]."""
    return np.stack([counts[:, labels == label].sum(axis=1) for label in np.unique(labels)])


CHANCE_OF_RUNS = {"half": _half, "classes": _one_over_classes, "majority": _majority_rate}
CHANCE_OF_RESAMPLES = {"half": _half, "classes": _one_over_drawn_classes, "majority": _drawn_majority_rate}
"""What a guesser would have, by the name that a measure gives it: of each run, and of each resample."""
