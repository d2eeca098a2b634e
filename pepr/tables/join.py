"""A second table put beside a first: performances of one file to the resources of another, by named keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pepr.errors import InputError
from pepr.tables.keys import known
from pepr.tables.reader import Reader
from pepr.tables.source import Line, Place


@dataclass
class Joined:
    """A second table whose columns are put to the rows of a first one by named keys.

    `on` are pairs (column of the first, column of the second); a row without any of them has no partner.
    Raises InputError when a key of the second repeats, because the join would then multiply rows.
    """

    reader: Reader
    on: tuple[tuple[str, str], ...]
    matched: int = 0

    def __post_init__(self) -> None:
        keys = [right for _, right in self.on]
        for key in keys:
            self.reader.require(key)
        at = [self.reader.position(key) for key in keys]
        self._others = [i for i, name in enumerate(self.reader.header) if name not in keys]
        self._rows: dict[tuple[str, ...], Line] = {}
        for line in self.reader.rows():
            key = _key(line.cells, at)
            if not any(key):
                continue
            if key in self._rows:
                named = ", ".join(f"{name}={cell}" for name, cell in zip(keys, key, strict=True))
                last = "" if self.reader.options.keep_last else ", or --keep-last"
                raise InputError(
                    f"{Place(line.path, line.row, line.line, keys[0])}: the join by {named} would multiply "
                    f"rows, because an earlier row has that key: name more columns with --on{last}"
                )
            self._rows[key] = line._replace(cells=[line.cells[i] for i in self._others])

    @property
    def names(self) -> list[str]:
        """The columns that the join adds, by their names in the second table."""
        return [self.reader.header[i] for i in self._others]

    def added(self, own: Sequence[str]) -> list[str]:
        """The names of the columns that the join adds; one that is there already gets the file's name."""
        return [f"{name}_{self.reader.path.stem}" if name in own else name for name in self.names]

    def check(self, first: Reader) -> None:
        """Find the keys in the first table, and say how many rows have a partner."""
        for left, _ in self.on:
            first.require(left)
        self._at = [first.position(left) for left, _ in self.on]
        rows = matched = 0
        for line in first.all_rows():
            rows += 1
            matched += _key(line.cells, self._at) in self._rows
        names = ", ".join(left if left == right else f"{left}={right}" for left, right in self.on)
        if not matched:
            raise InputError(f"{first.path}: no row has a partner in {self.reader.path} by {names}")
        first.notices += self.reader.notices
        first.say(f"{matched} of {rows} rows have a partner in {self.reader.path.name} by {names}")

    def extended(self, cells: list[str]) -> list[str]:
        """The cells of one row with those of its partner; empty cells without one."""
        if not hasattr(self, "_at"):
            return cells + [""] * len(self._others)
        partner = self._partner(cells)
        return cells + (partner.cells if partner else [""] * len(self._others))

    def place(self, cells: Sequence[str], name: str) -> Place | None:
        """Where the cell of a column `name` stands in the partner of a row; None without one."""
        partner = self._partner(cells)
        return Place(partner.path, partner.row, partner.line, name) if partner else None

    def _partner(self, cells: Sequence[str]) -> Line | None:
        return self._rows.get(_key(cells, self._at))


def _key(cells: Sequence[str], at: Sequence[int]) -> tuple[str, ...]:
    """What a row is joined by: cells of which a missing one is empty however it is spelled."""
    return tuple(known(cells[i]) for i in at)
