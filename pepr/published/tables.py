"""The authors' seven published tables: found or fetched, verified byte for byte, typed and validated.

Source: repository `saintslab/PePR` (MIT licence) at a pinned commit, folder `data/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from pepr.datasets import downloads
from pepr.errors import DataUnavailable, InputError
from pepr.files import checksum, named_folder
from pepr.tables.reader import read_table

COMMIT = "ce087aafcdce4a5b636152d170475a6df5f4c3d7"
BASE_URL = f"https://raw.githubusercontent.com/saintslab/PePR/{COMMIT}/data/"
SHA256 = {
    "all_results": "1f624ef1a68433aa2c56b83831bb30a1e06c285b56531fde8056f06a42394e98",
    "full_data_pepr_dataset_level": "b218cf9f09eec0036c0db1b08da4b2fcc655383a58b4681b2fbea7e951bed575",
    "full_data_pepr_imagenet": "a00a00a628f9b6c71b137393662a967b5de060c2b7c564f476e50a282156a9eb",
    "model_names": "e26300f35a182a893c90d581684c0d61ed016f6e4f8bfcca370b817ea2bf9e7f",
    "regions_papers_data_2013": "1a83c1bb95f472947e1737d6542fec5d399ebb67a064f6de2d1017e1176facb8",
    "regions_papers_data_2023": "3d4695803dbcf93fd11bc53488706ffc863e232ee282f054673a680ac6281b88",
    "results-imagenet": "94f9925f015e349b2a17a30f80861d43fb0b93879288dba7efae67c2cec54f58",
}
"""SHA-256 of each table's file, by the file's stem."""

SETTINGS = (
    "derma_pt",
    "derma",
    "derma_small",
    "derma_smallest",
    "lidc",
    "lidc_small",
    "pneumonia",
    "pneumonia_small",
)
EPOCHS = 10
TEST_COLUMNS = tuple(f"test_{epoch:02d}" for epoch in range(EPOCHS))
RESOURCES = {"E": "energy", "C": "co2", "T": "train_time", "M": "memR"}
"""The paper's four scores and the column each is computed from."""
N_MODELS = 131
TRAIN_IMAGES = {
    "derma_pt": 7007,
    "derma": 7007,
    "derma_small": 700,
    "derma_smallest": 70,
    "lidc": 9057,
    "lidc_small": 905,
    "pneumonia": 4708,
    "pneumonia_small": 470,
}
"""Training images of each setting, as the training accuracies of the tables imply."""

FRACTIONS = (*TEST_COLUMNS, "tr_acc")
MEASURED = (
    "num_param",
    "memT",
    "memR",
    "memA",
    "memM",
    "energy",
    "co2",
    "train_time",
    "infer_time",
    "inf_time",
    "efficient",
)


@dataclass(frozen=True)
class Published:
    """The seven tables and the folder or address they came from.

    `results`: 131 models x 8 settings, with the authors' scores; energy in kWh for ten epochs, `co2` in
    grams, `train_time` in seconds of the last epoch, `mem*` in GB, accuracies as fractions.
    `raw` is the same without scores; `imagenet` has one row a model, `top1` in percent (0 where the
    authors found none); `models` the 131 names; `regions_2013`, `regions_2023` publications and
    populations by country; `leaderboard` timm's ImageNet results.
    """

    results: pd.DataFrame
    raw: pd.DataFrame
    imagenet: pd.DataFrame
    models: pd.DataFrame
    regions_2013: pd.DataFrame
    regions_2023: pd.DataFrame
    leaderboard: pd.DataFrame
    origin: str


def find_table(name: str, source: str | Path = "auto") -> Path:
    """The verified file of a table: in `source`, in `$PEPR_DATA/published`, in the cache, or downloaded.

    Raises InputError when a file is there but is not the pinned one, DataUnavailable when there is none.
    """
    if name not in SHA256:
        raise InputError(f"no published table {name!r}; there are {', '.join(SHA256)}")
    for folder in _folders(source):
        path = folder / f"{name}.csv"
        if path.exists():
            return verified(path, SHA256[name], f"{BASE_URL}{path.name}")
    if str(source) != "auto":
        raise DataUnavailable(f"{source}: no {name}.csv there; {_by_hand()}")
    return fetch(f"{BASE_URL}{name}.csv", SHA256[name], _kept(name), _by_hand())


def load(source: str | Path = "auto") -> Published:
    """All seven tables, typed and validated. `source`: `auto`, or a folder that holds them.

    Raises DataUnavailable with one clear message when they can be neither found nor downloaded.
    """
    tables = {name: _validated(name, find_table(name, source)) for name in SHA256}
    return Published(
        results=tables["full_data_pepr_dataset_level"],
        raw=tables["all_results"],
        imagenet=tables["full_data_pepr_imagenet"],
        models=tables["model_names"],
        regions_2013=tables["regions_papers_data_2013"],
        regions_2023=tables["regions_papers_data_2023"],
        leaderboard=tables["results-imagenet"],
        origin=_origin(source),
    )


def at_hand(source: str | Path = "auto") -> bool:
    """True when every table lies in a folder here or was downloaded before, so that nothing has to be
    downloaded."""
    return all(_is_in_a_folder(name, source) or _was_downloaded(name, source) for name in SHA256)


def _is_in_a_folder(name: str, source: str | Path) -> bool:
    return any((folder / f"{name}.csv").exists() for folder in _folders(source))


def _was_downloaded(name: str, source: str | Path) -> bool:
    """Whether the cache, where `source` is one to look there, has a table whole: `fetch` takes no other."""
    if str(source) != "auto":
        return False
    path = downloads.cache() / _kept(name)
    return path.exists() and checksum(path) == SHA256[name]


def _folders(source: str | Path) -> list[Path]:
    if str(source) != "auto":
        return [Path(source).expanduser()]
    data = named_folder("PEPR_DATA")
    return [data / "published"] if data else []


def _origin(source: str | Path) -> str:
    local = all(_is_in_a_folder(name, source) for name in SHA256)
    return "a local folder" if local else f"saintslab/PePR at {COMMIT[:8]}"


def verified(path: Path, expected: str, address: str) -> Path:
    """A file of the authors, if it is theirs. Raises InputError where its SHA-256 is another."""
    actual = checksum(path)
    if actual != expected:
        raise InputError(
            f"{path}: SHA-256 {actual[:12]}... is not that of the published file, {expected[:12]}...; "
            f"take it again from {address}"
        )
    return path


def _by_hand() -> str:
    return f"put the seven files of {BASE_URL} into a folder `published` and set PEPR_DATA to its parent"


def _kept(name: str) -> str:
    """Where a table is kept below the cache."""
    return f"published/{COMMIT[:8]}/{name}.csv"


def fetch(address: str, digest: str, kept: str, by_hand: str) -> Path:
    """Download a file of the authors, verified, and keep it below the cache as `kept`.

    Raises DataUnavailable, saying what to do `by_hand`, where it cannot be had.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    path = downloads.cache() / kept
    try:
        pooch.retrieve(
            address,
            known_hash=f"sha256:{digest}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=20, progressbar=False),
        )
    except (OSError, ValueError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataUnavailable(f"{address} could not be downloaded ({why}); {by_hand}") from None
    return path


def _validated(name: str, path: Path) -> pd.DataFrame:
    import pandera.errors

    try:
        return _schemas()[name].validate(READERS[name](path))
    except pandera.errors.SchemaError as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None


def _read_results(path: Path) -> pd.DataFrame:
    table = read_table(path, numbers=MEASURED, fractions=FRACTIONS, texts=("model", "type", "dataset"))
    return _flags(table.astype({"num_param": "int64"}))


def _read_imagenet(path: Path) -> pd.DataFrame:
    table = read_table(path, numbers=("top1", "top5", "M_n", "pepr_m"), texts=("model", "type"))
    return _flags(table.astype({"num_param": "int64"}))


def _read_models(path: Path) -> pd.DataFrame:
    return _flags(read_table(path, texts=("model", "type", "link")).astype({"num_param": "int64"}))


def _read_regions(path: Path) -> pd.DataFrame:
    texts = ("name", "Region", "Region_updated")
    table = read_table(path, numbers=("num_papers", "pop"), texts=texts, keys=("name",))
    return table.astype({"num_papers": "int64", "pop": "int64"})


def _read_leaderboard(path: Path) -> pd.DataFrame:
    table = read_table(
        path, numbers=("top1", "top5"), texts=("model", "param_count"), keys=("model", "img_size")
    )
    table["param_count"] = [float(text.replace(",", "")) for text in table["param_count"]]
    return table


def _flags(table: pd.DataFrame) -> pd.DataFrame:
    table = table.assign(efficient=table["efficient"] == 1)
    if "cnn" in table:
        table["cnn"] = table["cnn"].astype(str).str.lower() == "true"
    return table


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "all_results": _read_results,
    "full_data_pepr_dataset_level": _read_results,
    "full_data_pepr_imagenet": _read_imagenet,
    "model_names": _read_models,
    "regions_papers_data_2013": _read_regions,
    "regions_papers_data_2023": _read_regions,
    "results-imagenet": _read_leaderboard,
}
"""What reads each table, by its name."""


@cache
def _schemas() -> Mapping[str, Any]:
    """What must hold of each table, by its name."""
    import pandera.pandas as pa

    def columns(
        kind: type, names: Sequence[str], check: Any = None, unique: bool = False
    ) -> dict[str, pa.Column]:
        return {name: pa.Column(kind, check, unique=unique) for name in names}

    positive, share, percent = pa.Check.gt(0), pa.Check.in_range(0, 1), pa.Check.in_range(0, 100)
    kinds, of_all_models = pa.Check.isin(["CNN", "Other"]), pa.Check(lambda t: len(t) == N_MODELS)
    amounts = ("memT", "memR", "memA", "memM", "energy", "co2", "train_time", "inf_time")
    results = pa.DataFrameSchema(
        columns(str, ["model"])
        | columns(str, ["dataset"], pa.Check.isin(SETTINGS))
        | columns(int, ["num_param"], positive)
        | columns(str, ["type"], kinds)
        | columns(bool, ["efficient"])
        | columns(float, amounts, positive)
        | columns(float, FRACTIONS, share),
        checks=[
            pa.Check(lambda t: len(t) == N_MODELS * len(SETTINGS), error="expected 131 models x 8 settings"),
            pa.Check(lambda t: bool((t.groupby("dataset")["model"].nunique() == N_MODELS).all())),
        ],
        unique=["model", "dataset"],
    )
    scores = [column for key in RESOURCES for column in (f"{key}_n", f"pepr_{key.lower()}")]
    imagenet = pa.DataFrameSchema(
        columns(str, ["model"], unique=True)
        | columns(float, ["top1", "top5"], percent)
        | columns(float, ["M_n", "pepr_m"], share),
        checks=of_all_models,
    )
    models = pa.DataFrameSchema(
        columns(str, ["model"], unique=True)
        | columns(int, ["num_param"], positive)
        | columns(str, ["type"], kinds)
        | columns(bool, ["efficient"])
        | columns(str, ["link"]),
        checks=of_all_models,
    )
    regions = pa.DataFrameSchema(
        columns(str, ["name"], unique=True)
        | columns(int, ["num_papers", "pop"], positive)
        | columns(str, ["Region", "Region_updated"])
    )
    leaderboard = pa.DataFrameSchema(
        columns(str, ["model"])
        | columns(float, ["img_size", "param_count"], positive)
        | columns(float, ["top1", "top5"], percent)
    )
    return {
        "all_results": results,
        "full_data_pepr_dataset_level": results.add_columns(columns(float, scores, share)),
        "full_data_pepr_imagenet": imagenet,
        "model_names": models,
        "regions_papers_data_2013": regions,
        "regions_papers_data_2023": regions,
        "results-imagenet": leaderboard,
    }
