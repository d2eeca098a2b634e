"""How well a model classifies: test metrics from class probabilities and labels, mostly with numpy alone.

Every run imports this module. scikit-learn has these metrics too and the tests compare with it, but its
import takes longer than the whole evaluation of a run: only runs on ordered grades load it.
"""

from __future__ import annotations

import numpy as np


def performance(
    probabilities: np.ndarray, labels: np.ndarray, ordered: bool = False
) -> dict[str, float | int | bool | None]:
    """Test metrics of the results table from probabilities [n, classes] and labels [n].

    Balanced accuracy and AUROC are means over the classes that occur, whose number is `n_test_classes`.
    Sensitivity and specificity are of label 1 and 0, and only given for two classes; a class without an image
    has none. The quadratic-weighted kappa and the mean absolute error, in grades, are only given for labels
    that are `ordered`.
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
        "n_test_classes": int(np.count_nonzero(counts)),
        **_of_grades(predicted, labels, ordered),
    }


def _of_grades(predicted: np.ndarray, labels: np.ndarray, ordered: bool) -> dict[str, float | None]:
    """How far predicted grades [n] are from the right ones; no kappa where both are one grade throughout."""
    if not ordered:
        return {"test_quadratic_kappa": None, "test_mean_absolute_error": None}
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    one_grade = len(np.union1d(predicted, labels)) == 1
    return {
        "test_quadratic_kappa": None
        if one_grade
        else float(cohen_kappa_score(labels, predicted, weights="quadratic")),
        "test_mean_absolute_error": float(mean_absolute_error(labels, predicted)),
    }


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the ROC curve, one class against the rest, mean over the classes that occur; None where only
    one does or a probability is not finite. Shapes as in `performance`."""
    present = np.unique(labels)
    if len(present) < 2 or not np.isfinite(probabilities).all():
        return None
    if probabilities.shape[1] == 2:
        return _binary_auroc(labels == 1, probabilities[:, 1])
    return float(np.mean([_binary_auroc(labels == k, probabilities[:, k]) for k in present]))


def _binary_auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Share of (positive, negative) pairs whose positive scores higher, a tie counting half: the
    Mann-Whitney statistic over mid-ranks."""
    _, position, counts = np.unique(score, return_inverse=True, return_counts=True)
    mid_rank = np.cumsum(counts) - (counts - 1) / 2
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    rank_sum = float(mid_rank[position[positive]].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def class_entropy(labels: np.ndarray) -> float:
    """Entropy of the class shares of labels [n], in nats: the least cross-entropy that one answer for all
    images can have, so that whatever trains and stays above it did not learn."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log probability of the right class."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.clip(chosen, 1e-12, None))))


def _resampled_accuracy(probabilities: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ (probabilities.argmax(axis=1) == labels) / counts.sum(axis=1)


def _resampled_balanced(probabilities: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    from pepr import stats

    return stats.weighted_balanced_accuracy(labels, probabilities.argmax(axis=1), counts)


def _resampled_auroc(probabilities: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    from pepr import stats

    return stats.macro_auroc(labels, probabilities, counts)


RESAMPLED = {
    "accuracy": _resampled_accuracy,
    "balanced_accuracy": _resampled_balanced,
    "auroc": _resampled_auroc,
}
"""How each measure of `quantities.RECORDED` follows [n_resamples] from predictions [n, classes] and labels
[n] whose images are drawn `counts` [n_resamples, n] times each."""
