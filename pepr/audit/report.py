"""Find what cannot be right, or should be known, in a results table: the checks, run and reported."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pepr.audit.finding import CONFIRMED, ERROR, NOTE, WARNING, Finding
from pepr.audit.registry import CHECKS, EXPLANATIONS
from pepr.audit.repeats import without_repeats
from pepr.audit.roles import (
    ALIASES,
    KNOWN_NAMES,
    MACHINE_NAMES,
    NAMED_ROLES,
    TEXT_ROLES,
    Columns,
    columns_of,
)
from pepr.audit.table import View
from pepr.errors import InputError
from pepr.tables.dialect import Options, looks_like_number
from pepr.tables.keys import key_columns
from pepr.tables.naming import columns_named, is_percent
from pepr.tables.reader import Reader, read_table
from pepr.tables.scoring import ended_well, say_status, say_totals

SEVERITIES = (ERROR, WARNING, NOTE)
COUNTS = ("devices", "nodes")
"""Roles whose columns may hold names as well as numbers."""
for _module in ("checks", "power", "siblings", "carbon", "accuracy"):
    importlib.import_module(f"pepr.audit.{_module}")  # checks register themselves, in the order of findings


def audit(
    table: pd.DataFrame,
    columns: Columns | None = None,
    n_test: int | None = None,
    power_limit_w: float | None = None,
    key: Sequence[str] = (),
) -> list[Finding]:
    """Run every check on a results table; findings in the order of checks, most severe first within one.

    `columns` says which column plays which role (default: by name). `n_test`, the number of test images
    that an accuracy counts, and `power_limit_w`, of the device, are taken from the table where it has them.
    `key` names columns that tell rows of one model apart.

    >>> table = pd.DataFrame({"model": ["ant", "bee"], "test_accuracy": [0.8, 0.9], "n_test": [100, 100]})
    >>> audit(table)
    []
    >>> found = audit(table.assign(test_accuracy=[0.8, 0.905]))
    >>> [(finding.check, finding.severity, finding.model) for finding in found]
    [('accuracy_not_k_of_n', 'error', 'bee')]
    """
    view = View(table, columns, n_test, power_limit_w, key)
    found = [finding for check in CHECKS.values() for finding in check(view)]
    return _sorted(found)


def audit_file(
    path: Path | str,
    n_test: int | None = None,
    power_limit_w: float | None = None,
    options: Options | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Audit anyone's table. Raises InputError naming file, row and column where it is not a results table.

    `say` is told how the table was read: its dialect, the tool that wrote it, units.
    """
    options = options or Options()
    reader = Reader(path, options=options, recognise=True)
    try:
        columns = columns_of(reader.header, options.model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for name in options.key:
        reader.require(name)
    given = {options.model, *options.key}
    by_name = [name for name in (*columns.names, *key_columns(reader.header)) if name not in given]
    reader.say_spellings(by_name, KNOWN_NAMES)
    texts = {getattr(columns, role) for role in TEXT_ROLES} | set(columns_named(reader.header, MACHINE_NAMES))
    texts |= set(options.key) - {getattr(columns, role) for role in ALIASES}
    known = {getattr(columns, role) for role in ALIASES} - texts - set(columns.assumed)
    known -= {None, *(getattr(columns, role) for role in COUNTS)}
    fractions = [name for name in columns.performance if not is_percent(name)]
    numbers = known | (set(columns.performance) - set(fractions))
    table = read_table(reader, numbers=numbers, fractions=fractions, texts=texts - {None}, keys=())
    _check_percentages(columns, reader)
    table, columns = _percent_as_fractions(table, columns), _only_numbers(table, columns, reader)
    columns = replace(columns, factors={n: f for n, f in columns.factors.items() if reader.kind(n) != "time"})
    table, repeats = without_repeats(table, columns, reader, options.key)
    if columns.status:
        say_status(table[columns.status].unique(), reader)
    say_totals(map(str, table[columns.model].unique()), reader)
    for notice in (*reader.notices, *_units(columns)):
        (say or (lambda _: None))(notice)
    return repeats + audit(table, columns, n_test, power_limit_w, options.key)


def _check_percentages(columns: Columns, reader: Reader) -> None:
    """Raises InputError where an accuracy whose name says percent is none; a run that failed may have any."""
    names = [name for name in columns.performance if is_percent(name)]
    if not names:
        return
    for block in reader.blocks():
        ended = np.ones(len(block.lines), dtype=bool)
        if columns.status:
            ended = np.array([ended_well(cell) for cell in block.texts(columns.status)])
        for name in names:
            block.check_percentages(name, np.where(ended, block.floats(name), np.nan))


def _percent_as_fractions(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The table with accuracies as fractions where a name says percent, and those that go with them where a
    value says so: no share is above 1."""
    for name in columns.performance:
        if is_percent(name) and table[name].max() > 1:
            table[name] = table[name] / 100
    for name in (columns.majority_rate, columns.train_accuracy):
        if name is not None and 1 < table[name].max() <= 100:
            table[name] = table[name] / 100
    return table


def _only_numbers(table: pd.DataFrame, columns: Columns, reader: Reader) -> Columns:
    """The columns without those that were taken by their words, or for a count of devices, and hold no
    numbers: `gpus` may be names."""
    counts = [name for role in COUNTS if (name := getattr(columns, role))]
    for name in (*columns.assumed, *counts):
        if not pd.api.types.is_numeric_dtype(table[name]):
            if name not in counts and any(map(looks_like_number, table[name].astype(str))):
                for block in reader.blocks():
                    block.floats(name)  # says which cell is no number, and the option that makes it one
            reader.say(f"{name} holds no numbers, so it was left out")
            role = next(role for role in (*NAMED_ROLES, *COUNTS) if getattr(columns, role) == name)
            columns = replace(columns, **{role: None})
    return columns


def _units(columns: Columns) -> list[str]:
    """How columns with units of their own were read."""
    units = {"energy": "kWh", "carbon": "g", "time": "s"}
    said = [(getattr(columns, role), unit) for role, unit in units.items() if getattr(columns, role)]
    factors = columns.factors
    return [f"{name} is read as {unit}, times {factors[name]:.6g}" for name, unit in said if name in factors]


def exit_status(findings: Iterable[Finding]) -> int:
    """1 when something is an error or a warning; 0 when there are only notes, or nothing."""
    return int(any(finding.severity != NOTE for finding in findings))


def summary(findings: Iterable[Finding]) -> pd.DataFrame:
    """How many findings of each check and severity, with the settings they are in; most severe first."""
    counted: Counter[tuple[str, str]] = Counter()
    settings: dict[tuple[str, str], Counter[str]] = {}
    for finding in findings:
        key = (finding.check, finding.severity)
        counted[key] += 1
        settings.setdefault(key, Counter())[finding.setting or "all"] += 1
    rows = [
        {
            "check": check,
            "severity": severity,
            "findings": count,
            "where": ", ".join(f"{name} {n}" for name, n in settings[check, severity].most_common()),
        }
        for (check, severity), count in counted.items()
    ]
    order = {severity: at for at, severity in enumerate(SEVERITIES)}
    return pd.DataFrame(
        sorted(rows, key=lambda row: (order[row["severity"]], -row["findings"])),
        columns=["check", "severity", "findings", "where"],
    )


def as_text(findings: Sequence[Finding], rows_per_check: int = 3) -> str:
    """Findings as text for a person: each check once, with what it looks for and its first rows."""
    if not findings:
        return "Nothing found."
    counts = Counter(finding.severity for finding in findings)
    lines = [", ".join(f"{counts[severity]} {severity}s" for severity in SEVERITIES)]
    for row in summary(findings).itertuples():
        lines += [
            "",
            f"{row.severity.upper()}  {row.check}: {row.findings} ({row.where})",
            f"  {EXPLANATIONS[row.check]}",
        ]
        here = [f for f in findings if (f.check, f.severity) == (row.check, row.severity)]
        confirmed = sum(finding.verdict == CONFIRMED for finding in here)
        if confirmed:
            lines.append(f"  {confirmed} of {len(here)} confirmed by how the table came about.")
        lines += [f"  - {_place(finding)}: {finding.explanation}" for finding in here[:rows_per_check]]
        if len(here) > rows_per_check:
            lines.append(f"  - and {len(here) - rows_per_check} more; all of them with --json")
    return "\n".join(lines)


def _place(finding: Finding) -> str:
    named = f"{finding.model} ({finding.which})" if finding.which else finding.model
    return " in ".join(part for part in (named, finding.setting) if part) or ", ".join(finding.columns)


def to_json(findings: Iterable[Finding]) -> str:
    """A JSON list, one object a finding."""
    return json.dumps([finding.as_dict() for finding in findings], indent=1, ensure_ascii=False)


def _sorted(findings: list[Finding]) -> list[Finding]:
    order = {severity: at for at, severity in enumerate(SEVERITIES)}
    place = {name: at for at, name in enumerate(CHECKS)}
    return sorted(findings, key=lambda finding: (place[finding.check], order[finding.severity]))
