"""ELPV, electroluminescence images of solar cells, read from its package."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pepr.datasets.source import SPLITS, Dataset, Loaded
from pepr.errors import DataUnavailable, InputError

SPLIT_SEED = 0
"""Seed of the split that this study draws itself; the same for every run."""
NATIVE_SIZE = 300


def _load(image_size: int) -> Loaded:
    """Label 1 where the experts' defect probability is above 0.5.

    The package ships no split, so a fixed one is drawn, 60/20/20, stratified by label.
    """
    try:
        import elpv_dataset
    except ImportError:
        raise DataUnavailable("dataset elpv: `pip install elpv-dataset` first") from None

    folder = Path(elpv_dataset.__file__).parent / "data"
    table = folder / "labels.csv"
    digest = hashlib.sha256(table.read_bytes())
    images, labels = [], []
    for path, probability in _rows(table):
        raw = (folder / path).read_bytes()
        digest.update(raw)
        images.append(_pixels(folder / path))
        labels.append(probability > 0.5)
    label_array = np.array(labels, dtype=np.int64)
    return Loaded(
        blocks=[np.stack(images)],
        labels=label_array,
        split=_draw_split(label_array),
        status="official",
        sha256=digest.hexdigest(),
        native_size=NATIVE_SIZE,
        file="labels.csv and the images that it names",
    )


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


def _draw_split(labels: np.ndarray) -> np.ndarray:
    """A fixed 60/20/20 split, stratified by label."""
    from sklearn.model_selection import train_test_split

    index = np.arange(len(labels))
    train, rest = train_test_split(index, train_size=0.6, stratify=labels, random_state=SPLIT_SEED)
    val, test = train_test_split(rest, train_size=0.5, stratify=labels[rest], random_state=SPLIT_SEED)
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
    "ships in a package. No module id is published, so cells of one module may be on both sides "
    "of the split.",
    counts=dict(zip(SPLITS, (1574, 525, 525), strict=True)),
    files=(),
    load=_load,
    at_hand=lambda: importlib.util.find_spec("elpv_dataset") is not None,
)
