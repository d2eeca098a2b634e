"""Results to PePR tables, peaks, claims, costs and numbers: on simulated runs, and on rows made by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import fail, pocket_grid, simulated_run

from pepr import analysis, grids, quantities, runs, score, stats, verdicts
from pepr.analysis import claims as run_claims, energy as run_energy, numbers as run_numbers, standings
from pepr.audit import gates
from pepr.display import words
from pepr.display.numbers import update_numbers
from pepr.errors import InputError

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def table(synthetic_results):
    return synthetic_results.table


@pytest.fixture(scope="module")
def scores(table):
    return analysis.pepr_table(table)


@pytest.fixture(scope="module")
def claims(synthetic_results):
    return {claim["id"]: claim for claim in run_claims.claims(synthetic_results)}


def chosen(scores, setting, resource="T", measure="auroc"):
    rows = scores.query("setting == @setting and resource == @resource and measure == @measure")
    return rows.set_index("model")


def changed(table, where, **values):
    table = table.copy()
    for column, value in values.items():
        table.loc[where, column] = value
    return table


# Scores


def test_scores_are_pepr_of_the_seed_means_within_a_setting(table, scores):
    rows = chosen(scores, "elpv")
    done = table.query("status == 'ok' and setting == 'elpv' and model != 'ghostnet_100' and split == 0")
    means = done.groupby("model")[["test_auroc", "train_time_s"]].mean()
    by_hand = means["test_auroc"] / (
        1
        + (means["train_time_s"] - means["train_time_s"].min())
        / (means["train_time_s"].max() - means["train_time_s"].min())
    )
    np.testing.assert_allclose(rows.loc[by_hand.index, "score"], by_hand)
    assert rows.loc[LITE0, "n_seeds"] == 1  # the others were run on the first of its three splits
    assert chosen(scores, "elpv_small").loc[LITE0, "n_seeds"] == 3


def test_a_failed_model_keeps_its_row_with_an_empty_score(scores):
    row = chosen(scores, "elpv").loc["hardcorenas_a"]
    assert row["status"] == "failed" and np.isnan(row["score"]) and np.isnan(row["rank"])


def test_a_contended_model_is_shown_but_ranked_by_memory_alone(scores):
    for resource in "ECT":
        row = chosen(scores, "elpv", resource).loc["ghostnet_100"]
        assert row["contended"] and row["resource_value"] > 0 and np.isnan(row["score"])
    assert chosen(scores, "elpv", "M").loc["ghostnet_100", "score"] > 0


def test_a_contended_model_does_not_move_the_range_of_the_others(table, scores):
    dearer = changed(table, table["model"] == "ghostnet_100", train_time_s=1e5)
    pd.testing.assert_series_equal(
        chosen(analysis.pepr_table(dearer), "elpv")["score"], chosen(scores, "elpv")["score"]
    )


def test_one_range_for_all_settings_is_not_frozen_and_one_that_is_given_is(table):
    newcomer = table.query("setting == 'elpv' and model == 'dla46_c'").assign(model="resnet50")
    newcomer["run_id"] += "-newcomer"
    dear = newcomer.assign(train_cpu_time_s=9e3, train_time_s=9e3)
    more = pd.concat([table, dear], ignore_index=True)
    frozen = {letter: (20.0, 40.0) for letter in quantities.RESOURCES}
    for given, moves in ((None, True), (frozen, False)):
        before, after = (
            chosen(analysis.pepr_table(of, given), "elpv_pt")["score_frozen"] for of in (table, more)
        )
        assert (not np.allclose(before, after, equal_nan=True)) is moves


def test_frozen_scores_use_one_range_over_all_settings(scores):
    rows = scores.query("resource == 'T' and measure == 'auroc'").dropna(subset=["score_frozen"])
    lo, hi = rows["resource_value"][~rows["contended"]].agg(["min", "max"])
    expected = score.pepr(rows["performance"], rows["resource_value"], (lo, hi))
    np.testing.assert_allclose(rows["score_frozen"], expected)
    assert not rows["below_range"].any()


def test_a_declared_range_is_kept_and_flags_what_lies_below_it(table):
    frozen = {letter: (20.0, 40.0) for letter in quantities.RESOURCES}
    rows = chosen(analysis.pepr_table(table, frozen), "elpv")
    assert rows.loc["dla46_c", "below_range"] and rows.loc["dla46_c", "score_frozen"] == pytest.approx(
        rows.loc["dla46_c", "performance"]
    )
    assert rows.loc["resnetv2_50", "resource_norm_frozen"] > 1


def test_rank_differences_count_models_whose_rank_moves(scores):
    differences = analysis.rank_differences(scores).set_index(["setting", "resource", "measure"])
    rows = chosen(scores, "elpv", measure="balanced_accuracy").dropna(subset=["score"])
    counted = differences.loc[("elpv", "T", "balanced_accuracy")]
    assert counted["n_models"] == len(rows) == 9
    assert counted["n_ranks_differ"] == (rows["rank"] != rows["rank_frozen"]).sum() > 0


def test_energy_from_a_load_model_is_an_estimate_and_makes_time_the_primary_resource(table, scores):
    kinds = scores.dropna(subset=["resource_value"]).groupby("resource")["kind"].agg(set)
    assert scores.loc[scores["resource_value"].isna(), "kind"].isna().all()
    assert (kinds["E"], kinds["C"], kinds["T"], kinds["M"]) == (
        {"estimated"},
        {"estimated"},
        {"measured"},
        {"measured"},
    )
    assert analysis.primary_resource(table) == "T"
    metered = table.assign(energy_source="gpu:counter;cpu:load_model;ram:assumed")
    assert analysis.primary_resource(metered) == "E"


@pytest.mark.parametrize(
    ("source", "estimated"),
    [
        ("cpu:load_model;ram:assumed", True),
        ("gpu:counter;cpu:load_model", False),
        ("gpu:tdp_constant;cpu:counter", True),
        ("cpu:counter;ram:assumed", False),
        ("gpu:sampled_power", False),
        (None, True),
        ("", True),
    ],
)
def test_energy_is_measured_only_where_the_component_that_did_the_work_was_metered(source, estimated):
    assert quantities.energy_is_estimated(source) is estimated


def test_predicted_memory_is_an_estimate():
    assert quantities.resource_kind("M", "cpu:counter", "predicted") == "estimated"
    assert quantities.resource_kind("C", "cpu:counter", "rss_peak_minus_baseline") == "derived"


def test_pepr_d_of_ten_and_a_hundred_percent_by_hand(table):
    rows = analysis.data_scores(table).query("pretrained and measure == 'auroc'").reset_index()
    assert rows["resource_norm"].tolist() == pytest.approx([0.09 / 0.99, 1.0])
    assert rows["score"][1] == pytest.approx(rows["performance"][1] / 2)
    assert rows["ratio_to_win"].unique() == pytest.approx([2 / (1 + 0.09 / 0.99)])
    assert set(rows["model"]) == {LITE0} and rows["n_train"].tolist() == [157, 1574]


def test_failures_say_what_their_absence_does_to_the_range(table):
    inside = analysis.failures(table)
    assert inside["failure"].tolist() == ["out_of_memory"]
    assert "inside those of the scored models" in inside["effect_on_range"][0]
    larger = changed(table, table["status"] == "failed", num_params=100_000_000)
    assert "larger than every scored model" in analysis.failures(larger)["effect_on_range"][0]
    unknown = changed(table, table["status"] == "failed", num_params=pd.NA, hardware=pd.NA)
    assert "size is unknown" in analysis.failures(unknown)["effect_on_range"][0]
    assert analysis.failures(table.query("status == 'ok'")).empty


def test_a_failed_run_without_hardware_joins_the_set_of_its_setting(table):
    orphaned = changed(table, table["status"] == "failed", hardware=pd.NA)
    assert analysis.with_sets(orphaned)["hardware"].nunique() == 1
    assert "hardcorenas_a" in chosen(analysis.pepr_table(orphaned), "elpv").index


def test_runs_by_another_version_of_the_meter_are_another_set(table):
    software = "python 3.11.7; torch 2.14.1; timm 1.0.31; codecarbon 3.3.2"
    one = changed(table, table.index, software=software)
    assert set(analysis.with_sets(one)["hardware"]) == set(analysis.with_sets(table)["hardware"])
    row = table.query("model == 'dla46_c'").index
    two = analysis.with_sets(changed(one, row, software=software.replace("3.3.2", "3.3.1")))
    assert set(two.loc[row, "hardware"]) == {"simulated CPU, 2 cores; meter: codecarbon 3.3.1"}
    assert set(two.drop(row)["hardware"]) == {"simulated CPU, 2 cores; meter: codecarbon 3.3.2"}


def test_runs_on_other_hardware_are_another_set(table):
    other = changed(table, table["model"] == "resnetv2_50", hardware="another machine")
    rows = analysis.pepr_table(other).query("resource == 'T' and measure == 'auroc' and setting == 'elpv'")
    alone = rows[rows["hardware"] == "another machine"]
    assert alone["score"].tolist() == alone["performance"].tolist()


# Intervals and peaks


def test_intervals_hold_the_estimate_and_say_what_they_are_over(synthetic_results):
    rows = analysis.performance_intervals(synthetic_results, n_resamples=200)
    assert ((rows["low"] < rows["performance"]) & (rows["performance"] < rows["high"])).all()
    over = rows.groupby(["setting", "model"])["over"].agg(set)
    assert over["elpv_small", LITE0] == {"splits and seeds"}
    assert over["elpv", "dla46_c"] == over["elpv", LITE0] == {"test images alone"}
    assert set(rows.loc[rows["setting"] == "elpv_small", "n_units"]) == {3}
    assert len(rows) == len(quantities.MEASURES) * 15


def test_draws_of_accuracy_are_those_of_the_resampled_predictions(synthetic_results, table):
    done = table.query("status == 'ok'").head(1)
    draws = analysis.run_draws(synthetic_results, done, "accuracy", n_resamples=3, seed=5)
    probabilities, labels = synthetic_results.predictions(done["run_id"].iloc[0])
    counts = stats.resample_counts(len(labels), 3, 5)
    expected = [np.average(probabilities.argmax(axis=1) == labels, weights=row) for row in counts]
    np.testing.assert_allclose(draws.iloc[:, 0], expected)


def test_the_peak_is_the_best_scored_model_and_its_place_is_one_of_the_models(synthetic_results, scores):
    peaks = analysis.peak_locations(synthetic_results, ("T",), ("auroc",), n_resamples=300)
    rows = analysis.peak_table(peaks).set_index("setting")
    assert set(rows.index) == {"elpv", "elpv_pt"}
    models = chosen(scores, "elpv").dropna(subset=["score"])
    peak = rows.loc["elpv"]
    assert peak["model"] == models["score"].idxmax() and peak["score"] == pytest.approx(models["score"].max())
    assert peak["location_low"] <= peak["location"] <= peak["location_high"]
    for name in ("location_low", "location_high"):
        assert np.isclose(models["resource_value"], peak[name]).any()
    assert sum(peaks[0].probabilities.values()) == pytest.approx(1)


def test_a_packed_reference_gives_the_same_peaks_and_claims(synthetic_results, claims, tmp_path):
    runs.write_reference(synthetic_results, tmp_path / "pocket")
    reference = runs.Results("pocket", "reference", tmp_path / "pocket")
    again = run_claims.claims(reference)
    assert again == list(claims.values())
    both = [
        analysis.peak_locations(source, ("T",), ("auroc",), n_resamples=50)
        for source in (reference, synthetic_results)
    ]
    assert both[0] == both[1]
    assert "runs of the project's own reference, made on" in run_numbers.where_from(reference)


def test_the_maximum_of_each_curve_is_the_best_score(scores):
    best = scores.groupby(["setting", "resource", "measure"])["score"].max()
    peaks = analysis.curves(scores).groupby(["setting", "resource", "measure"])["score"].max()
    pd.testing.assert_series_equal(peaks, best.loc[peaks.index])


# Claims


def test_claims_have_the_shape_of_claims_json_and_can_be_written(claims):
    needed = {"claim", "test", "n", "effect", "low", "high", "p", "verdict", "verdict_corrected", "basis"}
    for claim in claims.values():
        assert needed <= set(claim)
        assert {claim["verdict"], claim["verdict_corrected"]} <= set(verdicts.VERDICTS)
        assert claim["p"] is None or claim["p_holm"] is None or claim["p_holm"] >= claim["p"]
    assert json.loads(json.dumps(list(claims.values()), allow_nan=False))


def test_corrected_verdicts_leave_out_contended_runs_and_constant_predictors(table):
    flagged = changed(table, table["model"] == "dla46_c", constant_predictor=True)
    kept = set(run_claims.sound_rows(flagged)["model"])
    assert "ghostnet_100" not in kept and "dla46_c" not in kept and LITE0 in kept


def test_models_that_are_alike_are_called_equivalent(table):
    rng = np.random.default_rng(0)
    alike = changed(table, table["status"] == "ok", test_auroc=0.9)
    alike["test_auroc"] += rng.normal(0, 0.002, len(alike))
    judged = run_claims.judge(run_claims.findings(alike))
    for name in ("small_as_good_as_large", "tenth_as_good_as_all_pretrained", "tenth_as_good_as_all_scratch"):
        assert judged[name].verdict == "equivalent"


# Costs


def test_every_gate_holds_on_sound_runs(table):
    assert gates.gates(table).empty


@pytest.mark.parametrize(
    ("gate", "values"),
    [
        ("energy_positive", {"energy_kwh": np.nan}),
        ("zero_is_missing", {"energy_ram_kwh": 0.0}),
        ("power_above_idle", {"idle_power_w": 50.0}),
        ("power_below_limit", {"power_limit_w": 5.0}),
        ("memory_below_machine", {"peak_memory_bytes": 870 * 10**9, "hardware": "a CPU; 2 cores; 24 GiB"}),
        ("power_known", {"train_time_s": np.nan}),
        ("accuracy_lattice", {"test_accuracy": 0.7777}),
        ("accuracy_lattice", {"test_accuracy_last_epoch": np.nan}),
        ("test_size_known", {"n_test": pd.NA}),
        ("constant_predictor_flagged", {"test_sensitivity": 0.0, "test_specificity": 1.0}),
        ("did_learn", {"train_loss_last_epoch": 0.70, "train_class_entropy": 0.62}),
        ("ok_is_scored", {"test_auroc": np.nan}),
        ("failed_is_not_scored", {"status": "failed", "failure": "error"}),
        ("failure_is_named", {"status": "failed", "failure": pd.NA}),
    ],
)
def test_each_gate_names_the_row_and_column_that_breaks_it(table, gate, values):
    row = table.query("model == 'dla46_c'").index
    found = gates.gates(changed(table, row, **values)).query("gate == @gate")
    assert set(found["run_id"]) == set(table.loc[row, "run_id"])
    assert found["expected"].str.len().min() > 0
    assert set(found["column"]) <= set(runs.COLUMNS)


def test_a_gate_speaks_in_the_unit_of_the_value_that_it_holds(table):
    row = table.query("model == 'dla46_c'").index[:1]
    changes = {"energy_kwh": 0.01, "power_limit_w": 5.0, "train_time_s": 720.0}
    found = gates.gates(changed(table, row, **changes)).query("gate == 'power_below_limit'").iloc[0]
    assert found["value"] == 0.01 and found["expected"] == "at most 0.001 kWh, which is 5 W for 720 s"


def test_two_rows_that_share_an_energy_are_both_named(table):
    shared = changed(table, table["model"].isin(["dla46_c", "resnet18d"]), energy_kwh=1e-5)
    found = gates.gates(shared).query("gate == 'energy_unique'")
    assert len(found) == 2


def test_a_constant_predictor_that_is_flagged_passes_the_gate(table):
    flagged = changed(
        table,
        table["model"] == "dla46_c",
        test_sensitivity=0.0,
        test_specificity=1.0,
        constant_predictor=True,
    )
    assert gates.gates(flagged).empty


def test_a_loss_that_ends_below_the_entropy_of_the_classes_or_is_not_known_passes_the_gate(table):
    learned = changed(table, table.index[0], train_loss_last_epoch=0.61, train_class_entropy=0.62)
    assert gates.gates(learned).empty
    assert table["train_loss_last_epoch"].isna().all() and gates.gates(table).empty


def test_the_resource_table_says_how_each_component_is_known(table):
    rows = run_energy.energy_table(table)
    assert set(rows["cpu_how"]) == {"load_model"} and set(rows["ram_how"]) == {"assumed"}
    assert rows["gpu_wh"].isna().all() and rows["estimated"].all()
    np.testing.assert_allclose(rows["power_w"], 11.0)
    np.testing.assert_allclose(rows["cpu_wh"] + rows["ram_wh"], rows["training_wh"])
    assert not run_energy.by_component(table)["measured"].any()
    assert set(run_energy.by_component(table)["component"]) == {"cpu", "ram"}


def test_net_energy_is_what_a_run_took_beyond_the_idle_machine_that_it_had_for_itself(table):
    """11 W are drawn in every run, of which 4 are those of the idle machine."""
    assert run_energy.energy_table(table)["net_wh"].isna().all(), "idle power is not known"
    rows = run_energy.energy_table(table.assign(idle_power_w=4.0, runs_at_once=1))
    beside = rows["contended"].astype(bool)
    assert beside.any() and rows.loc[beside, "net_wh"].isna().all(), "another program's energy is in it"
    np.testing.assert_allclose(rows.loc[~beside, "net_wh"], rows.loc[~beside, "training_wh"] * 7 / 11)
    beside = run_energy.energy_table(table.assign(idle_power_w=4.0, runs_at_once=2))
    assert beside["net_wh"].isna().all(), "the machine is not one run's"


def test_inferences_outweigh_training_when_their_energy_passes_it(table):
    row = table.query("model == 'dla46_c'")
    n = run_energy.break_even_inferences(row).iloc[0]
    each = (row["energy_inference_kwh"] / 525).iloc[0]
    assert (n - 1) * each < row["energy_kwh"].iloc[0] <= n * each * (1 + 1e-12)
    unmetered = row.assign(energy_inference_kwh=np.nan)
    assert np.isnan(run_energy.break_even_inferences(unmetered).iloc[0])


def test_the_bill_adds_the_windows(table):
    bill = run_energy.study_bill(table)
    assert bill["total_wh"] == pytest.approx(
        bill["training_wh"] + bill["validation_wh"] + bill["inference_wh"]
    )
    assert bill["training_wh"] == pytest.approx(1000 * table["energy_kwh"].sum())
    assert bill["co2eq_g"] == pytest.approx(bill["total_wh"] / 1000 * 151.65)
    assert bill["estimated"] is True


def test_grams_change_between_countries_and_ranks_never_do(table):
    energies = table["energy_kwh"].dropna()
    by_country = [grids.carbon_across_countries(kwh).set_index("country_code") for kwh in energies]
    for code in ("DNK", "POL", "FRA"):
        grams = pd.Series([grid.loc[code, "co2eq_g"] for grid in by_country], index=energies.index)
        assert (grams.rank() == energies.rank()).all()
    assert by_country[0].loc["POL", "co2eq_g"] > 2 * by_country[0].loc["DNK", "co2eq_g"]
    assert (by_country[0]["carbon_intensity"] > 0).all()


def test_energy_to_a_target_is_what_was_spent_up_to_the_epoch_that_reached_it():
    def epoch(number, value):
        return {"epoch": number, "val_auroc": value, "energy_kwh": 0.001, "train_time_s": 10.0}

    record = {"run_id": "r", "model": "m", "setting": "s", "seed": 0, "status": "ok"}
    record["history"] = [epoch(0, 0.6), epoch(1, 0.8), epoch(2, 0.9)]
    reached = run_energy.energy_to_target([record], 0.75).iloc[0]
    assert (reached["epochs_to_target"], reached["energy_to_target_wh"], reached["time_to_target_s"]) == (
        2,
        2.0,
        20.0,
    )
    assert np.isnan(run_energy.energy_to_target([record], 0.95)["energy_to_target_wh"][0])
    assert run_energy.typical_target([record]) == 0.9
    curve = run_energy.learning_curves([record])
    assert curve["epoch"].tolist() == [1, 2, 3] and curve["energy_so_far_wh"].tolist() == [1.0, 2.0, 3.0]


# Numbers


def test_numbers_can_be_quoted_and_estimates_are_marked(synthetic_results, scores, claims, tmp_path):
    energy = run_numbers.energy_numbers(synthetic_results, "DNK")
    peaks = analysis.peak_locations(synthetic_results, ("T",), n_resamples=100)
    changes = analysis.rank_differences(scores)
    stand = standings.standings(synthetic_results, n_resamples=100)
    found = list(claims.values())
    numbers = run_numbers.pepr_numbers(synthetic_results, scores, peaks, found, changes, stand)
    update_numbers(tmp_path, "03_energy", energy)
    written = json.loads(update_numbers(tmp_path, "04_pepr", numbers).read_text())
    assert set(written) == set(energy) | set(numbers)
    assert written["runs_failed"]["value"] == 1 and written["failed_models"]["text"] == "hardcorenas_a"
    assert written["bill_total"]["estimate"] and not written["bill_wall_time"]["estimate"]
    assert written["n_train"]["text"] == "1,574" and written["largest_model"]["text"] == "resnetv2_50"
    assert (
        written["scratch_best_pepr_e_auroc"]["estimate"]
        and not written["scratch_best_pepr_t_auroc"]["estimate"]
    )
    gain = written["claim_pretrained_beats_scratch_seeds_accuracy_effect"]
    assert gain["text"] == f"{100 * gain['value']:+.1f} percentage points"


def test_runs_that_all_failed_are_one_clear_error(tmp_path):
    store = runs.Store(tmp_path, "pocket")
    store.write_record(fail(simulated_run(*pocket_grid()[0])[0], "timeout"))
    runs.collect(store)
    with pytest.raises(InputError, match=r"results.csv: no run is ok \(timeout\)"):
        run_numbers.where_from(runs.Results("pocket", "this machine", store.folder))


def test_an_unknown_country_is_an_error(synthetic_results):
    with pytest.raises(InputError, match="ZZZ"):
        run_numbers.energy_numbers(synthetic_results, "ZZZ")


def test_a_table_for_a_page_has_no_index_and_says_when_it_is_empty():
    page = words.as_html(
        pd.DataFrame(
            {"train_time_s": [1.23456, np.nan], "n": [1574, 1], "how": [None, "<b>"], "x_y": [True, False]}
        )
    )
    for expected in (
        "train time (s)</th>",
        ">1.23<",
        ">1,574<",
        "&lt;b&gt;",
        "x y</th>",
        ">yes<",
        "<td></td>",
    ):
        assert expected in page
    assert "nan" not in page.lower() and "None" not in page
    assert words.as_html(pd.DataFrame(), empty="<none>") == "<p>&lt;none&gt;</p>"


def test_two_runs_of_one_model_are_analysed_without_claims_or_peaks(tmp_path):
    store = runs.Store(tmp_path, "smoke")
    for number, (model, setting, seed) in enumerate(pocket_grid()[:2]):
        record, probabilities, labels = simulated_run(model, setting, seed)
        if number:
            record = fail(record, "diverged")
        else:
            store.write_predictions(record["run_id"], probabilities, labels)
        store.write_record(record)
    runs.collect(store)
    results = runs.Results("smoke", "this machine", store.folder)
    scores = analysis.pepr_table(results.table)
    peaks, claims = analysis.peak_locations(results, n_resamples=50), run_claims.claims(results)
    assert peaks == [] and claims == [] and analysis.peak_table(peaks).empty
    changes = analysis.rank_differences(scores)
    stand = standings.standings(results, n_resamples=50)
    numbers = run_numbers.pepr_numbers(results, scores, peaks, claims, changes, stand)
    assert numbers["runs_ok"]["value"] == 1 and numbers["claims"]["value"] == 0
    assert run_numbers.energy_numbers(results, "DNK")["bill_total"]["value"] > 0
