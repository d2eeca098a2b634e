"""Bootstrap over test images and seeds: intervals of performance, where a curve peaks, how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis import measures as run_measures
from pepr.analysis.scores import SET, as_array, earned, model_means, with_sets
from pepr.quantities import MEASURES, RECORDED, RESOURCES, measure as known_measure
from pepr.runs.results import Results
from pepr.score import normalise, pepr_peak

PEAK_COLUMNS = (
    "model",
    "performance",
    "score",
    "score_low",
    "score_high",
    "location_norm",
    "location_norm_low",
    "location_norm_high",
    "location",
    "location_low",
    "location_high",
    "probability",
    "n_models",
)
N_RESAMPLES = 2_000


@dataclass(frozen=True)
class PeakLocation:
    """Where a set's curve peaks, and how sure that is.

    `model`, `performance`, `score` and the two locations are of the data as they are; `low` and `high` bound
    each over resamples of test images and seeds, with the resource held. `probabilities` says how often
    each model is the peak.
    """

    key: tuple[str, ...]
    resource: str
    measure: str
    model: str
    performance: float
    score: stats.Interval
    location_norm: stats.Interval
    location: stats.Interval
    probabilities: dict[str, float]
    n_models: int


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


def _with_draws(
    results: Results, table: pd.DataFrame, measures: Sequence[str], n_resamples: int, seed: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each measure with its draws. What is of one recorded measure is made at once, and let go after it: the
    draws of a thousand runs are large."""
    for base in RECORDED:
        together = [measure for measure in measures if known_measure(measure).base == base]
        if together:
            yield from draws_of_measures(results, table, together, n_resamples, seed).items()


def model_draws(draws: pd.DataFrame, rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Draws [n_resamples, models] of one set from `run_draws`: the seeds of a model are resampled too."""
    rng = np.random.default_rng(seed)
    by_model = {}
    for model, group in rows[rows["status"] == "ok"].groupby("model"):
        values = draws[list(group["run_id"])].to_numpy()
        picks = rng.integers(0, values.shape[1], size=values.shape)
        by_model[model] = np.take_along_axis(values, picks, axis=1).mean(axis=1)
    return pd.DataFrame(by_model)


def performance_intervals(results: Results, n_resamples: int = N_RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Each model's performance in each set with a 95% interval over test images and seeds."""
    table = with_sets(results.table)
    of_models = model_means(table).set_index([*SET, "model"])
    rows = []
    for measure, draws in _with_draws(results, table, tuple(MEASURES), n_resamples, seed):
        means = of_models[measure]
        for key, group in table.groupby(SET, dropna=False):
            for model, values in model_draws(draws, group, seed).items():
                low, high = np.percentile(values, [2.5, 97.5])
                rows.append(
                    {
                        **dict(zip(SET, key, strict=True)),
                        "model": model,
                        "measure": measure,
                        "performance": means[(*key, model)],
                        "low": low,
                        "high": high,
                    }
                )
    return pd.DataFrame(rows)


def peak_locations(
    results: Results,
    resources: tuple[str, ...] = tuple(RESOURCES),
    measures: tuple[str, ...] = tuple(MEASURES),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[PeakLocation]:
    """The peak of the curve of each set, resource and measure, with its bootstrap interval.

    Test images and seeds are resampled, the resource is held. Sets with fewer than two models that can be
    ranked by a resource have no curve and are left out.
    """
    table = with_sets(results.table)
    means = model_means(table)
    found = []
    for measure, draws in _with_draws(results, table, measures, n_resamples, seed):
        for key, group in means.groupby(SET, dropna=False):
            members = table[(table[SET] == list(key)).all(axis=1)]
            by_model = model_draws(draws, members, seed)
            for letter in resources:
                ranked = group[group[letter].notna() & group[measure].notna()]
                if len(ranked) > 1:
                    found.append(_peak_location(key, ranked, letter, measure, by_model))
    return found


def peak_table(peaks: list[PeakLocation]) -> pd.DataFrame:
    """Peaks as a table, one row each; `probability` is that of the model that peaks in the data."""
    rows = [
        {
            **dict(zip(SET, peak.key, strict=True)),
            "resource": peak.resource,
            "measure": peak.measure,
            "model": peak.model,
            "performance": peak.performance,
            "score": peak.score.estimate,
            "score_low": peak.score.low,
            "score_high": peak.score.high,
            "location_norm": peak.location_norm.estimate,
            "location_norm_low": peak.location_norm.low,
            "location_norm_high": peak.location_norm.high,
            "location": peak.location.estimate,
            "location_low": peak.location.low,
            "location_high": peak.location.high,
            "probability": peak.probabilities[peak.model],
            "n_models": peak.n_models,
        }
        for peak in peaks
    ]
    columns = [*SET, "resource", "measure", *PEAK_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def _peak_location(
    key: tuple[str, ...], ranked: pd.DataFrame, letter: str, measure: str, draws: pd.DataFrame
) -> PeakLocation:
    performance, resource = earned(ranked[measure]), as_array(ranked[letter])
    models, norm = list(ranked["model"]), normalise(resource)
    peak = pepr_peak(performance, resource)
    cheapest_first = np.argsort(resource, kind="stable")
    scores = np.maximum(draws[models].to_numpy(), 0.0) / (1.0 + norm)
    winners = cheapest_first[np.argmax(scores[:, cheapest_first], axis=1)]
    probability = stats.probability_best(scores)
    return PeakLocation(
        key=tuple(key),
        resource=letter,
        measure=measure,
        model=models[peak.index],
        performance=peak.performance,
        score=_observed_interval(peak.score, scores.max(axis=1)),
        location_norm=_observed_interval(peak.resource_norm, norm[winners]),
        location=_observed_interval(peak.resource, resource[winners]),
        probabilities=dict(zip(models, probability.tolist(), strict=True)),
        n_models=len(models),
    )


def _observed_interval(estimate: float, draws: np.ndarray) -> stats.Interval:
    """The 95% interval between values that were drawn: a peak lies at a model, never between two."""
    low, high = np.percentile(draws, [2.5, 97.5], method="inverted_cdf")
    return stats.Interval(estimate, float(low), float(high))
