"""How soon a pretrained network passes where the same network ends from scratch: in epochs, and in energy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pepr.analysis.across.sets import FULL
from pepr.analysis.claims import CELLS
from pepr.models.space import BASELINES
from pepr.quantities import energy_is_estimated
from pepr.runs.columns import Record

FULL_CELLS = {CELLS[cell] for cell in FULL}
PAIRS = ["dataset", "model", "num_params", "seed", "epochs", "share", "own_share", "scratch_wh", "estimated"]


def pairs(records: Iterable[Record], datasets: Sequence[str]) -> pd.DataFrame:
    """One row a network and seed that was trained both ways on all images of a set, on one kind of hardware,
    in the order of the sets.

    Where it ends from scratch is its validation AUROC at the epoch that was kept. `epochs` is the first epoch
    (from 1) after which the pretrained twin is there or above, and `share` the training energy until then as
    a share of all that the run from scratch took, `scratch_wh`; both are infinite where it never is.
    `own_share` is that share of the run from scratch itself: what it took until it first was there.
    """
    runs: dict[tuple[str, str, int], dict[bool, Record]] = {}
    for record in records:
        key = (record["dataset"], record["model"], record["seed"])
        if record["dataset"] in datasets and _is_full(record):
            runs.setdefault(key, {})[bool(record["pretrained"])] = record
    found = [_pair(*key, both[True], both[False]) for key, both in runs.items() if _comparable(both)]
    rows = pd.DataFrame(found, columns=PAIRS)
    place = rows["dataset"].map({name: number for number, name in enumerate(datasets)})
    by_size = rows.assign(place=place).sort_values(["place", "num_params", "model", "seed"])
    return by_size[PAIRS].reset_index(drop=True)


def of_networks(rows: pd.DataFrame) -> pd.DataFrame:
    """`pairs` by set and network, the smallest network first: medians, and how many seeds passed at all."""
    grouped = rows.groupby(["dataset", "num_params", "model"], sort=False)
    found = grouped.agg(
        epochs=("epochs", "median"),
        share=("share", "median"),
        scratch_wh=("scratch_wh", "median"),
        n=("seed", "size"),
        estimated=("estimated", "any"),
    )
    found["passed"] = grouped["epochs"].agg(lambda epochs: int(np.isfinite(epochs).sum()))
    return found.reset_index()


def _is_full(record: Record) -> bool:
    """Whether a record is of a network that was trained on all images."""
    trained = record["status"] == "ok" and record["model"] not in BASELINES
    trained = trained and not record.get("shuffled") and not record.get("init_from")
    return trained and (bool(record["pretrained"]), float(record["train_fraction"])) in FULL_CELLS


def _comparable(both: dict[bool, Record]) -> bool:
    """Whether a network was trained both ways, and its energies are of one kind of hardware."""
    return len(both) == 2 and both[True]["hardware"] == both[False]["hardware"]


def _pair(dataset: str, model: str, seed: int, pretrained: Record, scratch: Record) -> dict[str, object]:
    end = _values(scratch, "val_auroc")[scratch["best_epoch"]]
    passed = np.flatnonzero(_values(pretrained, "val_auroc") >= end)
    spent = np.cumsum(_values(pretrained, "energy_kwh"))
    own = np.cumsum(_values(scratch, "energy_kwh"))
    took = float(own[-1])
    first = int(passed[0]) if len(passed) else None
    there = np.flatnonzero(_values(scratch, "val_auroc") >= end)
    return {
        "dataset": dataset,
        "model": model,
        "num_params": scratch["num_params"],
        "seed": seed,
        "epochs": np.inf if first is None else float(first + 1),
        "share": np.inf if first is None else float(spent[first]) / took,
        "own_share": float(own[there[0] if len(there) else scratch["best_epoch"]]) / took,
        "scratch_wh": 1000 * took,
        "estimated": energy_is_estimated(scratch["energy_source"]),
    }


def _values(record: Record, name: str) -> np.ndarray:
    """One value an epoch [epochs]; NaN where it was not measured."""
    return np.array([np.nan if epoch[name] is None else epoch[name] for epoch in record["history"]], float)
