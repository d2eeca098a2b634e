"""The claims on the authors' tables in order: what leads, what is not averaged, and no verdict by a seed."""

import numpy as np
import pytest
import recordings

from pepr.published import claims as paper_claims, versions
from pepr.published.tables import SETTINGS


@pytest.fixture(scope="module")
def runs():
    return versions.versions(recordings.tables().results)


@pytest.fixture(scope="module")
def claims(runs):
    return {claim["id"]: claim for claim in paper_claims.claims(runs)}


def test_every_claim_has_its_place_and_every_place_its_claim(claims):
    assert set(claims) == set(paper_claims.order().question_of)
    primary = [claim for claim in claims.values() if claim["role"] == "primary"]
    assert len(primary) == len(paper_claims.order().questions)


def test_what_is_added_here_is_told_from_what_the_paper_claims(claims):
    for claim in claims.values():
        assert (claim["whose"] == paper_claims.HERE) == (claim["evidence"] == "added here")


def test_the_margin_is_a_share_of_the_range_above_the_largest_class(runs, claims):
    margins = paper_claims.margins_of(runs.published)
    assert set(margins) == set(SETTINGS) and all(0.005 < margin < 0.025 for margin in margins.values())
    assert claims["small_as_good_in_lidc"]["margin"] == pytest.approx(margins["lidc"])
    full = [margins[name] for name in ("derma_pt", "lidc", "pneumonia")]
    assert claims["small_as_good_pretrained_full"]["margin"] == pytest.approx(sum(full) / 3)


@pytest.mark.parametrize("pool", paper_claims.POOLS)
def test_there_is_no_average_where_settings_point_in_different_directions(claims, pool):
    parts = [claims[f"small_as_good_in_{setting}"]["effect"] for setting in paper_claims.POOLS[pool]]
    claim = claims[f"small_as_good_{pool}"]
    if len({part > 0 for part in parts}) > 1:
        assert claim["effect"] is None and claim["verdict"] == "not_tested"
        assert "the signs differ" in claim["test"]
    else:
        assert claim["effect"] == pytest.approx(sum(parts) / len(parts), abs=0.01)


def test_what_the_score_does_by_its_arithmetic_is_no_claim(runs, claims):
    found = paper_claims.arithmetic(runs.published)
    assert not set(found) & set(claims)
    assert found["small_advantage_is_resource"].effect > 0.5
    beyond = claims["small_pepr_e_beyond_cost"]["effect"]
    whole, share = found["small_higher_pepr_e"].effect, found["small_advantage_is_resource"].effect
    assert beyond == pytest.approx(whole * (1 - share), rel=1e-6)


def test_no_claim_is_about_the_winner_of_redrawn_images(claims):
    assert not any(name.startswith("winner") for name in claims)


def test_no_verdict_hangs_on_a_seed(runs, claims, monkeypatch):
    def drawn(*_, **__):
        raise AssertionError("a claim draws at random")

    monkeypatch.setattr(np.random, "default_rng", drawn)
    again = paper_claims.claims(runs)
    assert again == list(claims.values())


def test_an_equivalence_of_models_that_are_no_better_than_a_constant_answer_is_undecided(runs, claims):
    table, rates = runs.published, paper_claims.majority_rates(runs.published)
    listed = {claim.id: claim for claim in paper_claims.all_claims(runs)}
    for claim in listed.values():
        assert bool(claim.compares) == (claim.rule.kind == "as_good")
    assert claims["small_as_good_in_lidc"]["verdict"] == "equivalent"
    assert paper_claims.moot(listed["small_as_good_in_lidc"], table, rates) == ""
    noise = np.random.default_rng(0).normal(0, 0.002, len(table))
    guessing = table["dataset"].isin(["lidc", "lidc_small"])
    constant = table["dataset"].map(rates) + noise
    alike = table.assign(test_09=table["test_09"].where(~guessing, constant))
    for claim in ("small_as_good_in_lidc", "small_as_good_in_lidc_small", "tenth_enough_lidc"):
        assert "models that are no better are alike" in paper_claims.moot(listed[claim], alike, rates)
    assert paper_claims.moot(listed["small_as_good_in_derma_pt"], alike, rates) == ""


def test_the_smallest_setting_is_one_in_which_models_are_alike_in_failing(runs):
    listed = {claim.id: claim for claim in paper_claims.all_claims(runs)}
    rates = paper_claims.majority_rates(runs.published)
    assert paper_claims.moot(listed["small_as_good_in_derma_smallest"], runs.published, rates)
