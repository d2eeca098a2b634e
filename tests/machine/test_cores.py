"""The cores that a process may use: affinity, quotas of both kinds of control groups, whose load counts."""

import os
import subprocess
import sys

import psutil
import pytest

from pepr.machine import cores

BUSY = "import time\nwhile time.process_time() < {seconds}: pass"


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Pretends that this process is in control groups: writes their files and the membership."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(cores, "affinity", lambda: {0, 1, 2, 3})

    def pretend(membership, **files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return pretend


@pytest.mark.parametrize(
    ("membership", "files", "usable", "words", "whole"),
    [
        ("0::/", {"cpu.max": "50000 100000\n"}, 0.5, "0.5 cores", 1),
        ("0::/", {"cpu.max": "max 100000\n"}, 4.0, "4 cores", 4),
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5, "1.5 cores", 1),
        ("0::/", {"cpu.max": "900000 100000\n"}, 4.0, "4 cores", 4),
        ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1.0, "1 core", 1),
        ("0::/of/the/host", {"cpu.max": "200000 100000"}, 2.0, "2 cores", 2),
        (
            "4:memory:/\n3:cpu,cpuacct:/docker/x\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            0.5,
            "0.5 cores",
            1,
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4.0, "4 cores", 4),
        (
            "3:cpuacct,cpu:/",
            {"cpuacct,cpu/cpu.cfs_quota_us": "50000", "cpuacct,cpu/cpu.cfs_period_us": "100000"},
            0.5,
            "0.5 cores",
            1,
        ),
        ("", {}, 4.0, "4 cores", 4),
    ],
)
def test_a_quota_counts_as_the_cores_that_it_is_worth(groups, membership, files, usable, words, whole):
    groups(membership, **files)
    assert (cores.usable(), cores.words(), cores.whole()) == (usable, words, whole)


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/a", {"a/cpu.max": "50000 100000", "a/cpu.stat": "usage_usec 2500000\nuser_usec 1"}),
        (
            "1:cpu:/a\n2:cpuacct:/a",
            {
                "cpu/a/cpu.cfs_quota_us": "50000",
                "cpu/a/cpu.cfs_period_us": "100000",
                "cpuacct/a/cpuacct.usage": "2500000000",
            },
        ),
        (
            "1:cpu,cpuacct:/a",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/a/cpuacct.usage": "2500000000",
            },
        ),
    ],
)
def test_under_a_quota_the_load_is_that_of_the_container(groups, membership, files):
    groups(membership, **files)
    assert cores.busy_time() == 2.5


def test_the_load_of_cores_that_are_not_ours_is_no_load(monkeypatch):
    first, second = (psutil.cpu_times()._replace(user=10.0 * core) for core in (1, 2))
    monkeypatch.setattr(cores, "quotas", list)
    monkeypatch.setattr(cores.psutil, "cpu_times", lambda percpu: [first, second])
    loads = []
    for mine in ({0}, {1}, {0, 1}):
        monkeypatch.setattr(cores, "affinity", lambda mine=mine: mine)
        loads.append(cores.busy_time())
    assert loads[1] - loads[0] == pytest.approx(10.0) and loads[2] == pytest.approx(loads[0] + loads[1])


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/a", {"a/memory.max": "3000000", "a/memory.current": "1000000", "memory.max": "max"}),
        (
            "4:memory:/",
            {"memory/memory.limit_in_bytes": "3000000", "memory/memory.usage_in_bytes": "1000000"},
        ),
        (
            "0::/a",
            {
                "a/memory.max": "3000000",
                "a/memory.current": "2900000",
                "a/memory.stat": "anon 900000\nfile 2000000\nactive_file 100000\ninactive_file 1900000\n",
            },
        ),
        (
            "4:memory:/",
            {
                "memory/memory.limit_in_bytes": "3000000",
                "memory/memory.usage_in_bytes": "2900000",
                "memory/memory.stat": "inactive_file 7\ntotal_cache 9\ntotal_inactive_file 1900000\n",
            },
        ),
        ("0::/a", {"a/memory.max": "2000000", "a/memory.current": "1", "a/memory.stat": "inactive_file 2\n"}),
    ],
)
def test_memory_is_what_the_container_has_left(groups, membership, files):
    groups(membership, **files)
    assert cores.free_memory() == 2_000_000


def test_memory_without_a_limit_is_that_of_the_machine(groups):
    groups("4:memory:/\n0::/", **{"memory/memory.limit_in_bytes": "9223372036854771712"})
    assert cores.free_memory() > 2**28


STUDY = f"""
import os, subprocess, sys
os.environ["PEPR_STUDY_PID"] = str(os.getpid())
subprocess.run([sys.executable, "-c", {BUSY.format(seconds=0.4)!r}])
beside = subprocess.Popen([sys.executable, "-c", {BUSY.format(seconds=0.4)!r}])
ask = "import time; time.sleep(0.3); from pepr.machine import cores; print(cores.study_time())"
subprocess.run([sys.executable, "-c", ask])
beside.wait()
"""


def test_the_time_of_a_study_is_that_of_all_its_processes_those_that_ended_included():
    """One run of it has ended, one is busy, a third asks; a stranger beside them does not count."""
    stranger = subprocess.Popen([sys.executable, "-c", BUSY.format(seconds=60)])
    try:
        asked = subprocess.run([sys.executable, "-c", STUDY], capture_output=True, text=True, check=True)
    finally:
        stranger.kill()
        stranger.wait()
    # Two processes are busy for 0.4 s, one of them not yet to its end; all start Python.
    assert 0.4 <= float(asked.stdout) < 2.5


WORKERS = f"""
import subprocess, sys
from pepr.machine.cores import worker_environment
environment = worker_environment("cpu", 2)
beside = subprocess.Popen([sys.executable, "-c", {BUSY.format(seconds=0.4)!r}], env=environment)
ask = "import time; time.sleep(0.5); from pepr.machine import cores; print(cores.study_time())"
subprocess.run([sys.executable, "-c", ask], env=environment)
beside.wait()
"""


def test_processes_that_measure_side_by_side_are_of_one_study(monkeypatch):
    """A sweep's two workers are no other programs to each other."""
    monkeypatch.delenv("PEPR_STUDY_PID", raising=False)
    asked = subprocess.run([sys.executable, "-c", WORKERS], capture_output=True, text=True, check=True)
    assert float(asked.stdout) >= 0.3
    monkeypatch.setenv("PEPR_STUDY_PID", "7")
    on_gpu = cores.worker_environment("cuda", 1)
    assert (on_gpu["PEPR_STUDY_PID"], on_gpu["PEPR_RUNS_AT_ONCE"]) == ("7", "1"), "of the study that asked"
    assert on_gpu.get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")


def test_a_run_that_outlived_its_study_counts_itself_alone(monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv("PEPR_STUDY_PID", str(gone.pid))
    times = psutil.Process(os.getpid()).cpu_times()
    assert cores.study_time() == pytest.approx(sum(times[:4]), abs=1.0)


def test_a_quota_without_a_count_of_its_time_goes_by_the_load_of_the_cores(groups):
    groups("0::/", **{"cpu.max": "50000 100000\n"})
    assert cores.busy_time() > 0 and cores.used_time(cores.CGROUPS) is None
