"""What holds of the re-analysis whether or not the authors' tables are at hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pepr import stats
from pepr.published import claims as paper_claims, families, numbers as published_numbers
from pepr.published.tables import RESOURCES, TEST_COLUMNS
from pepr.verdicts import Rule


def test_weighted_ranks_agree_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.random(12), rng.integers(0, 5, 12).astype(float)
    counts = rng.integers(0, 4, (3, 12))
    ours = families.weighted_spearman(a, b, counts.astype(float))
    theirs = [spearmanr(np.repeat(a, c), np.repeat(b, c)).statistic for c in counts]
    assert np.allclose(ours, theirs)


def test_the_jackknife_over_families_has_the_error_of_a_mean_of_as_many():
    models = pd.Series(["dpn68", "dla34", "resnet18d", "vgg13", "convnext_atto"])
    values = np.array([0.2, 0.5, 0.4, 0.9, 0.1])
    weights = families.without_each_family(models)
    assert weights.shape == (5, 5) and (weights.sum(axis=1) == 4).all()
    without = weights @ values / weights.sum(axis=1)
    found = families.from_jackknife("mean", 5, values.mean(), without, 0.0)
    expected = stats.paired_test(values, np.zeros(5))
    assert (found.p, found.low, found.high) == pytest.approx((expected.p, expected.low, expected.high))


def test_a_correlation_that_is_not_one_is_not_printed_as_one():
    claim = {"id": "e_and_t_differ", "effect": 0.9988, "low": 0.9962, "high": 0.9996}
    assert published_numbers.effect_words(claim, "") == "0.9988 (0.9962 to 0.9996)"
    assert published_numbers.effect_words(claim | {"effect": 0.95, "low": 0.9, "high": 0.98}, "") == (
        "0.95 (0.90 to 0.98)"
    )


ACCURACY = {"easy": 0.9, "hard": 0.6}


@pytest.fixture
def incomplete():
    """Small and large models that are alike in both settings; half of the small ones lack the easy one."""
    rows = []
    for setting, accuracy in ACCURACY.items():
        for at, size in enumerate([5e6] * 8 + [60e6] * 8):
            if setting == "easy" and at < 4:
                continue
            costs = dict.fromkeys(RESOURCES.values(), (1.0 + at) * (10.0 if setting == "easy" else 1.0))
            rows.append(
                {
                    "model": f"m{at:02d}",
                    "dataset": setting,
                    "num_param": size,
                    "type": "CNN",
                    "efficient": False,
                    "energy_kind": "measured",
                    **costs,
                    **dict.fromkeys(TEST_COLUMNS, accuracy + 1e-4 * (at % 8)),
                }
            )
    return pd.DataFrame(rows)


def test_a_mean_over_settings_is_of_models_that_have_them_all(incomplete):
    means = families.means_by_model(incomplete)
    assert list(means["model"]) == [f"m{at:02d}" for at in range(4, 16)]
    gap = families.group_test(means, means["accuracy"], means["small"])
    assert gap.n == 12 and gap.effect == pytest.approx(0, abs=1e-3)
    assert means["energy"].tolist() == pytest.approx([5.5 * (1 + at) for at in range(4, 16)])
    alone = families.means_by_model(incomplete[incomplete["dataset"] == "hard"])
    assert len(alone) == 16, "one setting by itself leaves out nobody that is in it"


def test_models_that_lack_an_easy_setting_do_not_make_an_equivalence_moot(incomplete):
    claim = paper_claims.Claim(
        "c", "", "", Rule("as_good", 0.05), lambda _: None, "", compares=(tuple(ACCURACY),)
    )
    below = {setting: accuracy - 0.03 for setting, accuracy in ACCURACY.items()}
    above = {setting: accuracy + 0.03 for setting, accuracy in ACCURACY.items()}
    assert paper_claims.moot(claim, incomplete, below) == ""
    assert paper_claims.moot(claim, incomplete, above).startswith("moot")
