"""The atlas: what one training step of each model needs, worked out from shapes, once, without a GPU.

`pepr/reference/atlas.csv` holds a row for each model and image size; reading it needs no torch. Making it
does: `pepr step atlas` simulates each step on torch's meta device (`pepr.models.simulation`).

FLOPs, activation bytes, working bytes and bytes moved are for one image and grow in proportion to the batch.
The numbers of operations do not depend on the batch, nor do `working_bytes_fixed` (gradients alive at the
fullest moment), `fine_tuned_params` and `buffer_bytes`. A smaller batch may move that fullest moment to
the optimiser's step, which `pepr.costs.model` considers.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import json
import time
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from pepr.errors import InputError
from pepr.models.space import IMAGE_SIZES, model_space

FILE = "atlas.csv"
VERSIONED = ("torch", "timm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One training step, by image and fixed.

    FLOPs are of the forward pass of one image, a multiply-add counting two; bytes moved are what the
    operations of forward and backward read and write for one image; `activation_bytes` is what autograd
    keeps of one image for the backward pass, each storage once, parameters and buffers left out.
    At the fullest moment of the step `working_bytes_per_image` is alive for every image and
    `working_bytes_fixed` besides (gradients so far; neither parameters nor buffers).
    """

    fine_tuned_params: int
    buffer_bytes: int
    flops: int
    conv_flops: int
    pointwise_flops: int
    matmul_flops: int
    large_depthwise_flops: int
    activation_bytes: int
    working_bytes_per_image: int
    working_bytes_fixed: int
    bytes_moved: int
    grouped_bytes: int
    matmul_bytes: int
    forward_ops: int
    backward_ops: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry(Step):
    """One row of the atlas: the step of a model at an image size in pixels.

    `num_params` counts parameters with 1,000 classes, as published; `fine_tuned_params` those of the
    network that is trained, with two classes. `software` names the versions that made the row.
    """

    model: str
    image_size: int
    num_params: int
    software: str


STEP = tuple(field.name for field in dataclasses.fields(Step))
COLUMNS = ("model", "image_size", "num_params", *STEP, "software")


@functools.cache
def read() -> dict[tuple[str, int], Entry]:
    """The shipped atlas by model and image size in pixels."""
    text = (resources.files("pepr.reference") / FILE).read_text()
    entries = (_entry(row) for row in csv.DictReader(text.splitlines()))
    return {(entry.model, entry.image_size): entry for entry in entries}


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(
        **{name: value if name in ("model", "software") else int(value) for name, value in row.items()}
    )


def look_up(model: str, image_size: int) -> Entry:
    """The atlas's row of a model, or one worked out now, for any other size and any other name that timm
    knows (seconds; needs torch).

    Raises InputError for an unknown name, and for a size that the architecture cannot take.
    """
    entry = read().get((model, image_size))
    return entry or compute(model, image_size)


def compute(model: str, image_size: int, checkpointing: bool = False) -> Entry:
    """Work out one row now. Raises InputError for an unknown name or a size that cannot be taken."""
    from pepr.models import simulation

    known = model_space().get(model)
    if known and not known.accepts(image_size):
        raise InputError(known.refusal(image_size))
    if known:
        network = simulation.build(known.timm_name, **known.creation_options(image_size))
        num_params = known.num_params
        step = simulation.simulate(network, image_size, checkpointing)
    else:
        step = _simulate_unknown(model, image_size, checkpointing)
        classifier = simulation.build(model, num_classes=1000)
        num_params = sum(parameter.numel() for parameter in classifier.parameters())
    return Entry(
        model=model,
        image_size=image_size,
        num_params=num_params,
        software="; ".join(f"{package} {metadata.version(package)}" for package in VERSIONED),
        **dataclasses.asdict(step),
    )


def _simulate_unknown(timm_name: str, image_size: int, checkpointing: bool) -> Any:
    """As it is, or else told its image size, which some architectures need when they are built."""
    from pepr.models import simulation

    try:
        return simulation.simulate(simulation.build(timm_name), image_size, checkpointing)
    except InputError as refused:
        import timm

        if timm_name not in timm.list_models():
            raise
        try:
            network = simulation.build(timm_name, img_size=image_size)
            return simulation.simulate(network, image_size, checkpointing)
        except (TypeError, AssertionError, RuntimeError, ValueError):
            own_size = timm.models.get_pretrained_cfg(timm_name).input_size[-1]
            raise InputError(f"{refused} It was made for {own_size} px.") from None


def missing(done: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Models and sizes of the model space that are not in `done`, the largest size first."""
    sizes = sorted(IMAGE_SIZES, reverse=True)
    return [
        (model, size)
        for size in sizes
        for model, known in model_space().items()
        if known.accepts(size) and (model, size) not in done
    ]


def extend(part: Path, limit_s: float) -> int:
    """Work out what is missing in a part file (one JSON row a line) for at most about `limit_s` seconds.

    Returns how many rows are still missing; call again until none are. Each row is kept as soon as it is
    made, so that an interrupted call costs one row.
    """
    began = time.monotonic()
    done = {(entry.model, entry.image_size) for entry in _read_part(part)}
    left = missing(done)
    with part.open("a") as stream:
        while left and time.monotonic() - began < limit_s:
            entry = compute(*left.pop(0))
            stream.write(json.dumps(dataclasses.asdict(entry)) + "\n")
            stream.flush()
    return len(left)


def _read_part(part: Path) -> list[Entry]:
    if not part.exists():
        return []
    return [Entry(**json.loads(line)) for line in part.read_text().splitlines()]


def assemble(part: Path) -> str:
    """The atlas as CSV text from a complete part file, in the order of the model space, then by size."""
    entries = {(entry.model, entry.image_size): entry for entry in _read_part(part)}
    absent = missing(set(entries))
    if absent:
        raise InputError(f"{part}: {len(absent)} rows are missing, the first is {absent[0]}")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for key in itertools.product(model_space(), IMAGE_SIZES):
        if key in entries:
            writer.writerow(dataclasses.asdict(entries[key]))
    return text.getvalue()
