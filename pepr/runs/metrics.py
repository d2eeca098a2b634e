"""How well a model classifies: test metrics from class probabilities and labels, mostly with numpy alone.

Every run imports this module. scikit-learn has these metrics too and the tests compare with it, but its
import takes longer than the whole evaluation of a run: only runs on ordered grades load it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


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
        **_of_grades(predicted, labels, probabilities.shape[1] if ordered else 0),
    }


def _of_grades(predicted: np.ndarray, labels: np.ndarray, grades: int) -> dict[str, float | None]:
    """How far predicted grades [n] are from the right ones, of so many; no kappa where both are one grade
    throughout. Classes without an order are no grades."""
    if not grades:
        return {"test_quadratic_kappa": None, "test_mean_absolute_error": None}
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    kappa = None
    if len(np.union1d(predicted, labels)) > 1:
        # Left to itself, scikit-learn numbers the grades that occur: those around a missing one come closer.
        every = np.arange(grades)
        kappa = float(cohen_kappa_score(labels, predicted, labels=every, weights="quadratic"))
    return {
        "test_quadratic_kappa": kappa,
        "test_mean_absolute_error": float(mean_absolute_error(labels, predicted)),
    }


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the ROC curve, one class against the rest, mean over the classes that occur; None where only
    one does or a probability is not finite. Shapes as in `performance`."""
    if len(np.unique(labels)) < 2 or not np.isfinite(probabilities).all():
        return None
    return float(macro_auroc(labels, probabilities)[0])


def weighted_auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """Area under the ROC curve [resamples] of one score [n] for labels [n] in {0, 1}, under weights
    [resamples, n] such as `stats.resample_counts`. Ties count one half; NaN where a class has no weight.
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


def macro_auroc(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Macro AUROC, one class against the rest, [resamples] from probabilities [n, classes] and labels [n].

    Without weights: one value, of the samples as they are. With two classes it is the usual AUROC; with more,
    the mean over the classes that occur, in each resample over those that it drew.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    weights = np.ones((1, len(labels))) if weights is None else np.asarray(weights)
    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    each = np.stack([weighted_auroc(labels == label, probabilities[:, label], weights) for label in classes])
    known = ~np.isnan(each)
    total, count = np.where(known, each, 0.0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def weighted_balanced_accuracy(
    labels: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Mean of the per-class recalls [resamples]; classes without weight in a resample are left out of it."""
    labels, correct = np.asarray(labels), np.asarray(labels) == np.asarray(predicted)
    weights = np.ones((1, len(labels))) if weights is None else np.asarray(weights)
    recalls = []
    for label in np.unique(labels):
        total = weights[:, labels == label].sum(axis=1)
        hits = weights[:, (labels == label) & correct].sum(axis=1)
        recalls.append(np.divide(hits, total, out=np.full(len(weights), np.nan), where=total > 0))
    return np.nanmean(recalls, axis=0)


def weighted_kappa(labels: ArrayLike, predicted: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """Quadratic-weighted kappa [resamples] of grades [n] under weights [resamples, n]; NaN where labels and
    predictions are one grade throughout.

    Kappa is one less the mean squared distance as a share of that of independent grades with the same
    distributions (Cohen 1968), which for squares takes their means alone.
    """
    labels, predicted = (np.asarray(some, dtype=np.float64) for some in (labels, predicted))
    weights = np.asarray(weights, dtype=np.float64)
    weights = weights / weights.sum(axis=1, keepdims=True)
    seen = weights @ (labels - predicted) ** 2
    by_chance = weights @ (labels**2 + predicted**2) - 2 * (weights @ labels) * (weights @ predicted)
    apart = np.divide(seen, by_chance, out=np.full(len(seen), np.nan), where=by_chance > 1e-12)
    return 1 - apart


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


RESAMPLED = {
    "accuracy": lambda found, labels, counts: counts @ (found.argmax(axis=1) == labels) / counts.sum(axis=1),
    "balanced_accuracy": lambda found, labels, counts: weighted_balanced_accuracy(
        labels, found.argmax(axis=1), counts
    ),
    "auroc": lambda found, labels, counts: macro_auroc(labels, found, counts),
}
"""How each measure of `quantities.RECORDED` follows [n_resamples] from predictions [n, classes] and labels
[n] whose images are drawn `counts` [n_resamples, n] times each."""
GRADED = {
    "test_quadratic_kappa": lambda found, labels, counts: weighted_kappa(
        labels, found.argmax(axis=1), counts
    ),
    "test_mean_absolute_error": lambda found, labels, counts: (
        counts @ np.abs(found.argmax(axis=1) - labels.astype(int)) / counts.sum(axis=1)
    ),
}
"""The same for the columns of ordered grades, which are reported and not scored."""
