"""Whole runs: what starting one costs, what metering one costs, and what images need of the host's memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.timing import Comparison, compare
from pepr import runs, study
from pepr.machine import meter as metering
from pepr.study import execution, kernels

CHECKOUT = Path(__file__).parents[1]
IMPORTED = ("sys", "papermill", "ipykernel.kernelapp", "torch", "timm", "codecarbon", "pepr.training.loop")
MENDED = {
    "compiled": ("-X pycache_prefix={empty} -B", "", "import timm, pepr.training.loop"),
    "libraries": ("", "import gc; gc.disable()", "import timm, pepr.training.loop, torch._dynamo"),
    "notebooks": ("", "import sys; sys.modules['rfc3987_syntax'] = None", "import nbformat"),
}
"""What was slow in a start-up: the arguments of Python that make it so again, the remedy inside a program,
and what is timed. See the Makefile and `pepr.study.notebooks`."""
PHASES = ("launch", "kernel", "torch", "training", "ending")
"""What comes after what in a run: the process that carries it out, until papermill opens the notebook; its
kernel, until the first cell; PyTorch; `training.fine_tune` outside of its metered windows; record, executed
notebook, and the end of both processes."""
DERMA = {"images": 7007, "size": 256}
"""DermaMNIST's training images at the paper's size."""


def startup(rounds: int, warm_up: int = 1, at_least_s: float = 0.0) -> Comparison:
    """Seconds of a run of `smoke` outside its metered windows (`run`), and of papermill running a notebook
    that imports torch and timm and no more (`bare`); and of each of the run's `PHASES`."""
    phases: list[dict[str, float]] = []
    with _smoke() as run, tempfile.TemporaryDirectory() as folder:
        notebook = str(CHECKOUT / "benchmarks" / "startup.ipynb")
        bare = [sys.executable, "-m", "papermill", "-k", "python3", notebook, f"{folder}/startup.ipynb"]
        work = {"run": lambda: phases.append(run()), "bare": lambda: _quietly(bare, dict(os.environ))}
        found = compare(work, rounds, warm_up, at_least_s)
    timed = {name: [round_[name] for round_ in phases[warm_up:]] for name in PHASES}
    outside = [sum(round_.values()) for round_ in phases[warm_up:]]
    return Comparison({"run": outside, "bare": found.seconds["bare"], **timed})


@contextlib.contextmanager
def _smoke() -> Iterator[Callable[..., dict[str, float]]]:
    """A run of `smoke`, its images prepared: each call carries it out anew and returns the seconds of its
    phases. A call may name statements that its process does first."""
    spec = study.grid(study.load("smoke"))[0]
    notebooks = CHECKOUT / "notebooks"
    settings = {**execution.KERNEL_ENVIRONMENT, **os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, kernels.loaded(settings) as (told, _):
        environment = {**settings, **told, "PEPR_RESULTS": folder}
        store = runs.Store(Path(folder), "smoke")

        def step(first: str, *arguments: str) -> None:
            program = f"{first}\nfrom pepr import cli\ncli.main()"
            _quietly([sys.executable, "-c", program, "step", *arguments], environment)

        def run(first: str = "") -> dict[str, float]:
            store.record_path(spec.run_id).unlink(missing_ok=True)
            began = datetime.now(UTC)
            step(first, "finetune", "smoke", spec.run_id, str(notebooks / "02_finetune.ipynb"))
            ended = datetime.now(UTC)
            notebook = json.loads(store.notebook_path(spec.run_id).read_text())
            return phase_seconds(began, notebook, store.read_record(spec.run_id), ended)

        prepared = str(notebooks / "01_data.ipynb"), f"{folder}/data.ipynb"
        step("", "data", spec.dataset, str(spec.image_size), *prepared)
        yield run


def phase_seconds(
    began: datetime, notebook: Mapping[str, Any], record: Mapping[str, Any], ended: datetime
) -> dict[str, float]:
    """Seconds of each of `PHASES` of a run that took from `began` to `ended`, by the times that papermill
    wrote into its executed notebook and `training` into its record."""
    cells = [cell["metadata"]["papermill"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    edges = [
        began,
        _utc(notebook["metadata"]["papermill"]["start_time"]),
        _utc(cells[0]["start_time"]),
        _utc(record["started_at"]),
        _utc(record["ended_at"]),
        ended,
    ]
    found = {
        name: (after - before).total_seconds()
        for name, (before, after) in zip(PHASES, itertools.pairwise(edges), strict=True)
    }
    return found | {"training": found["training"] - metered_seconds(record)}


def _utc(time_of_day: str) -> datetime:
    """papermill's times say no zone, and are of UTC."""
    return datetime.fromisoformat(time_of_day).replace(tzinfo=UTC)


def import_seconds() -> dict[str, float]:
    """Seconds that a fresh Python takes to import what a run needs, each in a process of its own. Their
    files were read before, by `startup`."""
    seconds = {}
    for package in IMPORTED:
        command = [sys.executable, "-c", f"import {package}"]
        found = compare({package: lambda command=command: _quietly(command, dict(os.environ))}, 1, warm_up=0)
        seconds[package] = found.median(package)
    return seconds


def mended_seconds(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a fresh Python for what was found to be slow, as it was (`before`) and as it is (`now`)."""
    seconds = {}
    with tempfile.TemporaryDirectory() as empty:
        for name, (arguments, remedy, work) in MENDED.items():
            programs = {
                "before": [*arguments.format(empty=empty).split(), "-c", work],
                "now": ["-c", f"{remedy}; {work}" if remedy else work],
            }
            found = compare(
                {
                    when: lambda program=program: _quietly([sys.executable, *program], dict(os.environ))
                    for when, program in programs.items()
                },
                rounds,
                warm_up=0,
            )
            seconds[name] = {when: found.median(when) for when in programs}
    return seconds


def _quietly(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout


def meter(seconds: float, rounds: int) -> list[float]:
    """What measuring takes of a window of `seconds`, one share a round: the processor time that the meter's
    threads take during a window in which this process sleeps, and the wall time of opening and closing it, as
    if training waited for all of it. Threads of this process that are not the meter's would count too.

    Training with and without a meter differs by less than two trainings without one do.
    """
    opened = metering.open_meter()
    shares = []
    for _ in range(rounds):
        began, worked = time.perf_counter(), _others_cpu_time()
        with opened.window("train"):
            slept = time.perf_counter()
            time.sleep(seconds)
            slept = time.perf_counter() - slept
        edges = time.perf_counter() - began - slept
        shares.append((_others_cpu_time() - worked + edges) / seconds)
    return shares


def _others_cpu_time() -> float:
    """Processor seconds of all threads of this process but the one that asks."""
    return time.process_time() - time.thread_time()


HOLD_OURS = """
data = datasets.Prepared(images, numpy.zeros(n, int), numpy.full(n, "train"), numpy.zeros(n, bool), {})
half = torch.full((1, 3, 1, 1), 0.5)
batches = training.Batches(data, size, half, half, torch.device("cpu"))
for batch in batches.shuffled(numpy.arange(n), 32, numpy.random.default_rng(0)):
    pass
"""
HOLD_AUTHORS = """
floats = torch.empty(n, 3, size, size)
for i in range(n):
    floats[i] = torch.from_numpy(images[i].copy()).permute(2, 0, 1)
for batch in torch.utils.data.DataLoader(torch.utils.data.TensorDataset(floats.div_(255)), batch_size=32):
    pass
"""


def host_memory() -> dict[str, int]:
    """Bytes of a process's own memory at its peak, above its libraries', while a pass is made over images of
    DermaMNIST's number and size: from our memory map, and as float32 images that are held in memory.

    Pages of the map are the system's cache of a file: it takes them back when memory is short, and they are
    counted apart (`ours_cached`).
    """
    n, size = DERMA["images"], DERMA["size"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.bin"
        with path.open("wb") as stream:
            for _ in range(n):
                stream.write(os.urandom(size * size * 3))
        measured = {
            name: _peak_of(
                f"n, size = {n}, {size}\n"
                f"images = numpy.memmap({str(path)!r}, numpy.uint8, 'r', shape=(n, size, size, 3))\n{body}"
            )
            for name, body in (("ours", HOLD_OURS), ("authors", HOLD_AUTHORS))
        }
    return {
        "ours": measured["ours"]["own"],
        "ours_cached": measured["ours"]["cached"],
        "authors": measured["authors"]["own"],
    }


def _peak_of(body: str) -> dict[str, int]:
    """Peak of a process's anonymous and of its file-backed memory above the start, sampled each 2 ms.

    Each large block is a mapping of its own, which ends when it is freed: what counts is what the work holds,
    not what the allocator keeps for later, which differs from one call to the next.
    """
    program = f"""
import json, threading, time
import numpy, torch
from pepr import datasets, training
KEYS = ("own", "RssAnon"), ("cached", "RssFile")
def held():
    lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
    return {{name: 1024 * int(lines[key].split()[0]) for name, key in KEYS}}
start, peak, going = held(), {{"own": 0, "cached": 0}}, True
def watch():
    while going:
        now = held()
        for name in peak:
            peak[name] = max(peak[name], now[name] - start[name])
        time.sleep(0.002)
watcher = threading.Thread(target=watch); watcher.start()
{body}
assert watcher.is_alive()
going = False; watcher.join(); print(json.dumps(peak))
"""
    printed = _quietly([sys.executable, "-c", program], {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)})
    return json.loads(printed)


def metered_seconds(record: dict) -> float:
    """Seconds of a run's metered windows together: training, validation, test."""
    return sum(window["time_s"] for window in record["meter"].values())


def startup_seconds(records: list[dict]) -> float:
    """Seconds of a run, on average, that are in no metered window: those that its record knows of, and the
    usual gap between the end of one record and the start of the next, which is the process around the
    kernel, the loading of torch, and Snakemake.

    All of them are of one day and one study; a gap of hours, where it was interrupted, does not count.
    """
    ordered = sorted(records, key=lambda record: record["started_at"])
    gaps = [
        (
            datetime.fromisoformat(after["started_at"]) - datetime.fromisoformat(before["ended_at"])
        ).total_seconds()
        for before, after in itertools.pairwise(ordered)
    ]
    known = sum(record["wall_time_s"] - metered_seconds(record) for record in records)
    return known / len(records) + statistics.median(gaps)


def startup_share(records: list[dict]) -> float:
    """Share of a study's runs that is start-up, against that and the metered windows."""
    whole = startup_seconds(records) * len(records)
    return whole / (whole + sum(map(metered_seconds, records)))


def energy_split(records: list[dict], startup_s: float) -> dict[str, float]:
    """Watt hours of a study's runs as recorded, by window; the overhead is an estimate: `startup_s` a run at
    the runs' mean power."""
    split = {
        name: 1000 * sum(record["meter"][name]["energy_kwh"] for record in records)
        for name in ("train", "validation", "inference")
    }
    seconds = sum(map(metered_seconds, records))
    split["overhead_estimated"] = sum(split.values()) / seconds * startup_s * len(records)
    return split
