"""Metrics from predictions: equal to scikit-learn's, and defined where those are not."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from pepr import stats
from pepr.runs import metrics


@given(st.integers(2, 4), st.integers(8, 40), st.integers(0, 10_000))
def test_metrics_equal_those_of_scikit_learn_also_with_ties(classes, n, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n)])
    probabilities = rng.integers(1, 5, (len(labels), classes)).astype(float)  # few values: many ties
    probabilities /= probabilities.sum(1, keepdims=True)
    found = metrics.performance(probabilities, labels)
    scores = probabilities[:, 1] if classes == 2 else probabilities
    assert found["test_auroc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-12)
    assert found["test_balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, probabilities.argmax(1)), abs=1e-12
    )
    assert metrics.cross_entropy(probabilities, labels) == pytest.approx(log_loss(labels, probabilities))


def test_metrics_of_a_predictor_that_always_says_one_class():
    labels = np.array([0, 0, 0, 1])
    found = metrics.performance(np.tile([0.9, 0.1], (4, 1)), labels)
    assert found["constant_predictor"] and found["test_accuracy"] == found["test_majority_rate"] == 0.75
    assert found["test_balanced_accuracy"] == 0.5 and found["test_auroc"] == 0.5
    assert found["test_sensitivity"] == 0 and found["test_specificity"] == 1


def test_auroc_is_the_mean_over_the_classes_that_occur_and_empty_where_one_does():
    assert metrics.auroc(np.array([[0.5, 0.5]]), np.array([1])) is None
    labels = np.array([0, 0, 2, 2, 2])
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8]]
    )
    expected = [roc_auc_score(labels == label, probabilities[:, label]) for label in (0, 2)]
    found = metrics.performance(probabilities, labels)
    assert found["test_auroc"] == pytest.approx(np.mean(expected)) and found["n_test_classes"] == 2
    assert metrics.macro_auroc(labels, probabilities)[0] == pytest.approx(np.mean(expected))
    three = metrics.performance(np.eye(3), np.array([0, 1, 2]))
    assert three["test_auroc"] == 1.0 and three["test_sensitivity"] is None


@pytest.mark.filterwarnings("error")
def test_a_resample_without_an_image_of_a_class_has_the_mean_auroc_of_the_others():
    labels = np.array([0, 0, 1, 1, 2])
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]]
    )
    drawn = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    expected = [roc_auc_score(labels[:4] == label, probabilities[:4, label]) for label in (0, 1)]
    found = metrics.macro_auroc(labels, probabilities, drawn)
    assert found[0] == pytest.approx(np.mean(expected))
    assert found[1] == pytest.approx(metrics.macro_auroc(labels, probabilities)[0])
    both = np.array([[0.9, 0.1], [0.2, 0.8]])
    two = metrics.macro_auroc(np.array([0, 1]), both, np.array([[2, 0], [1, 1]]))
    assert np.isnan(two[0]) and two[1] == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("label", "empty"), [(0, "test_sensitivity"), (1, "test_specificity")])
def test_a_class_without_an_image_has_no_recall_and_warns_of_nothing(label, empty):
    found = metrics.performance(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([label, label]))
    assert found[empty] is None and found["test_auroc"] is None
    assert {found["test_sensitivity"], found["test_specificity"]} == {None, 0.5}
    assert found["test_balanced_accuracy"] == 0.5 and found["test_majority_rate"] == 1.0


def test_grades_are_judged_by_how_far_off_they_are_and_other_classes_are_not():
    labels = np.array([0, 1, 2, 3, 4, 4])
    one_off, far_off = np.eye(5)[[1, 1, 2, 3, 4, 4]], np.eye(5)[[4, 1, 2, 3, 4, 4]]
    near, far = (metrics.performance(found, labels, ordered=True) for found in (one_off, far_off))
    assert near["test_accuracy"] == far["test_accuracy"]
    assert near["test_mean_absolute_error"] == pytest.approx(1 / 6)
    assert far["test_mean_absolute_error"] == pytest.approx(4 / 6)
    squared, by_chance = 1 / 6, np.mean((labels[:, None] - one_off.argmax(1)) ** 2)
    assert near["test_quadratic_kappa"] == pytest.approx(1 - squared / by_chance)
    assert far["test_quadratic_kappa"] < near["test_quadratic_kappa"]
    assert metrics.performance(one_off, labels)["test_quadratic_kappa"] is None


def test_a_grade_that_nobody_has_keeps_the_others_where_they_are():
    labels, found = np.array([0, 1, 4, 4]), np.eye(5)[[1, 1, 4, 0]]
    kappa = metrics.performance(found, labels, ordered=True)["test_quadratic_kappa"]
    assert kappa == pytest.approx(1 - 4.25 / 6)
    assert kappa == pytest.approx(metrics.weighted_kappa(labels, found.argmax(1), np.ones((1, 4)))[0])


def test_kappa_and_error_of_drawn_images_are_those_of_the_images_repeated():
    rng = np.random.default_rng(4)
    labels, found = rng.integers(0, 5, 60).astype(np.uint8), rng.random((60, 5))
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=3)
    drawn = {name: law(found, labels, counts) for name, law in metrics.GRADED.items()}
    for number, count in enumerate(counts):
        again = metrics.performance(np.repeat(found, count, axis=0), np.repeat(labels, count), ordered=True)
        assert {name: values[number] for name, values in drawn.items()} == pytest.approx(
            {name: again[name] for name in metrics.GRADED}
        )
    assert np.isnan(metrics.weighted_kappa([2, 2], [2, 2], [[1, 1]])).all(), "one grade is all there is"


def test_kappa_is_empty_where_one_grade_is_all_there_is():
    found = metrics.performance(np.eye(5)[[2, 2]], np.array([2, 2]), ordered=True)
    assert found["test_quadratic_kappa"] is None and found["test_mean_absolute_error"] == 0


def test_weighted_auroc_and_balanced_accuracy_agree_with_scikit_learn_on_resampled_data():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 80), np.round(rng.random(80), 1)
    counts = stats.resample_counts(80, 5, seed=1)
    drawn = [np.repeat(np.arange(80), row.astype(int)) for row in counts]
    expected = [roc_auc_score(labels[pick], scores[pick]) for pick in drawn]
    np.testing.assert_allclose(metrics.weighted_auroc(labels, scores, counts), expected)
    predicted = scores > 0.5
    expected = [balanced_accuracy_score(labels[pick], predicted[pick]) for pick in drawn]
    np.testing.assert_allclose(metrics.weighted_balanced_accuracy(labels, predicted, counts), expected)


def test_macro_auroc_is_one_against_the_rest_and_needs_both_classes():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert metrics.macro_auroc(labels, probabilities)[0] == pytest.approx(expected)
    assert np.isnan(metrics.weighted_auroc([1, 1], [0.2, 0.3], np.ones((1, 2)))[0])
