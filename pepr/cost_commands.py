"""The commands `pepr predict`, `recommend`, `calibrate`, and the steps that make their tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pepr.errors import InputError

JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
SettingOption = Annotated[
    str | None, typer.Option(help="A setting of the paper, which gives images and epochs; default lidc.")
]
ImagesOption = Annotated[int | None, typer.Option(help="Training images, in place of the setting's.")]
EpochsOption = Annotated[int | None, typer.Option(help="Epochs, in place of the setting's.")]
BatchOption = Annotated[int, typer.Option(help="Images in a batch.")]
SizeOption = Annotated[int, typer.Option(help="Width and height of an image, in pixels.")]
HardwareOption = Annotated[
    str, typer.Option(help="`rtx3090`; `shipped`: two CPU cores; or a name that `pepr calibrate` gave.")
]


def predict(
    model: Annotated[str | None, typer.Argument(help="A model of the study, or any timm name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every model of the study.")] = False,
    batch_size: BatchOption = 32,
    image_size: SizeOption = 256,
    setting: SettingOption = None,
    train_images: ImagesOption = None,
    epochs: EpochsOption = None,
    hardware: HardwareOption = "rtx3090",
    optimiser: Annotated[str, typer.Option(help="sgd, momentum or adam.")] = "adam",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    checkpointing: Annotated[bool, typer.Option(help="Recompute activations in the backward pass.")] = False,
    card_gb: Annotated[float | None, typer.Option(help="Also the largest batch for this many GB.")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Predict memory, time and energy of fine-tuning a model, before anything runs."""
    from pepr import cost, prediction

    if every == bool(model):
        raise InputError("name one model, or give --all")
    job = cost.job_of(
        setting, train_images=train_images, epochs=epochs, batch_size=batch_size, image_size=image_size,
        optimiser=optimiser, precision=precision, checkpointing=checkpointing,
    )  # fmt: skip
    names = prediction.models_for(image_size) if every else [model]
    rows = [prediction.as_row(name, job, hardware, card_gb) for name in names]
    if as_json:
        _print_json(rows if every else rows[0])
    else:
        typer.echo(prediction.as_text(rows))


def recommend(
    max_memory_gb: Annotated[float | None, typer.Option(help="GPU memory, in GB.")] = None,
    max_energy_wh: Annotated[float | None, typer.Option(help="Training energy, in Wh.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Training time, in minutes.")] = None,
    max_co2_g: Annotated[float | None, typer.Option(help="Carbon, in grams of CO2-eq.")] = None,
    train_images: ImagesOption = None,
    setting: SettingOption = None,
    risk: Annotated[str, typer.Option(help="`expected`, or `cautious`: by the lower bound.")] = "expected",
    top: Annotated[int, typer.Option(help="How many models.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Which model to take for a budget, with why, what it costs and how sure that is."""
    from pepr import recommendation

    budget = recommendation.Budget(max_memory_gb, max_energy_wh, max_minutes, max_co2_g)
    found = recommendation.recommend(budget, setting, train_images, risk, top)
    if as_json:
        _print_json([dataclasses.asdict(choice) for choice in found])
    else:
        typer.echo(recommendation.as_text(found))


def calibrate(
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: what there is.")] = None,
    name: Annotated[str, typer.Option(help="What to call this machine in `--hardware`.")] = "here",
    as_json: JsonOption = False,
) -> None:
    """Measure a few small models here, for a minute or two, so that time and energy are predicted for it."""
    from pepr import calibration

    found = calibration.calibrate(name, device)
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        typer.echo(calibration.as_text(found))


def atlas(
    part: Annotated[Path, typer.Argument(help="Rows made so far, one JSON object a line.")],
    output: Annotated[Path, typer.Argument(help="The table, written when no row is missing.")],
    limit_s: Annotated[float, typer.Option(help="Stop after about so many seconds; call again.")] = 150.0,
) -> None:
    """Work out the atlas of all models and sizes, a part at a time."""
    from pepr import atlas as making
    from pepr.runs import write_atomic

    left = making.extend(part, limit_s)
    if left:
        typer.echo(f"{left} rows are left; call again")
        return
    write_atomic(output, making.assemble(part))
    typer.echo(f"all rows are in {output}")


def fit_costs(output: Annotated[Path, typer.Argument(help="Where to write cost_model.json.")]) -> None:
    """Fit the cost model to the authors' tables."""
    from pepr import cost_fit, published
    from pepr.runs import write_atomic

    evidence = cost_fit.evidence(published.load())
    write_atomic(output, cost_fit.as_json(evidence.fitted))
    typer.echo(evidence.accuracy().to_string(index=False, float_format="{:.3f}".format))
    typer.echo(evidence.memory_accuracy().to_string(index=False, float_format="{:.4f}".format))


def register(app: typer.Typer, step: typer.Typer) -> None:
    """Add the commands to `pepr`, and the making of their tables to its hidden steps."""
    for command in (predict, recommend, calibrate):
        app.command()(command)
    step.command()(atlas)
    step.command(name="fit-costs")(fit_costs)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
