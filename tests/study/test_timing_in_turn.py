"""The models of a study timed in turn: who is timed, in which order, with what in the table."""

import json
import signal
import sys
import time

import pandas as pd
import pytest

from pepr import runs
from pepr.errors import InputError, WorkFailed
from pepr.machine import description
from pepr.models.space import BASELINES
from pepr.runs import timing
from pepr.study import forecast, timing as timing_in_turn, workflow

HARDWARE = "simulated CPU, 2 cores"
WANTED = [
    runs.RunSpec(model, "noise", "noise", image_size=32, batch_size=4)
    for model in ("dla46_c", "mobilenetv2_050", "resnet18d")
]
TELLS = """
import json, sys
first, count = map(int, sys.argv[1:])
for number in range(first, first + count):
    for place, one in enumerate(json.load(sys.stdin) if number == first else []):
        if one["model"] == "FAILS":
            print("it cannot be built", file=sys.stderr)
            continue
        kept = {name: one[name] for name in ("model", "device", "image_size", "batch_size", "precision")}
        print(json.dumps({**kept, "hardware": "HARDWARE", "round": number,
                          "place": place, "steps": 2, "step_time_s": 0.2, "step_cpu_time_s": 0.1,
                          "software": "s", "measured_at": "now"}))
"""
"""Stands for a process that times: a row of each model in its first round."""


@pytest.fixture(autouse=True)
def this_machine(monkeypatch):
    monkeypatch.setattr(description, "hardware", lambda device="cpu": HARDWARE)
    monkeypatch.setenv("PEPR_DEVICE", "cpu")


@pytest.fixture
def worker(monkeypatch):
    def stand_in(fails=""):
        code = TELLS.replace("FAILS", fails).replace("HARDWARE", HARDWARE)
        monkeypatch.setattr(timing_in_turn, "WORKER", (sys.executable, "-c", code))

    stand_in()
    return stand_in


def test_the_networks_that_ran_here_are_timed_under_their_conditions(synthetic_results):
    table = synthetic_results.table
    found = timing_in_turn.to_time(table, HARDWARE)
    done = table[table["status"] == "ok"]
    assert [one.model for one in found] == sorted(set(done["model"]) - set(BASELINES))
    assert {(one.device, one.image_size, one.batch_size, one.precision) for one in found} == {
        ("cpu", 64, 32, "fp32")
    }
    assert timing_in_turn.to_time(table, "another machine") == []


def test_the_timing_lies_beside_the_results_and_is_made_once(synthetic_results, tmp_path, worker):
    (tmp_path / "results.csv").write_text((synthetic_results.folder / "results.csv").read_text())
    said = []
    path = timing_in_turn.complete(tmp_path, 2, said.append)
    assert path == tmp_path / timing.FILE and "6 rounds in random order" in said[0]
    found = timing.read(tmp_path)
    assert list(found) == list(timing.COLUMNS)
    assert set(found["process"]) == {0, 1} and set(found["round"]) == {0, 3}
    assert timing_in_turn.complete(tmp_path, 2, said.append) == path and len(said) == 1, "it is there"
    timing_in_turn.complete(tmp_path, 1, said.append)
    assert len(said) == 2, "another number side by side is another timing"


def test_the_checksums_of_a_reference_follow(synthetic_results, tmp_path, worker):
    runs.write_reference(synthetic_results, tmp_path)
    before = json.loads((tmp_path / "checksums.json").read_text())
    timing_in_turn.complete(tmp_path, 1, lambda line: None)
    after = json.loads((tmp_path / "checksums.json").read_text())
    assert after == runs.checksums(tmp_path) and set(after) - set(before) == {timing.FILE}
    runs.write_reference(runs.Results("pocket", "reference", tmp_path), tmp_path / "packed")
    assert (tmp_path / "packed" / timing.FILE).read_bytes() == (tmp_path / timing.FILE).read_bytes()


def test_what_cannot_be_timed_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"none: no results\.csv, whose networks could be timed"):
        timing_in_turn.of_profile("pocket", tmp_path / "none")
    with pytest.raises(InputError, match="--runs 0: at least one process"):
        timing_in_turn.of_profile("pocket", runs.reference_folder("pocket"), 0)
    with pytest.raises(InputError, match=f"fewer than three networks ran on {HARDWARE}"):
        timing_in_turn.of_profile("pocket", runs.reference_folder("pocket"), 1)


def test_too_few_networks_are_not_timed(synthetic_results, tmp_path, monkeypatch):
    table = synthetic_results.table
    table[table["model"].isin(["dla46_c", "resnet18d"])].to_csv(tmp_path / "results.csv", index=False)
    monkeypatch.setattr(timing_in_turn, "measure", lambda *_: pytest.fail("two are no comparison"))
    assert timing_in_turn.complete(tmp_path, 1) is None


def test_a_model_that_fails_costs_its_turns_and_all_of_them_are_an_error(worker):
    worker("resnet18d")
    said = []
    rows = timing_in_turn.measure(WANTED, 1, said.append)
    timed = {row["model"] for row in rows if row["steps"] > 0}
    assert timed == {"dla46_c", "mobilenetv2_050"} and "it cannot be built" in said
    (failed,) = [row for row in rows if row["steps"] == 0]
    assert failed["model"] == "resnet18d" and not set(failed) & set(timing.MEASURED)
    worker("dla46_c")
    with pytest.raises(WorkFailed, match="no model could be timed"):
        timing_in_turn.measure(WANTED[:1], 1, said.append)


def test_a_network_that_cannot_be_timed_does_not_have_all_others_timed_again(
    synthetic_results, tmp_path, worker
):
    (tmp_path / "results.csv").write_text((synthetic_results.folder / "results.csv").read_text())
    worker("resnet18d")
    said = []
    path = timing_in_turn.complete(tmp_path, 2, said.append)
    written, lines = path.read_text(), len(said)
    timed, tried = (set(timing.read(tmp_path, with_failed=failed)["model"]) for failed in (False, True))
    assert tried - timed == {"resnet18d"} and "dla46_c" in timed
    worker()
    assert timing_in_turn.complete(tmp_path, 2, said.append) == path
    assert path.read_text() == written and len(said) == lines


def test_what_a_process_did_not_come_to_before_it_was_ended_is_not_taken_for_a_failure(worker, monkeypatch):
    worker("resnet18d")
    python, option, code = timing_in_turn.WORKER
    monkeypatch.setattr(timing_in_turn, "WORKER", (python, option, f"{code}\nsys.exit(1)"))
    rows = timing_in_turn.measure(WANTED, 1, lambda line: None)
    assert {row["model"] for row in rows} == {"dla46_c", "mobilenetv2_050"}
    known = pd.DataFrame(rows)
    assert not timing_in_turn.covers(known, WANTED, HARDWARE, 1)


def test_who_stops_a_study_does_not_wait_for_its_timing(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(timing_in_turn, "WORKER", (sys.executable, "-c", "import time; time.sleep(300)"))
    before, began = signal.signal(signal.SIGALRM, stop), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            timing_in_turn.measure(WANTED, 2, lambda line: None)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 200


def test_a_study_whose_models_cannot_be_timed_ends_well(tmp_path, monkeypatch, synthetic_results, worker):
    (tmp_path / "pocket").mkdir()
    (tmp_path / "pocket" / "results.csv").write_text((synthetic_results.folder / "results.csv").read_text())
    monkeypatch.setattr(timing_in_turn, "WORKER", (sys.executable, "-c", "raise SystemExit('no torch')"))
    said = []
    store = runs.Store(tmp_path, "pocket")
    workflow.time_in_turn(store, forecast.SideBySide(2, 1, ""), said.append)
    assert said[-1].startswith("The models were not timed in turn: no model could be timed")
    worker()
    workflow.time_in_turn(store, forecast.SideBySide(2, 1, ""), said.append)
    assert set(timing.read(store.folder)["runs_at_once"]) == {2}
