"""Splits and seeds as units: means, differences and draws, on tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from pepr import stats
from pepr.analysis import units


def rows_of(models, n_units, split=True):
    """One run of each model in each unit: seed i on split i, or all on split 0."""
    return pd.DataFrame(
        [
            {"run_id": f"{model}-{k}", "model": model, "seed": k, "split": k if split else 0}
            for model in models
            for k in range(n_units)
        ]
    )


def values_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    level = {model: 0.6 + 0.1 * place for place, model in enumerate(sorted(rows["model"].unique()))}
    noise = rng.normal(0, 0.02, len(rows)) + rng.normal(0, 0.03, 99)[rows["seed"]]
    return pd.Series(rows["model"].map(level).to_numpy() + noise, index=rows["run_id"])


def images_of(values, spread=0.01, n=500):
    """Draws in which all runs move together, as those of one test set do."""
    common = np.random.default_rng(5).normal(0, spread, n)

    def images(rows):
        return pd.DataFrame({run: values[run] + common for run in rows["run_id"]})

    return images


def never(rows):
    raise AssertionError("test images are resampled though each split has its own")


def test_a_mean_over_splits_has_students_interval_and_asks_for_no_images():
    rows = rows_of(["a"], 5)
    values = values_of(rows)
    found = units.mean_of(rows, values, never)
    assert found.interval == stats.mean_interval(values) and found.n_units == 5
    assert found.over == units.SPLITS


def test_below_three_units_the_interval_is_of_the_test_images_alone_and_says_so():
    rows = rows_of(["a"], 2)
    values = values_of(rows)
    found = units.mean_of(rows, values, images_of(values))
    assert (found.n_units, found.over) == (2, units.IMAGES)
    assert found.interval.estimate == pytest.approx(values.mean())
    assert found.interval.high - found.interval.low == pytest.approx(4 * 0.01, rel=0.15)


def test_seeds_of_one_split_share_their_images_whose_noise_is_added():
    rows = rows_of(["a"], 4, split=False)
    values = values_of(rows)
    found = units.mean_of(rows, values, images_of(values, 0.05))
    assert found.over == units.SEEDS
    alone = stats.mean_interval(values)
    assert found.interval.high - found.interval.low > alone.high - alone.low


def test_a_difference_is_paired_by_split_on_those_that_both_have():
    rows = rows_of(["a", "b"], 5)
    values = values_of(rows)
    first, second = rows[rows["model"] == "b"], rows[(rows["model"] == "a") & (rows["split"] != 3)]
    result = units.test_of(first, second, values)
    expected = [values[f"b-{k}"] - values[f"a-{k}"] for k in (0, 1, 2, 4)]
    assert result.n == 4 and result.effect == pytest.approx(np.mean(expected))
    assert result.p == pytest.approx(stats.unit_test(expected).p)


@pytest.mark.parametrize("seeds", [[0.5, 0.9, 1.0], [0.0, 0.1, 0.5], [0.0, 1.0, 1.0]])
def test_no_interval_leaves_the_values_that_a_measure_can_have(seeds):
    rows = rows_of(["a", "b"], 3)
    values = pd.Series([*seeds, *(1 - np.array(seeds[::-1]))], index=rows["run_id"])
    alone, rest = rows[rows["model"] == "a"], rows[rows["model"] == "b"]
    mean = units.mean_of(alone, values, never).interval
    unbounded = stats.mean_interval(seeds)
    assert (mean.low, mean.high) == pytest.approx((max(unbounded.low, 0), min(unbounded.high, 1)))
    assert mean.low == 0 or mean.high == 1
    unbounded = stats.mean_interval(values[alone["run_id"]].to_numpy() - values[rest["run_id"]].to_numpy())
    gap = units.mean_of(alone, values, never, rest).interval
    assert (gap.low, gap.high) == pytest.approx((max(unbounded.low, -1), min(unbounded.high, 1)))
    below = units.mean_of(alone, 2 * values - 1, never, lowest=-1.0).interval
    assert (below.low, below.high) == pytest.approx((2 * mean.low - 1, 2 * mean.high - 1))


def test_models_of_a_group_weigh_alike_in_each_split():
    rows = rows_of(["a", "b", "c"], 4)
    values = values_of(rows)
    group, single = rows[rows["model"].isin(["b", "c"])], rows[rows["model"] == "a"]
    found = units.contrast(group, single).by_unit(values)
    by_hand = [(values[f"b-{k}"] + values[f"c-{k}"]) / 2 - values[f"a-{k}"] for k in range(4)]
    assert found == pytest.approx(by_hand)


def test_several_seeds_of_a_split_are_one_unit():
    rows = pd.concat(
        [rows_of(["a"], 3), rows_of(["a"], 3).assign(run_id=lambda r: r["run_id"] + "x", seed=7)]
    )
    values = pd.Series(np.arange(6.0), index=rows["run_id"])
    found = units.contrast(rows)
    assert found.n_units == 3 and found.by_unit(values) == pytest.approx([1.5, 2.5, 3.5])


def test_groups_without_a_common_split_have_no_difference():
    first, second = rows_of(["a"], 2), rows_of(["b"], 4).query("split > 1")
    values = values_of(pd.concat([first, second]))
    found = units.mean_of(first, values, never, second)
    assert found.n_units == 0 and np.isnan(found.interval.estimate)
    assert np.isnan(units.test_of(first, second, values).p)


def test_draws_of_a_set_move_together_over_the_common_splits():
    rows = rows_of(["a", "b", "c"], 5)
    values = values_of(rows)
    found = units.joint(rows, values, never, 4_000)
    assert (found.n_units, found.over) == (5, units.SPLITS)
    assert list(found.draws.columns) == ["a", "b", "c"]
    assert found.draws.mean().to_numpy() == pytest.approx(
        [values[[f"{m}-{k}" for k in range(5)]].mean() for m in "abc"], abs=0.003
    )
    a, b = (values[[f"{model}-{k}" for k in range(5)]] for model in "ab")
    drawn = np.corrcoef(found.draws["a"], found.draws["b"])[0, 1]
    assert drawn == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.1)


def test_a_model_that_was_run_once_leaves_the_others_with_test_images_alone():
    rows = pd.concat([rows_of(["a", "b"], 5), rows_of(["c"], 1)])
    values = values_of(rows_of(["a", "b", "c"], 5))
    found = units.joint(rows, values, images_of(values), 300)
    assert (found.n_units, found.over) == (1, units.IMAGES)
    assert found.draws["a"].mean() == pytest.approx(values["a-0"], abs=0.002)


def test_draws_over_seeds_of_one_split_have_the_noise_of_the_images_besides():
    rows = rows_of(["a", "b"], 5, split=False)
    values = values_of(rows)
    narrow, wide = (
        units.joint(rows, values, images_of(values, spread), 500).draws["a"].std() for spread in (1e-6, 0.1)
    )
    assert wide > 2 * narrow


@pytest.mark.parametrize(
    ("units_of", "models"),
    [
        ({"a": {0, 1, 2, 3, 4}, "b": {0, 1, 2, 3, 4}, "c": {0}, "d": {0}}, ["a", "b"]),
        ({"a": {0, 1, 2, 3, 4}, "b": {0, 1, 2}, "c": {2}}, ["a", "b"]),
        ({"a": {0, 1, 2, 3}, "b": {1, 2, 3, 4}}, ["a", "b"]),
        ({"a": {0, 1, 2, 3}, "b": {0, 1, 2, 4}, "c": {0, 1, 2, 5}}, ["a", "b", "c"]),
        ({"a": {0, 1, 2}, "b": {3, 4, 5, 6}}, ["b"]),
        ({"a": {0, 1, 2}, "b": {3, 4, 5}}, ["a"]),
        ({"a": {0, 1}, "b": {0, 1}}, []),
        ({}, []),
    ],
)
def test_as_many_models_are_compared_as_share_three_units(units_of, models):
    assert units.widest({model: frozenset(own) for model, own in units_of.items()}) == models


def test_a_models_counterpart_is_itself_or_the_one_model_of_the_other_side():
    networks = pd.concat([rows_of(["a", "b"], 5), rows_of(["c"], 1)])
    assert units.comparable(networks, rows_of(["a"], 5).assign(model="other")) == ["a", "b"]
    assert units.comparable(networks, networks[networks["split"] < 3]) == ["a", "b"]
    assert units.comparable(networks, pd.concat([rows_of(["a"], 5), rows_of(["b"], 2)])) == ["a"]
    assert units.comparable(networks, networks[networks["split"] < 2]) == []


def test_nothing_is_in_common_with_no_run_at_all():
    rows = rows_of(["a"], 5)
    assert units.contrast(rows, rows.iloc[:0]).n_units == 0
