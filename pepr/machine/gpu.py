"""NVIDIA GPUs through NVML: which there are, one held at a time by a run, and the energy that one takes.

NVML numbers GPUs by their place on the PCI bus. CUDA may number them otherwise, so a GPU is known here by its
UUID, which both understand.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pepr import files
from pepr.errors import InputError, MeterError
from pepr.machine import cores
from pepr.machine.modules import loaded_torch

MILLIJOULES_PER_KWH = 3.6e9
SAMPLE_INTERVAL_S = 0.05
"""Time between two readings of the power of a GPU that has no energy counter."""
COUNTER_TICK_S = 1.0
"""How long to wait for the energy counter to move on; drivers advance it every tenth of a second or so."""
WAIT_S = 0.5
BUS_ORDER = "PCI_BUS_ID"
MODULE = re.compile(r"(?<![A-Za-z])G[HB]\d{2,3}(?!\d)|Grace", re.I)
"""Names of modules of a GPU and a CPU, such as GH200 and GB200."""
SLICE = re.compile(r"\s*(MIG-|\d+:\d+\s*$)", re.I)
"""What a slice of a GPU is called: `MIG-...`, or, in containers, by numbers of the GPU and of the slice."""
UNLIKE = "PEPR_UNLIKE_GPUS"
"""`yes` shares runs out over GPUs of several kinds; their rows are sets of their own all the same."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its NVML index, its UUID (`GPU-...`), its name, and its power limit where the driver tells
    one."""

    index: int
    uuid: str
    name: str
    limit_w: float | None = None

    @property
    def kind(self) -> str:
        """The name with the power limit that is in force: two cards of one name are alike under one limit."""
        return self.name if self.limit_w is None else f"{self.name} (cap {self.limit_w:.0f} W)"


def all_gpus() -> list[Gpu]:
    """Every GPU that answers, in NVML's order; none where there is no driver."""
    nvml = _nvml()
    if nvml is None:
        return []
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name, uuid = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError:
            continue
        found.append(Gpu(index, _text(uuid), _text(name), _power_limit_w(nvml, handle)))
    return found


def _power_limit_w(nvml: ModuleType, handle: Any) -> float | None:
    try:
        return nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
    except nvml.NVMLError:
        return None


def _is_sliced(gpu: Gpu) -> bool:
    """Whether a GPU is divided into slices (MIG), of which a process sees one."""
    nvml = _nvml()
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(nvml.nvmlDeviceGetHandleByIndex(gpu.index))
    except nvml.NVMLError:
        return False
    return current == 1


SLICED = (
    "{}: the energy of a slice of a GPU (MIG) cannot be measured; take a whole GPU, have slices turned off "
    "(`nvidia-smi -mig 0`), or run on the processor: PEPR_DEVICE=cpu"
)


def alike() -> list[Gpu]:
    """The visible GPUs of one kind, the first one's: runs are shared out over cards that can be compared. All
    of them where `$PEPR_UNLIKE_GPUS` is `yes`."""
    gpus = visible()
    return [gpu for gpu in gpus if os.environ.get(UNLIKE) == "yes" or gpu.kind == gpus[0].kind]


def left_out() -> str | None:
    """In a sentence, the visible GPUs of another kind, on which no run is done; None where there are none."""
    gpus, taken = visible(), alike()
    others = [one for one in gpus if one not in taken]
    if not others:
        return None
    named = ", ".join(f"{one.kind} ({one.uuid})" for one in others)
    return (
        f"Runs are done on {len(taken)} x {taken[0].kind}, one kind of card; left out: {named}. "
        f"CUDA_VISIBLE_DEVICES chooses others; {UNLIKE}=yes takes all, each kind a set of its own."
    )


def visible() -> list[Gpu]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` leaves to this process, in the order in which it names them.

    As in CUDA, a GPU is named by its number among those that this user may use, or by the beginning of its
    UUID, and the list ends at the first name that is none. Raises InputError for a slice of a GPU (MIG),
    whose energy nothing tells apart, and for numbers that CUDA was told to give by speed, where that is
    another order.
    """
    gpus, named = all_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    _refuse_another_order(gpus, named)
    given = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    if gpus and any(map(SLICE.match, given.split(","))):
        raise InputError(SLICED.format(f"NVIDIA_VISIBLE_DEVICES={given}"))
    chosen = gpus if named is None else _named(gpus, named)
    for gpu in chosen:
        if _is_sliced(gpu):
            raise InputError(SLICED.format(f"GPU {gpu.index} ({gpu.name})"))
    return chosen


def _named(gpus: list[Gpu], named: str) -> list[Gpu]:
    chosen: list[Gpu] = []
    for name in (part.strip() for part in named.split(",")):
        if SLICE.match(name):
            raise InputError(SLICED.format(f"CUDA_VISIBLE_DEVICES={named}"))
        found = [
            gpu
            for place, gpu in enumerate(gpus)
            if name == str(place) or (name and gpu.uuid.startswith(name))
        ]
        if len(found) != 1:
            break
        if found[0] in chosen:
            return []  # CUDA shows none where one is named twice
        chosen += found
    return chosen


def _refuse_another_order(gpus: list[Gpu], named: str | None) -> None:
    order = os.environ.get("CUDA_DEVICE_ORDER", BUS_ORDER)
    by_number = named is None or any(part.strip().isdecimal() for part in named.split(","))
    if order != BUS_ORDER and by_number and len({gpu.kind for gpu in gpus}) > 1:
        raise InputError(
            f"CUDA_DEVICE_ORDER={order}: CUDA and NVML then number unlike GPUs each in its own way; leave it "
            f"out, or name GPUs by the UUIDs of `nvidia-smi -L`: CUDA_VISIBLE_DEVICES={gpus[0].uuid}"
        )


def current(device: str) -> Gpu:
    """The GPU that torch calls `cuda` or `cuda:1` in this process; torch itself is asked where it has begun
    to use one. Raises InputError where there is none."""
    # Without this, CUDA counts the fastest GPU first; it has effect until CUDA is used for the first time.
    os.environ.setdefault("CUDA_DEVICE_ORDER", BUS_ORDER)
    index = int(device.partition(":")[2] or 0)
    if used := _in_use_by_torch(index):
        known = [gpu for gpu in all_gpus() if gpu.uuid == used]
        if not known:
            raise InputError(f"device {device}: torch uses {used}, which NVML does not show to this process")
        return known[0]
    gpus = visible()
    if index >= len(gpus):
        raise InputError(f"device {device}: NVML shows {len(gpus)} GPUs to this process")
    return gpus[index]


def _in_use_by_torch(index: int) -> str | None:
    """UUID of the GPU that torch gives a number, where this process has begun to use CUDA: the order is then
    settled, whatever the environment says now."""
    torch = loaded_torch()
    if torch is None or not torch.cuda.is_initialized() or index >= torch.cuda.device_count():
        return None
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


@contextmanager
def reserved() -> Iterator[Gpu]:
    """Hold one visible GPU of the first one's kind; waits while all are held by other runs on this machine.

    The lock is a file in the temporary folder, released by the system when the process is gone. Processes
    with separate temporary folders, as in containers, do not see each other's.
    """
    while True:
        gpus = alike()
        if not gpus:
            raise InputError("no GPU is visible to this process: see CUDA_VISIBLE_DEVICES and `pepr doctor`")
        for gpu in gpus:
            handle = _open_lock(gpu)
            if not files.lock(handle, wait=False):
                os.close(handle)
                continue
            try:
                yield gpu
            finally:
                os.close(handle)
            return
        time.sleep(WAIT_S)


def _open_lock(gpu: Gpu) -> int:
    path = Path(tempfile.gettempdir()) / f"pepr-{gpu.uuid}.lock"
    try:
        # In a folder that all may write, Linux lets nobody create over a file of another user.
        return os.open(path, os.O_RDWR)  # NFS locks nothing that is open for reading only
    except FileNotFoundError:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


class EnergyReader:
    """The energy of one GPU between `start` and `stop`, by its counter where it has one (Volta and newer),
    else by power readings every `SAMPLE_INTERVAL_S`, joined by straight lines.

    `of_module` is true where what is read is of a module that has its CPU and memory on it (Grace Hopper
    and its kin). `source` is `counter` or `sampled_power`; `power_limit_w` is the limit that the driver
    enforces, None where it tells none. The caller synchronises the GPU at both edges. Raises MeterError where
    neither counter nor power can be read.
    """

    def __init__(self, gpu: Gpu):
        self._nvml = _nvml()
        if self._nvml is None:
            raise MeterError(f"{gpu.name}: NVML is not available, so its energy cannot be read")
        self._gpu = gpu
        self.of_module = bool(MODULE.search(gpu.name))
        self._handle = self._nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        self.source = self._find_source()
        self.power_limit_w = gpu.limit_w
        self._before_mj = 0
        self._sampler: _Sampler | None = None

    def _find_source(self) -> str:
        refused = []
        for source, ask in (
            ("counter", self._nvml.nvmlDeviceGetTotalEnergyConsumption),
            ("sampled_power", self._nvml.nvmlDeviceGetPowerUsage),
        ):
            try:
                ask(self._handle)
                return source
            except self._nvml.NVMLError as error:
                refused.append(f"{ask.__name__}: {error}")
        raise MeterError(
            f"{self._gpu.name}: its energy cannot be read ({'; '.join(refused)}); ask whoever runs this "
            "machine to permit it, or run on the processor: PEPR_DEVICE=cpu"
        )

    def start(self) -> None:
        """Begin to measure. Raises MeterError where the GPU does not answer."""
        if self.source == "counter":
            self._before_mj = self._counter_mj()
        else:
            self._sampler = _Sampler(self._power_w)

    def stop(self) -> float:
        """Energy since `start`, in kWh.

        The counter moves in steps. Work that took less than one waits for the next, so that it is charged too
        much rather than nothing. Raises MeterError where the GPU does not answer or its counter ran back.
        """
        if self._sampler is not None:
            sampler, self._sampler = self._sampler, None
            return sampler.stop() * 1000 / MILLIJOULES_PER_KWH
        used = self._counter_mj() - self._before_mj
        limit = time.perf_counter() + COUNTER_TICK_S
        while used == 0 and time.perf_counter() < limit:
            time.sleep(0.005)
            used = self._counter_mj() - self._before_mj
        if used < 0:
            raise MeterError(f"{self._gpu.name}: its energy counter ran back by {-used} mJ")
        return used / MILLIJOULES_PER_KWH

    def is_shared(self) -> bool:
        """Whether programs that are no part of this study compute on the GPU, too.

        The driver's list of processes is believed where one of this study is on it: in a container it may be
        empty, or have the numbers of the host. On Windows whatever draws on the screen is on it.
        """
        if sys.platform == "win32":
            return False
        old_driver = getattr(self._nvml, "NVMLLibraryMismatchError", self._nvml.NVMLError)
        try:
            there = {one.pid for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)}
        except (self._nvml.NVMLError, old_driver):
            return False
        if there <= {os.getpid()}:
            return False
        ours = {process.pid for process in cores.study_processes()}
        return bool(there & ours and there - ours)

    def _counter_mj(self) -> int:
        return self._read(self._nvml.nvmlDeviceGetTotalEnergyConsumption)

    def _power_w(self) -> float:
        return self._read(self._nvml.nvmlDeviceGetPowerUsage) / 1000

    def _read(self, ask: Any) -> int:
        try:
            return ask(self._handle)
        except self._nvml.NVMLError as error:
            raise MeterError(f"{self._gpu.name}: {ask.__name__}: {error}") from error


@dataclass(frozen=True)
class Load:
    """The mean power of a GPU in watts: at rest; under a load of so many seconds, by readings of power and
    by its counter, None where it has none; and the limit, None where none is told."""

    idle_w: float
    loaded_w: float
    counter_w: float | None
    limit_w: float | None
    seconds: float


def under_load(gpu: Gpu, rest: Callable[[], None], work: Callable[[], None]) -> Load:
    """Read a GPU's power while it rests, then its power and counter side by side while it works.

    Neither may return before the GPU has done its part. Raises MeterError where it does not answer.
    """
    reader = EnergyReader(gpu)
    resting = _Sampler(reader._power_w)
    rest()
    resting.stop()
    working, counted = _Sampler(reader._power_w), reader.source == "counter"
    if counted:
        reader.start()
    began = time.perf_counter()
    work()
    joules = reader.stop() * MILLIJOULES_PER_KWH / 1000 if counted else None
    seconds = time.perf_counter() - began
    working.stop()
    counter_w = None if joules is None else joules / seconds
    return Load(resting.mean_w, working.mean_w, counter_w, reader.power_limit_w, seconds)


class _Sampler:
    """Reads a power again and again in a thread, and integrates it by the trapezoidal rule."""

    def __init__(self, power_w: Any):
        self._power_w = power_w
        self._readings = [(time.perf_counter(), power_w())]
        self._error: MeterError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_INTERVAL_S):
            try:
                self._readings.append((time.perf_counter(), self._power_w()))
            except MeterError as error:
                self._error = error
                return

    def stop(self) -> float:
        """Energy in joules."""
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._readings.append((time.perf_counter(), self._power_w()))
        return self._joules

    @property
    def _joules(self) -> float:
        pairs = itertools.pairwise(self._readings)
        return sum((t1 - t0) * (p0 + p1) / 2 for (t0, p0), (t1, p1) in pairs)

    @property
    def mean_w(self) -> float:
        """Mean power over the readings, once they have stopped."""
        return self._joules / (self._readings[-1][0] - self._readings[0][0])


def driver_version() -> str | None:
    """Version of the NVIDIA driver; None where there is none."""
    nvml = _nvml()
    return _text(nvml.nvmlSystemGetDriverVersion()) if nvml else None


def _nvml() -> ModuleType | None:
    """NVML, ready to be asked; None where there is no driver, or no package that asks it."""
    try:
        import pynvml
    except ImportError:  # it comes with CodeCarbon
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
