"""Models are compared on the splits, and of one split on the seeds, that all of their set have."""

import pandas as pd
import pytest
import several_sets

from pepr import analysis
from pepr.analysis import claims, composites, numbers, peaks, scores, standings
from pepr.analysis.across import agreement
from pepr.analysis.across.sets import Sets

ONCE = ("dla46_c", "convnext_atto", "mobilenetv2_100")
"""The networks that were run with one seed from scratch, where the others have three."""
RESAMPLES = 60


@pytest.fixture(scope="module")
def table(synthetic_results):
    """One setting: a model on three splits, easy ones among them, and the others on the first alone."""
    rows = synthetic_results.table.query("setting == 'elpv'").copy()
    rows["split"] = rows["seed"].astype("Int64")
    easy = (rows["model"] == "tf_efficientnet_lite0") & (rows["split"] > 0)
    rows.loc[easy, "test_auroc"] = 0.99
    return rows


def test_a_model_of_more_splits_is_scored_on_those_that_the_others_have(table):
    found = analysis.pepr_table(table).query("measure == 'auroc' and resource == 'T'").set_index("model")
    first = table.query("model == 'tf_efficientnet_lite0' and split == 0")["test_auroc"].item()
    assert found["performance"]["tf_efficientnet_lite0"] == pytest.approx(first)
    assert found["n_seeds"]["tf_efficientnet_lite0"] == 1


def test_a_failed_run_stays_and_takes_no_split_from_the_others(table):
    kept = scores.on_shared_units(scores.with_sets(table))
    assert (kept["status"] == "failed").sum() == (table["status"] == "failed").sum() == 1
    assert set(kept.query("status == 'ok'")["split"]) == {0}
    assert kept["model"].nunique() == table["model"].nunique()


def test_equal_splits_are_all_kept_and_none_in_common_keeps_all(table):
    several = table.query("model == 'tf_efficientnet_lite0'")
    assert len(scores.on_shared_units(scores.with_sets(several))) == 3
    apart = pd.concat([several.query("split == 0"), several.query("split > 0").assign(model="other")])
    assert len(scores.on_shared_units(scores.with_sets(apart))) == 3


def test_a_set_of_which_too_few_are_scored_has_no_ranks(table):
    lost = table.copy()
    lost.loc[~lost["model"].isin(["dla46_c", "resnet18d"]), "status"] = "failed"
    found = analysis.pepr_table(lost).query("measure == 'auroc' and resource == 'T'")
    assert (
        found["score"].notna().sum() == 2 and found["rank"].isna().all() and found["rank_frozen"].isna().all()
    )
    differences = analysis.rank_differences(analysis.pepr_table(lost))
    assert (differences["n_ranks_differ"] == 0).all()


@pytest.fixture(scope="module")
def retina(tmp_path_factory):
    """A set of one split: six networks with three seeds from scratch, and a baseline with one."""
    root = tmp_path_factory.mktemp("retina")
    return several_sets.write(root, sets=("retinamnist",), fractions=(1.0,))


@pytest.fixture(scope="module")
def unequal(retina):
    """Three networks lose two of their seeds from scratch; those of the other three are easy."""
    table = retina.table
    later = (table["setting"] == "retina_scratch") & (table["seed"] > 0)
    table = table[~(later & table["model"].isin(ONCE))].copy()
    easy = (table["setting"] == "retina_scratch") & (table["seed"] > 0)
    table.loc[easy, "test_auroc"] = 0.99
    return several_sets.with_table(retina, table)


@pytest.fixture(scope="module")
def first_seed(retina):
    return several_sets.with_table(retina, retina.table[retina.table["seed"] == 0])


def of_scratch(rows):
    return rows[rows["setting"] == "retina_scratch"].set_index("model").sort_index()


def test_networks_of_more_seeds_are_scored_and_ranked_by_those_that_all_have(unequal, first_seed):
    found, expected = (
        of_scratch(analysis.pepr_table(of.table).query("measure == 'auroc' and resource == 'T'"))
        for of in (unequal, first_seed)
    )
    for column in ("performance", "resource_value", "score", "rank", "n_seeds"):
        assert found[column].tolist() == pytest.approx(expected[column].tolist())
    found, expected = (
        of_scratch(peaks.rank_table(peaks.drawn_scores(of, ("T",), ("auroc",), RESAMPLES)))
        for of in (unequal, first_seed)
    )
    for column in ("rank", "rank_low", "rank_high"):
        assert found[column].tolist() == expected[column].tolist()
    assert (found["rank_low"] <= found["rank"]).all() and (found["rank"] <= found["rank_high"]).all()
    of_sets = {one.name: one for one in composites.sets_of_study(unequal.table)}
    assert max(of_sets["retina_scratch"].performance) < 0.99


def test_claims_on_the_size_of_networks_are_on_the_seeds_that_all_have(unequal, first_seed):
    found, expected = (
        {one.name: one for one in claims.findings(scores.with_sets(of.table))} for of in (unequal, first_seed)
    )
    for name in ("small_as_good_as_large", "small_higher_pepr", "parameters_rank_time"):
        assert found[name].result.effect == pytest.approx(expected[name].result.effect)
        assert "on the splits and seeds that all its networks have" in found[name].basis
        assert "that all its networks have" not in expected[name].basis
    contrast = found["small_as_good_as_large"].contrast
    values = unequal.table.set_index("run_id")["test_auroc"].reindex(contrast.weights.index)
    assert (contrast.weights * values).sum() == pytest.approx(found["small_as_good_as_large"].result.effect)


def test_claims_on_training_are_on_the_networks_that_have_three_seeds(unequal):
    found = {one.name: one for one in claims.findings(scores.with_sets(unequal.table))}
    both = found["pretrained_beats_scratch_models"]
    assert both.result.n == 3 and both.networks.startswith("tf_efficientnet_lite0, tf_efficientnet_lite1")


def test_standings_are_of_the_seeds_that_all_networks_have_and_say_how_many_runs_it_has(unequal, first_seed):
    found, expected = (standings.standings(of, n_resamples=RESAMPLES) for of in (unequal, first_seed))
    found, expected = (rows[rows["setting"] == "retina_scratch"] for rows in (found, expected))
    assert found["model"].tolist() == expected["model"].tolist()
    for column in ("auroc", "low", "high", "probability_best", "tied"):
        assert found[column].tolist() == pytest.approx(expected[column].tolist())
    counts = found.set_index("model")[["n_seeds", "n_runs"]]
    assert (counts["n_seeds"] == 1).all()
    assert {model: n for model, n in counts["n_runs"].items() if n > 1} == dict.fromkeys(
        set(several_sets.NETWORKS) - set(ONCE), 3
    )
    chosen = standings.choices(unequal, RESAMPLES)
    told = standings.selection_numbers(found, chosen, None)["standings_retina_scratch"]["text"]
    assert told.count("| 1 of 3 |") == 3 and "those count whose split and seed all have" in told
    pretrained = standings.standings(unequal, n_resamples=RESAMPLES).query("setting == 'retina'")
    assert (pretrained.set_index("model")["n_seeds"].drop("pca_svm") == 3).all()


def test_a_baseline_with_fewer_seeds_takes_none_from_the_networks_and_one_with_more_leaves_them(retina):
    table = scores.with_sets(retina.table)
    kept = scores.on_shared_units(table)
    assert kept.index.equals(table.index)
    more = table.query("model == 'pca_svm' and setting == 'retina_scratch'")
    more = [more.assign(seed=seed, run_id=f"more-{seed}") for seed in (3, 4)]
    both = pd.concat([table, *(one.astype(table.dtypes) for one in more)], ignore_index=True)
    kept = scores.on_shared_units(both).query("model == 'pca_svm' and setting == 'retina_scratch'")
    assert kept["seed"].tolist() == [0]


def test_the_first_of_a_table_is_the_most_likely_best_also_beside_a_baseline_with_fewer_seeds(retina):
    table = retina.table.copy()
    worst = "tf_efficientnet_lite1"  # by its first seed, the only one that the baseline has
    lifted = (table["model"] == worst) & (table["setting"] == "retina_scratch") & (table["seed"] > 0)
    table.loc[lifted, "test_auroc"] = 0.99
    found = standings.standings(several_sets.with_table(retina, table), n_resamples=RESAMPLES)
    found = found[found["setting"] == "retina_scratch"].reset_index()
    assert found["model"][0] == worst and found["n_seeds"][0] == 3
    assert found["probability_best"].idxmax() == 0 and found["tied"][0]


def test_networks_of_two_sets_are_ranked_by_the_seeds_that_all_have_in_whatever_they_start_from(
    unequal, first_seed
):
    columns = (first_seed.table[name] for name in ("pretrained", "model", "test_auroc"))
    values = {(bool(start), model): value for start, model, value in zip(*columns, strict=True)}
    scratch = agreement.aurocs(Sets(unequal, RESAMPLES))["retinamnist"]
    assert len(scratch) == len(several_sets.NETWORKS)
    for (_, model), value in scratch.items():
        assert value == pytest.approx(values[False, model])
    cells = ("pretrained_full", "scratch_full")
    both = agreement.aurocs(Sets(unequal, RESAMPLES), cells)["retinamnist"]
    assert len(both) == len(several_sets.NETWORKS) + len(several_sets.PRETRAINED)
    for (cell, model), value in both.items():
        assert value == pytest.approx(values[cell == "pretrained_full", model])
    alone = agreement.aurocs(Sets(unequal, RESAMPLES), cells[:1])["retinamnist"]
    means = unequal.table.query("setting == 'retina'").groupby("model")["test_auroc"].mean()
    assert alone["pretrained_full", "mobilenetv2_100"] == pytest.approx(means["mobilenetv2_100"])


def test_a_gap_in_scores_is_of_one_kind_of_hardware(retina):
    table = retina.table
    again = table[table["setting"] == "retina_scratch"]
    dear = again.assign(
        run_id=again["run_id"] + "-slow",
        hardware="another processor",
        train_time_s=10 * again["train_time_s"],
        train_cpu_time_s=10 * again["train_cpu_time_s"],
    )
    dear = dear[dear["model"] != "dla46_c"]
    both = several_sets.with_table(retina, pd.concat([table, dear.astype(table.dtypes)], ignore_index=True))
    ranked = standings.standings(retina, n_resamples=RESAMPLES)
    found, expected = (gap_of(of, ranked) for of in (both, retina))
    assert found["pepr_gap"]["value"] == pytest.approx(expected["pepr_gap"]["value"])
    assert found["small_models"] == expected["small_models"]


def gap_of(results, ranked):
    """The numbers of prose, with those on the gap in PePR between small and large networks."""
    scored = analysis.pepr_table(results.table)
    return numbers.pepr_numbers(results, scored, [], [], analysis.rank_differences(scored), ranked)
