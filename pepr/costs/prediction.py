"""Predictions as the command line gives them: one flat row a model, or a table for a person."""

from __future__ import annotations

import dataclasses
import math

from pepr.costs import model as cost, swept
from pepr.errors import InputError
from pepr.models import atlas, names
from pepr.models.space import model_space

GB = 1e9
HERE = "here"
"""This machine, as `pepr sweep` or `pepr calibrate` has measured it."""

Row = dict[str, str | float | bool | None]
"""A prediction in the keys of `pepr predict --json`."""


def models_for(image_size: int) -> tuple[list[str], list[str]]:
    """The models of the study that accept images of a size, smallest first, and those that do not."""
    space = model_space()
    accepting = [name for name, known in space.items() if known.accepts(image_size)]
    return accepting, [name for name in space if name not in accepting]


def as_row(model: str, job: cost.Job, hardware_name: str | None = None, card_gb: float | None = None) -> Row:
    """What fine-tuning a model is predicted to cost, in the keys of `pepr predict --json`.

    Without a machine's name it is for this one where `pepr sweep` measured a step of the model here, else for
    the authors'; `swept` says which. `model` may be any name of a model (`names.plain`); `taken` says what it
    was taken for. Raises InputError for an unknown model or machine, or an image size that the model cannot
    take.
    """
    model, taken = dataclasses.astuple(names.plain(model))
    if job.checkpointing:
        entry = atlas.compute(model, job.image_size, checkpointing=True)
    else:
        entry = atlas.look_up(model, job.image_size)
    sweep = swept.of_job(job) if hardware_name in (None, HERE) else None
    measured = sweep and sweep.row(model)
    if measured:
        predicted, described = swept.predict(measured, job), sweep.hardware
        basis = swept.basis(sweep, measured)
    else:
        hardware = find_hardware(hardware_name or "rtx3090")
        predicted, described = cost.predict(entry, job, hardware), hardware.described
        basis = cost.basis(entry, job, hardware)
    row = {
        "model": model,
        "taken": taken,
        "num_params": entry.num_params,
        "flops": entry.flops,
        "activation_bytes": entry.activation_bytes,
        **dataclasses.asdict(predicted),
        "setting": job.setting,
        "train_images": job.train_images,
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "image_size": job.image_size,
        "optimiser": job.optimiser,
        "precision": job.precision,
        "hardware": described,
        "swept": bool(measured),
        "basis": basis,
    }
    if card_gb is not None:
        if not 0 < card_gb * GB < math.inf:
            raise InputError(f"--card-gb {card_gb:g}: expected a number of GB above 0")
        row["largest_batch_size"] = cost.largest_batch(entry, job, card_gb * GB)
    return row


def find_hardware(name: str) -> cost.Hardware:
    """The authors' machine (`rtx3090`), that of the shipped runs (`shipped`), or a calibrated one.

    Raises InputError for another name.
    """
    if name == "rtx3090":
        return cost.reference_hardware()
    from pepr.costs.calibration import saved

    return saved(name)


def as_text(rows: list[Row]) -> str:
    """A table for a person: all but the parameters are predictions, with the interval of their basis."""
    lines = [
        f"Predicted for {rows[0]['train_images']:,} training images, {rows[0]['epochs']} epochs, batches of "
        f"{rows[0]['batch_size']}, {rows[0]['image_size']} px; on {rows[0]['hardware']}.",
        "",
        f"{'model':<28}{'parameters':>11}{'peak memory, GB':>26}{'energy, Wh':>26}{'time, min':>26}"
        + ("  largest batch" if "largest_batch_size" in rows[0] else ""),
    ]
    for row in rows:
        memory = _with_interval(row, "peak_memory_bytes", GB)
        energy = _with_interval(row, "energy_wh", 1)
        line = f"{row['model']:<28}{row['num_params'] / 1e6:>9.1f} M{memory:>26}{energy:>26}"
        line += f"{_with_interval(row, 'train_time_s', 60):>26}"
        line += f"{row['largest_batch_size']:>15}" if "largest_batch_size" in row else ""
        line += f"  on {row['hardware']}" if row["hardware"] != rows[0]["hardware"] else ""
        lines.append(line)
    taken = [f"{row['taken']}." for row in rows if row["taken"]]
    return "\n".join([*lines, "", *taken, f"Basis: {rows[0]['basis']}."])


def _with_interval(row: Row, key: str, unit: float) -> str:
    if row[key] is None:
        return "not metered"
    value, low, high = (row[f"{key}{end}"] / unit for end in ("", "_low", "_high"))
    return f"{value:.3g} ({low:.3g} to {high:.3g})"
