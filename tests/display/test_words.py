"""Tables and intervals come out in the words that a page shows."""

import numpy as np

from pepr.display.words import ends, fixed, markdown, tenths


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
