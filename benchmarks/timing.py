"""Compare pieces of work fairly: a warm-up, then rounds in alternating order; median, least, and spread."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds of each piece of work, one value a round, in the order of the rounds."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Median seconds of one piece of work."""
        return statistics.median(self.seconds[name])

    def least(self, name: str) -> float:
        """Least seconds of one piece of work: what else the machine does only adds to them."""
        return min(self.seconds[name])

    def ratios(self, above: str, below: str) -> list[float]:
        """Seconds of `above` over seconds of `below`, round by round: what both share in a round, such as
        a machine that slows down, is not in it."""
        return [a / b for a, b in zip(self.seconds[above], self.seconds[below], strict=True)]


def compare(
    work: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1, at_least_s: float = 0.0
) -> Comparison:
    """Time each piece of work `rounds` times, after `warm_up` untimed times, every other round backwards; and
    more often until the rounds have taken `at_least_s` seconds, so that short work is not left to luck."""
    names = list(work)
    for name in names * warm_up:
        work[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for turn in itertools.count():
        if turn >= rounds and time.perf_counter() - start >= at_least_s:
            break
        for name in names if turn % 2 == 0 else reversed(names):
            began = time.perf_counter()
            work[name]()
            seconds[name].append(time.perf_counter() - began)
    return Comparison(seconds)


def summary(values: Sequence[float]) -> tuple[float, list[float]]:
    """Median, and [least, greatest]."""
    return statistics.median(values), [min(values), max(values)]
