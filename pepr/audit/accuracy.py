"""Checks on accuracies: counts of test images, runs that learned nothing, networks that come twice."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from pepr.audit.finding import ERROR, NOTE, WARNING, Finding
from pepr.audit.inference import DROPPED_IMAGES, count_tolerance
from pepr.audit.registry import check, count_words, listed
from pepr.audit.table import View

DIGIT_CHANGED = "digit_changed"


@check(
    "An accuracy is a count divided by the number of test images, so it is k/n with a whole k. One that is "
    "not was made otherwise: averaged, rounded, from another test set, or altered.",
)
def accuracy_not_k_of_n(view: View) -> list[Finding]:
    bad = view.off_lattice
    names = view.columns.performance
    final = len(names) - 1

    def first(row: int) -> int:
        return final if bad[row, final] else int(np.flatnonzero(bad[row])[0])

    def explain(row: int) -> str:
        n, value = view.n_test[row], view.performance[row, first(row)]
        return (
            f"{value:.12g} x {n:g} = {value * n:.6g} is not a whole number of test images. {likely(row)[1]}"
        )

    @functools.cache
    def likely(row: int) -> tuple[str, str]:
        """What may have happened, as one word and as a sentence."""
        if other := _other_test_set(view, row):
            return "other_test_set", other
        if digits := _same_digits(view, row, view.performance[row, first(row)]):
            return DIGIT_CHANGED, digits
        return "unexplained", _unexplained(bad, row)

    def nearest(row: int) -> float:
        return round(float(view.performance[row, first(row)] * view.n_test[row])) / view.n_test[row]

    return view.findings(
        np.flatnonzero(bad.any(axis=1)),
        lambda row: ERROR if bad[row, final] else WARNING,
        lambda row: [name for name, off in zip(names, bad[row], strict=True) if off],
        lambda row: view.performance[row, first(row)],
        explain,
        nearest,
        lambda row: likely(row)[0],
    )


def _other_test_set(view: View, row: int) -> str | None:
    """Says so when all accuracies of a row are k/n for the n of another setting."""
    for n in np.unique(view.n_test[np.isfinite(view.n_test)]):
        counts = view.performance[row] * n
        if n != view.n_test[row] and np.all(np.abs(counts - np.round(counts)) < count_tolerance(n)):
            settings = sorted({view.settings[view.setting_code[r]] for r in np.flatnonzero(view.n_test == n)})
            return f"All its accuracies are multiples of 1/{n:g}, the test set of {' and '.join(settings)}."
    return None


def _same_digits(view: View, row: int, value: float) -> str | None:
    """Says so when a value differs from one that is possible here by tenths only: one digit."""
    n = view.n_test[row]
    for tenths in range(1, 10):
        for candidate in (value - tenths / 10, value + tenths / 10):
            near = np.isclose(view.performance[row], candidate, rtol=0, atol=1e-9)
            count = candidate * n
            if 0 < candidate < 1 and near.any() and abs(count - round(count)) < count_tolerance(n):
                return (
                    f"Its digits are those of {candidate:.12g} = {round(count)}/{n:g}, which the same row "
                    "holds in another epoch, but for the first decimal. A digit changed in a later edit "
                    "would look like this."
                )
    return None


def _unexplained(bad: np.ndarray, row: int) -> str:
    return (
        f"{int(bad[row].sum())} of the row's {bad.shape[1]} accuracies are so. An average over runs or "
        "batches, rounding, or an edit could explain it."
    )


@check("A run whose accuracy is the share of one class, epoch after epoch: it answers one class.")
def constant_predictor(view: View) -> list[Finding]:
    if not view.columns.performance:
        return []
    flag = view.columns.constant_flag
    if flag is not None:
        rows = np.flatnonzero(view.table[flag].astype(str).str.lower().isin(["true", "1", "1.0"]))
    elif view.columns.predicted_classes is not None:
        rows = np.flatnonzero(view.role("predicted_classes") == 1)
    elif view.columns.by_epoch:
        rows = np.flatnonzero(view.at_class_rate[:, -1] & (view.at_class_rate.sum(axis=1) >= 2))
    else:
        rows = np.flatnonzero(view.at_class_rate[:, -1])
    final = view.performance[:, -1]
    moving = np.array([len(rates) > 2 * DROPPED_IMAGES for rates in view.class_rates])

    def explain(row: int) -> str:
        return (
            f"The accuracy is {count_words(view, row, final[row])}, the share of one class"
            f"{', but for a last batch drawn at random' if moving[view.setting_code[row]] else ''}. "
            "The run has "
            "learned to answer that class; its accuracy says nothing about the model, while its score still "
            "rewards whatever energy it saved."
        )

    return view.findings(rows, WARNING, [view.columns.final], final, explain)


@check(
    "A run that stopped learning: its training accuracy ends below half of what one constant answer gives, "
    "or its test accuracy falls from a learned level to the share of a small class and stays there.",
)
def collapsed_run(view: View) -> list[Finding]:
    if not view.columns.by_epoch:
        return []
    final, majority = view.performance[:, -1], view.majority
    train = view.role("train_accuracy")
    untrained = np.zeros(view.n_rows, dtype=bool) if train is None else train < 0.5 * majority
    fell = view.at_class_rate[:, -1] & (final < 0.75 * majority)
    fell &= view.performance[:, :-1].max(axis=1, initial=0) > np.maximum(majority, final) + 0.02
    name = view.columns.train_accuracy

    def explain(row: int) -> str:
        if untrained[row]:
            return (
                f"The training accuracy of the last epoch is {train[row]:.3f}, where answering the majority "
                f"class alone would give about {majority[row]:.3f}. A loss that became NaN, or weights "
                "that grew without "
                "bound, would do this. The run failed; its accuracy and score do not describe the model."
            )
        return (
            f"The test accuracy was {view.performance[row, :-1].max():.3f} and ends at "
            f"{count_words(view, row, final[row])}, the share of a small class, as when a loss becomes NaN."
        )

    return view.findings(
        np.flatnonzero(untrained | fell),
        ERROR,
        lambda row: [name if untrained[row] else view.columns.final],
        lambda row: train[row] if untrained[row] else final[row],
        explain,
        majority,
    )


@check("A run that in no epoch did better than always answering the largest class.")
def never_above_majority(view: View) -> list[Finding]:
    if not view.columns.performance:
        return []
    best, majority = np.fmax.reduce(view.performance, axis=1), view.majority
    rows = np.flatnonzero(best <= majority + 1e-9)

    def explain(row: int) -> str:
        return (
            f"The best accuracy of any epoch, {best[row]:.4f}, does not exceed the share of the "
            f"largest class, {majority[row]:.4f}. Ranking such runs ranks noise, and cost alone decides "
            "their score."
        )

    return view.findings(rows, WARNING, view.columns.performance, best, explain, majority)


@check(
    "Two names in one setting with the same size and the same accuracy in every epoch: one network under "
    "two names. Averages and rankings then count it twice.",
)
def duplicate_architecture(view: View) -> list[Finding]:
    if not view.columns.by_epoch or view.columns.parameters is None:
        return []
    values = view.performance
    varied = (np.diff(np.sort(values, axis=1), axis=1) > 1e-9).sum(axis=1) >= 2
    size = view.role("parameters")
    curves = pd.util.hash_pandas_object(pd.DataFrame(values.round(12)), index=False).to_numpy()
    keys = pd.DataFrame({"setting": view.setting_code, "size": size, "curve": curves})[varied]
    twins = keys[keys.duplicated(keep=False)]
    partner: dict[int, str] = {}
    for _, rows in twins.groupby(["setting", "size", "curve"]).groups.items():
        names = {int(row): view.model_of(int(row)) for row in rows}
        if len(set(names.values())) > 1:
            partner |= {row: listed([n for r, n in names.items() if r != row]) for row in names}

    def explain(row: int) -> str:
        return (
            f"Parameters and all accuracies are those of {partner[row]}: the same network, trained from the "
            "same seed. The two rows are one observation."
        )

    columns = [view.columns.parameters, *view.columns.performance]
    return view.findings(sorted(partner), NOTE, columns, values[:, -1], explain)
