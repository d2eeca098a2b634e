"""Tables as people hand them in, each with a fault planted in the rows of some models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from honest_tables import sizes_of_data
from makers import COUNTRIES, JOULES, Case, Random, as_text, base, names, pick, seeded

FAULTY: dict[str, Callable[[Random], Case]] = {}


def faulty(*checks: str) -> Callable:
    """Register a maker of tables with planted models, which `checks` may name."""

    def register(make: Callable[[Random], tuple[pd.DataFrame | str, list[str]]]) -> Callable:
        def case(rng: Random) -> Case:
            table, planted = make(rng)
            return Case(make.__name__, as_text(table), frozenset(planted), frozenset(checks))

        FAULTY[make.__name__] = case
        return make

    return register


def _energy_name(rng: Random) -> str:
    return str(rng.choice(["energy_kwh", "energy", "kwh"]))


def _lost(rng: Random, table: pd.DataFrame, least: int) -> tuple[pd.DataFrame, list[str]]:
    """Some energies divided by `least` to 2,000: most of a measurement was lost."""
    rows = pick(rng, table)
    table.loc[rows, "energy_kwh"] /= float(np.exp(rng.uniform(np.log(least), np.log(2000))))
    return table, names(table, rows)


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
    return _lost(rng, table, 3)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_of_seeds_without_times(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = seeded(rng).drop(columns="train_time_s")
    return _lost(rng, table, 7)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_of_sizes(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = sizes_of_data(rng)
    return _lost(rng, table, 8)


@faulty("unlike_siblings", "off_energy_time_line", "implied_power")
def lost_alone(rng: Random) -> tuple[pd.DataFrame, list[str]]:
    table = base(rng, int(rng.integers(8, 16)))
    return _lost(rng, table, 60)


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
