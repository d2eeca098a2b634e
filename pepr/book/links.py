"""Check built HTML pages: nothing is loaded from another host, and every local link has a target."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

LOADING = {
    **dict.fromkeys(("script", "iframe", "frame", "embed", "audio", "track", "input"), ("src",)),
    **dict.fromkeys(("img", "source"), ("src", "srcset")),
    **dict.fromkeys(("image", "use"), ("href", "xlink:href")),
    "video": ("src", "poster"),
    "object": ("data",),
    "link": ("href",),
}
"""Attributes that make a browser load something, by element."""
POINTING_RELATIONS = {
    "canonical",
    "next",
    "prev",
    "search",
    "index",
    "author",
    "license",
    "alternate",
    "help",
}
"""Relations of a `<link>` that a browser follows only when asked."""
CSS_LOAD = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])([^'")\s]+)""", re.IGNORECASE)
GENERATED = ("index", "genindex", "search", "404")


def is_external(address: str) -> bool:
    """Whether an address names another host (`//host`, `https://host`)."""
    return bool(urlsplit(address.strip()).netloc)


@cache
def _soup(path: Path, modified: int) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(errors="replace"), "html.parser")


def parse(path: Path) -> BeautifulSoup:
    return _soup(path, path.stat().st_mtime_ns)


@cache
def _anchors(path: Path, modified: int) -> frozenset[str]:
    soup = _soup(path, modified)
    return frozenset(tag[key] for key in ("id", "name") for tag in soup.find_all(attrs={key: True}))


def anchors(path: Path) -> frozenset[str]:
    """The ids and names in a page that a link can point at."""
    return _anchors(path, path.stat().st_mtime_ns)


def _loads(tag: Tag, attribute: str) -> list[str]:
    """The addresses that a tag makes the browser load."""
    value = tag.get(attribute)
    if not value:
        return []
    if tag.name == "link":
        relations = {relation.lower() for relation in tag.get("rel") or ()}
        if relations and relations <= POINTING_RELATIONS:
            return []
    if attribute == "srcset":
        return [part.split()[0] for part in str(value).split(",") if part.strip()]
    return [str(value)]


def loaded_by(page: Path) -> list[str]:
    """Every address that a page makes the browser load, styles written into the page included."""
    soup = parse(page)
    found = []
    for tag in soup.find_all(True):
        for attribute in LOADING.get(tag.name, ()):
            found += _loads(tag, attribute)
        if tag.name == "style":
            found += CSS_LOAD.findall(tag.get_text())
        found += CSS_LOAD.findall(tag.get("style", ""))
    return found


def _missing(html: Path, page: Path, address: str) -> str | None:
    """Why a local address has no target, or None."""
    parts = urlsplit(address.strip())
    if parts.scheme in {"data", "mailto", "javascript", "blob"}:
        return None
    target = page
    if parts.path:
        base = html if parts.path.startswith("/") else page.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve()
        if parts.path.startswith("/"):
            return "an absolute path does not open from a file"
        if not target.is_relative_to(html.resolve()):
            return "outside the book"
        if target.is_dir():
            target = target / "index.html"
        if not target.is_file():
            return "no such file"
    fragment = unquote(parts.fragment)
    if fragment and target.suffix == ".html" and fragment not in anchors(target):
        return "no such anchor"
    return None


def check_page(html: Path, page: Path) -> list[str]:
    """What is wrong with one page, a line each: foreign resources, links and resources without a target."""
    name, loaded = page.relative_to(html), loaded_by(page)
    pointed_at = [tag["href"] for tag in parse(page).find_all("a", href=True) if tag["href"] != "#"]
    local = [address for address in (*loaded, *pointed_at) if not is_external(address)]
    problems = [f"{name}: loads from another host: {address}" for address in loaded if is_external(address)]
    reasons = ((address, _missing(html, page, address)) for address in local)
    return problems + [f"{name}: {reason}: {address}" for address, reason in reasons if reason]


def check_styles(html: Path) -> list[str]:
    """Style sheets that load from another host."""
    return [
        f"{path.relative_to(html)}: loads from another host: {address}"
        for path in sorted(html.rglob("*.css"))
        for address in CSS_LOAD.findall(path.read_text(errors="replace"))
        if is_external(address)
    ]


def pages_of(html: Path, documents: Iterable[str]) -> list[Path]:
    """The pages that a book of these documents has, generated ones (index, search) included."""
    generated = [html / f"{name}.html" for name in GENERATED]
    return [html / f"{name}.html" for name in documents] + [path for path in generated if path.exists()]


def check_site(html: Path, documents: Iterable[str]) -> list[str]:
    """Everything that is wrong with a built book, a line each; empty when it is sound."""
    problems = []
    for page in dict.fromkeys(pages_of(html, documents)):
        if not page.exists():
            problems.append(f"{page.relative_to(html)}: the page was not built")
        else:
            problems += check_page(html, page)
    return problems + check_styles(html)


def remove_stale_pages(html: Path, documents: Iterable[str]) -> None:
    """Remove pages of an earlier build that the book no longer has."""
    keep = set(pages_of(html, documents))
    for path in html.rglob("*.html"):
        if path not in keep and "_static" not in path.relative_to(html).parts:
            path.unlink()
