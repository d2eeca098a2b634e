"""The commands that measure: `pepr measure`, `pepr sweep`, and what is handed on of it, `pepr card`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pepr.errors import InputError


def measure(
    arguments: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="Any training command.")],
    performance: Annotated[
        str | None,
        typer.Option(help="FILE:KEY with the performance, when it ends: JSON, JSON lines, CSV."),
    ] = None,
    performance_from_output: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Its first group in the output, the last match.")
    ] = None,
    percent: Annotated[bool, typer.Option(help="The performance is a percentage.")] = False,
    name: Annotated[str | None, typer.Option(help="What to call the model; default: the script.")] = None,
    dataset: Annotated[str, typer.Option(help="What it is trained on.")] = "own",
    setting: Annotated[str, typer.Option(help="How: models are scored within one setting.")] = "own",
    kind: Annotated[
        str, typer.Option("--measure", help="accuracy, balanced_accuracy or auroc.")
    ] = "accuracy",
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: what there is.")] = None,
    results: Annotated[Path | None, typer.Option(help="Folder; default: results/measured.")] = None,
) -> None:
    """Run any training command under the study's meter and keep its record; its exit status is passed on."""
    from pepr.study import command, measurement
    from pepr.study.performance import output_of, source_of

    if performance and performance_from_output:
        raise InputError("give one of --performance and --performance-from-output")
    subject = measurement.subject_of(arguments, name, dataset, setting, kind, device, results)
    source = source_of(performance) if performance else None
    if performance_from_output:
        source = output_of(performance_from_output)
    command.exit_as(measurement.measure_command(arguments, subject, source, percent))


def card(
    target: Annotated[str, typer.Argument(help="A results folder, or the name of a shipped reference.")],
    model: Annotated[str, typer.Argument(help="A model that was trained there.")],
    form: Annotated[
        str, typer.Option("--format", help="cyclonedx, spdx, boamps or model-card.")
    ] = "model-card",
    setting: Annotated[str | None, typer.Option(help="Its setting, where there are several.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which run; default: the first.")] = None,
    country: Annotated[
        str | None, typer.Option(help="Where the machine stood: an ISO code of three letters.")
    ] = None,
) -> None:
    """The energy of one training as CycloneDX, SPDX, BoAmps or a model card reads it."""
    from pepr.study import cards
    from pepr.study.verification import locate

    training = cards.training_of(locate(target), model, setting, seed, country)
    typer.echo(cards.render(training, form), nl=False)


def sweep(
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: what there is.")] = None,
    image_size: Annotated[int | None, typer.Option(help="In pixels; default: 64 on a CPU, else 256.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a batch.")] = 32,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    models: Annotated[str | None, typer.Option(help="Only these, by commas.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Measure a training step of every model here: from it follows what the grid costs on this machine."""
    from pepr.costs import sweep as sweeping

    conditions = sweeping.conditions_of(device, image_size, batch_size, precision)
    named = [part.strip() for part in models.split(",")] if models else None
    found = sweeping.sweep(conditions, named, lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps(list(found.rows.values()), indent=1, allow_nan=False))
    else:
        typer.echo(sweeping.as_text(found))


def sweep_part(
    models: list[str],
    device: Annotated[str, typer.Option()],
    image_size: Annotated[int, typer.Option()],
    batch_size: Annotated[int, typer.Option()],
    precision: Annotated[str, typer.Option()],
) -> None:
    """Measure a step of a few models, one row a line."""
    from pepr.costs import sweep as sweeping

    conditions = sweeping.Conditions(device, image_size, batch_size, precision)
    for row in sweeping.measure_models(models, conditions):
        sys.stdout.write(json.dumps(row, allow_nan=False) + "\n")
        sys.stdout.flush()


def register(app: typer.Typer, step: typer.Typer) -> None:
    """Add the commands to `pepr`, and the parts of a sweep to its hidden steps."""
    app.command(context_settings={"allow_interspersed_args": False})(measure)
    app.command()(card)
    app.command()(sweep)
    step.command(name="sweep")(sweep_part)
