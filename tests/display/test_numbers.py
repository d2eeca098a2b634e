"""Numbers keep their source, are replaced source by source, and come out as safe MyST."""

import json

import numpy as np
import pytest

from pepr.display.numbers import (
    escaped,
    interval_numbers,
    number,
    read_numbers,
    substitutions,
    update_numbers,
)
from pepr.display.words import amount, percent, seconds
from pepr.errors import InputError
from pepr.stats import Interval


def test_a_number_keeps_value_words_and_nature():
    assert number(np.float64(0.5), "50%", estimate=True) == {"value": 0.5, "text": "50%", "estimate": True}


def test_the_words_of_a_number_may_be_made_of_its_value():
    assert number(np.float64(0.5), percent)["text"] == "50%"
    assert number(np.int64(1234)) == {"value": 1234, "text": "1,234", "estimate": False}
    assert number("resnet18d") == {"value": "resnet18d", "text": "resnet18d", "estimate": False}
    assert number(np.nan, percent) == {"value": None, "text": "not known", "estimate": False}


def test_an_interval_is_three_numbers():
    found = interval_numbers("auroc", Interval(0.8, 0.7, 0.9), "{:.2f}".format)
    assert {key: entry["text"] for key, entry in found.items()} == {
        "auroc": "0.80",
        "auroc_low": "0.70",
        "auroc_high": "0.90",
    }


def test_a_value_that_is_not_finite_is_stored_as_null():
    assert number(float("nan"), "not measured")["value"] is None


def test_a_number_without_words_is_refused():
    with pytest.raises(InputError, match="words"):
        number(1, " ")


def test_a_source_replaces_its_own_numbers_and_no_others(tmp_path):
    update_numbers(tmp_path, "03_energy", {"total_energy": number(1.5, "1.5 Wh", estimate=True)})
    update_numbers(tmp_path, "04_pepr", {"n_runs": number(3, "3"), "n_old": number(1, "1")})
    update_numbers(tmp_path, "04_pepr", {"n_runs": number(4, "4")})
    numbers = read_numbers(tmp_path)
    assert set(numbers) == {"total_energy", "n_runs"}
    assert numbers["n_runs"] == {"value": 4, "text": "4", "estimate": False, "source": "04_pepr"}
    assert numbers["total_energy"]["source"] == "03_energy"


def test_a_key_of_another_source_is_refused_and_nothing_is_written(tmp_path):
    update_numbers(tmp_path, "03_energy", {"n_runs": number(1, "1")})
    before = (tmp_path / "numbers.json").read_bytes()
    with pytest.raises(InputError, match="belongs to 03_energy"):
        update_numbers(tmp_path, "04_pepr", {"n_runs": number(2, "2")})
    assert (tmp_path / "numbers.json").read_bytes() == before


@pytest.mark.parametrize("key", ["N_runs", "n-runs", "n.runs", "1st", ""])
def test_a_key_that_prose_cannot_name_is_refused(tmp_path, key):
    with pytest.raises(InputError, match="snake_case"):
        update_numbers(tmp_path, "04_pepr", {key: number(1, "1")})


def test_a_folder_without_numbers_has_none(tmp_path):
    assert read_numbers(tmp_path) == {}


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "numbers.json").write_text("{")
    with pytest.raises(InputError, match=r"numbers\.json"):
        read_numbers(tmp_path)


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    update_numbers(tmp_path / "a", "s", {"x": number(1, "1"), "y": number(2, "2")})
    update_numbers(tmp_path / "b", "s", {"y": number(2, "2"), "x": number(1, "1")})
    assert (tmp_path / "a/numbers.json").read_bytes() == (tmp_path / "b/numbers.json").read_bytes()
    assert list(json.loads((tmp_path / "a/numbers.json").read_text())) == ["x", "y"]


def test_special_characters_are_escaped():
    assert escaped("a_b < *c*") == r"a\_b \< \*c\*"


def test_what_prose_quotes_is_shown_by_the_role_of_generated_numbers():
    entries = {"pocket": {"n_runs": number(40, "40")}}
    assert substitutions(entries) == {"pocket": {"n_runs": "{number}`pocket.n_runs`"}}


def test_a_table_stands_in_the_prose_as_it_is():
    table = "| Model |\n| --- |\n| dla46_c |"
    assert substitutions({"pneumonia": {"standings": number(None, table)}})["pneumonia"]["standings"] == table


def test_of_less_than_a_millisecond_no_digits_are_told():
    assert seconds(1.66e-07) == seconds(0.0) == amount("T", 9e-4) == "under 1 ms"
    assert seconds(0.001) == "0.001 s" and seconds(0.22) == "0.22 s"
