"""Checks on any results table: copied values, energy, power, carbon, columns; and the register of checks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr.audit.finding import ERROR, NOTE, WARNING, Finding
from pepr.audit.owners import owners
from pepr.audit.registry import check, listed, setting_words, where
from pepr.audit.roles import DECLARED
from pepr.audit.table import View, all_ended_well
from pepr.score import of
from pepr.tables.naming import is_cost, is_named, more_is_better, names_things, tokens_of

PART_OF_MACHINE = frozenset({"cpu", "gpu", "ram", "dram", "water", "rate", "utilization", "percent"})
"""Words of columns that are 0 where the machine has no such part, or the tool does not look."""
SCORE_PAIRS = {"pepr_e": "E_n", "pepr_c": "C_n", "pepr_t": "T_n", "pepr_m": "M_n"}
SOURCES = {"E_n": "energy", "C_n": "co2", "T_n": "train_time", "M_n": "memR"}
ROUNDING = 1e-6
"""How far a score may be from what its columns give."""


@check(
    "A run that used no energy, less than none, or none that was recorded. A zero is a missing value, not a "
    "measurement.",
)
def missing_energy(view: View) -> list[Finding]:
    energy = view.role("energy")
    if energy is None:
        return []

    def severity(row: int) -> str:
        return NOTE if np.isnan(energy[row]) else ERROR

    def explain(row: int) -> str:
        if np.isnan(energy[row]):
            return "No energy is recorded for this run; it has no score."
        if energy[row] < 0:
            return (
                "An energy below 0 is recorded, which no run has: a counter that was set back would "
                "give one. It should be left out, or measured again."
            )
        return (
            "An energy of 0 is recorded for a run that ended well. Scored as zero it would look free; "
            "it should be left out, or measured again."
        )

    rows = np.flatnonzero(~(energy > 0))
    return view.findings(rows, severity, [view.columns.energy], energy, explain, view.fitted_energy)


@check("A run whose status is not ok carries a final accuracy, so that it can slip into a ranking.")
def failed_but_scored(view: View) -> list[Finding]:
    status, final = view.columns.status, view.columns.final
    if status is None or final is None:
        return []
    table = view.all_rows
    accuracy = pd.to_numeric(table[final], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    found = table[~all_ended_well(table[status]).to_numpy() & np.isfinite(accuracy)]
    setting = view.columns.setting
    return [
        Finding(
            ERROR,
            str(row[setting]) if setting else None,
            str(row[view.columns.model]),
            [status, final],
            float(row[final]),
            None,
            f"The status is {row[status]!r}, yet the row has an accuracy; it should be empty.",
        )
        for _, row in found.iterrows()
    ]


@check(
    "Two rows whose measurements are all identical to the last digit, accuracies included. Two runs cannot "
    "agree so far; one row is a copy of the other, and its own run is missing.",
)
def copied_row(view: View) -> list[Finding]:
    groups = view.copied_rows
    found: list[Finding] = []
    members = pd.Series(np.flatnonzero(groups >= 0)).groupby(groups[groups >= 0])
    for _, rows in members:
        fits = [row for row in rows if not view.off_lattice[row].any()]
        owner = fits[0] if len(fits) == 1 else None
        found += _copies(view, [row for row in rows if row != owner], list(rows), owner)
    return found


def _copies(view: View, copies: list[int], rows: list[int], owner: int | None) -> list[Finding]:
    name = view.columns.energy or view.columns.time
    twins = {row: ", ".join(where(view, other) for other in rows if other != row) for row in copies}

    def explain(row: int) -> str:
        seen = f"Energy, time and every accuracy are, digit for digit, those of {twins[row]}. "
        if owner is None:
            return seen + "At most one of the rows can be a run of its own; which one, the table cannot say."
        own, other = view.n_test[row], view.n_test[owner]
        return (
            f"{seen}Its accuracies are multiples of 1/{other:g}, as in {setting_words(view, owner)}, not of "
            f"1/{own:g}: so the run is that of {where(view, owner)}, and the run that belongs here is "
            "missing. A row pasted from the wrong file would look like this."
        )

    columns = [name, view.columns.time, view.columns.final]
    return view.findings(copies, WARNING if owner is None else ERROR, columns, view.floats(name), explain)


@check(
    "Rows that share an energy (or carbon) to the last digit without being the same run. A measurement does "
    "not repeat so; the line of energy over time, or the carbon intensity of its hour, tells which of the "
    "rows owns the value.",
)
def copied_energy(view: View) -> list[Finding]:
    values = view.role("energy")
    role = "energy"
    if values is None:
        values, role = view.role("carbon"), "carbon"
    if values is None:
        return []
    names = [getattr(view.columns, role)]
    carbon_too = view.repeated("carbon") if role == "energy" else np.zeros(view.n_rows, dtype=bool)
    rows = np.flatnonzero(view.repeated(role) & (view.copied_rows < 0) & ~view.assumed)
    groups = owners(view, values, rows)
    wrong = [int(row) for row in rows if groups[int(row)].owner != row]

    def explain(row: int) -> str:
        group = groups[row]
        others = listed([where(view, other) for other in group.rows if other != row])
        seen = f"The value is, digit for digit, that of {others}. "
        if group.by_carbon:
            why = (
                f"The times of several of these rows fit it, but only {where(view, group.owner)} has the "
                "carbon intensity of the runs next to it in size, so the value is its own. "
            )
        elif group.owner is not None:
            why = (
                f"Only {where(view, group.owner)} lies on its setting's line of energy over time, "
                "so the value is its own. "
            )
        elif group.candidates:
            why = (
                "Several of these rows lie on their lines of energy over time, so which one owns the "
                "value is undecided; at most one can. "
            )
        else:
            why = (
                "None of these rows lies on its setting's line of energy over time, so the run that owns "
                "the value is not among them. "
            )
        return seen + why + _likely_cause(view, row)

    return view.findings(
        wrong,
        lambda row: ERROR if groups[row].owner is not None or row not in groups[row].candidates else WARNING,
        lambda row: [*names, *([view.columns.carbon] if carbon_too[row] else [])],
        values,
        explain,
        view.fitted_energy if role == "energy" else None,
    )


def _likely_cause(view: View, row: int) -> str:
    deviation = view.energy_deviation[row]
    if np.isfinite(deviation):
        ratio = view.role("energy")[row] / view.fitted_energy[row]
        expected = f"The row's own time implies {ratio:.2g} times less. " if ratio > 1.2 else ""
    else:
        expected = ""
    return expected + (
        "A log folder that several runs of one model share, read for its last entry, would produce this."
    )


@check("Rows that share a training time to the last digit without being the same run.")
def copied_time(view: View) -> list[Finding]:
    time = view.role("time")
    if time is None:
        return []
    rows = np.flatnonzero(view.repeated("time") & (view.copied_rows < 0))
    twins = pd.Series(rows).groupby(time[rows]).agg(list) if rows.size else {}

    def explain(row: int) -> str:
        others = listed([where(view, other) for other in twins[time[row]] if other != row])
        return (
            f"The time is, digit for digit, that of {others}. A measured time does not repeat so; at most "
            "one of the rows can own it."
        )

    return view.findings(rows, WARNING, [view.columns.time], time, explain)


@check(
    "A measured column that holds one value in every row. Zeros are missing values; any other constant "
    "describes the machine, not the runs.",
)
def constant_column(view: View) -> list[Finding]:
    found = []
    for name in map(str, view.table.columns):
        if is_named(name, DECLARED) or name in view.columns.performance or names_things(name):
            continue
        if view.n_rows < 3 or not pd.api.types.is_numeric_dtype(view.table[name]):
            continue
        if pd.api.types.is_bool_dtype(view.table[name]) or not is_cost(name):
            continue
        values = view.floats(name)
        known = values[np.isfinite(values)]
        if len(known) < 3 or known.min() != known.max():
            continue
        zero = known[0] == 0
        part = bool(PART_OF_MACHINE & set(tokens_of(name)))
        text = (
            "Every row is zero, so nothing was recorded; read as a measurement it would say that it costs "
            "nothing."
            if zero
            else "Every row has the same value, so the column describes the machine and cannot tell runs "
            "apart."
        )
        severity = WARNING if zero and not part else NOTE
        found.append(Finding(severity, None, None, [name], float(known[0]), None, text))
    return found


@check(
    "A PePR column of the table that is not P / (1 + R_norm) of a performance of its own and the normalised "
    "resource, or a normalised column that is not the min-max of its resource within the setting.",
)
def scores_not_reproduced(view: View) -> list[Finding]:
    found: list[Finding] = []
    names = set(map(str, view.table.columns))
    pairs = {score: norm for score, norm in SCORE_PAIRS.items() if {score, norm} <= names}
    pairs |= {f"pepr_{n[:-5]}": n for n in names if n.endswith("_norm") and f"pepr_{n[:-5]}" in names}
    if not view.columns.performance:
        return []
    performances = _performances(view)
    for score, norm in sorted(pairs.items()):
        scores = view.floats(score)
        by_name = {name: of(values, view.floats(norm)) for name, values in performances.items()}
        alike = {name: int((np.abs(scores - made) <= ROUNDING).sum()) for name, made in by_name.items()}
        name = max(alike, key=alike.__getitem__)
        found += _differences(view, score, scores, by_name[name], [score, norm, name])
        source = SOURCES.get(norm)
        if source in names:
            values = pd.Series(view.floats(source)).groupby(view.setting_code)
            low, high = values.transform("min").to_numpy(), values.transform("max").to_numpy()
            with np.errstate(divide="ignore", invalid="ignore"):
                expected = (view.floats(source) - low) / (high - low)
            found += _differences(view, norm, view.floats(norm), expected, [norm, source])
    return found


def _performances(view: View) -> dict[str, np.ndarray]:
    """The columns that scores may be made of, by name, the final accuracy first: fractions [rows], of which
    those below 0, worse than chance, count as 0."""
    found = {str(view.columns.final): view.performance[:, -1]}
    for name in map(str, view.table.columns):
        if more_is_better(name) and "pepr" not in tokens_of(name):
            found.setdefault(name, _fractions(view.floats(name)))
    return {name: np.maximum(values, 0.0) for name, values in found.items()}


def _fractions(values: np.ndarray) -> np.ndarray:
    """The values [rows] of a performance, divided by 100 where they are percentages."""
    return values / 100 if (values > 1).any() else values


def _differences(
    view: View, name: str, values: np.ndarray, expected: np.ndarray, columns: list[str]
) -> list[Finding]:
    def explain(row: int) -> str:
        return (
            f"{name} is {values[row]:.6g}; the row's other columns give {expected[row]:.6g}. "
            "It was computed from other data than the table holds."
        )

    rows = np.flatnonzero(np.abs(values - expected) > ROUNDING)
    return view.findings(rows, ERROR, columns, values, explain, expected)
