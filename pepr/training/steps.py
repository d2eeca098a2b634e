"""What one training step of a model takes: the loop's own epochs, on images of noise, under the meter."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pepr.datasets.preparation import Prepared
from pepr.machine import description
from pepr.machine.meter import Meter, Window
from pepr.models.weights import Created
from pepr.runs.record import now
from pepr.runs.spec import RunSpec
from pepr.runs.timing import CONDITIONS
from pepr.training import loop
from pepr.training.memory import memory_gauge, wait_for
from pepr.training.probe import speed_probe_s
from pepr.training.process import settled

CLASSES = 2
BATCHES = 4
"""How many batches of noise there are; a round goes through them again and again."""
ROUND_S = 0.5
"""A round of steps takes at least so long, so that what begins and ends it does not count."""
FEWEST_ROUNDS, STABLE = 3, 0.02
"""Rounds are repeated until the middle half of so many, or more, lies within this share of their median."""
TURN_STEPS = 2
"""Steps of a turn of an interleaved timing, after the two of the warm-up."""
PART = 4
"""Beside steps of whole batches, one of so many times fewer images tells what of a step does not depend on
their number: the optimiser's work, and the starting of operations."""
LEARNING_RATE = 1e-9
"""Costs do not depend on it; nothing diverges."""


WINDOWS = ("train", "validation")
"""What the loop calls the two."""


@dataclass(frozen=True)
class Steps:
    """The costs of a training step and of an evaluation step, each of `batch_size` images, and of a training
    step of `part_images`.

    Times in seconds, processor times beside them; energies in Wh, None where nothing is metered: on a CPU a
    load model charges them for processor time alone, so that waiting for a core costs nothing. `steps` of
    whole batches were measured, by rounds of which the medians are taken. `peak_memory_bytes` is of the
    rounds, `num_params` of the published form, and `speed_probe_s` the mean of `probe.speed_probe_s` before
    and after, on a CPU.
    """

    num_params: int
    steps: int
    step_time_s: float
    step_cpu_time_s: float
    step_energy_wh: float | None
    part_images: int
    part_time_s: float
    part_cpu_time_s: float
    part_energy_wh: float | None
    eval_time_s: float
    eval_cpu_time_s: float
    eval_energy_wh: float | None
    peak_memory_bytes: int
    memory_source: str
    energy_source: str | None
    contended: bool
    speed_probe_s: float | None


def measure_steps(spec: RunSpec, meter: Meter, limit_s: float = 6.0) -> Steps:
    """Train a model on noise, as the study trains it, until the median of a step is stable or time is up.

    Model, size, batch and precision are those of `spec`; its dataset plays no part. Warm-up falls outside.
    Raises OutOfMemory, with the largest batch size that would fit.
    """
    with settled(spec):
        return loop.or_what_fits(lambda: _measure(spec, meter, limit_s), _fits, spec)


def prepare(device: str) -> None:
    """In a process for nothing but measuring, load what building and training a model load on first use, so
    that it is in no model's memory, and let the search for garbage pass over it, as a run does; on a CPU a
    run has one thread."""
    for library in loop.LIBRARIES:
        importlib.import_module(library)
    if device == "cpu":
        torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def noise(spec: RunSpec) -> Prepared:
    """Images that cost what any others cost: uint8 noise [4 batches, size, size, 3] in two classes."""
    count = BATCHES * spec.batch_size
    shape = (count, spec.image_size, spec.image_size, 3)
    images = np.random.default_rng(spec.seed).integers(0, 256, shape, dtype=np.uint8)
    card = {"classes": [str(one) for one in range(CLASSES)]}
    split, repeated = np.full(count, "train"), np.zeros(count, dtype=bool)
    return Prepared(images, np.arange(count) % CLASSES, split, repeated, card)


def warm(spec: RunSpec, data: Prepared, meter: Meter | None) -> tuple[Created, loop.Run]:
    """A run on such data that does not change its network, past its first steps, and the model created."""
    spec = dataclasses.replace(spec, learning_rate=LEARNING_RATE, pretrained=False)
    created, run = loop.quiet(spec, data, meter)
    loop.warm_up(run.network, run.batches, np.arange(len(data.labels)), spec)
    return created, run


def _measure(spec: RunSpec, meter: Meter, limit_s: float) -> Steps:
    device, data = torch.device(spec.device), noise(spec)
    everything = np.arange(len(data.labels))
    memory = memory_gauge(device)
    created, run = warm(spec, data, meter)
    on_cpu = device.type == "cpu"
    probes = [speed_probe_s()] if on_cpu else []
    memory.reset()
    rounds = list(_rounds(run, everything, spec.batch_size, limit_s))
    peak = memory.peak() - run.batches.held_bytes
    probes += [speed_probe_s()] if on_cpu else []
    return Steps(
        num_params=created.num_params,
        steps=sum(one.steps for one in rounds),
        part_images=images_of_a_part(spec.batch_size),
        **medians_of([one.costs(meter) for one in rounds]),
        peak_memory_bytes=peak,
        memory_source=memory.source,
        energy_source=meter.source,
        contended=meter.contended("train"),
        speed_probe_s=statistics.fmean(probes) if probes else None,
    )


@dataclass(frozen=True)
class Turn:
    """What one of `steps` training steps took on the average, in seconds: by the clock, and of the
    processor."""

    steps: int
    step_time_s: float
    step_cpu_time_s: float


def time_steps(spec: RunSpec, steps: int) -> Turn:
    """Train a model for a few steps on noise, as the study trains it: one turn of an interleaved timing.

    The network is built anew, so that no other one's memory is in its way; warm-up falls outside.
    """
    data = noise(spec)
    with settled(spec):
        _, run = warm(spec, data, None)
        wait_for(run.batches.device)
        began, began_cpu = time.perf_counter(), time.process_time()
        positions = np.resize(np.arange(len(data.labels)), steps * spec.batch_size)
        images = run.batches.ordered(positions, spec.batch_size)
        loop.train_epoch(run.network, run.optimiser, run.scaler, spec, images)  # the loss it reads ends it
        took, of_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return Turn(steps, took / steps, of_cpu / steps)


def rounds_of(specs: Sequence[RunSpec], first: int, count: int) -> Iterator[Mapping[str, object]]:
    """The rows of `count` rounds of an interleaved timing (`runs.timing`), numbered from `first`, each with
    all of `specs` in a random order. What fails is told on standard error, and has no row."""
    prepare(specs[0].device)
    for number in range(first, first + count):
        for place, index in enumerate(np.random.default_rng(number).permutation(len(specs))):
            spec = specs[index]
            try:
                turn = time_steps(spec, TURN_STEPS)
            except Exception as error:
                told = " ".join(str(error).splitlines()[:1])
                print(f"{spec.model}: {type(error).__name__}: {told}", file=sys.stderr)
                continue
            conditions = {name: getattr(spec, name) for name in CONDITIONS if name != "hardware"}
            yield {
                "model": spec.model,
                **conditions,
                **dataclasses.asdict(turn),
                "hardware": description.hardware(spec.device),
                "software": description.software(),
                "round": number,
                "place": place,
                "measured_at": now("seconds"),
            }


def images_of_a_part(batch_size: int) -> int:
    """How many images a step of a part of a batch has: two at least, which a batch norm needs."""
    return max(batch_size // PART, 2)


@dataclass(frozen=True)
class Round:
    """What a round of training steps, one of a part of a batch, and its evaluation took."""

    steps: int
    train: Window
    part: Window
    evaluation: Window
    evaluated: float

    def costs(self, meter: Meter) -> dict[str, float | None]:
        """Of one step each; energies by `meter`, None where it metered none.

        On a CPU its load model knows no waiting. On a GPU, where time is that of the clock, they are those of
        the windows: the GPU's, and what the meter adds of CPU and memory. The counter of a GPU moves every
        tenth of a second, which is longer than the step of a part: there the GPU is charged for that step's
        time at its mean power over the whole steps of the round.
        """
        found = {}
        part = at_power_of(self.train, self.part) if meter.gpu_source == "counter" else self.part
        for name, window, steps in (
            ("step", self.train, self.steps),
            ("part", part, 1),
            ("eval", self.evaluation, self.evaluated),
        ):
            kwh = window.energy_kwh
            if meter.load_model is not None and meter.gpu_source is None:
                seconds = window.cpu_time_s
                kwh = sum(meter.load_model.energy_kwh(seconds, seconds, meter.runs_at_once))
            found[f"{name}_time_s"] = window.time_s / steps
            found[f"{name}_cpu_time_s"] = window.cpu_time_s / steps
            found[f"{name}_energy_wh"] = None if kwh is None else 1000 * kwh / steps
        return found


def at_power_of(longer: Window, window: Window) -> Window:
    """A window with the energy that its GPU takes in its time at the mean power of a longer one's GPU; that
    of CPU and memory stays."""
    kwh = longer.energy_gpu_kwh * window.time_s / longer.time_s
    others = window.energy_kwh - window.energy_gpu_kwh
    return dataclasses.replace(window, energy_kwh=others + kwh, energy_gpu_kwh=kwh)


def _rounds(run: Any, everything: np.ndarray, batch_size: int, limit_s: float) -> Iterator[Round]:
    """Rounds of equal length until they agree, or until `limit_s` seconds are over; at least one.

    A round is an epoch of the loop, and one more of the part of a batch. The first one is of one step and
    only tells how long the others are.
    """
    few, two = everything[: images_of_a_part(batch_size)], everything[: 2 * batch_size]
    took = _epoch(run, everything[:batch_size], two)[0].time_s
    steps = max(math.ceil(ROUND_S / took), 1)
    images = np.resize(everything, steps * batch_size)
    evaluated = np.resize(everything, 2 * batch_size * max(steps // 2, 1))
    done: list[Round] = []
    spent = 0.0
    while not done or (spent < limit_s and not agree_in_time(done)):
        (train, evaluation), (part, _) = _epoch(run, images, evaluated), _epoch(run, few, few)
        done.append(Round(steps, train, part, evaluation, len(evaluated) / batch_size))
        spent += train.time_s + part.time_s + evaluation.time_s
        yield done[-1]


def agree_in_time(rounds: list[Round]) -> bool:
    """Whether the middle half of the rounds took nearly the same time a step."""
    times = sorted((one.train.cpu_time_s or one.train.time_s) / one.steps for one in rounds)
    if len(times) < FEWEST_ROUNDS:
        return False
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low <= STABLE * middle


def _epoch(run: Any, images: np.ndarray, evaluated: np.ndarray) -> list[Window]:
    """One epoch of the loop: what the meter's windows of training and of evaluation grew by meanwhile."""
    before = {name: run.meter.windows.pop(name, Window()) for name in WINDOWS}
    run.epoch(len(run.history), images, evaluated, evaluated)
    grown = [dataclasses.replace(run.meter.windows[name]) for name in WINDOWS]
    for name, total in before.items():
        run.meter.windows[name].add(total)
    return grown


def medians_of(costs: list[dict[str, float | None]]) -> dict[str, float | None]:
    """The median of each cost over the rounds, by name; None where it was not metered."""
    return {
        name: None if costs[0][name] is None else statistics.median(one[name] for one in costs)
        for name in costs[0]
    }


def _fits(spec: RunSpec) -> bool:
    """Whether two steps find room on the device."""
    data = noise(spec)
    return loop.finds_room(spec, data, np.arange(len(data.labels)), torch.device(spec.device))
