"""The book: chapters without results become notices, notebooks rerun only when needed, errors are told."""

import json
import math
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import write_synthetic

from pepr import errors, files
from pepr.analysis import pipeline
from pepr.analysis.claims import order
from pepr.book import build, notebooks, pages as book_pages, prose as book_prose, study_facts
from pepr.display.numbers import UNKNOWN, number, substitutions, update_numbers
from pepr.errors import DataUnavailable, InputError

ROOT = Path(__file__).parents[2]

CHAPTER = "---\nrequires: published\n---\n\n# The audit\n\n{{ published.n_rows }} rows.\n"


def test_a_chapter_with_its_results_is_left_alone():
    assert book_prose.chapter(CHAPTER, {"published": {"n_rows": number(3, "3")}}) == CHAPTER


def test_a_chapter_without_its_results_becomes_a_notice_under_its_title():
    text = book_prose.chapter(CHAPTER, {})
    assert "# The audit" in text
    assert "PEPR_DATA" in text
    assert "{{" not in text


def test_a_notice_names_the_profile_to_run():
    text = book_prose.chapter("---\nrequires: pneumonia\n---\n# Pneumonia\n", {})
    assert "make reproduce PROFILE=pneumonia" in text


def test_a_chapter_that_requires_nothing_is_left_alone():
    assert book_prose.chapter("# Plain\n", {}) == "# Plain\n"


PART = "# Runs\n\n<!-- if pocket.a pocket.b -->\n- {{ pocket.a }} and {{ pocket.b }}\n<!-- end -->\n\nEnd.\n"


def test_a_part_whose_numbers_exist_stays_without_its_markers():
    text = book_prose.chapter(PART, {"pocket": {"a": number(1, "1"), "b": number(2, "2")}})
    assert text == "# Runs\n\n- {{ pocket.a }} and {{ pocket.b }}\n\nEnd.\n"


def test_a_part_can_say_what_stands_there_without_its_numbers():
    text = PART.replace("<!-- end -->", "<!-- else -->\nNothing yet.\n<!-- end -->")
    assert book_prose.chapter(text, {"pocket": {"a": number(1, "1")}}) == "# Runs\n\nNothing yet.\n\nEnd.\n"
    assert "Nothing yet" not in book_prose.chapter(
        text, {"pocket": {"a": number(1, "1"), "b": number(2, "2")}}
    )


def test_a_part_whose_runs_are_missing_says_so():
    text = book_prose.chapter(PART, {"pocket": {"a": number(1, "1")}})
    assert "{{" not in text and "<!--" not in text
    assert "- *Left out" in text and text.endswith("End.\n")


def test_a_part_with_a_number_that_could_not_be_computed_is_left_out():
    text = book_prose.chapter(PART, {"pocket": {"a": number(1, "1"), "b": number(math.nan, UNKNOWN)}})
    assert "{{" not in text and "- *Left out" in text


def test_the_markers_of_the_chapters_are_paired_and_name_numbers_that_the_part_quotes():
    for path in sorted((ROOT / "book").glob("*.md")):
        text = path.read_text()
        parts = list(book_prose.CONDITION.finditer(text))
        assert len(parts) == text.count("<!-- if ") == text.count("<!-- end -->"), path
        for part in parts:
            assert all(key in part["body"] for key in part["keys"].split()), part["keys"]


def test_no_number_is_typed_into_the_results_chapter():
    text = (ROOT / "book/pocket.md").read_text()
    prose = re.sub(r"\{\{.*?\}\}|<!--.*?-->|\(\S+\)|\{cite:\w+\}`\w+`|```\{figure\}.*", "", text)
    confidence_levels = {"90", "95", "5"}
    assert set(re.findall(r"\d+(?:\.\d+)?", prose)) <= confidence_levels


def test_no_page_types_the_hours_of_the_papers_runs():
    for path in sorted((ROOT / "book").glob("*.md")):
        assert not re.search(r"\b(sixty|60) GPU hours", path.read_text()), path


def test_the_glossary_has_the_words_by_which_results_are_told():
    words = re.findall(r"^(\w[^\n]*)\n  \w", (ROOT / "book/glossary.md").read_text(), re.MULTILINE)
    assert {"baseline", "draw", "margin", "primary claim", "seed", "split", "tie"} <= set(words)


def test_no_text_of_a_figure_says_how_the_runs_of_a_reader_will_come_out():
    for path in sorted((ROOT / "book").glob("*.md")):
        text = path.read_text()
        if book_prose.front_matter(text).get("requires") in ("pocket", "medical"):
            for alt in re.findall(r"^:alt: (.*)$", text, re.MULTILINE):
                assert not re.search(r"\b(most|mostly|few|rising|falling|higher|lower)\b", alt.lower()), alt


def test_every_number_that_the_results_chapter_quotes_is_made_by_the_notebooks(synthetic_results):
    found = pipeline.Analysis(synthetic_results)
    made = found.numbers("03_energy") | found.numbers("04_pepr")
    for path in sorted((ROOT / "book").glob("*.md")):
        quoted = set(re.findall(r"\bpocket\.([a-z0-9_]+)\b(?=[^\n]*(?:\}\}|-->))", path.read_text()))
        unmade = quoted - set(made)
        claims = {re.sub(r"^claim_|_[a-z]+$", "", key) for key in unmade if key.startswith("claim_")}
        others = {
            key for key in unmade if not key.startswith(("claim_", "compared_", "bill_water", "water_"))
        }
        # Claims that these runs cannot test, baselines that they do not have, a factor that was not given.
        assert claims <= set(order().question_of) and not others, (path, unmade)


def test_the_table_of_contents_is_read_in_order():
    toc = {"root": "book/index", "parts": [{"chapters": [{"file": "a", "sections": [{"file": "b.md"}]}]}]}
    assert book_pages.documents(toc) == ["book/index", "a", "b"]


def test_a_further_profile_gets_a_part_of_its_own():
    pages = book_pages.pages_of(["pocket", "pneumonia"])
    toc = book_pages.with_profiles({"root": "book/index", "parts": []}, pages)
    assert book_pages.documents(toc)[1:] == ["notebooks/pneumonia/03_energy", "notebooks/pneumonia/04_pepr"]


def test_every_chapter_of_the_book_is_in_the_table_of_contents_and_has_a_description():
    listed = set(book_pages.documents(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    chapters = sorted((ROOT / "book").glob("*.md"))
    assert chapters
    for path in chapters:
        assert f"book/{path.stem}" in listed
        assert book_prose.front_matter(path.read_text()).get("description"), path


def test_the_mirror_rewrites_only_what_differs_and_removes_strays(tmp_path):
    mirror = build.Mirror(tmp_path)
    mirror.write("a/same.md", "x")
    mirror.write("a/stray.md", "x")
    before = (tmp_path / "a/same.md").stat().st_mtime_ns
    again = build.Mirror(tmp_path)
    again.write("a/same.md", "x")
    again.remove_strays()
    assert (tmp_path / "a/same.md").stat().st_mtime_ns == before
    assert not (tmp_path / "a/stray.md").exists()


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook with a title, an empty parameters cell, and these code cells."""
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# A title"),
            nbformat.v4.new_code_cell("profile = 'none'", metadata={"tags": ["parameters"]}),
            *(nbformat.v4.new_code_cell(cell) for cell in cells),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout whose results live inside it."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    return tmp_path


def test_a_notebook_runs_once_with_its_parameters_and_again_when_it_changed(checkout):
    page = book_pages.Page("notebooks/n.ipynb", {"profile": "pocket"})
    executed = checkout / "_build/executed"
    write_notebook(checkout / page.notebook, "print('for', profile)")
    output, note = notebooks.execute(checkout, page, executed)
    assert note == "executed"
    assert "for pocket" in output.read_text()
    assert notebooks.execute(checkout, page, executed) == (output, "unchanged")
    write_notebook(checkout / page.notebook, "print('again for', profile)")
    assert notebooks.execute(checkout, page, executed)[1] == "executed"
    assert "again for pocket" in output.read_text()


def test_a_notebook_runs_again_when_code_profiles_claims_or_tables_of_the_package_change():
    names = {"score.py", "space.py", "pocket.yaml", "primary.yaml", "history.csv", "model_space.csv"}
    assert names <= {path.name for path in notebooks.package_files()}


def test_a_notebook_of_a_study_runs_again_when_its_networks_were_timed(checkout, monkeypatch):
    folder = checkout / "results" / "pocket"
    update_numbers(folder, "n", {"n_rows": number(3, "3")})
    (folder / "results.csv").write_text("run_id\n")
    page = book_pages.Page("notebooks/n.ipynb", namespace="pocket")
    write_notebook(checkout / page.notebook, "1")
    monkeypatch.setattr(
        notebooks, "execute_notebook", lambda _, output, *args, **kwargs: output.write_text("{}")
    )
    executed = checkout / "_build/executed"
    (executed / page.path).parent.mkdir(parents=True)
    said = [notebooks.execute(checkout, page, executed)[1] for _ in range(2)]
    (folder / "timing.csv").write_text("model\n")
    assert [*said, notebooks.execute(checkout, page, executed)[1]] == ["executed", "unchanged", "executed"]


def test_a_notebook_whose_data_are_missing_becomes_a_notice(checkout):
    page = book_pages.Page("notebooks/n.ipynb")
    write_notebook(
        checkout / page.notebook,
        "from pepr.errors import DataUnavailable\nraise DataUnavailable('fetch the tables')",
    )
    output, why = notebooks.execute(checkout, page, checkout / "_build/executed")
    assert (output, why) == (None, "fetch the tables")
    notice = nbformat.reads(notebooks.notice_notebook(checkout / page.notebook, why), as_version=4)
    assert [cell.cell_type for cell in notice.cells] == ["markdown"]
    assert notice.cells[0].source.startswith("# A title")
    assert "fetch the tables" in notice.cells[0].source


def test_without_the_authors_tables_no_kernel_is_started_and_no_older_number_stays(checkout, monkeypatch):
    def nowhere(name):
        raise DataUnavailable(f"{name} is nowhere")

    monkeypatch.setattr(notebooks.published, "find_table", nowhere)
    monkeypatch.setattr(notebooks, "execute_notebook", lambda *_: pytest.fail("a kernel was started"))
    for page in (page for page in book_pages.PAGES if page.namespace in {"published", "costs"}):
        numbers = update_numbers(checkout / "results" / page.namespace, "n", {"n_rows": number(3, "3")})
        write_notebook(checkout / page.notebook, "1 / 0")
        output, why = notebooks.execute(checkout, page, checkout / "_build/executed")
        assert output is None and why.endswith("is nowhere")
        assert not numbers.exists()


def test_the_training_notebook_is_shown_as_it_is_with_a_note(checkout):
    write_notebook(checkout / build.TRAINING, "1 / 0")
    shown = nbformat.reads(notebooks.unexecuted_notebook(checkout / build.TRAINING), as_version=4)
    assert [cell.cell_type for cell in shown.cells] == ["markdown", "markdown", "code", "code"]
    assert "never trains" in shown.cells[1].source
    assert shown.cells[3].outputs == []


def test_a_notebook_that_fails_stops_the_book_and_is_named(checkout):
    page = book_pages.Page("notebooks/n.ipynb")
    write_notebook(checkout / page.notebook, "1 / 0")
    with pytest.raises(errors.BookError, match=r"notebooks/n\.ipynb failed.*ZeroDivisionError"):
        notebooks.execute(checkout, page, checkout / "_build/executed")


def test_the_source_folder_has_notebooks_figures_and_numbers_and_says_whose_results_they_are(
    checkout, monkeypatch
):
    yours = book_pages.Page("notebooks/08_yours.ipynb", {}, "yours")
    monkeypatch.setattr(book_pages, "PAGES", (*book_pages.PAGES, yours))
    shutil.copytree(Path(write_synthetic(checkout / "first")).parent, checkout / "results")
    for name in ("pocket", "yours"):
        (checkout / f"results/{name}/figures").mkdir(parents=True)
        (checkout / f"results/{name}/figures/one.svg").write_text("<svg/>")
    (checkout / "book/index.md").write_text("---\ndescription: x\n---\n# Front\n\n{{ pocket.seen }}\n")
    (checkout / "_toc.yml").write_text("format: jb-book\nroot: book/index\nparts: []\n")
    shutil.copy(ROOT / "_config.yml", checkout / "_config.yml")
    quote = "from pathlib import Path\n"
    quote += "from pepr.display.numbers import UNKNOWN, number, substitutions, update_numbers\n"
    quote += "update_numbers(Path('results/pocket'), '04_pepr', {'seen': number(1, 'one')});"
    for page in book_pages.PAGES:
        write_notebook(checkout / page.notebook, quote if "04" in page.notebook else "1")
    own = quote.replace("results/pocket", "results/yours").replace("04_pepr", "08_yours")
    write_notebook(checkout / yours.notebook, own)
    for stem in ("02_finetune", "07_sets"):
        write_notebook(checkout / f"notebooks/{stem}.ipynb")
    said: list[str] = []
    names = build.assemble(checkout, checkout / "_build/source", said.append)
    source = checkout / "_build/source"
    further = [profile for profile in study_facts.profiles_with_results() if profile != "pocket"]
    several = study_facts.of_several_sets(further)
    assert names == [
        "book/index",
        *(page.path.removesuffix(".ipynb") for page in book_pages.pages_of(further, several) if page.output),
    ]
    assert "pocket: results of this machine" in said
    for name in ("pocket", "yours"):
        assert (source / f"_figures/{name}/one.svg").read_text() == "<svg/>"
    assert (source / "notebooks/04_pepr.ipynb").exists()
    config = yaml.safe_load((source / "_config.yml").read_text())
    numbers = json.loads((source / config["sphinx"]["config"]["pepr_numbers_file"]).read_text())
    assert substitutions(numbers)["pocket"] == {"seen": "{number}`pocket.seen`"}
    assert numbers["pocket"]["seen"] == {**number(1, "one"), "source": "04_pepr"}
    assert numbers["yours"]["seen"] == {**number(1, "one"), "source": "08_yours"}
    assert (source / build.DATA_SCRIPT).read_text().startswith("window.peprStudy = {")
    assert (source / "book/_records/pocket-results.csv").exists()
    assert "this machine" in config["parse"]["myst_substitutions"]["study"]["results_origin"]


def test_outside_a_checkout_the_book_says_so(tmp_path):
    with pytest.raises(InputError, match="checkout"):
        files.find_checkout(tmp_path)


def test_a_figure_is_traced_to_the_notebook_whose_code_names_its_file(checkout):
    page = book_pages.Page("notebooks/04_pepr.ipynb", {}, "pneumonia", "notebooks/pneumonia/04_pepr.ipynb")
    write_notebook(checkout / page.notebook, "figures.save(figure, folder / 'figures' / 'curve.svg')")
    assert notebooks.figure_sources(checkout, [page]) == {
        "pneumonia/curve.svg": "notebooks/pneumonia/04_pepr"
    }


def render(folder: Path, text: str, numbers: dict) -> str:
    """Build a book of a chapter and the notebook that its numbers come from; returns the chapter's HTML."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    options = config["sphinx"]["config"]
    options |= {"html_static_path": [], "html_css_files": [], "html_js_files": [], "bibtex_bibfiles": []}
    options["pepr_figures"] = {"pocket/curve.svg": "notebooks/04_pepr"}
    del options["templates_path"], options["html_favicon"], config["bibtex_bibfiles"]
    source = folder / "source"
    (source / "_figures/pocket").mkdir(parents=True, exist_ok=True)
    (source / "_figures/pocket/curve.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (source / "_config.yml").write_text(yaml.safe_dump(config))
    (source / "numbers.json").write_text(json.dumps(numbers))
    (source / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters: [{file: notebooks/04_pepr}]\n")
    (source / "index.md").write_text(text)
    write_notebook(source / "notebooks/04_pepr.ipynb")
    build.render(source, folder)
    return re.sub(r"\s+", " ", (folder / "_build/html/index.html").read_text())


FULL_CHAPTER = """---
description: What a page can hold.
---

# A page

It took {{ pocket.energy }}, $\\frac{1}{2}$, with {{ pocket.model }}.

```{figure} /_figures/pocket/curve.svg
:alt: A curve.

A curve.
```
"""


@pytest.mark.slow
def test_a_number_and_a_figure_lead_to_their_notebook_and_an_undefined_number_stops_the_build(tmp_path):
    made = {"energy": number(1.5, "1.5 Wh", estimate=True), "model": number("dla46_c", "`dla46_c` (best)")}
    update_numbers(tmp_path / "results", "04_pepr", made)
    numbers = build.numbers_of({"pocket": tmp_path / "results"})
    page = render(tmp_path, FULL_CHAPTER, numbers)
    assert (
        '<a class="number estimated" data-number="pocket.energy" href="notebooks/04_pepr.html" '
        'title="Estimated by the notebook 04_pepr">1.5 Wh</a>' in page
    )
    assert re.search(r'data-number="pocket.model"[^>]*><code[^>]*>.*?dla46_c.*?</code> \(best\)</a>', page)
    assert '<a href="notebooks/04_pepr.html">drawn by this notebook</a>' in page
    assert '<meta name="description" content="What a page can hold." />' in page
    assert "<mfrac>" in page
    with pytest.raises(errors.BookError, match="gone"):
        render(tmp_path, "# A page\n\nIt took {{ pocket.gone }}.\n", numbers)
