"""From a measured step to a run: which sweep holds for a job, what the job costs by it, how sure that is."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from pepr.costs.model import Job, Prediction
from pepr.costs.sweep import (
    Conditions,
    Sweep,
    clock,
    line,
    read_csv,
    read_rows,
    rows_path,
    step_time_s,
    sweeps_folder,
)

SHIPPED = "sweep"
"""The folder of the reference with the sweeps that the project measured itself, a table a machine, and
`CHECKED`."""
CHECKED = "checked.json"
ASSUMED = 1.15, 1.3
"""By which factor a run is assumed to lie at most above or below what its step says, as long as no runs have
tested it: in time and energy, and in memory."""


def find(
    image_size: int, batch_size: int, precision: str, device: str | None = None, folder: Path | None = None
) -> Sweep | None:
    """This machine's sweep under these conditions, else the shipped one of like hardware; else None."""
    alike = f"-{image_size}px-b{batch_size}-{precision}"
    own = sorted((folder or sweeps_folder()).glob(f"*{alike}.jsonl"))
    shipped = [one for one in shipped_sweeps() if one.conditions.name.endswith(alike)]
    if not own and not shipped:
        return None
    from pepr.machine import description

    device = device or description.default_device()
    conditions, hardware = Conditions(device, image_size, batch_size, precision), description.hardware(device)
    rows = read_rows(rows_path(conditions, folder))
    rows = {model: row for model, row in rows.items() if row["hardware"] == hardware}
    if rows:
        return Sweep(conditions, rows)
    return next((one for one in shipped if (one.conditions, one.hardware) == (conditions, hardware)), None)


@functools.cache
def shipped_sweeps() -> tuple[Sweep, ...]:
    """The sweeps that the project measured itself, from `pepr/reference/sweep/`, by machine."""
    folder = resources.files("pepr.reference") / SHIPPED
    if not folder.is_dir():
        return ()
    paths = sorted(Path(str(path)) for path in folder.iterdir() if path.name.endswith(".csv"))
    found = [one for path in paths for one in read_csv(path)]
    return tuple(dataclasses.replace(one, shipped=True) for one in found)


@functools.cache
def checked() -> dict[str, Any] | None:
    """How far predictions from the shipped sweep were off, against the shipped runs of the same machine
    (`pepr.costs.swept_check`); None where that was not tried."""
    path = resources.files("pepr.reference") / SHIPPED / CHECKED
    return json.loads(path.read_text()) if path.is_file() else None


def factors() -> dict[str, float]:
    """By which factor, at most, a run lies above or below what its step says: as checked, else as assumed."""
    known = checked()
    if known is None:
        both, memory = ASSUMED
        return {"peak_memory_bytes": memory, "energy_wh": both, "train_time_s": both}
    return {name: known["of"][name]["factor"] for name in known["of"]}


def as_text(found: Sweep) -> str:
    """A sweep for a person: the models by what a step takes, and those that failed."""
    ok = [row for row in found.rows.values() if row["status"] == "ok"]
    lines = [line(row) for row in sorted(ok, key=step_time_s)]
    lines += [line(row) for row in found.rows.values() if row["status"] != "ok"]
    of = f"{found.hardware}, {found.conditions.image_size} px, batches of {found.conditions.batch_size}"
    if busy := sum(bool(row["contended"]) for row in ok):
        lines.append(f"Other programs used the processor while {busy} of them were measured: steps are long.")
    return "\n".join([f"{len(ok)} of {len(found.rows)} models measured on {of}:", *lines])


def predict(row: dict[str, Any], job: Job) -> Prediction:
    """What a job costs by a measured step of its model: epochs times steps of training and, after each epoch,
    of the test images. Time is processor time on a CPU; energy is None where the step's was not metered."""
    time = f"{clock(row)}_time_s"
    found = {
        "peak_memory_bytes": float(row["peak_memory_bytes"]),
        "train_time_s": job.epochs * _of_epoch(row, time, job),
    }
    if metered(row):
        found["energy_wh"] = job.epochs * _of_epoch(row, "_energy_wh", job)
    factor = factors()
    bounds = {f"{name}_low": value / factor[name] for name, value in found.items()}
    bounds |= {f"{name}_high": value * factor[name] for name, value in found.items()}
    known = dict.fromkeys(("energy_wh", "energy_wh_low", "energy_wh_high")) | found | bounds
    memory = {name: round(value) for name, value in known.items() if "memory" in name}
    return Prediction(reserved_memory_bytes=None, **known | memory)


def _of_epoch(row: dict[str, Any], of: str, job: Job) -> float:
    """What an epoch of a job takes of what the columns that end in `of` hold.

    A last batch that is not full takes what lies on the line through the step of a whole batch and that of a
    part of one; in rows without the latter, its images' share. One of a single image is left out, as the
    training does.
    """
    whole, rest = divmod(job.train_images, job.batch_size)
    step, part = row[f"step{of}"], row.get(f"part{of}")
    if part is None or row["part_images"] >= job.batch_size:
        last = step * rest / job.batch_size
    else:
        an_image = (step - part) / (job.batch_size - row["part_images"])
        last = max(part + an_image * (rest - row["part_images"]), 0.0)
    trained = whole * step + (last if rest > 1 else 0.0)
    return trained + job.test_images / job.batch_size * row[f"eval{of}"]


def metered(row: dict[str, Any]) -> bool:
    """Whether the energy of a measured step is known: nothing tells that of an Apple GPU."""
    return row["step_energy_wh"] is not None


def of_job(job: Job) -> Sweep | None:
    """The sweep of this machine, or of its like, under the conditions of a job; None where there is none, or
    where it would not hold: another optimiser than the loop's, or activations that are computed twice."""
    if job.optimiser != "adam" or job.checkpointing:
        return None
    return find(job.image_size, job.batch_size, job.precision)


def basis(found: Sweep, row: dict[str, Any]) -> str:
    """How a prediction from a step is known, in words."""
    timed = "processor time" if row["device"] == "cpu" else "time"
    where = "on a machine of the same hardware, whose table ships" if found.shipped else "on this machine"
    energy = f"by {row['energy_source']}" if metered(row) else "not metered"
    steps = f"{row['steps']} steps" + (f" in {count} sweeps" if (count := row.get("sweeps") or 1) > 1 else "")
    return (
        f"a training step measured {where} ({row['measured_at'][:10]}, {steps}, {timed}), "
        f"times the steps of the job; energy {energy}; {_sure(row['hardware'])}"
        + ("; other programs used the processor meanwhile, so it is long" if row.get("contended") else "")
    )


def _sure(hardware: str) -> str:
    known, factor = checked(), factors()
    time, energy, memory = (factor[name] for name in ("train_time_s", "energy_wh", "peak_memory_bytes"))
    words = f"a factor of {time:.2f} either way in time, {energy:.2f} in energy and {memory:.2f} in memory"
    if known is None:
        return f"interval assumed, {words}"
    where = "this machine" if hardware == known["hardware"] else "another machine, and assumed for this one"
    return f"interval checked on {known['runs']} whole runs of {known['models']} models on {where}: {words}"
