"""The folder of a study: one record a run, written whole or not at all, and its predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pepr.errors import InputError
from pepr.files import whole_file, write_atomic
from pepr.runs.columns import Record


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

    def weights_path(self, run_id: str) -> Path:
        """Where the network of a run is kept that other runs start from."""
        return self.folder / "weights" / f"{run_id}.safetensors"

    def notebook_path(self, run_id: str) -> Path:
        return self.folder / "notebooks" / f"{run_id}.ipynb"

    def write_predictions(
        self, run_id: str, probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
    ) -> None:
        """Test probabilities [n_test, classes] as float32, labels [n_test] and groups [n_test] of one run."""
        arrays = {"probabilities": probabilities.astype(np.float32), "labels": labels.astype(np.int64)}
        if groups is not None:
            arrays["groups"] = numbered(groups)
        with whole_file(self.predictions_path(run_id)) as stream:
            np.savez_compressed(stream, **arrays)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the record of a run that ended; from then on the run is done.

        It is given a digest of its run's predictions, which are written before it, and one of itself, so
        that `pepr verify` finds a number that was altered.
        """
        record = dict(record)
        if record["status"] == "ok" and self.predictions_path(record["run_id"]).exists():
            arrays = read_predictions(self.predictions_path(record["run_id"]))
            record["predictions_sha256"] = predictions_digest(*arrays)
        record["record_sha256"] = record_digest(record)
        text = json.dumps(record, indent=1, sort_keys=False, allow_nan=False)
        write_atomic(self.record_path(record["run_id"]), text + "\n")

    def read_record(self, run_id: str) -> Record | None:
        path = self.record_path(run_id)
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: not a record: {error}; delete the file to repeat this run") from None

    def records(self) -> Iterator[Record]:
        """Every record of the profile, by run_id."""
        for path in sorted((self.folder / "runs").glob("[!.]*.json")):  # without what macOS puts beside files
            record = self.read_record(path.stem)
            if record is not None:
                yield record


def read_predictions(path: Path, prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Test probabilities [n_test, classes] and labels [n_test] of one run, from its own file, or from one of
    several runs, whose names there begin with a `prefix`."""
    with np.load(path, allow_pickle=False) as archive:
        return archive[f"{prefix}probabilities"], archive[f"{prefix}labels"]


def read_groups(path: Path, prefix: str = "") -> np.ndarray | None:
    """Groups [n_test] of a run's test images, as `read_predictions`; None where its dataset names none."""
    with np.load(path, allow_pickle=False) as archive:
        return archive.get(f"{prefix}groups")


def numbered(groups: np.ndarray) -> np.ndarray:
    """Groups [n] by any names as numbers from 0."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int32)


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
