"""The rules that each built page must keep and that axe has not: words, pictures, numbers, weight."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from pepr.book.links import is_external, loaded_by, parse

NUMBERS_FILE = "_static/numbers.json"
"""Where a built book keeps every number that its prose may quote: namespace, key, entry."""
LARGEST_PAGE_BYTES = 1_500_000
UNFILLED = re.compile(r"\{\{|\}\}|<!-- (?:if|else|end)")


@dataclass(frozen=True)
class Page:
    """One built page: its file, its name within the book, its parsed HTML, and the book's numbers."""

    path: Path
    name: str
    soup: BeautifulSoup
    numbers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def body(self) -> Tag:
        """What the page itself says, without the frame around it."""
        return self.soup.find("article") or self.soup.find("main") or self.soup.body or self.soup


def read_numbers(html: Path) -> dict[str, dict[str, str]]:
    """The words of every number of a built book, by namespace and key; none if it has no such file."""
    path = html / NUMBERS_FILE
    if not path.exists():
        return {}
    return {
        namespace: {key: entry["text"] for key, entry in entries.items()}
        for namespace, entries in json.loads(path.read_text()).items()
    }


def has_description(page: Page) -> list[str]:
    found = page.soup.find("meta", attrs={"name": "description"})
    return [] if found and (found.get("content") or "").strip() else ["no description"]


def has_one_heading(page: Page) -> list[str]:
    count = len(page.soup.find_all("h1"))
    return [] if count == 1 else [f"{count} headings of level one"]


def has_alternatives(page: Page) -> list[str]:
    """Every picture says in words what it shows: a file's name is no alternative."""
    problems = []
    for image in page.body.find_all("img"):
        words = (image.get("alt") or "").strip()
        if not words or words == image.get("src") or words.endswith((".svg", ".png")):
            problems.append(f"no alternative text: {image.get('src')}")
    for drawing in page.body.find_all("svg"):
        named = drawing.get("aria-label") or drawing.get("aria-labelledby") or drawing.find("title")
        if not (
            named
            or drawing.get("aria-hidden") == "true"
            or drawing.find_parent(attrs={"aria-hidden": "true"})
        ):
            problems.append("a drawing without a name or aria-hidden")
    return problems


def has_captions(page: Page) -> list[str]:
    figures = [figure for figure in page.body.find_all("figure") if figure.find("img")]
    bare = [figure.find("img").get("src") for figure in figures if not figure.find("figcaption")]
    return [f"no caption: {source}" for source in bare]


def is_filled_in(page: Page) -> list[str]:
    """No marker of a number or of a conditional part is left in the text."""
    words = " ".join(
        text for text in page.body.find_all(string=True) if not text.find_parent(["pre", "code", "script"])
    )
    return [f"a number that was not filled in: {found}" for found in sorted(set(UNFILLED.findall(words)))]


def has_the_numbers(page: Page) -> list[str]:
    """Every generated number reads as the notebook wrote it."""
    problems = []
    for tag in page.soup.find_all(attrs={"data-number": True}):
        namespace, _, key = tag["data-number"].partition(".")
        expected = page.numbers.get(namespace, {}).get(key)
        shown = " ".join(tag.get_text().split())
        if expected is None:
            problems.append(f"a number that no notebook made: {namespace}.{key}")
        elif shown != " ".join(expected.replace("`", "").split()):
            problems.append(f"{namespace}.{key} reads {shown!r}, the notebook wrote {expected!r}")
    return problems


def is_light(page: Page) -> list[str]:
    """The page with all that it makes the browser load, style sheets' own files apart."""
    files = {page.path}
    for address in loaded_by(page.path):
        local = (page.path.parent / unquote(urlsplit(address).path)).resolve()
        if not is_external(address) and local.is_file():
            files.add(local)
    weight = sum(path.stat().st_size for path in files)
    if weight <= LARGEST_PAGE_BYTES:
        return []
    return [f"weighs {weight / 1e6:.2f} MB, at most {LARGEST_PAGE_BYTES / 1e6:.1f} MB is allowed"]


RULES: Mapping[str, Callable[[Page], list[str]]] = {
    "description": has_description,
    "one heading": has_one_heading,
    "alternatives": has_alternatives,
    "captions": has_captions,
    "filled in": is_filled_in,
    "numbers": has_the_numbers,
    "weight": is_light,
}


def check_pages(html: Path, pages: Iterable[Path]) -> list[str]:
    """What is wrong with these pages of a built book, a line each."""
    numbers = read_numbers(html)
    problems = []
    for path in pages:
        page = Page(path, str(path.relative_to(html)), parse(path), numbers)
        problems += [f"{page.name}: {found}" for rule in RULES.values() for found in rule(page)]
    return problems


def count(pages: Iterable[Path]) -> dict[str, int]:
    """How many pages, links and figures there are to check."""
    soups = [parse(path) for path in pages]
    links = sum(len(soup.find_all("a", href=True)) for soup in soups)
    figures = sum(len((soup.find("article") or soup).find_all("img")) for soup in soups)
    numbers = sum(len(soup.find_all(attrs={"data-number": True})) for soup in soups)
    return {"pages": len(soups), "links": links, "figures": figures, "numbers": numbers}
