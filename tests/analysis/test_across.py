"""Several sets side by side: what is pooled, what is not, and what is still said where little is there."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import several_sets

from pepr.analysis import carbon, claims, figures as result_figures, measures, pipeline, scores, standings
from pepr.analysis.across import agreement, figures, numbers, parity, pretraining
from pepr.analysis.across.sets import TARGETS, Chosen, Sets, grades, last_epochs, series, tenths
from pepr.analysis.claimed import numbers as claim_numbers
from pepr.analysis.numbers import run_numbers
from pepr.book import prose
from pepr.display.numbers import UNKNOWN
from pepr.runs.metrics import weighted_kappa
from pepr.stats import Interval, cluster_counts, mean_interval

CHAPTER = Path(__file__).parents[2] / "book" / "medical-sets.md"
BOTH = ("pretrained_full", "scratch_full")
RESAMPLES = several_sets.RESAMPLES
pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return Sets(several_sets.write(tmp_path_factory.mktemp("sets")), RESAMPLES)


@pytest.fixture(scope="module")
def told(sets):
    return numbers.across_numbers(sets, claims.claims(sets.results))


def test_the_sets_stand_in_the_order_of_their_size_without_what_is_compared_with_nothing(sets, tmp_path):
    assert sets.names == ["breastmnist", "retinamnist", "pneumoniamnist"]
    alone = several_sets.write(tmp_path, sets=("retinamnist",), starts=(True,))
    assert Sets(alone).names == ["retinamnist"]


def test_a_set_where_one_network_stands_alone_is_no_set_but_two_are(tmp_path):
    results = several_sets.write(tmp_path, sets=("breastmnist",), starts=(False,), fractions=(1.0,))
    table = results.table

    for models, expected in ((["dla46_c"], []), (["dla46_c", "resnet18d"], ["breastmnist"])):
        few = several_sets.with_table(results, table[table["model"].isin([*models, "pca_svm"])])
        assert Sets(few).names == expected


def test_the_difference_of_a_set_is_the_mean_over_networks_that_were_trained_both_ways(sets):
    table = sets.results.table
    rows = table[(table["dataset"] == "retinamnist") & (table["train_fraction"] == 1.0)]
    rows = rows[rows["model"].isin(several_sets.PRETRAINED)]
    means = rows.groupby("pretrained")["test_auroc"].mean()
    found = pretraining.difference(sets, "retinamnist", BOTH)
    assert found.models == tuple(sorted(several_sets.PRETRAINED)) and found.n_units == 3
    assert found.estimate.effect == pytest.approx(means[True] - means[False])
    assert found.result.low < found.estimate.effect < found.result.high


def test_each_series_of_networks_is_asked_by_itself_and_makes_up_the_whole(sets):
    assert (series("mobilenetv2_100"), series("tf_efficientnet_lite0")) == (
        "mobilenetv2",
        "tf_efficientnet_lite",
    )
    found = [one for one in pretraining.by_series(sets) if one.dataset == "breastmnist"]
    assert [one.whom for one in found] == ["all", "mobilenetv2", "tf_efficientnet_lite"]
    whole, mobile, lite = (one.estimate.effect for one in found)
    assert whole == pytest.approx((mobile + 2 * lite) / 3)


def whole(sets):
    return [one for one in pretraining.by_series(sets) if one.whom == "all"]


def test_the_mean_of_sets_weighs_each_alike_and_its_error_is_that_of_independent_parts(sets):
    found = whole(sets)
    together = pretraining.pooled(found)
    assert together.effect == pytest.approx(np.mean([one.estimate.effect for one in found]))
    error = np.sqrt(sum(one.estimate.error**2 for one in found)) / len(found)
    half = (together.high - together.low) / 2
    assert 1.96 * error < half < 4.4 * error, "between a normal's and that of two degrees of freedom"


def test_the_mixed_model_has_the_same_mean_and_its_networks_widen_the_interval(sets, tmp_path):
    found = whole(sets)
    together, drawn = pretraining.pooled(found), pretraining.mixed(sets, found)
    assert drawn.effect == pytest.approx(together.effect, abs=1e-6)
    assert drawn.n == len(several_sets.PRETRAINED)
    assert drawn.high - drawn.low > together.high - together.low


def test_a_mixed_model_that_did_not_converge_is_no_result(sets, monkeypatch):
    class Lost:
        converged, bse_fe, fe_params = False, {"Intercept": 0.01}, {"Intercept": 0.1}

        def fit(self, **_):
            return self

    monkeypatch.setattr(pretraining, "mixedlm", lambda *_, **__: Lost())
    assert pretraining.mixed(sets, whole(sets)) is None
    told = numbers.pretraining_numbers(sets)
    assert "has no solution on these runs" in told["sets_pretraining_words"]["text"]
    assert "sets_pretraining_mixed_effect" not in told


def test_where_signs_differ_there_is_no_average_and_the_words_say_so(tmp_path):
    gains = several_sets.GAINS | {"retinamnist": -0.6}
    mixed_signs = Sets(several_sets.write(tmp_path, gains=gains, fractions=(1.0,)), RESAMPLES)
    found = whole(mixed_signs)
    assert [np.sign(one.estimate.effect) for one in found] == [1, -1, 1]
    assert pretraining.pooled(found) is None and pretraining.mixed(mixed_signs, found) is None
    told = numbers.pretraining_numbers(mixed_signs)
    assert "no average" in told["sets_pretraining_words"]["text"]
    assert "sets_pretraining_pooled_effect" not in told


def test_a_tenth_has_the_verdicts_of_the_study_and_none_of_its_own(sets):
    judged = claims.claims(sets.results)
    lines = numbers.tenth_numbers(sets, judged)["sets_data_table"]["text"].splitlines()[2:]
    assert len(lines) == len(pretraining.tenth(sets)) == 9
    of_id = {claim["id"]: claim for claim in judged}
    for one, line in zip(pretraining.tenth(sets), lines, strict=True):
        claim = of_id[f"{numbers.OF_A_TENTH[one.comparison][0]}_{one.difference.dataset}"]
        assert line.endswith(f"| {claim['verdict'].replace('_', ' ')} |")
        assert one.result.effect == pytest.approx(claim["effect"]), "the same networks and seeds"
    without = numbers.tenth_numbers(sets)["sets_data_table"]["text"].splitlines()[2:]
    assert all(line.endswith("| - |") for line in without)


def test_intervals_of_equivalences_are_marked_beside_those_of_95_per_cent(told):
    for key in ("tenth_pretrained", "tenth_scratch", "tenth_pretrained_or_all", "size"):
        assert told[f"sets_{key}_cell"]["text"].count("(90%: ") == 3
    for key in ("pretraining", "score", "parameters"):
        assert "90%" not in told[f"sets_{key}_cell"]["text"]
    head, _, *lines = told["sets_size_table"]["text"].splitlines()
    assert "| Interval over networks, 95% or as said |" in head
    for line in lines:
        assert ("| 90%: " in line) == line.startswith("| small networks against large ones |")
    assert "| 95% interval over networks |" in told["sets_agreement_table"]["text"]


def test_a_mean_of_sets_that_is_made_where_signs_agree_has_no_verdict(sets):
    words = numbers.pretraining_numbers(sets)["sets_pretraining_words"]["text"]
    assert "It is no claim of the order" in words and not re.search(r"supported|undecided| p ", words)


def record(model, pretrained, aurocs, best=None, seed=0, energy=1.0, hardware="two cores"):
    return {
        "hardware": hardware,
        "dataset": "breastmnist",
        "model": model,
        "seed": seed,
        "pretrained": pretrained,
        "train_fraction": 1.0,
        "status": "ok",
        "num_params": 1_000_000,
        "energy_source": "cpu:load_model;ram:assumed",
        "best_epoch": len(aurocs) - 1 if best is None else best,
        "history": [{"val_auroc": value, "energy_kwh": energy} for value in aurocs],
    }


def test_parity_is_the_first_epoch_at_which_the_twins_kept_value_is_reached():
    scratch = record("m", False, [0.5, 0.8, 0.6, 0.6], best=1)
    soon = record("m", True, [0.7, 0.8, 0.9, 0.9])
    (row,) = parity.pairs([scratch, soon], ["breastmnist"]).to_dict("records")
    assert (row["epochs"], row["share"], row["scratch_wh"]) == (2.0, 0.5, 4000.0) and row["estimated"]


def test_the_energy_until_parity_stands_beside_what_the_run_from_scratch_took_to_be_there_itself():
    scratch = record("m", False, [0.5, 0.8, 0.6, 0.8], best=3)
    rows = parity.pairs([scratch, record("m", True, [0.9, 0.9, 0.9, 0.9])], ["breastmnist"])
    assert (rows["share"][0], rows["own_share"][0]) == (0.25, 0.5), "twice its last value"
    words = numbers.parity_numbers(rows)["sets_parity_words"]["text"]
    assert "taken 25% of the energy of the whole run" in words
    assert "first there after 50% of its energy" in words and words.endswith("the pretrained twin takes 50%.")


def test_a_network_that_never_passes_is_said_to_and_baselines_have_no_parity():
    records = [record("m", False, [0.9]), record("m", True, [0.7]), record("m", True, [0.95], seed=1)]
    records += [record("m", False, [0.9], seed=1), record("m", True, [0.9], seed=2)]
    records += [record("pca_svm", True, [0.9]), record("pca_svm", False, [0.9])]
    rows = parity.pairs(records, ["breastmnist"])
    assert list(rows["epochs"]) == [np.inf, 1.0], "a seed without its twin has none"
    (each,) = parity.of_networks(rows).to_dict("records")
    assert (each["passed"], each["n"]) == (1, 2)
    told = numbers.parity_numbers(rows)
    assert "1 of 2" in told["sets_parity_table"]["text"] and "never" in told["sets_parity_table"]["text"]
    assert told["sets_parity_table"]["estimate"]


def test_where_most_twins_never_pass_no_median_of_their_energy_is_told():
    records = [record("m", start, [0.7 if start else 0.9], seed=seed) for start in (0, 1) for seed in (0, 1)]
    records += [record("m", start, [0.9], seed=2) for start in (0, 1)]
    told = numbers.parity_numbers(parity.pairs(records, ["breastmnist"]))
    assert told["sets_parity_passed"]["text"] == "1 of 3"
    words = told["sets_parity_words"]
    assert words["value"] is None and words["text"].endswith("there is no median of the energy until then.")
    soon = numbers.parity_numbers(parity.pairs(records[-2:], ["breastmnist"]))["sets_parity_words"]
    assert soon["value"] == 1 and "has then taken 100" in soon["text"]


def test_twins_of_two_kinds_of_hardware_have_no_parity_since_their_energies_are_not_alike():
    pair = record("m", False, [0.9]), record("m", True, [0.95])
    assert len(parity.pairs(pair, ["breastmnist"])) == 1
    other = record("m", True, [0.95], hardware="another processor")
    assert parity.pairs([pair[0], other], ["breastmnist"]).empty


def test_two_sets_with_one_order_agree_and_with_the_reverse_disagree():
    models = ["dla46_c", "convnext_atto", "resnet18d", "ghostnet_100", "resnetv2_50"]
    index = pd.MultiIndex.from_product([["scratch_full"], models])
    rising = np.arange(5.0)
    means = pd.DataFrame(
        {"breastmnist": rising, "retinamnist": rising, "pneumoniamnist": -rising}, index=index
    )
    found = {(one.first, one.second): one for one in agreement.agreements(means)}
    assert found["breastmnist", "retinamnist"].rho.effect == pytest.approx(1)
    assert found["breastmnist", "pneumoniamnist"].rho.effect == pytest.approx(-1)
    assert found["breastmnist", "pneumoniamnist"].leaders == ("resnetv2_50", "dla46_c")


def test_a_loss_is_what_the_other_sets_choice_has_less_and_none_where_both_choose_alike(sets):
    found = agreement.losses(sets)
    assert len(found) == 6
    table = sets.results.table
    for one in found:
        if one.taken == one.instead:
            assert one.loss == Interval(0.0, 0.0, 0.0)
            continue
        own, other = (
            table[
                (table["dataset"] == one.used_on)
                & (table["model"] == model)
                & (table["pretrained"] == (cell == "pretrained_full"))
                & (table["train_fraction"] == 1.0)
            ]["test_auroc"].mean()
            for model, cell in (one.instead, one.taken)
        )
        assert one.loss.estimate == pytest.approx(own - other)


def test_the_choice_is_by_validation_alone_and_takes_the_smaller_of_equals(sets):
    for name in sets.names:
        chosen = sets.chosen(name)
        rows = pd.concat([sets.cell(name, cell) for cell in BOTH])
        means = rows.groupby(["pretrained", "model"])["val_accuracy"].mean()
        assert means.idxmax() == (chosen.cell == "pretrained_full", chosen.model)


def test_the_choice_of_a_set_has_one_interval_wherever_it_is_told(sets):
    both = [(standings.choice(sets.results, RESAMPLES, name), sets.chosen(name)) for name in sets.names]
    same = [(told, chosen) for told, chosen in both if not told.setting.endswith("small")]
    assert same, "a tenth of the images may be chosen by the one, and not by the other"
    for told, chosen in same:
        assert (told.model, told.n_seeds) == (chosen.model, chosen.n_seeds)
        assert vars(told.auroc) == pytest.approx(vars(chosen.auroc), rel=1e-12)
    assert Sets(sets.results).n_resamples == measures.N_RESAMPLES


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.85, "0.88: missed by 0.030"),
        (0.8796, "0.88: missed by less than 0.001"),
        (0.88, "0.88: reached"),
    ],
)
def test_a_target_is_reached_or_missed_by_how_much_beside_the_published_value(value, words):
    chosen = Chosen("breastmnist", "dla46_c", "scratch_full", 5, Interval(value, 0.8, 0.9), "seeds")
    row = numbers.targets_table([chosen]).splitlines()[-1]
    assert words in row and row.endswith("| 0.901 |")
    assert set(TARGETS) == {"breastmnist", "retinamnist", "pneumoniamnist", "ham10000"}


def test_kappa_and_the_error_in_grades_are_told_of_ordered_classes_alone(sets):
    assert grades(sets, "breastmnist").empty
    found = grades(sets, "retinamnist").set_index(["setting", "model"])
    rows = sets.results.table.query("setting == 'retina' and model == 'mobilenetv2_100'")
    row = found.loc["retina", "mobilenetv2_100"]
    assert row["kappa"] == pytest.approx(rows["test_quadratic_kappa"].mean())
    assert row["error"] == pytest.approx(rows["test_mean_absolute_error"].mean())
    assert row["kappa_low"] < row["kappa"] < row["kappa_high"]
    counts = cluster_counts(np.arange(several_sets.N_TEST["retinamnist"]), RESAMPLES)
    found_by = [sets.results.predictions(run_id) for run_id in rows["run_id"]]
    draws = np.mean([weighted_kappa(labels, found.argmax(1), counts) for found, labels in found_by], axis=0)
    expected = mean_interval(rows["test_quadratic_kappa"], draws.var()).within(-1, 1)
    assert (row["kappa_low"], row["kappa_high"]) == pytest.approx((expected.low, expected.high)), (
        "over seeds and over the test images that they share"
    )
    assert row["over"] == "seeds and test images" and "| Intervals over |" in numbers.grades_table(sets)
    assert list(found["kappa"]) == sorted(found["kappa"], reverse=True)


def test_a_tenth_is_counted_in_images_of_the_rarest_class_and_in_steps(sets):
    row = tenths(sets).set_index("dataset").loc["breastmnist"]
    assert (row["all"], row["tenth"], row["classes"], row["test"]) == (546, 55, 2, 90)
    assert row["val"] == 45 and "| 45 | 90 |" in numbers.tenths_table(tenths(sets))
    assert row["rarest"] == pytest.approx(55 * 30 / 90)
    assert (row["steps"], row["steps_of_all"]) == (2 * several_sets.EPOCHS, 18 * several_sets.EPOCHS)


def test_runs_that_might_have_gone_on_are_counted_over_the_networks_that_have_both_starts(sets):
    table = sets.results.table
    of_one = (table["dataset"] == "retinamnist") & (table["train_fraction"] == 1.0)
    of_one &= table["pretrained"].astype(bool)

    early = table.assign(best_epoch=table["best_epoch"].mask(of_one, 0))
    found = last_epochs(Sets(several_sets.with_table(sets.results, early), RESAMPLES)).set_index("dataset")
    pairs, epochs = 3 * len(several_sets.PRETRAINED), f"{several_sets.EPOCHS}"
    assert list(found.loc["retinamnist"]) == [epochs, 0, pairs, pairs]
    assert list(found.loc["breastmnist"]) == [epochs, pairs, pairs, pairs]
    told = numbers.epochs_table(found.reset_index())
    assert f"| RetinaMNIST | {epochs} | 0 of {pairs} | {pairs} of {pairs} |" in told


def test_a_last_batch_of_a_single_image_is_no_step(sets):
    table = sets.results.table
    odd = table.assign(n_train=table["n_train"].mask(table["n_train"] == 546, 545))
    found = tenths(Sets(several_sets.with_table(sets.results, odd), RESAMPLES))
    row = found.set_index("dataset").loc["breastmnist"]
    assert (row["all"], row["steps_of_all"]) == (545, 17 * several_sets.EPOCHS)


def test_which_set_ran_on_which_hardware_is_told_where_it_was_more_than_one(sets):
    table = sets.results.table
    assert numbers.hardware_by_set(sets) == ""
    moved = table.assign(hardware=table["hardware"].mask(table["dataset"] == "retinamnist", "a card"))
    there = several_sets.with_table(sets.results, moved)
    told = numbers.hardware_by_set(Sets(there, RESAMPLES))
    first = table["hardware"].iloc[0]
    assert told == f"BreastMNIST and PneumoniaMNIST ran on {first}. RetinaMNIST ran on a card."
    assert run_numbers(there)["hardware"]["text"] == f"a card and on {first}"


PARTS = {
    "everything": {"arms": True},
    "one_set": {"sets": ("breastmnist",)},
    "two_sets": {"sets": ("breastmnist", "retinamnist")},
    "from_scratch": {"starts": (False,)},
    "pretrained_alone": {"starts": (True,)},
    "no_tenth": {"fractions": (1.0,), "baseline": False},
    "one_seed": {"seeds": (0,)},
}
WITH_CLAIMS = {"one_set", "one_seed"}
NO_WORD = re.compile(r"\b[Nn]a[Nn]\b|nan%|\bNone\b|\binf\b")


@pytest.mark.parametrize("part", PARTS)
def test_whatever_part_of_the_sets_is_there_the_chapter_quotes_what_is_known_and_every_figure_is_drawn(
    part, tmp_path
):
    results = several_sets.write(tmp_path, **PARTS[part])
    some = Sets(results, RESAMPLES)
    told = numbers.across_numbers(some, claims.claims(results) if part in WITH_CLAIMS else [])
    text = prose.chapter(CHAPTER.read_text(), {"medical": told, "published": AnyNumber(a=1)})
    quoted = re.findall(r"\{\{ medical\.(\w+) \}\}", text)
    assert quoted and set(quoted) <= set(told)
    assert all(told[key]["text"] != UNKNOWN for key in quoted)
    assert not any(NO_WORD.search(entry["text"]) for entry in told.values())
    assert "<!--" not in text
    assert not re.search("same hardware|kinds of hardware", text), "all of it ran on one kind"
    assert ("sets_agreement_table" in quoted) == (part != "one_set")
    assert ("sets_pretraining_table" in quoted) == (part not in ("from_scratch", "pretrained_alone"))
    found = pretraining.by_series(some)
    drawn = [
        figures.differences(found, pretraining.pooled(whole(some)), pretraining.mixed(some, whole(some))),
        figures.parity(parity.pairs(results.records(), some.names)),
        figures.ranks(agreement.aurocs(some)),
    ]
    assert all(figure.axes for figure in drawn)
    plt.close("all")


def test_a_set_with_one_start_alone_is_not_asked_what_takes_the_other(tmp_path):
    several_sets.write(tmp_path, sets=("breastmnist",), fractions=(1.0,))
    results = several_sets.write(tmp_path, sets=("retinamnist",), starts=(True,), fractions=(1.0,))
    some, judged = Sets(results, RESAMPLES), claims.claims(results)
    assert some.names == ["breastmnist", "retinamnist"]
    of_size = {claim["dataset"] for claim in judged if claim["id"].startswith(("small_", "parameters_"))}
    assert of_size == {"breastmnist"}, "pretrained networks stand in for none from scratch"
    told = numbers.across_numbers(some, judged)
    assert "RetinaMNIST" not in told["sets_size_table"]["text"] + told["sets_size_cell"]["text"]
    words = told["sets_pretraining_words"]["text"]
    assert words == "Both starts are there of one set only, BreastMNIST, so nothing is pooled."
    assert figures.ranks(agreement.aurocs(some)).axes
    plt.close("all")


def test_a_choice_that_was_not_trained_on_another_set_is_said_to_have_no_loss_there(tmp_path):
    several_sets.write(tmp_path, sets=("breastmnist",), starts=(True,), fractions=(1.0,))
    results = several_sets.write(tmp_path, sets=("retinamnist",), starts=(False,), fractions=(1.0,))
    some = Sets(results, RESAMPLES)
    assert [one.over for one in agreement.losses(some)] == [agreement.NOT_THERE] * 2
    assert "sets_losses_table" not in numbers.agreement_numbers(some), "there is no loss to tell"
    several_sets.write(tmp_path, sets=("retinamnist",), starts=(True,), fractions=(1.0,))
    again = several_sets.write(tmp_path, sets=("pneumoniamnist",), starts=(False,), fractions=(1.0,))
    told = numbers.agreement_numbers(Sets(again, RESAMPLES))
    table = told["sets_losses_table"]["text"]
    assert "| not trained there |" in table and np.isfinite(told["sets_worst_loss"]["value"])
    assert not NO_WORD.search(table)


def test_every_table_of_claims_on_several_sets_names_the_set(sets):
    judged = claims.claims(sets.results)
    table = claim_numbers.claims_table(judged).splitlines()
    assert table[0].startswith("| Set | Claim |")
    titles = {"breastmnist": "BreastMNIST", "retinamnist": "RetinaMNIST", "pneumoniamnist": "PneumoniaMNIST"}
    for claim, line in zip(judged, table[2:], strict=True):
        assert line.startswith(f"| {titles[claim['dataset']]} | {claim['claim']} |")
    noise = claim_numbers.noise_table(judged)
    assert all(f"| {title}: " in noise for title in titles.values())


def test_costs_are_compared_on_one_set_and_hardware_and_performances_on_each(sets):
    table = sets.results.table
    first = table.query("dataset == 'breastmnist' and train_fraction == 1 and model != 'pca_svm'")
    expected = first.groupby("model")["energy_kwh"].mean()
    assert carbon.energy_of_models(table).to_dict() == pytest.approx(expected.to_dict())
    scored = scores.pepr_table(table)
    figure = result_figures.model_space(scored)
    drawn = sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() in "os")
    assert drawn == len(several_sets.NETWORKS) + len(several_sets.PRETRAINED)
    slopes = result_figures.paired_slopes(table)
    pairs = sum(len(line.get_xdata()) == 2 for line in slopes.axes[0].lines)
    assert pairs == len(several_sets.PRETRAINED) * 3 * 3, "networks, seeds, sets"
    plt.close("all")


def test_fractions_with_epochs_of_their_own_are_scored_by_data_and_over_one_range(sets):
    table = sets.results.table
    longer = table.assign(epochs=table["epochs"].mask(table["train_fraction"] < 1, 8))
    assert len(scores.data_scores(longer)) == len(scores.data_scores(table)) > 0
    elsewhere = longer.assign(hardware=longer["hardware"].mask(table["dataset"] == "retinamnist", "a card"))
    scored = scores.pepr_table(elsewhere).query("resource == 'E' and measure == 'auroc'")
    for _, rows in scored.groupby("hardware"):
        assert rows["setting"].nunique() >= 4
        assert rows["resource_norm_frozen"].agg(["min", "max"]).tolist() == pytest.approx([0, 1])


class AnyNumber(dict):
    """A namespace that has whatever a chapter quotes."""

    def get(self, key, default=None):
        return {"value": 1, "text": "one", "estimate": False}


def test_the_numbers_of_the_stage_are_those_of_its_notebook(sets, told):
    found = pipeline.Analysis(sets.results)
    found.__dict__["sets"] = sets
    assert found.numbers("07_sets") == told
