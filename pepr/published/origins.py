"""What the history says of the audit's findings: which it confirms, which it refutes, and what it adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pepr.audit import registry
from pepr.audit.energy_line import shared
from pepr.audit.finding import CONFIRMED, ERROR, NOTE, REFUTED, Finding
from pepr.published.history import History, changed_cells, missing_runs

PASTED_CHECKS = ("copied_row", "copied_time")
ENERGY_CHECKS = ("copied_energy", "implied_power")
JUDGED = (*ENERGY_CHECKS, *PASTED_CHECKS, "accuracy_not_k_of_n")
"""Checks whose findings say where a value comes from, which the history can confirm or refute."""

Key = tuple[str, str]
Place = dict[str, str]
"""Where something was recorded first: model, setting, date and commit."""
Origin = dict[str, object]
"""What a finding says of where its value comes from."""


def with_origins(findings: Sequence[Finding], history: History, results: pd.DataFrame) -> list[Finding]:
    """The findings, each with `origin` and `verdict` where the history knows better, then its own findings.

    A finding that says where a value comes from becomes `confirmed` or `refuted`. Every row that shares its
    energy has a finding after this: rows that own it a note.
    """
    rows = _row_facts(history, results)
    judged = [_judged(finding, rows) for finding in findings]
    return [*judged, *_own_findings(judged, rows, results)]


def against_history(findings: Sequence[Finding], history: History, results: pd.DataFrame) -> pd.DataFrame:
    """Every check on the runs against the history, one row a check.

    `confirmed`, `refuted`, `not_decidable` count its findings; `precision` is confirmed over decidable;
    `in_history` counts the rows that it should find by the history, and `recall` the share found.
    """
    rows = _row_facts(history, results)
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


@dataclass(frozen=True)
class RowFacts:
    """What the history knows of a published row.

    `run` and `energy_run` are where the run, and the run of its energy, were recorded first; the energy is
    the row's `own`, that of an `other` row, or of a run that was `dropped` from the table. `pasted`: the run
    is of another setting; `changed`: cells with their first values; `missing`: the run that it hides.
    """

    run: Place
    energy_run: Place
    energy_is: str
    pasted: bool
    changed: Mapping[str, float]
    missing: Place | None


def _row_facts(history: History, results: pd.DataFrame) -> dict[Key, RowFacts]:
    """What the history knows of each published row, by setting and model."""
    at = history.rows_of(results)
    missing = missing_runs(history, results).set_index(["setting", "model"])
    facts: dict[Key, RowFacts] = {}
    pairs = zip(results["dataset"], results["model"], at, changed_cells(history, results), strict=True)
    for setting, model, row, changed in pairs:
        run = history.runs.iloc[row]
        energy = history.runs.iloc[run["energy_run"]]
        key = (str(setting), str(model))
        own = run["energy_run"] == row
        facts[key] = RowFacts(
            run=_place(run),
            energy_run=_place(energy),
            energy_is="own" if own else "other" if energy["published"] else "dropped",
            pasted=bool(run["setting"] != setting),
            changed=changed,
            missing=_place(missing.loc[key].rename(key)) if key in missing.index else None,
        )
    return facts


def _place(run: pd.Series) -> Place:
    setting, model = (run["setting"], run["model"]) if "setting" in run else run.name
    place = {"model": str(model), "setting": str(setting)}
    return place | {"recorded": str(run["recorded"]), "commit": str(run["commit"])}


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
    return [
        Finding(
            ERROR,
            *key,
            list(cells),
            float(values[last]),
            cells[last],
            f"First recorded on {row.run['recorded']}: {listed}.",
            row.run | {"first_values": cells},
            CONFIRMED,
        )
    ]


@registry.named(
    "An energy that no other row of the table shares, yet was first recorded for another run, which "
    "the table left out."
)
def energy_recorded_elsewhere(key: Key, row: RowFacts, energy: float) -> list[Finding]:
    run = row.energy_run
    return [
        Finding(
            ERROR,
            *key,
            ["energy", "co2"],
            energy,
            None,
            f"First recorded on {run['recorded']} for {run['model']} in {run['setting']}, a second run that "
            "the table left out. The energy of this run was never recorded.",
            run | {"in_table": False},
            CONFIRMED,
        )
    ]


@registry.named(
    "An energy that other rows carry as well, and that was first recorded for this row: it is sound."
)
def owns_shared_energy(key: Key, row: RowFacts, energy: float, others: int) -> list[Finding]:
    return [
        Finding(
            NOTE,
            *key,
            ["energy"],
            energy,
            None,
            f"First recorded on {row.energy_run['recorded']} for this run; {others} other "
            f"{'row carries' if others == 1 else 'rows carry'} it as well.",
            row.energy_run | {"in_table": True},
            CONFIRMED,
        )
    ]
