"""The same study on several machines: how fast each was, and whether they rank models alike."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from pepr.analysis.ranked import as_ranked, spoiled
from pepr.errors import InputError
from pepr.runs.results import Results, find_results, reference_folder

CONTRIBUTED = "contributed"
"""The folder of the shipped reference that holds results measured elsewhere, one folder each."""
FEWEST_MODELS = 3


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


def compare(results: list[Results]) -> pd.DataFrame:
    """One row a machine and folder: hardware, runs, median time, and how its ranking agrees with the first.

    `times_as_long` is the median ratio of its training times to the first's, over the models that both
    ran; `spearman` the rank correlation of these times, empty for fewer than three.
    """
    rows, first = [], None
    for one in results:
        table = one.table
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
            }
        )
    return pd.DataFrame(rows)
