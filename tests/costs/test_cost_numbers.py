"""The numbers about predicted costs follow from the tables that they are given, estimates marked."""

import numpy as np
import pandas as pd
import pytest

from pepr.costs import model as cost, numbers
from pepr.costs.fit import Evidence
from pepr.published.tables import SETTINGS


def predictions(target, factor):
    """Ten models in each setting, each predicted `factor` times too high; the last one not covered."""
    return pd.DataFrame(
        {
            "target": target,
            "setting": setting,
            "model": f"model_{k}",
            "family": f"family_{k % 3}",
            "observed": 1.0 + k,
            "predicted": factor * (1.0 + k),
            "covered": k != 9,
        }
        for setting in SETTINGS
        for k in range(10)
    )


@pytest.fixture(scope="module")
def evidence():
    rows = pd.concat([predictions("energy_wh", 1.05), predictions("time_s", 0.8)], ignore_index=True)
    return Evidence(rows, predictions("memory", 1.01), cost.model())


@pytest.fixture(scope="module")
def made(evidence):
    rankings = pd.DataFrame(
        [
            {"setting": setting, "score": score, "spearman": rho, "top_ten_overlap": 0.9, "same_best": same}
            for setting, rho, same in (("lidc", 0.99, True), ("derma", 0.95, False))
            for score in ("E", "M", "M peak")
        ]
    )
    cpu = pd.DataFrame(
        {
            "model": ["a", "b", "c"],
            "calibrating": [True, False, False],
            "memory_bytes": [1.0, 2.0, 3.0],
            "predicted_memory_bytes": [2.0, 4.0, 6.0],
        }
    )
    transfer = pd.DataFrame(
        [
            {"predictor": "flops", "models": 3, "spearman": 0.5},
            {"predictor": "calibrated_s", "models": 3, "spearman": 1.0}
            | {"median_error": 0.125, "worst_error": 0.5, "tested": 2},
        ]
    )
    to_target = pd.DataFrame(
        {"model": ["a", "b", "c"], "target": 0.8, "energy_to_target_wh": [1.0, 4.0, np.nan]}
    )
    advice = pd.DataFrame([{"case": "free", "model": "a", "performance": 0.875, "stability": 0.5}])
    outweighed = pd.Series([100.0, 2000.0, 3000.0])
    return numbers.cost_numbers(evidence, rankings, cpu, transfer, to_target, outweighed, advice)


def test_errors_and_coverage_are_those_of_the_rows(made):
    assert made["energy_error_lidc"]["text"] == "5.0%" and made["time_error_lidc"]["text"] == "20.0%"
    assert made["memory_error_most"]["text"] == "1.0%" and made["memory_off_models"]["text"] == "none"
    by_family = pytest.approx((1 + 1 + 3 / 4) / 3)  # one of the four models of one family of three is outside
    assert made["coverage_energy"]["value"] == made["coverage_memory"]["value"] == by_family
    assert made["coverage_outside"]["value"] == 0
    assert made["sound_rows"]["value"] == 10 * len(SETTINGS) and made["families"]["value"] == 3


def test_the_least_rank_correlation_and_the_same_winners_are_counted_over_settings(made):
    assert made["rank_e_least"]["value"] == 0.95 and made["best_e_same"]["text"] == "1 of 2"
    assert made["rank_m_peak_lidc"]["text"] == "0.990" and made["top_e_derma"]["text"] == "9 of 10"


def test_a_calibration_is_judged_by_the_models_that_it_did_not_see(made):
    assert made["cpu_error"]["value"] == 0.125 and made["cpu_tested"]["text"] == "2"
    assert made["cpu_calibrating"]["text"] == "`a`" and made["cpu_memory_rank"]["text"] == "1.00"


def test_only_models_that_reached_the_target_have_an_energy_and_it_is_an_estimate(made):
    assert made["target_reached"]["text"] == "2 of 3" and made["target_dearest"]["text"] == "`b`"
    assert made["target_cheapest_wh"]["text"] == "1 Wh" and made["target_cheapest_wh"]["estimate"]
    assert made["inferences_median"]["text"] == "2,000" and made["inferences_median"]["estimate"]


def test_advice_is_quoted_with_its_performance(made):
    assert made["advice_free"]["text"] == "`a`" and made["advice_free_accuracy"]["text"] == "87.5%"


def test_an_aim_that_is_missed_says_no(evidence):
    aims = numbers.met(evidence).set_index(["setting", "aim"])["met"]
    assert aims["lidc", "memory: median error at most 2%"] == "yes"
    assert aims["lidc", "energy: intervals cover 85 to 95% by family"] == "yes"
    wide = Evidence(predictions("energy_wh", 1.3), predictions("memory", 1.5), {})
    missed = numbers.met(wide).set_index(["setting", "aim"])["met"]
    assert missed["lidc", "memory: at most four models off by over 10%"] == "no"
    assert missed["derma_pt", "energy: median error at most 10%"] == "no"


def test_tables_for_a_page_have_percentages(evidence):
    table = numbers.accuracy_table(evidence, "energy_wh")
    assert (
        "target" not in table and set(table["median_error"]) == {"5.0%"} and set(table["coverage"]) == {"92%"}
    )
    assert set(numbers.memory_table(evidence)["median_error"]) == {"1.0%"}
