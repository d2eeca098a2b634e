"""`make check-book`: a sound book passes and is counted; each thing that is broken on purpose is found."""

import json
import shutil
from pathlib import Path

import pytest

from pepr.book import browser, page_rules
from pepr.book.browser import CheckFailed, check, expected_documents, find_browser, is_redirect
from pepr.book.links import check_site

NUMBERS = {"pocket": {"runs": {"text": "25", "value": 25, "source": "04_pepr", "estimate": False}}}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="description" content="A page of a small book.">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="_static/icon.svg"><link rel="stylesheet" href="_static/look.css"></head>
<body><main><article><h1 id="top">{title}</h1>{body}</article></main></body></html>"""
FIRST = """<p>There were <a class="number" data-number="pocket.runs" href="two.html">25</a> runs.</p>
<figure><img src="_images/plot.svg" alt="A line that rises."><figcaption>A line.</figcaption></figure>
<p><a href="two.html#top">The next page</a>, <a href="_static/numbers.json" download>numbers</a>.</p>"""
SECOND = '<p><a href="one.html">Back</a></p>'
STYLE = """body { color: #222222; background: #ffffff }
@media (prefers-color-scheme: dark) { body { color: #dddddd; background: #111111 } a { color: #84c1e8 } }"""
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><path d="M0 20L40 0"/></svg>'
NAMES = ["one", "two"]


@pytest.fixture
def html(tmp_path) -> Path:
    """A sound book of two pages: a number, a figure, links, a download."""
    for folder in ("_static", "_images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_static/look.css").write_text(STYLE)
    (tmp_path / "_static/icon.svg").write_text(DRAWING)
    (tmp_path / "_images/plot.svg").write_text(DRAWING)
    (tmp_path / page_rules.NUMBERS_FILE).write_text(json.dumps(NUMBERS))
    (tmp_path / "one.html").write_text(PAGE.format(title="One", body=FIRST))
    (tmp_path / "two.html").write_text(PAGE.format(title="Two", body=SECOND))
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def problems(html: Path) -> list[str]:
    """What the checks that need no browser find."""
    pages = [html / f"{name}.html" for name in NAMES]
    return check_site(html, NAMES) + page_rules.check_pages(html, [path for path in pages if path.exists()])


def test_a_sound_book_has_no_problems_and_is_counted(html):
    assert problems(html) == []
    assert page_rules.count([html / "one.html", html / "two.html"]) == {
        "pages": 2,
        "links": 4,
        "figures": 1,
        "numbers": 1,
    }


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('href="two.html#top"', 'href="gone.html"', "one.html: no such file: gone.html"),
        ('href="two.html#top"', 'href="two.html#gone"', "one.html: no such anchor: two.html#gone"),
        ('href="_static/numbers.json"', 'href="_static/x.csv"', "one.html: no such file: _static/x.csv"),
        ('alt="A line that rises."', 'alt=""', "one.html: no alternative text: _images/plot.svg"),
        ('alt="A line that rises."', 'alt="plot.svg"', "one.html: no alternative text: _images/plot.svg"),
        ("<figcaption>A line.</figcaption>", "", "one.html: no caption: _images/plot.svg"),
        (">25<", ">26<", "one.html: pocket.runs reads '26', the notebook wrote '25'"),
        ("pocket.runs", "pocket.gone", "one.html: a number that no notebook made: pocket.gone"),
        (
            ">25<",
            ">25</a> of {{ pocket.all }}<a href='#top'><",
            "one.html: a number that was not filled in: {{",
        ),
        ('content="A page of a small book."', 'content=""', "one.html: no description"),
        ("</article>", "<h1>Again</h1></article>", "one.html: 2 headings of level one"),
        ("</article>", "<svg></svg></article>", "one.html: a drawing without a name or aria-hidden"),
    ],
)
def test_what_is_broken_on_purpose_is_found(html, old, new, problem):
    replace(html / "one.html", old, new)
    assert problem in problems(html)


def test_a_page_that_is_missing_is_found(html):
    (html / "two.html").unlink()
    assert "two.html: the page was not built" in problems(html)


def test_a_number_that_changed_after_the_build_is_found(html):
    changed = {"pocket": {"runs": {**NUMBERS["pocket"]["runs"], "text": "24"}}}
    (html / page_rules.NUMBERS_FILE).write_text(json.dumps(changed))
    assert problems(html) == ["one.html: pocket.runs reads '25', the notebook wrote '24'"]


def test_a_page_that_weighs_too_much_is_found(html):
    (html / "_images/plot.svg").write_text("<svg>" + "x" * page_rules.LARGEST_PAGE_BYTES + "</svg>")
    assert [line.split(",")[0] for line in problems(html)] == ["one.html: weighs 1.50 MB"]


def test_the_expected_pages_are_those_of_the_table_of_contents(tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source/_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters: [{file: book/a}]\n"
    )
    assert expected_documents(tmp_path / "html") == ["book/index", "book/a"]


def test_a_page_that_sends_the_browser_on_is_known(html):
    assert not is_redirect(html / "one.html")
    (html / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=one.html">')
    assert is_redirect(html / "index.html")


def test_without_chromium_the_check_fails_and_names_the_package(html, monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    with pytest.raises(CheckFailed, match="apt-get install chromium"):
        check(html, NAMES)


with_browser = pytest.mark.skipif(
    not any(shutil.which(name) for name in browser.BROWSERS), reason="Chromium is not installed"
)


@with_browser
@pytest.mark.slow
def test_a_sound_book_passes_in_the_browser_with_a_line_that_counts(html):
    said = check(html, NAMES)
    assert said.startswith(
        "The book is sound: 2 pages, 4 links, 1 figures and 1 generated numbers checked by"
    )


@with_browser
@pytest.mark.slow
def test_what_only_a_browser_sees_is_found(html):
    """Pale words, no title or language, a script that fails, a request, a page wider than a phone."""
    replace(html / "one.html", "<title>One</title>", "<title></title>")
    replace(html / "one.html", ' lang="en"', "")
    replace(html / "one.html", "<p>There", '<p style="color: #eeeeee; background: #ffffff">There')
    replace(html / "two.html", "</article>", "<script>undefined_function()</script></article>")
    replace(html / "two.html", "</article>", "<script>fetch('http://127.0.0.1:9/x')</script></article>")
    replace(html / "two.html", "</article>", '<p style="width: 900px">Wide.</p></article>')
    with pytest.raises(CheckFailed) as error:
        check(html, NAMES)
    said = str(error.value)
    for rule in ("color-contrast", "document-title", "html-has-lang"):
        assert f"one.html (light, 1440 px): {rule}" in said
    assert "two.html (light, 1440 px): script: undefined_function is not defined" in said
    assert "two.html (light, 1440 px): asks for http://127.0.0.1:9/x" in said
    assert "two.html (dark, 390 px): " in said and "pixels wider than the screen" in said


def test_the_browser_is_one_that_exists(monkeypatch, tmp_path):
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "gone"))
    with pytest.raises(CheckFailed, match="Chromium is not here"):
        find_browser()
