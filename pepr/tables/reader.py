"""Anyone's CSV: read with one clear error where it cannot be used, and scored in bounded memory."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from pepr.errors import InputError

BLOCK_ROWS = 20_000
MISSING = frozenset({"", "na", "nan", "n/a", "null", "none"})
KEY_COLUMNS = ("model", "setting", "dataset", "fidelity", "precision", "hardware", "train_fraction", "seed")

Row = tuple[int, list[str]]
Range = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Where a cell stands, in words: file, row (1 is the first below the header), line, column."""

    path: Path
    row: int
    line: int
    column: str

    def __str__(self) -> str:
        return f"{self.path}: row {self.row} (line {self.line}), column {self.column!r}"


class Reader:
    """A CSV in UTF-8 with a header, read row by row: never more than one block in memory.

    Raises InputError for a file that is missing, empty, not UTF-8, not a table, or whose header repeats a
    name or lacks one of `needed`.
    """

    def __init__(self, path: Path | str, needed: Iterable[str] = ()) -> None:
        self.path = Path(path)
        self.header = self._header()
        for column in dict.fromkeys(needed):
            if column not in self.header:
                raise InputError(
                    f"{self.path}: row 0 (the header): column {column!r} is missing; "
                    f"it has {', '.join(self.header)}"
                )

    def position(self, column: str) -> int:
        return self.header.index(column)

    def place(self, column: str, row: int, line: int) -> Place:
        return Place(self.path, row, line, column)

    def rows(self) -> Iterator[tuple[int, int, list[str]]]:
        """(row, line, cells) of every row below the header. Raises InputError where a row has no shape."""
        width = len(self.header)
        with self._open() as stream:
            reader = self._strict(stream)
            next(reader)
            row = 0
            for cells in reader:
                if not cells:
                    continue
                row += 1
                if len(cells) != width:
                    at = self.header[-1] if len(cells) > width else self.header[len(cells)]
                    raise InputError(
                        f"{self.place(at, row, reader.line)}: {len(cells)} cells where the header has {width}"
                    )
                yield row, reader.line, cells
            if not row:
                raise InputError(f"{self.path}: row 1, column {self.header[0]!r}: no rows below the header")

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Block]:
        """The rows, `size` at a time."""
        rows: list[list[str]] = []
        numbers: list[tuple[int, int]] = []
        for row, line, cells in self.rows():
            rows.append(cells)
            numbers.append((row, line))
            if len(rows) == size:
                yield Block(self, rows, numbers)
                rows, numbers = [], []
        if rows:
            yield Block(self, rows, numbers)

    def _header(self) -> list[str]:
        with self._open() as stream:
            header = next(self._strict(stream), None)
        if not header:
            raise InputError(f"{self.path}: row 0 (the header): the file is empty; expected column names")
        repeated = [name for name in header if header.count(name) > 1]
        if repeated:
            raise InputError(f"{self.path}: row 0 (the header): column {repeated[0]!r} appears twice")
        return header

    def _open(self) -> TextIO:
        try:
            return self.path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from None

    def _strict(self, stream: TextIO) -> _Lines:
        return _Lines(self.path, stream)


class _Lines:
    """`csv.reader` whose failures are InputErrors that name the file and the line."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path, self._reader = path, csv.reader(stream, strict=True)

    @property
    def line(self) -> int:
        return self._reader.line_num

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._reader)
        except UnicodeDecodeError:
            raise InputError(_encoding_message(self._path)) from None
        except csv.Error as error:
            raise InputError(f"{self._path}: line {self.line}: not a CSV table: {error}") from None
        except IsADirectoryError:
            raise InputError(f"{self._path}: a folder, not a table") from None


def _encoding_message(path: Path) -> str:
    """Which line, and roughly which column, is not UTF-8."""
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                column = raw[: error.start].count(b",") + 1
                return (
                    f"{path}: row {line - 1} (line {line}), column {column} of the table: "
                    f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
                )
    return f"{path}: not UTF-8; save the file as UTF-8"


@dataclass(frozen=True)
class Block:
    """Some rows of a table, as text, with where they stand in the file."""

    reader: Reader
    rows: list[list[str]]
    numbers: list[tuple[int, int]]

    @cached_property
    def by_column(self) -> list[tuple[str, ...]]:
        return list(zip(*self.rows, strict=True))

    def texts(self, column: str) -> tuple[str, ...]:
        return self.by_column[self.reader.position(column)]

    def floats(self, column: str) -> np.ndarray:
        """The numbers of a column [rows]; an empty cell is NaN. Raises InputError for text or infinity."""
        cells = self.texts(column)
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            values = np.array([self._float(column, at, cell) for at, cell in enumerate(cells)])
        infinite = np.flatnonzero(np.isinf(values))
        if infinite.size:
            at = int(infinite[0])
            raise InputError(f"{self.place(column, at)}: {cells[at]!r} is not a finite number")
        return values

    def fractions(self, column: str) -> np.ndarray:
        """As `floats`; raises InputError for a value outside [0, 1]."""
        return self._checked(column, lambda values: (values < 0) | (values > 1), _not_a_fraction)

    def resources(self, column: str) -> np.ndarray:
        """As `floats`; raises InputError for a negative value."""
        return self._checked(column, lambda values: values < 0, "a resource is not negative")

    def place(self, column: str, at: int) -> Place:
        return self.reader.place(column, *self.numbers[at])

    def _checked(self, column: str, wrong: Any, why: Any) -> np.ndarray:
        values = self.floats(column)
        bad = np.flatnonzero(wrong(values))
        if bad.size:
            at = int(bad[0])
            reason = why(values[at]) if callable(why) else why
            raise InputError(f"{self.place(column, at)}: {values[at]:g}: {reason}")
        return values

    def _float(self, column: str, at: int, cell: str) -> float:
        if cell.strip().lower() in MISSING:
            return math.nan
        try:
            return float(cell)
        except ValueError:
            raise InputError(f"{self.place(column, at)}: {cell!r} is not a number") from None


def _not_a_fraction(value: float) -> str:
    hint = "; a percentage? divide the column by 100" if 1 < value <= 100 else ""
    return f"a performance lies between 0 and 1{hint}"


class Keys:
    """Notices a key that comes twice, with eight bytes a row; `check` names both rows."""

    def __init__(self, reader: Reader, columns: Sequence[str]) -> None:
        self.reader, self.columns = reader, [name for name in columns if name in reader.header]
        self._hashes = array("q")

    def add(self, block: Block) -> None:
        if self.columns:
            self._hashes.extend(map(hash, zip(*map(block.texts, self.columns), strict=True)))

    def check(self) -> None:
        """Raises InputError when two rows have the same key."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64) if self._hashes else np.empty(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if not twice.size:
            return
        again = int(order[twice + 1].min())
        first = int(np.flatnonzero(hashes == hashes[again])[0])
        where = {
            row: (line, cells) for row, line, cells in self.reader.rows() if row in (first + 1, again + 1)
        }
        line, cells = where[again + 1]
        key = ", ".join(f"{name}={cells[self.reader.position(name)]}" for name in self.columns)
        place = self.reader.place(self.columns[0], again + 1, line)
        raise InputError(f"{place}: the key {key} is already that of row {first + 1}")


def key_columns(header: Sequence[str], groups: Sequence[str] = ()) -> list[str]:
    """Which columns name a row: `run_id`, else `model` with whatever else tells runs apart; else none."""
    if "run_id" in header:
        return ["run_id"]
    if "model" not in header:
        return []
    return [name for name in dict.fromkeys((*KEY_COLUMNS, *groups)) if name in header]


def read_table(
    path: Path | str,
    needed: Iterable[str] = (),
    numbers: Iterable[str] = (),
    fractions: Iterable[str] = (),
    texts: Iterable[str] = (),
    keys: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A whole CSV as a table: float64 columns, and text columns as they are.

    `numbers` must be numbers, `fractions` numbers in [0, 1], `texts` stay text; any other column is a
    number when all its cells are, and text otherwise. Empty cells of a number column are NaN. Raises
    InputError naming file, row and column; `keys` (default: `key_columns`) must not repeat.
    """
    reader = Reader(path, needed)
    numbers, fractions, texts = set(numbers), set(fractions), set(texts)
    seen = Keys(reader, key_columns(reader.header) if keys is None else keys)
    parts: dict[str, list[Any]] = {name: [] for name in reader.header}
    for block in reader.blocks():
        seen.add(block)
        for name in reader.header:
            parts[name].append(_part(block, name, numbers, fractions, texts))
    seen.check()
    return pd.DataFrame({name: _column(parts.pop(name)) for name in reader.header})


def _part(block: Block, name: str, numbers: set[str], fractions: set[str], texts: set[str]) -> Any:
    if name in texts:
        return _interned(block.texts(name))
    if name in fractions:
        return block.fractions(name)
    if name in numbers:
        return block.floats(name)
    try:
        return block.floats(name)
    except InputError:
        return _interned(block.texts(name))


def _interned(cells: Sequence[str]) -> list[str]:
    """The same texts, each distinct one held once."""
    known: dict[str, str] = {}
    return [known.setdefault(cell, cell) for cell in cells]


def _column(parts: list[Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    texts = [part if isinstance(part, list) else _as_text(part) for part in parts]
    return np.array([cell for part in texts for cell in part], dtype=object)


def _as_text(part: np.ndarray) -> list[str]:
    return ["" if math.isnan(value) else f"{value:g}" for value in part]
