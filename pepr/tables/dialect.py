"""How a text table is written: its bytes, what stands between cells, and what its numbers look like."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pepr.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MISSING = frozenset(
    {"", "-", "--", "—", "na", "nan", "<na>", "n/a", "n.a.", "#n/a", "#div/0!", "null", "none", "nil"}
    | {"not measured", "missing"}
)
"""How tools and people spell a value that is not there, in lower case."""
NO_NUMBERS = MISSING | {"–", "?", "-nan", "undefined", "unknown"}
"""And what else stands where a number should be; as a name it is one, such as a country that is unknown."""
CHUNK = 1 << 20

PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
GROUPS = {
    ".": r"[1-9]\d{0,2}(?:\.\d{3})+(?!\d)",
    ",": r"(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3})(?!\d)",
}
"""A number in groups, by what stands between them: the first begins with no 0, and each of the others has
three digits or, as in India, the last has three and the others two: 1,00,000."""
BLANK_GROUPS = re.compile("(?<=[0-9])[ \u00a0\u2009\u202f'\u2019](?=[0-9]{3}(?![0-9]))")
"""A blank of any width, or an apostrophe, between the groups of a number."""
CLOCK = re.compile(r"(?:(\d+)(?: days?,? |-))?(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)", re.ASCII)
"""Of Slurm, `1-02:03:04` is a day and some hours."""
SHORT_CLOCK = re.compile(r"(\d+):([0-5]\d)", re.ASCII)
EXACT_SHORT_CLOCK = re.compile(r"(\d+):([0-5]\d\.\d+)", re.ASCII)
SPELLED_TIME = re.compile(
    r"(?=\d)(?:(\d+) ?d(?:ays?)? ?(?=\d))?"
    r"(?:(\d+) ?h)? ?(?:(\d+) ?m(?:in)?)? ?(?:(\d+(?:\.\d+)?) ?s)?",
    re.ASCII,
)
"""Days stand beside hours, minutes or seconds: a column of `2d` and `3d` may be one of dimensions."""
WITH_UNIT = re.compile(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)? ?[A-Za-zµ°₂]+[\w/²₂]*", re.ASCII)


@dataclass(frozen=True)
class Options:
    """What a person may say about a table that its text cannot.

    `separator` between cells; `decimal` mark (`.` or `,`); `clock`, what `01:33` is (`m:ss` or `h:mm`);
    `percent`, that performances are percentages; `key`, the columns that name a row; `keep_last`, that of
    rows with one key the last one counts; `model`, the column that names the model.
    """

    separator: str | None = None
    decimal: str | None = None
    clock: str | None = None
    percent: bool = False
    key: tuple[str, ...] = ()
    keep_last: bool = False
    model: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise InputError(f"--separator {self.separator!r}: expected one character, or 'tab'")
        if self.decimal not in (None, ".", ","):
            raise InputError(f"--decimal {self.decimal!r}: expected '.' or ','")
        if self.clock not in (None, "m:ss", "h:mm"):
            raise InputError(f"--clock {self.clock!r}: expected 'm:ss' or 'h:mm'")


@dataclass(frozen=True)
class Dialect:
    """Encoding, separator, and whether a cell may hold a comma; `skip` lines stand before the header; in a
    `framed` table, a bar stands at both ends of every line, and a rule below the header, as in Markdown."""

    encoding: str = "utf-8-sig"
    separator: str = ","
    skip: int = 0
    framed: bool = False
    commas_in_cells: bool = False
    notices: tuple[str, ...] = ()


def refuse_a_pipe(path: Path) -> None:
    """Raise InputError for what can be read only once: a table is read several times."""
    try:
        once = path.name == "-" or path.is_fifo() or path.is_socket() or path.is_char_device()
    except OSError:  # as of a name that is too long: told where it is read
        return
    if once:
        raise InputError(f"{path}: can be read only once, and a table is read twice: save it as a file first")


def dialect_of(path: Path, separator: str | None = None) -> Dialect:
    """Read a file's bytes once, and its first lines, to learn how it is written.

    Raises InputError for a file that cannot be read, is no text, has NUL bytes, or whose separator is open.
    """
    encoding, quotes = _scan(path)
    notices = ["read as UTF-16"] if encoding == "utf-16" else []
    lines = _first_lines(path, encoding)
    skip, comments, titles = _before_header(lines)
    if comments:
        notices.append("lines before the header that begin with # are left out")
    notices += [f"{title!r} stands above the header and is left out" for title in titles]
    if len(lines) > skip and re.fullmatch(r"sep=.", lines[skip], re.IGNORECASE):
        separator, skip = separator or lines[skip][4], skip + 1
    chosen = separator or _separator(path, lines[skip:])
    if chosen != ",":
        words = "blanks" if chosen == " " else SEPARATORS.get(chosen, repr(chosen))
        notices.append(f"cells are separated by {words}")
    rows = [line.strip() for line in lines[skip:] if line.strip()]
    framed = chosen == "|" and all(len(row) > 1 and row[0] == row[-1] == "|" for row in rows)
    return Dialect(encoding, chosen, skip, framed, quotes or chosen != ",", tuple(notices))


def _scan(path: Path) -> tuple[str, bool]:
    """The encoding, and whether a quote occurs; raises InputError where the bytes are no text table."""
    line, quotes, encoding = 1, False, "utf-8-sig"
    try:
        with path.open("rb") as stream:
            chunk = stream.read(CHUNK)
            if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16", True
            _refuse_binary(path, chunk)
            while chunk:
                at = chunk.find(b"\0")
                if at >= 0:
                    line += chunk.count(b"\n", 0, at)
                    last = line - 1 if not at or chunk[at - 1 : at] == b"\n" else line
                    if line == 1:
                        raise InputError(f"{path}: NUL bytes in its first line: not a text table")
                    raise InputError(
                        f"{path}: NUL bytes after line {last}: of a write cut short; cut them off"
                    )
                quotes = quotes or b'"' in chunk
                line += chunk.count(b"\n")
                chunk = stream.read(CHUNK)
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a table") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return encoding, quotes


KINDS = {
    rb"PK\x03\x04": "a workbook or a zip",
    rb"\x1f\x8b|BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd": "compressed",
    rb"PAR1": "a Parquet file",
    rb"\xd0\xcf\x11\xe0": "a workbook",
    rb"SQLite format 3": "a database",
    rb"ARROW1": "a Feather file",
    rb"\x89HDF": "an HDF5 file",
    rb"\x93NUMPY|\x80[\x02-\x05]": "a file of Python's",
    rb"%PDF": "a PDF",
    rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*[\"}]": "JSON",
    rb"(\xef\xbb\xbf)?\s*<(?i:!doctype|html|\?xml|table)": "a page of the web or XML",
}
"""How a file begins that is no text table, and what it is."""


def _refuse_binary(path: Path, head: bytes) -> None:
    if len(head) > 3 and not any(head[1:200:2]) and all(head[0:200:2]):
        raise InputError(f"{path}: UTF-16 without its mark: save the file as UTF-8")
    for magic, kind in KINDS.items():
        if re.match(magic, head):
            raise InputError(f"{path}: {kind}, not a text table; save it as CSV")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: Git LFS has not fetched this file yet, it says only where: git lfs pull")


def _first_lines(path: Path, encoding: str, count: int = 50) -> list[str]:
    """Up to `count` lines; where the bytes are of another encoding, those before it."""
    lines: list[str] = []
    with path.open(encoding=encoding, newline=None) as stream:
        try:
            for line in stream:
                lines.append(line.rstrip("\n"))
                if len(lines) == count:
                    break
        except UnicodeError:
            return lines
    return lines


def _before_header(lines: list[str]) -> tuple[int, int, list[str]]:
    """How many lines stand before the header; how many of these are remarks, lines with a # that are not cut
    into cells as the line below them is; and those that are a title."""
    skip, comments, titles = 0, 0, []
    for at, line in enumerate(lines):
        below = next((text for text in lines[at:] if text.strip() and not text.startswith("#")), "")
        mark = max(SEPARATORS, key=below.count)
        remark = line.startswith("#") and 0 < below.count(mark) != line.count(mark)
        title = "" if remark else _title(line, [text for text in lines[at + 1 :] if text.strip()])
        if line.strip() and not remark and not title:
            break
        skip, comments = at + 1, comments + remark
        titles += [title] if title else []
    return skip, comments, titles


def _title(line: str, below: list[str]) -> str:
    """What a line says that has one cell where a header with names alone and a row like it stand below; else
    nothing, as of a cell that goes on in the next line."""
    if len(below) < 2 or line.count('"') % 2 or re.fullmatch(r"sep=.", line, re.IGNORECASE):
        return ""
    mark = max(SEPARATORS, key=below[0].count)
    own, names, row = (next(csv.reader([text], delimiter=mark)) for text in (line, *below[:2]))
    said = [cell.strip() for cell in own if cell.strip()]
    is_header = len(set(names)) == len(names) == len(row) > 1 and all(name.strip() for name in names)
    is_header = is_header and not any(PLAIN.fullmatch(name.strip()) for name in names)
    return said[0] if len(said) == 1 and len(own) in (1, len(names)) and is_header else ""


def _separator(path: Path, lines: list[str]) -> str:
    """The one separator that gives every line as many cells as the header; blanks where no mark gives two and
    they do; else a comma."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return ","
    try:
        widths = {mark: [len(cells) for cells in csv.reader(lines, delimiter=mark)] for mark in SEPARATORS}
    except csv.Error:
        return ","
    several = [mark for mark, width in widths.items() if width and width[0] > 1]
    if not several:
        words = {len(line.split()) for line in lines}
        return " " if len(words) == 1 and min(words) > 1 and len(lines) > 1 else ","
    if len(several) == 1:
        return several[0]
    even = [mark for mark in several if len(set(widths[mark])) == 1]
    if len(even) == 1:
        return even[0]
    if even or "," not in several:
        words = " or ".join(SEPARATORS[mark] for mark in (even or several))
        raise InputError(f"{path}: row 0 (the header): {words} may separate its cells: give --separator")
    return ","


@dataclass
class NumberStyle:
    """How one column writes its numbers, learnt from all of its cells; `explain` names what it found."""

    column: str
    seen: dict[str, str] = field(default_factory=dict)
    decimal: str = "."

    def learn(self, cells: Iterable[str], mark: str) -> None:
        """Note an example of every kind of number in which `mark` has a meaning."""
        for cell in cells:
            if mark in cell and (kind := kind_of(cell)):
                self.seen.setdefault(kind, cell)

    def decide(self, given: str | None, commas_are_decimal_elsewhere: bool) -> str | None:
        """Fix the decimal mark; a reason in words where two readings are possible, else None."""
        if given is not None:
            self.decimal = given
            return None
        dot = self.seen.get("dot_decimal") or self.seen.get("comma_thousands")
        comma = self.seen.get("comma_decimal") or self.seen.get("dot_thousands")
        if dot and comma:
            return f"{dot!r} and {comma!r} use two decimal marks"
        if comma:
            self.decimal = ","
        elif not dot and "comma_either" in self.seen:
            if not commas_are_decimal_elsewhere:
                return f"{self.seen['comma_either']!r} may have a decimal comma or a thousands separator"
            self.decimal = ","
        elif not dot and "dot_either" in self.seen and commas_are_decimal_elsewhere:
            return f"{self.seen['dot_either']!r} may have a decimal point or, here, a thousands separator"
        return None

    def plain(self, cell: str) -> str:
        """The cell as Python spells a number, as far as it is one in this style; else as it was."""
        cell = BLANK_GROUPS.sub("", cell)
        grouping = "," if self.decimal == "." else "."
        whole = re.fullmatch(rf"([-+]?)({GROUPS[grouping]})(.*)", cell, re.ASCII)
        if whole and grouping not in whole[3]:
            cell = whole[1] + whole[2].replace(grouping, "") + whole[3]
        elif grouping in cell and self.decimal == ",":
            return "two decimal marks"
        return cell.replace(",", ".") if self.decimal == "," else cell


def decided(styles: Mapping[str, NumberStyle], given: str | None) -> dict[str, NumberStyle | str]:
    """The style of every column of a table, its decimal mark fixed; a reason in words where it is open.

    `styles` have learnt all cells; `given` is the mark that a person named, if any.
    """
    commas = {name for name, style in styles.items() if "comma_decimal" in style.seen}
    return {name: style.decide(given, bool(commas - {name})) or style for name, style in styles.items()}


def kind_of(cell: str) -> str | None:
    """Which mark a number's text proves to be what; None for text without a number's shape."""
    cell = BLANK_GROUPS.sub("", cell.rstrip("%").rstrip()).lstrip("+-")
    body = re.sub(r"[eE][-+]?\d+$", "", cell)
    if not re.fullmatch(r"[\d.,]+", body, re.ASCII) or not any(c.isdigit() for c in body):
        return None
    for mark, other, name in ((",", ".", "comma"), (".", ",", "dot")):
        if mark not in body:
            continue
        if re.fullmatch(GROUPS[mark] + rf"{re.escape(other)}\d*", body, re.ASCII):
            return f"{name}_thousands"
        if body.count(mark) > 1:
            return f"{name}_thousands" if re.fullmatch(GROUPS[mark], body, re.ASCII) else None
        if other not in body:
            either = re.fullmatch(rf"[1-9]\d{{0,2}}{re.escape(mark)}\d{{3}}", body, re.ASCII) and body == cell
            return f"{name}_either" if either else f"{name}_decimal"
    return None


def number(cell: str, clock: str | None = None) -> tuple[float, str]:
    """A cell's value and its kind: `plain`, `percent` (as a fraction), `time` (in seconds), `missing`.

    Expects a decimal point. Raises ValueError with the reason for anything else; `float` would take more:
    digits of other scripts, and `1_0`.
    """
    if cell.lower() in NO_NUMBERS:
        return math.nan, "missing"
    if PLAIN.fullmatch(cell):
        return float(cell), "plain"
    if cell.endswith("%") and PLAIN.fullmatch(cell[:-1].rstrip()):
        return float(cell[:-1]) / 100, "percent"
    if cell.lower().lstrip("+-") in ("inf", "infinity"):
        raise ValueError("is not a finite number")
    seconds = _seconds(cell, clock)
    if seconds is not None:
        return seconds, "time"
    if WITH_UNIT.fullmatch(cell) and not re.fullmatch(r"0[xbo].*|[\d.]+e[^a-z]*", cell.lower()):
        raise ValueError("is a number with a unit: the unit belongs into the column's name")
    raise ValueError("is not a number")


def _seconds(cell: str, clock: str | None) -> float | None:
    if found := CLOCK.fullmatch(cell):
        days, hours, minutes, seconds = found.groups()
        return 86400 * int(days or 0) + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if found := EXACT_SHORT_CLOCK.fullmatch(cell):
        return 60 * int(found[1]) + float(found[2])
    if found := SHORT_CLOCK.fullmatch(cell):
        if clock is None:
            raise ValueError("may be minutes and seconds or hours and minutes: give --clock m:ss or h:mm")
        return (60 * int(found[1]) + int(found[2])) * (60.0 if clock == "h:mm" else 1.0)
    found = SPELLED_TIME.fullmatch(cell)
    if found and any(found.groups()):
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return 86400 * days + 3600 * hours + 60 * minutes + seconds
    return None


def looks_like_number(cell: str) -> bool:
    """Whether a cell is a number in some dialect, though its value may be open."""
    try:
        return number(cell)[1] != "missing"
    except ValueError:
        return kind_of(cell) is not None or SHORT_CLOCK.fullmatch(cell) is not None


def all_plain(cells: Sequence[str]) -> bool:
    """False where `float` may take a cell that is no number here; quick, for whole blocks."""
    joined = "".join(cells)
    return joined.isascii() and "_" not in joined
