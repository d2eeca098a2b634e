"""Datasets: checked, split, reduced, cached; shares of the training images; unsound files refused."""

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pepr import datasets, models, study
from pepr.errors import InputError
from pepr.study import execution

LICENCES = Path(__file__).parents[2] / "DATA_LICENSES.md"
CHEST_XRAYS = Path(os.environ.get("PEPR_DATA", "")) / "medmnist" / "pneumoniamnist.npz"


@pytest.fixture(scope="module")
def elpv(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPR_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield datasets.prepare("elpv", 32)


def test_elpv_is_the_published_2624_images_in_five_fixed_splits(elpv):
    assert elpv.images.shape == (2624, 32, 32) and elpv.images.dtype == np.uint8
    sizes = [[1424, 660, 540], [1614, 468, 542], [1604, 480, 540], [1598, 492, 534], [1436, 720, 468]]
    for number, expected in enumerate(sizes):
        of_split = datasets.prepare("elpv", 32, number)
        assert [len(of_split.indices(part)) for part in datasets.SPLITS] == expected
        assert sum(of_split.card["counts"]["test"].values()) == expected[2]
        assert of_split.card["split"] == number and of_split.card["n_splits"] == 5
    assert list(datasets.find("elpv").counts.values()) == sizes[0]


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        ("elpv", 5, "split 5: dataset elpv has splits 0 to 4"),
        ("pneumoniamnist", 1, "split 1: dataset pneumoniamnist has one split, 0"),
        ("elpv", None, "older than numbered splits"),
    ],
)
def test_a_split_that_a_dataset_does_not_have_is_refused(name, split, said):
    with pytest.raises(InputError, match=said):
        datasets.prepare(name, 32, split)


def test_the_label_is_the_experts_probability_above_one_half(elpv):
    import elpv_dataset

    table = Path(elpv_dataset.__file__).parent / "data" / "labels.csv"
    probabilities = np.array([float(line.split()[1]) for line in table.read_text().splitlines()])
    np.testing.assert_array_equal(elpv.labels, probabilities > 0.5)


def test_a_cache_of_an_older_version_is_made_again(data_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    folder = datasets.cache_folder("elpv", 32)
    shutil.copytree(data_cache, folder)
    sound = json.loads((folder / "card.json").read_text())
    older = {key: value for key, value in sound.items() if key not in ("format", "note")}
    (folder / "card.json").write_text(json.dumps(older))
    datasets.prepare("elpv", 32)
    assert json.loads((folder / "card.json").read_text()) == sound


def test_images_are_a_memory_map_that_nobody_can_write(elpv):
    assert isinstance(elpv.images, np.memmap)
    with pytest.raises(ValueError):
        elpv.images[0] = 0


@given(
    counts=st.lists(st.integers(2, 300), min_size=1, max_size=7),
    seed=st.integers(0, 2**32 - 1),
    fractions=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
)
def test_shares_are_nested_stratified_and_of_the_asked_size(counts, seed, fractions):
    labels = np.repeat(np.arange(len(counts)), counts)
    small, large = (datasets.stratified_share(labels, fraction, seed) for fraction in sorted(fractions))
    assert set(small) <= set(large)
    for share, fraction in zip((small, large), sorted(fractions), strict=True):
        taken = np.bincount(labels[share], minlength=len(counts))
        assert (taken >= 1).all()
        # At a place in the line each class is rounded by a half at most, and their sum by a half a class.
        bound = 0.5 + np.array(counts) / len(labels) * (len(counts) / 2 + 1)
        assert (np.abs(taken - np.array(counts) * fraction) <= np.maximum(1, bound)).all()
        floor = int(fraction * len(labels))
        assert floor <= len(share) <= max(floor, len(counts)) + len(counts)


def test_the_share_is_the_authors_number_of_images_and_depends_on_the_seed():
    labels = np.repeat([0, 1], [1214, 3494])
    first, second = (datasets.stratified_share(labels, 0.1, seed) for seed in (0, 1))
    assert len(first) == len(second) == 470
    assert set(first) != set(second)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(InputError, match="train_fraction"):
        datasets.stratified_share(np.array([0, 1]), fraction, 0)


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown dataset 'elvp'; known: .*elpv"):
        datasets.find("elvp")


def test_a_set_with_several_labels_an_image_is_refused_with_the_reason():
    with pytest.raises(InputError, match="dataset chestmnist cannot be used: it has several labels an image"):
        datasets.find("chestmnist")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("images", r"images\.npy: the pixels are not those that were prepared"),
        ("labels", r"damaged \(labels\.npy is not what was prepared\)"),
        ("splits", r"damaged \(splits\.npy is not what was prepared\)"),
        ("repeated", r"damaged \(repeated\.npy is not what was prepared\)"),
        ("groups", r"damaged \(groups\.npy is not what was prepared\)"),
    ],
)
def test_an_altered_array_is_found_before_it_is_trained_on(elpv, name, said):
    path = datasets.cache_folder("elpv", 32) / f"{name}.npy"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match=said):
            datasets.prepare("elpv", 32)
        path.write_bytes(sound[: len(sound) // 2])
        with pytest.raises(InputError, match="damaged"):
            datasets.prepare("elpv", 32)
    finally:
        path.write_bytes(sound)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what glibc keeps is given back on Linux")
def test_images_that_were_read_hide_no_model_that_is_trained_in_the_same_process(tmp_path):
    program = """
import psutil
from pepr import datasets
before = psutil.Process().memory_info().rss
datasets.prepare("elpv", 32)
print(psutil.Process().memory_info().rss - before)
"""
    environment = {**os.environ, **execution.KERNEL_ENVIRONMENT, "PEPR_RESULTS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = 2624 * 300 * 300
    assert int(done.stdout) < 0.6 * read, "twice of it was read, and freed"


@pytest.mark.skipif(not CHEST_XRAYS.exists(), reason="PneumoniaMNIST is not at hand (PEPR_DATA)")
def test_the_supplied_chest_x_rays_are_complete_and_prepared_as_ever(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    prepared = datasets.prepare("pneumoniamnist", 64)
    assert [len(prepared.indices(part)) for part in datasets.SPLITS] == [4708, 524, 624]
    assert prepared.card["counts"]["test"] == {"normal": 234, "pneumonia": 390}


def test_the_cached_arrays_are_what_numpy_itself_writes(elpv):
    folder = datasets.cache_folder("elpv", 32)
    for name, array in (("images", elpv.images), ("labels", elpv.labels), ("groups", elpv.groups)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        assert (folder / f"{name}.npy").read_bytes() == buffer.getvalue()


def test_a_source_that_breaks_off_leaves_no_cache(tmp_path, monkeypatch):
    def blocks():
        yield np.zeros((2, 8, 8), np.uint8)
        raise InputError("the rest is missing")

    labels, split = np.array([0, 1, 1]), np.array(["train", "val", "test"])
    loaded = datasets.Loaded(blocks(), labels, split, "official", "0" * 64, 8, "x.npz")
    broken = dataclasses.replace(datasets.DATASETS["elpv"], name="broken", load=lambda size: loaded)
    monkeypatch.setitem(datasets.DATASETS, "broken", broken)
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    with pytest.raises(InputError, match="the rest is missing"):
        datasets.prepare("broken", 8)
    assert list(datasets.cache_folder("broken", 8).iterdir()) == []


def test_a_source_that_does_not_say_of_which_files_it_is_made_is_told_so(tmp_path, monkeypatch):
    labels, split = np.array([0, 1, 1]), np.array(["train", "val", "test"])
    blocks = iter([np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)])
    loaded = datasets.Loaded(blocks, labels, split, "official", "0" * 64, 8, "x.npz")
    (tmp_path / "x.npz").write_text("images")
    silent = dataclasses.replace(
        datasets.DATASETS["elpv"],
        name="silent",
        load=lambda size: loaded,
        sources=lambda size: [tmp_path / "x.npz"],
    )
    monkeypatch.setitem(datasets.DATASETS, "silent", silent)
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    with pytest.raises(InputError, match="dataset silent: `load` does not say of which files"):
        datasets.prepare("silent", 8)


def test_every_dataset_is_in_the_list_of_licences_with_its_terms():
    rows = [line for line in LICENCES.read_text().splitlines() if line.startswith("|")]
    for dataset in datasets.DATASETS.values():
        (row,) = [row for row in rows if f"`{dataset.name}`" in row]
        terms = dataset.licence.partition(" (")[0].removeprefix("terms of ")
        assert terms in row, dataset.name
        for author in dataset.attribution.split("; "):
            assert author.removeprefix("DeepDRiD, ").split(" ")[0] in row, (dataset.name, author)


def test_the_licences_name_the_profiles_that_take_weights_from_a_package():
    rows = [line for line in LICENCES.read_text().splitlines() if "pretrained runs of" in line]
    for model, package in models.OFFLINE_WEIGHTS.items():
        (row,) = [row for row in rows if package.module in row.replace("-", "_")]
        starting = {
            name
            for name in study.profile_names()
            if any(spec.pretrained and spec.model == model for spec in study.grid(study.load(name)))
        }
        assert starting <= set(re.findall("`([a-z0-9_]+)`", row)), model
