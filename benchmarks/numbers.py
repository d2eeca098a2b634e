"""What `make bench` measured, as the numbers and tables that the book quotes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau

from benchmarks import wrapping
from pepr.display.numbers import UNKNOWN, number
from pepr.errors import InputError

SOURCE = "benchmarks"
WORDS = {
    "loop_vs_bare": "Images a second of the training loop, over those of the bare loop",
    "loop_vs_authors_fp32": "Speed of the loop over that of the paper's way, in single precision",
    "loop_vs_authors_bf16": "The same in bfloat16, for the ResNets",
    "loss_difference_fp32": "Greatest difference of a step's loss between the two, in single precision",
    "host_memory_vs_authors": "Memory that holds the images, over that of the paper's way",
    "meter_overhead": "What the energy meter itself takes of a window of 30 s",
    "measure_overhead": "What `pepr measure` adds to a training of a minute, by the clock",
    "startup_vs_bare": "Start-up of a run, over that of a notebook that only imports",
    "startup_share": "Start-up's share of all runs of `pocket`",
    "score_1e6_seconds": "PePR of a million models",
    "bootstrap_seconds": "10,000 resamples of 131 models in eight settings",
    "book_build_seconds": "The book, from executed notebooks",
    "book_incremental_seconds": "The book again, after a change of one chapter",
    "study_vs_before": "A whole study, over that of the earlier commit",
    "busy_study_vs_before": "The same beside a busy loop, of a part of it",
    "run_start_vs_before": "Processor time of a short run, little but start-up, over the earlier one's",
}
"""Each measure in words, in the order of the table."""
SINCE = {"measure_overhead", "study_vs_before", "busy_study_vs_before", "run_start_vs_before"}
"""Measures that came later: an earlier report lacks them, and is shown without."""
DETAILS = {
    "stolen_seconds",
    "loss_difference",
    "memory_settings",
    "busiest",
    "import_seconds",
    "mended_seconds",
    "startup_seconds",
    "startup_phases",
    "scoring",
    "pocket",
}
"""What the chapter needs of the details: a benchmark that broke off has not all of them."""
WHY_MISSED = {
    "loop_vs_authors_fp32": "both spend the step in the same convolutions: [profile](#the-loop)",
    "loop_vs_authors_bf16": "both spend the step in the same convolutions: [profile](#the-loop)",
    "loss_difference_fp32": "rounding, amplified: [evidence](#equal-losses)",
    "startup_share": "the loading of libraries: [profile](#starting-a-run)",
    "startup_vs_bare": "the loading of libraries: [profile](#starting-a-run)",
    "study_vs_before": "the training itself: [profile](#whole-studies)",
}
"""Why a goal is missed that may be, and where the chapter shows it."""
PERCENT = {"host_memory_vs_authors", "meter_overhead", "measure_overhead", "startup_share"}
SECONDS = {"score_1e6_seconds", "bootstrap_seconds", "book_build_seconds", "book_incremental_seconds"}


def read(path: Path) -> dict[str, Any]:
    """What `make bench` wrote; empty where it was never run. Raises InputError for a damaged file."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not what `make bench` writes ({error}); run it again") from error


def numbers(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of the namespace `bench` by key: `value`, `text`, `estimate`, `source`; none of a benchmark
    that was never run, broke off, or had other goals.

    Of each measure what was found, its least and greatest round, and whether its goal was met; of the details
    their tables.
    """
    if not report.get("details", {}).keys() >= DETAILS:
        return {}
    if not report.get("goals", {}).keys() >= WORDS.keys() - SINCE:
        return {}
    details = report["details"]
    took, stolen = (
        sum(seconds for part, seconds in details[f"{name}_seconds"].items() if part != "studies")
        for name in ("took", "stolen")
    )
    entries = {
        "table": number(None, _table(report)),
        "goals_met": number(_count(report, True), str(_count(report, True))),
        "goals_missed": number(_count(report, False), str(_count(report, False))),
        "goals": number(len(_known(report)), str(len(_known(report)))),
        "took": number(took, f"{took / 60:.0f} minutes"),
        "stolen": number(stolen / took, f"{100 * stolen / took:.1f}%"),
        "made": number(None, _made(details["made"])),
        "loops_table": number(None, _loops(details)),
        "losses_table": number(None, _losses(details["loss_difference"])),
        "busiest_table": number(None, _busiest(details["busiest"])),
        "phases_table": number(None, _phases(details["startup_phases"])),
        "imports_table": number(None, _imports(details["import_seconds"])),
        "scoring_table": number(None, _scoring(details["scoring"])),
        "mended_table": number(None, _mended(details["mended_seconds"])),
        **_energy(details["pocket"]),
    }
    if "contention" in details:
        entries |= contention_entries(details["contention"])
    if "measure" in details:
        entries |= _measure(details["measure"])
    if "studies" in details:
        entries |= study_entries(details["studies"])
    for name, values in details["startup_seconds"].items():
        entries[f"startup_{name}"] = number(statistics.fmean(values), f"{statistics.fmean(values):.1f} s")
    for name, values in details["memory_settings"].items():
        entries[f"step_{name}"] = number(statistics.median(values), f"{statistics.median(values):.2f} s")
    for name in ("fp32", "bf16"):
        value = report[f"loop_vs_authors_{name}"]
        # A loop that is measured as faster than its limit is as fast, and the rest is noise.
        limit = None if value is None else value / min(report["loop_vs_bare"], 1.0)
        entries[f"limit_{name}"] = number(
            limit, UNKNOWN if limit is None else f"{limit:.2f} times", estimate=True
        )
    for name, key in (("float64", "double"), ("one_thread", "one_thread")):
        greatest = max(details["loss_difference"][name].values())
        entries[f"loss_difference_{key}"] = number(greatest, f"{greatest:.2g}")
    for name in _known(report):
        if report[name] is not None:
            entries[name] = number(report[name], _text(name, report[name]))
    return {key: {**entry, "source": SOURCE} for key, entry in entries.items()}


PART_WORDS = {
    "loops": "the loop",
    "memory": "its memory",
    "meter": "the meter",
    "measure_overhead": "`pepr measure`",
    "startup": "starting a run",
    "analysis": "the analysis and the book",
    "contention": "other programs beside it",
    "studies": "whole studies",
}


def _made(parts: Mapping[str, Mapping[str, str]]) -> str:
    """When and where the parts were measured: `on 2026-01-02, on MACHINE, with SOFTWARE`, the parts named
    where they have not all the same."""
    places: dict[tuple[str, ...], list[str]] = {}
    for part, made in parts.items():
        place = (made["made_at"][:10], made["hardware"].replace("; ", ", "), made["software"])
        places.setdefault(place, []).append(PART_WORDS[part])
    several = len(places) > 1
    return "; ".join(
        f"{', '.join(named) + ' ' if several else ''}on {day}, on {hardware}, with {software}"
        for (day, hardware, software), named in places.items()
    )


TIMES = {
    "cpu_s": "processor time",
    "corrected_s": "set right by the probe",
    "wall_s": "wall time",
    "wall_all_s": "wall time with a thread on each core",
}


def contention_entries(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Each kind of time under each load over that of the machine alone: median over the models, and the
    greatest; and how the models' order by the corrected time agrees with that of the machine alone."""
    quiet, *loads = found
    lines = ["| Beside a training step | " + " | ".join(TIMES.values()) + " | order of the models |"]
    lines.append("| --- |" + " ---: |" * (len(TIMES) + 1))
    orders = []
    for load in loads:
        cells = []
        for name in TIMES:
            ratios = [row[name] / found[quiet][model][name] for model, row in found[load].items()]
            cells.append(f"{statistics.median(ratios):.2f} (at most {max(ratios):.2f})")
        times = [[found[where][model]["corrected_s"] for model in found[load]] for where in (quiet, load)]
        orders.append(float(kendalltau(*times).statistic))
        lines.append(f"| {load} | {' | '.join(cells)} | {orders[-1]:.2f} |")
    models = len(found[quiet])
    return {
        "contention_table": number(None, "\n".join(lines)),
        "contention_models": number(models, str(models)),
        "contention_order": number(min(orders), f"{min(orders):.2f}"),
    }


def study_entries(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Studies of the earlier commit and of this one: how long each took, and what was built beside a loop."""
    words = {"whole": "`pocket` as it was, alone", "busy": "a part of it beside a busy loop"}
    lines = []
    for name, label in words.items():
        cells = []
        for commit in ("before", "now"):
            took = found[name][commit]
            cells.append(f"{'more than ' if 'stopped' in took else ''}{took['wall_s'] / 60:.1f} min")
        lines.append((label, *cells))
    whole, at_once = found["whole"], found["cores"]
    words = "training and evaluation of all runs of the whole, added up"
    lines.append((words, *(f"{whole[commit]['learning_s'] / 60:.1f} min" for commit in ("before", "now"))))
    least = whole["now"]["learning_s"] / at_once / whole["before"]["wall_s"]
    starts = found["start_cpu_s"]
    lines.append(
        ("processor time of a short run", *(f"{starts[commit]:.1f} s" for commit in ("before", "now")))
    )
    return {
        "studies_table": number(None, _markdown(("`make reproduce`", "Earlier commit", "This one"), lines)),
        "studies_cores": number(at_once, str(at_once)),
        "studies_least": number(least, f"{least:.2f}"),
        "studies_before": number(None, f"`{found['before']}`"),
        "studies_part": number(None, ", ".join(f"`{key}={value}`" for key, value in found["part"].items())),
    }


def _measure(found: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """What `pepr measure` adds to a training, bare and wrapped trainings side by side, and their energy."""
    shares = {kind: statistics.median(wrapping.shares(found, kind)) for kind in ("s", "cpu_s")}
    named = [f"{way}_{kind}" for way in ("bare", "wrapped") for kind in ("s", "cpu_s")]
    seconds = {name: statistics.median(found[name]) for name in named}
    ratio = wrapping.energy_ratio(found)
    return {
        "measure_clock": number(shares["s"], f"{100 * shares['s']:.2g}%"),
        "measure_processor": number(shares["cpu_s"], f"{100 * shares['cpu_s']:.2g}%"),
        **{f"measure_{name}": number(value, f"{value:.1f} s") for name, value in seconds.items()},
        "measure_energy": number(ratio, f"{100 * ratio:.1f}%", estimate=True),
    }


def _known(report: Mapping[str, Any]) -> list[str]:
    return [name for name in WORDS if name in report["goals"]]


def _count(report: Mapping[str, Any], met: bool) -> int:
    return sum(_met(report, name) is met for name in _known(report))


def _met(report: Mapping[str, Any], name: str) -> bool | None:
    if report[name] is None:
        return None
    relation, goal = report["goals"][name].split()
    return report[name] >= float(goal) if relation == ">=" else report[name] <= float(goal)


def _text(name: str, value: float) -> str:
    if name in PERCENT:
        return f"{100 * value:.2g}%"
    if name == "loss_difference_fp32":
        return f"{value:.2g}"
    if name in SECONDS:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value:.2f} times"


def _table(report: Mapping[str, Any]) -> str:
    lines = []
    for name in _known(report):
        words = WORDS[name]
        relation, goal = report["goals"][name].split()
        aim = f"{'at least' if relation == '>=' else 'at most'} {_text(name, float(goal))}"
        if report[name] is None:
            lines.append((words, "not measured", f"{aim}: {report['why'][name]}", "–"))
            continue
        low, high = (_text(name, value) for value in report["spread"][name])
        verdict = "met" if _met(report, name) else _missed(name, report[name], float(goal))
        lines.append((words, _text(name, report[name]), f"{aim}: {verdict}", f"{low} to {high}"))
    return _markdown(("Measure", "Found", "Goal", "Rounds"), lines)


def _missed(name: str, value: float, goal: float) -> str:
    """By how much, and why."""
    away = abs(value - goal) / goal
    much = f" by {100 * away:.0f}%" if away < 2 else f": {value / goal:,.0f} times the goal"
    return f"**missed**{much}" + (f"; {WHY_MISSED[name]}" if name in WHY_MISSED else "")


def _loops(details: Mapping[str, Any]) -> str:
    against = {name: details.get(f"loop_vs_authors_{name}", {}) for name in ("fp32", "bf16")}
    lines = []
    for model in against["fp32"]:
        bare = [statistics.median(details["loop_vs_bare"][f"{model}, {size} px"]) for size in (64, 128)]
        theirs = [_speed(found.get(model)) for found in against.values()]
        lines.append((f"`{model}`", *(f"{value:.2f}" for value in bare), *theirs))
    heads = ("Model", "Bare loop, 64 px", "128 px", "Paper's way, single", "bfloat16")
    return _markdown(heads, lines)


def _speed(seconds: Mapping[str, list[float]] | None) -> str:
    if seconds is None:
        return "–"
    ratios = [theirs / ours for theirs, ours in zip(seconds["authors"], seconds["ours"], strict=True)]
    return f"{statistics.median(ratios):.2f}"


def _losses(differences: Mapping[str, Mapping[str, float]]) -> str:
    columns = [differences[name] for name in ("float32", "one_thread", "float64")]
    lines = [
        (f"`{model}`", *(f"{column[model]:.2g}" if model in column else "–" for column in columns))
        for model in differences["float32"]
    ]
    heads = ("Model", "Ours, single precision", "The paper's way on one thread", "Ours, double precision")
    return _markdown(heads, lines)


def _busiest(operations: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    words = {"ours": "", "authors": ", the paper's way"}
    lines = [
        (model + words[way], ", ".join(f"`{name}` {100 * share:.0f}%" for name, share in shares.items()))
        for way, found in operations.items()
        for model, shares in found.items()
    ]
    return _markdown(("Model and precision", "Where a step's processor time goes"), lines)


def _phases(seconds: Mapping[str, list[float]]) -> str:
    words = {
        "launch": "The process that carries it out, until papermill opens the notebook",
        "kernel": "Its kernel, until the first cell",
        "torch": "PyTorch",
        "training": "timm, PyTorch's compiler, the meter; data, model, warm-up; the chosen weights' test",
        "ending": "Record, executed notebook, the end of both processes",
    }
    means = {name: statistics.fmean(seconds[name]) for name in words}
    whole = sum(means.values())
    lines = [(words[name], f"{mean:.1f} s", f"{100 * mean / whole:.0f}%") for name, mean in means.items()]
    return _markdown(("Where a run's start-up goes", "Seconds", "Share"), lines)


def _imports(seconds: Mapping[str, float]) -> str:
    words = {"sys": "nothing: Python itself", "pepr.training": "`pepr.training`, with torch"}
    lines = [(words.get(name, f"`{name}`"), f"{value:.1f} s") for name, value in seconds.items()]
    return _markdown(("A fresh process imports", "Seconds"), lines)


def _mended(seconds: Mapping[str, Mapping[str, float]]) -> str:
    words = {
        "compiled": "The libraries of a training: what Python compiles of them is kept",
        "libraries": "The same, compiled: no garbage is looked for meanwhile",
        "notebooks": "`nbformat`: no grammar of internationalised web addresses is compiled",
    }
    lines = [
        (words[name], *(f"{found[when]:.1f} s" for when in ("before", "now")))
        for name, found in seconds.items()
    ]
    return _markdown(("What was slow, and what mended it", "Before", "Now"), lines)


def _scoring(scored: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    lines = []
    for size in scored["pepr"]:
        line = [f"{int(size):,}"]
        for found in scored.values():
            seconds = statistics.median(found[size]["seconds"])
            line += [f"{_rounded(1000 * seconds)} ms", f"{_rounded(found[size]['bytes'] / 1e6)} MB"]
        lines.append(line)
    return _markdown(("Models", "PePR", "Memory", "PePR curve", "Memory"), lines)


def _rounded(value: float) -> str:
    """Two digits that count, and no power of ten beside them."""
    return f"{float(f'{value:.2g}'):g}"


def _energy(pocket: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Watt-hours of all runs of `pocket`, by window; all of it is as little a measurement as its meter is."""
    split = pocket["energy_wh"]
    whole = sum(split.values())
    names = {name: name.removesuffix("_estimated") for name in split}
    return {
        "pocket_runs": number(pocket["runs"], str(pocket["runs"])),
        "pocket_hardware": number(pocket["hardware"], pocket["hardware"]),
        "pocket_energy": number(whole, f"{whole:.1f} Wh", estimate=True),
        **{
            f"pocket_energy_{names[name]}": number(
                value, f"{value:.2g} Wh ({100 * value / whole:.0f}%)", estimate=True
            )
            for name, value in split.items()
        },
    }


def _markdown(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
