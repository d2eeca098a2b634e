"""Tables as people have them: what the audit finds in them, what it says, and what it leaves alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pepr.audit import Finding, as_text, audit_file, exit_status, to_json
from pepr.audit.power import card_power_w, ceiling_w, processor_power_w, watts
from pepr.audit.table import View
from pepr.errors import InputError
from pepr.tables.dialect import Options

FILES = Path(__file__).parents[1] / "tables" / "files"


def audited(tmp_path: Path, table: str | pd.DataFrame, **options: object) -> list[Finding]:
    path = tmp_path / "table.csv"
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False))
    return audit_file(path, options=Options(**options))


def named(findings: list[Finding]) -> set[tuple[str, str | None]]:
    return {(finding.check, finding.model) for finding in findings}


EQUAL = (
    "model,dataset,test_accuracy,energy_kwh\nalder,leaves,0.91,0.0113\nbirch,leaves,0.91,0.0127\n"
    "cedar,leaves,0.91,0.0149\ndatura,leaves,0.91,0.0171\nelm,leaves,0.91,0.0192\nfir,leaves,0.88,0.0058\n"
    "gorse,leaves,,0.0263\n"
)


def test_equal_accuracies_and_a_missing_one_are_no_fault(tmp_path):
    assert audited(tmp_path, EQUAL) == []


def test_accuracies_at_the_stated_majority_rate_are_a_warning(tmp_path):
    lines = EQUAL.splitlines()
    text = "\n".join([lines[0] + ",test_majority_rate", *(line + ",0.91" for line in lines[1:])]) + "\n"
    found = audited(tmp_path, text)
    constant = {finding.model for finding in found if finding.check == "constant_predictor"}
    assert constant == {"alder", "birch", "cedar", "datura", "elm"}
    assert ("never_above_majority", "fir") in named(found) and ("never_above_majority", "gorse") not in named(
        found
    )


def wide_seeds(times: bool = True) -> pd.DataFrame:
    """Five models with three seeds each, whose powers and times are far apart; one energy a hundredth."""
    rng = np.random.default_rng(0)
    rows = [
        (name, seed, 0.8, watts * took * np.exp(rng.normal(0, 0.03)) / 3.6e6, took)
        for name, watts, seconds in zip(
            "vwxyz", (60, 90, 150, 600, 900), (100, 400, 2000, 20, 90), strict=True
        )
        for seed, took in enumerate(seconds * np.exp(rng.normal(0, 0.03, 3)))
    ]
    table = pd.DataFrame(rows, columns=["model", "seed", "accuracy", "energy_kwh", "train_time_s"])
    return table if times else table.drop(columns="train_time_s")


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("row", range(15))
def test_an_energy_of_a_hundredth_is_found_by_its_siblings_and_no_other_row(tmp_path, times, row):
    table = wide_seeds(times)
    assert audited(tmp_path, table) == []
    table.loc[row, "energy_kwh"] /= 100
    (finding,) = [f for f in audited(tmp_path, table) if f.check == "unlike_siblings"]
    assert finding.model == table.loc[row, "model"] and finding.value == table.loc[row, "energy_kwh"]
    assert finding.which == f"seed {table.loc[row, 'seed']}"
    assert finding.expected == pytest.approx(100 * finding.value, rel=0.15)


@pytest.mark.parametrize("seeds", [3, 2])
def test_a_lost_energy_is_found_though_its_seed_stopped_early(tmp_path, seeds):
    table = wide_seeds()
    table = table[table["seed"] < seeds].reset_index(drop=True)
    last = int(table.index[table["model"] == "x"][-1])
    table.loc[last, ["energy_kwh", "train_time_s"]] *= 0.6
    assert audited(tmp_path, table) == []
    table.loc[last, "energy_kwh"] /= 100
    found = [f for f in audited(tmp_path, table) if f.check == "unlike_siblings"]
    assert [(f.model, f.which) for f in found] == [("x", f"seed {seeds - 1}")]
    assert found[0].expected == pytest.approx(100 * found[0].value, rel=0.15)


@pytest.mark.parametrize("kept", range(15))
def test_of_three_seeds_the_one_like_other_models_is_not_accused_for_two_that_are_not(tmp_path, kept):
    table = wide_seeds()
    model, seed = table.loc[kept, ["model", "seed"]]
    lost = table.index[(table["model"] == model) & (table["seed"] != seed)]
    table.loc[lost, "energy_kwh"] /= 100
    found = [f for f in audited(tmp_path, table) if f.check == "unlike_siblings"]
    assert {(f.model, f.which) for f in found} == {(model, f"seed {other}") for other in table["seed"][lost]}
    for finding in found:
        assert finding.expected == pytest.approx(100 * finding.value, rel=0.15)
        assert f"{model} (seed {seed}), which is like those of other models" in finding.explanation


def test_a_row_among_others_of_its_model_is_told_by_what_names_it(tmp_path):
    table = wide_seeds()
    table.loc[7, "energy_kwh"] /= 100
    told = as_text([f for f in audited(tmp_path, table) if f.check == "unlike_siblings"])
    assert "- x (seed 1): 1.48 W on average" in told
    renamed = table.rename(columns={"seed": "fold"})
    (found,) = [f for f in audited(tmp_path, renamed, key=("model", "fold")) if f.check == "unlike_siblings"]
    assert found.which == "fold 1"
    alone = audited(tmp_path, "model,energy_kwh,train_time_s\nant,0,10\nbee,0.1,0.001\n")
    assert alone and not any(finding.which for finding in alone)


def test_a_repeated_model_names_the_option_that_tells_rows_apart(tmp_path):
    text = "model,n_rows,acc,kwh\nant,100,0.8,0.01\nant,1000,0.9,0.1\n"
    with pytest.raises(InputError, match="--key model --key n_rows"):
        audited(tmp_path, text)
    assert audited(tmp_path, text, key=("model", "n_rows")) == []


def test_a_row_that_fell_back_to_canada_is_a_warning(tmp_path):
    text = (
        "model,country,energy_kwh,co2eq_g,train_time_s\nant,NOR,0.0100,0.2900,400\nbee,NOR,0.0121,0.3509,480\n"
        "cicada,CAN,0.0109,0.0262,430\n"
    )
    found = audited(tmp_path, text)
    assert ("fallback_country", "cicada") in named(found)
    assert {f.model for f in found if f.severity != "note"} == {"cicada"}


def test_an_intensity_that_the_named_country_never_has_is_a_warning(tmp_path):
    text = "model,country,energy_kwh,co2eq_g\nant,Norway,0.01,7.13\nbee,NOR,0.02,0.6\nwasp,IND,0.01,7.13\n"
    for name in ("Norway", "NO", "NOR"):
        found = audited(tmp_path, text.replace("Norway", name))
        assert {f.model for f in found if f.check == "carbon_of_other_country"} == {"ant"}


def test_a_table_from_canada_is_no_fault(tmp_path):
    text = "model,country,energy_kwh,co2eq_g\nant,CAN,0.0100,0.0240\nbee,CAN,0.0121,0.0290\n"
    assert audited(tmp_path, text) == []


def test_grams_that_are_kilograms_are_named(tmp_path):
    text = "model,energy_kwh,co2eq_g,train_time_s\nant,0.0100,0.00067,400\nbee,0.0121,0.00081,480\n"
    found = audited(tmp_path, text)
    assert named(found) == {("carbon_unit", "ant"), ("carbon_unit", "bee")}
    assert "0.067 g/kWh is no grid's: kilograms?" in found[0].explanation


def test_a_file_of_codecarbon_is_read_and_said(tmp_path):
    path = tmp_path / "emissions.csv"
    path.write_text("project_name,duration,emissions,energy_consumed\nant,10,0.001,0.01\n")
    said: list[str] = []
    assert audit_file(path, say=said.append) == []
    assert len(said) == 1 and "CodeCarbon" in said[0] and "emissions x 1000" in said[0]


@pytest.mark.parametrize("name", ["codecarbon2", "codecarbon32", "codecarbon33", "eco2ai", "zeus"])
def test_the_files_of_tools_have_nothing_but_notes(name):
    assert exit_status(audit_file(FILES / f"{name}.csv")) == 0


def test_a_name_that_is_close_to_model_is_offered(tmp_path):
    text = "model_name,acc,energy_kwh\nant,0.9,0.01\n"
    with pytest.raises(InputError, match=r"did you mean 'model_name'\? Then: --model model_name"):
        audited(tmp_path, text)
    assert audited(tmp_path, text, model="model_name") == []


@pytest.mark.parametrize(
    ("text", "seen", "unit"),
    [
        ("model,energy,train_time_s\nant,2110.5,12.1\nbee,1340.2,9.6\n", "628 MW", "joules"),
        (
            "model,energy,train_time_s\nant,2110500,12.1\nbee,1340200,9.6\n",
            "628 GW",
            "millijoules (mJ)? Then it is 174 W",
        ),
        ("model,accuracy,energy_kwh,train_time_s\nant,0.8,412.7,1800\nbee,0.85,698.3,3600\n", "825 kW", "Wh"),
        ("model,energy_kwh,train_time_s\nant,0.01,400000\nbee,0.02,700000\n", "0.09 W", "milliseconds"),
    ],
)
def test_a_power_that_no_machine_has_names_the_likely_unit(tmp_path, text, seen, unit):
    found = audited(tmp_path, text)
    assert named(found) == {("implied_power", "ant"), ("implied_power", "bee")} and exit_status(found) == 1
    assert seen in found[0].explanation and unit in found[0].explanation


def test_a_unit_in_the_name_is_read_and_said(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model,energy (J),train_time_s\nant,2110.5,12.1\nbee,1340.2,9.6\n")
    said: list[str] = []
    assert audit_file(path, say=said.append) == []
    assert said == ["energy (J) is read as kWh, times 2.77778e-07"]


def test_an_energy_of_zero_is_an_error_and_an_empty_one_a_note(tmp_path):
    found = audited(tmp_path, "model,acc,kwh\nant,0.62,0\nbee,0.90,0.004\ncicada,0.85,\n")
    assert {(f.model, f.severity) for f in found} == {("ant", "error"), ("cicada", "note")}


def test_energies_that_are_one_power_times_the_time_are_a_note(tmp_path):
    seconds = np.random.default_rng(2).uniform(310, 1190, 9).round(1)
    table = pd.DataFrame({"model": list("abcdefghi"), "train_time_s": seconds})
    found = audited(tmp_path, table.assign(energy_kwh=(130 * seconds / 3.6e6).round(6)))
    assert [(f.check, f.severity) for f in found] == [("load_model", "note")]
    assert "130.0 W times the time" in found[0].explanation and "no measurement" in found[0].explanation
    noise = np.random.default_rng(3).normal(1, 0.01, 9)
    assert audited(tmp_path, table.assign(energy_kwh=130 * seconds * noise / 3.6e6)) == []


def test_two_load_models_are_told_by_their_machine(tmp_path):
    seconds = np.random.default_rng(2).uniform(310, 1190, 12)
    host = np.repeat(["one", "two"], 6)
    energy = np.where(host == "one", 40.0, 130.0) * seconds / 3.6e6
    table = pd.DataFrame(
        {"model": list("abcdefghijkl"), "host": host, "train_time_s": seconds, "energy_kwh": energy}
    )
    assert sorted(f.value for f in audited(tmp_path, table)) == pytest.approx([40, 130])


def test_two_machines_in_one_table_are_a_note_and_no_row_is_accused(tmp_path):
    rng = np.random.default_rng(4)
    seconds = rng.uniform(100, 900, 30)
    power = np.where(np.arange(30) < 24, 300, 60) * np.exp(rng.normal(0, 0.02, 30))
    names = [f"net{i}" for i in range(30)]
    table = pd.DataFrame({"model": names, "train_time_s": seconds, "energy_kwh": power * seconds / 3.6e6})
    assert [(f.check, f.severity) for f in audited(tmp_path, table)] == [("several_machines", "note")]


@pytest.mark.parametrize(
    ("column", "name", "watt"),
    [
        ("cpu_model", "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", 330),
        ("gpu_model", "Tesla T4", 900),
        ("hardware", "1 x NVIDIA GeForce RTX 3090", 1400),
    ],
)
def test_more_power_than_the_named_part_draws_is_an_error(tmp_path, column, name, watt):
    table = pd.DataFrame({"model": ["ant", "bee"], "train_time_s": [100.0, 130.0], column: name})
    energy = np.array([1.0, 1.1]) * watt * table["train_time_s"] / 3.6e6
    found = audited(tmp_path, table.assign(energy_kwh=energy))
    assert named(found) == {("beyond_named_hardware", "ant"), ("beyond_named_hardware", "bee")}
    assert audited(tmp_path, table.assign(energy_kwh=energy / 10)) == []


def test_cards_and_processors_are_known_by_the_names_that_tools_write():
    assert card_power_w("NVIDIA A100-SXM4-80GB") == 400 and card_power_w("NVIDIA A100 PCIe") == 300
    assert card_power_w("NVIDIA GeForce RTX 3080 Ti") == 350 and card_power_w("RTX 3080 Laptop GPU") is None
    assert card_power_w("Radeon 9") is None
    assert processor_power_w("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz") == 15
    assert processor_power_w("Intel(R) Xeon(R) Processor") is None


def test_eight_cards_may_draw_eight_times_as_much():
    one, eight = ceiling_w("", "NVIDIA A100-SXM4-40GB")[0], ceiling_w("", "8 x NVIDIA A100-SXM4-40GB")[0]
    assert eight - one == pytest.approx(7 * 1.1 * 400 * 1.67)
    assert ceiling_w("a processor of nobody", "Tesla T4")[0] == np.inf


def test_a_row_that_is_there_twice_is_a_warning(tmp_path):
    found = audited(tmp_path, "model,acc,kwh\nant,0.8,0.01\nbee,0.9,0.02\nant,0.8,0.01\n")
    assert [(f.check, f.model, f.value) for f in found] == [("repeated_row", "ant", 3)]
    assert json.loads(to_json(found))[0]["explanation"].startswith("Row 3:")


def test_one_name_for_two_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="model=ant is already that of row 1"):
        audited(tmp_path, "model,acc,kwh\nant,0.80,1\nant ,0.90,3\n")


def test_rows_of_a_run_that_went_on_are_a_warning_and_may_be_left_out(tmp_path):
    text = "run_id,model,acc,kwh\nr1,ant,0.8,0.0102\nr1,ant,0.85,0.0201\nr2,bee,0.7,0.01\n"
    (finding,) = audited(tmp_path, text)
    assert (finding.check, finding.model) == ("repeated_run", "ant") and "--keep-last" in finding.explanation
    assert audited(tmp_path, text, keep_last=True) == []


def test_runs_without_an_identity_are_told_apart_by_their_model(tmp_path):
    assert audited(tmp_path, "run_id,model,acc,kwh\nNone,ant,0.8,0.0102\nNone,bee,0.85,0.0201\n") == []


@pytest.mark.parametrize("none", ["None", "", "nan"])
def test_seeds_without_a_run_are_no_steps_of_one(tmp_path, none):
    rows = [("ant", 0, 0.80, 0.0102), ("ant", 1, 0.82, 0.0105), ("bee", 0, 0.85, 0.0201)]
    rows += [("bee", 1, 0.84, 0.0207)]
    text = "run_id,model,seed,acc,kwh\n" + "".join(f"{none},{m},{s},{a},{k}\n" for m, s, a, k in rows)
    assert audited(tmp_path, text) == []
    with pytest.raises(InputError, match="model=ant is already that of row 1"):
        audited(tmp_path, f"run_id,model,acc,kwh\n{none},ant,0.8,0.0102\n{none},ant,0.85,0.0201\n")


def test_two_spellings_of_a_missing_setting_are_one(tmp_path):
    with pytest.raises(InputError, match="model=ant is already that of row 1"):
        audited(tmp_path, "model,dataset,acc,kwh\nant,,0.80,1\nant,None,0.90,3\n")
    table = pd.DataFrame({"model": ["ant", "bee"], "dataset": ["", None], "energy_kwh": [0.1, 0.2]})
    view = View(table)
    assert view.settings == [""] and view.work_code.tolist() == [0, 1]
    assert view.codes_of(["dataset"]).tolist() == [0, 0]


def test_an_option_that_is_offered_can_be_typed(tmp_path):
    with pytest.raises(InputError, match="Then: --model 'Model Name'"):
        audited(tmp_path, "Model Name,acc,energy_kwh\nant,0.9,0.01\n")


def test_one_accuracy_in_all_rows_describes_no_machine(tmp_path):
    assert audited(tmp_path, "model,accuracy,kwh\nant,0.9,0.01\nbee,0.9,0.02\ncicada,0.9,0.03\n") == []


def test_times_of_something_else_imply_no_power(tmp_path):
    text = "model,energy_kwh,epoch_time_s,latency_ms\nant,0.5,2,4\nbee,0.7,3,5\n"
    assert audited(tmp_path, text) == []


def test_words_that_hold_no_numbers_play_no_role(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model,acc,energy_kwh,time\nant,0.9,0.01,noon\nbee,0.8,0.02,night\n")
    said: list[str] = []
    assert audit_file(path, say=said.append) == [] and said == ["time holds no numbers, so it was left out"]


def test_a_carbon_unlike_all_the_rest_is_a_warning(tmp_path):
    energy = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    table = pd.DataFrame({"model": list("abcde"), "energy_kwh": energy, "co2eq_g": energy * 381})
    assert audited(tmp_path, table) == []
    table.loc[2, "co2eq_g"] /= 4
    assert [(f.check, f.model) for f in audited(tmp_path, table) if f.severity != "note"] == [
        ("carbon_unlike_rest", "c")
    ]


def test_a_power_has_the_unit_that_suits_it():
    words = {0.0386: "0.0386 W", 130.04: "130 W", 4200: "4.2 kW", 6.28e8: "628 MW", 3e9: "3 GW"}
    assert {value: watts(value) for value in words} == words


def test_the_command_says_on_stderr_how_it_read_and_ends_with_its_status(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model;acc;kwh\nant;0,91;0\nbee;0,85;1,5\n")
    command = [sys.executable, "-m", "pepr.cli", "audit", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and [f["model"] for f in json.loads(done.stdout)] == ["ant"]
    assert "semicolons" in done.stderr and "decimal comma" in done.stderr
