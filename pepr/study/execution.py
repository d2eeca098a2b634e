"""Carry out a study: one notebook for each run, a record whatever happens, resumable after any death."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pepr import models
from pepr.errors import InputError, MeterError, WorkFailed, classify, is_storage_error
from pepr.files import results_root
from pepr.machine import description, gpu, meter
from pepr.machine.cores import KERNEL_ENVIRONMENT
from pepr.runs.columns import Record
from pepr.runs.record import run_record
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store
from pepr.study import profile as study_profile, progress, recovery
from pepr.study.notebooks import execute_notebook


def run_one(
    profile: study_profile.Profile,
    run_id: str,
    notebook: Path,
    say: Callable[[str], None] = progress.say,
) -> Record:
    """Carry out one run of a profile's grid in a fresh kernel, unless its record exists.

    Returns the record. Nothing that the notebook, its kernel or the machine's memory does to the run
    raises: the record then has status `failed`, the kind of failure and the traceback. Raises InputError
    or WorkFailed, and leaves no record, where the run was not possible: no room on the disk, no kernel.
    """
    specs = study_profile.grid(profile, description.study_device())
    spec = next((spec for spec in specs if spec.run_id == run_id), None)
    if spec is None:
        raise InputError(f"profile {profile.name}: no run {run_id}")
    store, label = Store(results_root(), profile.name), progress.label(spec, specs)
    with recovery.one_at_a_time(store, run_id):
        record = store.read_record(run_id)
        if record is None:
            recovery.check_room(store.folder)
            say(f"{label}{progress.begun(spec)}")
            kept = study_profile.is_source(profile, spec)
            with circumstances(spec, profile, store, say, keep_weights=kept):
                began = time.perf_counter()
                failure = execute_run(spec, profile, notebook, store, label)
                record = store.read_record(run_id)
                if record is None:
                    kind, traceback = failure or ("error", "the notebook ended without a record")
                    record = run_record(
                        spec,
                        description.recorded(spec.device),
                        failure=kind,
                        traceback=traceback,
                        num_params=models.find(spec.model).num_params,
                        wall_time_s=time.perf_counter() - began,
                    )
                    store.write_record(record)
    done = {record["run_id"]: record for record in store.records()}
    at_once = int(os.environ.get("PEPR_RUNS_AT_ONCE") or 1)
    say(f"{label}{progress.ended(record)}")
    say(f"{' ' * len(label)}{progress.left(specs, done, profile.name, at_once)}")
    return record


@contextlib.contextmanager
def circumstances(
    spec: RunSpec,
    profile: study_profile.Profile,
    store: Store,
    say: Callable[[str], None],
    keep_weights: bool = False,
) -> Iterator[None]:
    """What a run's kernel finds in its environment: a GPU of its own where it needs one, held until the run
    ends; the power of the idle machine, where it can be measured; the command that repeats the run; and
    whether its network is kept, since others start from it."""
    shipped = profile.name in study_profile.profile_names()
    file = profile.name if shipped else f"{profile.name}.yaml"
    step = ["pepr", "step", "finetune", file, spec.run_id, "notebooks/02_finetune.ipynb"]
    found = {"PEPR_COMMAND": shlex.join(step)}
    if keep_weights:
        found["PEPR_KEEP_WEIGHTS"] = "yes"
    before = dict(os.environ)
    with contextlib.ExitStack() as held:
        if spec.device.startswith("cuda"):
            own = held.enter_context(gpu.reserved())
            found |= {"CUDA_VISIBLE_DEVICES": own.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        os.environ |= found
        try:
            idle = _idle_power_w(spec.device, store, say)
            os.environ |= {} if idle is None else {"PEPR_IDLE_POWER_W": str(idle)}
            yield
        finally:
            os.environ.clear()
            os.environ |= before


def _idle_power_w(device: str, store: Store, say: Callable[[str], None]) -> float | None:
    try:
        return meter.idle_power_w(device, store.root / "machines", say)
    except MeterError as error:
        say(f"The power of the idle machine is not known: {error}")
        return None


def _kernel_manager() -> type | None:
    """The one that asks for a kernel where a study keeps one loaded."""
    if "PEPR_WARM_KERNELS" not in os.environ:
        return None
    from pepr.study.kernels import Manager

    return Manager


def execute_run(
    spec: RunSpec, profile: study_profile.Profile, notebook: Path, store: Store, label: str = ""
) -> tuple[str, str] | None:
    """Run 02_finetune for one specification; None, or the kind of failure and its traceback. What it prints
    has `label` before each line.

    Raises WorkFailed where it is not the run that failed: the disk, the terminal or the kernel's start.
    """
    from papermill.exceptions import PapermillExecutionError

    for name, value in KERNEL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        execute_notebook(
            notebook,
            store.notebook_path(spec.run_id),
            {**spec.as_dict(), "profile": profile.name},
            timeout_s=profile.timeout_s,
            stdout=progress.LabelledLines(sys.stdout, label),
            manager=_kernel_manager(),
        )
    except PapermillExecutionError as error:
        traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        if is_storage_error(f"{error.ename}: {error.evalue}"):
            raise WorkFailed(f"{spec.run_id}: not recorded: {error.ename}: {error.evalue}") from None
        return classify(error.ename, error.evalue), traceback
    except Exception as error:
        # The wall limit's error is an OSError too.
        if isinstance(error, OSError | WorkFailed) and not isinstance(error, TimeoutError):
            raise WorkFailed(f"{spec.run_id}: not recorded: {error}") from None
        return classify(type(error).__name__, str(error)), f"{type(error).__name__}: {error}"
    return None


def prepare_data(dataset: str, image_size: int, notebook: Path, output: Path, say: Any = print) -> None:
    """Run 01_data. Where the data cannot be had, say so and go on: runs that need them fail as rows.

    What was interrupted, or had no room on the disk, leaves no notebook: the next start does it again.
    """
    from papermill.exceptions import PapermillExecutionError

    say(f"data: {dataset} at {image_size} px")
    try:
        try:
            execute_notebook(notebook, output, {"dataset": dataset, "image_size": image_size})
        except PapermillExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                raise KeyboardInterrupt from None
            if is_storage_error(f"{error.ename}: {error.evalue}"):
                raise WorkFailed(f"data: {dataset} at {image_size} px: {error.evalue}") from None
            say(f"data: {dataset} could not be prepared: {error.evalue}")
    except BaseException:
        output.unlink(missing_ok=True)
        raise
