"""One error that ends every run is a fault of the machine: the study stops and says so."""

import dataclasses
import subprocess
import sys

import pytest

from pepr import models, runs, study
from pepr.errors import WorkFailed
from pepr.study import recovery
from tests.study.test_execution import broken_timm

SPECS = study.grid(study.load("smoke")) + study.grid(study.load("pocket"))[:3]


def end(store, spec, failure="error", error="FileNotFoundError: no such file: 'scontrol'"):
    traceback = f"Traceback\n  File 'x'\n{error}"
    store.write_record(runs.run_record(spec, {}, failure=failure, traceback=traceback))


def end_well(store, spec):
    store.write_record(runs.run_record(spec, {}))


@pytest.fixture
def store(tmp_path):
    return runs.Store(tmp_path, "smoke")


def found(store):
    return recovery.shared_fault(store, [spec.run_id for spec in SPECS])


def test_the_first_three_alike_are_enough_and_their_numbers_may_differ(store):
    for number, spec in enumerate(SPECS[:3]):
        assert found(store) is None
        temporary = ("tmpk3_a9x0b", "tmpzzzzzzzz", "tmp0123abcd")[number]
        told = f"RuntimeError: device 0x7f{number} in process {100 + number}: /a/{temporary}/b"
        end(store, spec, error=told)
    which, error = found(store)
    assert which == [spec.run_id for spec in SPECS[:3]] and error.startswith("error: RuntimeError: device")


def test_what_only_a_run_is_called_makes_its_error_no_other(store):
    for spec in SPECS[:3]:
        end(store, spec, error=f"PermissionError: [Errno 1] {spec.model}: '/scratch/{spec.run_id}.bin'")
    which, _ = found(store)
    assert which == [spec.run_id for spec in SPECS[:3]]


def test_baselines_that_end_well_do_not_excuse_a_machine_on_which_no_network_runs(store):
    grid = study.grid(study.load("pocket"))
    networks = [spec for spec in grid if spec.model not in models.BASELINES]
    to_do = [spec.run_id for spec in grid]
    for spec in grid:
        if spec.model in models.BASELINES:
            end_well(store, spec)
    for spec in networks[:2]:
        end(store, spec)
    assert recovery.shared_fault(store, to_do) is None
    end(store, networks[2])
    which, _ = recovery.shared_fault(store, to_do)
    assert sorted(which) == sorted(spec.run_id for spec in networks[:3])
    end_well(store, networks[3])
    assert recovery.shared_fault(store, to_do) is None


def test_a_study_of_two_runs_is_stopped_by_both_and_one_of_one_by_none(store):
    for spec in SPECS[:2]:
        end(store, spec)
    assert recovery.shared_fault(store, [spec.run_id for spec in SPECS[:2]])
    assert recovery.shared_fault(store, [SPECS[0].run_id]) is None


@pytest.mark.parametrize("failure", ["out_of_memory", "diverged", "data_unavailable", "model_unavailable"])
def test_what_is_a_runs_own_stops_nothing(store, failure):
    for spec in SPECS:
        end(store, spec, failure)
    assert found(store) is None


def test_runs_that_end_well_or_for_different_reasons_are_no_fault_of_the_machine(store):
    for spec, error in zip(SPECS[:3], ("KeyError: 'a'", "KeyError: 'b'", "ValueError"), strict=True):
        end(store, spec, error=error)
    assert found(store) is None
    for spec in SPECS[:3]:
        end(store, spec)
    end_well(store, SPECS[3])
    assert found(store) is None


@pytest.mark.parametrize(
    ("failure", "models_of_the_last", "stopped"),
    [
        ("kernel_died", 1, False),
        ("kernel_died", 2, False),
        ("error", 1, False),
        ("error", 2, True),
    ],
)
def test_beside_a_network_that_ended_well_the_last_runs_of_one_model_and_kernels_that_died_are_rows(
    store, failure, models_of_the_last, stopped
):
    networks = [spec for spec in study.grid(study.load("pocket")) if spec.model not in models.BASELINES]
    first, second = networks[0], next(spec for spec in networks if spec.model != networks[0].model)
    last = [first, dataclasses.replace(first, seed=7) if models_of_the_last == 1 else second]
    to_do = [spec.run_id for spec in last]
    for spec in last:
        end(store, spec, failure)
    assert recovery.shared_fault(store, to_do), "of a machine that nothing is known of"
    end_well(store, dataclasses.replace(first, model="majority"))
    assert recovery.shared_fault(store, to_do), "a baseline says nothing of it"
    end_well(store, dataclasses.replace(first, seed=8))
    assert bool(recovery.shared_fault(store, to_do)) == stopped


def test_a_network_that_ended_well_on_another_machine_says_nothing_of_this_one(store):
    earlier = dataclasses.replace(SPECS[0], seed=7)
    store.write_record(runs.run_record(earlier, {"hardware": "another", "software": "torch"}))
    for spec in SPECS[:2]:
        end(store, spec, "kernel_died")
    assert recovery.shared_fault(store, [spec.run_id for spec in SPECS[:2]])
    end_well(store, earlier)
    assert recovery.shared_fault(store, [spec.run_id for spec in SPECS[:2]]) is None


def test_records_of_a_fault_of_the_machine_go_so_that_their_runs_are_done_again(store):
    for spec in SPECS[:3]:
        end(store, spec)
    with pytest.raises(WorkFailed, match=r"first 3 runs ended alike.*'scontrol'.*does them again"):
        recovery.stop_at_a_shared_fault(store, [spec.run_id for spec in SPECS])
    assert list(store.records()) == []


@pytest.mark.slow
def test_a_study_whose_every_run_fails_alike_ends_with_one_line_and_status_one(tmp_path, monkeypatch):
    broken_timm(tmp_path, monkeypatch, "raise RuntimeError('no kernel image for this device')")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    done = subprocess.run(
        [sys.executable, "-m", "pepr.cli", "reproduce", "--profile", "smoke"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (told,) = done.stderr.splitlines()
    assert "first 2 runs ended alike" in told and "no kernel image for this device" in told
    assert not list((tmp_path / "results").rglob("runs/*.json"))
