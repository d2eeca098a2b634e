"""Baselines in the analysis: ranked and drawn with the networks, and no part of what is said of networks."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import simulated_run, write_synthetic

from pepr import analysis, runs
from pepr.analysis import claims, figures, numbers, scores as run_scores, standings
from pepr.analysis.peaks import PEAK_COLUMNS

mpl.use("agg")


@pytest.fixture(scope="module")
def networks(synthetic_results):
    return run_scores.with_sets(synthetic_results.table)


@pytest.fixture(scope="module")
def with_baseline(networks):
    """The same runs, and one baseline that is as good as the best of them in a hundredth of the time."""
    like = networks.query("model == 'dla46_c' and setting == 'elpv'")
    best = networks.query("setting == 'elpv'")["test_auroc"].max()
    row = like.assign(
        run_id="elpv-elpv-pca_svm-s0-00000000",
        model="pca_svm",
        num_params=pd.NA,
        epochs=1,
        test_auroc=best,
        train_time_s=0.01 * like["train_time_s"],
        train_cpu_time_s=0.01 * like["train_cpu_time_s"],
    )
    return pd.concat([networks, row.astype(networks.dtypes)], ignore_index=True)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with a baseline in it: fitted once, where networks have three epochs, and cheapest by far."""
    folder = write_synthetic(tmp_path_factory.mktemp("study"))
    record, probabilities, labels = simulated_run("dla46_c", "elpv", 0)
    spec = runs.RunSpec.from_dict(record | {"model": "pca_svm", "epochs": 1})
    record |= spec.as_dict() | {"run_id": spec.run_id, "num_params": None}
    record |= {"train_time_s": 0.2, "train_cpu_time_s": 0.2}
    store = runs.Store(folder.parent, folder.name)
    store.write_predictions(spec.run_id, probabilities, labels)
    store.write_record(record)
    runs.collect(store)
    return runs.Results("pocket", "this machine", folder)


def test_a_baseline_is_of_the_set_of_the_networks_that_it_stands_beside(study):
    assert set(study.table.query("setting == 'elpv'")["epochs"]) == {1, 3}
    assert study.table.query("model == 'pca_svm'")["epochs"].item() == 1  # as recorded
    scores = analysis.pepr_table(study.table).query("setting == 'elpv'")
    assert scores.groupby(run_scores.SET, dropna=False).ngroups == 1
    ranked = scores.query("resource == 'T' and measure == 'auroc'").set_index("model")
    assert ranked["rank"]["pca_svm"] == 1 and ranked["rank"].max() > 5
    assert ranked["resource_norm"]["pca_svm"] == 0 < ranked["resource_norm"]["mobilenetv2_050"]


@pytest.mark.parametrize("measure", ["auroc", "accuracy", "auroc_above_chance"])
def test_the_table_the_curve_its_peak_and_the_ring_name_one_winner_baselines_included(study, measure):
    scores = analysis.pepr_table(study.table)
    rows = scores.query("setting == 'elpv' and resource == 'T' and measure == @measure").set_index("model")
    winner, best = rows["score"].idxmax(), rows["score"].max()
    curves = analysis.curves(scores)
    curve = curves.query("setting == 'elpv' and resource == 'T' and measure == @measure")
    assert curve["score"].max() == pytest.approx(best)
    peaks = analysis.peak_table(analysis.peak_locations(study, ("T",), (measure,), n_resamples=50))
    (peak,) = peaks.query("setting == 'elpv'").to_dict("records")
    assert (peak["model"], peak["score"]) == (winner, pytest.approx(best))
    assert peak["n_models"] == rows["score"].notna().sum()
    intervals = analysis.performance_intervals(study, n_resamples=20)
    drawn = figures.performance_vs_resource(scores, intervals, "elpv", measure=measure)
    (ring,) = [line for line in drawn.axes[0].lines if line.get_markersize() == 13]
    assert ring.get_xydata().ravel() == pytest.approx(
        [rows.loc[winner, "resource_value"], rows.loc[winner, "performance"]]
    )
    stepped = figures.pepr_curve(scores, curves, peaks, "elpv", measure=measure)
    named = [text.get_text() for text in stepped.axes[0].texts]
    assert winner in named
    if measure == "auroc":
        assert winner == "pca_svm"


def test_a_baseline_stands_among_the_networks_that_are_ranked_by_performance(study):
    stands = standings.standings(study, n_resamples=20).query("setting == 'elpv'")
    assert stands.groupby(run_scores.SET).ngroups == 1 and "pca_svm" in set(stands["model"])


def test_of_several_ways_of_training_a_baseline_stands_beside_the_commonest(study):
    table = study.table.copy()
    table.loc[table["model"] == "resnetv2_50", ["epochs", "batch_size"]] = 9, 16
    (row,) = run_scores.with_sets(table).query("model == 'pca_svm'").to_dict("records")
    assert (row["epochs"], row["batch_size"]) == (3, 32)


def test_a_baseline_that_failed_or_has_no_network_beside_it_keeps_its_row(study):
    table = study.table.copy()
    table.loc[table["model"] == "pca_svm", "hardware"] = pd.NA
    failed = run_scores.with_sets(table).query("model == 'pca_svm'")
    assert failed["epochs"].item() == 3 and failed["hardware"].item() == "simulated CPU, 2 cores"
    alone = study.table.query("model == 'pca_svm'")
    assert run_scores.with_sets(alone)["epochs"].item() == 1


def test_a_figure_of_two_sets_of_a_setting_is_of_the_larger(study):
    """Two machines: the curve is that of one, and not of both in turn."""
    table = study.table.copy()
    table.loc[table["model"].isin(["resnet18d", "resnet14t"]), "hardware"] = "another machine"
    scores = analysis.pepr_table(table)
    peaks = pd.DataFrame(columns=[*run_scores.SET, "resource", "measure", *PEAK_COLUMNS])
    drawn = figures.pepr_curve(scores, analysis.curves(scores), peaks, "elpv")
    lines = [line for line in drawn.axes[0].lines if len(line.get_xdata()) > 100]
    best = lines[0].get_ydata()
    assert (np.diff(best) >= 0).all()
    (points,) = [line for line in drawn.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    of_one = scores.query("setting == 'elpv' and resource == 'T' and measure == 'auroc'")
    of_one = of_one.query("hardware == 'simulated CPU, 2 cores'").dropna(subset=["score"])
    assert len(points.get_xdata()) == len(of_one)


def test_what_is_claimed_of_networks_is_the_same_with_and_without_a_baseline(networks, with_baseline):
    expected, found = claims.findings(networks), claims.findings(with_baseline)
    against = [one for one in found if one.name.endswith("beats_baseline")]
    assert len(against) == 1  # a network against the baseline is a question of its own
    found = [one for one in found if one not in against]
    assert [(one.id, one.result.effect, one.basis) for one in found] == [
        (one.id, one.result.effect, one.basis) for one in expected
    ]


def test_a_figure_of_scores_draws_a_baseline_as_one(synthetic_results, with_baseline):
    intervals = analysis.performance_intervals(synthetic_results, n_resamples=50)
    found = figures.performance_vs_resource(analysis.pepr_table(with_baseline), intervals, "elpv")
    legend = [text.get_text() for text in found.legends[0].get_texts()]
    assert "baseline" in legend and "from scratch" in legend


def test_baselines_alone_are_drawn_and_counted_as_far_as_it_goes(with_baseline):
    alone = with_baseline[with_baseline["model"] == "pca_svm"]
    assert numbers.networks_only(alone).equals(alone)
    assert set(numbers.networks_only(with_baseline)["model"]) == set(with_baseline["model"]) - {"pca_svm"}
    assert not figures.model_space(analysis.pepr_table(alone)).legends
