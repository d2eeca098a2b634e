"""What must hold on every row of a results table of our own: energy, power, accuracy, status."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from pepr.audit.inference import count_tolerance
from pepr.audit.power import EDGE_TOLERANCE
from pepr.audit.registry import named
from pepr.quantities import JOULES_PER_KWH, WINDOWS, component_sources

MEMORY = re.compile(r"; (\d+) GiB")
"""The memory in a machine's name."""
SCORES = ("test_accuracy", "test_balanced_accuracy", "test_auroc")


@dataclass(frozen=True)
class Violation:
    """A row that breaks a gate: the value of a column (None where empty), and what was expected of it."""

    run_id: str
    column: str
    value: Any
    expected: str
    check: str = ""


Gate = Callable[[pd.DataFrame], list[Violation]]
GATES: dict[str, tuple[Gate, bool]] = {}
"""The gates by name, each with whether it looks at rows of runs that ended well, or at the others."""


def gate(explanation: str, *, of_ok: bool = True) -> Callable[[Gate], Gate]:
    """Register a function of rows as a gate, by the function's name; `explanation` as of any check."""

    def register(function: Gate) -> Gate:
        run = named(explanation)(function)
        GATES[function.__name__] = (run, of_ok)
        return run

    return register


def gates(table: pd.DataFrame) -> pd.DataFrame:
    """The gates that every row must pass; one row a violation: gate, run_id, column, value, expected.

    An empty table means that every gate holds. `did_learn` is no fault of a row: it says of an honest result
    that its network ended no better than one answer for all images. Idle power and power limits are compared
    where the record has them. Failed rows must carry no performance; the other gates look at `ok` rows.
    """
    is_ok = table["status"] == "ok"
    found = [
        asdict(violation)
        for run, of_ok in GATES.values()
        for violation in run(table[is_ok if of_ok else ~is_ok])
    ]
    columns = ["check", "run_id", "column", "value", "expected"]
    return pd.DataFrame(found, columns=columns).rename(columns={"check": "gate"})


def mean_power_w(table: pd.DataFrame) -> pd.Series:
    """Energy over time of the training window, in watts; NaN where either is missing or zero."""
    seconds = table["train_time_s"].where(table["train_time_s"] > 0)
    return table["energy_kwh"] * JOULES_PER_KWH / seconds


def runs_at_once(table: pd.DataFrame) -> pd.Series:
    """Of how many runs that share a machine each row is one; 1 where it is not told."""
    if "runs_at_once" not in table:
        return pd.Series(1.0, index=table.index)
    return table["runs_at_once"].astype("float64").fillna(1.0).clip(lower=1.0)


def _breaking(rows: pd.DataFrame, column: str, expected: str | Callable[[pd.Series], str]) -> list[Violation]:
    return [
        Violation(
            row["run_id"],
            column,
            None if pd.isna(row[column]) else row[column],
            expected if isinstance(expected, str) else expected(row),
        )
        for _, row in rows.iterrows()
    ]


@gate("A run that ended well has used energy: its column is filled in, and above 0.")
def energy_positive(done: pd.DataFrame) -> list[Violation]:
    """Nothing meters an Apple GPU: there it is empty."""
    on_metal = _on_metal(done)
    missing = _breaking(done[~on_metal & ~(done["energy_kwh"] > 0)], "energy_kwh", "above 0")
    return missing + _breaking(done[on_metal & done["energy_kwh"].notna()], "energy_kwh", "empty")


@gate("What was not measured is empty: a 0 would be taken for a measurement.")
def zero_is_missing(done: pd.DataFrame) -> list[Violation]:
    columns = ("energy_cpu_kwh", "energy_gpu_kwh", "energy_ram_kwh", *list(WINDOWS.values())[1:])
    return [
        violation
        for column in columns
        for violation in _breaking(done[done[column] == 0], column, "empty or above 0, never 0")
    ]


@gate("No two runs share an energy to the last digit, unless one reading was written down twice.")
def energy_unique(done: pd.DataFrame) -> list[Violation]:
    shared = done["energy_kwh"].notna() & done["energy_kwh"].duplicated(keep=False)
    return _breaking(done[shared], "energy_kwh", "shared with no other row to the last digit")


@gate("A training draws at least what the idle machine draws, or its share of that beside other runs.")
def power_above_idle(done: pd.DataFrame) -> list[Violation]:
    done = done.assign(idle_power_w=done["idle_power_w"] / runs_at_once(done))
    low = mean_power_w(done) < done["idle_power_w"] * (1 - EDGE_TOLERANCE)
    return _breaking(done[low], "energy_kwh", lambda row: f"at least {_at_power(row, 'idle_power_w')}")


@gate(
    "A training draws no more than the power limits of what was measured; one of several threads that a load "
    "model charges, no more than its share of them."
)
def power_below_limit(done: pd.DataFrame) -> list[Violation]:
    """A study has no more threads side by side than the machine has cores, and they share its memory: a load
    model gives each an equal share of the machine at most."""
    share = runs_at_once(done).where(_is_thread_by_model(done), 1.0)
    done = done.assign(power_limit_w=done["power_limit_w"] / share)
    high = mean_power_w(done) > done["power_limit_w"] * (1 + EDGE_TOLERANCE)
    return _breaking(done[high], "energy_kwh", lambda row: f"at most {_at_power(row, 'power_limit_w')}")


@gate("A run has an energy and a time, so that its power can be judged.")
def power_known(done: pd.DataFrame) -> list[Violation]:
    known = (mean_power_w(done) > 0) | (_on_metal(done) & (done["train_time_s"] > 0))
    return _breaking(done[~known], "train_time_s", "energy and time above 0")


@gate("What a process holds is no more than its machine has, whose name says how much that is.")
def memory_below_machine(done: pd.DataFrame) -> list[Violation]:
    named_gib = done["hardware"].astype(str).str.extract(MEMORY)[0].astype(float)
    on_host = done["memory_source"] == "rss_peak_minus_baseline"
    beyond = on_host & (done["peak_memory_bytes"].astype(float) > named_gib * 2**30)

    def expected(row: pd.Series) -> str:
        gib = int(MEMORY.search(row["hardware"])[1])
        return f"at most {gib * 2**30}, the {gib} GiB of the machine"

    return _breaking(done[beyond], "peak_memory_bytes", expected)


@gate("A run says how many test images its accuracies count.")
def test_size_known(done: pd.DataFrame) -> list[Violation]:
    return _breaking(done[~_counted(done)], "n_test", "above 0")


@gate("An accuracy is a whole number of test images over their number.")
def accuracy_lattice(done: pd.DataFrame) -> list[Violation]:
    known = done[_counted(done)]
    size = known["n_test"].astype(float)
    found = []
    for column in ("test_accuracy", "test_accuracy_last_epoch"):
        value = known[column].astype(float)
        hits = value * size
        whole = (hits - hits.round()).abs() < count_tolerance(size)
        off = known[~(value.between(0, 1) & whole)]
        found += _breaking(off, column, lambda row: f"k / {row['n_test']}")
    return found


@gate("Of two classes, a sensitivity and specificity of 0 and 1 is one output for all, and flagged.")
def constant_predictor_flagged(done: pd.DataFrame) -> list[Violation]:
    shares = done["test_sensitivity"], done["test_specificity"]
    one_class = (shares[0].eq(0) & shares[1].eq(1)) | (shares[0].eq(1) & shares[1].eq(0))
    flagged = done["constant_predictor"].eq(True).fillna(False)
    return _breaking(done[one_class & ~flagged], "constant_predictor", "True")


@gate("A loss that ends above the entropy of the class shares has learned nothing of the images.")
def did_learn(done: pd.DataFrame) -> list[Violation]:
    """Tables older than the columns say nothing."""
    learned = done["train_loss_last_epoch"] <= done["train_class_entropy"]
    known = done["train_loss_last_epoch"].notna() & done["train_class_entropy"].notna()
    return _breaking(
        done[known & ~learned],
        "train_loss_last_epoch",
        lambda row: f"at most {row['train_class_entropy']:.3f} nats",
    )


@gate("A run that ended well has performances between 0 and 1.")
def ok_is_scored(done: pd.DataFrame) -> list[Violation]:
    return [
        violation
        for column in SCORES
        for violation in _breaking(
            done[~done[column].between(0, 1)], column, "a number in [0, 1], or the run is failed"
        )
    ]


@gate("A run that did not end well is a failed one, and says by which kind of failure.", of_ok=False)
def failure_is_named(others: pd.DataFrame) -> list[Violation]:
    unnamed = (others["status"] != "failed") | others["failure"].isna()
    return _breaking(others[unnamed], "failure", "the kind of failure")


@gate("A run that did not end well has no performance, whatever it reached before.", of_ok=False)
def failed_is_not_scored(others: pd.DataFrame) -> list[Violation]:
    return [
        violation
        for column in SCORES
        for violation in _breaking(others[others[column].notna()], column, "empty")
    ]


DID_LEARN = did_learn.__name__
"""The gate that a row may fail and still be sound."""


def _on_metal(done: pd.DataFrame) -> pd.Series:
    return done["device"].eq("mps").fillna(False).astype(bool)


def _is_thread_by_model(done: pd.DataFrame) -> pd.Series:
    """Whether each row is of one thread on a CPU whose energy a load model gives; no where it is not told."""
    if "threads" not in done:
        return pd.Series(False, index=done.index)
    one = done["threads"].eq(1).fillna(False).astype(bool)
    parts = done["energy_source"].map(component_sources)
    return one & parts.map(lambda part: part.get("cpu") == "load_model" and "gpu" not in part).astype(bool)


def _counted(done: pd.DataFrame) -> pd.Series:
    return done["n_test"].notna() & (done["n_test"].fillna(0) > 0)


def _at_power(row: pd.Series, column: str) -> str:
    """The energy of a run at a power in W, in the unit of the value that is held against it."""
    kwh = row[column] * row["train_time_s"] / JOULES_PER_KWH
    return f"{kwh:.4g} kWh, which is {row[column]:g} W for {row['train_time_s']:.4g} s"
