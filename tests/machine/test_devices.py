"""Devices that surprise: each is the right number, or one sentence that says what to do."""

import dataclasses
from types import SimpleNamespace

import papermill
import pytest
import torch
from fake_nvml import FakeGpu
from typer.testing import CliRunner

from pepr import cli, runs, training
from pepr.audit import gates
from pepr.costs import calibration, model as cost, prediction, sweep as sweeping, swept
from pepr.errors import InputError, MeterError
from pepr.files import find_checkout
from pepr.machine import description, gpu, meter as metering
from pepr.study import forecast, measurement, profile as study_profile
from pepr.training import memory, steps
from tests.training.test_training import SPEC, fake_meter

UNLIKE = (FakeGpu("GPU-aaaa", name="Slow"), FakeGpu("GPU-bbbb", name="Fast"))


def test_a_whole_gpu_beside_one_in_slices_can_be_named(driver, monkeypatch):
    driver(FakeGpu("GPU-aaaa", mig=1), FakeGpu("GPU-bbbb"))
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")  # as a container's device plugin leaves it
    with pytest.raises(InputError, match="energy of a slice"):
        gpu.visible()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu.current("cuda").uuid == "GPU-bbbb"


def test_runs_are_shared_out_over_unlike_gpus_only_when_asked_and_their_rows_are_sets_apart(
    driver, monkeypatch
):
    driver(*UNLIKE)
    assert [one.name for one in gpu.alike()] == ["Slow"]
    assert gpu.UNLIKE in gpu.left_out()
    monkeypatch.setenv(gpu.UNLIKE, "yes")
    assert [one.name for one in gpu.alike()] == ["Slow", "Fast"] and gpu.left_out() is None
    assert description.hardware("cuda:0") != description.hardware("cuda:1")


@pytest.mark.parametrize("named", [None, "1", "GPU-aaaa,1"])
def test_numbers_of_unlike_gpus_by_speed_are_refused(driver, monkeypatch, named):
    driver(*UNLIKE)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(
        InputError, match=r"FASTEST_FIRST.*name GPUs by the UUIDs.*CUDA_VISIBLE_DEVICES=GPU-aaaa"
    ):
        gpu.visible()


def test_names_and_gpus_of_one_kind_do_not_hang_on_the_order(driver, monkeypatch):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    driver(*UNLIKE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb")
    assert gpu.current("cuda").name == "Fast"
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu.current("cuda").uuid == "GPU-bbbb"


def test_once_torch_uses_a_gpu_its_own_word_counts(driver, monkeypatch):
    driver(*UNLIKE)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    order = ["bbbb", "aaaa"]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=order[index]))
    assert [gpu.current(f"cuda:{index}").name for index in (0, 1)] == ["Fast", "Slow"]
    order[0] = "cccc"
    with pytest.raises(InputError, match="torch uses GPU-cccc, which NVML does not show"):
        gpu.current("cuda")


def test_a_gpu_that_this_user_may_not_use_has_no_number(driver, monkeypatch):
    driver(FakeGpu("GPU-aaaa", denied=("handle",)), FakeGpu("GPU-bbbb"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu.current("cuda").uuid == "GPU-bbbb"


def test_a_counter_that_may_not_be_read_leaves_the_power(driver):
    driver(FakeGpu(denied=("counter",)))
    assert gpu.EnergyReader(gpu.current("cuda")).source == "sampled_power"


@pytest.mark.parametrize(
    ("visible", "asked", "named"),
    [
        (None, "cuda:1", "1"),
        (None, "cuda:0", "0"),
        ("", "cuda:1", "1"),
        ("3, GPU-cccc", "cuda:1", "GPU-cccc"),
        ("3", "cuda:1", "1"),
    ],
)
def test_a_study_is_given_a_gpu_by_what_it_may_see_and_not_by_a_number(monkeypatch, visible, asked, named):
    """Its runs see one GPU alone, where `cuda:1` is none."""
    monkeypatch.setenv("PEPR_DEVICE", asked)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError, match=f"^PEPR_DEVICE={asked}: .*: CUDA_VISIBLE_DEVICES={named} PEPR_DEV"):
        description.study_device()
    for device in ("cpu", "cuda", "mps"):
        monkeypatch.setenv("PEPR_DEVICE", device)
        assert description.study_device() == device


def test_where_no_energy_may_be_read_the_meter_says_so_at_once(driver):
    driver(FakeGpu(denied=("counter", "power")))
    with pytest.raises(
        MeterError, match=r"Fake GPU: its energy cannot be read .*Permission.*PEPR_DEVICE=cpu"
    ):
        metering.open_meter("cuda")


def test_a_gpu_that_torch_cannot_use_is_refused_in_one_sentence(driver, monkeypatch):
    driver(FakeGpu())
    assert description.chosen_device("cuda") == description.chosen_device("auto") == "cuda"
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: "the driver is too old")
    assert description.chosen_device("auto") == description.chosen_device() == "cpu"
    for ask in (
        lambda: description.chosen_device("cuda"),
        lambda: sweeping.conditions_of("cuda", None, 32, "fp32"),
        lambda: calibration.calibrate("here", "cuda"),
    ):
        with pytest.raises(InputError, match=r"device cuda: torch cannot use it \(the driver is too old\)"):
            ask()


def test_a_device_that_is_none_is_refused_and_the_environment_may_choose(driver, monkeypatch):
    driver()
    with pytest.raises(InputError, match="device 'gpu': expected auto, cpu, cuda"):
        description.chosen_device("gpu")
    with pytest.raises(InputError, match="NVML shows 0 GPUs"):
        description.chosen_device("cuda")
    monkeypatch.setenv("PEPR_DEVICE", "auto")
    assert description.chosen_device() == "cpu"
    driver(FakeGpu())
    description.gpu_names.cache_clear()
    assert description.chosen_device("auto") == "cuda"
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    assert description.chosen_device("auto") == "cpu"


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:x", "tpu", "cpu:0"])
def test_a_name_in_the_environment_that_is_no_device_is_refused_wherever_it_counts(driver, monkeypatch, name):
    driver()
    monkeypatch.setenv("PEPR_DEVICE", name)
    for ask in (description.default_device, description.chosen_device, lambda: measurement.device_of(None)):
        with pytest.raises(InputError, match=f"device '{name}': expected auto, cpu, cuda"):
            ask()
    done = CliRunner().invoke(cli.app, ["plan", "--profile", "smoke"])
    assert isinstance(done.exception, InputError)


def test_the_notebook_takes_what_there_is_unless_told():
    path = find_checkout() / "notebooks" / "02_finetune.ipynb"
    assert papermill.inspect_notebook(path)["device"]["default"] == '"auto"'
    assert "description.chosen_device(device)" in path.read_text()


def test_an_apple_gpu_is_a_device_of_its_own_whose_energy_is_empty(monkeypatch):
    meter = metering.open_meter("mps")
    with meter.window("train"):
        sum(range(1000))
    window = meter.check("train")
    assert window.energy_kwh is None and window.energy_cpu_kwh is None and window.time_s > 0
    assert meter.source is None and meter.power_limit_w is None
    assert description.hardware("mps").startswith("Apple GPU (Metal); ")
    assert description.environment("mps")["gpu"] == "Apple GPU (Metal)"
    assert forecast.side_by_side(study_profile.grid(study_profile.load("smoke"), "mps"), "mps").runs == 1
    description.why_torch_has_no_mps.cache_clear()
    if not torch.backends.mps.is_available():
        with pytest.raises(InputError, match=r"device mps: torch cannot use it"):
            description.chosen_device("mps")
    monkeypatch.setattr(description, "why_torch_has_no_mps", lambda: None)
    assert sweeping.conditions_of("mps", None, 32, "fp32").name == "mps-256px-b32-fp32"
    with pytest.raises(InputError, match="Apple GPU is not metered"):
        calibration.calibrate("here", "mps")


def test_without_codecarbon_the_gpu_is_metered_and_nothing_else(driver, monkeypatch):
    monkeypatch.setattr(metering.tracker, "is_installed", lambda: False)
    assert metering.open_meter("cpu").source is None
    driver(FakeGpu(watts=300.0, limit_w=400))
    meter = metering.open_meter("cuda")
    assert meter.source == "gpu:counter" and meter.power_limit_w == 400
    with meter.window("train"):
        sum(range(1000))
    window = meter.check("train")
    assert window.energy_kwh == window.energy_gpu_kwh > 0 and window.energy_cpu_kwh is None


def test_the_memory_of_an_apple_gpu_is_torchs(monkeypatch):
    given = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: given.append("back"))
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 123)
    gauge = memory.memory_gauge(torch.device("mps"))
    gauge.reset()
    assert (gauge.peak(), gauge.reserved(), gauge.source) == (123, 123, "metal_allocator_peak")
    assert given == ["back"]


def test_a_full_apple_gpu_is_out_of_memory_like_any_other():
    with pytest.raises(torch.OutOfMemoryError), memory.out_of_memory_by_one_name():
        raise RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")
    with pytest.raises(RuntimeError, match="another") as caught, memory.out_of_memory_by_one_name():
        raise RuntimeError("another")
    assert not isinstance(caught.value, torch.OutOfMemoryError)


def test_a_run_whose_energy_is_not_metered_is_a_row_without_one_that_passes_the_gates(results):
    unmetered = dataclasses.replace(fake_meter(), tracker=None, load_model=None, sources={}, windows={})
    record = training.fine_tune(SPEC, meter=unmetered).record
    assert record["energy_kwh"] is None and record["co2eq_g"] is None and record["energy_source"] is None
    assert record["train_time_s"] > 0
    table = runs.as_table([record])
    found = set(gates.gates(table.assign(device="mps"))["gate"])
    assert found <= {gates.DID_LEARN}
    assert {"energy_positive", "power_known"} <= set(gates.gates(table)["gate"])
    zero = gates.gates(table.assign(device="mps", energy_kwh=0.0))
    assert "energy_positive" in set(zero["gate"])


def test_a_step_that_was_not_metered_predicts_time_and_memory_and_no_energy(tmp_path, monkeypatch):
    unmetered = metering.open_meter("mps")
    found = steps.measure_steps(
        dataclasses.replace(SPEC, model="dla46_c", image_size=32, batch_size=4), unmetered, limit_s=0.1
    )
    assert found.step_energy_wh is None and found.step_time_s > 0
    row = dict.fromkeys(swept.COLUMNS) | dataclasses.asdict(found)
    row |= {"model": "dla46_c", "device": "mps", "hardware": "a Mac", "measured_at": "2026-11-27"}
    row |= {"peak_memory_bytes": 10**8}  # this process may have held more before
    assert "energy not metered a step" in swept.line({**row, "status": "ok"})
    made = swept.predict(row, cost.job_of("lidc"))
    assert made.energy_wh is None and made.train_time_s > 0 and made.peak_memory_bytes > 0
    monkeypatch.setattr(swept, "of_job", lambda job: swept.Sweep(None, {"dla46_c": {**row, "status": "ok"}}))
    predicted = prediction.as_row("dla46_c", cost.job_of("lidc"))
    assert predicted["swept"] and predicted["energy_wh"] is None
    assert "not metered" in prediction.as_text([predicted])
