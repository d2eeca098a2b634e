"""Anyone's table, read row by row: its dialect, format and keys known, each fault named by its place."""

from __future__ import annotations

import csv
import difflib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pepr.errors import InputError
from pepr.tables.dialect import BLANK_GROUPS, NO_NUMBERS, NumberStyle, Options, all_plain, decided, number
from pepr.tables.keys import Keys, are_of_runs, has_name, key_columns, known
from pepr.tables.naming import columns_named, names_things, spelled_otherwise
from pepr.tables.source import Line, Place, Source, open_source

if TYPE_CHECKING:
    from pepr.tables.join import Joined

BLOCK_ROWS = 20_000
DECIMAL_NUMBER = re.compile(r"[-+]?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?", re.ASCII)
WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})", re.ASCII)

Range = tuple[float, float]


class Reader:
    """Tables with a header, read row by row: never more than one block in memory.

    Several tables are read one after another as one. With `recognise`, what another tool wrote is understood
    (`formats`), and columns with the study's names and units stand behind the tool's own. `notices` are lines
    that say how a table was read. Raises InputError for a file that is missing, empty, no text table, whose
    dialect is open, or whose header repeats a name or lacks one of `needed`.
    """

    def __init__(
        self,
        paths: Path | str | Sequence[Path | str],
        needed: Iterable[str] = (),
        options: Options | None = None,
        recognise: bool = False,
        joined: Joined | None = None,
    ) -> None:
        several = [paths] if isinstance(paths, str | Path) else list(paths)
        self.options, self.joined = options or Options(), joined
        self.sources = [open_source(Path(path), self.options, recognise) for path in several]
        self.path = self.sources[0].path
        own = list(dict.fromkeys(name for source in self.sources for name in source.header))
        self.own_width = len(own)
        self.header = own + (joined.added(own) if joined else [])
        self._of_join = dict(zip(joined.added(own), joined.names, strict=True)) if joined else {}
        self.notices = list(dict.fromkeys(notice for source in self.sources for notice in source.notices))
        self._styles: dict[str, NumberStyle | str] | None = None
        self._kinds: dict[str, tuple[str, Place]] = {}
        self._pointed = {
            source.path: source.derived if source.dialect.commas_in_cells else frozenset(source.header)
            for source in self.sources
        }
        if joined:
            joined.check(self)
        for column in dict.fromkeys(needed):
            self.require(column)

    def require(self, column: str) -> None:
        """Raises InputError, with names that are close to it, where there is no such column."""
        if column not in self.header:
            close = columns_named(self.header, [column]) or difflib.get_close_matches(
                column, self.header, 1, 0.6
            )
            close = close or [name for name in self.header if column.lower() in name.lower()]
            meant = f"; did you mean {close[0]!r}?" if close else ";"
            alone = (
                " (one cell: if something else stands between its names, give --separator)"
                if len(self.header) == 1
                else ""
            )
            tools = [notice for notice in self.notices if ": read as" in notice]
            raise InputError(
                f"{self.path}: row 0 (the header): column {column!r} is missing{meant} it has "
                f"{', '.join(self.header)}{alone}"
                + "".join(f" ({tool}; --join adds other columns)" for tool in tools)
            )

    def position(self, column: str) -> int:
        return self.header.index(column)

    def say(self, notice: str) -> None:
        """Add a line to `notices`, once."""
        if notice not in self.notices:
            self.notices.append(notice)

    def say_spellings(self, names: Iterable[str], known_names: Sequence[str]) -> None:
        """Notice those of some columns that have a known name in another spelling."""
        if found := spelled_otherwise(names, known_names):
            self.say(f"columns are known in any spelling: {', '.join(found)}")

    def rows(self) -> Iterator[Line]:
        """Every row below the headers; of rows that a later one takes the place of, the last."""
        for number_of_row, line in enumerate(self.all_rows()):
            if self._kept is None or self._kept[number_of_row]:
                yield line

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Block]:
        """The rows, `size` at a time."""
        lines: list[Line] = []
        for line in self.rows():
            lines.append(line)
            if len(lines) == size:
                yield Block(self, lines)
                lines = []
        if lines:
            yield Block(self, lines)

    def style(self, column: str, place: Callable[[], Place]) -> NumberStyle:
        """How a column writes its numbers; raises InputError where that is open."""
        if self._styles is None:
            self._styles = self._learn_styles()
        style = self._styles[column]
        if isinstance(style, str):
            raise InputError(f"{place()}: {style}: give --decimal , or --decimal .")
        return style

    def one_kind(self, column: str, kind: str, cell: str, place: Callable[[], Place]) -> None:
        """Notice percent and times, and refuse a column that holds them beside plain numbers."""
        if column not in self._kinds:
            self._kinds[column] = (kind, place())
            if kind == "percent":
                self.say(f"{column}: percent, read as fractions")
            if kind == "time":
                self.say(f"{column}: hours, minutes and seconds, read as seconds")
        elif self._kinds[column][0] != kind:
            first, where = self._kinds[column]
            raise InputError(
                f"{place()}: {cell!r} is {_KINDS[kind]} where row {where.row} has {_KINDS[first]}: "
                "write all cells of the column alike"
            )

    def kind(self, column: str) -> str:
        """What the cells of a column that were read are: `plain`, `percent` or `time`; nothing before."""
        return self._kinds[column][0] if column in self._kinds else ""

    def has_point(self, column: str, path: Path) -> bool:
        """Whether a column's numbers in the rows of a file have a decimal point, whatever others have: the
        file cannot hold commas within cells, or pepr wrote the column."""
        if self.joined and column in self._of_join:
            return self.joined.reader.has_point(self._of_join[column], self.joined.reader.path)
        return column in self._pointed.get(path, ())

    def place(self, line: Line, column: str) -> Place:
        """Where a row's cell stands: in the second table, where a join adds the column."""
        there = None
        if self.joined and column in self._of_join:
            there = self.joined.place(line.cells, self._of_join[column])
        return there or Place(line.path, line.row, line.line, column)

    def plain(self, column: str, cell: str, path: Path | None = None) -> str:
        """A cell of a column, in a row of the file `path`, with a decimal point, where the table writes
        numbers with commas."""
        if not self.commas_in_cells or names_things(column):
            return cell
        if path is not None and self.has_point(column, path):
            return cell
        if self._styles is None:
            self._styles = self._learn_styles()
        style = self._styles[column]
        return cell if isinstance(style, str) else style.plain(cell)

    @property
    def commas_in_cells(self) -> bool:
        own = any(source.dialect.commas_in_cells for source in self.sources)
        return own or (self.joined is not None and self.joined.reader.commas_in_cells)

    @cached_property
    def decimal_commas(self) -> bool:
        """Whether some column has a decimal comma, so that a point may mean something else."""
        if self.options.decimal is not None or not self.commas_in_cells:
            return self.options.decimal == ","
        if self._styles is None:
            self._styles = self._learn_styles()
        return any("comma_decimal" in s.seen for s in self._styles.values() if isinstance(s, NumberStyle))

    @cached_property
    def run_columns(self) -> list[str]:
        """The columns whose repeats are one run told again, where rows are to be kept by the last."""
        if self.options.keep_last:
            given = [name for name in self.options.key if name in self.header]
            names = given or key_columns(self.header)
            if not names:
                raise InputError(
                    f"{self.path}: --keep-last: no column names a run, so give --key COLUMN; it has "
                    f"{', '.join(self.header)}"
                )
            return names
        runs = list(dict.fromkeys(source.run for source in self.sources if source.run))
        return key_columns(self.header) if are_of_runs(runs) else runs

    @cached_property
    def _kept(self) -> np.ndarray | None:
        """True [rows] for the last row of each run; None where every row counts.

        With `keep_last` a row whose run is missing is of its model, as in `Keys`.
        """
        if not self.run_columns:
            return None
        has_others = self.options.keep_last and are_of_runs(self.run_columns)
        others = key_columns(self.header, run_id=False) if has_others else []
        at, beside = ([self.header.index(name) for name in some] for some in (self.run_columns, others))
        names, others_name = has_name(self.run_columns), has_name(others)
        hashes, unnamed = array("q"), False
        for number_of_row, line in enumerate(self.all_rows()):
            cells = tuple(known(line.cells[i]) for i in at)
            if not names(cells):
                cells = tuple(known(line.cells[i]) for i in beside)
                unnamed = unnamed or others_name(cells)
                cells = ("", *cells) if others_name(cells) else (number_of_row, line.path)
            hashes.append(hash(cells))
        codes = np.frombuffer(hashes, dtype=np.int64)
        kept = np.zeros(len(codes), dtype=bool)
        kept[len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1]] = True
        if not kept.all():
            words = ", ".join(self.run_columns)
            words += f", or {', '.join(others)} without one," if unnamed else ""
            self.say(
                f"{len(kept) - kept.sum()} earlier rows of the same {words} left out: the last one counts"
            )
        return kept

    def all_rows(self) -> Iterator[Line]:
        """Every row below the headers."""
        for source in self.sources:
            if source.header == self.header:
                yield from source.lines()
            else:
                yield from self._spread(source)
            for notice in source.notices:
                self.say(notice)

    def _spread(self, source: Source) -> Iterator[Line]:
        """The rows of a source with the cells of all others, and those that a join adds."""
        places = [self.header.index(name) for name in source.header]
        for line in source.lines():
            cells = [""] * self.own_width
            for place, cell in zip(places, line.cells, strict=True):
                cells[place] = cell
            yield line._replace(cells=self.joined.extended(cells) if self.joined else cells)

    def _learn_styles(self) -> dict[str, NumberStyle | str]:
        styles = {name: NumberStyle(name) for name in self.header}
        for mark in ",.":
            if mark == "." and not any(style.seen for style in styles.values()):
                break
            for block in self.blocks():
                for name, style in styles.items():
                    style.learn(block.styled(name), mark)
        decimal_commas = any("comma_decimal" in style.seen for style in styles.values())
        if decimal_commas and self.options.decimal != ".":
            self.say("numbers have a decimal comma")
        if any("comma_thousands" in style.seen for style in styles.values()):
            self.say("commas separate thousands")
        return decided(styles, self.options.decimal)


_KINDS = {"plain": "a plain number", "percent": "a percentage", "time": "a time"}


@dataclass(frozen=True)
class Block:
    """Some rows of a table, as text, with where they stand in the file."""

    reader: Reader
    lines: list[Line]

    @property
    def rows(self) -> list[list[str]]:
        return [line.cells for line in self.lines]

    @cached_property
    def by_column(self) -> list[tuple[str, ...]]:
        return list(zip(*self.rows, strict=True))

    def texts(self, column: str) -> tuple[str, ...]:
        return self.by_column[self.reader.position(column)]

    def styled(self, column: str) -> Sequence[str]:
        """The cells of a column that may have another decimal mark than a point."""
        cells, paths = self.texts(column), {line.path for line in self.lines}
        pointed = {path for path in paths if self.reader.has_point(column, path)}
        return [c for c, line in zip(cells, self.lines, strict=True) if line.path not in pointed]

    def floats(self, column: str) -> np.ndarray:
        """The numbers of a column [rows]; an empty cell is NaN. Raises InputError for text or infinity.

        Percentages become fractions, times seconds; the reader notes so.
        """
        cells = self.texts(column)
        values = self._plain_floats(cells)
        if values is None or (self.reader.decimal_commas and any("." in cell for cell in cells)):
            values = np.array([self._float(column, at, cell) for at, cell in enumerate(cells)])
        elif not np.isnan(values).all():
            at = int(np.flatnonzero(~np.isnan(values))[0])
            self.reader.one_kind(column, "plain", cells[at], lambda: self.place(column, at))
        infinite = np.flatnonzero(np.isinf(values))
        if infinite.size:
            at = int(infinite[0])
            raise InputError(f"{self.place(column, at)}: {cells[at]!r} is not a finite number")
        return values

    def fractions(self, column: str) -> np.ndarray:
        """As `floats`; raises InputError for a value outside [0, 1]. With `--percent`, hundredths."""
        values = self.floats(column)
        kind = self.reader.kind(column)
        if self.reader.options.percent and kind == "plain":
            values = values / 100
        bad = np.flatnonzero((values < 0) | (values > 1))
        if bad.size:
            at = int(bad[0])
            raise InputError(
                f"{self.place(column, at)}: {self.texts(column)[at]}: {_not_a_fraction(values[at])}"
            )
        return values

    def check_percentages(self, column: str, values: np.ndarray) -> None:
        """Raises InputError where one of a column's `values` [rows], as `floats` has them, is no percentage:
        not within 0 and 100 or, of cells with a sign of percent, which are fractions then, 0 and 1."""
        most = 1 if self.reader.kind(column) == "percent" else 100
        bad = np.flatnonzero((values < 0) | (values > most))
        if bad.size:
            at = int(bad[0])
            raise InputError(
                f"{self.place(column, at)}: {self.texts(column)[at]} is no percentage: a performance lies "
                "between 0 and 100"
            )

    def resources(self, column: str) -> np.ndarray:
        """As `floats`; raises InputError for a negative value. A zero is not measured, so NaN."""
        values = self.floats(column)
        bad = np.flatnonzero(values < 0)
        if bad.size:
            at = int(bad[0])
            raise InputError(f"{self.place(column, at)}: {values[at]:g}: a resource is not negative")
        return np.where(values == 0, np.nan, values)

    def place(self, column: str, at: int) -> Place:
        return self.reader.place(self.lines[at], column)

    @staticmethod
    def _plain_floats(cells: Sequence[str]) -> np.ndarray | None:
        if not all_plain(cells):
            return None
        try:
            return np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            return None

    def _float(self, column: str, at: int, cell: str) -> float:
        text = cell
        if self.reader.has_point(column, self.lines[at].path):
            text = BLANK_GROUPS.sub("", cell)
        elif self._marked(cell):
            text = self.reader.style(column, lambda: self.place(column, at)).plain(cell)
        try:
            value, kind = number(text, self.reader.options.clock)
        except ValueError as error:
            raise InputError(f"{self.place(column, at)}: {cell!r} {error}") from None
        if kind != "missing":
            self.reader.one_kind(column, kind, cell, lambda: self.place(column, at))
        return value

    @staticmethod
    def _marked(cell: str) -> bool:
        return cell.lower() not in NO_NUMBERS and any(c.isdigit() for c in cell)


def _not_a_fraction(value: float) -> str:
    hint = "; percentages? --percent divides the column by 100" if 1 < value <= 100 else ""
    return f"a performance lies between 0 and 1{hint}"


def read_table(
    path: Path | str | Reader,
    needed: Iterable[str] = (),
    numbers: Iterable[str] = (),
    fractions: Iterable[str] = (),
    texts: Iterable[str] = (),
    keys: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A whole table: float64 columns, and text columns as they are.

    `numbers` must be numbers, `fractions` numbers in [0, 1], `texts` stay text; any other column is a
    number when all its cells are, and text otherwise. Empty cells of a number column are NaN. Raises
    InputError naming file, row and column; `keys` (default: `key_columns`) must not repeat.
    """
    reader = path if isinstance(path, Reader) else Reader(path, needed)
    numbers, fractions, texts = set(numbers), set(fractions), set(texts)
    seen = Keys(reader, key_columns(reader.header) if keys is None else keys, [*numbers, *fractions])
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
        return block.floats(name), block.texts(name)
    except InputError:
        return _interned(block.texts(name))


def _interned(cells: Sequence[str]) -> list[str]:
    """The same texts, each distinct one held once."""
    known: dict[str, str] = {}
    return [known.setdefault(cell, cell) for cell in cells]


def _column(parts: list[Any]) -> Any:
    if not any(isinstance(part, list) for part in parts):
        return np.concatenate([part[0] if isinstance(part, tuple) else part for part in parts])
    texts = [part if isinstance(part, list) else part[1] for part in parts]
    return np.array([cell for part in texts for cell in part], dtype=object)


def json_kind(name: str, cells: Iterable[str]) -> bool:
    """Whether every cell can be a number in JSON with nothing lost: `0012` and `12e3` of a name cannot."""
    pattern = WHOLE_NUMBER if names_things(name) else DECIMAL_NUMBER
    return all(pattern.fullmatch(cell) or cell.lower() in NO_NUMBERS for cell in cells)


def writer_of(output: Any) -> Any:
    """A CSV writer with this project's line ends."""
    return csv.writer(output, lineterminator="\n")
