"""What the tables of the corpus are made from: models on one machine, their seeds, a choice of rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

JOULES = 3.6e6
COUNTRIES = {"NOR": 29.0, "FRA": 56.0, "DEU": 381.0, "POL": 662.0, "IND": 713.0, "CAN": 170.0, "DNK": 181.0}
Random = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A table as text, the planted models, and the checks that may name them."""

    kind: str
    text: str
    planted: frozenset[str] = frozenset()
    checks: frozenset[str] = frozenset()
    options: dict[str, float] = field(default_factory=dict)


def as_text(table: pd.DataFrame | str) -> str:
    return table if isinstance(table, str) else table.to_csv(index=False)


def base(rng: Random, rows: int | None = None, power: tuple[float, float] = (60, 350)) -> pd.DataFrame:
    """Models on one machine: each with its own power and time, measured with some noise."""
    n = rows or int(rng.integers(6, 16))
    watts = np.exp(rng.uniform(np.log(power[0]), np.log(power[1]), n))
    seconds = np.exp(rng.uniform(np.log(60), np.log(4000), n))
    n_test = int(rng.integers(200, 3000))
    return pd.DataFrame(
        {
            "model": [f"net{i:02d}" for i in range(n)],
            "accuracy": rng.integers(int(0.6 * n_test), int(0.97 * n_test), n) / n_test,
            "energy_kwh": watts * seconds / JOULES,
            "train_time_s": seconds,
        }
    )


def seeded(rng: Random, noise: float | None = None) -> pd.DataFrame:
    """Models with three to five seeds each, whose powers and times are far apart."""
    models, seeds = int(rng.integers(4, 8)), int(rng.integers(3, 6))
    noise = noise or float(rng.uniform(0.01, 0.06))
    watts = np.exp(rng.uniform(np.log(40), np.log(900), models))
    seconds = np.exp(rng.uniform(np.log(20), np.log(3000), models))
    rows = []
    for model in range(models):
        for seed in range(seeds):
            took = seconds[model] * np.exp(rng.normal(0, noise))
            energy = watts[model] * took * np.exp(rng.normal(0, noise)) / JOULES
            rows.append((f"net{model:02d}", seed, round(float(rng.uniform(0.6, 0.95)), 4), energy, took))
    return pd.DataFrame(rows, columns=["model", "seed", "accuracy", "energy_kwh", "train_time_s"])


def pick(rng: Random, table: pd.DataFrame, count: int = 1) -> list[int]:
    return sorted(int(row) for row in rng.choice(len(table), count, replace=False))


def names(table: pd.DataFrame, rows: list[int]) -> list[str]:
    return [str(table["model"].iloc[row]) for row in rows]
