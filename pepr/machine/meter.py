"""One meter around a block of work: energy by component, time, CPU time, and how each figure came about."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from pepr.errors import MeterError
from pepr.files import write_atomic
from pepr.machine import description, gpu
from pepr.quantities import JOULES_PER_KWH

CONTENTION_LIMIT = 0.1
"""Share of the machine's CPU that others may use during a window before a run counts as contended."""
IDLE_S = 60.0
IDLE_VALID_S = 24 * 3600.0
"""How long idle power is measured, and for how long that measurement stands for a machine."""

CPU_SOURCES = {
    "intel_rapl": "counter",
    "windows_emi": "counter",
    "intel_power_gadget": "sampled_power",
    "apple_powermetrics": "sampled_power",
    "cpu_load": "load_model",
    "constant": "tdp_constant",
}
"""CodeCarbon's CPU modes in the terms of this study's scale of trust."""


@dataclass
class Window:
    """What one named block of work took, summed over its openings.

    Energies in kWh, None for a component that was not metered; times in seconds; `other_cpu_time_s` is
    the CPU time that other processes (and the hypervisor) took meanwhile.
    """

    energy_kwh: float | None = None
    energy_cpu_kwh: float | None = None
    energy_gpu_kwh: float | None = None
    energy_ram_kwh: float | None = None
    time_s: float = 0.0
    cpu_time_s: float = 0.0
    other_cpu_time_s: float = 0.0

    def add(self, part: Window) -> None:
        """Add another opening of the same window."""
        for name in ("energy_kwh", "energy_cpu_kwh", "energy_gpu_kwh", "energy_ram_kwh"):
            new = getattr(part, name)
            if new is not None:
                setattr(self, name, (getattr(self, name) or 0.0) + new)
        self.time_s += part.time_s
        self.cpu_time_s += part.cpu_time_s
        self.other_cpu_time_s += part.other_cpu_time_s


class Tracker(Protocol):
    """What a meter needs of an energy tracker; CodeCarbon's is one, a test's fake another."""

    def start_task(self, task_name: str) -> None: ...
    def stop_task(self) -> Any: ...


@dataclass
class Meter:
    """Measures named windows of work: `with meter.window("train"): ...`.

    A window may be opened many times under one name; `windows` holds the sums. `synchronise` is called
    at both edges of a window, so that work queued on a device is inside. `sources` names how each
    component's energy came about: `counter`, `sampled_power`, `load_model`, `tdp_constant` or `assumed`.
    `gpu` reads the energy of the run's own GPU. Where `runs_at_once` runs share a machine, each on a GPU of
    its own, each is charged an equal share of what its CPU and memory take.
    """

    tracker: Tracker
    sources: dict[str, str]
    synchronise: Callable[[], None] = lambda: None
    gpu: gpu.EnergyReader | None = None
    runs_at_once: int = 1
    power_limit_w: float | None = None
    idle_power_w: float | None = None
    windows: dict[str, Window] = field(default_factory=dict)
    _openings: int = 0

    @contextlib.contextmanager
    def window(self, name: str) -> Iterator[Window]:
        """Open a window; what it took is added to `windows[name]` when the block ends."""
        total = self.windows.setdefault(name, Window())
        self._openings += 1
        self.synchronise()
        self.tracker.start_task(f"{name}-{self._openings}")
        if self.gpu is not None:
            self.gpu.start()
        busy, own, began = _busy_cpu_time(), _own_cpu_time(), time.perf_counter()
        part = Window()
        try:
            yield part
        finally:
            self.synchronise()
            part.time_s = time.perf_counter() - began
            part.cpu_time_s = _own_cpu_time() - own
            part.other_cpu_time_s = max(_busy_cpu_time() - busy - part.cpu_time_s, 0.0)
            if self.gpu is not None:
                part.energy_gpu_kwh = self.gpu.stop()
            measured = self.tracker.stop_task()
            if "cpu" in self.sources:
                part.energy_cpu_kwh = float(measured.cpu_energy) / self.runs_at_once
            if "ram" in self.sources:
                part.energy_ram_kwh = float(measured.ram_energy) / self.runs_at_once
            part.energy_kwh = sum(
                value
                for value in (part.energy_cpu_kwh, part.energy_gpu_kwh, part.energy_ram_kwh)
                if value is not None
            )
            total.add(part)

    @property
    def source(self) -> str:
        """All components in one string, such as `cpu:load_model;ram:assumed`."""
        return ";".join(f"{component}:{self.sources[component]}" for component in sorted(self.sources))

    def contended(self, name: str) -> bool:
        """Whether other work used more than a tenth of the machine's CPU during a window, beyond the shares
        of the runs that it is meant to carry out at once."""
        window = self.windows[name]
        allowed = 1 - 1 / self.runs_at_once + CONTENTION_LIMIT
        return window.other_cpu_time_s > allowed * window.time_s * (os.cpu_count() or 1)

    def check(self, name: str) -> Window:
        """The window, if its energy is a measurement. Raises MeterError where a metered component of a
        window with work in it shows nothing: a zero is a missing value."""
        window = self.windows[name]
        for component in self.sources:
            value = getattr(window, f"energy_{component}_kwh")
            if value is None or not value > 0:
                raise MeterError(
                    f"window {name!r}: {component} energy is {value} kWh over {window.time_s:.2f} s; "
                    f"the meter ({self.sources[component]}) measured nothing"
                )
        return window

    def as_dict(self) -> dict[str, dict[str, float | None]]:
        return {name: asdict(window) for name, window in self.windows.items()}


def _own_cpu_time() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_cpu_time() -> float:
    """CPU seconds that the whole machine was not idle, time taken by a hypervisor included."""
    times = psutil.cpu_times()
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return sum(times) - guest - times.idle - getattr(times, "iowait", 0.0)


def open_meter(device: str = "cpu", synchronise: Callable[[], None] = lambda: None) -> Meter:
    """A meter of this machine: CodeCarbon in offline mode for CPU and memory, nothing written, no network.

    On a `cuda` device NVML is asked for the energy of that one GPU, by its counter or its power. Raises
    MeterError where the GPU does not answer. `$PEPR_RUNS_AT_ONCE` and `$PEPR_IDLE_POWER_W` come from
    whoever started the run.
    """
    tracker = _open_tracker()
    sources, limit = _describe(tracker._hardware)
    reader = gpu.EnergyReader(gpu.current(device)) if device.startswith("cuda") else None
    if reader is not None:
        sources["gpu"] = reader.source
        limit += reader.power_limit_w or 0.0
    runs_at_once = int(os.environ.get("PEPR_RUNS_AT_ONCE") or 1)
    if runs_at_once > 1:
        sources |= dict.fromkeys(("cpu", "ram"), "assumed")
    idle = os.environ.get("PEPR_IDLE_POWER_W")
    return Meter(
        tracker,
        sources,
        synchronise,
        reader,
        runs_at_once,
        power_limit_w=limit or None,
        idle_power_w=float(idle) if idle else None,
    )


def _open_tracker() -> Tracker:
    logging.getLogger("codecarbon").disabled = True
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="DNK",  # required; grid intensity is applied afterwards, see `carbon_intensity`
        output_methods=[],
        measure_power_secs=1,
        tracking_mode="machine",
        allow_multiple_runs=True,
        log_level="critical",
        gpu_ids=[],
    )
    tracker._ensure_hardware_ready()
    tracker.start_task("first")  # the first task pays CodeCarbon's start-up; no window should
    tracker.stop_task()
    return tracker


def _describe(hardware: list[Any]) -> tuple[dict[str, str], float]:
    """How the energy of CPU and memory comes about, and the sum of their known power limits in watts."""
    sources: dict[str, str] = {}
    limit = 0.0
    for part in hardware:
        kind = type(part).__name__
        if kind == "CPU":
            sources["cpu"] = CPU_SOURCES.get(part._mode, "assumed")
            limit += float(part._tdp or 0.0)
        elif kind == "RAM":
            sources["ram"] = "assumed"
            limit += float(part.total_power().W)
    return sources, limit


def idle_power_w(device: str, folder: Path, say: Callable[[str], None] = print) -> float | None:
    """Power of the idle machine in watts, all metered components together; None where nothing is metered.

    Measured for a minute, once a day for each machine and GPU, and kept in `folder`. The caller holds the
    GPU. None, too, where other work kept the machine from being idle.
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
    meter = open_meter(device)
    with meter.window("idle") as window:
        time.sleep(IDLE_S)
    meter.check("idle")
    watts = None if meter.contended("idle") else window.energy_kwh * JOULES_PER_KWH / window.time_s
    found = {
        "idle_power_w": watts,
        "seconds": window.time_s,
        "source": meter.source,
        "measured_at": time.time(),
    }
    write_atomic(folder / name, json.dumps(found, indent=1) + "\n")
    return watts
