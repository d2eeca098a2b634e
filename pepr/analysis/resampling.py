"""The test images of runs, resampled: draws of a measure, paired wherever runs saw the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis import measures as run_measures
from pepr.quantities import RECORDED, measure as known_measure
from pepr.runs.results import Results

N_RESAMPLES = 2_000


def run_draws(
    results: Results, table: pd.DataFrame, measure: str, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Bootstrap draws [n_resamples, runs] of a measure, one column a run_id, resampling test images.

    Runs with the same test set see the same images in a resample, so that differences between runs are
    paired. Raises InputError for a measure that there is none of.
    """
    return draws_of_measures(results, table, (measure,), n_resamples, seed)[measure]


def draws_of_measures(
    results: Results,
    table: pd.DataFrame,
    measures: Sequence[str],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """`run_draws` of several measures, by name: each run's predictions are read and resampled once."""
    counts: dict[tuple[str, int, int], np.ndarray] = {}
    draws: dict[str, dict[str, np.ndarray]] = {measure: {} for measure in measures}
    for _, row in table[table["status"] == "ok"].iterrows():
        probabilities, labels = results.predictions(row["run_id"])
        split = 0 if pd.isna(row["split"]) else int(row["split"])
        key = (row["dataset"], split, len(labels))
        if key not in counts:
            counts[key] = stats.resample_counts(len(labels), n_resamples, seed + 1_000 * split)
        found = run_measures.resampled(measures, probabilities, labels, counts[key])
        for measure in measures:
            draws[measure][row["run_id"]] = found[measure]
    return {measure: pd.DataFrame(of_runs) for measure, of_runs in draws.items()}


class Resampled:
    """Draws of some measures of runs: each run's predictions are read and resampled once, when first asked
    for."""

    def __init__(self, results: Results, measures: Sequence[str], n_resamples: int, seed: int = 0):
        self.measures = tuple(measures)
        self._draw = lambda rows: draws_of_measures(results, rows, self.measures, n_resamples, seed)
        self._known: dict[str, pd.DataFrame] = {measure: pd.DataFrame() for measure in self.measures}

    def of(self, measure: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
        """What gives the draws [n_resamples, runs] of a measure for rows of a results table."""

        def images(rows: pd.DataFrame) -> pd.DataFrame:
            new = rows[~rows["run_id"].isin(self._known[measure].columns)]
            if len(new):
                for name, draws in self._draw(new).items():
                    self._known[name] = pd.concat([self._known[name], draws], axis=1)
            return self._known[measure][list(rows["run_id"])]

        return images

    @classmethod
    def each(
        cls, results: Results, measures: Sequence[str], n_resamples: int = N_RESAMPLES, seed: int = 0
    ) -> Iterator[tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]]:
        """Each measure with what gives its draws. What is of one recorded measure is drawn at once, and let
        go after it: the draws of a thousand runs are large."""
        for base in RECORDED:
            together = [measure for measure in measures if known_measure(measure).base == base]
            drawn = cls(results, together, n_resamples, seed)
            for measure in together:
                yield measure, drawn.of(measure)
