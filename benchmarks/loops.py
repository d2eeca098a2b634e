"""The training loop beside the bare loop, and beside the way of the paper's scripts.

The bare loop is the limit: forward, backward and step over batches that lie ready on the device. The way of
the paper's scripts follows their description: float32 images of full size held in memory, a DataLoader
without workers, PyTorch's contiguous layout, the loss and the accuracy read back at each step.

How a process gets its memory is settled when it starts, so each way has a process of its own: ours with
`cores.KERNEL_ENVIRONMENT`, as each run of the study, the other as a script that sets nothing.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.timing import Comparison, compare
from pepr import datasets, models, training
from pepr.machine.cores import KERNEL_ENVIRONMENT
from pepr.runs.spec import RunSpec
from pepr.training import loop as training_loop, trial

MODELS = ("mobilenetv2_050", "ghostnet_100", "resnet18d", "resnet50", "densenet121")
RESNETS = ("resnet18d", "resnet50")
BATCH_SIZE = 32
N_IMAGES = 320
WARM_UP = 1
"""Untimed steps of each loop: in the first one its process fetches the memory that it keeps."""
WAYS = {
    "ours": ("ours", KERNEL_ENVIRONMENT),
    "authors": ("authors", {}),
    "ours_without": ("ours", {}),
}
"""Of each process: the way of its loop, and what its environment has besides this one's."""
Loop = Callable[[int], list[float]]
"""Does a number of steps and returns the loss of each."""


def images(image_size: int, seed: int = 0) -> datasets.Prepared:
    """Grey images uint8 [n, size, size] of two classes; what they show does not matter for speed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (N_IMAGES, image_size, image_size), dtype=np.uint8)
    labels = rng.integers(0, 2, N_IMAGES)
    return datasets.Prepared(
        pixels, labels, np.full(N_IMAGES, "train"), np.zeros(N_IMAGES, bool), {"classes": ["a", "b"]}
    )


def create(model: str, image_size: int) -> torch.nn.Module:
    """A network of two classes with random weights, the same at each call."""
    import timm

    torch.manual_seed(0)
    # resnet50 is not of the paper's 131, but the model that readers know.
    if model == "resnet50":
        return timm.create_model(model, num_classes=2)
    return models.create(model, 2, image_size=image_size).network


def cells(image_size: int) -> datasets.Prepared:
    """Real images, for losses like those of a study: the first training images of ELPV."""
    data = datasets.prepare("elpv", image_size)
    chosen = data.indices("train")[:N_IMAGES]
    return datasets.Prepared(
        data.images[chosen], data.labels[chosen], data.split[chosen], data.repeated[chosen], data.card
    )


class Bench:
    """One model at one size: its loops start from the same weights and see the same batches in one order."""

    def __init__(
        self,
        model: str,
        image_size: int,
        precision: str = "fp32",
        dtype: torch.dtype = torch.float32,
        data: datasets.Prepared | None = None,
        device: str = "cpu",
    ):
        self.spec = RunSpec(model, "elpv", "elpv", image_size=image_size, precision=precision, device=device)
        self.data = data or images(image_size)
        self.device = torch.device(device)
        self.channel = torch.full((1, 3, 1, 1), 0.5, dtype=dtype)
        self.start = create(model, image_size).to(dtype)

    def batches(self) -> training.Batches:
        """Of the study's loop; on a GPU the images lie there."""
        channel, on_gpu = self.channel.to(self.device), self.device.type == "cuda"
        return training.Batches(self.data, self.spec.image_size, channel, channel, self.device, hold=on_gpu)

    def ours(self) -> Loop:
        """`training.train_epoch` over `training.Batches`, as `training.fine_tune` runs them."""
        network = copy.deepcopy(self.start).to(self.device, memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.spec.learning_rate, fused=True)
        scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        batches = self.batches()
        index = np.arange(N_IMAGES)
        seen = 0

        def run(steps: int) -> list[float]:
            nonlocal seen
            chosen = np.take(index, range(seen, seen + steps * BATCH_SIZE), mode="wrap")
            seen += len(chosen)
            ordered = batches.ordered(chosen, BATCH_SIZE)
            return [training.train_epoch(network, optimiser, scaler, self.spec, ordered)[0]]

        return run

    def bare(self) -> Loop:
        """Forward, backward, step over batches made beforehand."""
        network = copy.deepcopy(self.start).to(self.device, memory_format=torch.channels_last).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=self.spec.learning_rate, fused=True)
        ready = list(self.batches().ordered(np.arange(N_IMAGES), BATCH_SIZE))

        def run(steps: int) -> list[float]:
            trial.bare_steps(network, optimiser, self.spec, ready[:steps])
            return []

        return run

    def authors(self) -> Loop:
        """The way of the paper's scripts."""
        network = copy.deepcopy(self.start).to(self.device).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=self.spec.learning_rate)
        pixels = torch.from_numpy(self.data.images).float().div(255).unsqueeze(1).repeat(1, 3, 1, 1)
        held = TensorDataset((pixels - self.channel) / self.channel, torch.from_numpy(self.data.labels))
        # A generator of its own: an epoch's start would draw from the one that drops units.
        loader = DataLoader(held, batch_size=BATCH_SIZE, generator=torch.Generator())
        endless = itertools.chain.from_iterable(loader for _ in itertools.count())

        def run(steps: int) -> list[float]:
            losses, correct = [], 0.0
            for batch, labels in itertools.islice(endless, steps):
                batch, labels = batch.to(self.device), labels.to(self.device)
                optimiser.zero_grad()
                with training_loop.mixed_precision(self.spec):
                    output = network(batch)
                    loss = F.cross_entropy(output.float(), labels)
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
                correct += (output.argmax(1) == labels).float().mean().item()
            return losses

        return run


def against_bare(
    model: str, image_size: int, steps: int, rounds: int, at_least_s: float = 0.0
) -> list[float]:
    """Images a second of our loop over those of the bare loop, one value a round of `steps` steps each; 1 is
    the limit."""
    bench = Bench(model, image_size)
    ours, bare = bench.ours(), bench.bare()
    work = {"ours": lambda: ours(steps), "bare": lambda: bare(steps)}
    return compare(work, rounds, WARM_UP, at_least_s).ratios("bare", "ours")


@contextlib.contextmanager
def processes(*names: str) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A fresh process for each of `WAYS`, or of those named, which does work one by one."""
    spawn, before = multiprocessing.get_context("spawn"), dict(os.environ)
    with contextlib.ExitStack() as stack:
        pools = {}
        for name in names or WAYS:
            environment = WAYS[name][1]
            pool = ProcessPoolExecutor(1, spawn, torch.set_flush_denormal, (True,))
            pools[name] = stack.enter_context(pool)
            try:
                os.environ |= environment
                pool.submit(os.getpid).result()  # it starts with its first work
            finally:
                for variable in environment.keys() - before.keys():
                    del os.environ[variable]
                os.environ |= before
        yield pools


def against_authors(
    pools: Mapping[str, ProcessPoolExecutor], model: str, precision: str, rounds: int, at_least_s: float
) -> Comparison:
    """Seconds of a step at 128 px in each of `pools`, by its name in `WAYS`; one step a round, so that a
    moment in which the machine is slow meets both."""
    for name, pool in pools.items():
        pool.submit(_hold, WAYS[name][0], model, precision).result()
    work = {name: lambda pool=pool: pool.submit(_go_on).result() for name, pool in pools.items()}
    return compare(work, rounds, WARM_UP, at_least_s)


_held: dict[str, Loop] = {}
"""The loop that a process of its own goes on with."""


def _hold(way: str, model: str, precision: str) -> None:
    _held.clear()
    _held["loop"] = getattr(Bench(model, 128, precision), way)()


def _go_on() -> None:
    _held["loop"](1)


@contextlib.contextmanager
def at_work(model: str) -> Iterator[None]:
    """Our loop trains in a process of its own meanwhile, at 128 px, as the machine does during a run."""
    with processes("ours") as pools, tempfile.TemporaryDirectory() as folder:
        pools["ours"].submit(_hold, "ours", model, "fp32").result()
        enough = Path(folder) / "enough"
        trained = pools["ours"].submit(_go_on_until, enough)
        try:
            yield
        finally:
            enough.touch()
            trained.result()


def _go_on_until(exists: Path) -> None:
    while not exists.exists():
        _go_on()


def losses(way: str, model: str, dtype: torch.dtype, image_size: int = 64, steps: int = 20) -> list[float]:
    """The loss of each step of a loop, `ours` or `authors`, over real images, always the same ones from the
    same weights.

    Where they differ: layers in another memory layout, or on another number of threads, round otherwise, and
    Adam turns a gradient's last digit into a step of full length. In double precision what is left is a
    difference of the loops.
    """
    loop = getattr(Bench(model, image_size, dtype=dtype, data=cells(image_size)), way)()
    found = []
    for step in range(steps):
        torch.manual_seed(step)  # some models drop units at random: the same ones in all
        found += loop(1)
    return found


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the same code adds in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def greatest_difference(some: list[float], others: list[float]) -> float:
    """Between two lists of losses, step by step."""
    return max(abs(a - b) for a, b in zip(some, others, strict=True))


def busiest(way: str, model: str, precision: str, n: int = 4) -> dict[str, float]:
    """The `n` operations that take most of a step of a loop, `ours` or `authors`, at 128 px, each with its
    share of the step's processor time."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would tell of each start and stop
    loop = getattr(Bench(model, 128, precision), way)()
    loop(1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        loop(1)
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    whole = sum(times.values())
    return {name: times[name] / whole for name in sorted(times, key=times.get, reverse=True)[:n]}
