"""The meter: windows that add up, sources that say how a figure came about, zeros that are failures."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from types import SimpleNamespace

import pytest

from pepr import grids
from pepr.errors import InputError, MeterError
from pepr.machine import meter as metering


class FakeTracker:
    """Hands out the energies in kWh that it is given, one reading a window."""

    def __init__(self, *readings):
        self.readings, self.names = list(readings), []

    def start_task(self, task_name):
        self.names.append(task_name)

    def stop_task(self):
        cpu, gpu, ram = self.readings.pop(0)
        return SimpleNamespace(cpu_energy=cpu, gpu_energy=gpu, ram_energy=ram)


SOURCES = {"cpu": "load_model", "ram": "assumed"}


def test_openings_of_a_window_add_up_and_an_unmetered_component_stays_empty():
    meter = metering.Meter(FakeTracker((1e-3, 0.0, 2e-3), (3e-3, 0.0, 4e-3)), SOURCES)
    began = time.perf_counter()
    for _ in range(2):
        with meter.window("train"):
            time.sleep(0.01)
    seconds = time.perf_counter() - began
    window = meter.check("train")
    assert window.energy_cpu_kwh == pytest.approx(4e-3)
    assert window.energy_ram_kwh == pytest.approx(6e-3)
    assert window.energy_kwh == pytest.approx(10e-3)
    assert window.energy_gpu_kwh is None
    assert 0.02 <= window.time_s <= seconds
    assert meter.source == "cpu:load_model;ram:assumed"


def test_the_device_is_synchronised_at_both_edges():
    calls = []
    meter = metering.Meter(
        FakeTracker((1.0, 0.0, 1.0)), SOURCES, synchronise=lambda: calls.append(len(calls))
    )
    with meter.window("train"):
        assert calls == [0]
    assert calls == [0, 1]


def test_energy_and_clock_are_of_one_interval(monkeypatch):
    """Looking at every process of the host takes long on a large one, and belongs to no work."""
    at = {}

    def read(what, value=None):
        at[what] = time.perf_counter()
        return value

    def look():
        time.sleep(0.1)
        return 0.0

    for name in ("living_time", "busy_time", "study_time"):
        monkeypatch.setattr(metering.cores, name, look)
    energies = SimpleNamespace(cpu_energy=1.0, ram_energy=2.0)
    host = SimpleNamespace(
        start_task=lambda name: read("host begins"), stop_task=lambda: read("host ends", energies)
    )
    gpu = SimpleNamespace(
        start=lambda: read("gpu begins"), stop=lambda: read("gpu ends", 4.0), is_shared=lambda: look() > 0
    )
    sources = {"cpu": "counter", "gpu": "counter", "ram": "assumed"}
    meter = metering.Meter(host, sources, gpu=gpu)
    with meter.window("train"):
        time.sleep(0.05)
    window = meter.check("train")
    assert window.energy_kwh == 7.0 and window.time_s >= 0.05
    for what in ("gpu", "host"):
        assert at[f"{what} ends"] - at[f"{what} begins"] == pytest.approx(window.time_s, abs=0.08)


def test_on_a_cpu_the_host_is_looked_at_in_the_order_in_which_it_was(monkeypatch):
    """What a load model charges hangs on it."""
    order = []

    def look(what):
        return lambda: order.append(what) or 0.0

    for name in ("living_time", "busy_time", "study_time"):
        monkeypatch.setattr(metering.cores, name, look(name))
    monkeypatch.setattr(metering.process, "cpu_time_s", look("own"))
    meter = metering.Meter(None, SOURCES, load_model=metering.LoadModel(core_w=4.0, memory_w=2.0))
    with meter.window("train"):
        order.append("work")
    before = ["living_time", "busy_time", "study_time", "own"]
    assert order == [*before, "work", "own", "living_time", "study_time", "busy_time"]


def test_a_window_is_closed_when_its_work_raises():
    tracker = FakeTracker((1.0, 0.0, 1.0))
    meter = metering.Meter(tracker, SOURCES)
    with pytest.raises(ZeroDivisionError), meter.window("train"):
        raise ZeroDivisionError
    assert tracker.readings == [] and meter.windows["train"].energy_kwh == 2.0


@pytest.mark.parametrize(
    "reading", [(0.0, 0.0, 1e-6), (1e-6, 0.0, 0.0), (-1e-6, 0.0, 1e-6), (float("nan"), 0, 1e-6)]
)
def test_a_zero_is_a_failure_of_the_meter_not_a_measurement(reading):
    meter = metering.Meter(FakeTracker(reading), SOURCES)
    with meter.window("train"):
        pass
    with pytest.raises(MeterError, match="measured nothing"):
        meter.check("train")


def test_other_work_on_the_cpu_marks_a_window_as_contended():
    meter = metering.Meter(FakeTracker((1, 0, 1), (1, 0, 1)), SOURCES)
    busy = "import time\nend = time.time() + 3\nwhile time.time() < end: pass"
    # Their parent ends at once, so that they are no part of this process's work.
    start = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.DEVNULL).pid)"
    )
    workers = [
        int(subprocess.run([sys.executable, "-c", start, busy], stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        time.sleep(0.3)
        with meter.window("train"):
            time.sleep(0.5)
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
    assert meter.contended("train")


def test_the_runs_of_a_study_do_not_contend_with_each_other(monkeypatch):
    """Another run of the study takes a whole core while this one sleeps; then a stranger takes as much."""
    monkeypatch.setattr(metering.cores, "usable", lambda: 1.0)
    for study_s, contended in ((1.0, False), (0.0, True)):
        busy, study = iter([10.0, 11.0]), iter([5.0, 5.0 + study_s])
        monkeypatch.setattr(metering.cores, "busy_time", busy.__next__)
        monkeypatch.setattr(metering.cores, "study_time", study.__next__)
        meter = metering.Meter(FakeTracker((1, 0, 1)), SOURCES, runs_at_once=2)
        with meter.window("train"):
            time.sleep(0.5)
        assert meter.contended("train") == contended


def test_own_work_is_not_contention_and_a_tenth_of_the_usable_cores_is_the_limit(monkeypatch):
    monkeypatch.setattr(metering.cores, "usable", lambda: 0.5)
    meter = metering.Meter(FakeTracker((1, 0, 1)), SOURCES)
    meter.windows["train"] = metering.Window(time_s=10.0, cpu_time_s=5.0, other_cpu_time_s=0.49)
    assert not meter.contended("train")
    meter.windows["train"].other_cpu_time_s = 0.51
    assert meter.contended("train")


def test_the_runs_of_a_study_add_up_to_its_machine(monkeypatch):
    """Two cores of 4 W and a memory of 6 W for 100 s, filled by two runs at a time: 14 W are charged, no more
    and no less, whichever run took how long."""
    load, spans = metering.LoadModel(core_w=4.0, memory_w=6.0), [(60, 40), (30, 70)]
    charged = sum(
        sum(load.energy_kwh(cpu_time_s=seconds, time_s=seconds, runs_at_once=2))
        for core in spans
        for seconds in core
    )
    assert charged * 3.6e6 == pytest.approx((2 * 4.0 + 6.0) * 100)


def test_a_run_that_waits_for_its_core_pays_for_memory_and_not_for_the_core():
    load = metering.LoadModel(core_w=4.0, memory_w=6.0)
    quiet, waited = load.energy_kwh(10.0, 10.0), load.energy_kwh(10.0, 30.0)
    assert quiet[0] == waited[0] and waited[1] == 3 * quiet[1]


def test_what_a_counter_shows_for_the_cpu_is_shared_by_processor_time(monkeypatch):
    """The counter reads 9 kWh while the study took 3 s of processor time, this run a third of them."""
    study = iter([0.0, 3.0])
    monkeypatch.setattr(metering.cores, "study_time", study.__next__)
    own = iter([0.0, 1.0])
    monkeypatch.setattr(metering.process, "cpu_time_s", own.__next__)
    meter = metering.Meter(FakeTracker((9.0, 0.0, 4.0)), {"cpu": "assumed", "ram": "assumed"}, runs_at_once=2)
    with meter.window("train"):
        pass
    assert meter.windows["train"].energy_cpu_kwh == pytest.approx(3.0)
    assert meter.windows["train"].energy_ram_kwh == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("mode", "source", "modelled"),
    [
        ("intel_rapl", "counter", False),
        ("cpu_load", "load_model", True),
        ("constant", "load_model", True),
    ],
)
def test_a_cpu_that_is_not_metered_has_a_load_model_of_codecarbons_watts(monkeypatch, mode, source, modelled):
    class CPU:
        _mode, _tdp = mode, 40.0

    class RAM:
        total_power = staticmethod(lambda: SimpleNamespace(W=6.0))

    monkeypatch.setattr(metering.os, "cpu_count", lambda: 8)
    sources, load = metering.describe([CPU(), RAM()])
    assert sources == {"cpu": source, "ram": "assumed"}
    assert load == (metering.LoadModel(core_w=5.0, memory_w=6.0) if modelled else None)


def test_the_real_meter_of_this_machine_names_its_sources_and_stays_under_its_limit():
    meter = metering.open_meter()
    with meter.window("train"):
        end = time.perf_counter() + 1.2
        while time.perf_counter() < end:
            sum(range(1000))
    window = meter.check("train")
    assert set(meter.sources.values()) <= {
        "counter",
        "sampled_power",
        "load_model",
        "tdp_constant",
        "assumed",
    }
    watts = window.energy_kwh * 3.6e6 / window.time_s
    assert 0 < watts <= meter.power_limit_w * 1.05


def test_intensities_are_codecarbons_and_the_world_is_the_default(monkeypatch):
    monkeypatch.delenv("PEPR_COUNTRY", raising=False)
    table = json.loads(
        (resources.files("codecarbon") / "data/private_infra/global_energy_mix.json").read_text()
    )
    for code in ("DNK", "IND", "KEN", "BRA"):
        assert grids.carbon_intensity(code)[0] == table[code]["carbon_intensity"]
    assert grids.carbon_intensity()[1] == "world average"
    monkeypatch.setenv("PEPR_COUNTRY", "ken")
    assert grids.carbon_intensity() == (table["KEN"]["carbon_intensity"], table["KEN"]["country_name"])
    with pytest.raises(InputError, match="'ZZZ'"):
        grids.carbon_intensity("ZZZ")


def test_work_that_was_timed_from_outside_is_charged_by_the_load_model_alone():
    meter = metering.Meter(None, SOURCES, load_model=metering.LoadModel(core_w=4.0, memory_w=2.0))
    for _ in range(2):
        meter.charge("train", metering.Window(time_s=90.0, cpu_time_s=45.0))
    window = meter.check("train")
    assert window.energy_cpu_kwh * 3.6e6 == pytest.approx(2 * 180.0)
    assert window.energy_ram_kwh * 3.6e6 == pytest.approx(2 * 180.0)
    assert window.energy_kwh * 3.6e6 == pytest.approx(2 * 360.0)
    with pytest.raises(MeterError, match="read by cpu:counter"):
        metering.Meter(FakeTracker(), {"cpu": "counter"}).charge("train", metering.Window())


def test_a_child_that_outlives_the_window_is_counted_for_what_it_took_in_it():
    meter = metering.Meter(None, SOURCES, load_model=metering.LoadModel(core_w=4.0, memory_w=2.0))
    busy = "import time\nwhile time.process_time() < 60: pass"
    child = subprocess.Popen([sys.executable, "-c", busy])
    try:
        time.sleep(0.5)
        with meter.window("train"):
            time.sleep(1.0)
        took = meter.windows["train"].cpu_time_s
    finally:
        child.kill()
        child.wait()
    assert 0.05 < took < 1.2
