"""The `pepr` command: reads options, calls the library, turns errors into one line and an exit status."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pepr.cost_commands import register
from pepr.errors import DataUnavailable, InputError, ModelUnavailable, WorkFailed

# jsonschema loads, where it is installed, a checker of internationalised web addresses that compiles a
# grammar for seconds at each start. No notebook and no profile holds such an address.
sys.modules.setdefault("rfc3987_syntax", None)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Performance per resource unit: which pretrained model to fine-tune when resources are scarce.",
)
step = typer.Typer(help="Single steps of the workflow; Snakemake calls them.", no_args_is_help=True)
app.add_typer(step, name="step", hidden=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
ProfileOption = Annotated[str, typer.Option(help="A profile's name, or the path of its YAML file.")]
ModelsOption = Annotated[str | None, typer.Option(help="Only these models of the profile, by commas.")]
SettingsOption = Annotated[str | None, typer.Option(help="Only these settings of the profile, by commas.")]
SeedsOption = Annotated[str | None, typer.Option(help="These seeds instead of the profile's, by commas.")]
EpochsOption = Annotated[int | None, typer.Option(help="This many epochs instead of the profile's.")]
PretrainedOption = Annotated[
    str | None, typer.Option(help="`no` starts every setting from scratch, `yes` from pretrained weights.")
]
FidelityOption = Annotated[str | None, typer.Option(help="`study` or `paper`, instead of the profile's.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


@app.command()
def models(
    family: Annotated[str | None, typer.Option(help="Only architectures of this timm module.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The model space: sizes, and where the pretrained weights come from."""
    from pepr.models import IMAGE_SIZES, model_space

    rows = [
        {
            "model": entry.model,
            "timm_name": entry.timm_name,
            "weights": entry.weights_source,
            "weights_licence": entry.weights_licence,
            "num_params": entry.num_params,
            "cnn": entry.cnn,
            "efficient": entry.efficient,
            "image_sizes": [size for size in IMAGE_SIZES if entry.accepts(size)],
            "family": entry.family,
            "note": entry.note,
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
        typer.echo(
            f"{row['model']:<28}{row['num_params'] / 1e6:>7.1f} M  {row['family']:<20}{row['weights']}"
        )


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
    from pepr import study

    def several(text: str | None) -> list[str] | None:
        return [part.strip() for part in text.split(",")] if text else None

    if pretrained not in (None, "", "yes", "no"):
        raise InputError(f"--pretrained {pretrained!r}: expected 'yes' or 'no'")
    numbers = several(seeds)
    if numbers and not all(number.isdecimal() for number in numbers):
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
    from pepr import execution, machine, study
    from pepr import forecast as forecasting

    loaded = _restricted(profile, models, settings, seeds, epochs, pretrained, fidelity)
    specs = study.grid(loaded, machine.default_device())
    if as_json:
        print_json(dataclasses.asdict(forecasting.forecast(loaded, specs)))
        return
    from pepr.runs import Store, results_root

    typer.echo(execution.announcement(loaded, specs, Store(results_root(), loaded.name)))


@app.command()
def doctor() -> None:
    """What this machine can do, what it lacks, and what to do about it."""
    from pepr.diagnosis import report

    typer.echo(report())


@app.command()
def score(
    table: Annotated[Path, typer.Argument(help="A CSV with a header, one row a model and setting.")],
    performance: Annotated[str, typer.Option(help="Column with a performance between 0 and 1.")],
    resource: Annotated[list[str], typer.Option(help="Column with a resource; may be given several times.")],
    group: Annotated[
        list[str] | None, typer.Option(help="Score within each value of this column; may be repeated.")
    ] = None,
    resource_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="Frozen range of the resource: LO HI.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add PePR to every row of a CSV: columns `pepr_<resource>` and `<resource>_norm`."""
    from pepr.tables import score_table

    score_table(table, sys.stdout, performance, resource, group or [], resource_range, as_json)


@app.command()
def audit(
    target: Annotated[str, typer.Argument(help="`published`, a results folder, or a CSV.")],
    n_test: Annotated[int | None, typer.Option(help="Test images that an accuracy counts.")] = None,
    power_limit: Annotated[float | None, typer.Option(help="Power limit of the device, in W.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find what cannot be right in a results table. Exit status 1 if there is an error or a warning."""
    from pepr import audit as auditing

    findings = auditing.audit_target(target, n_test, power_limit)
    typer.echo(auditing.to_json(findings) if as_json else auditing.report(findings))
    raise typer.Exit(auditing.exit_status(findings))


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="A results folder, or the name of a shipped reference.")],
    as_json: JsonOption = False,
) -> None:
    """Recompute table, measures and analysis from the records. Exit status 1 if a number does not hold."""
    from pepr.verification import verify as recompute

    done = recompute(target)
    typer.echo(done.as_json() if as_json else done.report())
    raise typer.Exit(not done.holds)


@app.command()
def submit(
    target: Annotated[str, typer.Argument(help="A results folder, such as results/pocket.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into; default: results/submission.")
    ] = None,
) -> None:
    """Check results for contribution, and pack what belongs into a pull request."""
    from pepr import submission

    for folder in submission.submit(target, out):
        typer.echo(f"Accepted: {folder}. Add it as {submission.PLACE}/{folder.name} in a pull request.")


@app.command()
def reproduce(
    profile: Annotated[str | None, typer.Option(help="Default: paper with a GPU, else pocket.")] = None,
    retry: Annotated[str | None, typer.Option(help="`failed` or `contended` repeats such runs.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="`slurm`, or the folder of a Snakemake profile, does the runs.")
    ] = None,
    models: ModelsOption = None,
    settings: SettingsOption = None,
    seeds: SeedsOption = None,
    epochs: EpochsOption = None,
    pretrained: PretrainedOption = None,
    fidelity: FidelityOption = None,
) -> None:
    """Do the runs of a profile that are not done yet, and build the book from them."""
    from pepr import book, execution
    from pepr.diagnosis import default_profile
    from pepr.facts import PROFILES

    if retry and retry not in execution.RETRIES:
        raise InputError(f"--retry {retry!r}: expected one of {', '.join(execution.RETRIES)}")
    name, why = (profile, "asked for") if profile else default_profile()
    typer.echo(f"Profile {name}: {why}.")
    checkout = book.find_checkout()
    loaded = _restricted(name, models, settings, seeds, epochs, pretrained, fidelity)
    folder = execution.reproduce(loaded, checkout, retry=retry or None, cluster=cluster or None)
    typer.echo(f"Results: {folder / 'results.csv'}")
    if loaded.name in PROFILES:
        book.build(checkout)


@app.command(name="book")
def build_book() -> None:
    """Build the book from this machine's results, else from the shipped reference."""
    from pepr import book

    book.build()


@step.command()
def data(dataset: str, image_size: int, notebook: Path, output: Path) -> None:
    """Prepare a dataset by 01_data."""
    from pepr.execution import prepare_data

    prepare_data(dataset, image_size, notebook, output)


@step.command()
def finetune(profile: str, run_id: str, notebook: Path) -> None:
    """Carry out one run by 02_finetune; exit status 0 whatever becomes of it, since a failure is a row."""
    from pepr import execution, study

    execution.run_one(study.load(profile), run_id, notebook)


@step.command()
def collect(profile: str) -> None:
    """Write the results table from the records."""
    from pepr import runs

    store = runs.Store(runs.results_root(), Path(profile).stem)
    table = runs.collect(store)
    failed = int((table["status"] == "failed").sum())
    typer.echo(
        f"{len(table)} runs in {store.folder / 'results.csv'}" + (f", {failed} failed" if failed else "")
    )


@step.command()
def analyse(checkout: Path, profile: str, page: str) -> None:
    """Run one analysis notebook of a profile, as the book will show it."""
    from pepr import book

    chosen = next(entry for entry in book.pages_of([profile]) if entry.path == page)
    typer.echo(f"analysis: {page}")
    executed = checkout / book.BUILD_FOLDER / "executed"
    output, note = book.execute(checkout, chosen, executed)
    if output is None:
        from pepr.runs import write_atomic

        typer.echo(f"analysis: {page} is left out: {note}")
        write_atomic(executed / page, book.notice_notebook(checkout / chosen.notebook, note))


@step.command()
def reference(profile: str) -> None:
    """Pack this machine's results into the package as its reference."""
    from pepr import runs

    runs.write_reference(runs.find_results(profile), runs.reference_folder(profile))


register(app, step)


def main() -> None:
    """Entry point: exit status 2 for input that cannot be used, with one line on stderr.

    A request to end (SIGTERM: a cluster, a service manager, `kill`) is taken like Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except (InputError, DataUnavailable, ModelUnavailable) as error:
        print(f"pepr: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except WorkFailed as error:
        print(f"pepr: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
