"""Check results that were measured elsewhere, and pack them so that the project can show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pepr import audit, files, runs
from pepr.audit import gates
from pepr.audit.finding import NOTE
from pepr.costs import swept
from pepr.costs.swept import Sweep
from pepr.errors import FAILURES, InputError
from pepr.models.space import BASELINES, model_space
from pepr.runs.columns import Record
from pepr.runs.results import Results
from pepr.runs.spec import RunSpec
from pepr.study import profile as study_profile, verification

HONEST_OUTCOMES = ("constant_predictor", "never_above_majority")
"""What the audit warns of though training can honestly end so: such runs are shown for what they are."""
PLACE = "pepr/reference/contributed"
"""Where the packed folders go in a pull request."""
SWEEP_PLACE = "pepr/reference/sweep"
"""And where a table of sweeps goes."""
LEAST_SWEPT = 20
"""A sweep of fewer models ranks too few."""
MOST_W = 2000.0
"""No processor, GPU or module of both draws so much."""


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
    found += [Flaw("verify", None, None, note) for note in checked.notes if note == verification.MADE_AGAIN]
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
    """Pack sound results into `out`, one folder for each hardware, laid out like a shipped reference; of what
    `pepr sweep` wrote, a table for each hardware.

    Raises InputError with every flaw where there is one: nothing is written then.
    """
    sweeps = sweeps_at(Path(target))
    if sweeps:
        return _submit_sweeps(target, sweeps, out)
    found = flaws(target)
    results = verification.locate(target)
    _refuse(results.folder, found)
    out = out or files.results_root() / "submission"
    packed = []
    records = results.records()
    for hardware in sorted({record["hardware"] for record in records}):
        folder = out / f"{results.profile}-{files.slug(hardware)}"
        mine = [record for record in records if record["hardware"] == hardware]
        runs.write_reference(results, folder, mine)
        packed.append(folder)
    return packed


def place_of(packed: Path) -> str:
    """Where something that was packed goes in a pull request."""
    return f"{SWEEP_PLACE if packed.suffix == '.csv' else PLACE}/{packed.name}"


def _refuse(target: Path | str, found: list[Flaw]) -> None:
    if found:
        listed = "\n".join(f"  - {flaw}" for flaw in found)
        reasons = f"{len(found)} reason{'s' if len(found) > 1 else ''}"
        raise InputError(f"{target}: not accepted, for {reasons}:\n{listed}")


def sweeps_at(target: Path) -> list[Sweep]:
    """What `pepr sweep` left in a folder, by conditions and hardware; none where it is another folder."""
    found = []
    for path in sorted(target.glob("*px-b*.jsonl")):
        machines: dict[str, dict[str, Record]] = {}
        for row in swept.all_rows(path):
            machines.setdefault(str(row.get("hardware")), {})[row["model"]] = row
        for hardware in sorted(machines):
            rows = machines[hardware]
            found.append(Sweep(swept.conditions_in(next(iter(rows.values()))), rows))
    return found


def _submit_sweeps(target: str, sweeps: list[Sweep], out: Path | None) -> list[Path]:
    _refuse(target, [flaw for one in sweeps for flaw in sweep_flaws(one)])
    out = out or files.results_root() / "submission"
    packed = []
    for hardware in sorted({one.hardware for one in sweeps}):
        path = out / f"{files.slug(hardware)}.csv"
        table = swept.as_csv(*(one for one in sweeps if one.hardware == hardware))
        files.write_atomic(path, table)
        packed.append(path)
    return packed


def sweep_flaws(found: Sweep) -> list[Flaw]:
    """Every reason to refuse the rows of a machine: each is a model of the study with costs above 0, or a
    failure that is named; energies are those of a power that there is; and there are enough of them."""
    flaws = [
        Flaw("sweep", model, column, f"{row.get(column)!r}, expected {expected}")
        for model, row in found.rows.items()
        for column, expected in _unsound(row, found)
    ]
    ok = sum(row["status"] == "ok" for row in found.rows.values())
    if ok < LEAST_SWEPT:
        told = f"{ok} models measured under {found.conditions.name}, expected at least {LEAST_SWEPT}"
        flaws.append(Flaw("sweep", None, None, told))
    return flaws


def _unsound(row: Record, found: Sweep) -> Iterator[tuple[str, str]]:
    """Columns of a row of a sweep that cannot be right, each with what was expected."""
    if row["model"] not in model_space():
        yield "model", "a model of the study"
    if swept.conditions_in(row) != found.conditions:
        yield "image_size", f"the conditions {found.conditions.name}"
    for column in ("hardware", "software", "measured_at"):
        if not row.get(column):
            yield column, "what it was measured on, with and when"
    if row["status"] != "ok":
        if row.get("failure") not in FAILURES:
            yield "failure", f"one of {', '.join(FAILURES)}"
        return
    clock = swept.clock(row)
    seconds = {name: row.get(f"{name}{clock}_time_s") for name in ("step", "eval")}
    above = {f"{name}{clock}_time_s": value for name, value in seconds.items()}
    for column, value in {**above, "peak_memory_bytes": row.get("peak_memory_bytes")}.items():
        if not (isinstance(value, int | float) and value > 0):
            yield column, "above 0"
            return
    for name in ("step", "eval"):
        wh = row.get(f"{name}_energy_wh")
        if (wh is None) != (row.get("energy_source") is None):
            yield f"{name}_energy_wh", "a value where an energy source is named, and only there"
        elif wh is not None and not 0 < wh * 3600 / seconds[name] < MOST_W:
            most_wh = MOST_W * seconds[name] / 3600
            limit = f"{MOST_W:.0f} W over {seconds[name]:.3g} s, which is {most_wh:.3g} Wh"
            yield f"{name}_energy_wh", f"a power above 0 and below {limit}"


def _schema_flaws(results: Results, records: list[Record]) -> Iterator[Flaw]:
    """Runs that belong to no profile that ships, or that do not say how they were made."""
    if results.profile not in study_profile.profile_names():
        known = ", ".join(study_profile.profile_names())
        yield Flaw("profile", None, None, f"{results.profile!r} is none of the profiles that ship: {known}")
        return
    if not any(record["status"] == "ok" for record in records):
        yield Flaw("no_result", None, "status", "no run ended well")
    of_any_seed = study_profile.restrict(study_profile.load(results.profile), seeds=[0])
    for record in records:
        spec = RunSpec.from_dict(record)
        grid = {replace(known, seed=0, split=0) for known in study_profile.grid(of_any_seed, spec.device)}
        if replace(spec, seed=0, split=0) not in grid:
            yield Flaw("not_in_profile", record["run_id"], None, f"no run of the profile {results.profile}")
        for name in ("hardware", "software"):
            if not record.get(name):
                yield Flaw("provenance", record["run_id"], name, "empty")
        if record["status"] == "ok":
            environment = record.get("environment") or {}
            missing = [name for name in ("packages", "python", "platform") if not environment.get(name)]
            missing += ["data_sha256"] if not record.get("data_sha256") else []
            starts_from_weights = record["pretrained"] or record.get("init_from")
            starts_from_weights = starts_from_weights and record["model"] not in BASELINES
            missing += ["weights_sha256"] if starts_from_weights and not record.get("weights_sha256") else []
            for name in missing:
                yield Flaw("provenance", record["run_id"], name, "empty")


def _audit_flaws(results: Results) -> Iterator[Flaw]:
    for finding in audit.audit_file(results.folder / "results.csv"):
        if finding.severity != NOTE and finding.check not in HONEST_OUTCOMES:
            run = " in ".join(filter(None, [finding.model, finding.setting]))
            yield Flaw(finding.check, run or None, ", ".join(finding.columns), finding.explanation)
