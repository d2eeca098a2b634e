"""Order in a results folder: who may work in it, and what of it is to be believed."""

import dataclasses
import errno
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pepr import errors, files, runs, study
from pepr.errors import InputError, WorkFailed
from pepr.study import execution, recovery, workflow as study_workflow
from tests.conftest import simulated_run, write_synthetic
from tests.study.test_execution import NOTEBOOK, broken_timm, only_run, profile


@pytest.fixture
def store(tmp_path):
    folder = write_synthetic(tmp_path, failed=())
    return runs.Store(folder.parent, folder.name)


def run_ids(store):
    return [path.stem for path in sorted((store.folder / "runs").glob("*.json"))]


def test_two_studies_do_not_work_on_one_folder(tmp_path):
    refused = pytest.raises(InputError, match="another `make reproduce` is at work here")
    with recovery.only_one(tmp_path), refused, recovery.only_one(tmp_path):
        pass
    with recovery.only_one(tmp_path):
        pass


def test_a_workflow_that_outlives_its_study_still_holds_the_folder(tmp_path):
    with recovery.only_one(tmp_path) as lock:
        workflow = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    with pytest.raises(InputError, match="at work"), recovery.only_one(tmp_path):
        pass
    workflow.kill()
    workflow.wait()
    with recovery.only_one(tmp_path):
        pass


def test_a_run_that_another_process_carries_out_is_waited_for_and_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    loaded = study.load("smoke")
    run_id = study.grid(loaded)[0].run_id
    store = runs.Store(tmp_path, "smoke")
    record, _, _ = simulated_run("dla46_c", "elpv", 0)
    held = threading.Event()

    def other():
        with recovery.one_at_a_time(store, run_id):
            held.set()
            time.sleep(0.3)
            store.write_record({**record, "run_id": run_id})

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    found = execution.run_one(loaded, run_id, tmp_path / "no notebook.ipynb", say=lambda line: None)
    thread.join()
    assert found["run_id"] == run_id and found["status"] == "ok"
    assert not list((store.folder / "runs").glob(".*.lock"))


@pytest.mark.parametrize("content", ["", '{"status": "ok", ', "[1, 2]", "\0" * 300])
def test_a_damaged_record_is_kept_aside_and_its_run_repeated(store, content):
    first, *others = run_ids(store)
    sound = {run_id: store.record_path(run_id).read_bytes() for run_id in others}
    store.record_path(first).write_text(content)
    (told,) = recovery.tidy(store, [first, *others])
    assert f"{first}.json: it is damaged" in told and "the run is repeated" in told
    assert run_ids(store) == others
    assert store.record_path(first).with_name(f"{first}.json.damaged").read_text() == content
    assert {run_id: store.record_path(run_id).read_bytes() for run_id in others} == sound


def garble_data(path):
    """What no decompressor takes, where the first array begins."""
    raw = bytearray(path.read_bytes())
    start = 30 + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
    raw[start : start + 64] = b"\xff" * 64
    path.write_bytes(raw)


def garble_method(path):
    """A method of compression that there is not."""
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: os.truncate(path, 400), garble_data, garble_method],
)
def test_a_run_whose_predictions_are_lost_is_repeated(store, damage):
    first, *others = run_ids(store)
    damage(store.predictions_path(first))
    (told,) = recovery.tidy(store, [first, *others])
    assert "its predictions are missing or damaged" in told
    assert run_ids(store) == others


def test_a_sound_folder_is_left_as_it_is(store):
    before = {path: path.stat() for path in store.folder.rglob("*") if path.is_file()}
    assert recovery.tidy(store, run_ids(store)) == []
    assert {path: path.stat() for path in store.folder.rglob("*") if path.is_file()} == before


def test_a_table_from_the_future_that_lacks_a_row_is_made_again(store):
    record, probabilities, labels = simulated_run("dla46_c", "elpv", 7)
    store.write_predictions(record["run_id"], probabilities, labels)
    store.write_record(record)
    table = store.folder / "results.csv"
    next_year = time.time() + 3e7
    os.utime(table, (next_year, next_year))
    recovery.tidy(store, run_ids(store))
    assert not table.exists()


def test_half_written_files_go_unless_a_run_still_writes_some(store):
    half = store.folder / "predictions" / ".x.npz.k3j2"
    half.write_bytes(b"half")
    with recovery.one_at_a_time(store, "elpv-x"):
        recovery.tidy(store, [])
        assert half.exists()
    recovery.tidy(store, [])
    assert not half.exists() and np.load(store.predictions_path(run_ids(store)[0]))["labels"].size


def test_a_folder_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    with pytest.raises(InputError, match=r"missing: cannot be written \(No such file or directory\)"):
        recovery.check_room(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"file: cannot be written \(File exists\)"),
        recovery.only_one(tmp_path / "file"),
    ):
        pass


def test_a_lock_that_finds_no_room_for_a_name_says_so_in_one_line(tmp_path, monkeypatch):
    def full(holder, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recovery.Holder, "write", full)
    refused = pytest.raises(InputError, match=r"cannot be written \(No space left on device\)")
    with refused, recovery.only_one(tmp_path):
        pass


FIRST = runs.RunSpec("dla46_c", "elpv", "first")


def starting_from_it(seed):
    return runs.RunSpec("dla46_c", "elpv", "second", seed=seed, init_from=FIRST.run_id)


@pytest.fixture
def chain(tmp_path):
    """Ends a run of a store of its own, its energy or that of its source given; and that store."""
    store = runs.Store(tmp_path, "chain")

    def end(spec, **found):
        store.write_predictions(spec.run_id, np.full((4, 2), 0.5), np.zeros(4))
        store.write_record(runs.run_record(spec, {}, **found))

    return store, end


def contents(store):
    return {path.name: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}


def test_a_source_that_kept_no_network_is_trained_again_where_a_run_waits_for_it(chain):
    store, end = chain
    grid = [FIRST, starting_from_it(0), starting_from_it(1)]
    end(FIRST, energy_kwh=0.5)
    before = contents(store)
    (told,) = recovery.without_their_start(store, grid)
    assert told == f"{FIRST.run_id}: its network was not kept, and runs start from it; it is trained again"
    assert not store.record_path(FIRST.run_id).exists()
    assert recovery.bring_back(store) == [FIRST.run_id] and contents(store) == before

    for spec in grid[1:]:
        end(spec, init_energy_kwh=0.5)
    assert recovery.without_their_start(store, grid) == [], "nothing waits for it"
    store.record_path(grid[1].run_id).unlink()
    store.weights_path(FIRST.run_id).parent.mkdir()
    store.weights_path(FIRST.run_id).write_bytes(b"a network")
    assert recovery.without_their_start(store, grid) == [], "its network is there"


def test_a_run_is_repeated_where_the_one_that_it_starts_from_was_or_is_to_be(chain):
    store, end = chain
    run = starting_from_it(0)
    end(FIRST, energy_kwh=0.5)
    end(run, init_energy_kwh=0.5)
    assert recovery.without_their_start(store, [FIRST, run]) == []
    end(FIRST, energy_kwh=0.6)
    store.weights_path(FIRST.run_id).parent.mkdir()
    store.weights_path(FIRST.run_id).write_bytes(b"another network")
    (told,) = recovery.without_their_start(store, [FIRST, run])
    assert told.startswith(run.run_id) and not store.record_path(run.run_id).exists()
    end(run, init_energy_kwh=0.6)
    assert recovery.bring_back(store) == []
    assert store.read_record(run.run_id)["init_energy_kwh"] == 0.6
    assert not list(store.folder.rglob("*.before"))

    before = contents(store)
    recovery.put_by(store, FIRST.run_id)
    assert len(recovery.without_their_start(store, [FIRST, run])) == 1
    assert not list((store.folder / "runs").glob("*.json"))
    recovery.tidy(store, [FIRST.run_id, run.run_id])  # as after a study that was killed
    assert contents(store) == before


def test_a_source_without_a_network_takes_what_started_from_it_along(chain):
    store, end = chain
    grid = [FIRST, starting_from_it(0), starting_from_it(1)]
    end(FIRST, energy_kwh=0.5)
    end(grid[1], init_energy_kwh=0.5)
    told = recovery.without_their_start(store, grid)
    assert [line.partition(":")[0] for line in told] == [FIRST.run_id, grid[1].run_id]
    assert not list((store.folder / "runs").glob("*.json"))


def test_a_full_disk_is_not_a_failure_of_the_model(tmp_path, monkeypatch, results):
    broken_timm(tmp_path, monkeypatch, "raise OSError(28, 'No space left on device', 'weights.bin')")
    loaded = profile(tmp_path)
    with pytest.raises(WorkFailed, match=r"not recorded: OSError: \[Errno 28\] No space left on device"):
        execution.run_one(loaded, only_run(loaded), NOTEBOOK, say=lambda line: None)
    assert run_ids(runs.Store(results, loaded.name)) == []


@pytest.mark.parametrize(
    ("text", "storage"),
    [
        ("OSError: [Errno 28] No space left on device: 'a'", True),
        ("OSError: [Errno 30] Read-only file system: 'a'", True),
        ("OSError: [Errno 122] Disk quota exceeded", True),
        ("OSError: [Errno 5] Input/output error: 'a'", True),
        ("PermissionError: [Errno 13] Permission denied: '/home/x: y/a'", True),
        ("PermissionError: [Errno 13] Permission denied", False),
        ("NewConnectionError('a connection: [Errno 13] Permission denied')", False),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'a'", False),
        ("RuntimeError: shape [28] is invalid", False),
    ],
)
def test_errors_of_the_disk_are_told_from_errors_of_the_work(text, storage):
    assert errors.is_storage_error(text) == storage


def test_a_closed_terminal_and_a_full_log_cost_a_line_and_not_the_study(tmp_path, monkeypatch):
    def full(content):
        raise OSError(errno.ENOSPC, "No space left on device")

    reader, writer = os.pipe()
    os.close(reader)
    terminal = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stdout", terminal)
    with (tmp_path / "log").open("ab", buffering=0) as log:
        study_workflow.pass_on("a line\n", log)
    assert (tmp_path / "log").read_text() == "a line\n"
    study_workflow.pass_on("a line\n", SimpleNamespace(write=full))
    with pytest.raises(BrokenPipeError):
        terminal.close()


def test_failed_runs_and_the_data_they_lacked_are_tried_again(store):
    record, _, _ = simulated_run("dla46_c", "elpv", 0)
    spec = runs.RunSpec.from_dict(record)
    store.write_record({**record, "status": "failed", "failure": "data_unavailable"})
    data = store.folder / "notebooks" / f"01_data-elpv-{spec.image_size}.ipynb"
    data.parent.mkdir(exist_ok=True)
    data.write_text(json.dumps({}))
    study_workflow.forget(store, [spec], study_workflow.RETRIES["failed"])
    assert not data.exists() and not store.record_path(spec.run_id).exists()
    assert len(run_ids(store)) == 23


@pytest.fixture
def locks_that_lock_nothing(monkeypatch):
    """A file system that answers that a file is locked, and locks nothing."""
    monkeypatch.setattr(files.fcntl, "flock", lambda handle, how: None)


def test_a_drive_that_knows_no_rights_takes_files_all_the_same(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    files.write_atomic(tmp_path / "a", "whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("variable", ["PEPR_RESULTS", "PEPR_DATA"])
def test_a_folder_in_the_home_of_nobody_is_refused_in_one_line(monkeypatch, variable):
    monkeypatch.setenv(variable, "~nobody_here/x")
    with pytest.raises(InputError, match=f"{variable}=~nobody_here/x: nobody here has a home"):
        files.named_folder(variable)
    with pytest.raises(InputError, match="--cluster ~nobody_here/x: nobody here has a home"):
        study_workflow.cluster_profile(Path(), "~nobody_here/x")


def test_a_lock_is_tried_with_a_second_descriptor(tmp_path, monkeypatch):
    assert files.locks_lock(tmp_path) and recovery.without_locks(tmp_path) is None
    monkeypatch.setattr(files.fcntl, "flock", lambda handle, how: None)
    assert not files.locks_lock(tmp_path)
    assert "locks nothing, whatever it answers" in recovery.without_locks(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_locks_lock_nothing_a_study_is_kept_out_by_the_name_of_the_other(
    tmp_path, locks_that_lock_nothing
):
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        lock = tmp_path / ".lock"
        recovery.Holder.of_process(sleeper.pid).write(lock)
        with pytest.raises(InputError, match=f"process {sleeper.pid}"), recovery.only_one(tmp_path):
            pass
    finally:
        sleeper.kill()
        sleeper.wait()
    with recovery.only_one(tmp_path):
        assert recovery.Holder.read(lock) == recovery.Holder.of_process(os.getpid())
    assert recovery.Holder.read(lock) is None


def test_a_study_in_another_container_of_the_hosts_name_is_at_work_as_long_as_its_heart_beats(
    tmp_path, locks_that_lock_nothing
):
    ended = subprocess.Popen(["true"])
    here = recovery.Holder.of_process(os.getpid())
    ended.wait()
    lock, past = tmp_path / ".lock", time.time() - recovery.STALE_S - 5
    for number in (ended.pid, os.getpid()):
        there = dataclasses.replace(here, pid=number, place="the place of another container")
        there.write(lock)
        assert recovery.Holder.read(lock) == there
        with pytest.raises(InputError, match=f"process {number}"), recovery.only_one(tmp_path):
            pass
        os.utime(lock, (past, past))
        assert not there.is_alive(lock, trusted=False)
        dataclasses.replace(here, pid=number).write(lock)
        assert not recovery.Holder.read(lock).is_alive(lock, trusted=False), "in this place the number tells"


def test_a_process_that_has_got_the_number_of_one_that_was_killed_is_not_taken_for_it(tmp_path):
    lock = tmp_path / ".lock"
    parent = recovery.Holder.of_process(os.getppid())
    earlier = dataclasses.replace(parent, started=parent.started - 60)
    for holder in (parent, earlier):
        holder.write(lock)
        assert holder.is_alive(lock, trusted=False) and not holder.is_alive(lock, trusted=True)
    past = time.time() - recovery.STALE_S - 5
    os.utime(lock, (past, past))
    assert parent.is_alive(lock, trusted=False), "a study that was stopped for a while, and its heart with it"
    assert not earlier.is_alive(lock, trusted=False)


def test_a_place_is_a_boot_of_a_machine_and_a_container_in_it(monkeypatch):
    monkeypatch.setattr(recovery.sys, "platform", "linux")
    told = {"boot": "b1", "namespace": "pid:[1]"}
    monkeypatch.setattr(recovery.process, "text_of", lambda path: told["boot"])
    monkeypatch.setattr(recovery.Path, "readlink", lambda self: told["namespace"])
    first = recovery.place()
    assert first == recovery.place() == "b1 pid:[1]"
    told["namespace"] = "pid:[2]"
    assert recovery.place() == "b1 pid:[2]"
    told["boot"] = ""
    assert recovery.place() != recovery.place(), "what cannot be told apart is nobody else's"
    monkeypatch.setattr(recovery.sys, "platform", "darwin")
    assert recovery.place() == recovery.place() != first


@pytest.mark.parametrize("text", ["", "[]", '{"host": "a"}', '{"host": "a", "pid": "x"}', "7"])
def test_a_lock_that_names_nobody_has_no_holder(tmp_path, text):
    (tmp_path / ".lock").write_text(text)
    assert recovery.Holder.read(tmp_path / ".lock") is None


def test_a_lock_of_an_earlier_version_is_judged_by_its_heartbeat(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"host": "a", "pid": os.getpid()}))
    assert recovery.Holder.read(lock) == recovery.Holder("a", os.getpid())
    assert recovery.Holder.read(lock).is_alive(lock, trusted=True)


def test_a_study_on_another_host_is_at_work_as_long_as_its_heart_beats(tmp_path, monkeypatch):
    lock = tmp_path / ".lock"
    recovery.Holder("elsewhere", 7).write(lock)
    with (
        pytest.raises(
            InputError, match=r"at work here, on elsewhere \(process 7\); wait for it, or 2 minutes"
        ),
        recovery.only_one(tmp_path),
    ):
        pass
    past = time.time() - recovery.STALE_S - 5
    os.utime(lock, (past, past))
    monkeypatch.setattr(recovery, "HEARTBEAT_S", 0.01)
    with recovery.only_one(tmp_path):
        os.utime(lock, (past, past))
        time.sleep(0.2)
        assert recovery.age_s(lock) < 60


@pytest.mark.parametrize("why", ["another host", "no locks"])
def test_nothing_young_is_removed_where_another_host_may_be_at_work(store, monkeypatch, why):
    runs_folder = store.folder / "runs"
    runs_folder.mkdir(parents=True, exist_ok=True)
    if why == "another host":
        recovery.Holder("elsewhere", 7).write(runs_folder / ".elpv-x.lock")
    else:
        monkeypatch.setattr(files.fcntl, "flock", lambda handle, how: None)
    young, old = runs_folder / ".record.young", runs_folder / ".record.old"
    for path in (young, old):
        path.write_text("half of")
    past = time.time() - recovery.YOUNG_S - 5
    os.utime(old, (past, past))
    recovery.tidy(store, [])
    assert young.exists() and not old.exists()
