"""The record of a measured training is kept, whatever disk and other files are like, and replaces none."""

import json
import threading
import time

import pytest

import pepr
from pepr import files
from pepr.errors import InputError
from pepr.runs.spec import RunSpec
from pepr.runs.store import Store
from pepr.study import measurement
from pepr.study.measurement import Subject, measure_command
from pepr.study.performance import source_of
from tests.study.test_measurement import measured, shell, steady_meter


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results" / "measured"


def seeds(folder):
    return sorted(json.loads(path.read_text())["seed"] for path in folder.glob("runs/*.json"))


def test_a_measurement_after_one_was_removed_takes_no_number_that_another_has(folder):
    for _ in range(3):
        measured(folder, ["true"])
    first, *others = sorted(folder.glob("runs/*-s?-*.json"))
    assert "-s0-" in first.name
    first.unlink()
    before = {path: path.read_bytes() for path in others}
    measured(folder, ["true"])
    assert seeds(folder) == [1, 2, 3]
    assert {path: path.read_bytes() for path in others} == before


def test_two_that_end_at_once_where_locks_lock_nothing_have_a_record_each(folder, monkeypatch):
    """Both have counted the records before either writes its own."""
    both, thread = threading.Barrier(2), threading.local()

    def meet(*names, **details):
        if not hasattr(thread, "met"):
            thread.met = True
            both.wait(30)
        return RunSpec(*names, **details)

    def train():
        with pepr.measure("tree", folder=folder, device="cpu", meter=steady_meter()):
            time.sleep(0.1)

    monkeypatch.setattr(files.fcntl, "flock", lambda handle, how: None)
    monkeypatch.setattr(measurement, "RunSpec", meet)
    threads = [threading.Thread(target=train) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert seeds(folder) == [0, 1]
    assert not list(folder.glob("runs/.*.claim"))


def test_a_number_that_another_process_has_claimed_is_left_to_it(folder):
    measured(folder, ["true"])
    (record,) = folder.glob("runs/*.json")
    record.rename(record.with_name(f".{record.name}.claim"))
    measured(folder, ["true"])
    assert seeds(folder) == [1]


def test_another_file_that_is_no_record_costs_the_table_and_not_the_record(folder):
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "a.json").write_text("half of")
    (folder / "runs" / "._b.json").write_bytes(b"\0\5\x16\7\xff")
    status, record, said = measured(folder, shell("sleep 0.1; exit 3"))
    assert (status, record["failure"], record["seed"]) == (3, "error", 0)
    assert any("no table was made of it" in line and "a.json" in line for line in said)
    with pepr.measure("block", folder=folder, device="cpu", meter=steady_meter()) as run:
        time.sleep(0.1)
    assert run.path.exists() and run.record["energy_kwh"] > 0


def test_a_performance_that_no_reader_takes_leaves_the_rest(folder, tmp_path):
    table = tmp_path / "metrics.csv"
    table.write_text(f"accuracy\n{'1' * 200_000}\n")
    status, record, said = measured(folder, ["sleep", "0.1"], performance=source_of(f"{table}:accuracy"))
    assert (status, record["status"], record["test_accuracy"]) == (0, "ok", None)
    assert record["energy_kwh"] > 0 and "no performance: field larger than" in said[0]


@pytest.fixture
def full_disk(monkeypatch):
    def full(store, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write_record", full)


def test_a_record_that_finds_no_room_is_printed_and_the_status_passes_through(folder, full_disk):
    said = []
    subject = Subject("tree", device="cpu", folder=folder)
    assert measure_command(shell("sleep 0.1; exit 3"), subject, say=said.append, meter=steady_meter()) == 3
    printed = json.loads(said[0])
    assert (printed["model"], printed["failure"]) == ("tree", "error")
    assert printed["meter"]["train"]["energy_kwh"] > 0
    assert "could not be written: [Errno 28] No space left on device" in said[-1]


def test_a_block_whose_record_finds_no_room_goes_on(folder, full_disk, capsys):
    with pepr.measure("tree", folder=folder, device="cpu", meter=steady_meter()) as run:
        time.sleep(0.1)
    assert run.path is None and run.record["energy_kwh"] > 0
    assert json.loads(capsys.readouterr().err.splitlines()[0])["energy_kwh"] == run.record["energy_kwh"]


def test_a_name_is_as_long_as_its_bytes():
    with pytest.raises(InputError, match="at most 64 bytes"):
        Subject("é" * 33)
    assert Subject("é" * 32).name == "é" * 32
    assert measurement.name_of(["字" * 30]) == "字" * 21
