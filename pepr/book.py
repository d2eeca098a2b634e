"""Build the book: run the analysis notebooks, put their numbers into the prose, check every page."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pepr import bench_numbers, picker, published
from pepr.book_data import as_script
from pepr.book_facts import record_files
from pepr.drawings import lighter, lighter_notebook
from pepr.errors import DataUnavailable, InputError, WorkFailed
from pepr.execution import execute_notebook
from pepr.facts import PROFILES, profiles_with_results, study_facts, write_readme
from pepr.launch import find_repository, theme_options, with_address
from pepr.links import check_site, remove_stale_pages
from pepr.numbers import FILE_NAME, UNKNOWN, read_numbers
from pepr.runs import find_results, results_root, write_atomic

BUILD_FOLDER = "_build"
NOTICE = """# {title}

```{{note}}
This chapter is made from results that are not at hand in this copy of the book: {why}
```

Everything else in the book stands without it.
"""
NUMBERS_FILE = "book/_static/numbers.json"
DATA_SCRIPT = "book/_static/study.js"
PICKER = "book/_static/picker.html"
TRAINING = "notebooks/02_finetune.ipynb"
UNEXECUTED = """```{note}
This page shows the notebook before it is run: building the book never trains a model. Download it with the
button above, or open it with `make lab`.
```"""
CONDITION = re.compile(
    r"^<!-- if (?P<keys>[\w. ]+) -->\n(?P<body>.*?)(?:^<!-- else -->\n(?P<other>.*?))?^<!-- end -->\n",
    re.MULTILINE | re.DOTALL,
)
FIGURE_FILE = re.compile(r"""["'](\w+\.svg)["']""")
LEFT_OUT = "*Left out in this copy: the runs that this part needs did not finish, or were not made.*\n"
FRONT_DOOR = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="description" content="{description}">
<meta http-equiv="refresh" content="0; url={first}"></head>
<body><main><h1>{title}</h1><p><a href="{first}">{description}</a></p></main></body></html>
"""
NO_TABLES = (
    "the authors' published tables. They are fetched from the authors' repository when there is a "
    "network; without one, put the seven files into a folder `published` and set `PEPR_DATA` to the "
    "folder that holds it. Then run `make book` again."
)
BENCHMARKS = "benchmarks/results.json"
MISSING = {
    "published": NO_TABLES,
    "costs": NO_TABLES,
    "bench": f"the measurements of `make bench`, `{BENCHMARKS}`. Run `make bench`, then `make book`.",
}


class BookError(WorkFailed):
    """The book could not be built, or what was built is not sound. The message lists why."""


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


def find_checkout(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds the book's sources. Raises InputError outside a checkout."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").exists() and (folder / "book").is_dir():
            return folder
    raise InputError(f"{here}: no checkout of the study here or above; the book is built from one")


def pages_of(profiles: list[str]) -> list[Page]:
    """The notebooks to run: the fixed ones, and 03 and 04 once more for each other profile."""
    extra = [
        Page(f"notebooks/{stem}.ipynb", {"profile": profile}, profile, f"notebooks/{profile}/{stem}.ipynb")
        for profile in profiles
        if profile != "pocket"
        for stem in ("03_energy", "04_pepr")
    ]
    return [*PAGES, *extra]


def _digest(root: Path, page: Page) -> str:
    """What a page depends on: the notebook, its parameters, the package, the results, the data folder."""
    package = Path(__file__).parent
    files = [root / page.notebook, *sorted(package.glob("*.py")), *sorted(package.glob("profiles/*.yaml"))]
    files += sorted(path for path in (package / "reference").iterdir() if path.is_file())
    if page.namespace in PROFILES:
        files.append(find_results(page.namespace).folder / "results.csv")
    digest = hashlib.sha256(repr((sorted(page.parameters.items()), os.environ.get("PEPR_DATA"))).encode())
    digest.update(str(results_root()).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def execute(root: Path, page: Page, executed: Path) -> tuple[Path | None, str]:
    """Run a notebook unless nothing that it depends on changed. Returns its file and what happened.

    The file is None where the notebook says that its data are not at hand, or that no run ended well. Raises
    BookError with the cell's error for any other failure; the notebook as far as it got is kept beside.
    """
    output = executed / page.path
    stamp = output.with_suffix(".sha256")
    digest = _digest(root, page)
    made = page.namespace is None or (results_root() / page.namespace / FILE_NAME).exists()
    if made and output.exists() and stamp.exists() and stamp.read_text() == digest:
        return output, "unchanged"
    if page.namespace in NEED_TABLES:
        try:
            for name in published.SHA256:
                published.find_table(name)
        except DataUnavailable as error:
            (results_root() / page.namespace / FILE_NAME).unlink(missing_ok=True)
            return None, str(error)
    from papermill.exceptions import PapermillExecutionError  # papermill takes seconds to load

    stamp.unlink(missing_ok=True)
    try:
        execute_notebook(root / page.notebook, output, page.parameters, cwd=root)
    except PapermillExecutionError as error:
        if error.ename in {"DataUnavailable", "NothingToAnalyse"}:
            return None, error.evalue
        raise BookError(
            f"{page.notebook} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"the notebook as far as it got: {output}"
        ) from None
    write_atomic(stamp, digest)
    return output, "executed"


def execute_all(root: Path, pages: list[Page], executed: Path) -> Iterator[tuple[Page, Path | None, str]]:
    """Run notebooks two at a time; those that write into one results folder run one after the other."""
    groups: dict[str, list[Page]] = {}
    for page in pages:
        if not (root / page.notebook).exists():
            raise InputError(f"{root / page.notebook}: the notebook is missing")
        groups.setdefault(page.namespace or page.path, []).append(page)

    def in_order(group: list[Page]) -> list[tuple[Page, Path | None, str]]:
        return [(page, *execute(root, page, executed)) for page in group]

    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in pool.map(in_order, groups.values()):
            yield from done


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
    else what follows `<!-- else -->` in it, or a sentence that says that its runs are missing. So a failed
    run costs the parts that need it, not the book.
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


def notice_notebook(source: Path, why: str) -> str:
    """A notebook that holds the title of another and a notice in place of its cells."""
    import nbformat

    cells = nbformat.read(source, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    cell = nbformat.v4.new_markdown_cell(
        NOTICE.format(title=title_of(text), why=why).split("---\n")[-1].strip()
    )
    cell.id = "notice"
    return nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))


def unexecuted_notebook(source: Path) -> str:
    """A notebook as it is in the repository, with a note below its title that it was not run for the book."""
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    cell = nbformat.v4.new_markdown_cell(UNEXECUTED)
    cell.id = "not-executed"
    notebook.cells.insert(1, cell)
    return nbformat.writes(notebook)


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


def with_profiles(toc: dict[str, Any], pages: list[Page]) -> dict[str, Any]:
    """The table of contents with one more part for each further profile that has results."""
    parts: dict[str, list[dict[str, str]]] = {}
    for page in pages:
        if page.output:
            parts.setdefault(page.namespace or "", []).append({"file": str(Path(page.path).with_suffix(""))})
    extra = [{"caption": f"Profile {name}", "chapters": chapters} for name, chapters in parts.items()]
    return {**toc, "parts": [*toc["parts"], *extra]}


def numbers_of(folders: Mapping[str, Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """The numbers of each results folder that has some, by namespace and key."""
    entries = {name: read_numbers(folder) for name, folder in folders.items()}
    return {name: numbers for name, numbers in entries.items() if numbers}


def figure_sources(root: Path, pages: list[Page]) -> dict[str, str]:
    """Which document drew each figure, by `namespace/file`: the notebook whose code names the file."""
    import nbformat

    sources = {}
    for page in pages:
        if page.namespace is None:
            continue
        cells = nbformat.read(root / page.notebook, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        for name in FIGURE_FILE.findall(code):
            sources[f"{page.namespace}/{name}"] = str(Path(page.path).with_suffix(""))
    return sources


def assemble(root: Path, source: Path, say: Any = print) -> list[str]:
    """Fill the source folder from the checkout and the results. Returns the documents of the book."""
    profiles = profiles_with_results()
    pages = pages_of(profiles)
    repository = find_repository(root)
    mirror = Mirror(source)
    for profile in profiles:
        say(f"{profile}: results of {find_results(profile).origin}")
    for page, output, note in execute_all(root, pages, source.parent / "executed"):
        say(f"{page.path}: {note if output else 'left out: ' + note}")
        text = output.read_text() if output else notice_notebook(root / page.notebook, note)
        mirror.write(page.path, with_address(lighter_notebook(text), repository))
    mirror.write(TRAINING, with_address(unexecuted_notebook(root / TRAINING), repository))

    numbers = numbers_of({name: results_root() / name for name in (*profiles, "published", "costs")})
    numbers["bench"] = bench_numbers.numbers(bench_numbers.read(root / BENCHMARKS))
    for name in numbers:
        for figure in sorted((results_root() / name / "figures").glob("*.svg")):
            mirror.write(f"_figures/{name}/{figure.name}", lighter(figure.read_text()))
    for path in sorted((root / "book").rglob("*")):
        if path.suffix == ".md":
            mirror.write(path.relative_to(root), chapter(path.read_text(), numbers))
        elif path.is_file() and "__pycache__" not in path.parts:
            mirror.write(path.relative_to(root), path.read_bytes())

    mirror.write(NUMBERS_FILE, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    for path, content in record_files(profiles).items():
        mirror.write(path, content)
    mirror.write(DATA_SCRIPT, as_script(find_results("pocket"), numbers))
    mirror.write(PICKER, picker.page(source.parent))

    config = yaml.safe_load((root / "_config.yml").read_text())
    config["parse"]["myst_substitutions"] = {"study": study_facts(profiles)}
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
        # jsonschema would compile a grammar of internationalised web addresses, which takes seconds.
        *(
            sys.executable,
            "-c",
            "import sys; sys.modules['rfc3987_syntax'] = None; "
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


def clean(root: Path | None = None) -> None:
    """Remove everything that the build made."""
    shutil.rmtree(find_checkout(root) / BUILD_FOLDER, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """`python -m pepr.book` builds the book; with `--readme` it renews the results in the README instead."""
    try:
        if arguments == ["--readme"]:
            write_readme(find_checkout())
        else:
            build()
    except (InputError, BookError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
