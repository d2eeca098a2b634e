"""Which model of a set may be called the best, and of how many: the one rule of every page and figure.

The rule itself is `ranked.enough`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pepr.analysis.ranked import enough
from pepr.analysis.scores import SET
from pepr.models.space import BASELINES


def largest_set(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the one set that has the most models; all of them where there are none."""
    if rows.empty:
        return rows
    key = rows.groupby(SET, dropna=False)["model"].nunique().idxmax()
    missing = rows[SET].isna() & pd.Series(key, index=SET).isna()
    return rows[(rows[SET].eq(list(key)) | missing).all(axis=1)]


@dataclass(frozen=True)
class Leader:
    """The model, or the models that share the place, with the highest value; of `n_compared` with a value
    among the `n_models` of their set."""

    models: tuple[str, ...]
    value: float
    n_compared: int
    n_models: int

    @property
    def name(self) -> str:
        """The model's name; several stand side by side."""
        return " and ".join(self.models)

    @property
    def kind(self) -> str:
        """What it is, in words: a network or a baseline; or several of either."""
        baselines = sum(model in BASELINES for model in self.models)
        if len(self.models) == 1:
            return "a baseline" if baselines else "a network"
        return (
            "baselines" if baselines == len(self.models) else "networks" if not baselines else "of both kinds"
        )


def leader(rows: pd.DataFrame, column: str) -> Leader | None:
    """Who leads one set by a column of its score table: None where too few could be compared.

    `rows` has one row a model of the set, as `scores.pepr_table` for one resource and measure; a model
    without a value counts as not compared.
    """
    values = rows.set_index("model")[column].dropna().astype(float)
    if not enough(len(values), len(rows)):
        return None
    best = values.max()
    return Leader(tuple(values.index[values == best]), float(best), len(values), len(rows))
