"""The shipped reference: real, complete, sound, and repeatable."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pepr import models, runs, study, training
from pepr.analysis.ranked import as_ranked
from pepr.audit import gates
from pepr.machine import description
from pepr.runs import metrics
from pepr.runs.results import LARGEST_FILE_BYTES

RESULTS = runs.Results("pocket", "reference", runs.reference_folder("pocket"))


@pytest.fixture(scope="module")
def table():
    return RESULTS.table


def test_it_is_the_whole_grid_of_its_profile_on_all_five_splits_and_every_run_is_ok(table):
    specs = study.grid(study.restrict(study.load("pocket"), seeds=range(5)))
    assert set(table["run_id"]) == {spec.run_id for spec in specs}
    assert (table["status"] == "ok").all()


def test_all_models_of_a_setting_have_equal_seeds_and_splits(table):
    units = table.groupby(["setting", "model"])[["seed", "split"]].agg(sorted)
    assert all(seeds == splits == [0, 1, 2, 3, 4] for seeds, splits in units.itertuples(index=False))


def test_no_committed_number_was_altered_since_it_was_packed():
    stated = json.loads((RESULTS.folder / "checksums.json").read_text())
    assert runs.checksums(RESULTS.folder) == stated


def test_the_table_is_what_the_records_say(table):
    pd.testing.assert_frame_equal(runs.as_table(RESULTS.records()), table)


def test_every_gate_holds(table):
    """But one, which judges what a network learned and not what was measured: the book counts those rows."""
    broken = gates.gates(table)
    assert set(broken["gate"]) <= {gates.DID_LEARN}, broken.to_string()


def test_no_network_shared_the_processor_and_all_were_made_on_one_machine(table):
    assert not table.loc[~table["model"].isin(models.BASELINES), "contended"].any()
    assert table["contended"].mean() < 0.05
    assert table["hardware"].nunique() == table["software"].nunique() == 1


def test_every_number_of_performance_follows_from_the_predictions(table):
    for row in table.to_dict("records"):
        probabilities, labels = RESULTS.predictions(row["run_id"])
        assert len(labels) == row["n_test"]
        expected = metrics.performance(probabilities.astype(np.float64), labels.astype(np.int64))
        for name, value in expected.items():
            if value is None:  # kappa and mean absolute error are of ordered grades
                assert pd.isna(row[name]), (row["run_id"], name)
            else:
                assert row[name] == pytest.approx(value, abs=1e-6), (row["run_id"], name)
        assert row["test_auroc"] == pytest.approx(roc_auc_score(labels, probabilities[:, 1]), abs=1e-6)


def test_costs_add_up(table):
    for row, record in zip(table.to_dict("records"), RESULTS.records(), strict=True):
        train = record["meter"]["train"]
        parts = train["energy_cpu_kwh"] + train["energy_ram_kwh"]
        assert row["energy_kwh"] == train["energy_kwh"] == pytest.approx(parts, rel=1e-12)
        assert row["train_time_s"] == pytest.approx(sum(epoch["train_time_s"] for epoch in record["history"]))
        assert row["co2eq_g"] == pytest.approx(row["energy_kwh"] * row["carbon_intensity_g_per_kwh"])
        of_network = None if row["model"] in models.BASELINES else models.find(row["model"]).num_params
        assert record["num_params"] == of_network


def test_records_carry_versions_hashes_and_revision():
    for record in RESULTS.records():
        environment = record["environment"]
        assert environment["packages"]["torch"] and environment["git_revision"] and environment["command"]
        assert len(record["data_sha256"]) == 64
        has_weights = record["pretrained"] and record["model"] not in models.BASELINES
        assert (record["weights_sha256"] is not None) == has_weights


def test_pretraining_helps_the_two_networks_that_were_repeated_both_ways(table):
    whole = table.query("model in ('tf_efficientnet_lite0', 'mobilenetv2_100') and train_fraction == 1")
    means = whole.groupby(["model", "pretrained"])["test_auroc"].mean().unstack()
    assert len(means) == 2 and (means[True] > means[False]).all()


def test_the_time_that_ranks_repeats_as_well_as_processor_time_does(table):
    """A correction by a noisy probe would only add its noise: that of one model, from split to split."""
    networks = table[~table["model"].isin(models.BASELINES)]

    def scatter(seconds):
        an_image = np.log(seconds / networks["n_train"])
        of_model = an_image.groupby([networks["model"], networks["setting"]]).transform("mean")
        return float((an_image - of_model).std())

    ranked = as_ranked(table).loc[networks.index, "train_time_s"]
    assert scatter(ranked) <= 1.05 * scatter(networks["train_cpu_time_s"]) < 0.05


@pytest.mark.alone
def test_a_run_of_the_reference_gives_the_same_predictions_again(tmp_path, monkeypatch):
    """From its record alone. On other hardware floating point sums differ, and the record says so."""
    networks = [record for record in RESULTS.records() if record["model"] not in models.BASELINES]
    record = min(networks, key=lambda record: record["train_time_s"])
    if decides_digits(record["environment"]) != decides_digits(description.environment("cpu", 1)):
        pytest.skip(f"made on {record['hardware']} with {record['software']}")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(record["environment"]["threads"])
    try:
        outcome = training.fine_tune(runs.RunSpec.from_dict(record), progress=lambda line: None)
    finally:
        torch.set_num_threads(threads)
    probabilities, labels = RESULTS.predictions(record["run_id"])
    np.testing.assert_allclose(outcome.probabilities, probabilities, atol=1e-4)
    np.testing.assert_array_equal(outcome.labels, labels)
    assert grouped_alike(outcome.groups, RESULTS.groups(record["run_id"]))


def decides_digits(environment):
    """What a sum of floating point depends on: the kind of processor, and who adds up."""
    kind = [environment[name] for name in ("cpu_model", "cpu_identity", "instruction_set")]
    return kind + [environment["packages"][name] for name in ("torch", "timm", "numpy")]


def grouped_alike(first, second):
    """Whether two names for each image divide the images into the same groups."""
    pairs = set(zip(first, second, strict=True))
    return len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})


def test_the_reference_knows_the_modules_of_its_test_images():
    for row in RESULTS.table.query("model == 'pca_svm'").itertuples():
        groups = RESULTS.groups(row.run_id)
        assert len(groups) == row.n_test and 8 <= len(set(groups)) <= 9


SHIPPED = sorted(path.parent.name for path in runs.reference_folder("").glob("*/results.csv"))


def shipped(profile):
    return runs.Results(profile, "reference", runs.reference_folder(profile))


@pytest.mark.parametrize("profile", SHIPPED)
def test_each_set_of_a_shipped_study_has_all_its_runs_on_one_machine(profile):
    """A study may be shipped setting by setting, as its runs come; none of them in part."""
    table, asked = shipped(profile).table, study.grid(study.load(profile))
    assert (table["status"] == "ok").all()
    for setting, rows in table.groupby("setting"):
        specs = {spec.run_id for spec in asked if spec.setting == setting}
        assert specs and specs <= set(rows["run_id"]), setting
        assert not rows["run_id"].duplicated().any()
    assert table.groupby("dataset")["hardware"].nunique().max() == 1


CONTRIBUTED = sorted(path.parent.name for path in runs.reference_folder("contributed").glob("*/results.csv"))


@pytest.mark.parametrize("folder", [*SHIPPED, *(f"contributed/{name}" for name in CONTRIBUTED)])
def test_the_files_of_a_shipped_study_are_small_unaltered_and_say_the_same(folder):
    results = shipped(folder)
    assert runs.checksums(results.folder) == json.loads((results.folder / "checksums.json").read_text())
    pd.testing.assert_frame_equal(runs.as_table(results.records()), results.table)
    assert max(path.stat().st_size for path in results.folder.iterdir()) <= LARGEST_FILE_BYTES
    assert set(gates.gates(results.table)["gate"]) <= {gates.DID_LEARN}


def test_what_was_contributed_is_of_one_machine_each_that_is_not_the_one_of_the_reference():
    for name in CONTRIBUTED:
        table = shipped(f"contributed/{name}").table
        of_reference = shipped(name.partition("-")[0]).table
        assert table["hardware"].nunique() == 1
        assert not of_reference["hardware"].isin(table["hardware"]).any()
        assert set(table["run_id"]) <= set(of_reference["run_id"])
