"""Datasets: checked, split, reduced, cached; shares of the training images; unsound files refused."""

import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pepr import datasets
from pepr.errors import DataUnavailable, InputError

CHEST_XRAYS = Path(os.environ.get("PEPR_DATA", "")) / "medmnist" / "pneumoniamnist.npz"


@pytest.fixture(scope="module")
def elpv(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPR_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield datasets.prepare("elpv", 32)


def test_elpv_is_the_published_2624_images_in_a_fixed_split(elpv):
    assert elpv.images.shape == (2624, 32, 32) and elpv.images.dtype == np.uint8
    assert [len(elpv.indices(part)) for part in datasets.SPLITS] == [1574, 525, 525]
    shares = [elpv.labels[elpv.indices(part)].mean() for part in datasets.SPLITS]
    assert max(shares) - min(shares) < 0.003
    assert elpv.card["counts"]["test"] == {"functional": 361, "defective": 164}


def test_the_label_is_the_experts_probability_above_one_half(elpv):
    import elpv_dataset

    table = Path(elpv_dataset.__file__).parent / "data" / "labels.csv"
    probabilities = np.array([float(line.split()[1]) for line in table.read_text().splitlines()])
    np.testing.assert_array_equal(elpv.labels, probabilities > 0.5)


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
        assert (np.abs(taken - np.array(counts) * fraction) <= 1).all()
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


def test_altered_pixels_are_found_before_they_are_trained_on(elpv):
    path = datasets.cache_folder("elpv", 32) / "images.npy"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match=r"images.npy: the pixels are not those that were prepared"):
            datasets.prepare("elpv", 32)
        path.write_bytes(sound[:5000])
        with pytest.raises(InputError, match="damaged"):
            datasets.prepare("elpv", 32)
    finally:
        path.write_bytes(sound)


def write_medmnist(folder, **changes):
    """A file of the shape of PneumoniaMNIST, filled with noise."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 4708), ("val", 524), ("test", 624)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = rng.integers(0, 2, (count, 1), dtype=np.uint8)
    arrays.update(changes)
    (folder / "medmnist").mkdir()
    path = folder / "medmnist" / "pneumoniamnist.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def supplied(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    return tmp_path


def test_a_sound_file_with_another_checksum_is_unofficial(supplied):
    write_medmnist(supplied)
    prepared = datasets.prepare("pneumoniamnist", 64)
    assert prepared.card["status"] == "unofficial"
    assert prepared.images.shape == (5856, 28, 28), "enlarging is done on the device"
    assert "**unofficial**" in datasets.describe(prepared.card)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test_images": np.zeros((600, 28, 28), np.uint8)}, "test_images has 600 images"),
        ({"test_images": np.zeros((624, 30, 30), np.uint8)}, r"test_images is uint8 \(624, 30, 30\)"),
        ({"val_images": np.zeros((524, 28, 28), np.float32)}, "val_images is float32"),
        ({"train_labels": np.full((4708, 1), 7, np.uint8)}, r"labels outside 0\.\.1"),
        ({"train_labels": np.array([["x"]] * 4708, dtype=object)}, "not a sound .npz file"),
    ],
)
def test_an_unsound_file_is_refused_with_its_reason(supplied, changes, reason):
    write_medmnist(supplied, **changes)
    with pytest.raises(InputError, match=reason):
        datasets.prepare("pneumoniamnist", 64)


def test_a_truncated_file_is_refused(supplied):
    path = write_medmnist(supplied)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"not a sound .npz file"):
        datasets.prepare("pneumoniamnist", 64)


def test_a_failed_download_says_from_where_and_how_to_supply_the_file(supplied, monkeypatch):
    import pooch

    def refuse(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(DataUnavailable, match=r"zenodo.*put it at .*medmnist/pneumoniamnist.npz"):
        datasets.prepare("pneumoniamnist", 64)


@pytest.mark.skipif(not CHEST_XRAYS.exists(), reason="PneumoniaMNIST is not at hand (PEPR_DATA)")
def test_the_supplied_chest_x_rays_are_complete(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    prepared = datasets.prepare("pneumoniamnist", 64)
    assert [len(prepared.indices(part)) for part in datasets.SPLITS] == [4708, 524, 624]
    assert prepared.card["counts"]["test"] == {"normal": 234, "pneumonia": 390}
