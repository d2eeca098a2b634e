"""Splits share training images: what that makes of an interval over splits, and of a verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from pepr import stats
from pepr.analysis import claims as run_claims
from pepr.analysis.claimed import overlap
from pepr.runs.results import Results, reference_folder


def test_the_variance_of_a_mean_is_divided_by_less_than_the_number_of_splits():
    found = overlap.resampled_test(np.array([0.1, 0.2, 0.3]), share=1 / 3)
    half = scipy_stats.t.ppf(0.975, 2) * np.sqrt(0.01 * (1 / 3 + 1 / 3))
    assert (found.effect, found.n) == (pytest.approx(0.2), 3)
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half))


def test_without_shared_training_images_it_is_students_test():
    differences = np.array([0.02, 0.05, -0.01, 0.04, 0.03])
    usual = stats.unit_test(differences, margin=0.05)
    found = overlap.resampled_test(differences, share=0.0, margin=0.05)
    assert (found.low, found.high, found.p) == pytest.approx((usual.low, usual.high, usual.p))
    assert found.p_upper == pytest.approx(usual.p_upper)


def test_too_few_splits_and_equal_differences_make_no_interval():
    for differences in (np.array([0.1, 0.2]), np.array([]), np.full(5, 0.1)):
        found = overlap.resampled_test(differences, share=0.3)
        assert np.isnan(found.p) and np.isnan(found.low)


def test_differences_that_rounding_alone_tells_apart_make_no_interval():
    differences = np.array([2 / 3 - 1 / 3, 1 - 2 / 3, 1 / 3])
    assert np.ptp(differences) > 0
    found = overlap.resampled_test(differences, share=1 / 3)
    assert found.effect == pytest.approx(1 / 3) and np.isnan([found.p, found.low, found.high]).all()


def test_a_tenth_of_the_images_is_of_a_split_that_shares_all_of_them():
    runs = pd.DataFrame({"n_train": [1500, 150], "train_fraction": [1.0, 0.1], "n_test": [500, 500]})
    assert overlap.share_of_tests(runs) == pytest.approx(1 / 3)


def test_claims_on_the_splits_of_the_reference_have_the_wider_interval_beside_their_own():
    claims = run_claims.claims(Results("pocket", "reference", reference_folder("pocket")))
    over_splits = [claim for claim in claims if "over splits" in claim["test"] and claim["p"] is not None]
    assert len(over_splits) > 5
    for claim in over_splits:
        assert claim["low_overlap"] < claim["low"] < claim["high"] < claim["high_overlap"]
        assert claim["verdict_overlap"] is not None
    for claim in claims:
        if claim not in over_splits:
            assert claim["low_overlap"] is claim["high_overlap"] is claim["verdict_overlap"] is None
