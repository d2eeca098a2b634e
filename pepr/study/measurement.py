"""Meter a training that is not the study's own, a command or a block of Python, and keep it as a record."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pepr import files, grids
from pepr.errors import InputError, MeterError, classify
from pepr.files import expanded, results_root
from pepr.machine import cores, description, gpu, process
from pepr.machine.meter import COLUMN_OF, Meter, Window, open_meter
from pepr.machine.modules import loaded_torch
from pepr.quantities import MEASURED_KINDS, RECORDED, component_sources
from pepr.runs.columns import COLUMNS, Record
from pepr.runs.record import now, run_record
from pepr.runs.spec import RunSpec
from pepr.study import command
from pepr.study.performance import Output, Source, as_performance

if TYPE_CHECKING:
    from pepr.runs.store import Store  # which loads numpy: a command is started before

PROFILE = "measured"
"""The results folder that records go to unless another is named."""
WINDOW = "train"
COMMAND_PACKAGES = ("pepr", "codecarbon")
"""What is known of the software around a command, which may run in another environment than this."""
DETAILS = (
    "pretrained",
    "shuffled",
    "train_fraction",
    "image_size",
    "batch_size",
    "epochs",
    "learning_rate",
    "precision",
)
"""What a specification holds besides a run's names, where the caller knows it."""
METERED = re.compile(r"cpu|cuda(:\d+)?")
"""Devices whose energy can be known."""
LONGEST_NAME = 64
"""Names are parts of one file name, which may have 255 bytes."""
KILLED_BY_SHELL = 128
"""Above it, a shell's exit status tells which signal ended a command."""


@dataclass(frozen=True)
class Subject:
    """What is measured: the names under which its record is found, and where that goes.

    `measure` is the column that the performance is for: a key of `quantities.RECORDED`.
    """

    name: str
    dataset: str = "own"
    setting: str = "own"
    measure: str = "accuracy"
    device: str | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        for what in ("name", "dataset", "setting"):
            value = getattr(self, what)
            if not re.fullmatch(r"[\w.+@-]+", value) or value.startswith("."):
                raise InputError(f"{what} {value!r}: a name is of letters, digits and the signs _ - . + @")
            if len(value.encode()) > LONGEST_NAME:
                raise InputError(f"{what} {value!r}: a name has at most {LONGEST_NAME} bytes")
        if self.measure not in RECORDED:
            raise InputError(f"measure {self.measure!r}: expected one of {', '.join(RECORDED)}")

    @property
    def place(self) -> Path:
        """The folder that the record goes to."""
        return expanded(self.folder or results_root() / PROFILE, "").resolve()

    @property
    def store(self) -> Store:
        from pepr.runs.store import Store

        return Store(self.place.parent, self.place.name)


@dataclass
class Measurement:
    """One training under the meter: what it is, and what the caller adds while it goes on.

    Set `performance` (0 to 1) and, where known, `facts`: columns of a results table such as `num_params`,
    `n_train`, `epochs`. When the block has ended, `record` is what was written, and `path` where.
    """

    subject: Subject
    performance: float | None = None
    facts: dict[str, str | float | bool | None] = field(default_factory=dict)
    record: Record | None = None
    path: Path | None = None

    def summary(self) -> str:
        """The record in one line: energy by component and how each is known, time, performance, place."""
        assert self.record is not None
        took = (self.record["meter"] or {}).get(WINDOW) or {}
        parts = [
            f"{name} {1000 * took[column]:.4g} Wh "
            f"{'measured' if source in MEASURED_KINDS else 'estimated'} ({source})"
            for name, source in component_sources(self.record["energy_source"]).items()
            if took.get(column := f"energy_{COLUMN_OF.get(name, name)}_kwh") is not None
        ]
        ended = self.record["status"]
        if self.record["failure"]:
            ended = f"failed ({self.record['failure']})"
        reached = "none" if self.performance is None else f"{self.performance:.4g}"
        return (
            f"{ended}, {took.get('time_s', 0.0):.1f} s; {', '.join(parts) or 'no energy'}; "
            f"{self.subject.measure} {reached}; {self.path}"
        )


@contextlib.contextmanager
def measure(
    name: str,
    *,
    dataset: str = "own",
    setting: str = "own",
    measure: str = "accuracy",
    device: str | None = None,
    folder: Path | None = None,
    meter: Meter | None = None,
) -> Iterator[Measurement]:
    """Meter a block of Python, its child processes included, and write its record when it ends.

        with pepr.measure("resnet18", dataset="leaves") as run:
            trainer.fit(model)
            run.performance = trainer.callback_metrics["val_acc"]

    `measure` says which performance is set: `accuracy`, `balanced_accuracy` or `auroc`. `device` is `cpu` or
    `cuda`, by default what there is. A block that raises leaves a record of status `failed`, and raises.
    Where what was set is no performance, or a fact that no table has, what was metered is kept without it,
    and InputError is raised when it is written. A record that cannot be written is printed instead.
    """
    grids.check_settings()
    subject = Subject(name, dataset, setting, measure, device_of(device), folder)
    files.check_writable(subject.place)
    run = Measurement(subject)
    meter = meter or open_meter(subject.device, _synchroniser(subject.device))
    memory_source, peak_memory = _peak_memory(subject.device)
    failure, unread, started_at = None, None, now()
    try:
        with meter.window(WINDOW):
            yield run
        unread = _unread(run)
    except BaseException as error:
        failure = (classify(type(error).__name__, str(error)), f"{type(error).__name__}: {error}")
        raise
    finally:
        circumstances = description.recorded(subject.device)
        circumstances |= {"peak_memory_bytes": peak_memory(), "memory_source": memory_source}
        _keep(run, meter, "block", failure, started_at, circumstances, _say)
    if unread is not None:
        raise InputError(f"{unread}; the rest is in {run.path}")
    if unknown := sorted(run.facts.keys() - set(COLUMNS)):
        raise InputError(
            f"facts {', '.join(unknown)}: no column of a results table; the rest is in {run.path}"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _unread(run: Measurement) -> InputError | None:
    """Make a number of the performance that was set; why it is none, and is left out, where it is not."""
    if run.performance is not None:
        try:
            run.performance = as_performance(run.performance, "performance")
        except InputError as error:
            run.performance = None
            return error
    return None


def measure_command(
    arguments: Sequence[str],
    subject: Subject,
    performance: Source | Output | None = None,
    percent: bool = False,
    say: Callable[[str], None] = _say,
    meter: Meter | None = None,
) -> int:
    """Run a command under the meter and write its record; its exit status, negative for a signal.

    Output, signals and exit status pass through. A performance that cannot be read is said, and empty: what
    was metered is kept, and printed where it cannot be written. Raises InputError, before anything is
    metered, where the command cannot be started.
    """
    command.check_here()
    grids.check_settings()
    files.check_writable(subject.place)
    run = Measurement(subject)
    began, started_at, kills = time.time(), now(), out_of_memory_kills()
    listen = performance.listen if isinstance(performance, Output) else None
    try:
        ended, meter = _metered(lambda: command.run(arguments, listen), subject.device, meter)
    except OSError as error:
        raise InputError(f"{arguments[0]}: cannot be started: {error.strerror}") from None
    failure = _failure(arguments, ended.status, out_of_memory_kills() > kills)
    if performance is not None and failure is None:
        try:
            run.performance = performance.value(began, percent)
        except Exception as error:  # whatever that file is like, the training has ended and was metered
            say(f"pepr measure: no performance: {error}")
    circumstances = description.recorded(subject.device)
    environment = circumstances["environment"]
    packages = {name: environment["packages"][name] for name in COMMAND_PACKAGES}
    peak = None if subject.device.startswith("cuda") else ended.peak_memory_bytes
    circumstances |= {
        "software": "; ".join(f"{name} {version}" for name, version in packages.items()),
        "environment": {**environment, "packages": packages, "python": None},
        "peak_memory_bytes": peak,
        "memory_source": peak and "rss_peak",
    }
    _keep(run, meter, "command", failure, started_at, circumstances, say)
    if run.path:
        say(f"pepr measure: {run.summary()}")
    return ended.status


def _metered(
    work: Callable[[], command.Ended], device: str, meter: Meter | None
) -> tuple[command.Ended, Meter]:
    """Run a command under a meter.

    Opening one takes seconds. Where nothing has to be read at the command's edges, since the CPU has no
    counter, it opens while the command already runs: what that took is known when it has ended.
    """
    if meter is not None or device != "cpu" or sys.platform != "linux" or description.cpu_counters():
        meter = meter or open_meter(device)
        with meter.window(WINDOW):
            return work(), meter
    with ThreadPoolExecutor(max_workers=1) as pool:
        opening = pool.submit(_open_and_load, device)
        busy, study = cores.busy_time(), cores.study_time()
        ended = work()
        others = cores.busy_time() - busy - (cores.study_time() - study)
        part = Window(time_s=ended.time_s, cpu_time_s=ended.cpu_time_s, other_cpu_time_s=max(others, 0.0))
        try:
            meter = opening.result()
            meter.charge(WINDOW, part)
        except Exception as error:  # the command has run: its record says that the meter failed
            reason = f"{type(error).__name__}: {error}"
            meter = Meter(None, {"cpu": "load_model"}, windows={WINDOW: part})
            print(f"pepr measure: the meter could not be opened: {reason}", file=sys.stderr)
    return ended, meter


def _open_and_load(device: str) -> Meter:
    """The meter; and what writing the record needs is loaded meanwhile, so that nobody waits for it then."""
    meter = open_meter(device)
    for module in ("pandas", "pepr.runs.results", "pepr.runs.store"):
        importlib.import_module(module)
    return meter


def name_of(arguments: Sequence[str]) -> str:
    """What to call a command: the first argument that is a file (`python train.py`), else the program."""
    files = [argument for argument in arguments[1:] if Path(argument).is_file()]
    name = re.sub(r"[^\w.+@-]+", "_", Path((files or arguments)[0]).name).lstrip(".") or "command"
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


def device_of(asked: str | None) -> str:
    """The device that is meant.

    Raises InputError where one GPU has to be chosen of several, and for a device that is not metered."""
    device = asked or description.default_device()
    if not METERED.fullmatch(device):
        raise InputError(f"device {device!r}: expected cpu or cuda")
    if device.startswith("cuda") and len(gpu.visible()) > 1:
        raise InputError(
            "several GPUs are visible: name the one that trains with CUDA_VISIBLE_DEVICES, "
            "or --device cpu where none does"
        )
    return device


def _keep(
    run: Measurement,
    meter: Meter,
    fidelity: str,
    failure: tuple[str, str] | None,
    started_at: str,
    circumstances: dict[str, object],
    say: Callable[[str], None],
) -> None:
    """Write the record of a training that has ended, and the table of its folder. Whatever the disk and the
    other records are like, the training is over: what cannot be written is printed, and nothing raises."""
    costs = {}
    if failure is None:
        try:
            costs = meter.costs(WINDOW)
            costs["wall_time_s"] = costs["train_time_s"]
        except MeterError as error:
            failure = ("meter_failed", str(error))
    facts = {name: value for name, value in run.facts.items() if name in COLUMNS}
    found = facts | costs | circumstances
    found["environment"] |= {"power": meter.assumptions}
    found |= {
        "runs_at_once": meter.runs_at_once,
        "energy_source": meter.source,
        RECORDED[run.subject.measure].column: None if failure else run.performance,
        "meter": meter.as_dict(),
        "started_at": started_at,
        "ended_at": now(),
    }
    try:
        _write(run, fidelity, failure, found)
    except Exception as error:
        if run.path:
            say(f"pepr measure: the record is in {run.path}; no table was made of it: {error}")
            return
        say(json.dumps(run.record or vars(run.subject) | found, default=str))
        say(f"pepr measure: that is the record, which could not be written: {error}")


def _write(
    run: Measurement, fidelity: str, failure: tuple[str, str] | None, found: dict[str, object]
) -> None:
    from pepr.runs.results import collect

    store, (kind, traceback) = run.subject.store, failure or (None, None)
    (store.folder / "runs").mkdir(parents=True, exist_ok=True)
    with files.locked(store.folder / ".measure.lock"):
        with _claimed(run, fidelity, store) as spec:
            run.record = run_record(spec, {}, failure=kind, traceback=traceback, **found)
            store.write_record(run.record)
            run.path = store.record_path(spec.run_id)
        collect(store)


@contextlib.contextmanager
def _claimed(run: Measurement, fidelity: str, store: Store) -> Iterator[RunSpec]:
    """A specification whose number no other measurement of its subject has, nor takes while the block lasts:
    a file says so, also where locks lock nothing."""
    number = max(_numbers(run.subject, fidelity, store), default=-1) + 1
    while True:
        spec = _spec(run, fidelity, number)
        path = store.record_path(spec.run_id)
        claim = path.with_name(f".{path.name}.claim")
        if _made(claim):
            try:
                if not path.exists():
                    yield spec
                    return
            finally:
                claim.unlink(missing_ok=True)
        number += 1


def _made(path: Path) -> bool:
    """Make an empty file; False where there is one, as all but one of several processes at once are told."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _numbers(subject: Subject, fidelity: str, store: Store) -> Iterator[int]:
    """The numbers of the measurements of a subject so far. What is no record has none."""
    key = (subject.name, subject.dataset, subject.setting, fidelity)
    for path in (store.folder / "runs").glob("[!.]*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = store.read_record(path.stem)
            if (record["model"], record["dataset"], record["setting"], record["fidelity"]) == key:
                yield int(record["seed"])


def _spec(run: Measurement, fidelity: str, number: int) -> RunSpec:
    """The specification of a measurement: `seed` is its number among those of its subject. What is not known
    of it is empty."""
    subject = run.subject
    details = {name: run.facts.get(name) for name in DETAILS}
    details["precision"] = details["precision"] or "unstated"
    names = (subject.name, subject.dataset, subject.setting)
    return RunSpec(*names, fidelity=fidelity, seed=number, device=subject.device, **details)


def _failure(arguments: Sequence[str], status: int, out_of_memory: bool) -> tuple[str, str] | None:
    if status == 0:
        return None
    number = -status if status < 0 else status - KILLED_BY_SHELL
    if number <= 0:
        return "error", f"{arguments[0]}: exit status {status}"
    with contextlib.suppress(ValueError):
        kind = "out_of_memory" if out_of_memory and number == signal.SIGKILL else "killed"
        return kind, f"{arguments[0]}: ended by {signal.Signals(number).name}"
    return "error", f"{arguments[0]}: exit status {status}"


def out_of_memory_kills() -> int:
    """How many processes the system has killed for want of memory; 0 where it does not tell."""
    return process.number_after("oom_kill", Path("/proc/vmstat")) or 0


def _peak_memory(device: str) -> tuple[str | None, Callable[[], int | None]]:
    """How the peak memory of a block in this process is known, counted from here on, and what tells it: the
    allocator of a GPU, where torch is loaded, else the resident memory."""
    if not device.startswith("cuda"):
        process.forget_peak()
        return "rss_peak", process.peak_memory_bytes
    if (torch := loaded_torch()) is None:
        return None, lambda: None
    torch.cuda.reset_peak_memory_stats()
    return "cuda_allocator_peak", torch.cuda.max_memory_allocated


def _synchroniser(device: str) -> Callable[[], None]:
    """Waits for a GPU's queue, where the block uses torch."""

    def synchronise() -> None:
        if (torch := loaded_torch()) is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()

    return synchronise if device.startswith("cuda") else lambda: None
