"""`python -m benchmarks`: measure everything side by side on this machine, and write `results.json`.

`python -m benchmarks memory meter` measures parts of it anew; `python -m benchmarks studies`, which compares
whole studies with those of an earlier commit, takes an hour and is measured only where it is asked for.

Ratios compare two pieces of work in one run, in alternating rounds, so they hold on a slow day too; seconds
are of this machine. `goals` beside each figure say what was aimed at.
"""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks import analysis, contention, loops, runs, studies, wrapping
from benchmarks.numbers import SOURCE, numbers
from benchmarks.timing import summary
from pepr.display.numbers import update_numbers
from pepr.files import write_atomic
from pepr.machine import description
from pepr.runs.results import find_results

RESULTS = Path(__file__).with_name("results.json")
GOALS = {
    "loop_vs_bare": (">=", 0.97),
    "loop_vs_authors_fp32": (">=", 1.25),
    "loop_vs_authors_bf16": (">=", 2.0),
    "loss_difference_fp32": ("<=", 1e-3),
    "host_memory_vs_authors": ("<=", 0.1),
    "meter_overhead": ("<=", 0.01),
    "measure_overhead": ("<=", 0.01),
    "startup_vs_bare": ("<=", 1.4),
    "startup_share": ("<=", 0.2),
    "score_1e6_seconds": ("<=", 0.5),
    "bootstrap_seconds": ("<=", 3.0),
    "book_build_seconds": ("<=", 60.0),
    "book_incremental_seconds": ("<=", 10.0),
    "study_vs_before": ("<=", 0.5),
    "busy_study_vs_before": ("<=", 0.15),
    "run_start_vs_before": ("<=", 0.5),
}
OF_STUDIES = ("study_vs_before", "busy_study_vs_before", "run_start_vs_before")
"""What the part `studies` measures, and a whole bench keeps from when it was last asked for."""
LOOP_ROUNDS, BARE_SECONDS, AUTHORS_SECONDS = 3, 6.0, 10.0
"""Each two loops take turns step by step so often at least, and for so many seconds: beside the bare loop,
and beside the paper's way, whose memory makes some of its steps slow."""
METER_SECONDS, METER_ROUNDS = 30.0, 5
METER_MODEL = "mobilenetv2_050"
"""Trains while the meter measures, as in a run: an idle machine wakes at another pace each time."""
WRAPPED_SECONDS, WRAPPED_ROUNDS = 60.0, 5
"""How long the training takes that `pepr measure` goes around, and how often: twice five minutes."""
STARTUP_ROUNDS, STARTUP_SECONDS = 5, 90.0
"""A run and a notebook that only imports start in turns so often at least, and for so many seconds."""
LOSSES_ON_ONE_THREAD = ("mobilenetv2_050", "ghostnet_100")
"""The two quick ones."""
LOSSES_IN_DOUBLE = "mobilenetv2_050"
"""Double precision is slow on a CPU: the one that parts most in single precision."""
CONTENTION_ROUNDS = 5
MEMORY_MODEL = "ghostnet_100"
"""Trained with and without the study's memory settings: many layers, each with little to compute."""


class Report:
    """What was measured so far: figures, spreads, reasons for what is missing, and details."""

    def __init__(self, earlier: Mapping[str, Any] | None = None) -> None:
        earlier = earlier or {}
        self.found: dict[str, float | None] = {name: earlier[name] for name in GOALS if name in earlier}
        self.spread: dict[str, list[float]] = earlier.get("spread", {})
        self.why: dict[str, str] = earlier.get("why", {})
        self.details: dict[str, Any] = {"took_seconds": {}, "stolen_seconds": {}, "made": {}} | earlier.get(
            "details", {}
        )
        self.failed = ""

    def add(self, name: str, values: Iterable[float], found: float | None = None) -> None:
        """Values, one a round; `found` where it is not their median."""
        middle, spread = summary(list(values))
        found = middle if found is None else found
        self.found[name], self.spread[name] = found, spread
        self.why.pop(name, None)
        relation, goal = GOALS[name]
        met = found >= goal if relation == ">=" else found <= goal
        print(
            f"{name:<24}{found:>10.3f}   [{spread[0]:.3f}, {spread[1]:.3f}]   "
            f"goal {relation} {goal:g}: {'met' if met else 'MISSED'}",
            flush=True,
        )

    def leave_out(self, name: str, reason: str) -> None:
        self.found[name], self.why[name] = None, reason
        print(f"{name:<24}{'none':>10}   {reason}", flush=True)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.found,
            "spread": self.spread,
            "why": self.why,
            "goals": {name: f"{relation} {goal:g}" for name, (relation, goal) in GOALS.items()},
            "details": self.details,
        }


def geometric_mean(values: Iterable[float]) -> float:
    """The mean that treats a halving and a doubling alike."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def combined(cases: Iterable[list[float]]) -> tuple[list[float], float]:
    """Geometric means over cases, of which each has a list of rounds: one for each third of the rounds, and
    one for all of them. Of a case's rounds the median counts."""
    cases = list(cases)
    parts = zip(*map(thirds, cases), strict=True)
    return [geometric_mean(part) for part in parts], geometric_mean(map(statistics.median, cases))


def thirds(rounds: list[float]) -> list[float]:
    """Medians of three consecutive parts of at least three rounds."""
    edges = [len(rounds) * part // 3 for part in range(4)]
    return [statistics.median(rounds[start:end]) for start, end in itertools.pairwise(edges)]


def measure_loops(report: Report) -> None:
    with loops.processes() as pools:
        ratios = {}
        for size, steps in ((64, 2), (128, 1)):
            for model in loops.MODELS:
                asked = (model, size, steps, LOOP_ROUNDS, BARE_SECONDS)
                ratios[f"{model}, {size} px"] = pools["ours"].submit(loops.against_bare, *asked).result()
        report.details["loop_vs_bare"] = ratios
        report.add("loop_vs_bare", *combined(ratios.values()))
        measure_against_authors(report, pools)
    measure_losses(report)
    report.details["busiest"] = {
        "ours": {
            **{f"{model}, single": loops.busiest("ours", model, "fp32") for model in loops.MODELS},
            **{f"{model}, bfloat16": loops.busiest("ours", model, "bf16") for model in loops.RESNETS},
        },
        "authors": {f"{model}, bfloat16": loops.busiest("authors", model, "bf16") for model in loops.RESNETS},
    }


def measure_against_authors(report: Report, pools: dict[str, ProcessPoolExecutor]) -> None:
    without = pools.pop("ours_without")
    for precision, models in (("fp32", loops.MODELS), ("bf16", loops.RESNETS)):
        name = f"loop_vs_authors_{precision}"
        if precision == "bf16" and not multiplies_bfloat16():
            report.leave_out(name, "this processor has neither AMX nor AVX512-BF16")
            continue
        found = {
            model: loops.against_authors(pools, model, precision, LOOP_ROUNDS, AUTHORS_SECONDS)
            for model in models
        }
        report.details[name] = {model: comparison.seconds for model, comparison in found.items()}
        report.add(name, *combined(comparison.ratios("authors", "ours") for comparison in found.values()))
    both = {"ours": pools["ours"], "ours_without": without}
    settings = loops.against_authors(both, MEMORY_MODEL, "fp32", LOOP_ROUNDS, BARE_SECONDS)
    report.details["memory_settings"] = settings.seconds


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def measure_losses(report: Report) -> None:
    single, one_thread = {}, {}
    for model in loops.MODELS:
        theirs = loops.losses("authors", model, torch.float32)
        ours = loops.losses("ours", model, torch.float32)
        single[model] = loops.greatest_difference(ours, theirs)
        if model in LOSSES_ON_ONE_THREAD:
            with loops.one_thread():
                again = loops.losses("authors", model, torch.float32)
            one_thread[model] = loops.greatest_difference(again, theirs)
    double = [loops.losses(way, LOSSES_IN_DOUBLE, torch.float64) for way in ("ours", "authors")]
    report.details["loss_difference"] = {
        "float32": single,
        "one_thread": one_thread,
        "float64": {LOSSES_IN_DOUBLE: loops.greatest_difference(*double)},
    }
    report.add("loss_difference_fp32", [max(single.values())])


def measure_memory(report: Report) -> None:
    held = runs.host_memory()
    report.details["host_memory_bytes"] = held
    report.add("host_memory_vs_authors", [held["ours"] / held["authors"]])


def measure_meter(report: Report) -> None:
    # In a process of its own, which has no other threads, while another one trains.
    alone = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with loops.at_work(METER_MODEL), alone as pool:
        shares = pool.submit(runs.meter, METER_SECONDS, METER_ROUNDS).result()
    report.details["meter_shares"] = shares
    # Windows differ by chance and none stands out: the mean of a few differs less than their median.
    report.add("meter_overhead", shares, statistics.fmean(shares))


def measure_wrapping(report: Report) -> None:
    found = wrapping.overhead(WRAPPED_SECONDS, WRAPPED_ROUNDS)
    report.details["measure"] = found
    report.add("measure_overhead", wrapping.shares(found, "s"))


def measure_startup(report: Report) -> None:
    started = runs.startup(STARTUP_ROUNDS, at_least_s=STARTUP_SECONDS)
    report.details["startup_seconds"] = {name: started.seconds[name] for name in ("run", "bare")}
    report.details["startup_phases"] = {name: started.seconds[name] for name in runs.PHASES}
    report.details["import_seconds"] = runs.import_seconds()
    report.details["mended_seconds"] = runs.mended_seconds(rounds=1)
    # What the disk and the rest of the machine add, they add to some rounds: the least has least of it.
    ratio = started.least("run") / started.least("bare")
    report.add("startup_vs_bare", started.ratios("run", "bare"), ratio)
    records = [record for record in find_results("pocket").records() if record["status"] == "ok"]
    startup_s = runs.startup_seconds(records)
    report.details["pocket"] = {
        "hardware": " and ".join(sorted({record["hardware"] for record in records})),
        "runs": len(records),
        "startup_s": startup_s,
        "energy_wh": runs.energy_split(records, startup_s),
    }
    report.add("startup_share", [runs.startup_share(records)])


def measure_analysis(report: Report) -> None:
    scored = analysis.scoring(rounds=3)
    report.details["scoring"] = scored
    report.add("score_1e6_seconds", scored["pepr"]["1000000"]["seconds"])
    report.add("bootstrap_seconds", analysis.bootstrap(rounds=3).seconds["bootstrap"])
    built = analysis.book_build()
    report.details["book_build_seconds"] = built
    report.add("book_build_seconds", [built["whole"]])
    report.add("book_incremental_seconds", [built["incremental"]])


def measure_contention(report: Report) -> None:
    report.details["contention"] = contention.measure(CONTENTION_ROUNDS)


def measure_studies(report: Report) -> None:
    found = studies.measure()
    report.details["studies"] = found
    for name, taken in zip(OF_STUDIES, studies.ratios(found), strict=True):
        report.add(name, [taken])


def stolen_seconds() -> float:
    """Seconds of each processor, on average, that the host of a virtual machine gave to others since the
    start; 0 where it does not tell."""
    return getattr(psutil.cpu_times(), "steal", 0.0) / (os.cpu_count() or 1)


PARTS = {
    "loops": measure_loops,
    "memory": measure_memory,
    "meter": measure_meter,
    "measure_overhead": measure_wrapping,
    "startup": measure_startup,
    "analysis": measure_analysis,
    "contention": measure_contention,
    "studies": measure_studies,
}
ON_DEMAND = {"studies"}
"""Parts that a whole bench leaves as they are."""


def kept(earlier: Mapping[str, Any], asked: list[str]) -> Mapping[str, Any]:
    """What stays of an earlier report when the parts `asked` for are measured, or, where none is named, all
    but those on demand."""
    if asked:
        return earlier
    if "studies" not in earlier.get("details", {}):
        return {}
    details = earlier["details"]
    parts = {
        name: {part: details[name][part] for part in ON_DEMAND}
        for name in ("took_seconds", "stolen_seconds", "made")
    }
    spread = {name: earlier["spread"][name] for name in OF_STUDIES}
    found = {name: earlier[name] for name in OF_STUDIES}
    return {**found, "spread": spread, "details": {"studies": details["studies"], **parts}}


def main(asked: list[str]) -> int:
    """Measure every part, or those `asked` for, which take the place of what `results.json` has of them.

    What cannot be measured is left out with its reason.
    """
    torch.set_flush_denormal(True)
    if unknown := set(asked) - PARTS.keys():
        sys.exit(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report, failed = Report(kept(earlier, asked)), 0
    for name in asked or [part for part in PARTS if part not in ON_DEMAND]:
        began, stolen = time.perf_counter(), stolen_seconds()
        try:
            PARTS[name](report)
        except Exception as error:
            failed = 1
            traceback.print_exc()
            report.failed = f"{name} failed: {error}"
        report.details["took_seconds"][name] = time.perf_counter() - began
        report.details["stolen_seconds"][name] = stolen_seconds() - stolen
        report.details["made"][name] = {
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "hardware": description.hardware(),
            "software": description.software(),
        }
    for name in GOALS.keys() - report.found.keys():
        on_demand = "`python -m benchmarks studies` was not asked for" if name in OF_STUDIES else ""
        report.leave_out(name, report.failed or on_demand)
    write_atomic(RESULTS, json.dumps(report.as_dict(), indent=1, allow_nan=False) + "\n")
    update_numbers(RESULTS.parent, SOURCE, numbers(report.as_dict()))
    took, stolen = (sum(report.details[f"{name}_seconds"].values()) for name in ("took", "stolen"))
    print(f"Written to {RESULTS}; all parts took {took / 60:.1f} minutes.")
    print(f"The host gave {stolen / took:.1%} of the processors' time to other machines meanwhile.")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
