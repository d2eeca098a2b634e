"""How far an estimated energy may be from a meter on the wall: a stated prior, shown and never applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pepr.analysis.scores import SET, as_array
from pepr.display.numbers import Numbers, number
from pepr.display.words import percent, wh
from pepr.score import FloatArray, pepr

Energy = TypeVar("Energy", float, FloatArray, pd.Series)
N_DRAWS = 2_000
SEED = 37


@dataclass(frozen=True)
class Prior:
    """The energy that a meter inside one machine reported, as a share of what one on its wall showed: the
    median over runs, and between which shares the middle of the runs lies."""

    machine: str
    median: float
    low: float
    high: float

    @property
    def words(self) -> str:
        return (
            f"Beside a meter on the wall of one machine ({self.machine}), CodeCarbon reported "
            f"{self.median:.2f} of its energy in the median, {self.low:.2f} to {self.high:.2f} in the middle "
            "of the runs."
        )


PROCESSOR = Prior("an Intel i9-13900K", 0.68, 0.39, 0.74)
"""CodeCarbon beside a wall meter, ImageNet inference on the processor of one machine (Fischer 2025, arXiv
2509.22092, data of `raphischer/ai-energy-validation` at d71d339)."""


def band(energy: Energy) -> tuple[Energy, Energy]:
    """Between which values a meter on the wall may have been, for energies by a load model, in their unit."""
    return energy / PROCESSOR.high, energy / PROCESSOR.low


def rank_intervals(scores: pd.DataFrame, measure: str = "auroc", n_draws: int = N_DRAWS) -> pd.DataFrame:
    """How far the prior may move ranks by PePR-E: one row a set and model of estimated energy, best first.

    `scores` is a table of `pepr_table`. `rank_low` and `rank_high` hold 95% of the ranks when each model's
    energy is divided by a share of its own, drawn evenly on a log scale from the middle of the prior. That is
    the widest that the prior allows: a share that all models have in common moves no rank. The performance
    is taken as it is.
    """
    chosen = scores[(scores["resource"] == "E") & (scores["measure"] == measure) & scores["score"].notna()]
    rng = np.random.default_rng(SEED)
    parts = []
    for _, group in chosen[chosen["kind"] == "estimated"].groupby(SET, dropna=False):
        performance, energy = as_array(group["performance"]), as_array(group["resource_value"])
        spread = np.log([PROCESSOR.low, PROCESSOR.high])
        walls = energy / np.exp(rng.uniform(*spread, (n_draws, len(energy))))
        drawn = rankdata([-pepr(performance, wall) for wall in walls], method="min", axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0, method="closest_observation")
        low_wh, high_wh = band(1000 * energy)
        part = group[[*SET, "model", "score"]].assign(
            energy_wh=1000 * energy,
            wall_low_wh=low_wh,
            wall_high_wh=high_wh,
            rank=rankdata(-as_array(group["score"]), method="min").astype(int),
            rank_low=low.astype(int),
            rank_high=high.astype(int),
        )
        parts.append(part.sort_values("rank"))
    names = [
        *SET,
        "model",
        "score",
        "energy_wh",
        "wall_low_wh",
        "wall_high_wh",
        "rank",
        "rank_low",
        "rank_high",
    ]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def numbers(total_wh: float, ranks: pd.DataFrame) -> Numbers:
    """What prose may quote of the prior: the study's bill, and the ranks of `rank_intervals`; nothing where
    no energy is estimated."""
    if ranks.empty:
        return {}
    low, high = band(total_wh)
    widths = ranks["rank_high"] - ranks["rank_low"]
    steady = float((widths == 0).mean())
    return {
        "wall_median": number(PROCESSOR.median, f"{PROCESSOR.median:.2f}"),
        "wall_middle": number(None, f"{PROCESSOR.low:.2f} to {PROCESSOR.high:.2f}"),
        "wall_machine": number(None, PROCESSOR.machine),
        "wall_total": number(None, f"{wh(low)} to {wh(high)}", estimate=True),
        "wall_rank_width": number(float(widths.median()), _places(widths.median()), estimate=True),
        "wall_rank_widest": number(int(widths.max()), _places(widths.max()), estimate=True),
        "wall_rank_steady": number(steady, percent(steady), estimate=True),
    }


def _places(ranks: float) -> str:
    return "1 place" if round(ranks) == 1 else f"{ranks:.0f} places"
