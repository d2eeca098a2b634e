"""Recompute whatever follows from the records of a study, and name every number that does not.

A record carries a digest of itself and of its run's predictions; a shipped reference has checksums of its
files. From the records follow the table, most of their own sums, and the analysis; from the predictions
follow the measures of performance.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pepr import datasets, files, published, runs
from pepr.analysis import machines, pipeline, standings
from pepr.display.numbers import FILE_NAME, read_numbers
from pepr.errors import InputError
from pepr.quantities import RESOURCES
from pepr.runs import metrics
from pepr.runs.columns import COLUMNS, LATER_COLUMNS, Record
from pepr.runs.results import Results, is_reference, prediction_archives, record_lines
from pepr.runs.spec import MEASURED_FIDELITIES, RunSpec

RELATIVE_TOLERANCE = 1e-9
"""How far two ways to one number may differ: the order of a sum."""
PROBABILITY_TOLERANCE = 1e-3
MADE_AGAIN = (
    "The records are sound. What was made from them was changed since, or made by another version of this "
    "program: `make book`, or the notebooks 03 and 04, make it again and repeat no run."
)
"""What to do where nothing but the analysis does not hold."""
WINDOW_COLUMNS = {
    "train": ("energy_kwh", "train_time_s"),
    "validation": ("energy_validation_kwh", "validation_time_s"),
    "inference": ("energy_inference_kwh", "inference_time_s"),
}
"""The columns that hold the energy and the time of each window of the meter."""


@dataclass(frozen=True)
class Mismatch:
    """A number that is not what follows from the rest: where it stands, what is there, what should be.

    `row` is a run_id, or the place inside a file; `column` the column or key. `why` says what was compared.
    """

    file: str
    row: str | None
    column: str | None
    found: Any
    expected: Any
    why: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, [self.file, self.row and f"row {self.row}", self.column]))
        return f"{place}: {_shown(self.found)} there, {_shown(self.expected)} expected ({self.why})"


@dataclass
class Verification:
    """What was compared, and every mismatch. `notes` say what could not be compared, and why, and how
    accuracies stand to the reference's."""

    results: Results
    mismatches: list[Mismatch] = field(default_factory=list)
    compared: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def differs(self, *mismatch: Any) -> None:
        """Add a mismatch, by the fields of `Mismatch`."""
        self.mismatches.append(Mismatch(*mismatch))

    @property
    def holds(self) -> bool:
        return not self.mismatches

    def as_json(self) -> str:
        found = {
            **vars(self.results),
            "holds": self.holds,
            "compared": self.compared,
            "notes": self.notes,
            "mismatches": [asdict(mismatch) for mismatch in self.mismatches],
        }
        return json.dumps(found, indent=1, default=str)

    def report(self) -> str:
        """As text for a person."""
        title = f"{self.results.profile} ({self.results.origin}), {self.results.folder}"
        counts = ", ".join(f"{count:,} {what}" for what, count in self.compared.items())
        verdict = (
            f"Every number holds: {counts}."
            if self.holds
            else f"{len(self.mismatches)} do not hold, of {counts}:"
        )
        return "\n".join([title, verdict, *(f"- {mismatch}" for mismatch in self.mismatches), *self.notes])


def locate(target: str) -> Results:
    """The results of a folder (of this machine, or laid out as a reference), or of a shipped reference.

    Raises InputError where there is neither.
    """
    path = Path(target)
    if is_reference(path):
        return Results(path.resolve().name, "reference", path)
    if (path / "runs").is_dir():
        return Results(path.resolve().name, "this machine", path)
    shipped = runs.reference_folder(target) if path.name == target else path
    if is_reference(shipped):
        return Results(target, "reference", shipped)
    raise InputError(
        f"{target}: no results; expected a folder with runs/ or records.jsonl, or the name of a reference"
    )


def verify(target: str) -> Verification:
    """Recompute the table, the measures, the sums and the analysis of a study, and compare.

    Raises InputError where there is nothing to verify; whatever is there and unsound is a mismatch.
    """
    done = Verification(locate(target))
    if done.results.origin == "reference":
        done.mismatches += _checksum_mismatches(done.results.folder)
    records, unreadable = readable_records(done.results)
    done.mismatches += unreadable
    done.compared["records"] = len(records)
    for name, record in records:
        done.mismatches += record_mismatches(name, record)
    _compare_starts(done, records)
    without = sum("record_sha256" not in record for _, record in records)
    if without and done.results.origin != "reference":
        done.notes.append(f"{without} records carry no digest of themselves: only their sums were compared.")
    table = compare_table(done, [record for _, record in records])
    _compare_predictions(done, [record for _, record in records])
    if table is not None and done.holds:
        compare_analysis(done, table)
        if not done.holds:
            done.notes.append(MADE_AGAIN)
        if not table["fidelity"].isin(MEASURED_FIDELITIES).all():
            done.notes += filter(None, [machines.against_reference(done.results), machines.promise(table)])
    elif not done.holds:
        done.notes.append("The analysis was not recomputed, since what it is made from does not hold.")
    return done


def _shown(value: Any) -> str:
    if _is_missing(value):
        return "nothing"
    return repr(value) if isinstance(value, str) else str(value)


def _same(found: Any, expected: Any) -> bool:
    """Equal, or numbers that differ by rounding; what is missing equals what is missing."""
    if _is_missing(found) or _is_missing(expected):
        return _is_missing(found) and _is_missing(expected)
    if isinstance(found, bool) or isinstance(expected, bool):
        return bool(found) == bool(expected)
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return math.isclose(found, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-300)
    return found == expected


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _checksum_mismatches(folder: Path) -> list[Mismatch]:
    try:
        stated = json.loads((folder / "checksums.json").read_text())
        found = runs.checksums(folder)
    except (OSError, ValueError) as error:
        return [Mismatch("checksums.json", None, None, str(error), "a checksum of every file", "reading it")]
    return [
        Mismatch(name, None, None, found.get(name), stated.get(name), "SHA-256 of the file")
        for name in sorted({*found, *stated})
        if found.get(name) != stated.get(name)
    ]


def readable_records(results: Results) -> tuple[list[tuple[str, Record]], list[Mismatch]]:
    """The records with the names of their files (with the line, where one file holds all), and those files
    or lines that hold none."""
    folder, found, unreadable = results.folder, [], []
    if results.origin == "reference":
        texts = list(record_lines(folder))
    else:
        paths = sorted((folder / "runs").glob("[!.]*.json"))
        texts = [(f"runs/{path.name}", path.read_text(errors="replace")) for path in paths]
    for name, text in texts:
        try:
            record = json.loads(text)
            RunSpec.from_dict(record)
            found.append((name, {**dict.fromkeys(("run_id", "status")), **record}))
        except (ValueError, TypeError) as error:
            unreadable.append(Mismatch(name, None, None, str(error), "a record", "reading it"))
    return found, unreadable


def record_mismatches(file: str, record: Mapping[str, Any]) -> Iterator[Mismatch]:
    """What a record says about itself: its digest, its identity, its sums."""
    run_id = record["run_id"]

    def differs(column: str, expected: Any, why: str) -> Iterator[Mismatch]:
        if not _same(record.get(column), expected):
            yield Mismatch(file, run_id, column, record.get(column), expected, why)

    if "record_sha256" in record:
        yield from differs("record_sha256", runs.record_digest(record), "digest of the record")
    yield from differs("run_id", RunSpec.from_dict(record).run_id, "hash of the specification")
    if file.startswith("runs/"):
        yield from differs("run_id", Path(file).stem, "name of the file")
    if record["status"] != "ok":
        return
    try:
        sums = _sums(record)
    except (TypeError, KeyError, AttributeError) as error:
        yield Mismatch(file, run_id, "meter, history", repr(error), "numbers", "their sums")
        return
    for column, (expected, why) in sums.items():
        yield from differs(column, expected, why)


def _compare_starts(done: Verification, records: list[tuple[str, Record]]) -> None:
    """Compare what a run says of the one that it starts from with that one's record, and its network where it
    is kept."""
    by_id = {record["run_id"]: record for _, record in records}
    started = [part for part in records if part[1]["status"] == "ok" and part[1].get("init_from")]
    sources = sorted({record["init_from"] for _, record in started})
    weights = {name: done.results.folder / "weights" / f"{name}.safetensors" for name in sources}
    sums = {name: files.checksum(path) for name, path in weights.items() if path.exists()}
    for file, record in started:
        name, source = record["init_from"], by_id.get(record["init_from"])
        expected = {"weights_sha256": sums[name]} if name in sums else {}
        if source is not None and source["status"] == "ok":
            expected["init_energy_kwh"] = source.get("energy_kwh")
        elif source is not None:
            done.differs(file, record["run_id"], "init_from", source["status"], "ok", f"status of {name}")
        for column, value in expected.items():
            if not _same(record.get(column), value):
                done.differs(file, record["run_id"], column, record.get(column), value, f"that of {name}")
    if absent := [name for name in sources if name not in by_id]:
        done.notes.append(f"Runs that others start from are not here: {', '.join(absent)}.")


def _sums(record: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """What columns of an `ok` record must be by the rest of it, and by which part."""
    out: dict[str, tuple[Any, str]] = {}
    meter, history = record.get("meter") or {}, record.get("history") or []
    for window, (energy, time) in WINDOW_COLUMNS.items():
        if window in meter:
            out[energy] = (meter[window]["energy_kwh"], f"meter.{window}")
            out[time] = (meter[window]["time_s"], f"meter.{window}")
    if "train" in meter:
        for part in ("cpu", "gpu", "ram"):
            out[f"energy_{part}_kwh"] = (meter["train"][f"energy_{part}_kwh"], "meter.train")
        out["train_cpu_time_s"] = (meter["train"]["cpu_time_s"], "meter.train")
    if history:
        times = [epoch["train_time_s"] for epoch in history]
        out["train_time_s"] = (sum(times), "sum over history")
        energies = [epoch["energy_kwh"] for epoch in history]
        out["energy_kwh"] = (None if None in energies else sum(energies), "sum over history")
        out["epoch_time_s_first"] = (times[0], "history")
        out["epoch_time_s_median"] = (float(np.median(times)), "history")
        best = record.get("best_epoch")
        known = isinstance(best, int) and 0 <= best < len(history)
        out["val_accuracy"] = (history[best]["val_accuracy"] if known else None, "history at best_epoch")
        out["epochs"] = (len(history), "epochs in history")
    energy = record.get("energy_kwh")
    for resource in RESOURCES.values():
        factor = record.get(resource.per_kwh)
        if resource.per_kwh and not _is_missing(energy) and not _is_missing(factor):
            out[resource.column] = (energy * factor, f"energy_kwh times {resource.per_kwh}")
    return out


def compare_table(done: Verification, records: list[Record]) -> pd.DataFrame | None:
    """Compare `results.csv` with the table that the records make; None where it cannot be read."""
    path = done.results.folder / "results.csv"
    try:
        found = runs.read_table(path)
    except (InputError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        done.differs(path.name, None, None, reason, "a results table", "reading it")
        return None
    try:
        expected = runs.as_table(records)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        done.differs("the records", None, None, reason, "numbers", "making the table")
        return None
    done.compared["cells"] = expected.size
    if extra := [name for name in found.columns if name not in COLUMNS]:
        done.differs(path.name, None, extra[0], extra, [], "columns of a table")
    for name, table in ((path.name, found), ("the records", expected)):
        for run_id in table.loc[table["run_id"].duplicated(), "run_id"]:
            done.differs(name, run_id, "run_id", "two rows", "one row", "identity")
    found = found.drop_duplicates("run_id").set_index("run_id")
    expected = expected.drop_duplicates("run_id").set_index("run_id")
    for run_id in found.index.symmetric_difference(expected.index):
        there = "a row" if run_id in found.index else None
        done.differs(path.name, str(run_id), None, there, "no row" if there else "a row", "the records")
    both = found.index.intersection(expected.index)
    for column in COLUMNS[1:]:
        here, there = found.loc[both, column], expected.loc[both, column]
        same = (here == there).fillna(False).astype(bool) | (here.isna() & there.isna())
        for run_id in both[~same.to_numpy()]:
            done.differs(path.name, run_id, column, here[run_id], there[run_id], "its record")
    return found


def _compare_predictions(done: Verification, records: list[Record]) -> None:
    """Digests, shapes and ranges of the predictions, and every measure that follows from them."""
    ok = {
        record["run_id"]: record
        for record in records
        if record["status"] == "ok" and record.get("fidelity") not in MEASURED_FIDELITIES
    }
    done.compared["predictions"] = len(ok)
    labels_of: dict[tuple[Any, ...], tuple[str, np.ndarray]] = {}
    for run_id, record in ok.items():
        file = _predictions_file(done.results, run_id)
        try:
            probabilities, labels = done.results.predictions(run_id)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            done.differs(file, run_id, None, str(error), "predictions", "reading it")
            continue
        done.mismatches += _prediction_mismatches(file, record, probabilities, labels)
        key = (record["dataset"], record.get("fidelity"), record.get("split"), len(labels))
        first, known = labels_of.setdefault(key, (run_id, labels))
        if not np.array_equal(known, labels):
            image = int(np.flatnonzero(known != labels)[0])
            place, here, there = f"{run_id}, image {image}", int(labels[image]), int(known[image])
            done.differs(file, place, "labels", here, there, f"label in {first}")
    orphans = sorted(_stored_predictions(done.results) - set(ok))
    if done.results.origin == "reference":
        for run_id in orphans:
            file = _predictions_file(done.results, run_id)
            done.differs(file, run_id, None, "predictions", None, "no `ok` record")
    elif orphans:
        done.notes.append(f"Predictions of runs that did not end: {', '.join(orphans)}.")


def _predictions_file(results: Results, run_id: str) -> str:
    if results.origin != "reference":
        return f"predictions/{run_id}.npz"
    archive = prediction_archives(results.folder).get(run_id)
    return "predictions.npz" if archive is None else archive.name


def _stored_predictions(results: Results) -> set[str]:
    if results.origin != "reference":
        return {path.stem for path in (results.folder / "predictions").glob("[!.]*.npz")}
    return set(prediction_archives(results.folder))


def _prediction_mismatches(
    file: str, record: Mapping[str, Any], probabilities: np.ndarray, labels: np.ndarray
) -> Iterator[Mismatch]:
    run_id = record["run_id"]
    if "predictions_sha256" in record:
        found, stated = runs.predictions_digest(probabilities, labels), record["predictions_sha256"]
        if found != stated:
            yield Mismatch(file, run_id, "predictions", found, stated, "digest in the record")
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        shapes = f"{probabilities.shape} and {labels.shape}"
        yield Mismatch(file, run_id, "predictions", shapes, "[n, classes] and [n]", "shape")
        return
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        yield Mismatch(file, run_id, "labels", int(labels.max()), f"below {probabilities.shape[1]}", "range")
        return
    outside = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    outside |= ~(np.abs(probabilities.sum(axis=1) - 1) < PROBABILITY_TOLERANCE)
    for image in np.flatnonzero(outside)[:3]:
        values = [float(value) for value in probabilities[image]]
        yield Mismatch(file, f"{run_id}, image {image}", "probabilities", values, "a sum of 1", "range")
    declared = datasets.DATASETS.get(record["dataset"])
    ordered = declared is not None and declared.ordered
    made = metrics.performance(probabilities, labels.astype(np.int64), ordered) | {"n_test": len(labels)}
    expected = {
        column: value for column, value in made.items() if column in record or column not in LATER_COLUMNS
    }
    if record.get("best_epoch") == record["epochs"] - 1:
        expected["test_accuracy_last_epoch"] = expected["test_accuracy"]
    for column, value in expected.items():
        if not _same(record.get(column), value):
            yield Mismatch(file, run_id, column, record.get(column), value, "the run's predictions")


def compare_analysis(done: Verification, table: pd.DataFrame) -> None:
    """Compare what the analysis notebooks wrote with the same made again from the records."""
    folder = _analysis_folder(done.results)
    if folder is None or (table["status"] != "ok").all():
        done.notes.append("There is no analysis here to recompute (numbers.json).")
        return
    stored = read_numbers(folder)
    authors = any(key.startswith(standings.PAPER) for key in stored)
    if authors and not published.at_hand():
        authors = False
        stored = {key: entry for key, entry in stored.items() if not key.startswith(standings.PAPER)}
        done.notes.append("The comparison with the authors' tables was not recomputed: they are not at hand.")
    made = pipeline.Analysis(
        done.results,
        stored.get("grid_country", {}).get("value") or pipeline.DEFAULT_COUNTRY,
        published.load().results if authors else None,
    )
    for name, make in made.files.items():
        if (folder / name).exists() and name.endswith(".csv"):
            expected = make()
            found = pd.read_csv(folder / name, float_precision="round_trip")
            done.compared[f"cells of {name}"] = expected.size
            done.mismatches += _csv_mismatches(name, found, expected)
        elif (folder / name).exists():
            done.compared[Path(name).stem] = len(make())
            done.mismatches += _json_mismatches(name, json.loads((folder / name).read_text()), make())
    for source in pipeline.STAGES:
        mine = {key: entry for key, entry in stored.items() if entry.get("source") == source}
        if mine:
            expected = json.loads(json.dumps(made.numbers(source)))
            done.compared[f"numbers of {source}"] = len(expected)
            without_source = {
                key: {name: value for name, value in entry.items() if name != "source"}
                for key, entry in mine.items()
            }
            done.mismatches += _json_mismatches(FILE_NAME, without_source, expected)
    others = sorted({str(entry.get("source")) for entry in stored.values()} - set(pipeline.STAGES))
    if others:
        done.notes.append(f"Numbers of {', '.join(others)} were not recomputed.")


def _analysis_folder(results: Results) -> Path | None:
    """Where the analysis of these results was written: beside them, or, for a shipped reference that this
    machine has no runs of, in this machine's results."""
    folder = results.folder
    if results.origin == "reference" and folder == runs.reference_folder(results.profile):
        folder = files.results_root() / results.profile
        if (folder / "results.csv").exists():
            return None
    return folder if (folder / FILE_NAME).exists() else None


def _csv_mismatches(name: str, found: pd.DataFrame, expected: pd.DataFrame) -> Iterator[Mismatch]:
    if list(found.columns) != list(expected.columns) or len(found) != len(expected):
        yield Mismatch(name, None, None, found.shape, expected.shape, "rows and columns made again")
        return
    for column in expected.columns:
        for row, (here, there) in enumerate(zip(found[column], expected[column], strict=True), start=1):
            if not _same(_plain(here), _plain(there)):
                yield Mismatch(name, str(row), column, here, there, "made again")


def _json_mismatches(name: str, found: Any, expected: Any) -> Iterator[Mismatch]:
    here, there = dict(_leaves(found)), dict(_leaves(expected))
    for place in sorted({*here, *there}):
        if place not in here or place not in there or not _same(_plain(here[place]), _plain(there[place])):
            yield Mismatch(name, place, None, here.get(place), there.get(place), "made again")


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield place, value
    for key, part in items:
        yield from _leaves(part, f"{place}.{key}" if place else str(key))


def _plain(value: Any) -> Any:
    """A number or flag as Python's own; text that holds one too, as it comes out of a CSV."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str) and value in ("True", "False"):
        return value == "True"
    return value
