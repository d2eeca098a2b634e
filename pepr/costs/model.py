"""What a fine-tuning job will cost: predicted peak memory, time and energy, with intervals; no torch needed.

Memory follows from shapes: the optimiser's state, gradients, and what is alive at the fullest moment of a
step (`pepr.models.atlas`), plus one constant for the libraries' workspace. Time and energy are sums of a few
terms that never subtract (arithmetic by kind, bytes moved, operations launched, parameters updated), whose
coefficients were fitted to the authors' measurements by `pepr.costs.fit`. Everything that comes from here is
a prediction, and the intervals are what such predictions were off by on architecture families left out of
the fit.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pepr.errors import InputError
from pepr.models.atlas import Entry

FILE = "cost_model.json"
PER_IMAGE = (
    "conv_flops",
    "pointwise_flops",
    "matmul_flops",
    "large_depthwise_flops",
    "bytes_moved",
    "grouped_bytes",
    "matmul_bytes",
    "image",
)
PER_STEP = ("operations", "parameters")
PER_EPOCH = ("epoch",)
TERMS = PER_IMAGE + PER_STEP + PER_EPOCH
"""What time and energy are made of; see `terms`."""
LEAST_SEEN = 0.5
"""However short a run, at least this share of its energy is counted."""

MOST = {"train_images": 10**12, "epochs": 10**9, "image_size": 10**6}
"""What no job has more of: beyond it a product is no float any more, and a shape no tensor."""

OPTIMISER_STATE_BYTES = {"sgd": 0, "momentum": 4, "adam": 8}
"""Bytes that an optimiser keeps for each fp32 parameter."""
ACTIVATION_SHARE = {"fp32": 1.0, "tf32": 1.0, "bf16": 0.5, "fp16": 0.5}
"""Activations relative to fp32. Half is what a purely convolutional network keeps under autocast; layers
that autocast leaves in fp32 (layer norm, softmax) keep more."""
HALF_WEIGHT_BYTES = 2
"""Autocast's cached half-precision copy of each parameter."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be trained: images and epochs, and how. `test_images` are predicted after every epoch."""

    setting: str | None
    train_images: int
    test_images: int
    epochs: int = 10
    batch_size: int = 32
    image_size: int = 256
    optimiser: str = "adam"
    precision: str = "fp32"
    checkpointing: bool = False


@dataclasses.dataclass(frozen=True)
class Hardware:
    """A machine: the authors' (`costs` is None), or one that was calibrated (`pepr.costs.calibration`).

    `costs` are seconds by FLOP, byte moved, operation and parameter; `power_w` the mean power while
    training; predictions may be off by the factor `spread` on either side.
    """

    name: str
    described: str
    costs: Mapping[str, float] | None = None
    power_w: float | None = None
    spread: float = 1.0


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predicted costs of one job with 90% intervals: bytes, Wh and seconds of the whole job.

    `reserved_memory_bytes` is what the allocator is expected to take from the card, which PePR-M of the
    paper uses; `peak_memory_bytes` what it hands out at most. None where no allocator reserves. Energies are
    None where they follow from a step of a machine that meters none.
    """

    peak_memory_bytes: int
    peak_memory_bytes_low: int
    peak_memory_bytes_high: int
    reserved_memory_bytes: int | None
    energy_wh: float | None
    energy_wh_low: float | None
    energy_wh_high: float | None
    train_time_s: float
    train_time_s_low: float
    train_time_s_high: float


@functools.cache
def model() -> dict[str, Any]:
    """The fitted coefficients and their provenance, as shipped."""
    return json.loads((resources.files("pepr.reference") / FILE).read_text())


def settings() -> list[str]:
    """Names of the settings whose size is known."""
    return list(model()["settings"])


def job_of(setting: str | None, **changes: Any) -> Job:
    """The job of a setting of the paper, with changes. Raises InputError for an unknown setting or value."""
    known = model()["settings"]
    setting = setting or "lidc"
    if setting not in known:
        raise InputError(f"setting {setting!r}: its size is not known; known: {', '.join(known)}")
    given = {name: value for name, value in changes.items() if value is not None}
    if "train_images" in given:
        check_count("train_images", given["train_images"])
        # Validation is part of every protocol: as many images are predicted as the setting's share of them.
        share = known[setting]["test_images"] / known[setting]["train_images"]
        given.setdefault("test_images", round(given["train_images"] * min(share, 1.0)))
    job = dataclasses.replace(Job(setting=setting, **known[setting]), **given)
    return checked(job)


def checked(job: Job) -> Job:
    """The job, if it can be one, its batch no larger than its images. Raises InputError that names the
    option."""
    for name in ("train_images", "epochs", "batch_size", "image_size"):
        check_count(name, getattr(job, name))
    if job.optimiser not in OPTIMISER_STATE_BYTES:
        raise InputError(f"optimiser {job.optimiser!r}: expected one of {', '.join(OPTIMISER_STATE_BYTES)}")
    if job.precision not in ACTIVATION_SHARE:
        raise InputError(f"precision {job.precision!r}: expected one of {', '.join(ACTIVATION_SHARE)}")
    return dataclasses.replace(job, batch_size=min(job.batch_size, job.train_images))


def check_count(name: str, value: int) -> None:
    """Raise InputError for a number of images, epochs or pixels that no job has."""
    words = name.replace("_", " ")
    if value < 1:
        raise InputError(f"{words} is {value}: expected at least 1")
    if value > MOST.get(name, value):
        raise InputError(f"{words} is more than {MOST[name]:,}: no job has so many")


def reference_hardware() -> Hardware:
    """The machine of the authors' measurements."""
    return Hardware(name="rtx3090", described=model()["hardware"])


def fixed_and_per_image(entry: Entry, job: Job) -> tuple[float, float]:
    """Bytes at the fullest moment of a step that do not depend on the batch, and bytes for each image;
    without the libraries' workspace."""
    half = ACTIVATION_SHARE[job.precision] < 1
    held = 4 + OPTIMISER_STATE_BYTES[job.optimiser] + (HALF_WEIGHT_BYTES if half else 0)
    fixed = held * entry.fine_tuned_params + entry.buffer_bytes + entry.working_bytes_fixed
    return fixed, ACTIVATION_SHARE[job.precision] * entry.working_bytes_per_image


def optimiser_step_bytes(entry: Entry, job: Job) -> float:
    """Bytes alive during the optimiser's step: weights, gradients, state, and one intermediate of each."""
    held = 4 + 4 + OPTIMISER_STATE_BYTES[job.optimiser] + 4
    return held * entry.fine_tuned_params + entry.buffer_bytes


def peak_memory(entry: Entry, job: Job) -> float:
    """Predicted peak of allocated memory, in bytes."""
    fixed, per_image = fixed_and_per_image(entry, job)
    fullest = max(fixed + per_image * job.batch_size, optimiser_step_bytes(entry, job))
    return fullest + model()["memory"]["workspace_bytes"]


def largest_batch(entry: Entry, job: Job, card_bytes: float) -> int:
    """The largest batch whose predicted reserved memory, at its upper bound, fits a card; 0 if none."""
    memory = model()["memory"]
    usable = card_bytes / (memory["reserved_ratio_high"]) - memory["workspace_bytes"]
    fixed, per_image = fixed_and_per_image(entry, job)
    if optimiser_step_bytes(entry, job) > usable:
        return 0
    return max(math.floor((usable - fixed) / per_image), 0)


def terms(entry: Entry, job: Job) -> dict[str, float]:
    """How much of each term the whole job needs.

    Training images count once, test images for the share of a training step that a prediction takes. By
    image: forward FLOPs by kind, bytes moved, and the image itself (loading). By step: operations launched
    and parameters updated. By epoch: starting one.
    """
    images = equivalent_images(job)
    return job_terms(entry, images, images / job.batch_size, job.epochs)


def equivalent_images(job: Job) -> float:
    """Training images of an epoch, with test images counted for the share of a step that they take."""
    return job.train_images + model()["inference_share"] * job.test_images


def job_terms(entry: Entry, images: float, steps: float, epochs: int = 1) -> dict[str, float]:
    """As `terms`, for a given number of images and steps an epoch."""
    by_image = {name: getattr(entry, name) for name in PER_IMAGE if name != "image"} | {"image": 1}
    by_step = {
        "operations": entry.forward_ops + entry.backward_ops,
        "parameters": entry.fine_tuned_params,
    }
    return (
        {name: epochs * images * value for name, value in by_image.items()}
        | {name: epochs * steps * value for name, value in by_step.items()}
        | {"epoch": epochs}
    )


def parts(entry: Entry, job: Job, target: str) -> tuple[float, float]:
    """The predicted `time_s` or `energy_wh` of a job: what grows with its images, and the rest."""
    coefficients: Mapping[str, float] = model()[target]["coefficients"]
    needed = terms(entry, job)
    by_image = sum(coefficients[name] * needed[name] for name in PER_IMAGE)
    return by_image, sum(coefficients[name] * needed[name] for name in PER_STEP + PER_EPOCH)


def energy_seen(entry: Entry, job: Job) -> float:
    """The energy in Wh that the authors' meter would show. Over the first seconds of a run it shows less
    than later (starting up, or not yet measuring: the tables do not tell)."""
    whole = sum(parts(entry, job, "energy_wh"))
    return max(whole - model()["energy_wh"]["unseen"], LEAST_SEEN * whole)


def step_needs(entry: Entry, batch_size: int) -> dict[str, float]:
    """What one training step needs, in the terms in which a calibrated machine's costs are."""
    return {
        "flops": batch_size * entry.flops,
        "bytes_moved": batch_size * entry.bytes_moved,
        "operations": entry.forward_ops + entry.backward_ops,
        "parameters": entry.fine_tuned_params,
    }


def step_time_s(entry: Entry, batch_size: int, costs: Mapping[str, float]) -> float:
    """Seconds of one training step on a calibrated machine."""
    needs = step_needs(entry, batch_size)
    return sum(costs[name] * needs[name] for name in needs)


def predict(entry: Entry, job: Job, hardware: Hardware | None = None) -> Prediction:
    """Predict what a job costs on a machine, by default the authors'.

    On a calibrated machine the energy is time times the power that the calibration saw.
    """
    hardware = hardware or reference_hardware()
    peak = peak_memory(entry, job)
    if hardware.costs is None:
        time_s, energy_wh = sum(parts(entry, job, "time_s")), energy_seen(entry, job)
        time_low, time_high = _interval(time_s, "time_s")
        energy_low, energy_high = _interval(energy_wh, "energy_wh")
    else:
        steps = job.epochs * equivalent_images(job) / job.batch_size
        time_s = steps * step_time_s(entry, job.batch_size, hardware.costs)
        energy_wh = time_s * hardware.power_w / 3600
        time_low, time_high = time_s / hardware.spread, time_s * hardware.spread
        energy_low, energy_high = energy_wh / hardware.spread, energy_wh * hardware.spread
    memory_low, memory_high = _interval(peak, "memory")
    return Prediction(
        peak_memory_bytes=round(peak),
        peak_memory_bytes_low=round(memory_low),
        peak_memory_bytes_high=round(memory_high),
        reserved_memory_bytes=round(peak * model()["memory"]["reserved_ratio"]),
        energy_wh=energy_wh,
        energy_wh_low=energy_low,
        energy_wh_high=energy_high,
        train_time_s=time_s,
        train_time_s_low=time_low,
        train_time_s_high=time_high,
    )


def _interval(value: float, target: str) -> tuple[float, float]:
    spread = model()[target]["interval"]
    scale = value + spread["absolute"]
    return max(value + spread["low"] * scale, 0.0), value + spread["high"] * scale


def basis(entry: Entry, job: Job, hardware: Hardware) -> str:
    """In one sentence, what a prediction rests on, and how far it reaches beyond what was fitted: on a
    calibrated machine, whose costs know batches and image sizes, by how the job trains alone."""
    fitted, is_authors = model(), hardware.costs is None
    words = f"predicted; {fitted['basis']}"
    if not is_authors:
        words = f"predicted; time and energy by {hardware.described}; memory {fitted['basis']}"
    beyond = [
        text
        for text, is_beyond in (
            (f"batches of {job.batch_size}", is_authors and job.batch_size != 32),
            (f"images of {job.image_size} px", is_authors and job.image_size != 256),
            (job.precision, job.precision != "fp32"),
            (job.optimiser, job.optimiser != "adam"),
            ("gradient checkpointing (time not adjusted)", job.checkpointing),
        )
        if is_beyond
    ]
    if beyond:
        words += f"; beyond what was fitted: {', '.join(beyond)}"
    if entry.software != fitted["software"]:
        words += f"; shapes from {entry.software}"
    return words
