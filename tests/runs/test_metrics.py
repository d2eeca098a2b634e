"""Metrics from predictions: equal to scikit-learn's, and defined where those are not."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

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


def test_auroc_is_empty_where_a_class_is_absent():
    assert metrics.auroc(np.array([[0.5, 0.5]]), np.array([1])) is None
    three = metrics.performance(np.eye(3), np.array([0, 1, 2]))
    assert three["test_auroc"] == 1.0 and three["test_sensitivity"] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("label", "empty"), [(0, "test_sensitivity"), (1, "test_specificity")])
def test_a_class_without_an_image_has_no_recall_and_warns_of_nothing(label, empty):
    found = metrics.performance(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([label, label]))
    assert found[empty] is None and found["test_auroc"] is None
    assert {found["test_sensitivity"], found["test_specificity"]} == {None, 0.5}
    assert found["test_balanced_accuracy"] == 0.5 and found["test_majority_rate"] == 1.0
