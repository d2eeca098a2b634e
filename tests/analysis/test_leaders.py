"""Who may be called the best: only where at least half of a set's models could be compared."""

import numpy as np
import pandas as pd
import pytest

from pepr import stats
from pepr.analysis import leaders, pipeline, ranked, scores, standings, units
from pepr.analysis.claimed import overlap
from pepr.models.space import BASELINES
from pepr.runs.results import Results, reference_folder


def rows(**values):
    return pd.DataFrame({"model": list(values), "score": list(values.values())})


@pytest.mark.parametrize(
    ("n_compared", "n_models", "expected"),
    [(0, 0, False), (1, 1, False), (1, 2, False), (2, 2, True), (2, 4, True), (2, 5, False), (3, 5, True)],
)
def test_a_best_needs_two_models_and_half_of_the_set(n_compared, n_models, expected):
    assert ranked.enough(n_compared, n_models) is expected


def test_the_best_is_of_those_that_could_be_compared():
    found = leaders.leader(rows(alder=0.4, birch=0.6, cedar=np.nan), "score")
    assert (found.name, found.value, found.n_compared, found.n_models) == ("birch", 0.6, 2, 3)
    assert found.kind == "a network"


def test_no_model_is_the_best_of_one_or_of_fewer_than_half():
    assert leaders.leader(rows(alder=0.4), "score") is None
    assert leaders.leader(rows(a=0.4, b=0.5, c=np.nan, d=np.nan, e=np.nan), "score") is None
    assert leaders.leader(rows(alder=np.nan, birch=np.nan), "score") is None


def test_models_that_share_the_first_place_are_all_named():
    found = leaders.leader(rows(majority=0.5, birch=0.5, cedar=0.4), "score")
    assert found.name == "majority and birch" and found.kind == "of both kinds"


def test_a_baseline_that_leads_is_called_one():
    assert leaders.leader(rows(pca_svm=0.7, birch=0.5), "score").kind == "a baseline"


def test_the_largest_set_has_one_machine_even_where_it_is_not_known():
    part = pd.DataFrame(dict.fromkeys(scores.SET, "same") | {"model": ["a", "b", "c"]})
    part["hardware"] = [None, None, "a card"]
    assert list(leaders.largest_set(part)["model"]) == ["a", "b"]
    assert leaders.largest_set(part.iloc[:0]).empty


SHIPPED = Results("pocket", "reference", reference_folder("pocket"))


@pytest.fixture(scope="module")
def quoted():
    """The numbers of the reference that name a leader, and the standings that they are of."""
    found = pipeline.Analysis(SHIPPED)
    found.__dict__["drawn"] = []
    letter = scores.primary_resource(found.table)
    numbers = leaders.leader_numbers(
        found.scores, [], found.standings, found.rank_changes, letter, found.standings_by_accuracy
    )
    return numbers, found


def test_a_leader_stands_beside_its_share_of_draws_and_the_number_that_ties_with_it(quoted):
    numbers, found = quoted
    for cell, setting in (("scratch", "elpv"), ("pretrained", "elpv_pt")):
        rows = found.standings[found.standings["setting"] == setting].set_index("model")
        best = numbers[f"{cell}_best_auroc_model"]["value"]
        assert numbers[f"{cell}_best_auroc_share"]["value"] == rows.loc[best, "probability_best"]
        assert numbers[f"{cell}_best_auroc_ties"]["value"] == rows["tied"].sum() - 1
        assert numbers[f"{cell}_over"]["text"] == f"{rows['n_units'].iloc[0]} splits, a seed each"


def test_the_highest_accuracy_stands_beside_its_own_share_and_ties(quoted):
    numbers, found = quoted
    for cell, setting in (("scratch", "elpv"), ("pretrained", "elpv_pt")):
        ranked = found.standings_by_accuracy
        rows = ranked[ranked["setting"] == setting].set_index("model")
        best = numbers[f"{cell}_best_accuracy_model"]["value"]
        assert rows["accuracy"].idxmax() == best and rows["probability_best"].sum() == pytest.approx(1)
        assert numbers[f"{cell}_best_accuracy_share"]["value"] == rows.loc[best, "probability_best"]
        assert numbers[f"{cell}_best_accuracy_ties"]["value"] == rows["tied"].sum() - 1


def test_above_chance_share_and_ties_are_those_of_auroc(quoted):
    _, found = quoted
    plain = found.standings.set_index(["setting", "model"])
    above = standings.standings(SHIPPED, "auroc_above_chance").set_index(["setting", "model"])
    above = above.loc[plain.index]
    assert np.allclose(above["probability_best"], plain["probability_best"])
    assert (above["tied"] == plain["tied"]).all()


def test_networks_above_a_coin_are_counted_again_with_splits_that_are_not_taken_for_independent(quoted):
    numbers, found = quoted
    for cell, setting in (("scratch", "elpv"), ("pretrained", "elpv_pt")):
        runs = found.table[(found.table["setting"] == setting) & ~found.table["model"].isin(BASELINES)]
        share = overlap.share_of_tests(runs)
        lows, again = [], []
        for _, aurocs in runs.groupby("model")["test_auroc"]:
            lows.append(stats.mean_interval(aurocs.to_numpy(), 0.0).low)
            again.append(overlap.resampled_test(aurocs.to_numpy(), share).low)
        above, left = sum(low > 0.5 for low in lows), sum(low > 0.5 for low in again)
        assert numbers[f"{cell}_above_chance"]["value"] == above >= left
        assert numbers[f"{cell}_chance_words"]["text"] == (
            f"{above} of {len(lows)} networks are shown to be better than a coin, with their whole interval "
            f"({left} if splits are not taken for independent)"
        )


def test_networks_below_and_above_the_best_baseline_are_counted_with_their_whole_interval(quoted):
    numbers, found = quoted
    for cell, setting in (("scratch", "elpv"), ("pretrained", "elpv_pt")):
        wide = found.table[found.table["setting"] == setting].pivot_table(
            index="split", columns="model", values="test_auroc"
        )
        networks = [model for model in wide if model not in BASELINES]
        best = wide[[model for model in wide if model in BASELINES]].mean().idxmax()
        behind = [stats.mean_interval((wide[model] - wide[best]).to_numpy(), 0.0) for model in networks]
        below, surely = sum(one.estimate < 0 for one in behind), sum(one.high < 0 for one in behind)
        assert f"; {below} of {len(networks)} networks" in numbers[f"{cell}_baseline_words"]["text"]
        above = sum(one.low > 0 for one in behind)
        assert numbers[f"{cell}_baseline_words"]["text"].endswith(
            f"in the mean, {surely} with the whole interval of the difference; {above} "
            f"{'lies' if above == 1 else 'lie'} above it with theirs."
        )
        leads = numbers[f"{cell}_best_auroc_model"]["value"] == best
        assert (f" with {wide[best].mean():.3f};" in numbers[f"{cell}_baseline_words"]["text"]) is not leads


def test_on_one_split_a_page_says_that_nothing_but_its_images_was_drawn_again():
    one = pd.DataFrame({"n_units": [1, 1], "compared_over": [units.IMAGES] * 2})
    assert leaders.over_words(one).startswith("1 split alone (test images drawn again, and nothing else")
    assert leaders.over_words(one.assign(n_units=0)).startswith("splits that differ between the models")
    seeds = one.assign(n_units=3, compared_over=units.SEEDS)
    assert leaders.over_words(seeds) == "3 seeds of one split, and its test images"


def test_ranks_over_a_frozen_range_are_told_of_every_setting_and_not_of_one_that_cannot_change(quoted):
    numbers, found = quoted
    lines = numbers["ranks_frozen"]["text"].splitlines()
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines[2:]} == set(found.table["setting"])
    changes = found.rank_changes.query("resource == 'T' and measure == 'auroc'").set_index("setting")
    for line in lines[2:]:
        setting, by_auroc = line.removeprefix("| ").split(" | ")[:2]
        assert by_auroc.startswith(f"{changes.loc[setting, 'n_ranks_differ']} of ")
