"""LIDC patches from a file of the user's own, with the label and split rules of the paper's authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pepr.datasets import downloads, npz
from pepr.datasets.source import SPLITS, Dataset, Loaded, all_blocks, check_labels, check_names, stamps
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum

RATERS = 4
SHARES = (0.6, 0.2)
"""Of training and validation, in file order; what is left is the test set."""
FILES = "lidc/*.npz"
COUNTS = dict(zip(SPLITS, (9057, 3019, 3020), strict=True))
"""Of the authors' 15,096 patches; a file of the user's own may hold others."""
CLASSES = ("at most two raters", "more than two raters")
WANTED = (
    "an .npz with `images`, uint8 [N, H, H], and `rater_labels`, 0 or 1 [N, 4], in the order of the patients "
    "(patches of LIDC-IDRI, which is at https://www.cancerimagingarchive.net/collection/lidc-idri/)"
)


def _load(image_size: int) -> Loaded:
    files = downloads.supplied_files(FILES)
    if not files:
        where = downloads.place("lidc", "patches.npz")
        raise DataUnavailable(f"dataset lidc: not downloadable; put a file of your own at {where}: {WANTED}")
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise InputError(f"{files[0].parent}: one .npz is expected here and there are {len(files)}: {names}")
    (path,) = files
    sources = stamps(files)
    found = npz.headers(path)
    check_names(path, found, ("images", "rater_labels"))
    shape, kind = found["images"]
    if kind != np.uint8 or len(shape) != 3 or shape[1] != shape[2] or not shape[1]:
        raise InputError(f"{path}: images is {kind} {shape}, expected uint8 [N, H, H]")
    raters = _raters(path, shape[0])
    split = split_in_order(shape[0])
    labels = (raters.sum(axis=1) > RATERS // 2).astype(np.int64)
    for part in SPLITS:
        here = labels[split == part]
        check_labels(path, f"the {part} split of rater_labels", here, len(here), CLASSES, part != "val")
    return Loaded(
        blocks=all_blocks(path, ["images"]),
        labels=labels,
        split=split,
        status="supplied",
        sha256=checksum(path),
        native_size=shape[1],
        file=path.name,
        sources=sources,
    )


def _raters(path: Path, count: int) -> np.ndarray:
    raters = npz.array(path, "rater_labels")
    if raters.shape != (count, RATERS):
        raise InputError(f"{path}: rater_labels is {raters.shape}, expected ({count}, {RATERS})")
    outside = np.argwhere(~np.isin(raters, (0, 1)))
    if len(outside):
        row, rater = outside[0]
        raise InputError(
            f"{path}: rater_labels, row {row}, rater {rater}: {raters[row, rater]}, expected 0 or 1"
        )
    return raters.astype(np.int64)


def split_in_order(count: int) -> np.ndarray:
    """The first 60% train, the next 20% validation, the rest test."""
    train, val = (int(share * count) for share in SHARES)
    return np.repeat(SPLITS, [train, val, count - train - val])


DATASET = Dataset(
    name="lidc",
    title="LIDC: two-dimensional patches of lung nodules in CT",
    classes=CLASSES,
    licence="terms of The Cancer Imaging Archive (LIDC-IDRI: CC BY 3.0)",
    attribution="Armato et al. 2011 (LIDC-IDRI); Selvan et al. 2025 (label and split)",
    source="a file of your own, $PEPR_DATA/lidc/*.npz",
    caution="Not for clinical use. The split is by position in the file: one patient may be on both sides.",
    counts=COUNTS,
    files=(FILES,),
    load=_load,
    sources=lambda image_size: downloads.supplied_files(FILES),
    at_hand=lambda: bool(downloads.supplied_files(FILES)),
)
