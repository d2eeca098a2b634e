"""A step under the meter: the loop's own code, on noise, for as long as its median needs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pepr.errors import OutOfMemory
from pepr.machine import gpu
from pepr.machine.meter import LoadModel, Meter, Window
from pepr.runs import timing
from pepr.runs.spec import RunSpec
from pepr.training import loop, steps
from tests.fake_nvml import FakeGpu
from tests.training.test_training import fake_meter

ROOT = Path(__file__).parents[2]
SPEC = RunSpec("dla46_c", "noise", "noise", image_size=32, batch_size=4)


def test_a_step_is_what_the_loop_takes_for_one(monkeypatch):
    seen = []
    real = loop.train_epoch

    def counted(network, optimiser, scaler, spec, batches):
        batches = list(batches)
        seen.append((len(batches), {tuple(images.shape) for images, _ in batches}, spec.learning_rate))
        return real(network, optimiser, scaler, spec, iter(batches))

    monkeypatch.setattr(loop, "train_epoch", counted)
    monkeypatch.setattr(steps, "ROUND_S", 0.05)
    found = steps.measure_steps(SPEC, fake_meter(400), limit_s=0.3)
    warm_up, probe, *rounds = seen
    assert warm_up[0] == loop.WARM_UP_STEPS and probe[0] == 1
    whole, parts = rounds[::2], rounds[1::2]
    assert sum(count for count, _, _ in whole) == found.steps
    assert all(shapes == {(4, 3, 32, 32)} for _, shapes, _ in (warm_up, probe, *whole))
    assert len(parts) == len(whole) and found.part_images == 2
    assert all((count, shapes) == (1, {(2, 3, 32, 32)}) for count, shapes, _ in parts)
    assert found.part_time_s > 0 and found.part_energy_wh > 0
    assert found.num_params == 1_301_400 and found.step_time_s > 0


def test_the_memory_of_a_step_is_told_by_a_process_that_held_none_before():
    """This one may hold already what a small network takes."""
    measured = (
        "from pepr.training import steps; from tests.training.test_steps import SPEC, fake_meter; "
        "print(steps.measure_steps(SPEC, fake_meter(400), limit_s=0.1).peak_memory_bytes)"
    )
    done = subprocess.run([sys.executable, "-c", measured], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and int(done.stdout.split()[-1]) > 0, done.stderr


def test_noise_fills_whole_batches_of_two_classes():
    data = steps.noise(SPEC)
    assert data.images.shape == (16, 32, 32, 3) and data.images.dtype.name == "uint8"
    assert sorted(set(data.labels)) == [0, 1] and data.num_classes == 2


def rounds_of(*seconds):
    return [
        steps.Round(1, Window(1e-6, time_s=one, cpu_time_s=one), Window(), Window(1e-6, time_s=one), 2)
        for one in seconds
    ]


@pytest.mark.parametrize(
    ("seconds", "agree"),
    [
        ((1.0, 1.0), False),
        ((1.0, 1.01, 1.0), True),
        ((1.0, 1.3, 1.6), False),
        ((1.0, 1.0, 1.0, 1.0, 5.0), True),
    ],
)
def test_rounds_agree_when_their_middle_half_is_narrow(seconds, agree):
    assert steps.agree_in_time(rounds_of(*seconds)) is agree


def test_the_median_round_counts():
    found = steps.medians_of([one.costs(fake_meter()) for one in rounds_of(1.0, 9.0, 2.0)])
    assert found["step_time_s"] == 2.0 and found["eval_time_s"] == 1.0


def test_waiting_for_a_core_costs_nothing_by_a_load_model():
    meter = Meter(None, {"cpu": "load_model"}, load_model=LoadModel(4.0, 10.0), runs_at_once=2)
    quiet, waited = (
        steps.Round(1, Window(time_s=time, cpu_time_s=1.0), Window(), Window(cpu_time_s=1.0), 2).costs(meter)
        for time in (1.0, 7.0)
    )
    assert quiet["step_energy_wh"] == waited["step_energy_wh"] == pytest.approx((4.0 + 5.0) / 3600)
    assert (quiet["step_time_s"], waited["step_time_s"]) == (1.0, 7.0)


@pytest.fixture
def meter_of(driver):
    """A meter of a GPU of 300 W whose counter moves every tenth of a second, in a host that a load model
    stands for."""

    def opened(**of_gpu):
        driver(FakeGpu(watts=300.0, tick_s=0.1, **of_gpu))
        reader = gpu.EnergyReader(gpu.current("cuda"))
        if reader.of_module:
            sources = {"module": reader.source}
        else:
            sources = {"cpu": "load_model", "gpu": reader.source, "ram": "assumed"}
        return Meter(None, sources, gpu=reader, load_model=LoadModel(4.0, 10.0))

    return opened


@pytest.mark.parametrize(
    ("of_gpu", "host_w"),
    [({}, 10.0), ({"counter": False}, 10.0), ({"name": "NVIDIA GH200 480GB"}, 0.0)],
)
def test_a_step_on_a_gpu_takes_the_energy_of_the_gpu_besides_what_a_load_model_says(meter_of, of_gpu, host_w):
    meter = meter_of(**of_gpu)
    with meter.window("train") as train:
        time.sleep(0.5)
    found = steps.Round(5, train, Window(0.0, energy_gpu_kwh=0.0), train, 10).costs(meter)
    assert 3600 * 5 * found["step_energy_wh"] == pytest.approx(3.6e6 * train.energy_kwh)
    assert 3600 * 10 * found["eval_energy_wh"] == pytest.approx(3.6e6 * train.energy_kwh)
    assert 3600 * 5 * found["step_energy_wh"] >= 300 * 0.4 + host_w * 0.5


def test_the_step_of_a_part_is_charged_for_its_time_and_not_for_a_step_of_the_counter(meter_of):
    meter = meter_of()
    with meter.window("train") as train:
        time.sleep(0.5)
    with meter.window("train") as part:
        time.sleep(0.01)
    assert part.energy_gpu_kwh * 3.6e6 >= 0.99 * 300 * 0.1, "what the counter shows"
    found = steps.Round(5, train, part, train, 10).costs(meter)
    mean_w = 3.6e6 * train.energy_gpu_kwh / train.time_s
    joules = (mean_w + 10.0) * part.time_s + 4.0 * part.cpu_time_s
    assert mean_w == pytest.approx(300, rel=0.25)
    assert 3600 * found["part_energy_wh"] == pytest.approx(joules)


def test_out_of_memory_names_the_largest_batch_that_fits(monkeypatch):
    def full(spec, data, device, start=None):
        if spec.batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(spec, data, device, start)

    real = loop.set_up
    monkeypatch.setattr(loop, "set_up", full)
    with pytest.raises(OutOfMemory, match="largest batch size that fits: 2"):
        steps.measure_steps(SPEC, fake_meter())


def test_a_turn_is_a_few_steps_of_the_loop_after_its_warm_up(monkeypatch):
    seen = []
    real = loop.train_epoch

    def counted(network, optimiser, scaler, spec, batches):
        batches = list(batches)
        seen.append((len(batches), {tuple(images.shape) for images, _ in batches}))
        return real(network, optimiser, scaler, spec, iter(batches))

    monkeypatch.setattr(loop, "train_epoch", counted)
    found = steps.time_steps(SPEC, 7)
    assert seen == [(loop.WARM_UP_STEPS, {(4, 3, 32, 32)}), (7, {(4, 3, 32, 32)})]
    assert found.steps == 7 and found.step_time_s > 0 and found.step_cpu_time_s > 0


def test_each_round_has_all_models_in_an_order_of_its_own_and_what_fails_has_no_row(monkeypatch, capsys):
    def turn(spec, count):
        if spec.model == "resnet18d":
            raise ValueError("no such layer")
        return steps.Turn(count, 0.2, 0.1)

    monkeypatch.setattr(steps, "prepare", lambda device: None)
    monkeypatch.setattr(steps, "time_steps", turn)
    names = ("dla46_c", "mobilenetv2_050", "mnasnet_100", "resnet18d")
    specs = [RunSpec(model, "noise", "noise", image_size=32, batch_size=4) for model in names]
    rows = list(steps.rounds_of(specs, 2, 6))
    orders = [[row["model"] for row in rows if row["round"] == number] for number in range(2, 8)]
    assert all(sorted(order) == sorted(names[:3]) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert capsys.readouterr().err.count("resnet18d: ValueError: no such layer") == 6
    assert [row["model"] for row in steps.rounds_of(specs, 2, 6)] == [row["model"] for row in rows]
    assert set(timing.COLUMNS) - set(rows[0]) == {"process", "runs_at_once"}
