"""`python -m benchmarks.gpu_loops cuda 128`: the loop beside the way of the paper's scripts, on any device.

One JSON object a line, as soon as it is known. On a GPU both compute in TF32, as PyTorch's convolutions do by
themselves, and both in bfloat16.
"""

from __future__ import annotations

import json
import statistics
import sys

import torch

from benchmarks.loops import MODELS, Bench
from benchmarks.timing import compare
from pepr.machine import description
from pepr.training.process import settled

STEPS, ROUNDS, SECONDS = 5, 3, 4.0
"""Of a round, and how many there are at least, for at least so long."""


def measure(model: str, precision: str, device: str, image_size: int) -> dict[str, object]:
    """Images a second of the loop over those of the paper's way: their median, and each round."""
    bench = Bench(model, image_size, precision, device=device)
    with settled(bench.spec):
        loops = {"ours": bench.ours(), "authors": bench.authors()}
        work = {name: lambda loop=loop: loop(STEPS) for name, loop in loops.items()}
        ratios = compare(work, ROUNDS, at_least_s=SECONDS).ratios("authors", "ours")
    return {
        "model": model,
        "precision": precision,
        "image_size": image_size,
        "loop_vs_authors": statistics.median(ratios),
        "rounds": ratios,
        "hardware": description.hardware(device),
        "torch": torch.__version__,
    }


def main(device: str, image_size: int) -> None:
    """Measure each model in each precision that the device is compared in."""
    for model in MODELS:
        for precision in ("tf32", "bf16") if device.startswith("cuda") else ("fp32",):
            print(json.dumps(measure(model, precision, device, image_size)), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit("gpu_loops: its time is up")
