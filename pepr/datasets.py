"""The datasets: where they come from, how they are checked, split and cached as memory-mapped arrays."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pepr.errors import DataUnavailable, InputError
from pepr.runs import results_root, write_atomic

SPLITS = ("train", "val", "test")
SPLIT_SEED = 0
"""Seed of splits that this study draws itself; the same for every run."""


@dataclass(frozen=True)
class Dataset:
    """A registered dataset.

    `native_size` in pixels; `classes` are the names of labels 0, 1, ...; for two classes label 1 is the
    positive one. `load` returns images uint8 [n, height, width] or [n, height, width, 3], labels [n] and
    split names [n].
    """

    name: str
    title: str
    classes: tuple[str, ...]
    native_size: int
    licence: str
    attribution: str
    source: str
    caution: str
    load: Callable[[], Loaded]


@dataclass(frozen=True)
class Loaded:
    """Raw arrays of a dataset. `status` is `official`, or `unofficial` when its checksum is not the
    published one; `sha256` is of the file or files that they were read from."""

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    status: str
    sha256: str


def _load_elpv() -> Loaded:
    """ELPV from its package: label 1 where the experts' defect probability is above 0.5.

    The package ships no split, so a fixed one is drawn, 60/20/20, stratified by label.
    """
    try:
        import elpv_dataset
    except ImportError:
        raise DataUnavailable("dataset elpv: `pip install elpv-dataset` first") from None
    from PIL import Image

    folder = Path(elpv_dataset.__file__).parent / "data"
    table = folder / "labels.csv"
    digest = hashlib.sha256(table.read_bytes())
    images, labels = [], []
    for row, line in enumerate(table.read_text().splitlines(), start=1):
        path, probability, *_ = line.split()
        raw = (folder / path).read_bytes()
        digest.update(raw)
        with Image.open(folder / path) as image:
            pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.shape != (300, 300):
            raise InputError(
                f"{folder / path} ({table}, row {row}): {pixels.dtype} {pixels.shape}, "
                "expected 8-bit 300 x 300"
            )
        images.append(pixels)
        labels.append(float(probability) > 0.5)
    label_array = np.array(labels, dtype=np.int64)
    return Loaded(np.stack(images), label_array, _draw_split(label_array), "official", digest.hexdigest())


def _draw_split(labels: np.ndarray) -> np.ndarray:
    """A fixed 60/20/20 split, stratified by label."""
    from sklearn.model_selection import train_test_split

    index = np.arange(len(labels))
    train, rest = train_test_split(index, train_size=0.6, stratify=labels, random_state=SPLIT_SEED)
    val, test = train_test_split(rest, train_size=0.5, stratify=labels[rest], random_state=SPLIT_SEED)
    split = np.empty(len(labels), dtype="<U5")
    split[train], split[val], split[test] = SPLITS
    return split


def _load_medmnist(name: str) -> Loaded:
    """A two-dimensional MedMNIST file, from `PEPR_DATA/medmnist` first, else downloaded by its MD5."""
    import medmnist

    info = medmnist.INFO[name]
    path = _supplied("medmnist", f"{name}.npz") or _download_medmnist(name, info)
    arrays = _read_npz(path)
    images, labels, split = [], [], []
    for part in SPLITS:
        expected = info["n_samples"][part]
        found_images, found_labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if len(found_images) != expected or len(found_labels) != expected:
            raise InputError(
                f"{path}: {part}_images has {len(found_images)} images and {len(found_labels)} "
                f"labels, {name} has {expected}"
            )
        if found_images.dtype != np.uint8 or found_images.shape[1:3] != (28, 28):
            raise InputError(
                f"{path}: {part}_images is {found_images.dtype} {found_images.shape}, "
                "expected 8-bit 28 x 28 images"
            )
        images.append(found_images)
        labels.append(found_labels.reshape(expected, -1)[:, 0].astype(np.int64))
        split.append(np.full(expected, part, dtype="<U5"))
    everything = np.concatenate(labels)
    if not np.isin(everything, np.arange(len(info["label"]))).all():
        raise InputError(f"{path}: labels outside 0..{len(info['label']) - 1}")
    raw = path.read_bytes()
    official = hashlib.md5(raw).hexdigest() == info["MD5"]
    return Loaded(
        np.concatenate(images),
        everything,
        np.concatenate(split),
        "official" if official else "unofficial",
        hashlib.sha256(raw).hexdigest(),
    )


def _supplied(*parts: str) -> Path | None:
    """A file of the folder that the user named in `PEPR_DATA`."""
    folder = os.environ.get("PEPR_DATA")
    path = Path(folder).joinpath(*parts) if folder else None
    return path if path is not None and path.exists() else None


def _download_medmnist(name: str, info: dict[str, Any]) -> Path:
    import pooch

    try:
        return Path(
            pooch.retrieve(
                info["url"],
                known_hash=f"md5:{info['MD5']}",
                fname=f"{name}.npz",
                path=pooch.os_cache("pepr"),
                progressbar=True,
            )
        )
    except Exception as error:
        raise DataUnavailable(
            f"dataset {name}: no {name}.npz in $PEPR_DATA/medmnist and the download of {info['url']} failed "
            f"({type(error).__name__}: {error}); fetch that file by hand and put it at "
            f"$PEPR_DATA/medmnist/{name}.npz"
        ) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an archive, never unpickled. Raises InputError with the reason."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:
        raise InputError(f"{path}: not a sound .npz file: {error}") from error


def _medmnist(name: str, title: str, classes: tuple[str, ...], licence: str, attribution: str) -> Dataset:
    return Dataset(
        name,
        title,
        classes,
        28,
        licence,
        attribution,
        "package medmnist (Zenodo)",
        "Not for clinical use.",
        lambda: _load_medmnist(name),
    )


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="elpv",
            title="ELPV: electroluminescence images of solar cells",
            classes=("functional", "defective"),
            native_size=300,
            licence="CC BY-NC-SA 4.0",
            attribution="Buerhop-Lutz et al. 2018; Deitsch et al. 2019 and 2021",
            source="package elpv-dataset (PyPI)",
            caution="Not medical: an X-ray-like inspection task that stands in where no medical image set "
            "ships in a package. No module id is published, so cells of one module may be on both sides "
            "of the split.",
            load=_load_elpv,
        ),
        _medmnist(
            "pneumoniamnist",
            "PneumoniaMNIST: paediatric chest X-rays",
            ("normal", "pneumonia"),
            "CC BY 4.0",
            "Kermany et al. 2018; Yang et al. 2023",
        ),
        _medmnist(
            "dermamnist",
            "DermaMNIST: dermatoscopic images of skin lesions",
            (
                "actinic keratoses",
                "basal cell carcinoma",
                "benign keratosis",
                "dermatofibroma",
                "melanoma",
                "melanocytic nevi",
                "vascular lesions",
            ),
            "CC BY-NC 4.0",
            "Tschandl et al. 2018; Codella et al. 2019; Yang et al. 2023",
        ),
    )
}


def find(name: str) -> Dataset:
    """A registered dataset. Raises InputError with the known names."""
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}; known: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


@dataclass(frozen=True)
class Prepared:
    """A dataset on disk, ready to train on.

    `images` is a read-only memory map, uint8 [n, size, size] or [n, size, size, 3], where size is the
    smaller of the native and the asked one (enlarging is done per batch, on the device); `labels` [n];
    `split` [n] holds `train`, `val` or `test`; `card` says what the data are and how they were checked.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    card: dict[str, Any]

    @property
    def num_classes(self) -> int:
        return len(self.card["classes"])

    def indices(self, part: str) -> np.ndarray:
        """Positions of the images of one split, in file order."""
        return np.flatnonzero(self.split == part)

    def train_indices(self, fraction: float, seed: int) -> np.ndarray:
        """A stratified, seeded share of the training images; smaller shares lie inside larger ones."""
        train = self.indices("train")
        return train if fraction == 1 else train[stratified_share(self.labels[train], fraction, seed)]


def stratified_share(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Sorted positions of floor(fraction * n) items with the classes in proportion, at least one of each.

    Each class is shuffled once by `seed` and a prefix of it taken, so that shares are nested.
    Raises InputError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"train_fraction {fraction}: expected a number in (0, 1]")
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    quota = counts * fraction
    take = np.maximum(np.floor(quota).astype(int), 1)
    spare = max(int(np.floor(fraction * len(labels))) - int(take.sum()), 0)
    take[np.argsort(-(quota - np.floor(quota)), kind="stable")[:spare]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels == value))[:count]
        for value, count in zip(classes, take, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def cache_folder(name: str, image_size: int) -> Path:
    """Where the prepared arrays of a dataset lie: `<results>/data/<dataset>-<size>`."""
    return results_root() / "data" / f"{name}-{image_size}"


def prepare(name: str, image_size: int) -> Prepared:
    """Load, check, resize and cache a dataset; a sound cache is used as it is.

    Images larger than `image_size` are reduced once, here, with an antialiased bilinear filter.
    Raises DataUnavailable when the data cannot be had and InputError when they are not sound.
    """
    dataset = find(name)
    folder = cache_folder(name, image_size)
    if not (folder / "card.json").exists():
        _write_cache(dataset, folder, image_size)
    return load_prepared(name, image_size)


def load_prepared(name: str, image_size: int) -> Prepared:
    """A cached dataset. Raises InputError when a file of the cache is missing or was altered."""
    folder = cache_folder(name, image_size)
    card_path = folder / "card.json"
    if not card_path.exists():
        raise InputError(f"{folder}: dataset {name} at {image_size} px is not prepared; run 01_data first")
    card = json.loads(card_path.read_text())
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        split = np.load(folder / "split.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: the prepared data are damaged ({error}); delete this folder") from error
    if not len(images) == len(labels) == len(split) == card["n_images"]:
        raise InputError(f"{folder}: the prepared data are incomplete; delete this folder")
    if hashlib.sha256(images).hexdigest() != card["images_sha256"]:
        raise InputError(
            f"{folder}/images.npy: the pixels are not those that were prepared; delete this folder"
        )
    return Prepared(images, labels, split, card)


def _write_cache(dataset: Dataset, folder: Path, image_size: int) -> None:
    loaded = dataset.load()
    images = _reduced(loaded.images, image_size)
    counts = {
        part: {
            dataset.classes[value]: int(np.sum(loaded.labels[loaded.split == part] == value))
            for value in range(len(dataset.classes))
        }
        for part in SPLITS
    }
    described = {key: value for key, value in asdict(dataset).items() if key != "load"}
    card = {
        **described,
        "image_size": image_size,
        "stored_size": int(images.shape[1]),
        "n_images": len(images),
        "channels": 1 if images.ndim == 3 else 3,
        "counts": counts,
        "status": loaded.status,
        "sha256": loaded.sha256,
        "images_sha256": hashlib.sha256(images).hexdigest(),
    }
    for name, array in (("images", images), ("labels", loaded.labels), ("split", loaded.split)):
        _save_array(folder / f"{name}.npy", array)
    write_atomic(folder / "card.json", json.dumps(card, indent=1) + "\n")


def _save_array(path: Path, array: np.ndarray) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def _reduced(images: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    if images.shape[1] <= size:
        return np.ascontiguousarray(images)
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
            for image in images
        ]
    )


def describe(card: dict[str, Any]) -> str:
    """A data card as Markdown: what the data are, under which licence, and how they were checked."""
    checked = {
        "official": "as published",
        "unofficial": "**unofficial**: complete and sound, but its checksum is not the published one",
    }[card["status"]]
    size = f"{card['native_size']} px, used at {card['image_size']} px"
    if card["stored_size"] < card["image_size"]:
        size += f" (enlarged from {card['stored_size']} px)"
    lines = {
        "dataset": card["title"],
        "images": f"{card['n_images']:,}, {size}",
        "source": card["source"],
        "licence": card["licence"],
        "cite": card["attribution"],
        "file": checked,
        "SHA-256 of the source": f"`{card['sha256']}`",
        "mind": card["caution"],
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in lines.items())])
