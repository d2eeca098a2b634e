"""How many runs of a study go on at once on this machine, with how many threads each, and why no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pepr.errors import InputError
from pepr.machine import cores, gpu
from pepr.runs.spec import RunSpec
from pepr.study import forecast


@dataclass(frozen=True)
class SideBySide:
    """`runs` go on at once, each with `threads` threads on the CPU; `words` says so and why, for a person."""

    runs: int
    threads: int
    words: str


def decide(specs: Iterable[RunSpec], device: str, asked: int | None = None) -> SideBySide:
    """One run a core on a CPU, one a GPU where there are some; fewer where `asked` for, or held by memory.

    Raises InputError where `asked` is below 1.
    """
    if asked is not None and asked < 1:
        raise InputError(f"RUNS={asked}: at least one run goes on at a time")
    specs, whole = list(specs), cores.whole()
    if device.startswith("cuda"):
        most, each = max(min(len(gpu.alike()), whole), 1), "each on a GPU of its own"
    else:
        most, each = whole, "each with one thread on a core of its own"
    runs, why = min(most, asked or most), ""
    if asked and asked > most:
        places = cores.words() if most == whole else f"{len(gpu.alike())} GPUs"
        why = f" RUNS={asked} is more than the {places} of this machine."
    elif asked and asked < most:
        why = f" RUNS={asked} was asked for; {most} would find a place."
    if not device.startswith("cuda"):
        fitting = _fitting(specs, runs)
        if fitting < runs:
            need = sum(sorted(map(forecast.memory_bytes, specs))[-runs:])
            why = (
                f" {runs} at once may need {need / 1e9:.1f} GB by the forecast of their memory, and "
                f"{cores.free_memory() / 1e9:.1f} GB are free."
            )
            runs = fitting
    threads = max(whole // runs, 1) if device.startswith("cuda") else 1
    how = f"{runs} runs at once, {each}." if runs > 1 else f"One run at a time, with {_threads(threads)}."
    hint = " RUNS=1: one after the other." if runs > 1 else ""
    return SideBySide(runs, threads, f"{how}{why}{hint}")


def _fitting(specs: list[RunSpec], most: int) -> int:
    """How many runs, whichever meet, find room in the free memory: at least one, at most `most`."""
    largest, room = sorted(map(forecast.memory_bytes, specs), reverse=True), cores.free_memory()
    return max((count for count in range(1, most + 1) if sum(largest[:count]) <= room), default=1)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"
