"""Repeated runs on one GPU: equal accuracies, and small differences in time and energy."""

import pytest
from recordings import needs_history, row, told

from pepr import published
from pepr.published import history


def test_a_run_is_compared_with_its_repetition_and_an_energy_only_with_a_reading_of_its_own():
    stamp = {"commit": "a", "recorded": "2024-01-01 10:00"}
    rows = [
        row("ash", 10.0, 0.100, **stamp),
        row("ash", 10.1, 0.102, **stamp),
        row("ash", 10.2, 0.102, **stamp),
        row("elm", 20.0, 0.2, **stamp),
    ]
    rows[1]["test_03"] = 0.51
    pairs = history.repeats(told(rows, [row("ash", 10.0, 0.1, dataset="lidc")]))
    assert list(pairs["model"]) == ["ash", "ash"], "each run with the next one"
    assert pairs["train_time"].tolist() == pytest.approx([0.1 / 10.05, 0.1 / 10.15])
    assert pairs["energy"].iloc[0] == pytest.approx(0.002 / 0.101) and pairs["energy"].isna().iloc[1]
    assert pairs["accuracy_any_epoch"].tolist() == pytest.approx([0.01, 0.01])
    assert pairs["accuracy"].tolist() == [0, 0] and pairs["memory"].tolist() == [0, 0]


@needs_history
def test_the_noise_floor_of_the_authors_card():
    known = history.load(published.load().results)
    floor = history.noise_floor(history.repeats(known)).set_index("setting")
    assert (floor["models"] == 13).all() and (floor["equal_accuracies"] == floor["pairs"]).all()
    assert floor["train_time_median"].between(0.0005, 0.003).all()
    full = ["derma_pt", "derma", "lidc", "pneumonia"]
    assert floor.loc[full, "energy_median"].between(0.001, 0.004).all()
    assert floor.loc[full, "energy_largest"].max() == pytest.approx(0.011, abs=0.001)
    smallest = floor.loc[["derma_smallest", "pneumonia_small"], "energy_largest"]
    assert smallest.between(0.05, 0.11).all()
