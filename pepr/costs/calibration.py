"""Measure a handful of small models on this machine, so that time and energy can be predicted for it.

A machine is described by four costs, none negative: of a FLOP of the forward pass (with what follows from it
in the backward pass), of a byte moved, of an operation, and of a parameter updated. They are fitted to the
measured steps alone: nothing of the authors' GPU enters. The energy is the mean power that the meter saw,
times the predicted time.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pepr.analysis.ranked import as_ranked
from pepr.costs import model as cost
from pepr.errors import InputError
from pepr.files import check_writable
from pepr.models import atlas
from pepr.models.space import BASELINES

if TYPE_CHECKING:
    import pandas as pd


MODELS = ("mobilenetv2_050", "dla46_c", "resnet18d", "mnasnet_100", "ghostnet_100")
"""Small models of unlike kinds: cheap arithmetic with many operations, and dense arithmetic with few."""
COSTS = ("flops", "bytes_moved", "operations", "parameters")
BATCH_SIZE = 32
IMAGE_SIZE = {"cpu": 64, "cuda": 256}
WARM_UP_STEPS = 3
SHIPPED = "shipped"
"""The machine of the shipped pocket runs, see `of_shipped_runs`."""
BUILT_IN = ("rtx3090", SHIPPED)
WINDOW_S = 8.0
"""How long each model is trained for, at least, after warming up."""
FEWEST_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Measured:
    """Seconds and Wh of one training step of a model, over `steps` steps; `contended` if others used more
    than a tenth of the CPU meanwhile."""

    model: str
    image_size: int
    steps: int
    step_time_s: float
    step_energy_wh: float
    contended: bool


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a machine takes: `costs` in seconds of a FLOP, byte, operation and parameter, as fitted.

    `power_w` is the mean over the measured steps; `worst_factor` by how much a measured step is missed at
    worst by a fit to the others.
    """

    name: str
    hardware: str
    energy_source: str
    costs: dict[str, float]
    power_w: float
    worst_factor: float
    measured: list[dict[str, Any]]


def calibrate(
    name: str,
    device: str | None = None,
    measure: Callable[[str, str, int], Measured] | None = None,
    folder: Path | None = None,
) -> Calibration:
    """Measure `MODELS` on a device (default: what there is), fit its costs, and keep them under a name.

    Raises InputError for a name that is taken by the authors' machine or is no plain word, for a device that
    cannot be used here or is not metered, and where it could not be kept.
    """
    from pepr.machine import description, meter as metering

    if name in BUILT_IN or len(name) > 64 or not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(
            f"--name {name!r}: expected at most 64 letters, digits, - or _, and not {' or '.join(BUILT_IN)}"
        )
    device = description.chosen_device(device)
    if device == "mps":
        raise InputError("the energy of an Apple GPU is not metered: calibrate --device cpu, or `pepr sweep`")
    check_writable(folder or calibrations_folder())
    image_size = IMAGE_SIZE["cuda" if device.startswith("cuda") else "cpu"]
    if measure is None:
        meter = metering.open_meter(device)
        source = meter.source
        runs = [measure_model(meter, model, device, image_size) for model in MODELS]
    else:
        source = "given"
        runs = [measure(model, device, image_size) for model in MODELS]
    result = _calibration(name, description.hardware(device), source, runs)
    _save(result, folder)
    return result


def shipped_runs() -> pd.DataFrame:
    """The shipped runs of `pocket` from scratch on all images, made while nothing else used the CPU: those
    of networks, since a baseline has no steps."""
    from pepr.runs.results import Results, reference_folder

    runs = Results("pocket", "reference", reference_folder("pocket")).table
    runs = runs[~runs["model"].isin(BASELINES)]
    runs = as_ranked(runs[(runs["status"] == "ok") & (runs["setting"] == "elpv")])
    return runs[~runs["time_spoiled"] & ~runs["energy_spoiled"]]


@functools.cache  # unlike a calibration, it stays what it is
def of_shipped_runs() -> Calibration:
    """Two CPU cores, as the shipped runs show them: the same fit to the mean steps of those of `MODELS`."""
    runs = shipped_runs()
    runs = runs[runs["model"].isin(MODELS)]
    steps = runs["epochs"] * runs["n_train"] / runs["batch_size"]
    seconds, wh = runs["train_time_s"] / steps, 1000 * runs["energy_kwh"] / steps
    table = runs.assign(steps=steps, seconds=seconds, wh=wh).groupby("model", sort=False)
    means = table.agg({"image_size": "first", "steps": "first", "seconds": "mean", "wh": "mean"})
    measured = [
        Measured(model, int(row["image_size"]), round(row["steps"]), row["seconds"], row["wh"], False)
        for model, row in means.iterrows()
    ]
    hardware, source = runs["hardware"].iloc[0], runs["energy_source"].iloc[0]
    return _calibration(SHIPPED, f"{hardware}, by the shipped pocket runs", source, measured)


def _calibration(name: str, hardware: str, source: str, runs: Sequence[Measured]) -> Calibration:
    return Calibration(
        name=name,
        hardware=hardware,
        energy_source=source,
        costs=fit_costs(runs),
        power_w=float(np.mean([3600 * run.step_energy_wh / run.step_time_s for run in runs])),
        worst_factor=worst_factor(runs),
        measured=[dataclasses.asdict(run) for run in runs],
    )


def fit_costs(runs: Sequence[Measured]) -> dict[str, float]:
    """Seconds of each of `COSTS`, none negative, by least squares on relative errors."""
    from scipy.optimize import nnls  # half a second to load, which each run's headline would pay

    seconds = np.array([run.step_time_s for run in runs])
    fitted, _ = nnls(_design(runs) / seconds[:, None], np.ones(len(runs)))
    return dict(zip(COSTS, fitted.tolist(), strict=True))


def worst_factor(runs: Sequence[Measured]) -> float:
    """By which factor a step is missed at worst, when it is predicted from the others."""
    factors = []
    for at, run in enumerate(runs):
        costs = fit_costs([*runs[:at], *runs[at + 1 :]])
        predicted = cost.step_time_s(atlas.look_up(run.model, run.image_size), BATCH_SIZE, costs)
        factors.append(max(predicted / run.step_time_s, run.step_time_s / max(predicted, 1e-12)))
    return float(max(factors))


def _design(runs: Sequence[Measured]) -> np.ndarray:
    """What one step of each run needs of each of `COSTS`, [runs, costs]."""
    needs = [cost.step_needs(atlas.look_up(run.model, run.image_size), BATCH_SIZE) for run in runs]
    return np.array([[need[name] for name in COSTS] for need in needs], dtype=np.float64)


def measure_model(meter: Any, model: str, device: str, image_size: int) -> Measured:
    """Train a model on random images until the window is long enough."""
    from pepr.runs.spec import RunSpec
    from pepr.training.process import settled

    spec = RunSpec(
        model, "elpv", "elpv", pretrained=False, image_size=image_size, batch_size=BATCH_SIZE, device=device
    )
    with settled(spec):  # as a run has it, whose time this predicts
        return _measured(meter, spec)


def _measured(meter: Any, spec: Any) -> Measured:
    import torch

    from pepr import models, training

    device = spec.device
    network = models.create(spec.model, 2, image_size=spec.image_size).network
    network = network.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.0, fused=True)
    scaler = torch.amp.GradScaler(torch.device(device).type, enabled=False)
    images = torch.randn(BATCH_SIZE, 3, spec.image_size, spec.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    batch = (images, torch.arange(BATCH_SIZE, device=device) % 2)

    def steps(count: int) -> None:
        training.train_epoch(network, optimiser, scaler, spec, [batch] * count)

    steps(WARM_UP_STEPS)
    began = time.perf_counter()
    steps(2)
    count = max(FEWEST_STEPS, round(WINDOW_S / ((time.perf_counter() - began) / 2)))
    with meter.window(spec.model):
        steps(count)
    window = meter.check(spec.model)
    return Measured(
        spec.model,
        spec.image_size,
        count,
        window.time_s / count,
        1000 * window.energy_kwh / count,
        meter.contended(spec.model),
    )


def calibrations_folder() -> Path:
    """Where this machine's calibrations are kept: `calibrations/` beside its results."""
    from pepr.files import results_root

    return results_root() / "calibrations"


def _save(result: Calibration, folder: Path | None) -> None:
    from pepr.files import write_atomic

    path = (folder or calibrations_folder()) / f"{result.name}.json"
    write_atomic(path, json.dumps(dataclasses.asdict(result), indent=1) + "\n")


def saved(name: str, folder: Path | None = None) -> cost.Hardware:
    """A calibrated machine by its name, `shipped` being that of the shipped runs.

    Raises InputError that says how to calibrate one.
    """
    folder = folder or calibrations_folder()
    if name == SHIPPED:
        return as_hardware(of_shipped_runs())
    result = _read(name, folder)
    if result is None:
        known = sorted(found.stem for found in folder.glob("*.json")) if folder.exists() else []
        raise InputError(
            f"hardware {name!r} is not known; known: {', '.join([*BUILT_IN, *known])}; "
            "`pepr calibrate --name NAME` measures the machine that it runs on"
        )
    return as_hardware(result)


def of_device(name: str, device: str, folder: Path | None = None) -> cost.Hardware | None:
    """A calibrated machine by its name, where it is a device of this machine as it is now; None where there
    is no such calibration, or one of another device or machine."""
    from pepr.machine import description

    result = _read(name, folder)
    if result is None:
        return None
    try:
        hardware = description.hardware(device)
    except InputError:  # no such device is here
        return None
    return as_hardware(result) if result.hardware == hardware else None


def _read(name: str, folder: Path | None) -> Calibration | None:
    """A calibration by its name; None where there is none."""
    path = (folder or calibrations_folder()) / f"{name}.json"
    return Calibration(**json.loads(path.read_text())) if path.exists() else None


def as_hardware(result: Calibration) -> cost.Hardware:
    """What predictions need of a calibration."""
    return cost.Hardware(
        name=result.name,
        described=f"{result.hardware} (calibrated; energy by {result.energy_source})",
        costs=result.costs,
        power_w=result.power_w,
        spread=result.worst_factor,
    )


def as_text(result: Calibration) -> str:
    """A calibration for a person."""
    lines = [f"{'model':<20}{'ms a step':>10}{'mWh a step':>12}"]
    for run in result.measured:
        note = "  others used the machine meanwhile" if run["contended"] else ""
        lines.append(
            f"{run['model']:<20}{1000 * run['step_time_s']:>10.1f}{1000 * run['step_energy_wh']:>12.3f}{note}"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"{result.hardware}: mean power {result.power_w:.3g} W ({result.energy_source}).",
            f"Predicted from the others, a step is missed by a factor of {result.worst_factor:.2f} at worst.",
            f"Use it with `pepr predict MODEL --hardware {result.name}`.",
        ]
    )
