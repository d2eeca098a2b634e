"""The commands around trainings that are not the study's: `pepr measure` and `pepr card`."""

from __future__ import annotations

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


def register(app: typer.Typer) -> None:
    """Add the commands to `pepr`."""
    app.command(context_settings={"allow_interspersed_args": False})(measure)
    app.command()(card)
