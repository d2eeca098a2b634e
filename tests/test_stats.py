"""Bootstrap, tests, equivalence and ranks: against hand-checked values, scipy, and simulated data."""

import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats as scipy_stats

from pepr import stats

samples = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=3, max_size=20)


@given(st.floats(-1e6, 1e6), st.integers(1, 30))
@settings(max_examples=20)
def test_the_bootstrap_of_a_constant_is_constant(value, n):
    interval = stats.bootstrap_interval(np.full(n, value), n_resamples=50)
    assert interval.estimate == pytest.approx(value) == interval.low == interval.high


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(1).normal(size=40)
    assert stats.bootstrap_interval(values, seed=3) == stats.bootstrap_interval(values, seed=3)
    assert stats.bootstrap_interval(values, seed=3) != stats.bootstrap_interval(values, seed=4)


def test_the_bootstrap_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        interval = stats.bootstrap_interval(rng.normal(2.0, 3.0, size=60), n_resamples=400, seed=trial)
        hits += interval.low <= 2.0 <= interval.high
    assert 0.91 <= hits / 400 <= 0.98


def test_errors_robust_to_clusters_cover_where_plain_ones_are_too_narrow():
    rng = np.random.default_rng(0)
    plain = clustered = 0
    families = np.repeat(np.arange(30), 6)
    for _ in range(200):
        values = np.repeat(rng.normal(size=30), 6) + 0.2 * rng.normal(size=180)
        for_all = stats.paired_test(values, np.zeros(180))
        by_family = stats.paired_test(values, np.zeros(180), families)
        plain += for_all.low <= 0 <= for_all.high
        clustered += by_family.low <= 0 <= by_family.high
    assert 0.90 <= clustered / 200 <= 0.99
    assert plain / 200 < 0.75


@pytest.mark.parametrize("statistic", [np.median, lambda sample: float(np.max(sample))])
def test_any_statistic_can_be_resampled(statistic):
    values = np.arange(20.0)
    interval = stats.bootstrap_interval(values, statistic, n_resamples=200)
    assert interval.estimate == statistic(values)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 19


def test_rows_of_a_table_are_resampled_whole_and_nan_rows_are_dropped():
    table = np.column_stack([np.arange(10.0), 100 - np.arange(10.0)])
    interval = stats.bootstrap_interval(np.vstack([table, [np.nan, 1.0]]))
    assert interval.low == interval.high == interval.estimate == 50.0
    with pytest.raises(ValueError, match="no values"):
        stats.bootstrap_interval([np.nan])


@pytest.mark.alone
def test_ten_thousand_resamples_of_a_full_study_take_less_than_three_seconds():
    values = np.random.default_rng(0).random((131, 8))
    start = time.process_time()
    interval = stats.bootstrap_interval(values, n_resamples=10_000)
    assert time.process_time() - start < 3
    assert interval.low < values.mean() < interval.high


def test_resample_counts_sum_to_n_and_keep_clusters_together():
    assert (stats.resample_counts(7, 100).sum(axis=1) == 7).all()
    counts = stats.cluster_counts(["a", "b", "a", "c"], 50)
    assert (counts[:, 0] == counts[:, 2]).all() and counts.std() > 0


def test_the_paired_test_is_the_t_test_of_the_differences():
    a, b = np.array([0.8, 0.9, 0.7, 0.85]), np.array([0.7, 0.75, 0.72, 0.7])
    result = stats.paired_test(a, b)
    assert result.n == 4 and result.effect == pytest.approx(0.095)
    assert result.p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    half = scipy_stats.t.ppf(0.975, 3) * np.std(a - b, ddof=1) / 2
    assert (result.low, result.high) == pytest.approx((0.095 - half, 0.095 + half))
    correction = 0.7236  # Hedges' factor at 3 degrees of freedom, Hedges 1981, table 1
    assert result.effect_size == pytest.approx(0.095 / np.std(a - b, ddof=1) * correction, rel=1e-3)


def test_pairs_with_a_missing_value_are_dropped_and_one_pair_has_no_p():
    result = stats.paired_test([1.0, np.nan], [0.5, 1.0])
    assert (result.n, result.effect) == (1, 0.5)
    assert np.isnan([result.p, result.low, result.effect_size]).all()
    with pytest.raises(ValueError, match="pairs do not match"):
        stats.paired_test([1.0], [1.0, 2.0])


def test_differences_that_are_all_alike_have_an_interval_without_width():
    nothing, shifted = stats.paired_test([1.0, 2.0], [1.0, 2.0]), stats.paired_test([2.0, 3.0], [1.0, 2.0])
    assert (nothing.p, nothing.low, nothing.high) == (1.0, 0.0, 0.0)
    assert (shifted.p, shifted.low, shifted.high) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("n_test", [3, 7, 525, 1984])
def test_three_seeds_that_differ_by_the_same_count_of_images_have_no_standardised_effect(n_test):
    rng = np.random.default_rng(n_test)
    for _ in range(200):
        wrong, more = rng.integers(0, n_test, 3), rng.integers(0, 3)
        a, b = (wrong + more) / n_test, wrong / n_test
        result = stats.paired_test(a, b)
        assert np.isnan(result.effect_size) and result.low == result.high
        assert result.p == (1.0 if more == 0 else 0.0)
        of_units = stats.unit_test(a - b, margin=0.01)
        assert np.isnan([of_units.effect_size, of_units.p, of_units.low]).all()
        if more == 0:
            assert result.effect == 0.0


def test_two_constant_groups_have_no_p_however_their_values_were_rounded():
    # 0.3 as it is and as a sum: alike to the last digit but one.
    result = stats.welch_test([0.3, 0.1 + 0.2, 0.3], [0.7, 0.7, 0.6 + 0.1])
    assert np.isnan([result.p, result.low, result.effect_size]).all()
    assert np.isnan(stats.equivalence_test([0.3, 0.1 + 0.2], [0.7, 0.6 + 0.1], 1.0).p)
    assert np.isnan(stats.rank_correlation([0.3, 0.1 + 0.2, 0.3], [1.0, 2.0, 3.0]).effect)


@pytest.mark.parametrize("n_test", [3, 7, 525, 1984])
def test_what_is_alike_but_for_rounding_has_no_p_over_clusters_either(n_test):
    rng = np.random.default_rng(n_test)
    for _ in range(50):
        wrong, more = rng.integers(0, n_test, 6), rng.integers(1, 3)
        result = stats.paired_test((wrong + more) / n_test, wrong / n_test, clusters=[0, 0, 1, 1, 2, 2])
        assert np.isnan([result.p, result.low, result.effect_size]).all()
        assert result.effect == pytest.approx(more / n_test)
    groups = [more / n_test] * 4, [(n_test - more) / n_test] * 3
    for clusters in (range(7), [0, 1, 2, 0, 1, 2, 0]):
        assert np.isnan(stats.welch_test(*groups, clusters=clusters).p)
        assert np.isnan(stats.equivalence_test(*groups, 0.01, clusters=clusters).p)


def test_a_mean_of_values_that_rounding_alone_tells_apart_has_the_interval_of_equal_ones():
    for units in ([2 / 3 - 1 / 3, 1 - 2 / 3, 1 / 3], [0.3, 0.1 + 0.2, 0.3]):
        alike, rounded = stats.mean_interval([units[0]] * 3), stats.mean_interval(units)
        assert np.isnan([alike.low, alike.high, rounded.low, rounded.high]).all()
        shared = [stats.mean_interval(values, 0.01**2) for values in ([units[0]] * 3, units)]
        assert (shared[0].low, shared[0].high) == pytest.approx((shared[1].low, shared[1].high))


def test_differences_that_are_small_but_real_are_tested():
    a = np.array([0.5, 0.5 + 1e-9, 0.5 + 3e-9])
    assert 0 < stats.paired_test(a, np.full(3, 0.5)).p < 1


def test_the_p_of_a_clustered_paired_test_agrees_with_its_interval():
    rng = np.random.default_rng(0)
    families = np.repeat(np.arange(12), 4)
    decided = set()
    for shift in (0.0, 0.5, 2.0):
        a = rng.normal(shift, 1, 48) + np.repeat(rng.normal(size=12), 4)
        result = stats.paired_test(a, np.zeros(48), clusters=families)
        assert (result.p < 0.05) == (not result.low <= 0 <= result.high)
        decided.add(result.p < 0.05)
    assert decided == {True, False}


def test_clusters_widen_the_interval_of_values_that_come_in_families():
    values = np.repeat(np.random.default_rng(0).normal(size=10), 8)
    families = np.repeat(np.arange(10), 8)
    plain = stats.paired_test(values, np.zeros(80))
    clustered = stats.paired_test(values, np.zeros(80), clusters=families)
    assert clustered.high - clustered.low > 1.5 * (plain.high - plain.low)
    assert np.isnan(stats.paired_test([1.0, 2.0], [0.0, 0.0], clusters=["a", "a"]).p)


def test_the_welch_test_agrees_with_scipy_and_gives_hedges_g():
    a, b = np.array([3.0, 4.0, 5.0, 6.0]), np.array([1.0, 2.0, 2.0])
    result = stats.welch_test(a, b)
    assert result.p == pytest.approx(scipy_stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert result.effect == pytest.approx(4.5 - 5 / 3) and result.n == 7
    pooled = np.sqrt((3 * a.var(ddof=1) + 2 * b.var(ddof=1)) / 5)
    assert result.effect_size == pytest.approx(result.effect / pooled * 0.8408, rel=1e-3)
    assert np.isnan(stats.welch_test([1.0], b).p)


def test_families_on_both_sides_of_a_welch_test_are_taken_together():
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.1, 2.1, 3.1, 4.2])
    together = stats.welch_test(a, b, clusters=[0, 1, 2, 3, 0, 1, 2, 3])
    apart = stats.welch_test(a, b, clusters=range(8))
    assert together.effect == apart.effect == pytest.approx(-0.125)
    assert together.high - together.low < 0.2 < 1 < apart.high - apart.low
    with pytest.raises(ValueError, match="clusters has 2 labels"):
        stats.welch_test(a, b, clusters=[0, 1])


def test_clustered_least_squares_is_that_of_statsmodels_and_with_clusters_of_one_nearly_welch():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.3, 1, 40), rng.normal(0, 2, 60)
    robust, plain = stats.welch_test(a, b, clusters=range(100)), stats.welch_test(a, b)
    assert robust.effect == pytest.approx(plain.effect)
    assert robust.high - robust.low == pytest.approx(plain.high - plain.low, rel=0.05)
    assert np.isnan(stats.welch_test(a, b, clusters=[0] * 50 + [1] * 50).p)


@given(samples, samples, st.floats(0.01, 50))
def test_equivalence_holds_exactly_when_the_ninety_percent_interval_lies_inside_the_margin(a, b, margin):
    result = stats.equivalence_test(a, b, margin)
    both = max(result.p, result.p_upper)
    if np.isnan(both) or abs(both - 0.05) < 1e-6:
        return
    assert (both < 0.05) == (-margin < result.low and result.high < margin)


def test_equivalence_agrees_with_statsmodels_and_needs_a_margin():
    from statsmodels.stats.weightstats import ttost_ind

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=30), rng.normal(size=20)
    expected, above, below = ttost_ind(a, b, -0.7, 0.7, usevar="unequal")
    result = stats.equivalence_test(a, b, 0.7)
    assert (result.p, result.p_upper) == pytest.approx((above[1], below[1]))
    assert max(result.p, result.p_upper) == pytest.approx(expected)
    with pytest.raises(ValueError, match="margin"):
        stats.equivalence_test(a, b, 0.0)


def test_equivalence_with_clusters_agrees_with_its_interval():
    rng = np.random.default_rng(0)
    a, b, families = rng.normal(size=60), rng.normal(size=60), np.repeat(np.arange(15), 4)
    for margin in (0.05, 2.0):
        result = stats.equivalence_test(a, b, margin, np.concatenate([families, families]))
        both = max(result.p, result.p_upper)
        assert (both < 0.05) == (-margin < result.low and result.high < margin) == (margin == 2.0)


def test_the_mean_of_units_has_students_interval_and_none_below_three():
    values = np.array([0.7, 0.75, 0.72, 0.8, 0.74])
    interval = stats.mean_interval(values)
    expected = scipy_stats.t.interval(0.95, 4, values.mean(), scipy_stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected)
    for few in ([0.7, 0.8], [0.7], []):
        assert np.isnan([stats.mean_interval(few).low, stats.mean_interval(few).high]).all()
        assert np.isnan(stats.unit_test(few).p)


def test_an_interval_ends_where_the_quantity_does_and_holds_its_estimate():
    wide = stats.mean_interval([0.5, 0.9, 1.0])
    assert wide.low < 0.5 and wide.high > 1.0
    assert wide.within(0.0, 1.0) == stats.Interval(wide.estimate, wide.low, 1.0)
    assert wide.within(0.45, 0.7) == stats.Interval(wide.estimate, 0.45, wide.estimate)
    unknown = stats.mean_interval([0.5, 0.9]).within(0.0, 1.0)
    assert np.isnan([unknown.low, unknown.high]).all()


def test_what_all_units_share_widens_the_interval_and_has_more_degrees_of_freedom_than_they():
    values = np.array([0.70, 0.72, 0.71])
    alone, with_images = stats.mean_interval(values), stats.mean_interval(values, 0.02**2)
    assert with_images.high - with_images.low > alone.high - alone.low
    error = np.sqrt(values.var(ddof=1) / 3 + 0.02**2)
    assert (with_images.high - with_images.estimate) / error < scipy_stats.t.ppf(0.975, 2) / 2


def test_the_test_of_units_is_the_paired_t_test_and_with_a_margin_both_one_sided_ones():
    a, b = np.array([0.8, 0.9, 0.7, 0.85, 0.8]), np.array([0.7, 0.75, 0.72, 0.7, 0.75])
    assert stats.unit_test(a - b).p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    result = stats.unit_test(a - b, margin=0.1)
    expected = [
        scipy_stats.ttest_1samp(a - b, limit, alternative=side).pvalue
        for limit, side in ((-0.1, "greater"), (0.1, "less"))
    ]
    assert [result.p, result.p_upper] == pytest.approx(expected)
    interval = scipy_stats.t.interval(0.90, 4, (a - b).mean(), scipy_stats.sem(a - b))
    assert (result.low, result.high) == pytest.approx(interval)


def test_draws_of_means_have_the_intervals_of_the_means_and_keep_pairs_together():
    rng = np.random.default_rng(2)
    common = rng.normal(0.8, 0.03, size=(5, 1))
    units = common + rng.normal(0, 0.002, size=(5, 3)) + [0.0, 0.01, 0.05]
    draws = stats.mean_draws(units, 40_000, seed=1)
    for column in range(3):
        interval = stats.mean_interval(units[:, column])
        width = interval.high - interval.low
        ends = np.percentile(draws[:, column], [2.5, 97.5])
        assert ends == pytest.approx([interval.low, interval.high], abs=0.02 * width)
    apart = draws[:, 2] - draws[:, 0]
    of_pairs = stats.unit_test(units[:, 2] - units[:, 0])
    width = of_pairs.high - of_pairs.low
    assert np.percentile(apart, [2.5, 97.5]) == pytest.approx([of_pairs.low, of_pairs.high], abs=0.03 * width)
    assert stats.probability_best(draws)[2] > 0.99
    with pytest.raises(ValueError, match="2 units"):
        stats.mean_draws(units[:2], 10)


def test_holm_of_three_tests_by_hand_and_a_missing_test_is_not_counted():
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(stats.holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert stats.holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=25)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values):
    adjusted = stats.holm(p_values)
    assert np.all(adjusted >= np.array(p_values) - 1e-12) and np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= -1e-12)


def test_the_probability_of_being_best_shares_ties_and_sums_to_one():
    wins = stats.probability_best([[1, 2, 2], [3, 1, np.nan], [np.nan] * 3, [0, 5, 1]])
    np.testing.assert_allclose(wins, [1 / 3, 1.5 / 3, 0.5 / 3])
    assert stats.probability_best([[np.nan, np.nan]]).tolist() == [0.0, 0.0]


def test_the_rank_correlation_is_spearmans_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    a = rng.normal(size=30)
    b = a + rng.normal(size=30)
    result = stats.rank_correlation(np.append(a, np.nan), np.append(b, 1.0))
    assert result.n == 30 and result.effect == pytest.approx(scipy_stats.spearmanr(a, b).statistic)
    assert result.low < result.effect < result.high
    assert np.isnan(stats.rank_correlation([1, 2, 3], [1, 1, 1]).effect)
    assert stats.rank_correlation(a, np.exp(a)).effect == pytest.approx(1.0)


def test_a_perfect_rank_correlation_of_few_is_no_certainty():
    for sign in (1, -1):
        result = stats.rank_correlation([1, 2, 3, 4], np.multiply(sign, [2, 3, 5, 9]))
        assert (result.effect, result.p) == (pytest.approx(sign), pytest.approx(2 / 24))
        assert np.isnan([result.low, result.high]).all()


@pytest.mark.parametrize("n", range(4, 15))
def test_a_perfect_rank_correlation_has_no_error_over_clusters_however_rho_was_rounded(n):
    values = np.arange(float(n))
    for sign in (1, -1):
        result = stats.rank_correlation(values, sign * values**3, clusters=range(n))
        assert result.effect == pytest.approx(sign) and np.isnan([result.p, result.low, result.high]).all()


def test_a_rank_correlation_that_is_nearly_perfect_has_an_interval_with_a_width():
    values = np.arange(20.0)
    values[[3, 4]] = values[[4, 3]]
    result = stats.rank_correlation(np.arange(20.0), values)
    assert 0.99 < result.low < result.effect < result.high < 1


def test_a_rank_correlation_over_clusters_is_less_sure_where_members_repeat_each_other():
    rng = np.random.default_rng(0)
    a = np.repeat(rng.normal(size=12), 5)
    b = a + np.repeat(rng.normal(size=12), 5)
    a, b = (values + 1e-6 * rng.normal(size=60) for values in (a, b))
    plain, clustered = (stats.rank_correlation(a, b, clusters=c) for c in (None, np.repeat(range(12), 5)))
    assert clustered.effect == plain.effect
    assert clustered.high - clustered.low > 1.4 * (plain.high - plain.low)
    assert clustered.low < clustered.effect < clustered.high and clustered.p > plain.p
    assert np.isnan(stats.rank_correlation(a, b, clusters=[0] * 30 + [1] * 30).p)


def test_the_interval_of_a_rank_correlation_covers_on_simulated_data():
    rng = np.random.default_rng(0)
    rho = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's rho of a normal pair whose Pearson's is one half
    hits = 0
    for _ in range(300):
        a = rng.normal(size=50)
        result = stats.rank_correlation(a, 0.5 * a + np.sqrt(0.75) * rng.normal(size=50))
        hits += result.low <= rho <= result.high
    assert 0.91 <= hits / 300 <= 0.99


def test_the_overlap_of_the_best_by_hand():
    assert stats.top_k_overlap([5, 4, 3, 2], [5, 1, 4, 2], 2) == 0.5
    assert stats.top_k_overlap([5, np.nan, 3], [1, 9, 2], 2) == 0.5
    with pytest.raises(ValueError, match="k is 0"):
        stats.top_k_overlap([1], [1], 0)


def test_the_wilson_interval_of_eight_in_ten():
    interval = stats.wilson_interval(8, 10)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.8, 0.490, 0.943), abs=1e-3)
    assert stats.wilson_interval(0, 0).high == 1.0
