"""Tables and intervals come out in the words that a page shows."""

import re

import numpy as np
import pandas as pd
import pytest

from pepr.display import as_html
from pepr.display.words import (
    decimal,
    difference,
    difference_points,
    ends,
    fixed,
    markdown,
    percent,
    performance,
    signed_share,
    tenths,
)


def test_rows_become_a_table_under_their_own_headings():
    table = markdown([{"Model": "ant", "Runs": "3"}, {"Model": "bee", "Runs": "1"}])
    assert table.splitlines() == ["| Model | Runs |", "| --- | --- |", "| ant | 3 |", "| bee | 1 |"]
    assert markdown([]) == ""


def test_an_interval_without_an_end_is_not_known():
    assert ends(-0.5, 0.25, fixed) == "−0.50\u00a0to\u00a00.25"
    assert ends(None, 0.25, fixed) == ends(0.25, np.nan, fixed) == "not known"


def test_shares_and_values_have_the_digits_that_they_are_asked_for():
    assert (tenths(0.1234), fixed(-1.2345, 3), tenths(np.nan), fixed(np.inf)) == (
        "12.3%",
        "−1.234",
        "not known",
        "not known",
    )


@pytest.mark.parametrize("value", [-1e-9, -0.0, 0.0, 1e-9])
def test_what_is_zero_in_its_digits_has_no_sign(value):
    assert (fixed(value), difference(value), signed_share(value)) == ("0.00", "0.000", "0.0%")
    assert (percent(value), tenths(value), difference_points(value)) == (
        "0%",
        "0.0%",
        "0.0 percentage points",
    )
    assert performance(value, "auroc_above_chance") == "0.000"
    assert performance(value, "accuracy_above_majority") == "0.0%"
    assert ends(value, 0.25, fixed) == "0.00\u00a0to\u00a00.25"


def test_what_is_not_zero_in_its_digits_keeps_its_sign():
    assert (fixed(-0.005001), difference(-0.0006), difference(0.0006)) == ("−0.01", "−0.001", "+0.001")
    assert (signed_share(-0.0006), decimal(-10, "+.0f"), decimal(0.4, "+.1%")) == ("−0.1%", "−10", "+40.0%")


def test_a_zero_of_a_table_has_no_sign():
    shown = as_html(pd.DataFrame({"shift": [-0.0, -1200.0, -0.25]}))
    assert re.findall("<td>.*?</td>", shown) == ["<td>0</td>", "<td>-1,200</td>", "<td>-0.25</td>"]
    assert "> " not in shown and "\n" not in shown, "a long table weighs no more than it says"
