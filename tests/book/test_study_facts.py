"""What the book says of its own provenance and of the model space is computed, not typed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pepr import study
from pepr.book import interactive, study_facts
from pepr.datasets import elpv
from pepr.models.space import model_space


@pytest.fixture(autouse=True)
def on_this_machine(synthetic_results, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(synthetic_results.folder.parent))


def test_the_provenance_names_machine_versions_hashes_and_bill(synthetic_results):
    text = study_facts.provenance("pocket")
    assert "| Whose runs | this machine |" in text
    assert "| Hardware | simulated CPU, 2 cores |" in text
    assert "Wh (estimated) in" in text
    assert "results.csv, SHA-256" in text
    assert "<_records/pocket-records.jsonl>" in text


def test_every_estimate_is_listed_with_how_it_is_known():
    text = study_facts.estimates("pocket")
    row = "| Energy, CPU | **estimated** | the processor's load times an assumed power (`load_model`) |"
    assert row in text
    assert "| Training time on the clock | measured | a clock |" in text
    assert "| Carbon | **estimated** | energy times a yearly average of the grid |" in text


def test_how_far_a_study_reaches_is_counted_from_its_runs(synthetic_results, monkeypatch):
    table = synthetic_results.table.copy()
    monkeypatch.setattr(study_facts, "find_results", lambda name: SimpleNamespace(table=table))
    kinds = table.loc[table["status"] == "ok", "hardware"].nunique()
    assert kinds == 1 and study_facts.reach(["pocket"]) == (
        "This study's own runs are of 1 data set (ELPV), made on 1 kind of machine."
    )
    some = table["status"] == "ok"
    table.loc[some, "dataset"] = ["breastmnist"] + ["elpv"] * (some.sum() - 1)
    table.loc[some, "hardware"] = ["another"] + ["one"] * (some.sum() - 1)
    assert study_facts.reach(["pocket"]).endswith("BreastMNIST, ELPV), made on 2 kinds of machine.")


def test_the_same_images_divided_otherwise_are_no_further_set(synthetic_results, monkeypatch):
    table = synthetic_results.table.query("status == 'ok'")
    table = table.assign(dataset=["ham10000", "ham10000_by_image"] + ["ham10000"] * (len(table) - 2))
    monkeypatch.setattr(study_facts, "find_results", lambda name: SimpleNamespace(table=table))
    assert study_facts.reach(["medical"]).startswith("This study's own runs are of 1 data set (HAM10000),")
    lines = study_facts.sets_table(study.load("medical")).splitlines()
    assert len(lines) == 2 + 4 and sum("HAM10000" in line for line in lines) == 1


def test_the_splits_stand_with_the_share_of_defects_that_each_part_has():
    lines = study_facts.elpv_splits_table().splitlines()[2:]
    labels, splits = elpv.defective(), elpv.block_splits()
    assert len(lines) == len(splits)
    for line, split in zip(lines, splits, strict=True):
        tested = labels[split == "test"]
        assert line.endswith(f"| {len(tested):,}, {100 * tested.mean():.0f}% defective |")


def test_how_many_training_images_two_splits_share_is_counted_over_every_pair():
    trained = [set(np.flatnonzero(split == "train")) for split in elpv.block_splits()]
    shares = [len(a & b) / len(a) for a in trained for b in trained if a is not b]
    assert study_facts.splits_shared() == f"{100 * min(shares):.0f}% to {100 * max(shares):.0f}%"
    assert min(shares) < 0.5, "of some pairs it is not even half"


def test_the_records_that_are_offered_are_those_of_the_runs(synthetic_results):
    files = study_facts.record_files(["pocket"])
    table = files["book/_records/pocket-results.csv"]
    assert table == (synthetic_results.folder / "results.csv").read_bytes()
    lines = files["book/_records/pocket-records.jsonl"].decode().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == sorted(synthetic_results.table["run_id"])


def test_the_families_add_up_to_the_model_space():
    facts = study_facts.model_space_facts()
    space = [entry for entry in model_space().values() if entry.role == "paper"]
    rows = [line.split(" | ") for line in facts["families_table"].splitlines()[2:]]
    assert sum(int(row[1]) for row in rows) == len(space) == int(facts["models"])
    assert int(facts["families"]) == len({entry.family for entry in space})


def test_the_drawing_gets_the_models_of_the_main_setting(synthetic_results):
    drawn = interactive.profile_models(synthetic_results)
    table = synthetic_results.table.query("setting == 'elpv' and status == 'ok' and not contended")
    assert {one["model"] for one in drawn["models"]} == set(table["model"])
    one = next(one for one in drawn["models"] if one["model"] == "resnet18d")
    row = table.query("model == 'resnet18d'").iloc[0]
    assert one["performance"] == pytest.approx(row["test_auroc"], abs=1e-4)
    assert one["resource"] == pytest.approx(row["train_time_s"], abs=1e-3)
    assert (drawn["resource"], drawn["unit"]) == ("Training time", "s")


def test_the_script_for_the_drawings_is_data_and_nothing_else(synthetic_results):
    bill = {"value": 8.4, "text": "8.4 Wh", "estimate": True}
    text = interactive.as_script(synthetic_results, {"pocket": {"bill_total": bill}})
    data = json.loads(text.removeprefix("window.peprStudy = ").removesuffix(";\n"))
    (energy,) = data["energies"]
    assert energy["kwh"] == pytest.approx(0.0084)
    assert (energy["what"], energy["text"]) == ("The study pocket", "8.4 Wh (estimated)")
    assert {"DNK", "IND", "KEN", "BRA"} <= {code for code, *_ in data["grids"]}
