"""The leak check: on made-up sets whose leak is known, and on the splits of ELPV."""

import numpy as np
import pytest

from pepr.book import study_facts
from pepr.datasets import elpv, leaks

N_MODULES, CELLS = 40, 30


@pytest.fixture(scope="module")
def modules():
    """Labels of cells that stand module by module, each module with a share of its own."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.random(CELLS) < share for share in rng.random(N_MODULES)]).astype(int)


def parts(rng, n):
    return rng.choice(["train", "val", "test"], size=n, p=[0.6, 0.2, 0.2])


def test_files_at_random_tell_the_module_and_so_the_label_and_blocks_of_modules_do_not(modules):
    rng = np.random.default_rng(1)
    at_random = leaks.by_order(modules, parts(rng, len(modules)))
    in_blocks = leaks.by_order(modules, np.repeat(parts(rng, N_MODULES), CELLS))
    assert max(at_random.values()) > 0.70
    assert at_random["nearest 10"] - in_blocks["nearest 10"] > 0.15


def test_sets_that_are_stored_one_after_the_other_in_the_same_order_of_classes_are_found():
    labels = np.tile(np.repeat([0, 1, 2], 30), 3)
    split = np.repeat(["train", "val", "test"], 90)
    found = leaks.by_order(labels, split)
    assert found["same place 3"] > 0.95
    assert found["nearest 10"] == 0.5, "every test file has the same nearest training files"


def test_labels_without_order_are_not_predicted():
    rng = np.random.default_rng(2)
    found = leaks.by_order(rng.integers(0, 2, 3000), parts(rng, 3000))
    assert all(0.42 < value < 0.58 for value in found.values())


def test_an_image_in_two_sets_is_counted_and_leaves_the_others_alone():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8)
    split = np.repeat(["train", "val", "test"], [20, 10, 10])
    images[[3, 4]], images[5], images[25] = images[30], images[22], images[35]
    found = leaks.check(images, rng.integers(0, 2, 40), split, None)
    assert found.duplicates == {("train", "val"): 1, ("train", "test"): 1, ("val", "test"): 1}
    assert found.groups is None and "names no groups" in found.as_table()["found"].iloc[-1]


def test_a_group_in_two_sets_is_counted():
    split = np.array(["train", "train", "val", "test", "test"])
    assert leaks.across_sets(np.array(["a", "b", "b", "b", "c"]), split) == {
        ("train", "val"): 1,
        ("train", "test"): 1,
        ("val", "test"): 1,
    }


@pytest.mark.parametrize("shape", [(5, 28, 28), (5, 30, 30, 3)])
def test_a_thumbnail_is_the_mean_of_what_it_covers(shape):
    images = np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)
    small = leaks.thumbnails(images, 16)
    assert small.shape == (5, 256 * (shape[3] if len(shape) == 4 else 1))
    assert small.min() >= 0 and small.max() <= 1
    halves = leaks.thumbnails(images[:, :28, :28], 14)
    first = images[0, :2, :2].reshape(4, -1).mean(axis=0) / 255
    np.testing.assert_allclose(halves[0, : len(first)], first, rtol=1e-5)


def elpv_labels():
    import elpv_dataset

    table = elpv.Path(elpv_dataset.__file__).parent / "data" / "labels.csv"
    rows = [line.split() for line in table.read_text().splitlines()]
    return np.array([float(row[1]) > 0.5 for row in rows]).astype(int), np.array([row[2] for row in rows])


def test_no_split_of_elpv_is_predicted_without_a_pixel():
    """The limits are those that were set before the splits were drawn: 0.60 in the mean, 0.65 on any."""
    labels, _ = elpv_labels()
    found = [leaks.by_order(labels, split) for split in elpv.block_splits()]
    for predictor in found[0]:
        values = [of_split[predictor] for of_split in found]
        assert np.mean(values) < 0.60 and max(values) < 0.65, (predictor, values)


def test_the_book_tells_the_predictors_that_are_worse_than_a_coin_too():
    labels, _ = elpv_labels()
    found = [leaks.by_order(labels, split) for split in elpv.block_splits()]
    least = min(value for of_split in found for value in of_split.values())
    facts = study_facts.leak_facts()
    assert float(facts["leak_lowest"]) == pytest.approx(least, abs=0.006) and least < 0.35
    assert float(facts["leak_backwards"]) == pytest.approx(1 - least, abs=0.006)
    assert float(facts["leak_lowest"]) <= float(facts["leak_lowest_mean"]) <= float(facts["leak_mean"])


def test_the_kind_of_cell_does_not_predict_a_split_of_elpv_either():
    labels, kinds = elpv_labels()
    values = []
    for split in elpv.block_splits():
        rate = {kind: labels[(split == "train") & (kinds == kind)].mean() for kind in ("mono", "poly")}
        test = split == "test"
        score = np.array([rate[kind] for kind in kinds[test]])
        values.append(leaks.metrics.auroc(np.stack([1 - score, score], axis=1), labels[test]))
    assert np.mean(values) < 0.60 and max(values) < 0.65, values


def test_the_old_random_split_of_elpv_is_predicted_without_a_pixel():
    labels, _ = elpv_labels()
    assert max(leaks.by_order(labels, elpv.random_split(labels)).values()) > 0.85


def test_the_modules_of_elpv_are_those_that_its_authors_count():
    """44 modules, 18 of monocrystalline and 26 of polycrystalline cells (Deitsch et al. 2019)."""
    _, kinds = elpv_labels()
    modules = elpv.modules()
    assert len(modules) == len(kinds) and len(elpv.MODULE_CELLS) == len(elpv.FOLDS) == 44
    of_module = [set(kinds[modules == k]) for k in range(44)]
    assert of_module.count({"mono"}) == 18 and of_module.count({"poly"}) == 26


def test_each_module_of_elpv_is_tested_in_one_split_and_divided_by_none():
    splits, modules = elpv.block_splits(), elpv.modules()
    assert ((splits == "test").sum(axis=0) == 1).all()
    for split in splits:
        assert all(len(set(split[modules == k])) == 1 for k in range(44))
        assert 0.5 < np.mean(split == "train") < 0.65


def test_an_epoch_is_chosen_on_modules_of_both_sides_of_elpv():
    """The first 18 modules have half of their cells defective, the others a sixth."""
    modules = elpv.modules()
    for split in elpv.block_splits():
        validated = np.unique(modules[split == "val"])
        assert (validated < 18).any() and (validated >= 18).any()
        assert 0.15 < np.mean(split == "val") < 0.30
