"""The page checker fires on a missing page, a broken link and a foreign resource, and on nothing else."""

from pathlib import Path

import pytest

from pepr.book.links import check_site, is_external, remove_stale_pages

PAGE = "<html><head>{head}</head><body><h1 id='top'>A page</h1>{body}</body></html>"


@pytest.fixture
def html(tmp_path) -> Path:
    """A sound book of two pages with a picture, a style sheet and links between them."""
    write(tmp_path / "one.html", body='<a href="two.html#top">two</a><img src="_images/a%20b.png" alt="">')
    write(
        tmp_path / "two.html", head='<link rel="stylesheet" href="style.css"><link rel="next" href="x.html">'
    )
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images/a b.png").write_bytes(b"")
    (tmp_path / "style.css").write_text("body { background: url(data:image/png;base64,AA==) }")
    return tmp_path


def write(path: Path, head: str = "", body: str = "") -> None:
    path.write_text(PAGE.format(head=head, body=body))


def test_a_sound_book_has_no_problems(html):
    assert check_site(html, ["one", "two"]) == []


def test_plain_links_to_other_hosts_are_fine(html):
    write(html / "one.html", body='<a href="https://example.org/">there</a> <a href="mailto:a@b.c">mail</a>')
    assert check_site(html, ["one", "two"]) == []


def test_a_page_that_was_not_built_is_found(html):
    assert check_site(html, ["one", "two", "three"]) == ["three.html: the page was not built"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "no such file: gone.html"),
        ('<a href="two.html#gone">x</a>', "no such anchor: two.html#gone"),
        ('<a href="#gone">x</a>', "no such anchor: #gone"),
        ('<img src="_images/gone.png">', "no such file: _images/gone.png"),
        ('<a href="/two.html">x</a>', "an absolute path does not open from a file: /two.html"),
        ('<a href="../outside.html">x</a>', "outside the book: ../outside.html"),
    ],
)
def test_a_local_address_without_a_target_is_found(html, body, problem):
    write(html / "one.html", body=body)
    assert check_site(html, ["one", "two"]) == [f"one.html: {problem}"]


@pytest.mark.parametrize(
    "markup",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<script src="//cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="https://cdn.example/x.css">',
        '<link rel="preload" as="font" href="https://cdn.example/x.woff2">',
        '<img src="https://cdn.example/x.png">',
        '<img srcset="https://cdn.example/x.png 2x">',
        '<iframe src="https://cdn.example/"></iframe>',
        "<style>@import 'https://cdn.example/x.css';</style>",
        '<p style="background: url(https://cdn.example/x.png)">x</p>',
    ],
)
def test_a_resource_from_another_host_is_found(html, markup):
    write(html / "one.html", body=markup)
    problems = check_site(html, ["one", "two"])
    assert len(problems) == 1
    assert problems[0].startswith("one.html: loads from another host: ")
    assert "cdn.example" in problems[0]


def test_a_font_from_another_host_in_a_style_sheet_is_found(html):
    (html / "style.css").write_text("@font-face { src: url('https://cdn.example/x.woff2') }")
    assert check_site(html, ["one", "two"]) == [
        "style.css: loads from another host: https://cdn.example/x.woff2"
    ]


def test_pages_that_the_book_no_longer_has_are_removed(html):
    write(html / "old.html")
    write(html / "search.html")
    remove_stale_pages(html, ["one", "two"])
    assert sorted(path.name for path in html.glob("*.html")) == ["one.html", "search.html", "two.html"]


@pytest.mark.parametrize(
    ("address", "external"),
    [("https://a.b/c", True), ("//a.b/c", True), ("c.html", False), ("#d", False), ("data:,x", False)],
)
def test_an_address_of_another_host_is_told_from_a_local_one(address, external):
    assert is_external(address) is external
