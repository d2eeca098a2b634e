"""`python -m benchmarks.gpu_kit check|sweep`: two commands of `pepr` where there is only torch and timm."""

from __future__ import annotations

import argparse
import sys

from pepr.costs import gpu_check, sweep
from pepr.errors import InputError
from pepr.machine import description


def check(asked: argparse.Namespace) -> bool:
    """`pepr gpu-check`: whether no check fails."""
    subject = gpu_check.Subject(asked.device, asked.image_size or 128, asked.batch_size)
    failed = False
    for found in gpu_check.check(subject):
        print(gpu_check.line(found), flush=True)
        failed |= found.outcome == gpu_check.FAIL
    return not failed


def sweep_all(asked: argparse.Namespace) -> bool:
    """`pepr sweep`: whether every model has a row."""
    conditions = sweep.conditions_of(asked.device, asked.image_size, asked.batch_size, "fp32")
    models = asked.models.split(",") if asked.models else None
    found = sweep.sweep(conditions, models, lambda line: print(line, flush=True), limit_s=asked.limit_s)
    return len(found.rows) == len(sweep.wanted_models(models, conditions.image_size))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("check", "sweep"))
    parser.add_argument("--device", type=description.chosen_device, default="auto")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--models")
    parser.add_argument("--limit-s", type=float, default=1.2)
    asked = parser.parse_args()
    return 0 if {"check": check, "sweep": sweep_all}[asked.what](asked) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"gpu_kit: {error}")
    except KeyboardInterrupt:
        sys.exit("gpu_kit: its time is up; the same command goes on from here")
