"""How far a step's processor time, its wall time, and its wall time on all cores move with what else runs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch
from torch.nn import functional as F

from benchmarks import loops
from pepr import models, study
from pepr.training.probe import speed_probe_s

IMAGE_SIZE, BATCH_SIZE, STEPS = 64, 32, 4
LOADS = ("nothing", "one busy loop", "two busy loops", "a training")
BUSY_LOOP = "while True: pass"


def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of a training step by load and network of `pocket`: medians of `rounds`, in each of which all
    networks take turns under all loads, of `cpu_s` of the processor on one thread, `corrected_s` set right by
    the probe, and `wall_s` on one thread; and `wall_all_s` with one a core, of a single step, which takes so
    long beside other programs."""
    cores = os.cpu_count() or 1
    networks = sorted({spec.model for spec in study.grid(study.load("pocket"))} - set(models.BASELINES))
    timed: dict[tuple[str, str], list[dict[str, float]]] = {}
    on_all_cores: dict[tuple[str, str], float] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as single, ProcessPoolExecutor(1, spawn) as all_cores:
        for round_ in range(rounds):
            for load in LOADS:
                with beside(load):
                    for model in networks:
                        step = single.submit(_step, model, 1, STEPS).result()
                        timed.setdefault((load, model), []).append(step)
                        if round_ == 0:
                            step = all_cores.submit(_step, model, cores, 1).result()
                            on_all_cores[load, model] = step["wall_s"]
    middle = {
        at: {name: statistics.median(step[name] for step in steps) for name in ("cpu_s", "wall_s", "probe_s")}
        for at, steps in timed.items()
    }
    usual = statistics.median(row["probe_s"] for row in middle.values())
    found: dict[str, dict[str, dict[str, float]]] = {load: {} for load in LOADS}
    for (load, model), row in middle.items():
        found[load][model] = {
            "cpu_s": row["cpu_s"],
            "corrected_s": row["cpu_s"] * usual / row["probe_s"],
            "wall_s": row["wall_s"],
            "wall_all_s": on_all_cores[load, model],
        }
    return found


@contextlib.contextmanager
def beside(load: str) -> Iterator[None]:
    """Something else runs meanwhile."""
    with contextlib.ExitStack() as held:
        if load == "a training":
            held.enter_context(loops.at_work("resnet18d"))
        loops_of_it = {"one busy loop": 1, "two busy loops": 2}.get(load, 0)
        for _ in range(loops_of_it):
            process = held.enter_context(subprocess.Popen([sys.executable, "-c", BUSY_LOOP]))
            held.callback(process.kill)
        yield


def _step(model: str, threads: int, steps: int) -> dict[str, float]:
    """Seconds of one training step, the mean of so many."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    network = models.create(model, 2, image_size=IMAGE_SIZE).network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.train().parameters(), fused=True)
    images = torch.rand(BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH_SIZE) % 2

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()

    step()
    probes = [speed_probe_s()] if threads == 1 else []
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        step()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    probes += [speed_probe_s()] if threads == 1 else []
    return {"cpu_s": cpu / steps, "wall_s": wall / steps, "probe_s": statistics.fmean(probes or [0.0])}
