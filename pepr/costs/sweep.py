"""Sweep the model space: one training step of every model, measured here, a row as soon as it is done.

What a fine-tuning costs does not depend on what the network learns. From a step follows a run, and from a
sweep the grid.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pepr.costs.model import ACTIVATION_SHARE, OPTIMISER_STATE_BYTES
from pepr.costs.swept import (
    COLUMNS,
    Conditions,
    Sweep,
    as_csv,
    line,
    mean_row,
    read_rows,
    rows_path,
)
from pepr.errors import InputError, classify
from pepr.files import check_writable, write_atomic
from pepr.machine import cores
from pepr.machine.cores import worker_environment
from pepr.models import atlas
from pepr.models.space import model_space
from pepr.runs.first import FirstRows

IMAGE_SIZE = {"cpu": 64, "cuda": 256}
VISITS = {"cpu": 2, "cuda": 1}
"""How often a model is measured, in another order each time: the pace of a processor drifts within minutes,
by as much as models differ, and a whole run meets all of it."""
LONG_VISIT_S = 12.0
"""A model whose visit took longer is not visited again: it has met what drifts meanwhile."""
VISITS_OF_A_PROCESS = 16
"""So many share one start: loading the libraries takes longer than most models."""
WORKER = (sys.executable, "-m", "pepr.costs.sweep")
"""Is told its part as JSON, and tells a row a line, and before it measures a model, which (`tell`)."""
POLL_S = 0.2
STEPS_S = 6.0
COMPANY = "resnet18d"
"""What is trained, and not told of, on a core that has nothing left to measure, until all are done."""
LARGEST_BATCH = re.compile(r"largest batch size that fits: (\d+)")
RETRIES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "failed": lambda row: row["status"] != "ok",
    "contended": lambda row: bool(row.get("contended")),
}
"""Which rows are measured anew when `sweep` is asked to, in the words that `pepr reproduce` has for runs."""


def conditions_of(device: str | None, image_size: int | None, batch_size: int, precision: str) -> Conditions:
    """Conditions with what this machine has where nothing is said: 64 px on a CPU, 256 px on a GPU.

    Raises InputError for a device that cannot be used here, and for numbers that are no batch and no size.
    """
    from pepr.machine import description

    device = description.chosen_device(device)
    size = image_size or IMAGE_SIZE["cpu" if device == "cpu" else "cuda"]
    if size < 1 or batch_size < 2:
        raise InputError(f"image size {size}, batch size {batch_size}: expected at least 1 and 2")
    if precision not in ACTIVATION_SHARE:
        raise InputError(f"precision {precision!r}: expected one of {', '.join(ACTIVATION_SHARE)}")
    if precision == "tf32" and not device.startswith("cuda"):
        raise InputError("precision 'tf32': only NVIDIA GPUs multiply so; expected fp32, bf16 or fp16")
    return Conditions(device, size, batch_size, precision)


def sweep(
    conditions: Conditions,
    models: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
    folder: Path | None = None,
    at_once: int | None = None,
    limit_s: float = STEPS_S,
    *,
    retry: str | None = None,
) -> Sweep:
    """Measure a step of every model that has no row yet, and return the rows of all.

    A row is on disk as soon as it is measured; what was killed goes on where it stopped. A model that fails
    is a row that says why. As a study carries out its runs, so many processes go on side by side as there
    are cores, or one on a GPU: a step takes longer beside another one. `at_once` says otherwise. Rows that
    another machine left, or that were measured with another number side by side, are not of this sweep, and
    stay as they are. A model is visited a few times (`VISITS`); one whose steps do not agree is given up on
    after `limit_s` seconds of them in all. `retry` measures models anew that `failed`, or whose rows are
    `contended`: the last row of a model counts.

    Raises InputError for a model that is not known or cannot take the size.
    """
    from pepr.machine import description

    at_once = at_once or (cores.whole() if conditions.device == "cpu" else 1)
    wanted = wanted_models(models, conditions.image_size)
    if not models and (left_out := [name for name in model_space() if name not in wanted]):
        size, names = conditions.image_size, ", ".join(left_out)
        say(f"{len(left_out)} models do not take {size} px and are left out: {names}")
    path = rows_path(conditions, folder)
    hardware = description.hardware(conditions.device)
    rows = read_rows(path, hardware=hardware, runs_at_once=at_once)
    if retry:
        rows = {model: row for model, row in rows.items() if not RETRIES[retry](row)}
    left = [model for model in wanted if model not in rows]
    if left:
        say(f"{len(left)} of {len(wanted)} models to measure; rows go to {path}")
    done, began = 0, time.monotonic()
    sound = any(row["status"] == "ok" for row in rows.values())
    measuring = contextlib.closing(_measured(left, conditions, at_once, limit_s))
    with _appending(path) as append, measuring as measured:
        first = FirstRows(append, len(left), sound)
        for row in measured:
            row["runs_at_once"] = at_once
            first.add(row)
            rows[row["model"]] = row
            done += 1
            remaining = (time.monotonic() - began) / done * (len(left) - done)
            say(f"[{len(wanted) - len(left) + done}/{len(wanted)}, {_minutes(remaining)} left] {line(row)}")
    found = Sweep(conditions, {model: rows[model] for model in wanted if model in rows})
    write_atomic(path.with_suffix(".csv"), as_csv(found))
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def wanted_models(asked: Sequence[str] | None, image_size: int) -> list[str]:
    """The models asked for, else all that take the size, in the order of the space. Raises InputError for a
    name that is not known and for one that cannot take the size."""
    space = model_space()
    unknown = sorted(set(asked or ()) - set(space))
    if unknown:
        raise InputError(f"no model {', '.join(unknown)} in the study; `pepr models` lists them")
    refused = sorted(name for name in asked or () if not space[name].accepts(image_size))
    if refused:
        raise InputError(f"{', '.join(refused)} cannot take {image_size} px images")
    return [name for name in asked or space if space[name].accepts(image_size)]


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Adds rows to the file, each on disk before the next is measured; a torn line before them is ended."""
    check_writable(path.parent)
    with path.open("ab+") as stream:
        torn = stream.tell() and not path.read_bytes().endswith(b"\n")

        def append(row: dict[str, Any]) -> None:
            nonlocal torn
            text = json.dumps(row, allow_nan=False)
            stream.write((("\n" if torn else "") + text + "\n").encode())
            torn = False
            stream.flush()
            os.fsync(stream.fileno())

        yield append


def _measured(
    models: Sequence[str], conditions: Conditions, at_once: int, limit_s: float
) -> Iterator[dict[str, Any]]:
    """The rows of models, as their processes tell them; one that dies costs the model that it was at.

    Some processes begin with the smallest models, the others with the largest, so that the largest never
    meet. A core that has nothing left to measure is kept as busy as the others.
    """
    waiting = sorted(models, key=functools.partial(forecast_bytes, conditions=conditions))
    workers: list[_Worker] = []
    try:
        while waiting or any(not worker.company for worker in workers):
            while len(workers) < at_once:
                workers.append(next_worker(waiting, workers, conditions, at_once, limit_s))
            for worker in list(workers):
                row = worker.next_row()
                if row is not None and not worker.company:
                    yield row
                elif worker.ended:
                    workers.remove(worker)
                    if not worker.company:
                        yield from worker.lost_row()
                        waiting += worker.models
            time.sleep(POLL_S)
    finally:
        for worker in workers:
            worker.stop()


def next_worker(
    waiting: list[str], workers: Sequence[_Worker], conditions: Conditions, at_once: int, limit_s: float
) -> _Worker:
    """A process for the next few of `waiting`, which are taken out of it: from its other end than most of
    `workers` have theirs from. Where none is left, one that keeps company."""
    if not waiting:
        return _Worker([COMPANY], conditions, at_once, limit_s, company=True)
    share = max(VISITS_OF_A_PROCESS // visits_on(conditions.device), 1)
    count = min(share, math.ceil(len(waiting) / at_once))
    largest = sum(worker.largest for worker in workers) < len(workers) / 2
    part = slice(-count, None) if largest else slice(0, count)
    taken = waiting[part]
    del waiting[part]
    return _Worker(taken, conditions, at_once, limit_s, largest=largest)


def visits_on(device: str) -> int:
    """How often a model is measured on a device."""
    return VISITS["cpu" if device == "cpu" else "cuda"]


def forecast_bytes(model: str, conditions: Conditions) -> float:
    """About what a step of a model holds, by the shapes of its tensors; 0 where they are not known."""
    entry = atlas.read().get((model, conditions.image_size))
    if entry is None:
        return 0.0
    state = (4 + OPTIMISER_STATE_BYTES["adam"]) * entry.fine_tuned_params
    return state + conditions.batch_size * entry.working_bytes_per_image


class _Worker:
    """A process that measures a few models and tells of each in a line, `models` being those not told of.

    `largest` says that they were taken from the largest, `company` that what it tells counts for nothing, and
    `at` which model it was measuring when it last told.
    """

    def __init__(
        self,
        models: list[str],
        conditions: Conditions,
        at_once: int,
        limit_s: float,
        *,
        largest: bool = False,
        company: bool = False,
    ):
        self.models, self.conditions = models, conditions
        self.largest, self.company = largest, company
        self.at: str | None = None
        part = {"models": models, "conditions": dataclasses.asdict(conditions), "limit_s": limit_s}
        environment = worker_environment(conditions.device, at_once)
        self.process = subprocess.Popen([*WORKER, json.dumps(part)], stdout=subprocess.PIPE, env=environment)
        os.set_blocking(self.process.stdout.fileno(), False)
        self._text = b""

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None and b"\n" not in self._text

    def next_row(self) -> dict[str, Any] | None:
        """The next row that the process has told, if there is one."""
        exited = self.process.poll() is not None
        with contextlib.suppress(BlockingIOError):
            self._text += self.process.stdout.read() or b""
        if b"\n" not in self._text:
            if exited:
                self._text = b""
            return None
        text, _, self._text = self._text.partition(b"\n")
        row = json.loads(text)
        if "at" in row:
            self.at = row["at"]
            return None
        self.models.remove(row["model"])
        return row

    def lost_row(self) -> Iterator[dict[str, Any]]:
        """The row of the model at which the process died, if it did not do all of its models."""
        if self.models:
            lost = self.at if self.at in self.models else self.models[0]
            self.models.remove(lost)
            yield _killed_row(lost, self.conditions, self.process.returncode)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def failed_row(model: str, conditions: Conditions, failure: str, explanation: str) -> dict[str, Any]:
    """The row of a model that could not be measured."""
    fitting = LARGEST_BATCH.search(explanation)
    return _row(
        model,
        conditions,
        status="failed",
        failure=failure,
        explanation=explanation,
        largest_batch_size=int(fitting[1]) if fitting else None,
    )


def _raised_row(model: str, conditions: Conditions, error: Exception) -> dict[str, Any]:
    """The row of a model that an error ended."""
    failure = classify(type(error).__name__, str(error))
    return failed_row(model, conditions, failure, f"{type(error).__name__}: {error}")


def _killed_row(model: str, conditions: Conditions, status: int) -> dict[str, Any]:
    """The row of a model whose process ended without a word; what is killed has mostly been too large."""
    how = f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
    kind = "out_of_memory" if status == -signal.SIGKILL else "error"
    return failed_row(model, conditions, kind, f"its process ended by {how}")


def _row(model: str, conditions: Conditions, **values: Any) -> dict[str, Any]:
    from pepr.machine import description

    return (
        dict.fromkeys(COLUMNS)
        | dataclasses.asdict(conditions)
        | {
            "model": model,
            "hardware": description.hardware(conditions.device),
            "software": description.software(),
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        | values
    )


def measure_models(
    models: Sequence[str],
    conditions: Conditions,
    limit_s: float = STEPS_S,
    visits: int = 1,
    begin: Callable[[str], None] = lambda model: None,
) -> Iterator[dict[str, Any]]:
    """The row of each model, measured in this process; whatever a model does becomes its row.

    The models are gone through `visits` times, in another order each time, so that a row is the mean of all
    visits (`mean_row`), and `limit_s` is for all of them; `begin` is told of each. A model that failed is not
    visited again, nor is one that takes long (`LONG_VISIT_S`). On a CPU each is measured in a fork of this
    process: resident memory is that of a process, which keeps what a model has left behind. A GPU's allocator
    counts each model by itself, and CUDA cannot be forked.
    """
    from pepr.machine.meter import open_meter
    from pepr.training import steps

    try:
        steps.prepare(conditions.device)
        meter = open_meter(conditions.device)
    except Exception as error:
        yield from (_raised_row(model, conditions, error) for model in models)
        return
    measured = _in_a_fork if conditions.device == "cpu" and hasattr(os, "fork") else _measure
    found: dict[str, list[dict[str, Any]]] = {model: [] for model in models}
    for visit in range(visits):
        for model in random.Random(visit).sample(list(found), len(found)) if visits > 1 else models:
            begin(model)
            began = time.monotonic()
            row = measured(model, conditions, meter, limit_s / visits)
            found[model].append(row)
            if row["status"] != "ok":
                del found[model]
                yield row
            elif visit + 1 == visits or time.monotonic() - began > LONG_VISIT_S:
                yield mean_row(found.pop(model))


def _in_a_fork(model: str, conditions: Conditions, meter: Any, limit_s: float) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sending.send(_measure(model, conditions, meter, limit_s)))
    child.start()
    sending.close()
    try:
        row = receiving.recv()
    except EOFError:  # it ended before it could tell
        row = None
    child.join()
    return row or _killed_row(model, conditions, child.exitcode)


def _measure(model: str, conditions: Conditions, meter: Any, limit_s: float) -> dict[str, Any]:
    from pepr.runs.spec import RunSpec
    from pepr.training import steps

    try:
        spec = RunSpec(model, "noise", "noise", **dataclasses.asdict(conditions))
        found = steps.measure_steps(spec, dataclasses.replace(meter, windows={}), limit_s)
    except Exception as error:
        return _raised_row(model, conditions, error)
    return _row(model, conditions, status="ok", sweeps=1, **dataclasses.asdict(found))


def tell(part: str) -> None:
    """Measure the `models` of a part, which is JSON, under its `conditions`, each for `limit_s` at most."""
    asked = json.loads(part)
    conditions = Conditions(**asked["conditions"])
    rows = measure_models(
        asked["models"],
        conditions,
        asked["limit_s"],
        visits_on(conditions.device),
        lambda model: print(json.dumps({"at": model}), flush=True),
    )
    for row in rows:
        print(json.dumps(row, allow_nan=False), flush=True)


if __name__ == "__main__":
    tell(sys.argv[1])
