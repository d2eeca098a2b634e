"""The prior for a meter on the wall: a band around estimates, intervals of ranks, no other energy."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pepr import analysis, runs
from pepr.analysis import energy, energy_figures, numbers, pipeline, scores as run_scores

mpl.use("agg")

SHIPPED = runs.Results("pocket", "reference", runs.reference_folder("pocket"))


def scores_of(performance, energy_kwh, kind="estimated"):
    """The rows of one set by E and AUROC, as `pepr_table` has them."""
    table = pd.DataFrame({"performance": performance, "resource_value": energy_kwh, "kind": kind})
    table["model"] = [f"m{row}" for row in range(len(table))]
    table = table.assign(resource="E", measure="auroc", **dict.fromkeys(run_scores.SET, "alike"))
    return table.assign(score=run_scores.pepr(table["performance"], table["resource_value"]))


def test_the_band_is_where_the_reported_energy_is_the_priors_share_of_the_walls():
    low, high = energy.band(0.39, 0.0)
    assert high == pytest.approx(1.0) and low * energy.PROCESSOR.high == pytest.approx(0.39)


def test_of_memory_the_prior_says_nothing():
    assert energy.band(0.0, 2.0) == (2.0, 2.0)
    low, high = energy.band(0.39, 2.0)
    assert high == pytest.approx(3.0) and low == pytest.approx(2.0 + 0.39 / energy.PROCESSOR.high)


def test_the_processors_share_of_the_reference_is_what_its_components_say_and_narrows_every_band():
    shares = energy.processor_shares(SHIPPED.table)
    one = SHIPPED.table.query("setting == 'elpv' and model == 'dla46_c'")
    found = shares.query("setting == 'elpv' and model == 'dla46_c'")["processor_share"].item()
    assert found == pytest.approx(one["energy_cpu_kwh"].sum() / one["energy_kwh"].sum()) and found < 0.5
    ranks = pipeline.Analysis(SHIPPED).wall_ranks
    assert (ranks["wall_high_wh"] < ranks["energy_wh"] / energy.PROCESSOR.low).all()
    assert (ranks["wall_low_wh"] > ranks["energy_wh"]).all()


def shares_of(scores, share=1.0):
    return scores[[*run_scores.SET, "model"]].drop_duplicates().assign(processor_share=share)


def test_models_of_like_energy_may_change_places_and_one_far_off_may_not():
    scores = scores_of([0.9, 0.9, 0.9], [1.0, 1.05, 100.0])
    ranks = energy.rank_intervals(scores, shares_of(scores)).set_index("model")
    assert ranks["rank"].tolist() == [1, 2, 3]
    assert ranks.loc["m0", ["rank_low", "rank_high"]].tolist() == [1, 2]
    assert ranks.loc["m1", ["rank_low", "rank_high"]].tolist() == [1, 2]
    assert ranks.loc["m2", ["rank_low", "rank_high"]].tolist() == [3, 3]
    of_memory = energy.rank_intervals(scores, shares_of(scores, 0.0))
    assert (of_memory["rank_low"] == of_memory["rank_high"]).all(), "the prior moves no energy of memory"


def test_every_rank_lies_in_its_interval_and_the_draws_are_the_same_each_time(synthetic_results):
    scores = analysis.pepr_table(synthetic_results.table)
    shares = energy.processor_shares(synthetic_results.table)
    ranks = energy.rank_intervals(scores, shares)
    assert len(ranks) and (ranks["rank_low"] <= ranks["rank"]).all()
    assert (ranks["rank"] <= ranks["rank_high"]).all()
    pd.testing.assert_frame_equal(ranks, energy.rank_intervals(scores, shares))


def test_metered_energies_have_no_band_and_no_number():
    scores = scores_of([0.9, 0.8], [1.0, 2.0], "measured")
    ranks = energy.rank_intervals(scores, shares_of(scores))
    assert ranks.empty and energy.wall_numbers(ranks) == {}


def test_the_figure_by_component_shows_the_band_of_the_processors_part_and_says_what_it_is(synthetic_results):
    table = synthetic_results.table
    components = energy.by_component(table)
    figure = energy_figures.energy_by_component(components, "elpv")
    (axes,) = figure.axes
    (bands,) = axes.collections
    ends = np.array([[segment[0][0], segment[1][0]] for segment in bands.get_segments()])
    of_setting = components[components["setting"] == "elpv"]
    wide = of_setting.pivot_table(index="model", columns="component", values="energy_wh")
    rest = wide.sum(axis=1) - wide["cpu"]
    for end, share in ((0, energy.PROCESSOR.high), (1, energy.PROCESSOR.low)):
        assert np.allclose(np.sort(ends[:, end]), np.sort(rest + wide["cpu"] / share))
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert any("CPU's part been read on the wall" in text for text in texts)
    assert not energy_figures.energy_by_window(energy.by_window(table), "elpv").axes[0].collections
    metered = energy.by_component(table).assign(measured=True)
    assert not energy_figures.energy_by_component(metered, "elpv").axes[0].collections
    plt.close("all")


def test_prose_can_quote_the_prior_and_no_bill_is_multiplied_by_that_of_another_processor(synthetic_results):
    quoted = pipeline.Analysis(synthetic_results).numbers("03_energy")
    assert quoted["wall_median"]["text"] == "0.68" and quoted["wall_rank_width"]["estimate"]
    assert "wall_total" not in quoted


def test_litres_are_quoted_where_a_factor_was_given(synthetic_results):
    table = synthetic_results.table
    assert numbers.water_numbers(table) == {}
    quoted = numbers.water_numbers(table.assign(water_l_per_kwh=1.8, water_l=1.8 * table["energy_kwh"]))
    assert quoted["water_factor"]["text"] == "1.8 L/kWh" and quoted["bill_water"]["text"].endswith("mL")
