"""Does a split leak: what labels alone tell of the test labels, and which images are in two sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr.datasets.source import SPLITS
from pepr.runs import metrics

NEAREST_FILES = (1, 3, 10, 30, 100, 300)
"""How many of the nearest training files a predictor by file order asks."""
KERNEL_FILES = (2, 10, 50, 250)
"""Standard deviations, in files, of the Gaussian weights of a predictor by file order."""
THUMBNAIL_PX = 16
NEAREST_THUMBNAILS = 10
PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))


@dataclass(frozen=True)
class Leaks:
    """What a leak check found.

    `by_order` holds an AUROC on the test labels for each predictor that sees labels and the order of files,
    and no pixel: 0.5 is right, and what is far above says that the split divides what belongs together.
    `thumbnails_val` and `thumbnails_test` are the AUROC of the nearest training thumbnails: an honest
    baseline, and a sign of a leak where the first is far above the second. `duplicates` and `groups` count,
    by pair of sets, images of the later set that are in the earlier one to the last pixel, and groups (a
    patient, a module) with images in both; `groups` is None where a dataset names none. An AUROC is None
    where a class is absent.
    """

    by_order: dict[str, float | None]
    thumbnails_val: float | None
    thumbnails_test: float | None
    duplicates: dict[tuple[str, str], int]
    groups: dict[tuple[str, str], int] | None

    @property
    def order(self) -> float | None:
        """The highest AUROC of the predictors by file order."""
        return max((value for value in self.by_order.values() if value is not None), default=None)

    def as_table(self) -> pd.DataFrame:
        """One row a question: `what`, and `found` as text."""
        rows = [
            ("labels alone, by file order: AUROC on test, the best of its predictors", _auroc(self.order)),
            (f"{NEAREST_THUMBNAILS} nearest thumbnails: AUROC on validation", _auroc(self.thumbnails_val)),
            (f"{NEAREST_THUMBNAILS} nearest thumbnails: AUROC on test", _auroc(self.thumbnails_test)),
        ]
        rows += [
            (f"images of {late} that are in {early} too", str(n))
            for (early, late), n in self.duplicates.items()
        ]
        if self.groups is None:
            rows.append(("groups in two sets", "unknown: this dataset names no groups"))
        else:
            rows += [(f"groups in {early} and in {late}", str(n)) for (early, late), n in self.groups.items()]
        return pd.DataFrame(rows, columns=["what", "found"])


def check(
    images: np.ndarray,
    labels: np.ndarray,
    split: np.ndarray,
    groups: np.ndarray | None,
    order: np.ndarray | None = None,
) -> Leaks:
    """The leak check of any dataset: images [n, size, size] or [n, size, size, 3], labels [n], split [n] of
    `train`, `val`, `test` (others are left out) and groups [n] or None. `order` [n] is the place of each
    among the files by name; None where they stand so."""
    by_name = np.arange(len(labels)) if order is None else np.argsort(order)
    return Leaks(
        by_order=by_order(labels[by_name], split[by_name]),
        thumbnails_val=by_thumbnails(images, labels, split, "val"),
        thumbnails_test=by_thumbnails(images, labels, split, "test"),
        duplicates=across_sets(digests(images), split),
        groups=None if groups is None else across_sets(groups, split),
    )


def by_order(labels: np.ndarray, split: np.ndarray) -> dict[str, float | None]:
    """AUROC on the test labels of predictors that see the training labels [n] and the order of the files.

    `nearest k` answers with the class shares of the k nearest training files, `kernel s` with those of all
    training files under Gaussian weights, and `same place k` with those of the k training files that stand
    at about the same place of their set: files that are stored set by set have no training file near.
    """
    classes = int(labels.max()) + 1
    test = split == "test"
    predictions = {
        f"nearest {k}": _nearest(np.arange(len(labels)), labels, split, k, classes) for k in NEAREST_FILES
    }
    predictions |= {f"kernel {width}": _kernel(labels, split, width, classes) for width in KERNEL_FILES}
    place = _place_in_set(split)
    predictions |= {f"same place {k}": _nearest(place, labels, split, k, classes) for k in NEAREST_FILES[1:5]}
    return {name: metrics.auroc(shares, labels[test]) for name, shares in predictions.items()}


def _nearest(place: np.ndarray, labels: np.ndarray, split: np.ndarray, k: int, classes: int) -> np.ndarray:
    """Class shares [n_test, classes] among the k training files nearest in `place` [n]."""
    train = split == "train"
    return nearest_shares(place[train], labels[train], place[split == "test"], k, classes)


def nearest_shares(
    known: np.ndarray, labels: np.ndarray, asked: np.ndarray, k: int, classes: int
) -> np.ndarray:
    """Class shares [m, classes] among the k known things nearest to each asked one: places [n] and [m], or
    rows of features [n, d] and [m, d], with the labels [n] of the known."""
    from sklearn.neighbors import NearestNeighbors

    known, asked = (np.asarray(rows).reshape(len(rows), -1) for rows in (known, asked))
    near = (
        NearestNeighbors(n_neighbors=min(k, len(known))).fit(known).kneighbors(asked, return_distance=False)
    )
    return np.eye(classes)[labels[near]].mean(axis=1)


def _kernel(labels: np.ndarray, split: np.ndarray, width: float, classes: int) -> np.ndarray:
    """Class shares [n_test, classes] of the training files, each weighted by its distance in files; those of
    the whole training set where none is near."""
    from scipy.ndimage import gaussian_filter1d

    seen = np.eye(classes)[labels] * (split == "train")[:, None]
    overall = seen.sum(axis=0) / seen.sum()
    weights = gaussian_filter1d(seen, width, axis=0, mode="constant") + 1e-9 * overall
    return (weights / weights.sum(axis=1, keepdims=True))[split == "test"]


def _place_in_set(split: np.ndarray) -> np.ndarray:
    """Where each file stands among those of its set, from 0 to 1."""
    place = np.zeros(len(split))
    for part in SPLITS:
        members = np.flatnonzero(split == part)
        place[members] = np.linspace(0, 1, len(members))
    return place


def by_thumbnails(images: np.ndarray, labels: np.ndarray, split: np.ndarray, part: str) -> float | None:
    """AUROC on the labels of `part` of the class shares among the nearest training thumbnails."""
    small, train = thumbnails(images, THUMBNAIL_PX), split == "train"
    classes = int(labels.max()) + 1
    shares = nearest_shares(small[train], labels[train], small[split == part], NEAREST_THUMBNAILS, classes)
    return metrics.auroc(shares, labels[split == part])


def thumbnails(images: np.ndarray, size: int) -> np.ndarray:
    """Images [n, side, side] or [n, side, side, 3], uint8, as rows of float32 in [0, 1] [n, size * size * c]:
    reduced by the mean over the pixels that fall into each cell of the thumbnail."""
    side = images.shape[1]
    size = min(size, side)
    edges = np.linspace(0, side, size + 1).round().astype(int)
    rows = np.add.reduceat(images.astype(np.float32), edges[:-1], axis=1)
    cells = np.add.reduceat(rows, edges[:-1], axis=2)
    lengths = np.diff(edges)
    area = np.outer(lengths, lengths).reshape(1, size, size, *(1,) * (images.ndim - 3))
    return (cells / (255 * area)).reshape(len(images), -1)


def digests(images: Iterable[np.ndarray]) -> np.ndarray:
    """A SHA-256 of the pixels of each image [n]: two images are duplicates where these are equal."""
    return np.array([hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images])


def across_sets(identity: np.ndarray, split: np.ndarray) -> dict[tuple[str, str], int]:
    """How many distinct identities [n] of one set are in another too, by pair of sets."""
    members = {part: set(identity[split == part]) for part in SPLITS}
    return {(early, late): len(members[early] & members[late]) for early, late in PAIRS}


def _auroc(value: float | None) -> str:
    return "unknown: a class is absent" if value is None else f"{value:.3f}"
