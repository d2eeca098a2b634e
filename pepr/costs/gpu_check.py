"""What must hold of a device before hours are spent on it: each check a line, on a GPU or on a CPU.

What only a GPU can show is not checkable on a CPU, and the line says so.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pepr.costs import model as cost, sweep as sweeping, swept
from pepr.display.words import decimal
from pepr.errors import InputError
from pepr.files import find_checkout
from pepr.machine import description, gpu
from pepr.models import atlas
from pepr.models.space import model_space

PASS, FAIL, NOT_CHECKABLE = "pass", "FAIL", "not checkable"
REST_S, LOAD_S = 3.0, 8.0
"""How long the power is read while the device rests, and while it works."""
COUNTER_MARGIN = 0.1
"""How far counter and integrated power may be apart, as a share; samples of a power lag behind it."""
LIMIT_MARGIN = 0.05
DOZEN = 12
MEMORY_MARGIN = 0.1
"""How far the median model's peak memory may be from its prediction, as a share."""
TOO_LARGE, ROOM_BYTES = 4096, 2**30
"""A batch that finds no room in the bytes that are left to it."""
ACCURACY_MARGIN, LEARNED = 0.06, 0.8
"""How far from that of fp32 a precision's accuracy may be, which is two standard errors of a difference over
the 256 test images; and what fp32 reaches at least."""
LEAST_OF_BARE = 0.9
"""The least share of the bare loop's images a second."""
LOOP_MODEL, LOOP_ROUNDS, LOOP_S = "resnet18d", 5, 6.0
SMOKE_NEEDS = ("snakemake", "papermill", "pandas", "elpv_dataset")
SMOKE_S = 300


@dataclass(frozen=True)
class Check:
    """What must hold, whether it does (`pass`, `FAIL`, `not checkable`), and what was seen, in words."""

    name: str
    outcome: str
    seen: str
    took_s: float


class DoesNotHold(Exception):
    """What was seen instead."""


class CannotTell(Exception):
    """Why it cannot be checked here."""


@dataclass
class Subject:
    """A device, and the size and number of the images with which it is tried."""

    device: str
    image_size: int = 128
    batch_size: int = 32

    @functools.cached_property
    def load(self) -> gpu.Load:
        """The device's power at rest and at work."""
        import torch

        from pepr.training import trial

        device = torch.device(self.device)
        trial.busy(device, 0.5)  # the clocks rise, and CUDA starts
        return gpu.under_load(
            gpu.current(self.device), lambda: time.sleep(REST_S), lambda: trial.busy(device, LOAD_S)
        )


Look = Callable[[Subject], str]
CHECKS: dict[str, Look] = {}
"""By what must hold: the look at it, which returns what it saw."""


def check(subject: Subject) -> Iterator[Check]:
    """Every check in turn, each as soon as it is done; whatever one raises is what was seen."""
    for name, look in CHECKS.items():
        began = time.monotonic()
        try:
            outcome, seen = PASS, look(subject)
        except CannotTell as reason:
            outcome, seen = NOT_CHECKABLE, str(reason)
        except DoesNotHold as found:
            outcome, seen = FAIL, str(found)
        except Exception as error:
            outcome, seen = (
                FAIL,
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            )
        yield Check(name, outcome, seen, time.monotonic() - began)


def line(found: Check) -> str:
    """A check as a line for a person."""
    return f"{found.outcome:<13}  {found.name}: {found.seen} ({found.took_s:.0f} s)"


def must_hold(name: str) -> Callable[[Look], Look]:
    """Register a look under what must hold."""

    def register(look: Look) -> Look:
        CHECKS[name] = look
        return look

    return register


def _only_on(kind: str, subject: Subject) -> None:
    if not subject.device.startswith(kind):
        raise CannotTell(f"{subject.device} is no NVIDIA GPU")


def _index(subject: Subject) -> int:
    """The number of a GPU, which some functions of torch do not take from the name `cuda` alone."""
    return int(subject.device.partition(":")[2] or 0)


@must_hold("torch can use the device")
def usable(subject: Subject) -> str:
    import torch
    from torch.nn import functional as F

    device = torch.device(subject.device)
    made = F.conv2d(torch.ones(2, 3, 8, 8, device=device), torch.ones(4, 3, 3, 3, device=device))
    if float(made[0, 0, 0, 0]) != 27.0:
        raise DoesNotHold(f"a sum of 27 ones is {float(made[0, 0, 0, 0])}")
    built = f", CUDA {torch.version.cuda}" if device.type == "cuda" else ""
    return f"torch {torch.__version__}{built} on {description.hardware(subject.device)}"


@must_hold("NVML and torch see the same device")
def same_device(subject: Subject) -> str:
    _only_on("cuda", subject)
    import torch

    index = _index(subject)
    torchs, gpus = torch.cuda.get_device_properties(index), gpu.visible()
    if index >= len(gpus):
        raise DoesNotHold(f"torch has {torchs.name}, and NVML shows {len(gpus)} GPUs")
    ours, uuid = gpus[index], getattr(torchs, "uuid", None)
    if torchs.name != ours.name or (uuid is not None and f"GPU-{uuid}" != ours.uuid):
        raise DoesNotHold(
            f"torch has {torchs.name} (GPU-{uuid}), NVML {ours.name} ({ours.uuid}): name the GPU in "
            "CUDA_VISIBLE_DEVICES by its UUID"
        )
    return f"{ours.kind}, {ours.uuid}, driver {gpu.driver_version()}"


@must_hold("the energy counter agrees with the integrated power of a steady load")
def counter(subject: Subject) -> str:
    _only_on("cuda", subject)
    load = subject.load
    if load.counter_w is None:
        raise CannotTell(f"no counter: energy is integrated from the power, {load.loaded_w:.0f} W")
    seen = (
        f"{load.counter_w:.0f} W by the counter, {load.loaded_w:.0f} W integrated, over {load.seconds:.1f} s"
    )
    if abs(load.counter_w / load.loaded_w - 1) > COUNTER_MARGIN:
        raise DoesNotHold(f"{seen}: more than {COUNTER_MARGIN:.0%} apart")
    return seen


@must_hold("the load draws more than the idle device and no more than its limit")
def power(subject: Subject) -> str:
    _only_on("cuda", subject)
    load = subject.load
    limit = "no limit is told" if load.limit_w is None else f"{load.limit_w:.0f} W at most"
    seen = f"{load.idle_w:.0f} W idle, {load.loaded_w:.0f} W loaded, {limit}"
    if not 0 < load.idle_w < load.loaded_w:
        raise DoesNotHold(seen)
    if load.limit_w is not None and load.loaded_w > (1 + LIMIT_MARGIN) * load.limit_w:
        raise DoesNotHold(seen)
    return seen


@must_hold("the allocator's peak is what was predicted, for a dozen models")
def memory(subject: Subject) -> str:
    _only_on("cuda", subject)
    conditions = swept.Conditions(subject.device, subject.image_size, subject.batch_size)
    names = a_dozen(subject.image_size)
    job = cost.job_of("lidc", image_size=subject.image_size, batch_size=subject.batch_size)
    errors, failed = [], []
    for row in sweeping.measure_models(names, conditions, limit_s=0.0):
        if row["status"] != "ok":
            failed.append(f"{row['model']}: {row['failure']}")
            continue
        predicted = cost.peak_memory(atlas.look_up(row["model"], subject.image_size), job)
        errors.append(row["peak_memory_bytes"] / predicted - 1)
    if failed:
        raise DoesNotHold("; ".join(failed))
    middle, worst = statistics.median(map(abs, errors)), max(errors, key=abs)
    seen = f"{len(errors)} models, median error {middle:.1%}, at worst {decimal(worst, '+.1%')}"
    if middle > MEMORY_MARGIN:
        raise DoesNotHold(f"{seen}; expected a median of at most {MEMORY_MARGIN:.0%}")
    return seen


def a_dozen(image_size: int) -> list[str]:
    """Models across the range of sizes that take an image size, of those whose shapes are known."""
    names = [name for name, known in model_space().items() if known.accepts(image_size)]
    names.sort(key=lambda name: model_space()[name].num_params)
    places = np.linspace(0, len(names) - 1, min(DOZEN, len(names))).round().astype(int)
    return [names[place] for place in places]


@must_hold("a batch without room becomes a row that says the largest that fits")
def out_of_memory(subject: Subject) -> str:
    _only_on("cuda", subject)
    import torch

    conditions = swept.Conditions(subject.device, 64, TOO_LARGE)
    index = _index(subject)
    total = torch.cuda.mem_get_info(index)[1]
    held = torch.cuda.memory_reserved(index)
    torch.cuda.set_per_process_memory_fraction(min((held + ROOM_BYTES) / total, 1.0), index)
    try:
        (row,) = sweeping.measure_models([LOOP_MODEL], conditions, limit_s=0.0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
    return room_of(row)


def room_of(row: Mapping[str, Any]) -> str:
    """What a row says of a batch that found no room. Raises DoesNotHold where it does not say it."""
    seen = f"{row['status']}, {row['failure']}, largest batch {row['largest_batch_size']} of {TOO_LARGE}"
    if row["failure"] != "out_of_memory" or not row["largest_batch_size"]:
        raise DoesNotHold(f"{seen}: {row['explanation']}")
    return seen


@must_hold("every precision trains a small network to the same accuracy")
def precisions(subject: Subject) -> str:
    from pepr.training import trial

    accuracy = {}
    for precision in precisions_of(subject.device):
        probabilities, labels = trial.trained(replace(trial.SPEC, device=subject.device, precision=precision))
        accuracy[precision] = float(np.mean(probabilities.argmax(1) == labels))
    seen = ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
    if accuracy["fp32"] < LEARNED:
        raise DoesNotHold(f"{seen}: fp32 should reach {LEARNED}")
    if max(abs(value - accuracy["fp32"]) for value in accuracy.values()) > ACCURACY_MARGIN:
        raise DoesNotHold(f"{seen}: more than {ACCURACY_MARGIN} from fp32")
    return f"{seen} (within {ACCURACY_MARGIN})"


def precisions_of(device: str) -> tuple[str, ...]:
    """The precisions that a device is tried in."""
    return ("fp32", "tf32", "bf16", "fp16") if device.startswith("cuda") else ("fp32", "bf16")


@must_hold("a run that is repeated is equal to the last digit")
def repeatable(subject: Subject) -> str:
    from pepr.training import trial

    spec = replace(trial.SPEC, device=subject.device, epochs=2)
    (first, _), (second, _) = trial.trained(spec), trial.trained(spec)
    apart = float(np.abs(first - second).max())
    if apart:
        raise DoesNotHold(f"probabilities of two runs are up to {apart:.2g} apart")
    return f"{first.size} probabilities of two runs are the same"


@must_hold("the loop is about as fast as the bare one")
def loop_speed(subject: Subject) -> str:
    from pepr.runs.spec import RunSpec
    from pepr.training import steps, trial

    spec = RunSpec(LOOP_MODEL, "noise", "noise", **asdict(swept.Conditions(**asdict(subject))))
    shares = trial.against_bare(spec, steps.noise(spec), LOOP_ROUNDS, LOOP_S)
    middle = statistics.median(shares)
    seen = (
        f"{middle:.3f} of its images a second ({min(shares):.3f} to {max(shares):.3f}), {LOOP_MODEL}, "
        f"{subject.image_size} px"
    )
    if middle < LEAST_OF_BARE:
        raise DoesNotHold(f"{seen}; expected at least {LEAST_OF_BARE}")
    return seen


@must_hold("the study `smoke` ends well, and its rows pass the gates")
def smoke(subject: Subject) -> str:
    missing = [name for name in SMOKE_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotTell(f"{', '.join(missing)} is not installed")
    try:
        checkout = find_checkout()
    except InputError as error:
        raise CannotTell(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PEPR_RESULTS": folder} | study_environment(subject.device)
        command = [sys.executable, "-m", "pepr.cli", "reproduce", "--profile", "smoke"]
        done = subprocess.run(
            command, env=environment, cwd=checkout, capture_output=True, text=True, timeout=SMOKE_S
        )
        return gated(Path(folder) / "smoke" / "results.csv", done)


def study_environment(device: str) -> dict[str, str]:
    """What tells a study to do its runs on a device; of several GPUs on that one, which they call `cuda`."""
    if not device.startswith("cuda"):
        return {"PEPR_DEVICE": device}
    return {"PEPR_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": gpu.current(device).uuid}


def gated(path: Path, done: subprocess.CompletedProcess[str]) -> str:
    """What the table of a study that has ended says of it. Raises DoesNotHold for a run that failed, and for
    a row that breaks a gate."""
    from pepr.audit import gates
    from pepr.runs.results import read_table

    if not path.exists():
        told = (done.stderr or done.stdout).strip().splitlines()
        raise DoesNotHold(f"no table; exit status {done.returncode}: {told[-1] if told else ''}")
    table = read_table(path)
    failed = table[table["status"] != "ok"]
    if len(failed):
        raise DoesNotHold(f"{len(failed)} of {len(table)} runs failed: {', '.join(failed['failure'])}")
    broken = gates.gates(table)
    broken = broken[broken["gate"] != gates.DID_LEARN]
    if len(broken):
        first = broken.iloc[0]
        raise DoesNotHold(
            f"{first['gate']}: {first['column']} is {first['value']}, expected {first['expected']}"
        )
    return f"{len(table)} runs, every gate holds; energy by {table['energy_source'].iloc[0]}"
