"""Intervals and tests on arrays: t, bootstrap, paired and unpaired tests, equivalence, ranks.

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
from scipy.special import factorial, gammaln
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

FloatArray = NDArray[np.float64]
CHUNK_ELEMENTS = 4_000_000
"""Resampled values held in memory at a time."""
ROUNDING = 8 * np.finfo(np.float64).eps
"""Values that differ by less than this share of their size differ by how they were rounded."""
PERFECT = 1e-9
"""A rank correlation that is this near to one is one, but for rounding."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the two ends of its confidence interval, in the unit of the values."""

    estimate: float
    low: float
    high: float

    def within(self, lowest: float, highest: float) -> Interval:
        """The same with no end beyond what the quantity can be, of which Student's law knows nothing."""
        low, high = np.clip([self.low, self.high], lowest, highest).tolist()
        return Interval(self.estimate, min(low, self.estimate), max(high, self.estimate))


@dataclass(frozen=True)
class TestResult:
    """One test: its name, pairs or values used, effect with its interval, p, and a standardised effect.

    `effect`, `low`, `high` are in the unit of the values. `p` is two-sided, but for a test with a margin:
    there it is the one-sided p of "no worse than the margin", and `p_upper` that of "no better than the
    margin".
    """

    __test__ = False  # pytest collects classes by this name

    test: str
    n: int
    effect: float
    low: float
    high: float
    p: float
    effect_size: float
    p_upper: float = np.nan


FEWEST_UNITS = 3
"""Units (a split and seed each) below which nothing is said of how a mean moves with them."""


def mean_interval(units: ArrayLike, shared_variance: float = 0.0, confidence: float = 0.95) -> Interval:
    """A mean over units [n], a run of its own split and seed each, with Student's interval.

    `shared_variance` is what the mean's variance has besides and the spread of the units does not show, such
    as that of test images that all units share; the degrees of freedom are then Satterthwaite's (1946). The
    ends are NaN below `FEWEST_UNITS`.
    """
    units = _known(units)
    if len(units) < FEWEST_UNITS:
        return Interval(float(units.mean()) if len(units) else np.nan, np.nan, np.nan)
    units = unrounded(units, np.abs(units).max())
    found = _of_units(units, shared_variance)
    return Interval(found.effect, *_t_ends(found, confidence))


def unit_test(
    differences: ArrayLike, shared_variance: float = 0.0, margin: float | None = None, name: str = "paired t"
) -> TestResult:
    """Is the mean of paired differences [n], one a unit, above or below zero, or within a margin?

    As `mean_interval`; with a margin the interval is that of 90%, and both one-sided p are given (TOST).
    Differences that are all alike are no evidence of how they would vary: without a shared variance there is
    no interval and no p. Raises ValueError for a margin that is not positive.
    """
    units = _known(differences)
    if len(units) < FEWEST_UNITS:
        effect = float(units.mean()) if len(units) else np.nan
        return TestResult(name, len(units), effect, np.nan, np.nan, np.nan, np.nan)
    units = unrounded(units, max(1.0, np.abs(units).max()))  # differences of numbers up to one
    found = _of_units(units, shared_variance)
    return t_result(name, len(units), found, margin=margin, effect_size=_hedges_dz(units))


@dataclass(frozen=True)
class Estimate:
    """An effect with its standard error and the degrees of freedom that the error is known by."""

    effect: float
    error: float
    freedom: float


def t_result(
    name: str,
    n: int,
    found: Estimate,
    against: float = 0.0,
    margin: float | None = None,
    effect_size: float = np.nan,
) -> TestResult:
    """The t-test of an estimate against a value, two-sided, with its 95% interval.

    With a margin: two one-sided tests against -margin and margin, with the 90% interval. Without an error
    that is above zero there is no interval and no p. Raises ValueError for a margin that is not positive.
    """
    if margin is not None and not margin > 0:
        raise ValueError(f"margin is {margin}; a margin is positive")
    low, high = _t_ends(found, 0.95 if margin is None else 0.90)
    if not found.error > 0:
        return TestResult(name, n, found.effect, low, high, np.nan, effect_size)
    law = scipy_stats.t(found.freedom)
    if margin is None:
        p = 2 * law.sf(abs(found.effect - against) / found.error)
        return TestResult(name, n, found.effect, low, high, float(p), effect_size)
    no_worse = law.sf((found.effect + margin) / found.error)
    no_better = law.cdf((found.effect - margin) / found.error)
    return TestResult(name, n, found.effect, low, high, float(no_worse), effect_size, float(no_better))


def least_squares(target: ArrayLike, design: ArrayLike, clusters: ArrayLike) -> Estimate:
    """The first coefficient of `target` [n] on `design` [n, k], its error robust to `clusters` [n].

    Members of a cluster may be alike in any way; as many degrees of freedom as clusters, less one. NaN errors
    with fewer than three clusters, and where the design leaves nothing but rounding.

    Source: Liang and Zeger 1986, with the small-sample factor of Stata; statsmodels' `cov_type="cluster"`.
    """
    target, design = np.asarray(target, dtype=np.float64), np.asarray(design, dtype=np.float64)
    names, member_of = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < FEWEST_UNITS:
        coefficients = np.linalg.lstsq(design, target, rcond=None)[0]
        return Estimate(float(coefficients[0]), np.nan, np.nan)
    fitted = OLS(target, design).fit(cov_type="cluster", cov_kwds={"groups": member_of}, use_t=True)
    exact = np.abs(fitted.resid).max() <= ROUNDING * np.abs(target).max()
    error = np.nan if exact else float(fitted.bse[0])
    return Estimate(float(fitted.params[0]), error, float(len(names) - 1))


def mean_draws(units: ArrayLike, n_draws: int, seed: int = 0) -> FloatArray:
    """What the means [n_draws, k] of units [n, k] could be: their joint t distribution.

    A row of `units` is one split and seed, seen by all k: differences between columns vary as paired ones do,
    and each column's 2.5 to 97.5 percentiles are its `mean_interval`. Raises ValueError below `FEWEST_UNITS`.
    """
    units = np.asarray(units, dtype=np.float64)
    n = len(units)
    if n < FEWEST_UNITS:
        raise ValueError(f"{n} units; their spread is known from {FEWEST_UNITS} on")
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_draws, n)) / np.sqrt(rng.chisquare(n - 1, size=(n_draws, 1)) / (n - 1))
    return units.mean(axis=0) + weights @ (units - units.mean(axis=0)) / np.sqrt(n * (n - 1))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., object] = np.mean,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of `values` [n] or [n, k], resampled over the first axis.

    A statistic with an `axis` argument (numpy's have one) is called once on many resamples, any other once
    per resample, on an array shaped like `values`; either way it is a number, so [n, k] is reduced over
    both axes. Not for a handful of values: its intervals are then too short, see `mean_interval`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    Raises ValueError when there is nothing to resample.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array.reshape(len(array), -1)).any(axis=1)]
    if not len(array):
        raise ValueError("no values to resample")
    draws = _known(_statistics(array, statistic, n_resamples, seed))
    shares = [50 * (1 - confidence), 50 * (1 + confidence)]
    low, high = np.percentile(draws, shares) if len(draws) else (np.nan, np.nan)
    return Interval(float(statistic(array)), float(low), float(high))


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


def paired_test(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None) -> TestResult:
    """Is the mean of `a - b` [pairs] different from zero?

    Paired t-test; with `clusters` [pairs] its error is robust to them, see `least_squares`. `effect_size` is
    Cohen's d_z with Hedges' correction; NaN when all differences are alike. Fewer than two pairs give an
    effect without interval or p.
    """
    difference, labels = _differences(a, b, clusters)
    size = _hedges_dz(difference)
    if labels is not None and len(difference):
        found = least_squares(difference, np.ones((len(difference), 1)), labels)
        return t_result("paired t, errors robust to clusters", len(difference), found, effect_size=size)
    effect, low, high, p = _one_sample(difference, 0.95)
    return TestResult("paired t", len(difference), effect, low, high, p, size)


def welch_test(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None) -> TestResult:
    """Do two groups, `a` [n_a] and `b` [n_b], differ in mean? Welch's t-test; effect is mean(a) - mean(b).

    With `clusters` [n_a + n_b] (labels of a, then of b) the error is robust to them, see `least_squares`.
    `effect_size` is Hedges' g. `n` is n_a + n_b.
    """
    a, b, labels = _groups(a, b, clusters)
    name = "Welch t" if labels is None else "t, errors robust to clusters"
    return t_result(name, len(a) + len(b), _gap(a, b, labels), effect_size=_hedges_g(a, b))


def equivalence_test(
    a: ArrayLike, b: ArrayLike, margin: float, clusters: ArrayLike | None = None
) -> TestResult:
    """Is mean(a) - mean(b) inside (-margin, margin)? Two one-sided tests (TOST) of two groups, Welch's.

    `p` is that of "no worse", `p_upper` that of "no better": both are below 0.05 if and only if the 90%
    interval lies inside the margin. With `clusters` [n_a + n_b] (labels of a, then of b) the error is robust
    to them, see `least_squares`.

    Source: Schuirmann 1987; Lakens 2017. Raises ValueError for a margin that is not positive.
    """
    a, b, labels = _groups(a, b, clusters)
    name, n = "TOST, Welch" if labels is None else "TOST, errors robust to clusters", len(a) + len(b)
    return t_result(name, n, _gap(a, b, labels), margin=margin, effect_size=_hedges_g(a, b))


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


def rank_correlation(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> TestResult:
    """Spearman's rank correlation of a [n] and b [n]; effect and effect_size are rho.

    The interval is Fisher's with the variance of Bonett and Wright (2000). NaN when either is constant or
    n < 3; no interval below four pairs, where the variance is undefined, nor where the ranks agree perfectly,
    where Fisher's transform is infinite. With `clusters` [n] the variance is that of the clusters' influences
    on the correlation of the ranks, and p follows from it; NaN with fewer than three clusters, where they
    leave no error, or where the ranks agree perfectly.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    labels = None if clusters is None else np.asarray(clusters)[known]
    a, b, n = a[known], b[known], int(known.sum())
    a, b = (unrounded(values, np.abs(values).max(initial=0.0)) for values in (a, b))
    if n < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return TestResult("Spearman", n, np.nan, np.nan, np.nan, np.nan, np.nan)
    rho, p = (float(value) for value in scipy_stats.spearmanr(a, b))
    p = max(p, 2.0 / factorial(n))  # no order of n is rarer, whatever t says of a perfect one
    if labels is not None:
        return _clustered_rank_correlation(a, b, rho, labels, confidence)
    if n == 3 or 1 - abs(rho) < PERFECT:
        return TestResult("Spearman", n, rho, np.nan, np.nan, p, rho)
    half = scipy_stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh([_fisher(rho) - half, _fisher(rho) + half])
    return TestResult("Spearman", n, rho, float(low), float(high), p, rho)


def _fisher(rho: float) -> float:
    return float(np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12)))


def _clustered_rank_correlation(
    a: FloatArray, b: FloatArray, rho: float, clusters: NDArray, confidence: float
) -> TestResult:
    name, n = "Spearman, errors robust to clusters", len(a)
    u, v = (scipy_stats.zscore(scipy_stats.rankdata(values)) for values in (a, b))
    names, member_of = np.unique(clusters, return_inverse=True)
    influence = np.bincount(member_of, weights=u * v - rho * (u**2 + v**2) / 2)
    groups = len(names)
    error = np.sqrt(groups / max(groups - 1, 1) * (influence**2).sum()) / n / max(1 - rho**2, 1e-12)
    if groups < FEWEST_UNITS or 1 - abs(rho) < PERFECT or not error > 1e-9:
        return TestResult(name, n, rho, np.nan, np.nan, np.nan, rho)
    found = t_result(name, n, Estimate(_fisher(rho), float(error), groups - 1.0), effect_size=rho)
    half = scipy_stats.t.ppf(0.5 + confidence / 2, groups - 1) * error
    low, high = np.tanh([_fisher(rho) - half, _fisher(rho) + half])
    return TestResult(name, n, rho, float(low), float(high), found.p, rho)


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


def _statistics(
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


def _known(values: ArrayLike) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    return values[~np.isnan(values)]


def _of_units(units: FloatArray, shared_variance: float) -> Estimate:
    """Mean, error and Satterthwaite's degrees of freedom of at least two units."""
    own = float(units.var(ddof=1)) / len(units) if np.ptp(units) > 0 else 0.0
    total = own + shared_variance
    freedom = (len(units) - 1) * (total / own) ** 2 if own > 0 else np.inf
    return Estimate(float(units.mean()), float(np.sqrt(total)), freedom)


def _t_ends(found: Estimate, confidence: float) -> tuple[float, float]:
    if not found.error > 0:
        return np.nan, np.nan
    half = scipy_stats.t.ppf(0.5 + confidence / 2, found.freedom) * found.error
    return float(found.effect - half), float(found.effect + half)


def _gap(a: FloatArray, b: FloatArray, clusters: NDArray | None) -> Estimate:
    """mean(a) - mean(b), its error robust to clusters, or Welch's; none with one value or two constants."""
    if clusters is not None:
        design = np.column_stack([np.repeat([1.0, 0.0], [len(a), len(b)]), np.ones(len(a) + len(b))])
        return least_squares(np.concatenate([a, b]), design, clusters)
    effect = float(a.mean() - b.mean()) if len(a) and len(b) else np.nan
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return Estimate(effect, np.nan, np.nan)
    parts = np.array([values.var(ddof=1) / len(values) for values in (a, b)])
    if not parts.sum() > 0:  # values so near that their squares are 0
        return Estimate(effect, np.nan, np.nan)
    shares = parts / parts.sum()
    freedom = 1.0 / (shares**2 / (np.array([len(a), len(b)]) - 1)).sum()
    return Estimate(effect, float(np.sqrt(parts.sum())), float(freedom))


def _differences(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None) -> tuple[FloatArray, NDArray | None]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"pairs do not match: a has {a.size} values, b has {b.size}")
    known = ~np.isnan(a - b)
    size = np.maximum(np.abs(a), np.abs(b))[known].max(initial=0.0)
    return unrounded((a - b)[known], size), None if clusters is None else np.asarray(clusters)[known]


def unrounded(values: FloatArray, size: float) -> FloatArray:
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
    return *(unrounded(values, np.abs(values).max(initial=0.0)) for values in (a, b)), labels


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
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return np.nan
    variance = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom
    size = (a.mean() - b.mean()) / np.sqrt(variance) if variance else np.nan
    return float(size * _hedges_correction(freedom))
