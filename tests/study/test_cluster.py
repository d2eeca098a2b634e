"""What a cluster is asked for: a GPU in one way, service levels and kinds of nodes in its own words."""

import re
import shutil
import subprocess

import pytest
import yaml

from pepr import datasets, study
from pepr.errors import InputError, WorkFailed
from pepr.study import workflow
from tests.study.test_execution import CHECKOUT

SHIPPED = yaml.safe_load((CHECKOUT / "workflow/profiles/slurm/config.yaml").read_text())


def placement(tmp_path, **resources):
    """A copy of the shipped profile whose runs ask for some resources too."""
    folder = tmp_path / "my cluster"
    folder.mkdir()
    finetune = {**SHIPPED["set-resources"]["finetune"], **resources}
    defaults = {**SHIPPED["default-resources"], "slurm_account": "none", "slurm_partition": "main"}
    at_once = {"restart-times": 0, "slurm-init-seconds-before-status-checks": 1}
    copy = {**SHIPPED, **at_once, "set-resources": {"finetune": finetune}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**copy, "default-resources": defaults}))
    return folder


@pytest.mark.parametrize(
    ("resources", "own"),
    [
        ({}, False),
        ({"gres": "gpu:a100:1"}, True),
        ({"gpu_model": "a100"}, True),
        ({"slurm_extra": "'--gres=gpu:1 --exclusive'"}, True),
        ({"slurm_extra": "'--gpus-per-node=1'"}, True),
        ({"slurm_extra": "'-G 1'"}, True),
        ({"slurm_extra": "'--exclusive -Ga100:1'"}, True),
        ({"slurm_extra": "'--tres-per-task=gres/gpu:1'"}, True),
        ({"slurm_extra": "'--exclude=node-G1'"}, False),
        ({"qos": "long", "constraint": "a100"}, False),
        ({"gpu": 2}, False),
    ],
)
def test_a_profile_that_asks_for_gpus_in_its_own_words_is_known(tmp_path, resources, own):
    assert workflow.asks_for_gpus(placement(tmp_path, **resources)) is own


@pytest.mark.parametrize(
    ("text", "told"), [("a: [", "not YAML"), ("- executor", "expected names with values")]
)
def test_a_profile_of_a_cluster_that_cannot_be_read_is_refused_in_one_line(tmp_path, text, told):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"config\.yaml: {told}"):
        workflow.asks_for_gpus(tmp_path)


def test_how_many_runs_go_on_at_once_is_said_where_a_cluster_looks_for_it(results):
    with pytest.raises(InputError, match=r"RUNS=2 is of this machine; .* it is `jobs` in .*slurm/config"):
        workflow.reproduce(study.load("smoke"), CHECKOUT, cluster="slurm", runs=2)
    assert not (results / "smoke").exists()


def test_a_cluster_that_cannot_be_asked_from_here_is_refused_before_anything_starts(
    tmp_path, results, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="`sbatch` is not to be found"):
        workflow.reproduce(study.load("smoke"), CHECKOUT, cluster="slurm")
    assert not (results / "smoke").exists()


def test_a_machine_without_which_is_given_one(tmp_path, monkeypatch):
    """The plugin for Slurm asks it as soon as Snakemake loads it, also for runs that are done here."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(workflow.sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    path = workflow.search_path(tmp_path / "results")
    found = shutil.which("which", path=path)
    assert found and path.startswith(str(tmp_path / "bin"))
    for program, status in (("sh", 0), ("no-such-program", 127)):
        asked = subprocess.run(
            [found, program], env={"PATH": "/bin:/usr/bin"}, check=False, capture_output=True
        )
        assert (asked.returncode != 0) == (status != 0), program
    (tmp_path / "bin" / "which").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "which").chmod(0o755)
    assert workflow.search_path(tmp_path / "results") == f"{tmp_path / 'bin'}:{tmp_path / 'bin'}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resources", "sent", "not_sent"),
    [
        ({}, ["--gpus=1"], "--gres"),
        (
            {"gres": "gpu:a100:1", "qos": "long", "constraint": "a100&nvlink"},
            ["--gres=gpu:a100:1", "--qos=long", "-C a100&nvlink"],
            "--gpus",
        ),
    ],
)
def test_slurm_is_asked_for_a_gpu_once(tmp_path, results, monkeypatch, resources, sent, not_sent):
    """A stand-in for Slurm notes what it is asked and refuses."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "sacct", "sinfo", "scontrol", "sacctmgr", "scancel", "sshare"):
        text = f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}\nexit {int(name == "sbatch")}\n'
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("PEPR_DEVICE", "cuda")
    with pytest.raises(WorkFailed):
        workflow.reproduce(
            study.load("smoke"),
            CHECKOUT,
            cluster=str(placement(tmp_path, **resources)),
            say=lambda line: None,
        )
    asked = (tmp_path / "sbatch").read_text().replace("'", "")
    assert all(part in asked for part in sent) and not_sent not in asked


def test_each_pod_of_the_recipe_for_kubernetes_has_a_setting_whose_images_can_be_downloaded():
    text = (CHECKOUT / "book" / "cluster.md").read_text()
    listed = re.search(r"settings=\(([\w ]+)\)", text)[1].split()
    settings = study.load("paper").values["settings"]
    assert f"completions: {len(listed)}\n" in text and f"parallelism: {len(listed)}\n" in text
    assert set(settings) - set(listed) == {"lidc", "lidc_small"}
    assert all(datasets.find(settings[name]["dataset"]).downloadable for name in listed)
