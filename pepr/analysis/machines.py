"""The same study on several machines: how fast each was, whether they rank and predict alike."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from pepr.analysis.ranked import as_ranked, spoiled
from pepr.errors import InputError
from pepr.runs.results import Results, find_results, reference_folder

CONTRIBUTED = "contributed"
"""The folder of the shipped reference that holds results measured elsewhere, one folder each."""
FEWEST_MODELS = 3
Z_95 = 1.96
"""Of two samples of a normal law, one pair in twenty differs by more, in units of its standard deviation."""
NOT_OF_THE_DIGITS = re.compile(r"; [\d.]+ cores?; \d+ GiB")
"""What a machine's name says of its size, which decides no result."""


def machines(profile: str) -> list[Results]:
    """Every results folder of a profile: the one that the book shows first, then the others."""
    found: list[Results] = []
    with contextlib.suppress(InputError):
        found.append(find_results(profile))
    shipped = reference_folder(profile)
    if (shipped / "results.csv").exists() and all(one.folder != shipped for one in found):
        found.append(Results(profile, "reference", shipped))
    for folder in sorted(reference_folder(CONTRIBUTED).glob(f"{profile}-*")):
        if (folder / "results.csv").exists():
            found.append(Results(profile, "reference", folder))
    return found


def model_times(table: pd.DataFrame) -> pd.Series:
    """Mean training time in seconds of each model and setting, over `ok` runs that can be ranked by it."""
    done = as_ranked(table[table["status"] == "ok"])
    return done[~spoiled(done, "T")].groupby(["setting", "model"])["train_time_s"].mean()


def accuracy_tolerance(first: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """How far apart the test accuracies of the same runs [runs] may be on two machines.

    None at all on one kind of processor (or card) with one software: there a run comes out equal to the last
    digit. Elsewhere other instructions round otherwise, and training makes of the last digit another network
    of the same quality: what two samples of n test images, of which it gets a share p right, differ by in
    nineteen of twenty, 1.96 sqrt(2 p (1 - p) / n).
    """
    kinds = [
        table["hardware"].fillna("").map(lambda name: NOT_OF_THE_DIGITS.sub("", name))
        + table["software"].fillna("")
        for table in (first, other)
    ]
    share = (first["test_accuracy"].to_numpy(float) + other["test_accuracy"].to_numpy(float)) / 2
    sampled = Z_95 * np.sqrt(2 * share * (1 - share) / first["n_test"].to_numpy(float))
    return np.where(kinds[0].to_numpy() == kinds[1].to_numpy(), 0.0, sampled)


def _agreement(first: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """The runs that two tables share, how many of their accuracies agree, and the greatest difference."""
    tables = [table[table["status"] == "ok"].set_index("run_id") for table in (first, other)]
    shared = tables[0].index.intersection(tables[1].index)
    ours, theirs = (table.loc[shared] for table in tables)
    apart = np.abs(ours["test_accuracy"].to_numpy(float) - theirs["test_accuracy"].to_numpy(float))
    within = apart <= accuracy_tolerance(ours, theirs)
    return {
        "shared_runs": len(shared),
        "within_tolerance": int(within.sum()),
        "furthest_apart": float(apart.max()) if len(shared) else np.nan,
    }


def compare(results: list[Results]) -> pd.DataFrame:
    """One row a machine and folder: hardware, runs, median time, and how it agrees with the first.

    `times_as_long` is the median ratio of its training times to the first's, over the models that both
    ran; `spearman` the rank correlation of these times, empty for fewer than three. Of the `shared_runs`,
    the test accuracy of `within_tolerance` is within `accuracy_tolerance` of the first's; `furthest_apart`
    is the greatest difference.
    """
    rows, first, reference = [], None, None
    for one in results:
        table = one.table
        reference = table if reference is None else reference
        times = model_times(table)
        first = times if first is None else first
        both = pd.concat([first, times], axis=1, join="inner").dropna()
        enough = len(both) >= FEWEST_MODELS
        rows.append(
            {
                "hardware": "; ".join(sorted(table["hardware"].dropna().unique())) or "not known",
                "origin": one.origin if one.folder.parent.name != CONTRIBUTED else "contributed",
                "runs": len(table),
                "median_time_s": float(times.median()) if len(times) else np.nan,
                "times_as_long": float((both.iloc[:, 1] / both.iloc[:, 0]).median()) if len(both) else np.nan,
                "compared": len(both),
                "spearman": float(spearmanr(both.iloc[:, 0], both.iloc[:, 1])[0]) if enough else np.nan,
                **_agreement(reference, table),
            }
        )
    return pd.DataFrame(rows)


def against_reference(results: Results) -> str | None:
    """In a sentence, how the accuracies of this machine stand to those of the shipped reference; None where
    there is none, or it has no run in common."""
    shipped = reference_folder(results.profile)
    if results.folder.resolve() == shipped.resolve() or not (shipped / "results.csv").exists():
        return None
    row = compare([Results(results.profile, "reference", shipped), results]).iloc[1]
    if not row["shared_runs"]:
        return None
    return (
        f"{row['within_tolerance']} of {row['shared_runs']} runs have the test accuracy of the shipped "
        f"reference within what their processors allow, at most {100 * row['furthest_apart']:.1f} points "
        "apart: to the last digit on one kind of processor with one software, else as two samples of test "
        "images would differ."
    )
