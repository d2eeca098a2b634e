"""Measures of performance: of each run of a table, and of its test images when they are resampled.

A measure that a run records needs a line in `metrics.RESAMPLED`; a measure above chance needs one in each of
the two tables of chance, and nothing if its chance is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from pepr import stats
from pepr.errors import InputError
from pepr.quantities import RECORDED, measure as known_measure
from pepr.runs.metrics import RESAMPLED
from pepr.runs.results import Results
from pepr.score import above_chance
from pepr.stats import FloatArray

N_RESAMPLES = 2_000


def values(table: pd.DataFrame, name: str) -> pd.Series:
    """A measure of each run of a results table [runs]; NaN where it, or its chance, is not known.

    Raises InputError for a measure that there is none of.
    """
    known = known_measure(name)
    recorded = table[known.column].astype("float64")
    if not known.chance:
        return recorded
    return pd.Series(above_chance(recorded.to_numpy(), chance(table, name)), index=table.index)


def chance(table: pd.DataFrame, name: str) -> FloatArray:
    """What a guesser would have in each run by a measure above chance [runs]; NaN where not known."""
    return np.broadcast_to(CHANCE_OF_RUNS[known_measure(name).chance](table), len(table)).astype("float64")


def lowest(table: pd.DataFrame, name: str) -> float:
    """The least that a measure can be in the runs of a table: 0, or what is above chance where nothing is
    right."""
    known = known_measure(name)
    least = above_chance(np.zeros(len(table)), chance(table, name)) if known.chance else np.zeros(1)
    return float(np.min(least[~np.isnan(least)], initial=0.0))


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
        known = known_measure(name)
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
    return _drawn(labels, counts).max(axis=0) / counts.sum(axis=1)


def _drawn(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Images of each class in each resample [classes, n_resamples]."""
    return np.stack([counts[:, labels == label].sum(axis=1) for label in np.unique(labels)])


CHANCE_OF_RUNS = {"half": _half, "classes": _one_over_classes, "majority": _majority_rate}
CHANCE_OF_RESAMPLES = {"half": _half, "classes": _one_over_drawn_classes, "majority": _drawn_majority_rate}
"""What a guesser would have, by the name that a measure gives it: of each run, and of each resample."""


def run_draws(
    results: Results, table: pd.DataFrame, measure: str, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Bootstrap draws [n_resamples, runs] of a measure, one column a run_id, resampling test images.

    Images of one group (a module, a lesion) are drawn together, since they are not independent. Runs with the
    same test set see the same images in a resample, so that differences between runs are paired. Raises
    InputError for a measure that there is none of.
    """
    return draws_of_measures(results, table, (measure,), n_resamples, seed)[measure]


def draws_of_measures(
    results: Results,
    table: pd.DataFrame,
    measures: Sequence[str],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    counts: dict[tuple[str, int, int], np.ndarray] | None = None,
) -> dict[str, pd.DataFrame]:
    """`run_draws` of several measures, by name: each run's predictions are read and resampled once.

    `counts`, how often each image of a test set is drawn, are kept there for a next call.
    """
    counts = {} if counts is None else counts
    draws: dict[str, dict[str, np.ndarray]] = {measure: {} for measure in measures}
    for _, row in table[table["status"] == "ok"].iterrows():
        probabilities, labels = results.predictions(row["run_id"])
        split = 0 if pd.isna(row["split"]) else int(row["split"])
        key = (row["dataset"], split, len(labels))
        if key not in counts:
            groups = results.groups(row["run_id"])
            units = np.arange(len(labels)) if groups is None else groups
            counts[key] = stats.cluster_counts(units, n_resamples, seed + 1_000 * split)
        found = resampled(measures, probabilities, labels, counts[key])
        for measure in measures:
            draws[measure][row["run_id"]] = found[measure]
    return {measure: pd.DataFrame(of_runs) for measure, of_runs in draws.items()}


class Resampled:
    """Draws of some measures of runs: each run's predictions are read and resampled once for all who ask the
    same results for them, when first asked for."""

    def __init__(self, results: Results, measures: Sequence[str], n_resamples: int, seed: int = 0):
        self.measures = tuple(measures)
        counts: dict[tuple[str, int, int], np.ndarray] = {}
        self._draw = lambda rows: draws_of_measures(results, rows, self.measures, n_resamples, seed, counts)
        self._known = {
            measure: results.draws.setdefault((measure, n_resamples, seed), {}) for measure in self.measures
        }

    def of(self, measure: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
        """What gives the draws [n_resamples, runs] of a measure for rows of a results table."""

        def images(rows: pd.DataFrame) -> pd.DataFrame:
            run_ids, known = list(rows["run_id"]), self._known[measure]
            new = rows[[run_id not in known for run_id in run_ids]]
            if len(new):
                for name, draws in self._draw(new).items():
                    self._known[name] |= {str(run_id): draws[run_id].to_numpy() for run_id in draws}
            of_runs = pd.DataFrame(dict(enumerate(known[run_id] for run_id in run_ids)))
            return of_runs.set_axis(run_ids, axis=1)

        return images

    @classmethod
    def each(
        cls, results: Results, measures: Sequence[str], n_resamples: int = N_RESAMPLES, seed: int = 0
    ) -> Iterator[tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]]:
        """Each measure with what gives its draws. What is of one recorded measure is drawn at once."""
        for base in RECORDED:
            together = [measure for measure in measures if known_measure(measure).base == base]
            drawn = cls(results, together, n_resamples, seed)
            for measure in together:
                yield measure, drawn.of(measure)
