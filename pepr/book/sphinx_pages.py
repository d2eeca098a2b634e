"""A Sphinx extension: numbers lead to their notebook, figures name it and fit a phone, pages are complete.

Roles and pages use what `pepr.book` puts into the configuration: `pepr_numbers_file`, which is read into
`pepr_numbers` (namespace, key, entry), and `pepr_figures` (file of a figure, document of the notebook that
drew it).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.osutil import relative_uri
from sphinx.writers.html5 import HTML5Translator

from pepr.display.numbers import substitutions

logger = logging.getLogger(__name__)

RECORDS = "book/provenance"
DESCRIPTION_LENGTH = 200
GENERATED_PAGES = {
    "genindex": "The words and terms that this book explains, and where.",
    "search": "Search the pages of this book.",
}
NARROW = "(max-width: 600px)"
"""The windows that pepr.css calls narrow."""
SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*\b(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
ICON = re.compile(r"\bfa-([a-z0-9-]+)")
ICON_RUNTIME = """// The icons that these pages use, from Font Awesome Free (CC BY 4.0).
const icons = %s;
const draw = () => document.querySelectorAll("i[class*='fa-']").forEach((mark) => {
  const name = [...mark.classList].map((c) => c.slice(3)).find((n) => n in icons);
  if (!name) return;
  const [width, height, path] = icons[name];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  [...mark.attributes].forEach(({ name, value }) => svg.setAttribute(name, value));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("svg-inline--fa");
  svg.innerHTML = `<path fill="currentColor" d="${path}"></path>`;
  mark.replaceWith(svg);
});
document.addEventListener("DOMContentLoaded", draw);
if (document.readyState !== "loading") draw();
"""


class generated_number(nodes.Inline, nodes.TextElement):
    """A number that a notebook made: `number` is its key, `source` its notebook, `estimated` its nature."""


class drawn_by(nodes.Inline, nodes.TextElement):
    """The line under a figure that names the notebook `source` that drew it."""


def number_role(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Inliner,
    options: Mapping[str, Any] | None = None,
    content: Any = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """``{number}`namespace.key``` as the words that a notebook wrote for it, with the way back to it."""
    namespace, _, key = text.partition(".")
    entry = inliner.document.settings.env.config.pepr_numbers.get(namespace, {}).get(key)
    if entry is None:
        message = inliner.reporter.warning(f"no notebook made a number {text}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    # Text between backticks is code, as elsewhere in a chapter.
    parts = [
        nodes.literal(part, part) if at % 2 else nodes.Text(part)
        for at, part in enumerate(entry["text"].split("`"))
    ]
    node = generated_number("", *parts, number=text, support_smartquotes=False)
    node["source"] = f"{namespace}/{entry['source']}"
    node["estimated"] = bool(entry["estimate"])
    return [node], []


def notebook_of(source: str, env: BuildEnvironment) -> str | None:
    """The document of the notebook behind `namespace/stem`: that of its profile, else the common one."""
    stem = source.rpartition("/")[2]
    return next((doc for doc in (f"notebooks/{source}", f"notebooks/{stem}") if doc in env.found_docs), None)


def visit_generated(translator: HTML5Translator, node: generated_number) -> None:
    builder = translator.builder
    target = notebook_of(node["source"], builder.env)
    nature = "Estimated" if node["estimated"] else "Generated"
    classes = "number estimated" if node["estimated"] else "number"
    shared = {"CLASS": classes, "data-number": node["number"]}
    node["tag"] = "a" if target and target != builder.current_docname else "span"
    if node["tag"] == "a":
        shared["href"] = builder.get_relative_uri(builder.current_docname, target)
        shared["title"] = f"{nature} by the notebook {node['source'].rpartition('/')[2]}"
    translator.body.append(translator.starttag(node, node["tag"], "", **shared))


def depart_generated(translator: HTML5Translator, node: generated_number) -> None:
    translator.body.append(f"</{node['tag']}>")


def visit_drawn_by(translator: HTML5Translator, node: drawn_by) -> None:
    builder = translator.builder
    links = [("drawn by this notebook", node["source"]), ("records", RECORDS)]
    parts = [
        f'<a href="{builder.get_relative_uri(builder.current_docname, target)}">{words}</a>'
        for words, target in links
        if target in builder.env.found_docs and target != builder.current_docname
    ]
    if parts:
        translator.body.append(f' <span class="drawn-by">{" · ".join(parts)}</span>')
    raise nodes.SkipNode


def name_sources(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let the caption of each figure that a notebook drew lead to that notebook."""
    for figure in doctree.findall(nodes.figure):
        image = next(iter(figure.findall(nodes.image)), None)
        caption = next(iter(figure.findall(nodes.caption)), None)
        found = image and re.search(r"_figures/(.+)$", image.get("uri", ""))
        source = found and app.config.pepr_figures.get(found.group(1))
        if source and caption is not None:
            caption += drawn_by("", source=source)


def offer_narrow_figures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let a narrow window load `<stem>_narrow.svg` in place of a figure that has such a sibling."""
    for image in list(doctree.findall(nodes.image)):
        source = PurePosixPath(image.get("uri", ""))
        narrow = str(source.with_stem(f"{source.stem}_narrow")) if source.suffix == ".svg" else ""
        if not narrow or not (Path(app.srcdir) / narrow).exists() or app.builder.format != "html":
            continue
        app.env.images.add_file(docname, narrow)
        name = app.builder.images[narrow] = app.env.images[narrow][1]
        address = relative_uri(app.builder.get_target_uri(docname), f"{app.builder.imagedir}/{name}")
        place, opened = image.parent.index(image), f'<source media="{NARROW}" srcset="{address}">'
        image.parent.insert(place, nodes.raw("", f"<picture>{opened}", format="html"))
        image.parent.insert(place + 2, nodes.raw("", "</picture>", format="html"))


def description_of(app: Sphinx, pagename: str, doctree: nodes.document | None) -> str:
    """What a page is about: its front matter's `description`, else its first paragraph."""
    given = app.env.metadata.get(pagename, {}).get("description") or GENERATED_PAGES.get(pagename)
    if given or doctree is None:
        return given or ""
    paragraph = next(iter(doctree.findall(nodes.paragraph)), None)
    words = " ".join(paragraph.astext().split()) if paragraph is not None else ""
    cut = words[:DESCRIPTION_LENGTH].rsplit(" ", 1)[0]
    return words if len(words) <= DESCRIPTION_LENGTH else f"{cut} …"


def complete_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add the description; leave launch buttons only where the repository has the notebook."""
    text = description_of(app, pagename, doctree)
    if text:
        tag = f'\n<meta name="description" content="{html.escape(text)}" />'
        context["metatags"] = context.get("metatags", "") + tag
    if "body" in context:
        # A list of citations holds entries, and no list items.
        listed = '<div role="list" class="citation-list">'
        context["body"] = context["body"].replace(listed, '<div class="citation-list">')
    if pagename.count("/") > 1 and "header_buttons" in context:
        context["header_buttons"] = [
            button for button in context["header_buttons"] if button.get("label") != "launch-buttons"
        ]


def used_icons(script: str, pages: list[str]) -> dict[str, tuple[int, int, str]]:
    """Width, height and outline of each icon that the pages name, from the theme's script of all icons."""
    icons = {}
    for name in sorted({name for page in pages for name in ICON.findall(page)}):
        pattern = rf'[{{,]"?{re.escape(name)}"?:\[(\d+),(\d+),\[[^\]]*\],"[^"]*","([^"]+)"\]'
        found = re.search(pattern, script)
        if found:
            icons[name] = (int(found[1]), int(found[2]), found[3])
    return icons


def lighten_icons(app: Sphinx, error: Exception | None) -> None:
    """Replace the theme's 1.5 MB of icons by the dozen that the pages use."""
    script = Path(app.outdir) / "_static/scripts/fontawesome.js"
    if error or not script.exists():
        return
    original = script.read_text()
    if original.startswith("// The icons"):
        return
    pages = [path.read_text() for path in Path(app.outdir).rglob("*.html")]
    icons = used_icons(original, pages)
    if icons:
        script.write_text(ICON_RUNTIME % json.dumps(icons))
        (script.parent / "fontawesome.js.map").unlink(missing_ok=True)


def leave_the_index_to_the_search(app: Sphinx, error: Exception | None) -> None:
    """Take the scripts of the search, its index of the whole book among them, from all pages but its own: the
    theme loads them for answers while one types, which this book does not give."""
    if error or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        lighter = SEARCH_SCRIPTS.sub("", text)
        if lighter != text and path.name != "search.html":
            path.write_text(lighter, encoding="utf-8")


def read_numbers(app: Sphinx, config: Config) -> None:
    """Fill in the numbers and what stands for them in prose: as JSON, which is read many times faster than
    the YAML of the other options."""
    config.pepr_numbers = json.loads((Path(app.srcdir) / config.pepr_numbers_file).read_text())
    config.myst_substitutions = {**config.myst_substitutions, **substitutions(config.pepr_numbers)}


def always_the_first_page(app: Sphinx, env: BuildEnvironment, *_: object) -> list[str]:
    """Sphinx copies no style sheet and no script when every page is up to date, so one never is."""
    return [app.config.root_doc]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("pepr_numbers_file", "numbers.json", "env")
    app.add_config_value("pepr_numbers", {}, "env")
    app.add_config_value("pepr_figures", {}, "env")
    app.add_role("number", number_role)
    app.add_node(generated_number, html=(visit_generated, depart_generated))
    app.add_node(drawn_by, html=(visit_drawn_by, None))
    app.connect("config-inited", read_numbers)
    app.connect("env-get-outdated", always_the_first_page)
    app.connect("doctree-resolved", name_sources)
    app.connect("doctree-resolved", offer_narrow_figures)
    app.connect("html-page-context", complete_page, priority=900)
    app.connect("build-finished", lighten_icons)
    app.connect("build-finished", leave_the_index_to_the_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
