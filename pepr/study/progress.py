"""What a person reads while the runs of a study go on side by side: each line says which run it is of."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pepr.display.words import duration
from pepr.runs.spec import RunSpec
from pepr.study import forecast, recovery


class LabelledLines:
    """A text stream that hands whole lines on to another, each with a label in front, so that the lines of
    several processes never mix.

    >>> import sys
    >>> stream = LabelledLines(sys.stdout, "[2/3] ")
    >>> stream.write("epoch 1"), stream.write("/3\\nepoch 2/3\\n")
    [2/3] epoch 1/3
    [2/3] epoch 2/3
    (7, 14)
    """

    def __init__(self, stream: TextIO, label: str):
        self._stream, self._label, self._rest = stream, label, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            self._stream.write(f"{self._label}{line}\n")  # one call: one line of a pipe
        self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """A line that is not whole waits for its end."""


def say(line: str) -> None:
    """A line on standard output in one write, since runs that go on side by side share it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def label(spec: RunSpec, specs: list[RunSpec]) -> str:
    """`[ 7/25] `: the place of a run in the order of its profile."""
    width = len(str(len(specs)))
    return f"[{specs.index(spec) + 1:>{width}}/{len(specs)}] "


def begun(spec: RunSpec) -> str:
    """What is about to run."""
    return f"{spec.setting} · {spec.model} · seed {spec.seed}"


def ended(record: Mapping[str, Any]) -> str:
    """What became of a run."""
    if record["status"] != "ok":
        return f"failed: {record['failure']}: {recovery.last_line(record)}"
    on_gpu = record["device"] != "cpu"
    marked = ""
    if record["contended"]:
        marked = "  (other programs ran meanwhile" + (": time and energy not ranked)" if on_gpu else ")")
    took = (
        f"{record['train_time_s']:.0f} s"
        if on_gpu
        else f"{record['train_cpu_time_s']:.0f} s of the processor"
    )
    return (
        f"test accuracy {record['test_accuracy']:.3f}  AUROC {record['test_auroc'] or math.nan:.3f}  "
        f"training {took}  whole run {record['wall_time_s']:.0f} s{marked}"
    )


def left(specs: list[RunSpec], done: Mapping[str, Mapping[str, Any]], profile: str, runs_at_once: int) -> str:
    """How many runs are done, and how long the others may take; `done` holds the records by run_id."""
    finished = sum(spec.run_id in done for spec in specs)
    words = f"{finished} of {len(specs)} runs done"
    seconds = forecast.seconds_left(specs, done, forecast.reference_records(profile), runs_at_once)
    if seconds is None or finished == len(specs):
        return words
    return f"{words}, about {duration(seconds)} left"
