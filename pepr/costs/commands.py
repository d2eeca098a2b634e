"""The commands on costs: `pepr predict`, `recommend`, `calibrate`, `sweep`, and the steps that serve them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pepr.errors import InputError, ModelRefuses
from pepr.quantities import RESOURCES

JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
SettingOption = Annotated[
    str | None, typer.Option(help="A setting of the paper, which gives images and epochs; default lidc.")
]
ImagesOption = Annotated[int | None, typer.Option(help="Training images, in place of the setting's.")]
JobEpochsOption = Annotated[int | None, typer.Option(help="Epochs, in place of the setting's.")]
BatchOption = Annotated[int, typer.Option(help="Images in a batch.")]
SizeOption = Annotated[int, typer.Option(help="Width and height of an image, in pixels.")]
HardwareOption = Annotated[
    str | None,
    typer.Option(
        help="`here`: as swept, else calibrated; `rtx3090`; `shipped`: two CPU cores; or a name that `pepr "
        "calibrate` gave. Default: here where swept, else rtx3090."
    ),
]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    import json

    typer.echo(json.dumps(value, indent=1, allow_nan=False))


def predict(
    model: Annotated[str | None, typer.Argument(help="A model of the study, or any timm name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every model of the study.")] = False,
    batch_size: BatchOption = 32,
    image_size: SizeOption = 256,
    setting: SettingOption = None,
    train_images: ImagesOption = None,
    epochs: JobEpochsOption = None,
    hardware: HardwareOption = None,
    optimiser: Annotated[str, typer.Option(help="sgd, momentum or adam.")] = "adam",
    precision: Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16.")] = "fp32",
    checkpointing: Annotated[bool, typer.Option(help="Recompute activations in the backward pass.")] = False,
    card_gb: Annotated[float | None, typer.Option(help="Also the largest batch for this many GB.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict memory, time and energy of fine-tuning a model, before anything runs."""
    from pepr.costs import model as cost, prediction

    if every == bool(model):
        raise InputError("name one model, or give --all")
    job = cost.job_of(
        setting,
        train_images=train_images,
        epochs=epochs,
        batch_size=batch_size,
        image_size=image_size,
        optimiser=optimiser,
        precision=precision,
        checkpointing=checkpointing,
    )
    names, left_out = prediction.models_for(image_size) if every else ([model], [])
    if left_out:
        told = f"{len(left_out)} models do not take {image_size} px and are left out: {', '.join(left_out)}"
        typer.echo(f"pepr: {told}", err=True)
    rows, refused = [], []
    for name in names:
        try:
            rows.append(prediction.as_row(name, job, hardware, card_gb))
        except ModelRefuses:
            if not every:
                raise
            refused.append(name)
    if refused:
        told = f"{len(refused)} models cannot be trained so and are left out: {', '.join(refused)}"
        typer.echo(f"pepr: {told}", err=True)
    if not rows:
        raise InputError("no model of the study can be trained so")
    if job.batch_size < batch_size:
        told = f"a batch is at most the {job.train_images:,} training images: {job.batch_size:,}"
        typer.echo(f"pepr: {told}, not {batch_size:,}", err=True)
    if as_json:
        print_json(rows if every else rows[0])
    else:
        typer.echo(prediction.as_text(rows))


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option `--max-...` for each resource that a budget can limit."""
    options = {
        f"max_{resource.budget}": Annotated[
            float | None,
            typer.Option(help=f"{resource.label} at most, in the unit that the option ends with."),
        ]
        for resource in RESOURCES.values()
        if resource.budget
    }
    kind = inspect.Parameter.KEYWORD_ONLY
    given = [
        one
        for one in inspect.signature(command, eval_str=True).parameters.values()
        if one.kind != one.VAR_KEYWORD
    ]
    added = [inspect.Parameter(name, kind, default=None, annotation=hint) for name, hint in options.items()]
    command.__signature__ = inspect.Signature([*given, *added])
    command.__annotations__ = {one.name: one.annotation for one in (*given, *added)}
    return command


@with_limits
def recommend(
    train_images: ImagesOption = None,
    setting: SettingOption = None,
    risk: Annotated[str, typer.Option(help="`expected`, or `cautious`: by the lower bound.")] = "expected",
    top: Annotated[
        int | None, typer.Option(help="How many models; default 5, of a plan all that fit.")
    ] = None,
    plan: Annotated[
        bool, typer.Option(help="Models to try in turn, the budget being that of all of them together.")
    ] = False,
    as_json: JsonOption = False,
    **limits: float | None,
) -> None:
    """Which model to take for a budget, with why, what it costs and how sure that is."""
    from pepr.costs import recommendation

    budget = recommendation.Budget(**{name.removeprefix("max_"): value for name, value in limits.items()})
    if plan:
        from pepr.costs import trials

        trial = trials.plan(budget, setting, train_images, risk, top)
        if as_json:
            print_json(dataclasses.asdict(trial))
        else:
            typer.echo(trials.as_text(trial))
        return
    found = recommendation.recommend(budget, setting, train_images, risk, 5 if top is None else top)
    if as_json:
        print_json([choice.as_dict() for choice in found])
    else:
        typer.echo(recommendation.as_text(found))


def calibrate(
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: what there is.")] = None,
    name: Annotated[str, typer.Option(help="What to call this machine in `--hardware`.")] = "here",
    as_json: JsonOption = False,
) -> None:
    """Measure a few small models here, for a minute or two, so that time and energy are predicted for it."""
    from pepr.costs import calibration

    found = calibration.calibrate(name, device)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        typer.echo(calibration.as_text(found))


def sweep(
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; default: what there is.")] = None,
    image_size: Annotated[int | None, typer.Option(help="In pixels; default: 64 on a CPU, else 256.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a batch.")] = 32,
    precision: Annotated[str, typer.Option(help="fp32, tf32, bf16 or fp16.")] = "fp32",
    models: Annotated[str | None, typer.Option(help="Only these, by commas.")] = None,
    limit_s: Annotated[
        float, typer.Option(help="Give a model whose steps do not agree up after so many seconds.")
    ] = 6.0,
    retry: Annotated[str | None, typer.Option(help="`failed` or `contended` repeats such models.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a training step of every model here: from it follows what the grid costs on this machine."""
    from pepr.costs import sweep as sweeping, swept
    from pepr.models import names

    if image_size is not None and image_size < 1:
        raise InputError(f"--image-size {image_size}: expected at least 1")
    if not 0 < limit_s < math.inf:
        raise InputError(f"--limit-s {limit_s:g}: expected a number of seconds above 0")
    if retry and retry not in sweeping.RETRIES:
        raise InputError(f"--retry {retry!r}: expected one of {', '.join(sweeping.RETRIES)}")
    conditions = sweeping.conditions_of(device, image_size, batch_size, precision)
    asked = [names.plain(part.strip()) for part in models.split(",")] if models else []
    for taken in filter(None, (one.taken for one in asked)):
        typer.echo(f"pepr: {taken}", err=True)
    named = [one.model for one in asked] or None
    found = sweeping.sweep(
        conditions, named, lambda line: typer.echo(line, err=True), limit_s=limit_s, retry=retry or None
    )
    if as_json:
        print_json(list(found.rows.values()))
    else:
        typer.echo(swept.as_text(found))


def gpu_check(
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; default: what there is.")] = None,
    image_size: Annotated[int, typer.Option(help="Of what is measured, in pixels.")] = 128,
    batch_size: Annotated[int, typer.Option(help="Images in a batch.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Check in minutes what must hold of a GPU before hours are spent on it; exit status 1 if it does not."""
    import json

    from pepr.costs import gpu_check as checking
    from pepr.machine import description

    for option, value, least in (("--image-size", image_size, 1), ("--batch-size", batch_size, 2)):
        if value < least:
            raise InputError(f"{option} {value}: expected at least {least}")
    subject = checking.Subject(description.chosen_device(device), image_size, batch_size)
    failed = False
    for found in checking.check(subject):
        typer.echo(json.dumps(dataclasses.asdict(found)) if as_json else checking.line(found))
        sys.stdout.flush()
        failed |= found.outcome == checking.FAIL
    if failed:
        raise typer.Exit(1)


def timing_rounds(first: int, count: int) -> None:
    """Time a few steps of each run on standard input in some rounds, one row a line."""
    import json

    from pepr.runs import RunSpec
    from pepr.training import steps

    specs = [RunSpec.from_dict(one) for one in json.load(sys.stdin)]
    for row in steps.rounds_of(specs, first, count):
        print(json.dumps(row, allow_nan=False), flush=True)


def ship_sweep(
    folder: Annotated[Path, typer.Argument(help="The reference's folder of sweeps, in a checkout.")],
    device: Annotated[str | None, typer.Option()] = None,
    image_size: Annotated[int | None, typer.Option()] = None,
    batch_size: Annotated[int, typer.Option()] = 32,
    precision: Annotated[str, typer.Option()] = "fp32",
) -> None:
    """Sweep this machine as `pepr sweep` does, write what ships, and check it on the shipped runs."""
    from pepr.costs import sweep as sweeping, swept_check

    conditions = sweeping.conditions_of(device, image_size, batch_size, precision)
    found = swept_check.ship(conditions, folder, lambda line: typer.echo(line, err=True))
    typer.echo(found.to_string(index=False, float_format="{:.4f}".format))


def fit_costs(output: Annotated[Path, typer.Argument(help="Where to write cost_model.json.")]) -> None:
    """Fit the cost model to the authors' tables."""
    from pepr import published
    from pepr.costs import fit
    from pepr.files import write_atomic

    evidence = fit.evidence(published.load())
    write_atomic(output, fit.as_json(evidence.fitted))
    typer.echo(evidence.accuracy().to_string(index=False, float_format="{:.3f}".format))
    typer.echo(evidence.memory_accuracy().to_string(index=False, float_format="{:.4f}".format))


def fit_choosing(output: Annotated[Path, typer.Argument(help="Where to write choosing.csv.")]) -> None:
    """Play the ways of choosing a model on the authors' corrected tables."""
    from pepr import published
    from pepr.published import strategies

    table = strategies.expectations(strategies.played(published.load()))
    table.to_csv(output, index=False, lineterminator="\n")
    typer.echo(table.to_string(index=False))


def atlas(
    part: Annotated[Path, typer.Argument(help="Rows made so far, one JSON object a line.")],
    output: Annotated[Path, typer.Argument(help="The table, written when no row is missing.")],
    limit_s: Annotated[float, typer.Option(help="Stop after about so many seconds; call again.")] = 150.0,
) -> None:
    """Work out the atlas of all models and sizes, a part at a time."""
    from pepr.files import write_atomic
    from pepr.models import atlas as models_atlas

    left = models_atlas.extend(part, limit_s)
    if left:
        typer.echo(f"{left} rows are left; call again")
        return
    write_atomic(output, models_atlas.assemble(part))
    typer.echo(f"all rows are in {output}")


def register(app: typer.Typer, step: typer.Typer) -> None:
    """Add the commands to `pepr`, and what serves them to its hidden steps."""
    for command in (predict, recommend, calibrate, sweep):
        app.command()(command)
    app.command(name="gpu-check")(gpu_check)
    step.command(name="timing-rounds")(timing_rounds)
    step.command(name="ship-sweep")(ship_sweep)
    step.command(name="fit-costs")(fit_costs)
    step.command(name="fit-choosing")(fit_choosing)
    step.command()(atlas)
