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
from typer.testing import CliRunner

from pepr import cli
from pepr.costs import sweep as sweeping, swept
from pepr.costs.swept import Conditions
from pepr.errors import InputError, MeterError, OutOfMemory, WorkFailed
from pepr.machine import description, meter
from pepr.models.space import model_space
from pepr.study import workflow
from pepr.training import steps

CONDITIONS = Conditions("cpu", 64)
SMALL = ["dla46_c", "mobilenetv2_050", "resnet18d"]
TELLS = """
import json, os, signal, sys, time
for model in json.loads(sys.argv[1])["models"]:
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(model + "\\n")
    if model in os.environ.get("DIES", "").split(","):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("TAKES", "0")))
    row = dict.fromkeys(json.loads(os.environ["COLUMNS"])) | {
        "model": model, "status": "ok", "step_time_s": 0.2, "step_cpu_time_s": 0.1, "step_energy_wh": 0.001,
        "peak_memory_bytes": 10**8, "device": "cpu", "image_size": 64, "batch_size": 32, "precision": "fp32",
        "hardware": os.environ["HARDWARE"], "contended": model in os.environ.get("BESIDE", "").split(","),
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
    monkeypatch.setenv("COLUMNS", json.dumps(swept.COLUMNS))
    monkeypatch.setenv("HARDWARE", description.hardware("cpu"))
    return calls


def sweep(models=SMALL, say=print, folder=None, at_once=1, **options):
    return sweeping.sweep(CONDITIONS, models, say, folder, at_once, **options)


def test_every_model_is_a_row_in_both_files(worker, tmp_path):
    said = []
    found = sweep(say=said.append, folder=tmp_path)
    assert list(found.rows) == SMALL
    path = swept.rows_path(CONDITIONS, tmp_path)
    assert len(path.read_text().splitlines()) == 3
    (read,) = swept.read_csv(path.with_suffix(".csv"))
    assert (read.conditions, read.rows) == (CONDITIONS, found.rows)
    assert "[3/3, 0 s left] resnet18d: 100 ms and 1 mWh a step, 100 MB" in said[-1]


def test_a_folder_that_takes_no_rows_is_refused_before_anything_is_measured(worker, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"):
        sweep(folder=tmp_path / "file")
    assert not worker.exists()


def test_models_that_do_not_take_the_size_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    refused = [name for name, known in model_space().items() if not known.accepts(100)]
    for models in (None, ["resnet18d"]):
        said = []
        with pytest.raises(InputError, match="file: cannot be written"):
            sweeping.sweep(Conditions("cpu", 100), models, said.append, tmp_path / "file", 1)
        told = f"{len(refused)} models do not take 100 px and are left out: {', '.join(refused)}"
        assert "dla46_c" in refused and (told in said) is (models is None)


def test_what_was_measured_is_not_measured_again(worker, tmp_path):
    sweep(SMALL[:2], folder=tmp_path)
    sweep(folder=tmp_path)
    assert sorted(worker.read_text().split()) == sorted(SMALL)


@pytest.mark.parametrize("stale", ["hardware", "runs_at_once"])
def test_rows_of_another_machine_or_with_other_company_are_measured_anew(worker, tmp_path, stale):
    sweep(folder=tmp_path)
    path = swept.rows_path(CONDITIONS, tmp_path)
    other = {"hardware": "another machine", "runs_at_once": 3}[stale]
    rows = [row | {stale: other} for row in swept.read_rows(path).values()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep(folder=tmp_path)
    assert sorted(worker.read_text().split()) == sorted(2 * SMALL)


def test_two_machines_with_one_home_take_no_row_from_each_other(worker, tmp_path, monkeypatch):
    found = {}
    here = description.hardware("cpu")
    for hardware in (here, "another machine", here, "another machine"):
        monkeypatch.setenv("HARDWARE", hardware)
        monkeypatch.setattr(description, "hardware", lambda device, hardware=hardware: hardware)
        swept_now = sweep(folder=tmp_path)
        assert found.setdefault(hardware, swept_now) == swept_now and list(swept_now.rows) == SMALL
        assert {row["hardware"] for row in swept_now.rows.values()} == {hardware}
    assert sorted(worker.read_text().split()) == sorted(2 * SMALL), "each model once a machine"
    path = swept.rows_path(CONDITIONS, tmp_path)
    assert swept.read_rows(path, hardware=here) == found[here].rows
    assert len(swept.all_rows(path)) == 2 * len(SMALL)


def test_a_sweep_in_other_company_takes_no_row_from_the_one_before(worker, tmp_path):
    alone = sweep(folder=tmp_path, at_once=1)
    sweep(folder=tmp_path, at_once=2)
    before = worker.read_text()
    assert sweep(folder=tmp_path, at_once=1) == alone and worker.read_text() == before
    rows = swept.read_rows(swept.rows_path(CONDITIONS, tmp_path), runs_at_once=2)
    assert sorted(rows) == sorted(SMALL)


def test_a_core_with_nothing_left_to_measure_is_kept_busy_until_all_are_done(worker, tmp_path, monkeypatch):
    monkeypatch.setenv("TAKES", "0.2")
    found = sweep(["dla46_c"], folder=tmp_path, at_once=2)
    asked = worker.read_text().split()
    assert list(found.rows) == ["dla46_c"] and found.rows["dla46_c"]["runs_at_once"] == 2
    assert asked.count("dla46_c") == 1 and sweeping.COMPANY in asked
    assert len(swept.rows_path(CONDITIONS, tmp_path).read_text().splitlines()) == 1


def test_as_many_go_on_at_once_as_there_are_cores(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping.cores, "whole", lambda: 3)
    found = sweep(folder=tmp_path, at_once=None)
    assert {row["runs_at_once"] for row in found.rows.values()} == {3}


def test_the_largest_models_do_not_meet(monkeypatch):
    workers = []

    def worker(models, *args, **how):
        return SimpleNamespace(models=models, **how)

    monkeypatch.setattr(sweeping, "_Worker", worker)
    monkeypatch.setattr(sweeping, "VISITS_OF_A_PROCESS", 2 * sweeping.VISITS["cpu"])
    waiting = ["a", "b", "c", "d", "e", "f"]
    for _ in range(2):
        workers.append(sweeping.next_worker(waiting, workers, CONDITIONS, 2, 6.0))
    assert sorted(worker.models for worker in workers) == [["a", "b"], ["e", "f"]]
    by_size = sorted(["vgg13", "dla46_c"], key=lambda model: sweeping.forecast_bytes(model, CONDITIONS))
    assert by_size == ["dla46_c", "vgg13"]


def test_a_sweep_beside_other_programs_says_so(worker, tmp_path):
    found = sweep(folder=tmp_path)
    assert "Other programs" not in swept.as_text(found)
    found.rows["dla46_c"]["contended"] = True
    assert "Other programs used the machine while 1 of them were measured" in swept.as_text(found)
    assert "with `--retry contended` measures these again" in swept.as_text(found)
    assert "--retry failed" not in swept.as_text(found)


@pytest.mark.parametrize(("retry", "variable"), [("failed", "DIES"), ("contended", "BESIDE")])
def test_what_failed_or_was_measured_beside_other_programs_is_measured_again_where_asked(
    worker, tmp_path, monkeypatch, retry, variable
):
    monkeypatch.setenv(variable, "mobilenetv2_050")
    before = sweep(folder=tmp_path)
    assert f"`--retry {retry}`" in swept.as_text(before)
    monkeypatch.delenv(variable)
    worker.unlink()
    other = "contended" if retry == "failed" else "failed"
    assert sweep(folder=tmp_path).rows == sweep(folder=tmp_path, retry=other).rows == before.rows
    assert not worker.exists()
    after = sweep(folder=tmp_path, retry=retry)
    assert worker.read_text().split() == ["mobilenetv2_050"] and list(after.rows) == SMALL
    row = after.rows["mobilenetv2_050"]
    assert (row["status"], row["contended"]) == ("ok", False) and "--retry" not in swept.as_text(after)
    assert sweep(folder=tmp_path).rows == after.rows, "the last row of a model counts"
    others = ["dla46_c", "resnet18d"]
    assert [after.rows[model] for model in others] == [before.rows[model] for model in others]


def test_a_sweep_repeats_what_a_study_repeats_and_refuses_other_words(monkeypatch):
    assert list(sweeping.RETRIES) == list(workflow.RETRIES)
    done = CliRunner().invoke(cli.app, ["sweep", "--device", "cpu", "--retry", "all"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "--retry 'all': expected one of failed, contended"
    given = []

    def swept_so(*asked, **options):
        given.append(options["retry"])
        return swept.Sweep(CONDITIONS, {})

    monkeypatch.setattr(sweeping, "sweep", swept_so)
    for option in (["--retry", "contended"], []):
        done = CliRunner().invoke(cli.app, ["sweep", "--device", "cpu", *option, "--json"])
        assert done.exit_code == 0
    assert given == ["contended", None]


def steps_taking(seconds, **others):
    """What a model that was measured took."""
    costs = dict.fromkeys(
        [f"{name}_{of}" for name in ("step", "part", "eval") for of in ("time_s", "cpu_time_s", "energy_wh")],
        seconds,
    )
    told = {"memory_source": "m", "energy_source": "e", "contended": False, "speed_probe_s": 0.1}
    told |= {"num_params": 7, "steps": 3, "part_images": 8, "peak_memory_bytes": int(1e6 * seconds)}
    return steps.Steps(**told | costs | others)


@pytest.fixture
def visited(monkeypatch):
    """Sweeps in this process with made-up steps; returns the models in the order in which they were measured,
    and what each took, which is to be filled in."""
    calls, takes = [], {}

    def measured(spec, meter, limit_s):
        calls.append((spec.model, limit_s))
        took = takes[spec.model].pop(0)
        if isinstance(took, Exception):
            raise took
        return took

    monkeypatch.setattr(steps, "prepare", lambda device: None)
    monkeypatch.setattr(steps, "measure_steps", measured)
    monkeypatch.setattr(meter, "open_meter", lambda device: meter.Meter(None, {}))
    monkeypatch.delattr(os, "fork", raising=False)
    return calls, takes


def test_a_model_is_visited_in_several_orders_and_its_row_is_the_mean_of_them(visited):
    calls, takes = visited
    seconds = {model: [0.1, 0.4, 0.1] for model in SMALL}
    takes |= {model: [steps_taking(one, contended=one > 0.2) for one in of] for model, of in seconds.items()}
    begun = []
    rows = list(sweeping.measure_models(SMALL, CONDITIONS, 6.0, visits=3, begin=begun.append))
    assert begun == [model for model, _ in calls] and {limit for _, limit in calls} == {2.0}
    thirds = [begun[:3], begun[3:6], begun[6:]]
    assert all(sorted(third) == sorted(SMALL) for third in thirds) and thirds[0] != thirds[1]
    assert sorted(row["model"] for row in rows) == sorted(SMALL)
    for row in rows:
        assert row["step_time_s"] == row["part_cpu_time_s"] == row["eval_energy_wh"] == pytest.approx(0.2)
        assert (row["steps"], row["peak_memory_bytes"], row["contended"]) == (9, 400_000, True)
        assert row["speed_probe_s"] == pytest.approx(0.1) and row["part_images"] == 8


def test_a_model_whose_visit_takes_long_is_not_visited_again(visited, monkeypatch):
    calls, takes = visited
    monkeypatch.setattr(sweeping, "LONG_VISIT_S", -1.0)
    takes |= {model: [steps_taking(0.1)] for model in SMALL}
    rows = list(sweeping.measure_models(SMALL, CONDITIONS, visits=3))
    assert [row["model"] for row in rows] == [model for model, _ in calls]
    assert sorted(row["model"] for row in rows) == sorted(SMALL) and {row["steps"] for row in rows} == {3}


def test_a_model_that_fails_at_a_visit_is_a_row_and_not_visited_again(visited):
    calls, takes = visited
    takes["dla46_c"] = [steps_taking(0.1), ValueError("no room for it")]
    takes["resnet18d"] = [steps_taking(0.1)] * 3
    rows = list(sweeping.measure_models(["dla46_c", "resnet18d"], CONDITIONS, visits=3))
    assert [(row["model"], row["status"]) for row in rows] == [("dla46_c", "failed"), ("resnet18d", "ok")]
    assert [model for model, _ in calls].count("dla46_c") == 2


def test_an_error_that_ends_the_first_models_alike_is_the_machines_and_leaves_no_row(tmp_path, monkeypatch):
    broken = "import sys; sys.exit(3)"
    monkeypatch.setattr(sweeping, "WORKER", (sys.executable, "-c", broken))
    monkeypatch.setattr(sweeping, "POLL_S", 0.01)
    more = [*SMALL, "ghostnet_100", "mnasnet_100"]
    with pytest.raises(WorkFailed, match=r"first 3 models failed alike.*exit status 3\. They left no row"):
        sweep(more, folder=tmp_path)
    assert swept.read_rows(swept.rows_path(CONDITIONS, tmp_path)) == {}


def test_a_meter_that_does_not_open_is_the_row_of_each_model(monkeypatch):
    def refuse(device):
        raise MeterError("no counter may be read")

    monkeypatch.setattr(steps, "prepare", lambda device: None)
    monkeypatch.setattr(meter, "open_meter", refuse)
    rows = list(sweeping.measure_models(SMALL, CONDITIONS))
    assert [row["model"] for row in rows] == SMALL and {row["failure"] for row in rows} == {"meter_failed"}
    assert {row["explanation"] for row in rows} == {"MeterError: no counter may be read"}


def test_a_process_that_dies_costs_the_model_that_it_said_it_was_at(worker, tmp_path, monkeypatch):
    at = 'print(json.dumps({"at": "resnet18d"}), flush=True)\n'
    dies = "if os.environ.get('DIES') and os.path.exists(sys.argv[0] + '.once') is False:\n"
    dies += "    open(sys.argv[0] + '.once', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"
    program = tmp_path / "worker.py"
    program.write_text(TELLS.replace("for model in", at + dies + "for model in", 1))
    monkeypatch.setenv("DIES", "nobody")
    found = sweep(folder=tmp_path / "rows")
    assert {model: row["status"] for model, row in found.rows.items()} == {
        "dla46_c": "ok",
        "mobilenetv2_050": "ok",
        "resnet18d": "failed",
    }


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_process_that_dies_costs_its_model_and_no_other(worker, tmp_path, monkeypatch, at_once):
    monkeypatch.setenv("DIES", "mobilenetv2_050")
    found = sweep(folder=tmp_path, at_once=at_once)
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
        sweep.sweep(sweep.Conditions("cpu", 64), {SMALL!r}, print, Path({str(tmp_path)!r}), 1)
        """
    )
    path = swept.rows_path(CONDITIONS, tmp_path)
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TAKES": "0.3"}) as child:
        deadline = time.monotonic() + 60
        while not (path.exists() and path.read_text().count("\n") >= 1) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    with path.open("a") as stream:
        stream.write('{"model": "resnet18d", "status"')
    before = swept.read_rows(path)
    found = sweep(folder=tmp_path)
    assert list(found.rows) == SMALL and all(row["status"] == "ok" for row in found.rows.values())
    assert len(swept.read_rows(path)) == 3
    asked = worker.read_text().split()
    assert all(asked.count(model) == 1 for model in before)


def test_a_model_that_raises_is_a_row_with_the_largest_batch(monkeypatch):
    def full(spec, meter, limit_s):
        raise OutOfMemory("CUDA out of memory; largest batch size that fits: 12")

    monkeypatch.setattr(steps, "prepare", lambda device: None)
    monkeypatch.setattr(steps, "measure_steps", full)
    monkeypatch.setattr(meter, "open_meter", lambda device: meter.Meter(None, {}))
    (row,) = sweeping.measure_models(["dla46_c"], CONDITIONS)
    assert (row["status"], row["failure"], row["largest_batch_size"]) == ("failed", "out_of_memory", 12)


def test_without_names_every_model_that_takes_the_size_is_meant():
    space = model_space()
    assert sweeping.wanted_models(None, 256) == [name for name in space if space[name].accepts(256)]


def test_models_that_cannot_be_measured_are_refused():
    with pytest.raises(InputError, match="no model resnet in the study"):
        sweeping.wanted_models(["resnet"], 64)
    space = model_space()
    picky = next(name for name in space if not space[name].accepts(100))
    with pytest.raises(InputError, match=f"{picky} cannot take 100 px"):
        sweeping.wanted_models(["dla46_c", picky], 100)


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


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *(("sweep", "--image-size", value) for value in ("0", "-1")),
        *(("sweep", "--limit-s", value) for value in ("nan", "inf", "0", "-1")),
        *(("gpu-check", "--image-size", value) for value in ("0", "-1")),
        *(("gpu-check", "--batch-size", value) for value in ("0", "1")),
    ],
)
def test_an_option_that_is_no_size_and_no_time_is_refused_before_anything_is_measured(command, option, value):
    done = CliRunner().invoke(cli.app, [command, "--device", "cpu", option, value])
    assert isinstance(done.exception, InputError) and str(done.exception).startswith(f"{option} ")


def test_a_model_that_kills_its_process_costs_no_other(monkeypatch):
    def deadly(spec, meter, limit_s):
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
    found = sweeping.sweep(Conditions("cpu", 32, 4), SMALL[:2], print, tmp_path, at_once=1)
    for row in found.rows.values():
        assert row["status"] == "ok" and row["step_cpu_time_s"] > 0 and row["peak_memory_bytes"] > 0
