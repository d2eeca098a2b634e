"""What a source of images hands over to be prepared, and the checks that every source shares."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pepr.datasets import npz
from pepr.errors import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Loaded:
    """Raw images and labels of a dataset, and what is known of the files that they come from.

    `blocks` yields the images in order, uint8 [k, size, size] or [k, size, size, 3]; they are read while
    they are used, so InputError may come that late. `labels` [n] are int64, `split` [n] holds `train`, `val`
    or `test`, or is [k, n] where a set has k splits. `status` is `official`, `unofficial` (sound, but not the
    published checksum) or `supplied` (nobody published one). `sha256` is of the file or files; `note` says
    what is unusual, or nothing. `groups` [n] names what is not independent, such as the images of a lesion
    or a patient, and must not be divided unless they `may_be_divided`; None where nobody knows. `order` [n]
    is the place of each among the files by name, None where they stand so: a table of them may be sorted by
    what it says of them.
    `sources` are the `stamps` of the files, taken before they were read.
    """

    blocks: Iterable[np.ndarray]
    labels: np.ndarray
    split: np.ndarray
    status: str
    sha256: str
    native_size: int
    file: str
    note: str = ""
    groups: np.ndarray | None = None
    may_be_divided: bool = False
    order: np.ndarray | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A registered dataset: all that the study knows of it stands here, beside how it is read.

    `classes` are the names of labels 0, 1, ...; for two classes label 1 is the positive one, and where they
    are `ordered` a label is a grade. `counts` are the images of each part of the first of the `n_splits`
    splits, None where only the user's file tells. `files` are patterns below `$PEPR_DATA` where a copy is
    looked for, none for what is a package. `load` takes the image size in pixels that is wanted, to choose
    among files of several sizes; `sources` takes it too, and names the files that `load` would read now,
    whether they are here or not; `at_hand` tells whether `load` would find its files on this machine,
    `downloadable` whether it can fetch them.
    `unofficial_by` is the environment variable that lets in a file other than the published one, by `yes`.
    `benchmark` is the test accuracy and AUROC that its makers report for a ResNet-18 at 28 px, where they do.
    `same_images_as` names the dataset whose images these are, divided otherwise to show what that does: no
    set of its own where sets are counted, or a model is chosen. `collection` names the dataset
    whose photographs or scans these are, too, where this one is a set of its own all the same.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    attribution: str
    source: str
    caution: str
    counts: Mapping[str, int] | None
    files: tuple[str, ...]
    load: Callable[[int], Loaded]
    sources: Callable[[int], list[Path]]
    at_hand: Callable[[], bool]
    downloadable: bool = False
    n_splits: int = 1
    ordered: bool = False
    unofficial_by: str | None = None
    benchmark: tuple[float, float] | None = None
    same_images_as: str | None = None
    collection: str | None = None

    def overlaps(self, other: Dataset) -> bool:
        """Whether another dataset is of the same photographs or scans, divided otherwise: test images of one
        may be training images of the other."""
        ours, theirs = (one.collection or one.same_images_as or one.name for one in (self, other))
        return self.name != other.name and ours == theirs

    @property
    def short_title(self) -> str:
        """The title without what it explains: BreastMNIST, HAM10000."""
        return self.title.partition(":")[0]


def stamps(paths: Iterable[Path]) -> dict[str, str]:
    """Size and time of modification of each file, by name: what tells that a file was replaced, without
    reading it. A file that cannot be found has none."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            state = path.stat()
            found[path.name] = f"{state.st_size} bytes, {state.st_mtime_ns} ns"
    return found


def check_images(
    path: Path, name: str, found: tuple[tuple[int, ...], np.dtype], expected: tuple[int, ...]
) -> None:
    """Raise InputError unless an array is 8-bit and has the expected shape [n, ...]."""
    shape, kind = found
    if kind != np.uint8 or shape[1:] != expected[1:]:
        pixels = " x ".join(str(side) for side in expected[1:])
        raise InputError(f"{path}: {name} is {kind} {shape}, expected 8-bit {pixels} images")
    if shape[0] != expected[0]:
        raise InputError(f"{path}: {name} has {shape[0]} images, expected {expected[0]}")


def check_labels(
    path: Path, name: str, labels: np.ndarray, count: int, classes: Sequence[str], every_class: bool = True
) -> np.ndarray:
    """Labels [count] as int64.

    Raises InputError for another number of them, for what is no whole number or no known class, and where
    `every_class` must occur and one does not.
    """
    if labels.dtype.kind not in "uib" or labels.size != len(labels):
        raise InputError(
            f"{path}: {name} is {labels.dtype} {labels.shape}, expected one whole number an image"
        )
    if len(labels) != count:
        raise InputError(f"{path}: {name} has {len(labels)} labels, expected {count}")
    flat = labels.reshape(-1).astype(np.int64)
    if not np.isin(flat, np.arange(len(classes))).all():
        raise InputError(f"{path}: {name} has labels outside 0..{len(classes) - 1}")
    absent = [label for value, label in enumerate(classes) if not (flat == value).any()]
    if every_class and absent:
        raise InputError(f"{path}: {name} has no image of class {', '.join(absent)}")
    return flat


def check_groups(loaded: Loaded) -> None:
    """Raise InputError naming a group whose images are not all in one part of a split, unless they may be."""
    if loaded.groups is None or loaded.may_be_divided:
        return
    names, number = np.unique(loaded.groups, return_inverse=True)
    for split in np.atleast_2d(loaded.split):
        parts = np.zeros((len(names), len(SPLITS)), dtype=bool)
        for column, part in enumerate(SPLITS):
            parts[number[split == part], column] = True
        divided = np.flatnonzero(parts.sum(axis=1) > 1)
        if len(divided):
            where = " and in ".join(np.array(SPLITS)[parts[divided[0]]])
            raise InputError(
                f"{loaded.file}: group {names[divided[0]]} is in {where}, which must not be divided; "
                f"{len(divided):,} of {len(names):,} groups are"
            )


def check_names(path: Path, found: Iterable[str], needed: Iterable[str]) -> None:
    """Raise InputError naming the arrays that an archive lacks."""
    missing = sorted(set(needed) - set(found))
    if missing:
        raise InputError(f"{path}: arrays missing: {', '.join(missing)}; it has {', '.join(found) or 'none'}")


def all_blocks(path: Path, names: Iterable[str]) -> Iterable[np.ndarray]:
    """The blocks of several arrays of an archive, one after the other."""
    for name in names:
        yield from npz.blocks(path, name)
