"""Images that stay on the device: the same batches and the same run, and an epoch that waits for nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pepr.costs import model as cost, sweep as sweeping
from pepr.datasets.preparation import Prepared
from pepr.errors import InputError
from pepr.machine.meter import Meter
from pepr.models import atlas
from pepr.runs.spec import RunSpec
from pepr.training import loop, steps
from pepr.training.process import settled

CPU = torch.device("cpu")
SPEC = RunSpec("mobilenetv2_050", "noise", "noise", image_size=32, batch_size=8, epochs=2)


@pytest.fixture(autouse=True)
def small_copies(monkeypatch):
    monkeypatch.setattr(loop, "COPIED_AT_ONCE", 5)


def batches(data: Prepared, hold: bool) -> loop.Batches:
    half = torch.full((1, 3, 1, 1), 0.5)
    return loop.Batches(data, 32, half, half, CPU, hold)


def images(*shape: int) -> Prepared:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    count = shape[0]
    card = {"classes": ["a", "b"], "ordered": False}
    return Prepared(pixels, np.arange(count) % 2, np.full(count, "train"), np.zeros(count, bool), card)


@pytest.mark.parametrize("shape", [(21, 32, 32), (21, 28, 28, 3)])
def test_batches_are_the_same_wherever_the_images_lie(shape):
    data = images(*shape)
    order = [np.random.default_rng(1), np.random.default_rng(1)]
    apart, held = batches(data, False), batches(data, True)
    assert apart.held_bytes == 0 and held.held_bytes == data.images.nbytes + data.labels.nbytes
    drawn = [list(one.shuffled(np.arange(21), 8, rng)) for one, rng in zip((apart, held), order, strict=True)]
    for (pixels, labels), (same, alike) in zip(*drawn, strict=True):
        assert torch.equal(pixels, same) and torch.equal(labels, alike)
        assert same.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(apart.load(np.array([3, 1]))[0], held.load(np.array([3, 1]))[0])


def trained(hold: bool) -> list[np.ndarray]:
    """Probabilities after two epochs."""
    data = images(24, 32, 32)
    everything = np.arange(24)
    with settled(SPEC):
        _, network, made = loop.set_up(SPEC, data, CPU)
        made = dataclasses.replace(made, hold=hold)
        run = loop.Run(SPEC, network, made, Meter(None, {}), lambda line: None)
        for epoch in range(SPEC.epochs):
            run.epoch(epoch, everything, everything, everything)
        return run.predict_test(everything)


def test_a_run_is_the_same_wherever_the_images_lie():
    for apart, held in zip(trained(False), trained(True), strict=True):
        np.testing.assert_array_equal(apart, held)


class ReadBack(TorchDispatchMode):
    """Counts how often the host asks a device for a number."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_epoch_reads_back_its_loss_and_accuracy_when_it_is_over_and_nothing_before(precision):
    spec = dataclasses.replace(SPEC, precision=precision)
    asked = []
    for count in (16, 48):
        data = images(count, 32, 32)
        _, network, made = loop.set_up(spec, data, CPU)
        made = dataclasses.replace(made, hold=True)
        run = loop.Run(spec, network, made, Meter(None, {}), lambda line: None)
        ordered = made.ordered(np.arange(count), spec.batch_size)
        with ReadBack() as watch:
            loop.train_epoch(network, run.optimiser, run.scaler, spec, ordered)
        asked.append(watch.count)
    assert asked == [2, 2]


def test_images_stay_on_a_gpu_where_they_take_a_tenth_of_what_is_free_at_most(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    gpu = torch.device("cuda")
    assert loop.fits_beside(100, gpu) and not loop.fits_beside(101, gpu)
    assert not loop.fits_beside(1, CPU) and not loop.fits_beside(1, torch.device("mps"))


def test_images_that_are_held_are_no_models_memory(monkeypatch):
    class Gauge:
        source = "cuda_allocator_peak"

        def reset(self):
            pass

        def peak(self):
            return 10**9

    def on_device(*arguments):
        created, network, made = real(*arguments)
        return created, network, dataclasses.replace(made, hold=True)

    real = loop.set_up
    monkeypatch.setattr(steps, "memory_gauge", lambda device: Gauge())
    monkeypatch.setattr(loop, "set_up", on_device)
    data = steps.noise(SPEC)
    found = steps.measure_steps(SPEC, Meter(None, {}), limit_s=0.0)
    assert found.peak_memory_bytes == 10**9 - data.images.nbytes - data.labels.nbytes


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", True), ("fp32", False), ("bf16", False)])
def test_only_the_precision_of_that_name_multiplies_in_tf32(precision, allowed):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with settled(dataclasses.replace(SPEC, precision=precision)):
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is allowed
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_tf32_is_refused_where_nothing_computes_it_and_takes_the_memory_of_fp32():
    with pytest.raises(InputError, match="tf32"):
        loop.check(dataclasses.replace(SPEC, dataset="elpv", setting="elpv", precision="tf32"))
    with pytest.raises(InputError, match="tf32"):
        sweeping.conditions_of("cpu", 64, 32, "tf32")
    entry = atlas.look_up("resnet18d", 256)
    memory = [cost.peak_memory(entry, cost.job_of("lidc", precision=name)) for name in ("fp32", "tf32")]
    assert memory[0] == memory[1]
