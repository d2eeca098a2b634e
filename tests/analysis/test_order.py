"""The dated order of claims: what leads, what waits, and how wide a margin is."""

import datetime
from pathlib import Path

import pytest
import yaml

from pepr import verdicts
from pepr.analysis import claims
from pepr.errors import InputError

OURS = Path(claims.__file__).parent / "primary.yaml"


def test_each_question_has_one_primary_claim_and_a_date():
    found = claims.order()
    assert found.dated.date() == datetime.date(2026, 11, 27) and found.baseline_model == "pca_svm"
    assert set(found.primary) == set(found.questions) == set(found.question_of.values())
    assert all(found.role(claim) == "primary" for claim in found.primary.values())
    assert found.gate("pretrained_beats_scratch_seeds_accuracy") == "pretrained_beats_scratch_models"
    assert found.role("pretrained_beats_scratch_seeds_accuracy") == "secondary"


def test_a_claim_that_was_withdrawn_stays_in_the_file_with_its_date_and_is_made_no_longer():
    listed = yaml.safe_load(OURS.read_text())["questions"]["pretraining"]["secondary"]
    found = claims.order()
    assert set(found.withdrawn_at) == {"pretrained_beats_scratch_seeds"} <= set(listed)
    assert min(found.withdrawn_at.values()) > found.dated
    with pytest.raises(InputError, match="has no place in the order"):
        found.gate("pretrained_beats_scratch_seeds")


def test_the_reason_of_the_margin_carries_the_date_on_which_it_was_worded():
    margin = yaml.safe_load(OURS.read_text())["margin"]
    assert claims.order().margin_reason_at == margin["restated"]["dated"] > claims.order().dated


def test_what_the_words_of_a_claim_leave_open_is_said_of_claims_that_there_are():
    found = claims.order()
    assert set(found.tested_as) <= set(found.question_of)
    assert "no finding" in found.tested_as["small_higher_pepr"]


def test_the_margin_is_a_share_of_what_lies_above_chance():
    assert claims.margin() == pytest.approx(0.05)
    assert claims.order().margin(0.8) == pytest.approx(0.02)


def test_every_paired_claim_has_a_place_in_the_order():
    assert {claim.id for claim in claims.PAIRED_CLAIMS} <= set(claims.order().question_of)
    with pytest.raises(InputError, match="'something' has no place in the order of 2026-11-27"):
        claims.order().gate("something")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("dated"), "primary.yaml: KeyError: 'dated'"),
        (lambda values: values["questions"]["size"].pop("primary"), "KeyError: 'primary'"),
        (lambda values: values["margin"].update(share_of_range_above_chance=1.5), "is 1.5; expected 0 to 1"),
        (
            lambda values: values["questions"]["size"].update(secondary=["tenth_as_good_as_all_pretrained"]),
            "claim tenth_as_good_as_all_pretrained stands under data and under size",
        ),
        (lambda values: values["tested_as"].update(other={"as": "x"}), "tested_as: no claim other"),
        (
            lambda values: values["withdrawn"].update(small_as_good_as_large={"dated": "2026-11-28"}),
            "withdrawn: no secondary claim small_as_good_as_large",
        ),
    ],
)
def test_a_file_that_is_no_order_is_one_clear_error(change, message):
    values = yaml.safe_load(OURS.read_text())
    change(values)
    with pytest.raises(InputError, match=message):
        verdicts.parse_order(values)
