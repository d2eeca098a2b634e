"""Separators, decimal commas, thousands, percent and clocks are read and said, or refused with a way on."""

import io
import json
import os
from pathlib import Path

import pytest

from pepr.errors import InputError
from pepr.tables.dialect import Options
from pepr.tables.scoring import score_table


def scored(tmp_path: Path, text: str | bytes, resource: str = "kwh", **options: object) -> tuple[list, list]:
    """Scored rows of a table, and what was said of it."""
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    output, said = io.StringIO(), []
    score_table(path, output, "acc", [resource], as_json=True, options=Options(**options), say=said.append)
    return json.loads(output.getvalue()), said


def refused(tmp_path: Path, text: str | bytes, resource: str = "kwh", **options: object) -> str:
    with pytest.raises(InputError) as raised:
        scored(tmp_path, text, resource, **options)
    return str(raised.value)


@pytest.mark.parametrize(("mark", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_separator_is_recognised_and_said(tmp_path, mark, words):
    rows, said = scored(tmp_path, "model,acc,kwh\nant,0.9,1\nbee,0.8,2\n".replace(",", mark))
    assert rows[0]["pepr_kwh"] == 0.9 and any(words in line for line in said)


def test_a_first_line_of_excel_names_the_separator(tmp_path):
    rows, _ = scored(tmp_path, "sep=;\r\nmodel;acc;kwh\r\nant;0.9;1\r\n")
    assert rows[0]["acc"] == 0.9


def test_utf_16_is_recognised_and_said(tmp_path):
    rows, said = scored(tmp_path, "model\tacc\tkwh\nänt\t0.9\t1\n".encode("utf-16"))
    assert rows[0]["model"] == "änt" and any("UTF-16" in line for line in said)


def test_two_separators_that_both_fit_are_refused_with_the_option(tmp_path):
    assert "--separator" in refused(tmp_path, "model;x|acc;y|kwh\na;1|b;2|3\n")
    assert "column 'acc' is missing" in refused(tmp_path, "model;x|acc;y|kwh\na;1|b;2|3\n", separator=";")


def test_a_decimal_comma_is_recognised_and_said(tmp_path):
    rows, said = scored(tmp_path, "model;acc;kwh\nant;0,91;1,25\nbee;0,85;1.014,5\n")
    assert [row["kwh"] for row in rows] == [1.25, 1014.5]
    assert "numbers have a decimal comma" in said


@pytest.mark.parametrize("cell", ["1,014.45", "1 014.45", "1'014.45", "1\u202f014.45", "1\u00a0014.45"])
def test_a_thousands_separator_is_read(tmp_path, cell):
    rows, _ = scored(tmp_path, f'model,acc,kwh\nant,0.91,"{cell}"\nbee,0.8,2.5\n')
    assert rows[0]["kwh"] == 1014.45


@pytest.mark.parametrize(
    ("cell", "value"), [("1,00,000", 1e5), ("12,34,567.5", 1234567.5), ("1,00,014.5", 100014.5)]
)
def test_groups_of_two_before_the_last_are_read_as_in_india(tmp_path, cell, value):
    rows, said = scored(tmp_path, f'model,acc,kwh\nant,0.91,"{cell}"\nbee,0.8,2.5\n')
    assert rows[0]["kwh"] == value and "commas separate thousands" in said
    assert "is not a number" in refused(tmp_path, 'model,acc,kwh\nant,0.91,"1,00,00"\n')


def test_a_comma_with_two_readings_is_refused_with_the_option(tmp_path):
    text = 'model,acc,kwh\nant,0.91,"1,014"\nbee,0.8,2\n'
    assert "'1,014' may have a decimal comma or a thousands separator: give --decimal" in refused(
        tmp_path, text
    )
    assert scored(tmp_path, text, decimal=".")[0][0]["kwh"] == 1014
    text = text.replace("0.91", '"0,91"').replace("0.8", '"0,8"')
    assert scored(tmp_path, text, decimal=",")[0][0]["kwh"] == 1.014


def test_what_the_column_proves_decides_its_other_cells(tmp_path):
    assert scored(tmp_path, 'model,acc,kwh\nant,0.91,"1,014"\nbee,0.8,2.5\n')[0][0]["kwh"] == 1014
    assert scored(tmp_path, "model;acc;kwh\nant;0,91;1,014\nbee;0,8;2\n")[0][0]["kwh"] == 1.014


def test_a_point_beside_decimal_commas_is_refused_where_it_may_be_either(tmp_path):
    told = refused(tmp_path, "model;acc;kwh\nant;0,91;1.014\nbee;0,8;2\n")
    assert "'1.014' may have a decimal point" in told and "--decimal" in told


def test_two_decimal_marks_in_one_column_are_refused(tmp_path):
    assert "two decimal marks" in refused(tmp_path, "model;acc;kwh\nant;0,91;1,5\nbee;0,8;2.5\n")


def test_blanks_around_cells_and_names_are_no_part_of_them(tmp_path):
    rows, said = scored(tmp_path, "model , acc\u200b,kwh\nant , 0.9 ,1\nbee,0.8,2\n")
    assert rows[0]["model"] == "ant" and any("blanks" in line for line in said)


def test_percent_is_read_as_fractions_and_said(tmp_path):
    rows, said = scored(tmp_path, "model,acc,kwh\nant,91 %,1\nbee,89.5%,2\n")
    assert [row["acc"] for row in rows] == [0.91, 0.895] and any("percent" in line for line in said)


@pytest.mark.parametrize("blank", ["", " ", "\u00a0", "\u202f"])
def test_percent_with_a_decimal_comma_and_any_blank_is_read(tmp_path, blank):
    rows, _ = scored(tmp_path, f"model;acc;kwh\nant;91,5{blank}%;1\nbee;89,25{blank}%;2\n")
    assert [row["acc"] for row in rows] == pytest.approx([0.915, 0.8925])


def test_percent_beside_plain_numbers_is_refused(tmp_path):
    told = refused(tmp_path, "model,acc,kwh\nant,91%,1\nbee,0.9,2\n")
    assert "row 2" in told and "a percentage" in told and "alike" in told


def test_percentages_without_a_sign_need_the_option(tmp_path):
    text = "model,acc,kwh\nant,91,1\nbee,89.5,2\n"
    assert "--percent" in refused(tmp_path, text)
    assert scored(tmp_path, text, percent=True)[0][0]["pepr_kwh"] == 0.91


def test_a_column_whose_name_says_percent_is_divided_or_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model,acc_pct,kwh\nant,91,1\nbee,89.5,2\n")
    output = io.StringIO()
    score_table(path, output, "acc_pct", ["kwh"], as_json=True)
    assert json.loads(output.getvalue())[0]["pepr_kwh"] == 0.91
    path.write_text("model,acc_pct,kwh\nant,0.91,1\nbee,0.895,2\n")
    with pytest.raises(InputError, match="--percent"):
        score_table(path, io.StringIO(), "acc_pct", ["kwh"])


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("0:01:33", 93),
        ("1:02:03.5", 3723.5),
        ("1 day, 0:00:01", 86401),
        ("0 days 00:01:33.25", 93.25),
        ("1:33.5", 93.5),
        ("1h 2m 3s", 3723),
        ("2m 5s", 125),
        ("1-02:03:04", 93784),
        ("1d 2h 3m 4s", 93784),
        ("1 day 4.5 s", 86404.5),
    ],
)
def test_a_time_is_read_in_seconds_and_said(tmp_path, cell, seconds):
    rows, said = scored(tmp_path, f'model,acc,took\nant,0.9,"{cell}"\n', "took")
    assert rows[0]["took"] == seconds and any("read as seconds" in line for line in said)


@pytest.mark.parametrize("cell", ["2024-01-01", "2024-01-01 10:00:00", "1-02", "3d"])
def test_a_date_and_a_number_of_dimensions_are_no_times(tmp_path, cell):
    assert f"{cell!r} is " in refused(tmp_path, f"model,acc,took\nant,0.9,{cell}\n", "took")


def test_two_numbers_of_a_clock_are_refused_with_the_option(tmp_path):
    text = "model,acc,took\nant,0.9,01:33\nbee,0.8,02:00\n"
    assert "give --clock" in refused(tmp_path, text, "took")
    assert scored(tmp_path, text, "took", clock="m:ss")[0][0]["took"] == 93
    assert scored(tmp_path, text, "took", clock="h:mm")[0][0]["took"] == 5580


@pytest.mark.parametrize("cell", ["1_0", "٣", "1e", "0x10", "１０"])
def test_what_other_languages_take_for_a_number_is_none(tmp_path, cell):
    assert "is not a number" in refused(tmp_path, f"model,acc,kwh\nant,0.9,{cell}\n")


def test_a_unit_in_a_cell_is_named(tmp_path):
    assert "a number with a unit" in refused(tmp_path, "model,acc,kwh\nant,0.9,0.1 kWh\n")


@pytest.mark.parametrize(
    "cell",
    ["", "NaN", "-nan", "n/a", "-", "–", "?", "None", "#N/A", "<NA>", "unknown", "not measured"],
)
def test_every_spelling_of_a_missing_value_is_missing(tmp_path, cell):
    rows, _ = scored(tmp_path, f"model,acc,kwh\nant,0.9,1\nbee,0.8,{cell}\n")
    assert rows[1]["kwh"] is None and rows[1]["pepr_kwh"] is None


@pytest.mark.parametrize("size", [1, 200_000])
def test_a_torn_write_is_told_by_its_line(tmp_path, size):
    told = refused(tmp_path, b"model,acc,kwh\nant,0.8,1\nbee,0.9,2\n" + b"\0" * size)
    assert "NUL bytes after line 3" in told and "cut them off" in told


def test_a_last_row_that_was_cut_is_told(tmp_path):
    assert "ends in the middle of a row" in refused(tmp_path, "model,acc,kwh\nant,0.8,1\nbee,0.")


def test_utf_16_without_its_mark_is_told(tmp_path):
    assert "UTF-16" in refused(tmp_path, "model,acc,kwh\nant,0.9,1\n".encode("utf-16-le"))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"PK\x03\x04rest", "save it as CSV"),
        (b"\x1f\x8brest", "compressed"),
        (b"BZh91AY&SY\0\0", "compressed"),
        (b"\xfd7zXZ\0\0\x04", "compressed"),
        (b"PAR1", "Parquet"),
        (b"\x80\x04\x95\0\0", "a file of Python's"),
        (b"%PDF-1.7\n", "a PDF"),
        (b'[{"model": "ant", "acc": 0.9, "kwh": 1}]\n', "JSON, not a text table"),
        (b'{"model": "ant", "acc": 0.9}\n{"model": "bee"}\n', "JSON, not a text table"),
        (b"\n<!DOCTYPE html>\n<html>", "a page of the web"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n", "git lfs pull"),
        (b"\0" * 900, "NUL bytes in its first line"),
    ],
)
def test_a_file_that_is_no_text_is_told(tmp_path, head, told):
    assert told in refused(tmp_path, head)


def test_a_name_in_brackets_is_no_json(tmp_path):
    assert scored(tmp_path, "[model],acc,kwh\nant,0.9,1\n")[0][0]["[model]"] == "ant"


def test_what_can_be_read_only_once_is_refused_with_a_way_on(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="save it as a file first"):
        score_table(tmp_path / "pipe", io.StringIO(), "acc", ["kwh"])
    with pytest.raises(InputError, match="save it as a file first"):
        score_table("-", io.StringIO(), "acc", ["kwh"])


def test_a_header_whose_first_name_goes_on_in_the_next_line_has_no_title(tmp_path):
    rows, said = scored(tmp_path, '"Model\nname",acc,kwh\nant,0.9,1\nbee,0.8,2\n')
    assert rows[0]["Model\nname"] == "ant" and said == []


def test_a_quotation_mark_that_never_closes_is_told(tmp_path):
    text = 'model,acc,kwh\nant,"0.8,1\n' + "bee,0.9,2\n" * 20_000
    assert "opened and never closed" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "options", [{"separator": "ab"}, {"decimal": ";"}, {"clock": "mm"}], ids=["separator", "decimal", "clock"]
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        Options(**options)


@pytest.mark.parametrize(
    ("given", "cell"), [(",", "0.912"), (",", "0.9125"), (",", "1.0145"), (".", "0,912"), (".", "0,9125")]
)
def test_groups_begin_with_no_zero_and_have_three_digits(tmp_path, given, cell):
    """With a mark that is given, the other one stands between thousands, or the cell is no number."""
    told = refused(tmp_path, f'model,acc,kwh\nant,1,"{cell}"\nbee,1,"{cell}"\n', decimal=given)
    assert f"{cell!r} is not a number" in told


def test_means_over_seeds_have_a_decimal_point_whatever_their_cells_have(tmp_path):
    text = "model;seed;acc;kwh\nant;0;0,9;1,013\nant;1;0,92;1,015\nbee;0;0,8;2,5\nbee;1;0,8;2,7\n"
    rows, _ = scored(tmp_path, text)
    assert [row["kwh"] for row in rows] == pytest.approx([1.014, 2.6])
    assert [row["acc"] for row in rows] == pytest.approx([0.91, 0.8])
