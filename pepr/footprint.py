"""What runs cost: energy by component and how it is known, gates, carbon across grids, the study's bill."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from pepr.analysis import MEASURED_KINDS, component_sources, energy_is_estimated

JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "ram")
WINDOWS = {
    "training": "energy_kwh",
    "validation": "energy_validation_kwh",
    "inference": "energy_inference_kwh",
}
LATTICE_TOLERANCE = 1e-6
"""How far an accuracy times n_test may be from a whole number."""
EDGE_TOLERANCE = 0.02
"""A meter's own window opens and closes some milliseconds outside the clock's: in runs of a few seconds its
energy divided by the clock's time may pass the limit by that much."""


def energy_table(table: pd.DataFrame) -> pd.DataFrame:
    """The resource table: one row an `ok` run, energies in watt hours, with how each component is known.

    `<component>_how` is `counter`, `sampled_power`, `load_model`, `tdp_constant` or `assumed`; `estimated` is
    true unless the component that did the work was metered. `power_w` is the mean over the training window.
    `inferences_to_outweigh_training` is how many predictions cost as much as training did.
    """
    done = table[table["status"] == "ok"]
    sources = [component_sources(text) for text in done["energy_source"]]
    rows = done[["run_id", "model", "setting", "seed", "num_params", "n_train", "hardware"]].copy()
    for window, column in WINDOWS.items():
        rows[f"{window}_wh"] = 1000 * done[column]
    for component in COMPONENTS:
        rows[f"{component}_wh"] = 1000 * done[f"energy_{component}_kwh"]
        rows[f"{component}_how"] = [source.get(component) for source in sources]
    rows["estimated"] = [energy_is_estimated(text) for text in done["energy_source"]]
    rows["train_time_s"] = done["train_time_s"]
    rows["power_w"] = mean_power_w(done)
    rows["co2eq_g"] = done["co2eq_g"]
    rows["peak_memory_mb"] = done["peak_memory_bytes"].astype("Float64") / 1e6
    rows["memory_source"] = done["memory_source"]
    rows["contended"] = done["contended"].fillna(False)
    rows["inferences_to_outweigh_training"] = break_even_inferences(done)
    return rows.reset_index(drop=True)


def mean_power_w(table: pd.DataFrame) -> pd.Series:
    """Energy over time of the training window, in watts; NaN where either is missing or zero."""
    seconds = table["train_time_s"].where(table["train_time_s"] > 0)
    return table["energy_kwh"] * JOULES_PER_KWH / seconds


def break_even_inferences(table: pd.DataFrame) -> pd.Series:
    """Inferences (one image each) after which inference has used as much energy as training did.

    From the energy of the pass over the test set; NaN where that was not metered.
    """
    each = table["energy_inference_kwh"] / table["n_test"].astype("Float64").astype("float64")
    return np.ceil(table["energy_kwh"] / each.where(each > 0))


def by_component(table: pd.DataFrame) -> pd.DataFrame:
    """Training energy in Wh, one row a run and component that has a value, with `how` and `measured`."""
    rows = energy_table(table)
    parts = []
    for component in COMPONENTS:
        part = rows[["run_id", "model", "setting", "seed"]].copy()
        part["component"] = component
        part["energy_wh"], part["how"] = rows[f"{component}_wh"], rows[f"{component}_how"]
        part["measured"] = part["how"].isin(MEASURED_KINDS)
        parts.append(part[part["energy_wh"].notna()])
    return pd.concat(parts, ignore_index=True)


def by_window(table: pd.DataFrame) -> pd.DataFrame:
    """Energy in Wh, one row an `ok` run and window: training, validation, inference."""
    rows = energy_table(table)
    names = ["run_id", "model", "setting", "seed", "estimated"]
    parts = [rows[names].assign(window=window, energy_wh=rows[f"{window}_wh"]) for window in WINDOWS]
    return pd.concat(parts, ignore_index=True)


def gates(table: pd.DataFrame) -> pd.DataFrame:
    """The gates that every row must pass; one row a violation: gate, run_id, column, value, expected.

    An empty table means that every gate holds. Idle power and power limits are compared where the record
    has them. Failed rows must carry no performance; the other gates look at `ok` rows.
    """
    done = table[table["status"] == "ok"]
    found = [
        *_energy_gates(done),
        *_power_gates(done),
        *_accuracy_gates(done),
        *_constant_predictor_gate(done),
        *_status_gates(table, done),
    ]
    return pd.DataFrame(found, columns=["gate", "run_id", "column", "value", "expected"])


def study_bill(table: pd.DataFrame) -> dict[str, Any]:
    """What the study itself used: Wh by window and in all, hours, grams, and whether any of it is estimated.

    Failed runs count with what their records hold. Grams are those of the records, which are of training,
    scaled to all windows. Hours are those of the metered windows (`metered_hours`)
    and of whole runs (`wall_hours`). What is not in here: pretraining, making the hardware, the data.
    """
    wh = {f"{window}_wh": float(1000 * table[column].sum()) for window, column in WINDOWS.items()}
    windows = ("train_time_s", "validation_time_s", "inference_time_s")
    sources = table.loc[table["energy_kwh"].notna(), "energy_source"]
    total = sum(wh.values())
    grams = float(table["co2eq_g"].sum())
    trained = wh["training_wh"]
    return {
        **wh,
        "total_wh": total,
        "metered_hours": float(sum(table[name].sum() for name in windows) / 3600),
        "wall_hours": float(table["wall_time_s"].sum() / 3600),
        "co2eq_g": grams * total / trained if trained else np.nan,
        "estimated": bool(any(energy_is_estimated(text) for text in sources)) or not len(sources),
        "n_runs": len(table),
        "n_without_energy": int(table["energy_kwh"].isna().sum()),
    }


def grid_intensities() -> pd.DataFrame:
    """Carbon intensity by country, g CO2e per kWh: country_code, country, carbon_intensity, year.

    Source: CodeCarbon's table of electricity mixes (`global_energy_mix.json` in its package), itself from
    Our World in Data. Countries whose intensity is missing or zero there are left out.
    """
    path = resources.files("codecarbon") / "data" / "private_infra" / "global_energy_mix.json"
    mixes = json.loads(path.read_text())
    rows = [
        {
            "country_code": code,
            "country": mix["country_name"],
            "carbon_intensity": mix["carbon_intensity"],
            "year": mix.get("year"),
        }
        for code, mix in mixes.items()
        if mix.get("carbon_intensity")
    ]
    return pd.DataFrame(rows).sort_values("carbon_intensity", ignore_index=True)


def carbon_across_countries(energy_kwh: float, pue: float = 1.0) -> pd.DataFrame:
    """Grams of CO2e that an energy would be in every country of `grid_intensities`, lowest first.

    Always an estimate: yearly national averages. One energy times one number a country: grams change
    between countries, the order of the models never does.
    """
    table = grid_intensities()
    return table.assign(co2eq_g=energy_kwh * pue * table["carbon_intensity"])


def energy_to_target(
    records: Iterable[Mapping[str, Any]], target: float, measure: str = "val_auroc"
) -> pd.DataFrame:
    """Training energy in Wh, and epochs, until a run's validation reaches `target`; NaN if it never did."""
    rows = []
    for record in records:
        if record.get("status") != "ok" or not record.get("history"):
            continue
        history = record["history"]
        spent = np.cumsum([np.nan if e["energy_kwh"] is None else e["energy_kwh"] for e in history])
        seconds = np.cumsum([e["train_time_s"] for e in history])
        reached = [k for k, e in enumerate(history) if e[measure] is not None and e[measure] >= target]
        first = reached[0] if reached else None
        rows.append(
            {
                **{name: record[name] for name in ("run_id", "model", "setting", "seed")},
                "best": max((e[measure] for e in history if e[measure] is not None), default=np.nan),
                "epochs_to_target": np.nan if first is None else first + 1,
                "energy_to_target_wh": np.nan if first is None else 1000 * float(spent[first]),
                "time_to_target_s": np.nan if first is None else float(seconds[first]),
            }
        )
    columns = ["run_id", "model", "setting", "seed", "best", "epochs_to_target"]
    return pd.DataFrame(rows, columns=[*columns, "energy_to_target_wh", "time_to_target_s"])


def typical_target(records: Iterable[Mapping[str, Any]], measure: str = "val_auroc") -> float:
    """A target that half of the runs reach: the median of their best validation values, two decimals down."""
    best = energy_to_target(records, 0.0, measure)["best"].median()
    return float(np.floor(100 * best) / 100)


def learning_curves(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The epochs of every run that has any: one row an epoch (from 1), with energy and time spent so far."""
    rows = []
    for record in records:
        spent_kwh, seconds = 0.0, 0.0
        for epoch in record.get("history") or []:
            spent_kwh += np.nan if epoch["energy_kwh"] is None else epoch["energy_kwh"]
            seconds += epoch["train_time_s"]
            rows.append(
                {
                    **{name: record[name] for name in ("run_id", "model", "setting", "seed", "status")},
                    **epoch,
                    "epoch": epoch["epoch"] + 1,
                    "energy_so_far_wh": 1000 * spent_kwh,
                    "time_so_far_s": seconds,
                }
            )
    return pd.DataFrame(rows)


def _violation(gate: str, row: pd.Series, column: str, expected: str) -> dict[str, Any]:
    return {
        "gate": gate,
        "run_id": row["run_id"],
        "column": column,
        "value": None if pd.isna(row[column]) else row[column],
        "expected": expected,
    }


def _energy_gates(done: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in done.iterrows():
        if not row["energy_kwh"] > 0:
            found.append(_violation("energy_positive", row, "energy_kwh", "above 0"))
        found += [
            _violation("zero_is_missing", row, column, "empty or above 0, never 0")
            for column in ("energy_cpu_kwh", "energy_gpu_kwh", "energy_ram_kwh", *list(WINDOWS.values())[1:])
            if row[column] == 0
        ]
    shared = done[done["energy_kwh"].notna() & done["energy_kwh"].duplicated(keep=False)]
    return found + [
        _violation("energy_unique", row, "energy_kwh", "shared with no other row to the last digit")
        for _, row in shared.iterrows()
    ]


def _power_gates(done: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for (_, row), power in zip(done.iterrows(), mean_power_w(done), strict=True):
        if power < row["idle_power_w"]:
            found.append(
                _violation("power_above_idle", row, "energy_kwh", f"at least {row['idle_power_w']:g} W")
            )
        if power > row["power_limit_w"] * (1 + EDGE_TOLERANCE):
            found.append(
                _violation("power_below_limit", row, "energy_kwh", f"at most {row['power_limit_w']:g} W")
            )
        if pd.isna(power) or not power > 0:
            found.append(_violation("power_known", row, "train_time_s", "energy and time above 0"))
    return found


def _accuracy_gates(done: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in done.iterrows():
        if pd.isna(row["n_test"]) or not row["n_test"] > 0:
            found.append(_violation("test_size_known", row, "n_test", "above 0"))
            continue
        for column in ("test_accuracy", "test_accuracy_last_epoch"):
            hits = row[column] * int(row["n_test"])
            if not (0 <= row[column] <= 1 and abs(hits - round(hits)) < LATTICE_TOLERANCE):
                found.append(_violation("accuracy_lattice", row, column, f"k / {row['n_test']}"))
    return found


def _constant_predictor_gate(done: pd.DataFrame) -> list[dict[str, Any]]:
    """Of two classes, a sensitivity and specificity of 0 and 1 is one output for all: to be flagged."""
    found = []
    for _, row in done.iterrows():
        one_class = {row["test_sensitivity"], row["test_specificity"]} == {0.0, 1.0}
        if one_class and not (pd.notna(row["constant_predictor"]) and row["constant_predictor"]):
            found.append(_violation("constant_predictor_flagged", row, "constant_predictor", "True"))
    return found


def _status_gates(table: pd.DataFrame, done: pd.DataFrame) -> list[dict[str, Any]]:
    scores = ("test_accuracy", "test_balanced_accuracy", "test_auroc")
    found = [
        _violation("ok_is_scored", row, column, "a number in [0, 1], or the run is failed")
        for _, row in done.iterrows()
        for column in scores
        if not (pd.notna(row[column]) and 0 <= row[column] <= 1)
    ]
    for _, row in table[table["status"] != "ok"].iterrows():
        if row["status"] != "failed" or pd.isna(row["failure"]):
            found.append(_violation("failure_is_named", row, "failure", "the kind of failure"))
        found += [
            _violation("failed_is_not_scored", row, column, "empty")
            for column in scores
            if pd.notna(row[column])
        ]
    return found
