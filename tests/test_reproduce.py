"""Whole studies through the workflow: a failing model costs a row, a killed study goes on where it was."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pepr import execution, runs, study
from pepr.errors import WorkFailed
from tests.test_execution import CHECKOUT, broken_timm, profile


@pytest.mark.slow
def test_the_rest_of_the_grid_finishes_when_a_model_fails_and_its_row_is_in_the_table(
    tmp_path, monkeypatch, results
):
    """Through Snakemake, from a profile in a file of one's own; then RETRY=failed repeats just that row."""
    broken_timm(
        tmp_path,
        monkeypatch,
        "if args[0] == 'dla46_c': raise ValueError('no such layer')\n"
        "        return original(*args, **kwargs)",
    )
    blocks = [{"models": ["dla46_c", "mobilenetv2_050"], "settings": ["elpv_small"]}]
    loaded = profile(tmp_path, runs=blocks)
    folder = execution.reproduce(loaded, CHECKOUT, say=lambda line: None)
    table = runs.read_table(folder / "results.csv").set_index("model")
    assert table["status"].to_dict() == {"dla46_c": "failed", "mobilenetv2_050": "ok"}
    assert table.loc["dla46_c", "failure"] == "error"
    finished = runs.Store(results, "mine").record_path(table.loc["mobilenetv2_050", "run_id"])
    before = finished.stat().st_mtime_ns

    monkeypatch.delenv("PYTHONPATH")
    execution.reproduce(loaded, CHECKOUT, retry="failed", say=lambda line: None)
    assert (runs.read_table(folder / "results.csv")["status"] == "ok").all()
    assert finished.stat().st_mtime_ns == before


def test_contended_runs_can_be_repeated_and_others_are_left(results):
    store = runs.Store(results, "smoke")
    specs = study.grid(study.load("smoke"))
    for spec, contended in zip(specs, (True, False), strict=True):
        record = execution.failed_record(spec, "error", "made by hand")
        store.write_record(record | {"status": "ok", "failure": None, "contended": contended})
    execution._forget(store, specs, execution.RETRIES["failed"])
    assert [store.record_path(spec.run_id).exists() for spec in specs] == [True, True]
    execution._forget(store, specs, execution.RETRIES["contended"])
    assert [store.record_path(spec.run_id).exists() for spec in specs] == [False, True]


def start_study(results, profile_name="smoke"):
    environment = {**os.environ, "PEPR_RESULTS": str(results)}
    return subprocess.Popen(
        [sys.executable, "-m", "pepr.cli", "reproduce", "--profile", profile_name],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_tree(process):
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs([psutil.Process(pid) for pid in family if psutil.pid_exists(pid)], timeout=10)


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was_and_repeats_nothing(results):
    """Kill the whole tree once the first record is there, at a random moment of the second run; go on."""
    first = start_study(results)
    folder = results / "smoke" / "runs"
    deadline = time.monotonic() + 180
    while not list(folder.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(random.uniform(0, 4))
    kill_tree(first)
    finished = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.json")}
    assert finished, first.stdout.read()
    assert all(json.loads(content) for _, content in finished.values())

    second = start_study(results)
    told, _ = second.communicate(timeout=240)
    assert second.returncode == 0, told
    expected = {f"{spec.run_id}.json" for spec in study.grid(study.load("smoke"))}
    assert {path.name for path in folder.iterdir()} == expected
    for name, (when, content) in finished.items():
        assert ((folder / name).stat().st_mtime_ns, (folder / name).read_bytes()) == (when, content)
    table = runs.read_table(results / "smoke" / "results.csv")
    assert len(table) == len(expected) and (table["status"] == "ok").all()


def test_the_workflow_says_where_its_output_is_when_it_fails(results, tmp_path):
    loaded = study.load("smoke")
    with pytest.raises(WorkFailed, match=r"reproduce\.log"):
        execution.reproduce(loaded, tmp_path, say=lambda line: None)
