"""How well a model classifies: test metrics from class probabilities and labels, with numpy alone.

Every run imports this module. scikit-learn has these metrics too and the tests compare with it, but its
import takes longer than the whole evaluation of a run.
"""

from __future__ import annotations

import numpy as np


def performance(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float | bool | None]:
    """Test metrics of the results table from probabilities [n, classes] and labels [n].

    Balanced accuracy is the mean recall over the classes that occur. Sensitivity and specificity are of
    label 1 and 0, and only given for two classes; a class without an image has none.
    """
    predicted = probabilities.argmax(1)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    recall = {k: float(np.mean(predicted[labels == k] == k)) for k in np.flatnonzero(counts).tolist()}
    of_two = recall if probabilities.shape[1] == 2 else {}
    return {
        "test_accuracy": float(np.mean(predicted == labels)),
        "test_balanced_accuracy": float(np.mean(list(recall.values()))),
        "test_auroc": auroc(probabilities, labels),
        "test_sensitivity": of_two.get(1),
        "test_specificity": of_two.get(0),
        "test_majority_rate": float(counts.max() / len(labels)),
        "constant_predictor": bool(len(np.unique(predicted)) == 1),
    }


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the ROC curve, macro average of one class against the rest; None where a class is absent
    or a probability is not finite. Shapes as in `performance`."""
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes or not np.isfinite(probabilities).all():
        return None
    if classes == 2:
        return _binary_auroc(labels == 1, probabilities[:, 1])
    return float(np.mean([_binary_auroc(labels == k, probabilities[:, k]) for k in range(classes)]))


def _binary_auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Share of (positive, negative) pairs whose positive scores higher, a tie counting half: the
    Mann-Whitney statistic over mid-ranks."""
    _, position, counts = np.unique(score, return_inverse=True, return_counts=True)
    mid_rank = np.cumsum(counts) - (counts - 1) / 2
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    rank_sum = float(mid_rank[position[positive]].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log probability of the right class."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.clip(chosen, 1e-12, None))))
