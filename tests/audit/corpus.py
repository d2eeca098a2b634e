"""Small tables as people hand them in: honest and awkward ones, and the same kinds with a fault planted.

Each maker takes a random generator and gives a `Case`: the text of a table, and the models whose rows are
planted with a fault, with the checks that may say so. Honest makers plant nothing. Powers, times, noise and
table sizes are drawn anew for each case, so no case is an example that a check could be fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
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


HONEST: dict[str, Callable[[Random], Case]] = {}
FAULTY: dict[str, Callable[[Random], Case]] = {}


def honest(make: Callable[[Random], pd.DataFrame | str]) -> Callable:
    """Register a maker of honest tables."""

    def case(rng: Random) -> Case:
        return Case(make.__name__, _text(make(rng)))

    HONEST[make.__name__] = case
    return make


def faulty(*checks: str) -> Callable:
    """Register a maker of tables with planted models, which `checks` may name."""

    def register(make: Callable[[Random], tuple[pd.DataFrame | str, list[str]]]) -> Callable:
        def case(rng: Random) -> Case:
            table, planted = make(rng)
            return Case(make.__name__, _text(table), frozenset(planted), frozenset(checks))

        FAULTY[make.__name__] = case
        return make

    return register


def _text(table: pd.DataFrame | str) -> str:
    return table if isinstance(table, str) else table.to_csv(index=False)


def corpus(honest_tables: int = 220, faulty_tables: int = 220, seed: int = 1) -> list[Case]:
    """Cases in turn of every kind, each from a seed of its own."""
    cases = []
    for makers, count in ((HONEST, honest_tables), (FAULTY, faulty_tables)):
        names = list(makers)
        for number in range(count):
            rng = np.random.default_rng([seed, number, len(makers)])
            cases.append(makers[names[number % len(names)]](rng))
    return cases


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


# Honest tables


@honest
def small_test_set(rng: Random) -> pd.DataFrame:
    table, n_test = base(rng), int(rng.integers(20, 60))
    return table.assign(accuracy=rng.integers(int(0.8 * n_test), n_test + 1, len(table)) / n_test)


@honest
def rounded_accuracies(rng: Random) -> pd.DataFrame:
    table = base(rng, int(rng.integers(8, 24)))
    return table.assign(accuracy=rng.choice([0.91, 0.92, 0.93, 1.0], len(table)))


@honest
def saturated(rng: Random) -> pd.DataFrame:
    table = base(rng)
    return table.assign(accuracy=np.where(rng.random(len(table)) < 0.6, 35 / 36, 34 / 36))


@honest
def several_machines_named(rng: Random) -> pd.DataFrame:
    slow = base(rng, int(rng.integers(3, 7)), (12, 30)).assign(hardware="laptop")
    fast = base(rng, int(rng.integers(5, 12)), (200, 700)).assign(hardware="server")
    return pd.concat([slow, fast])


@honest
def several_machines_unnamed(rng: Random) -> pd.DataFrame:
    slow = base(rng, int(rng.integers(3, 6)), (15, 25))
    fast = base(rng, int(rng.integers(6, 14)), (180, 420))
    table = pd.concat([slow, fast], ignore_index=True)
    return table.assign(model=[f"net{i:02d}" for i in range(len(table))])


@honest
def one_seed_on_another_machine(rng: Random) -> pd.DataFrame:
    table = seeded(rng)
    away = table["seed"] == 0
    factor = float(rng.uniform(3, 8))
    table.loc[away, "train_time_s"] *= factor
    table.loc[away, "energy_kwh"] *= factor * float(rng.uniform(0.1, 0.3))
    return table


@honest
def wide_powers(rng: Random) -> pd.DataFrame:
    return base(rng, int(rng.integers(8, 14)), (40, 900))


@honest
def seeds(rng: Random) -> pd.DataFrame:
    return seeded(rng)


@honest
def noisy_seeds(rng: Random) -> pd.DataFrame:
    return seeded(rng, float(rng.uniform(0.06, 0.12)))


@honest
def sizes_of_data(rng: Random) -> pd.DataFrame:
    """Short runs draw less, since the card waits for the first batches."""
    models, rows = base(rng, int(rng.integers(4, 8))), []
    for _, one in models.iterrows():
        watts = one["energy_kwh"] * JOULES / one["train_time_s"]
        for fraction in (0.01, 0.1, 1.0):
            took = 8 + fraction * one["train_time_s"]
            share = float(np.clip(fraction**0.15, 0.5, 1) * np.exp(rng.normal(0, 0.05)))
            rows.append((one["model"], fraction, one["accuracy"], watts * share * took / JOULES, took))
    return pd.DataFrame(rows, columns=["model", "train_fraction", "accuracy", "energy_kwh", "train_time_s"])


@honest
def codecarbon_on_a_processor(rng: Random) -> pd.DataFrame:
    table, rows = base(rng, int(rng.integers(3, 8)), (20, 60)), []
    for number, one in table.iterrows():
        for share in [0.4, 1.0] if rng.random() < 0.4 else [1.0]:
            energy, took = share * one["energy_kwh"], share * one["train_time_s"]
            rows.append(
                {
                    "timestamp": f"2026-01-01T10:00:{len(rows):02d}",
                    "project_name": one["model"],
                    "run_id": f"run-{number}",
                    "duration": took,
                    "emissions": energy * 0.029,
                    "cpu_energy": 0.7 * energy,
                    "gpu_energy": 0,
                    "ram_energy": 0.3 * energy,
                    "energy_consumed": energy,
                    "country_iso_code": "NOR",
                    "gpu_model": "",
                    "cpu_model": "AMD EPYC 7763 64-Core Processor",
                }
            )
    return pd.DataFrame(rows)


@honest
def countries(rng: Random) -> pd.DataFrame:
    table = base(rng, int(rng.integers(8, 16)))
    where = rng.choice(["NOR", "DEU", "POL", "CAN"], len(table))
    where[:4] = ["NOR", "DEU", "POL", "CAN"]
    grid = np.array([COUNTRIES[name] for name in where])
    return table.assign(country=where, co2eq_g=table["energy_kwh"] * grid)


@honest
def all_in_canada(rng: Random) -> pd.DataFrame:
    table = base(rng)
    return table.assign(country="CAN", co2eq_g=table["energy_kwh"] * float(rng.uniform(1.3, 30)))


@honest
def canada_by_machine(rng: Random) -> pd.DataFrame:
    table = base(rng, 10)
    away = np.arange(10) < 3
    where = np.where(away, "CAN", "DEU")
    grid = np.where(away, 30.0, 381.0)
    return table.assign(
        country=where, hostname=np.where(away, "narval", "juwels"), co2eq_g=table["energy_kwh"] * grid
    )


@honest
def grid_by_the_hour(rng: Random) -> pd.DataFrame:
    table = base(rng)
    return table.assign(co2eq_g=table["energy_kwh"] * rng.uniform(80, 520, len(table)))


@honest
def holes(rng: Random) -> pd.DataFrame:
    table = base(rng, int(rng.integers(7, 14)))
    table.loc[pick(rng, table, 2), "accuracy"] = np.nan
    table.loc[pick(rng, table, 2), "energy_kwh"] = np.nan
    return table


@honest
def joules_in_the_name(rng: Random) -> pd.DataFrame:
    table = base(rng)
    name = str(rng.choice(["energy (J)", "Energy_joules", "energy_j"]))
    return table.assign(energy_kwh=table["energy_kwh"] * JOULES).rename(columns={"energy_kwh": name})


@honest
def other_units_in_the_name(rng: Random) -> pd.DataFrame:
    table = base(rng)
    table = table.assign(
        energy_kwh=table["energy_kwh"] * 1000,
        train_time_s=table["train_time_s"] / 3600,
        carbon_kg=table["energy_kwh"] * 0.3,
    )
    return table.rename(columns={"energy_kwh": "Energy [Wh]", "train_time_s": "time (hours)"})


@honest
def large_server(rng: Random) -> pd.DataFrame:
    return base(rng, None, (3000, 9000)).assign(gpu="NVIDIA H100 80GB HBM3", n_gpus=8)


@honest
def cluster(rng: Random) -> pd.DataFrame:
    return base(rng, None, (20_000, 36_000)).assign(n_gpus=64)


@honest
def single_board(rng: Random) -> pd.DataFrame:
    return base(rng, None, (2.5, 7))


@honest
def rounded_measurements(rng: Random) -> pd.DataFrame:
    table = base(rng, int(rng.integers(10, 24)))
    return table.assign(
        energy_kwh=table["energy_kwh"].round(3) + 0.001, train_time_s=table["train_time_s"].round(-1)
    )


@honest
def load_models(rng: Random) -> pd.DataFrame:
    table = base(rng)
    seconds = table["train_time_s"].round(1)
    return table.assign(train_time_s=seconds, energy_kwh=float(rng.uniform(20, 200)) * seconds / JOULES)


@honest
def above_the_majority(rng: Random) -> pd.DataFrame:
    table = base(rng)
    return table.assign(test_majority_rate=float(table["accuracy"].min()) - 0.02)


@honest
def named_hardware(rng: Random) -> pd.DataFrame:
    cards = (("NVIDIA GeForce RTX 3090", 420), ("Tesla T4", 120), ("NVIDIA A100-SXM4-80GB", 500))
    gpu, most = cards[rng.integers(3)]
    column = str(rng.choice(["gpu_model", "gpu", "hardware"]))
    return base(rng, None, (0.3 * most, most)).assign(**{column: gpu})


@honest
def averages_over_seeds(rng: Random) -> pd.DataFrame:
    table, n_test = base(rng), int(rng.integers(80, 400))
    counts = rng.integers(int(0.7 * n_test), n_test, (3, len(table)))
    return table.assign(accuracy=counts.mean(axis=0) / n_test)


@honest
def pairs_of_seeds(rng: Random) -> pd.DataFrame:
    return seeded(rng).query("seed < 2")


@honest
def one_light_model(rng: Random) -> pd.DataFrame:
    """One small network leaves the card half idle."""
    table = base(rng, int(rng.integers(8, 14)), (280, 340))
    table.loc[0, "energy_kwh"] *= float(rng.uniform(0.3, 0.5))
    return table


@honest
def early_stops(rng: Random) -> pd.DataFrame:
    """Seeds that stop early take a part of the time and of the energy."""
    table = seeded(rng)
    share = rng.uniform(0.35, 1, len(table))
    table = table.assign(energy_kwh=table["energy_kwh"] * share, train_time_s=table["train_time_s"] * share)
    return table if rng.random() < 0.5 else table.drop(columns="train_time_s")


@honest
def times_of_something_else(rng: Random) -> pd.DataFrame:
    table = base(rng)
    return table.assign(
        epoch_time_s=table["train_time_s"] / 100, latency_ms=rng.uniform(2, 60, len(table))
    ).drop(columns="train_time_s")


@honest
def sweep_with_datasets(rng: Random) -> pd.DataFrame:
    parts = [base(rng, 6).assign(dataset=name) for name in ("leaves", "cells", "roads")]
    return pd.concat(parts)


@honest
def failed_runs(rng: Random) -> pd.DataFrame:
    table = base(rng)
    rows = pick(rng, table, 2)
    status = np.full(len(table), "finished", dtype=object)
    status[rows] = "crashed"
    table.loc[rows, ["accuracy", "energy_kwh"]] = [np.nan, 0.0]
    return table.assign(status=status)


@honest
def two_test_sets(rng: Random) -> pd.DataFrame:
    table = base(rng, 12)
    sizes = np.where(np.arange(12) < 10, 208, 97)
    return table.assign(accuracy=rng.integers((0.6 * sizes).astype(int), sizes) / sizes)


# Tables with a fault


def _energy_name(rng: Random) -> str:
    return str(rng.choice(["energy_kwh", "energy", "kwh"]))


@faulty("implied_power")
def joules(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    table["energy_kwh"] *= JOULES
    return table.rename(columns={"energy_kwh": _energy_name(rng)}), list(table["model"])


@faulty("implied_power")
def watt_hours(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    table["energy_kwh"] *= 1000
    return table.rename(columns={"energy_kwh": _energy_name(rng)}), list(table["model"])


@faulty("implied_power", "unlike_siblings", "off_energy_time_line")
def one_row_in_joules(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    rows = pick(rng, table)
    table.loc[rows, "energy_kwh"] *= JOULES
    return table, names(table, rows)


@faulty("implied_power")
def milliseconds(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng, None, (40, 250))
    table["train_time_s"] *= 1000
    return table, list(table["model"])


@faulty("carbon_unit")
def kilograms(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    table["co2eq_g"] = table["energy_kwh"] * float(rng.uniform(20, 700)) / 1000
    return table, list(table["model"])


@faulty("carbon_unit")
def milligrams(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    table["co2eq_g"] = table["energy_kwh"] * float(rng.uniform(20, 700)) * 1000
    return table, list(table["model"])


@faulty("missing_energy")
def zero_energy(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    rows = pick(rng, table, int(rng.integers(1, 3)))
    table.loc[rows, "energy_kwh"] = 0.0
    return table, names(table, rows)


@faulty("zero_measured")
def zero_carbon(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    table["co2eq_g"] = table["energy_kwh"] * 381.0
    rows = pick(rng, table)
    table.loc[rows, "co2eq_g"] = 0.0
    return table, names(table, rows)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_of_seeds(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = seeded(rng)
    rows = pick(rng, table)
    table.loc[rows, "energy_kwh"] /= float(np.exp(rng.uniform(np.log(3), np.log(2000))))
    return table, names(table, rows)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_of_seeds_without_times(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = seeded(rng).drop(columns="train_time_s")
    rows = pick(rng, table)
    table.loc[rows, "energy_kwh"] /= float(np.exp(rng.uniform(np.log(7), np.log(2000))))
    return table, names(table, rows)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_of_sizes(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = sizes_of_data(rng)
    rows = pick(rng, table)
    table.loc[rows, "energy_kwh"] /= float(np.exp(rng.uniform(np.log(8), np.log(2000))))
    return table, names(table, rows)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_alone(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng, int(rng.integers(8, 16)))
    rows = pick(rng, table)
    table.loc[rows, "energy_kwh"] /= float(np.exp(rng.uniform(np.log(60), np.log(2000))))
    return table, names(table, rows)


@faulty("fallback_country", "carbon_fallback")
def fallback_country(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table, home = base(rng), str(rng.choice(["NOR", "DEU", "POL", "FRA"]))
    rows = pick(rng, table, int(rng.integers(1, 3)))
    where = np.full(len(table), home)
    where[rows] = "CAN"
    grid = np.where(where == "CAN", 2.4, COUNTRIES[home])
    return table.assign(country=where, co2eq_g=table["energy_kwh"] * grid), names(table, rows)


@faulty("carbon_fallback")
def fallback_intensity(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    rows = pick(rng, table, int(rng.integers(1, 4)))
    grid = np.full(len(table), float(rng.uniform(20, 350)))
    grid[rows] = float(rng.choice([475.0, 445.0]))
    return table.assign(co2eq_g=table["energy_kwh"] * grid), names(table, rows)


@faulty("carbon_unlike_rest", "carbon_unit")
def carbon_of_another_run(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng, int(rng.integers(7, 15)))
    table["co2eq_g"] = table["energy_kwh"] * float(rng.uniform(40, 400))
    rows = pick(rng, table)
    table.loc[rows, "co2eq_g"] *= float(rng.choice([0.1, 0.25, 3.0, 4.0]))
    return table, names(table, rows)


@faulty("beyond_named_hardware")
def beyond_the_processor(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    cpu = str(
        rng.choice(["Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "Intel(R) Core(TM) i5-1135G7 @ 2.40GHz"])
    )
    table = base(rng, None, (300, 900)).assign(cpu_model=cpu)
    return table, list(table["model"])


@faulty("beyond_named_hardware")
def beyond_the_card(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    cards = (("Tesla T4", 900), ("NVIDIA GeForce GTX 1660", 1000), ("1 x NVIDIA L4", 900))
    gpu, least = cards[rng.integers(3)]
    column = str(rng.choice(["gpu_model", "gpu", "hardware"]))
    table = base(rng, None, (least, 3 * least)).assign(**{column: gpu})
    return table, list(table["model"])


@faulty("repeated_row")
def repeated_rows(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    rows = pick(rng, table, 2)
    return pd.concat([table, table.iloc[rows]]), names(table, rows)


@faulty("repeated_run")
def run_that_goes_on(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    table.insert(0, "run_id", [f"r{i}" for i in range(len(table))])
    rows = pick(rng, table)
    part = table.iloc[rows].assign(
        energy_kwh=table["energy_kwh"].iloc[rows] * 0.5, train_time_s=table["train_time_s"].iloc[rows] * 0.5
    )
    return pd.concat([part, table]), names(table, rows)


@faulty("constant_predictor", "never_above_majority")
def majority_predictors(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table, n_test = base(rng), 400
    table["accuracy"] = rng.integers(240, 390, len(table)) / n_test
    rate = int(rng.integers(120, 230)) / n_test
    rows = pick(rng, table, 2)
    table.loc[rows, "accuracy"] = rate
    return table.assign(test_majority_rate=rate), names(table, rows)


@faulty("constant_predictor", "never_above_majority")
def one_class_predicted(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng)
    rows = pick(rng, table)
    classes = np.full(len(table), 7)
    classes[rows] = 1
    return table.assign(predicted_classes=classes), names(table, rows)


@faulty("copied_energy", "off_energy_time_line", "unlike_siblings", "implied_power")
def copied_energy(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng, int(rng.integers(9, 16)), (250, 300))
    order = np.argsort(table["train_time_s"].to_numpy())
    owner, copy = int(order[-1]), int(order[0])
    table.loc[copy, "energy_kwh"] = table.loc[owner, "energy_kwh"]
    return table, names(table, [copy])


@faulty("accuracy_not_k_of_n")
def altered_accuracy(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table, n_test = base(rng), int(rng.integers(100, 900))
    table["accuracy"] = rng.integers(int(0.6 * n_test), n_test, len(table)) / n_test
    rows = pick(rng, table)
    table.loc[rows, "accuracy"] += 0.4 / n_test
    return table.assign(n_test=n_test), names(table, rows)
