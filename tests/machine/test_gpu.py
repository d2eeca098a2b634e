"""GPUs, on a machine that pretends to have some: found, shared out one run at a time, their energy read."""

import inspect
import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pynvml
import pytest
import torch
from conftest import simulated_run
from fake_nvml import FakeGpu, FakeNvml

from pepr import analysis, errors, quantities, runs
from pepr.errors import InputError, MeterError
from pepr.machine import description, gpu, meter as metering
from pepr.study import execution

KWH = 3.6e6


def test_the_pretended_driver_obeys_the_interface_of_the_real_one():
    for name, method in inspect.getmembers(FakeNvml, inspect.isfunction):
        if name.startswith("nvml"):
            real = list(inspect.signature(getattr(pynvml, name)).parameters)
            assert list(inspect.signature(method).parameters)[1:] == real, name


def test_without_a_driver_there_are_no_gpus(driver, monkeypatch):
    driver(driver=False)
    assert gpu.all_gpus() == [] == gpu.visible() and description.gpu_names() == ()
    assert gpu.driver_version() is None and description.default_device() == "cpu"
    with pytest.raises(InputError, match="no GPU is visible"), gpu.reserved():
        pass
    with pytest.raises(MeterError, match="NVML is not available"):
        gpu.EnergyReader(gpu.Gpu(0, "GPU-aaaa", "A GPU"))


def test_without_the_package_that_asks_nvml_there_are_no_gpus(driver, monkeypatch):
    driver(FakeGpu())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.visible() == [] and gpu.driver_version() is None and description.default_device() == "cpu"


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]),
        ("", []),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-c, GPU-aaaa", ["GPU-cccc", "GPU-aaaa"]),
        ("1,-1,0", ["GPU-abbb"]),
        ("1,7", ["GPU-abbb"]),
        ("GPU-a", []),
        ("0,0", []),
        ("2,0,2", []),
        ("NoDevFiles", []),
    ],
)
def test_gpus_are_those_that_cuda_would_see(driver, monkeypatch, named, found):
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-abbb"), FakeGpu("GPU-cccc"))
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert [one.uuid for one in gpu.visible()] == found
    assert len(description.gpu_names()) == len(found)


def test_a_gpu_that_fell_off_the_bus_is_not_counted(driver):
    nvml = driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb"))
    nvml.gpus[0].lost = True
    assert [one.index for one in gpu.visible()] == [1]


def test_a_slice_of_a_gpu_is_refused(driver, monkeypatch):
    driver(FakeGpu())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    with pytest.raises(InputError, match="slice of a GPU"):
        gpu.visible()


@pytest.mark.parametrize(
    "name", ["MIG-GPU-aaaa/1/0", " MIG-1,MIG-2", "mig-1234", "0:1", "0:0,0:2", "all,MIG-1"]
)
@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"])
def test_a_slice_is_known_by_each_of_its_names(driver, monkeypatch, variable, name):
    driver(FakeGpu())
    monkeypatch.setenv(variable, name.removeprefix("all,") if variable.startswith("CUDA") else name)
    with pytest.raises(InputError, match="slice of a GPU"):
        gpu.visible()


@pytest.mark.parametrize("name", ["all", "void", "0", "0,1", "GPU-5ebe9f43-ac33-7c9e-a1f5-0123456789ab"])
def test_what_a_container_calls_a_whole_gpu_is_none(driver, monkeypatch, name):
    driver(FakeGpu())
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", name)
    assert len(gpu.visible()) == 1


@pytest.mark.parametrize("how", ["mode", "container"])
def test_a_slice_is_refused_however_it_is_told_and_the_way_on_is_named(driver, monkeypatch, how):
    driver(FakeGpu(mig=int(how == "mode")))
    if how == "container":
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "MIG-1234")
    for ask in (gpu.visible, description.default_device, lambda: gpu.current("cuda")):
        with pytest.raises(InputError, match=r"slice of a GPU \(MIG\) cannot be measured.*PEPR_DEVICE=cpu"):
            ask()
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    assert description.default_device() == "cpu"


def test_a_gpu_that_cannot_be_sliced_is_whole(driver):
    driver(FakeGpu(mig=None))
    assert len(gpu.visible()) == 1


def test_runs_are_shared_out_over_one_kind_of_card_and_the_others_are_named(driver):
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb", name="Other"), FakeGpu("GPU-cccc"))
    assert [one.uuid for one in gpu.alike()] == ["GPU-aaaa", "GPU-cccc"]
    assert "2 x Fake GPU" in gpu.left_out() and "Other (cap 350 W) (GPU-bbbb)" in gpu.left_out()
    with gpu.reserved() as first, gpu.reserved() as second:
        assert {first.uuid, second.uuid} == {"GPU-aaaa", "GPU-cccc"}
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb"))
    assert gpu.left_out() is None


def test_one_card_under_two_power_caps_is_two_kinds_of_machine(driver):
    driver(FakeGpu("GPU-aaaa", limit_w=350), FakeGpu("GPU-bbbb", limit_w=120))
    names = {description.hardware(f"cuda:{place}") for place in (0, 1)}
    assert len(names) == 2 and len(gpu.alike()) == 1


def test_a_module_whose_counter_includes_its_cpu_is_charged_once(driver):
    driver(FakeGpu(watts=500.0, name="NVIDIA GH200 480GB", limit_w=900))
    meter = metering.open_meter("cuda")
    assert meter.source == "module:counter" and meter.power_limit_w == 900
    with meter.window("train"):
        time.sleep(0.3)
    window = meter.check("train")
    assert window.energy_cpu_kwh is None and window.energy_ram_kwh is None
    assert window.energy_kwh == window.energy_gpu_kwh > 0
    assert not quantities.energy_is_estimated(meter.source)


def test_what_torch_cannot_use_is_no_device(driver, monkeypatch):
    driver(FakeGpu())
    assert description.default_device() == "cuda"
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: "built without CUDA")
    assert description.default_device() == "cpu"


def test_torch_itself_is_asked_whether_it_can_use_a_gpu():
    description.why_torch_has_no_gpu.cache_clear()
    told = description.why_torch_has_no_gpu()
    assert (told is None) == torch.cuda.is_available()


def test_torchs_name_of_a_gpu_is_looked_up_among_the_visible_ones(driver, monkeypatch):
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb", name="The other"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert gpu.current("cuda").uuid == gpu.current("cuda:0").uuid == "GPU-bbbb"
    assert gpu.current("cuda:1").uuid == "GPU-aaaa"
    assert description.hardware("cuda").startswith("The other; ")
    with pytest.raises(InputError, match="device cuda:2: NVML shows 2 GPUs"):
        gpu.current("cuda:2")


def test_a_driver_that_names_in_bytes_and_tells_no_limit_is_understood(driver):
    driver(FakeGpu(b"GPU-aaaa", name=b"Old GPU", limit_w=None))
    sys.modules["pynvml"].nvmlDeviceGetHandleByUUID = lambda uuid: sys.modules["pynvml"].gpus[0]
    assert gpu.current("cuda") == gpu.Gpu(0, "GPU-aaaa", "Old GPU")
    assert reader().power_limit_w is None
    assert metering.open_meter("cuda").power_limit_w > 0, "that of the host is known"


@pytest.mark.parametrize("counter", [True, False])
def test_energy_is_power_times_time(driver, counter):
    driver(FakeGpu(watts=250.0, counter=counter))
    reader = gpu.EnergyReader(gpu.current("cuda"))
    assert reader.source == ("counter" if counter else "sampled_power") and reader.power_limit_w == 350
    tick = 250 * sys.modules["pynvml"].gpus[0].tick_s
    began = time.perf_counter()
    reader.start()
    time.sleep(0.5)
    used, seconds = reader.stop() * KWH, time.perf_counter() - began
    # Bounds that hold however long a busy machine takes between two lines.
    assert 250 * 0.5 - tick <= used <= 250 * seconds + tick


def test_sampled_power_follows_a_changing_load(driver):
    driver(FakeGpu(watts=lambda seconds: 200 + 100 * math.sin(10 * seconds), counter=False))
    reader = gpu.EnergyReader(gpu.current("cuda"))
    one = sys.modules["pynvml"].gpus[0]
    reader.start()
    began = one.seconds()
    time.sleep(0.6)
    used, ended = reader.stop() * KWH, one.seconds()
    exact = 200 * (ended - began) + 10 * (math.cos(10 * began) - math.cos(10 * ended))
    assert used == pytest.approx(exact, rel=0.03)


def test_work_shorter_than_a_step_of_the_counter_is_charged_one_and_never_nothing(driver):
    driver(FakeGpu(watts=100.0, tick_s=0.1))
    reader = gpu.EnergyReader(gpu.current("cuda"))
    for _ in range(3):
        reader.start()
        assert reader.stop() * KWH == pytest.approx(100 * 0.1)


def test_a_gpu_that_does_not_answer_or_counts_back_fails_the_meter(driver):
    nvml = driver(FakeGpu(), FakeGpu("GPU-bbbb", counter=False))
    counted, sampled = (gpu.EnergyReader(one) for one in gpu.all_gpus())
    counted.start()
    sampled.start()
    for one in nvml.gpus:
        one.lost = True
    time.sleep(0.1)
    with pytest.raises(MeterError, match=r"Fake GPU: nvmlDeviceGetTotalEnergyConsumption: GPU is lost"):
        counted.stop()
    with pytest.raises(MeterError, match=r"nvmlDeviceGetPowerUsage: GPU is lost"):
        sampled.stop()
    nvml.gpus[0].lost = False
    counted.start()
    nvml.gpus[0].offset_mj = -1_000_000
    with pytest.raises(MeterError, match="ran back"):
        counted.stop()


def test_a_counter_that_stands_still_is_no_measurement(driver, monkeypatch):
    driver(FakeGpu(watts=0.0))
    monkeypatch.setattr(gpu, "COUNTER_TICK_S", 0.05)
    meter = metering.Meter(FakeTracker(), {"cpu": "load_model", "gpu": "counter"}, gpu=reader())
    with meter.window("train"):
        time.sleep(0.01)
    with pytest.raises(MeterError, match=r"gpu energy is 0\.0 kWh"):
        meter.check("train")


class FakeTracker:
    """Hands out one watt second for the CPU and two for the memory, whatever was done."""

    def start_task(self, task_name):
        pass

    def stop_task(self):
        return SimpleNamespace(cpu_energy=1 / KWH, gpu_energy=99.0, ram_energy=2 / KWH)


def reader():
    return gpu.EnergyReader(gpu.current("cuda"))


def test_a_window_holds_the_energy_of_its_own_gpu_and_nothing_else(driver, monkeypatch):
    nvml = driver(FakeGpu("GPU-aaaa", watts=1000.0), FakeGpu("GPU-bbbb", watts=200.0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb")
    sources = {"cpu": "load_model", "gpu": "counter", "ram": "assumed"}
    meter = metering.Meter(FakeTracker(), sources, gpu=reader())
    before = nvml.gpus[1].energy_mj()
    with meter.window("train"):
        time.sleep(0.4)
    around = (nvml.gpus[1].energy_mj() - before) / 1000
    window = meter.check("train")
    tick = 200 * nvml.gpus[1].tick_s
    # Bounds that hold however long a busy machine takes between two lines.
    assert 200 * 0.4 - tick <= window.energy_gpu_kwh * KWH <= around + tick
    assert window.energy_kwh == pytest.approx(window.energy_gpu_kwh + 3 / KWH)
    assert meter.source == "cpu:load_model;gpu:counter;ram:assumed"


ELSE = 2**22 + 1
"""More than Linux numbers processes by."""


def test_other_programs_on_a_card_are_seen_where_the_driver_shows_this_one_beside_them(driver):
    (one,) = driver(FakeGpu()).gpus
    found, own, child = reader(), os.getpid(), subprocess.Popen(["sleep", "60"])
    try:
        for pids, shared in (
            ((), False),
            ((own,), False),
            ((own, child.pid), False),
            ((ELSE,), False),  # numbers of a host, seen from a container
            ((own, ELSE), True),
            ((child.pid, ELSE), True),
        ):
            one.pids = pids
            assert found.is_shared() is shared, pids
    finally:
        child.kill()
        child.wait()
    one.denied = ("processes",)
    assert not found.is_shared()


@pytest.mark.parametrize("comes", ["before", "meanwhile"])
def test_a_window_with_another_program_on_its_card_is_contended_and_its_neighbours_are_not(
    driver, monkeypatch, comes
):
    monkeypatch.setattr(metering, "CONTENTION_LIMIT", math.inf)
    (one,) = driver(FakeGpu(pids=(os.getpid(),))).gpus
    meter = metering.Meter(FakeTracker(), {"gpu": "counter"}, gpu=reader())
    with meter.window("validation"):
        pass
    alone, shared = one.pids, (os.getpid(), ELSE)
    one.pids = shared if comes == "before" else alone
    with meter.window("train"):
        one.pids = alone if comes == "before" else shared
    one.pids = alone
    with meter.window("train"):
        pass
    assert meter.contended("train") and not meter.idle("train") and meter.costs("train")["contended"]
    assert not meter.contended("validation") and meter.idle("validation")


def test_the_gpu_is_synchronised_before_either_reading(driver):
    driver(FakeGpu())
    order, one = [], reader()
    one.start, one.stop = lambda: order.append("start"), lambda: order.append("stop") or 1.0
    meter = metering.Meter(
        FakeTracker(), {"gpu": "counter"}, synchronise=lambda: order.append("synchronise"), gpu=one
    )
    with meter.window("train"):
        order.append("work")
    assert order == ["synchronise", "start", "work", "synchronise", "stop"]


@pytest.mark.parametrize(("counter", "source"), [(True, "counter"), (False, "sampled_power")])
def test_the_real_meter_reads_the_gpu_through_nvml_and_the_host_through_codecarbon(driver, counter, source):
    driver(FakeGpu(watts=300.0, counter=counter, limit_w=400))
    calls = []
    meter = metering.open_meter("cuda", lambda: calls.append(1))
    assert meter.sources["gpu"] == source and {"cpu", "ram"} <= set(meter.sources)
    assert meter.power_limit_w > 400
    tick = 300 * sys.modules["pynvml"].gpus[0].tick_s
    began = time.perf_counter()
    with meter.window("train"):
        time.sleep(0.3)
    seconds = time.perf_counter() - began
    window = meter.check("train")
    assert 300 * 0.3 - tick <= window.energy_gpu_kwh * KWH <= 300 * seconds + tick
    assert len(calls) == 2


SPEC = runs.RunSpec("dla46_c", "elpv", "elpv", device="cuda")
PROFILE = SimpleNamespace(name="pocket")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(metering, "IDLE_S", 0.2)
    return runs.Store(tmp_path / "results", "pocket")


def test_a_runs_kernel_sees_its_own_gpu_only_and_the_idle_power_of_its_machine(driver, store, monkeypatch):
    driver(FakeGpu("GPU-aaaa", watts=20.0), FakeGpu("GPU-bbbb", watts=30.0))
    said, before = [], dict(os.environ)
    monkeypatch.setattr(metering.Meter, "idle", lambda meter, name: True)
    for _ in range(2):
        with execution.circumstances(SPEC, PROFILE, store, said.append):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa" == gpu.current("cuda").uuid
            assert os.environ["PEPR_COMMAND"].startswith("pepr step finetune pocket elpv-elpv-dla46_c-s0-")
            meter = metering.open_meter("cuda")
            assert 20 < meter.idle_power_w < meter.power_limit_w, "the GPU's and the host's"
        assert dict(os.environ) == before
    assert said == ["Measuring the power of the idle machine for 0 s."], "once a day"
    assert next(path.name for path in (store.root / "machines").iterdir()).endswith("-GPU-aaaa.json")


def test_the_idle_power_is_of_the_whole_machine_however_many_runs_share_it(driver, store, monkeypatch):
    driver(FakeGpu("GPU-aaaa", watts=20.0))
    opened, asked = metering.open_meter, []

    def open_meter(*args, **kwargs):
        asked.append(opened(*args, **kwargs))
        return asked[-1]

    monkeypatch.setattr(metering, "open_meter", open_meter)
    monkeypatch.setattr(metering.Meter, "idle", lambda meter, name: True)
    monkeypatch.setenv("PEPR_RUNS_AT_ONCE", "4")
    assert metering.idle_power_w("cuda", store.root, lambda line: None) > 0
    assert [one.runs_at_once for one in asked] == [1] and metering.open_meter("cuda").runs_at_once == 4


def test_a_machine_that_is_not_idle_has_no_idle_power(driver, store, monkeypatch):
    driver(FakeGpu("GPU-aaaa"))
    monkeypatch.setattr(metering.Meter, "idle", lambda meter, name: False)
    assert metering.idle_power_w("cuda", store.root, lambda line: None) is None


def test_an_idle_power_that_cannot_be_measured_is_not_made_up(driver, store, monkeypatch):
    nvml = driver(FakeGpu("GPU-aaaa"))
    said = []
    monkeypatch.setattr(
        gpu.EnergyReader, "stop", lambda reader: reader._read(nvml.nvmlDeviceGetPowerUsage) * 0.0
    )
    with execution.circumstances(SPEC, PROFILE, store, said.append):
        assert "PEPR_IDLE_POWER_W" not in os.environ
    assert "not known: window 'idle': gpu energy is 0.0 kWh" in said[-1]


def test_a_cpu_without_a_counter_has_no_idle_power(store, monkeypatch, tmp_path):
    monkeypatch.setattr(description, "RAPL", tmp_path / "nothing")
    assert metering.idle_power_w("cpu", tmp_path, print) is None and not list(tmp_path.iterdir())


def test_runs_side_by_side_pay_for_the_core_that_they_use_and_share_the_memory(driver, monkeypatch):
    driver(FakeGpu(watts=100.0))
    monkeypatch.setenv("PEPR_RUNS_AT_ONCE", "4")
    opened = metering.open_meter("cuda")
    assert opened.runs_at_once == 4 and opened.sources["gpu"] == "counter"
    load = metering.LoadModel(core_w=10.0, memory_w=8.0)
    meter = metering.Meter(None, opened.sources, gpu=reader(), load_model=load, runs_at_once=4)
    with meter.window("train"):
        sum(range(2_000_000))
        time.sleep(0.1)
    window = meter.check("train")
    assert window.energy_cpu_kwh * KWH == pytest.approx(10.0 * window.cpu_time_s)
    assert window.energy_ram_kwh * KWH == pytest.approx(2.0 * window.time_s)
    assert window.energy_gpu_kwh * KWH == pytest.approx(100 * window.time_s, rel=0.3)


def test_a_run_without_room_is_a_row_with_the_largest_batch_that_fits(driver, tmp_path):
    driver(FakeGpu(name="Small GPU"))
    told = "OutOfMemory: CUDA out of memory. Tried to allocate 2 GiB; largest batch size that fits: 12"
    record = runs.run_record(
        SPEC,
        description.recorded(SPEC.device),
        failure=errors.classify("OutOfMemory", told),
        traceback=told,
    )
    store = runs.Store(tmp_path, "pocket")
    store.write_record(record)
    runs.collect(store)
    (row,) = runs.read_table(store.folder / "results.csv").to_dict("records")
    assert row["failure"] == "out_of_memory" and row["largest_batch_size"] == 12
    assert row["hardware"].startswith("Small GPU; ")
    assert record["environment"]["gpu_uuid"] == "GPU-aaaa" and record["environment"]["driver"] == "999.99"
    told = "largest batch size that fits: none"
    nothing = runs.run_record(SPEC, {}, failure="out_of_memory", traceback=told)
    assert nothing["largest_batch_size"] is None


def test_precisions_are_never_ranked_together():
    records = []
    for precision, factor in (("fp32", 1.0), ("bf16", 0.1)):
        for model in ("dla46_c", "mobilenetv2_050", "resnet18d"):
            record, _, _ = simulated_run(model, "elpv", 0)
            spec = runs.RunSpec.from_dict(record | {"precision": precision})
            record |= {"precision": precision, "run_id": spec.run_id}
            record |= {name: record[name] * factor for name in ("energy_kwh", "co2eq_g", "train_time_s")}
            records.append(record)
    both, alone = runs.as_table(records), runs.as_table(records[:3])
    scores = analysis.pepr_table(both)
    assert sorted(scores.groupby("precision")["rank"].max().unique()) == [3]
    mine = scores[scores["precision"] == "fp32"].reset_index(drop=True)
    columns = ["model", "resource", "measure", "score", "rank", "score_frozen", "rank_frozen"]
    assert mine[columns].equals(analysis.pepr_table(alone)[columns])
