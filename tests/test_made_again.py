"""`python -m benchmarks.repeats`: which runs are made again, in which company, and what is kept of them."""

import threading

import pandas as pd
import pytest

from benchmarks import repeats
from pepr import runs
from pepr.analysis import machines
from pepr.errors import InputError, WorkFailed
from pepr.machine import cores
from pepr.runs import columns

KEPT = {name: 1.0 for name in repeats.KEPT} | {"contended": False, "energy_source": "cpu:load_model"}


@pytest.fixture(scope="module")
def wanted():
    return repeats.wanted(runs.Results("pocket", "reference", runs.reference_folder("pocket")).records())


def of(record, change, **others):
    row = {
        "change": change,
        "run_id": record["run_id"],
        "setting": record["setting"],
        "model": record["model"],
    }
    return row | KEPT | {f"reference_{name}": value for name, value in KEPT.items()} | others


def few(wanted, count=3):
    return dict(list(wanted.items())[:count])


def test_the_runs_that_are_repeated_are_those_of_the_shipped_table(wanted):
    table = machines.read_repeats()
    assert set(wanted) == set(zip(table["change"], table["run_id"], strict=True))
    assert {record["seed"] for record in wanted.values()} == {repeats.FIRST_SEED}


def test_what_is_kept_of_a_run_is_declared_and_what_it_took_has_a_unit():
    assert set(repeats.KEPT) <= set(columns.KINDS)
    units = {column.name: column.unit for column in columns.TABLE}
    assert {units[cost] for cost in machines.COSTS} == {"s", "kWh", "bytes"}


def test_rows_that_say_everything_are_not_made_again_and_others_are(wanted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cores, "whole", lambda: 2)
    path, some, made = tmp_path / "repeats.csv", few(wanted, 4), []
    (first, second, third, fourth) = some
    old = of(some[second], second[0])
    del old["train_time_s"]
    rows = [of(some[first], first[0]), old, of(some[third], third[0], contended=True)]
    pd.DataFrame(rows).to_csv(path, index=False)

    def make(name, record, at_once):
        made.append((name, record["run_id"]))
        return of(record, name, train_time_s=7.0, runs_at_once=at_once)

    repeats.complete(some, path, make)
    assert sorted(made) == sorted([second, third, fourth])
    table = machines.read_repeats(path)
    assert list(zip(table["change"], table["run_id"], strict=True)) == list(some), "in the order of the table"
    assert table["train_time_s"].tolist() == [1.0, 7.0, 7.0, 7.0] and not table["contended"].any()
    assert capsys.readouterr().out.startswith("3 runs to make, 2 at once: about ")
    repeats.complete(some, path, lambda *told: pytest.fail("made again"))
    assert capsys.readouterr().out.startswith("0 runs to make")


def test_as_many_go_on_at_once_as_in_the_reference(wanted, tmp_path, monkeypatch):
    """Each waits until another goes on beside it: one by one they would wait for ever."""
    monkeypatch.setattr(cores, "whole", lambda: 2)
    met = threading.Barrier(2, timeout=30)

    def make(name, record, at_once):
        met.wait()
        return of(record, name)

    repeats.complete(few(wanted, 4), tmp_path / "repeats.csv", make)
    assert len(machines.read_repeats(tmp_path / "repeats.csv")) == 4


def test_rows_that_were_made_stay_where_one_fails(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "whole", lambda: 1)
    some = {key: record | {"runs_at_once": 1} for key, record in few(wanted).items()}
    longest = sorted(some, key=lambda key: some[key]["wall_time_s"])
    going = []

    def make(name, record, at_once):
        going.append((name, record["run_id"]))
        if len(going) == 2:
            raise WorkFailed("no memory")
        return of(record, name)

    with pytest.raises(WorkFailed, match="no memory"):
        repeats.complete(some, tmp_path / "repeats.csv", make)
    assert going[:2] == longest[:0:-1], "the longest first"
    assert machines.read_repeats(tmp_path / "repeats.csv")["run_id"].tolist() == [longest[-1][1]]


def test_a_machine_of_too_few_cores_is_refused_and_so_are_runs_of_unlike_company(wanted, monkeypatch):
    records = list(few(wanted).values())
    monkeypatch.setattr(cores, "whole", lambda: 1)
    with pytest.raises(InputError, match="made 2 at once; this machine has"):
        repeats.at_once_of(records)
    with pytest.raises(InputError, match="runs_at_once"):
        repeats.at_once_of([*records, records[0] | {"runs_at_once": 1}])


def test_a_run_has_one_thread_its_company_and_the_instructions_of_its_change_alone(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    plain = repeats.environment_of(repeats.CHANGES[machines.AS_RECORDED], 2)
    assert plain["PEPR_RUNS_AT_ONCE"] == "2" and plain["OMP_NUM_THREADS"] == "1"
    assert not set(repeats.AVX2) & set(plain)
    other = repeats.environment_of(repeats.CHANGES[machines.ALL_LIBRARIES], 2)
    assert {name: other[name] for name in repeats.AVX2} == repeats.AVX2
