"""Do intervals cover, and tests keep their level, with the five splits and seeds that the studies use?

The truth is known, since the images are simulated: cells come in modules that share a rate of defects and a
look, the splits are those of the solar cells, and a model is a direction in the space of features, learned
from its training cells and shaken by its seed. Splits share training cells, as real ones do.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from pepr import stats
from pepr.analysis import peaks, units
from pepr.datasets import elpv
from pepr.verdicts import Rule

pytestmark = pytest.mark.slow
WORLDS = 1_500
FEATURES = 6
SPLITS = elpv.block_splits()
MODULE = elpv.modules()
LOWEST, HIGHEST = 0.88, 0.96
SLACK = 0.012
"""Two standard errors of a share of 0.95 in so many worlds."""


def auroc(labels, scores):
    ranks, positive = rankdata(scores), labels == 1
    n_positive = positive.sum()
    won = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return won / (n_positive * (len(labels) - n_positive))


def simulate(module_look, seed_noise, blunt, worlds=WORLDS):
    """AUROC [worlds, splits, 2] of a model, and of one that weighs a useful feature by `blunt`."""
    rng = np.random.default_rng([int(100 * module_look), int(100 * seed_noise)])
    n_modules = MODULE.max() + 1
    found = np.empty((worlds, len(SPLITS), 2))
    for world in range(worlds):
        labels = (rng.random(len(MODULE)) < rng.beta(2, 4, n_modules)[MODULE]).astype(int)
        cells = rng.normal(size=(len(MODULE), FEATURES))
        cells += module_look * rng.normal(size=(n_modules, FEATURES))[MODULE]
        cells[:, :2] += 0.5 * labels[:, None]
        for k, split in enumerate(SPLITS):
            train, test = split == "train", split == "test"
            learned = cells[train & (labels == 1)].mean(axis=0) - cells[train & (labels == 0)].mean(axis=0)
            for model, weight in enumerate((1.0, blunt)):
                direction = learned + seed_noise * rng.normal(size=FEATURES)
                direction[1] *= weight
                found[world, k, model] = auroc(labels[test], cells[test] @ direction)
    return found


@pytest.fixture(scope="module", params=[(0.3, 0.15), (0.5, 0.15), (0.3, 0.4)], ids=str)
def worlds(request):
    return simulate(*request.param, blunt=0.5)


def test_the_interval_of_a_models_mean_covers_its_true_performance(worlds):
    truth = worlds[:, :, 0].mean()
    intervals = [stats.mean_interval(world[:, 0]) for world in worlds]
    covered = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert LOWEST <= covered <= HIGHEST + SLACK


def test_the_interval_of_a_difference_covers_the_true_difference(worlds):
    differences = worlds[:, :, 0] - worlds[:, :, 1]
    results = [stats.unit_test(difference) for difference in differences]
    covered = np.mean([result.low <= differences.mean() <= result.high for result in results])
    assert LOWEST <= covered <= HIGHEST + SLACK


def test_the_equivalence_test_keeps_its_level_and_finds_what_is_alike(worlds):
    differences = worlds[:, :, 0] - worlds[:, :, 1]
    shifted = differences - differences.mean()
    margin = 3 * shifted.mean(axis=1).std()

    rule = Rule("as_good", margin)

    def called_equivalent(by_split):
        result = stats.unit_test(by_split, margin=margin)
        verdict = rule.verdict(result, rule.p_values(result))
        return verdict == "equivalent", verdict in ("supported", "equivalent")

    for true_difference, column in ((margin, 0), (-margin, 1)):
        wrong = [called_equivalent(by_split + true_difference)[column] for by_split in shifted]
        assert np.mean(wrong) <= 0.05 + SLACK
    right = [called_equivalent(by_split)[0] for by_split in shifted[:500]]
    assert np.mean(right) > 0.2


def test_the_interval_of_a_score_covers_with_the_error_of_the_resource_in_it():
    rng = np.random.default_rng(7)
    models = [f"m{k}" for k in range(6)]
    performance, seconds = np.linspace(0.7, 0.85, 6), np.array([10.0, 14.0, 20.0, 40.0, 55.0, 90.0])
    norm = (seconds - seconds.min()) / (seconds.max() - seconds.min())
    truth, covered, best = performance / (1 + norm), [], []
    for world in range(300):
        rows = pd.DataFrame(
            [{"run_id": f"{m}-{k}", "model": m, "seed": k, "split": k} for m in models for k in range(5)]
        )
        noise = rng.normal(0, 0.02, (6, 5)) + rng.normal(0, 0.02, 5)
        values = pd.Series((performance[:, None] + noise).ravel(), index=rows["run_id"])
        times = seconds[:, None] * np.exp(rng.normal(0, 0.05, (6, 5)))
        spread = np.log(times) - np.log(times).mean(axis=1, keepdims=True)
        errors = np.full(6, np.sqrt((spread**2).sum() / 24 / 5))
        means = values.to_numpy().reshape(6, 5).mean(axis=1)
        ranked = pd.DataFrame({"model": models, "T": times.mean(axis=1), "auroc": means})
        together = units.joint(rows, values, lambda _: None, 1_000, seed=world)
        drawn = peaks.draw(("set",), ranked, "T", "auroc", together, errors, world)
        low, high = np.percentile(drawn.scores, [2.5, 97.5], axis=0)
        covered.append((low <= truth) & (truth <= high))
        best.append(stats.probability_best(drawn.scores)[truth.argmax()])
    # The cheapest and the dearest model have normalised costs of exactly 0 and 1, whatever they took.
    assert 0.90 <= np.mean(covered) <= 0.985
    assert np.mean(best) > 0.5
