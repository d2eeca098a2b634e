"""PePR beside other scores: who wins, where they agree, what PePR pays for a watt-hour, by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from pepr.analysis import composites as compared
from pepr.analysis.composites import ComparedSet


def made(name="here", measure="auroc", performance=(0.5, 0.7, 0.8), energy=(1.0, 2.0, 5.0), chance=0.5):
    performance, energy = np.array(performance), np.array(energy)
    return ComparedSet(
        name=name,
        measure=measure,
        chance=chance,
        models=["ant", "bee", "cicada"],
        performance=performance,
        above=(performance - chance) / (1 - chance),
        energy_wh=energy,
        num_params=np.array([1e6, 2e6, 5e6]),
        macs=np.array([1e8, 2e8, 5e8]),
    )


def a_twentieth(chance):
    """A margin as the studies have them: of what a guesser leaves."""
    return 0.05 * (1 - chance)


def numbers_of(*sets, estimated=False):
    return compared.comparison_numbers(sets, sets, estimated, a_twentieth)


def test_who_wins_depends_on_whether_chance_is_paid_for():
    (row,) = compared.winners([made()]).to_dict("records")
    # PePR: 0.5, 0.7 / 1.25 = 0.56, 0.4; above chance 0, 0.32, 0.3; for a watt-hour 0.5, 0.35, 0.16.
    assert row == {
        "set": "here",
        "pepr": "bee",
        "pepr_above": "bee",
        "performance": "cicada",
        "per_wh": "ant",
        "netscore": "ant",
        "cheapness": "ant",
    }


def test_agreement_is_kendalls_tau_with_pepr():
    (row,) = compared.agreement([made()]).to_dict("records")
    # PePR orders bee, ant, cicada; performance cicada, bee, ant: of three pairs one alike.
    assert row["performance"] == pytest.approx(-1 / 3) and row["cheapness"] == pytest.approx(1 / 3)
    assert np.isnan(row["pareto"])  # no model dominates another: one front, no order


def test_a_tau_over_fewer_models_than_the_sets_says_over_how_many():
    whole = {"set": "s", "models": 9, **dict.fromkeys(compared.SCORES, 0.5)}
    whole |= {f"{name}_models": 9 for name in compared.SCORES}
    line = compared.agreement_table(pd.DataFrame([whole | {"netscore_models": 4, "netscore": 1.0}]))
    assert line.splitlines()[-1].count("1.00 (of 4)") == 1 and "(of 9)" not in line


def test_points_for_a_watt_hour_are_the_slope_of_the_line_of_equal_score():
    one = made()
    (row,) = compared.exchange([one]).to_dict("records")
    assert row["range_wh"] == 4.0 and row["chance"] == pytest.approx(0.5)
    assert row["points_per_wh"] == pytest.approx(100 * 0.56 / 4)
    assert row["points_per_wh_above"] == pytest.approx(100 * 0.5 * 0.32 / 4)
    # One watt-hour more and so many points more: the same score.
    for slope, chance in ((row["points_per_wh"], 0.0), (row["points_per_wh_above"], 0.5)):
        p = one.performance[1]
        before = (p - chance) / (1 - chance) / 1.25
        after = (p + slope / 100 - chance) / (1 - chance) / 1.5
        assert after == pytest.approx(before)


def test_where_the_winner_stands_by_performance_and_whom_a_guesser_beats():
    dear = made(performance=(0.6, 0.7, 0.8), energy=(1.0, 4.0, 5.0))
    (row,) = compared.winners_places([dear]).to_dict("records")
    assert (row["model"], row["place"], row["best"]) == ("ant", 3, "cicada")
    assert row["guesser_beats"] == 2  # 0.7 / 1.75 and 0.8 / 2 are below 0.5
    (own,) = compared.winners_places([made(performance=(0.5, 0.7, 0.8))]).to_dict("records")
    assert own["guesser_beats"] == 1  # the guesser in the set, with exactly chance, is not below itself
    assert row["guesser_beats_worse"] == own["guesser_beats_worse"] == 0
    below = made(performance=(0.6, 0.4, 0.8), energy=(1.0, 4.0, 5.0))
    (row,) = compared.winners_places([below]).to_dict("records")
    assert (row["guesser_beats"], row["guesser_beats_worse"]) == (2, 1)


def test_the_numbers_name_the_worst_winner_and_the_guesser_or_are_not_there():
    dear = made("dear", performance=(0.6, 0.7, 0.8), energy=(1.0, 4.0, 5.0))
    numbers = numbers_of(made(), dear, estimated=True)
    assert numbers["compared_worst_set"]["value"] == "dear" and numbers["compared_worst_place"]["value"] == 3
    assert (
        numbers["compared_worst_gap"]["text"] == "20.0 hundredths"
        and numbers["compared_worst_place"]["estimate"]
    )
    assert numbers["compared_guesser_beats"]["value"] == 2
    for key in ("agreement", "winners", "exchange"):
        table = numbers[f"compared_{key}"]["text"].splitlines()
        assert len(table) == 4 and len({line.count("|") for line in table}) == 1, key
    only_worse = made(performance=(0.9, 0.2, 0.3))
    assert "compared_guesser_set" not in numbers_of(only_worse)
    best = made(performance=(0.9, 0.7, 0.8), chance=0.1)
    kind = numbers_of(best)
    assert "compared_worst_set" not in kind and "compared_guesser_set" not in kind
    assert numbers_of() == {}


def test_the_worst_winner_is_the_one_most_margins_behind_and_a_tie_is_called_one():
    # A lower place by less than the margin of 0.025 is no worse than the second place by more than it.
    close = made("close", performance=(0.795, 0.8, 0.81), energy=(1.0, 4.0, 5.0))
    behind = made("behind", performance=(0.7, 0.6, 0.8), energy=(1.0, 4.0, 5.0))
    both = numbers_of(close, behind)
    assert both["compared_worst_set"]["value"] == "behind"
    assert both["compared_worst_margin"]["text"] == "more than 2.5 hundredths"
    assert numbers_of(close)["compared_worst_margin"]["text"] == "no more than 2.5 hundredths"
    assert numbers_of(close)["compared_worst_gap"]["text"] == "1.5 hundredths"


def test_how_far_a_winner_is_behind_has_an_interval_over_splits():
    by_split = np.array([[0.6, 0.6, 0.6], [0.7, 0.7, 0.7], [0.8, 0.6, 0.7]])
    one = made(performance=(0.6, 0.65, 0.7), energy=(1.0, 4.0, 5.0))
    numbers = numbers_of(dataclasses.replace(one, by_split=by_split))
    # 0.2, 0.0, 0.1: mean 0.1, t of two degrees 4.303 times 0.1 / sqrt(3).
    assert numbers["compared_worst_gap"]["text"] == (
        "10.0 hundredths (95% interval over splits −14.8 to 34.8, so that neither is shown to be better)"
    )


def test_two_splits_make_no_interval_and_one_run_each_has_that_of_its_test_images():
    one = made(performance=(0.6, 0.65, 0.7), energy=(1.0, 4.0, 5.0))
    two = dataclasses.replace(one, by_split=np.array([[0.6, 0.6], [0.7, 0.6], [0.8, 0.6]]), n_test=100)
    assert numbers_of(two)["compared_worst_gap"]["text"] == "10.0 hundredths"
    # 1.96 times the root of (0.6 times 0.4 and 0.7 times 0.3) over 4500 images: 2.0.
    counted = numbers_of(dataclasses.replace(one, n_test=4500))
    assert counted["compared_worst_gap"]["text"] == (
        "10.0 hundredths (95% interval over the test images, models failing independently, 8.0 to 12.0)"
    )


def test_a_price_beyond_all_points_is_one_for_a_thousandth_of_a_watt_hour():
    small, large = made(energy=(0.001, 0.002, 0.005)), made()
    cells = [
        numbers_of(one)["compared_exchange"]["text"].splitlines()[-1].split(" | ") for one in (small, large)
    ]
    assert [row[4] for row in cells] == ["14.0 for 1 mWh", "14.0 for 1 Wh"]
    near = numbers_of(made(performance=(0.51, 0.52, 0.51), energy=(0.1, 0.2, 0.5)))["compared_exchange"][
        "text"
    ]
    assert near.count(" for 1 mWh") == 2, "of one set both prices are for the same energy"


def test_the_sets_of_a_study_are_those_with_three_models_or_more(synthetic_results):
    sets = {one.name: one for one in compared.sets_of_study(synthetic_results.table)}
    assert set(sets) == {"elpv", "elpv_pt"}
    one = sets["elpv"]
    assert np.isfinite(one.scores["netscore"]).all() and one.chance == pytest.approx(0.5)
    assert np.nanmean(one.by_split, axis=1) == pytest.approx(one.performance)
    assert "ghostnet_100" not in one.models  # shared the processor: no energy to rank by
    numbers = compared.study_numbers(synthetic_results.table)
    lines = numbers["compared_exchange"]["text"].splitlines()
    assert len(lines) == 2 + 2 * 3 and "balanced accuracy" in lines[3]
    assert numbers["compared_other_winner"]["estimate"]


def test_chance_is_the_mean_over_the_runs_of_a_set(synthetic_results):
    table = synthetic_results.table.copy()
    own = (table["setting"] == "elpv_pt") & (table["status"] == "ok") & (table["split"] == 0)
    table.loc[own, "test_majority_rate"] = [0.6] * (own.sum() - 1) + [0.8]
    sets = {one.name: one for one in compared.sets_of_study(table, "accuracy")}
    assert sets["elpv_pt"].chance == pytest.approx(0.6 + 0.2 / own.sum())


def test_a_model_that_the_atlas_does_not_have_has_no_netscore():
    assert np.isnan(compared.macs_of("pca_svm", [64])) and np.isnan(compared.macs_of("resnet18d", []))
    assert compared.macs_of("resnet18d", [65, 64]) > 0
