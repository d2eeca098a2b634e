"""Baselines: what they predict, and that they end in the record that a network's run ends in."""

import dataclasses

import numpy as np
import pytest

from pepr import datasets, models, runs, training
from pepr.audit import gates
from pepr.errors import InputError
from pepr.machine import meter as metering
from pepr.runs import metrics
from pepr.study import verification
from pepr.training import baselines
from tests.machine.test_meter import SOURCES, FakeTracker

SPEC = runs.RunSpec("majority", "elpv", "elpv_small", train_fraction=0.1, image_size=32, epochs=1)


@pytest.fixture(scope="module", autouse=True)
def results_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPR_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setattr(baselines, "LEAST_WINDOW_S", 0.02)
        yield


@pytest.fixture(scope="module")
def outcomes(results_folder):
    """Each baseline's outcome, on a tenth of the solar cells."""
    found = {}
    for model in models.BASELINES:
        meter = metering.Meter(FakeTracker(*[(1e-6, 0.0, 2e-6)] * 3), SOURCES, power_limit_w=1e12)
        spec = dataclasses.replace(SPEC, model=model)
        found[model] = training.fine_tune(spec, meter=meter, progress=lambda line: None)
    return found


@pytest.mark.parametrize("model", models.BASELINES)
def test_the_record_is_that_of_a_networks_run_but_for_parameters_and_loss(outcomes, model):
    record = outcomes[model].record
    empty = {name for name in runs.COLUMNS if record[name] is None}
    assert {"num_params", "train_loss_last_epoch"} <= empty
    assert record["status"] == "ok" and record["model"] == model and record["threads"] == 1
    assert not list(verification.record_mismatches("records.jsonl", record))
    assert record["weights"] == "none" and record["split"] == 0
    found = gates.gates(runs.as_table([record]))
    assert found.empty, found.to_string()


@pytest.mark.parametrize("model", models.BASELINES)
def test_probabilities_are_of_the_test_images_and_sum_to_one(outcomes, model):
    outcome, data = outcomes[model], datasets.prepare("elpv", 32)
    np.testing.assert_array_equal(outcome.labels, data.labels[data.indices("test")])
    assert outcome.probabilities.shape == (len(outcome.labels), 2)
    np.testing.assert_allclose(outcome.probabilities.sum(1), 1, rtol=1e-6)
    assert outcome.record["test_accuracy"] == np.mean(outcome.probabilities.argmax(1) == outcome.labels)


def test_the_measures_of_a_record_are_those_of_the_predictions_that_are_kept(monkeypatch):
    """Two probabilities may differ in the sixteenth digit and are one number in a file."""
    exact = np.random.default_rng(0).normal(0, 1e-9, 10_000) + 0.5

    class Nearly:
        def fit(self, features, labels):
            self.classes_ = np.array([0, 1])

        def predict_proba(self, features):
            return np.column_stack([1 - exact[: len(features)], exact[: len(features)]])

    monkeypatch.setitem(baselines.WITHOUT_PIXELS, "majority", lambda n_train, seed: Nearly())
    meter = metering.Meter(FakeTracker(*[(1e-6, 0.0, 2e-6)] * 3), SOURCES, power_limit_w=1e12)
    outcome = training.fine_tune(SPEC, meter=meter, progress=lambda line: None)
    kept = outcome.probabilities.astype(np.float32)
    assert len(np.unique(kept[:, 1])) == 1 and outcome.record["test_auroc"] == 0.5
    assert metrics.performance(kept, outcome.labels).items() <= outcome.record.items()


def test_the_majority_is_chance_and_says_that_it_is_constant(outcomes):
    record = outcomes["majority"].record
    assert record["test_auroc"] == 0.5 and record["constant_predictor"]
    rate = record["test_majority_rate"]
    assert record["test_accuracy"] == pytest.approx(rate) or record["test_accuracy"] == pytest.approx(
        1 - rate
    )


def test_the_order_of_files_tells_little_and_pixels_tell_more(outcomes):
    auroc = {model: outcome.record["test_auroc"] for model, outcome in outcomes.items()}
    assert auroc["file_order"] < 0.65
    assert max(auroc.values()) == max(auroc[model] for model in baselines.PIPELINES)


def test_energy_and_time_are_of_one_repetition(outcomes):
    record = outcomes["majority"].record
    assert record["train_time_s"] > 0 and 0 < record["energy_kwh"] <= 3e-6
    assert record["history"][0]["train_time_s"] == record["train_time_s"]
    meter, done = metering.Meter(FakeTracker((1e-6, 0.0, 2e-6)), SOURCES), []
    baselines.repeated_work(meter, "train", lambda: done.append(None))
    assert meter.windows["train"].energy_kwh * len(done) == pytest.approx(3e-6)


def test_work_that_takes_long_is_done_once(monkeypatch):
    monkeypatch.setattr(baselines, "LEAST_WINDOW_S", 0.001)
    meter, done = metering.Meter(FakeTracker((1e-6, 0.0, 2e-6)), SOURCES), []

    def work():
        done.append(None)
        return sum(range(2_000_000))

    assert baselines.repeated_work(meter, "train", work) == sum(range(2_000_000))
    assert len(done) == 1 and meter.windows["train"].energy_kwh == pytest.approx(3e-6)


def test_the_same_specification_gives_the_same_predictions(outcomes):
    meter = metering.Meter(FakeTracker(*[(1e-6, 0.0, 2e-6)] * 3), SOURCES)
    again = training.fine_tune(
        dataclasses.replace(SPEC, model="pca_svm"), meter=meter, progress=lambda line: None
    )
    np.testing.assert_array_equal(again.probabilities, outcomes["pca_svm"].probabilities)


def test_more_than_two_classes_and_a_class_that_is_not_trained_on_have_probabilities(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 3, 90)
    data = datasets.Prepared(
        images, labels, np.full(90, "train"), np.zeros(90, bool), {"classes": ["a", "b", "c", "d"]}
    )
    for name in baselines.PIPELINES:
        baseline = baselines.make(name, 0)
        baseline.fit(data, np.arange(60))
        found = baseline.predict(data, np.arange(60, 90))
        assert found.shape == (30, 4) and (found[:, 3] == 0).all()
        np.testing.assert_allclose(found.sum(1), 1)


def test_the_order_of_files_is_that_of_their_names_where_the_data_tell_it():
    labels = np.arange(90) // 30  # sorted by class, as a table of files may be
    order = np.random.default_rng(0).permutation(90)
    nothing = np.zeros((90, 8, 8), np.uint8), labels, np.full(90, "train"), np.zeros(90, bool)
    train, test = np.arange(90)[::2], np.arange(90)[1::2]
    right = {}
    for name, places in (("row", None), ("file", order)):
        data = datasets.Prepared(*nothing, {"classes": ["a", "b", "c"]}, order=places)
        baseline = baselines.make("file_order", 0)
        baseline.fit(data, train)
        right[name] = np.mean(baseline.predict(data, test).argmax(1) == labels[test])
    assert right["row"] > 0.8 and right["file"] < 0.6


def test_a_baseline_is_fitted_once():
    with pytest.raises(InputError, match="majority is a baseline, fitted once: epochs is 3, expected 1"):
        training.fine_tune(dataclasses.replace(SPEC, epochs=3))
