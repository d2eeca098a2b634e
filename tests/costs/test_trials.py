"""A plan of trials: cheap models, one of each family first, within one budget for all of them."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from recordings import needs_tables
from typer.testing import CliRunner

from pepr import cli, published
from pepr.costs import recommendation, trials
from pepr.costs.recommendation import Budget
from pepr.errors import DataUnavailable, InputError


@pytest.fixture(scope="module")
def whole():
    return trials.plan(Budget())


CHEAP = {"first": 9.0, "second": 3.0, "third": 4.0, "fourth": 1.0}
"""What the models of the cheapest third take in a made-up table, in Wh and in minutes, in the order in which
they are tried."""


@pytest.fixture
def made_up(monkeypatch):
    """A table of `CHEAP` and of twice as many models that take 100 Wh and minutes; the upper bound of each
    cost is twice as high."""
    taken = [*CHEAP.values(), *[100.0] * (2 * len(CHEAP))]
    table = pd.DataFrame({"model": [*CHEAP, *(f"dear_{k}" for k in range(2 * len(CHEAP)))]})
    table = table.assign(rank=np.arange(len(table)), carbon_intensity_g_per_kwh=500.0, water_l_per_kwh=np.nan)
    for end, factor in (("", 1.0), ("_low", 0.5), ("_high", 2.0)):
        table[f"energy_wh{end}"] = factor * np.array(taken)
        table[f"train_time_s{end}"] = 60.0 * factor * np.array(taken)
        table[f"peak_memory_gb{end}"] = factor
    monkeypatch.setattr(trials, "from_authors", lambda tables, setting, train_images: table)
    return table


def tried(budget, risk="expected"):
    """What is tried of the made-up table, and what it takes in all after each, in Wh."""
    found = trials.on_tables(None, budget, "lidc", risk=risk)
    return {trial.model: trial.total_energy_wh for trial in found.trials}


@needs_tables
def test_every_family_has_its_turn_before_a_second_of_any(whole):
    families = [trial.family for trial in whole.trials]
    first_round = len(set(families))
    assert len(set(families[:first_round])) == first_round
    assert len({trial.model for trial in whole.trials}) == len(whole.trials)


@needs_tables
def test_the_trials_are_the_cheap_third_and_their_totals_add_up(whole):
    table = recommendation.candidates("lidc")
    dearest = table["energy_wh"].nsmallest(len(whole.trials)).max()
    assert len(whole.trials) == round(len(table) / 3)
    assert all(trial.energy_wh <= dearest for trial in whole.trials)
    assert whole.trials[-1].total_energy_wh == pytest.approx(sum(t.energy_wh for t in whole.trials))
    assert whole.trials[-1].total_minutes == pytest.approx(sum(t.train_time_s for t in whole.trials) / 60)
    assert whole.sweep_wh == pytest.approx(table["energy_wh"].sum())


@needs_tables
def test_a_budget_is_for_all_trials_together_and_cuts_the_same_order(whole):
    budget = Budget(energy_wh=whole.trials[4].total_energy_wh + 0.01)
    assert [t.model for t in trials.plan(budget).trials] == [t.model for t in whole.trials[:5]]
    short = trials.plan(Budget(minutes=whole.trials[2].total_minutes + 0.01))
    assert len(short.trials) == 3


def test_a_model_that_takes_more_than_is_left_is_passed_over_and_takes_nothing(made_up):
    assert tried(Budget()) == {"first": 9.0, "second": 12.0, "third": 16.0, "fourth": 17.0}
    assert tried(Budget(energy_wh=8.0)) == {"second": 3.0, "third": 7.0, "fourth": 8.0}
    assert tried(Budget(energy_wh=10.0)) == {"first": 9.0, "fourth": 10.0}
    assert tried(Budget(minutes=6.0)) == {"second": 3.0, "fourth": 4.0}
    assert tried(Budget(energy_wh=10.0, co2_g=4.1)) == {"second": 3.0, "third": 7.0, "fourth": 8.0}
    assert tried(Budget(energy_wh=8.0), "cautious") == {"second": 6.0, "fourth": 8.0}


def test_no_trial_fits_only_where_not_even_the_most_frugal_model_does(made_up):
    assert tried(Budget(energy_wh=1.0)) == {"fourth": 1.0}
    told = r"no trial fits: .*the most frugal of 4 models, fourth, needs 1 Wh, 1 GB and 1 minutes"
    with pytest.raises(InputError, match=told):
        tried(Budget(energy_wh=0.9))
    with pytest.raises(InputError, match="fourth, needs 2 Wh, 2 GB and 2 minutes"):
        tried(Budget(energy_wh=1.0), "cautious")


@pytest.mark.parametrize(("risk", "end"), [("expected", ""), ("cautious", "_high")])
def test_the_share_of_training_every_model_is_of_the_same_end_of_the_costs(made_up, risk, end):
    found = trials.on_tables(None, Budget(), "lidc", risk=risk)
    everything = made_up[f"energy_wh{end}"].sum()
    assert found.sweep_wh == pytest.approx(everything)
    assert found.trials[-1].total_energy_wh / everything == pytest.approx(17 / 817)
    assert "All of it takes 2.1% of training every model" in trials.as_text(found)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"risk": "reckless"}, "risk 'reckless': expected one of"),
        ({"train_images": 0}, "--train-images 0: expected at least 1"),
        ({"train_images": -5}, "--train-images -5: expected at least 1"),
        ({"top": 0}, "--top 0: expected at least 1"),
        ({"budget": Budget(co2_g=500)}, r"--max-co2-g 500: carbon_\w+ is not known \(Central African"),
        ({"budget": Budget(water_l=5)}, "--max-water-l 5: water_l_per_kwh is not known"),
    ],
)
def test_a_plan_refuses_whatever_a_recommendation_refuses(monkeypatch, options, told):
    monkeypatch.setenv("PEPR_COUNTRY", "CAF")
    for ask in (trials.plan, recommendation.recommend):
        with pytest.raises(InputError, match=told):
            ask(**{"budget": Budget(), **options})


@needs_tables
def test_so_many_trials_are_the_first_ones(whole):
    assert trials.plan(Budget(), top=2).trials == whole.trials[:2]
    done = CliRunner().invoke(cli.app, ["recommend", "--plan", "--top", "3", "--json"])
    assert len(json.loads(done.stdout)["trials"]) == 3


@needs_tables
def test_what_to_expect_falls_with_trials_and_ends_where_it_was_played(whole):
    lost = [trial.points_lost for trial in whole.trials]
    assert lost[0] > lost[4] > lost[9] and lost[39] is not None
    assert all(value is None for value in lost[40:])


@needs_tables
def test_memory_leaves_models_out_and_a_budget_for_nothing_says_what_the_most_frugal_takes(whole):
    small = trials.plan(Budget(memory_gb=2.5))
    assert all(trial.peak_memory_gb <= 2.5 for trial in small.trials)
    with pytest.raises(InputError, match=r"no trial fits: the budget is .* the most frugal of"):
        trials.plan(Budget(energy_wh=1e-6))
    with pytest.raises(InputError, match="memory"):
        trials.plan(Budget(memory_gb=1e-6))


def test_without_the_tables_a_plan_says_what_it_needs(monkeypatch):
    def missing(*args: object) -> None:
        raise DataUnavailable("the published tables")

    monkeypatch.setattr(published, "load", missing)
    with pytest.raises(DataUnavailable, match="a plan needs"):
        trials.plan(Budget())


@needs_tables
def test_the_command_prints_a_plan_and_its_json_has_every_field():
    command = [sys.executable, "-m", "pepr.cli", "recommend", "--plan", "--max-energy-wh", "100"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert made["trials"][0]["model"] in text and "points lost" in text
    assert set(made["trials"][0]) == {field.name for field in dataclasses.fields(trials.Trial)}
