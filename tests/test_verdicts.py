"""One grammar of claims: from a test's result and its adjusted p to a verdict."""

import numpy as np
import pytest

from pepr import stats, verdicts
from pepr.verdicts import Rule

DIRECTION, AS_GOOD = Rule("direction"), Rule("as_good", margin=0.05)
ABOVE, BELOW = Rule("at_least", threshold=0.5), Rule("at_most", threshold=0.5)
SHARE = Rule("share", threshold=0.95)


def result(low, high, p=np.nan):
    return stats.TestResult("t", 3, (low + high) / 2, low, high, p, 0.0)


@pytest.mark.parametrize(
    ("rule", "low", "high", "p", "verdict"),
    [
        (DIRECTION, 0.01, 0.2, 0.01, "supported"),
        (DIRECTION, -0.2, -0.01, 0.01, "not_supported"),
        (DIRECTION, -0.1, 0.2, 0.4, "undecided"),
        (DIRECTION, np.nan, np.nan, np.nan, "undecided"),
        (AS_GOOD, -0.04, 0.03, 0.01, "equivalent"),
        (AS_GOOD, -0.08, 0.03, 0.2, "undecided"),
        (AS_GOOD, -0.2, -0.06, 0.9, "not_supported"),
        (AS_GOOD, 0.06, 0.1, 0.9, "supported"),
        (AS_GOOD, 0.0, 0.2, 0.01, "supported"),
        (ABOVE, 0.6, 0.8, 0.01, "supported"),
        (ABOVE, 0.2, 0.4, 0.01, "not_supported"),
        (BELOW, 0.2, 0.4, 0.01, "supported"),
        (BELOW, 0.6, 0.8, 0.01, "not_supported"),
        (BELOW, 0.4, 0.8, 0.2, "undecided"),
        (SHARE, 0.96, 0.99, np.nan, "supported"),
        (SHARE, 0.2, 0.9, np.nan, "not_supported"),
        (SHARE, 0.9, 0.99, np.nan, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval_and_the_adjusted_p(rule, low, high, p, verdict):
    assert rule.verdict(result(low, high, p), p) == verdict


def test_a_second_reading_makes_no_other_claim_harder_and_is_never_surer_than_the_first():
    p_values = {"a": 0.01, "b": 0.04, "a again": 0.001}
    found = verdicts.adjusted(p_values, {"a again": "a"})
    assert [found["a"], found["b"]] == pytest.approx([0.02, 0.04])
    assert found["a again"] == pytest.approx(0.02)
    assert verdicts.adjusted(p_values | {"a again": 0.03}, {"a again": "a"})["a again"] == pytest.approx(0.06)


def test_a_claim_without_a_p_counts_for_no_other():
    assert verdicts.adjusted({"a": 0.04, "b": np.nan})["a"] == pytest.approx(0.04)


def test_only_a_claim_that_the_correction_made_hold_is_supported_with_correction():
    assert verdicts.corrected("undecided", "equivalent") == "supported_with_correction"
    assert verdicts.corrected("supported", "equivalent") == "equivalent"
    assert verdicts.corrected("supported", "undecided") == "undecided"


def test_what_does_not_exist_is_none_in_a_claims_numbers():
    found = verdicts.values(result(0.1, 0.3), np.nan)
    assert (found["effect"], found["p"], found["p_holm"]) == (pytest.approx(0.2), None, None)
