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
    """Seconds of a training step by load and network of `pocket`, medians of `rounds`: `cpu_s` of the
    processor on one thread, `corrected_s` set right by the probe, `wall_s` on one thread, `wall_all_s` with
    one a core."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    cores = os.cpu_count() or 1
    networks = sorted({spec.model for spec in study.grid(study.load("pocket"))} - set(models.BASELINES))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as single, ProcessPoolExecutor(1, spawn) as all_cores:
        for load in LOADS:
            with _beside(load):
                found[load] = {}
                for model in networks:
                    one = [single.submit(_step, model, 1).result() for _ in range(rounds)]
                    all_ = [all_cores.submit(_step, model, cores).result() for _ in range(rounds)]
                    names = ("cpu_s", "wall_s", "probe_s")
                    found[load][model] = {
                        **{name: statistics.median(step[name] for step in one) for name in names},
                        "wall_all_s": statistics.median(step["wall_s"] for step in all_),
                    }
    usual = statistics.median(row["probe_s"] for rows in found.values() for row in rows.values())
    for rows in found.values():
        for row in rows.values():
            row["corrected_s"] = row["cpu_s"] * usual / row.pop("probe_s")
    return found


@contextlib.contextmanager
def _beside(load: str) -> Iterator[None]:
    """Something else runs meanwhile."""
    with contextlib.ExitStack() as held:
        if load == "a training":
            held.enter_context(loops.at_work("resnet18d"))
        loops_of_it = {"one busy loop": 1, "two busy loops": 2}.get(load, 0)
        for _ in range(loops_of_it):
            process = held.enter_context(subprocess.Popen([sys.executable, "-c", BUSY_LOOP]))
            held.callback(process.kill)
        yield


def _step(model: str, threads: int) -> dict[str, float]:
    """Seconds of one training step, the mean of a few."""
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
    for _ in range(STEPS):
        step()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    probes += [speed_probe_s()] if threads == 1 else []
    return {"cpu_s": cpu / STEPS, "wall_s": wall / STEPS, "probe_s": statistics.fmean(probes or [0.0])}
