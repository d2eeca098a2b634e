"""Studies of which little is left, made of a recorded one: the shipped `pocket` with its records edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import fail

from pepr import runs
from pepr.models.space import BASELINES

Record = dict[str, Any]
Edit = Callable[[Record], Record | None]
KEPT = {
    "dla46_c",
    "mobilenetv2_050",
    "resnet18d",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    *BASELINES,
}
SEEDS = (0, 1, 2)
"""Enough of the recorded study for every kind of claim."""


def shared_with_others(record: Record) -> Record:
    """Other programs beside every run, whose processor time is known: ranked all the same."""
    known = {"train_cpu_time_s": record["train_time_s"], "speed_probe_s": 0.2}
    return record | {"contended": True} | {key: record.get(key) or value for key, value in known.items()}


def spoiled_by_others(record: Record) -> Record:
    """The same where only the clock was read: nothing can be ranked by it."""
    return record | {"contended": True, "speed_probe_s": None, "train_cpu_time_s": None}


def all_but_one_failed(record: Record) -> Record:
    alone = (record["model"], record["setting"], record["seed"]) == ("dla46_c", "elpv", 0)
    return record if alone else fail(record, "out_of_memory")


def one_model(record: Record) -> Record | None:
    return record if record["model"] == "dla46_c" else None


def from_scratch_alone(record: Record) -> Record | None:
    return None if record["pretrained"] else record


def one_seed(record: Record) -> Record | None:
    return record if record["seed"] == 0 else None


EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        shared_with_others,
        spoiled_by_others,
        all_but_one_failed,
        one_model,
        from_scratch_alone,
        one_seed,
    )
}


def write_degenerate(root: Path, edit: Edit) -> runs.Results:
    """The shipped `pocket`, of a few models, as `edit` leaves its records, as results of this machine."""
    shipped = runs.Results("pocket", "reference", runs.reference_folder("pocket"))
    store = runs.Store(root, "pocket")
    for record in shipped.records():
        if record["model"] not in KEPT or record["seed"] not in SEEDS:
            continue
        kept = edit(dict(record))
        if kept is None:
            continue
        if kept["status"] == "ok":
            store.write_predictions(kept["run_id"], *shipped.predictions(kept["run_id"]))
        store.write_record(kept)
    runs.collect(store)
    return runs.Results("pocket", "this machine", store.folder)
