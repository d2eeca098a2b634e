"""Runs in real kernels: whatever happens to one, a record tells it; and a killed study goes on."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from papermill.exceptions import PapermillExecutionError

from pepr import errors, runs, study
from pepr.errors import InputError, WorkFailed, classify
from pepr.study import execution, notebooks

CHECKOUT = Path(__file__).parents[2]
NOTEBOOK = CHECKOUT / "notebooks" / "02_finetune.ipynb"
PROFILE = {
    "title": "a test",
    "needs": "nothing",
    "image_size": 32,
    "epochs": 1,
    "timeout_minutes": 2,
    "settings": {"elpv_small": {"dataset": "elpv", "pretrained": False, "train_fraction": 0.1}},
    "runs": [{"models": ["mobilenetv2_050"], "settings": ["elpv_small"]}],
}


def profile(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**PROFILE, **changes}))
    return study.load(str(path))


def only_run(loaded):
    (spec,) = study.grid(loaded)
    return spec.run_id


def broken_timm(tmp_path, monkeypatch, body):
    """Make `timm.create_model` do `body` in every kernel that is started from here."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if any('ipykernel' in part or 'training.warm' in part for part in sys.orig_argv):\n"
        "    import timm\n"
        "    original = timm.create_model\n"
        f"    def create_model(*args, **kwargs):\n        {body}\n"
        "    timm.create_model = create_model\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(hooks), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("body", "failure", "told"),
    [
        ("raise RuntimeError('a layer that cannot be built')", "error", "a layer that cannot be built"),
        (
            "raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')",
            "out_of_memory",
            "allocate memory",
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", "kernel_died", "DeadKernelError"),
    ],
)
def test_a_model_that_fails_is_a_row(tmp_path, monkeypatch, results, body, failure, told):
    broken_timm(tmp_path, monkeypatch, body)
    loaded = profile(tmp_path)
    record = execution.run_one(loaded, only_run(loaded), NOTEBOOK, say=lambda line: None)
    assert (record["status"], record["failure"]) == ("failed", failure)
    assert told in record["traceback"]
    table = runs.collect(runs.Store(results, loaded.name))
    assert table["failure"].tolist() == [failure] and table["energy_kwh"].isna().all()
    assert table["hardware"].notna().all()


@pytest.mark.parametrize(
    ("changes", "failure", "told"),
    [
        ({"learning_rate": 1e30}, "diverged", "training loss nan"),
        ({"timeout_minutes": 0.05, "epochs": 1000}, "timeout", "timed out"),
    ],
)
def test_a_run_that_diverges_or_hangs_is_a_row(tmp_path, results, changes, failure, told):
    loaded = profile(tmp_path, **changes)
    record = execution.run_one(loaded, only_run(loaded), NOTEBOOK, say=lambda line: None)
    assert (record["status"], record["failure"]) == ("failed", failure)
    assert told in record["traceback"]


def test_a_damaged_data_file_is_a_row_that_names_the_file(tmp_path, results):
    path = results / "data" / "elpv-32" / "images.npy"
    sound = path.read_bytes()
    path.unlink()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    loaded = profile(tmp_path)
    record = execution.run_one(loaded, only_run(loaded), NOTEBOOK, say=lambda line: None)
    assert (
        record["status"] == "failed" and "elpv-32/images.npy: the pixels are not those" in record["traceback"]
    )


def test_a_finished_run_is_not_repeated(tmp_path, results, capsys):
    loaded = profile(tmp_path)
    run_id = only_run(loaded)
    first = execution.run_one(loaded, run_id, NOTEBOOK)
    assert first["status"] == "ok", first["traceback"]
    told = capsys.readouterr().out
    assert "[1/1] elpv_small · mobilenetv2_050 · seed 0" in told and "epoch 1/1" in told
    before = runs.Store(results, loaded.name).record_path(run_id).stat()
    again = execution.run_one(loaded, run_id, NOTEBOOK, say=lambda line: None)
    assert again == first
    assert runs.Store(results, loaded.name).record_path(run_id).stat() == before
    assert first["meter"]["train"]["energy_kwh"] == first["energy_kwh"] > 0
    assert first["environment"]["packages"]["torch"]


def test_a_source_is_told_to_keep_its_network_though_nothing_that_starts_from_it_was_asked_for(
    tmp_path, monkeypatch, results
):
    first = PROFILE["settings"]["elpv_small"]
    whole = profile(
        tmp_path,
        settings={"first": first, "second": {**first, "init_from": "first"}},
        runs=[{"models": ["dla46_c"], "settings": ["first", "second"], "seeds": [0, 1]}],
    )
    part, told = study.restrict(whole, settings=["first"]), {}

    def execute(spec, *rest):
        told[spec.seed] = os.environ.get("PEPR_KEEP_WEIGHTS")

    monkeypatch.setattr(execution, "execute_run", execute)
    monkeypatch.setattr(execution.meter, "idle_power_w", lambda *given: None)
    for spec in study.grid(part):
        execution.run_one(part, spec.run_id, NOTEBOOK, say=lambda line: None)
    assert told == {0: "yes", 1: None}


def ended_by(name, value):
    return PapermillExecutionError(0, 1, "", name, value, [])


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ended_by("KeyboardInterrupt", ""), KeyboardInterrupt),
        (ended_by("OSError", "[Errno 28] No space left on device"), WorkFailed),
        (OSError(28, "No space left on device"), OSError),
        (RuntimeError("Kernel died"), RuntimeError),
        (ended_by("DataUnavailable", "elpv: no network"), None),
    ],
)
def test_a_preparation_of_data_is_done_when_it_ended_and_not_where_it_was_cut_short(
    tmp_path, monkeypatch, error, raised
):
    """Its notebook is what a workflow goes by."""
    output, said = tmp_path / "01_data.ipynb", []

    def execute(notebook, output, parameters):
        output.write_text("as far as it got")
        raise error

    monkeypatch.setattr(execution, "execute_notebook", execute)
    with pytest.raises(raised) if raised else contextlib.nullcontext():
        execution.prepare_data("elpv", 32, NOTEBOOK, output, said.append)
    assert output.exists() == (raised is None)
    assert [line for line in said if "could not be prepared" in line] == (
        [] if raised else ["data: elpv could not be prepared: elpv: no network"]
    )


def test_a_notebook_runs_in_the_folder_that_is_asked_for_and_the_process_stays_where_it_is(
    tmp_path, monkeypatch
):
    notebook, output, moves = nbformat.v4.new_notebook(), tmp_path / "out.ipynb", []
    notebook.cells = [nbformat.v4.new_code_cell("import os; print(os.getcwd())")]
    nbformat.write(notebook, tmp_path / "n.ipynb")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(os, "chdir", moves.append)  # papermill moves to where it is, too
    notebooks.execute_notebook(tmp_path / "n.ipynb", output, {}, cwd=tmp_path / "elsewhere")
    assert str(tmp_path / "elsewhere") in output.read_text() and set(moves) == {str(Path.cwd())}


def test_braces_in_a_path_are_a_part_of_it(tmp_path):
    notebook, folder = nbformat.v4.new_notebook(), tmp_path / "{profile} of {mine"
    folder.mkdir()
    notebook.cells = [nbformat.v4.new_code_cell("1")]
    nbformat.write(notebook, folder / "n.ipynb")
    notebooks.execute_notebook(folder / "n.ipynb", folder / "{out}.ipynb", {})
    assert nbformat.read(folder / "{out}.ipynb", 4).cells[-1].execution_count


def test_a_limit_below_a_second_is_a_limit(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr("papermill.execute_notebook", lambda *paths, **options: told.update(options))
    for limit in (0.6, 3.0, None):
        notebooks.execute_notebook(tmp_path / "n.ipynb", tmp_path / "out.ipynb", {}, timeout_s=limit)
        assert told["execution_timeout"] == {0.6: 1, 3.0: 3, None: None}[limit]


def test_a_run_that_the_profile_does_not_have_is_refused(tmp_path, results):
    with pytest.raises(InputError, match="no run elpv-x"):
        execution.run_one(profile(tmp_path), "elpv-x", NOTEBOOK)


@pytest.mark.parametrize(
    ("name", "message", "failure"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", "out_of_memory"),
        (
            "RuntimeError",
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
            "out_of_memory",
        ),
        ("MemoryError", "", "out_of_memory"),
        ("Diverged", "loss nan", "diverged"),
        ("ModelUnavailable", "", "model_unavailable"),
        ("DataUnavailable", "", "data_unavailable"),
        ("MeterError", "", "meter_failed"),
        ("DeadKernelError", "Kernel died", "kernel_died"),
        ("CellTimeoutError", "", "timeout"),
        ("ZeroDivisionError", "division by zero", "error"),
    ],
)
def test_each_error_has_its_kind_of_failure(name, message, failure):
    assert classify(name, message) == failure
    assert failure in errors.FAILURES


def test_the_process_beside_a_kernel_loads_no_tables():
    """It starts with each run, and a table library would be a third of that."""
    code = (
        "import sys, pepr.study.execution; print([one for one in ('pandas', 'torch') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("name", "told"), [("my study", "'my study.yaml'"), ("pocket", "pocket")])
def test_the_command_that_a_record_names_can_be_typed(tmp_path, monkeypatch, name, told):
    monkeypatch.setattr(execution.meter, "idle_power_w", lambda *asked: None)
    spec = runs.RunSpec("dla46_c", "elpv", "elpv")
    loaded = study.Profile(name, {}, str(tmp_path / f"{name}.yaml"))
    with execution.circumstances(spec, loaded, runs.Store(tmp_path, name), print):
        command = f"pepr step finetune {told} {spec.run_id} notebooks/02_finetune.ipynb"
        assert os.environ["PEPR_COMMAND"] == command
