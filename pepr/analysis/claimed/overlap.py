"""What claims on splits are worth if splits are not taken for independent: they share training images.

The t interval over n splits takes their differences for independent, and two splits of one set of images
train on some of the same: the spread between them is less than that of fresh images would be.
Beside it stands the corrected resampled t-test, which divides the variance of one split by less than n.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr import stats, verdicts
from pepr.analysis import measures, units

NAME = "corrected resampled t over splits and seeds"


def share_of_tests(runs: pd.DataFrame) -> float:
    """Test images over training images, the mean of some runs.

    A tenth of the images is drawn out of a split's training images, and those are what splits share.
    """
    of_split = runs["n_train"].astype("float64") / runs["train_fraction"].astype("float64")
    return float((runs["n_test"].astype("float64") / of_split).mean())


def resampled_test(differences: np.ndarray, share: float, margin: float | None = None) -> stats.TestResult:
    """Is the mean of differences [n], one a split, above or below zero, or within a margin?

    The variance of the mean is (1/n + `share`) times that of one split instead of 1/n times, with `share` as
    of `share_of_tests`; n - 1 degrees of freedom. No interval and no p below `stats.FEWEST_UNITS`, or
    where all differences are alike.

    Source: Nadeau and Bengio 2003, Inference for the generalization error, Machine Learning 52, 239-281.
    """
    n = len(differences)
    effect = float(np.mean(differences)) if n else np.nan
    if n < stats.FEWEST_UNITS:
        return stats.TestResult(NAME, n, effect, np.nan, np.nan, np.nan, np.nan)
    differences = stats.unrounded(differences, max(1.0, np.abs(differences).max()))  # of numbers up to one
    effect = float(np.mean(differences))
    spread = float(np.var(differences, ddof=1)) if np.ptp(differences) > 0 else 0.0
    found = stats.Estimate(effect, float(np.sqrt(spread * (1 / n + share))), n - 1.0)
    return stats.t_result(NAME, n, found, margin=margin)


def lower_end(mean: units.Mean, share: float) -> float:
    """The lower end of a mean's 95% interval over splits, longer as in `resampled_test`; NaN of others."""
    if mean.over != units.SPLITS:
        return np.nan
    half = mean.interval.estimate - mean.interval.low
    return mean.interval.estimate - half * float(np.sqrt(1 + mean.n_units * share))


def again(
    tested: stats.TestResult,
    contrast: units.Contrast | None,
    runs: pd.DataFrame,
    measure: str,
    margin: float | None,
) -> stats.TestResult | None:
    """A test over splits made again with that variance; None of one over models, or of too few splits.

    `contrast` is that of a measure which was `tested`, and `runs` a results table that holds its runs.
    """
    if contrast is None or units.SPLITS not in tested.test or contrast.n_units < stats.FEWEST_UNITS:
        return None
    used = runs[runs["run_id"].isin(contrast.weights.index)].set_index("run_id")
    differences = contrast.by_unit(measures.values(used, measure))
    return resampled_test(differences, share_of_tests(used), margin)


def values(result: stats.TestResult | None, judged: verdicts.Judged) -> verdicts.Entry:
    """What `claims.json` holds of such a test: interval and verdict, None without one."""
    names = ("low_overlap", "high_overlap", "verdict_overlap")
    if result is None:
        return dict.fromkeys(names)
    return verdicts.known(dict(zip(names, (result.low, result.high, judged.verdict), strict=True)))
