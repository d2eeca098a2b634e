"""The figures of predicted costs show every model that they are given, in the units that they name."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from pepr.costs import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rows(settings=("lidc",), n=12):
    """Predictions made by hand: the k-th model is off by a factor of 1 + k / 20."""
    return pd.DataFrame(
        {
            "setting": setting,
            "model": f"model_{k}",
            "family": f"family_{k % 4}",
            "target": "energy_wh",
            "observed": 2.0 + k,
            "predicted": (2.0 + k) * (1 + k / 20),
            "covered": k != n - 1,
        }
        for setting in settings
        for k in range(n)
    )


def points(axes, marker="o"):
    return [line for line in axes.lines if line.get_marker() == marker]


def drawn(axes, marker="o"):
    return sum(len(line.get_xdata()) for line in points(axes, marker))


def names(axes):
    return {text.get_text() for text in axes.texts}


def test_memory_is_shown_in_gigabytes_with_the_relative_error_beside_it():
    table = rows().assign(observed=lambda t: t["observed"] * 1e9, predicted=lambda t: t["predicted"] * 1e9)
    left, right = figures.memory(table).axes[:2]
    (line,) = points(left)
    assert line.get_xdata().max() == pytest.approx(13.0)
    (errors,) = points(right)
    assert errors.get_ydata()[-1] == pytest.approx(11 / 20)
    assert "GB" in left.get_xlabel() and "model_11" in names(right)


def test_energy_outside_its_interval_is_a_cross_and_every_setting_has_its_axes():
    drawn_axes = figures.energy(rows(("lidc", "derma")), ("lidc", "derma")).axes
    assert [axes.get_title("left") for axes in drawn_axes] == ["lidc", "derma"]
    for axes in drawn_axes:
        assert (drawn(axes), drawn(axes, "x")) == (11, 1)
        assert axes.get_xscale() == axes.get_yscale() == "log"


def test_families_are_sorted_by_how_far_they_are_missed():
    table = rows().assign(predicted=lambda t: t["observed"] * (1 + (t["family"] == "family_2")))
    (axes,) = figures.families(table).axes
    assert axes.get_yticklabels()[-1].get_text() == "family_2"
    assert drawn(axes) == len(table)


def test_a_term_that_takes_next_to_nothing_is_left_out_of_the_bars():
    shares = pd.DataFrame(
        {"image": [0.7, 0.5], "parameters": [0.299, 0.499], "epoch": [0.001, 0.001]}, ["a", "b"]
    )
    figure = figures.by_term(shares)
    (axes,) = figure.axes
    assert len(axes.patches) == 4 and axes.get_xlim() == (0, 1)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [figures.TERM_LABELS["image"], figures.TERM_LABELS["parameters"]]


def test_every_term_of_the_cost_model_has_words():
    from pepr.costs import model

    assert set(model.TERMS) <= set(figures.TERM_LABELS)


def test_models_that_calibrated_are_marked_and_the_left_axes_hold_those_that_the_authors_ran():
    table = pd.DataFrame(
        {
            "model": list("abcd"),
            "time_s": [10.0, 20.0, 40.0, 80.0],
            "calibrated_s": [11.0, 19.0, 44.0, 70.0],
            "calibrating": [True, False, False, False],
            "published_wh": [1.0, np.nan, 3.0, 5.0],
        }
    )
    left, right = figures.on_cpu(table).axes[:2]
    assert drawn(left) == 3
    assert (drawn(right), drawn(right, "s")) == (3, 1)
    assert drawn(figures.on_cpu(table.drop(columns="published_wh")).axes[0]) == 0


def test_a_model_that_never_reaches_the_target_is_a_cross_below_the_others():
    table = pd.DataFrame(
        {
            "model": list("abc"),
            "target": 0.8,
            "energy_wh": [10.0, 20.0, 30.0],
            "energy_to_target_wh": [2.0, 8.0, np.nan],
        }
    )
    (axes,) = figures.targets(table, "lidc").axes
    assert (drawn(axes), drawn(axes, "x")) == (2, 1)
    (cross,) = points(axes, "x")
    assert cross.get_ydata()[0] < 2.0 and "80.0%" in axes.get_ylabel()


def test_names_of_points_that_lie_together_are_not_written_over_each_other():
    table = rows().assign(observed=5.0, predicted=5.5)
    (axes,) = figures.energy(table, ("lidc",)).axes
    assert len(axes.texts) == 1
