"""What the history says of the audit's findings: which it confirms, which it refutes, and what it adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pepr.audit import registry
from pepr.audit.energy_line import shared
from pepr.audit.finding import CONFIRMED, ERROR, NOTE, REFUTED, Finding
from pepr.published.history import History, RowFacts, row_facts

PASTED_CHECKS = ("copied_row", "copied_time")
ENERGY_CHECKS = ("copied_energy", "implied_power")
JUDGED = (*ENERGY_CHECKS, *PASTED_CHECKS, "accuracy_not_k_of_n")
"""Checks whose findings say where a value comes from, which the history can confirm or refute."""

Key = tuple[str, str]
Origin = dict[str, object]
"""What a finding says of where its value comes from."""


def with_origins(findings: Sequence[Finding], history: History, results: pd.DataFrame) -> list[Finding]:
    """The findings, each with `origin` and `verdict` where the history knows better, then its own findings.

    A finding that says where a value comes from becomes `confirmed` or `refuted`. Every row that shares its
    energy has a finding after this: rows that own it a note.
    """
    rows = row_facts(history, results)
    judged = [_judged(finding, rows) for finding in findings]
    return [*judged, *_own_findings(judged, rows, results)]


def against_history(findings: Sequence[Finding], history: History, results: pd.DataFrame) -> pd.DataFrame:
    """Every check on the runs against the history, one row a check.

    `confirmed`, `refuted`, `not_decidable` count its findings; `precision` is confirmed over decidable;
    `in_history` counts the rows that it should find by the history, and `recall` the share found.
    """
    rows = row_facts(history, results)
    settings = set(results["dataset"])
    truth = {
        "copied_energy": {key for key, row in rows.items() if row.energy_is != "own" and not row.pasted},
        "copied_row": {key for key, row in rows.items() if row.pasted},
        "accuracy_not_k_of_n": {key for key, row in rows.items() if row.changed or row.pasted},
    }
    table = []
    for check in dict.fromkeys(f.check for f in findings if f.setting in settings and f.model):
        if check in ("changed_since_recorded", "energy_recorded_elsewhere", "owns_shared_energy"):
            continue
        judged = [_judged(f, rows) for f in findings if f.check == check and f.model]
        confirmed = sum(f.verdict == CONFIRMED for f in judged)
        refuted = sum(f.verdict == REFUTED for f in judged)
        found = {_key(f) for f in judged if f.verdict == CONFIRMED}
        known = truth.get(check)
        table.append(
            {
                "check": check,
                "findings": len(judged),
                "confirmed": confirmed,
                "refuted": refuted,
                "not_decidable": len(judged) - confirmed - refuted,
                "precision": confirmed / (confirmed + refuted) if confirmed + refuted else np.nan,
                "in_history": len(known) if known is not None else np.nan,
                "recall": len(found & known) / len(known) if known else np.nan,
            }
        )
    return pd.DataFrame(table)


def _key(finding: Finding) -> Key:
    return str(finding.setting), str(finding.model)


def _judged(finding: Finding, rows: dict[Key, RowFacts]) -> Finding:
    row = rows.get(_key(finding))
    if row is None or finding.check not in JUDGED:
        return finding
    verdict, origin = _JUDGES[finding.check](finding, row)
    return replace(finding, verdict=verdict, origin=origin)


def _judge_energy(finding: Finding, row: RowFacts) -> tuple[str, Origin]:
    origin = row.energy_run | {"in_table": row.energy_is != "dropped"}
    if row.energy_is == "own":
        return (finding.verdict if finding.check == "implied_power" else REFUTED), origin
    return CONFIRMED, origin


def _judge_row(finding: Finding, row: RowFacts) -> tuple[str, Origin]:
    return (CONFIRMED if row.pasted else REFUTED), row.run | {"missing_run": row.missing}


def _judge_accuracy(finding: Finding, row: RowFacts) -> tuple[str, Origin]:
    if row.pasted:
        return _judge_row(finding, row)
    found = set(finding.columns) <= set(row.changed)
    return (CONFIRMED if found else REFUTED), row.run | {"first_values": row.changed}


_JUDGES: dict[str, Callable[[Finding, RowFacts], tuple[str, Origin]]] = {
    **dict.fromkeys(ENERGY_CHECKS, _judge_energy),
    **dict.fromkeys(PASTED_CHECKS, _judge_row),
    "accuracy_not_k_of_n": _judge_accuracy,
}


def _own_findings(
    findings: Sequence[Finding], rows: dict[Key, RowFacts], results: pd.DataFrame
) -> list[Finding]:
    """What the history finds by itself: changed cells, energies of runs left out, owners of shared ones."""
    named = {_key(f) for f in findings if f.check in ("copied_energy", "copied_row")}
    sharing = shared(results["energy"].to_numpy(), len(results))
    table = results.set_index(["dataset", "model"])
    carriers = results["energy"].value_counts()
    changed, elsewhere, owners = [], [], []
    for key, shares in zip(zip(results["dataset"], results["model"], strict=True), sharing, strict=True):
        row, energy = rows[key], float(table.loc[key, "energy"])
        if row.changed:
            changed += changed_since_recorded(key, row, table.loc[key])
        if row.energy_is == "dropped" and not shares:
            elsewhere += energy_recorded_elsewhere(key, row, energy)
        if shares and key not in named and row.energy_is == "own":
            owners += owns_shared_energy(key, row, energy, int(carriers[energy]) - 1)
    return [*changed, *elsewhere, *owners]


@registry.named(
    "A cell that differs from what was recorded when the run was made. Nothing in the files says why."
)
def changed_since_recorded(key: Key, row: RowFacts, values: pd.Series) -> list[Finding]:
    cells, last = row.changed, list(row.changed)[-1]
    listed = ", ".join(f"{name} {first:.6g}, now {values[name]:.6g}" for name, first in cells.items())
    text, origin = f"First recorded on {row.run['recorded']}: {listed}.", row.run | {"first_values": cells}
    return [Finding(ERROR, *key, list(cells), float(values[last]), cells[last], text, origin, CONFIRMED)]


@registry.named(
    "An energy that no other row of the table shares, yet was first recorded for another run, which "
    "the table left out."
)
def energy_recorded_elsewhere(key: Key, row: RowFacts, energy: float) -> list[Finding]:
    run = row.energy_run
    text = (
        f"First recorded on {run['recorded']} for {run['model']} in {run['setting']}, a second run that the "
        "table left out. The energy of this run was never recorded."
    )
    return [Finding(ERROR, *key, ["energy", "co2"], energy, None, text, run | {"in_table": False}, CONFIRMED)]


@registry.named(
    "An energy that other rows carry as well, and that was first recorded for this row: it is sound."
)
def owns_shared_energy(key: Key, row: RowFacts, energy: float, others: int) -> list[Finding]:
    text = (
        f"First recorded on {row.energy_run['recorded']} for this run; {others} other "
        f"{'row carries' if others == 1 else 'rows carry'} it as well."
    )
    origin = row.energy_run | {"in_table": True}
    return [Finding(NOTE, *key, ["energy"], energy, None, text, origin, CONFIRMED)]
