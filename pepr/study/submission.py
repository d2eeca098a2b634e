"""Check results that were measured elsewhere, and pack them so that the project can show them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pepr import audit, files, runs
from pepr.audit import gates
from pepr.audit.finding import NOTE
from pepr.errors import InputError
from pepr.models.space import BASELINES
from pepr.runs.columns import Record
from pepr.runs.results import Results
from pepr.runs.spec import RunSpec
from pepr.study import profile as study_profile, verification

HONEST_OUTCOMES = ("constant_predictor", "never_above_majority")
"""What the audit warns of though training can honestly end so: such runs are shown for what they are."""
PLACE = "pepr/reference/contributed"
"""Where the packed folders go in a pull request."""


@dataclass(frozen=True)
class Flaw:
    """One reason to refuse results: the check that found it, the run, the column, and what is wrong."""

    check: str
    run: str | None
    column: str | None
    explanation: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, [self.run, self.column]))
        return f"{self.check}{f' ({place})' if place else ''}: {self.explanation}"


def flaws(target: str) -> list[Flaw]:
    """Every reason to refuse the results of a folder or of a shipped reference; none when they can be taken.

    Raises InputError where there are no results.
    """
    checked = verification.verify(target)
    found = [Flaw("verify", mismatch.row, mismatch.column, str(mismatch)) for mismatch in checked.mismatches]
    try:
        table = checked.results.table
    except (InputError, ValueError):
        return found
    records = [record for _, record in verification.readable_records(checked.results)[0]]
    found += _schema_flaws(checked.results, records)
    found += [
        Flaw(row["gate"], row["run_id"], row["column"], f"{row['value']}, expected {row['expected']}")
        for row in gates.gates(table).to_dict("records")
        if row["gate"] != gates.DID_LEARN
    ]
    return found + list(_audit_flaws(checked.results))


def submit(target: str, out: Path | None = None) -> list[Path]:
    """Pack sound results into `out`, one folder for each hardware, laid out like a shipped reference.

    Raises InputError with every flaw where there is one: nothing is written then.
    """
    found = flaws(target)
    results = verification.locate(target)
    if found:
        listed = "\n".join(f"  - {flaw}" for flaw in found)
        raise InputError(f"{results.folder}: not accepted, for {len(found)} reasons:\n{listed}")
    out = out or files.results_root() / "submission"
    packed = []
    records = results.records()
    for hardware in sorted({record["hardware"] for record in records}):
        folder = out / f"{results.profile}-{slug(hardware)}"
        mine = [record for record in records if record["hardware"] == hardware]
        runs.write_reference(results, folder, mine)
        packed.append(folder)
    return packed


def slug(text: str) -> str:
    """A name for a folder: lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _schema_flaws(results: Results, records: list[Record]) -> Iterator[Flaw]:
    """Runs that belong to no profile that ships, or that do not say how they were made."""
    if results.profile not in study_profile.profile_names():
        known = ", ".join(study_profile.profile_names())
        yield Flaw("profile", None, None, f"{results.profile!r} is none of the profiles that ship: {known}")
        return
    if not any(record["status"] == "ok" for record in records):
        yield Flaw("no_result", None, "status", "no run ended well")
    profile = study_profile.load(results.profile)
    for record in records:
        spec = RunSpec.from_dict(record)
        grid = {replace(known, seed=0, split=0) for known in study_profile.grid(profile, spec.device)}
        if replace(spec, seed=0, split=0) not in grid:
            yield Flaw("not_in_profile", record["run_id"], None, f"no run of the profile {results.profile}")
        for name in ("hardware", "software"):
            if not record.get(name):
                yield Flaw("provenance", record["run_id"], name, "empty")
        if record["status"] == "ok":
            environment = record.get("environment") or {}
            missing = [name for name in ("packages", "python", "platform") if not environment.get(name)]
            missing += ["data_sha256"] if not record.get("data_sha256") else []
            starts_from_weights = record["pretrained"] and record["model"] not in BASELINES
            missing += ["weights_sha256"] if starts_from_weights and not record.get("weights_sha256") else []
            for name in missing:
                yield Flaw("provenance", record["run_id"], name, "empty")


def _audit_flaws(results: Results) -> Iterator[Flaw]:
    for finding in audit.audit_file(results.folder / "results.csv"):
        if finding.severity != NOTE and finding.check not in HONEST_OUTCOMES:
            run = " in ".join(filter(None, [finding.model, finding.setting]))
            yield Flaw(finding.check, run or None, ", ".join(finding.columns), finding.explanation)
