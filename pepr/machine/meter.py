"""One meter around a block of work: energy by component, time, CPU time, and how each figure came about."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pepr import grids
from pepr.errors import MeterError
from pepr.files import write_atomic
from pepr.machine import cores, description, gpu, process, tracker
from pepr.quantities import JOULES_PER_KWH, MEASURED_KINDS

CONTENTION_LIMIT = 0.1
"""Share of the usable cores that programs which are no run of this study may take during a window before it
counts as contended."""
IDLE_S = 60.0
IDLE_VALID_S = 24 * 3600.0
"""How long idle power is measured, and for how long that measurement stands for a machine."""

CPU_SOURCES = {
    "intel_rapl": "counter",
    "windows_emi": "counter",
    "intel_power_gadget": "sampled_power",
    "apple_powermetrics": "sampled_power",
}
"""CodeCarbon's CPU modes that measure, in the terms of this study's scale of trust; in all others a load
model takes the watts that CodeCarbon knows of the CPU."""

COLUMN_OF = {"module": "gpu"}
"""The energy of a module of GPU, CPU and memory stands where that of a GPU does."""


@dataclass
class Window:
    """What one named block of work took, summed over its openings.

    Energies in kWh, None for a component that was not metered; times in seconds. Of the processor time,
    `cpu_time_s` is this process's, `beside_cpu_time_s` that of other runs of this study, `other_cpu_time_s`
    that of programs which are no part of it (and of the hypervisor).
    """

    energy_kwh: float | None = None
    energy_cpu_kwh: float | None = None
    energy_gpu_kwh: float | None = None
    energy_ram_kwh: float | None = None
    time_s: float = 0.0
    cpu_time_s: float = 0.0
    beside_cpu_time_s: float = 0.0
    other_cpu_time_s: float = 0.0

    def add(self, part: Window) -> None:
        """Add another opening of the same window."""
        for name, new in asdict(part).items():
            if new is not None:
                setattr(self, name, (getattr(self, name) or 0.0) + new)


@dataclass(frozen=True)
class LoadModel:
    """The energy of a CPU that has no counter: watts of a core times processor seconds, plus a run's share of
    the memory's watts times wall seconds. All watts are CodeCarbon's.

    >>> LoadModel(core_w=4.0, memory_w=6.0).energy_kwh(cpu_time_s=1800, time_s=3600, runs_at_once=2)
    (0.002, 0.003)
    """

    core_w: float
    memory_w: float

    def energy_kwh(self, cpu_time_s: float, time_s: float, runs_at_once: int = 1) -> tuple[float, float]:
        """Energy of CPU and of memory in kWh, of one of `runs_at_once` runs that share the memory."""
        joules = self.core_w * cpu_time_s, self.memory_w * time_s / runs_at_once
        return joules[0] / JOULES_PER_KWH, joules[1] / JOULES_PER_KWH


class Tracker(Protocol):
    """What a meter needs of an energy tracker; CodeCarbon's is one, a test's fake another."""

    def start_task(self, task_name: str) -> None: ...
    def stop_task(self) -> Any: ...


@dataclass
class Meter:
    """Measures named windows of work: `with meter.window("train"): ...`.

    A window may be opened many times under one name; `windows` holds the sums. `synchronise` is called
    at both edges of a window, so that work queued on a device is inside. `sources` names how each
    component's energy came about: `counter`, `sampled_power`, `load_model` or `assumed`.
    `gpu` reads the energy of the run's own GPU. `load_model` stands for a CPU without a counter, which needs
    no `tracker`. What a counter shows for the whole CPU is charged to a run by its share of its study's
    processor time, and the memory in equal shares to the `runs_at_once` runs that go on side by side.
    `gpu_shared_in` names the windows at an edge of which other programs were on the GPU.
    """

    tracker: Tracker | None
    sources: dict[str, str]
    synchronise: Callable[[], None] = lambda: None
    gpu: gpu.EnergyReader | None = None
    load_model: LoadModel | None = None
    runs_at_once: int = 1
    power_limit_w: float | None = None
    idle_power_w: float | None = None
    assumptions: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    gpu_shared_in: set[str] = field(default_factory=set)
    _openings: int = 0

    @contextlib.contextmanager
    def window(self, name: str) -> Iterator[Window]:
        """Open a window; what it took is added to `windows[name]` when the block ends.

        Whose processor time it was takes a look at every process of the host, tens of milliseconds on a large
        one: that is outside, so that energy and clock are of one interval.
        """
        total, part = self.windows.setdefault(name, Window()), Window()
        self._openings += 1
        self._look_for_others(name)
        living, busy, study = cores.living_time(), cores.busy_time(), cores.study_time()
        self.synchronise()
        if self.tracker is not None:
            self.tracker.start_task(f"{name}-{self._openings}")
        if self.gpu is not None:
            self.gpu.start()
        own = process.cpu_time_s()
        began = time.perf_counter()
        try:
            yield part
        finally:
            self.synchronise()
            part.time_s = time.perf_counter() - began
            own = process.cpu_time_s() - own
            if self.gpu is not None:
                part.energy_gpu_kwh = self.gpu.stop()
            measured = None if self.tracker is None else self.tracker.stop_task()
            part.cpu_time_s = own + cores.living_time() - living
            study = max(cores.study_time() - study, part.cpu_time_s)
            part.beside_cpu_time_s = study - part.cpu_time_s
            part.other_cpu_time_s = max(cores.busy_time() - busy - study, 0.0)
            self._look_for_others(name)
            self._charge_host(part, measured, part.cpu_time_s / study if study else 1.0)
            self._add(total, part)

    def _look_for_others(self, name: str) -> None:
        if self.gpu is not None and self.gpu.is_shared():
            self.gpu_shared_in.add(name)

    def charge(self, name: str, part: Window) -> None:
        """Add work that was timed from outside, such as a command's, charged by the load model.

        Raises MeterError where the CPU has a counter: that has to be read at both edges.
        """
        if self.load_model is None:
            raise MeterError(f"window {name!r}: the energy of the CPU is read by {self.source}, not modelled")
        self._charge_host(part)
        self._add(self.windows.setdefault(name, Window()), part)

    def _add(self, total: Window, part: Window) -> None:
        every = (part.energy_cpu_kwh, part.energy_gpu_kwh, part.energy_ram_kwh)
        metered = [value for value in every if value is not None]
        part.energy_kwh = sum(metered) if metered else None
        total.add(part)

    def _charge_host(self, part: Window, measured: Any = None, share_of_study: float = 1.0) -> None:
        """Fill in the energy of CPU and memory, of those that are metered: by the load model, or by what the
        tracker `measured`."""
        if self.load_model is not None:
            cpu, ram = self.load_model.energy_kwh(part.cpu_time_s, part.time_s, self.runs_at_once)
        elif measured is None:
            return
        else:
            cpu, ram = float(measured.cpu_energy), float(measured.ram_energy) / self.runs_at_once
            if self.runs_at_once > 1:
                cpu *= share_of_study
        part.energy_cpu_kwh = cpu if "cpu" in self.sources else None
        part.energy_ram_kwh = ram if "ram" in self.sources else None

    @property
    def source(self) -> str | None:
        """All components in one string, such as `cpu:load_model;ram:assumed`; None where none is metered."""
        return (
            ";".join(f"{component}:{self.sources[component]}" for component in sorted(self.sources)) or None
        )

    @property
    def gpu_source(self) -> str | None:
        """How the energy of the run's GPU, or of the module that it is on, comes about; None where neither is
        metered."""
        return self.sources.get("module") or self.sources.get("gpu")

    def contended(self, name: str) -> bool:
        """Whether programs that are no run of this study took more than a tenth of the usable cores' time
        during a window, or were on its GPU."""
        return name in self.gpu_shared_in or self._exceeds(name, self.windows[name].other_cpu_time_s)

    def idle(self, name: str) -> bool:
        """Whether nothing else, runs of this study included, took so much of the usable cores' time."""
        window = self.windows[name]
        taken = window.other_cpu_time_s + window.beside_cpu_time_s
        return name not in self.gpu_shared_in and not self._exceeds(name, taken)

    def _exceeds(self, name: str, cpu_time_s: float) -> bool:
        return cpu_time_s > CONTENTION_LIMIT * self.windows[name].time_s * cores.usable()

    def check(self, name: str) -> Window:
        """The window, if its energy is a measurement. Raises MeterError where a metered component of a
        window with work in it shows nothing: a zero is a missing value."""
        window = self.windows[name]
        for component in self.sources:
            value = getattr(window, f"energy_{COLUMN_OF.get(component, component)}_kwh")
            if value is None or not value > 0:
                raise MeterError(
                    f"window {name!r}: {component} energy is {value} kWh over {window.time_s:.2f} s; "
                    f"the meter ({self.sources[component]}) measured nothing"
                )
        return window

    def costs(self, name: str) -> dict[str, float | bool | None]:
        """What a window took, in columns of a results table, with what its energy stands for.

        Raises MeterError as `check` does.
        """
        window = self.check(name)
        energies = {key: value for key, value in asdict(window).items() if key.startswith("energy_")}
        return {
            **energies,
            **grids.derived(window.energy_kwh, grids.per_kwh()),
            "idle_power_w": self.idle_power_w,
            "power_limit_w": self.power_limit_w,
            "train_time_s": window.time_s,
            "train_cpu_time_s": window.cpu_time_s,
            "contended": self.contended(name),
        }

    def as_dict(self) -> dict[str, dict[str, float | None]]:
        return {name: asdict(window) for name, window in self.windows.items()}


def open_meter(
    device: str = "cpu", synchronise: Callable[[], None] = lambda: None, runs_at_once: int | None = None
) -> Meter:
    """A meter of this machine: CodeCarbon in offline mode for CPU and memory, nothing written, no network.

    On a `cuda` device NVML is asked for the energy of that one GPU, by its counter or its power. Raises
    MeterError where the GPU does not answer. On an Apple GPU (`mps`) nothing is metered: only the
    administrator may ask for its power, and the processor's alone would be taken for all of it. CPU and
    memory are not metered where CodeCarbon is not installed. `$PEPR_RUNS_AT_ONCE`, unless `runs_at_once` is
    given, and `$PEPR_IDLE_POWER_W` come from whoever started the run.
    """
    if device == "mps":
        return Meter(None, {}, synchronise)
    sources, load_model, opened, limit, assumed = {}, None, None, 0.0, {}
    runs_at_once = runs_at_once or int(os.environ.get("PEPR_RUNS_AT_ONCE") or 1)
    if tracker.is_installed():
        opened = tracker.open_tracker()
        sources, load_model = describe(opened._hardware)
        limit, assumed = tracker.power_limit_w(), tracker.assumptions()
        if load_model is None:
            opened.start_task("first")  # the first task pays CodeCarbon's start-up; no window should
            opened.stop_task()
            if runs_at_once > 1:
                sources["cpu"] = "assumed"
    reader = gpu.EnergyReader(gpu.current(device)) if device.startswith("cuda") else None
    if reader is not None and reader.of_module:
        sources, limit = {"module": reader.source}, reader.power_limit_w or 0.0
    elif reader is not None:
        sources["gpu"] = reader.source
        limit += reader.power_limit_w or 0.0
    idle = os.environ.get("PEPR_IDLE_POWER_W")
    return Meter(
        opened if load_model is None else None,
        sources,
        synchronise,
        reader,
        load_model,
        runs_at_once,
        power_limit_w=limit or None,
        idle_power_w=float(idle) if idle else None,
        assumptions=assumed,
    )


def describe(hardware: list[Any]) -> tuple[dict[str, str], LoadModel | None]:
    """How the energy of CPU and memory comes about, and the load model of a CPU that is not metered."""
    parts = {type(part).__name__: part for part in hardware}
    sources: dict[str, str] = {}
    cpu, ram = parts.get("CPU"), parts.get("RAM")
    cpu_w = float(cpu._tdp or 0.0) if cpu else 0.0
    memory_w = float(ram.total_power().W) if ram else 0.0
    if cpu:
        sources["cpu"] = CPU_SOURCES.get(cpu._mode, "load_model")
    if ram:
        sources["ram"] = "assumed"
    if sources.get("cpu") in MEASURED_KINDS or not cpu_w:
        return sources, None
    return sources, LoadModel(cpu_w / (os.cpu_count() or 1), memory_w)


def idle_power_w(device: str, folder: Path, say: Callable[[str], None] = print) -> float | None:
    """Power of the idle machine in watts, all metered components together; None where nothing is metered.

    Measured for a minute, once a day for each machine and GPU, and kept in `folder`. The caller holds the
    GPU. It is of the whole machine, however many runs will share that. None, too, where other work kept the
    machine from being idle.
    """
    on_gpu = device.startswith("cuda")
    if not on_gpu and not description.readable_cpu_counters():
        return None
    name = f"idle-{platform.node()}-{gpu.current(device).uuid if on_gpu else 'cpu'}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads((folder / name).read_text())
        if 0 <= time.time() - known["measured_at"] < IDLE_VALID_S:
            return known["idle_power_w"]
    say(f"Measuring the power of the idle machine for {IDLE_S:.0f} s.")
    meter = open_meter(device, runs_at_once=1)
    with meter.window("idle") as window:
        time.sleep(IDLE_S)
    meter.check("idle")
    watts = window.energy_kwh * JOULES_PER_KWH / window.time_s if meter.idle("idle") else None
    found = {
        "idle_power_w": watts,
        "seconds": window.time_s,
        "source": meter.source,
        "measured_at": time.time(),
    }
    write_atomic(folder / name, json.dumps(found, indent=1) + "\n")
    return watts
