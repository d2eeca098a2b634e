"""Find what cannot be right, or should be known, in a results table: the checks, run and reported."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from pepr.audit.finding import ERROR, NOTE, WARNING, Finding
from pepr.audit.registry import CHECKS, EXPLANATIONS
from pepr.audit.table import ALIASES, Columns, View, columns_of
from pepr.errors import InputError
from pepr.tables.reader import Reader, read_table

SEVERITIES = (ERROR, WARNING, NOTE)
for _module in ("checks", "accuracy"):  # the checks register themselves, in the order of their findings
    importlib.import_module(f"pepr.audit.{_module}")


def audit(
    table: pd.DataFrame,
    columns: Columns | None = None,
    n_test: int | None = None,
    power_limit_w: float | None = None,
) -> list[Finding]:
    """Run every check on a results table; findings in the order of checks, most severe first within one.

    `columns` says which column plays which role (default: by name). `n_test`, the number of test images
    that an accuracy counts, and `power_limit_w`, of the device, are taken from the table where it has them.
    """
    view = View(table, columns, n_test, power_limit_w)
    found = [finding for named in CHECKS.values() for finding in named.run(view)]
    return _sorted(found)


def audit_file(
    path: Path | str, n_test: int | None = None, power_limit_w: float | None = None
) -> list[Finding]:
    """Audit anyone's CSV. Raises InputError naming file, row and column where it is not a results table."""
    header = Reader(path).header
    try:
        columns = columns_of(header)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    texts = {columns.model, columns.setting, columns.status, columns.constant_flag} - {None}
    roles = {getattr(columns, role) for role in ALIASES} - texts - {None}
    table = read_table(path, numbers=roles, fractions=columns.performance, texts=texts)
    return audit(table, columns, n_test, power_limit_w)


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
        lines += [f"  - {_place(finding)}: {finding.explanation}" for finding in here[:rows_per_check]]
        if len(here) > rows_per_check:
            lines.append(f"  - and {len(here) - rows_per_check} more; all of them with --json")
    return "\n".join(lines)


def _place(finding: Finding) -> str:
    return " in ".join(part for part in (finding.model, finding.setting) if part) or ", ".join(
        finding.columns
    )


def to_json(findings: Iterable[Finding]) -> str:
    """A JSON list, one object a finding."""
    return json.dumps([finding.as_dict() for finding in findings], indent=1, ensure_ascii=False)


def _sorted(findings: list[Finding]) -> list[Finding]:
    order = {severity: at for at, severity in enumerate(SEVERITIES)}
    place = {name: at for at, name in enumerate(CHECKS)}
    return sorted(findings, key=lambda finding: (place[finding.check], order[finding.severity]))
