"""What must hold on every row of a results table: energy, power, accuracy, status."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from pepr.audit.inference import count_tolerance
from pepr.audit.power import EDGE_TOLERANCE
from pepr.quantities import JOULES_PER_KWH, WINDOWS

MEMORY = re.compile(r"; (\d+) GiB")
"""The memory in a machine's name."""
DID_LEARN = "did_learn"
"""The gate that a row may fail and still be sound."""


def mean_power_w(table: pd.DataFrame) -> pd.Series:
    """Energy over time of the training window, in watts; NaN where either is missing or zero."""
    seconds = table["train_time_s"].where(table["train_time_s"] > 0)
    return table["energy_kwh"] * JOULES_PER_KWH / seconds


def gates(table: pd.DataFrame) -> pd.DataFrame:
    """The gates that every row must pass; one row a violation: gate, run_id, column, value, expected.

    An empty table means that every gate holds. `did_learn` is no fault of a row: it says of an honest result
    that its network ended no better than one answer for all images. Idle power and power limits are compared
    where the record has them. Failed rows must carry no performance; the other gates look at `ok` rows.
    """
    done = table[table["status"] == "ok"]
    found = [
        *_energy_gates(done),
        *_power_gates(done),
        *_memory_gates(done),
        *_accuracy_gates(done),
        *_constant_predictor_gate(done),
        *_did_learn_gate(done),
        *_status_gates(table, done),
    ]
    return pd.DataFrame(found, columns=["gate", "run_id", "column", "value", "expected"])


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
        if power < row["idle_power_w"] * (1 - EDGE_TOLERANCE):
            expected = f"at least {_at_power(row, 'idle_power_w')}"
            found.append(_violation("power_above_idle", row, "energy_kwh", expected))
        if power > row["power_limit_w"] * (1 + EDGE_TOLERANCE):
            expected = f"at most {_at_power(row, 'power_limit_w')}"
            found.append(_violation("power_below_limit", row, "energy_kwh", expected))
        if pd.isna(power) or not power > 0:
            found.append(_violation("power_known", row, "train_time_s", "energy and time above 0"))
    return found


def _memory_gates(done: pd.DataFrame) -> list[dict[str, Any]]:
    """What a process holds is no more than its machine has: its name says how much that is."""
    found = []
    for _, row in done.iterrows():
        told = MEMORY.search(row["hardware"] if isinstance(row["hardware"], str) else "")
        on_host = row["memory_source"] == "rss_peak_minus_baseline" and pd.notna(row["peak_memory_bytes"])
        if told and on_host and row["peak_memory_bytes"] > int(told[1]) * 2**30:
            expected = f"at most {int(told[1]) * 2**30}, the {told[1]} GiB of the machine"
            found.append(_violation("memory_below_machine", row, "peak_memory_bytes", expected))
    return found


def _at_power(row: pd.Series, column: str) -> str:
    """The energy of a run at a power in W, in the unit of the value that is held against it."""
    kwh = row[column] * row["train_time_s"] / JOULES_PER_KWH
    return f"{kwh:.4g} kWh, which is {row[column]:g} W for {row['train_time_s']:.4g} s"


def _accuracy_gates(done: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in done.iterrows():
        if pd.isna(row["n_test"]) or not row["n_test"] > 0:
            found.append(_violation("test_size_known", row, "n_test", "above 0"))
            continue
        for column in ("test_accuracy", "test_accuracy_last_epoch"):
            hits = row[column] * int(row["n_test"])
            if not (0 <= row[column] <= 1 and abs(hits - round(hits)) < count_tolerance(row["n_test"])):
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


def _did_learn_gate(done: pd.DataFrame) -> list[dict[str, Any]]:
    """A loss that ends above the entropy of the class shares; tables older than the columns say nothing."""
    learned = done["train_loss_last_epoch"] <= done["train_class_entropy"]
    known = done["train_loss_last_epoch"].notna() & done["train_class_entropy"].notna()
    return [
        _violation(DID_LEARN, row, "train_loss_last_epoch", f"at most {row['train_class_entropy']:.3f} nats")
        for _, row in done[known & ~learned].iterrows()
    ]


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
