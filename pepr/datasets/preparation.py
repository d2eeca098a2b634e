"""The datasets of the study: their registry, and how they are prepared, cached and divided."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pepr.datasets import elpv, ham10000, lidc, medmnist
from pepr.datasets.source import SPLITS, Dataset, Loaded, check_groups, stamps
from pepr.errors import InputError
from pepr.files import locked, results_root, whole_file, write_atomic

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (elpv.DATASET, *medmnist.datasets(), *ham10000.DATASETS, lidc.DATASET)
}
CHECKED = {
    "official": "as published",
    "unofficial": "**unofficial**: complete and sound, but its checksum is not the published one",
    "supplied": "your own: complete and sound; nobody publishes a checksum of it",
}
"""What a card's `status` means, in words."""
Card = dict[str, Any]
"""What a data card says, in the keys of `card.json`."""
CARD_FORMAT = 6
"""Counted up when a card gains or loses a key."""
DECLARED = ("name", "title", "classes", "ordered", "licence", "attribution", "source", "caution")
"""What a card takes over from the dataset's declaration."""
OF_FILES = ("native_size", "file", "note", "status", "sha256")
"""What a card takes over of the files that were read: where all of it is the same, so are the data."""


def find(name: str) -> Dataset:
    """A registered dataset. Raises InputError with the known names, or with why a set cannot be used."""
    if name in medmnist.PROBLEMS:
        raise InputError(f"dataset {name} cannot be used: {medmnist.PROBLEMS[name]}")
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}; known: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def check_split(dataset: Dataset, split: int | None) -> None:
    """Raise InputError for a number that is no split of a dataset; None is of runs before there were."""
    if split is None:
        raise InputError("this run is older than numbered splits: its split is not drawn any more")
    if not 0 <= split < dataset.n_splits:
        known = "one split, 0" if dataset.n_splits == 1 else f"splits 0 to {dataset.n_splits - 1}"
        raise InputError(f"split {split}: dataset {dataset.name} has {known}")


@dataclass(frozen=True)
class Prepared:
    """A dataset on disk, ready to train on.

    `images` is a read-only memory map, uint8 [n, size, size] or [n, size, size, 3], where size is the
    smaller of the native and the asked one (enlarging is done per batch, on the device); `labels` [n];
    `split` [n] holds `train`, `val` or `test`; `repeated` [n] marks training images that are, pixel by pixel,
    an image of another part or an earlier one of theirs; `groups` [n] names what is not independent, or is
    None; `order` [n] is their place among the files by name, None where they stand so; `card` says what the
    data are, how they were checked, and which of their splits this is.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    repeated: np.ndarray
    card: Card
    groups: np.ndarray | None = None
    order: np.ndarray | None = None

    @property
    def num_classes(self) -> int:
        return len(self.card["classes"])

    def indices(self, part: str) -> np.ndarray:
        """Positions of the images of one split, in file order."""
        return np.flatnonzero(self.split == part)

    def train_indices(self, fraction: float, seed: int, keep_repeated: bool = False) -> np.ndarray:
        """A stratified, seeded share of the training images; smaller shares lie inside larger ones.

        Repeated images are left out, unless they are kept, as the paper did.
        """
        train = np.flatnonzero((self.split == "train") & (keep_repeated | ~self.repeated))
        return train if fraction == 1 else train[stratified_share(self.labels[train], fraction, seed)]


def stratified_share(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Sorted positions of floor(fraction * n) items with the classes in proportion, and at least one of each.

    Each class is shuffled once by `seed`; the classes are then dealt into one line by Webster's method (the
    k-th item of a class of m stands at (k + 1/2) / m), and a share is the front of that line, so that shares
    are nested. Raises InputError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"train_fraction {fraction}: expected a number in (0, 1]")
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == value)) for value in np.unique(labels)]
    place = np.concatenate([(np.arange(len(members)) + 0.5) / len(members) for members in shuffled])
    line = np.concatenate(shuffled)[np.argsort(place, kind="stable")]
    front = line[: int(np.floor(fraction * len(labels)))]
    return np.unique(np.concatenate([front, [members[0] for members in shuffled]]))


def cache_folder(name: str, image_size: int) -> Path:
    """Where the prepared arrays of a dataset lie: `<results>/data/<dataset>-<size>`."""
    return results_root() / "data" / f"{name}-{image_size}"


def prepare(name: str, image_size: int, split: int = 0) -> Prepared:
    """Load, check, resize and cache a dataset, in one of its splits; a sound cache is used as it is, unless
    other files than it was made from would be read now. Processes that want one set wait for each other.

    Images larger than `image_size` are reduced once, here, with an antialiased bilinear filter.
    Raises DataUnavailable when the data cannot be had and InputError when they are not sound, or have no
    split of that number.
    """
    dataset = find(name)
    check_split(dataset, split)
    folder = cache_folder(name, image_size)
    with contextlib.suppress(InputError):  # another process may be replacing what is read here: then wait
        if _is_current(folder, dataset, image_size):
            return load_prepared(name, image_size, split)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not _is_current(folder, dataset, image_size):
            _write_cache(dataset, folder, image_size)
            _give_back_freed_memory()
        return load_prepared(name, image_size, split)


def _is_current(folder: Path, dataset: Dataset, image_size: int) -> bool:
    """Whether there is a card of today's shape, of the files that would be read now; a cache of an older
    version is made again, and so is one of a file that was replaced, or that was let in once and is not now.
    Files that are gone are not missed."""
    card = _read_card(folder)
    if card is None:
        return False
    asked = dataset.unofficial_by is None or os.environ.get(dataset.unofficial_by) == "yes"
    here = stamps(dataset.sources(image_size))
    return (asked or card["status"] != "unofficial") and here.items() <= card["sources"].items()


def _read_card(folder: Path) -> Card | None:
    """The card of a cache; None where there is none of today's shape."""
    try:
        card = json.loads((folder / "card.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return card if card.get("format") == CARD_FORMAT and "sources" in card else None


def _give_back_freed_memory() -> None:
    """Return what glibc keeps of the images that were read: a model that this process trains next would live
    in it, and seem to need no memory of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def load_prepared(name: str, image_size: int, split: int = 0) -> Prepared:
    """A cached dataset in one of its splits.

    Raises InputError when a file of the cache is missing or was altered.
    """
    folder = cache_folder(name, image_size)
    card_path = folder / "card.json"
    if not card_path.exists():
        raise InputError(f"{folder}: dataset {name} at {image_size} px is not prepared; run 01_data first")
    card = json.loads(card_path.read_text())
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        arrays = {name: _read_array(folder, name, digest) for name, digest in card["arrays_sha256"].items()}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: the prepared data are damaged ({error}); delete this folder") from error
    if len(images) != card["n_images"]:
        raise InputError(f"{folder}: the prepared data are incomplete; delete this folder")
    if hashlib.sha256(images).hexdigest() != card["images_sha256"]:
        raise InputError(
            f"{folder}/images.npy: the pixels are not those that were prepared; delete this folder"
        )
    card |= {"split": split, **card.pop("splits")[split]}
    of_split, repeated = arrays["splits"][split], arrays["repeated"][split]
    return Prepared(
        images, arrays["labels"], of_split, repeated, card, arrays.get("groups"), arrays.get("order")
    )


def _read_array(folder: Path, name: str, sha256: str) -> np.ndarray:
    """A small array of a cache, whole. Raises ValueError where its file was altered."""
    content = (folder / f"{name}.npy").read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{name}.npy is not what was prepared")
    return np.load(io.BytesIO(content), allow_pickle=False)


def _write_cache(dataset: Dataset, folder: Path, image_size: int) -> None:
    """Write the arrays and their card; the card alone where the files have the same content as before."""
    loaded = dataset.load(image_size)
    known = _read_card(folder)
    if known is not None and all(known[key] == getattr(loaded, key) for key in OF_FILES):
        _write_card(folder, known | {"sources": loaded.sources})
        return
    check_groups(loaded)
    labels, splits = loaded.labels, np.atleast_2d(loaded.split)
    folder.mkdir(parents=True, exist_ok=True)
    written = _write_images(folder / "images.npy", loaded, image_size)
    repeated = np.stack([repeats(written.digests, split) for split in splits])
    arrays = {"labels": labels, "splits": splits, "repeated": repeated}
    optional = {"groups": loaded.groups, "order": loaded.order}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    card = {
        "format": CARD_FORMAT,
        **{key: getattr(dataset, key) for key in DECLARED},
        **{key: getattr(loaded, key) for key in OF_FILES},
        "image_size": image_size,
        "stored_size": written.shape[1],
        "n_images": written.shape[0],
        "channels": 1 if len(written.shape) == 3 else written.shape[3],
        "n_splits": len(splits),
        "splits": [
            {"counts": _counts(labels, split, dataset.classes), "repeated": int(copies.sum())}
            for split, copies in zip(splits, repeated, strict=True)
        ],
        "images_sha256": written.sha256,
        "arrays_sha256": {name: _write_array(folder, name, array) for name, array in arrays.items()},
        "sources": loaded.sources,
    }
    here = stamps(dataset.sources(image_size))
    if here and not loaded.sources:
        raise InputError(
            f"dataset {dataset.name}: `load` does not say of which files its images are: give `Loaded` their "
            "stamps, taken before they are read, as its `sources`"
        )
    if not here.items() <= loaded.sources.items():
        raise InputError(f"{loaded.file}: replaced while it was read; begin again")
    _write_card(folder, card)


def _write_card(folder: Path, card: Card) -> None:
    write_atomic(folder / "card.json", json.dumps(card, indent=1) + "\n")


def _write_array(folder: Path, name: str, array: np.ndarray) -> str:
    """Write a small array of a cache; the SHA-256 of its file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(folder / f"{name}.npy", buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _counts(labels: np.ndarray, split: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images of each class in each part of a split."""
    return {
        part: {label: int(np.sum(labels[split == part] == value)) for value, label in enumerate(classes)}
        for part in SPLITS
    }


@dataclass(frozen=True)
class _Written:
    """The stored array's shape and the SHA-256 of its pixels, and a digest of each image as it was read."""

    shape: tuple[int, ...]
    sha256: str
    digests: list[bytes]


def _write_images(path: Path, loaded: Loaded, image_size: int) -> _Written:
    """Reduce and write the images block by block."""
    digest, digests, shape = hashlib.sha256(), [], None
    with whole_file(path) as stream:
        for block in loaded.blocks:
            digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in block]
            pixels = _reduced(block, image_size)
            if shape is None:
                shape = (len(loaded.labels), *pixels.shape[1:])
                header = {"descr": pixels.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(pixels.data)
            digest.update(pixels.data)
        if len(digests) != len(loaded.labels):
            raise InputError(f"{loaded.file}: {len(digests)} images and {len(loaded.labels)} labels")
    return _Written(shape, digest.hexdigest(), digests)


def repeats(digests: Sequence[bytes], split: np.ndarray) -> np.ndarray:
    """Which training images [n] repeat an image of validation or test, or an earlier training image."""
    seen = {digest for digest, part in zip(digests, split, strict=True) if part != "train"}
    repeated = np.zeros(len(split), dtype=bool)
    for index in np.flatnonzero(split == "train"):
        repeated[index] = digests[index] in seen
        seen.add(digests[index])
    return repeated


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


def describe(card: Card) -> str:
    """A data card as Markdown: what the data are, under which licence, and how they were checked."""
    size = f"{card['native_size']} px, used at {card['image_size']} px"
    if card["stored_size"] < card["image_size"]:
        size += f" (enlarged from {card['stored_size']} px)"
    lines = {
        "dataset": card["title"],
        "images": f"{card['n_images']:,}, {size}",
        "source": card["source"],
        "licence": card["licence"],
        "cite": card["attribution"],
        "file": f"`{card.get('file', card['source'])}`: "
        + "; ".join(filter(None, [CHECKED[card["status"]], card["note"]])),
        "SHA-256 of the source": f"`{card['sha256']}`",
        "exact copies": f"{card['repeated']:,} training images repeat another image, and are left out",
        "mind": card["caution"],
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in lines.items())])
