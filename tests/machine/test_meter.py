"""The meter: windows that add up, sources that say how a figure came about, zeros that are failures."""

import json
import os
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
    for _ in range(2):
        with meter.window("train"):
            time.sleep(0.01)
    window = meter.check("train")
    assert window.energy_cpu_kwh == pytest.approx(4e-3)
    assert window.energy_ram_kwh == pytest.approx(6e-3)
    assert window.energy_kwh == pytest.approx(10e-3)
    assert window.energy_gpu_kwh is None
    assert 0.02 <= window.time_s < 0.2
    assert meter.source == "cpu:load_model;ram:assumed"


def test_the_device_is_synchronised_at_both_edges():
    calls = []
    meter = metering.Meter(
        FakeTracker((1.0, 0.0, 1.0)), SOURCES, synchronise=lambda: calls.append(len(calls))
    )
    with meter.window("train"):
        assert calls == [0]
    assert calls == [0, 1]


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
    workers = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.3)
        with meter.window("train"):
            time.sleep(0.5)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert meter.contended("train")


def test_own_work_is_not_contention():
    meter = metering.Meter(FakeTracker((1, 0, 1)), SOURCES)
    meter.windows["train"] = metering.Window(time_s=10.0, cpu_time_s=20.0, other_cpu_time_s=0.05 * 10.0)
    assert not meter.contended("train")
    meter.windows["train"].other_cpu_time_s = 0.11 * 10.0 * (os.cpu_count() or 1)
    assert meter.contended("train")


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
