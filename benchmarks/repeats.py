"""`python -m benchmarks.repeats`: runs of `pocket`'s reference once more, with one thing changed.

As they are; with the instructions that one library, or all of them, would have on another processor; with
another seed. What came out stands beside the reference in `pepr/reference/repeats.csv`, which
`pepr.analysis.machines` reads. A row that is there is not made again: delete it, or the file.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pepr.analysis.machines import AS_RECORDED, REPEATS, SEED, read_repeats
from pepr.files import write_atomic
from pepr.machine import description
from pepr.machine.cores import KERNEL_ENVIRONMENT
from pepr.runs.results import Results, reference_folder
from pepr.runs.spec import RunSpec

QUICK = {
    "elpv_pt_small": ("mobilenetv2_100",),
    "elpv_small": ("mobilenetv2_100",),
    "elpv": ("mobilenetv2_050",),
}
MORE = {
    "elpv_pt_small": ("tf_efficientnet_lite0", "mobilenetv2_100"),
    "elpv_small": ("tf_efficientnet_lite0", "mobilenetv2_100"),
    "elpv": ("pca_svm", "mobilenetv2_050", "dla46_c", "mobilenetv2_100"),
    "elpv_pt": ("mobilenetv2_100", "tf_efficientnet_lite0"),
}
"""Models by setting: the baseline of the claims and the quickest networks of each."""


@dataclass(frozen=True)
class Change:
    """What the environment of a repeated run has besides, its seed, and the models of each setting."""

    models: Mapping[str, tuple[str, ...]]
    environment: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
"""ATen has torch's own operations, oneDNN its convolutions, MKL its products of matrices, OpenBLAS those of
NumPy, and each takes the best instructions that it finds unless it is told not to."""
CHANGES = {
    AS_RECORDED: Change(MORE),
    "all libraries: AVX2": Change(MORE, AVX2),
    "oneDNN alone: AVX2": Change(QUICK, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "ATen alone: AVX2": Change(QUICK, {"ATEN_CPU_CAPABILITY": "avx2"}),
    "ATen alone: default": Change(QUICK, {"ATEN_CPU_CAPABILITY": "default"}),
    SEED: Change(MORE, seed=5),
}
FIRST_SEED = 0
"""The seed whose runs are repeated; the reference has none from 5 on."""


def main() -> int:
    """Make every row that is missing, a process for each change, and write the table after each."""
    reference = Results("pocket", "reference", reference_folder("pocket"))
    done = read_repeats().to_dict("records") if REPEATS.exists() else []
    known = {(row["change"], row["run_id"]) for row in done}
    for name, change in CHANGES.items():
        records = _chosen(reference, change)
        with _process(change.environment) as pool:
            for record in [one for one in records if (name, one["run_id"]) not in known]:
                probabilities, _ = reference.predictions(record["run_id"])
                row = {"change": name, **pool.submit(_again, change.seed, record, probabilities).result()}
                done.append(row)
                write_atomic(REPEATS, pd.DataFrame(done).to_csv(index=False))
                moved = row["test_auroc"] - row["reference_test_auroc"]
                print(f"{name:<22}{row['setting']:<16}{row['model']:<24}{moved:+.4f}", flush=True)
    return 0


def _chosen(reference: Results, change: Change) -> list[Mapping[str, Any]]:
    return [
        record
        for setting, names in change.models.items()
        for record in reference.records()
        if record["setting"] == setting and record["model"] in names and record["seed"] == FIRST_SEED
    ]


def _process(environment: Mapping[str, str]) -> ProcessPoolExecutor:
    """A process whose libraries find `environment` when they are loaded."""
    for name in AVX2:
        os.environ.pop(name, None)
    os.environ.update({**KERNEL_ENVIRONMENT, **environment})
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _again(seed: int, record: Mapping[str, Any], probabilities: np.ndarray) -> dict[str, Any]:
    """A run of the reference made again, and how far it came out from there."""
    from pepr.training.loop import fine_tune

    spec = dataclasses.replace(RunSpec.from_dict(record), seed=seed)
    found = fine_tune(spec, progress=lambda line: None)
    return {
        "run_id": record["run_id"],
        "setting": spec.setting,
        "model": spec.model,
        "split": spec.split,
        "seed": spec.seed,
        "n_test": found.record["n_test"],
        **{name: found.record[name] for name in ("test_auroc", "test_accuracy")},
        **{f"reference_{name}": record[name] for name in ("test_auroc", "test_accuracy")},
        "furthest_probability": float(np.abs(found.probabilities - probabilities).max()),
        "hardware": description.hardware(),
        "software": description.software(),
    }


if __name__ == "__main__":
    sys.exit(main())
