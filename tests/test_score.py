"""PePR's formula, its normalisation, its curve and its peak: by hand, and for any numbers."""

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from sklearn.metrics import balanced_accuracy_score

from pepr.score import above_chance, below_range, normalise, pepr, pepr_curve, pepr_peak, resource_range_of

performances = st.floats(0, 1, allow_subnormal=False)
resources = st.floats(0, 1e6, allow_subnormal=False)
spaces = st.lists(st.tuples(performances, resources), min_size=1, max_size=40)


def columns(space):
    performance, resource = zip(*space, strict=True)
    return np.array(performance), np.array(resource)


def test_min_max_normalisation_of_three_models_by_hand():
    assert normalise([2.0, 4.0, 10.0]).tolist() == [0.0, 0.25, 1.0]


def test_scores_of_three_models_by_hand():
    scores = pepr([0.6, 0.8, 0.9], [2.0, 4.0, 10.0])
    assert scores.tolist() == [0.6, 0.8 / 1.25, 0.9 / 2.0]


def test_scores_in_a_frozen_range_by_hand():
    scores = pepr([0.6, 0.8, 0.9], [2.0, 4.0, 10.0], resource_range=(4.0, 8.0))
    assert scores.tolist() == [0.6, 0.8, 0.9 / 2.5]


def test_a_resource_below_a_frozen_range_is_clipped_and_flagged_and_one_above_is_kept():
    resource = [1.0, 2.0, 5.0, np.nan]
    np.testing.assert_array_equal(normalise(resource, (2.0, 4.0)), [0.0, 0.0, 1.5, np.nan])
    assert below_range(resource, (2.0, 4.0)).tolist() == [True, False, False, False]


def test_a_model_added_to_a_frozen_range_moves_no_other_score():
    before = pepr([0.6, 0.8], [2.0, 4.0], (2.0, 4.0))
    after = pepr([0.6, 0.8, 0.99], [2.0, 4.0, 400.0], (2.0, 4.0))
    assert before.tolist() == after[:2].tolist()


def test_a_constant_resource_normalises_to_zero_so_that_the_score_is_the_performance():
    assert normalise([3.0, 3.0, 3.0]).tolist() == [0.0, 0.0, 0.0]
    assert pepr([0.2, 0.7], [3.0, 3.0]).tolist() == [0.2, 0.7]
    assert pepr([0.2, 0.7], [3.0, 2.0], (3.0, 3.0)).tolist() == [0.2, 0.7]


def test_a_resource_that_rounding_alone_tells_apart_is_constant():
    alike = [0.3, 0.1 + 0.2, 0.3]
    assert normalise(alike).tolist() == [0.0, 0.0, 0.0]
    assert pepr([0.8, 0.9, 0.7], alike).tolist() == [0.8, 0.9, 0.7]
    assert normalise(alike, resource_range_of([0.8, 0.9, 0.7], alike)).tolist() == [0.0, 0.0, 0.0]
    assert normalise([1e-9, 1e-9 * (1 + 1e-12), 1e-9]).tolist() == [0.0, 1.0, 0.0], "small, but real"


def test_a_resource_above_a_range_of_zero_width_is_an_error():
    with pytest.raises(ValueError, match=r"resource\[1\] is 4, above a range of zero width"):
        normalise([3.0, 4.0], (3.0, 3.0))


def test_a_model_without_performance_has_no_score_and_does_not_set_the_range():
    scores = pepr([0.6, np.nan, 0.9], [2.0, 50.0, 4.0])
    np.testing.assert_array_equal(scores, [0.6, np.nan, 0.45])
    assert resource_range_of([0.6, np.nan, 0.9], [2.0, 50.0, 4.0]) == (2.0, 4.0)


def test_a_model_without_a_resource_has_no_score():
    np.testing.assert_array_equal(pepr([0.6, 0.8, 0.9], [2.0, np.nan, 4.0]), [0.6, np.nan, 0.45])
    np.testing.assert_array_equal(normalise([np.nan, np.nan]), [np.nan, np.nan])


@pytest.mark.parametrize("value", [-0.01, 1.01, 87.0])
def test_a_performance_outside_zero_to_one_is_named(value):
    with pytest.raises(ValueError, match=rf"performance\[1\] is {value:g}, outside \[0, 1\]"):
        pepr([0.5, value], [1.0, 2.0])


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_a_negative_or_infinite_resource_is_named(value):
    with pytest.raises(ValueError, match=rf"resource\[2\] is {value:g}"):
        pepr([0.5, 0.6, 0.7], [1.0, 2.0, value])


@pytest.mark.parametrize("edges", [(2.0, 1.0), (-1.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_range_that_is_not_one_is_an_error(edges):
    with pytest.raises(ValueError, match="expected 0 <= lo <= hi"):
        normalise([1.0], edges)


def test_lengths_that_differ_and_tables_are_errors():
    with pytest.raises(ValueError, match="performance has 2 values, resource has 3"):
        pepr([0.1, 0.2], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="2 dimensions"):
        normalise([[1.0, 2.0]])


def test_empty_input_gives_empty_arrays_and_no_peak():
    assert normalise([]).shape == pepr([], []).shape == pepr_curve([], []).score.shape == (0,)
    for nothing in (([], []), ([np.nan], [1.0])):
        with pytest.raises(ValueError, match="no peak"):
            pepr_peak(*nothing)


def test_the_curve_of_four_models_by_hand():
    curve = pepr_curve([0.6, 0.5, 0.9, 0.7], [0.0, 1.0, 4.0, 2.0])
    assert curve.resource_norm.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert curve.best_performance.tolist() == [0.6, 0.6, 0.7, 0.9]
    assert curve.score.tolist() == [0.6, 0.6 / 1.25, 0.7 / 1.5, 0.45]


def test_models_that_share_a_resource_share_a_point_with_the_best_of_them():
    curve = pepr_curve([0.3, 0.5, 0.4, 0.8], [1.0, 1.0, 1.0, 2.0])
    assert curve.resource_norm.tolist() == [0.0, 1.0]
    assert curve.best_performance.tolist() == [0.5, 0.8]


def test_the_peak_is_the_model_with_the_best_score():
    peak = pepr_peak([0.5, 0.9, 0.95], [1.0, 2.0, 5.0])
    assert (peak.index, peak.performance, peak.resource, peak.resource_norm) == (1, 0.9, 2.0, 0.25)
    assert peak.score == 0.9 / 1.25


def test_equal_scores_peak_at_the_lowest_resource_then_at_the_lowest_index():
    assert pepr_peak([0.8, 0.4, 0.1], [2.0, 1.0, 2.0]).index == 1
    assert pepr_peak([0.4, 0.4], [1.0, 1.0]).index == 0
    assert pepr_peak([0.4, 0.4], [2.0, 1.0], (5.0, 6.0)).index == 1


@given(spaces)
def test_set_relative_scores_lie_between_half_the_performance_and_the_performance(space):
    performance, resource = columns(space)
    scores = pepr(performance, resource)
    assert np.all(scores <= performance) and np.all(scores >= performance / 2)


@given(spaces, st.floats(0.01, 100), st.floats(0, 1000))
def test_normalisation_ignores_the_unit_and_the_origin_of_a_resource(space, scale, shift):
    _, resource = columns(space)
    assume(np.ptp(resource) > 1e-3)
    np.testing.assert_allclose(normalise(scale * resource + shift), normalise(resource), atol=1e-6)


@given(spaces)
def test_normalised_values_reach_from_zero_to_one_in_the_order_of_the_resource(space):
    _, resource = columns(space)
    norm = normalise(resource)
    assert norm.min() == 0.0 and norm.max() in (0.0, 1.0)
    assert np.all(np.diff(norm[np.argsort(resource)]) >= 0)


@given(spaces, st.randoms())
def test_scores_follow_their_models_when_the_models_are_shuffled(space, random):
    performance, resource = columns(space)
    order = list(range(len(space)))
    random.shuffle(order)
    np.testing.assert_array_equal(
        pepr(performance[order], resource[order]), pepr(performance, resource)[order]
    )


@given(performances, performances, resources, st.tuples(resources, resources).map(sorted))
def test_a_better_performance_never_scores_lower_and_a_dearer_model_never_higher(p, q, need, edges):
    assume(edges[1] - edges[0] > 1e-3)
    low, high = pepr([min(p, q), max(p, q)], [need, need], tuple(edges))
    assert low <= high
    cheap, dear = pepr([p, p], [need, need + 1.0], tuple(edges))
    assert dear <= cheap


@given(spaces, st.booleans())
def test_the_maximum_of_the_curve_equals_the_best_score(space, frozen):
    performance, resource = columns(space)
    edges = (1.0, 100.0) if frozen else None
    curve = pepr_curve(performance, resource, edges)
    peak = pepr_peak(performance, resource, edges)
    assert curve.score.max() == pepr(performance, resource, edges).max() == peak.score
    assert np.all(np.diff(curve.resource_norm) > 0) and np.all(np.diff(curve.best_performance) >= 0)


def test_performance_above_chance_by_hand():
    assert above_chance([0.5, 0.75, 1.0, 0.25], 0.5).tolist() == [0.0, 0.5, 1.0, -0.5]
    assert above_chance([0.8, 0.8], [0.6, 0.0]).tolist() == pytest.approx([0.5, 0.8])


def test_a_mean_over_runs_that_guess_is_no_better_than_chance():
    assert above_chance([0.4, 0.6], 0.5).mean() == 0.0


def test_above_chance_nothing_is_known_where_nothing_is_left_to_earn_or_a_value_is_missing():
    assert np.isnan(above_chance([1.0, np.nan, 0.8], [1.0, 0.5, np.nan])).all()


@pytest.mark.parametrize("chance", [-0.1, 1.1, 50.0])
def test_a_chance_or_a_performance_outside_zero_to_one_is_named(chance):
    with pytest.raises(ValueError, match=f"chance is {chance:g}, outside"):
        above_chance([0.5], chance)
    with pytest.raises(ValueError, match=r"performance\[0\] is 87, outside"):
        above_chance([87.0], 0.5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_balanced_accuracy_above_chance_is_the_adjusted_one_of_scikit_learn(pairs):
    labels, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    classes = len(np.unique(labels))
    assume(classes > 1)
    recall = [np.mean(predicted[labels == label] == label) for label in np.unique(labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predictions of a class that no label has
        expected = balanced_accuracy_score(labels, predicted, adjusted=True)
    assert above_chance([np.mean(recall)], 1 / classes)[0] == pytest.approx(expected, abs=1e-12)


def test_a_guesser_that_costs_least_wins_by_auroc_and_has_nothing_above_chance():
    auroc, energy = np.array([0.5, 0.8]), [0.0, 1.0]
    assert pepr_peak(auroc, energy).index == 0
    assert pepr_peak(above_chance(auroc, 0.5), energy).index == 1


def test_scoring_needs_neither_pandas_nor_torch():
    code = "import sys, pepr.score; sys.exit(bool({'pandas', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.alone
def test_a_million_models_are_scored_in_half_a_second():
    rng = np.random.default_rng(0)
    performance, resource = rng.random(1_000_000), rng.random(1_000_000)
    start = time.process_time()
    scores = pepr(performance, resource)
    assert time.process_time() - start < 0.5
    assert scores.shape == (1_000_000,)
