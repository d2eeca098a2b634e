"""Somebody else's training under the study's meter: what its record says, and who can read it."""

import io
import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import pepr
from pepr import audit
from pepr.analysis import scores
from pepr.errors import InputError
from pepr.machine.meter import LoadModel, Meter, open_meter
from pepr.runs.results import Results, read_table
from pepr.study import measurement, verification
from pepr.study.measurement import Subject, measure_command
from pepr.study.performance import output_of, source_of
from pepr.tables.scoring import score_table

PEPR_MEASURE = (sys.executable, "-m", "pepr.cli", "measure")


def steady_meter():
    """10 W for a core that works and 4 W of memory, for as long as each command takes."""
    return Meter(None, {"cpu": "load_model", "ram": "assumed"}, load_model=LoadModel(10.0, 4.0))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results" / "measured"


def measured(folder, arguments, name="tree", **options):
    """The status of a command measured by the fake meter, its record, and what was said."""
    said = []
    options = {"say": said.append, "meter": steady_meter()} | options
    subject = Subject(name, device="cpu", folder=folder)
    status = measure_command(arguments, subject, **options)
    records = sorted(folder.glob("runs/*.json"), key=lambda path: path.stat().st_mtime_ns)
    return status, json.loads(records[-1].read_text()), said


def shell(text):
    return ["sh", "-c", text]


def test_a_command_that_ends_well_is_one_row_with_its_energy_and_performance(folder):
    status, record, said = measured(
        folder, shell("sleep 0.3; echo acc=0.91"), performance=output_of(r"acc=([\d.]+)")
    )
    assert status == 0
    row = read_table(folder / "results.csv").iloc[0]
    assert (row["status"], row["model"], row["test_accuracy"]) == ("ok", "tree", 0.91)
    assert row["energy_source"] == "cpu:load_model;ram:assumed"
    assert 0.3 <= row["train_time_s"] < 3
    assert row["energy_ram_kwh"] == pytest.approx(4.0 * row["train_time_s"] / 3.6e6)
    assert row["energy_cpu_kwh"] == pytest.approx(10.0 * row["train_cpu_time_s"] / 3.6e6)
    assert row["energy_kwh"] == row["energy_cpu_kwh"] + row["energy_ram_kwh"]
    assert record["environment"]["packages"].keys() == {"pepr", "codecarbon"}
    assert "estimated (load_model)" in said[-1] and "accuracy 0.91" in said[-1]


@pytest.mark.parametrize(
    ("text", "status", "failure", "why"),
    [
        ("exit 3", 3, "error", "exit status 3"),
        ("kill -9 $$", -9, "killed", "ended by SIGKILL"),
        ("exit 143", 143, "killed", "ended by SIGTERM"),
        ("exit 255", 255, "error", "exit status 255"),
    ],
)
def test_a_command_that_fails_is_a_failed_row_without_energy_or_performance(
    folder, text, status, failure, why
):
    found, record, _ = measured(
        folder, shell(f"echo acc=0.9; {text}"), performance=output_of(r"acc=([\d.]+)")
    )
    assert found == status
    assert (record["status"], record["failure"]) == ("failed", failure)
    assert why in record["traceback"]
    assert record["energy_kwh"] is None and record["test_accuracy"] is None
    assert record["meter"]["train"]["energy_kwh"] > 0


def test_a_process_that_the_system_killed_for_its_memory_is_out_of_memory(folder, monkeypatch):
    kills = iter((4, 5))
    monkeypatch.setattr(measurement, "out_of_memory_kills", lambda: next(kills))
    _, record, _ = measured(folder, shell("kill -9 $$"))
    assert record["failure"] == "out_of_memory"


def test_the_same_command_again_is_another_row(folder):
    for _ in range(3):
        measured(folder, ["true"])
    assert sorted(read_table(folder / "results.csv")["seed"]) == [0, 1, 2]


def test_a_performance_that_cannot_be_read_is_said_and_the_rest_is_kept(folder):
    status, record, said = measured(folder, ["true"], performance=source_of("nowhere.json:accuracy"))
    assert status == 0 and record["status"] == "ok"
    assert record["test_accuracy"] is None and record["energy_kwh"] > 0
    assert "no performance: nowhere.json: no such file" in said[0]


def test_a_command_that_cannot_be_started_leaves_no_record(folder):
    with pytest.raises(InputError, match="no-such-command: cannot be started: No such file"):
        measured(folder, ["no-such-command"])
    assert not list(folder.glob("runs/*"))


def test_a_meter_that_measured_nothing_makes_a_failed_row_and_leaves_the_status(folder):
    class Nothing:
        def start_task(self, task_name):
            pass

        def stop_task(self):
            return SimpleNamespace(cpu_energy=0.0, gpu_energy=0.0, ram_energy=0.0)

    meter = Meter(Nothing(), {"cpu": "counter", "ram": "assumed"})
    status, record, _ = measured(folder, ["true"], meter=meter)
    assert (status, record["status"], record["failure"]) == (0, "failed", "meter_failed")


BUSY = """
import subprocess, sys, time
if len(sys.argv) == 2:
    subprocess.run([sys.executable, "-c", sys.orig_argv[2], sys.argv[1], "child"])
while time.process_time() < float(sys.argv[1]):
    pass
"""


def busy(seconds):
    """A command that uses so many seconds of processor time, half of them in a child process."""
    return [sys.executable, "-c", BUSY, str(seconds / 2)]


def test_the_processor_time_of_child_processes_is_the_commands(folder):
    _, record, _ = measured(folder, busy(1.0))
    assert 1.0 <= record["train_cpu_time_s"] < 2.0


def metered_twice(folder, monkeypatch, arguments, **options):
    """The record of a command, and the window of a meter that is used directly around the same process."""
    opened, direct, run = open_meter("cpu"), open_meter("cpu"), measurement.command.run

    def run_between(arguments, listen=None):
        with direct.window("direct"):
            return run(arguments, listen)

    monkeypatch.setattr(measurement, "open_meter", lambda device: opened)
    monkeypatch.setattr(measurement.command, "run", run_between)
    _, record, _ = measured(folder, arguments, meter=None, **options)
    return record, direct.windows["direct"]


def test_the_energy_of_child_processes_is_that_of_the_meter_used_directly(folder, monkeypatch):
    record, direct = metered_twice(folder, monkeypatch, busy(2.5))
    assert_same_energy(record, direct)
    assert 2.5 <= record["train_cpu_time_s"] <= 1.2 * 2.5


def assert_same_energy(record, direct):
    """Each component and their sum within 2% of what the other meter read."""
    for name in ("energy_cpu_kwh", "energy_ram_kwh", "energy_kwh"):
        assert record[name] == pytest.approx(getattr(direct, name), rel=0.02), name


def test_the_meter_opens_while_the_command_runs(folder, monkeypatch, tmp_path):
    """One that was opened before would wait in vain for what the command does."""
    mark = tmp_path / "began"

    def slow(device):
        last = time.monotonic() + 60
        while not mark.exists():
            if time.monotonic() > last:
                raise TimeoutError("the command does not run")
            time.sleep(0.01)
        return Meter(None, {"cpu": "load_model", "ram": "assumed"}, load_model=LoadModel(4.0, 2.0))

    monkeypatch.setattr(measurement, "open_meter", slow)
    _, record, _ = measured(folder, shell(f"touch '{mark}'; sleep 0.3"), meter=None)
    assert record["energy_ram_kwh"] == pytest.approx(2.0 * record["train_time_s"] / 3.6e6)
    _, short, _ = measured(folder, busy(0.1), meter=None)
    assert short["energy_cpu_kwh"] == pytest.approx(4.0 * short["train_cpu_time_s"] / 3.6e6)


def test_a_meter_that_cannot_be_opened_loses_neither_record_nor_status(folder, monkeypatch, capfd):
    def broken(device):
        raise FileNotFoundError("scontrol")

    monkeypatch.setattr(measurement, "open_meter", broken)
    status, record, _ = measured(folder, shell("exit 0"), meter=None)
    assert (status, record["failure"]) == (0, "meter_failed")
    assert "FileNotFoundError: scontrol" in capfd.readouterr().err


def test_a_cpu_with_a_counter_is_read_at_both_edges(folder, monkeypatch):
    opened = []

    def counting(device):
        opened.append(time.monotonic())
        return steady_meter()

    monkeypatch.setattr(measurement, "open_meter", counting)
    monkeypatch.setattr(measurement.description, "cpu_counters", lambda: ["energy_uj"])
    _, record, _ = measured(folder, ["sleep", "0.2"], meter=None)
    assert len(opened) == 1 and record["energy_kwh"] > 0


SKLEARN = """
import json
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

images, labels = load_digits(return_X_y=True)
train, test, train_labels, test_labels = train_test_split(images, labels, random_state=0)
forest = RandomForestClassifier(20, n_jobs=1, random_state=0).fit(train, train_labels)
with open("metrics.json", "w") as stream:
    json.dump({"test": {"accuracy": forest.score(test, test_labels)}}, stream)
"""
TORCH = """
import torch
torch.manual_seed(0)
points = torch.randn(512, 8)
labels = (points.sum(1) > 0).long()
network = torch.nn.Linear(8, 2)
optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
for epoch in range(30):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(network(points), labels).backward()
    optimiser.step()
    print(f"epoch {epoch}: accuracy {(network(points).argmax(1) == labels).float().mean():.4f}")
"""


SHELL = "awk 'BEGIN { for (i = 0; i < 3e7; i++) s += i; print \"score 71%\" }'"


@pytest.mark.parametrize("name", ["forest", "linear", "shell"])
def test_the_energy_of_a_training_is_that_of_the_meter_used_directly(name, folder, tmp_path, monkeypatch):
    """Of scikit-learn, torch and a shell; `tests/runtimes/others.py` adds Lightning and Hugging Face."""
    code = {"forest": SKLEARN, "linear": TORCH}.get(name)
    (tmp_path / "train.py").write_text(code or "")
    arguments = shell(f"cd {tmp_path} && exec {sys.executable} train.py") if code else shell(SHELL)
    assert_same_energy(*metered_twice(folder, monkeypatch, arguments))


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """A folder with a scikit-learn, a torch and a shell training, and one that was killed."""
    place = tmp_path_factory.mktemp("trainings")
    folder = place / "results" / "measured"
    for name, code in (("forest", SKLEARN), ("linear", TORCH)):
        (place / f"{name}.py").write_text(code)
    sources = {
        "forest": source_of(f"{place}/metrics.json:test.accuracy"),
        "linear": output_of(r"accuracy (0\.\d+|1\.0+)"),
    }
    for name, source in sources.items():
        run = f"cd {place} && exec {sys.executable} {name}.py"
        measured(folder, shell(run), name, performance=source)
    measured(folder, shell("sleep 0.2; echo score 71%"), "shell", performance=output_of(r"score (\d+%)"))
    measured(folder, shell("kill -9 $$"), "killed")
    return folder


@pytest.fixture
def trained(trainings, tmp_path):
    """A copy of them."""
    return shutil.copytree(trainings, tmp_path / "results" / "measured")


def test_trainings_of_any_kind_are_scored_beside_each_other_and_the_failed_one_is_not(trained):
    table = read_table(trained / "results.csv").set_index("model")
    assert table.loc["forest", "test_accuracy"] > 0.9 and table.loc["linear", "test_accuracy"] > 0.9
    assert table.loc["shell", "test_accuracy"] == 0.71
    scored = scores.pepr_table(table.reset_index().assign(contended=False))
    energy = scored[(scored["resource"] == "E") & (scored["measure"] == "accuracy")].set_index("model")
    assert energy["score_frozen"].drop("killed").notna().all()
    assert np.isnan(energy.loc["killed", "score"])


def test_its_table_is_read_by_score_verify_and_audit(trained):
    out = io.StringIO()
    score_table(trained / "results.csv", out, "test_accuracy", ["energy_kwh"], [], None, False)
    scored = pd.read_csv(io.StringIO(out.getvalue())).set_index("model")
    assert scored.loc["shell", "pepr_energy_kwh"] == 0.71 and np.isnan(
        scored.loc["killed", "pepr_energy_kwh"]
    )
    done = verification.verify(str(trained))
    assert done.holds
    assert not any("Made again" in note for note in done.notes)  # which speaks of the study's own runs
    found = audit.audit_file(trained / "results.csv")
    assert not [finding for finding in found if finding.severity == "error"]


def test_a_number_that_was_altered_afterwards_is_found(trained):
    path = next(trained.glob("runs/*forest*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "test_accuracy": 0.999}))
    assert not verification.verify(str(trained)).holds


def test_a_block_of_python_is_measured_and_its_facts_are_kept(folder):
    with pepr.measure("linear", dataset="points", folder=folder, device="cpu", meter=steady_meter()) as run:
        time.sleep(0.2)
        run.performance = 0.75
        run.facts |= {"epochs": 3, "num_params": 18}
    row = read_table(folder / "results.csv").iloc[0]
    assert (row["model"], row["dataset"], row["fidelity"]) == ("linear", "points", "block")
    assert (row["test_accuracy"], row["epochs"], row["num_params"]) == (0.75, 3, 18)
    assert run.record["environment"]["packages"]["numpy"]
    assert verification.verify(str(folder)).holds


def test_a_fact_that_no_table_has_is_refused_after_the_rest_is_kept(folder):
    with (
        pytest.raises(InputError, match="facts colour: no column of a results table"),
        pepr.measure("linear", folder=folder, device="cpu", meter=steady_meter()) as run,
    ):
        run.facts |= {"colour": "green", "epochs": 2}
    assert read_table(folder / "results.csv").iloc[0]["epochs"] == 2


def test_a_block_that_raises_is_a_failed_row_and_raises(folder):
    with (
        pytest.raises(MemoryError),
        pepr.measure("linear", folder=folder, device="cpu", meter=steady_meter()),
    ):
        raise MemoryError("too large")
    row = read_table(folder / "results.csv").iloc[0]
    assert (row["status"], row["failure"]) == ("failed", "out_of_memory")


def test_a_performance_that_is_none_is_refused_in_a_block_after_the_rest_is_kept(folder):
    with (
        pytest.raises(InputError, match=r"not a performance between 0 and 1.*; the rest is in .*\.json"),
        pepr.measure("linear", folder=folder, device="cpu", meter=steady_meter()) as run,
    ):
        time.sleep(0.1)
        run.performance = 91.0
    row = read_table(folder / "results.csv").iloc[0]
    assert row["status"] == "ok" and row["energy_kwh"] > 0 and pd.isna(row["test_accuracy"])
    assert run.performance is None and run.record["energy_kwh"] > 0


def test_a_performance_may_be_a_tensor_of_one_number(folder):
    tensor = SimpleNamespace(item=lambda: 0.75)
    with pepr.measure("linear", folder=folder, device="cpu", meter=steady_meter()) as run:
        time.sleep(0.1)
        run.performance = tensor
    row = read_table(folder / "results.csv").iloc[0]
    assert (row["status"], row["test_accuracy"]) == ("ok", 0.75) and row["energy_kwh"] > 0


def test_the_energy_of_a_module_is_told_like_any_other():
    run = measurement.Measurement(Subject("tree"))
    took = {"train": {"energy_gpu_kwh": 0.002, "time_s": 3.0}}
    run.record = {"meter": took, "energy_source": "module:counter", "status": "ok", "failure": None}
    assert "module 2 Wh measured (counter)" in run.summary()


def test_another_measure_has_its_own_column(folder):
    with pepr.measure("linear", measure="auroc", folder=folder, device="cpu", meter=steady_meter()) as run:
        run.performance = 0.8
    row = read_table(folder / "results.csv").iloc[0]
    assert row["test_auroc"] == 0.8 and np.isnan(row["test_accuracy"])


@pytest.mark.parametrize("name", ["a b", "../x", "", ".hidden", "a/b"])
def test_a_name_that_is_no_name_of_a_file_is_refused(name):
    with pytest.raises(InputError, match="a name is of letters"):
        Subject(name)


def test_a_name_too_long_for_the_name_of_a_file_is_refused_before_the_command_runs(folder):
    with pytest.raises(InputError, match="a name has at most 64 bytes"):
        measured(folder, ["true"], name="x" * 65)
    assert len(measurement.name_of([f"./{'x' * 200}.sh"])) == 64


def test_a_folder_that_takes_no_record_is_refused_before_the_training_begins(tmp_path):
    folder, mark = tmp_path / "file", tmp_path / "began"
    folder.write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written \(File exists\)"):
        measured(folder, ["touch", str(mark)])
    with pytest.raises(InputError, match="file: cannot be written"), pepr.measure("tree", folder=folder):
        mark.touch()
    assert not mark.exists()


def test_a_measure_that_the_study_does_not_know_is_refused():
    with pytest.raises(InputError, match="expected one of accuracy"):
        Subject("tree", measure="f1")


def test_a_command_is_named_by_the_file_that_it_runs(tmp_path):
    script = tmp_path / "my train.py"
    script.write_text("")
    assert measurement.name_of(["python", "-u", str(script), "--epochs", "3"]) == "my_train.py"
    assert measurement.name_of(["./fit", "--fast"]) == "fit"


def test_of_several_visible_gpus_one_has_to_be_named(monkeypatch):
    monkeypatch.setattr(measurement.gpu, "visible", lambda: ["one", "another"])
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES"):
        measurement.device_of("cuda")


def test_a_device_that_is_not_metered_is_refused():
    with pytest.raises(InputError, match="expected cpu or cuda"):
        measurement.device_of("tpu")


def test_the_folder_is_the_results_of_this_machine_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    assert Subject("tree").store.folder == tmp_path / "measured"
    assert Results("measured", "this machine", tmp_path / "measured").profile == "measured"


def test_the_command_line_passes_output_and_status_on_and_says_the_record_on_stderr(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    options = ["--performance-from-output", r"acc ([\d.]+)", "--name", "tree"]
    ended = subprocess.run(
        [*PEPR_MEASURE, *options, "--", *shell("echo acc 0.5; exit 4")],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 4 and ended.stdout == "acc 0.5\n"
    assert "failed (error)" in ended.stderr
    assert list((tmp_path / "measured" / "runs").glob("own-own-tree-s0-*.json"))


def test_the_command_line_refuses_two_sources_of_performance():
    ended = subprocess.run(
        [*PEPR_MEASURE, "--performance", "a.json:acc", "--performance-from-output", "x", "--", "true"],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2 and "one of" in ended.stderr
