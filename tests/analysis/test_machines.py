"""Machines that ran the same profile are compared by model, and never pooled."""

import shutil

import pytest

from pepr import runs
from pepr.analysis import machines
from pepr.book import study_facts


@pytest.fixture
def two_machines(synthetic_results, tmp_path, monkeypatch):
    """The simulated study on its machine, and contributed from another one that is twice as slow."""
    monkeypatch.setenv("PEPR_RESULTS", str(synthetic_results.folder.parent))
    shipped = tmp_path / "reference"
    monkeypatch.setattr(machines, "reference_folder", lambda name: shipped / name)
    folder = shipped / "contributed" / "pocket-slow-machine"
    folder.mkdir(parents=True)
    table = synthetic_results.table
    table["train_time_s"] *= 2
    table["hardware"] = "a slow machine"
    table.to_csv(folder / "results.csv", index=False)
    return folder


def test_a_machine_alone_is_named_and_not_compared(synthetic_results, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(synthetic_results.folder.parent))
    monkeypatch.setattr(machines, "reference_folder", lambda name: tmp_path / name)
    assert len(machines.machines("pocket")) == 1
    assert study_facts.machines_table("pocket").startswith(
        "So far one machine has run `pocket`: simulated CPU"
    )


def test_a_slower_machine_that_ranks_alike_is_told_so(two_machines):
    rows = machines.compare(machines.machines("pocket"))
    assert rows["origin"].tolist() == ["this machine", "contributed"]
    assert rows["times_as_long"].tolist() == [1.0, pytest.approx(2.0)]
    assert rows["spearman"].tolist() == [pytest.approx(1.0), pytest.approx(1.0)]
    table = study_facts.machines_table("pocket")
    assert "| a slow machine | contributed |" in table
    assert "2.00 times | 1.00 |" in table


def test_a_machine_with_two_models_in_common_has_no_rank_correlation(two_machines):
    table = runs.read_table(two_machines / "results.csv")
    few = table.query("setting == 'elpv' and model in ['dla46_c', 'resnet18d']")
    few.to_csv(two_machines / "results.csv", index=False)
    rows = machines.compare(machines.machines("pocket"))
    assert rows["compared"].tolist()[1] == 2
    assert rows["spearman"].isna().tolist() == [False, True]
    assert "too few models" in study_facts.machines_table("pocket")


def test_results_of_another_profile_are_left_out(two_machines):
    shutil.copytree(two_machines, two_machines.parent / "pneumonia-slow-machine")
    assert len(machines.machines("pocket")) == 2
