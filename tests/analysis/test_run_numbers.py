"""The numbers of our own runs that stand as tables."""

import re

import pandas as pd
import pytest

from pepr import runs
from pepr.analysis import claims as run_claims, energy, numbers, pipeline
from pepr.analysis.claimed import numbers as claim_numbers
from pepr.display.words import p_value
from pepr.models.space import BASELINES

SHIPPED = runs.Results("pocket", "reference", runs.reference_folder("pocket"))


def test_the_table_of_claims_has_a_line_each_with_what_it_stands_on_and_its_verdict():
    claims = run_claims.claims(SHIPPED)
    lines = claim_numbers.claims_table(claims).splitlines()
    assert len(lines) == 2 + len(claims)
    width = lines[0].count("|")
    for claim, line in zip(claims, lines[2:], strict=True):
        assert line.count("|") == width and line.startswith(
            f"| {claim['claim']} | {claim['role']} | {claim['basis']} |"
        )
        p = "–" if claim["p_verdict"] is None else p_value(claim["p_verdict"])
        assert line.endswith(f"| {p} | {claim['verdict'].replace('_', ' ')} |")
    assert "| – | not tested |" in "".join(lines), "a test that was not made has no p that nobody knows"


def test_constant_predictors_are_counted_among_networks_since_a_baseline_is_one_by_design():
    table = SHIPPED.table
    constant = table["constant_predictor"].astype(bool)
    by_design = table["model"].isin(BASELINES)
    assert constant[by_design].sum() >= len(table[table["model"] == "majority"]) > 0
    found = numbers.run_numbers(SHIPPED)
    assert found["runs_constant"]["value"] == constant[~by_design].sum()
    told = re.findall(r"(\S+) in (\S+) \((\d+)\)", found["constant_networks"]["text"])
    of_cells = table[constant & ~by_design].groupby(["model", "setting"]).size().to_dict()
    assert {(model, setting): int(n) for model, setting, n in told} == of_cells != {}


def test_a_count_of_what_is_supported_says_what_repeats_another_and_what_stands_on_independent_splits():
    claims = run_claims.claims(SHIPPED)
    supported = [claim for claim in claims if claim["verdict"] == "supported"]
    derived = sum(claim["estimated"] for claim in supported)
    left = sum(claim["verdict_overlap"] in (None, "supported") for claim in supported)
    assert derived > 0 and left < len(supported)
    assert claim_numbers.supported_words(claims) == (
        f"{len(supported)} are supported ({derived} of them on an estimate that repeats another; "
        f"{left} if splits are not taken for independent)"
    )
    plain = [claim for claim in supported if not claim["estimated"] and claim["verdict_overlap"] is None]
    assert claim_numbers.supported_words(plain) == "1 is supported"


def test_runs_that_might_have_gone_on_are_counted_of_either_start_of_the_same_networks():
    table = SHIPPED.table
    networks = table[~table["model"].isin(BASELINES) & (table["train_fraction"] == 1.0)]
    started = networks["pretrained"].astype(bool)
    both = set(networks.loc[started, "model"])
    assert both < set(networks["model"]), "some are from scratch alone, and do not count"
    found = numbers.run_numbers(SHIPPED)
    for start, pretrained in (("scratch", False), ("pretrained", True)):
        rows = networks[networks["model"].isin(both) & (started == pretrained)]
        last = (rows["best_epoch"] + 1 == rows["epochs"]).sum()
        assert found[f"last_epoch_{start}"]["text"] == f"{last} of {len(rows)}"


@pytest.fixture(scope="module")
def quoted():
    found = pipeline.Analysis(SHIPPED)
    ranked = (found.rank_changes, found.standings)
    return numbers.pepr_numbers(SHIPPED, found.scores, [], found.claims, *ranked)


def test_claims_that_were_not_tested_are_counted_apart_from_those_that_stay_undecided(quoted):
    claims = run_claims.claims(SHIPPED)
    every = ("supported", "equivalent", "not_supported", "undecided", "not_tested")
    assert sum(quoted[f"claims_{verdict}"]["value"] for verdict in every) == len(claims)
    assert quoted["claims_not_tested"]["value"] == sum(claim["p_verdict"] is None for claim in claims)


def test_when_the_claims_were_named_stands_beside_when_the_runs_began():
    quoted, started = numbers.run_numbers(SHIPPED), min(r["started_at"] for r in SHIPPED.records())
    named = run_claims.order().dated
    assert named.isoformat() < started
    assert quoted["claims_named"]["text"] == (
        f"{named:%Y-%m-%d at %H:%M} UTC, before these runs, the first of which began on "
        f"{started[:10]} at {started[11:16]} UTC"
    )
    late = [when for when in run_claims.order().tested_as_at.values() if when.isoformat() > started]
    assert quoted["claims_worded_late"]["value"] == len(late) > 0
    ended = max(r["started_at"] for r in SHIPPED.records())
    after = [when for when in run_claims.order().tested_as_at.values() if when.isoformat() > ended]
    assert 0 < quoted["claims_worded_last"]["value"] == len(after) <= len(late)
    written = run_claims.order().margin_reason_at
    assert quoted["margin_reason_dated"]["text"] == f"{written:%Y-%m-%d at %H:%M} UTC"


def test_whoever_makes_the_runs_again_claims_are_dated_against_the_ones_that_were_seen_first():
    class Again(runs.Results):
        """The shipped runs, made again by a reader on a later day."""

        def records(self):
            return [{"started_at": "2031-05-06T07:08:09.000+00:00"}]

    folder = runs.reference_folder("pocket")
    shipped = claim_numbers.order_numbers(SHIPPED)
    again = claim_numbers.order_numbers(Again("pocket", "this machine", folder))
    for key in ("claims_worded_late", "claims_worded_last"):
        assert again[key] == shipped[key]
    assert (shipped["claims_seen"]["text"], again["claims_seen"]["text"]) == (
        "these runs",
        "the runs of the reference",
    )
    first = shipped["claims_named"]["text"].replace("these runs", "the runs of the reference")
    assert again["claims_named"]["text"] == f"{first}; those of this book began on 2031-05-06 at 07:08 UTC"
    unseen = claim_numbers.order_numbers(Again("not-shipped", "this machine", folder))
    assert unseen["claims_seen"]["text"] == "these runs" and unseen["claims_worded_late"]["value"] == 0


def test_a_verdict_says_by_which_p_it_is_what_it_is_and_calls_moot_only_what_is(quoted):
    claims = {claim["id"]: claim for claim in run_claims.claims(SHIPPED)}
    for claim in claims.values():
        words = quoted[f"claim_{claim['id']}_why"]["text"]
        if claim["p_verdict"] is not None:
            assert f"{p_value(claim['p_verdict'])} when the claims are corrected together" in words
        assert ("neither side is shown to be above a coin" in words) == ("moot: " in claim["basis"])
    moot = dict(claims["small_as_good_as_large"], basis="x; moot: neither side is shown to be above chance")
    assert claim_numbers.why(moot).startswith("neither side is shown to be above a coin")


def test_a_p_is_said_to_be_that_of_a_test_and_not_of_what_the_test_asks(quoted):
    (tenth,) = (one for one in run_claims.claims(SHIPPED) if one["id"] == "tenth_as_good_as_all_pretrained")
    assert quoted["claim_tenth_as_good_as_all_pretrained_why"]["text"].startswith(
        f'p {p_value(tenth["p"])} for "no worse than by the margin", {p_value(1 - tenth["p"])} for "worse", '
        f'{p_value(tenth["p_upper"])} for "no better"; '
    )


def test_answers_that_cost_as_much_as_training_have_two_digits_and_each_network_counts_once():
    table = SHIPPED.table
    quoted = numbers.energy_numbers(SHIPPED, "DNK")
    full = energy.energy_table(numbers.networks_only(table[table["train_fraction"] == 1.0]))
    of_networks = full.groupby("model")["inferences_to_outweigh_training"].median()
    assert quoted["break_even_networks"]["value"] == len(of_networks)
    assert quoted["break_even_inferences"]["value"] == of_networks.median()
    assert quoted["break_even_lowest"]["value"] == of_networks.min()
    digits = quoted["break_even_inferences"]["text"].replace(",", "").rstrip("0")
    assert len(digits) <= 2


class Shared(runs.Results):
    """The reference, had other programs run beside one network in one setting."""

    @property
    def table(self):
        beside = (SHIPPED.table["model"] == "tf_efficientnet_lite0") & (SHIPPED.table["setting"] == "elpv_pt")
        return SHIPPED.table.assign(contended=beside)


def test_power_and_extremes_are_of_runs_that_shared_the_processor_with_no_program():
    shared = Shared("pocket", "reference", runs.reference_folder("pocket"))
    quoted = numbers.energy_numbers(shared, "DNK")
    networks = energy.energy_table(numbers.networks_only(shared.table))
    alone = networks[~networks["contended"]]
    n = len(networks) - len(alone)
    assert quoted["extreme_of"]["value"] == len(alone) < len(networks)
    assert quoted["power_lowest"]["value"] == alone["power_w"].min()
    assert quoted["contended_networks"]["text"] == f"tf_efficientnet_lite0 in elpv_pt ({n})"


def test_an_accuracy_over_splits_stands_beside_that_of_the_common_answer_on_the_same_splits(quoted):
    models = run_claims.repeated_networks(SHIPPED.table)
    of_models = SHIPPED.table["model"].isin(models)
    runs_of = SHIPPED.table[of_models & (SHIPPED.table["setting"] == "elpv")]
    assert quoted["repeated_scratch_full_accuracy"]["value"] == pytest.approx(runs_of["test_accuracy"].mean())
    assert quoted["repeated_mean"]["text"] == f"{len(models)} networks" and len(models) > 1
    assert quoted["repeated_scratch_full_majority"]["value"] == pytest.approx(
        runs_of["test_majority_rate"].mean()
    )


@pytest.mark.parametrize(
    ("splits", "seeds", "words"),
    [([0, 1, 2], [0, 1, 2], "3 splits, a seed each"), ([0, 0], [0, 1], "1 split with 2 seeds")],
)
def test_how_often_a_model_was_run_says_splits_and_seeds(splits, seeds, words):
    table = pd.DataFrame({"setting": "elpv", "split": splits, "seed": seeds})
    assert numbers.repeats_words(table) == words
