"""`python -m benchmarks.repeats`: runs of `pocket`'s reference once more, with one thing changed.

As they are; with the instructions that one library, or all of them, would have on another processor; with
another seed. As many go on at once as in the reference, each in a process of its own with one thread, so that
what they take can be compared too. What came out stands beside the reference in `pepr/reference/repeats.csv`,
which `pepr.analysis.machines` reads. A row that is there is not made again, unless it does not say what the
run took, or another program ran beside it: else delete it, or the file.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pepr.analysis.machines import (
    ALL_LIBRARIES,
    AS_RECORDED,
    CIRCUMSTANCES,
    COSTS,
    REPEATS,
    SEED,
    read_repeats,
)
from pepr.display.words import duration
from pepr.errors import InputError, WorkFailed
from pepr.files import write_atomic
from pepr.machine import cores, description
from pepr.runs.columns import Record
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
    ALL_LIBRARIES: Change(MORE, AVX2),
    SEED: Change(MORE, seed=5),
    "oneDNN alone: AVX2": Change(QUICK, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "ATen alone: AVX2": Change(QUICK, {"ATEN_CPU_CAPABILITY": "avx2"}),
    "ATen alone: default": Change(QUICK, {"ATEN_CPU_CAPABILITY": "default"}),
}
FIRST_SEED = 0
"""The seed whose runs are repeated; the reference has none from 5 on."""
KEPT = ("test_auroc", "test_accuracy", *COSTS, *CIRCUMSTANCES)
"""Columns of a run that stand in the table twice: of the repeated run, and of the reference's."""
START_S = 5.0
"""Seconds that a process takes before its run begins, about: it loads torch."""
Key = tuple[str, str]
"""The change and the `run_id` of a repeated run."""
Row = dict[str, Any]
"""A repeated run as the table has it."""


def main(arguments: Sequence[str] = ()) -> int:
    """Make every row that is missing and write the table after each; `again` makes the one run that standard
    input tells of, and prints its row."""
    if list(arguments) == ["again"]:
        print(json.dumps(_again(**json.load(sys.stdin))))
        return 0
    try:
        complete(wanted(Results("pocket", "reference", reference_folder("pocket")).records()))
    except (InputError, WorkFailed) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


def wanted(records: Sequence[Record]) -> dict[Key, Record]:
    """Every run that is repeated, as the reference has it, in the order of the table."""
    return {
        (name, record["run_id"]): record
        for name, change in CHANGES.items()
        for setting, models in change.models.items()
        for record in records
        if record["setting"] == setting and record["model"] in models and record["seed"] == FIRST_SEED
    }


def complete(
    runs: Mapping[Key, Record],
    path: Path = REPEATS,
    make: Callable[[str, Record, int], Row] | None = None,
) -> None:
    """Make the rows that are missing at `path`, the longest of each change first, so that none goes on alone
    at the end. `make` makes one of a change, a record and how many go on at once: else a process of its own.

    Raises InputError where the runs cannot be made as the reference's were, WorkFailed where one fails.
    """
    table = read_repeats(path) if path.exists() else pd.DataFrame()
    rows = {(row["change"], row["run_id"]): row for row in table.to_dict("records")}
    missing = [key for key in runs if not is_whole(rows.get(key, {}))]
    at_once = at_once_of([runs[key] for key in missing])
    missing.sort(key=lambda key: (list(CHANGES).index(key[0]), -runs[key]["wall_time_s"]))
    seconds = sum(runs[key]["wall_time_s"] + START_S for key in missing) / at_once
    print(f"{len(missing)} runs to make, {at_once} at once: about {duration(seconds)}.", flush=True)
    pool = ThreadPoolExecutor(at_once)
    try:
        going_on = {pool.submit(make or _in_a_process, key[0], runs[key], at_once): key for key in missing}
        for ended in as_completed(going_on):
            key, row = going_on[ended], ended.result()
            rows[key] = row
            known = [rows[one] for one in runs if one in rows]
            write_atomic(path, pd.DataFrame(known, columns=list(row)).to_csv(index=False))
            moved = row["test_auroc"] - row["reference_test_auroc"]
            longer = row["train_cpu_time_s"] / row["reference_train_cpu_time_s"] - 1
            print(f"{key[0]:<22}{row['setting']:<16}{row['model']:<24}{moved:+.4f} {longer:+.1%}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row says all of its run, beside which no other program ran."""
    return all(name in row and pd.notna(row[name]) for name in KEPT) and not row["contended"]


def at_once_of(records: Sequence[Record]) -> int:
    """How many runs went on at once where these were made; 1 of none.

    Raises InputError where they differ in that, or where this machine has too few cores for it.
    """
    found = {record["runs_at_once"] for record in records} or {1}
    if len(found) > 1:
        raise InputError(f"runs_at_once of the reference's runs is {found}: what they took does not compare")
    (at_once,) = found
    if at_once > cores.whole():
        raise InputError(
            f"the reference's runs were made {at_once} at once; this machine has {cores.words()}"
        )
    return at_once


def environment_of(change: Change, at_once: int) -> dict[str, str]:
    """The environment of a process whose libraries find what a change says, and no other wish of the user."""
    own = cores.worker_environment("cpu", at_once)
    return {name: value for name, value in own.items() if name not in AVX2} | change.environment


def _in_a_process(name: str, record: Record, at_once: int) -> Row:
    """The row of a run that a process of its own makes. Raises WorkFailed where that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.repeats", "again"],
        input=json.dumps({"name": name, "record": record}),
        env=environment_of(CHANGES[name], at_once),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkFailed(f"{name}, {record['run_id']}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _again(name: str, record: Record) -> Row:
    """A run of the reference made again, and how far it came out from there."""
    from pepr.training.loop import fine_tune

    spec = dataclasses.replace(RunSpec.from_dict(record), seed=CHANGES[name].seed)
    found = fine_tune(spec, progress=lambda line: None)
    reference = Results("pocket", "reference", reference_folder("pocket"))
    probabilities, _ = reference.predictions(record["run_id"])
    return {
        "change": name,
        "run_id": record["run_id"],
        "setting": spec.setting,
        "model": spec.model,
        "split": spec.split,
        "seed": spec.seed,
        "n_test": found.record["n_test"],
        **{column: found.record[column] for column in KEPT},
        **{f"reference_{column}": record[column] for column in KEPT},
        "furthest_probability": float(np.abs(found.probabilities - probabilities).max()),
        "hardware": description.hardware(),
        "software": description.software(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
