"""The numbers that prose may quote: written by notebooks into `numbers.json`, read by the book."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from pepr.errors import InputError
from pepr.files import write_atomic

FILE_NAME = "numbers.json"
KEY = re.compile(r"[a-z][a-z0-9_]*")
MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>$|])")


UNKNOWN = "not known"
"""The words of a number that could not be computed."""


class Number(TypedDict):
    """One entry of `numbers.json`: the raw value, the words for it (unit included), and its nature."""

    value: Any
    text: str
    estimate: bool


Numbers = dict[str, Number]
"""Entries by key."""


def plain(value: Any) -> str:
    """A text as it is; a whole number with its thousands marked."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def number(value: Any, text: str | Callable[[Any], str] = plain, estimate: bool = False) -> Number:
    """One entry of `numbers.json`: the raw value, the words for it (unit included), and its nature.

    `text` are the words, or what makes them of the value. `estimate` is true for whatever was computed from a
    model or an assumption instead of measured. A value that is not finite cannot be quoted: it is stored as
    null, and `text` must say why.
    """
    if hasattr(value, "item"):
        value = value.item()
    text = text(value) if callable(text) else text
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if not text.strip():
        raise InputError(f"a number needs words to be quoted by; value {value!r} has none")
    return {"value": value, "text": text, "estimate": bool(estimate)}


def interval_numbers(key: str, interval: Any, text: Callable[[Any], str]) -> Numbers:
    """An estimate with its interval (`stats.Interval`): `key`, and its two ends, `key_low` and `key_high`."""
    ends = {f"{key}_low": interval.low, f"{key}_high": interval.high}
    return {name: number(value, text) for name, value in ({key: interval.estimate} | ends).items()}


def update_numbers(folder: Path, source: str, mapping: Mapping[str, Mapping[str, Any]]) -> Path:
    """Put the numbers of one source (a notebook's stem, such as `04_pepr`) into `folder/numbers.json`.

    Earlier entries of the same source go; entries of other sources stay. The file is replaced
    atomically. Raises InputError for a key that is not snake_case or that another source owns.
    """
    kept = {key: entry for key, entry in read_numbers(folder).items() if entry["source"] != source}
    for key in mapping:
        if not KEY.fullmatch(key):
            raise InputError(f"{folder / FILE_NAME}: key {key!r} of {source} is not snake_case")
        if key in kept:
            raise InputError(
                f"{folder / FILE_NAME}: key {key!r} of {source} belongs to {kept[key]['source']} already"
            )
    added = {
        key: {**number(entry["value"], entry["text"], entry.get("estimate", False)), "source": source}
        for key, entry in mapping.items()
    }
    path = folder / FILE_NAME
    text = json.dumps(dict(sorted({**kept, **added}.items())), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n")
    return path


def read_numbers(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of `folder/numbers.json` by key: `value`, `text`, `source`, `estimate`; none if no file."""
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            f"{path}: not a table of numbers: {error}; delete it and rerun the notebooks"
        ) from None


def escaped(text: str) -> str:
    """Plain text as MyST that shows it unchanged."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", text)


def substitutions(namespaces: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, str]]:
    """What `{{ namespace.key }}` in the book's prose becomes: the role that shows the entry of that key.

    The role (`pepr.book.sphinx_pages`) marks an estimate and leads to the notebook that made the number. An
    entry whose text is a Markdown table stands as it is.
    """
    return {
        namespace: {
            key: entry["text"] if entry["text"].startswith("|") else f"{{number}}`{namespace}.{key}`"
            for key, entry in entries.items()
        }
        for namespace, entries in namespaces.items()
    }
