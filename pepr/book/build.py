"""Build the book: run the analysis notebooks, put their numbers into the prose, check every page."""

from __future__ import annotations

import contextlib
import html
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pepr.book import picker
from pepr.book.interactive import as_script
from pepr.book.launch import find_repository, theme_options, with_address
from pepr.book.links import check_site, remove_stale_pages
from pepr.book.notebooks import execute_all, figure_sources, notice_notebook, unexecuted_notebook
from pepr.book.pages import documents, pages_of, with_profiles
from pepr.book.prose import chapter, front_matter, title_of
from pepr.book.readme import write_readme
from pepr.book.study_facts import of_several_sets, profiles_with_results, record_files, study_facts
from pepr.book.svg import lighter, lighter_notebook
from pepr.display.numbers import read_numbers
from pepr.errors import BookError, InputError, exit_status
from pepr.files import find_checkout, results_root, write_atomic
from pepr.runs.results import find_results

BUILD_FOLDER = "_build"
NUMBERS_FILE = "book/_static/numbers.json"
DATA_SCRIPT = "book/_static/study.js"
PICKER = "book/_static/picker.html"
TRAINING = "notebooks/02_finetune.ipynb"
FRONT_DOOR = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="description" content="{description}">
<meta http-equiv="refresh" content="0; url={first}"></head>
<body><main><h1>{title}</h1><p><a href="{first}">{description}</a></p></main></body></html>
"""


@dataclass
class Mirror:
    """The book's source folder: files are rewritten only when they differ, and strays are removed."""

    folder: Path
    kept: set[Path] = field(default_factory=set)

    def write(self, relative: str | Path, content: bytes | str) -> None:
        data = content.encode() if isinstance(content, str) else content
        path = self.folder / relative
        self.kept.add(path)
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def remove_strays(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_file() and path not in self.kept:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def numbers_of(folders: Mapping[str, Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """The numbers of each results folder that has some, by namespace and key."""
    entries = {name: read_numbers(folder) for name, folder in folders.items()}
    return {name: numbers for name, numbers in entries.items() if numbers}


def assemble(root: Path, source: Path, say: Any = print) -> list[str]:
    """Fill the source folder from the checkout and the results. Returns the documents of the book."""
    profiles = profiles_with_results()
    pages = pages_of(profiles, of_several_sets(profiles))
    repository = find_repository(root)
    mirror = Mirror(source)
    for profile in profiles:
        say(f"{profile}: results of {find_results(profile).origin}")
    for page, output, note in execute_all(root, pages, source.parent / "executed"):
        say(f"{page.path}: {note if output else 'left out: ' + note}")
        text = output.read_text() if output else notice_notebook(root / page.notebook, note)
        mirror.write(page.path, with_address(lighter_notebook(text), repository))
    mirror.write(TRAINING, with_address(unexecuted_notebook(root / TRAINING), repository))

    folders = {page.namespace: results_root() / page.namespace for page in pages if page.namespace}
    numbers = numbers_of({**folders, "bench": root / "benchmarks"})
    for name in numbers:
        for figure in sorted((results_root() / name / "figures").glob("*.svg")):
            mirror.write(f"_figures/{name}/{figure.name}", lighter(figure.read_text()))
    told = study_facts(profiles)
    known = {**numbers, "study": {key: {"text": text} for key, text in told.items()}}
    for path in sorted((root / "book").rglob("*")):
        if path.suffix == ".md":
            mirror.write(path.relative_to(root), chapter(path.read_text(), known))
        elif path.is_file() and "__pycache__" not in path.parts:
            mirror.write(path.relative_to(root), path.read_bytes())

    mirror.write(NUMBERS_FILE, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    for path, content in record_files(profiles).items():
        mirror.write(path, content)
    mirror.write(DATA_SCRIPT, as_script(find_results("pocket"), numbers))
    mirror.write(PICKER, picker.page(source.parent))

    config = yaml.safe_load((root / "_config.yml").read_text())
    config["parse"]["myst_substitutions"] = {"study": told}
    options = config["sphinx"]["config"]
    options |= {"pepr_numbers_file": NUMBERS_FILE, "pepr_figures": figure_sources(root, pages)}
    options["html_theme_options"] |= theme_options(repository)
    toc = with_profiles(yaml.safe_load((root / "_toc.yml").read_text()), pages)
    mirror.write("_config.yml", yaml.safe_dump(config, sort_keys=True, allow_unicode=True))
    mirror.write("_toc.yml", yaml.safe_dump(toc, sort_keys=False, allow_unicode=True))
    mirror.remove_strays()
    names = documents(toc)
    for name in names:
        if not any((source / name).with_suffix(suffix).exists() for suffix in (".md", ".ipynb")):
            raise InputError(f"{root / '_toc.yml'}: no chapter {name}")
    return names


def render(source: Path, output: Path) -> None:
    """Run Jupyter Book with warnings as errors; pages go to `output/_build/html`."""
    command = [
        *(
            sys.executable,
            "-c",
            "from pepr.machine.modules import without_address_grammar; without_address_grammar(); "
            "from jupyter_book.cli.main import main; main()",
        ),
        *("build", str(source)),
        *("--path-output", str(output), "-W", "-n", "--keep-going", "--quiet"),
    ]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    log = done.stdout + done.stderr
    write_atomic(output / BUILD_FOLDER / "book.log", log)
    if done.returncode:
        told = [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BookError("\n".join(told or log.splitlines()[-20:]) + "\nthe book was not built")


def build(root: Path | None = None, say: Any = print) -> Path:
    """Build and check the book of a checkout; returns the path of its first page.

    Raises BookError when a notebook fails, Sphinx warns, or a page is not sound; InputError when a source
    is missing.
    """
    root = find_checkout(root)
    with contextlib.chdir(root):
        source = root / BUILD_FOLDER / "source"
        names = assemble(root, source, say)
        render(source, root)
        built = root / BUILD_FOLDER / "html"
        remove_stale_pages(built, names)
        problems = check_site(built, names)
        if problems:
            raise BookError("\n".join(problems) + f"\n{len(problems)} problems in the built pages")
    index = built / "index.html"
    index.write_text(FRONT_DOOR.format(**front_matter_of_root(root)))
    say(f"Book: {index}")
    return index


def front_matter_of_root(root: Path) -> dict[str, str]:
    """The title and the description of the book's first chapter, and where its page is."""
    first = yaml.safe_load((root / "_toc.yml").read_text())["root"]
    text = (root / f"{first}.md").read_text()
    words = {"title": title_of(text), "description": front_matter(text)["description"]}
    return {name: html.escape(value) for name, value in words.items()} | {"first": f"{first}.html"}


def main(arguments: list[str]) -> int:
    """`python -m pepr.book.build` builds the book; `--readme` renews the results in the README instead."""
    readme = arguments == ["--readme"]
    return exit_status(lambda: write_readme(find_checkout()) if readme else build())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
