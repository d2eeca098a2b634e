"""Find what cannot be right, or should be known, in a results table: the checks, run and reported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

import pepr.audit_accuracy  # noqa: F401  (its checks register themselves)
from pepr.audit_checks import CHECKS, HOST_POWER_W, LARGEST_PUE, NamedCheck
from pepr.audit_reference import (
    implausible_population,
    joined_to_other_model,
    labels_by_position,
    labels_disagree,
    named_checks,
    superseded_column,
)
from pepr.audit_view import ALIASES, ERROR, NOTE, WARNING, Columns, Finding, View, columns_of
from pepr.errors import InputError
from pepr.published import Published
from pepr.tables import Reader, read_table

__all__ = [
    "GPU_POWER_LIMIT_W",
    "HOST_POWER_W",
    "LARGEST_PUE",
    "Finding",
    "audit",
    "audit_file",
    "audit_published",
    "audit_target",
    "checks",
    "exit_status",
    "report",
    "summary",
    "to_json",
]

GPU_POWER_LIMIT_W = 350.0
"""Board power of the RTX 3090 on which the authors trained (NVIDIA's specification)."""
SEVERITIES = (ERROR, WARNING, NOTE)


def checks() -> list[NamedCheck]:
    """Every check with its name and explanation: those on any results table, then those on reference data."""
    return [*CHECKS.values(), *named_checks()]


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


def audit_published(tables: Published) -> list[Finding]:
    """Audit all of the authors' tables: the 1,048 runs, ImageNet, model names, and regions."""
    models = tables.models
    alphabetical = tables.results["model"].drop_duplicates().sort_values()
    found = audit(tables.results, power_limit_w=GPU_POWER_LIMIT_W)
    found += joined_to_other_model(tables.imagenet, tables.leaderboard, "imagenet")
    found += labels_by_position(models, alphabetical, "efficient", "figures")
    found += labels_disagree(models, "type", "link", "model_names")
    found += labels_disagree(models, "efficient", "link", "model_names")
    for year, regions in (("regions_2013", tables.regions_2013), ("regions_2023", tables.regions_2023)):
        found += implausible_population(regions, year)
        found += superseded_column(regions, "Region", "Region_updated", year)
    return found


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


def audit_target(target: str, n_test: int | None = None, power_limit_w: float | None = None) -> list[Finding]:
    """Audit `published`, a folder of results (`results/<profile>`), or a CSV."""
    if target == "published":
        from pepr import published

        return audit_published(published.load())
    path = Path(target)
    if path.is_dir():
        path = path / "results.csv"
    if not path.exists():
        raise InputError(f"{path}: no such table; expected `published`, a results folder or a CSV")
    return audit_file(path, n_test, power_limit_w)


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


def report(findings: Sequence[Finding], rows_per_check: int = 3) -> str:
    """Findings as text for a person: each check once, with what it looks for and its first rows."""
    if not findings:
        return "Nothing found."
    explained = {named.name: named.explanation for named in checks()}
    counts = Counter(finding.severity for finding in findings)
    lines = [", ".join(f"{counts[severity]} {severity}s" for severity in SEVERITIES)]
    for row in summary(findings).itertuples():
        lines += [
            "",
            f"{row.severity.upper()}  {row.check}: {row.findings} ({row.where})",
            f"  {explained[row.check]}",
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
