"""`pepr score`: a table in, its rows with scores, its peak, or its figure out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from pepr.errors import InputError
from pepr.tables.dialect import Options
from pepr.tables.join import Joined
from pepr.tables.keys import key_columns
from pepr.tables.naming import seed_column
from pepr.tables.reader import Range, Reader
from pepr.tables.scoring import ABOVE_CHANCE, check_range, notices, score_table, survey

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is to be scored, in the user's words."""

    tables: tuple[Path, ...]
    performance: str
    resources: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resource_range: Range | None = None
    options: Options = field(default_factory=Options)
    chance: float | None = None

    @property
    def scored(self) -> str:
        """What is scored, as a figure and a sentence name it."""
        return self.performance if self.chance is None else f"{self.performance}{ABOVE_CHANCE}"


def score_command(
    request: Request,
    output: TextIO,
    say: Say,
    join: Path | None = None,
    on: Sequence[str] = (),
    curve: bool = False,
    plot: Path | None = None,
    as_json: bool = False,
) -> None:
    """Write the scored rows, or with `curve` the peak; with `plot` draw it too."""
    joined = _joined(join, on, request.options)
    if curve or plot is not None:
        _curves(request, output, say, joined, curve, plot, as_json)
    if not curve:
        score_table(
            request.tables,
            output,
            request.performance,
            request.resources,
            request.groups,
            request.resource_range,
            as_json,
            request.options,
            joined,
            say,
            request.chance,
        )


def _joined(join: Path | None, on: Sequence[str], options: Options) -> Joined | None:
    if join is None:
        if on:
            raise InputError("--on names the columns of a join: give the second table with --join")
        return None
    if not on:
        raise InputError(f"{join}: --join needs --on COLUMN, or --on LEFT=RIGHT: what both tables share")
    pairs = tuple((left, right or left) for left, _, right in (pair.partition("=") for pair in on))
    return Joined(Reader(join, options=_of_second(join, options, pairs), recognise=True), pairs)


def _of_second(join: Path, options: Options, pairs: Sequence[tuple[str, str]]) -> Options:
    """The options for a second table. Where it is to keep the last row of each run and names none, its runs
    are what the join names, and their seeds."""
    if not options.keep_last:
        return options
    header = Reader(join, options=options, recognise=True).header
    if key_columns(header) or set(options.key) & set(header):
        return options
    seed = seed_column(header)
    return replace(options, key=(*(right for _, right in pairs), *([seed] if seed else [])))


def _curves(
    request: Request,
    output: TextIO,
    say: Say,
    joined: Joined | None,
    write: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    from pepr.tables import peak

    resources = list(dict.fromkeys(request.resources))
    done = survey(
        request.tables,
        request.performance,
        resources,
        request.groups,
        request.options,
        joined,
        chance=request.chance,
    )
    check_range(done.reader.path, request.resource_range)
    found = peak.curves(done, request.resource_range)
    if plot is not None:
        _plot(found, request.scored, plot, say)
    if not write:
        return
    for notice in notices(done, request.resource_range):
        say(notice)
    if as_json:
        output.write(json.dumps([entry.as_dict() for entry in found], indent=1) + "\n")
    else:
        output.writelines(peak.as_line(entry.peak, request.scored) + "\n" for entry in found)


def _plot(found: list, performance: str, plot: Path, say: Say) -> None:
    from pepr.tables.figure import curve_figure, save_figure

    if plot.suffix.lower() != ".svg":
        raise InputError(f"{plot}: --plot draws SVG: name it {plot.with_suffix('.svg').name}")
    for entry in found:
        several = "_".join(filter(None, (entry.peak.group, entry.peak.column))).replace("/", "-")
        path = plot if len(found) == 1 else plot.with_stem(f"{plot.stem}_{several}".replace(" ", ""))
        save_figure(curve_figure(entry, performance), path)
        say(f"drawn: {path}")
