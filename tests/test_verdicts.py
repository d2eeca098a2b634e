"""One grammar of claims: from tests' results to verdicts, in the order of their questions."""

import numpy as np
import pytest

from pepr import stats, verdicts
from pepr.verdicts import PValues, Rule, Tested

DIRECTION, AS_GOOD = Rule("direction"), Rule("as_good", margin=0.05)
ABOVE, BELOW = Rule("at_least", threshold=0.5), Rule("at_most", threshold=0.5)


def result(effect, p=np.nan, p_upper=np.nan):
    return stats.TestResult("t", 3, effect, effect - 0.1, effect + 0.1, p, 0.0, p_upper)


@pytest.mark.parametrize(
    ("rule", "effect", "adjusted", "verdict"),
    [
        (DIRECTION, 0.1, PValues(0.01), "supported"),
        (DIRECTION, -0.1, PValues(0.01), "not_supported"),
        (DIRECTION, 0.1, PValues(0.4), "undecided"),
        (DIRECTION, 0.1, PValues(np.nan), "not_tested"),
        (AS_GOOD, 0.0, PValues(0.01, 0.01, 1.0), "equivalent"),
        (AS_GOOD, 0.04, PValues(0.01, 0.2, 1.0), "supported"),
        (AS_GOOD, 0.0, PValues(0.2, 0.01, 1.0), "undecided"),
        (AS_GOOD, -0.2, PValues(1.0, 0.01, 0.01), "not_supported"),
        (AS_GOOD, 0.0, PValues(np.nan), "not_tested"),
        (ABOVE, 0.7, PValues(0.01), "supported"),
        (ABOVE, 0.3, PValues(0.01), "not_supported"),
        (BELOW, 0.3, PValues(0.01), "supported"),
        (BELOW, 0.7, PValues(0.01), "not_supported"),
        (BELOW, 0.6, PValues(0.2), "undecided"),
    ],
)
def test_a_verdict_follows_from_the_adjusted_p_values_of_both_sides(rule, effect, adjusted, verdict):
    assert rule.verdict(result(effect), adjusted) == verdict


def test_the_primary_claims_are_adjusted_together_and_each_side_of_a_margin_counts():
    claims = [Tested("a", DIRECTION, result(0.1, 0.01)), Tested("b", AS_GOOD, result(0.0, 0.004, 0.012))]
    found = verdicts.judge(claims)
    assert found["a"].adjusted.p == pytest.approx(0.02)  # the second smallest of three, times two
    assert found["b"].adjusted.p == pytest.approx(0.012)
    assert found["b"].adjusted.p_upper == pytest.approx(0.02)  # never below the one before it
    assert found["b"].verdict == "equivalent" and found["a"].verdict == "supported"


def test_no_worse_and_worse_count_as_one_since_one_of_them_is_true():
    others = [Tested("a", DIRECTION, result(0.1, 0.02))]
    found = verdicts.judge([Tested("b", AS_GOOD, result(-0.3, 0.999, 0.0001)), *others])
    assert found["b"].verdict == "not_supported" and found["b"].adjusted.p == 1.0
    assert found["b"].adjusted.p_worse == pytest.approx(0.002)
    assert found["a"].verdict == "supported" and found["a"].adjusted.p == pytest.approx(0.02)


def test_an_equivalence_whose_upper_side_does_not_survive_the_correction_is_only_no_worse():
    others = [Tested(str(k), DIRECTION, result(0.1, 0.5)) for k in range(8)]
    found = verdicts.judge([Tested("a", AS_GOOD, result(0.0, 0.001, 0.03)), *others])
    assert found["a"].verdict == "supported"


def test_a_claim_that_is_moot_is_undecided_says_why_and_opens_no_gate_but_counts():
    claims = [
        Tested("a", AS_GOOD, result(0.0, 0.001, 0.001), moot="moot: both guess"),
        Tested("b", DIRECTION, result(0.1, 0.02)),
        Tested("after it", DIRECTION, result(0.1, 1e-6), gate="a"),
    ]
    found = verdicts.judge(claims)
    assert (found["a"].verdict, found["a"].closed) == ("undecided", "moot: both guess")
    assert found["after it"].closed == "not tested: the primary claim is undecided"
    assert verdicts.judge([Tested("a", AS_GOOD, result(0.0, 0.001, 0.001))])["a"].verdict == "equivalent"
    counts = Tested("a", AS_GOOD, result(0.0, 0.3, 0.3), moot="moot: both guess")
    assert verdicts.judge([counts, claims[1]])["b"].adjusted.p == pytest.approx(3 * 0.02)


def test_a_secondary_claim_is_tested_where_its_primary_claim_holds_and_is_never_surer():
    claims = [
        Tested("holds", DIRECTION, result(0.1, 0.01)),
        Tested("fails", DIRECTION, result(0.1, 0.6)),
        Tested("after it", DIRECTION, result(0.1, 1e-6), gate="holds"),
        Tested("behind it", DIRECTION, result(0.1, 1e-6), gate="fails"),
        Tested("alone", DIRECTION, result(0.1, 1e-6), gate="nobody"),
    ]
    found = verdicts.judge(claims)
    assert list(found) == [claim.id for claim in claims]
    assert found["after it"].verdict == "supported"
    assert found["after it"].adjusted.p == found["holds"].adjusted.p == pytest.approx(0.02)
    assert found["behind it"].verdict == found["alone"].verdict == "not_tested"
    assert "the primary claim is undecided" in found["behind it"].closed and not found["after it"].closed
    assert "not at hand" in found["alone"].closed and np.isnan(found["alone"].adjusted.p)


def test_secondary_claims_make_no_primary_claim_harder():
    first = Tested("a", DIRECTION, result(0.1, 0.04))
    more = [Tested(str(k), DIRECTION, result(0.1, 0.01), gate="a") for k in range(9)]
    assert verdicts.judge([first, *more])["a"].adjusted.p == pytest.approx(0.04)


def test_a_claim_without_a_p_counts_for_no_other():
    found = verdicts.judge([Tested("a", DIRECTION, result(0.1, 0.04)), Tested("b", AS_GOOD, result(0.0))])
    assert found["a"].adjusted.p == pytest.approx(0.04) and found["b"].verdict == "not_tested"
    assert verdicts.judge([]) == {}


def test_only_a_claim_that_the_correction_made_hold_is_supported_with_correction():
    assert verdicts.corrected("undecided", "equivalent") == "supported_with_correction"
    assert verdicts.corrected("supported", "equivalent") == "equivalent"
    assert verdicts.corrected("supported", "undecided") == "undecided"


def test_the_p_of_a_verdict_is_that_of_the_side_that_decides():
    def p_of(effect, p, p_upper=np.nan, rule=AS_GOOD):
        claim = Tested("a", rule, result(effect, p, p_upper))
        return verdicts.values(claim.result, verdicts.judge([claim])["a"])["p_verdict"]

    assert p_of(0.0, 0.001, 0.01) == pytest.approx(0.01), "equivalent: the larger of both sides"
    assert p_of(0.04, 0.001, 0.3) == pytest.approx(0.002), "no worse: that side, corrected for two"
    assert p_of(-0.3, 0.9999, 1e-6) == pytest.approx(1e-4), "worse than the margin: that it is so"
    assert p_of(0.1, 0.02, rule=DIRECTION) == pytest.approx(0.02)
    assert p_of(0.1, np.nan, rule=DIRECTION) is None
    moot = verdicts.judge([Tested("a", AS_GOOD, result(0.0, 0.001, 0.001), moot="moot: both guess")])["a"]
    assert np.isnan(moot.decisive) and moot.adjusted.p < 0.05, "no p decides what is moot"


def test_a_claim_without_a_p_is_not_tested_even_where_it_is_moot():
    found = verdicts.judge([Tested("a", AS_GOOD, result(0.0), moot="moot: both guess")])
    assert found["a"].verdict == "not_tested"


def test_what_does_not_exist_is_none_in_a_claims_numbers():
    found = verdicts.values(result(0.2), verdicts.Judged("not_tested", verdicts.UNTESTED))
    assert (found["effect"], found["p"], found["p_holm"]) == (pytest.approx(0.2), None, None)


def test_later_notes_on_how_a_claim_is_tested_are_added_and_none_is_overwritten():
    found = verdicts.order("pepr.analysis").tested_as["pretrained_beats_scratch_models"]
    assert found.startswith("The mean over the networks that are trained both ways")
    assert found.endswith("over as many of them as share three or more.")
