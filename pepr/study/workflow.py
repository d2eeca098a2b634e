"""Carry out a study: announce it, hand its runs to Snakemake, build its book."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from pepr import datasets
from pepr.datasets import at_hand
from pepr.display.words import duration
from pepr.errors import InputError, WorkFailed
from pepr.files import expanded, results_root, write_atomic
from pepr.machine import cores, description, gpu, meter, tracker
from pepr.runs.results import collect
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store
from pepr.study import forecast, profile as study_profile, recovery, timing

OWN_WORDS_FOR_GPUS = re.compile(r'"gres|"gpu_model|--gres|--gpus|gres[=/:]|--tres-per-|(?<![\w-])-G')
"""In the resources of a Snakemake profile: the executor's ways to ask for GPUs, besides a plain `gpu`."""

SUBMITS_BY = {"slurm": "sbatch"}
"""The program by which an executor of Snakemake hands jobs to a cluster."""

RETRIES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "failed": lambda record: record["status"] == "failed",
    "contended": lambda record: bool(record["contended"]),
}
"""Which finished runs `reproduce` repeats when it is asked to."""
SHARED = ("persistence", "input-output", "software-deployment", "sources", "storage-local-copies")
"""All that Snakemake takes to be shared by the processes of a workflow, but its cache of remote sources."""
SMALLEST = "smoke"
"""The profile that takes least."""
MEDICAL = "medical"
"""The profile of medical images, which `pocket` points to."""


def reproduce(
    profile: study_profile.Profile,
    checkout: Path,
    *,
    retry: str | None = None,
    cluster: str | None = None,
    runs: int | None = None,
    say: Any = print,
) -> Path:
    """Do every run of a profile that has no record yet, through Snakemake, and collect the table.

    The runs are done here, or where `cluster` says: see `cluster_profile`. `retry` repeats finished runs that
    `failed`, or that were `contended`. `runs` go on at once, at most, on this machine: see
    `forecast.side_by_side`.
    Output goes to the terminal and to `<results>/<profile>/reproduce.log`. Returns the folder of the results.
    Raises InputError when another process works on the same results, the folder cannot be written, the device
    cannot be used, or no image that the runs need is at hand, and WorkFailed when Snakemake fails.
    """
    if sys.platform == "win32":
        raise InputError(
            "the grid of a study is carried out on Linux or macOS, or in Windows' subsystem for Linux (WSL); "
            "here the library, the notebooks and the other commands work"
        )
    placement = cluster_profile(checkout, cluster) if cluster else None
    if placement:
        if runs is not None:
            where = placement / "config.yaml"
            raise InputError(f"RUNS={runs} is of this machine; of a cluster it is `jobs` in {where}")
        check_program(placement)
    device = description.study_device()
    if not cluster:
        study_profile.check_precision(profile, device)
    store = Store(results_root(), profile.name)
    with recovery.only_one(store.folder) as lock:
        recovery.check_room(store.folder)
        profile = study_profile.save(profile, store.folder)
        if not cluster:
            description.chosen_device()
        specs = study_profile.grid(profile, device)
        together = None if cluster else forecast.side_by_side(specs, device, runs)
        absent = at_hand.missing(spec.dataset for spec in specs)
        kept = recovery.tidy(store, [spec.run_id for spec in specs])
        cards = gpu.left_out() if specs[0].device.startswith("cuda") and not cluster else None
        for sentence in filter(None, [recovery.without_locks(store.folder), *kept, tracker.warning(), cards]):
            say(sentence)
        try:
            if retry:
                forget(store, specs, RETRIES[retry])
            for sentence in recovery.without_their_start(store, specs):
                say(sentence)
            say(announcement(profile, specs, store, cluster, together))
            for dataset, n_runs in absent.items():
                say(
                    f"Images of {dataset} are not at hand, so {n_runs:,} runs become rows that say "
                    f"`data_unavailable`; {at_hand.to_do([dataset])}"
                )
            if together and specs[0].device == "cpu":
                # While no run is at work; on a GPU a run measures the one that it holds.
                meter.idle_power_w("cpu", store.root / "machines", say)
            to_do = [spec.run_id for spec in specs if not store.record_path(spec.run_id).exists()]
            _snakemake(profile, checkout, store, placement or together, lock, to_do)
        finally:
            returned = recovery.bring_back(store)
        if returned:
            say(f"{len(returned)} runs did not end well a second time: their first results are back.")
            collect(store)
        if together:
            time_in_turn(store, together, say)
    return store.folder


def time_in_turn(store: Store, together: forecast.SideBySide, say: Callable[[str], None]) -> None:
    """Time the networks that ran here in turn as well (see `study.timing`), while no run is at work.

    What cannot be timed costs the check of the times, not the study.
    """
    at_once = timing.side_by_side(description.default_device(), together.runs)
    try:
        timing.complete(store.folder, at_once, say)
    except (InputError, WorkFailed) as error:
        say(f"The models were not timed in turn: {error}")


def cluster_profile(checkout: Path, cluster: str) -> Path:
    """The folder of Snakemake's profile for a cluster: a name in `workflow/profiles`, or a path.

    Raises InputError where there is none.
    """
    shipped = checkout / "workflow" / "profiles"
    for folder in (shipped / cluster, expanded(cluster, "--cluster ")):
        if (folder / "config.yaml").exists():
            return folder.resolve()
    known = ", ".join(sorted(path.parent.name for path in shipped.glob("*/config.yaml")))
    raise InputError(f"cluster {cluster!r}: known are {known}, or a folder that holds a config.yaml")


def asks_for_gpus(placement: Path) -> bool:
    """Whether a cluster's profile asks for GPUs in its own words, such as `gres: gpu:a100:1`; a second
    request in others would be refused, or doubled."""
    told = _told(placement)
    sections = (told.get("set-resources"), told.get("default-resources"))
    return bool(OWN_WORDS_FOR_GPUS.search(json.dumps(sections)))


def check_program(placement: Path) -> None:
    """Raise InputError where jobs cannot be handed to a cluster from here: its program is not to be found."""
    program = SUBMITS_BY.get(str(_told(placement).get("executor")))
    if program and not shutil.which(program):
        raise InputError(
            f"{placement}: `{program}` is not to be found; jobs are submitted on a machine of the cluster"
        )


def _told(placement: Path) -> dict[str, Any]:
    """What a cluster's profile says. Raises InputError where it cannot be read."""
    import yaml

    path = placement / "config.yaml"
    try:
        told = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(told, dict):
        raise InputError(f"{path}: expected names with values, as in workflow/profiles/slurm/config.yaml")
    return told


def announcement(
    profile: study_profile.Profile,
    specs: list[RunSpec],
    store: Store,
    cluster: str | None = None,
    together: forecast.SideBySide | None = None,
    wherever: bool = False,
) -> str:
    """What is about to happen, what it will cost, and how to take less.

    `together`: how the runs go on side by side on this machine; they are then predicted for it, and for a CPU
    where it has no GPU; `wherever` they may be done, a line says what a GPU would take. Without it they are
    of a GPU that is not here, and predicted for that.
    """
    left = [spec for spec in specs if not store.record_path(spec.run_id).exists()]
    device = specs[0].device if together and not cluster else None
    if cluster:
        place = f"the nodes of {cluster} ({specs[0].device})"
    else:
        place = description.hardware(specs[0].device) if together else f"a GPU elsewhere ({specs[0].device})"
    lines = [
        f"Profile {profile.name}: {profile.values['title']}.",
        f"{len(specs)} runs on {place}, {len(specs) - len(left)} of them done.",
    ]
    if left:
        expected = forecast.forecast(profile, left, device, together.runs if together else 1, taught_by=specs)
        lines += _cost_lines(expected, bool(together), "Those left" if len(left) < len(specs) else "All runs")
        if wherever and device == "cpu" and expected.predicted:
            lines.append(_on_a_gpu(left))
    if together and left:
        lines.append(together.words)
    lines += _medical_lines(profile, specs[0].device)
    less = "" if profile.name == SMALLEST else f" For less: PROFILE={SMALLEST}."
    lines.append(f"Stop with Ctrl-C at any time: finished runs are kept and not repeated.{less}")
    return "\n".join(lines)


def _cost_lines(expected: forecast.Forecast, here: bool, which: str) -> list[str]:
    """What some runs will cost and how that is known; `here`, when the last of them will have ended, too."""
    if expected.hours is None:
        return [f"What it will cost is not known: {expected.basis}."]
    low, high = (duration(3600 * hours) for hours in (expected.hours_low, expected.hours_high))
    between = f" ({low} to {high})" if low != high else ""
    when = f"Done in about {duration(3600 * expected.elapsed_hours)}. " if here else ""
    spent = _energy(expected.energy_kwh)
    if expected.energy_kwh is not None:
        spent += f", {_carbon(expected.co2eq_g)}"
    return [
        f"{when}{which} added up: about {duration(3600 * expected.hours)}{between}, "
        f"{spent}, {expected.disk_bytes / 1e6:.1f} MB on disk.",
        f"That is an estimate: {expected.basis}.",
    ]


def _medical_lines(profile: study_profile.Profile, device: str) -> list[str]:
    """What a processor can do besides `pocket`, with the images that it takes and for how long."""
    if profile.name != "pocket" or device != "cpu":
        return []
    medical = study_profile.load(MEDICAL)
    specs = study_profile.grid(medical, device)
    absent = [
        name for name in dict.fromkeys(spec.dataset for spec in specs) if not datasets.find(name).at_hand()
    ]
    fetched = [name for name in absent if datasets.find(name).downloadable]
    supplied = [name for name in absent if name not in fetched]
    needed = [f"{', '.join(fetched)}: downloaded, where there is a network"] if fetched else []
    needed += [f"{', '.join(supplied)}: {at_hand.to_do(supplied)}"] if supplied else []
    at_once = forecast.side_by_side(specs, device).runs
    hours = forecast.forecast(medical, specs, device, at_once).elapsed_hours
    takes = "" if hours is None else f" takes about {duration(3600 * hours)} (estimated)"
    images = "; ".join(needed) or "at hand"
    return [f"PROFILE={MEDICAL}{takes}, SETTINGS=breast a small part of that. Images: {images}."]


def _energy(kwh: float | None) -> str:
    if kwh is None:
        return "energy not metered"
    return f"{kwh:.1f} kWh" if kwh >= 1 else f"{1000 * kwh:.1f} Wh"


def _carbon(grams: float | None) -> str:
    if grams is None:
        return "CO2-eq not known: the table has no intensity for that country"
    return f"{grams / 1000:.1f} kg CO2-eq" if grams >= 1000 else f"{grams:.1f} g CO2-eq"


def forget(store: Store, specs: list[RunSpec], again: Callable[[Mapping[str, Any]], bool]) -> None:
    """Finished runs that are to be done `again`, and the data that could not be had for them. What ended well
    is kept until its run has ended well again: see `recovery.put_by`."""
    for spec in specs:
        record = store.read_record(spec.run_id)
        if record is not None and again(record):
            if record["status"] == "ok":
                recovery.put_by(store, spec.run_id)
            else:
                store.record_path(spec.run_id).unlink()
            if record["failure"] == "data_unavailable":
                data_notebook = f"01_data-{spec.dataset}-{spec.image_size}.ipynb"
                (store.folder / "notebooks" / data_notebook).unlink(missing_ok=True)


def _on_a_gpu(specs: list[RunSpec]) -> str:
    found = forecast.on_the_authors_gpu(specs)
    return (
        f"On {found.machine}: about {duration(found.seconds)} of runs, {_energy(found.energy_kwh)} "
        f"({found.runs} of {len(specs)} runs predicted)."
    )


def _snakemake(
    profile: study_profile.Profile,
    checkout: Path,
    store: Store,
    placement: Path | forecast.SideBySide,
    lock: int,
    to_do: list[str],
) -> None:
    """Hand the runs to Snakemake: for a cluster by the folder of its profile, or for this machine.

    Raises WorkFailed where it fails, and where the first runs `to_do` end in one and the same error.
    """
    snakefile, here = checkout / "workflow" / "Snakefile", isinstance(placement, forecast.SideBySide)
    on_gpu = description.default_device().startswith("cuda")
    options = {
        "profile": profile.source,
        "device": description.default_device(),
        "checkout": str(checkout),
        "results": str(store.root),
        "ask_for_gpu": "yes" if not here and on_gpu and not asks_for_gpus(placement) else "no",
    }
    settings = store.folder / "workflow.json"  # on a command line Snakemake takes their values for YAML
    write_atomic(settings, json.dumps(options, indent=1) + "\n")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(store.folder)),
        # On this machine a core is a place for one run; a cache in a home that may be read-only is no use.
        *(
            ("--cores", str(placement.runs), "--shared-fs-usage", *SHARED)
            if here
            else ("--workflow-profile", str(placement))
        ),
        # The runs have an order, and solving for a better one takes seconds before each run of a large grid.
        *("--scheduler", "greedy", "--keep-going"),
        # Here each run tells of itself; on a cluster Snakemake says how many are done.
        *("--quiet", *(("all",) if here else ("rules", "host", "reason"))),
        # Records are written whole or not at all, so one that exists is finished whatever Snakemake
        # remembers; and only a missing or older file is a reason to run, not an edit of code or prose.
        *("--rerun-triggers", "mtime", "--ignore-incomplete", "--keep-incomplete", "--nolock"),
        *("--configfile", str(settings)),
    ]
    environment = {
        **os.environ,
        "PATH": search_path(store.folder),
        "PYTHONUNBUFFERED": "1",
        "PEPR_RESULTS": str(store.root),
        cores.STUDY_PROCESS: str(os.getpid()),
    }
    # A sign that the terminal's encoding lacks costs the sign, not the run that prints it.
    environment.setdefault("PYTHONIOENCODING", ":replace")
    if here:
        environment["PEPR_RUNS_AT_ONCE"] = str(placement.runs)
        environment["OMP_NUM_THREADS"] = str(placement.threads)
    _heed_interrupts()
    with contextlib.ExitStack() as held:
        log = held.enter_context((store.folder / "reproduce.log").open("ab", buffering=0))
        # Snakemake holds the folder too, should it outlive this process, and what its runs ask for kernels.
        shared = [lock]
        if here and options["device"] == "cpu" and hasattr(os, "fork"):
            from pepr.study import kernels

            told, descriptor = held.enter_context(kernels.loaded(cores.KERNEL_ENVIRONMENT | environment))
            environment |= told
            shared.append(descriptor)
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            cwd=checkout,
            pass_fds=shared,
        )
        try:
            for line in process.stdout:
                pass_on(line, log)
                if "failed" in line or not here:
                    recovery.stop_at_a_shared_fault(store, to_do)
        except BaseException:  # whatever it is, no run goes on behind the back of a command that has ended
            _interrupt(process)
            process.wait()
            raise
        ended_with = process.wait()
        recovery.stop_at_a_shared_fault(store, to_do)
        if ended_with:
            raise WorkFailed(f"the workflow failed; its output is in {store.folder / 'reproduce.log'}")


def search_path(folder: Path) -> str:
    """Where Snakemake finds programs: this Python's first, and `which` at last, made in a results folder
    where there is none, as in small images of Linux. Its plugin for Slurm asks it for `sacct` as soon as it
    is loaded, which it is whoever does the runs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if shutil.which("which", path=path):
        return path
    script = folder / ".snakemake" / "programs" / "which"
    write_atomic(script, '#!/bin/sh\ncommand -v "$@"\n')
    script.chmod(0o755)
    return f"{path}{os.pathsep}{script.parent}"


def pass_on(line: str, log: BinaryIO) -> None:
    """A closed terminal, a full disk or a sign that a terminal lacks costs the line, not the study."""
    with contextlib.suppress(OSError):
        log.write(line.encode())
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line)
        sys.stdout.flush()


def _heed_interrupts() -> None:
    """Take SIGINT where it is ignored, as by what a script starts in the background: else it would be by
    Snakemake and its runs too, and nothing could stop them. Python takes signals in its main thread only."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Stop Snakemake and the run that it would wait for. Ctrl-C reaches them twice, without harm."""
    with contextlib.suppress(psutil.NoSuchProcess):
        workflow = psutil.Process(process.pid)
        for one in (workflow, *workflow.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT)
