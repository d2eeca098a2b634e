"""The performance of a training that another program did: from a file that it wrote, or from its output."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pepr.errors import InputError
from pepr.files import expanded
from pepr.tables.dialect import all_plain

LONGEST_LINE = 65536
"""Bytes of one line of output that are searched: its end, where it is longer."""
CLOCK_S = 2.0
"""How far behind this machine's clock the time stamps of a file system may be."""


@dataclass
class Output:
    """What a command writes, searched line by line while it passes: the last match counts.

    `pattern` is a regular expression whose first group (the whole match without one) is the number.
    Nothing is kept but the line that is being written.
    """

    pattern: re.Pattern[bytes]
    found: bytes | None = None
    _line: bytes = field(default=b"", repr=False)

    def listen(self, chunk: bytes) -> None:
        *lines, self._line = re.split(rb"[\r\n]", self._line + chunk)
        for line in lines:
            self._search(line)
        self._line = self._line[-LONGEST_LINE:]

    def value(self, since: float = 0.0, percent: bool = False) -> float:
        """The performance, whatever `since` is. Raises InputError where no line matched, or what matched is
        no performance."""
        self._search(self._line)
        shown = self.pattern.pattern.decode()
        if self.found is None:
            raise InputError(f"no line of the output matches {shown!r}")
        return as_performance(self.found.decode(errors="replace"), f"the output at {shown!r}", percent)

    def _search(self, line: bytes) -> None:
        for match in self.pattern.finditer(line):
            self.found = match[1] if self.pattern.groups else match[0]


def output_of(pattern: str) -> Output:
    """A search for a regular expression in output. Raises InputError for one that cannot be read."""
    try:
        return Output(re.compile(pattern.encode()))
    except re.error as error:
        raise InputError(
            f"--performance-from-output {pattern!r}: not a regular expression: {error}"
        ) from None


@dataclass(frozen=True)
class Source:
    """A file and the key in it: a column of a CSV (its last value), a path of keys in JSON or JSON lines.

    `file` may hold `*`, `**` and `?`; the newest file counts.
    """

    file: str
    key: str

    def value(self, since: float, percent: bool = False) -> float:
        """The performance in a file that was written after `since` (seconds of the epoch).

        Raises InputError where there is none: no file, an older one, no such key, no number between 0 and 1.
        """
        pattern = expanded(self.file, "").absolute()
        root = Path(pattern.anchor)
        named = str(pattern.relative_to(root)).replace("[", "[[]")  # brackets of a name are no pattern
        found = [pattern] if pattern.exists() else root.glob(named)
        paths = sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime)
        if not paths:
            raise InputError(f"{self.file}: no such file; was the performance written somewhere else?")
        newest = paths[-1]
        if newest.stat().st_mtime < since - CLOCK_S:
            raise InputError(f"{newest}: written before the training began; its value is of another one")
        return as_performance(_lookup(newest, self.key), f"{newest}, {self.key}", percent)


def source_of(text: str) -> Source:
    """`FILE:KEY` as a source. Raises InputError without a key."""
    file, colon, key = text.rpartition(":")
    if not colon or not file or not key:
        raise InputError(f"--performance {text!r}: expected FILE:KEY, such as metrics.json:accuracy")
    return Source(file, key)


def as_performance(value: Any, where: str, percent: bool = False) -> float:
    """A number between 0 and 1, which may be a text's or that of an array or a tensor of one number. Raises
    InputError, naming `where`, for anything else."""
    text = str(_item(value)).strip()
    percent = percent or text.endswith("%")
    try:
        if not all_plain([text]):
            raise ValueError
        number = float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        raise InputError(f"{where}: {text!r} is not a number") from None
    if not math.isfinite(number) or not 0 <= number <= 1:
        hint = "; with --percent it is read as a percentage" if 1 < number <= 100 else ""
        raise InputError(f"{where}: {text} is not a performance between 0 and 1{hint}")
    return number


def _item(value: Any) -> Any:
    """The one number of an array or a tensor, which its text need not be; whatever else as it is."""
    item = getattr(value, "item", None)
    try:
        return item() if callable(item) else value
    except (TypeError, ValueError, RuntimeError):  # it holds several
        return value


def _lookup(path: Path, key: str) -> Any:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    readers: dict[str, Callable[[str, str, Path], Any]] = dict.fromkeys((".csv", ".tsv"), _in_csv)
    readers |= dict.fromkeys((".jsonl", ".ndjson"), _in_lines)
    return readers.get(path.suffix.lower(), _in_json)(text, key, path)


def _in_csv(text: str, key: str, path: Path) -> Any:
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    if key not in (reader.fieldnames or ()):
        raise InputError(f"{path}: no column {key!r}; there are: {', '.join(reader.fieldnames or ())}")
    values = [row[key] for row in reader if (row[key] or "").strip()]
    if not values:
        raise InputError(f"{path}: column {key!r} is empty")
    return values[-1]


def _in_lines(text: str, key: str, path: Path) -> Any:
    """The last line that has the key."""
    for line in reversed(text.splitlines()):
        if line.strip():
            try:
                return _in_json(line, key, path)
            except InputError:
                continue
    raise InputError(f"{path}: no line has {key!r}")


def _in_json(text: str, key: str, path: Path) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: neither JSON nor a CSV by its name: {error}") from None
    if isinstance(value, dict) and key in value:
        return value[key]
    for part in key.split("."):
        if isinstance(value, list) and re.fullmatch(r"-?\d+", part) and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            known = f"; there are: {', '.join(map(str, value))}" if isinstance(value, dict) else ""
            raise InputError(f"{path}: no key {part!r}{known}")
    return value
