"""ELPV, electroluminescence images of solar cells, read from its package."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pepr.datasets.source import SPLITS, Dataset, Loaded, stamps
from pepr.errors import DataUnavailable, InputError

NATIVE_SIZE = 300
MODULE_CELLS = (60,) * 20 + (54,) + (60,) * 9 + (50,) + (60,) * 5 + (72,) + (60,) * 3 + (48,) + (60,) * 3
"""Cells of each module in the order of the files. The package names no modules, but files stand module by
module and cell by cell: where kind, busbars, contacts and the dark last row of cells change says where a
module ends, and gives the 18 of monocrystalline and 26 of polycrystalline cells that the authors count
(Deitsch et al. 2019). One module has 6 x 12 cells and three lack some."""
FOLDS = "20002000022022220213343131444414333113144113"
"""The fifth that each module belongs to: split k tests on fifth k.

Half of the cells of the first 18 modules are defective and a sixth of the others', so that a test set from
both sides could be predicted from the number of a file. A fifth is therefore drawn from one side: 0 and 2
from the first, 1, 3 and 4 from the second. On each side modules of one kind of cell, ordered by their share
of defective cells, were dealt to its fifths in turns, each turn at random; of 1,200 such deals this is the
one in which the best of 20 predictors by file order, kind of cell and place in the module said least.
"""
VALIDATION_EVERY = 4
"""Of the modules that a split does not test on, each fifth gives one in four to validation, in the order of
the files and from another one in each split: an epoch is chosen on modules like those of training, of both
sides."""


def _load(image_size: int) -> Loaded:
    """Label 1 where the experts' defect probability is above 0.5.

    The package ships no split: five are drawn here, each in fifths of whole modules, 60/20/20.
    """
    table, *paths = _files()
    sources = stamps([table, *paths])
    digest = hashlib.sha256()
    for path in (table, *paths):
        digest.update(path.read_bytes())
    return Loaded(
        blocks=[np.stack([_pixels(path) for path in paths])],
        labels=defective(),
        split=block_splits(),
        status="official",
        sha256=digest.hexdigest(),
        native_size=NATIVE_SIZE,
        file="labels.csv and the images that it names",
        groups=modules(),
        sources=sources,
    )


def _files() -> list[Path]:
    """The table of labels and the images that it names."""
    folder = _folder()
    table = folder / "labels.csv"
    return [table, *(folder / path for path, _ in _rows(table))]


def _sources(image_size: int) -> list[Path]:
    """The files of the package, whatever the size; none where it is not installed, or not whole."""
    try:
        return _files()
    except (DataUnavailable, FileNotFoundError):
        return []


def _rows(table: Path) -> Iterator[tuple[str, float]]:
    for row, line in enumerate(table.read_text().splitlines(), start=1):
        try:
            path, probability, *_ = line.split()
            yield path, float(probability)
        except ValueError:
            raise InputError(f"{table}, row {row}: expected a path and a defect probability") from None


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.shape != (NATIVE_SIZE, NATIVE_SIZE):
        raise InputError(
            f"{path}: {pixels.dtype} {pixels.shape}, expected 8-bit {NATIVE_SIZE} x {NATIVE_SIZE}"
        )
    return pixels


def defective() -> np.ndarray:
    """Labels [2624] without the images: 1 where the experts' defect probability is above 0.5.

    Raises DataUnavailable where the package is not installed.
    """
    probabilities = [probability for _, probability in _rows(_folder() / "labels.csv")]
    return (np.array(probabilities) > 0.5).astype(np.int64)


def _folder() -> Path:
    try:
        import elpv_dataset
    except ImportError as error:
        raise DataUnavailable(f"dataset elpv: `pip install elpv-dataset` first ({error})") from None
    return Path(elpv_dataset.__file__).parent / "data"


def modules() -> np.ndarray:
    """The module [2624] that each cell is of, from 0, in the order of the files."""
    return np.repeat(np.arange(len(MODULE_CELLS)), MODULE_CELLS)


def block_splits() -> np.ndarray:
    """`train`, `val` or `test` for each cell in each split [5, 2624]; no split divides a module."""
    fold = np.array([int(digit) for digit in FOLDS])
    place = np.array([np.sum(fold[:module] == fold[module]) for module in range(len(fold))])
    of_modules = [
        np.select([fold == k, (place + k) % VALIDATION_EVERY == 0], ["test", "val"], "train")
        for k in range(fold.max() + 1)
    ]
    return np.stack(of_modules)[:, modules()]


def random_split(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A split [n] that divides modules, 60/20/20, stratified by label: for the warning that the leak check
    makes of it, never for a run."""
    from sklearn.model_selection import train_test_split

    index = np.arange(len(labels))
    train, rest = train_test_split(index, train_size=0.6, stratify=labels, random_state=seed)
    val, test = train_test_split(rest, train_size=0.5, stratify=labels[rest], random_state=seed)
    split = np.empty(len(labels), dtype="<U5")
    split[train], split[val], split[test] = SPLITS
    return split


DATASET = Dataset(
    name="elpv",
    title="ELPV: electroluminescence images of solar cells",
    classes=("functional", "defective"),
    licence="CC BY-NC-SA 4.0",
    attribution="Buerhop-Lutz et al. 2018; Deitsch et al. 2019 and 2021",
    source="package elpv-dataset (PyPI)",
    caution="Not medical: an X-ray-like inspection task that stands in where no medical image set "
    "ships in a package. No module id is published: modules are told apart by the order of the files, and "
    "no split divides one.",
    counts=dict(zip(SPLITS, (1424, 660, 540), strict=True)),
    files=(),
    load=_load,
    sources=_sources,
    n_splits=len(set(FOLDS)),
    at_hand=lambda: importlib.util.find_spec("elpv_dataset") is not None,
)
