"""Who owns a shared energy where times leave it open, and constant predictors on a test set that moves."""

import numpy as np
import pytest
from audit_tables import sound_table

from pepr.audit import audit
from pepr.audit.inference import DROPPED_IMAGES, moving_rates


def shared_by_two(intensity_a: float, intensity_b: float, owner: str):
    """Settings a and b under two intensities; model 7 of the one carries the energy of the other."""
    table = sound_table(40, ("a", "b"))
    in_a = table["dataset"] == "a"
    table["co2"] = table["energy"] * np.where(in_a, intensity_a, intensity_b)
    rows = table.index[table["model"] == "model_000007"]
    first, second = rows if owner == "a" else rows[::-1]
    table.loc[second, "train_time"] = table.loc[first, "train_time"] * 1.002
    table.loc[second, ["energy", "co2"]] = table.loc[first, ["energy", "co2"]].to_numpy()
    return table


@pytest.mark.parametrize("owner", ["a", "b"])
def test_the_carbon_intensity_of_its_neighbours_tells_the_owner(owner):
    (finding,) = [f for f in audit(shared_by_two(53.0, 95.0, owner)) if f.check == "copied_energy"]
    assert finding.severity == "error" and finding.setting == ("b" if owner == "a" else "a")
    assert f"model_000007 in {owner} has the carbon intensity" in finding.explanation


def test_with_one_intensity_for_all_the_owner_stays_open():
    findings = [f for f in audit(shared_by_two(53.0, 53.0, "a")) if f.check == "copied_energy"]
    assert [f.severity for f in findings] == ["warning", "warning"]


def test_intensities_that_differ_little_tell_nothing():
    findings = [f for f in audit(shared_by_two(53.0, 60.0, "a")) if f.check == "copied_energy"]
    assert [f.severity for f in findings] == ["warning", "warning"]


N = 3008
NEGATIVES, DROPPED = 1579, 12


def constant_predictors(rows: int, seed: int = 0) -> np.ndarray:
    """Accuracies of runs that answer one class an epoch, 12 of 3,020 test images being dropped at random."""
    rng = np.random.default_rng(seed)
    total = N + DROPPED
    lost = rng.hypergeometric(NEGATIVES, total - NEGATIVES, DROPPED, size=(rows, 10))
    says_negative = rng.random((rows, 10)) < 0.6
    return np.where(says_negative, NEGATIVES - lost, total - NEGATIVES - (DROPPED - lost)) / N


def learning(rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(1700, 2600, (rows, 10)) / N


def test_class_rates_that_move_with_a_dropped_batch_are_found():
    rates = moving_rates(np.vstack([learning(60), constant_predictors(6)]), N)
    assert len(rates) == 2 * (2 * DROPPED_IMAGES + 1)
    assert abs(max(rates) * N - NEGATIVES) <= DROPPED_IMAGES + DROPPED


@pytest.mark.parametrize("seed", range(20))
def test_runs_that_learn_have_no_moving_class_rates(seed):
    level = np.random.default_rng(seed).uniform(0.7, 0.93, (80, 1))
    values = np.random.default_rng(seed + 1).binomial(N, level, (80, 10)) / N
    assert moving_rates(values, N) == set()


def test_saturated_runs_share_values_and_are_not_accused():
    values = np.random.default_rng(3).integers(2800, 2806, (80, 10)) / N
    assert moving_rates(values, N) == set()


def test_one_run_that_changes_sides_is_not_enough():
    assert moving_rates(np.vstack([learning(60), constant_predictors(1)]), N) == set()


def test_a_small_test_set_leaves_it_open():
    assert moving_rates(constant_predictors(6), 608) == set()


def test_an_audit_finds_every_planted_constant_predictor_and_no_other():
    table = sound_table(60, ("c",))
    planted = table.index[:5]
    epochs = [f"test_{epoch:02d}" for epoch in range(10)]
    table.loc[planted, epochs] = constant_predictors(5)
    findings = [f for f in audit(table) if f.check == "constant_predictor"]
    assert {f.model for f in findings} == set(table.loc[planted, "model"])
    assert all("last batch drawn at random" in f.explanation for f in findings)
