"""Whole studies in processes of their own, as `make reproduce` starts them, and how two of them compare."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from pepr import runs

CHECKOUT = Path(__file__).parents[1]
MEASURED = [
    "energy_kwh",
    "energy_cpu_kwh",
    "energy_gpu_kwh",
    "energy_ram_kwh",
    "energy_validation_kwh",
    "energy_inference_kwh",
    "idle_power_w",
    "power_limit_w",  # of what the meter finds: on a cluster, the job's share of the memory
    "co2eq_g",
    "train_time_s",
    "train_cpu_time_s",
    "inference_time_s",
    "validation_time_s",
    "wall_time_s",
    "epoch_time_s_first",
    "epoch_time_s_median",
    # The processor time of other processes, and the resident memory of this one: neither repeats exactly.
    "contended",
    "peak_memory_bytes",
    "speed_probe_s",
    "runs_at_once",
]
"""Columns that differ between two runs of one specification; all others are the same to the last digit."""


def start_study(
    results: Path,
    profile: str | Path = "smoke",
    *options: str,
    interrupts: signal.Handlers = signal.SIG_DFL,
    **environment: str,
):
    """`pepr reproduce` on a results folder, with its output in `process.stdout`; `interrupts` are ignored
    where a script starts it in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "pepr.cli", "reproduce", "--profile", str(profile), *options],
        cwd=CHECKOUT,
        env={**os.environ, "PEPR_DEVICE": "cpu", **environment, "PEPR_RESULTS": str(results)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=functools.partial(_as_at_a_terminal, interrupts),
    )


def _as_at_a_terminal(interrupts: signal.Handlers) -> None:
    """Ctrl-C reaches a study or not, and it has all cores for its runs, even if these tests run otherwise."""
    signal.signal(signal.SIGINT, interrupts)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def finish_study(results: Path, profile: str | Path = "smoke", *options: str, **environment: str) -> str:
    """Run a study to its end; what it said."""
    process = start_study(results, profile, *options, **environment)
    try:
        told, _ = process.communicate(timeout=600)
    finally:
        kill_tree(process)
    assert process.returncode == 0, told
    return told


def wait_until(happened, what: str, seconds: float = 120) -> None:
    """Poll `happened()` until it is true."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def wait_for_line(process, words: str) -> str:
    """Read a study's output up to a line with `words` in it."""
    told = ""
    for line in process.stdout:
        told += line
        if words in line:
            return told
    raise AssertionError(f"it ended without saying {words!r}:\n{told}")


def rest_of(process) -> str:
    """Read a study's output to its end."""
    told = process.stdout.read()
    process.wait(timeout=60)
    return told


def kill_tree(process) -> None:
    """SIGKILL a process and all that descend from it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        for one in (process, *children):
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(one.pid, signal.SIGKILL)
        psutil.wait_procs(children, timeout=10)
    process.wait()


def records_of(folder: Path) -> dict[str, bytes]:
    """The content of every record of a study, by file name."""
    return {path.name: path.read_bytes() for path in (folder / "runs").glob("*.json")}


def assert_same_results(folder: Path, undisturbed: Path) -> None:
    """The same runs, once each, all `ok`: same predictions, same rows in all columns but `MEASURED`."""
    table, expected = (runs.read_table(path / "results.csv") for path in (folder, undisturbed))
    assert (expected["status"] == "ok").all()
    pd.testing.assert_frame_equal(table.drop(columns=MEASURED), expected.drop(columns=MEASURED))
    assert (table["energy_kwh"] > 0).all() and (table["train_time_s"] > 0).all()
    assert {path.stem for path in (folder / "runs").glob("*.json")} == set(table["run_id"])
    assert len(list((folder / "predictions").iterdir())) == len(table)
    for run_id in table["run_id"]:
        for ours, theirs in zip(predictions(folder, run_id), predictions(undisturbed, run_id), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def predictions(folder: Path, run_id: str) -> tuple[np.ndarray, np.ndarray]:
    return runs.Results(folder.name, "this machine", folder).predictions(run_id)


def row(folder: Path, run_id: str) -> pd.Series:
    """One run's row of a study's table."""
    return runs.read_table(folder / "results.csv").set_index("run_id").loc[run_id]
