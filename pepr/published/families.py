"""Tests over models that respect their families: members of a family may be alike in any way.

Models of one architecture family are alike, so a sample of models holds fewer independent observations than
models. Errors of means and coefficients are robust to families; where a statistic has no such formula, its
error is that of the jackknife, which leaves out one family after the other. Nothing is drawn at random.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from pepr import stats
from pepr.models.space import family_of, model_space
from pepr.published.reproduction import model_means
from pepr.stats import Interval, TestResult


def means_by_model(table: pd.DataFrame) -> pd.DataFrame:
    """`model_means` of the models that have every setting of the table, with two more labels: `cnn`, and
    `small` (up to the median size of the 131 models).

    Settings differ in difficulty and cost: a mean over fewer of them would differ for that reason alone.
    """
    means = model_means(table)
    means = means[means["settings"] == table["dataset"].nunique()]
    return means.assign(small=means["num_param"] <= median_parameters(), cnn=means["type"] == "CNN")


def median_parameters() -> float:
    """The median size of the paper's models."""
    sizes = [entry.num_params for entry in model_space().values() if entry.role == "paper"]
    return float(np.median(sizes))


def group_test(
    means: pd.DataFrame, values: pd.Series, label: pd.Series, margin: float | None = None
) -> TestResult:
    """Labelled models against the others; two one-sided tests where there is a margin."""
    first, second = values[label], values[~label]
    families = np.array(family_of(pd.concat([means["model"][label], means["model"][~label]])))
    if margin is None:
        return stats.welch_test(first, second, families)
    return stats.equivalence_test(first, second, margin, families)


def paired_test_over_families(a: pd.Series, b: pd.Series, margin: float | None = None) -> TestResult:
    """a - b, both indexed by model; two one-sided tests where there is a margin."""
    difference = (a - b).dropna()
    plain = stats.paired_test(a, b)
    found = stats.least_squares(
        difference, np.ones((len(difference), 1)), np.array(family_of(difference.index))
    )
    name = "paired t, errors robust to families"
    return stats.t_result(name, plain.n, found, margin=margin, effect_size=plain.effect_size)


def mean_over_families(values: pd.Series) -> TestResult:
    """The mean of `values`, indexed by model, against 0."""
    found = stats.least_squares(values, np.ones((len(values), 1)), np.array(family_of(values.index)))
    return stats.t_result("t, errors robust to families", len(values), found)


def share_over_families(holds: pd.Series) -> Interval:
    """The share of models of which something holds, indexed by model, with its 95% interval.

    Where families leave no error, as where all models agree, it is Wilson's interval of one observation each.
    """
    share = float(holds.mean())
    found: TestResult | Interval = mean_over_families(holds.astype(np.float64))
    if np.isnan(found.low):
        families = len(set(family_of(holds.index)))
        found = stats.wilson_interval(round(share * families), families)
    return Interval(share, found.low, found.high).within(0.0, 1.0)


def without_each_family(models: pd.Series) -> np.ndarray:
    """Weights [families, models] that leave out one family each."""
    families = np.array(family_of(models))
    return (families[None, :] != np.unique(families)[:, None]).astype(np.float64)


def weighted_spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation [rows] of a and b [n] when each pair counts `weights` [rows, n] times."""
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
    """Weighted mean of the labelled minus that of the others, [rows]."""
    means = [
        (weights[:, side] * values[side]).sum(axis=1) / weights[:, side].sum(axis=1)
        for side in (label, ~label)
    ]
    return means[0] - means[1]


def from_jackknife(
    name: str, n: int, estimate: float, without: np.ndarray, against: float, fisher: bool = False
) -> TestResult:
    """A t-test of an estimate over n models, its error that of the jackknife over families: from what the
    estimate is `without` each [families].

    As many degrees of freedom as families, less one. `fisher`: of a correlation, by its Fisher transform.

    Source: Efron and Stein 1981.
    """
    if fisher:
        estimate, against, without = (
            np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12)) for value in (estimate, against, without)
        )
    freedom = len(without) - 1
    error = np.sqrt(freedom / len(without) * ((without - without.mean()) ** 2).sum())
    found = stats.t_result(name, n, stats.Estimate(float(estimate), float(error), freedom), float(against))
    if not fisher:
        return found
    back = {key: float(np.tanh(getattr(found, key))) for key in ("effect", "low", "high")}
    return dataclasses.replace(found, **back)
