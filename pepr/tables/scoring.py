"""Score anyone's table: what each model's performance is worth for what it cost."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pepr.errors import InputError
from pepr.score import above_chance, below_range, normalise, pepr
from pepr.tables.dialect import MISSING, NO_NUMBERS, Options
from pepr.tables.join import Joined
from pepr.tables.keys import KNOWN_COLUMNS, Keys, are_of_runs, key_columns, known
from pepr.tables.naming import (
    MODEL_NAMES,
    columns_named,
    is_percent,
    less_is_better,
    more_is_better,
    seed_column,
)
from pepr.tables.reader import Block, Range, Reader, json_kind, writer_of

DONE = frozenset({"ok", "finished", "completed", "complete", "success", "succeeded", "done"})
"""How tables say that a run ended well, in lower case."""
NOT_DONE = re.compile(
    r"fail|err|crash|kill|abort|cancel|oom|memory|time.?out|timed|diverg|nan\b|running|pending|queue|schedul|"
    r"wait|paus|prun|preempt|interrupt|lost|stuck|broken|invalid|incomplete|unfinished|partial|not |bad\b|"
    r"no\b|false|skip|missing"
)
"""What words for a run that did not end well have in them."""
STATUS = ("status",)
TOTALS = frozenset({"total", "totals", "sum", "mean", "average", "avg", "median", "std"}) | frozenset(
    {"gesamt", "summe", "mittelwert", "somme", "moyenne", "totale", "suma", "media", "promedio"}
)
"""What tables call a last row that is no model's, in some languages, in lower case."""
SEEDS = "seeds"
"""The column that tells how many seeds an averaged row stands for."""
ABOVE_CHANCE = "_above_chance"
"""What the name of a performance ends in, where it is the share of what a guesser leaves to be earned."""


@dataclass(frozen=True)
class Survey:
    """The numbers of a table to be scored, checked: about fifty bytes a row.

    `column` is the name of the performance and `resources` are those of what it is scored by; `performance`
    [rows] and `needs` [resources, rows] are their values, NaN where not measured; `group` [rows] and `model`
    [rows] are codes; with `averaged`, each model is one row, its values means over `seeds` [rows].
    `numeric` are the columns whose cells are numbers in JSON. `runs` are the values before any averaging.
    With a `chance`, `above` [rows] is the performance above it, which is what is scored.
    """

    reader: Reader
    column: str
    resources: list[str]
    performance: np.ndarray
    needs: np.ndarray
    group: np.ndarray
    group_names: list[tuple[str, ...]]
    first: np.ndarray
    seeds: np.ndarray
    averaged: bool
    numeric: set[str]
    names: list[str]
    runs: tuple[np.ndarray, np.ndarray, np.ndarray]
    above: np.ndarray | None = None

    @property
    def scored(self) -> np.ndarray:
        """The performance that is scored [rows]: above chance where that is given, and then 0 below it."""
        return self.performance if self.above is None else np.maximum(self.above, 0.0)


def score_table(
    path: Path | str | Sequence[Path | str],
    output: TextIO,
    performance: str,
    resources: Sequence[str],
    groups: Sequence[str] = (),
    resource_range: Range | None = None,
    as_json: bool = False,
    options: Options | None = None,
    joined: Joined | None = None,
    say: Callable[[str], None] | None = None,
    chance: float | None = None,
) -> int:
    """Write every row of a table with `pepr_<resource>` and `<resource>_norm` added; return how many.

    Reads the file twice: first to check every cell, then to write block by block, so that memory grows by
    about fifty bytes a row. Nothing is written unless the whole table is sound. A row without performance or
    resource, or with a resource of 0, which is one that was not measured, has empty scores (null in JSON)
    and sets no range. Rows that differ by their seed only are averaged, and `seeds` says how many they are.
    `resource_range` freezes the range of a single resource. `say` is told how the table was read, and where
    a score says nothing. With `chance`, what a guesser would have, the performance above it is scored, and
    added as `<performance>_above_chance`; where that is negative the score is 0.
    """
    resources = list(dict.fromkeys(resources))
    if resource_range is not None and len(resources) != 1:
        raise InputError("--range belongs to one resource: score the resources one at a time")
    done = survey(path, performance, resources, groups, options, joined, as_json, chance)
    check_range(done.reader.path, resource_range)
    added = [] if done.above is None else [f"{performance}{ABOVE_CHANCE}"]
    added += [f"{pre}{name}{post}" for name in resources for pre, post in (("pepr_", ""), ("", "_norm"))]
    taken = [name for name in added if name in done.reader.header]
    if taken:
        raise InputError(f"{done.reader.path}: row 0 (the header): column {taken[0]!r} is already there")
    scores = _scores(done, resource_range)
    if done.above is not None:
        scores = np.column_stack([done.above, scores])
    for notice in notices(done, resource_range):
        (say or (lambda _: None))(notice)
    return (_json_rows if as_json else _csv_rows)(output, done, _kept(done), added, scores)


def survey(
    path: Path | str | Sequence[Path | str],
    performance: str,
    resources: Sequence[str],
    groups: Sequence[str] = (),
    options: Options | None = None,
    joined: Joined | None = None,
    find_numeric: bool = False,
    chance: float | None = None,
) -> Survey:
    """Read and check what is to be scored. Raises InputError naming file, row, column and a way on."""
    options, groups = options or Options(), list(dict.fromkeys(groups))
    reader = Reader(path, options=options, recognise=True, joined=joined)
    if chance is not None and not 0 <= chance < 1:
        raise InputError(
            f"{reader.path}: --chance {chance:g}: expected what a guesser would have, from 0 to below 1, "
            "such as 0.5 for AUROC or the largest class's share for accuracy"
        )
    for column in (performance, *resources, *groups, *options.key):
        reader.require(column)
    for column in resources:
        if more_is_better(column):
            raise InputError(
                f"{reader.path}: row 0 (the header): more of {column!r} is better, so it is no "
                "resource: take its inverse, such as seconds an image; rename the column if less is better"
            )
    if less_is_better(performance):
        raise InputError(
            f"{reader.path}: row 0 (the header): less of {performance!r} is better, so it is no "
            "performance: take 1 minus an error; rename the column if more is better"
        )
    if performance in resources:
        raise InputError(f"{reader.path}: column {performance!r} is both the performance and a resource")
    own = [*reader.header[: reader.own_width], *groups]
    seed, names = seed_column(own), list(options.key) or key_columns(own, groups)
    if options.key and not are_of_runs(names):
        names = list(dict.fromkeys((*names, *groups)))  # a model in two groups is two rows
    if seed and names and not are_of_runs(names) and seed not in names and seed not in options.key:
        names = [*names, seed]
    found_by_name = [name for name in names if name not in options.key and name not in groups]
    found_by_name += columns_named(reader.header, STATUS)
    reader.say_spellings(found_by_name, (*KNOWN_COLUMNS, *STATUS))
    over_seeds = bool(seed) and seed in names and seed not in options.key and len(names) > 1
    base = [name for name in names if name != seed] if over_seeds else names
    keys = Keys(reader, names, (performance, *resources))
    models = Keys(reader, base)
    values, needs, group = array("d"), [array("d") for _ in resources], array("q")
    group_codes: dict[tuple[str, ...], int] = {}
    numeric = set(reader.header) if find_numeric else set()
    hundredths = is_percent(performance)
    model_columns = columns_named(reader.header, MODEL_NAMES)[:1]
    for block in reader.blocks():
        keys.add(block)
        for name in model_columns:
            say_totals(block.texts(name), reader)
        if over_seeds:
            models.add(block)
        values.frombytes(_performances(block, performance, hundredths).tobytes())
        for into, name in zip(needs, resources, strict=True):
            into.frombytes(block.resources(name).tobytes())
        named = [map(known, block.texts(name)) for name in groups]
        labels = zip(*named, strict=True) if groups else iter([()] * len(block.lines))
        group.extend(group_codes.setdefault(label, len(group_codes)) for label in labels)
        numeric -= {name for name in numeric if not json_kind(name, _plain(block, name))}
    keys.check()
    performances = np.frombuffer(values, dtype=np.float64)
    if options.percent and not hundredths and 0 < np.nanmax(performances, initial=0.0) <= 0.01:
        reader.say(f"{performance}: divided by 100, as --percent says, though no value is above 1")
    if hundredths:
        performances = _from_percent(reader, performance, performances)
    stacked = np.array([np.frombuffer(part, dtype=np.float64) for part in needs])
    stacked = np.where(np.isnan(performances), np.nan, stacked)
    groups_of = np.frombuffer(group, dtype=np.int64)
    hashes = np.frombuffer(models.hashes, dtype=np.int64) if over_seeds else np.arange(len(performances))
    found = _averaged(performances, stacked, groups_of, hashes)
    averaged = len(found[0]) < len(performances)
    if averaged:
        reader.say(f"averaged over {seed}: {len(performances)} rows are {len(found[0])} of {', '.join(base)}")
    _, codes = np.unique(hashes, return_inverse=True)
    above = None if chance is None else above_chance(found[0], chance)
    return Survey(
        reader,
        performance,
        list(resources),
        *found[:3],
        list(group_codes),
        *found[3:],
        averaged,
        numeric,
        base,
        (performances if chance is None else above_chance(performances, chance), stacked, codes),
        above,
    )


def _plain(block: Block, name: str) -> Iterator[str]:
    cells = zip(block.texts(name), block.lines, strict=True)
    return (block.reader.plain(name, cell, line.path) for cell, line in cells)


def _performances(block: Block, name: str, hundredths: bool) -> np.ndarray:
    """The performances of a block, in hundredths where its name says so; NaN for a run that did not end well.

    Raises InputError for what is no performance, whether in fractions or in percent.
    """
    values = _of_ended(block, block.floats(name) if hundredths else block.fractions(name))
    if hundredths:
        block.check_percentages(name, values)
    return values


def _of_ended(block: Block, values: np.ndarray) -> np.ndarray:
    """The values of a block's rows; NaN for a run that did not end well."""
    status = columns_named(block.reader.header, STATUS)
    if not status:
        return values
    cells = block.texts(status[0])
    ended = [ended_well(cell) for cell in cells]
    if not all(ended):
        block.reader.say("runs whose status is not ok, finished or the like have no score")
    say_status(cells, block.reader)
    return np.where(ended, values, np.nan)


def ended_well(status: str) -> bool:
    """Whether a run's status does not say that it ended otherwise: it is empty, or in words of others."""
    word = status.strip().lower()
    return word in DONE or word in MISSING or not NOT_DONE.search(word)


def say_status(cells: Iterable[str], reader: Reader) -> None:
    """Notice words for a status that are of others, and taken for runs that ended well."""
    words = {cell.strip().lower() for cell in cells} - DONE - MISSING
    for word in sorted(word for word in words if ended_well(word))[:3]:
        reader.say(f"the status {word!r} is taken for that of a run that ended well")


def say_totals(cells: Iterable[str], reader: Reader) -> None:
    """Notice names of models that are those of a row that sums up others."""
    for name in sorted({cell for cell in cells if cell.lower().rstrip(":.") in TOTALS})[:3]:
        reader.say(f"{name!r} is read as a model: take the row out if it sums up others")


def _from_percent(reader: Reader, name: str, values: np.ndarray) -> np.ndarray:
    """A column whose name says percent, as fractions."""
    largest = np.nanmax(values, initial=-np.inf)
    if reader.kind(name) == "percent":
        return values
    if largest <= 1 and not reader.options.percent:
        raise InputError(
            f"{reader.path}: column {name!r}: its name says percent, but no value is above 1: give "
            "--percent if they are percentages, or rename the column"
        )
    reader.say(f"{name}: percent, read as fractions")
    return values / 100


def _averaged(
    values: np.ndarray, needs: np.ndarray, group: np.ndarray, models: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Means over the rows of each model, by first rows: performance, needs, group, first row, number."""
    codes, first, code = np.unique(models, return_index=True, return_inverse=True)
    if len(codes) == len(values):
        return values, needs, group, np.arange(len(values)), np.ones(len(values), dtype=np.int64)
    order = np.argsort(first, kind="stable")

    def means(column: np.ndarray) -> np.ndarray:
        known = ~np.isnan(column)
        count = np.bincount(code[known], minlength=len(codes))
        with np.errstate(invalid="ignore"):
            return (np.bincount(code[known], column[known], minlength=len(codes)) / count)[order]

    seeds = np.bincount(code[~np.isnan(values)], minlength=len(codes))[order]
    averages = np.array([means(column) for column in needs])
    return means(values), averages, group[first[order]], first[order], seeds


def check_range(path: Path, resource_range: Range | None) -> None:
    """Raises InputError for a frozen range that is none."""
    if resource_range is None:
        return
    low, high = resource_range
    if not (math.isfinite(high) and 0 <= low < high):
        raise InputError(f"{path}: --range {low:g} {high:g}: expected 0 <= LO < HI, both finite")


def _by_group(done: Survey) -> list[np.ndarray]:
    """The rows of each group, in the order of their names."""
    order = np.argsort(done.group, kind="stable")
    return np.split(order, np.searchsorted(done.group[order], np.arange(1, len(done.group_names))))


def _scores(done: Survey, resource_range: Range | None) -> np.ndarray:
    """Scores and normalised resources [rows, 2 x resources]."""
    columns = np.full((len(done.performance), 2 * len(done.resources)), np.nan)
    for at in range(len(done.resources)):
        for rows in _by_group(done):
            values, needs = done.scored[rows], done.needs[at, rows]
            columns[rows, 2 * at] = pepr(values, needs, resource_range)
            columns[rows, 2 * at + 1] = normalise(needs, resource_range)
    return columns


def notices(done: Survey, resource_range: Range | None) -> list[str]:
    """Lines that say how a table was read, and which scores say nothing, or less than they seem to."""
    return [
        *done.reader.notices,
        *_zeros(done),
        *_guessers(done),
        *(line for at in range(len(done.resources)) for line in _worths(done, at, resource_range)),
    ]


def _worths(done: Survey, at: int, resource_range: Range | None) -> Iterator[str]:
    """A line for each reason why scores of a resource tell nothing of cost, and for those below a range."""
    name, idle, below = done.resources[at], {}, 0
    for group, rows in zip(done.group_names, _by_group(done), strict=True):
        needs = done.needs[at, rows]
        needs = needs[~np.isnan(needs)]
        reason = _says_nothing(needs, name, resource_range)
        if reason:
            idle.setdefault(reason, []).append(", ".join(group))
        elif resource_range is not None:
            below += int(below_range(needs, resource_range).sum())
    for reason, which in idle.items():
        yield _worth(reason, which, len(done.group_names))
    if below:
        rows = "one row has" if below == 1 else f"{below} rows have"
        yield f"{rows} a {name} below the range, which counts as its lower end: {resource_range[0]:g}"


def _says_nothing(needs: np.ndarray, name: str, resource_range: Range | None) -> str | None:
    """Why the scores of one group tell nothing of cost; None where they do."""
    if not len(needs):
        return f"no row has both a performance and a {name} above 0, so there is no score"
    if len(needs) == 1:
        return f"one row has a {name}, so there is nothing to compare and its score says nothing of cost"
    if resource_range is None and not normalise(needs).any():
        return f"every {name} is {needs.min():g}, so the score is the performance and says nothing of cost"
    if resource_range is not None and below_range(needs, resource_range).all():
        return f"every {name} is below the range, so the score is the performance and says nothing of cost"
    return None


def _worth(reason: str, which: list[str], of: int) -> str:
    if of == 1:
        return reason
    shown = ", ".join(which[:3]) + (f" and {len(which) - 3} more" if len(which) > 3 else "")
    return f"in {len(which)} of {of} groups ({shown}), {reason}"


def _zeros(done: Survey) -> Iterator[str]:
    """How many rows have a resource of 0, which is read as not measured."""
    found = dict.fromkeys(done.resources, 0)
    first: dict[str, str] = {}
    if not np.isnan(done.runs[1]).any():
        return
    for block in done.reader.blocks():
        for name in done.resources:
            zero = np.flatnonzero(block.floats(name) == 0)
            found[name] += len(zero)
            if zero.size:
                first.setdefault(name, str(block.lines[zero[0]].row))
    for name, count in found.items():
        if count:
            rows = f"row {first[name]}" if count == 1 else f"{count} rows, the first in row {first[name]}"
            yield f"a {name} of 0 is read as not measured, and has no score: {rows}"


def _guessers(done: Survey) -> Iterator[str]:
    """How many rows are no better than chance, and so have no score but 0."""
    count = 0 if done.above is None else int((done.above <= 0).sum())
    if count:
        rows = "one row is" if count == 1 else f"{count} rows are"
        yield f"{rows} no better than chance, and scored 0"


def _kept(done: Survey) -> list[str]:
    """The columns of the input that are written again."""
    if not done.averaged:
        return done.reader.header
    wanted = {*done.names, done.column, *done.resources}
    return [name for name in done.reader.header if name in wanted]


def _written(done: Survey) -> Iterator[tuple[int, Block, int]]:
    """Every row to be written: its number among the scored, its block, its place there."""
    numbers = {int(first): at for at, first in enumerate(done.first)} if done.averaged else None
    row = 0
    for block in done.reader.blocks():
        for at in range(len(block.lines)):
            if numbers is None:
                yield row, block, at
            elif row in numbers:
                yield numbers[row], block, at
            row += 1


def _rows(
    done: Survey, kept: list[str], scores: np.ndarray
) -> Iterator[tuple[Block, int, list[str], list[int], list[float]]]:
    """Every row to be written: its block and its place there, its cells, over how many seeds it is averaged
    where it is, and its scores."""
    places = [done.reader.position(name) for name in kept]
    whole = kept is done.reader.header
    for row, block, at in _written(done):
        cells = block.lines[at].cells
        cells = cells if whole else [cells[i] for i in places]
        if done.averaged:
            cells = _with_means(cells, kept, done, row)
        seeds = [int(done.seeds[row])] if done.averaged else []
        yield block, at, cells, seeds, scores[row].tolist()


def _csv_rows(output: TextIO, done: Survey, kept: list[str], added: list[str], scores: np.ndarray) -> int:
    writer, count = writer_of(output), 0
    writer.writerow([*kept, *([SEEDS] if done.averaged else []), *added])
    for _, _, cells, seeds, values in _rows(done, kept, scores):
        writer.writerow([*cells, *seeds, *map(_or_empty, values)])
        count += 1
    return count


def _with_means(cells: list[Any], kept: list[str], done: Survey, row: int) -> list[Any]:
    means = {name: done.needs[at, row] for at, name in enumerate(done.resources)}
    means[done.column] = done.performance[row]
    return [_or_empty(means[n]) if n in means else cell for n, cell in zip(kept, cells, strict=True)]


def _or_empty(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _json_rows(output: TextIO, done: Survey, kept: list[str], added: list[str], scores: np.ndarray) -> int:
    """A JSON list, one object a row; columns of numbers become numbers, missing cells null."""
    reader, read = done.reader, [name for name in kept if name in (done.column, *done.resources)]
    means = set(read) if done.averaged else set()
    kinds = [name in done.numeric or name in means for name in kept]
    names, count = [*kept, *([SEEDS] if done.averaged else []), *added], 0
    texts: dict[str, np.ndarray] = {}
    last: Block | None = None
    for block, at, cells, seeds, values in _rows(done, kept, scores):
        if block is not last:
            texts, last = {name: block.floats(name) for name in read}, block
        path = block.lines[at].path
        objects = [
            _json_value(reader.plain(name, cell, path) if kind and name not in means else cell, kind)
            for name, cell, kind in zip(kept, cells, kinds, strict=True)
        ]
        if not done.averaged:
            _replace_read(objects, kept, kinds, texts, at)
        numbers = [None if math.isnan(value) else value for value in values]
        entry = dict(zip(names, [*objects, *seeds, *numbers], strict=True))
        output.write(("[\n" if not count else ",\n") + json.dumps(entry, ensure_ascii=False))
        count += 1
    output.write("\n]\n")
    return count


def _replace_read(
    objects: list[Any], kept: list[str], kinds: list[bool], values: dict[str, np.ndarray], at: int
) -> None:
    """Put numbers in place of texts that were read as such by the table's dialect."""
    for place, (name, plain) in enumerate(zip(kept, kinds, strict=True)):
        if name in values and not plain:
            value = float(values[name][at])
            objects[place] = None if math.isnan(value) else value


def _json_value(cell: str, is_number: bool) -> Any:
    if (is_number and cell.lower() in NO_NUMBERS) or not cell:
        return None
    if not is_number:
        return cell
    return float(cell) if any(mark in cell for mark in ".eE") else int(cell)
