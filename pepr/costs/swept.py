"""What was swept: its rows in files and tables, which sweep holds for a job, and what the job costs by it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pepr.costs.model import Job, Prediction
from pepr.errors import InputError
from pepr.files import results_root

SHIPPED = "sweep"
"""The folder of the reference with the sweeps that the project measured itself, a table a machine, and
`CHECKED`."""
CHECKED = "checked.json"
ASSUMED = 1.15, 1.3
"""By which factor a run is assumed to lie at most above or below what its step says, as long as no runs have
tested it: in time and energy, and in memory."""
COLUMNS = (
    "model",
    "status",
    "failure",
    "num_params",
    "sweeps",
    "steps",
    "step_time_s",
    "step_cpu_time_s",
    "step_energy_wh",
    "part_images",
    "part_time_s",
    "part_cpu_time_s",
    "part_energy_wh",
    "eval_time_s",
    "eval_cpu_time_s",
    "eval_energy_wh",
    "peak_memory_bytes",
    "memory_source",
    "energy_source",
    "contended",
    "speed_probe_s",
    "runs_at_once",
    "largest_batch_size",
    "explanation",
    "device",
    "image_size",
    "batch_size",
    "precision",
    "hardware",
    "software",
    "measured_at",
)
"""Of a row; times and energies are of one step of `batch_size` images, of training and of evaluation, and of
a training step of `part_images`."""
ADDED = ("sweeps", *(name for name in COLUMNS if name.startswith("part_")))
"""Columns that tables from before have not; theirs is one sweep."""


@dataclass(frozen=True)
class Conditions:
    """How steps are measured: what keeps two sweeps apart."""

    device: str
    image_size: int
    batch_size: int = 32
    precision: str = "fp32"

    @property
    def name(self) -> str:
        return f"{self.device.replace(':', '')}-{self.image_size}px-b{self.batch_size}-{self.precision}"


def conditions_in(row: Mapping[str, Any]) -> Conditions:
    """The conditions under which a row was measured."""
    return Conditions(*(row[field.name] for field in dataclasses.fields(Conditions)))


@dataclass(frozen=True)
class Sweep:
    """The rows of one machine under one set of conditions, by model; `shipped` if they came with the
    library, and so from a machine of like hardware at best."""

    conditions: Conditions
    rows: dict[str, dict[str, Any]]
    shipped: bool = False

    @property
    def hardware(self) -> str:
        return next(iter(self.rows.values()))["hardware"]

    def row(self, model: str) -> dict[str, Any] | None:
        """The row of a model that was measured; None for one that failed or is missing."""
        found = self.rows.get(model)
        return found if found and found["status"] == "ok" else None


def step_time_s(row: dict[str, Any]) -> float:
    """Seconds of a step: processor time on a CPU, where a run has one thread and others run beside it."""
    return row[f"step{clock(row)}_time_s"]


def clock(row: dict[str, Any]) -> str:
    """Which of a row's times counts: `_cpu` on a CPU, the other on a GPU."""
    return "_cpu" if row["device"] == "cpu" else ""


def all_rows(path: Path) -> list[dict[str, Any]]:
    """Every row on disk, first measured first; a line that a kill tore off is no row."""
    rows = []
    if path.exists():
        for text in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(text)
                if isinstance(row, dict) and isinstance(row.get("model"), str):
                    rows.append(row)
    return rows


def read_rows(path: Path, **wanted: Any) -> dict[str, dict[str, Any]]:
    """The last row of each model, by model, of those whose columns hold what is `wanted`: machines that have
    a home in common share the file, and the rows of one take none from another."""
    found = [row for row in all_rows(path) if all(row.get(name) == of for name, of in wanted.items())]
    return {row["model"]: row for row in found}


def mean_row(rows: Sequence[Mapping[str, Any]], weights: Sequence[int] | None = None) -> dict[str, Any]:
    """The row of a model from several of it: mean times, energies and probes, all steps, the highest memory.
    What some of them do not hold is the mean of the others."""
    weights = weights or [1] * len(rows)
    found = dict(rows[-1])
    for name in COLUMNS:
        known = [(row[name], weight) for row, weight in zip(rows, weights, strict=True) if name in row]
        known = [(value, weight) for value, weight in known if value is not None]
        if name.endswith(("_s", "_wh")) and known:
            found[name] = statistics.fmean(*zip(*known, strict=True))
    return (
        found
        | {"steps": sum(row["steps"] for row in rows), "contended": any(row["contended"] for row in rows)}
        | {"peak_memory_bytes": max(row["peak_memory_bytes"] for row in rows)}
    )


def averaged(before: Sweep | None, found: Sweep) -> Sweep:
    """A sweep whose rows are the means of it and of those `before` it, each of which weighs alike: the pace
    of a machine differs from day to day, and a run may meet any. What `before` holds of it already does not
    count again, nor does a row that was measured beside other company."""
    rows = dict(found.rows)
    for model, row in found.rows.items():
        earlier = before.row(model) if before else None
        if earlier is None or row["status"] != "ok":
            continue
        if earlier.get("runs_at_once") != row.get("runs_at_once"):
            continue
        count = earlier.get("sweeps") or 1
        if earlier["measured_at"] == row["measured_at"]:
            rows[model] = earlier
        else:
            rows[model] = mean_row([earlier, row], [count, 1]) | {"sweeps": count + 1}
    return dataclasses.replace(found, rows=rows)


def as_csv(*sweeps: Sweep) -> str:
    """The table of one or more sweeps, one row a model and sweep."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for one in sweeps:
        table.writerows({name: row.get(name) for name in COLUMNS} for row in one.rows.values())
    return text.getvalue()


def read_csv(path: Path) -> list[Sweep]:
    """The sweeps of a table, one for each set of conditions. Raises InputError where a column is missing."""
    with path.open(newline="") as stream:
        table = csv.DictReader(stream)
        missing = [name for name in COLUMNS if name not in (*(table.fieldnames or ()), *ADDED)]
        rows = [dict.fromkeys(COLUMNS) | {name: _value(text) for name, text in row.items()} for row in table]
    if missing or not rows:
        raise InputError(f"{path}: no sweep: {', '.join(missing) or 'no row'}")
    found: dict[Conditions, Sweep] = {}
    for row in rows:
        conditions = conditions_in(row)
        found.setdefault(conditions, Sweep(conditions, {})).rows[row["model"]] = row
    return list(found.values())


def _value(text: str) -> Any:
    """A cell as it was: nothing, true or false, a number, or text."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def line(row: dict[str, Any]) -> str:
    """A row in a few words."""
    if row["status"] != "ok":
        return f"{row['model']}: {row['failure']}: {row['explanation']}"
    wh = row["step_energy_wh"]
    energy = "energy not metered" if wh is None else f"{1000 * wh:.4g} mWh"
    return (
        f"{row['model']}: {1000 * step_time_s(row):.4g} ms and {energy} a step, "
        f"{row['peak_memory_bytes'] / 1e6:.4g} MB"
    )


def sweeps_folder() -> Path:
    """Where this machine's sweeps are kept: `sweep/` beside its results."""
    return results_root() / "sweep"


def rows_path(conditions: Conditions, folder: Path | None = None) -> Path:
    """The file of the rows: one JSON object a line."""
    return (folder or sweeps_folder()) / f"{conditions.name}.jsonl"


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
    rows = read_rows(rows_path(conditions, folder), hardware=hardware)
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
    """A sweep for a person: the models by what a step takes, and those that failed; what was measured badly,
    or not at all, with the option that measures it again."""
    ok = [row for row in found.rows.values() if row["status"] == "ok"]
    failed = [row for row in found.rows.values() if row["status"] != "ok"]
    lines = [line(row) for row in sorted(ok, key=step_time_s)]
    lines += [line(row) for row in failed]
    of = f"{found.hardware}, {found.conditions.image_size} px, batches of {found.conditions.batch_size}"
    if busy := sum(bool(row["contended"]) for row in ok):
        lines.append(
            f"Other programs used the machine while {busy} of them were measured: steps are long. The same "
            "command with `--retry contended` measures these again."
        )
    if failed:
        lines.append(f"{len(failed)} failed: the same command with `--retry failed` tries these again.")
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
        + ("; other programs used the machine meanwhile, so it is long" if row.get("contended") else "")
    )


def _sure(hardware: str) -> str:
    known, factor = checked(), factors()
    time, energy, memory = (factor[name] for name in ("train_time_s", "energy_wh", "peak_memory_bytes"))
    words = f"a factor of {time:.2f} either way in time, {energy:.2f} in energy and {memory:.2f} in memory"
    if known is None:
        return f"interval assumed, {words}"
    where = "this machine" if hardware == known["hardware"] else "another machine, and assumed for this one"
    return f"interval checked on {known['runs']} whole runs of {known['models']} models on {where}: {words}"
