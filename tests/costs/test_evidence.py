"""What predicted costs are good for: agreement, transfer, targets, terms, on tables small enough to check."""

import numpy as np
import pandas as pd
import pytest

from pepr.costs import calibration, evidence, model
from pepr.published.tables import EPOCHS, TEST_COLUMNS


def test_predictions_that_are_a_multiple_of_the_measurements_rank_alike():
    performance, energy = pd.Series(np.linspace(0.8, 0.9, 12)), pd.Series(np.geomspace(1.0, 8.0, 12))
    same = evidence.agreement("lidc", "E", performance, energy, 3 * energy.to_numpy())
    assert (same["spearman"], same["same_best"], same["models"]) == (pytest.approx(1), True, 12)
    other = evidence.agreement("lidc", "E", performance, energy, energy.to_numpy()[::-1])
    assert other["spearman"] < 1 and not other["same_best"]


def test_the_shipped_runs_on_a_cpu_are_one_row_a_model_with_measured_and_predicted_costs():
    table = evidence.on_this_cpu()
    assert table["model"].is_unique and (table[["time_s", "gpu_time_s", "calibrated_s", "flops"]] > 0).all(
        None
    )
    assert set(table.loc[table["calibrating"], "model"]) == set(calibration.MODELS)
    assert "published_wh" not in table
    authors = pd.DataFrame({"dataset": "lidc", "model": [table["model"][0]], "energy": [0.002]})
    known = evidence.on_this_cpu(authors)["published_wh"]
    assert known[0] == pytest.approx(2.0) and known[1:].isna().all()


def test_errors_of_a_calibration_are_those_of_models_that_did_not_calibrate():
    table = pd.DataFrame(
        {
            "time_s": [10.0, 20.0, 40.0],
            "gpu_time_s": [3.0, 2.0, 1.0],
            "flops": [1.0, 2.0, 3.0],
            "calibrated_s": [99.0, 22.0, 50.0],
            "calibrating": [True, False, False],
        }
    )
    found = evidence.transfer(table).set_index("predictor")
    assert list(found.index) == ["gpu_time_s", "flops", "calibrated_s"]
    assert found.loc["gpu_time_s", "spearman"] == pytest.approx(-1)
    assert found.loc["flops", "spearman"] == pytest.approx(1)
    assert found.loc["calibrated_s", ["median_error", "worst_error", "tested"]].tolist() == [
        pytest.approx(0.175),
        pytest.approx(0.25),
        2,
    ]


def test_energy_to_a_target_is_that_of_the_epochs_until_it(monkeypatch):
    curves = np.linspace(0.1, 1.0, EPOCHS)
    sound = pd.DataFrame([curves, curves / 2], columns=list(TEST_COLUMNS)).assign(
        dataset="lidc", model=["quick", "slow"], energy_wh=[10.0, 1.0]
    )
    monkeypatch.setattr(evidence, "sound_rows", lambda runs: sound)
    table = evidence.energy_to_target(None, "lidc", target=0.55).set_index("model")
    first = int(np.argmax(curves >= 0.55)) + 1
    assert table.loc["quick", "energy_to_target_wh"] == pytest.approx(10.0 * first / EPOCHS)
    assert np.isnan(table.loc["slow", "energy_to_target_wh"]) and table.index[0] == "quick"


def test_the_shares_of_a_models_time_sum_to_one_and_a_deeper_one_spends_more_on_arithmetic():
    shares = evidence.time_by_term(("dla46_c", "resnet50"))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert list(shares.columns) == list(model.TERMS) and (shares >= 0).all(axis=None)
    assert shares.loc["dla46_c", "image"] > shares.loc["resnet50", "image"]
