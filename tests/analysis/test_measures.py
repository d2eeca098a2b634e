"""Measures above chance: of runs, of resamples, in scores, peaks and claims; names that no measure has."""

import numpy as np
import pandas as pd
import pytest

from pepr import analysis, quantities, runs, stats
from pepr.analysis import claims, measures
from pepr.errors import InputError


@pytest.fixture(scope="module")
def table(synthetic_results):
    return synthetic_results.table


def test_every_measure_that_a_run_records_has_one_above_chance_and_draws():
    assert set(quantities.ABOVE_CHANCE) == set(quantities.RECORDED) == set(measures.RESAMPLED)
    chances = {known.chance for known in quantities.MEASURES.values() if known.of}
    assert chances == set(measures.CHANCE_OF_RUNS) == set(measures.CHANCE_OF_RESAMPLES)


def test_measures_above_chance_of_a_run_by_hand(table):
    run = table.query("model == 'dla46_c'").head(1)
    row = run.iloc[0]
    found = {name: measures.values(run, name).iloc[0] for name in quantities.MEASURES}
    assert found["auroc"] == row["test_auroc"]
    assert found["auroc_above_chance"] == pytest.approx(2 * row["test_auroc"] - 1)
    assert found["balanced_accuracy_above_chance"] == pytest.approx(2 * row["test_balanced_accuracy"] - 1)
    rate = row["test_majority_rate"]
    assert found["accuracy_above_majority"] == pytest.approx((row["test_accuracy"] - rate) / (1 - rate))


def test_balanced_accuracy_is_above_one_over_the_classes_that_were_tested(table):
    run = table.query("model == 'dla46_c'").head(1).assign(test_balanced_accuracy=0.5)
    seven = run.assign(n_test_classes=7, test_sensitivity=np.nan)
    name = "balanced_accuracy_above_chance"
    assert measures.values(seven, name).iloc[0] == pytest.approx((0.5 - 1 / 7) / (6 / 7))
    before = run.assign(n_test_classes=pd.array([pd.NA], dtype="Int64"))
    assert measures.values(before, name).iloc[0] == 0.0
    assert np.isnan(measures.values(before.assign(test_sensitivity=np.nan), name).iloc[0])


def test_the_least_that_a_measure_can_be_is_what_is_wrong_every_time(table):
    runs_of_two = table.query("model == 'dla46_c'")
    nothing = runs_of_two.assign(test_accuracy=0.0, test_balanced_accuracy=0.0, test_auroc=0.0)
    for name in quantities.MEASURES:
        least = measures.lowest(runs_of_two, name)
        assert least == pytest.approx(measures.values(nothing, name).min()), name
        assert (least < 0) == bool(quantities.MEASURES[name].of)


@pytest.mark.parametrize("classes", [2, 5])
def test_who_always_gives_the_commonest_answer_earns_nothing_in_any_resample(classes):
    labels = np.random.default_rng(0).choice(classes, 200, p=np.eye(classes)[0] * 0.5 + 0.5 / classes)
    probabilities = np.tile(np.bincount(labels, minlength=classes) / 200, (200, 1))
    counts = stats.resample_counts(200, 300)
    above = [name for name, known in quantities.MEASURES.items() if known.of]
    for name, drawn in measures.resampled(above, probabilities, labels, counts).items():
        assert drawn.shape == (300,) and np.abs(drawn).max() < 1e-12, name


def test_resamples_hold_what_each_gives_when_it_is_measured_alone():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 60), rng.random(60)
    probabilities, counts = np.column_stack([1 - scores, scores]), stats.resample_counts(60, 20)
    found = measures.resampled(tuple(quantities.MEASURES), probabilities, labels, counts)
    for at, times in enumerate(counts.astype(int)):
        drawn, guessed = np.repeat(labels, times), np.repeat(probabilities, times, axis=0)
        right, rate = np.mean(guessed.argmax(1) == drawn), np.bincount(drawn).max() / 60
        assert found["accuracy_above_majority"][at] == pytest.approx((right - rate) / (1 - rate))
        alone = measures.resampled(("auroc_above_chance",), guessed, drawn, np.ones((1, 60)))
        assert found["auroc_above_chance"][at] == pytest.approx(alone["auroc_above_chance"][0])


@pytest.mark.parametrize("name", ["f1", "auroc_above_majority", ""])
def test_a_measure_that_there_is_none_of_is_an_error_that_names_those_there_are(
    synthetic_results, table, name
):
    for use in (
        lambda: measures.values(table, name),
        lambda: analysis.run_draws(synthetic_results, table.head(1), name, 2),
        lambda: analysis.peak_locations(synthetic_results, ("T",), (name,), 2),
    ):
        with pytest.raises(
            InputError, match=f"measure '{name}': expected one of accuracy, .*auroc_above_chance"
        ):
            use()


def test_a_model_below_chance_is_shown_as_it_is_scored_zero_and_flagged(table):
    bad = table.copy()
    bad.loc[bad["model"] == "resnetv2_50", "test_auroc"] = 0.4
    rows = analysis.pepr_table(bad).query("setting == 'elpv' and resource == 'T'").set_index("model")
    above = rows.query("measure == 'auroc_above_chance'")
    assert above.loc["resnetv2_50", "performance"] == pytest.approx(-0.2)
    assert above.loc["resnetv2_50", "score"] == 0 and above["score"].min() == 0
    assert list(above.index[above["below_chance"]]) == ["resnetv2_50"]
    assert rows.query("measure == 'auroc'").loc["resnetv2_50", "score"] > 0
    curve = analysis.curves(analysis.pepr_table(bad)).query("measure == 'auroc_above_chance'")
    assert (curve["best_performance"] >= 0).all()


def test_scores_above_chance_use_the_same_range_and_the_mean_over_seeds(table):
    scores = analysis.pepr_table(table).query("setting == 'elpv' and resource == 'T'")
    plain, above = (
        scores[scores["measure"] == name].set_index("model") for name in ("auroc", "auroc_above_chance")
    )
    pd.testing.assert_series_equal(plain["resource_norm"], above["resource_norm"])
    expected = (2 * plain["performance"] - 1) / (1 + plain["resource_norm"])
    np.testing.assert_allclose(above["score"], expected)


def test_a_claim_can_name_a_measure_above_chance(table):
    runs = table.query("model == 'tf_efficientnet_lite0'")
    sides = [runs.query(f"setting == '{setting}'") for setting in ("elpv_pt", "elpv")]
    plain, above = (
        claims.paired_units(*sides, name, None).effect for name in ("auroc", "auroc_above_chance")
    )
    assert above == pytest.approx(2 * plain)
    gap = claims.pepr_gap(analysis.model_means(table.query("setting == 'elpv'")), "T", "auroc_above_chance")
    assert np.isfinite(gap.whole)


def test_a_peak_above_chance_has_an_interval_and_lies_at_the_best_score(synthetic_results, table):
    (peak,) = [
        peak
        for peak in analysis.peak_locations(synthetic_results, ("T",), ("auroc_above_chance",), 100)
        if peak.key[1] == "elpv"
    ]
    rows = analysis.pepr_table(table).query(
        "setting == 'elpv' and resource == 'T' and measure == 'auroc_above_chance'"
    )
    assert peak.model == rows.set_index("model")["score"].idxmax()
    assert peak.score.low <= peak.score.estimate <= peak.score.high + 1e-12


def test_images_of_one_group_are_drawn_together(tmp_path):
    """Eight modules of five cells, each wholly right or wholly wrong: the accuracy is a mean of eight
    answers, and varies as one, not as a mean of forty."""
    labels = np.tile([0, 1, 0, 1, 1], 8)
    right = np.repeat([True, False], 20)
    predicted = np.where(right, labels, 1 - labels)
    probabilities = np.column_stack([1.0 - predicted, predicted])
    store = runs.Store(tmp_path, "pocket")
    spread = {}
    for name, modules in (("known", np.repeat(list("abcdefgh"), 5)), ("unknown", None)):
        store.write_predictions(name, probabilities, labels, modules)
        results = runs.Results("pocket", "this machine", store.folder)
        rows = pd.DataFrame({"run_id": [name], "status": "ok", "dataset": "elpv", "split": 0})
        spread[name] = measures.run_draws(results, rows, "accuracy", 2_000).iloc[:, 0].std()
    assert spread["known"] == pytest.approx(0.5 / np.sqrt(8), rel=0.1)
    assert spread["unknown"] == pytest.approx(0.5 / np.sqrt(40), rel=0.1)


def test_rates_of_a_resample_are_over_the_images_that_it_drew():
    """Groups of unlike sizes: a resample does not have as many images as the test set."""
    labels, probabilities = np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 1]]
    counts = np.array([[2.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    names = ("accuracy", "accuracy_above_majority")
    assert measures.resampled(("accuracy",), probabilities, labels, counts)["accuracy"].tolist() == [1, 1]
    with np.errstate(invalid="ignore"):
        above = measures.resampled(names, probabilities, labels, counts)["accuracy_above_majority"]
    assert np.isnan(above).all(), "one class alone leaves nothing above its own rate"


def test_the_predictions_of_a_run_are_resampled_once_for_all_who_ask(synthetic_results, table, monkeypatch):
    read = []
    predictions = runs.Results.predictions

    def counted(results, run_id):
        read.append(run_id)
        return predictions(results, run_id)

    monkeypatch.setattr(runs.Results, "predictions", counted)
    results = runs.Results("pocket", "this machine", synthetic_results.folder)
    done = table[table["status"] == "ok"]
    first = measures.Resampled(results, ("auroc", "auroc_above_chance"), 50).of("auroc")(done)
    assert sorted(read) == sorted(done["run_id"])
    again = measures.Resampled(results, ("auroc",), 50).of("auroc")
    for one in (done, done.iloc[[3, 1]]):
        pd.testing.assert_frame_equal(again(one), first[list(one["run_id"])])
    assert len(read) == len(done)
    other_seed = measures.Resampled(results, ("auroc",), 50, seed=1).of("auroc")(done)
    assert len(read) == 2 * len(done) and not other_seed.equals(first)
    assert not len(again(done.iloc[:0]).columns)
