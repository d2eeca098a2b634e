"""Whole studies through the workflow: a failing model costs a row, a failing workflow says where to look."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import yaml
from fake_nvml import FakeGpu, FakeNvml

from pepr import runs, study
from pepr.book import notebooks, pages as book_pages, study_facts
from pepr.errors import InputError, WorkFailed
from pepr.machine import description
from pepr.runs import timing
from pepr.study import recovery, workflow
from pepr.study.timing import ROUNDS
from tests.study.test_execution import CHECKOUT, broken_timm, profile


@pytest.mark.slow
def test_the_rest_of_the_grid_finishes_when_a_model_fails_and_its_row_is_in_the_table(
    tmp_path, monkeypatch, results
):
    """Through Snakemake, from a profile in a file of one's own; then RETRY=failed repeats just that row, and
    the three networks are timed in turn."""
    broken_timm(
        tmp_path,
        monkeypatch,
        "if args[0] == 'dla46_c': raise ValueError('no such layer')\n"
        "        return original(*args, **kwargs)",
    )
    names = ["dla46_c", "mobilenetv2_050", "mnasnet_100"]
    blocks = [{"models": names, "settings": ["elpv_small"]}]
    loaded = profile(tmp_path, runs=blocks)
    folder = workflow.reproduce(loaded, CHECKOUT, say=lambda line: None)
    table = runs.read_table(folder / "results.csv").set_index("model")
    assert table["status"].to_dict() == dict(zip(names, ("failed", "ok", "ok"), strict=True))
    assert table.loc["dla46_c", "failure"] == "error"
    finished = runs.Store(results, "mine").record_path(table.loc["mobilenetv2_050", "run_id"])
    before = finished.stat().st_mtime_ns
    assert timing.read(folder) is None, "two networks are no comparison"

    monkeypatch.delenv("PYTHONPATH")
    workflow.reproduce(loaded, CHECKOUT, retry="failed", say=lambda line: None)
    assert (runs.read_table(folder / "results.csv")["status"] == "ok").all()
    assert finished.stat().st_mtime_ns == before
    turns = timing.read(folder).groupby("model")["round"].nunique()
    assert sorted(turns.index) == sorted(names) and (turns >= ROUNDS).all()


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_a_source_is_trained_first_and_one_that_failed_costs_the_rows_that_start_from_it(
    tmp_path, monkeypatch, results, broken
):
    """The source is not asked for by name: the run that starts from it brings it along."""
    if broken:
        broken_timm(
            tmp_path,
            monkeypatch,
            "if args[0] == 'mobilenetv2_050': raise MemoryError('no room')\n"
            "        return original(*args, **kwargs)",
        )
    first = {"dataset": "elpv", "pretrained": False, "train_fraction": 0.1}
    settings = {"first": first, "second": {**first, "train_fraction": 0.05, "init_from": "first"}}
    blocks = [{"models": ["mobilenetv2_050", "dla46_c"], "settings": ["second"], "seeds": [1]}]
    folder = workflow.reproduce(
        profile(tmp_path, settings=settings, runs=blocks), CHECKOUT, say=lambda line: None
    )
    table = runs.read_table(folder / "results.csv").set_index(["model", "setting"])
    assert len(table) == 4
    source, run = table.loc[("dla46_c", "first")], table.loc[("dla46_c", "second")]
    assert run["init_from"] == source["run_id"] and run["init_energy_kwh"] == source["energy_kwh"]
    assert source["split"] == run["split"] == 1, "the source has not seen the test images of the run"
    kept = {path.stem for path in (folder / "weights").iterdir()}
    statuses = table["status"].to_dict()
    if broken:
        assert statuses[("mobilenetv2_050", "first")] == statuses[("mobilenetv2_050", "second")] == "failed"
        assert table.loc[("mobilenetv2_050", "second"), "failure"] == "model_unavailable"
        assert kept == {source["run_id"]}
    else:
        assert set(statuses.values()) == {"ok"} and len(kept) == 2


@pytest.mark.slow
def test_a_study_without_one_good_run_has_a_notice_for_a_page_and_ends_well(tmp_path, results):
    store = runs.Store(results, "paper")
    (spec,) = study.grid(study.restrict(study.load("paper"), models=["dla46_c"], settings=["derma"]))
    store.write_record(runs.run_record(spec, {}, failure="model_unavailable", traceback="no weights"))
    runs.collect(store)
    shutil.copytree(CHECKOUT / "notebooks", tmp_path / "checkout" / "notebooks")
    checkout = tmp_path / "checkout"
    page = next(
        page for page in book_pages.pages_of(["paper"]) if page.path == "notebooks/paper/04_pepr.ipynb"
    )
    output, why = notebooks.execute(checkout, page, checkout / "_build/executed")
    assert output is None and "no run is ok (model_unavailable)" in why
    assert "no run is ok" in notebooks.notice_notebook(checkout / page.notebook, why)
    assert "paper" not in study_facts.profiles_with_results()


def test_contended_runs_can_be_repeated_and_others_are_left(results):
    store = runs.Store(results, "smoke")
    specs = study.grid(study.load("smoke"))
    for spec, contended in zip(specs, (True, False), strict=True):
        store.write_record(runs.run_record(spec, {}, contended=contended))
    workflow.forget(store, specs, workflow.RETRIES["failed"])
    assert [store.record_path(spec.run_id).exists() for spec in specs] == [True, True]
    before = store.record_path(specs[0].run_id).read_bytes()
    workflow.forget(store, specs, workflow.RETRIES["contended"])
    assert [store.record_path(spec.run_id).exists() for spec in specs] == [False, True]
    store.write_record(runs.run_record(specs[0], {}, failure="error"))
    assert recovery.bring_back(store) == [specs[0].run_id]
    assert store.record_path(specs[0].run_id).read_bytes() == before, "the one that failed is no better"
    workflow.forget(store, specs, workflow.RETRIES["contended"])
    store.write_record(runs.run_record(specs[0], {}, contended=False))
    assert recovery.bring_back(store) == []
    assert store.read_record(specs[0].run_id)["contended"] is False


@pytest.fixture
def contended(results):
    """A finished study of two runs, both contended: what it left, by path."""
    store = runs.Store(results, "smoke")
    for spec in study.grid(study.load("smoke")):
        store.write_predictions(spec.run_id, np.full((4, 2), 0.5), np.zeros(4))
        store.write_record(runs.run_record(spec, {}, contended=True))
    return {path: path.read_bytes() for path in store.folder.rglob("*.[jn]*") if path.is_file()}


@pytest.mark.parametrize(
    ("runs_at_once", "error", "told"), [(0, InputError, "RUNS=0"), (None, WorkFailed, r"reproduce\.log")]
)
def test_results_that_were_to_be_made_again_are_there_where_that_came_to_nothing(
    contended, tmp_path, runs_at_once, error, told
):
    """For a slip on the command line, and for a workflow that fails."""
    asked = {"retry": "contended", "runs": runs_at_once, "say": lambda line: None}
    with pytest.raises(error, match=told):
        workflow.reproduce(study.load("smoke"), tmp_path, **asked)
    assert len(contended) == 4 and {path: path.read_bytes() for path in contended} == contended


FAKE_SNAKEMAKE = """
import os, sys, time
os.write(1, b"a caf\\xe9 failed\\n")
with open("pid", "w") as file:
    file.write(str(os.getpid()))
time.sleep(float(os.environ["SLEEPS"]))
sys.exit(1)
"""


@pytest.fixture
def fake_snakemake(tmp_path):
    """A checkout in which Snakemake prints one line that is no UTF-8, sleeps for $SLEEPS, and fails."""
    package = tmp_path / "checkout" / "snakemake"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE_SNAKEMAKE)
    return package.parent


def test_output_in_another_encoding_is_passed_on(fake_snakemake, results, monkeypatch):
    monkeypatch.setenv("SLEEPS", "0")
    with pytest.raises(WorkFailed, match=r"reproduce\.log"):
        workflow.reproduce(study.load("smoke"), fake_snakemake, say=lambda line: None)
    assert "a caf\ufffd failed\n" in (results / "smoke" / "reproduce.log").read_text()


def test_whatever_ends_the_command_ends_the_workflow(fake_snakemake, results, monkeypatch):
    def stale(store, to_do):
        while not (fake_snakemake / "pid").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        raise OSError(116, "Stale file handle")

    monkeypatch.setenv("SLEEPS", "600")
    monkeypatch.setattr(recovery, "stop_at_a_shared_fault", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        workflow.reproduce(study.load("smoke"), fake_snakemake, say=lambda line: None)
    assert not psutil.pid_exists(int((fake_snakemake / "pid").read_text()))


def test_the_workflow_says_where_its_output_is_when_it_fails(results, tmp_path):
    loaded = study.load("smoke")
    with pytest.raises(WorkFailed, match=r"reproduce\.log"):
        workflow.reproduce(loaded, tmp_path, say=lambda line: None)


def test_a_study_names_the_card_of_another_kind_that_it_leaves_idle(results, tmp_path, monkeypatch):
    cards = FakeGpu("GPU-aaaa", name="Fake 3090"), FakeGpu("GPU-bbbb", name="Fake 4090")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*cards))
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PEPR_DEVICE", "cuda")
    said = []
    with pytest.raises(WorkFailed):
        workflow.reproduce(study.load("smoke"), tmp_path, say=said.append)
    assert any("Fake 4090 (cap 350 W) (GPU-bbbb)" in line for line in said)


def test_a_gpu_by_its_number_is_refused_before_a_grid_is_made(results, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PEPR_DEVICE", "cuda:1")
    with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES=1 PEPR_DEVICE=cuda$"):
        workflow.reproduce(study.load("smoke"), tmp_path, say=lambda line: None)
    assert not (results / "smoke").exists()


def test_a_cluster_is_a_shipped_name_or_a_folder_of_ones_own(tmp_path):
    shipped = workflow.cluster_profile(CHECKOUT, "slurm")
    assert yaml.safe_load((shipped / "config.yaml").read_text())["executor"] == "slurm"
    (tmp_path / "config.yaml").write_text("executor: slurm")
    assert workflow.cluster_profile(CHECKOUT, str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match=r"cluster 'nimbus': known are slurm, or a folder"):
        workflow.cluster_profile(CHECKOUT, "nimbus")


STAND_IN = """#!/bin/sh
# For `pepr step`: leaves what the workflow waits for, and says what it was asked for.
case $2 in
  data) touch "$6" ;;
  finetune) echo "$4" >> order; touch "runs/$4.json" ;;
  collect) touch results.csv ;;
esac
"""


@pytest.fixture
def stood_in(tmp_path, monkeypatch):
    """Carries a profile through the workflow with a stand-in for every step; returns the results folder."""
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "pepr").write_text(STAND_IN)
    (commands / "pepr").chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)

    def carry_out(loaded):
        folder = tmp_path / "study"
        for name in ("runs", "notebooks"):
            (folder / name).mkdir(parents=True)
        config = {
            "profile": study.save(loaded, folder).source,  # as `reproduce` hands it over
            "device": "cpu",
            "checkout": tmp_path / "checkout",
            "results": tmp_path,
            "ask_for_gpu": "no",
        }
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "workflow" / "Snakefile")),
            *("--directory", str(folder), "--cores", "1", "--scheduler", "greedy", "--nolock", "--config"),
            *(f"{key}={value}" for key, value in config.items()),
        ]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder

    return carry_out


def test_runs_start_in_the_order_of_the_grid(tmp_path, stood_in):
    models = ["dla46_c", "mobilenetv2_050", "resnet18d", "ghostnet_100", "mnasnet_100", "convnext_atto"]
    loaded = profile(
        tmp_path, shuffle_models=True, runs=[{"models": models, "settings": ["elpv_small"], "seeds": [0, 1]}]
    )
    grid = [spec.run_id for spec in study.grid(loaded)]
    assert grid != sorted(grid)
    assert (stood_in(loaded) / "order").read_text().split() == grid


@pytest.mark.parametrize(("device", "asked"), [("cpu", "runtime=20,"), ("cuda", "gpu=1,")])
def test_snakemake_understands_the_profile_for_slurm(tmp_path, device, asked):
    config = {"profile": "smoke", "device": device, "checkout": CHECKOUT, "results": tmp_path}
    config["ask_for_gpu"] = "yes" if device == "cuda" else "no"
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "workflow" / "Snakefile")),
        *("--directory", str(tmp_path), "--dry-run", "--nolock", "--workflow-profile"),
        *(str(CHECKOUT / "workflow" / "profiles" / "slurm"), "--config"),
        *(f"{key}={value}" for key, value in config.items()),
    ]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    jobs = [line for line in told.splitlines() if "slurm_extra=--exclusive" in line]
    assert len(jobs) == 2 and all(asked in line for line in jobs)
