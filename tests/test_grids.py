"""Grids: an unknown country is refused before anything runs, and a zero of the table is not a grid's."""

import json

import pytest
from typer.testing import CliRunner

import pepr
from pepr import grids, runs, study
from pepr.analysis import pipeline
from pepr.cli import app
from pepr.costs import recommendation
from pepr.errors import InputError
from pepr.study import forecast
from pepr.training import loop


@pytest.fixture(autouse=True)
def no_runs_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("de", "DEU is Germany"),
        ("GB", "GBR is"),
        ("uk", "GBR is"),
        ("kenya", "KEN is Kenya"),
        ("ZZZ", "such as DNK"),
    ],
)
def test_a_country_by_two_letters_or_by_name_is_refused_with_its_three_letters(given, hint, monkeypatch):
    monkeypatch.setenv("PEPR_COUNTRY", given)
    with pytest.raises(InputError, match=hint):
        grids.carbon_intensity()
    assert grids.carbon_intensity(" deu ") == grids.carbon_intensity("DEU")


@pytest.mark.parametrize(
    ("given", "hint"),
    [("Kenya", "KEN is Kenya"), ("ke", "KEN is Kenya"), ("ken", "KEN is Kenya"), ("CAF", "DNK")],
)
def test_the_country_of_a_bill_is_refused_before_the_bill_is_worked_out(given, hint):
    results = runs.Results("pocket", "reference", runs.reference_folder("pocket"))
    with pytest.raises(InputError, match=rf"^country '{given}': no grid intensity known; .*{hint}$"):
        pipeline.Analysis(results, given)
    assert pipeline.Analysis(results, "KEN").country == "KEN"


def test_an_unknown_country_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setenv("PEPR_COUNTRY", "de")
    for command in (["plan"], ["reproduce", "--profile", "smoke"], ["recommend"]):
        done = CliRunner().invoke(app, command)
        assert isinstance(done.exception, InputError) and "DEU" in str(done.exception), command
    with pytest.raises(InputError, match="DEU"):
        loop.check(runs.RunSpec("dla46_c", "elpv", "elpv"))


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PEPR_COUNTRY", "de", "DEU"),
        ("PEPR_WATER_L_PER_KWH", "much", "expected litres per kWh"),
        ("PEPR_WATER_L_PER_KWH", "nan", "expected litres per kWh"),
        ("PEPR_WATER_L_PER_KWH", "1_8", "expected litres per kWh"),
    ],
)
def test_what_no_record_could_hold_is_refused_before_anything_is_measured(
    tmp_path, monkeypatch, variable, value, told
):
    monkeypatch.setenv(variable, value)
    mark = tmp_path / "began"
    for command in (["plan"], ["reproduce", "--profile", "smoke"], ["measure", "--", "touch", str(mark)]):
        done = CliRunner().invoke(app, command)
        assert isinstance(done.exception, InputError) and told in str(done.exception), command
    with pytest.raises(InputError, match=told), pepr.measure("tree"):
        mark.touch()
    assert not mark.exists()


def test_a_zero_of_the_table_is_an_intensity_that_nobody_knows(monkeypatch):
    monkeypatch.setenv("PEPR_COUNTRY", "CAF")
    assert grids.carbon_intensity() == (None, "Central African Republic")
    profile = study.load("pocket")
    assert forecast.forecast(profile, study.grid(profile)).co2eq_g is None
    with pytest.raises(InputError, match=r"is not known \(Central African Republic\)"):
        recommendation.recommend(recommendation.Budget(co2_g=1.0))
    found = recommendation.choose(recommendation.from_reference(), recommendation.Budget(), "expected", 3)
    assert [choice.as_dict()["co2_g"] for choice in found] == [None] * 3 and recommendation.as_text(found)


def test_a_plan_of_measured_runs_is_of_the_users_grid(monkeypatch):
    profile = study.load("pocket")
    specs = study.grid(profile)
    for code in ("DNK", "IND"):
        monkeypatch.setenv("PEPR_COUNTRY", code)
        expected = forecast.forecast(profile, specs)
        assert expected.measured == len(specs)
        assert expected.co2eq_g == pytest.approx(expected.energy_kwh * grids.carbon_intensity(code)[0])


def test_a_plan_without_an_intensity_says_so(monkeypatch):
    monkeypatch.setenv("PEPR_COUNTRY", "CAF")
    assert "CO2-eq not known" in CliRunner().invoke(app, ["plan"]).stdout
    assert json.loads(CliRunner().invoke(app, ["plan", "--json"]).stdout)["co2eq_g"] is None
