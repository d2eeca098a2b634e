"""Figures: what they show, what they mark as estimated, that names do not collide, and that files repeat."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pepr import analysis, grids as pepr_grids
from pepr.analysis import carbon, energy, energy_figures, figures
from pepr.display import style as display_style

mpl.use("agg")


@pytest.fixture(scope="module")
def tables(synthetic_results):
    table = synthetic_results.table
    scores = analysis.pepr_table(table)
    peaks = analysis.peak_locations(synthetic_results, ("T", "E"), ("auroc",), n_resamples=200)
    return {
        "table": table,
        "scores": scores,
        "curves": analysis.curves(scores),
        "peaks": analysis.peak_table(peaks),
        "intervals": analysis.performance_intervals(synthetic_results, n_resamples=200),
        "epochs": energy.learning_curves(synthetic_results.records()),
    }


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    plt.close("all")


def every_figure(tables):
    scores, table = tables["scores"], tables["table"]
    yield "model_space", figures.model_space(scores)
    yield "performance", figures.performance_vs_resource(scores, tables["intervals"], "elpv")
    yield "pretrained", figures.performance_vs_resource(scores, tables["intervals"], "elpv_pt", "E")
    yield "curve", figures.pepr_curve(scores, tables["curves"], tables["peaks"], "elpv")
    yield "one_model", figures.pepr_curve(scores, tables["curves"], tables["peaks"], "elpv_small")
    yield "slopes", figures.paired_slopes(table)
    yield "learning", energy_figures.learning_curves(tables["epochs"], "tf_efficientnet_lite0")
    yield "components", energy_figures.energy_by_component(energy.by_component(table), "elpv")
    yield "windows", energy_figures.energy_by_window(energy.by_window(table), "elpv")
    yield "carbon", energy_figures.carbon_across_countries(pepr_grids.carbon_across_countries(0.002), "DNK")
    grams = carbon.grams_by_country(table)
    yield "carbon_of_models", energy_figures.carbon_of_models(grams, pepr_grids.country_names())
    yield "profile", figures.pepr_profile()
    yield "ranks", figures.rank_comparison(scores, "elpv", measure="balanced_accuracy")


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def texts_on(figure):
    """All visible texts of a figure, with the boxes that they take up."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    found = figure.findobj(mpl.text.Text)
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), mpl.text.Text.get_window_extent(text, renderer)) for text in shown]


def test_every_figure_fits_its_page_and_no_name_lies_over_another(tables):
    for name, figure in every_figure(tables):
        words = [(text, box) for text, box in texts_on(figure) if text[0].isalpha()]
        for text, box in words:
            page = figure.bbox
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
            assert inside, f"{name}: {text!r} leaves the page"
        for (one, a), (two, b) in itertools.combinations(words, 2):
            shrunk = mpl.transforms.Bbox.from_extents(a.x0 + 1, a.y0 + 2, a.x1 - 1, a.y1 - 2)
            assert not shrunk.overlaps(b), f"{name}: {one!r} lies over {two!r}"


def test_every_axis_with_numbers_has_a_label(tables):
    for name, figure in every_figure(tables):
        if name in ("ranks", "slopes"):
            continue
        outer = [
            axes
            for axes in figure.axes
            if axes.get_subplotspec() is None or axes.get_subplotspec().is_last_row()
        ]
        assert all(axes.get_xlabel() or axes.get_ylabel() for axes in outer), name


def test_a_saved_figure_repeats_byte_for_byte_and_keeps_its_text(tables, tmp_path):
    for name in ("a", "b"):
        display_style.save(figures.model_space(tables["scores"]), tmp_path / f"{name}.svg")
    first = (tmp_path / "a.svg").read_text()
    assert first == (tmp_path / "b.svg").read_text()
    assert "Parameters (millions)</text>" in first and "<dc:date>" not in first
    assert "http://www.w3.org" in first and "<image" not in first


def test_estimates_are_hollow_and_the_legend_says_so(tables):
    for resource, estimated in (("E", True), ("T", False)):
        figure = figures.model_space(tables["scores"], resource)
        markers = [
            line for line in figure.axes[0].lines if line.get_marker() in "os" and len(line.get_xdata())
        ]
        hollow = [line.get_markerfacecolor() == "white" for line in markers]
        assert all(hollow) is estimated and any(hollow) is estimated
        assert any("(estimated)" in text for text in legend_texts(figure)) is estimated


def test_a_curve_over_an_estimated_resource_is_dashed(tables):
    for resource, style in (("E", "--"), ("T", "-")):
        figure = figures.pepr_curve(tables["scores"], tables["curves"], tables["peaks"], "elpv", resource)
        drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 100]
        assert len(drawn) == 2 and {line.get_linestyle() for line in drawn} == {style}


def test_the_curve_is_drawn_through_the_best_score_at_the_peak(tables):
    figure = figures.pepr_curve(tables["scores"], tables["curves"], tables["peaks"], "elpv")
    curve = next(
        line for line in figure.axes[0].lines if line.get_color() == display_style.PALETTE["vermillion"]
    )
    peak = tables["peaks"].query("setting == 'elpv' and resource == 'T' and measure == 'auroc'").iloc[0]
    assert curve.get_ydata().max() == pytest.approx(peak["score"], abs=0.005)


def test_estimated_energy_is_hatched_and_measured_energy_is_not(tables):
    components = energy.by_component(tables["table"])
    for measured, hatch in ((False, "////"), (True, None)):
        figure = energy_figures.energy_by_component(components.assign(measured=measured), "elpv")
        assert {bar.get_hatch() for bar in figure.axes[0].patches} == {hatch}
        assert all(("(estimated)" in text) is not measured for text in legend_texts(figure))


def test_a_contended_model_is_crossed_out(tables):
    figure = figures.model_space(tables["scores"])
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    row = tables["scores"].query("model == 'ghostnet_100' and resource == 'T'").iloc[0]
    assert crosses[0].get_ydata().tolist() == [row["resource_value"]]
    assert any("shared the CPU" in text for text in legend_texts(figure))


def test_the_chosen_country_is_ringed(tables):
    grids = pepr_grids.carbon_across_countries(0.002)
    figure = energy_figures.carbon_across_countries(grids, "POL")
    assert "Poland" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "Poland" in legend_texts(figure)


def test_only_models_that_change_rank_stand_out(tables):
    figure = figures.rank_comparison(tables["scores"], "elpv", measure="balanced_accuracy")
    moved = [line for line in figure.axes[0].lines if line.get_color() == display_style.PALETTE["vermillion"]]
    differences = analysis.rank_differences(tables["scores"])
    row = differences.query("setting == 'elpv' and resource == 'T' and measure == 'balanced_accuracy'").iloc[
        0
    ]
    assert len(moved) == row["n_ranks_differ"]


def test_names_are_moved_apart_as_little_as_needed():
    heights = np.array([0.5, 0.1, 0.5, 0.9])
    spread = figures.spread_out(heights, 0.1)
    np.testing.assert_allclose(spread, [0.45, 0.1, 0.55, 0.9])
    crowded = figures.spread_out(np.full(5, 1.0), 0.1)
    assert np.diff(np.sort(crowded)).min() == pytest.approx(0.1) and crowded.max() <= 1.0


def test_many_models_are_named_only_where_names_fit(tables):
    scores = tables["scores"].query("setting == 'elpv'")
    many = [
        scores.assign(model=scores["model"] + f"_{copy}", num_params=scores["num_params"] + copy)
        for copy in range(4)
    ]
    figure = figures.model_space(pd.concat(many, ignore_index=True))
    names = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(names) == figures.MOST_NAMES
