"""Studies on a Slurm cluster of two nodes, made on this machine: one loses a node, one is sent away for an
urgent job; what clusters want to be asked for is asked."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from pepr.machine import cores
from tests.whole_studies import (
    CHECKOUT,
    assert_same_results,
    finish_study,
    kill_tree,
    rest_of,
    start_study,
    wait_until,
)

pytestmark = pytest.mark.slurm

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
CONFIGURATION = Path("/etc/slurm/slurm.conf")  # where Slurm's programs look, the jobs' too
CARDS = CONFIGURATION.with_name("gres.conf")
MARK = "# Made by a test of the PePR study; the test removes it."
NODES = ("pepr1", "pepr2")


def need(condition, what):
    if not condition:
        pytest.fail(f"make test-slurm starts a cluster on this machine and needs {what}", pytrace=False)


def install():
    """Slurm and munge from Debian, where they are missing."""
    need(os.geteuid() == 0, "root")
    if all(shutil.which(program) for program in ("slurmctld", "slurmd", "squeue", "munged")):
        return
    need(shutil.which("apt-get"), f"apt-get, or {', '.join(PACKAGES)} installed")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (["apt-get", "update"], command):
        done = subprocess.run(attempt, env=environment, capture_output=True, text=True, check=False)
        need(done.returncode == 0, f"{' '.join(attempt)}, which failed: {done.stderr[-500:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(folder):
    """A controller and two nodes, all on this host; see `man slurm.conf`."""
    host = socket.gethostname()
    here = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cores.whole()} RealMemory=64000"
    here += " Gres=gpu:a100:1 Feature=a100,nvlink"
    nodes = [f"NodeName={node} {here} Port={free_port()}" for node in NODES]
    return "\n".join(
        [
            MARK,
            "ClusterName=pepr",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={free_port()}",
            "SlurmUser=root",
            f"StateSaveLocation={folder}/controller",
            f"SlurmctldPidFile={folder}/controller.pid",
            f"SlurmdSpoolDir={folder}/%n",
            f"SlurmdPidFile={folder}/%n.pid",
            "SlurmdParameters=config_overrides",
            "SlurmdTimeout=10",
            # A job that is put back into the queue waits until its first credential is void, and for the
            # next look at the queue: two minutes and one, where nothing is said.
            "AuthInfo=cred_expire=30",
            "SchedulerParameters=sched_interval=5",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "GresTypes=gpu",
            # A job of a partition of a higher tier sends those of a lower one back into the queue.
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "KillWait=10",
            "MpiDefault=none",
            *nodes,
            f"PartitionName=main Nodes={','.join(NODES)} Default=YES State=UP PriorityTier=1",
            f"PartitionName=urgent Nodes={','.join(NODES)} State=UP PriorityTier=9",
            "",
        ]
    )


def cards():
    """A file that stands for the card of each node; see `man gres.conf`."""
    lines = [f"NodeName={node} Name=gpu Type=a100 File=/dev/null" for node in NODES]
    return "\n".join([MARK, "AutoDetect=off", *lines, ""])


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The folder of a running cluster: its logs, and a file with the process of each node's daemon."""
    # Where daemons are, which is not on every root's path.
    monkeypatch.setenv("PATH", os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    install()
    for path in (CONFIGURATION, CARDS):
        ours = not path.exists() or path.read_text().startswith(MARK)
        need(ours, f"{path} not to exist: is this a cluster?")
    folder = tmp_path / "slurm"
    for name in ("controller", *NODES):
        (folder / name).mkdir(parents=True)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(configuration(folder))
    CARDS.write_text(cards())
    started = []

    def start(name, *command):
        with (folder / f"{name}.log").open("w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))

    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "/run/munge"], check=True)
        start("munge", "runuser", "-u", "munge", "--", "munged", "--foreground")
        wait_until(Path("/run/munge/munge.socket.2").exists, "munged", 20)
    start("controller", "slurmctld", "-D")
    for node in NODES:
        start(node, "slurmd", "-D", "-N", node)
    wait_until(lambda: ask("sinfo", "-h", "-t", "idle", "-o", "%D") == "2", "two idle nodes", 60)
    yield folder
    for process in reversed(started):
        kill_tree(process)
    CONFIGURATION.unlink()
    CARDS.unlink()


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def lose(node, folder):
    """Kill a node's daemon and everything that it started, as when its power fails."""
    daemon = psutil.Process(int((folder / f"{node}.pid").read_text()))
    jobs = [process for process in psutil.process_iter() if is_job_of(process, node)]
    stewards = {
        parent for job in jobs for parent in job.parents() if "slurmstepd" in " ".join(parent.cmdline())
    }
    assert jobs and stewards
    for process in (daemon, *stewards, *jobs):
        process.kill()


def is_job_of(process, node):
    try:
        return process.environ().get("SLURMD_NODENAME") == node
    except psutil.Error:
        return False


def snakemake_profile(folder, resources=(), **settings):
    """The shipped profile, with what is this cluster's own: its cores, and a pace for two small runs; and
    with what a run asks for besides."""
    values = yaml.safe_load((CHECKOUT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text())
    values["set-threads"]["finetune"] = cores.whole()
    values["slurm-init-seconds-before-status-checks"] = 5
    values["set-resources"]["finetune"] |= dict(resources)
    values |= settings
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def made_here(tmp_path_factory):
    """The folder of a study that was made without a cluster."""
    folder = tmp_path_factory.mktemp("here")
    finish_study(folder)
    return folder / "smoke"


def test_a_study_on_a_cluster_that_loses_a_node_equals_one_made_here(cluster, made_here, tmp_path):
    profile = snakemake_profile(tmp_path / "profile")
    process = start_study(tmp_path / "cluster", "smoke", "--cluster", str(profile))
    runs_folder = tmp_path / "cluster" / "smoke" / "runs"
    wait_until(lambda: process.poll() is not None or list(runs_folder.glob(".*.lock")), "a run at work", 240)
    assert process.poll() is None, rest_of(process)
    node = ask("squeue", "-h", "-t", "running", "-o", "%N").split()[0]
    lose(node, cluster)
    began = time.monotonic()
    told = rest_of(process)
    log = (cluster / "controller.log").read_text()
    assert process.returncode == 0, told + log
    assert f"due to failure of node {node}" in log
    assert node in ask("sinfo", "-h", "-t", "down", "-o", "%N")
    assert time.monotonic() - began < 400
    assert_same_results(tmp_path / "cluster" / "smoke", made_here)


ASKED = {"gres": "gpu:a100:1", "qos": "normal", "constraint": "a100&nvlink"}
"""As in the chapter on clusters. This cluster keeps no accounts, so it takes any service level as asked."""


def jobs(state):
    """The study's jobs of a state by their numbers: cards of a node, features."""
    lines = ask("squeue", "-h", "-r", "-p", "main", "-t", state, "-o", "%i %b %f").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def restarts(job):
    found = re.search(r"Restarts=(\d+)", ask("scontrol", "show", "job", job))
    return int(found[1]) if found else 0


def test_an_array_that_is_sent_away_for_an_urgent_job_leaves_no_record_and_is_done_again(
    cluster, made_here, tmp_path
):
    """With a card, a service level and kinds of nodes, asked for as the chapter says."""
    profile = snakemake_profile(tmp_path / "profile", ASKED, **{"slurm-array-jobs": "all"})
    process = start_study(tmp_path / "cluster", "smoke", "--cluster", str(profile))
    runs_folder = tmp_path / "cluster" / "smoke" / "runs"
    wait_until(
        lambda: process.poll() is not None or len(list(runs_folder.glob(".*.lock"))) == len(NODES),
        "both runs at work",
        240,
    )
    assert process.poll() is None, rest_of(process)
    at_work = jobs("running")
    assert len(at_work) == len(NODES) and all(re.fullmatch(r"\d+_\d+", job) for job in at_work)
    for card, features in at_work.values():
        assert card.endswith("gpu:a100:1") and features == "a100&nvlink"
    urgent = ("-p", "urgent", "--exclusive", "-N2", "-o", str(tmp_path / "urgent"), "--wrap", "sleep 5")
    assert "Submitted" in ask("sbatch", *urgent)
    wait_until(lambda: all(restarts(job) for job in at_work), "both jobs sent away", 60)
    assert not list(runs_folder.glob("*.json"))
    told = rest_of(process)
    assert process.returncode == 0, told + (cluster / "controller.log").read_text()
    assert_same_results(tmp_path / "cluster" / "smoke", made_here)
