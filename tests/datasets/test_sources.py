"""Files that people bring: sound ones are read as published, unsound ones refused with the reason."""

import dataclasses
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pepr import datasets, errors, study
from pepr.datasets import downloads, lidc, medmnist, npz
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum
from pepr.runs.results import Results, reference_folder


def noise(shape, labels):
    """Arrays of a MedMNIST file of `shape` {part: count} x sides, filled with noise."""
    rng = np.random.default_rng(0)
    counts, sides = shape
    arrays = {}
    for part, count in counts.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, *sides), dtype=np.uint8)
        arrays[f"{part}_labels"] = rng.permutation(np.arange(count) % labels).astype(np.uint8)[:, None]
    return arrays


PUBLISHED = Path(os.environ.get("PEPR_DATA", "")) / "medmnist"
CHEST = {"train": 4708, "val": 524, "test": 624}


@pytest.fixture
def supplied(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PEPR_UNOFFICIAL", "yes")
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    (tmp_path / "medmnist").mkdir()
    return tmp_path


def count_loads(monkeypatch, name):
    """The image sizes that a dataset is read for from now on, a list that grows."""
    declared, loads = datasets.find(name), []

    def load(size):
        loads.append(size)
        return declared.load(size)

    monkeypatch.setitem(datasets.DATASETS, name, dataclasses.replace(declared, load=load))
    return loads


def test_datasets_of_the_same_images_know_of_each_other_and_no_others_do():
    every = datasets.DATASETS.values()
    pairs = {frozenset((one.name, other.name)) for one in every for other in every if one.overlaps(other)}
    skin = ("dermamnist", "dermamnist_c", "ham10000", "ham10000_by_image")
    assert pairs == {*map(frozenset, itertools.combinations(skin, 2)), frozenset(("lidc", "nodule"))}


@pytest.fixture
def offline(monkeypatch):
    def refuse(url, path, *, md5):
        raise DataUnavailable("no route")

    monkeypatch.setattr(downloads, "fetch", refuse)


def write_chest_x_rays(folder, name="pneumoniamnist.npz", side=28, **changes):
    path = folder / "medmnist" / name
    np.savez(path, **{**noise((CHEST, (side, side)), 2), **changes})
    return path


def test_a_sound_file_with_another_checksum_is_unofficial(supplied):
    write_chest_x_rays(supplied)
    prepared = datasets.prepare("pneumoniamnist", 28)
    assert prepared.card["status"] == "unofficial" and not prepared.card["note"]
    assert "**unofficial**" in datasets.describe(prepared.card)


def test_a_sound_file_with_another_checksum_is_refused_unless_it_is_asked_for(supplied, monkeypatch):
    path = write_chest_x_rays(supplied)
    monkeypatch.delenv("PEPR_UNOFFICIAL")
    with pytest.raises(
        InputError, match=r"its MD5 is .*28209eda62fecd6e6a2d98b1501bb15f: .*PEPR_UNOFFICIAL"
    ) as told:
        datasets.prepare("pneumoniamnist", 28)
    assert str(path) in str(told.value) and "zenodo.org" in str(told.value)
    assert "use it as it is, labelled unofficial" in str(told.value)


@pytest.mark.parametrize("page", ["README.md", "book/data.md", "book/limits.md"])
def test_who_reads_of_the_data_reads_what_happens_to_a_file_that_is_not_the_published_one(page):
    text = (Path(__file__).parents[2] / page).read_text()
    assert "`PEPR_UNOFFICIAL=yes`" in text and "`unofficial`" in text


def test_images_of_a_file_that_was_let_in_once_are_not_used_when_it_no_longer_is(supplied, monkeypatch):
    path = write_chest_x_rays(supplied)
    assert datasets.prepare("pneumoniamnist", 28).card["status"] == "unofficial"
    monkeypatch.delenv("PEPR_UNOFFICIAL")
    with pytest.raises(InputError, match="its MD5 is"):
        datasets.prepare("pneumoniamnist", 28)
    monkeypatch.setattr(medmnist, "checksum", lambda path, kind="sha256": official_digest(kind))
    assert datasets.prepare("pneumoniamnist", 28).card["status"] == "official" and path.exists()


def test_the_official_file_takes_the_place_of_one_that_was_let_in(supplied, monkeypatch):
    path = write_chest_x_rays(supplied)
    first = datasets.prepare("pneumoniamnist", 28)
    path.unlink()
    write_chest_x_rays(supplied, test_images=np.zeros((624, 28, 28), np.uint8))
    monkeypatch.setattr(medmnist, "checksum", lambda path, kind="sha256": official_digest(kind))
    second = datasets.prepare("pneumoniamnist", 28)
    assert (first.card["status"], second.card["status"]) == ("unofficial", "official")
    assert first.images[-624:].any() and not second.images[-624:].any()


def test_a_better_file_that_comes_later_is_taken_and_a_cache_outlives_its_file(supplied, monkeypatch):
    small = write_chest_x_rays(supplied)
    assert datasets.prepare("pneumoniamnist", 128).images.shape == (5856, 28, 28)
    large = write_chest_x_rays(supplied, "pneumoniamnist_64.npz", 64)
    assert datasets.prepare("pneumoniamnist", 128).images.shape == (5856, 64, 64)
    small.unlink()
    large.unlink()
    loads = count_loads(monkeypatch, "pneumoniamnist")
    assert datasets.prepare("pneumoniamnist", 128).images.shape == (5856, 64, 64)
    monkeypatch.delenv("PEPR_DATA")
    assert datasets.prepare("pneumoniamnist", 128).images.shape == (5856, 64, 64) and loads == []


def test_a_download_is_not_read_again_until_a_file_is_supplied(supplied, monkeypatch):
    downloads.cache().mkdir()
    kept = write_chest_x_rays(supplied).replace(downloads.cache() / "pneumoniamnist.npz")
    monkeypatch.setattr(downloads, "fetch", lambda url, path, *, md5: kept)
    loads = count_loads(monkeypatch, "pneumoniamnist")
    for _ in range(2):
        assert datasets.prepare("pneumoniamnist", 28).images[-624:].any()
    assert loads == [28]
    write_chest_x_rays(supplied, test_images=np.zeros((624, 28, 28), np.uint8))
    assert not datasets.prepare("pneumoniamnist", 28).images[-624:].any()
    assert loads == [28, 28]


def official_digest(kind):
    """The published MD5, and any SHA-256."""
    (file, *_) = medmnist.files_of("pneumoniamnist")
    return file.md5 if kind == "md5" else "0" * 64


MEDICAL = {"breastmnist": (546, 78, 156), "retinamnist": (1080, 120, 400), "pneumoniamnist": (4708, 524, 624)}
REPEATED = {"breastmnist": 1, "retinamnist": 0, "pneumoniamnist": 26}


@pytest.mark.parametrize("name", MEDICAL)
def test_the_published_file_is_official_and_one_changed_byte_is_refused(name, tmp_path, monkeypatch):
    published = PUBLISHED / f"{name}.npz"
    if not published.exists():
        pytest.skip(f"{name} is not at hand (PEPR_DATA)")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    prepared = datasets.prepare(name, 28)
    assert prepared.card["status"] == "official"
    assert tuple(len(prepared.indices(part)) for part in datasets.SPLITS) == MEDICAL[name]
    assert prepared.card["repeated"] == prepared.repeated.sum() == REPEATED[name]
    (tmp_path / "medmnist").mkdir()
    sound = published.read_bytes()
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    for place in (10, len(sound) // 2, len(sound) - 5):
        damaged = bytearray(sound)
        damaged[place] ^= 1
        (tmp_path / "medmnist" / f"{name}.npz").write_bytes(damaged)
        with pytest.raises(InputError, match=f"{name}.npz: its MD5 is"):
            datasets.find(name).load(28)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="no MedMNIST file is at hand (PEPR_DATA)")
def test_label_1_is_the_finding_and_grades_are_ordered():
    breast, retina = (datasets.find(name) for name in ("breastmnist", "retinamnist"))
    loaded = breast.load(28)
    assert breast.classes[1] == "malignant" and np.bincount(
        loaded.labels[loaded.split == "test"]
    ).tolist() == [114, 42]
    assert retina.ordered and retina.classes == tuple(f"grade {grade}" for grade in range(5))
    assert not breast.ordered


def test_a_file_with_the_published_checksum_is_official(supplied, monkeypatch):
    md5 = checksum(write_chest_x_rays(supplied), "md5")
    files = [medmnist.Published("pneumoniamnist.npz", 28, md5, None)]
    monkeypatch.setattr(medmnist, "published_files", lambda flag: files)
    assert datasets.prepare("pneumoniamnist", 28).card["status"] == "official"


def test_a_smaller_file_that_is_at_hand_is_used_and_the_card_says_so(supplied):
    write_chest_x_rays(supplied)
    prepared = datasets.prepare("pneumoniamnist", 128)
    assert prepared.images.shape == (5856, 28, 28), "enlarging is done on the device"
    assert prepared.card["note"] == "pneumoniamnist_128.npz, with 128 px images, was not at hand"
    assert "enlarged from 28 px" in datasets.describe(prepared.card)


def test_the_smallest_file_that_need_not_be_enlarged_is_chosen():
    files = medmnist.published_files("pneumoniamnist")
    assert [(file.name, file.size) for file in files] == [
        ("pneumoniamnist.npz", 28),
        ("pneumoniamnist_64.npz", 64),
        ("pneumoniamnist_128.npz", 128),
        ("pneumoniamnist_224.npz", 224),
    ]
    assert len({file.md5 for file in files}) == 4 and all(file.url.startswith("https://") for file in files)


@pytest.mark.parametrize(
    ("asked", "wanted"), [(28, 28), (32, 28), (64, 28), (65, 128), (100, 128), (224, 224), (256, 224)]
)
def test_the_file_that_fits_the_asked_size_is_downloaded(supplied, monkeypatch, asked, wanted):
    asked_for = []
    monkeypatch.setattr(downloads, "fetch", lambda url, path, *, md5: asked_for.append((url, md5)) or path)
    files = medmnist.published_files("dermamnist")
    chosen, path, note = medmnist.choose("dermamnist", files, asked)
    assert chosen.size == wanted and note == "" and path == supplied / "cache" / chosen.name
    assert asked_for == [(chosen.url, chosen.md5)]


@pytest.mark.parametrize("name", ["breastmnist", "retinamnist", "pneumoniamnist"])
def test_whoever_downloads_a_set_of_medical_gets_the_file_of_the_runs_that_ship(supplied, monkeypatch, name):
    monkeypatch.setattr(downloads, "fetch", lambda url, path, *, md5: path)
    sizes = {spec.image_size for spec in study.grid(study.load("medical")) if spec.dataset == name}
    chosen = {medmnist.choose(name, medmnist.published_files(name), size)[0] for size in sizes}
    assert [file.name for file in chosen] == [f"{name}.npz"]
    shipped = Results("medical", "reference", reference_folder("medical")).records()
    digests = {record["data_sha256"] for record in shipped if record["dataset"] == name}
    copy = PUBLISHED / f"{name}.npz"
    assert len(digests) == 1
    if copy.exists():
        assert digests == {checksum(copy)}


def test_a_supplied_file_comes_before_any_download(supplied, offline):
    write_chest_x_rays(supplied, "pneumoniamnist_128.npz", 128, test_labels=np.zeros(1))
    files = medmnist.published_files("pneumoniamnist")
    chosen, _, note = medmnist.choose("pneumoniamnist", files, 32)
    assert chosen.size == 128 and "pneumoniamnist.npz, with 28 px images, was not at hand" in note


def test_larger_images_are_reduced_to_the_asked_size(supplied):
    write_chest_x_rays(supplied, "pneumoniamnist_64.npz", 64)
    assert datasets.prepare("pneumoniamnist", 32).images.shape == (5856, 32, 32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test_images": np.zeros((600, 28, 28), np.uint8)}, "test_images has 600 images, expected 624"),
        ({"test_images": np.zeros((624, 30, 30), np.uint8)}, r"test_images is uint8 \(624, 30, 30\)"),
        ({"test_images": np.zeros((624, 28, 28, 3), np.uint8)}, "expected 8-bit 28 x 28 images"),
        ({"val_images": np.zeros((524, 28, 28), np.float32)}, "val_images is float32"),
        ({"train_labels": np.full((4708, 1), 7, np.uint8)}, r"train_labels has labels outside 0\.\.1"),
        ({"train_labels": np.zeros((4708, 1), np.uint8)}, "train_labels has no image of class pneumonia"),
        ({"val_labels": np.zeros((523, 1), np.uint8)}, "val_labels has 523 labels, expected 524"),
        ({"val_labels": np.zeros((524, 2), np.uint8)}, "expected one whole number an image"),
        ({"val_labels": np.zeros((524, 1))}, r"val_labels is float64 \(524, 1\)"),
        (
            {"train_labels": np.array([["x"]] * 4708, dtype=object)},
            "train_labels holds pickled Python objects",
        ),
    ],
)
def test_an_unsound_file_is_refused_with_its_reason(supplied, changes, reason):
    path = write_chest_x_rays(supplied, **changes)
    with pytest.raises(InputError, match=reason) as caught:
        datasets.prepare("pneumoniamnist", 28)
    assert str(path) in str(caught.value)


def test_a_file_without_an_array_is_refused(supplied):
    arrays = noise((CHEST, (28, 28)), 2)
    del arrays["val_labels"]
    np.savez(supplied / "medmnist" / "pneumoniamnist.npz", **arrays)
    with pytest.raises(InputError, match="arrays missing: val_labels"):
        datasets.prepare("pneumoniamnist", 28)


def test_a_truncated_file_is_refused(supplied):
    path = write_chest_x_rays(supplied)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"not a sound .npz file"):
        datasets.prepare("pneumoniamnist", 28)


def test_a_flipped_bit_in_the_pixels_is_refused(supplied):
    path = write_chest_x_rays(supplied)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="Bad CRC-32"):
        datasets.prepare("pneumoniamnist", 28)


def test_something_else_than_an_archive_is_refused(supplied):
    (supplied / "medmnist" / "pneumoniamnist.npz").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"pneumoniamnist.npz: not a sound .npz file"):
        datasets.prepare("pneumoniamnist", 28)


def test_a_failed_download_says_from_where_and_how_to_supply_the_file(supplied, offline):
    with pytest.raises(DataUnavailable) as caught:
        datasets.prepare("pneumoniamnist", 64)
    told = str(caught.value)
    assert "zenodo.org" in told and "no route" in told
    assert f"put it at $PEPR_DATA/medmnist/pneumoniamnist.npz (PEPR_DATA={supplied})" in told


def test_a_download_that_the_disk_refuses_says_so_and_how_to_supply_the_file(supplied, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    files = medmnist.published_files("pneumoniamnist")
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataUnavailable) as caught:
        medmnist.choose("pneumoniamnist", files, 28)
    told = str(caught.value)
    assert "dataset pneumoniamnist" in told and files[0].url in told
    assert f"[Errno 13] Permission denied: '{supplied / 'cache'}'" in told
    assert f"put it at $PEPR_DATA/medmnist/pneumoniamnist.npz (PEPR_DATA={supplied})" in told
    assert errors.is_storage_error(told)


def test_blocks_are_the_array_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "BLOCK_BYTES", 64)
    array = np.random.default_rng(0).integers(0, 256, (23, 5, 5), dtype=np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", a=array)
        blocks = list(npz.blocks(tmp_path / "a.npz", "a"))
        assert [len(block) for block in blocks] == [2] * 11 + [1]
        np.testing.assert_array_equal(np.concatenate(blocks), array)


NODULES = {"train": 1158, "val": 165, "test": 310}


def test_nodules_are_three_planes_through_the_middle(supplied):
    arrays = noise((NODULES, (28, 28, 28)), 2)
    np.savez(supplied / "medmnist" / "nodulemnist3d.npz", **arrays)
    prepared = datasets.prepare("nodule", 28)
    assert prepared.images.shape == (1633, 28, 28, 3) and prepared.card["channels"] == 3
    volume, image = arrays["val_images"][0], prepared.images[1158]
    np.testing.assert_array_equal(image[..., 0], volume[14])
    np.testing.assert_array_equal(image[..., 1], volume[:, 14])
    np.testing.assert_array_equal(image[..., 2], volume[:, :, 14])
    assert "not to be compared" in prepared.card["caution"]


def test_the_corrected_derma_split_is_used_where_its_file_is_and_named_where_it_is_not(supplied):
    with pytest.raises(
        DataUnavailable, match=r"get dermamnist_corrected_28.npz from https://doi.org/.*11101337"
    ):
        datasets.prepare("dermamnist_c", 28)
    arrays = noise((medmnist.CORRECTED_DERMA_COUNTS, (28, 28, 3)), 7)
    np.savez(supplied / "medmnist" / "dermamnist_corrected_28.npz", **arrays)
    prepared = datasets.prepare("dermamnist_c", 28)
    assert [len(prepared.indices(part)) for part in datasets.SPLITS] == [8215, 573, 1227]
    assert prepared.card["status"] == "unofficial" and prepared.num_classes == 7


def write_lidc(folder, count=200, side=32, name="mine.npz", **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 256, (count, side, side), dtype=np.uint8),
        "rater_labels": rng.integers(0, 2, (count, 4)),
    }
    (folder / "lidc").mkdir(exist_ok=True)
    np.savez(folder / "lidc" / name, **{**arrays, **changes})
    return {**arrays, **changes}


def test_lidc_takes_the_majority_of_four_raters_and_the_authors_split_in_file_order(supplied):
    arrays = write_lidc(supplied)
    prepared = datasets.prepare("lidc", 32)
    np.testing.assert_array_equal(prepared.images, arrays["images"])
    np.testing.assert_array_equal(prepared.labels, arrays["rater_labels"].sum(1) >= 3)
    assert list(prepared.split) == ["train"] * 120 + ["val"] * 40 + ["test"] * 40
    assert prepared.card["status"] == "supplied" and "your own" in datasets.describe(prepared.card)


def test_a_file_that_was_mended_is_read_anew_and_one_that_was_not_is_not(supplied, monkeypatch):
    arrays = write_lidc(supplied)
    loads = count_loads(monkeypatch, "lidc")
    for _ in range(2):
        datasets.prepare("lidc", 32)
    assert loads == [32]
    write_lidc(supplied, rater_labels=1 - arrays["rater_labels"], images=255 - arrays["images"])
    mended = datasets.prepare("lidc", 32)
    np.testing.assert_array_equal(mended.labels, arrays["rater_labels"].sum(1) <= 1)
    np.testing.assert_array_equal(mended.images, 255 - arrays["images"])
    datasets.prepare("lidc", 32)
    assert loads == [32, 32]


def test_a_file_with_another_time_and_the_same_bytes_is_the_same_data(supplied, monkeypatch):
    write_lidc(supplied)
    datasets.prepare("lidc", 32)
    images = datasets.cache_folder("lidc", 32) / "images.npy"
    before = images.stat().st_mtime_ns
    os.utime(supplied / "lidc" / "mine.npz", (0, 0))
    loads = count_loads(monkeypatch, "lidc")
    for _ in range(2):
        datasets.prepare("lidc", 32)
    assert loads == [32] and images.stat().st_mtime_ns == before, "read once more, and not written"


def test_a_file_that_is_replaced_while_it_is_read_is_not_prepared(supplied, monkeypatch):
    arrays = write_lidc(supplied)
    declared = datasets.find("lidc")

    def load(size):
        loaded = declared.load(size)
        write_lidc(supplied, images=255 - arrays["images"])
        os.utime(supplied / "lidc" / "mine.npz", (0, 0))
        return loaded

    with monkeypatch.context() as patch:
        patch.setitem(datasets.DATASETS, "lidc", dataclasses.replace(declared, load=load))
        with pytest.raises(InputError, match=r"mine\.npz: replaced while it was read"):
            datasets.prepare("lidc", 32)
    np.testing.assert_array_equal(datasets.prepare("lidc", 32).images, 255 - arrays["images"])


def test_several_that_want_a_set_at_once_read_it_once(supplied, monkeypatch):
    arrays = write_lidc(supplied)
    loads = count_loads(monkeypatch, "lidc")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: datasets.prepare("lidc", 32), range(4)))
    assert loads == [32]
    for prepared in found:
        np.testing.assert_array_equal(prepared.images, arrays["images"])


def test_the_authors_15096_patches_are_split_as_they_say():
    split = lidc.split_in_order(15_096)
    assert [int(np.sum(split == part)) for part in datasets.SPLITS] == [9057, 3019, 3020]
    assert list(np.flatnonzero(split[1:] != split[:-1])) == [9056, 9056 + 3019]


def test_without_a_file_of_patches_the_place_and_the_format_are_named(supplied, monkeypatch):
    with pytest.raises(DataUnavailable, match=r"\$PEPR_DATA/lidc/.*`images`, uint8 .*`rater_labels`, 0 or 1"):
        datasets.prepare("lidc", 32)
    monkeypatch.delenv("PEPR_DATA")
    with pytest.raises(DataUnavailable, match="PEPR_DATA is not set"):
        datasets.prepare("lidc", 32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": np.zeros((200, 32, 32), np.float32)}, r"images is float32 .*expected uint8 \[N, H, H\]"),
        ({"images": np.zeros((200, 32, 30), np.uint8)}, r"images is uint8 \(200, 32, 30\)"),
        ({"rater_labels": np.zeros((200, 3), int)}, r"rater_labels is \(200, 3\), expected \(200, 4\)"),
        ({"rater_labels": np.full((200, 4), 2)}, "rater_labels, row 0, rater 0: 2, expected 0 or 1"),
        ({"rater_labels": np.zeros((200, 4), int)}, "train split of rater_labels has no image of class more"),
        ({"rater_labels": np.array([[None] * 4] * 200)}, "rater_labels holds pickled Python objects"),
    ],
)
def test_unsound_patches_are_refused_with_their_reason(supplied, changes, reason):
    write_lidc(supplied, **changes)
    with pytest.raises(InputError, match=reason):
        datasets.prepare("lidc", 32)


def test_two_files_of_patches_are_one_too_many(supplied):
    write_lidc(supplied)
    write_lidc(supplied, name="other.npz")
    with pytest.raises(InputError, match=r"there are 2: mine\.npz, other\.npz"):
        datasets.prepare("lidc", 32)


@pytest.mark.skipif(not list(PUBLISHED.glob("*mnist*.npz")), reason="no MedMNIST file is at hand (PEPR_DATA)")
def test_every_medmnist_file_at_hand_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    files = {
        file.name: (name, file.size) for name in medmnist.TITLES for file in medmnist.published_files(name)
    }
    at_hand = [files[path.name] for path in PUBLISHED.glob("*.npz") if path.name in files]
    for name, size in at_hand:
        prepared = datasets.prepare(name, size)
        assert prepared.card["stored_size"] == size and prepared.card["status"] in ("official", "unofficial")
