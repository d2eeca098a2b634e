"""Time the models of a study in turn: several rounds in random order, a few training steps of each at a time.

The runs of a study are made one after the other, and a machine changes meanwhile; in rounds whatever changes
meets all models. As many processes go on side by side as runs do, each with rounds of its own, so that a step
has the company that it had in the study. What comes of it is read by `pepr.analysis.ranked`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from pepr.analysis.ranked import FEWEST_MODELS
from pepr.errors import InputError, WorkFailed
from pepr.files import results_root, write_atomic
from pepr.machine import cores, description
from pepr.machine.cores import worker_environment
from pepr.models.space import BASELINES
from pepr.runs import results, timing
from pepr.runs.spec import RunSpec

ROUNDS = 5
"""At least so many rounds, over all processes."""
CONDITIONS = tuple(name for name in timing.CONDITIONS if name != "hardware")
"""What of a run's specification is a condition of its steps."""
COUNTED = ("round", "place", "process")
"""Columns of whole numbers that a model without a turn has none in."""
WORKER = (sys.executable, "-m", "pepr.cli", "step", "timing-rounds")


def to_time(table: pd.DataFrame, hardware: str) -> list[RunSpec]:
    """What is timed: the networks that have an `ok` run on this hardware, under the conditions that they had;
    on noise, since costs do not depend on the images."""
    done = table[(table["status"] == "ok") & (table["hardware"] == hardware)]
    networks = done[~done["model"].isin(BASELINES)]
    kinds = networks[["model", *CONDITIONS]].drop_duplicates().sort_values(["model", *CONDITIONS])
    return [RunSpec(dataset="noise", setting="noise", **kind) for kind in kinds.to_dict("records")]


def of_profile(
    profile: str, folder: Path | None = None, asked: int | None = None, say: Callable[[str], None] = print
) -> Path:
    """`complete` for the results of a profile, or for a folder of them; `asked` processes go on side by side.

    Raises InputError where there are no results, or too few networks of them ran on this hardware.
    """
    folder, device = folder or results_root() / Path(profile).stem, description.default_device()
    if not (folder / "results.csv").exists():
        raise InputError(f"{folder}: no results.csv, whose networks could be timed")
    path = complete(folder, side_by_side(device, asked), say)
    if path is None:
        raise InputError(f"{folder}: fewer than three networks ran on {description.hardware(device)}")
    return path


def complete(folder: Path, at_once: int, say: Callable[[str], None] = print) -> Path | None:
    """Time the networks of a results folder, or of a shipped reference, that ran on this hardware, and write
    `timing.csv` beside them; the checksums of a reference with it. Returns the path.

    All are timed, since only what is timed together can be compared; nothing is where a timing of all of
    them, with as many side by side, is there, those that it could not time included. None where too few
    networks ran on this hardware for a comparison. Raises WorkFailed where no model could be timed.
    """
    path, hardware = folder / timing.FILE, description.hardware(description.default_device())
    wanted = to_time(results.read_table(folder / "results.csv"), hardware)
    if len({one.model for one in wanted}) < FEWEST_MODELS:
        return None
    if covers(timing.read(folder, with_failed=True), wanted, hardware, at_once):
        return path
    rows = measure(wanted, at_once, say)
    table = pd.DataFrame(rows, columns=list(timing.COLUMNS)).astype(dict.fromkeys(COUNTED, "Int64"))
    write_atomic(path, table.to_csv(index=False))
    if (folder / "checksums.json").exists():
        results.write_checksums(folder)
    return path


def covers(known: pd.DataFrame | None, wanted: Iterable[RunSpec], hardware: str, at_once: int) -> bool:
    """Whether a timing holds all of them, timed on a machine with `at_once` side by side, or tried there."""
    if known is None:
        return False
    same = known[known["runs_at_once"] == at_once]
    same = same[same["hardware"] == hardware]
    found = set(same[["model", *CONDITIONS]].itertuples(index=False, name=None))
    return all(_kind(one) in found for one in wanted)


def _kind(one: RunSpec) -> tuple[Any, ...]:
    """The model and the conditions of its steps, in the order of `CONDITIONS`."""
    return (one.model, *(getattr(one, name) for name in CONDITIONS))


def measure(wanted: list[RunSpec], at_once: int, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """The rows of a timing: `at_once` processes, each with its share of the rounds.

    A model that fails costs its turns, and is named by `say`; of one without a turn that is left there is a
    row that says so, unless a process was ended before its rounds were over. Raises WorkFailed where no turn
    is left at all.
    """
    rounds = math.ceil(ROUNDS / at_once)
    say(f"{len(wanted)} networks are timed a few steps at a time, {rounds * at_once} rounds in random order.")
    environment = worker_environment(wanted[0].device, at_once)
    told = json.dumps([one.as_dict() for one in wanted])
    workers = [
        subprocess.Popen(
            [*WORKER, str(process * rounds), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        )
        for process in range(at_once)
    ]
    with ThreadPoolExecutor(at_once) as pool:
        try:
            heard = list(pool.map(lambda worker: worker.communicate(told), workers))
        finally:  # who stops the study does not wait for them
            for worker in workers:
                worker.kill()
    rows = []
    for process, (lines, complaints) in enumerate(heard):
        for line in filter(None, complaints.splitlines()):
            say(line)
        of_all = {"process": process, "runs_at_once": at_once}
        rows += [json.loads(line) | of_all for line in lines.splitlines()]
    if not rows:
        raise WorkFailed("no model could be timed: the lines before say why")
    if not any(worker.returncode for worker in workers):
        rows += _failed(wanted, rows, at_once)
    return rows


def _failed(wanted: list[RunSpec], rows: list[dict[str, Any]], at_once: int) -> list[dict[str, Any]]:
    """A row without times for each of the wanted that has none with."""
    timed = {(row["model"], *(row[name] for name in CONDITIONS)) for row in rows}
    return [
        {
            **dict(zip(("model", *CONDITIONS), _kind(one), strict=True)),
            "hardware": description.hardware(one.device),
            "steps": 0,
            "runs_at_once": at_once,
        }
        for one in wanted
        if _kind(one) not in timed
    ]


def side_by_side(device: str, asked: int | None = None) -> int:
    """How many processes time at once: as many as runs go on, one a core; one on a GPU."""
    if asked is not None and asked < 1:
        raise InputError(f"--runs {asked}: at least one process times at a time")
    return (asked or cores.whole()) if device == "cpu" else 1
