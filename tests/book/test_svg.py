"""Lighter drawings: fewer bytes, the same words, markers and colours."""

import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pepr.book.svg import lighter, lighter_notebook
from pepr.display import style


def test_coordinates_lose_digits_and_words_do_not():
    drawing = '<path d="M 1.234567 2.5 \nL 10.9999 3"/><text x="0.123456" y="7">0.123456</text>'
    assert lighter(drawing) == '<path d="M 1.23 2.5 L 10.99 3"/><text x="0.12" y="7">0.123456</text>'


def test_what_is_referred_to_gets_a_short_name_and_the_rest_none():
    drawing = '<g id="axes_1"><path id="m0d"/><use xlink:href="#m0d"/><path clip-path="url(#p1f)"/></g>'
    light = '<path id="i0"/><use href="#i0"/><path clip-path="url(#i1)"/>'
    assert lighter(drawing) == light


def test_markers_that_look_alike_share_one_style():
    markers = (
        '<g clip-path="url(#i0)">\n <use x="1" style="fill: red"/>\n <use x="2" style="fill: red"/>\n</g>'
    )
    assert lighter(markers) == '<g clip-path="url(#i0)" style="fill: red"><use x="1"/>\n<use x="2"/>\n</g>'


def test_groups_that_say_nothing_go_and_their_contents_stay():
    drawing = '<g><g style="fill: red"><g/><g><text>a</text></g></g><text>b</text></g>'
    assert lighter(drawing) == '<g style="fill: red"><g/><text>a</text></g><text>b</text>'


def test_what_matplotlib_says_of_itself_goes():
    assert (
        lighter("<svg><metadata>\n<dc:date>now</dc:date></metadata>\n<defs/></svg>") == "<svg><defs/></svg>"
    )


@pytest.mark.parametrize("second", ['<use x="2" style="fill: blue"/>', '<use x="2"/>'])
def test_markers_that_differ_keep_their_own(second):
    markers = f'<use x="1" style="fill: red"/>{second}'
    assert lighter(f"<g>{markers}</g>") == markers


@pytest.fixture
def drawing():
    """A scatter of 300 points with names on its axes, as the study's figures are saved."""
    style.theme()
    figure, axes = plt.subplots()
    axes.plot(*np.random.default_rng(0).normal(size=(2, 300)), "o", color="#0072B2")
    axes.set(xlabel="Energy (Wh)", ylabel="Accuracy")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return buffer.getvalue()


def test_a_figure_of_matplotlib_gets_much_lighter_and_keeps_its_points_and_words(drawing):
    light = lighter(drawing)
    assert len(light) < 0.75 * len(drawing)
    assert light.count("<use") == drawing.count("<use")
    assert re.findall(r"<text[^>]*>([^<]*)", light) == re.findall(r"<text[^>]*>([^<]*)", drawing)


def test_only_the_drawings_of_a_notebook_change(drawing):
    cells = [
        {
            "source": ["x = 0.123456"],
            "outputs": [{"data": {"image/svg+xml": [drawing], "text/plain": "1.2345"}}],
        },
        {"source": ["words"]},
    ]
    light = json.loads(lighter_notebook(json.dumps({"cells": cells})))["cells"]
    assert light[0]["outputs"][0]["data"] == {"image/svg+xml": lighter(drawing), "text/plain": "1.2345"}
    assert light[0]["source"] == ["x = 0.123456"] and light[1] == {"source": ["words"]}
