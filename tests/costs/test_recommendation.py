"""Recommendations keep to the budget, say what they rest on, and rank as they say."""

import inspect
import json

import numpy as np
import pandas as pd
import pytest
from recordings import needs_tables
from scipy import stats
from typer.testing import CliRunner

from pepr import cli, published, quantities
from pepr.book import picker
from pepr.costs import commands, recommendation
from pepr.costs.recommendation import Budget
from pepr.errors import DataUnavailable, InputError
from pepr.models.space import BASELINES
from pepr.runs.results import Results, reference_folder


@pytest.fixture(scope="module")
def lidc():
    return recommendation.from_authors(published.load(), "lidc")


def made_up(**columns) -> pd.DataFrame:
    base = {
        "model": ["small", "middle", "large"],
        "performance": [0.70, 0.80, 0.81],
        "performance_low": [0.68, 0.78, 0.70],
        "performance_high": [0.72, 0.82, 0.90],
        "energy_wh": [10.0, 20.0, 90.0],
        "peak_memory_gb": [1.0, 2.0, 9.0],
        "train_time_s": [60.0, 120.0, 600.0],
        "num_params": [1, 2, 3],
        "readings": [(0.70,), (0.80,), (0.81,)],
        "n_test": [500, 500, 500],
        "measured": [["performance"]] * 3,
        "setting": "made_up",
        "over": "test images",
        "basis": "made up",
        "carbon_intensity_g_per_kwh": 500.0,
        "water_l_per_kwh": np.nan,
    }
    table = pd.DataFrame({**base, **columns})
    for key in ("energy_wh", "peak_memory_gb", "train_time_s"):
        table[f"{key}_low"], table[f"{key}_high"] = 0.8 * table[key], 1.3 * table[key]
    return table


def names(found):
    return [choice.model for choice in found]


@pytest.mark.parametrize(
    ("budget", "best"),
    [
        (Budget(), "large"),
        (Budget(energy_wh=25), "middle"),
        (Budget(memory_gb=1.5), "small"),
        (Budget(minutes=2), "middle"),
        (Budget(co2_g=5), "small"),
    ],
)
def test_the_best_performance_within_the_budget_comes_first(budget, best):
    assert names(recommendation.choose(made_up(), budget, "expected", 3))[0] == best


def test_caution_ranks_by_the_lower_bound_and_budgets_by_the_upper():
    assert names(recommendation.choose(made_up(), Budget(), "cautious", 3)) == ["middle", "large", "small"]
    assert names(recommendation.choose(made_up(), Budget(energy_wh=25), "cautious", 3)) == ["small"]


def test_equal_performance_goes_to_the_lower_energy():
    table = made_up(performance=[0.8, 0.8, 0.8])
    assert names(recommendation.choose(table, Budget(), "expected", 3)) == ["small", "middle", "large"]


def test_nothing_that_fits_is_one_clear_message():
    with pytest.raises(InputError, match=r"no model fits.*small, needs 10 Wh"):
        recommendation.choose(made_up(), Budget(energy_wh=1), "expected", 3)
    with pytest.raises(InputError, match="above 0"):
        Budget(energy_wh=-1)
    with pytest.raises(InputError, match="risk"):
        recommendation.recommend(Budget(), risk="reckless")


def test_a_clear_winner_is_stable_and_a_tie_is_not():
    clear = recommendation.stability(made_up(readings=[(0.5,), (0.6,), (0.9,)]), "expected", 1)
    tied = recommendation.stability(made_up(readings=[(0.8,), (0.8,), (0.8,)]), "expected", 1)
    assert clear["large"] == 1.0
    assert max(tied.values()) < 0.6 and sum(tied.values()) == pytest.approx(1)


def test_without_the_tables_the_reference_is_used_and_named(monkeypatch):
    def offline(*args):
        raise DataUnavailable("the published table: no network")

    monkeypatch.setattr(published, "load", offline)
    found = recommendation.recommend(Budget(), top=3)
    assert found[0].setting == "elpv" and "reference runs of pocket" in found[0].basis
    assert found[0].basis.endswith("the authors' tables are not at hand")
    asked_for = recommendation.recommend(Budget(), setting="elpv")
    assert "tables" not in asked_for[0].basis, "who asks for its runs has no need of them"
    assert found[0].measured == [
        "performance",
        "peak_memory_gb",
        "train_time_s",
    ]  # its energies are a load model's
    with pytest.raises(DataUnavailable, match="setting lidc needs the authors' tables: the published table"):
        recommendation.recommend(Budget(), setting="lidc")
    with pytest.raises(InputError, match="known: derma_pt"):
        recommendation.recommend(Budget(), setting="moon")


def test_without_the_tables_costs_follow_the_number_of_images():
    runs = Results("pocket", "reference", reference_folder("pocket")).table.set_index("setting")
    trained = round(runs.loc["elpv", "n_train"].mean())
    whole = recommendation.from_reference("elpv").set_index("model")
    twice = recommendation.from_reference("elpv", 2 * trained).set_index("model")
    assert not set(whole.index) & set(BASELINES)
    assert list(twice["energy_wh"]) == pytest.approx(list(2 * whole["energy_wh"]))
    assert list(twice["train_time_s"]) == pytest.approx(list(2 * whole["train_time_s"]))
    assert twice["performance"].equals(whole["performance"])
    assert all(measured == ["performance", "peak_memory_gb"] for measured in twice["measured"])
    assert all(f"in proportion to {2 * trained:,}" in basis for basis in twice["basis"])
    assert set(recommendation.from_reference(None, 150)["setting"]) == {"elpv_small"}
    assert set(recommendation.from_reference(None, trained)["basis"]) == set(whole["basis"])


def test_what_the_reference_says_of_a_model_is_as_sure_as_its_splits_are_alike():
    runs = Results("pocket", "reference", reference_folder("pocket")).table.query("setting == 'elpv'")
    table = recommendation.from_reference("elpv")
    for row in table.itertuples():
        accuracies = runs.loc[runs["model"] == row.model, "test_accuracy"]
        assert row.performance == pytest.approx(accuracies.mean())
        half = stats.t.ppf(0.95, len(accuracies) - 1) * accuracies.sem()
        assert row.performance_low == pytest.approx(row.performance - half)
        assert row.performance_high == pytest.approx(min(row.performance + half, 1))
        majority = runs.loc[runs["model"] == row.model, "test_majority_rate"].mean()
        assert f"more common answer is right in {majority:.3f} of" in row.basis
    found = recommendation.choose(table, Budget(), "expected", 3)
    said = recommendation.as_text(found)
    assert "The 90% intervals are over 5 splits, each with test images and a seed of its own." in said
    assert "when the 5 splits of elpv\nare redrawn." in said and "three epochs" not in said


def test_models_that_are_alike_on_every_split_are_told_apart_by_what_is_left():
    """All move together with a split, so that the best of each split is the best of any draw."""
    splits = np.array([0.5, 0.9, 0.7])
    clear = made_up(accuracies=[tuple(splits - 0.02), tuple(splits - 0.01), tuple(splits)])
    assert recommendation.stability(clear, "expected", 1) == {"small": 0.0, "middle": 0.0, "large": 1.0}


def test_a_resource_that_nothing_predicts_is_no_budget_and_counts_as_measured(monkeypatch):
    def command(**limits: float | None) -> None:
        """A command with an option for each budget."""

    price = quantities.Resource("P", "price_eur", "price", "Price", "EUR")
    monkeypatch.setitem(quantities.RESOURCES, "P", price)
    options = inspect.signature(commands.with_limits(command)).parameters
    assert "max_minutes" in options and set(options) == {f"max_{name}" for name in recommendation.LIMITS}
    assert {"E", "T", "M"} <= {one.letter for one in picker.shown()} and price not in picker.shown()
    kinds = [quantities.resource_kind(letter, "cpu:load_model", None) for letter in "PTEC"]
    assert kinds == ["measured", "measured", "estimated", "estimated"]


@pytest.mark.parametrize("images", [0, -5])
def test_a_number_of_images_below_one_is_refused(images):
    with pytest.raises(InputError, match=f"--train-images {images}: expected at least 1"):
        recommendation.recommend(recommendation.Budget(), train_images=images)


def test_a_fresh_clone_answers_for_the_images_that_were_asked_for(monkeypatch):
    def offline(*args):
        raise DataUnavailable("the published table: no network")

    monkeypatch.setattr(published, "load", offline)
    arguments = ["recommend", "--max-energy-wh", "1", "--json", "--train-images"]
    few, many = (json.loads(CliRunner().invoke(cli.app, [*arguments, n]).stdout) for n in ("3000", "6000"))
    costs = {row["model"]: row["energy_wh"] for row in few}
    again = {row["model"]: row["energy_wh"] for row in many}
    assert set(costs) & set(again) and all(row["energy_wh"] <= 1 for row in many)
    assert [again[model] / costs[model] for model in set(costs) & set(again)] == pytest.approx(
        [2.0] * len(set(costs) & set(again))
    )


@needs_tables
def test_the_authors_costs_are_measured_where_sound_and_predicted_elsewhere(lidc):
    assert 120 <= len(lidc) <= 131
    row = lidc.set_index("model").loc["resnet18d"]
    assert set(row["measured"]) == {"performance", "energy_wh", "train_time_s", "peak_memory_gb"}
    assert row["energy_wh"] == pytest.approx(20.417613515)
    assert lidc["basis"].str.contains("by the authors with 9,057 training images, on their test").all()
    fewer = recommendation.from_authors(published.load(), "lidc", train_images=3000)
    assert fewer["basis"].str.contains("with 9,057 training images, not with 3,000, on").all()
    assert all(measured == ["performance"] for measured in fewer["measured"])


@needs_tables
def test_more_budget_never_recommends_a_worse_model(lidc):
    best = [
        recommendation.choose(lidc, Budget(energy_wh=wh), "expected", 1)[0].performance
        for wh in (15, 20, 40, 80, 300)
    ]
    assert best == sorted(best)


@needs_tables
def test_the_command_gives_the_designs_keys():
    arguments = ["recommend", "--max-energy-wh", "20", "--max-memory-gb", "4", "--json"]
    rows = json.loads(CliRunner().invoke(cli.app, arguments).output)
    keys = "model performance performance_low performance_high energy_wh peak_memory_gb train_time_s basis"
    assert 1 <= len(rows) <= 5 and set(keys.split()) <= set(rows[0])
    assert all(row["energy_wh"] <= 20 and row["peak_memory_gb"] <= 4 for row in rows)
    assert [row["performance"] for row in rows] == sorted((r["performance"] for r in rows), reverse=True)
