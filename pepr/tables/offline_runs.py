"""An offline run of Weights & Biases, read from its file `run-ID.wandb`: name, settings, last values, end.

The file is a log in blocks, as LevelDB's, of messages in protobuf. Numbers of fields are those of
`wandb/proto/wandb_internal.proto` (MIT licence), as of version 0.31.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pepr.errors import InputError

MAGIC = b":W&B"
FILE_HEADER_BYTES, PIECE_HEADER_BYTES, BLOCK_BYTES = 7, 7, 2**15
"""A piece of a record begins with its checksum (4 bytes), length (2) and kind (1); none crosses a block."""
WHOLE, LAST = 1, 4
SUMMARY, CONFIG, RUN, EXIT = 3, 5, 17, 18
RUN_ID, RUN_CONFIG, DISPLAY_NAME = 1, 4, 8
UPDATE, KEY, NESTED_KEY, VALUE_JSON = 1, 1, 2, 16
EXIT_CODE = 1


@dataclass
class OfflineRun:
    """What a run was called and given, the last value of what it logged, and how it ended: `finished`,
    `failed`, or `crashed` where it left no end. `seconds` is how long it took, whole ones;
    0 or None where that is not known."""

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "crashed"

    @property
    def seconds(self) -> float | None:
        return self.summary.get("_runtime")


def is_offline_run(head: bytes) -> bool:
    """Whether a file that begins so is one."""
    return head.startswith(MAGIC)


def read_offline_run(path: Path) -> OfflineRun:
    """Raises InputError where the file is none, or holds no run."""
    run = OfflineRun()
    try:
        for record in records(path.read_bytes()):
            _take(run, _fields(record))
    except (IndexError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: not an offline run of Weights & Biases that can be read ({error})"
        ) from None
    if not run.name:
        raise InputError(f"{path}: an offline run of Weights & Biases without a run in it")
    return run


def _take(run: OfflineRun, record: list[tuple[int, Any]]) -> None:
    for number, value in record:
        if number == RUN:
            told = dict(_fields(value))
            run.name = (told.get(DISPLAY_NAME) or told[RUN_ID]).decode()
            run.config |= _values(told.get(RUN_CONFIG, b""))
        elif number == CONFIG:
            run.config |= _values(value)
        elif number == SUMMARY:
            run.summary |= _values(value)
        elif number == EXIT:
            run.state = "failed" if dict(_fields(value)).get(EXIT_CODE) else "finished"


def _values(message: bytes) -> dict[str, Any]:
    """The items of a configuration or a summary: names, joined by dots where they are nested, and values."""
    found = {}
    for number, item in _fields(message):
        if number == UPDATE:
            parts = _fields(item)
            names = [value.decode() for number, value in parts if number in (KEY, NESTED_KEY)]
            found[".".join(names)] = json.loads(dict(parts)[VALUE_JSON])
    return found


def records(content: bytes) -> Iterator[bytes]:
    """Each record; the last one of a run that was killed may be cut off, and is left out."""
    at, begun = FILE_HEADER_BYTES, b""
    while at + PIECE_HEADER_BYTES <= len(content):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < PIECE_HEADER_BYTES:
            at += left
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        begun += content[at + PIECE_HEADER_BYTES : at + PIECE_HEADER_BYTES + size]
        at += PIECE_HEADER_BYTES + size
        if at > len(content):
            return
        if kind in (WHOLE, LAST):
            yield begun
            begun = b""


def _fields(message: bytes) -> list[tuple[int, Any]]:
    """The numbers and values of a message's fields: integers, or bytes. See protobuf.dev, "Encoding"."""
    found, at = [], 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
        elif wire in (1, 5):
            at += (size := 8 if wire == 1 else 4)
            value = message[at - size : at]
        elif wire == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire}")
        found.append((number, value))
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
