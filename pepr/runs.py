"""A run: its specification, its identity, its record on disk, and the table of many runs."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pepr.errors import InputError

if TYPE_CHECKING:
    import pandas as pd  # half of what the process around a run would load, which makes no table

COLUMNS = (
    "run_id",
    "model",
    "dataset",
    "setting",
    "fidelity",
    "pretrained",
    "train_fraction",
    "seed",
    "image_size",
    "batch_size",
    "epochs",
    "learning_rate",
    "precision",
    "device",
    "num_params",
    "n_train",
    "n_val",
    "n_test",
    "status",
    "failure",
    "test_accuracy",
    "test_accuracy_last_epoch",
    "test_balanced_accuracy",
    "test_auroc",
    "val_accuracy",
    "best_epoch",
    "energy_kwh",
    "energy_cpu_kwh",
    "energy_gpu_kwh",
    "energy_ram_kwh",
    "energy_source",
    "energy_validation_kwh",
    "energy_inference_kwh",
    "idle_power_w",
    "power_limit_w",
    "co2eq_g",
    "carbon_intensity_g_per_kwh",
    "train_time_s",
    "train_cpu_time_s",
    "inference_time_s",
    "epoch_time_s_first",
    "epoch_time_s_median",
    "peak_memory_bytes",
    "memory_source",
    "contended",
    "software",
    "hardware",
    # Beyond the design's list, appended so that its order holds.
    "test_sensitivity",
    "test_specificity",
    "test_majority_rate",
    "constant_predictor",
    "validation_time_s",
    "wall_time_s",
    "data_status",
    "weights",
    "largest_batch_size",
)
"""Columns of `results.csv`, in order. Empty means not measured; it never means zero."""

LATER_COLUMNS = ("largest_batch_size",)
"""Columns that tables written before them lack: empty there."""

TEXT_COLUMNS = (
    "run_id",
    "model",
    "dataset",
    "setting",
    "fidelity",
    "precision",
    "device",
    "status",
    "failure",
    "energy_source",
    "memory_source",
    "software",
    "hardware",
    "data_status",
    "weights",
)
FLAG_COLUMNS = ("pretrained", "contended", "constant_predictor")
COUNT_COLUMNS = (
    "seed",
    "image_size",
    "batch_size",
    "epochs",
    "num_params",
    "n_train",
    "n_val",
    "n_test",
    "best_epoch",
    "peak_memory_bytes",
    "largest_batch_size",
)

FAILURES = (
    "out_of_memory",
    "diverged",
    "model_unavailable",
    "data_unavailable",
    "timeout",
    "kernel_died",
    "meter_failed",
    "error",
)


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the result of one fine-tuning run.

    `train_fraction` is a fraction of the training split in (0, 1]; `image_size` is in pixels.
    """

    model: str
    dataset: str
    setting: str
    fidelity: str = "study"
    pretrained: bool = False
    train_fraction: float = 1.0
    seed: int = 0
    image_size: int = 64
    batch_size: int = 32
    epochs: int = 3
    learning_rate: float = 5e-4
    precision: str = "fp32"
    device: str = "cpu"

    @property
    def run_id(self) -> str:
        """`<dataset>-<setting>-<model>-s<seed>-<8 hex>`; the hash is of the canonical specification."""
        canonical = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        return f"{self.dataset}-{self.setting}-{self.model}-s{self.seed}-{digest}"

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """The specification inside a record, a profile's grid or a notebook's parameters."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: values[name] for name in names if name in values})


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose file appears whole or not at all: temporary file in the same folder, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@dataclass(frozen=True)
class Store:
    """The runs of one profile on this machine: `<root>/<profile>/{runs,predictions,notebooks}`."""

    root: Path
    profile: str

    @property
    def folder(self) -> Path:
        return self.root / self.profile

    def record_path(self, run_id: str) -> Path:
        return self.folder / "runs" / f"{run_id}.json"

    def predictions_path(self, run_id: str) -> Path:
        return self.folder / "predictions" / f"{run_id}.npz"

    def notebook_path(self, run_id: str) -> Path:
        return self.folder / "notebooks" / f"{run_id}.ipynb"

    def write_predictions(self, run_id: str, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Test probabilities [n_test, classes] as float32 and labels [n_test] of one run."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, probabilities=probabilities.astype(np.float32), labels=labels.astype(np.int64)
        )
        write_atomic(self.predictions_path(run_id), buffer.getvalue())

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the record of a run that ended; from then on the run is done.

        It is given a digest of its run's predictions, which are written before it, and one of itself, so
        that `pepr verify` finds a number that was altered.
        """
        record = dict(record)
        if record["status"] == "ok" and self.predictions_path(record["run_id"]).exists():
            arrays = _read_predictions(self.predictions_path(record["run_id"]))
            record["predictions_sha256"] = predictions_digest(*arrays)
        record["record_sha256"] = record_digest(record)
        text = json.dumps(record, indent=1, sort_keys=False, allow_nan=False)
        write_atomic(self.record_path(record["run_id"]), text + "\n")

    def read_record(self, run_id: str) -> dict[str, Any] | None:
        path = self.record_path(run_id)
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: not a record: {error}; delete the file to repeat this run") from None

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record of the profile, by run_id."""
        for path in sorted((self.folder / "runs").glob("*.json")):
            record = self.read_record(path.stem)
            if record is not None:
                yield record


def _read_predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return archive["probabilities"], archive["labels"]


def predictions_digest(probabilities: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of probabilities [n_test, classes] and labels [n_test], however they are packed."""
    digest = hashlib.sha256(repr(probabilities.shape).encode())
    digest.update(np.ascontiguousarray(probabilities, dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    return digest.hexdigest()


def record_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its own digest, however its keys are ordered and its file is laid out."""
    content = {key: value for key, value in record.items() if key != "record_sha256"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def as_table(records: Iterator[Mapping[str, Any]] | list[Mapping[str, Any]]) -> pd.DataFrame:
    """The results table of records: one row a run, sorted by run_id, the columns of `COLUMNS`."""
    import pandas as pd

    rows = [{column: record.get(column) for column in COLUMNS} for record in records]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("run_id", ignore_index=True)
    return _typed(table)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    for column in COLUMNS:
        if column in TEXT_COLUMNS:
            table[column] = table[column].astype("string")
        elif column in FLAG_COLUMNS:
            table[column] = table[column].astype("boolean")
        elif column in COUNT_COLUMNS:
            table[column] = table[column].astype("Int64")
        else:
            table[column] = pd.to_numeric(table[column]).astype("float64")
    return table


def collect(store: Store) -> pd.DataFrame:
    """Write `results.csv` from the records of a profile, and return it."""
    table = as_table(list(store.records()))
    write_atomic(store.folder / "results.csv", table.to_csv(index=False))
    return table


def read_table(path: Path) -> pd.DataFrame:
    """A `results.csv`, typed. Raises InputError naming the file and the columns that are missing."""
    import pandas as pd

    table = pd.read_csv(path, engine="python")  # the engine whose floats come back to the last digit
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
    """

    profile: str
    origin: str
    folder: Path

    @property
    def table(self) -> pd.DataFrame:
        """One row a run, failed ones included; see `COLUMNS`."""
        return read_table(self.folder / "results.csv")

    def records(self) -> list[dict[str, Any]]:
        """The full records (learning curves, environment), by run_id."""
        if self.origin == "reference":
            lines = (self.folder / "records.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines if line]
        return list(Store(self.folder.parent, self.folder.name).records())

    def predictions(self, run_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Test probabilities [n_test, classes] and labels [n_test] of one `ok` run."""
        if self.origin == "reference":
            with np.load(self.folder / "predictions.npz", allow_pickle=False) as archive:
                return archive[f"{run_id}/probabilities"], archive[f"{run_id}/labels"]
        return _read_predictions(Store(self.folder.parent, self.folder.name).predictions_path(run_id))


def results_root() -> Path:
    """Where this machine's results live.

    `$PEPR_RESULTS`, else `results/` of the nearest folder upwards that is a checkout of this project,
    else `results/` in the working directory.
    """
    if os.environ.get("PEPR_RESULTS"):
        return Path(os.environ["PEPR_RESULTS"]).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "workflow" / "Snakefile").exists() and (folder / "pepr").is_dir():
            return folder / "results"
    return here / "results"


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
    raise InputError(
        f"no results for profile {profile!r}: neither {own}/results.csv nor a shipped reference; "
        f"run `make reproduce PROFILE={profile}`"
    )


def write_reference(results: Results, folder: Path, records: list[dict[str, Any]] | None = None) -> None:
    """Pack finished runs (default: all) into the three small files of a shipped reference, with checksums."""
    records = results.records() if records is None else records
    arrays: dict[str, np.ndarray] = {}
    for record in records:
        if record["status"] == "ok":
            probabilities, labels = results.predictions(record["run_id"])
            arrays[f"{record['run_id']}/probabilities"] = probabilities.astype(np.float32)
            arrays[f"{record['run_id']}/labels"] = labels.astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, sort_keys=False, allow_nan=False) for record in records]
    write_atomic(folder / "records.jsonl", "\n".join(lines) + "\n")
    write_atomic(folder / "results.csv", as_table(records).to_csv(index=False))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(folder / "predictions.npz", buffer.getvalue())
    write_atomic(folder / "checksums.json", json.dumps(checksums(folder), indent=1) + "\n")


REFERENCE_FILES = ("predictions.npz", "records.jsonl", "results.csv")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a shipped reference."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in REFERENCE_FILES}
