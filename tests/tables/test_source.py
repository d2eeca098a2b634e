"""A tool's file in another dialect than the tool's own: what its numbers are, and what is no row of it."""

import pytest
from test_dialect import refused, scored

from pepr.errors import InputError
from pepr.tables.dialect import Options
from pepr.tables.reader import Reader

SAVED_IN_GERMAN = (
    "project_name;run_id;duration;emissions;energy_consumed;acc\nant;r1;3600,5;0,412;0,912;0,80\n"
    "bee;r2;7200,5;0,512;1,014;0,90\ncow;r3;5400,5;0,470;0,963;0,85\n"
)
"""CodeCarbon's file as a spreadsheet saves it where numbers have a decimal comma."""


@pytest.mark.parametrize("given", [None, ","])
def test_a_tools_file_with_decimal_commas_is_read_by_its_own_columns(tmp_path, given):
    rows, _ = scored(tmp_path, SAVED_IN_GERMAN, "energy_kwh", decimal=given)
    assert [row["energy_kwh"] for row in rows] == [0.912, 1.014, 0.963]
    assert [row["train_time_s"] for row in rows] == [3600.5, 7200.5, 5400.5]
    assert [row["co2eq_g"] for row in rows] == pytest.approx([412.0, 512.0, 470.0])
    assert [row["pepr_energy_kwh"] for row in rows] == pytest.approx([0.8, 0.45, 0.85 / 1.5])


def test_a_derived_number_is_no_number_of_the_files_dialect(tmp_path):
    text = SAVED_IN_GERMAN.replace("0,912", "0,9125")
    rows, _ = scored(tmp_path, text, "energy_kwh", decimal=",")
    assert [row["energy_kwh"] for row in rows] == [0.9125, 1.014, 0.963]


def test_a_tools_number_with_points_between_its_thousands_is_one(tmp_path):
    rows, _ = scored(tmp_path, SAVED_IN_GERMAN.replace("1,014", "1.014,5"), "energy_kwh")
    assert [row["energy_kwh"] for row in rows] == [0.912, 1014.5, 0.963]


def test_a_tools_number_with_two_readings_is_refused_with_its_column_and_the_option(tmp_path):
    header = "project_name,duration,emissions,energy_consumed,acc"
    text = f'{header}\nant,10,0.5,"1,014",0.9\nbee,12,0.6,"2,014",0.8\n'
    told = refused(tmp_path, text, "energy_kwh")
    assert "row 1 (line 2), column 'energy_consumed': '1,014' may have" in told and "give --decimal" in told
    rows, _ = scored(tmp_path, text, "energy_kwh", decimal=".")
    assert [row["energy_kwh"] for row in rows] == [1014, 2014]


def test_a_tools_number_with_the_other_mark_than_was_given_is_refused(tmp_path):
    told = refused(tmp_path, SAVED_IN_GERMAN, "energy_kwh", decimal=".")
    assert "column 'energy_consumed': '0,912' is not a number with a decimal point" in told


def test_a_tools_percentage_is_divided_once(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("model,top1,top5,param_count,img_size\ngiant,90.5%,99%,11.69,224\n")
    reader = Reader(path, recognise=True)
    (line,) = reader.rows()
    assert float(line.cells[reader.position("test_accuracy")]) == pytest.approx(0.905)


def test_the_log_of_a_training_may_have_decimal_commas(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch;acc;loss\n0;0,5;1,25\n1;0,91;0,75\n")
    (block,) = Reader(path, recognise=True).blocks()
    assert block.floats("acc").tolist() == [0.91] and block.floats("loss").tolist() == [0.75]


def test_files_of_two_dialects_are_each_read_by_their_own(tmp_path):
    (tmp_path / "one.csv").write_text("model,kwh\nant,1.014\nbee,2\n")
    (tmp_path / "two.csv").write_text("model;kwh\ncow;0,912\ndog;3,5\n")
    for given in (None, ","):
        paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
        (block,) = Reader(paths, options=Options(decimal=given)).blocks()
        assert block.floats("kwh").tolist() == [1.014, 2.0, 0.912, 3.5]


@pytest.mark.parametrize("blank", [",,\n,,\n", ", ,\n", ",,,,\n", "\n,,\n\n"])
def test_rows_without_a_cell_are_no_runs(tmp_path, blank):
    """A spreadsheet writes them below its last row."""
    rows, _ = scored(tmp_path, f"model,acc,kwh\nant,0.9,1\n{blank}bee,0.8,2\n{blank}")
    assert [(row["model"], row["kwh_norm"]) for row in rows] == [("ant", 0), ("bee", 1)]
    (tmp_path / "table.csv").write_text(f"model,acc,kwh\n{blank}")
    with pytest.raises(InputError, match="no rows below the header"):
        list(Reader(tmp_path / "table.csv").rows())
