"""A second table beside a first, each in its own dialect and with its own names."""

import io
import json
from pathlib import Path

import pytest

from pepr.errors import InputError
from pepr.tables.commands import Request, score_command
from pepr.tables.dialect import Options


def joined(tmp_path: Path, first: str, second: str, **options: object) -> list[dict]:
    """The scored rows of two tables by their models."""
    (tmp_path / "first.csv").write_text(first)
    (tmp_path / "second.csv").write_text(second)
    request = Request((tmp_path / "first.csv",), "acc", ("kwh",), options=Options(**options))
    output = io.StringIO()
    score_command(request, output, print, tmp_path / "second.csv", ["model"], as_json=True)
    return json.loads(output.getvalue())


@pytest.mark.parametrize("given", [None, ","])
def test_each_table_has_its_own_decimal_mark(tmp_path, given):
    rows = joined(tmp_path, "model,kwh\nant,1.014\nbee,2\n", "model;acc\nant;0,91\nbee;0,8\n", decimal=given)
    assert [(row["kwh"], row["acc"]) for row in rows] == [(1.014, 0.91), (2, 0.8)]
    rows = joined(tmp_path, "model;acc\nant;0,91\nbee;0,8\n", "model,kwh\nant,1.014\nbee,2\n", decimal=given)
    assert [(row["kwh"], row["acc"]) for row in rows] == [(1.014, 0.91), (2, 0.8)]


def test_rows_without_a_key_are_no_partners(tmp_path):
    rows = joined(tmp_path, "model,kwh\nant,1\nNone,2\n", "model,acc\nant,0.9\n,0.8\nnan,0.7\n")
    assert [(row["kwh"], row["acc"]) for row in rows] == [(1, 0.9), (2, None)]


def test_a_fault_in_the_second_table_is_told_by_its_place_there(tmp_path):
    with pytest.raises(InputError) as caught:
        joined(tmp_path, "model,kwh\nbee,2\nant,1\n", "model;acc\nant;0,91\nbee;high\n")
    assert str(caught.value) == (
        f"{tmp_path / 'second.csv'}: row 2 (line 3), column 'acc': 'high' is not a number"
    )


def test_a_key_that_the_second_table_lacks_is_no_key_there(tmp_path):
    first = "model,run,acc\nant,r1,0.9\nbee,r2,0.8\n"
    rows = joined(tmp_path, first, "model,kwh\nant,1\nant,3\nbee,2\n", keep_last=True, key=("run",))
    assert [(row["kwh"], row["pepr_kwh"]) for row in rows] == [(3, 0.45), (2, 0.8)]


def test_a_second_table_that_names_no_run_keeps_the_last_row_of_what_the_join_names(tmp_path):
    (tmp_path / "first.csv").write_text("model,acc\nant,0.9\nbee,0.8\n")
    (tmp_path / "second.csv").write_text("net,kwh\nant,1\nant,3\nbee,2\n")
    request = Request((tmp_path / "first.csv",), "acc", ("kwh",), options=Options(keep_last=True))
    output, said = io.StringIO(), []
    score_command(request, output, said.append, tmp_path / "second.csv", ["model=net"], as_json=True)
    assert [(row["model"], row["kwh"]) for row in json.loads(output.getvalue())] == [("ant", 3), ("bee", 2)]
    assert "1 earlier rows of the same net left out: the last one counts" in said


def test_seeds_of_a_second_table_that_names_no_run_are_no_rows_of_one_run(tmp_path):
    first, second = "model,acc\nant,0.9\nbee,0.8\n", "net,seed,kwh\nant,0,1\nant,1,3\nbee,0,2\n"
    (tmp_path / "first.csv").write_text(first)
    (tmp_path / "second.csv").write_text(second)
    request = Request((tmp_path / "first.csv",), "acc", ("kwh",), options=Options(keep_last=True))
    with pytest.raises(InputError, match=r"row 2 .*net=ant would multiply .*name more columns with --on$"):
        score_command(request, io.StringIO(), print, tmp_path / "second.csv", ["model=net"])
