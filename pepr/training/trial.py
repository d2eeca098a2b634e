"""A small network on drawn gratings, and the loop beside a bare one: what a device is tried with."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pepr.datasets.preparation import Prepared
from pepr.machine.meter import Meter
from pepr.runs.spec import RunSpec
from pepr.training import loop
from pepr.training.memory import wait_for
from pepr.training.process import settled

SIZE, N_TRAIN, N_TEST = 32, 256, 256
CONTRAST, NOISE = 60.0, 40.0
"""Of the gratings, in grey levels."""
SPEC = RunSpec(
    "resnet18d", "gratings", "gratings", image_size=SIZE, batch_size=32, epochs=4, learning_rate=1e-3
)


def gratings(seed: int = 0) -> Prepared:
    """Grey images uint8 [512, 32, 32] of waves that run across or down, in two classes, under noise: what a
    small network learns in seconds."""
    rng = np.random.default_rng(seed)
    count = N_TRAIN + N_TEST
    labels = np.arange(count) % 2
    period, phase = rng.uniform(4, 10, (count, 1)), rng.uniform(0, 2 * np.pi, (count, 1))
    wave = np.sin(2 * np.pi * np.arange(SIZE) / period + phase)
    across = np.where(labels[:, None, None] == 1, wave[:, None, :], wave[:, :, None])
    pixels = 128 + CONTRAST * across + rng.normal(0, NOISE, (count, SIZE, SIZE))
    split = np.repeat(["train", "test"], (N_TRAIN, N_TEST))
    card = {"classes": ["down", "across"], "ordered": False}
    images = pixels.clip(0, 255).astype(np.uint8)
    return Prepared(images, labels, split, np.zeros(count, dtype=bool), card)


def trained(spec: RunSpec) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities [n, 2] of the test gratings after the study's own training, and their labels [n].

    Raises Diverged where the loss is no number.
    """
    data = gratings()
    train, test = data.indices("train"), data.indices("test")
    with settled(spec):
        _, run = loop.quiet(spec, data, Meter(None, {}))
        for epoch in range(spec.epochs):
            run.epoch(epoch, train, test, test)
        last, _ = run.predict_test(test)
    return last, data.labels[test]


def bare_steps(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    spec: RunSpec,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Forward, backward, step over batches that lie ready on the device, and nothing else: the limit of any
    loop, in every precision but fp16, whose gradients have to be scaled."""
    for images, labels in batches:
        optimiser.zero_grad(set_to_none=True)
        with loop.mixed_precision(spec):
            loss = F.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimiser.step()


def against_bare(spec: RunSpec, data: Prepared, rounds: int, at_least_s: float) -> list[float]:
    """Images a second of the loop over those of the bare loop, one value for each of at least `rounds` rounds
    of an epoch each, until `at_least_s` seconds are over; 1 is the limit."""
    with settled(spec):
        return _against_bare(spec, data, rounds, at_least_s)


def _against_bare(spec: RunSpec, data: Prepared, rounds: int, at_least_s: float) -> list[float]:
    _, run = loop.quiet(spec, data, Meter(None, {}))
    network, batches = run.network, run.batches
    everything = np.arange(len(data.labels))
    ready = list(batches.ordered(everything, spec.batch_size))
    network.train()

    def ours() -> None:
        ordered = batches.ordered(everything, spec.batch_size)
        loop.train_epoch(network, run.optimiser, run.scaler, spec, ordered)

    def bare() -> None:
        bare_steps(network, run.optimiser, spec, ready)

    def seconds(work: Callable[[], None]) -> float:
        wait_for(batches.device)
        began = time.perf_counter()
        work()
        wait_for(batches.device)
        return time.perf_counter() - began

    for work in (ours, bare):
        work()
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < rounds or time.perf_counter() - began < at_least_s:
        pair = {work: seconds(work) for work in ((ours, bare) if len(found) % 2 else (bare, ours))}
        found.append(pair[bare] / pair[ours])
    return found


def busy(device: torch.device, seconds: float) -> None:
    """Multiply matrices on a device for so long, at as steady a load as it can have."""
    left, right = torch.rand(2, 4096, 4096, device=device)
    product = torch.empty_like(left)
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for _ in range(10):
            torch.mm(left, right, out=product)
        wait_for(device)
