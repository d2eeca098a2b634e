"""Predictions from a measured step: for this machine, under its conditions, with a checked interval."""

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from recordings import needs_tables

from pepr import published
from pepr.costs import (
    calibration,
    model as cost,
    prediction,
    recommendation,
    sweep as sweeping,
    swept,
    swept_check,
)
from pepr.costs.model import Job, job_of
from pepr.costs.swept import Conditions, Sweep
from pepr.errors import InputError
from pepr.files import slug
from pepr.machine import cores, description
from pepr.models import atlas
from pepr.models.space import model_space
from pepr.runs.results import Results, reference_folder
from pepr.runs.spec import RunSpec
from pepr.study import forecast as forecasting

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
    found = swept.predict(ROW, job)
    assert found.train_time_s == pytest.approx(3 * (10 * 0.5 + 2 * 0.1))
    assert found.energy_wh == pytest.approx(3 * (10 * 0.002 + 2 * 0.0005))
    assert found.peak_memory_bytes == 10**8 and found.reserved_memory_bytes is None
    assert found.energy_wh_low < found.energy_wh < found.energy_wh_high
    assert swept.predict({**ROW, "device": "cuda"}, job).train_time_s == pytest.approx(3 * (90 + 6))


def test_a_batch_that_is_not_full_takes_what_lies_between_a_part_of_one_and_a_whole_one():
    row = {**ROW, "part_images": 8, "part_cpu_time_s": 0.2, "part_energy_wh": 0.0008}

    def epoch(images, of=row, **changes):
        return swept.predict({**of, **changes}, Job("lidc", images, 0, 1, batch_size=32)).train_time_s

    assert epoch(64) == pytest.approx(2 * 0.5)
    assert epoch(40) == pytest.approx(0.5 + 0.2) and epoch(20) == pytest.approx(0.35)
    assert epoch(34) == pytest.approx(0.5 + 0.125)
    assert epoch(33) == epoch(32), "the training leaves a single image out"
    assert epoch(34, part_cpu_time_s=0.01) == pytest.approx(0.5), "never below nothing"
    assert epoch(40, of=ROW) == pytest.approx(1.25 * 0.5), "a table from before"
    found = swept.predict(row, Job("lidc", 40, 0, 3, batch_size=32))
    assert found.energy_wh == pytest.approx(3 * (0.002 + 0.0008))


@pytest.fixture(scope="module")
def tables():
    return published.load()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """This machine, swept at 256 px: every model the same, but one that had no room."""
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    path = swept.rows_path(Conditions("cpu", 256))
    path.parent.mkdir(parents=True)
    row = {**ROW, "hardware": description.hardware("cpu")}
    rows = [{**row, "model": model} for model in model_space()]
    rows[0] |= {"status": "failed", "failure": "out_of_memory"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows[0]["model"]


def test_predict_takes_the_measured_step_of_this_machine_and_says_so(here):
    job = job_of("lidc")
    row = prediction.as_row("resnet18d", job)
    assert row["swept"] and row["hardware"] == description.hardware("cpu")
    assert row["energy_wh"] == pytest.approx(swept.predict(ROW, job).energy_wh)
    assert "a training step measured on this machine (2026-11-27, 9 steps" in row["basis"]
    assert not prediction.as_row("resnet18d", job, "rtx3090")["swept"]
    left = prediction.as_row(here, job)
    assert not left["swept"]
    told = prediction.as_text([row, left]).splitlines()
    assert told[0].endswith(f"on {row['hardware']}.")
    assert f"on {left['hardware']}" in next(line for line in told if line.startswith(here))


@pytest.mark.parametrize("changes", [{"image_size": 128}, {"batch_size": 16}, {"optimiser": "sgd"}])
def test_a_sweep_under_other_conditions_is_not_taken(here, changes):
    row = prediction.as_row("resnet18d", job_of("lidc", **changes))
    assert not row["swept"] and "3090" in row["hardware"]


def test_a_sweep_of_another_machine_is_not_taken(here, monkeypatch):
    monkeypatch.setattr(description, "hardware", lambda device: "another machine")
    assert not prediction.as_row("resnet18d", job_of("lidc"))["swept"]


def test_a_machine_that_swept_the_same_models_into_the_same_folder_hides_none_of_them(here):
    mine = swept.find(256, 32, "fp32")
    other = {"hardware": "another machine", "step_cpu_time_s": 7.0}
    with swept.rows_path(Conditions("cpu", 256)).open("a") as stream:
        stream.writelines(json.dumps(row | other) + "\n" for row in mine.rows.values())
    assert swept.find(256, 32, "fp32") == mine and len(mine.rows) == len(model_space())
    assert prediction.as_row("resnet18d", job_of("lidc"))["swept"]


@needs_tables
def test_recommend_takes_all_costs_from_the_sweep_and_leaves_out_what_was_not_measured(here, tables):
    table = recommendation.from_authors(tables, "lidc").set_index("model")
    assert here not in table.index
    assert table["energy_wh"].unique() == pytest.approx([swept.predict(ROW, job_of("lidc")).energy_wh])
    assert (table["measured"].str.len() == 1).all()


def test_plan_takes_the_sweep_for_runs_that_nobody_has_measured(here):
    spec = RunSpec("resnet18d", "pneumoniamnist", "pneumonia", image_size=256, epochs=10)
    profile = SimpleNamespace(name="nobody's")
    found = forecasting.forecast(profile, [spec], "cpu")
    assert "1 of 1 runs predicted by steps that `pepr sweep` measured here" in found.basis
    images = forecasting.image_counts("pneumoniamnist")
    expected = swept.predict(ROW, forecasting.job_of(spec, images)).train_time_s
    assert found.hours == pytest.approx(expected / 3600)


def test_a_shipped_sweep_stands_for_its_hardware_and_for_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    job = job_of("lidc")
    for hardware, known in ((description.hardware("cpu"), True), ("another machine", False)):
        row = {**ROW, "hardware": hardware}
        shipped = Sweep(Conditions("cpu", 256), {"dla46_c": row}, shipped=True)
        monkeypatch.setattr(swept, "shipped_sweeps", lambda shipped=shipped: (shipped,))
        found = prediction.as_row("dla46_c", job)
        assert found["swept"] is known
        assert ("measured on a machine of the same hardware, whose table ships" in found["basis"]) is known


CHECKED = {
    "hardware": "this very machine",
    "runs": 60,
    "models": 13,
    "of": {
        "train_time_s": {"factor": 1.1},
        "energy_wh": {"factor": 1.2},
        "peak_memory_bytes": {"factor": 1.25},
    },
}


def test_the_interval_is_the_one_that_was_checked_and_says_where(monkeypatch):
    found, job = Sweep(Conditions("cpu", 256), {}), job_of("lidc")
    monkeypatch.setattr(swept, "checked", lambda: None)
    elsewhere = {**ROW, "hardware": "x"}
    assert "interval assumed, a factor of 1.15 either way in time" in swept.basis(found, elsewhere)
    monkeypatch.setattr(swept, "checked", lambda: CHECKED)
    predicted = swept.predict(ROW, job)
    assert predicted.train_time_s_high == pytest.approx(1.1 * predicted.train_time_s)
    assert predicted.energy_wh_low == pytest.approx(predicted.energy_wh / 1.2)
    assert predicted.peak_memory_bytes_high == round(1.25 * 10**8)
    here = swept.basis(found, {**ROW, "hardware": "this very machine"})
    assert "checked on 60 whole runs of 13 models on this machine: a factor of 1.10" in here
    assert "on another machine, and assumed for this one" in swept.basis(found, elsewhere)
    assert "other programs" not in swept.basis(found, elsewhere)
    assert "other programs used the machine" in swept.basis(found, {**elsewhere, "contended": True})


@pytest.fixture
def reference():
    return Results("pocket", "reference", reference_folder("pocket")).table


def swept_as(runs, factor):
    """A sweep of the runs' machine whose steps are a factor shorter than the runs were."""
    ranked = calibration.as_ranked(runs[(runs["status"] == "ok") & (runs["fidelity"] == "study")])
    ranked = ranked[(ranked["setting"] == "elpv") & ranked["model"].isin(model_space())]
    ranked = ranked.drop_duplicates("model")
    rows = {}
    for run in ranked.itertuples():
        steps = run.epochs * run.n_train / run.batch_size
        rows[run.model] = {
            **ROW,
            "model": run.model,
            "image_size": 64,
            "hardware": run.hardware,
            "step_cpu_time_s": run.train_cpu_time_s / steps / factor,
            "step_energy_wh": 1000 * run.energy_kwh / steps / factor,
            "peak_memory_bytes": run.peak_memory_bytes / factor,
        }
    return Sweep(Conditions("cpu", 64), rows)


def test_whole_runs_are_held_against_their_steps_and_against_the_cost_model(reference):
    table = swept_check.against_runs(swept_as(reference, 1.1), reference)
    assert set(table["target"]) == set(swept_check.TARGETS) and table["model"].isin(model_space()).all()
    first = table[table["setting"] == "elpv"].drop_duplicates(["model", "target"])
    assert list(first["by_step"] / first["observed"]) == pytest.approx([1 / 1.1] * len(first))
    time = table[table["target"] == "train_time_s"].iloc[0]
    run = reference.set_index("run_id").loc[time["run_id"]]
    job = Job(None, int(run["n_train"]), 0, int(run["epochs"]), 32, 64)
    shapes = atlas.read()[run["model"], 64]
    machine = calibration.saved(calibration.SHIPPED)
    assert time["by_shape"] == pytest.approx(cost.predict(shapes, job, machine).train_time_s)


def test_a_run_on_a_slower_processor_than_the_sweeps_is_known_by_the_probes(reference):
    found = swept_as(reference, 1.0)
    rows = {name: {**row, "speed_probe_s": 0.1} for name, row in found.rows.items()}
    slower = reference.assign(speed_probe_s=0.12)
    table = swept_check.against_runs(dataclasses.replace(found, rows=rows), slower)
    of_time = table["target"] == "train_time_s"
    assert list(table.loc[of_time, "pace"]) == pytest.approx([1.2] * of_time.sum())
    assert (table.loc[~of_time, "pace"] == 1.0).all()
    without = swept_check.against_runs(found, reference)
    assert (without["pace"] == 1.0).all(), "a sweep without probes"


def test_runs_of_another_machine_are_not_held_against_a_sweep(reference):
    found = swept_as(reference, 1.0)
    rows = {name: {**row, "hardware": "another machine"} for name, row in found.rows.items()}
    assert swept_check.against_runs(dataclasses.replace(found, rows=rows), reference).empty
    other = dataclasses.replace(found, conditions=Conditions("cpu", 128))
    assert swept_check.against_runs(other, reference).empty


def test_the_factor_covers_the_runs_of_a_model_that_was_left_out():
    observed = [1.0] * 10 + [1.3] * 2 + [0.9] + [1.1] * 3
    models = ["often"] * 10 + ["slow"] * 2 + ["fast"] + [f"other_{k}" for k in range(3)]
    table = pd.DataFrame(
        {"model": models, "observed": observed, "by_step": 1.0, "by_shape": 2.0, "pace": 1.0}
    )
    (row,) = swept_check.summary(table.assign(target="train_time_s")).to_dict("records")
    assert row["factor"] == pytest.approx(1.3) and (row["runs"], row["models"]) == (16, 6)
    assert row["by_step_median"] == 0 and row["by_shape_median"] == pytest.approx(1.0)
    many = pd.DataFrame({"model": [f"m{k}" for k in range(99)], "by_step": 1.0, "by_shape": 1.0, "pace": 1.0})
    many = many.assign(observed=[1 + k / 100 for k in range(99)], target="energy_wh")
    assert swept_check.summary(many)["factor"][0] == pytest.approx(1.89)


def test_what_ships_is_a_table_of_the_machine_and_what_it_is_worth(reference, tmp_path, monkeypatch):
    found = swept_as(reference, 1.05)
    monkeypatch.setattr(swept_check, "sweep", lambda conditions, say: found)
    older = Sweep(Conditions("cpu", 256), {"dla46_c": {**ROW, "hardware": found.hardware}})
    path = tmp_path / f"{slug(found.hardware)}.csv"
    stale = dataclasses.replace(found, rows={"old": {**ROW, "image_size": 64}})
    path.write_text(swept.as_csv(older, stale))
    table = swept_check.ship(found.conditions, tmp_path)
    kept, new = swept.read_csv(path)
    assert kept.conditions == older.conditions and set(new.rows) == set(found.rows)
    told = json.loads((tmp_path / swept.CHECKED).read_text())
    assert told["hardware"] == found.hardware and told["runs"] == table["runs"].max()
    assert told["of"]["train_time_s"]["factor"] == pytest.approx(table["factor"][0], rel=1e-5)


def test_a_sweep_without_runs_to_check_it_on_says_so(reference, tmp_path, monkeypatch):
    rows = {"dla46_c": {**ROW, "hardware": "a lonely machine"}}
    monkeypatch.setattr(swept_check, "sweep", lambda conditions, say: Sweep(conditions, rows))
    with pytest.raises(InputError, match=r"a-lonely-machine\.csv is written, but no run of a lonely machine"):
        swept_check.ship(Conditions("cpu", 256), tmp_path)


def test_the_shipped_check_is_what_the_shipped_sweep_gives():
    table = swept_check.of_reference()
    if swept.checked() is None:
        assert table.empty
    else:
        again = swept_check.as_checked(swept.checked()["hardware"], swept_check.summary(table))
        assert again == swept.checked()


RUN = """
import json, sys
from pepr import training
from pepr.runs.spec import RunSpec
spec = RunSpec.from_dict(json.loads(sys.argv[1]))
record = training.fine_tune(spec, progress=lambda line: None).record
print(json.dumps({key: record[key] for key in ("n_train", "train_cpu_time_s")}))
"""


@pytest.mark.slow
def test_a_run_takes_what_its_steps_say(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    found = sweeping.sweep(Conditions("cpu", 64), ["mobilenetv2_050"], print, at_once=1)
    spec = RunSpec(
        "mobilenetv2_050", "elpv", "elpv", image_size=64, epochs=1, train_fraction=0.5, device="cpu"
    )
    # In a process like that of a run: the memory settings of one that tests share can double its steps.
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(spec.as_dict())],
        env=cores.worker_environment("cpu", at_once=1),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    record = json.loads(done.stdout.splitlines()[-1])
    job = Job("elpv", record["n_train"], test_images=0, epochs=1, batch_size=32, image_size=64)
    predicted = swept.predict(found.rows["mobilenetv2_050"], job)
    # One run in ten lies outside of the interval, and tests run beside each other: the interval is held by
    # `checked.json`, from many runs.
    assert predicted.train_time_s / 2 < record["train_cpu_time_s"] < predicted.train_time_s * 2
