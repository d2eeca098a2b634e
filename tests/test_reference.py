"""The shipped reference: real, complete, sound, and repeatable."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pepr import models, runs, study, training
from pepr.audit import gates
from pepr.machine import description
from pepr.runs import metrics
from pepr.runs.columns import LATER_COLUMNS

RESULTS = runs.Results("pocket", "reference", runs.reference_folder("pocket"))


@pytest.fixture(scope="module")
def table():
    return RESULTS.table


def test_it_is_the_whole_grid_of_its_profile_and_every_run_is_ok(table):
    specs = study.grid(study.load("pocket"))
    if table["split"].isna().all():  # older than the baselines, too
        specs = [spec for spec in specs if spec.model not in models.BASELINES]
    made = {(row.model, row.setting, row.seed) for row in table.itertuples()}
    assert made == {(spec.model, spec.setting, spec.seed) for spec in specs}
    assert len(table) >= 18 and (table["status"] == "ok").all()


def test_no_committed_number_was_altered_since_it_was_packed():
    stated = json.loads((RESULTS.folder / "checksums.json").read_text())
    assert runs.checksums(RESULTS.folder) == stated


def test_the_table_is_what_the_records_say(table):
    pd.testing.assert_frame_equal(runs.as_table(RESULTS.records()), table)


def test_every_gate_holds(table):
    broken = gates.gates(table)
    assert broken.query("gate != 'constant predictor'").empty, broken.to_string()


def test_no_run_shared_the_processor_and_all_were_made_on_one_machine(table):
    assert not table["contended"].any()
    assert table["hardware"].nunique() == table["software"].nunique() == 1


def test_every_number_of_performance_follows_from_the_predictions(table):
    for row in table.to_dict("records"):
        probabilities, labels = RESULTS.predictions(row["run_id"])
        assert len(labels) == row["n_test"]
        expected = metrics.performance(probabilities.astype(np.float64), labels.astype(np.int64))
        for name, value in expected.items():
            if name in LATER_COLUMNS and pd.isna(row[name]):
                continue
            assert row[name] == pytest.approx(value, abs=1e-6), (row["run_id"], name)
        assert row["test_auroc"] == pytest.approx(roc_auc_score(labels, probabilities[:, 1]), abs=1e-6)


def test_costs_add_up(table):
    for row, record in zip(table.to_dict("records"), RESULTS.records(), strict=True):
        train = record["meter"]["train"]
        parts = train["energy_cpu_kwh"] + train["energy_ram_kwh"]
        assert row["energy_kwh"] == train["energy_kwh"] == pytest.approx(parts, rel=1e-12)
        assert row["train_time_s"] == pytest.approx(sum(epoch["train_time_s"] for epoch in record["history"]))
        assert row["co2eq_g"] == pytest.approx(row["energy_kwh"] * row["carbon_intensity_g_per_kwh"])
        assert row["num_params"] == models.find(row["model"]).num_params


def test_records_carry_versions_hashes_and_revision():
    for record in RESULTS.records():
        environment = record["environment"]
        assert environment["packages"]["torch"] and environment["git_revision"] and environment["command"]
        assert len(record["data_sha256"]) == 64
        assert (record["weights_sha256"] is not None) == record["pretrained"]


def test_pretraining_helps_the_model_that_was_repeated(table):
    lite0 = table.query("model == 'tf_efficientnet_lite0' and train_fraction == 1")
    means = lite0.groupby("pretrained")["test_accuracy"].mean()
    assert (lite0.groupby("pretrained")["seed"].nunique() == 3).all()
    assert means[True] > means[False]


@pytest.mark.alone
def test_a_run_of_the_reference_gives_the_same_predictions_again(tmp_path, monkeypatch):
    """From its record alone. On other hardware floating point sums differ, and the record says so."""
    records = [record for record in RESULTS.records() if "split" in record]
    if not records:
        pytest.skip("its runs are older than the heads and the splits of today, and are not made again")
    record = min(records, key=lambda record: record["train_time_s"])
    if record["hardware"] != description.hardware() or record["software"] != description.software():
        pytest.skip(f"made on {record['hardware']} with {record['software']}")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    torch.set_num_threads(record["environment"]["threads"])
    outcome = training.fine_tune(runs.RunSpec.from_dict(record), progress=lambda line: None)
    probabilities, labels = RESULTS.predictions(record["run_id"])
    np.testing.assert_allclose(outcome.probabilities, probabilities, atol=1e-4)
    np.testing.assert_array_equal(outcome.labels, labels)
