"""Each network pretrained against itself from scratch, on the splits that it has both ways."""

from __future__ import annotations

import numpy as np
import pytest
import several_sets
from scipy import stats as scipy_stats

from pepr.analysis import claims as run_claims
from pepr.analysis.claimed import pairs
from pepr.analysis.claimed.cells import PAIRED_CLAIMS
from pepr.analysis.measures import Resampled
from pepr.runs.results import Results, reference_folder

SHIPPED = Results("pocket", "reference", reference_folder("pocket"))
BOTH = {"full": ("elpv_pt", "elpv"), "tenth": ("elpv_pt_small", "elpv_small")}


class OnlyOneSplit(Results):
    """The reference, of which one network has a single split pretrained."""

    @property
    def table(self):
        whole = SHIPPED.table
        gone = (whole["model"] == "tf_efficientnet_lite2") & (whole["split"] > 0) & whole["pretrained"]
        return whole[~gone]


def no_images(rows):
    raise AssertionError("the test images of splits are not drawn again")


@pytest.fixture(scope="module")
def found():
    return pairs.pairs(SHIPPED, no_images)


def test_a_pair_is_the_mean_difference_over_its_splits_with_students_interval(found):
    assert {one.share for one in found} == set(BOTH)
    for one in found:
        of_model = SHIPPED.table[SHIPPED.table["model"] == one.model]
        wide = of_model.pivot_table(index="split", columns="setting", values="test_auroc")
        pretrained, scratch = (wide[setting] for setting in BOTH[one.share])
        gain = (pretrained - scratch).dropna()
        half = scipy_stats.t.ppf(0.975, len(gain) - 1) * gain.sem()
        assert (one.gain.estimate, one.n_units) == (pytest.approx(gain.mean()), len(gain))
        assert (one.gain.low, one.gain.high) == pytest.approx((gain.mean() - half, gain.mean() + half))
        assert one.n_lower == (gain < 0).sum()
        assert one.pretrained - one.scratch == pytest.approx(one.gain.estimate)


def test_one_split_has_a_difference_and_no_interval():
    few = pairs.pairs(OnlyOneSplit("pocket", "reference", reference_folder("pocket")), few_images)
    one = next(one for one in few if one.model == "tf_efficientnet_lite2" and one.share == "full")
    assert one.n_units == 1 and np.isfinite(one.gain.estimate) and np.isnan(one.gain.low)
    line = next(line for line in pairs.pairs_table(few).splitlines() if "lite2 | all" in line)
    assert "too few splits" in line


def test_seeds_of_one_split_are_not_called_splits(tmp_path):
    made = several_sets.write(tmp_path, sets=("breastmnist",), seeds=(0, 1, 2))
    images = Resampled(made, ("auroc",), 50).of
    numbers = pairs.pair_numbers(pairs.pairs(made, images("auroc"))) | pairs.as_good_numbers(made, images)
    for key in ("pretraining_pairs", "as_good_networks"):
        head = numbers[key]["text"].splitlines()[0]
        assert "interval over seeds | Seeds |" in head and "plit" not in head


def few_images(rows):
    return rows.set_index("run_id")[["test_auroc"]].T.reset_index(drop=True)


def test_the_count_of_networks_that_pretraining_lowers_is_that_of_the_table(found):
    numbers = pairs.pair_numbers(found)
    for share in BOTH:
        of_share = [one for one in found if one.share == share]
        lower = sum(one.gain.estimate < 0 for one in of_share)
        assert numbers[f"pretraining_lowers_{share}"]["text"] == f"{lower} of {len(of_share)} networks"
    assert pairs.pair_numbers([]) == {}


def test_a_claim_of_equivalence_has_a_row_for_each_network_and_is_their_mean():
    images = Resampled(SHIPPED, ("auroc",), 100).of
    made = pairs.as_good_rows(SHIPPED, images)
    for claim in run_claims.claims(SHIPPED):
        rows = [list(row.values()) for row in made if row["Claim"] == claim["claim"]]
        if claim["id"] not in {one.id for one in PAIRED_CLAIMS if one.as_good}:
            assert not rows
            continue
        assert [row[1] for row in rows] == claim["networks"].split(", ")
        effects = [float(row[2].replace("−", "-")) for row in rows]
        assert np.mean(effects) == pytest.approx(claim["effect"], abs=1e-3)
        assert all("\u00a0to\u00a0" in row[3] and row[4] == "5" for row in rows)


def test_without_networks_on_a_tenth_no_claim_of_equivalence_has_rows():
    class Whole(Results):
        table = SHIPPED.table.query("train_fraction == 1")

    assert pairs.as_good_numbers(Whole("pocket", "reference", reference_folder("pocket")), None) == {}
