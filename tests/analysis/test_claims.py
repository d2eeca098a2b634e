"""The claims on our own runs: one verdict whatever the seed, gates, pairs, and what is only arithmetic."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import LITE_MODELS, SCRATCH_MODELS, simulated_run

from pepr import runs, stats
from pepr.analysis import claims as run_claims, peaks, scores
from pepr.models.space import BASELINES
from pepr.runs import metrics

SHIPPED = runs.Results("pocket", "reference", runs.reference_folder("pocket"))
SEEDS = 20
LITE0 = "tf_efficientnet_lite0"


class Simulated:
    """Five splits of every model, `pca_svm` among them, as a reference has: runs that never took place."""

    timing = None

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
        self.draws = {}
        self._predictions = {record["run_id"]: arrays for record, *arrays in made}

    def groups(self, run_id):
        return None

    def predictions(self, run_id):
        return tuple(self._predictions[run_id])


class Guessing(Simulated):
    """The same runs, in which no network, and no baseline, has learned anything."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(3)
        for run, (_, labels) in self._predictions.items():
            positive = rng.uniform(size=len(labels))
            self._predictions[run] = [np.column_stack([1 - positive, positive]), labels]
        aurocs = [metrics.macro_auroc(labels, guess)[0] for guess, labels in self._predictions.values()]
        of_runs = pd.Series(np.asarray(aurocs, dtype=float), index=list(self._predictions))
        self.table = self.table.assign(test_auroc=self.table["run_id"].map(of_runs).astype(float))


class Unequal(Simulated):
    """As the default grid of `pocket`: two networks and the baseline on five splits, all others on one."""

    def __init__(self):
        super().__init__()
        repeated = self.table["model"].isin([LITE0, "tf_efficientnet_lite2", "pca_svm"])
        self.table = self.table[repeated | (self.table["split"] == 0)].reset_index(drop=True)


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


def test_a_claim_on_one_network_is_the_paired_t_test_over_its_splits(simulated, claims):
    rows = simulated.table.query("model == @LITE0").set_index(["setting", "split"])["test_auroc"]
    expected = stats.paired_test(rows["elpv_pt_small"].sort_index(), rows["elpv_pt"].sort_index())
    claim = claims["tenth_as_good_as_all_pretrained"]
    assert (claim["n"], claim["effect"]) == pytest.approx((5, expected.effect))
    assert claim["networks"] == LITE0


class TenthOfTwo(Simulated):
    """The same runs, and a second network on a tenth of the images; its name comes first and last in turn."""

    def __init__(self, name):
        super().__init__()
        again = self.table[(self.table["model"] == LITE0) & (self.table["setting"] == "elpv_pt_small")]
        more = [again.assign(model=name, run_id=again["run_id"] + name, test_auroc=again["test_auroc"] - 0.1)]
        if name not in set(self.table["model"]):
            whole = self.table[(self.table["model"] == LITE0) & (self.table["setting"] == "elpv_pt")]
            more.append(whole.assign(model=name, run_id=whole["run_id"] + name))
        self.table = pd.concat([self.table, *more], ignore_index=True)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite2", "mobilenetv2_100"])
def test_a_claim_on_a_tenth_is_the_mean_of_all_networks_that_have_it_whatever_their_names(name):
    table = TenthOfTwo(name).table
    found = {one.id: one for one in run_claims.findings(table)}["tenth_as_good_as_all_pretrained"]
    both = table[table["model"].isin([LITE0, name])]
    wide = both.pivot_table(index="split", columns=["setting", "model"], values="test_auroc")
    by_split = (wide["elpv_pt_small"] - wide["elpv_pt"]).mean(axis=1)
    assert found.result.effect == pytest.approx(by_split.mean()) and found.result.n == 5
    assert found.networks == ", ".join(sorted([LITE0, name]))


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
            assert claim["verdict"] == "not_tested" and claim["p_holm"] is None
            assert "not tested: the primary claim is" in claim["basis"]


def test_both_sides_of_an_equivalence_are_adjusted(claims):
    claim = claims["small_as_good_as_large"]
    assert claim["margin"] == pytest.approx(0.05) and "10% of the range above chance" in claim["basis"]
    assert claim["p_holm"] >= claim["p"] and claim["p_upper_holm"] >= claim["p_upper"]


def test_with_fewer_than_three_splits_no_claim_on_them_is_decided_and_the_basis_says_why(simulated):
    few = simulated.table[simulated.table["split"] < 2]
    found = {one.id: one for one in run_claims.findings(few)}
    for name in ("pretrained_beats_scratch_models", "pretrained_beats_baseline"):
        result = found[name].result
        assert np.isnan(result.p) and np.isfinite(result.effect) and result.n == 2
        assert "2 pairs; too few to test: it takes 3" in found[name].basis


def test_where_networks_have_unlike_splits_the_claims_are_over_those_that_share_three(simulated):
    unequal = Unequal()
    found = {claim["id"]: claim for claim in run_claims.claims(unequal)}
    both = [LITE0, "tf_efficientnet_lite2"]
    claim = found["pretrained_beats_scratch_models"]
    means = unequal.table[unequal.table["model"].isin(both)].groupby("setting")["test_auroc"].mean()
    assert claim["n"] == 5 and claim["effect"] == pytest.approx(means["elpv_pt"] - means["elpv"])
    assert claim["verdict"] == "supported"
    assert claim["networks"] == f"{', '.join(both)} (2 of 3 networks)"
    assert "tf_efficientnet_lite0, tf_efficientnet_lite2, all of the family efficientnet" in claim["basis"]
    assert "; without 1 that share fewer than 3 pairs with them" in claim["basis"]
    for name, of in (("pretrained", 3), ("scratch", len(SCRATCH_MODELS) + 3)):
        claim = found[f"{name}_beats_baseline"]
        assert claim["n"] == 5 and claim["networks"] == f"{', '.join(both)} (2 of {of} networks)"
    assert found["tenth_as_good_as_all_pretrained"]["n"] == 5


def test_networks_that_were_repeated_most_are_all_that_have_the_same_pairs(simulated):
    table = simulated.table
    often = table["model"].isin(["tf_efficientnet_lite1"])
    again = table[often].assign(seed=lambda rows: rows["seed"] + 10, split=lambda rows: rows["split"] + 10)
    more = pd.concat([table, again.assign(run_id=again["run_id"] + "-again")], ignore_index=True)
    assert run_claims.repeated_networks(more) == [LITE0], "in four settings, though another has more in two"
    few = more[~more["setting"].str.endswith("small")]
    assert run_claims.repeated_networks(few) == ["tf_efficientnet_lite1"]
    assert run_claims.repeated_networks(table[~table["setting"].str.endswith("small")]) == sorted(LITE_MODELS)
    assert run_claims.repeated_networks(table.iloc[:0]) == []


def test_networks_that_are_no_better_than_a_coin_are_not_called_equivalent():
    found = {claim["id"]: claim for claim in run_claims.claims(Guessing())}
    claim = found["small_as_good_as_large"]
    assert claim["p_holm"] < 0.05 and claim["p_upper_holm"] < 0.05 and claim["verdict"] == "undecided"
    known = "moot: neither side is shown to be above chance, AUROC 0."
    assert any(f"{known}{digit}" in claim["basis"] for digit in "45")
    assert found["small_higher_pepr"]["basis"].endswith("not tested: the primary claim is undecided")
    claim = found["tenth_as_good_as_all_pretrained"]
    assert claim["verdict"] == "undecided" and "networks no better than a coin are alike" in claim["basis"]


def test_one_side_above_chance_is_enough_for_an_equivalence_to_say_something(simulated):
    for found in run_claims.findings(simulated.table, lambda measure: drawn_from(simulated)):
        assert found.moot == ""


def drawn_from(simulated):
    """Draws of the AUROC of runs that hardly move it."""
    values = simulated.table.set_index("run_id")["test_auroc"]
    return lambda rows: pd.DataFrame(
        {run: [values[run] - 1e-3, values[run] + 1e-3] for run in rows["run_id"]}
    )


def test_several_datasets_ask_each_question_by_themselves(simulated):
    other = simulated.table.assign(dataset="other", run_id=simulated.table["run_id"] + "-other")
    both = pd.concat([simulated.table, other], ignore_index=True)
    ids = [one.id for one in run_claims.findings(both)]
    assert {"small_as_good_as_large_elpv", "small_as_good_as_large_other"} <= set(ids)
    assert all(one.endswith(("_elpv", "_other")) for one in ids)
    judged = run_claims.judge(run_claims.findings(both))
    assert not judged["pretrained_beats_scratch_seeds_accuracy_other"].closed.endswith("not at hand")


def test_what_a_cheap_model_gets_for_nothing_is_no_finding(simulated):
    alike = simulated.table.query("setting == 'elpv' and model != 'pca_svm'").assign(test_auroc=0.8)
    gap = run_claims.pepr_gap(scores.model_means(alike), "T")
    assert gap.whole == pytest.approx(gap.by_resource) and gap.by_resource > 0
    assert gap.beyond.effect == pytest.approx(0, abs=1e-9) and not gap.beyond.p < 0.05


def test_the_error_of_a_resource_enters_scores_ranks_and_who_is_best(simulated):
    noisy = Simulated.__new__(Simulated)
    noisy.table, noisy._predictions, noisy.draws = simulated.table.copy(), simulated._predictions, {}
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


@pytest.mark.scale
def test_twenty_seeds_give_one_verdict_for_each_claim_of_the_reference():
    found = [{c["id"]: c["verdict"] for c in run_claims.claims(SHIPPED, seed)} for seed in range(SEEDS)]
    assert all(verdicts == found[0] for verdicts in found)
