"""How far the same run moves when it is run again on the same GPU: the noise floor of the authors' tables.

Their repository holds models that were trained two or three times in a setting, with one seed and one
program; the published tables keep one run of each.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from pepr.published.history import History
from pepr.published.tables import SETTINGS, TEST_COLUMNS

FINAL = TEST_COLUMNS[-1]


def pairs(history: History) -> pd.DataFrame:
    """Every run of a model in a setting with its next repetition, one row a pair.

    `accuracy` is the difference of the final accuracies, `accuracy_any_epoch` the largest of any epoch;
    `train_time`, `energy` and `memory` are differences as a share of the pair's mean. `energy` is NaN where
    one of the two carries the other's reading, or that of a third run.
    """
    runs = history.runs
    own = runs["energy_run"].to_numpy() == runs.index.to_numpy()
    rows = []
    for (setting, model), members in runs.groupby(["setting", "model"], sort=False).groups.items():
        for a, b in pairwise(members):
            first, second = runs.loc[a], runs.loc[b]
            epochs = np.abs(first[list(TEST_COLUMNS)] - second[list(TEST_COLUMNS)]).astype(float)
            rows.append(
                {
                    "setting": setting,
                    "model": model,
                    "accuracy": float(abs(first[FINAL] - second[FINAL])),
                    "accuracy_any_epoch": float(epochs.max()),
                    "train_time": _relative(first["train_time"], second["train_time"]),
                    "energy": _relative(first["energy"], second["energy"]) if own[a] and own[b] else np.nan,
                    "memory": _relative(first["memR"], second["memR"]),
                }
            )
    return pd.DataFrame(rows)


def noise_floor(found: pd.DataFrame) -> pd.DataFrame:
    """By setting: models run again, pairs, pairs with equal accuracies in all epochs, and the median and
    largest difference of training time, energy (over `energy_pairs`) and reserved memory, as shares."""
    rows = []
    for setting in SETTINGS:
        group = found[found["setting"] == setting]
        row: dict[str, object] = {
            "setting": setting,
            "models": group["model"].nunique(),
            "pairs": len(group),
            "equal_accuracies": int((group["accuracy_any_epoch"] < 1e-9).sum()),
            "largest_accuracy": float(group["accuracy"].max()),
            "energy_pairs": int(group["energy"].notna().sum()),
        }
        for name in ("train_time", "energy", "memory"):
            row[f"{name}_median"] = float(group[name].median())
            row[f"{name}_largest"] = float(group[name].max())
        rows.append(row)
    return pd.DataFrame(rows)


def _relative(a: float, b: float) -> float:
    return float(abs(a - b) / ((a + b) / 2))
