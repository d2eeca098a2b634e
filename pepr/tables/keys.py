"""What names a row of a table, and what to do where two rows have one name."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pepr.errors import InputError
from pepr.tables.dialect import MISSING
from pepr.tables.source import Line, Place

if TYPE_CHECKING:
    from pepr.tables.reader import Block, Reader

KEY_COLUMNS = ("model", "setting", "dataset", "fidelity", "precision", "hardware", "train_fraction", "seed")


class Keys:
    """Notices a key that comes twice, with eight bytes a row; `check` names both rows and a way on.

    A key column that is empty in a row takes no part in that row's key; a `run_id` that is empty leaves the
    row to the other columns.
    """

    def __init__(self, reader: Reader, columns: Sequence[str], measured: Sequence[str] = ()) -> None:
        self.reader, self.columns = reader, [name for name in columns if name in reader.header]
        self.others = (
            [] if self.columns != ["run_id"] else [n for n in key_columns(reader.header[:], (), False)]
        )
        self.measured = set(measured)
        self.hashes = array("q")

    def add(self, block: Block) -> None:
        if self.columns:
            self.hashes.extend(map(hash, self.of(block)))

    def of(self, block: Block) -> list[tuple[str, ...]]:
        """The key of every row of a block."""
        keys = list(zip(*map(block.texts, self.columns), strict=True))
        if self.columns == ["run_id"] and any(cell.lower() in MISSING for (cell,) in keys):
            names = (
                zip(*map(block.texts, self.others), strict=True) if self.others else iter(lambda: (), None)
            )
            keys = [k if k[0].lower() not in MISSING else ("", *o) for k, o in zip(keys, names, strict=False)]
        return keys

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
        shown = [n for n in self.columns if two.cells[self.reader.position(n)].lower() not in MISSING]
        shown = shown or self.others or self.columns
        key = ", ".join(f"{name}={two.cells[self.reader.position(name)]}" for name in shown)
        place = Place(two.path, two.row, two.line, shown[0])
        raise InputError(f"{place}: the key {key} is already that of row {one.row}; {self._way_on(one, two)}")

    def _way_on(self, one: Line, two: Line) -> str:
        apart = [
            name
            for name, left, right in zip(self.reader.header, one.cells, two.cells, strict=True)
            if left != right and name not in self.columns and name not in self.measured
        ]
        apart = [name for name in apart if _may_be_key(one.cells[self.reader.position(name)])]
        named = self.columns if self.columns != ["run_id"] else []
        ways = []
        if apart and self.columns != ["run_id"]:
            keys = " ".join(f"--key {name}" for name in [*named, apart[0]])
            ways.append(f"if {apart[0]!r} tells them apart: {keys}")
        if one.cells == two.cells:
            ways.append("the rows are alike: remove one")
        else:
            ways.append("if later rows go on where earlier ones of a run stopped, keep the last: --keep-last")
        return "; ".join(ways)


def _may_be_key(cell: str) -> bool:
    """Whether a cell may tell runs apart by name: text, or a number of few digits."""
    return not re.fullmatch(r"\d*\.\d{3,}(e.*)?", cell.lower())


def key_columns(header: Sequence[str], groups: Sequence[str] = (), run_id: bool = True) -> list[str]:
    """Which columns name a row: `run_id`, else `model` with whatever else tells runs apart; else none."""
    if run_id and "run_id" in header:
        return ["run_id"]
    if "model" not in header:
        return []
    return [name for name in dict.fromkeys((*KEY_COLUMNS, *groups)) if name in header]
