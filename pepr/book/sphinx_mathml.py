"""A Sphinx extension: formulas become MathML when the book is built, so that no page needs a script.

Browsers draw MathML themselves, from a file and without a network. The conversion is that of docutils.
"""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def to_mathml(latex: str, display: str) -> str:
    """A formula as a `<math>` element, on one line. Raises ValueError for what cannot be converted.

    `display` is `inline` or `block`.
    """
    try:
        markup = latex2mathml.tex2mathml(latex)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"not a formula: {latex!r}: {error}") from None
    return re.sub(r"\s*\n\s*", "", markup).replace("<math ", f'<math display="{display}" ', 1)


def _markup(translator: HTML5Translator, node: nodes.Element, display: str) -> str:
    try:
        return to_mathml(node.astext(), display)
    except ValueError as error:
        logger.warning(str(error), location=node, type="mathml")
        return translator.encode(node.astext())


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_markup(translator, node, "inline"))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})</span>')
    translator.body.append(_markup(translator, node, "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
