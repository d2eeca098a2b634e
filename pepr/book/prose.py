"""A chapter's Markdown: its front matter, its conditional parts, its generated numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from pepr.display.numbers import UNKNOWN
from pepr.errors import InputError

NOTICE = """# {title}

```{{note}}
This chapter is made from results that are not at hand in this copy of the book: {why}
```

Everything else in the book stands without it.
"""
CONDITION = re.compile(
    r"^<!-- if (?P<keys>[\w. ]+) -->\n(?P<body>.*?)(?:^<!-- else -->\n(?P<other>.*?))?^<!-- end -->\n",
    re.MULTILINE | re.DOTALL,
)
LEFT_OUT = (
    "*Left out in this copy: the results that this part needs, runs of this study or the authors' tables, "
    "are not at hand.*\n"
)
NO_TABLES = (
    "the authors' published tables. They are fetched from the authors' repository when there is a "
    "network; without one, put the seven files into a folder `published` and set `PEPR_DATA` to the "
    "folder that holds it. Then run `make book` again."
)
MISSING = {
    "published": NO_TABLES,
    "costs": NO_TABLES,
    "bench": "the measurements of `make bench`, `benchmarks/numbers.json`. Run `make bench`, then "
    "`make book`.",
}


def front_matter(text: str) -> dict[str, Any]:
    """The YAML block that opens a chapter, or an empty mapping."""
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return {}
    return yaml.safe_load(text[4:].split("\n---", 1)[0]) or {}


def title_of(text: str) -> str:
    """The first level-one heading of a chapter. Raises InputError if there is none."""
    for line in text.splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    raise InputError("a chapter without a title: its first heading must be of level one")


def chapter(text: str, namespaces: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A chapter ready for Sphinx, or a notice under its title when the results that it requires are missing.

    A part between `<!-- if namespace.key ... -->` and `<!-- end -->` stays if all these numbers are known;
    else what follows `<!-- else -->` in it, or a sentence that says that its results are missing. So a
    failed run costs the parts that need it, not the book.
    """
    required = front_matter(text).get("requires")
    if required is None or namespaces.get(required):
        return CONDITION.sub(lambda found: _part(found, namespaces), text)
    why = MISSING.get(
        required, f"the results of the profile `{required}`. Run `make reproduce PROFILE={required}`."
    )
    return NOTICE.format(title=title_of(text), why=why)


def _part(found: re.Match[str], namespaces: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    keys = [key.split(".", 1) for key in found["keys"].split()]
    entries = [namespaces.get(namespace, {}).get(key) for namespace, key in keys]
    if all(entry is not None and entry["text"] != UNKNOWN for entry in entries):
        return found["body"]
    if found["other"] is not None:
        return found["other"]
    return ("- " if found["body"].startswith("- ") else "") + LEFT_OUT
