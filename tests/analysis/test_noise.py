"""Seed, machine and test images: what repeated runs say, and by how much each moves a claim."""

import numpy as np
import pandas as pd
import pytest

from pepr import runs
from pepr.analysis import claims, machines, units
from pepr.analysis.claimed import numbers as claim_numbers
from pepr.machine.description import INSTRUCTION_VARIABLES


@pytest.fixture(scope="module")
def reference():
    return runs.Results("pocket", "reference", runs.reference_folder("pocket"))


@pytest.fixture(scope="module")
def repeats():
    return machines.repeats()


@pytest.fixture(scope="module")
def kind_of(reference):
    """The processor of each run of the reference, without what decides no digit."""
    kinds = reference.table["hardware"].str.replace(machines.NOT_OF_THE_DIGITS, "", regex=True)
    return dict(zip(reference.table["run_id"], kinds, strict=True))


def moved(rows, seed=False):
    """Repeats by hand: setting, model, and how far AUROC and accuracy moved."""
    table = pd.DataFrame(rows, columns=["setting", "model", "auroc_moved", "accuracy_moved"])
    return table.assign(change=machines.SEED if seed else "other instructions")


def test_the_repeats_are_of_runs_that_the_reference_has(repeats, reference):
    stated = reference.table.set_index("run_id")
    for row in repeats.to_dict("records"):
        run = stated.loc[row["run_id"]]
        for name in ("test_auroc", "test_accuracy"):
            assert row[f"reference_{name}"] == run[name]
        for name in (*machines.COSTS, *machines.CIRCUMSTANCES):
            known = row.get(f"reference_{name}")
            assert pd.isna(known) or known == run[name]
        same = ("model", "setting", "split", "n_test") + (() if row["change"] == machines.SEED else ("seed",))
        assert all(row[name] == run[name] for name in same)
        assert (row["seed"] != run["seed"]) == (row["change"] == machines.SEED)
    assert not repeats.duplicated(["change", "run_id"]).any()


def test_a_run_made_again_as_it_was_has_the_same_result_on_the_same_processor(repeats, kind_of):
    again = repeats[repeats["change"] == machines.AS_RECORDED]
    assert len(again) >= 5 and {"elpv", "elpv_pt"} <= set(again["setting"])
    assert (again["auroc_moved"].abs() <= machines.EQUAL).all()
    assert (again["furthest_probability"] <= machines.EQUAL).all()
    kinds = again["hardware"].str.replace(machines.NOT_OF_THE_DIGITS, "", regex=True)
    assert kinds.tolist() == [kind_of[run] for run in again["run_id"]]


def test_shipped_repeats_that_say_what_they_took_were_made_in_the_company_that_the_reference_had(repeats):
    if "runs_at_once" not in repeats:
        assert repeats["train_time_s_moved"].isna().all()
        return
    told = repeats[repeats["train_time_s"].notna()]
    for name in ("runs_at_once", "energy_source"):
        assert (told[name] == told[f"reference_{name}"]).all()


def test_other_instructions_are_other_hardware_by_name(repeats, kind_of):
    other = repeats[~repeats["change"].isin((machines.AS_RECORDED, machines.SEED))]
    assert not any(kind_of[row.run_id] in row.hardware for row in other.itertuples())
    convolutions = other[other["change"].str.startswith("oneDNN")]
    assert len(convolutions) and convolutions["hardware"].str.contains(INSTRUCTION_VARIABLES[0]).all()


def test_each_change_is_summed_up_by_how_far_its_runs_moved():
    table = moved([("a", "x", 0.03, -0.01), ("a", "y", 0.00005, 0.0), ("b", "x", -0.05, 0.02)])
    (row,) = machines.by_change(table.assign(furthest_probability=0.1)).to_dict("records")
    assert (row["runs"], row["equal"], row["auroc_median"], row["auroc_greatest"]) == (3, 1, 0.03, 0.05)
    assert row["accuracy_greatest"] == 0.02


def with_costs(pairs, **others):
    """Repeats as a file has them: of each pair (before, again) all costs, in like circumstances."""
    alike = {"runs_at_once": 2, "contended": False, "energy_source": "cpu:load_model"}
    rows = []
    for before, again in pairs:
        row = {"change": "as recorded", "setting": "a", "model": "x"}
        for name in ("test_auroc", "test_accuracy"):
            row |= {name: 0.5, f"reference_{name}": 0.5}
        for cost in machines.COSTS:
            row |= {cost: again, f"reference_{cost}": before}
        row |= alike | {f"reference_{name}": value for name, value in alike.items()}
        rows.append(row | others)
    return pd.DataFrame(rows)


def test_what_a_repeat_took_more_is_a_share_of_the_mean_of_the_two(monkeypatch):
    table = with_costs([(90.0, 110.0), (110.0, 90.0), (100.0, 100.0), (95.0, 105.0)])
    monkeypatch.setattr(machines, "read_repeats", table.copy)
    moved = machines.repeats()
    assert moved["energy_kwh_moved"].tolist() == pytest.approx([0.2, -0.2, 0.0, 0.1])
    (row,) = machines.costs(moved, ["change", "setting"]).to_dict("records")
    assert (row["change"], row["setting"], row["pairs"], row["equal_accuracies"]) == (
        "as recorded",
        "a",
        4,
        4,
    )
    for cost in machines.COSTS:
        assert row[f"{cost}_median"] == pytest.approx(0.05)
        assert (row[f"{cost}_least"], row[f"{cost}_greatest"]) == pytest.approx((-0.2, 0.2))
        assert (row[f"{cost}_apart"], row[f"{cost}_furthest"]) == pytest.approx((0.15, 0.2))


def test_costs_are_of_networks_in_like_circumstances_with_no_other_program_beside(monkeypatch):
    unlike = (
        {"model": "pca_svm"},
        {"runs_at_once": 1},
        {"energy_source": "cpu:counter"},
        {"contended": True},
        {"reference_contended": True},
        {"contended": True, "reference_contended": True},
        {"contended": None},
        {"train_time_s": None},
    )
    tables = [with_costs([(1.0, 2.0)], change=str(k), **others) for k, others in enumerate(unlike)]
    like = with_costs([(1.0, 2.0)], change="like")
    monkeypatch.setattr(machines, "read_repeats", pd.concat([*tables, like], ignore_index=True).copy)
    assert machines.costs(machines.repeats(), ["change"])["change"].tolist() == ["like"]


def test_a_table_of_repeats_from_before_costs_were_kept_is_read_as_it_was(monkeypatch):
    old = with_costs([(1.0, 2.0)])[
        [
            "change",
            "setting",
            "model",
            *(f"{of}test_{m}" for of in ("", "reference_") for m in machines.MEASURES),
        ]
    ]
    monkeypatch.setattr(machines, "read_repeats", old.copy)
    found = machines.repeats()
    assert found["auroc_moved"].tolist() == [0.0] and found["train_time_s_moved"].isna().all()
    assert machines.costs(found, ["change"]).empty


def test_a_change_that_reaches_no_library_tells_nothing_of_another_machine():
    reached = moved([("a", "x", 0.03, 0.0), ("a", "y", 0.0, 0.0), ("a", "pca_svm", 0.0, 0.0)])
    unreached = moved([("a", "x", 0.0, 0.0)]).assign(change="a variable that nobody reads")
    table = pd.concat([reached, unreached, moved([("a", "x", 0.2, 0.0)], seed=True)], ignore_index=True)
    kept = machines.other_instructions(table)
    assert kept["model"].tolist() == ["x", "y"] and set(kept["change"]) == {"other instructions"}


def test_a_run_varies_as_those_of_its_setting_did_and_a_baseline_as_baselines():
    table = moved(
        [("a", "x", 0.03, 0.0), ("a", "y", -0.04, 0.0), ("b", "x", 0.01, 0.0), ("b", "pca_svm", 0.0, 0.0)]
    )
    rows = pd.DataFrame({"setting": ["a", "b", "a", "c"], "model": ["z", "z", "pca_svm", "z"]})
    found = machines.run_deviations(rows, table, "auroc")
    assert found.iloc[:3].tolist() == pytest.approx([np.sqrt(0.0025 / 2 / 2), 0.01 / np.sqrt(2), 0.0])
    assert np.isnan(found.iloc[3])


def test_the_noise_of_a_difference_of_means_adds_up_over_its_runs(monkeypatch):
    """Two splits, one model in two settings: each run has a half of its mean."""
    rows = pd.DataFrame(
        [
            {"run_id": f"{setting}{k}", "setting": setting, "seed": k, "split": k, "test_auroc": value}
            for setting, values in (("a", (0.7, 0.8)), ("b", (0.6, 0.5)))
            for k, value in enumerate(values)
        ]
    ).assign(model="x")
    other = moved([("a", "x", 0.02, 0.0), ("b", "x", 0.04, 0.0)])
    seeds = moved([("a", "x", 0.2, 0.0), ("b", "x", 0.2, 0.0)], seed=True)
    monkeypatch.setattr(machines, "repeats", lambda: pd.concat([other, seeds]))
    contrast = units.contrast(rows[rows["setting"] == "a"], rows[rows["setting"] == "b"])
    draws = np.random.default_rng(0).normal(0, 0.02, 4000)

    def images(some):
        return pd.DataFrame({run: draws * (run == "a0") for run in some["run_id"]})

    found = machines.noise_of(contrast, rows, "auroc", images)
    assert found.machine == pytest.approx(np.sqrt((2 * 0.02**2 + 2 * 0.04**2) / 2 / 4))
    assert found.seed == pytest.approx(np.sqrt(4 * 0.2**2 / 2 / 4))
    assert found.images == pytest.approx(0.01, rel=0.05)
    assert found.splits == pytest.approx(np.std([0.1, 0.3], ddof=1) / np.sqrt(2))


def test_a_mean_less_another_counts_each_model_of_its_side_even_where_a_side_is_empty():
    found = units.mean_less_mean(pd.Series(["a", "b"]), pd.Series(["c"]))
    assert found.to_dict() == {"a": 0.5, "b": 0.5, "c": -1.0}
    assert units.mean_less_mean(pd.Series(["a"]), pd.Series([], dtype=str)).to_dict() == {"a": 1.0}


def test_the_contrast_of_models_is_the_effect_that_is_claimed(reference):
    """What is said to move is the number itself: weights times performances give each effect."""
    rows = reference.table
    found = [one for one in claims.findings(claims.with_sets(rows)) if one.contrast is not None]
    named = {one.name for one in found}
    assert {"small_as_good_as_large", "small_higher_pepr", "scratch_beats_baseline"} <= named
    for one in found:
        values = rows.set_index("run_id")[f"test_{one.measure}"].astype("float64")
        effect = float((one.contrast.weights * values.reindex(one.contrast.weights.index)).sum())
        assert effect == pytest.approx(one.result.effect, abs=1e-9), one.name


def test_the_noise_of_a_claim_says_whether_its_interval_goes_by_splits_or_by_models(reference):
    found = claims.claims(reference)
    lines = claim_numbers.noise_table(found).splitlines()
    over = {
        line.split(" | ")[0].removeprefix("| "): line.removesuffix(" |").rsplit(" | ")[-1]
        for line in lines[2:]
    }
    for claim in found:
        if claim["claim"] in over:
            expected = "splits" if claim["verdict_overlap"] is not None else "models"
            assert over[claim["claim"]] == expected
    assert set(over.values()) == {"splits", "models"}


def test_what_is_promised_names_what_was_seen_and_promises_nothing_of_a_card(repeats, reference):
    promised = machines.promise(reference.table)
    again = repeats[repeats["change"] == machines.AS_RECORDED]
    greatest = 100 * machines.other_instructions(repeats)["auroc_moved"].abs().max()
    changed = repeats[~repeats["change"].isin([machines.AS_RECORDED, machines.SEED])]
    assert f"so in {len(machines.other_instructions(repeats))} of {len(changed)} repeats" in promised
    assert f"{len(again)} of {len(again)} runs" in promised and f"up to {greatest:.1f}" in promised
    assert "\n" not in promised
    assert "nothing is promised" in machines.promise(reference.table.assign(device="cuda"))
