"""The analysis at scale, and the building of the book."""

from __future__ import annotations

import contextlib
import shutil
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.runs import CHECKOUT
from benchmarks.timing import Comparison, compare
from pepr import score, stats
from pepr.book import build

SIZES = (131, 10_000, 1_000_000)
RESAMPLES, MODELS, SETTINGS = 10_000, 131, 8


def scoring(rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """What PePR and the PePR curve take of 131, 10,000 and a million models, by function and size: `seconds`
    of each round, and `bytes` of memory at the peak, results included."""
    rng = np.random.default_rng(0)
    found = {}
    for name, function in (("pepr", score.pepr), ("pepr_curve", score.pepr_curve)):
        work = {}
        for size in SIZES:
            performance, resource = rng.uniform(size=size), rng.uniform(1, 9, size=size)
            work[str(size)] = lambda f=function, p=performance, r=resource: f(p, r)
        timed = compare(work, rounds)
        found[name] = {
            size: {"seconds": timed.seconds[size], "bytes": _peak_bytes(one)} for size, one in work.items()
        }
    return found


def _peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bootstrap(rounds: int) -> Comparison:
    """Seconds of 10,000 resamples of 131 models in each of eight settings."""
    values = np.random.default_rng(0).uniform(size=(MODELS, SETTINGS))

    def work() -> None:
        for column in values.T:
            stats.bootstrap_interval(column, n_resamples=RESAMPLES)

    return compare({"bootstrap": work}, rounds)


def book_build() -> dict[str, float]:
    """Seconds to build every chapter from executed notebooks (`whole`), and again after one chapter changed
    (`incremental`). The book is left as it is built from what is committed."""
    chapter = CHECKOUT / "book" / "limits.md"
    kept = chapter.read_bytes()
    with contextlib.chdir(CHECKOUT):
        build.assemble(CHECKOUT, CHECKOUT / build.BUILD_FOLDER / "source", say=_quiet)
    for folder in ("html", "jupyter_execute", ".doctrees"):
        shutil.rmtree(CHECKOUT / build.BUILD_FOLDER / folder, ignore_errors=True)
    seconds = {}
    try:
        began = time.perf_counter()
        build.build(CHECKOUT, say=_quiet)
        seconds["whole"] = time.perf_counter() - began
        chapter.write_bytes(kept + b"\nOne more sentence.\n")
        began = time.perf_counter()
        build.build(CHECKOUT, say=_quiet)
        seconds["incremental"] = time.perf_counter() - began
    finally:
        chapter.write_bytes(kept)
    return seconds


def _quiet(line: str) -> None:
    """The build's progress is not part of a benchmark's output."""
