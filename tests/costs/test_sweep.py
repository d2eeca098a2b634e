"""The sweep: rows as they are measured, failures as rows, and no model measured twice."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

from pepr import published, training
from pepr.costs import prediction, recommendation, sweep as sweeping
from pepr.costs.model import Job, job_of
from pepr.costs.sweep import Conditions
from pepr.errors import InputError, OutOfMemory
from pepr.machine import description, meter
from pepr.models.space import model_space
from pepr.runs.spec import RunSpec
from pepr.study import forecast as forecasting
from pepr.training import steps

CONDITIONS = Conditions("cpu", 64)
SMALL = ["dla46_c", "mobilenetv2_050", "resnet18d"]
TELLS = """
import json, os, signal, sys, time
for model in sys.argv[1 : sys.argv.index("--device")]:
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(model + "\\n")
    if model in os.environ.get("DIES", "").split(","):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("TAKES", "0")))
    row = dict.fromkeys(json.loads(os.environ["COLUMNS"])) | {
        "model": model, "status": "ok", "step_time_s": 0.2, "step_cpu_time_s": 0.1, "step_energy_wh": 0.001,
        "peak_memory_bytes": 10**8, "device": "cpu", "image_size": 64, "batch_size": 32, "precision": "fp32",
        "hardware": "a machine",
    }
    print(json.dumps(row), flush=True)
"""
"""Stands for the process that measures: it tells a row for each of its models."""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Sweeps with a process that makes rows up; returns the file of the models that it was asked for."""
    program = tmp_path / "worker.py"
    program.write_text(TELLS)
    calls = tmp_path / "calls"
    monkeypatch.setattr(sweeping, "WORKER", (sys.executable, str(program)))
    monkeypatch.setattr(sweeping, "POLL_S", 0.01)
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("COLUMNS", json.dumps(sweeping.COLUMNS))
    return calls


def silent(line):
    pass


def test_every_model_is_a_row_in_both_files(worker, tmp_path):
    said = []
    found = sweeping.sweep(CONDITIONS, SMALL, said.append, tmp_path)
    assert list(found.rows) == SMALL
    path = sweeping.rows_path(CONDITIONS, tmp_path)
    assert len(path.read_text().splitlines()) == 3
    assert list(sweeping.read_csv(path.with_suffix(".csv")).rows) == SMALL
    assert "[3/3, 0 s left] resnet18d: 100 ms and 1 mWh a step, 100 MB" in said[-1]


def test_what_was_measured_is_not_measured_again(worker, tmp_path):
    sweeping.sweep(CONDITIONS, SMALL[:2], silent, tmp_path)
    sweeping.sweep(CONDITIONS, SMALL, silent, tmp_path)
    assert sorted(worker.read_text().split()) == sorted(SMALL)


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_process_that_dies_costs_its_model_and_no_other(worker, tmp_path, monkeypatch, at_once):
    monkeypatch.setenv("DIES", "mobilenetv2_050")
    found = sweeping.sweep(CONDITIONS, SMALL, silent, tmp_path, at_once)
    assert {model: row["status"] for model, row in found.rows.items()} == {
        "dla46_c": "ok",
        "mobilenetv2_050": "failed",
        "resnet18d": "ok",
    }
    assert found.rows["mobilenetv2_050"]["failure"] == "out_of_memory"
    assert "SIGKILL" in found.rows["mobilenetv2_050"]["explanation"]
    assert found.row("mobilenetv2_050") is None


def test_a_sweep_that_was_killed_goes_on_where_it_stopped_even_after_a_torn_line(worker, tmp_path):
    program = textwrap.dedent(
        f"""
        import sys; from pathlib import Path; from pepr.costs import sweep
        sweep.WORKER = {sweeping.WORKER!r}
        sweep.sweep(sweep.Conditions("cpu", 64), {SMALL!r}, print, Path({str(tmp_path)!r}))
        """
    )
    path = sweeping.rows_path(CONDITIONS, tmp_path)
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TAKES": "0.3"}) as child:
        deadline = time.monotonic() + 60
        while not (path.exists() and path.read_text().count("\n") >= 1) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    with path.open("a") as stream:
        stream.write('{"model": "resnet18d", "status"')
    before = sweeping._read_rows(path)
    found = sweeping.sweep(CONDITIONS, SMALL, silent, tmp_path)
    assert list(found.rows) == SMALL and all(row["status"] == "ok" for row in found.rows.values())
    assert len(sweeping._read_rows(path)) == 3
    asked = worker.read_text().split()
    assert all(asked.count(model) == 1 for model in before)


def test_a_model_that_raises_is_a_row_with_the_largest_batch(monkeypatch):
    def full(spec, meter):
        raise OutOfMemory("CUDA out of memory; largest batch size that fits: 12")

    monkeypatch.setattr(steps, "prepare", lambda device: None)
    monkeypatch.setattr(steps, "measure_steps", full)
    monkeypatch.setattr(meter, "open_meter", lambda device: meter.Meter(None, {}))
    (row,) = sweeping.measure_models(["dla46_c"], CONDITIONS)
    assert (row["status"], row["failure"], row["largest_batch_size"]) == ("failed", "out_of_memory", 12)


def test_without_names_every_model_that_takes_the_size_is_meant():
    space = model_space()
    assert sweeping._models(None, 256) == [name for name in space if space[name].accepts(256)]


def test_models_that_cannot_be_measured_are_refused():
    with pytest.raises(InputError, match="no model resnet in the study"):
        sweeping._models(["resnet"], 64)
    space = model_space()
    picky = next(name for name in space if not space[name].accepts(100))
    with pytest.raises(InputError, match=f"{picky} cannot take 100 px"):
        sweeping._models(["dla46_c", picky], 100)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((None, 0, 32, "fp32"), None),
        (("cpu", 64, 1, "fp32"), "at least 1 and 2"),
        (("cpu", 64, 32, "fp8"), "fp8"),
    ],
)
def test_conditions_are_checked(asked, said):
    if said is None:
        assert sweeping.conditions_of(*asked).image_size in sweeping.IMAGE_SIZE.values()
    else:
        with pytest.raises(InputError, match=said):
            sweeping.conditions_of(*asked)


ROW = {
    "model": "dla46_c",
    "status": "ok",
    "steps": 9,
    "step_time_s": 9.0,
    "step_cpu_time_s": 0.5,
    "step_energy_wh": 0.002,
    "eval_time_s": 3.0,
    "eval_cpu_time_s": 0.1,
    "eval_energy_wh": 0.0005,
    "peak_memory_bytes": 10**8,
    "energy_source": "cpu:load_model",
    "device": "cpu",
    "image_size": 256,
    "batch_size": 32,
    "precision": "fp32",
    "measured_at": "2026-11-27T13:00:00+00:00",
}


def test_a_job_is_its_epochs_times_its_steps_and_tests():
    job = Job("lidc", train_images=320, test_images=64, epochs=3, batch_size=32)
    found = sweeping.predict(ROW, job)
    assert found.train_time_s == pytest.approx(3 * (10 * 0.5 + 2 * 0.1))
    assert found.energy_wh == pytest.approx(3 * (10 * 0.002 + 2 * 0.0005))
    assert found.peak_memory_bytes == 10**8 and found.reserved_memory_bytes is None
    assert found.energy_wh_low < found.energy_wh < found.energy_wh_high
    assert sweeping.predict({**ROW, "device": "cuda"}, job).train_time_s == pytest.approx(3 * (90 + 6))


@pytest.fixture(scope="module")
def tables():
    return published.load()


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """This machine, swept at 256 px: every model the same, but one that had no room."""
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    path = sweeping.rows_path(Conditions("cpu", 256))
    path.parent.mkdir(parents=True)
    here = {**ROW, "hardware": description.hardware("cpu")}
    rows = [{**here, "model": model} for model in model_space()]
    rows[0] |= {"status": "failed", "failure": "out_of_memory"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows[0]["model"]


def test_predict_takes_the_measured_step_of_this_machine_and_says_so(swept):
    job = job_of("lidc")
    row = prediction.as_row("resnet18d", job)
    assert row["swept"] and row["hardware"] == description.hardware("cpu")
    assert row["energy_wh"] == pytest.approx(sweeping.predict(ROW, job).energy_wh)
    assert "a training step measured on this machine (2026-11-27, 9 steps" in row["basis"]
    assert not prediction.as_row("resnet18d", job, "rtx3090")["swept"]
    left = prediction.as_row(swept, job)
    assert not left["swept"]
    told = prediction.as_text([row, left]).splitlines()
    assert told[0].endswith(f"on {row['hardware']}.")
    assert f"on {left['hardware']}" in next(line for line in told if line.startswith(swept))


@pytest.mark.parametrize("changes", [{"image_size": 128}, {"batch_size": 16}, {"optimiser": "sgd"}])
def test_a_sweep_under_other_conditions_is_not_taken(swept, changes):
    row = prediction.as_row("resnet18d", job_of("lidc", **changes))
    assert not row["swept"] and "3090" in row["hardware"]


def test_a_sweep_of_another_machine_is_not_taken(swept, monkeypatch):
    monkeypatch.setattr(description, "hardware", lambda device: "another machine")
    assert not prediction.as_row("resnet18d", job_of("lidc"))["swept"]


def test_recommend_takes_all_costs_from_the_sweep_and_leaves_out_what_was_not_measured(swept, tables):
    table = recommendation.from_authors(tables, "lidc").set_index("model")
    assert swept not in table.index
    assert table["energy_wh"].unique() == pytest.approx([sweeping.predict(ROW, job_of("lidc")).energy_wh])
    assert (table["measured"].str.len() == 1).all()


def test_plan_takes_the_sweep_for_runs_that_nobody_has_measured(swept):
    spec = RunSpec("resnet18d", "pneumoniamnist", "pneumonia", image_size=256, epochs=10)
    profile = SimpleNamespace(name="nobody's")
    found = forecasting.forecast(profile, [spec], "cpu")
    assert "1 of 1 runs predicted by steps that `pepr sweep` measured here" in found.basis
    images = forecasting.image_counts("pneumoniamnist")
    expected = sweeping.predict(ROW, forecasting._job(spec, images)).train_time_s
    assert found.hours == pytest.approx(expected / 3600)


def test_a_model_that_kills_its_process_costs_no_other(monkeypatch):
    def deadly(spec, meter):
        if spec.model == "dla46_c":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("no room for it")

    monkeypatch.setattr(steps, "prepare", lambda device: None)
    monkeypatch.setattr(steps, "measure_steps", deadly)
    monkeypatch.setattr(meter, "open_meter", lambda device: meter.Meter(None, {}))
    first, second = sweeping.measure_models(["dla46_c", "resnet18d"], CONDITIONS)
    assert (first["failure"], first["explanation"]) == (
        "out_of_memory",
        "its process ended by signal SIGKILL",
    )
    assert (second["failure"], second["explanation"]) == ("error", "ValueError: no room for it")


@pytest.mark.slow
def test_the_sweep_measures_two_small_models_for_real(tmp_path):
    found = sweeping.sweep(Conditions("cpu", 32, 4), SMALL[:2], silent, tmp_path)
    for row in found.rows.values():
        assert row["status"] == "ok" and row["step_cpu_time_s"] > 0 and row["peak_memory_bytes"] > 0


@pytest.mark.slow
def test_a_run_takes_what_its_steps_say_within_the_interval(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    found = sweeping.sweep(CONDITIONS, ["mobilenetv2_050"], silent)
    spec = RunSpec(
        "mobilenetv2_050", "elpv", "elpv", image_size=64, epochs=1, train_fraction=0.5, device="cpu"
    )
    record = training.fine_tune(spec, progress=silent).record
    job = Job("elpv", record["n_train"], test_images=0, epochs=1, batch_size=32, image_size=64)
    predicted = sweeping.predict(found.rows["mobilenetv2_050"], job)
    assert predicted.train_time_s_low < record["train_cpu_time_s"] < predicted.train_time_s_high
