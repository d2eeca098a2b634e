"""MedMNIST sets from their published files: flat ones, slices of lung nodules, and DermaMNIST mended."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pepr.datasets import downloads, npz
from pepr.datasets.source import (
    SPLITS,
    Dataset,
    Loaded,
    all_blocks,
    check_images,
    check_labels,
    check_names,
    stamps,
)
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum

ADDRESS = "MedMNIST v2, https://doi.org/10.5281/zenodo.10519652"
UNOFFICIAL = "PEPR_UNOFFICIAL"
"""The environment variable that lets in, by `yes`, a file whose checksum is not the published one."""
SMALL_PX = 64
"""Up to this size the images of 28 px are taken, as for the runs of `medical` that ship: whoever downloads
them trains on the same images, and fetches less."""
NOT_CLINICAL = "Not for clinical use."
TITLES = {
    "pathmnist": ("PathMNIST: colon tissue under the microscope", "Kather et al. 2019"),
    "dermamnist": (
        "DermaMNIST: dermatoscopic images of skin lesions",
        "Tschandl et al. 2018; Codella et al. 2019",
    ),
    "octmnist": ("OCTMNIST: optical coherence tomography of the retina", "Kermany et al. 2018"),
    "pneumoniamnist": ("PneumoniaMNIST: paediatric chest X-rays", "Kermany et al. 2018"),
    "retinamnist": ("RetinaMNIST: photographs of the retina", "DeepDRiD, Liu et al. 2022"),
    "breastmnist": ("BreastMNIST: breast ultrasound", "Al-Dhabyani et al. 2020"),
    "bloodmnist": ("BloodMNIST: blood cells under the microscope", "Acevedo et al. 2020"),
    "tissuemnist": ("TissueMNIST: cells of the kidney cortex", "BBBC051, Ljosa et al. 2012"),
    "organamnist": ("OrganAMNIST: organs in CT, axial", "LiTS, Bilic et al. 2023; Xu et al. 2019"),
    "organcmnist": ("OrganCMNIST: organs in CT, coronal", "LiTS, Bilic et al. 2023; Xu et al. 2019"),
    "organsmnist": ("OrganSMNIST: organs in CT, sagittal", "LiTS, Bilic et al. 2023; Xu et al. 2019"),
}
"""Titles, and whose images they are; the rest of what is known comes from the package."""
CAUTIONS = {
    "dermamnist": "Images of one lesion are on both sides of the official split, which flatters accuracy; "
    "`dermamnist_c` is the corrected one.",
    "breastmnist": "Labels are swapped, so that 1 is the finding, malignant, as in the other sets.",
}
ORDERED = {"retinamnist": "grade"}
"""Sets whose classes are grades in an order, and the word that makes a name of their numbers."""
SWAPPED = ("breastmnist",)
"""Sets of two classes that call the finding 0."""
BENCHMARK = {
    "breastmnist": (0.863, 0.901),
    "retinamnist": (0.524, 0.717),
    "pneumoniamnist": (0.854, 0.944),
}
"""Test accuracy and AUROC of a ResNet-18 at 28 px (Yang et al. 2023)."""
COLLECTIONS = {"dermamnist": "ham10000", "dermamnist_c": "ham10000", "nodule": "lidc"}
"""Sets that are made of the photographs or scans of another dataset."""
PROBLEMS = {
    "chestmnist": "it has several labels an image, and this study scores one class an image",
}
"""Published sets that cannot be used, and why."""
CORRECTED_DERMA = {
    28: ("dermamnist_corrected_28.npz", "96e2862980877d45d9cacb5c25de6950"),
    224: ("dermamnist_corrected_224.npz", "84920fb70c83b234c295b6f0d4ae2bc0"),
}
"""Files of DermaMNIST-C with their MD5, as its authors publish them (Abhishek et al. 2025,
github.com/kakumarabhishek/Corrected-Skin-Image-Datasets, DOI 10.5281/zenodo.11101337)."""
CORRECTED_DERMA_COUNTS = {"train": 8215, "val": 573, "test": 1227}


@dataclass(frozen=True)
class Published:
    """A file as it was published: images of `size` pixels, with its MD5; `url` is None where no address
    gives the file itself."""

    name: str
    size: int
    md5: str
    url: str | None


@functools.cache
def info() -> Mapping[str, Mapping[str, Any]]:
    """The package's table of its sets: addresses, checksums, counts, classes, licences.

    Its module alone: importing the whole package loads torch, which naming a dataset does not need.
    """
    package = importlib.util.find_spec("medmnist")
    spec = importlib.util.spec_from_file_location(
        "medmnist_info", Path(package.submodule_search_locations[0]) / "info.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.INFO


def published_files(flag: str) -> list[Published]:
    """The files of a MedMNIST set, smallest images first."""
    entry = info()[flag]
    return [
        Published(
            f"{flag}.npz" if key == "url" else f"{flag}_{key.removeprefix('url_')}.npz",
            28 if key == "url" else int(key.removeprefix("url_")),
            entry[key.replace("url", "MD5")],
            entry[key],
        )
        for key in sorted((key for key in entry if key.startswith("url")), key=lambda key: (len(key), key))
    ]


def files_of(name: str) -> list[Published]:
    """The published files of a dataset of this source, by the name that the study gives it."""
    if name == "dermamnist_c":
        return [Published(file, size, md5, None) for size, (file, md5) in CORRECTED_DERMA.items()]
    return published_files("nodulemnist3d" if name == "nodule" else name)


def checksum_status(path: Path, file: Published) -> str:
    """`official`, or `unofficial` where the user lets in other files by `PEPR_UNOFFICIAL=yes`.

    Raises InputError for a file that is not the published one, byte for byte.
    """
    found = checksum(path, "md5")
    if found == file.md5:
        return "official"
    if os.environ.get(UNOFFICIAL) == "yes":
        return "unofficial"
    raise InputError(
        f"{path}: its MD5 is {found} and the published one {file.md5}: damaged, or another edition; fetch it "
        f"again{f' from {file.url}' if file.url else ''}, or set {UNOFFICIAL}=yes to use it as it is, "
        "labelled unofficial"
    )


def is_at_hand(name: str) -> bool:
    """Whether a file of a set was supplied, or downloaded before."""
    return any(
        downloads.supplied("medmnist", file.name) or (downloads.cache() / file.name).exists()
        for file in files_of(name)
    )


def _in_order(files: list[Published], image_size: int) -> list[Published]:
    """The files in the order in which they are wanted for images of `image_size` pixels."""
    enough = image_size if image_size > SMALL_PX else 0
    large_enough = [file for file in files if file.size >= enough]
    return [*large_enough, *(file for file in reversed(files) if file.size < enough)]


def sources(name: str, image_size: int) -> list[Path]:
    """The file that `choose` would take now; not there yet where it would have to be downloaded."""
    wanted = _in_order(files_of(name), image_size)
    for file in wanted:
        path = downloads.supplied("medmnist", file.name)
        if path is not None:
            return [path]
    return [downloads.cache() / wanted[0].name]


def choose(name: str, files: list[Published], image_size: int) -> tuple[Published, Path, str]:
    """The file for images of `image_size` pixels: up to `SMALL_PX` the smallest, above it the smallest
    that need not be enlarged, else the largest.

    A file in `$PEPR_DATA/medmnist` is used before any download, even one whose images are smaller; the
    text that comes third then says so. Raises DataUnavailable with the address and the place for a file.
    """
    wanted = _in_order(files, image_size)
    for file in wanted:
        path = downloads.supplied("medmnist", file.name)
        if path is not None:
            other = f"{wanted[0].name}, with {wanted[0].size} px images, was not at hand"
            return file, path, "" if file == wanted[0] else other
    best = wanted[0]
    by_hand = f"put it at {downloads.place('medmnist', best.name)}"
    if best.url is None:
        raise DataUnavailable(
            f"dataset {name}: get {best.name} from https://doi.org/10.5281/zenodo.11101337 and {by_hand}"
        )
    try:
        return best, downloads.fetch(best.url, downloads.cache() / best.name, md5=best.md5), ""
    except DataUnavailable as error:
        raise DataUnavailable(
            f"dataset {name}: {best.name} is not in $PEPR_DATA/medmnist and the download of {best.url} "
            f"failed ({error}); fetch that file by hand and {by_hand}"
        ) from error


def _load(name: str, entry: Mapping[str, Any], dimensions: int, image_size: int) -> Loaded:
    counts, channels, classes = entry["n_samples"], entry["n_channels"], tuple(entry["label"].values())
    file, path, note = choose(name, files_of(name), image_size)
    stamped = stamps([path])
    status = checksum_status(path, file)
    found = npz.headers(path)
    check_names(path, found, [f"{part}_{kind}" for part in SPLITS for kind in ("images", "labels")])
    labels = []
    for part in SPLITS:
        colours = (channels,) if channels > 1 else ()
        shape = (counts[part], *(file.size,) * dimensions, *colours)
        check_images(path, f"{part}_images", found[f"{part}_images"], shape)
        values = npz.array(path, f"{part}_labels")
        labels.append(check_labels(path, f"{part}_labels", values, counts[part], classes, part != "val"))
    blocks = all_blocks(path, [f"{part}_images" for part in SPLITS])
    return Loaded(
        blocks=central_slices(blocks) if dimensions == 3 else blocks,
        labels=1 - np.concatenate(labels) if name in SWAPPED else np.concatenate(labels),
        split=np.repeat(np.array(SPLITS, dtype="<U5"), [counts[part] for part in SPLITS]),
        status=status,
        sha256=checksum(path),
        native_size=file.size,
        file=file.name,
        note=note,
        sources=stamped,
    )


def central_slices(volumes: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Volumes [n, d, d, d] as images [n, d, d, 3]: the slices through the middle, one across each axis."""
    for block in volumes:
        middle = block.shape[1] // 2
        yield np.stack([block.take(middle, axis=axis) for axis in (1, 2, 3)], axis=-1)


def _flat(flag: str) -> Dataset:
    entry = info()[flag]
    title, images_of = TITLES[flag]
    classes = tuple(entry["label"].values())
    names = tuple(f"{ORDERED[flag]} {label}" for label in classes) if flag in ORDERED else classes
    return _declared(
        flag,
        entry,
        title=title,
        classes=names[::-1] if flag in SWAPPED else names,
        attribution=f"{images_of}; Yang et al. 2023",
        caution=" ".join(filter(None, [NOT_CLINICAL, CAUTIONS.get(flag)])),
        ordered=flag in ORDERED,
        benchmark=BENCHMARK.get(flag),
    )


def _declared(name: str, entry: Mapping[str, Any], dimensions: int = 2, **own: Any) -> Dataset:
    """A set of this source as the package's `entry` has it, but for what is its `own`."""
    files = files_of(name)
    shared = {
        "counts": entry["n_samples"],
        "classes": tuple(entry["label"].values()),
        "licence": entry["license"],
        "source": ADDRESS,
        "load": functools.partial(_load, name, entry, dimensions),
        "sources": functools.partial(sources, name),
        "files": tuple(f"medmnist/{file.name}" for file in files),
        "at_hand": functools.partial(is_at_hand, name),
        "downloadable": any(file.url for file in files),
        "unofficial_by": UNOFFICIAL,
        "collection": COLLECTIONS.get(name),
    }
    return Dataset(name=name, **(shared | own))


def _nodule() -> Dataset:
    return _declared(
        "nodule",
        info()["nodulemnist3d"],
        dimensions=3,
        title="NoduleMNIST3D: lung nodules in CT, three slices through the middle",
        attribution="LIDC-IDRI, Armato et al. 2011; Yang et al. 2023",
        caution=f"{NOT_CLINICAL} The three channels are three planes, not colours. Part of LIDC-IDRI with "
        "other labels and another split than the paper's LIDC: not to be compared with it.",
    )


def _corrected_derma() -> Dataset:
    return _declared(
        "dermamnist_c",
        {**info()["dermamnist"], "n_samples": CORRECTED_DERMA_COUNTS},
        title="DermaMNIST-C: DermaMNIST with each lesion on one side of the split",
        licence="CC BY-NC 4.0",
        attribution="Tschandl et al. 2018; Codella et al. 2019; Abhishek et al. 2025",
        source="Zenodo, DOI 10.5281/zenodo.11101337; supplied by you in $PEPR_DATA/medmnist",
        caution=NOT_CLINICAL,
    )


def datasets() -> list[Dataset]:
    """Every set of this source that the study can use."""
    return [*(_flat(flag) for flag in TITLES), _nodule(), _corrected_derma()]
