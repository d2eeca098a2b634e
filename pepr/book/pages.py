"""The pages of the book: which there are, what each needs, and which profiles have them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Page:
    """A notebook of the book: where it is, what it is run with, and which numbers it makes.

    `namespace` is the folder of results that it writes into; None when it writes none there.
    """

    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    namespace: str | None = None
    output: str = ""

    @property
    def path(self) -> str:
        return self.output or self.notebook


NEED_TABLES = {"published", "costs"}
"""The namespaces whose notebooks read the authors' tables."""

# Notebooks on their default parameters, so that no second parameters cell is injected into the page.
PAGES = (
    Page("notebooks/01_data.ipynb"),
    Page("notebooks/03_energy.ipynb", {}, "pocket"),
    Page("notebooks/04_pepr.ipynb", {}, "pocket"),
    Page("notebooks/05_published.ipynb", {}, "published"),
    Page("notebooks/06_costs.ipynb", {}, "costs"),
)


def pages_of(profiles: list[str], several: Collection[str] = ()) -> list[Page]:
    """The notebooks to run: the fixed ones, 03 and 04 once more for each other profile, and 07 for those that
    have `several` datasets."""
    extra = [
        Page(f"notebooks/{stem}.ipynb", {"profile": profile}, profile, f"notebooks/{profile}/{stem}.ipynb")
        for profile in profiles
        if profile != "pocket"
        for stem in ("03_energy", "04_pepr", *(("07_sets",) if profile in several else ()))
    ]
    return [*PAGES, *extra]


def documents(toc: Mapping[str, Any]) -> list[str]:
    """The documents of a table of contents in reading order, without suffix."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            for key in ("root", "file"):
                if key in node:
                    yield str(Path(node[key]).with_suffix("")) if "." in Path(node[key]).name else node[key]
            for key in ("parts", "chapters", "sections"):
                for child in node.get(key, ()):
                    yield from walk(child)

    return list(walk(toc))


def with_profiles(toc: Mapping[str, Any], pages: list[Page]) -> Mapping[str, Any]:
    """The table of contents with one more part for each further profile that has results."""
    parts: dict[str, list[dict[str, str]]] = {}
    for page in pages:
        if page.output:
            parts.setdefault(page.namespace or "", []).append({"file": str(Path(page.path).with_suffix(""))})
    extra = [{"caption": f"Profile {name}", "chapters": chapters} for name, chapters in parts.items()]
    return {**toc, "parts": [*toc["parts"], *extra]}
