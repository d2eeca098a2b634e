"""HAM10000: complete or refused with one clear line, and no lesion and no copy of an image on two sides."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pepr import datasets
from pepr.datasets import ham10000, leaks
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum

AT_HAND = Path(os.environ.get("PEPR_DATA", "")) / "ham10000"
HERE = pytest.mark.skipif(not AT_HAND.exists(), reason="HAM10000 is not at hand (PEPR_DATA)")
COUNTS = {dx: 20 for dx in ham10000.CLASSES}


def jpeg(seed, size=(40, 30)):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def rows():
    """(lesion, image, dx) of 140 images, two of each lesion."""
    return [
        [f"HAM_{dx}{number // 2}", f"ISIC_{dx}{number}", dx]
        for dx in ham10000.CLASSES
        for number in range(20)
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch, rows):
    """A HAM10000 of twenty small images a class, as a folder of JPEGs."""
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(ham10000, "CLASS_COUNTS", COUNTS)
    folder = tmp_path / "ham10000"
    (folder / "images").mkdir(parents=True)
    write_metadata(folder, rows)
    for seed, (_, image, _) in enumerate(rows):
        (folder / "images" / f"{image}.jpg").write_bytes(jpeg(seed))
    return folder


def write_metadata(folder, rows, header="lesion_id,image_id,dx"):
    text = "\n".join([header, *(",".join(row) for row in rows)])
    (folder / ham10000.METADATA).write_text(text + "\n")


def zipped(folder, parts=2):
    """Move the JPEGs into archives, as they are distributed."""
    paths = sorted((folder / "images").iterdir())
    for part in range(parts):
        with zipfile.ZipFile(folder / f"HAM10000_images_part_{part + 1}.zip", "w") as archive:
            for path in paths[part::parts]:
                archive.write(path, path.name)
    shutil.rmtree(folder / "images")


def test_a_folder_and_the_archives_of_the_same_images_are_the_same_data(folder, tmp_path, monkeypatch):
    loose = datasets.prepare("ham10000", 16)
    zipped(folder)
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "others"))
    packed = datasets.prepare("ham10000", 16)
    assert packed.images.shape == (140, 16, 16, 3)
    np.testing.assert_array_equal(loose.images, packed.images)
    np.testing.assert_array_equal(loose.split, packed.split)
    assert loose.card["sha256"] == packed.card["sha256"] and packed.card["status"] == "unofficial"


def test_an_image_that_was_replaced_is_prepared_and_the_same_images_otherwise_packed_are_not(folder, rows):
    first = datasets.prepare("ham10000", 16)
    written = datasets.cache_folder("ham10000", 16) / "images.npy"
    path, before = folder / "images" / f"{rows[5][1]}.jpg", written.stat().st_mtime_ns
    datasets.prepare("ham10000", 16)
    assert written.stat().st_mtime_ns == before
    path.write_bytes(jpeg(999))
    second = datasets.prepare("ham10000", 16)
    assert list(np.flatnonzero((first.images != second.images).any(axis=(1, 2, 3)))) == [5]
    before = written.stat().st_mtime_ns
    zipped(folder)
    assert datasets.prepare("ham10000", 16).card["sha256"] == second.card["sha256"]
    shutil.rmtree(folder)
    np.testing.assert_array_equal(datasets.prepare("ham10000", 16).images, second.images)
    assert written.stat().st_mtime_ns == before


def test_images_smaller_than_asked_stay_as_they_are_and_are_square(folder):
    prepared = datasets.prepare("ham10000", 64)
    assert prepared.images.shape == (140, 30, 30, 3)
    assert prepared.card["native_size"] == 30 and "40 x 30 px" in prepared.card["note"]


def test_an_image_is_shrunk_to_a_square_by_pillow(folder, rows):
    prepared = datasets.prepare("ham10000", 16)
    for index in (0, 77):
        original = Image.open(io.BytesIO(jpeg(index))).convert("RGB")
        np.testing.assert_array_equal(
            prepared.images[index], original.resize((16, 16), Image.Resampling.BILINEAR)
        )


def test_no_lesion_is_on_two_sides_and_each_class_is_on_every_side(folder, rows):
    prepared = datasets.prepare("ham10000", 16)
    sides = {}
    for (lesion, _, _), side in zip(rows, prepared.split, strict=True):
        sides.setdefault(lesion, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert all(count > 0 for part in prepared.card["counts"].values() for count in part.values())


def test_a_copy_of_an_image_goes_where_the_image_goes(folder, rows):
    for number in range(6):
        source, copy = rows[2 * number], rows[40 + 2 * number]
        shutil.copy(folder / "images" / f"{source[1]}.jpg", folder / "images" / f"{copy[1]}.jpg")
    split = datasets.prepare("ham10000", 16).split
    for number in range(6):
        assert split[2 * number] == split[40 + 2 * number] == split[41 + 2 * number]


def test_a_split_by_image_divides_lesions_and_has_another_name(folder, rows):
    prepared = datasets.prepare("ham10000_by_image", 16)
    sides = {}
    for (lesion, _, _), side in zip(rows, prepared.split, strict=True):
        sides.setdefault(lesion, set()).add(side)
    assert any(len(side) > 1 for side in sides.values())
    assert "divides lesions" in prepared.card["title"]
    lesions = np.array([lesion for lesion, _, _ in rows])
    assert (prepared.groups == lesions).all(), "images of a lesion are not independent, however divided"
    divided = leaks.across_sets(prepared.groups, prepared.split)
    assert divided["train", "test"] > 0


def test_the_order_of_the_files_is_that_of_their_names_and_not_of_a_table_sorted_by_diagnosis(folder, rows):
    names = sorted(image for _, image, _ in rows)
    shuffled = dict(zip(names, np.random.default_rng(0).permutation(names), strict=True))
    for name in names:
        (folder / "images" / f"{name}.jpg").rename(folder / "images" / f"_{name}.jpg")
    for name, other in shuffled.items():
        (folder / "images" / f"_{name}.jpg").rename(folder / "images" / f"{other}.jpg")
    renamed = [(lesion, shuffled[image], dx) for lesion, image, dx in rows]
    write_metadata(folder, renamed)
    prepared = datasets.prepare("ham10000", 16)
    assert list(prepared.order) == [names.index(image) for _, image, _ in renamed]
    told = leaks.check(prepared.images, prepared.labels, prepared.split, None, prepared.order).by_order
    by_row = leaks.by_order(prepared.labels, prepared.split)
    assert by_row["nearest 1"] > 0.9 > 0.7 > told["nearest 1"], "rows tell the diagnosis, names do not"


def test_a_lesion_on_two_sides_is_refused_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(
        ham10000, "draw_split", lambda labels, groups: np.resize(["train", "val", "test"], 140)
    )
    with pytest.raises(InputError, match=r"group HAM_akiec0 is in train and in val, .* 70 of 70 groups are"):
        datasets.prepare("ham10000", 16)


def test_a_truncated_archive_is_refused(folder):
    zipped(folder)
    path = folder / "HAM10000_images_part_2.zip"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(
        InputError, match=r"HAM10000_images_part_2.zip: not a sound zip: .*(dataverse|doi\.org)"
    ):
        datasets.prepare("ham10000", 16)


def test_a_flipped_bit_in_an_archive_is_refused_naming_the_image(folder):
    zipped(folder)
    path = folder / "HAM10000_images_part_1.zip"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"part_1.zip/ISIC_\w+.jpg: damaged: Bad CRC-32"):
        datasets.prepare("ham10000", 16)


def test_a_file_that_is_no_image_is_refused_by_name(folder, rows):
    (folder / "images" / f"{rows[5][1]}.jpg").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"ISIC_akiec5.jpg: not a readable image"):
        datasets.prepare("ham10000", 16)


def test_a_missing_image_is_named(folder, rows):
    (folder / "images" / f"{rows[3][1]}.jpg").unlink()
    with pytest.raises(DataUnavailable, match=r"1 of the 140 images .* are missing, first ISIC_akiec3"):
        datasets.prepare("ham10000", 16)


def test_an_image_that_is_there_twice_is_refused(folder, rows):
    shutil.copy(folder / "images" / f"{rows[3][1]}.jpg", folder / f"{rows[3][1]}.JPG")
    with pytest.raises(InputError, match=r"image ISIC_akiec3 is there twice: .*JPG and .*jpg"):
        datasets.prepare("ham10000", 16)


def test_without_the_files_the_place_and_the_address_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    with pytest.raises(
        DataUnavailable, match=r"\$PEPR_DATA/ham10000/HAM10000_metadata.csv .*doi.org/10.7910"
    ):
        datasets.prepare("ham10000", 16)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda rows: rows[4].__setitem__(2, "melanoma"),
            r"row 6: dx is 'melanoma', expected one of akiec, bcc",
        ),
        (
            lambda rows: rows[4].__setitem__(2, "nv"),
            r"row 7: lesion HAM_akiec2 is akiec here and nv in row 6",
        ),
        (lambda rows: rows[7].__setitem__(1, rows[0][1]), r"row 9: image ISIC_akiec0 stands in row 2 too"),
        (lambda rows: rows.pop(), r"19 images of class vasc, expected 20"),
    ],
)
def test_wrong_metadata_are_refused_naming_the_row(folder, rows, change, reason):
    change(rows)
    write_metadata(folder, rows)
    with pytest.raises(InputError, match=reason) as caught:
        datasets.prepare("ham10000", 16)
    assert str(folder / ham10000.METADATA) in str(caught.value)


def test_metadata_without_a_column_are_refused(folder, rows):
    write_metadata(folder, rows, "lesion,image_id,dx")
    with pytest.raises(InputError, match="columns missing: lesion_id"):
        datasets.prepare("ham10000", 16)


def declared_counts(name, loaded):
    counts = {part: int(np.sum(loaded.split == part)) for part in datasets.SPLITS}
    return counts == datasets.find(name).counts


@HERE
def test_the_real_images_are_divided_by_lesion_and_as_declared(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    loaded = datasets.find("ham10000").load(8)
    assert declared_counts("ham10000_by_image", datasets.find("ham10000_by_image").load(8))
    rows = ham10000.metadata(AT_HAND / ham10000.METADATA)
    split = {}
    for row, side in zip(rows, loaded.split, strict=True):
        split.setdefault(row.lesion, set()).add(side)
    assert len(rows) == 10_015 and len(split) == 7_470
    assert all(len(sides) == 1 for sides in split.values())
    assert declared_counts("ham10000", loaded)
    image = [row.image for row in rows]
    for one, other in (("ISIC_0024366", "ISIC_0029861"), ("ISIC_0024777", "ISIC_0029938")):
        assert loaded.split[image.index(one)] == loaded.split[image.index(other)], "two exact copies"
    for label in range(7):
        shares = [np.mean(loaded.labels[loaded.split == part] == label) for part in datasets.SPLITS]
        assert max(shares) - min(shares) < 0.003


def test_the_distributed_files_are_told_by_their_checksums(folder, monkeypatch):
    zipped(folder)
    names = (ham10000.METADATA, "HAM10000_images_part_1.zip", "HAM10000_images_part_2.zip")
    published = {name: checksum(folder / name, "md5") for name in names}
    monkeypatch.setattr(ham10000, "MD5", published)
    assert datasets.find("ham10000").load(8).status == "official"
    monkeypatch.setattr(ham10000, "MD5", {**published, names[2]: "0" * 32})
    assert datasets.find("ham10000").load(8).status == "unofficial"
