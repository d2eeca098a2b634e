"""The claims on our own runs: one verdict whatever the seed, gates, pairs, and what is only arithmetic."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import LITE_MODELS, SCRATCH_MODELS, simulated_run

from pepr import runs, stats
from pepr.analysis import claims as run_claims, peaks, scores
from pepr.models.space import BASELINES

SHIPPED = runs.Results("pocket", "reference", runs.reference_folder("pocket"))
SEEDS = 20
LITE0 = "tf_efficientnet_lite0"


class Simulated:
    """Five splits of every model, `pca_svm` among them, as a reference has: runs that never took place."""

    def __init__(self):
        grid = [(model, "elpv") for model in SCRATCH_MODELS]
        grid += [(model, setting) for model in LITE_MODELS for setting in ("elpv", "elpv_pt")]
        grid += [(LITE0, setting) for setting in ("elpv_small", "elpv_pt_small")]
        made = [simulated_run(model, setting, seed) for model, setting in grid for seed in range(5)]
        made += [
            as_baseline(*simulated_run("mobilenetv2_050", s, k))
            for s in ("elpv", "elpv_pt")
            for k in range(5)
        ]
        self.table = runs.as_table([record for record, _, _ in made])
        self._predictions = {record["run_id"]: arrays for record, *arrays in made}

    def predictions(self, run_id):
        return tuple(self._predictions[run_id])


def as_baseline(record, probabilities, labels):
    record = dict(record, model="pca_svm", run_id=record["run_id"].replace("mobilenetv2_050", "pca_svm"))
    return record | {"num_params": None, "epochs": 1}, probabilities, labels


@pytest.fixture(scope="module")
def simulated():
    return Simulated()


@pytest.fixture(scope="module")
def claims(simulated):
    return {claim["id"]: claim for claim in run_claims.claims(simulated)}


def test_every_claim_of_the_order_is_made_where_the_runs_are_there(claims):
    assert list(claims) == list(run_claims.order().question_of)
    for claim in claims.values():
        assert claim["question"] in run_claims.order().questions and claim["role"] in ("primary", "secondary")
    assert json.loads(json.dumps(list(claims.values()), allow_nan=False))


def test_the_gain_of_pretraining_is_the_paired_t_test_over_splits(simulated, claims):
    rows = simulated.table.query("model == @LITE0").set_index(["setting", "split"])["test_auroc"]
    expected = stats.paired_test(rows["elpv_pt"].sort_index(), rows["elpv"].sort_index())
    claim = claims["pretrained_beats_scratch_seeds"]
    assert (claim["n"], claim["effect"], claim["p"]) == pytest.approx((5, expected.effect, expected.p))
    assert (claim["low"], claim["high"]) == pytest.approx((expected.low, expected.high))


def test_models_are_fixed_where_training_is_asked_about(simulated, claims):
    done = simulated.table[simulated.table["model"].isin(LITE_MODELS)]
    wide = done.pivot_table(index="split", columns=["setting", "model"], values="test_auroc")
    by_split = wide["elpv_pt"].mean(axis=1) - wide["elpv"].mean(axis=1)
    claim = claims["pretrained_beats_scratch_models"]
    assert claim["n"] == 5 and claim["effect"] == pytest.approx(by_split.mean())
    assert claim["p"] == pytest.approx(stats.unit_test(by_split).p)


def test_networks_meet_the_baseline_on_the_same_splits(simulated, claims):
    done = simulated.table.query("setting == 'elpv_pt'")
    means = done.assign(baseline=done["model"].isin(BASELINES)).groupby("baseline")["test_auroc"].mean()
    assert claims["pretrained_beats_baseline"]["effect"] == pytest.approx(means[False] - means[True])
    assert (
        "pca" in claims["pretrained_beats_baseline"]["basis"]
        or "components" in (claims["pretrained_beats_baseline"]["basis"])
    )


def test_a_secondary_claim_waits_for_its_primary_one(claims):
    for claim in claims.values():
        gate = run_claims.order().gate(claim["id"])
        if gate is None:
            continue
        if claims[gate]["verdict"] in ("supported", "equivalent"):
            assert claim["p_holm"] is None or claim["p_holm"] >= claims[gate]["p_holm"]
        else:
            assert claim["verdict"] == "undecided" and claim["p_holm"] is None
            assert "not tested: the primary claim is" in claim["basis"]


def test_both_sides_of_an_equivalence_are_adjusted(claims):
    claim = claims["small_as_good_as_large"]
    assert claim["margin"] == pytest.approx(0.05) and "10% of the range above chance" in claim["basis"]
    assert claim["p_holm"] >= claim["p"] and claim["p_upper_holm"] >= claim["p_upper"]


def test_with_fewer_than_three_splits_no_claim_on_them_is_decided(simulated):
    few = simulated.table[simulated.table["split"] < 2]
    found = {one.id: one.result for one in run_claims.findings(few)}
    for name in ("pretrained_beats_scratch_models", "pretrained_beats_baseline"):
        assert np.isnan(found[name].p) and np.isfinite(found[name].effect) and found[name].n == 2


def test_several_datasets_ask_each_question_by_themselves(simulated):
    other = simulated.table.assign(dataset="other", run_id=simulated.table["run_id"] + "-other")
    both = pd.concat([simulated.table, other], ignore_index=True)
    ids = [one.id for one in run_claims.findings(both)]
    assert {"small_as_good_as_large_elpv", "small_as_good_as_large_other"} <= set(ids)
    assert all(one.endswith(("_elpv", "_other")) for one in ids)
    judged = run_claims.judge(run_claims.findings(both))
    assert not judged["pretrained_beats_scratch_seeds_other"].closed.endswith("not at hand")


def test_what_a_cheap_model_gets_for_nothing_is_no_finding(simulated):
    alike = simulated.table.query("setting == 'elpv' and model != 'pca_svm'").assign(test_auroc=0.8)
    gap = run_claims.pepr_gap(scores.model_means(alike), "T")
    assert gap.whole == pytest.approx(gap.by_resource) and gap.by_resource > 0
    assert gap.beyond.effect == pytest.approx(0, abs=1e-9) and not gap.beyond.p < 0.05


def test_the_error_of_a_resource_enters_scores_ranks_and_who_is_best(simulated):
    noisy = Simulated.__new__(Simulated)
    noisy.table, noisy._predictions = simulated.table.copy(), simulated._predictions
    factor = 1 + 0.4 * np.random.default_rng(0).uniform(-1, 1, len(noisy.table))
    noisy.table["train_time_s"] *= factor
    found = {}
    for name, source in (("quiet", simulated), ("noisy", noisy)):
        rows = peaks.rank_table(peaks.drawn_scores(source, ("T",), ("auroc",)))
        found[name] = rows[rows["setting"] == "elpv"].set_index("model").sort_index()
        assert (rows["rank_low"] <= rows["rank"]).all() and (rows["rank"] <= rows["rank_high"]).all()
        assert (rows["n_units"] == 5).sum() >= 10
    assert (found["noisy"]["resource_error"] > 3 * found["quiet"]["resource_error"]).all()
    widths = {name: (rows["score_high"] - rows["score_low"]).mean() for name, rows in found.items()}
    assert widths["noisy"] > widths["quiet"]


@pytest.mark.slow
def test_twenty_seeds_give_one_verdict_for_each_claim_of_the_reference():
    found = [{c["id"]: c["verdict"] for c in run_claims.claims(SHIPPED, seed)} for seed in range(SEEDS)]
    assert all(verdicts == found[0] for verdicts in found)
