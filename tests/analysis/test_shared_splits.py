"""Models are compared on the splits that all of their set have: another split is another exam."""

import pandas as pd
import pytest

from pepr import analysis
from pepr.analysis import scores


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
    kept = scores.on_shared_splits(scores.with_sets(table))
    assert (kept["status"] == "failed").sum() == (table["status"] == "failed").sum() == 1
    assert set(kept.query("status == 'ok'")["split"]) == {0}
    assert kept["model"].nunique() == table["model"].nunique()


def test_equal_splits_are_all_kept_and_none_in_common_keeps_all(table):
    several = table.query("model == 'tf_efficientnet_lite0'")
    assert len(scores.on_shared_splits(scores.with_sets(several))) == 3
    apart = pd.concat([several.query("split == 0"), several.query("split > 0").assign(model="other")])
    assert len(scores.on_shared_splits(scores.with_sets(apart))) == 3


def test_a_set_of_which_too_few_are_scored_has_no_ranks(table):
    lost = table.copy()
    lost.loc[~lost["model"].isin(["dla46_c", "resnet18d"]), "status"] = "failed"
    found = analysis.pepr_table(lost).query("measure == 'auroc' and resource == 'T'")
    assert (
        found["score"].notna().sum() == 2 and found["rank"].isna().all() and found["rank_frozen"].isna().all()
    )
    differences = analysis.rank_differences(analysis.pepr_table(lost))
    assert (differences["n_ranks_differ"] == 0).all()
