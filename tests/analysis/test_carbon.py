"""Carbon on other grids: grams are the energy table times CodeCarbon's intensities, and no rank moves."""

import json
from importlib import resources

import pandas as pd
import pytest

from pepr import grids
from pepr.analysis import carbon
from pepr.analysis.energy import energy_table, study_bill
from pepr.display import words as display_words


def intensity(code: str) -> float:
    """The intensity of a country as CodeCarbon's own file has it, g/kWh."""
    path = resources.files("codecarbon") / "data" / "private_infra" / "global_energy_mix.json"
    return json.loads(path.read_text())[code]["carbon_intensity"]


@pytest.mark.parametrize("code", ["DNK", "IND", "KEN", "BRA"])
def test_the_grams_of_a_country_follow_from_the_energy_table_and_codecarbons_intensity(
    code, synthetic_results
):
    table = synthetic_results.table
    numbers = carbon.study_numbers(table)
    rows = energy_table(table)
    watt_hours = rows[["training_wh", "validation_wh", "inference_wh"]].sum().sum()
    key = f"carbon_{code.lower()}"
    assert numbers[f"{key}_co2"]["value"] == pytest.approx(watt_hours / 1000 * intensity(code))
    assert numbers[f"{key}_intensity"]["value"] == intensity(code)
    assert numbers[f"{key}_co2"]["estimate"] and numbers[f"{key}_intensity"]["estimate"]
    assert study_bill(table)["total_wh"] == pytest.approx(watt_hours)


def test_a_model_emits_its_energy_times_the_intensity_and_keeps_its_rank(synthetic_results):
    table = synthetic_results.table
    grams = carbon.grams_by_country(table)
    energy = carbon.energy_of_models(table)
    for code in grids.COUNTRIES:
        assert grams[code].to_numpy() == pytest.approx(energy.to_numpy() * intensity(code))
    assert carbon.ranks_that_differ(grams) == 0
    assert carbon.study_numbers(table)["carbon_ranks_moved"]["text"] == "none"


def test_networks_are_compared_with_one_another_and_not_with_a_baseline(synthetic_results):
    table = synthetic_results.table
    cheap = table.query("model == 'dla46_c'").assign(model="majority", energy_kwh=1e-15)
    both = pd.concat([table, cheap.astype(table.dtypes)], ignore_index=True)
    ratio = carbon.study_numbers(table)["carbon_model_ratio"]
    assert ratio["value"] > 1 and carbon.study_numbers(both)["carbon_model_ratio"] == ratio
    assert "majority" in carbon.energy_of_models(both.query("model == 'majority'"))


def test_one_network_alone_has_no_ratio_to_another(synthetic_results):
    found = carbon.study_numbers(synthetic_results.table.query("model == 'dla46_c'"))
    assert found["carbon_model_ratio"]["value"] is None and found["carbon_models"]["value"] == 1


def test_ranks_that_do_differ_are_counted(synthetic_results):
    grams = carbon.grams_by_country(synthetic_results.table)
    first, second = grams.index[:2]
    grams.loc[[first, second], "KEN"] = grams.loc[[second, first], "KEN"].to_numpy()
    assert carbon.ranks_that_differ(grams) == 2


@pytest.mark.parametrize(
    ("grams", "words"),
    [
        (0.5, "0.5 g"),
        (1.24, "1.2 g"),
        (999.0, "999 g"),
        (1500.0, "1.5 kg"),
        (250_000, "250 kg"),
        (2.5e6, "2.5 t"),
    ],
)
def test_grams_are_said_in_the_unit_that_reads_best(grams, words):
    assert display_words.mass(grams) == words
