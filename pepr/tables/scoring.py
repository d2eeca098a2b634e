"""Score anyone's table, a block of rows at a time."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pepr.errors import InputError
from pepr.score import normalise, pepr
from pepr.tables.reader import Block, Keys, Range, Reader, key_columns


def score_table(
    path: Path | str,
    output: TextIO,
    performance: str,
    resources: Sequence[str],
    groups: Sequence[str] = (),
    resource_range: Range | None = None,
    as_json: bool = False,
) -> int:
    """Write every row of a CSV with `pepr_<resource>` and `<resource>_norm` added; return how many.

    Reads the file twice: first to check every cell and find each group's range, then to score block by
    block, so memory does not grow with the file. Nothing is written unless the whole file is sound. A row
    without performance or resource has empty scores (null in JSON) and sets no range. `resource_range`
    freezes the range of a single resource.
    """
    if resource_range is not None and len(resources) != 1:
        raise InputError("--range belongs to one resource: score the resources one at a time")
    reader = Reader(path, (performance, *resources, *groups))
    added = [
        f"{prefix}{name}{suffix}" for name in resources for prefix, suffix in (("pepr_", ""), ("", "_norm"))
    ]
    taken = [name for name in added if name in reader.header]
    if taken:
        raise InputError(f"{path}: row 0 (the header): column {taken[0]!r} is already there")
    ranges, numeric = _survey(reader, performance, resources, groups, as_json)
    _check_range(path, resource_range)
    write = _json_rows if as_json else _csv_rows
    blocks = (
        (block, _scores(block, performance, resources, groups, ranges, resource_range))
        for block in reader.blocks()
    )
    return write(output, reader, added, numeric, blocks)


def _survey(
    reader: Reader, performance: str, resources: Sequence[str], groups: Sequence[str], find_numeric: bool
) -> tuple[dict[tuple[str, ...], np.ndarray], set[str]]:
    """Check the cells to be scored; the range [resources, 2] of each group; which columns are all numbers."""
    keys = Keys(reader, key_columns(reader.header, groups))
    ranges: dict[tuple[str, ...], np.ndarray] = {}
    numeric = set(reader.header)
    for block in reader.blocks():
        keys.add(block)
        values = block.fractions(performance)
        needs = np.stack([block.resources(name) for name in resources])
        needs[:, np.isnan(values)] = np.nan
        for group, rows in _groups(block, groups).items():
            low, high = np.fmin.reduce(needs[:, rows], axis=1), np.fmax.reduce(needs[:, rows], axis=1)
            old = ranges.get(group, np.full((len(resources), 2), np.nan))
            ranges[group] = np.stack([np.fmin(old[:, 0], low), np.fmax(old[:, 1], high)], axis=1)
        if find_numeric:
            numeric -= {name for name in numeric if not _all_numbers(block.texts(name))}
    keys.check()
    return ranges, numeric


def _groups(block: Block, groups: Sequence[str]) -> dict[tuple[str, ...], np.ndarray]:
    if not groups:
        return {(): np.arange(len(block.rows))}
    labels = list(zip(*map(block.texts, groups), strict=True))
    members: dict[tuple[str, ...], list[int]] = {}
    for at, label in enumerate(labels):
        members.setdefault(label, []).append(at)
    return {label: np.array(rows) for label, rows in members.items()}


def _all_numbers(cells: Sequence[str]) -> bool:
    try:
        return bool(np.isfinite(np.fromiter(map(float, filter(None, cells)), np.float64)).all())
    except ValueError:
        return False


def _check_range(path: Path | str, resource_range: Range | None) -> None:
    if resource_range is None:
        return
    low, high = resource_range
    if not (math.isfinite(high) and 0 <= low < high):
        raise InputError(f"{path}: --range {low:g} {high:g}: expected 0 <= LO < HI, both finite")


def _scores(
    block: Block,
    performance: str,
    resources: Sequence[str],
    groups: Sequence[str],
    ranges: dict[tuple[str, ...], np.ndarray],
    resource_range: Range | None,
) -> np.ndarray:
    """Scores and normalised resources, [rows, 2 x resources]."""
    values = block.fractions(performance)
    columns = np.full((len(values), 2 * len(resources)), np.nan)
    for at, name in enumerate(resources):
        needs = np.where(np.isnan(values), np.nan, block.resources(name))
        for group, rows in _groups(block, groups).items():
            low, high = ranges[group][at]
            edges = resource_range or ((0.0, 0.0) if np.isnan(low) else (float(low), float(high)))
            columns[rows, 2 * at] = pepr(values[rows], needs[rows], edges)
            columns[rows, 2 * at + 1] = normalise(needs[rows], edges)
    return columns


def _csv_rows(
    output: TextIO,
    reader: Reader,
    added: list[str],
    numeric: set[str],
    blocks: Iterator[tuple[Block, np.ndarray]],
) -> int:
    writer, count = csv.writer(output, lineterminator="\n"), 0
    writer.writerow([*reader.header, *added])
    for block, scores in blocks:
        texts = [["" if math.isnan(value) else repr(value) for value in row] for row in scores.tolist()]
        writer.writerows([*cells, *more] for cells, more in zip(block.rows, texts, strict=True))
        count += len(block.rows)
    return count


def _json_rows(
    output: TextIO,
    reader: Reader,
    added: list[str],
    numeric: set[str],
    blocks: Iterator[tuple[Block, np.ndarray]],
) -> int:
    """A JSON list, one object a row; columns of numbers become numbers, empty cells null."""
    kinds = [name in numeric for name in reader.header]
    names, count = [*reader.header, *added], 0
    for block, scores in blocks:
        for cells, more in zip(block.rows, scores.tolist(), strict=True):
            kept = [_json_value(cell, kind) for cell, kind in zip(cells, kinds, strict=True)]
            row = dict(zip(names, [*kept, *(None if math.isnan(v) else v for v in more)], strict=True))
            output.write(("[\n" if not count else ",\n") + json.dumps(row, ensure_ascii=False))
            count += 1
    output.write("\n]\n")
    return count


def _json_value(cell: str, number: bool) -> Any:
    if not cell:
        return None
    if not number:
        return cell
    return float(cell) if any(mark in cell for mark in ".eEn") else int(cell)
