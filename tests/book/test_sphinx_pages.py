"""What the book's Sphinx extension makes of numbers, figures, descriptions and icons."""

from types import SimpleNamespace

import pytest
from docutils import nodes
from sphinx.application import Sphinx

from pepr.book import links, sphinx_pages

SCRIPT = (
    'var a={bars:[448,512,["navicon"],"f0c9","M0 96z"],"arrow-up":[384,512,[8593],"f062","M214 41z"],'
    '"arrow-up-wide":[576,512,[],"f161","M1 1z"]}'
)


@pytest.fixture
def env():
    return SimpleNamespace(
        found_docs={"notebooks/04_pepr", "notebooks/pneumonia/04_pepr"},
        metadata={"book/a": {"description": "What it is about."}},
    )


def test_a_number_leads_to_the_notebook_of_its_profile_else_to_the_common_one(env):
    assert sphinx_pages.notebook_of("pneumonia/04_pepr", env) == "notebooks/pneumonia/04_pepr"
    assert sphinx_pages.notebook_of("pocket/04_pepr", env) == "notebooks/04_pepr"
    assert sphinx_pages.notebook_of("pocket/09_none", env) is None


def test_a_page_is_described_by_its_front_matter_else_by_its_first_paragraph(env):
    app = SimpleNamespace(env=env)
    page = nodes.document(None, None)
    page += nodes.paragraph("", "word " * 100)
    assert sphinx_pages.description_of(app, "book/a", page) == "What it is about."
    assert sphinx_pages.description_of(app, "search", None).startswith("Search")
    found = sphinx_pages.description_of(app, "book/b", page)
    assert found.endswith("word …") and len(found) <= sphinx_pages.DESCRIPTION_LENGTH + 2
    assert sphinx_pages.description_of(app, "book/c", None) == ""


def test_launch_buttons_stay_away_from_notebooks_that_the_repository_does_not_have(env):
    app = SimpleNamespace(env=env)
    for name, left in (("notebooks/04_pepr", 2), ("notebooks/pneumonia/04_pepr", 1)):
        context = {"header_buttons": [{"label": "launch-buttons"}, {"label": "download"}]}
        sphinx_pages.complete_page(app, name, "page.html", context, None)
        assert len(context["header_buttons"]) == left


def test_a_description_cannot_break_out_of_its_tag(env):
    env.metadata["book/a"]["description"] = 'Models & "costs" <now>'
    context: dict = {}
    sphinx_pages.complete_page(SimpleNamespace(env=env), "book/a", "page.html", context, None)
    assert 'content="Models &amp; &quot;costs&quot; &lt;now&gt;"' in context["metatags"]


def test_a_caption_names_the_notebook_that_drew_the_figure():
    page = nodes.document(None, None)
    for name in ("curve", "other"):
        figure = nodes.figure(
            "", nodes.image(uri=f"_figures/pocket/{name}.svg"), nodes.caption("", "A curve.")
        )
        page += figure
    app = SimpleNamespace(config=SimpleNamespace(pepr_figures={"pocket/curve.svg": "notebooks/04_pepr"}))
    sphinx_pages.name_sources(app, page, "book/a")
    (line,) = page.findall(sphinx_pages.drawn_by)
    assert line["source"] == "notebooks/04_pepr"
    assert line.parent.astext().startswith("A curve.")


def test_only_the_icons_that_pages_use_are_kept(tmp_path):
    assert set(sphinx_pages.used_icons(SCRIPT, ['<i class="fa-solid fa-arrow-up"></i>'])) == {"arrow-up"}
    scripts = tmp_path / "_static/scripts"
    scripts.mkdir(parents=True)
    (scripts / "fontawesome.js").write_text(SCRIPT)
    (tmp_path / "one.html").write_text('<i class="fas fa-bars"></i>')
    sphinx_pages.lighten_icons(SimpleNamespace(outdir=tmp_path), None)
    kept = (scripts / "fontawesome.js").read_text()
    assert '{"bars": [448, 512, "M0 96z"]}' in kept and "M214" not in kept


def test_the_scripts_of_the_search_are_on_its_own_page_alone(tmp_path):
    theme = '<script src="../_static/tables.js?v=1"></script>'
    search = "".join(
        f'\n    <script src="../{name}.js"></script>'
        for name in ("_static/searchtools", "_static/language_data", "searchindex")
    )
    (tmp_path / "book").mkdir()
    for name in ("book/one.html", "search.html"):
        (tmp_path / name).write_text(f"<head>{theme}{search}</head>")
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    sphinx_pages.leave_the_index_to_the_search(app, None)
    assert (tmp_path / "book/one.html").read_text() == f"<head>{theme}</head>"
    assert (tmp_path / "search.html").read_text() == f"<head>{theme}{search}</head>"


@pytest.fixture
def book(tmp_path):
    """A book's source, where its pages are built, and what builds them."""
    source, built = tmp_path / "source", tmp_path / "built"
    (source / "style").mkdir(parents=True)
    (source / "index.md").write_text("# A book\n")
    numbers = source / "numbers.json"
    numbers.write_text("{}")
    options = {
        "extensions": ["myst_parser", "pepr.book.sphinx_pages"],
        "html_static_path": ["style"],
        "pepr_numbers_file": str(numbers),
    }

    def build():
        app = Sphinx(source, None, built, tmp_path / "doctrees", "html", options, status=None)
        app.build()
        assert app.statuscode == 0

    return source, built, build


def test_a_style_sheet_that_changed_alone_is_copied(book):
    source, built, build = book
    for rule in ("p {}", "p { color: black }"):
        (source / "style" / "book.css").write_text(rule)
        build()
        assert (built / "_static" / "book.css").read_text() == rule


def test_a_narrow_window_gets_the_drawing_that_was_made_for_it(book):
    source, built, build = book
    (source / "index.md").write_text("# A book\n\n```{toctree}\nchapters/one\n```\n")
    for folder in ("_figures", "chapters"):
        (source / folder).mkdir()
    for name in ("both", "both_narrow", "single"):
        (source / "_figures" / f"{name}.svg").write_text(f"<svg><!-- {name} --></svg>")
    figures = [f"```{{figure}} /_figures/{name}.svg\n\nA caption.\n```\n" for name in ("both", "single")]
    (source / "chapters" / "one.md").write_text("\n".join(["# One", *figures]))
    build()
    page = links.parse(built / "chapters" / "one.html")
    (picture,) = page.find_all("picture")
    assert picture.find("source")["media"] == sphinx_pages.NARROW
    assert picture.find("img")["src"] == "../_images/both.svg"
    narrow = (built / "chapters" / picture.find("source")["srcset"]).resolve()
    assert "both_narrow" in narrow.read_text()
    assert len(page.find_all("img")) == 2
