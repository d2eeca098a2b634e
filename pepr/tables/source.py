"""One file as rows of text: decoded, cut into cells, with the study's columns where its tool is known."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO

from pepr.errors import InputError
from pepr.tables.dialect import (
    BLANK_GROUPS,
    NO_NUMBERS,
    Dialect,
    NumberStyle,
    Options,
    decided,
    dialect_of,
    kind_of,
    number,
    refuse_a_pipe,
)
from pepr.tables.formats import Derived, Format, document_of, format_of

RULE = re.compile(r"[|:+\s-]*-[|:+\s-]*")
"""The line below the header of a framed table."""

NO_WIDTH = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Signs that cannot be seen, which come along when cells are copied from a page: no part of a name."""


class Line(NamedTuple):
    """One row: its file, its number below the header, its line in the file, and its cells."""

    path: Path
    row: int
    line: int
    cells: list[str]


@dataclass(frozen=True)
class Place:
    """Where a cell stands, in words: file, row (1 is the first below the header), line, column."""

    path: Path
    row: int
    line: int
    column: str

    def __str__(self) -> str:
        return f"{self.path}: row {self.row} (line {self.line}), column {self.column!r}"


class Source(Protocol):
    """A header, rows, and what to say about how they were read. `run` names runs that rows go on with;
    `derived` are columns of numbers that pepr wrote: with a decimal point, whatever the file has."""

    path: Path
    header: list[str]
    notices: list[str]
    dialect: Dialect
    run: str | None
    derived: frozenset[str]

    def lines(self) -> Iterator[Line]: ...


def open_source(path: Path, options: Options, recognise: bool) -> Source:
    """The file as a source; with `recognise`, by the format of the tool that wrote it."""
    refuse_a_pipe(path)
    if recognise and (document := document_of(path)):
        return _Document(path, document.header, document.rows, [document.says])
    plain = _TextTable(path, options)
    if not recognise:
        return plain
    found = format_of(plain.header)
    if found is None:
        return plain
    if found.collapse:
        rows = [line.cells for line in plain.lines()]
        document = found.collapse(path, plain.header, rows)
        notices = [*plain.notices, document.says]
        return _Document(path, document.header, document.rows, notices, plain.dialect)
    return _Converted(plain, found, options)


class _Document:
    """A source whose rows are few and at hand: in the dialect of the table that they are of, if any."""

    run: str | None = None
    derived: frozenset[str] = frozenset()

    def __init__(
        self,
        path: Path,
        header: list[str],
        rows: list[list[str]],
        notices: list[str],
        dialect: Dialect | None = None,
    ) -> None:
        self.path, self.header, self._rows, self.notices = path, header, rows, notices
        self.dialect = dialect or Dialect()

    def lines(self) -> Iterator[Line]:
        for row, cells in enumerate(self._rows, start=1):
            yield Line(self.path, row, row + 1, cells)


class _TextTable:
    """A table in text with a header."""

    run: str | None = None
    derived: frozenset[str] = frozenset()

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self.dialect = dialect_of(path, options.separator)
        self.notices = [f"{path.name}: {notice}" for notice in self.dialect.notices]
        self.short_rows = False
        self.header = self._header()

    def lines(self) -> Iterator[Line]:
        """Every row below the header that is not blank, cells trimmed. Raises InputError where one has no
        shape."""
        width = len(self.header)
        with self._open() as stream:
            reader = _Lines(self.path, stream, self.dialect)
            next(reader)
            row, padded = 0, False
            for cells in reader:
                if not any(map(str.strip, cells)):
                    continue
                row += 1
                if len(cells) != width and not (self.short_rows and len(cells) < width):
                    raise InputError(self._shape(cells, row, reader.line))
                trimmed = [cell.strip() for cell in cells]
                text = "".join(trimmed)
                if not text.isascii() and any(mark in text for mark in NO_WIDTH):
                    trimmed = [cell.strip(NO_WIDTH + " ").strip() for cell in trimmed]
                padded = padded or trimmed != cells
                yield Line(self.path, row, reader.line, trimmed)
            if not row:
                raise InputError(f"{self.path}: row 1, column {self.header[0]!r}: no rows below the header")
        notice = f"{self.path.name}: blanks around cells are left out"
        if padded and notice not in self.notices:
            self.notices.append(notice)

    def _shape(self, cells: list[str], row: int, line: int) -> str:
        width = len(self.header)
        at = self.header[-1] if len(cells) > width else self.header[len(cells)]
        place = f"{self.path}: row {row} (line {line}), column {at!r}"
        torn = "" if self._ends_with_newline() else "; the file ends in the middle of a row"
        return f"{place}: {len(cells)} cells where the header has {width}{torn}"

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as stream:
            stream.seek(-1, 2)
            return stream.read(1) in b"\n\r\0"

    def _header(self) -> list[str]:
        with self._open() as stream:
            names = next(_Lines(self.path, stream, self.dialect), [])
        header = [name.strip().strip(NO_WIDTH + " ").strip() for name in names]
        if not any(header):
            raise InputError(f"{self.path}: row 0 (the header): the file is empty; expected column names")
        if header[0] == "":
            header[0] = "index"
        header = [name or f"column {at}" for at, name in enumerate(header, start=1)]
        repeated = [name for name in header if header.count(name) > 1]
        if repeated:
            raise InputError(f"{self.path}: row 0 (the header): column {repeated[0]!r} appears twice")
        return header

    def _open(self) -> TextIO:
        stream = self.path.open(encoding=self.dialect.encoding, newline="")
        for _ in range(self.dialect.skip):
            stream.readline()
        return stream


class _Lines:
    """`csv.reader` whose failures are InputErrors that name the file and the line."""

    def __init__(self, path: Path, stream: TextIO, dialect: Dialect) -> None:
        self._path, self._skip, self._mark = path, dialect.skip, dialect.separator
        blanks = dialect.separator == " "
        lines = _bare(stream, dialect) if blanks or dialect.framed else stream
        self._reader = csv.reader(lines, strict=True, delimiter=dialect.separator, skipinitialspace=blanks)

    @property
    def line(self) -> int:
        return self._reader.line_num + self._skip

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._reader)
        except UnicodeDecodeError:
            raise InputError(_encoding_message(self._path, self._mark)) from None
        except csv.Error as error:
            why = str(error)
            if "unexpected end" in why or "field larger" in why:
                why = "a quotation mark is opened and never closed"
            raise InputError(f"{self._path}: line {self.line}: not a CSV table: {why}") from None


def _bare(stream: TextIO, dialect: Dialect) -> Iterator[str]:
    """Lines without what only aligns them: blanks at both ends, or a frame of bars and its rule."""
    for number_of_line, line in enumerate(stream):
        text = line.strip()
        if dialect.framed:
            text = "" if number_of_line == 1 and RULE.fullmatch(text) else text[1:-1]
        yield text + "\n"


def _encoding_message(path: Path, separator: str) -> str:
    """Which line, and roughly which column, is not UTF-8."""
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                column = raw[: error.start].count(separator.encode()) + 1
                return (
                    f"{path}: row {line - 1} (line {line}), column {column} of the table: "
                    f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
                )
    return f"{path}: not UTF-8; save the file as UTF-8"


class _Converted:
    """A table of another tool, with the study's columns behind its own."""

    def __init__(self, table: _TextTable, found: Format, options: Options) -> None:
        self.path, self.dialect, self._table, self._format = table.path, table.dialect, table, found
        self._options, self._index = options, {name: at for at, name in enumerate(table.header)}
        self._derived = {n: d for n, d in found.derived(table.header).items() if n not in table.header}
        self.derived = frozenset(name for name, made in self._derived.items() if made.factor is not None)
        self.header = [*table.header, *self._derived]
        self.run = found.run if found.run in table.header else None
        table.short_rows = found.mend_row is not None
        self.notices = [*table.notices, f"{self.path.name}: read as {found.says(table.header)}"]

    def lines(self) -> Iterator[Line]:
        short = 0
        for line in self._table.lines():
            own = self._mended(line)
            short += own is not line
            added = [self._converted(own, derived) for derived in self._derived.values()]
            yield own._replace(cells=own.cells + added)
        if short:
            notice = (
                f"{self.path.name}: {short} rows lack their empty cells; what follows the country is left out"
            )
            self.notices += [notice] if notice not in self.notices else []

    def _mended(self, line: Line) -> Line:
        """A row with all its cells."""
        if len(line.cells) == len(self._index):
            return line
        return line._replace(cells=self._format.mend_row(self._table.header, line.cells))

    def _converted(self, line: Line, derived: Derived) -> str:
        """The sum of some cells in the study's unit, as text; a cell alone as it is where no factor is given.

        A percentage is a fraction as it is read, and a time in seconds. Cells that are no numbers stay as
        they are. Raises InputError for a number that has two readings, or not its column's decimal mark.
        """
        cells = [(name, line.cells[self._index[name]]) for name in derived.columns]
        if derived.factor is None:
            return cells[0][1]
        cells = [(name, cell) for name, cell in cells if cell.lower() not in NO_NUMBERS]
        if not cells:
            return ""
        texts = [self._plain(line, *named) for named in cells]
        try:
            read = [number(text, self._options.clock) for text in texts]
        except ValueError:
            return " + ".join(cell for _, cell in cells)
        total = sum(value for value, _ in read)
        total *= derived.factor if all(kind == "plain" for _, kind in read) else 1.0
        return "" if derived.zero_is_missing and total == 0 else repr(total)

    def _plain(self, line: Line, name: str, cell: str) -> str:
        """A cell of the tool's own with a decimal point. Raises InputError where its number is open."""
        if not self.dialect.commas_in_cells or kind_of(cell) is None:
            return BLANK_GROUPS.sub("", cell)
        style, place = self._styles[name], Place(line.path, line.row, line.line, name)
        if isinstance(style, str):
            raise InputError(f"{place}: {style}: give --decimal , or --decimal .")
        plain = style.plain(cell)
        try:
            number(plain)
        except ValueError:
            mark = "comma" if style.decimal == "," else "point"
            raise InputError(f"{place}: {cell!r} is not a number with a decimal {mark}") from None
        return plain

    @cached_property
    def _styles(self) -> dict[str, NumberStyle | str]:
        """How each of the tool's columns writes its numbers; a reason in words where that is open."""
        styles = {name: NumberStyle(name) for name in self._table.header}
        for mark in ",.":
            for line in self._table.lines():
                for style, cell in zip(styles.values(), self._mended(line).cells, strict=True):
                    style.learn((cell,), mark)
            if not any(style.seen for style in styles.values()):
                break
        return decided(styles, self._options.decimal)
