"""Every check fires on a table where it must and stays silent where it must not; precision and recall."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from audit_tables import EPOCHS, N_TEST, sound_table
from recordings import needs_tables

from pepr import audit, cli, published
from pepr.audit import registry
from pepr.audit.energy_line import robust_line
from pepr.audit.inference import infer_n_test
from pepr.errors import InputError
from pepr.machine import process
from pepr.published import audit as published_audit
from pepr.published.audit import (
    implausible_population,
    joined_to_other_model,
    labels_by_position,
    labels_disagree,
    superseded_column,
)

TESTS = [f"test_{epoch:02d}" for epoch in range(EPOCHS)]
SHAPE = ["check", "severity", "setting", "model", "columns", "value", "expected", "explanation"]
SHAPE += ["origin", "verdict", "cause", "which"]


@pytest.fixture
def table() -> pd.DataFrame:
    return sound_table()


@pytest.fixture(scope="module")
def published_findings() -> list[audit.Finding]:
    return published_audit.audit_published(published.load())


def found(table: pd.DataFrame, check: str, **options: object) -> list[audit.Finding]:
    return [finding for finding in audit.audit(table, **options) if finding.check == check]


def at(table: pd.DataFrame, setting: str, i: int) -> int:
    return int(table.index[(table["dataset"] == setting)][i])


def own_results(n: int = 24) -> pd.DataFrame:
    """A few rows in the columns of this project's own results."""
    rng = np.random.default_rng(5)
    time_s = rng.uniform(20, 200, n)
    accuracy = rng.integers(380, 470, n) / 525
    return pd.DataFrame(
        {
            "run_id": [f"r{i}" for i in range(n)],
            "model": [f"m{i % 8}" for i in range(n)],
            "dataset": "elpv",
            "setting": ["elpv", "elpv_pt", "elpv_small"] * (n // 3),
            "seed": 0,
            "status": "ok",
            "n_test": 525.0,
            "num_params": 4e6,
            "test_accuracy": accuracy,
            "test_accuracy_last_epoch": accuracy,
            "test_majority_rate": 360 / 525,
            "constant_predictor": "False",
            "energy_kwh": 1.2e-5 * time_s * np.exp(rng.normal(0, 1e-3, n)),
            "train_time_s": time_s,
            "inference_time_s": time_s * 0.0173,
            "co2eq_g": np.nan,
            "idle_power_w": np.nan,
            "power_limit_w": np.nan,
        }
    )


def test_a_sound_table_has_no_findings(table):
    assert audit.audit(table, power_limit_w=350) == []
    assert audit.audit(own_results()) == []


def test_a_copied_energy_is_found_and_its_owner_is_not(table):
    copy, owner = at(table, "a", 3), at(table, "c", 3)
    table.loc[copy, ["energy", "co2"]] = table.loc[owner, ["energy", "co2"]].to_numpy()
    table.loc[owner, "train_time"] = (table.loc[owner, "energy"] + 4e-4) / 1.64e-3
    table.loc[copy, "train_time"] = table.loc[owner, "train_time"] / 5
    (finding,) = found(table, "copied_energy")
    assert (finding.model, finding.setting, finding.severity) == ("model_000003", "a", "error")
    assert finding.columns == ["energy", "co2"]
    assert "model_000003 in c" in finding.explanation
    assert finding.expected == pytest.approx(1.64e-3 * table.loc[copy, "train_time"] - 4e-4, rel=0.15)


def test_copies_whose_times_agree_are_undecided(table):
    first, second = at(table, "a", 3), at(table, "b", 3)
    table.loc[first, "train_time"] = table.loc[second, "train_time"] * 1.002
    table.loc[first, ["energy", "co2"]] = table.loc[second, ["energy", "co2"]].to_numpy()
    findings = found(table, "copied_energy")
    assert [finding.severity for finding in findings] == ["warning", "warning"]


def test_rounded_energies_may_repeat(table):
    table["energy"] = table["energy"].round(3)
    table["co2"] = table["energy"] * 53.5
    assert table["energy"].duplicated().any() and found(table, "copied_energy") == []


def test_a_row_of_another_setting_is_found_where_it_does_not_belong(table):
    copy, owner = at(table, "a", 7), at(table, "c", 7)
    measured = ["energy", "co2", "train_time", "inf_time", "tr_acc", *TESTS]
    table.loc[copy, measured] = table.loc[owner, measured].to_numpy()
    (finding,) = found(table, "copied_row")
    assert (finding.setting, finding.severity) == ("a", "error")
    assert f"1/{N_TEST['c']}" in finding.explanation
    assert found(table, "copied_energy") == []
    assert "test set of c" in found(table, "accuracy_not_k_of_n")[0].explanation


def test_a_copied_time_is_found_and_a_rounded_one_is_not(table):
    table.loc[0, "train_time"] = table.loc[1, "train_time"]
    assert {f.model for f in found(table, "copied_time")} == {"model_000000", "model_000001"}
    table["train_time"] = table["train_time"].round(1)
    assert found(table, "copied_time") == []


def test_an_accuracy_that_is_no_count_is_found_and_its_digits_are_named(table):
    table.loc[5, ["test_01", "test_09"]] = 66 / 1984, 66 / 1984 + 0.3
    (finding,) = found(table, "accuracy_not_k_of_n")
    assert (finding.severity, finding.columns) == ("error", ["test_09"])
    assert "66/1984" in finding.explanation and "first decimal" in finding.explanation
    assert finding.cause == "digit_changed"


def test_an_odd_value_in_an_earlier_epoch_is_a_warning(table):
    table.loc[5, "test_03"] = 0.7777
    (finding,) = found(table, "accuracy_not_k_of_n")
    assert finding.severity == "warning" and finding.expected == pytest.approx(1543 / 1984)


def test_n_test_may_be_given_and_rounded_accuracies_are_left_alone(table):
    assert len(found(table[table["dataset"] == "a"], "accuracy_not_k_of_n", n_test=608)) == 60
    rounded = table.assign(**{name: table[name].round(3) for name in TESTS})
    assert found(rounded, "accuracy_not_k_of_n") == []
    assert found(rounded, "accuracy_not_k_of_n", n_test=1984) == []


def make_constant(table: pd.DataFrame, rows: list[int], rate: float) -> None:
    table.loc[rows, TESTS] = rate


def test_constant_predictors_are_found_and_converged_runs_are_not(table):
    rows = [at(table, "a", i) for i in (1, 2, 3)]
    make_constant(table, rows, 1328 / 1984)
    assert {f.model for f in found(table, "constant_predictor")} == {
        "model_000001",
        "model_000002",
        "model_000003",
    }
    table = sound_table()
    table.loc[4, TESTS[4:]] = table.loc[4, "test_04"]
    assert found(table, "constant_predictor") == []


def test_runs_that_never_beat_the_majority_are_found(table):
    make_constant(table, [at(table, "b", i) for i in (1, 2)], 381 / 608)
    weak = at(table, "b", 9)
    table.loc[weak, TESTS] = np.arange(360, 370) / 608
    assert {f.model for f in found(table, "never_above_majority")} == {
        "model_000001",
        "model_000002",
        "model_000009",
    }


def test_a_collapse_is_found_and_a_poor_run_is_not(table):
    make_constant(table, [at(table, "a", i) for i in (1, 2)], 1328 / 1984)
    make_constant(table, [at(table, "a", i) for i in (3, 4)], 66 / 1984)
    table.loc[at(table, "a", 3), "tr_acc"] = 0.034
    table.loc[at(table, "a", 4), ["test_00", "test_01", "test_02", "test_03"]] = (
        np.array([1500, 1510, 1520, 1530]) / 1984
    )
    poor = at(table, "a", 5)
    table.loc[poor, [*TESTS, "tr_acc"]] = [*(np.arange(1100, 1110) / 1984), 0.55]
    assert {f.model for f in found(table, "collapsed_run")} == {"model_000003", "model_000004"}


def test_an_impossible_power_is_found_and_a_possible_one_is_not(table):
    table.loc[2, "energy"] *= 3
    (finding,) = found(table, "implied_power", power_limit_w=350)
    assert finding.value > finding.expected == pytest.approx((350 + 150) * 1.67)
    assert found(table, "implied_power") == []


def test_less_than_idle_power_is_found():
    results = own_results()
    results["idle_power_w"] = 20.0
    results.loc[3, "energy_kwh"] *= 0.3
    (finding,) = found(results, "implied_power")
    assert "idle" in finding.explanation


def test_a_run_that_shares_a_machine_may_draw_a_share_of_its_idle_power():
    results = own_results()
    results["idle_power_w"] = 20.0
    results["runs_at_once"] = 2
    results.loc[3, "energy_kwh"] *= 0.3
    assert found(results, "implied_power") == []
    results.loc[3, "energy_kwh"] *= 0.6
    (finding,) = found(results, "implied_power")
    assert "when idle, 20 W, and a share of 1 in 2 of that" in finding.explanation


def test_a_row_off_the_line_is_found_and_the_noise_is_not(table):
    row = at(table, "b", 11)
    table.loc[row, ["energy", "co2"]] *= 1.8
    (finding,) = found(table, "off_energy_time_line")
    assert (finding.setting, finding.model) == ("b", "model_000011")
    assert finding.expected == pytest.approx(finding.value / 1.8, rel=0.1)


def test_a_fallback_intensity_is_found_unless_it_is_everywhere(table):
    table.loc[8, "co2"] = table.loc[8, "energy"] * 475
    (finding,) = found(table, "carbon_fallback")
    assert finding.expected == pytest.approx(53.5)
    assert found(table.assign(co2=table["energy"] * 475), "carbon_fallback") == []


def test_a_varying_intensity_is_a_note_for_the_setting(table):
    table.loc[table.index[:5], "co2"] *= 1.5
    (finding,) = found(table, "carbon_intensity_varies")
    assert (finding.setting, finding.model, finding.severity) == ("a", None, "note")


def test_zero_columns_are_found_and_declared_constants_are_not(table):
    findings = found(
        table.assign(infer_time=0.0, memT=25.4, batch_size=32, seed=0, split=0), "constant_column"
    )
    assert {(f.columns[0], f.severity) for f in findings} == {("infer_time", "warning"), ("memT", "note")}


def test_one_network_under_two_names_is_found(table):
    first, second = at(table, "a", 20), at(table, "a", 21)
    table.loc[second, ["num_param", *TESTS]] = table.loc[first, ["num_param", *TESTS]].to_numpy()
    assert {f.model for f in found(table, "duplicate_architecture")} == {"model_000020", "model_000021"}
    table.loc[second, "num_param"] += 1
    assert found(table, "duplicate_architecture") == []


def test_a_run_without_energy_is_found(table):
    table.loc[[3, 4], "energy"] = [0.0, np.nan]
    assert {f.model for f in found(table, "missing_energy")} == {"model_000003", "model_000004"}


def test_a_failed_run_with_a_score_is_found_and_one_without_is_not():
    results = own_results()
    results.loc[2, "status"] = "failed"
    results.loc[5, ["status", "test_accuracy", "energy_kwh"]] = ["failed", np.nan, np.nan]
    (finding,) = found(results, "failed_but_scored")
    assert (finding.model, finding.setting) == ("m2", "elpv_small")


def test_a_score_from_other_data_is_found(table):
    norm = table.groupby("dataset")["energy"].transform(lambda e: (e - e.min()) / (e.max() - e.min()))
    table = table.assign(E_n=norm, pepr_e=table["test_09"] / (1 + norm))
    assert found(table, "scores_not_reproduced") == []
    table.loc[6, "pepr_e"] += 0.01
    assert [f.model for f in found(table, "scores_not_reproduced")] == ["model_000006"]


def test_our_own_constant_predictors_are_found_by_their_flag():
    results = own_results()
    results.loc[[0, 1], "constant_predictor"] = "True"
    assert len(found(results, "constant_predictor")) == 2


def test_joins_by_substring():
    board = pd.DataFrame(
        {"model": ["seresnet50.a", "resnet50.a", "vgg13_bn.a", "vgg13.a"], "top1": [81.0, 80.0, 72.0, 70.0]}
    )
    values = pd.DataFrame({"model": ["resnet50", "vgg13", "old_name"], "top1": [80.0, 72.0, 0.0]})
    findings = joined_to_other_model(values, board, "imagenet")
    assert [(f.model, f.expected) for f in findings] == [("vgg13", 70.0), ("old_name", None)]
    assert "vgg13_bn" in findings[0].explanation


def test_labels_by_position_and_by_name():
    labels = pd.DataFrame({"model": ["c", "a", "b"], "efficient": [True, False, False]})
    assert [f.model for f in labels_by_position(labels, pd.Series(["a", "b", "c"]), "efficient", "x")] == [
        "a",
        "c",
    ]
    assert labels_by_position(labels, labels["model"], "efficient", "x") == []


def test_labels_that_disagree_within_one_paper():
    labels = pd.DataFrame(
        {"model": list("abcd"), "type": ["CNN", "CNN", "Other", "Other"], "link": ["p", "p", "p", "q"]}
    )
    assert [f.model for f in labels_disagree(labels, "type", "link", "x")] == ["c"]


def test_populations_off_by_more_than_growth():
    known = pd.DataFrame({"name": ["A", "B", "C"], "population": [1e6, 5e7, 2e6]})
    regions = pd.DataFrame({"name": ["A", "B", "Nowhere"], "pop": [1.5e6, 9.7e5, 3.0]})
    (finding,) = implausible_population(regions, "x", known)
    assert finding.model == "B" and "close to that of A" in finding.explanation


def test_a_superseded_column():
    table = pd.DataFrame({"old": list("abca"), "new": list("bcab")})
    assert superseded_column(table, "old", "new", "x")[0].value == 4
    assert superseded_column(table.assign(old=table["new"]), "old", "new", "x") == []


def test_planted_flaws_are_found_with_precision_and_recall():
    planted: dict[str, set[tuple[str, str]]] = {}
    hits = {
        name: [0, 0, 0]
        for name in ("copied_energy", "accuracy_not_k_of_n", "off_energy_time_line", "implied_power")
    }
    for seed in range(8):
        table = sound_table(80, seed=seed)
        rng = np.random.default_rng(seed + 100)
        rows = rng.choice(table.index[table["dataset"] == "a"], 12, replace=False)
        donors = table.index[table["dataset"] == "c"][table.loc[rows, "model"].str[-6:].astype(int)]
        table.loc[rows[:4], "train_time"] = table.loc[donors[:4], "train_time"].to_numpy() / 4
        table.loc[rows[:4], ["energy", "co2"]] = table.loc[donors[:4], ["energy", "co2"]].to_numpy()
        table.loc[rows[4:8], "test_09"] += 0.4 / N_TEST["a"]
        table.loc[rows[8:], ["energy", "co2"]] *= 2.4
        key = list(zip(table["model"], table["dataset"], strict=True))
        planted = {
            "copied_energy": {key[i] for i in rows[:4]},
            "accuracy_not_k_of_n": {key[i] for i in rows[4:8]},
            "off_energy_time_line": {key[i] for i in rows[8:]},
            "implied_power": {key[i] for i in [*rows[:4], *rows[8:]]},
        }
        findings = audit.audit(table, power_limit_w=350)
        assert {f.check for f in findings} <= set(planted)
        for name, rows_planted in planted.items():
            seen = {(f.model, f.setting) for f in findings if f.check == name}
            for i, size in enumerate((len(seen & rows_planted), len(seen), len(rows_planted))):
                hits[name][i] += size
    for name, (true, positive, actual) in hits.items():
        assert true / positive >= 0.98, name
        assert true / actual >= 0.95, name


def test_the_test_set_is_inferred_from_enough_accuracies():
    rng = np.random.default_rng(0)
    assert infer_n_test(rng.integers(1, 1984, 80) / 1984) == 1984
    assert infer_n_test(rng.random(80)) is None
    assert infer_n_test(np.array([0.5, 0.25])) is None


def test_the_line_survives_a_third_of_outliers():
    x = np.linspace(1, 100, 60)
    y = 2 * x - 0.5
    y[::3] *= 4
    intercept, slope, _ = robust_line(x, y)
    assert (intercept, slope) == (pytest.approx(-0.5, abs=1e-6), pytest.approx(2))


def test_every_check_has_a_name_and_an_explanation():
    assert all(check.__name__ == name for name, check in registry.CHECKS.items())
    assert len(registry.EXPLANATIONS) >= 20 and registry.CHECKS.keys() < registry.EXPLANATIONS.keys()
    assert all(len(explanation) > 40 for explanation in registry.EXPLANATIONS.values())


def test_json_has_the_designs_shape_and_the_text_names_rows(table):
    table.loc[2, ["energy", "co2"]] *= 3
    findings = audit.audit(table)
    (entry,) = json.loads(audit.to_json(findings))
    assert list(entry) == SHAPE
    assert audit.exit_status(findings) == 1 and audit.exit_status([]) == 0
    assert "model_000002 in a" in audit.as_text(findings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("test_09,87", ["row 2", "'test_09'", "87"]),
        ("energy,much", ["row 2", "'energy'", "'much'"]),
        ("model,model_000000", ["row 2", "'model'", "row 1"]),
    ],
)
def test_a_table_that_cannot_be_audited_is_one_line(tmp_path, table, change, told):
    column, value = change.split(",")
    text = table.astype(str)
    text.loc[1, column] = value
    path = tmp_path / "runs.csv"
    text.to_csv(path, index=False)
    with pytest.raises(InputError) as raised:
        audit.audit_file(path)
    assert [part for part in told if part not in str(raised.value)] == []


def test_the_command_audits_a_csv_with_its_exit_status(tmp_path, table):
    path = tmp_path / "runs.csv"
    table.to_csv(path, index=False)
    command = [sys.executable, "-m", "pepr.cli", "audit", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    table.loc[2, ["energy", "co2"]] *= 3
    table.to_csv(path, index=False)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_a_folder_without_results_is_input_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        cli.audit_target(str(tmp_path))


@needs_tables
def test_the_published_tables_by_check(published_findings):
    counts = audit.summary(published_findings).set_index(["check", "severity"])["findings"].to_dict()
    assert counts["copied_energy", "error"] == 334 and counts["implied_power", "error"] == 306
    assert ("copied_energy", "warning") not in counts, "carbon intensity tells the owner of the other 28"
    assert counts["constant_predictor", "warning"] == 61
    assert counts["copied_row", "error"] == 6
    assert counts["accuracy_not_k_of_n", "error"] == 8
    assert counts["joined_to_other_model", "error"] == 23
    assert counts["carbon_fallback", "warning"] == 26
    assert counts["implausible_population", "error"] == 33
    assert not {"scores_not_reproduced", "copied_time", "missing_energy", "failed_but_scored"} & {
        c for c, _ in counts
    }
    assert {check for check, _ in counts} >= {
        "constant_predictor",
        "collapsed_run",
        "never_above_majority",
        "off_energy_time_line",
        "constant_column",
        "duplicate_architecture",
        "labels_by_position",
        "labels_disagree",
        "carbon_intensity_varies",
        "superseded_column",
    }


@needs_tables
def test_the_published_rows_one_by_one(published_findings):
    rows = {(f.check, f.setting, f.model): f for f in published_findings}
    assert rows["copied_energy", "pneumonia_small", "dla102"].value == 0.058045593574
    assert ("copied_energy", "derma", "dla102") not in rows
    assert "66/1984" in rows["accuracy_not_k_of_n", "derma_pt", "dm_nfnet_f0"].explanation
    assert rows["joined_to_other_model", "imagenet", "vgg13"].expected == 69.94
    assert "Northern Mariana" in rows["implausible_population", "regions_2013", "Norway"].explanation
    copied = {m for c, s, m in rows if c == "copied_row"}
    assert copied == {
        "hardcorenas_a",
        "dla46_c",
        "mobilevitv2_050",
        "semnasnet_075",
        "spnasnet_100",
        "resnet18d",
    }
    over = {(f.setting, f.model) for f in published_findings if f.check == "implied_power"}
    errors = {(f.setting, f.model) for f in published_findings if f.check == "copied_energy"}
    assert over == {(setting, model) for setting, model in errors if setting != "derma"}


@pytest.mark.alone
@needs_tables
def test_the_published_audit_takes_two_seconds_at_most():
    tables = published.load()
    start = time.process_time()
    published_audit.audit_published(tables)
    assert time.process_time() - start < 2.0


@pytest.mark.scale
def test_a_million_rows_take_a_minute_and_four_gigabytes_at_most():
    table = sound_table(125_000, tuple("abcdefgh"))
    rows = np.random.default_rng(1).choice(len(table), 20_000, replace=False)
    table.loc[rows[:10_000], "energy"] = table.loc[rows[10_000:], "energy"].to_numpy()
    process.forget_peak()  # that of tests before this one
    start = time.process_time()
    findings = audit.audit(table, power_limit_w=350)
    assert time.process_time() - start < 60
    assert len(findings) > 10_000
    assert process.peak_memory_bytes() < 4e9


def test_our_own_results_are_audited_without_errors(synthetic_results):
    findings = cli.audit_target(str(synthetic_results.folder))
    assert [finding for finding in findings if finding.severity == "error"] == []
    table = synthetic_results.table
    energies = table["energy_kwh"].to_numpy(copy=True)
    energies[1] = energies[0]
    table["energy_kwh"] = energies
    assert {finding.check for finding in audit.audit(table)} >= {"copied_energy"}
