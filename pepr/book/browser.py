"""Check a built book as its readers meet it: every link and number, and every page in a real browser."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pepr.book import page_rules
from pepr.book.build import BUILD_FOLDER
from pepr.book.links import check_site, pages_of, parse
from pepr.book.pages import documents
from pepr.errors import InputError, WorkFailed, exit_status
from pepr.files import find_checkout

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOOKS = (("light", 1440, 900), ("dark", 390, 844))
"""How each page is looked at: colour scheme, width and height in pixels."""
SERIOUS = ("serious", "critical")
AXE_OPTIONS = {"preload": False, "resultTypes": ["violations"]}
"""Axe reads style sheets where the browser has them: a page opened from a file may not fetch them again."""
FIRST_PAINT_MS = 1000
SUB_PATH = "/some/where/"
LINK_RULES = ("links", "anchors", "resources", "hosts", "expected pages")
BROWSER_RULES = ("console", "requests", "width", "first paint", "sub-path")
Found = TypeVar("Found")
IN_VIEW = "() => document.documentElement.scrollWidth - window.innerWidth"
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


class CheckFailed(WorkFailed):
    """The book is not sound, or could not be checked. The message lists why, a line each."""


def find_browser() -> str:
    """The path of Chromium: `$CHROMIUM`, else what is installed. Raises CheckFailed naming the package."""
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not found or not Path(found).exists():
        raise CheckFailed(
            "Chromium is not here, and pages are checked in it: install the package `chromium` "
            "(Debian: apt-get install chromium), or name the program in $CHROMIUM"
        )
    return found


def expected_documents(html: Path) -> list[str]:
    """The documents that a built book should have, from the table of contents that it was built with."""
    toc = html.parent / "source" / "_toc.yml"
    if toc.exists():
        return documents(yaml.safe_load(toc.read_text()))
    found = (path.relative_to(html) for path in html.rglob("*.html"))
    return sorted(str(path.with_suffix("")) for path in found if "_static" not in path.parts)


@contextlib.contextmanager
def served(html: Path) -> Iterator[str]:
    """The folder on a local server below a sub-path; gives the address of its top."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            inside = path.startswith(SUB_PATH)
            return super().translate_path("/" + path[len(SUB_PATH) :] if inside else "/outside the book")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(html))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{SUB_PATH}"
    finally:
        server.shutdown()
        server.server_close()


def is_redirect(page: Path) -> bool:
    """Whether a page only sends the browser on to another."""
    refresh = parse(page).find("meta", attrs={"http-equiv": re.compile("^refresh$", re.IGNORECASE)})
    return refresh is not None


class Watch:
    """What a browser page complained of, and what it asked for outside the book."""

    def __init__(self, page: Any, home: str) -> None:
        self.problems: list[str] = []
        self.home = home
        page.on("console", lambda said: said.type == "error" and self.add(f"console: {said.text}"))
        page.on("pageerror", lambda error: self.add(f"script: {error}"))
        page.on("request", self.asked)
        page.on(
            "response", lambda answer: answer.status >= 400 and self.add(f"{answer.status}: {answer.url}")
        )

    def add(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def asked(self, request: Any) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.add(f"asks for {request.url}")

    def take(self) -> list[str]:
        found, self.problems = self.problems, []
        return found


def findings(response: dict[str, Any]) -> list[str]:
    """The serious findings of axe-core, a line each."""
    return [
        f"{found['id']}: {found['help']}: {' '.join(map(str, found['nodes'][0]['target']))}"
        + (f" and {len(found['nodes']) - 1} more" if len(found["nodes"]) > 1 else "")
        for found in response["violations"]
        if found["impact"] in SERIOUS
    ]


def in_browser(executable: str, work: Callable[..., Found], *arguments: Any) -> Found:
    """What `work` finds in a browser of its own, which it gets as its first argument."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--disable-gpu"], chromium_sandbox=os.geteuid() != 0
        )
        try:
            return work(browser, *arguments)
        finally:
            browser.close()


def look_at(
    browser: Any, html: Path, pages: list[Path], look: tuple[str, int, int]
) -> tuple[list[str], set[str]]:
    """Open every page from its file; returns what is wrong and the names of the axe rules that were tried."""
    from axe_playwright_python.sync_playwright import Axe

    scheme, width, height = look
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
    page = context.new_page()
    watch = Watch(page, html.resolve().as_uri())
    problems: list[str] = []
    rules: set[str] = set()
    for path in pages:
        page.goto(path.resolve().as_uri(), wait_until="load")
        found = watch.take()
        wider = page.evaluate(IN_VIEW)
        if wider > 1:
            found.append(f"{wider} pixels wider than the screen")
        response = Axe().run(page, options=AXE_OPTIONS).response
        for kind in ("passes", "violations", "incomplete", "inapplicable"):
            rules |= {entry["id"] for entry in response[kind]}
        found += findings(response)
        problems += [f"{path.relative_to(html)} ({scheme}, {width} px): {one}" for one in found]
    context.close()
    return problems, rules


def time_first_page(browser: Any, html: Path, page: Path) -> list[str]:
    """Whether the book's first page can be read soon after it was opened: the quickest of three times."""
    times = []
    for _ in range(3):
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(page.resolve().as_uri(), wait_until="load")
        times.append(tab.evaluate(PAINTED))
        context.close()
    quickest = min((time for time in times if time is not None), default=0)
    late = f"{page.relative_to(html)}: first readable after {quickest / 1000:.1f} s"
    return [late] if quickest > FIRST_PAINT_MS else []


def look_from_a_server(browser: Any, html: Path, pages: list[Path]) -> list[str]:
    """Open every page below a sub-path; returns what is wrong."""
    with served(html) as home:
        page = browser.new_page()
        watch = Watch(page, home)
        problems = []
        for path in pages:
            page.goto(home + path.relative_to(html).as_posix(), wait_until="load")
            problems += [f"{path.relative_to(html)} (below a sub-path): {one}" for one in watch.take()]
        page.close()
    return problems


def check(html: Path, names: list[str] | None = None) -> str:
    """Check a built book and return a line that counts what was checked.

    `names` are the documents that it should have, without suffix; by default those of its table of contents.
    Raises CheckFailed with the problems, a line each.
    """
    html = html.resolve()
    if not html.is_dir():
        raise InputError(f"{html}: no built book; run `make book`")
    executable = find_browser()
    names = expected_documents(html) if names is None else names
    problems = check_site(html, names)
    pages = [path for path in dict.fromkeys(pages_of(html, names)) if path.exists()]
    problems += page_rules.check_pages(html, pages)
    tried: set[str] = set()
    shown = [path for path in pages if not is_redirect(path)]
    with ThreadPoolExecutor(len(LOOKS)) as pool:
        looks = [pool.submit(in_browser, executable, look_at, html, shown, look) for look in LOOKS]
        for found, rules in (look.result() for look in looks):
            problems, tried = problems + found, tried | rules
    problems += in_browser(executable, time_first_page, html, shown[0]) if shown else []
    problems += in_browser(executable, look_from_a_server, html, shown)
    if problems:
        raise CheckFailed("\n".join(problems) + f"\n{len(problems)} problems in the book")
    counts = page_rules.count(pages)
    rules = len(page_rules.RULES) + len(LINK_RULES) + len(BROWSER_RULES) + len(tried)
    return (
        f"The book is sound: {counts['pages']} pages, {counts['links']} links, {counts['figures']} figures "
        f"and {counts['numbers']} generated numbers checked by {rules} rules, {len(tried)} of axe-core."
    )


def main(arguments: list[str]) -> int:
    """`python -m pepr.book.browser [FOLDER]` checks the built pages; by default those of this checkout."""
    return exit_status(
        lambda: print(check(Path(arguments[0]) if arguments else find_checkout() / BUILD_FOLDER / "html"))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
