"""What digits, units and names leave open is no fault of a table: it is left alone, or asked about."""

import numpy as np
import pandas as pd
import pytest
from test_any_table import audited, named

from pepr.audit import Finding, audit, audit_file
from pepr.audit.finding import NOTE
from pepr.errors import InputError
from pepr.tables.dialect import Options

JOULES = 3.6e6


def accused(findings: list[Finding]) -> set[tuple[str, str | None]]:
    return named([finding for finding in findings if finding.severity != NOTE])


def by_epoch(curves: np.ndarray) -> pd.DataFrame:
    """Six models, a row each, with accuracies [models, epochs]."""
    epochs = {f"test_{epoch:02d}": curves[:, epoch] for epoch in range(curves.shape[1])}
    return pd.DataFrame({"model": list("abcdef"), "energy": 0.01 + 0.003 * np.arange(6), **epochs})


@pytest.mark.parametrize(
    ("first", "plateau"),
    [
        (np.arange(0.70, 0.82, 0.02), 0.91),
        (np.arange(1600, 1654, 9) / 1984, 1.0),
        (np.arange(20, 26) / 36, 35 / 36),
    ],
    ids=["rounded", "saturated", "few test images"],
)
def test_runs_that_end_at_one_accuracy_have_not_learned_one_class(tmp_path, first, plateau):
    curves = np.column_stack([first, *[np.full(6, plateau)] * 4])
    assert accused(audited(tmp_path, by_epoch(curves))) == set()


@pytest.mark.parametrize("n_test", [1000, 2000])
def test_rounded_accuracies_are_coarse_though_the_test_set_is_known(tmp_path, n_test):
    curves = np.column_stack([np.arange(0.70, 0.82, 0.02), *[np.full(6, 0.91)] * 4])
    curves[0, 1:] = 0.95
    assert accused(audited(tmp_path, by_epoch(curves).assign(n_test=n_test))) == set()


def test_runs_at_a_ceiling_have_not_learned_one_class(tmp_path):
    counts = np.add.outer(np.arange(0, 56, 7), [1601, 1802, 1850, 1900, 1923])
    counts[:3, 2:] = 1997
    table = pd.DataFrame({"model": list("abcdefgh"), "n_test": 2000, "energy": 0.01 + 0.003 * np.arange(8)})
    table = table.assign(**{f"test_{epoch:02d}": counts[:, epoch] / 2000 for epoch in range(5)})
    assert accused(audited(tmp_path, table)) == set()
    counts[:3, 2:] = 1501
    table = table.assign(**{f"test_{epoch:02d}": counts[:, epoch] / 2000 for epoch in range(5)})
    found = accused(audited(tmp_path, table))
    assert {model for check, model in found if check == "constant_predictor"} == set("abc")


def test_a_stated_majority_rate_tells_who_answers_one_class_where_accuracies_are_rounded(tmp_path):
    curves = np.column_stack([np.arange(0.70, 0.82, 0.02), *[np.full(6, 0.91)] * 4])
    curves[4] = 0.62
    found = accused(audited(tmp_path, by_epoch(curves).assign(test_majority_rate=0.62)))
    assert found == {("constant_predictor", "e"), ("never_above_majority", "e")}


@pytest.mark.parametrize(("name", "options"), [("acc", {"percent": True}), ("acc (%)", {})])
def test_a_majority_rate_in_percent_is_one(tmp_path, name, options):
    text = f"model,{name},test_majority_rate,kwh\na,91,62,1\nb,88,62,2\nc,62,62,3\nd,,62,1.5\n"
    found = accused(audited(tmp_path, text, **options))
    assert found == {("constant_predictor", "c"), ("never_above_majority", "c")}


@pytest.mark.parametrize("name", ["Test Majority Rate", "majority_accuracy", "majority_baseline"])
def test_a_majority_rate_is_known_by_its_names_in_any_spelling(tmp_path, name):
    found = accused(audited(tmp_path, f"model,accuracy,{name},kwh\na,0.91,0.62,1\nc,0.62,0.62,3\n"))
    assert ("constant_predictor", "c") in found and {model for _, model in found} == {"c"}


@pytest.mark.parametrize(
    ("name", "values"),
    [("energy (J)", (2110, 2110, 2350)), ("energy_kJ", (21.1, 21.1, 23.5)), ("co2_lb", (0.12, 0.12, 0.13))],
)
def test_a_value_that_is_rounded_in_its_own_unit_may_repeat(tmp_path, name, values):
    table = pd.DataFrame({"model": list("abc"), "acc": [0.8, 0.7, 0.9], name: values})
    assert audited(tmp_path, table) == []


def test_a_windows_rounded_joules_may_repeat(tmp_path):
    text = (
        "start_time,window_name,elapsed_time,gpu0_energy\n1,ant,20.5,2110\n2,bee,21.5,2110\n3,cow,22.5,2350\n"
    )
    assert audited(tmp_path, text) == []


@pytest.mark.parametrize("name", ["energy_kWh", "Energy (kWh)", "totalEnergykWh", "kWh"])
def test_a_kilowatt_hour_is_one_in_capitals_too(tmp_path, name):
    path, said = tmp_path / "table.csv", []
    path.write_text(f"model,{name},train_time_s\nant,0.02,400\nbee,0.03,500\n")
    assert audit_file(path, say=said.append) == [] and not any("is read as" in line for line in said)


def test_columns_are_known_in_any_spelling(tmp_path):
    text = (
        "Model,Country Name,Energy (kWh),CO2eq (g),Train Time (s)\nant,Norway,0.0100,0.2900,400\n"
        "bee,Norway,0.0121,0.3509,480\ncicada,Canada,0.0109,0.0262,430\n"
    )
    assert ("fallback_country", "cicada") in accused(audited(tmp_path, text))
    text = "Model,GPU,Status,Energy (kWh),Time (s)\nant,RTX 2060,ok,0.05,100\nbee,RTX 2060,Failed,0,100\n"
    assert accused(audited(tmp_path, text)) == {("beyond_named_hardware", "ant")}
    path, said = tmp_path / "table.csv", []
    path.write_text("Model,Energy (kWh),Random Seed\nant,0.1,0\nant,0.11,1\n")
    assert audit_file(path, say=said.append) == []
    names = "'Model' as model, 'Energy (kWh)' as energy_kwh, 'Random Seed' as random_seed"
    assert said == [f"columns are known in any spelling: {names}"]


@pytest.mark.parametrize(
    ("head", "one", "two", "unit"),
    [
        ("energy_wh,time_s", "90000,400", "120000,600", "joules (J)"),
        ("energy_j,time_s", "90000000,400", "120000000,600", "millijoules (mJ)"),
        ("energy_wh,time_s", "0.05,400", "0.07,600", "kilowatt-hours (kWh)"),
        ("energy_kwh,co2_kg", "0.01,3.8", "0.0121,4.6", "no grid's: grams, or an energy"),
        ("energy_kwh,co2eq_g", "10,0.0038", "12,0.0046", "no grid's: tonnes?"),
    ],
)
def test_a_unit_is_guessed_beside_the_one_that_the_name_says(tmp_path, head, one, two, unit):
    found = audited(tmp_path, f"model,{head}\nant,{one}\nbee,{two}\n")
    assert len(found) == 2 and all(unit in finding.explanation for finding in found)


def test_tonnes_in_the_name_are_read(tmp_path):
    assert audited(tmp_path, "model,energy_kwh,emissions_tCO2e\nant,100,0.038\nbee,121,0.046\n") == []


def test_many_cards_in_a_name_draw_as_many_times_as_much(tmp_path):
    text = (
        "model,hardware,energy_kwh,train_time_s\nant,64 x NVIDIA H100,45,3600\nbee,64 x NVIDIA H100,41,3300\n"
    )
    assert audited(tmp_path, text) == []
    assert accused(audited(tmp_path, text.replace("64 x", "8 x"))) != set()


SECONDS = np.random.default_rng(2).uniform(310, 1190, 9).round(1)


@pytest.mark.parametrize(
    "columns",
    [
        {"energy_kwh": (130 * SECONDS / JOULES).round(4), "train_time_s": SECONDS},
        {"energy (J)": (130 * SECONDS).round(1), "train_time_s": SECONDS},
        {"energy_kwh": (130 * SECONDS / JOULES).round(6), "time_h": (SECONDS / 3600).round(4)},
        {"energy_kwh": (130 * SECONDS / JOULES).round(5), "time (minutes)": (SECONDS / 60).round(2)},
        {"energy_kwh": 130 * SECONDS.round(-2) / JOULES, "train_time_s": SECONDS.round(-2)},
    ],
    ids=["four decimals", "joules", "hours", "minutes", "times that repeat"],
)
def test_one_power_times_the_time_is_seen_in_any_unit_and_no_energy_is_a_copy(tmp_path, columns):
    found = audited(tmp_path, pd.DataFrame({"model": list("abcdefghi"), **columns}))
    assert [(f.check, round(f.value)) for f in found] == [("load_model", 130)]


def test_two_assumed_powers_in_one_table_are_told_apart_without_a_column_of_machines(tmp_path):
    watts = np.where(np.arange(9) < 5, 130, 42.5)
    table = pd.DataFrame(
        {"model": list("abcdefghi"), "energy_kwh": watts * SECONDS / JOULES, "time_s": SECONDS}
    )
    found = audited(tmp_path, table)
    assert sorted((f.check, f.value) for f in found) == [
        ("load_model", pytest.approx(42.5)),
        ("load_model", pytest.approx(130)),
    ]


def test_two_machines_are_seen_in_a_small_table_and_one_with_many_powers_is_not_two(tmp_path):
    noise = np.exp(np.random.default_rng(4).normal(0, 0.02, 9))
    table = pd.DataFrame({"model": list("abcdefghi"), "time_s": SECONDS})
    one, two = np.linspace(60, 300, 9), np.where(np.arange(9) < 6, 300, 60)
    for watts, checks in ((one, []), (two, ["several_machines"])):
        found = audited(tmp_path, table.assign(energy_kwh=watts * noise * SECONDS / JOULES))
        assert [f.check for f in found] == checks
        assert all(f.severity == NOTE for f in found)


def test_a_setting_that_is_zero_in_all_rows_is_no_lost_measurement(tmp_path):
    settings = ",0,0,0,2,0\n"
    rows = "".join(f"{row}{settings}" for row in ("a,.8,1", "b,.7,2", "c,.6,3"))
    text = f"model,acc,kwh,weight_decay,dropout,fold,width,gpu_memory_gb\n{rows}"
    assert accused(audited(tmp_path, text)) == set()
    assert accused(audited(tmp_path, text.replace("gpu_memory_gb", "memory_gb"))) == {
        ("constant_column", None)
    }


def test_a_performance_that_all_rows_share_describes_no_machine(tmp_path):
    text = "model,acc,val_accuracy,f1,test_error,kwh\na,.8,.9,0,.1,1\nb,.7,.9,0,.1,2\nc,.6,.9,0,.1,3\n"
    assert audited(tmp_path, text) == []


def test_one_carbon_intensity_of_three_that_is_another_is_a_warning(tmp_path):
    text = "model,energy_kwh,co2eq_g\nant,0.0100,0.2900\nbee,0.0121,0.3509\ncicada,0.0109,0.0262\n"
    assert accused(audited(tmp_path, text)) == {("carbon_unlike_rest", "cicada")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('model,acc,kwh\nant,0.91,"1,014"\nbee,0.8,2\n', "give --decimal"),
        ("model,acc,kwh,duration\nant,0.91,0.1,01:33\nbee,0.8,0.2,02:10\n", "give --clock"),
        ("model,acc,kwh\nant,0.91,0.1\nbee,0.8,o.2\n", "'o.2' is not a number"),
    ],
)
def test_a_column_of_numbers_whose_reading_is_open_is_refused_and_not_left_out(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        audited(tmp_path, text)


def test_dates_are_no_times(tmp_path):
    assert audited(tmp_path, "model,acc,kwh,time\nant,0.9,1,2024-01-01\nbee,0.8,2,2024-01-02\n") == []


def test_what_a_key_names_is_told_as_it_is_written_and_is_part_of_the_work(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (
            name,
            f"00{12 + run}",
            0.8,
            watts * 300 * np.exp(rng.normal(0, 0.03)) / JOULES,
            300 + watts / 7 + run / 9,
        )
        for name, watts in zip("vwx", (60, 150, 600), strict=True)
        for run in range(3)
    ]
    table = pd.DataFrame(rows, columns=["model", "run", "acc", "energy_kwh", "time_s"])
    table.loc[4, "energy_kwh"] /= 100
    (finding,) = audited(tmp_path, table, key=("model", "run"))
    assert (finding.check, finding.model, finding.which) == ("unlike_siblings", "w", "run 0013")
    sizes = "model,width,acc,kwh\nant,0.25,0.8,0.01\nant,1.0,0.9,0.1\n"
    assert audited(tmp_path, sizes, key=("model", "width")) == []


@pytest.mark.parametrize("name", ["architecture", "net", "Model"])
def test_a_repeated_name_is_refused_whatever_its_column_is_called(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}=ant is already that of row 1.*--key {name} --key n_rows"):
        audited(tmp_path, f"{name},n_rows,acc,kwh\nant,100,0.8,0.01\nant,1000,0.9,0.1\n")


def test_two_results_of_one_model_without_a_run_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("run_id,model,acc,kwh\nNone,ant,0.8,0.0102\n,ant,0.85,0.0201\nr3,bee,0.8,0.01\n")
    with pytest.raises(InputError, match="model=ant is already that of row 1"):
        audit_file(path, options=Options())


def test_a_status_in_other_words_hides_no_row_and_accuses_none(tmp_path):
    path, said = tmp_path / "table.csv", []
    path.write_text("model,status,acc,energy_kwh\nant,trained,0.8,0\nbee,trained,0.9,3\ncow,TIMEOUT,,0\n")
    assert accused(audit_file(path, say=said.append)) == {("missing_energy", "ant")}
    assert said == ["the status 'trained' is taken for that of a run that ended well"]


def test_minutes_that_are_taken_for_seconds_are_among_the_guesses(tmp_path):
    found = audited(tmp_path, "model,energy_kwh,train_time\nant,0.31,42\nbee,0.22,31\n")
    assert all("minutes taken for seconds? Then it is 4" in finding.explanation for finding in found[:2])
    assert named(found) == {("implied_power", "ant"), ("implied_power", "bee")}


def test_a_table_in_memory_has_no_blanks_in_its_names_either():
    energy = [0.001, 0.0011, 0.00002, 0.003, 0.0031, 0.0029]
    table = pd.DataFrame({"model": ["ant", "ant ", " ant", "bee", "bee", "bee"], "energy_kwh": energy})
    assert named(audit(table)) == {("unlike_siblings", "ant")}
