"""Formulas become MathML with upright words, and a mistyped command is an error."""

import pytest

from pepr.book.sphinx_mathml import to_mathml


def test_a_fraction_becomes_mathml():
    markup = to_mathml(r"\frac{P}{1 + R}", "block")
    assert markup.startswith("<math") and 'display="block"' in markup
    assert "<mfrac>" in markup and "<mi>P</mi>" in markup


def test_an_upright_word_is_one_identifier():
    assert "<mi>PePR</mi>" in to_mathml(r"\mathrm{PePR}(r)", "inline")


@pytest.mark.parametrize("latex", [r"\nosuchcommand{a}", r"\frac"])
def test_what_is_not_a_formula_is_refused(latex):
    with pytest.raises(ValueError, match="not a formula"):
        to_mathml(latex, "inline")
