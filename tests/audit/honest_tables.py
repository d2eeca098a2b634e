"""Honest tables as people hand them in, and awkward ones: nothing in them is to be accused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from makers import COUNTRIES, JOULES, Case, Random, as_text, base, pick, seeded

HONEST: dict[str, Callable[[Random], Case]] = {}


def honest(make: Callable[[Random], pd.DataFrame | str]) -> Callable:
    """Register a maker of honest tables."""

    def case(rng: Random) -> Case:
        return Case(make.__name__, as_text(make(rng)))

    HONEST[make.__name__] = case
    return make


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
