"""What sixty hours may bring, done on purpose: nothing is lost or counted twice, the table is the same."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import yaml

from pepr import runs, study
from tests.study.test_execution import PROFILE
from tests.whole_studies import (
    assert_same_results,
    finish_study,
    kill_tree,
    records_of,
    rest_of,
    row,
    start_study,
    wait_for_line,
)

pytestmark = pytest.mark.chaos

KILLS = 20
MODELS = ["dla46_c", "mobilenetv2_050"]
JUMPING_CLOCK = """
import os, time
real, real_ns = time.time, time.time_ns
def jump():
    with open(os.environ["JUMP"]) as file:
        seconds = float(file.read() or 0)
    if seconds:
        open(os.environ["JUMP"] + ".seen", "a").close()
    return seconds
time.time = lambda: real() + jump()
time.time_ns = lambda: real_ns() + int(1e9 * jump())
"""
TAKEN_PORT = """
import json, os, socket, sys
if "pepr.training.warm" in sys.orig_argv:
    sys.exit()  # so that kernels start in Jupyter's own way, on a port
if any("ipykernel" in part for part in sys.orig_argv) and not os.path.exists(os.environ["TAKEN"]):
    connection = json.load(open(sys.orig_argv[sys.orig_argv.index("-f") + 1]))
    taken = socket.socket()
    taken.bind((connection["ip"], connection["shell_port"]))
    taken.listen()
    open(os.environ["TAKEN"], "w").close()
"""
FAILING_MODELS = """
import os, signal, sys, time
if any("ipykernel" in part or "training.warm" in part for part in sys.orig_argv):
    import timm
    original = timm.create_model
    def create_model(name, *args, **kwargs):
        if name == "dla46_c":
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        time.sleep(3600)
    timm.create_model = create_model
"""


def write_profile(folder, **changes):
    path = folder / "chaos.yaml"
    blocks = [{"models": MODELS, "settings": ["elpv_small"], "seeds": [0, 1]}]
    path.write_text(yaml.safe_dump({**PROFILE, "runs": blocks, **changes}))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_cache, testrun_uid):
    """The folder of a study of four runs that nothing disturbed, and its profile; workers share it."""
    root = tmp_path_factory.getbasetemp().parent / f"undisturbed-{testrun_uid}"
    root.mkdir(exist_ok=True)
    with (root / "made").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if made.seek(0, os.SEEK_END) == 0:
            profile = write_profile(root)
            shutil.copytree(data_cache, root / "data" / data_cache.name)
            finish_study(root, profile)
            made.write("yes")
    return root / "chaos", root / "chaos.yaml"


@pytest.fixture
def begun(whole, tmp_path):
    """A copy of the study, and two of its runs to leave out: one of each model."""
    undisturbed, profile = whole
    root = tmp_path / "results"
    shutil.copytree(undisturbed.parent, root, copy_function=shutil.copy2)
    store = runs.Store(root, "chaos")
    missing = [spec.run_id for spec in study.grid(study.load(str(profile))) if spec.seed == 1]
    (store.folder / "results.csv").unlink()
    return store, profile, undisturbed, missing


def forget(store, run_id):
    store.record_path(run_id).unlink()
    store.predictions_path(run_id).unlink()
    store.notebook_path(run_id).unlink()


def hooked(folder, code, **environment):
    """The environment in which every Python process starts with `code`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path), **environment}


def test_killed_at_twenty_random_moments_it_goes_on_where_it_was(tmp_path, data_cache, request):
    profile = write_profile(tmp_path)
    seed = random.randrange(10**6)
    print(f"random seed {seed}")
    # From the start of a run to somewhat beyond its end, so that its writing is met too.
    moments = np.random.default_rng(seed).uniform(0, 1.2, KILLS)
    run_s = 10.0
    shutil.copytree(data_cache, tmp_path / "data" / data_cache.name)
    folder = tmp_path / "chaos"
    finished: dict[str, bytes] = {}
    for number, moment in enumerate(moments):
        process = start_study(tmp_path, profile)
        if number:  # the first may die before it has begun
            wait_for_line(process, "Stop with Ctrl-C at any time")
        time.sleep(moment * run_s)
        kill_tree(process)
        now = records_of(folder)
        assert finished.items() <= now.items(), "a finished run was touched"
        finished = now
        run_s = max((json.loads(record)["wall_time_s"] for record in now.values()), default=run_s)
    finish_study(tmp_path, profile)
    assert finished.items() <= records_of(folder).items()
    # Asked for only now: meanwhile another worker has made it.
    undisturbed, _ = request.getfixturevalue("whole")
    assert_same_results(folder, undisturbed)


def test_its_front_process_killed_alone_it_is_not_started_a_second_time_beside_itself(begun):
    store, profile, undisturbed, (first, second) = begun
    forget(store, first)
    forget(store, second)
    process = start_study(store.root, profile)
    wait_for_line(process, "epoch 1/1")
    process.kill()
    process.wait()
    process.stdout.close()
    refused = 0
    while True:
        again = start_study(store.root, profile)
        told, _ = again.communicate(timeout=120)
        if again.returncode == 0:
            break
        refused += 1
        assert "another `make reproduce` is at work here" in told and refused < 60, told
        time.sleep(0.5)
    assert_same_results(store.folder, undisturbed)


@pytest.mark.parametrize(
    ("stop", "interrupts"),
    [
        pytest.param(lambda pid: os.killpg(pid, signal.SIGINT), signal.SIG_DFL, id="ctrl-c"),
        pytest.param(lambda pid: os.kill(pid, signal.SIGTERM), signal.SIG_DFL, id="kill"),
        pytest.param(lambda pid: os.kill(pid, signal.SIGTERM), signal.SIG_IGN, id="kill-in-the-background"),
        pytest.param(lambda pid: os.killpg(pid, signal.SIGHUP), signal.SIG_DFL, id="terminal-closed"),
    ],
)
def test_stopped_by_a_person_it_leaves_no_row_of_the_run_it_was_at(begun, stop, interrupts):
    store, profile, undisturbed, (first, _) = begun
    forget(store, first)
    process = start_study(store.root, profile, interrupts=interrupts)
    wait_for_line(process, "· seed 1")
    time.sleep(2)
    stop(process.pid)
    rest_of(process)
    assert process.returncode != 0
    assert not store.record_path(first).exists()
    finish_study(store.root, profile)
    assert_same_results(store.folder, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """An empty file system of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this root may not mount a small file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder, option):
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def test_a_disk_that_fills_up_stops_it_and_costs_no_row(begun, small_disk):
    store, profile, undisturbed, (first, second) = begun
    forget(store, first)
    forget(store, second)
    shutil.copytree(store.root, small_disk, dirs_exist_ok=True)
    before = records_of(small_disk / "chaos")
    process = start_study(small_disk, profile)
    told = wait_for_line(process, "· seed 1")
    with (
        (small_disk / "ballast").open("wb", buffering=0) as ballast,
        pytest.raises(OSError, match="No space"),
    ):
        while True:
            ballast.write(bytes(4096))
    told += rest_of(process)
    assert process.returncode == 1, told
    assert "No space left on device" in told
    assert records_of(small_disk / "chaos") == before

    process = start_study(small_disk, profile)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "cannot be written (No space left on device)" in told
    assert len(told.splitlines()) <= 2
    (small_disk / "ballast").unlink()
    finish_study(small_disk, profile)
    assert_same_results(small_disk / "chaos", undisturbed)


def test_a_folder_that_is_read_only_is_refused_in_one_line(begun, small_disk):
    store, profile, undisturbed, (first, _) = begun
    forget(store, first)
    shutil.copytree(store.root, small_disk, dirs_exist_ok=True)
    remount(small_disk, "ro")
    process = start_study(small_disk, profile)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "cannot be written (Read-only file system)" in told.splitlines()[-1]
    remount(small_disk, "rw")
    finish_study(small_disk, profile)
    assert_same_results(small_disk / "chaos", undisturbed)


def test_of_two_at_once_one_works_and_the_other_is_told_so(begun):
    store, profile, undisturbed, (first, _) = begun
    forget(store, first)
    both = [start_study(store.root, profile) for _ in range(2)]
    told = {process.communicate(timeout=120)[0]: process.returncode for process in both}
    assert sorted(told.values()) == [0, 2], told
    (refusal,) = (words for words, status in told.items() if status == 2)
    assert "another `make reproduce` is at work here; wait for it" in refusal
    assert_same_results(store.folder, undisturbed)


def test_a_record_and_predictions_cut_in_half_are_kept_aside_and_made_again(begun):
    store, profile, undisturbed, (first, second) = begun
    for path in (store.record_path(first), store.predictions_path(second)):
        os.truncate(path, path.stat().st_size // 2)
    told = finish_study(store.root, profile)
    assert told.count("the run is repeated") == 2
    assert {path.name for path in (store.folder / "runs").glob("*.damaged")} == {
        f"{run_id}.json.damaged" for run_id in (first, second)
    }
    assert_same_results(store.folder, undisturbed)


def test_a_clock_that_jumps_changes_no_duration_no_energy_and_no_row(begun, tmp_path):
    """An hour on, then a day back, while a run is at work; and a table from tomorrow is not believed."""
    store, profile, undisturbed, (first, _) = begun
    forget(store, first)
    runs.collect(store)
    tomorrow = time.time() + 86400
    os.utime(store.folder / "results.csv", (tomorrow, tomorrow))
    clock = tmp_path / "clock"
    clock.write_text("0")
    began = time.monotonic()
    process = start_study(store.root, profile, **hooked(tmp_path / "hook", JUMPING_CLOCK, JUMP=str(clock)))
    wait_for_line(process, "· seed 1")
    time.sleep(1.5)
    clock.write_text("3600")
    time.sleep(1.5)
    clock.write_text("-86400")
    told = rest_of(process)
    assert process.returncode == 0, told
    elapsed = time.monotonic() - began
    assert (tmp_path / "clock.seen").exists()
    assert_same_results(store.folder, undisturbed)
    ours, theirs = (row(folder, first) for folder in (store.folder, undisturbed))
    assert 0 < ours["train_time_s"] < ours["wall_time_s"] < elapsed
    watts = [row["energy_kwh"] * 3.6e6 / row["train_time_s"] for row in (ours, theirs)]
    assert watts[0] == pytest.approx(watts[1], rel=0.5)


def test_a_kernel_that_dies_and_a_run_that_hangs_are_rows_and_can_be_repeated(begun, tmp_path):
    store, profile, undisturbed, (dies, hangs) = begun
    forget(store, dies)
    forget(store, hangs)
    impatient = write_profile(tmp_path, timeout_minutes=0.1)
    began = time.monotonic()
    finish_study(store.root, impatient, **hooked(tmp_path / "hook", FAILING_MODELS))
    assert time.monotonic() - began < 60
    table = runs.read_table(store.folder / "results.csv").set_index("run_id")
    assert table.loc[[dies, hangs], "failure"].tolist() == ["kernel_died", "timeout"]
    assert (table["status"] == "ok").sum() == 2
    finish_study(store.root, profile, "--retry", "failed")
    assert_same_results(store.folder, undisturbed)


def test_a_port_that_is_taken_costs_another_start_of_the_kernel(begun, tmp_path):
    store, profile, undisturbed, (first, _) = begun
    forget(store, first)
    taken = tmp_path / "taken"
    finish_study(store.root, profile, **hooked(tmp_path / "hook", TAKEN_PORT, TAKEN=str(taken)))
    assert taken.exists()
    assert_same_results(store.folder, undisturbed)
