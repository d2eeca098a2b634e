"""Execute the book's notebooks once for each state of what they read, and find their figures."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from pepr import published
from pepr.book.pages import NEED_TABLES, Page
from pepr.book.prose import NOTICE, title_of
from pepr.book.study_facts import PROFILES
from pepr.display.numbers import FILE_NAME
from pepr.errors import BookError, DataUnavailable, InputError
from pepr.files import results_root, write_atomic
from pepr.runs import timing
from pepr.runs.results import find_results
from pepr.study.notebooks import execute_notebook

UNEXECUTED = """```{note}
This page shows the notebook before it is run: building the book never trains a model. Download it with the
button above, or open it with `make lab`.
```"""
FIGURE_FILE = re.compile(r"""["'](\w+\.svg)["']""")


def package_files() -> list[Path]:
    """The package's code, profiles, claims, tables and style; not its reference: a page takes a part."""
    package = Path(str(resources.files("pepr")))
    paths = [path for path in package.rglob("*") if path.suffix in {".py", ".yaml", ".csv", ".mplstyle"}]
    return sorted(path for path in paths if "reference" not in path.relative_to(package).parts)


def _digest(root: Path, page: Page) -> str:
    """What a page depends on: the notebook, its parameters, the package, the results, the data folder."""
    package = Path(str(resources.files("pepr")))
    files = [root / page.notebook, *package_files()]
    files += sorted(path for path in (package / "reference").iterdir() if path.is_file())
    if page.namespace == "costs":  # it shows what was swept, and checks it on shipped runs
        files += sorted((package / "reference").rglob("*/*.csv"))
        files += sorted((results_root() / "sweep").glob("*.jsonl"))
    if page.namespace in PROFILES:
        folder = find_results(page.namespace).folder
        files += [path for path in (folder / "results.csv", folder / timing.FILE) if path.exists()]
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


def notice_notebook(source: Path, why: str) -> str:
    """A notebook that holds the title of another and a notice in place of its cells."""
    import nbformat

    cells = nbformat.read(source, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    notice = NOTICE.format(title=title_of(text), why=why).split("---\n")[-1].strip()
    cell = nbformat.v4.new_markdown_cell(notice, id="notice")
    return nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))


def unexecuted_notebook(source: Path) -> str:
    """A notebook as it is in the repository, with a note below its title that it was not run for the book."""
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(UNEXECUTED, id="not-executed"))
    return nbformat.writes(notebook)


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
