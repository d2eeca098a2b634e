"""What names a row of a table, and what to do where two rows have one name."""

from __future__ import annotations

import re
import shlex
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pepr.errors import InputError
from pepr.tables.dialect import MISSING
from pepr.tables.naming import SEED_NAMES, columns_named, is_measured, is_named, seed_column
from pepr.tables.source import Line, Place

if TYPE_CHECKING:
    from pepr.tables.reader import Block, Reader

RUN, TASK = "run_id", "task_name"
KEY_COLUMNS = ("model", "setting", "dataset", "fidelity", "precision", "hardware", "train_fraction", "seed")
KNOWN_COLUMNS = (RUN, TASK, *KEY_COLUMNS, *SEED_NAMES)
"""The names by which columns that name a row are found."""


class Keys:
    """Notices a key that comes twice, with eight bytes a row; `check` names both rows and a way on.

    A key column that is empty in a row, however that is spelled, takes no part in that row's key; a `run_id`
    that is empty leaves the row to the other columns, and a row without any of them has no key.
    """

    def __init__(self, reader: Reader, columns: Sequence[str], measured: Sequence[str] = ()) -> None:
        self.reader, self.columns = reader, [name for name in columns if name in reader.header]
        self.others = key_columns(reader.header, run_id=False) if is_run(self.columns) else []
        self.measured = set(measured)
        self.hashes = array("q")

    def add(self, block: Block) -> None:
        if self.columns:
            self.hashes.extend(map(hash, self.of(block)))

    def of(self, block: Block) -> list[tuple[object, ...]]:
        """The key of every row of a block; of a row that has none, where it stands."""
        cells = [block.texts(name) for name in self.columns]
        keys = list(zip(*cells, strict=True))
        if all(MISSING.isdisjoint(map(str.lower, column)) for column in cells):
            return keys
        others = [block.texts(name) for name in self.others]
        names, others_name = has_name(self.columns), has_name(self.others)

        def without(at: int) -> tuple[object, ...]:
            key = tuple(known(column[at]) for column in others)
            return ("", *key) if others_name(key) else (block.lines[at].path, block.lines[at].row)

        keys = [tuple(map(known, key)) for key in keys]
        return [key if names(key) else without(at) for at, key in enumerate(keys)]

    def check(self, hashes: np.ndarray | None = None) -> None:
        """Raises InputError when two rows have the same key."""
        if hashes is None:
            hashes = np.frombuffer(self.hashes, dtype=np.int64) if self.hashes else np.empty(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if twice.size:
            again = int(order[twice + 1].min())
            self._refuse(int(np.flatnonzero(hashes == hashes[again])[0]), again)

    def _refuse(self, first: int, again: int) -> None:
        lines = {at: line for at, line in enumerate(self.reader.rows()) if at in (first, again)}
        one, two = lines[first], lines[again]
        shown = [n for n in self.columns if known(two.cells[self.reader.position(n)])]
        shown = shown or [n for n in self.others if known(two.cells[self.reader.position(n)])] or self.columns
        key = ", ".join(f"{name}={two.cells[self.reader.position(name)]}" for name in shown)
        place = Place(two.path, two.row, two.line, shown[0])
        raise InputError(f"{place}: the key {key} is already that of row {one.row}; {self._way_on(one, two)}")

    def _way_on(self, one: Line, two: Line) -> str:
        apart = self._telling(one, two)
        by_run = is_run(self.columns) and known(two.cells[self.reader.position(self.columns[0])])
        named = self.others if is_run(self.columns) else self.columns
        ways = []
        if apart and not by_run:
            keys = " ".join(f"--key {shlex.quote(name)}" for name in [*named, apart[0]])
            ways.append(f"if {apart[0]!r} tells them apart: {keys}")
        if one.cells == two.cells:
            ways.append("the rows are alike: remove one")
        elif not self.reader.options.keep_last:
            ways.append("if later rows go on where earlier ones of a run stopped, keep the last: --keep-last")
        return "; ".join(ways) or "name what tells them apart with --key COLUMN"

    def _telling(self, one: Line, two: Line) -> list[str]:
        """Columns by which two rows differ, those first that are the likeliest to name a run."""
        cells = zip(self.reader.header, one.cells, two.cells, strict=True)
        apart = {
            name: left
            for name, left, right in cells
            if left != right and name not in self.columns and name not in self.measured
        }
        order = {name: (is_measured(name), _has_many_digits(cell)) for name, cell in apart.items()}
        return sorted((name for name in apart if order[name] != (True, True)), key=order.get)


def _has_many_digits(cell: str) -> bool:
    """Whether a cell looks like a measurement, and not like a name or a setting."""
    return bool(re.fullmatch(r"\d*\.\d{3,}(e.*)?", cell.lower()))


def known(cell: str) -> str:
    """The cell, or nothing where it is one of the spellings of a missing value."""
    return "" if cell.lower() in MISSING else cell


def has_name(columns: Sequence[str]) -> Callable[[Sequence[str]], bool]:
    """Whether the `known` cells of these columns name a row: by its model, where that is one of them."""
    models = [at for at, name in enumerate(columns) if is_named(name, ["model"])]
    return lambda cells: any(cells[at] for at in models) if models else any(cells)


def is_run(columns: Sequence[str]) -> bool:
    """Whether a key is the identity of a run alone."""
    return len(columns) == 1 and is_named(columns[0], [RUN])


def are_of_runs(columns: Sequence[str]) -> bool:
    """Whether a key's columns are the identity of a run, or of a task of it, and nothing else."""
    return bool(columns_named(columns, [RUN])) and all(is_named(name, [RUN, TASK]) for name in columns)


def key_columns(header: Sequence[str], groups: Sequence[str] = (), run_id: bool = True) -> list[str]:
    """Which columns name a row: `run_id`, with the `task_name` that a tracker's tasks have; else `model` with
    whatever else tells runs apart; else none. Each is found in any spelling."""
    runs = columns_named(header, [RUN]) if run_id else []
    if runs:
        return [*runs, *columns_named(header, [TASK])]
    if not columns_named(header, ["model"]):
        return []
    seed = seed_column(header)
    own = [*columns_named(header, KEY_COLUMNS), *([seed] if seed else [])]
    return list(dict.fromkeys((*own, *(name for name in groups if name in header))))
