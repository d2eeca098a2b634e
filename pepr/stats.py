"""Intervals and tests on arrays: bootstrap, paired and unpaired tests, equivalence, ranks.

Thin over scipy and statsmodels. Whatever is random takes a `seed`; the same seed gives the same answer.
NaN values (and pairs with a NaN) are dropped, and `n` counts what is left.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats
from scipy.special import gammaln
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

FloatArray = NDArray[np.float64]
CHUNK_ELEMENTS = 4_000_000
"""Resampled values held in memory at a time."""
ROUNDING = 8 * np.finfo(np.float64).eps
"""Values that differ by less than this share of their size differ by how they were rounded."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the two ends of its confidence interval, in the unit of the values."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class TestResult:
    """One test: its name, pairs or values used, effect with its interval, p, and a standardised effect.

    `effect`, `low`, `high` are in the unit of the values. `p` is two-sided, except in an equivalence test.
    """

    __test__ = False  # pytest collects classes by this name

    test: str
    n: int
    effect: float
    low: float
    high: float
    p: float
    effect_size: float


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., object] = np.mean,
    clusters: ArrayLike | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of `values` [n] or [n, k], resampled over the first axis.

    A statistic with an `axis` argument (numpy's have one) is called once on many resamples, any other once
    per resample, on an array shaped like `values`; either way it is a number, so [n, k] is reduced over
    both axes. `clusters` [n] are labels (families, patients): whole clusters are then resampled.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapters 13 and 8.
    Raises ValueError when there is nothing to resample.
    """
    array = np.asarray(values, dtype=np.float64)
    complete = ~np.isnan(array.reshape(len(array), -1)).any(axis=1)
    array = array[complete]
    if not len(array):
        raise ValueError("no values to resample")
    if clusters is None:
        draws = _plain_statistics(array, statistic, n_resamples, seed)
    else:
        labels = np.asarray(clusters)[complete]
        draws = _cluster_statistics(array, statistic, labels, n_resamples, seed)
    low, high = _percentiles(draws, confidence)
    return Interval(float(statistic(array)), low, high)


def resample_counts(n: int, n_resamples: int, seed: int = 0) -> FloatArray:
    """How often each of n samples is drawn in each bootstrap resample, [n_resamples, n]; rows sum to n."""
    picks = np.random.default_rng(seed).integers(0, n, size=(n_resamples, n))
    cells = picks + n * np.arange(n_resamples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n * n_resamples).reshape(n_resamples, n)
    return counts.astype(np.float64, order="F")  # statistics of resamples read it sample by sample


def cluster_counts(clusters: ArrayLike, n_resamples: int, seed: int = 0) -> FloatArray:
    """As `resample_counts`, for samples in clusters [n]: members of a cluster are drawn together."""
    names, member_of = np.unique(np.asarray(clusters), return_inverse=True)
    return resample_counts(len(names), n_resamples, seed)[:, member_of]


def weighted_auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> FloatArray:
    """Area under the ROC curve [resamples] of one score [n] for labels [n] in {0, 1}, under weights
    [resamples, n] such as `resample_counts`. Ties count one half; NaN where a class has no weight.
    """
    scores, positive = np.asarray(scores), np.asarray(labels) == 1
    by_sample = np.atleast_2d(np.asarray(weights, dtype=np.float64)).T
    order = np.argsort(scores[~positive], kind="stable")
    ranked = scores[~positive][order]
    # Row k: the weight of the k negatives with the lowest scores.
    below = np.zeros((len(ranked) + 1, by_sample.shape[1]))
    np.cumsum(by_sample[~positive][order], axis=0, out=below[1:])
    beaten, tied = (np.searchsorted(ranked, scores[positive], side) for side in ("left", "right"))
    won = np.einsum("pr,pr->r", by_sample[positive], below[beaten] + below[tied]) / 2
    pairs = by_sample[positive].sum(axis=0) * below[-1]
    return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def macro_auroc(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Macro AUROC, one class against the rest, [resamples] from probabilities [n, classes] and labels [n].

    Without weights: one value, of the samples as they are. With two classes it is the usual AUROC; with more,
    the mean over the classes that occur.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    weights = np.ones((1, len(labels))) if weights is None else np.asarray(weights)
    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    each = [weighted_auroc(labels == label, probabilities[:, label], weights) for label in classes]
    return np.mean(each, axis=0)


def weighted_balanced_accuracy(
    labels: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Mean of the per-class recalls [resamples]; classes without weight in a resample are left out of it."""
    labels, correct = np.asarray(labels), np.asarray(labels) == np.asarray(predicted)
    weights = np.ones((1, len(labels))) if weights is None else np.asarray(weights)
    recalls = []
    for label in np.unique(labels):
        total = weights[:, labels == label].sum(axis=1)
        hits = weights[:, (labels == label) & correct].sum(axis=1)
        recalls.append(np.divide(hits, total, out=np.full(len(weights), np.nan), where=total > 0))
    return np.nanmean(recalls, axis=0)


def paired_test(
    a: ArrayLike,
    b: ArrayLike,
    clusters: ArrayLike | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> TestResult:
    """Is the mean of `a - b` [pairs] different from zero?

    Paired t-test; with `clusters` [pairs], a bootstrap over whole clusters, whose p agrees with its
    interval. `effect_size` is Cohen's d_z with Hedges' correction; NaN when all differences are alike.
    Fewer than two pairs (or clusters) give an effect without interval or p.
    """
    difference, labels = _differences(a, b, clusters)
    size = _hedges_dz(difference)
    if labels is not None:
        draws = _mean_draws(difference, labels, n_resamples, seed)
        return _from_draws("paired bootstrap over clusters", difference, draws, confidence, size)
    effect, low, high, p = _one_sample(difference, confidence)
    return TestResult("paired t", len(difference), effect, low, high, p, size)


def welch_test(
    a: ArrayLike,
    b: ArrayLike,
    clusters: ArrayLike | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> TestResult:
    """Do two groups, `a` [n_a] and `b` [n_b], differ in mean? Welch's t-test; effect is mean(a) - mean(b).

    With `clusters` [n_a + n_b] (labels of a, then of b) whole clusters are resampled over both groups.
    `effect_size` is Hedges' g. `n` is n_a + n_b.
    """
    a, b, labels = _groups(a, b, clusters)
    n, size = len(a) + len(b), _hedges_g(a, b)
    effect = float(a.mean() - b.mean()) if len(a) and len(b) else np.nan
    if labels is not None:
        draws = _group_draws(a, b, labels, n_resamples, seed)
        low, high = _percentiles(draws, confidence)
        return TestResult("bootstrap over clusters", n, effect, low, high, _two_sided(draws), size)
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return TestResult("Welch t", n, effect, np.nan, np.nan, np.nan, size)
    outcome = scipy_stats.ttest_ind(a, b, equal_var=False)
    interval = outcome.confidence_interval(confidence)
    return TestResult(
        "Welch t", n, effect, float(interval.low), float(interval.high), float(outcome.pvalue), size
    )


def equivalence_test(
    a: ArrayLike,
    b: ArrayLike,
    margin: float,
    paired: bool = False,
    clusters: ArrayLike | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> TestResult:
    """Is mean(a) - mean(b) inside (-margin, margin)? Two one-sided tests (TOST); p is the larger of the two.

    p < 0.05 if and only if the 90% interval, given as low and high, lies inside the margin. Paired by
    position, or Welch's; `clusters` as in `paired_test` and `welch_test`.

    Source: Schuirmann 1987; Lakens 2017. Raises ValueError for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; an equivalence margin is positive")
    if paired:
        difference, labels = _differences(a, b, clusters)
        plain = paired_test(a, b, confidence=0.90)
        draws = None if labels is None else _mean_draws(difference, labels, n_resamples, seed)
    else:
        first, second, labels = _groups(a, b, clusters)
        plain = welch_test(a, b, confidence=0.90)
        draws = None if labels is None else _group_draws(first, second, labels, n_resamples, seed)
    name = "TOST, paired" if paired else "TOST, Welch"
    if draws is not None:
        below, above = np.sum(draws <= -margin), np.sum(draws >= margin)
        p = float((max(below, above) + 1) / (len(draws) + 1)) if len(draws) else np.nan
        low, high = _percentiles(draws, 0.90)
        return TestResult(
            f"{name}, bootstrap over clusters", plain.n, plain.effect, low, high, p, plain.effect_size
        )
    if np.isnan(plain.p):
        p = np.nan
    elif plain.low == plain.high:
        p = 0.0 if abs(plain.effect) < margin else 1.0
    elif paired:
        p = float(ttost_paired(difference, np.zeros_like(difference), -margin, margin)[0])
    else:
        p = float(ttost_ind(first, second, -margin, margin, usevar="unequal")[0])
    return TestResult(name, plain.n, plain.effect, plain.low, plain.high, p, plain.effect_size)


def noninferiority_test(a: ArrayLike, b: ArrayLike, margin: float, confidence: float = 0.90) -> TestResult:
    """Is `a` at most `margin` worse than `b`, paired by position? One-sided t-test of mean(a - b) > -margin.

    p < 0.05 if and only if the lower end of the 90% interval lies above -margin.
    Raises ValueError for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; a margin is positive")
    difference, _ = _differences(a, b, None)
    effect, low, high, p = _one_sample(difference, confidence)
    if len(difference) >= 2 and np.ptp(difference) > 0:
        p = float(scipy_stats.ttest_1samp(difference, -margin, alternative="greater").pvalue)
    elif len(difference) >= 2:
        p = 0.0 if effect > -margin else 1.0
    return TestResult(
        "non-inferiority, paired t", len(difference), effect, low, high, p, _hedges_dz(difference)
    )


def holm(p_values: ArrayLike) -> FloatArray:
    """p values [tests] adjusted for their number by Holm's method; NaN stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return adjusted


def probability_best(samples: ArrayLike) -> FloatArray:
    """How often each model has the highest value, [n_models] from [n_samples, n_models]; ties are shared.

    NaN never wins; a sample that is all NaN counts for nobody. The result sums to 1 when any counts.
    """
    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values).all(axis=1)]
    if not len(values):
        return np.zeros(np.asarray(samples).shape[1])
    wins = values == np.nanmax(values, axis=1, keepdims=True)
    return (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0)


def rank_correlation(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> TestResult:
    """Spearman's rank correlation of a [n] and b [n]; effect and effect_size are rho.

    The interval is Fisher's with the variance of Bonett and Wright (2000). NaN when either is constant or
    n < 3; no interval below four pairs, where the variance is undefined.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b, n = a[known], b[known], int(known.sum())
    a, b = (_unrounded(values, np.abs(values).max(initial=0.0)) for values in (a, b))
    if n < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return TestResult("Spearman", n, np.nan, np.nan, np.nan, np.nan, np.nan)
    rho, p = (float(value) for value in scipy_stats.spearmanr(a, b))
    if n == 3:
        return TestResult("Spearman", n, rho, np.nan, np.nan, p, rho)
    half = scipy_stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    centre = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    low, high = np.tanh([centre - half, centre + half])
    return TestResult("Spearman", n, rho, float(low), float(high), p, rho)


def top_k_overlap(a: ArrayLike, b: ArrayLike, k: int) -> float:
    """Share of the k highest of `a` [n] that are also among the k highest of `b` [n].

    NaN ranks last; equal values rank by position. Raises ValueError unless 1 <= k <= n.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not 1 <= k <= min(len(a), len(b)):
        raise ValueError(f"k is {k}; expected 1 to {min(len(a), len(b))}")
    best_a, best_b = np.argsort(-a, kind="stable")[:k], np.argsort(-b, kind="stable")[:k]
    return len(np.intersect1d(best_a, best_b)) / k


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion of n with Wilson's score interval; nothing is known (0 to 1) when n is 0."""
    if n == 0:
        return Interval(np.nan, 0.0, 1.0)
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    return Interval(successes / n, float(low), float(high))


def _plain_statistics(
    array: FloatArray, statistic: Callable[..., object], n_resamples: int, seed: int
) -> FloatArray:
    rng, n = np.random.default_rng(seed), len(array)
    at_once = "axis" in inspect.signature(statistic).parameters
    chunk = max(1, CHUNK_ELEMENTS // max(array.size, 1))
    parts = []
    for start in range(0, n_resamples, chunk):
        picks = rng.integers(0, n, size=(min(chunk, n_resamples - start), n))
        if at_once:
            parts.append(statistic(array[picks].reshape(len(picks), -1), axis=1))
        else:
            parts.append([statistic(array[pick]) for pick in picks])
    return np.concatenate(parts).astype(np.float64)


def _cluster_statistics(
    array: FloatArray, statistic: Callable[..., object], clusters: NDArray, n_resamples: int, seed: int
) -> FloatArray:
    if statistic is np.mean:
        per_row = array.reshape(len(array), -1).mean(axis=1)
        return _mean_draws(per_row, clusters, n_resamples, seed)
    names, member_of = np.unique(clusters, return_inverse=True)
    members = [np.flatnonzero(member_of == cluster) for cluster in range(len(names))]
    picks = np.random.default_rng(seed).integers(0, len(names), size=(n_resamples, len(names)))
    draws = [statistic(array[np.concatenate([members[cluster] for cluster in pick])]) for pick in picks]
    return np.asarray(draws, dtype=np.float64)


def _mean_draws(values: FloatArray, clusters: NDArray, n_resamples: int, seed: int) -> FloatArray:
    names, member_of = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return np.empty(0)
    counts = resample_counts(len(names), n_resamples, seed)
    sums = np.bincount(member_of, weights=values, minlength=len(names))
    sizes = np.bincount(member_of, minlength=len(names))
    return (counts @ sums) / (counts @ sizes)


def _group_draws(a: FloatArray, b: FloatArray, clusters: NDArray, n_resamples: int, seed: int) -> FloatArray:
    """Differences of group means when clusters are resampled; resamples without a group are dropped."""
    names, member_of = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return np.empty(0)
    counts = resample_counts(len(names), n_resamples, seed)
    means = []
    for values, members in ((a, member_of[: len(a)]), (b, member_of[len(a) :])):
        total = counts @ np.bincount(members, weights=values, minlength=len(names))
        size = counts @ np.bincount(members, minlength=len(names))
        means.append(np.divide(total, size, out=np.full(n_resamples, np.nan), where=size > 0))
    difference = means[0] - means[1]
    return difference[~np.isnan(difference)]


def _from_draws(
    name: str, difference: FloatArray, draws: FloatArray, confidence: float, size: float
) -> TestResult:
    low, high = _percentiles(draws, confidence)
    effect = float(difference.mean()) if len(difference) else np.nan
    return TestResult(name, len(difference), effect, low, high, _two_sided(draws), size)


def _two_sided(draws: FloatArray) -> float:
    """Twice the smaller tail beyond zero, so that p < alpha agrees with the percentile interval."""
    if not len(draws):
        return np.nan
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))


def _percentiles(draws: FloatArray, confidence: float) -> tuple[float, float]:
    known = draws[~np.isnan(draws)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


def _differences(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None) -> tuple[FloatArray, NDArray | None]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"pairs do not match: a has {a.size} values, b has {b.size}")
    known = ~np.isnan(a - b)
    size = np.maximum(np.abs(a), np.abs(b))[known].max(initial=0.0)
    return _unrounded((a - b)[known], size), None if clusters is None else np.asarray(clusters)[known]


def _unrounded(values: FloatArray, size: float) -> FloatArray:
    """The values [n], made equal where they differ by no more than the rounding of numbers of that size:
    2/3 - 1/3 and 1 - 2/3 are one difference, and one that rounding alone keeps from 0 is 0."""
    if not len(values) or np.ptp(values) > ROUNDING * size:
        return values
    common = float(np.median(values))
    return np.full(len(values), 0.0 if abs(common) <= ROUNDING * size else common)


def _groups(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None
) -> tuple[FloatArray, FloatArray, NDArray | None]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    known = ~np.isnan(np.concatenate([a, b]))
    if clusters is not None and len(np.asarray(clusters)) != known.size:
        raise ValueError(f"clusters has {len(np.asarray(clusters))} labels, a and b have {known.size} values")
    labels = None if clusters is None else np.asarray(clusters)[known]
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    return *(_unrounded(values, np.abs(values).max(initial=0.0)) for values in (a, b)), labels


def _one_sample(difference: FloatArray, confidence: float) -> tuple[float, float, float, float]:
    """Mean, interval and p of a one-sample t-test; identical differences have an interval of no width."""
    effect = float(difference.mean()) if len(difference) else np.nan
    if len(difference) < 2:
        return effect, np.nan, np.nan, np.nan
    if np.ptp(difference) == 0:
        return effect, effect, effect, 1.0 if effect == 0 else 0.0
    outcome = scipy_stats.ttest_1samp(difference, 0.0)
    interval = outcome.confidence_interval(confidence)
    return effect, float(interval.low), float(interval.high), float(outcome.pvalue)


def _hedges_correction(degrees_of_freedom: int) -> float:
    """The exact factor that removes the small-sample bias of a standardised mean; NaN below two degrees."""
    m = degrees_of_freedom
    return float(np.exp(gammaln(m / 2) - gammaln((m - 1) / 2)) / np.sqrt(m / 2)) if m >= 2 else np.nan


def _hedges_dz(difference: FloatArray) -> float:
    if len(difference) < 2 or np.ptp(difference) == 0:
        return np.nan
    return float(difference.mean() / difference.std(ddof=1) * _hedges_correction(len(difference) - 1))


def _hedges_g(a: FloatArray, b: FloatArray) -> float:
    freedom = len(a) + len(b) - 2
    if min(len(a), len(b)) < 2:
        return np.nan
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return np.nan
    variance = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom
    size = (a.mean() - b.mean()) / np.sqrt(variance) if variance else np.nan
    return float(size * _hedges_correction(freedom))
