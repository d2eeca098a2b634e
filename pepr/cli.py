"""The `pepr` command: reads options, calls the library, turns errors into one line and an exit status."""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pepr.costs import commands
from pepr.costs.commands import JsonOption, print_json
from pepr.errors import InputError, exit_status

if TYPE_CHECKING:
    from pepr.audit.finding import Finding

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Performance per resource unit: which pretrained model to fine-tune when resources are scarce.",
)
step = typer.Typer(help="Single steps of the workflow; Snakemake calls them.", no_args_is_help=True)
app.add_typer(step, name="step", hidden=True)

ProfileOption = Annotated[str, typer.Option(help="A profile's name, or the path of its YAML file.")]
ModelsOption = Annotated[str | None, typer.Option(help="Only these models of the profile, by commas.")]
SettingsOption = Annotated[str | None, typer.Option(help="Only these settings of the profile, by commas.")]
SeedsOption = Annotated[str | None, typer.Option(help="These seeds instead of the profile's, by commas.")]
EpochsOption = Annotated[int | None, typer.Option(help="This many epochs instead of the profile's.")]
PretrainedOption = Annotated[
    str | None, typer.Option(help="`no` starts every setting from scratch, `yes` from pretrained weights.")
]
FidelityOption = Annotated[str | None, typer.Option(help="`study` or `paper`, instead of the profile's.")]
KeyOption = Annotated[list[str] | None, typer.Option(help="Column that tells rows apart; may be repeated.")]
KeepLastOption = Annotated[
    bool, typer.Option("--keep-last", help="Of rows with one key, the last counts: earlier ones led to it.")
]
SeparatorOption = Annotated[str | None, typer.Option(help="What stands between cells, such as ';' or tab.")]
DecimalOption = Annotated[str | None, typer.Option(help="The decimal mark of all numbers: '.' or ','.")]
ClockOption = Annotated[str | None, typer.Option(help="What 01:33 is: 'm:ss' or 'h:mm'.")]


@app.callback()
def before_any_command() -> None:
    """What holds for all commands."""
    from pepr.files import settle_folders
    from pepr.machine.modules import without_address_grammar

    without_address_grammar()
    settle_folders()


@app.command()
def models(
    family: Annotated[str | None, typer.Option(help="Only architectures of this timm module.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The model space: sizes, and where the pretrained weights come from."""
    from pepr.models.space import IMAGE_SIZES, model_space

    names = ("model", "timm_name", "weights_licence", "num_params", "cnn", "efficient", "family", "note")
    rows = [
        {name: getattr(entry, name) for name in names}
        | {
            "weights": entry.weights_source,
            "image_sizes": [size for size in IMAGE_SIZES if entry.accepts(size)],
        }
        for entry in model_space().values()
        if family in (None, entry.family)
    ]
    if not rows:
        families = sorted({entry.family for entry in model_space().values()})
        raise InputError(f"no architecture of family {family!r}; known: {', '.join(families)}")
    if as_json:
        print_json(rows)
        return
    for row in rows:
        weights = f"{row['weights']} ({row['weights_licence']})"
        typer.echo(f"{row['model']:<28}{row['num_params'] / 1e6:>7.1f} M  {row['family']:<20}{weights}")


def _restricted(
    profile: str,
    models: str | None,
    settings: str | None,
    seeds: str | None,
    epochs: int | None,
    pretrained: str | None,
    fidelity: str | None,
) -> Any:
    """The profile with the flags of `plan` and `reproduce` applied; an empty flag is no flag."""
    from pepr import grids, study

    grids.check_settings()

    def several(text: str | None) -> list[str] | None:
        return [part.strip() for part in text.split(",")] if text else None

    if pretrained not in (None, "", "yes", "no"):
        raise InputError(f"--pretrained {pretrained!r}: expected 'yes' or 'no'")
    numbers = several(seeds)
    if numbers and not all(number.isascii() and number.isdecimal() for number in numbers):
        raise InputError(f"--seeds {seeds!r}: expected whole numbers, separated by commas")
    return study.restrict(
        study.load(profile),
        models=several(models),
        settings=several(settings),
        seeds=numbers and [int(number) for number in numbers],
        epochs=epochs,
        pretrained={"yes": True, "no": False}.get(pretrained or ""),
        fidelity=fidelity or None,
    )


@app.command()
def plan(
    profile: ProfileOption = "pocket",
    models: ModelsOption = None,
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    epochs: EpochsOption = None,
    pretrained: PretrainedOption = None,
    fidelity: FidelityOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a profile will take, before anything starts."""
    from pepr import study
    from pepr.machine import description
    from pepr.study import forecast, workflow
    from pepr.study.profile import without_precision

    loaded = _restricted(profile, models, settings, seeds, epochs, pretrained, fidelity)
    device = description.chosen_device()
    if reason := without_precision(loaded, device):
        _say(f"{reason}. This plans for such a GPU elsewhere; a study checks where it runs")
        specs, together, device = study.grid(loaded, "cuda"), None, None
    else:
        specs = study.grid(loaded, device)
        together = forecast.side_by_side(specs, device)
    if as_json:
        expected = forecast.forecast(loaded, specs, device, together.runs if together else 1)
        print_json(dataclasses.asdict(expected))
        return
    from pepr.files import results_root
    from pepr.runs.store import Store

    store = Store(results_root(), loaded.name)
    typer.echo(workflow.announcement(loaded, specs, store, together=together, wherever=True))


@app.command()
def doctor() -> None:
    """What this machine can do, what it lacks, and what to do about it."""
    from pepr.study.diagnosis import report

    typer.echo(report())


@app.command()
def score(
    table: Annotated[list[Path], typer.Argument(help="Tables with a header, or what another tool wrote.")],
    performance: Annotated[str, typer.Option(help="Column with a performance between 0 and 1.")],
    resource: Annotated[list[str], typer.Option(help="Column with a resource; may be given several times.")],
    group: Annotated[
        list[str] | None, typer.Option(help="Score within each value of this column; may be repeated.")
    ] = None,
    resource_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="Frozen range of the resource: LO HI.")
    ] = None,
    key: KeyOption = None,
    percent: Annotated[bool, typer.Option("--percent", help="The performances are percentages.")] = False,
    chance: Annotated[
        float | None,
        typer.Option(help="What a guesser would have, 0 to 1: score the performance above it."),
    ] = None,
    join: Annotated[
        Path | None, typer.Option(help="A second table, whose columns are put to the rows of the first.")
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(help="Column to join by, or `LEFT=RIGHT`; may be repeated."),
    ] = None,
    keep_last: KeepLastOption = False,
    separator: SeparatorOption = None,
    decimal: DecimalOption = None,
    clock: ClockOption = None,
    curve: Annotated[bool, typer.Option("--curve", help="Print the curve's peak, not the rows.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the curve into this SVG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add PePR to every row of a table: columns `pepr_<resource>` and `<resource>_norm`."""
    from pepr.tables.commands import Request, score_command

    options = _table_options(separator, decimal, clock, percent, key, keep_last)
    columns = (performance, tuple(resource), tuple(group or ()))
    request = Request(tuple(table), *columns, resource_range, options, chance)
    score_command(request, sys.stdout, _say, join, on or [], curve, plot, as_json)


def _say(notice: str) -> None:
    print(f"pepr: {notice}", file=sys.stderr)


def _table_options(
    separator: str | None,
    decimal: str | None,
    clock: str | None,
    percent: bool,
    key: list[str] | None,
    keep_last: bool,
    model: str | None = None,
) -> Any:
    from pepr.tables.dialect import Options

    marks = {"tab": "\t", "\\t": "\t"}
    mark = marks.get(separator, separator) if separator else None
    return Options(mark, decimal, clock, percent, tuple(key or ()), keep_last, model)


@app.command()
def audit(
    target: Annotated[str, typer.Argument(help="`published`, a results folder, or a table.")],
    n_test: Annotated[int | None, typer.Option(help="Test images that an accuracy counts.")] = None,
    power_limit: Annotated[float | None, typer.Option(help="Power limit of the device, in W.")] = None,
    model: Annotated[str | None, typer.Option(help="Column that names the model.")] = None,
    key: KeyOption = None,
    percent: Annotated[bool, typer.Option("--percent", help="The performances are percentages.")] = False,
    keep_last: KeepLastOption = False,
    separator: SeparatorOption = None,
    decimal: DecimalOption = None,
    clock: ClockOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find what cannot be right in a results table. Exit status 1 if there is an error or a warning."""
    from pepr import audit

    if n_test is not None and n_test < 1:
        raise InputError(f"--n-test {n_test}: expected at least 1")
    if power_limit is not None and not 0 < power_limit < math.inf:
        raise InputError(f"--power-limit {power_limit:g}: expected a number of watts above 0")
    options = _table_options(separator, decimal, clock, percent, key, keep_last, model)
    findings = audit_target(target, n_test, power_limit, options)
    typer.echo(audit.to_json(findings) if as_json else audit.as_text(findings))
    raise typer.Exit(audit.exit_status(findings))


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="A results folder, or the name of a shipped reference.")],
    as_json: JsonOption = False,
) -> None:
    """Recompute table, measures and analysis from the records. Exit status 1 if a number does not hold."""
    from pepr.study.verification import verify as recompute

    done = recompute(target)
    typer.echo(done.as_json() if as_json else done.report())
    raise typer.Exit(not done.holds)


@app.command()
def submit(
    target: Annotated[str, typer.Argument(help="Results: results/pocket, or results/sweep of pepr sweep.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into; default: results/submission.")
    ] = None,
) -> None:
    """Check results for contribution, and pack what belongs into a pull request."""
    from pepr.study import submission

    for folder in submission.submit(target, out):
        typer.echo(f"Accepted: {folder}. Add it as {submission.place_of(folder)} in a pull request.")


@app.command()
def reproduce(
    profile: Annotated[str | None, typer.Option(help="Default: paper with a GPU, else pocket.")] = None,
    retry: Annotated[str | None, typer.Option(help="`failed` or `contended` repeats such runs.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="`slurm`, or the folder of a Snakemake profile, does the runs.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(help="So many at once, at most; default: one a core, or one a GPU.")
    ] = None,
    models: ModelsOption = None,
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    epochs: EpochsOption = None,
    pretrained: PretrainedOption = None,
    fidelity: FidelityOption = None,
) -> None:
    """Do the runs of a profile that are not done yet, and build the book from them."""
    from pepr import files
    from pepr.study import workflow
    from pepr.study.diagnosis import default_profile

    if retry and retry not in workflow.RETRIES:
        raise InputError(f"--retry {retry!r}: expected one of {', '.join(workflow.RETRIES)}")
    name, why = (profile, "asked for") if profile else default_profile()
    typer.echo(f"Profile {name}: {why}.")
    loaded = _restricted(name, models, settings, seeds, epochs, pretrained, fidelity)
    checkout = files.find_checkout()
    # Only now, since they need more than the wheel: what is asked for is checked before.
    from pepr.book import build
    from pepr.book.study_facts import PROFILES

    folder = workflow.reproduce(loaded, checkout, retry=retry or None, cluster=cluster or None, runs=runs)
    typer.echo(f"Results: {folder / 'results.csv'}")
    if loaded.name in PROFILES:
        build.build(checkout)


@app.command(name="book")
def build_book() -> None:
    """Build the book from this machine's results, else from the shipped reference."""
    from pepr.book import build

    build.build()


@app.command(context_settings={"allow_interspersed_args": False})
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
    if percent and not (performance or performance_from_output):
        raise InputError("--percent is of --performance or --performance-from-output: give one of them")
    name, device = name or measurement.name_of(arguments), measurement.device_of(device)
    subject = measurement.Subject(name, dataset, setting, kind, device, results)
    source = source_of(performance) if performance else None
    if performance_from_output:
        source = output_of(performance_from_output)
    command.exit_as(measurement.measure_command(arguments, subject, source, percent))


@app.command()
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


@step.command()
def data(dataset: str, image_size: int, notebook: Path, output: Path) -> None:
    """Prepare a dataset by 01_data."""
    from pepr.study.execution import prepare_data

    prepare_data(dataset, image_size, notebook, output)


@step.command()
def finetune(profile: str, run_id: str, notebook: Path) -> None:
    """Carry out one run by 02_finetune; exit status 0 whatever becomes of it, since a failure is a row."""
    from pepr import study
    from pepr.study import execution

    execution.run_one(study.load(profile), run_id, notebook)


@step.command()
def collect(profile: str) -> None:
    """Write the results table from the records."""
    from pepr import files, runs

    store = runs.Store(files.results_root(), Path(profile).stem)
    table = runs.collect(store)
    failed = int((table["status"] == "failed").sum())
    typer.echo(
        f"{len(table)} runs in {store.folder / 'results.csv'}" + (f", {failed} failed" if failed else "")
    )
    kinds = sorted(table["hardware"].dropna().unique())
    if len(kinds) > 1:
        typer.echo(f"They are of {len(kinds)} kinds of machine, each scored for itself: {'; '.join(kinds)}")


@step.command(name="time-models")
def time_models(
    profile: str,
    folder: Annotated[Path | None, typer.Argument(help="Results, or a shipped reference.")] = None,
    runs: Annotated[int | None, typer.Option(help="So many side by side; default: one a core.")] = None,
) -> None:
    """Time the networks of a study in turn: some rounds in random order, a few training steps at a time."""
    from pepr.study import timing

    typer.echo(f"The timing is in {timing.of_profile(profile, folder, runs, _say)}")


@step.command()
def reference(profile: str) -> None:
    """Pack this machine's results into the package as its reference."""
    from pepr import runs

    runs.write_reference(runs.find_results(profile), runs.reference_folder(profile))


@step.command()
def history(output: Annotated[Path, typer.Argument(help="Where to write the facts, a CSV.")]) -> None:
    """Fetch the history of the authors' tables unless it is at hand, and write what it says of every row."""
    from pepr import published
    from pepr.published import history as published_history

    table = published_history.write_facts(output, published.load().results)
    foreign = int((table["energy_owner"] != "own").sum())
    typer.echo(f"{len(table)} rows in {output}; {foreign} carry an energy first recorded for another run")


@step.command(name="corrected-table")
def corrected_table(output: Annotated[Path, typer.Argument(help="Where to write the table, a CSV.")]) -> None:
    """Write the authors' runs as corrected by their history, else by the audit, with scores made again."""
    from pepr import published
    from pepr.published import versions

    table = versions.write_best(output, versions.of(published.load()))
    estimated = int((table["energy_kind"] == "estimated").sum())
    typer.echo(f"{len(table)} runs in {output}; {estimated} energies are estimates")


commands.register(app, step)


def audit_target(
    target: str, n_test: int | None = None, power_limit_w: float | None = None, options: Any = None
) -> list[Finding]:
    """Audit `published`, a folder of results (`results/<profile>`), or a table."""
    from pepr import audit, published
    from pepr.tables.dialect import Options

    if target == "published":
        if (n_test, power_limit_w) != (None, None) or options not in (None, Options()):
            raise InputError("published: the options of an audit are for a table of your own")
        from pepr.published import history
        from pepr.published.audit import audit_published

        tables = published.load()
        return audit_published(tables, history.load(tables.results) if history.at_hand() else None)
    path = Path(target)
    if path.is_dir():
        path = path / "results.csv"
    if not path.exists():
        raise InputError(f"{path}: no such table; expected `published`, a results folder or a CSV")
    return audit.audit_file(path, n_test, power_limit_w, options, _say)


def main() -> None:
    """Entry point: exit status 2 for input that cannot be used, with one line on stderr.

    A request to end (SIGTERM: a cluster, a service manager, `kill`) is taken like Ctrl-C, and so is the end
    of the terminal (SIGHUP), unless that is ignored, as under `nohup`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    raise SystemExit(exit_status(app, "pepr: "))


if __name__ == "__main__":
    main()
