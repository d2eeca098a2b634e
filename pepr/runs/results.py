"""A run: its specification, its identity, its record on disk, and the table of many runs."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pepr.errors import InputError

if TYPE_CHECKING:
    import pandas as pd  # half of what the process around a run would load, which makes no table
from pepr.files import checksum, results_root, write_atomic
from pepr.runs import timing
from pepr.runs.columns import COLUMNS, KINDS, LATER_COLUMNS, Record
from pepr.runs.store import Store, read_groups, read_predictions


def as_table(records: Iterator[Mapping[str, Any]] | list[Mapping[str, Any]]) -> pd.DataFrame:
    """The results table of records: one row a run, sorted by run_id, the columns of `COLUMNS`."""
    import pandas as pd

    rows = [{column: record.get(column) for column in COLUMNS} for record in records]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("run_id", ignore_index=True)
    return _typed(table)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    types = {"text": "string", "flag": "boolean", "count": "Int64"}
    for column, kind in KINDS.items():
        if kind == "number":
            table[column] = pd.to_numeric(table[column]).astype("float64")
        else:
            table[column] = table[column].astype(types[kind])
    return table


def collect(store: Store) -> pd.DataFrame:
    """Write `results.csv` from the records of a profile, and return it."""
    table = as_table(list(store.records()))
    write_atomic(store.folder / "results.csv", table.to_csv(index=False))
    return table


def read_table(path: Path) -> pd.DataFrame:
    """A `results.csv`, typed. Raises InputError naming the file and the columns that are missing."""
    import pandas as pd

    table = pd.read_csv(path, float_precision="round_trip")  # floats come back to the last digit
    for column in LATER_COLUMNS:
        if column not in table.columns:
            table[column] = None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{path}: columns missing: {', '.join(missing)}")
    return _typed(table)


@dataclass(frozen=True)
class Results:
    """The results of one profile: where they come from and how to reach them.

    `origin` is `this machine` or `reference` (the project's own runs, shipped with the package).

    >>> shipped = Results("pocket", "reference", reference_folder("pocket"))
    >>> row = shipped.table.iloc[0]
    >>> probabilities, labels = shipped.predictions(row["run_id"])
    >>> bool(row["test_accuracy"] == (probabilities.argmax(axis=1) == labels).mean())
    True
    """

    profile: str
    origin: str
    folder: Path
    draws: dict[tuple[str, int, int], dict[str, np.ndarray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `pepr.analysis.measures` has resampled of these runs, kept for whoever asks next: draws
    [resamples] by run_id, for a measure, a number of resamples and a seed."""

    @property
    def table(self) -> pd.DataFrame:
        """One row a run, failed ones included; see `COLUMNS`."""
        return read_table(self.folder / "results.csv")

    @property
    def timing(self) -> pd.DataFrame | None:
        """The interleaved timing of its models, one row a turn; None where none was made. See `timing`."""
        return timing.read(self.folder)

    def records(self) -> list[Record]:
        """The full records (learning curves, environment), by run_id."""
        if self.origin == "reference":
            records = (json.loads(line) for _, line in record_lines(self.folder))
            return sorted(records, key=lambda record: record["run_id"])
        return list(Store(self.folder.parent, self.folder.name).records())

    def predictions(self, run_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Test probabilities [n_test, classes] and labels [n_test] of one `ok` run."""
        return read_predictions(*self._stored(run_id))

    def groups(self, run_id: str) -> np.ndarray | None:
        """Groups [n_test] of a run's test images, such as the modules that cells are cut from: images of one
        are not independent. None where the dataset names none, or the run is older than this was kept."""
        return read_groups(*self._stored(run_id))

    def _stored(self, run_id: str) -> tuple[Path, str]:
        """The file with a run's predictions, and how the names of its arrays begin there."""
        if self.origin != "reference":
            return Store(self.folder.parent, self.folder.name).predictions_path(run_id), ""
        path = prediction_archives(self.folder).get(run_id)
        if path is None:
            raise KeyError(f"{self.folder}: no predictions of {run_id}")
        return path, f"{run_id}/"


def reference_folder(profile: str) -> Path:
    return Path(str(resources.files("pepr.reference"))) / profile


def find_results(profile: str) -> Results:
    """The results of a profile: this machine's where there are some, else the shipped reference."""
    own = results_root() / profile
    if (own / "results.csv").exists():
        return Results(profile, "this machine", own)
    shipped = reference_folder(profile)
    if (shipped / "results.csv").exists():
        return Results(profile, "reference", shipped)
    if any((own / "runs").glob("[!.]*.json")):
        raise InputError(
            f"profile {profile!r}: {own / 'runs'} holds records, and no table was made of them; make it by "
            f"`pepr step collect {profile}`"
        )
    raise InputError(
        f"no results for profile {profile!r}: neither {own}/results.csv nor a shipped reference; "
        f"run `make reproduce PROFILE={profile}`"
    )


LARGEST_FILE_BYTES = 1_000_000
"""Beyond which files are divided."""


def write_reference(results: Results, folder: Path, records: list[Record] | None = None) -> None:
    """Pack finished runs (default: all) into the small files of a shipped reference, with checksums; a timing
    of their models goes with them.

    What an earlier reference in the folder had of runs, and this one has not, is removed.
    """
    records = results.records() if records is None else records
    packed = dict(_packed(results, records))
    packed["results.csv"] = as_table(records).to_csv(index=False).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in packed.items():
        write_atomic(folder / name, content)
    for path in reference_files(folder):
        if path.name not in (*packed, timing.FILE):
            path.unlink()
    if (results.folder / timing.FILE).exists():
        write_atomic(folder / timing.FILE, (results.folder / timing.FILE).read_text())
    write_checksums(folder)


def _packed(results: Results, records: list[Record]) -> Iterator[tuple[str, bytes]]:
    """The files of records and predictions, by name."""
    whole = dict(_pair_of_files(results, records, ""))
    if len({record["dataset"] for record in records}) < 2 and _are_small(whole):
        yield from whole.items()
        return
    for setting in sorted({record["setting"] for record in records}):
        of_setting = [record for record in records if record["setting"] == setting]
        files = dict(_pair_of_files(results, of_setting, f"-{setting}"))
        if _are_small(files):
            yield from files.items()
            continue
        for seed in sorted({record["seed"] for record in of_setting}):
            of_seed = [record for record in of_setting if record["seed"] == seed]
            yield from _pair_of_files(results, of_seed, f"-{setting}-s{seed}")


def _are_small(files: Mapping[str, bytes]) -> bool:
    return max(map(len, files.values())) <= LARGEST_FILE_BYTES


def _pair_of_files(results: Results, records: list[Record], mark: str) -> Iterator[tuple[str, bytes]]:
    lines = [json.dumps(record, sort_keys=False, allow_nan=False) for record in records]
    yield f"records{mark}.jsonl", ("\n".join(lines) + "\n").encode()
    arrays: dict[str, np.ndarray] = {}
    for record in records:
        if record["status"] == "ok":
            probabilities, labels = results.predictions(record["run_id"])
            arrays[f"{record['run_id']}/probabilities"] = probabilities.astype(np.float32)
            arrays[f"{record['run_id']}/labels"] = labels.astype(np.uint8)
            if (groups := results.groups(record["run_id"])) is not None:
                arrays[f"{record['run_id']}/groups"] = groups
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    yield f"predictions{mark}.npz", buffer.getvalue()


def reference_files(folder: Path) -> list[Path]:
    """The files of a shipped reference that its checksums are of, by name."""
    return sorted(path for pattern in PACKED for path in folder.glob(pattern))


PACKED = ("predictions*.npz", "records*.jsonl", "results.csv", timing.FILE)
"""The files of a shipped reference. A large one, or one of several datasets, has a file of records and one of
predictions for each setting, such as `records-breast.jsonl`, or for each seed of a large setting."""


def is_reference(folder: Path) -> bool:
    """Whether a folder is laid out like a shipped reference: with its records in few files."""
    return any(folder.glob(PACKED[1]))


def record_lines(folder: Path) -> Iterator[tuple[str, str]]:
    """Every record of a shipped reference as a line of JSON, with the file and line that it stands in."""
    for path in sorted(folder.glob(PACKED[1])):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if line:
                yield f"{path.name}, line {number}", line


def prediction_archives(folder: Path) -> dict[str, Path]:
    """The archive that holds the predictions of each run of a shipped reference, by run_id."""
    found = {}
    for path in sorted(folder.glob(PACKED[0])):
        for run_id in _members(path, path.stat().st_mtime_ns):
            found[run_id] = path
    return found


@functools.lru_cache(maxsize=256)
def _members(archive: Path, written_ns: int) -> tuple[str, ...]:
    """The runs in an archive of predictions, as it was at the time that it was `written_ns`; none where it
    cannot be read."""
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            return tuple(dict.fromkeys(name.rpartition("/")[0] for name in arrays.files))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return ()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a shipped reference, a timing of its models among them where there is one."""
    return {path.name: checksum(path) for path in reference_files(folder)}


def write_checksums(folder: Path) -> None:
    """State the checksums of a shipped reference beside its files."""
    write_atomic(folder / "checksums.json", json.dumps(checksums(folder), indent=1) + "\n")
