"""How sure scores are: intervals, ranks and peaks, with the noise of splits, seeds, images and costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis import measures as run_measures, units
from pepr.analysis.measures import N_RESAMPLES, Resampled
from pepr.analysis.ranked import as_ranked, enough, resource_errors, spoiled
from pepr.analysis.scores import SET, as_array, earned, in_set, model_means, on_shared_units, with_sets
from pepr.quantities import MEASURES, RESOURCES
from pepr.runs.results import Results
from pepr.score import normalise, of, pepr_peak

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
    "n_units",
    "over",
)
RANK_COLUMNS = (
    "model",
    "score",
    "score_low",
    "score_high",
    "rank",
    "rank_low",
    "rank_high",
    "probability_best",
    "resource_error",
    "n_units",
    "over",
)


@dataclass(frozen=True)
class Drawn:
    """What the scores of the ranked models of a set could be, [draws, models], and what that is over.

    `performance` and `resource` [models] are the means as they are, `errors` [models] the relative error of
    each resource. `scores` are draws of PePR that move together, as the units do that all models have, each
    about its model's mean: where a baseline has fewer seeds than the networks, that is of its own.
    """

    key: tuple[str, ...]
    resource_letter: str
    measure: str
    models: list[str]
    performance: np.ndarray
    resource: np.ndarray
    errors: np.ndarray
    scores: np.ndarray
    n_units: int
    over: str


@dataclass(frozen=True)
class PeakLocation:
    """Where a set's curve peaks, and how sure that is.

    `model`, `performance`, `score` and the two locations are of the data as they are; `low` and `high` bound
    the score of that model, and the resource of the model that peaks, over what `over` says of `n_units`, the
    error of the resource with them. `probabilities` says how often each model is the peak.
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
    n_units: int
    over: str


def performance_intervals(results: Results, n_resamples: int = N_RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Each model's mean performance in each set with its 95% interval, `n_units` and what it is `over`.

    On the splits and seeds that all models of the set have.
    """
    table = on_shared_units(with_sets(results.table))
    done = table[table["status"] == "ok"]
    models = [
        (*key, group, units.contrast(group)) for key, group in done.groupby([*SET, "model"], dropna=False)
    ]
    rows = []
    for measure, images in Resampled.each(results, tuple(MEASURES), n_resamples, seed):
        values, lowest = values_by_run(done, measure), run_measures.lowest(done, measure)
        for *key, model, group, contrast in models:
            found = units.mean_of_contrast(contrast, group, values, images, lowest)
            rows.append(
                {
                    **dict(zip(SET, key, strict=True)),
                    "model": model,
                    "measure": measure,
                    "performance": float(values[group["run_id"]].mean()),
                    "low": found.interval.low,
                    "high": found.interval.high,
                    "n_units": found.n_units,
                    "over": found.over,
                }
            )
    return pd.DataFrame(rows)


def values_by_run(rows: pd.DataFrame, measure: str) -> pd.Series:
    """A measure of each run, by run_id."""
    return run_measures.values(rows.set_index("run_id"), measure)


def drawn_scores(
    results: Results,
    resources: tuple[str, ...] = tuple(RESOURCES),
    measures: tuple[str, ...] = tuple(MEASURES),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[Drawn]:
    """What the scores of each set could be, for each resource and measure.

    Performances move with splits and seeds (or with test images alone, see `units.joint`), those of all
    models together; each resource moves by its own error. Sets of which too few models can be ranked by a
    resource (see `ranked.enough`) are left out.
    """
    shared = on_shared_units(with_sets(results.table))
    table, means = as_ranked(shared), model_means(shared)
    done = table[table["status"] == "ok"]
    timing, found = results.timing, []
    for measure, images in Resampled.each(results, measures, n_resamples, seed):
        values = values_by_run(done, measure)
        for key, group in means.groupby(SET, dropna=False):
            members = done[in_set(done, key)]
            together: dict[tuple[str, ...], units.Joint] = {}
            for letter in resources:
                ranked = group[group[letter].notna() & group[measure].notna()]
                if not enough(len(ranked), len(group)):
                    continue
                models = tuple(ranked["model"])
                if models not in together:
                    of_models = members[members["model"].isin(models)]
                    together[models] = units.joint(of_models, values, images, n_resamples, seed)
                sound = members[members["model"].isin(models) & ~spoiled(members, letter)]
                errors = resource_errors(sound, letter, timing).reindex(list(models)).fillna(0.0)
                found.append(draw(key, ranked, letter, measure, together[models], errors.to_numpy(), seed))
    return found


def draw(
    key: tuple[str, ...],
    ranked: pd.DataFrame,
    letter: str,
    measure: str,
    together: units.Joint,
    errors: np.ndarray,
    seed: int,
) -> Drawn:
    """Draws of the scores of one set, `ranked` having a row a model: performances from `together`, and the
    resource with its relative `errors` [models]."""
    models, resource = list(ranked["model"]), as_array(ranked[letter])
    performance = as_array(ranked[measure])
    performances = together.draws[models].to_numpy() + performance - together.means[models].to_numpy()
    noise = np.random.default_rng([seed, 1]).normal(size=performances.shape)
    needs = resource * np.exp(noise * errors)
    low, high = needs.min(axis=1, keepdims=True), needs.max(axis=1, keepdims=True)
    norm = np.divide(needs - low, high - low, out=np.zeros_like(needs), where=high > low)
    return Drawn(
        key=tuple(key),
        resource_letter=letter,
        measure=measure,
        models=models,
        performance=performance,
        resource=resource,
        errors=errors,
        scores=of(np.clip(performances, 0.0, 1.0), norm),
        n_units=together.n_units,
        over=together.over,
    )


def peak_locations(
    results: Results,
    resources: tuple[str, ...] = tuple(RESOURCES),
    measures: tuple[str, ...] = tuple(MEASURES),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[PeakLocation]:
    """The peak of the curve of each set, resource and measure, with its interval; see `drawn_scores`."""
    return [peak_of(drawn) for drawn in drawn_scores(results, resources, measures, n_resamples, seed)]


def peak_of(drawn: Drawn) -> PeakLocation:
    """The peak of one set's curve, from draws of its scores."""
    performance = earned(pd.Series(drawn.performance))
    norm = normalise(drawn.resource)
    peak = pepr_peak(performance, drawn.resource)
    cheapest_first = np.argsort(drawn.resource, kind="stable")
    winners = cheapest_first[np.argmax(drawn.scores[:, cheapest_first], axis=1)]
    low, high = _score_ends(drawn)[:, peak.index]
    return PeakLocation(
        key=drawn.key,
        resource=drawn.resource_letter,
        measure=drawn.measure,
        model=drawn.models[peak.index],
        performance=peak.performance,
        score=stats.Interval(peak.score, float(low), float(high)),
        location_norm=_observed_interval(peak.resource_norm, norm[winners]),
        location=_observed_interval(peak.resource, drawn.resource[winners]),
        probabilities=dict(zip(drawn.models, stats.probability_best(drawn.scores).tolist(), strict=True)),
        n_models=len(drawn.models),
        n_units=drawn.n_units,
        over=drawn.over,
    )


def _score_ends(drawn: Drawn) -> np.ndarray:
    """The 95% interval of each model's score [2, models]."""
    return np.percentile(drawn.scores, [2.5, 97.5], axis=0)


def rank_table(found: list[Drawn]) -> pd.DataFrame:
    """Scores and ranks with their 95% intervals: one row a set, resource, measure and model.

    `resource_error` is the standard error of the model's mean resource as a share of it.
    """
    parts = []
    for drawn in found:
        score = of(earned(pd.Series(drawn.performance)), normalise(drawn.resource))
        ranks = (-drawn.scores).argsort(axis=1).argsort(axis=1) + 1
        low, high = _score_ends(drawn)
        rank_low, rank_high = np.percentile(ranks, [2.5, 97.5], axis=0, method="inverted_cdf")
        part = pd.DataFrame(
            {
                **dict(zip(SET, drawn.key, strict=True)),
                "resource": drawn.resource_letter,
                "measure": drawn.measure,
                "model": drawn.models,
                "score": score,
                "score_low": low,
                "score_high": high,
                "rank": pd.Series(score).rank(ascending=False, method="min").astype(int),
                "rank_low": rank_low.astype(int),
                "rank_high": rank_high.astype(int),
                "probability_best": stats.probability_best(drawn.scores),
                "resource_error": drawn.errors,
                "n_units": drawn.n_units,
                "over": drawn.over,
            }
        )
        parts.append(part.sort_values("score", ascending=False, kind="stable"))
    columns = [*SET, "resource", "measure", *RANK_COLUMNS]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def peak_table(peaks: list[PeakLocation]) -> pd.DataFrame:
    """Peaks as a table, one row each; `probability` is that of the model that peaks in the data."""
    rows = [
        {
            **dict(zip(SET, peak.key, strict=True)),
            "resource": peak.resource,
            "measure": peak.measure,
            "model": peak.model,
            "performance": peak.performance,
            **units.with_ends("score", peak.score),
            **units.with_ends("location_norm", peak.location_norm),
            **units.with_ends("location", peak.location),
            "probability": peak.probabilities[peak.model],
            "n_models": peak.n_models,
            "n_units": peak.n_units,
            "over": peak.over,
        }
        for peak in peaks
    ]
    columns = [*SET, "resource", "measure", *PEAK_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def _observed_interval(estimate: float, draws: np.ndarray) -> stats.Interval:
    """The 95% interval between values that were drawn: a peak lies at a model, never between two."""
    low, high = np.percentile(draws, [2.5, 97.5], method="inverted_cdf")
    return stats.Interval(estimate, float(low), float(high))
