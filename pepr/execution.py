"""Carry out a study: one notebook for each run, a record whatever happens, resumable after any death."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import psutil

from pepr import energy, forecast, gpu, machine, models, recovery, study
from pepr.errors import InputError, MeterError, WorkFailed
from pepr.runs import COLUMNS, RunSpec, Store, results_root

KERNEL_STARTS = 3
"""How often a kernel is tried that does not come up: its port was taken meanwhile, the disk was slow."""

DID_NOT_START = re.compile(r"Kernel died before replying|Kernel didn't respond")
OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|MemoryError", re.I)
LARGEST_BATCH = re.compile(r"largest batch size that fits: (\d+)")
FAILURE_OF_ERROR = {
    "OutOfMemory": "out_of_memory",
    "OutOfMemoryError": "out_of_memory",
    "MemoryError": "out_of_memory",
    "Diverged": "diverged",
    "ModelUnavailable": "model_unavailable",
    "DataUnavailable": "data_unavailable",
    "MeterError": "meter_failed",
    "DeadKernelError": "kernel_died",
    "CellTimeoutError": "timeout",
}
"""Name of the error that ended a run, and the kind of failure that its record names."""


HEAD_START = ("--IPKernelApp.exec_lines=from pepr import head_start; head_start.begin(); del head_start",)
"""What a run's kernel is started with."""
KERNEL_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Keeps glibc from giving each freed activation back to the system, which cost a twelfth of a CPU step in
page faults, and asks for large pages, so that the processor looks up fewer; other allocators ignore it."""


def run_one(profile: study.Profile, run_id: str, notebook: Path, say: Any = print) -> dict[str, Any]:
    """Carry out one run of a profile's grid in a fresh kernel, unless its record exists.

    Returns the record. Nothing that the notebook, its kernel or the machine's memory does to the run
    raises: the record then has status `failed`, the kind of failure and the traceback. Raises InputError
    or WorkFailed, and leaves no record, where the run was not possible: no room on the disk, no kernel.
    """
    specs = study.grid(profile, machine.default_device())
    spec = next((spec for spec in specs if spec.run_id == run_id), None)
    if spec is None:
        raise InputError(f"profile {profile.name}: no run {run_id}")
    store = Store(results_root(), profile.name)
    with recovery.one_at_a_time(store, run_id):
        record = store.read_record(run_id)
        if record is None:
            recovery.check_room(store.folder)
            say(_headline(profile, specs, spec, store))
            with _circumstances(spec, profile, store, say):
                began = time.perf_counter()
                failure = execute_run(spec, profile, notebook, store)
                record = store.read_record(run_id)
                if record is None:
                    record = failed_record(
                        spec, *(failure or ("error", "the notebook ended without a record"))
                    )
                    record["wall_time_s"] = time.perf_counter() - began
                    store.write_record(record)
    say(_outcome_line(record))
    return record


@contextlib.contextmanager
def _circumstances(
    spec: RunSpec, profile: study.Profile, store: Store, say: Callable[[str], None]
) -> Iterator[None]:
    """What a run's kernel finds in its environment: a GPU of its own where it needs one, held until the run
    ends; the power of the idle machine, where it can be measured; and the command that repeats the run."""
    found = {"PEPR_COMMAND": f"pepr step finetune {profile.name} {spec.run_id} notebooks/02_finetune.ipynb"}
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
        return energy.idle_power_w(device, store.root / "machines", say)
    except MeterError as error:
        say(f"The power of the idle machine is not known: {error}")
        return None


def execute_run(
    spec: RunSpec, profile: study.Profile, notebook: Path, store: Store
) -> tuple[str, str] | None:
    """Run 02_finetune for one specification; None, or the kind of failure and its traceback.

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
            stdout=sys.stdout,
            kernel_arguments=HEAD_START,
        )
    except PapermillExecutionError as error:
        traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        if recovery.is_storage_error(f"{error.ename}: {error.evalue}"):
            raise WorkFailed(f"{spec.run_id}: not recorded: {error.ename}: {error.evalue}") from None
        return classify(error.ename, error.evalue), traceback
    except TimeoutError as error:  # the wall limit's error is an OSError too
        return classify(type(error).__name__, str(error)), f"{type(error).__name__}: {error}"
    except (OSError, WorkFailed) as error:
        raise WorkFailed(f"{spec.run_id}: not recorded: {error}") from None
    except Exception as error:
        return classify(type(error).__name__, str(error)), f"{type(error).__name__}: {error}"
    return None


def classify(name: str, message: str) -> str:
    """The kind of failure behind an error's class name and message."""
    if OUT_OF_MEMORY.search(f"{name}: {message}"):
        return "out_of_memory"
    return FAILURE_OF_ERROR.get(name, "error")


def execute_notebook(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
    stdout: TextIO | None = None,
    cwd: Path | None = None,
    kernel_arguments: tuple[str, ...] = (),
) -> None:
    """Execute a notebook with papermill in a kernel of this Python; `output` appears whole or not at all.

    A cell that fails leaves the notebook as far as it got. Raises what papermill raises, and WorkFailed when
    no kernel comes up.
    """
    import papermill

    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.part.ipynb")
    execute = functools.partial(
        papermill.execute_notebook,
        notebook,
        unfinished,
        parameters=dict(parameters),
        kernel_name="python3",
        progress_bar=False,
        log_output=False,
        stdout_file=stdout,
        execution_timeout=None if timeout_s is None else int(timeout_s),
        iopub_timeout=60,  # a busy machine prints late; that is no reason to give up a run
        # Where the kernel starts. papermill's own way moves this whole process there, and two notebooks that
        # run at once in two threads would leave it there.
        resources={"metadata": {"path": str(cwd or "")}},
        extra_arguments=["--IPKernelApp.log_level=CRITICAL", *kernel_arguments],
        # What a notebook leaves is on disk when its last cell ends; a polite farewell costs seconds.
        shutdown_kernel="immediate",
    )
    try:
        for attempt in range(1, KERNEL_STARTS + 1):
            try:
                execute()
                break
            except RuntimeError as error:
                if not DID_NOT_START.search(str(error)):
                    raise
                if attempt == KERNEL_STARTS:
                    raise WorkFailed(f"no kernel came up in {attempt} attempts: {error}") from None
    finally:
        if unfinished.exists():
            unfinished.replace(output)


def failed_record(spec: RunSpec, failure: str, traceback: str) -> dict[str, Any]:
    """The record of a run that gave no result: its specification, the kind of failure, the traceback."""
    record: dict[str, Any] = dict.fromkeys(COLUMNS)
    record |= spec.as_dict()
    record |= {
        "run_id": spec.run_id,
        "num_params": models.find(spec.model).num_params,
        "status": "failed",
        "failure": failure,
        "traceback": traceback,
        "largest_batch_size": int(fitting[1]) if (fitting := LARGEST_BATCH.search(traceback)) else None,
        "software": machine.software(),
        "hardware": machine.hardware(spec.device),
        "history": [],
        "meter": {},
        "environment": machine.environment(spec.device),
    }
    return record


def prepare_data(dataset: str, image_size: int, notebook: Path, output: Path, say: Any = print) -> None:
    """Run 01_data. Where the data cannot be had, say so and go on: runs that need them fail as rows."""
    from papermill.exceptions import PapermillExecutionError

    say(f"data: {dataset} at {image_size} px")
    try:
        execute_notebook(notebook, output, {"dataset": dataset, "image_size": image_size})
    except PapermillExecutionError as error:
        if recovery.is_storage_error(f"{error.ename}: {error.evalue}"):
            raise WorkFailed(f"data: {dataset} at {image_size} px: {error.evalue}") from None
        say(f"data: {dataset} could not be prepared: {error.evalue}")


def _headline(profile: study.Profile, specs: list[RunSpec], spec: RunSpec, store: Store) -> str:
    done = {record["run_id"]: record for record in store.records()}
    finished = sum(other.run_id in done for other in specs)
    left = forecast.seconds_left(specs, done, forecast.reference_records(profile.name))
    remaining = f", about {duration(left)} left" if left is not None else ""
    return f"[{finished + 1}/{len(specs)}{remaining}] {spec.setting} · {spec.model} · seed {spec.seed}"


def _outcome_line(record: Mapping[str, Any]) -> str:
    if record["status"] != "ok":
        last = (record["traceback"] or "").strip().splitlines()
        return f"    failed: {record['failure']}: {last[-1] if last else ''}"
    marked = "  (contended: time and energy not ranked)" if record["contended"] else ""
    return (
        f"    test accuracy {record['test_accuracy']:.3f}  AUROC {record['test_auroc'] or float('nan'):.3f}  "
        f"training {record['train_time_s']:.0f} s  whole run {record['wall_time_s']:.0f} s{marked}"
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


RETRIES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "failed": lambda record: record["status"] == "failed",
    "contended": lambda record: bool(record["contended"]),
}
"""Which finished runs `reproduce` repeats when it is asked to."""


def reproduce(
    profile: study.Profile,
    checkout: Path,
    *,
    retry: str | None = None,
    cluster: str | None = None,
    say: Any = print,
) -> Path:
    """Do every run of a profile that has no record yet, through Snakemake, and collect the table.

    The runs are done here, or where `cluster` says: see `cluster_profile`. `retry` repeats finished runs that
    `failed`, or that were `contended`, so that they can be ranked. Output goes to the terminal and to
    `<results>/<profile>/reproduce.log`. Returns the folder of the results. Raises InputError when another
    process works on the same results or the folder cannot be written, and WorkFailed when Snakemake fails.
    """
    placement = cluster_profile(checkout, cluster) if cluster else None
    store = Store(results_root(), profile.name)
    with recovery.only_one(store.folder) as lock:
        recovery.check_room(store.folder)
        profile = study.save(profile, store.folder)
        specs = study.grid(profile, machine.default_device())
        for sentence in recovery.tidy(store, [spec.run_id for spec in specs]):
            say(sentence)
        if retry:
            _forget(store, specs, RETRIES[retry])
        say(announcement(profile, specs, store, cluster, here=True))
        _snakemake(profile, checkout, store, placement, lock)
    return store.folder


def runs_at_once(device: str) -> int:
    """How many runs one machine does side by side: one a GPU that it shows, and one on a CPU."""
    if not device.startswith("cuda"):
        return 1
    return max(min(len(gpu.visible()), machine.cores()), 1)


def cluster_profile(checkout: Path, cluster: str) -> Path:
    """The folder of Snakemake's profile for a cluster: a name in `workflow/profiles`, or a path.

    Raises InputError where there is none.
    """
    shipped = checkout / "workflow" / "profiles"
    for folder in (shipped / cluster, Path(cluster).expanduser()):
        if (folder / "config.yaml").exists():
            return folder.resolve()
    known = ", ".join(sorted(path.parent.name for path in shipped.glob("*/config.yaml")))
    raise InputError(f"cluster {cluster!r}: known are {known}, or a folder that holds a config.yaml")


def announcement(
    profile: study.Profile,
    specs: list[RunSpec],
    store: Store,
    cluster: str | None = None,
    *,
    here: bool = False,
) -> str:
    """What is about to happen, what it will cost, and how to take less.

    `here`: the runs are for this machine and no better one, so that they are predicted for a CPU where it
    has no GPU.
    """
    done = sum(store.record_path(spec.run_id).exists() for spec in specs)
    expected = forecast.forecast(profile, specs, specs[0].device if here and not cluster else None)
    lines = [
        f"Profile {profile.name}: {profile.values['title']}.",
        f"{len(specs)} runs on {_place(specs[0].device, cluster)}, {done} of them done.",
    ]
    if expected.hours is not None:
        low, high = (duration(3600 * hours) for hours in (expected.hours_low, expected.hours_high))
        between = f" ({low} to {high})" if low != high else ""
        lines.append(
            f"All of them together: about {duration(3600 * expected.hours)} of runs{between}, "
            f"{_energy(expected.energy_kwh)}, {_mass(expected.co2eq_g)} CO2-eq, "
            f"{expected.disk_bytes / 1e6:.1f} MB on disk."
        )
        lines.append(f"That is an estimate: {expected.basis}.")
    else:
        lines.append(f"What it will cost is not known: {expected.basis}.")
    lines.append(
        "Stop with Ctrl-C at any time: finished runs are kept and not repeated. For less: PROFILE=smoke."
    )
    return "\n".join(lines)


def _energy(kwh: float) -> str:
    return f"{kwh:.1f} kWh" if kwh >= 1 else f"{1000 * kwh:.1f} Wh"


def _mass(grams: float) -> str:
    return f"{grams / 1000:.1f} kg" if grams >= 1000 else f"{grams:.1f} g"


def _place(device: str, cluster: str | None) -> str:
    return f"the nodes of {cluster} ({device})" if cluster else machine.hardware(device)


def _forget(store: Store, specs: list[RunSpec], again: Callable[[Mapping[str, Any]], bool]) -> None:
    """Finished runs that are to be done `again`, and the data that could not be had for them."""
    for spec in specs:
        record = store.read_record(spec.run_id)
        if record is not None and again(record):
            store.record_path(spec.run_id).unlink()
            if record["failure"] == "data_unavailable":
                data_notebook = f"01_data-{spec.dataset}-{spec.image_size}.ipynb"
                (store.folder / "notebooks" / data_notebook).unlink(missing_ok=True)


def _snakemake(
    profile: study.Profile, checkout: Path, store: Store, placement: Path | None, lock: int
) -> None:
    snakefile = checkout / "workflow" / "Snakefile"
    cores, at_once = machine.cores(), 1 if placement else runs_at_once(machine.default_device())
    options = {
        "profile": profile.source,
        "device": machine.default_device(),
        "checkout": checkout,
        "results": store.root,
        "cores": max(cores // at_once, 1),
    }
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(store.folder)),
        *(("--workflow-profile", str(placement)) if placement else ("--cores", str(cores))),
        # The runs have an order, and solving for a better one takes seconds before each run of a large grid.
        *("--scheduler", "greedy", "--keep-going"),
        # Here each run tells of itself; on a cluster Snakemake says how many are done.
        *("--quiet", *(("rules", "host", "reason") if placement else ("all",))),
        # Records are written whole or not at all, so one that exists is finished whatever Snakemake
        # remembers; and only a missing or older file is a reason to run, not an edit of code or prose.
        *("--rerun-triggers", "mtime", "--ignore-incomplete", "--keep-incomplete", "--nolock"),
        *("--config", *(f"{name}={value}" for name, value in options.items())),
    ]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "PEPR_RESULTS": str(store.root),
        "PEPR_RUNS_AT_ONCE": str(at_once),
    }
    if at_once > 1:
        environment["OMP_NUM_THREADS"] = str(options["cores"])
    with (store.folder / "reproduce.log").open("ab", buffering=0) as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=checkout,
            pass_fds=(lock,),  # Snakemake holds the folder too, should it outlive this process
        )
        try:
            for line in process.stdout:
                _pass_on(line, log)
        except KeyboardInterrupt:
            _interrupt(process)
            process.wait()
            raise
        if process.wait():
            raise WorkFailed(f"the workflow failed; its output is in {store.folder / 'reproduce.log'}")


def _pass_on(line: str, log: BinaryIO) -> None:
    """A closed terminal or a full disk costs the line, not the study."""
    with contextlib.suppress(OSError):
        log.write(line.encode())
    with contextlib.suppress(OSError):
        sys.stdout.write(line)
        sys.stdout.flush()


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Stop Snakemake and the run that it would wait for. Ctrl-C reaches them twice, without harm."""
    with contextlib.suppress(psutil.NoSuchProcess):
        workflow = psutil.Process(process.pid)
        for one in (workflow, *workflow.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT)
