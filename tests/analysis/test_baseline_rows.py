"""Baselines in the analysis: ranked and drawn with the networks, and no part of what is said of networks."""

import matplotlib as mpl
import pandas as pd
import pytest

from pepr import analysis
from pepr.analysis import claims, figures, numbers, scores as run_scores

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


def test_a_baseline_is_ranked_with_the_networks(with_baseline):
    ranked = analysis.pepr_table(with_baseline).query(
        "setting == 'elpv' and resource == 'T' and measure == 'auroc'"
    )
    assert ranked.set_index("model")["rank"]["pca_svm"] == 1


def test_what_is_claimed_of_networks_is_the_same_with_and_without_a_baseline(networks, with_baseline):
    expected, found = claims.findings(networks), claims.findings(with_baseline)
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
    assert numbers._networks(alone).equals(alone)
    assert set(numbers._networks(with_baseline)["model"]) == set(with_baseline["model"]) - {"pca_svm"}
    assert not figures.model_space(analysis.pepr_table(alone)).legends
