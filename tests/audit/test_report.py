"""What an audit reads of a table before it checks anything: units, clocks, percentages."""

import ast
from pathlib import Path

import pytest

from pepr.audit import audit_file, registry, report
from pepr.errors import InputError


def test_a_clock_is_in_seconds_whatever_unit_its_column_names(tmp_path):
    path, said = tmp_path / "table.csv", []
    path.write_text("Model,acc,energy_kwh,Train time (h)\nant,0.9,0.4,1:33:00\nbee,0.8,0.6,2:05:30\n")
    assert audit_file(path, say=said.append) == []
    assert said == [
        "columns are known in any spelling: 'Model' as model",
        "Train time (h): hours, minutes and seconds, read as seconds",
    ]
    path.write_text("Model,acc,energy_kwh,Train time (h)\nant,0.9,0.4,1.55\nbee,0.8,0.6,2.1\n")
    assert audit_file(path) == []


@pytest.mark.parametrize(("one", "two"), [("91.5", "925"), ("91.5%", "105%"), ("91.5", "-1")])
def test_what_is_no_percentage_is_refused_with_its_place(tmp_path, one, two):
    path = tmp_path / "table.csv"
    path.write_text(f"model,Accuracy (%),kwh\nant,{one},0.1\nbee,{two},0.2\n")
    with pytest.raises(InputError) as caught:
        audit_file(path)
    assert f"row 2 (line 3), column 'Accuracy (%)': {two} is no percentage" in str(caught.value)


def test_a_failed_run_may_have_any_percentage(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("model,status,Accuracy (%),kwh\nant,failed,-1,\nbee,ok,90,0.2\ncow,ok,80,0.4\n")
    assert {finding.check for finding in audit_file(path)} <= {"failed_but_scored"}


def test_every_module_that_has_a_check_is_loaded_by_the_report():
    having = set()
    for path in Path(report.__file__).parent.glob("*.py"):
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        marks = [mark for one in functions for mark in one.decorator_list if isinstance(mark, ast.Call)]
        if any(ast.unparse(mark.func) == "check" for mark in marks):
            having.add(f"pepr.audit.{path.stem}")
    assert having and having == {check.__module__ for check in registry.CHECKS.values()}
