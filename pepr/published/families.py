"""Tests over models that respect their families: a family's members are resampled together.

Models of one architecture family are alike, so a sample of models holds fewer independent observations than
models. Every interval here comes from resampling whole families.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from pepr import stats
from pepr.models.space import family_of, model_space
from pepr.published.reproduction import model_means
from pepr.stats import TestResult

N_RESAMPLES = 10_000
SEED = 11


def means_by_model(table: pd.DataFrame) -> pd.DataFrame:
    """`model_means` with two more labels: `cnn`, and `small` (up to the median size of the 131 models)."""
    means = model_means(table)
    return means.assign(small=means["num_param"] <= median_parameters(), cnn=means["type"] == "CNN")


def median_parameters() -> float:
    """The median size of the paper's models."""
    sizes = [entry.num_params for entry in model_space().values() if entry.role == "paper"]
    return float(np.median(sizes))


def group_test(
    means: pd.DataFrame, values: pd.Series, label: pd.Series, margin: float | None = None
) -> TestResult:
    """Labelled models against the others, bootstrapped over families; TOST where there is a margin."""
    first, second = values[label], values[~label]
    families = np.array(family_of(pd.concat([means["model"][label], means["model"][~label]])))
    options = {"clusters": families, "n_resamples": N_RESAMPLES, "seed": SEED}
    if margin is None:
        return stats.welch_test(first, second, **options)
    interval = stats.equivalence_test(first, second, margin, **options)
    return _as_good(interval, stats.welch_test(first + margin, second, **options))


def paired_test_over_families(a: pd.Series, b: pd.Series, margin: float | None = None) -> TestResult:
    """a - b, both indexed by model, bootstrapped over families; no worse than a margin where there is one."""
    options = {"clusters": np.array(family_of(a.index)), "n_resamples": N_RESAMPLES, "seed": SEED}
    if margin is None:
        return stats.paired_test(a, b, **options)
    interval = stats.equivalence_test(a, b, margin, paired=True, **options)
    return _as_good(interval, stats.paired_test(a + margin, b, **options))


def _as_good(interval: TestResult, shifted: TestResult) -> TestResult:
    """The 90% interval of a difference, with the one-sided p that it is no worse than the margin.

    `shifted` is the two-sided test of the difference plus the margin against zero.
    """
    p = shifted.p / 2 if shifted.effect > 0 else 1 - shifted.p / 2
    name = interval.test.replace("TOST", "no worse, and equivalent (TOST)").replace("clusters", "families")
    return dataclasses.replace(interval, test=name, p=p)


def family_weights(models: pd.Series, n_resamples: int = 4_000) -> np.ndarray:
    """How often each model is drawn when families are resampled, [resamples, models]."""
    return stats.cluster_counts(np.array(family_of(models)), n_resamples, seed=SEED)


def weighted_spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation [resamples] of a and b [n] when each pair counts `weights` [resamples, n] times."""
    ranks = []
    for values in (a, b):
        below = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])
        ranks.append(weights @ below.T)
    total = weights.sum(axis=1, keepdims=True)
    centred = [rank - (weights * rank).sum(axis=1, keepdims=True) / total for rank in ranks]
    covariance = (weights * centred[0] * centred[1]).sum(axis=1)
    variances = [(weights * rank**2).sum(axis=1) for rank in centred]
    return covariance / np.sqrt(variances[0] * variances[1])


def weighted_gap(values: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of the labelled minus that of the others, [resamples]."""
    means = [
        (weights[:, side] * values[side]).sum(axis=1) / weights[:, side].sum(axis=1)
        for side in (label, ~label)
    ]
    return means[0] - means[1]


def from_draws(
    name: str, n: int, estimate: float, draws: np.ndarray, against: float, scale: float = np.nan
) -> TestResult:
    """A result from bootstrap draws: percentile interval, and a two-sided p against a value."""
    known = draws[np.isfinite(draws)]
    low, high = np.percentile(known, [2.5, 97.5])
    tail = min((known <= against).sum(), (known >= against).sum())
    p = min(1.0, 2 * (tail + 1) / (len(known) + 1))
    return TestResult(name, n, estimate, float(low), float(high), float(p), float(estimate / scale))
