"""Machines that ran the same profile are compared by model, and never pooled."""

import shutil

import pandas as pd
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
    assert "2.00 times | 1.00 | 23 of 23 runs; at most 0.0 points apart |" in table


def test_a_machine_with_two_models_in_common_has_no_rank_correlation(two_machines):
    table = runs.read_table(two_machines / "results.csv")
    few = table.query("setting == 'elpv' and model in ['dla46_c', 'resnet18d']")
    few.to_csv(two_machines / "results.csv", index=False)
    rows = machines.compare(machines.machines("pocket"))
    assert rows["compared"].tolist()[1] == 2
    assert rows["spearman"].isna().tolist() == [False, True]
    assert "too few models" in study_facts.machines_table("pocket")


def test_two_kinds_of_hardware_in_one_folder_stand_in_two_rows_and_are_not_compared(two_machines):
    table = runs.read_table(two_machines / "results.csv")
    moved = table["setting"] == "elpv"
    table["hardware"] = table["hardware"].mask(moved, "a slower machine")
    table["train_time_s"] = table["train_time_s"].mask(moved, table["train_time_s"] * 10)
    table.to_csv(two_machines / "results.csv", index=False)
    rows = machines.compare(machines.machines("pocket")).set_index("hardware")
    assert rows.loc["a slow machine", "times_as_long"] == pytest.approx(2)
    assert rows.loc["a slower machine", "times_as_long"] == pytest.approx(20)
    assert rows.loc[["a slow machine", "a slower machine"], "runs"].sum() == len(table)


def test_results_of_another_profile_are_left_out(two_machines):
    shutil.copytree(two_machines, two_machines.parent / "pneumonia-slow-machine")
    assert len(machines.machines("pocket")) == 2


def on(hardware, accuracies, software="torch 2.14.1"):
    """A table of runs on one machine."""
    return pd.DataFrame(
        {
            "run_id": [f"run-{number}" for number in range(len(accuracies))],
            "status": "ok",
            "hardware": hardware,
            "software": software,
            "n_test": 525,
            "test_accuracy": accuracies,
        }
    )


XEON = "Intel Xeon (family 6 model 143 stepping 8, AVX512); 2 cores; 24 GiB"


@pytest.mark.parametrize(
    ("hardware", "software", "allowed"),
    [
        (XEON, "torch 2.14.1", 0.0),
        (XEON.replace("2 cores; 24 GiB", "16 cores; 64 GiB"), "torch 2.14.1", 0.0),
        (XEON.replace("AVX512", "AVX2"), "torch 2.14.1", 0.0605),
        ("AMD EPYC (family 25 model 1 stepping 1, AVX2); 2 cores; 24 GiB", "torch 2.14.1", 0.0605),
        (XEON, "torch 2.13.0", 0.0605),
    ],
)
def test_the_tolerance_of_an_accuracy_is_none_on_one_kind_of_processor_and_that_of_sampling_elsewhere(
    hardware, software, allowed
):
    found = machines.accuracy_tolerance(on(XEON, [0.512]), on(hardware, [0.512], software))
    assert found == pytest.approx([allowed], abs=1e-4)


def test_machines_say_how_many_of_their_accuracies_agree_and_how_far_apart_they_are(two_machines):
    """What was seen between two instruction sets is within the tolerance, the greatest reported is not."""
    table = runs.read_table(two_machines / "results.csv")
    table.loc[0, "test_accuracy"] += 0.535 - 0.512
    table.loc[1, "test_accuracy"] -= 0.065
    table.to_csv(two_machines / "results.csv", index=False)
    row = machines.compare(machines.machines("pocket")).iloc[1]
    assert (row["shared_runs"], row["within_tolerance"]) == (23, 22)
    assert row["furthest_apart"] == pytest.approx(0.065)
    assert "| 22 of 23 runs; at most 6.5 points apart |" in study_facts.machines_table("pocket")


def test_results_of_this_machine_are_told_how_they_stand_to_the_reference(two_machines, synthetic_results):
    """Which is the slow machine here, where one accuracy is another."""
    folder = shutil.copytree(two_machines, machines.reference_folder("pocket"))
    table = runs.read_table(folder / "results.csv")
    table.loc[0, "test_accuracy"] -= 0.2
    table.to_csv(folder / "results.csv", index=False)
    said = machines.against_reference(synthetic_results)
    assert said.startswith("22 of 23 runs") and "at most 20.0 points apart" in said
    assert machines.against_reference(runs.Results("pocket", "reference", folder)) is None
    assert machines.against_reference(runs.Results("smoke", "this machine", synthetic_results.folder)) is None
