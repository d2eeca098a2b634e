"""HAM10000, dermatoscopic images of skin lesions, divided by lesion: every image of a lesion on one side."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pepr.datasets import downloads
from pepr.datasets.source import SPLITS, Dataset, Loaded, stamps
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum

CLASSES = {
    "akiec": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
"""The diagnoses (`dx`) of the metadata and what they mean, in the order of the labels 0, 1, ..."""
CLASS_COUNTS = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}
"""Images of each diagnosis, as published (Tschandl et al. 2018)."""
METADATA = "HAM10000_metadata.csv"
ZIPS = "ham10000/HAM10000_images*.zip"
NEEDED = ("lesion_id", "image_id", "dx")
MD5 = {
    METADATA: "8f85fb1aa29d80a2797247e434deb79d",
    "HAM10000_images_part_1.zip": "4639bfa73ab251610530a97c898e6e46",
    "HAM10000_images_part_2.zip": "da43d6cc50f6613013be07e8986b384b",
}
"""The distributed files with the MD5 that the Harvard Dataverse lists."""
ADDRESS = "https://doi.org/10.7910/DVN/DBW86T"
WANTED = (
    "HAM10000_images_part_1.zip and HAM10000_images_part_2.zip, or a folder of their JPEGs, with "
    f"{METADATA}, from {ADDRESS}"
)
FOLDS = ("train",) * 7 + ("val",) + ("test",) * 2
"""The part that each tenth of the images belongs to."""
SPLIT_SEED = 0
"""Seed of the split that this study draws itself; the same for every run."""
BLOCK_IMAGES = 256
"""Images that are decoded at a time."""


class Row(NamedTuple):
    """An image as the metadata describe it."""

    image: str
    lesion: str
    label: int


File = Path | zipfile.Path
"""The JPEG of an image, in a folder or in an archive."""


def _load(by_lesion: bool, image_size: int) -> Loaded:
    table = downloads.supplied("ham10000", METADATA)
    if table is None:
        raise DataUnavailable(
            f"dataset ham10000: no file {downloads.place('ham10000', METADATA)}; put there {WANTED}"
        )
    sources = stamps(_sources(image_size))
    rows = metadata(table)
    zips = downloads.supplied_files(ZIPS)
    found = _in_zips(zips) if zips else _in_folder(table.parent)
    missing = [row.image for row in rows if row.image not in found]
    if missing:
        raise DataUnavailable(
            f"{table.parent}: {len(missing):,} of the {len(rows):,} images of {METADATA} are missing, "
            f"first {missing[0]}; put there {WANTED}"
        )
    files = [found[row.image] for row in rows]
    digests = [_digest(file) for file in files]
    groups = joined([row.lesion for row in rows], digests)
    labels = np.array([row.label for row in rows], dtype=np.int64)
    width, height = _decoded(files[0]).size
    side = min(image_size, width, height)
    return Loaded(
        blocks=_blocks(files, side),
        labels=labels,
        split=draw_split(labels, groups if by_lesion else None),
        status="official" if _is_distributed([table, *zips]) else "unofficial",
        sha256=hashlib.sha256("".join([checksum(table), *digests]).encode()).hexdigest(),
        native_size=min(width, height),
        file=f"{METADATA} and the JPEGs that it names",
        note=f"images of {width} x {height} px, made square by shrinking",
        groups=groups,
        may_be_divided=not by_lesion,
        order=np.argsort(np.argsort([row.image for row in rows])),
        sources=sources,
    )


def metadata(path: Path) -> list[Row]:
    """The rows of the metadata, in file order.

    Raises InputError naming the row for a diagnosis that is none of the seven, an image that occurs twice,
    and a lesion of two diagnoses; and naming the class that has not its published number of images.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if absent:
            raise InputError(f"{path}: columns missing: {', '.join(absent)}")
        rows, seen, diagnosis = [], {}, {}
        for number, entry in enumerate(reader, start=2):
            image, lesion, dx = (entry[name] or "" for name in ("image_id", "lesion_id", "dx"))
            if dx not in CLASSES:
                raise InputError(f"{path}, row {number}: dx is {dx!r}, expected one of {', '.join(CLASSES)}")
            first = seen.setdefault(image, number)
            if first != number:
                raise InputError(f"{path}, row {number}: image {image} stands in row {first} too")
            known, where = diagnosis.setdefault(lesion, (dx, number))
            if known != dx:
                raise InputError(
                    f"{path}, row {number}: lesion {lesion} is {dx} here and {known} in row {where}"
                )
            rows.append(Row(image, lesion, list(CLASSES).index(dx)))
    counts = np.bincount([row.label for row in rows], minlength=len(CLASSES))
    for (dx, expected), count in zip(CLASS_COUNTS.items(), counts, strict=True):
        if count != expected:
            raise InputError(f"{path}: {count:,} images of class {dx}, expected {expected:,}")
    return rows


def joined(lesions: list[str], digests: list[str]) -> np.ndarray:
    """Groups [n] of images, each named by a lesion: those of one lesion are together, and copies are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, lesion = np.unique(lesions, return_inverse=True)
    _, file = np.unique(digests, return_inverse=True)
    node = lesion.max() + 1 + file
    links = coo_array((np.ones(len(node)), (lesion, node)), shape=(node.max() + 1,) * 2)
    component = connected_components(links, directed=False)[1][lesion]
    _, first, group = np.unique(component, return_index=True, return_inverse=True)
    return np.asarray(lesions)[first][group]


def draw_split(labels: np.ndarray, groups: np.ndarray | None, seed: int = SPLIT_SEED) -> np.ndarray:
    """`train`, `val` or `test` for each image: 70/10/20, stratified by label [n], no group [n] divided."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    folds = StratifiedKFold if groups is None else StratifiedGroupKFold
    split = np.empty(len(labels), dtype="<U5")
    parts = folds(len(FOLDS), shuffle=True, random_state=seed).split(labels, labels, groups)
    for part, (_, members) in zip(FOLDS, parts, strict=True):
        split[members] = part
    return split


def _in_zips(paths: list[Path]) -> dict[str, File]:
    """The JPEGs of the archives by image id."""
    found: dict[str, File] = {}
    for path in paths:
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{path}: not a sound zip: {error}; fetch it again from {ADDRESS}") from error
        for name in archive.namelist():
            if name.lower().endswith(".jpg") and not name.startswith("__MACOSX"):
                _add(found, zipfile.Path(archive, name))
    return found


def _in_folder(folder: Path) -> dict[str, File]:
    """The JPEGs of a folder and the folders inside it by image id."""
    found: dict[str, File] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".jpg":
            _add(found, path)
    return found


def _add(found: dict[str, File], file: File) -> None:
    if file.stem in found:
        raise InputError(f"image {file.stem} is there twice: {found[file.stem]} and {file}; remove one")
    found[file.stem] = file


def _bytes(file: File) -> bytes:
    try:
        return file.read_bytes()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(f"{file}: damaged: {error}; fetch it again from {ADDRESS}") from error


def _digest(file: File) -> str:
    return hashlib.sha256(_bytes(file)).hexdigest()


def _decoded(file: File):
    from PIL import Image

    try:
        return Image.open(io.BytesIO(_bytes(file))).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise InputError(f"{file}: not a readable image: {error}") from error


def _blocks(files: list[File], side: int) -> Iterator[np.ndarray]:
    """The images as squares of `side` pixels, each decoded and shrunk once; uint8 [k, side, side, 3]."""
    from PIL import Image

    for start in range(0, len(files), BLOCK_IMAGES):
        images = (_decoded(file) for file in files[start : start + BLOCK_IMAGES])
        yield np.stack(
            [np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)) for image in images]
        )


def _is_distributed(paths: list[Path]) -> bool:
    """Whether these are the distributed files, all of them, by name and MD5."""
    return {path.name for path in paths} == set(MD5) and all(
        checksum(path, "md5") == MD5[path.name] for path in paths
    )


def _sources(image_size: int) -> list[Path]:
    """The metadata, and the archives or else the JPEGs, whatever the size; none without the metadata."""
    table = downloads.supplied("ham10000", METADATA)
    if table is None:
        return []
    return [table, *(downloads.supplied_files(ZIPS) or _in_folder(table.parent).values())]


def _at_hand() -> bool:
    table = downloads.supplied("ham10000", METADATA)
    return table is not None and bool(downloads.supplied_files(ZIPS) or _in_folder(table.parent))


def _dataset(name: str, title: str, caution: str, counts: Mapping[str, int], by_lesion: bool) -> Dataset:
    return Dataset(
        name=name,
        title=title,
        classes=tuple(CLASSES.values()),
        licence="CC BY-NC 4.0",
        attribution="Tschandl et al. 2018",
        source=f"Harvard Dataverse, {ADDRESS}; supplied by you in $PEPR_DATA/ham10000",
        caution=f"Not for clinical use. {caution}",
        counts=counts,
        files=(f"ham10000/{METADATA}", ZIPS),
        load=functools.partial(_load, by_lesion),
        sources=_sources,
        at_hand=_at_hand,
        same_images_as=None if by_lesion else "ham10000",
    )


DATASETS = (
    _dataset(
        "ham10000",
        "HAM10000: dermatoscopic images of skin lesions, divided by lesion",
        "The split is this study's own, and not DermaMNIST's, which divides lesions.",
        dict(zip(SPLITS, (7011, 1002, 2002), strict=True)),
        by_lesion=True,
    ),
    _dataset(
        "ham10000_by_image",
        "HAM10000, divided by image: to show what a split is worth that divides lesions",
        "Images of one lesion are on both sides, which flatters every measure: not for choosing a model.",
        dict(zip(SPLITS, (7012, 1001, 2002), strict=True)),
        by_lesion=False,
    ),
)
