"""Runs that were made again, as the book tells of them: change by change, and what each took."""

import re
from pathlib import Path

import pytest

from pepr.analysis import machines
from pepr.book import prose, repeated_runs
from pepr.display.numbers import UNKNOWN

CHAPTER = Path(__file__).parents[2] / "book" / "how-to-read.md"
QUOTED = sorted(set(re.findall(r"\{\{ study\.(repeats_\w+) \}\}", CHAPTER.read_text())))


@pytest.fixture
def with_costs(monkeypatch):
    """The shipped repeats as if each had taken a tenth longer than its run, the processor as long."""
    table = machines.read_repeats()
    for cost in machines.COSTS:
        table[f"reference_{cost}"], table[cost] = 100.0, 110.0
    table["train_cpu_time_s"] = 100.0
    for name, value in {"runs_at_once": 2, "contended": False, "energy_source": "cpu:load_model"}.items():
        table[name] = table[f"reference_{name}"] = value
    monkeypatch.setattr(machines, "read_repeats", table.copy)
    return table


@pytest.fixture
def without_costs(monkeypatch):
    """The shipped repeats as a table of before has them: results alone."""
    table = machines.read_repeats()
    columns = (*machines.COSTS, *machines.CIRCUMSTANCES)
    gone = [name for column in columns for name in (column, f"reference_{column}") if name in table]
    monkeypatch.setattr(machines, "read_repeats", table.drop(columns=gone).copy)


def chapter(facts):
    return prose.chapter(CHAPTER.read_text(), {"study": {key: {"text": text} for key, text in facts.items()}})


def test_repeated_runs_are_told_change_by_change_and_library_by_library():
    made, facts = machines.repeats(), repeated_runs.facts()
    assert facts["repeats_table"].count("\n") == 1 + made["change"].nunique()
    assert "| as recorded |" in facts["repeats_table"]
    changes = machines.by_change(made).set_index("change")
    one = changes.loc["oneDNN alone: AVX2"]
    assert (
        f"oneDNN, told AVX2: {one['runs'] - one['equal']:.0f} of {one['runs']:.0f}" in facts["repeats_alone"]
    )
    assert facts["repeats_promise"].endswith("points of accuracy.")


def test_what_repeats_took_is_told_by_change_and_by_setting(with_costs):
    facts = repeated_runs.facts()
    networks = with_costs[with_costs["model"] != "pca_svm"]
    assert facts["repeats_pairs"] == str(len(networks)) and facts["repeats_at_once"] == "2"
    assert facts["repeats_same_train_cpu_time_s"] == "0.0% (0.0%)"
    assert facts["repeats_same_train_time_s"] == "9.5% (9.5%)"
    assert facts["repeats_other_train_cpu_time_s"] == "0.0% (0.0% to 0.0%)"
    changes = facts["repeats_costs_table"].splitlines()
    assert len(changes) == 2 + with_costs["change"].nunique() and "Energy (estimated)" in changes[0]
    assert "| +9.5% (+9.5% to +9.5%) |" in changes[2]
    settings = facts["repeats_floor_table"].splitlines()
    assert len(settings) == 2 + 2 * with_costs["setting"].nunique()
    assert settings[2].startswith(f"| as recorded | {networks['setting'].iloc[0]} |")
    text = chapter(facts)
    assert "{{ study.repeats_floor_table }}" in text and "was not kept" not in text


def test_the_chapter_says_so_where_the_table_of_repeats_does_not_tell_what_they_took(without_costs):
    facts = repeated_runs.facts()
    assert {facts[key] for key in repeated_runs.COST_KEYS} == {UNKNOWN}
    text = chapter(facts)
    assert "What the repeated runs took, in time, energy and memory, was not kept" in text
    assert not [key for key in repeated_runs.COST_KEYS if f"study.{key}" in text]
    assert "{{ study.repeats_table }}" in text


@pytest.mark.parametrize("key", QUOTED)
def test_whatever_the_chapter_quotes_of_repeats_is_made(key, with_costs):
    assert repeated_runs.facts()[key] != UNKNOWN


def test_an_energy_that_a_counter_gave_is_not_called_estimated(with_costs, monkeypatch):
    counted = with_costs.assign(energy_source="cpu:counter", reference_energy_source="cpu:counter")
    monkeypatch.setattr(machines, "read_repeats", counted.copy)
    facts = repeated_runs.facts()
    assert facts["repeats_energy_nature"] == "measured"
    assert "estimated" not in facts["repeats_costs_table"]


def test_a_kind_of_repeat_that_was_made_in_other_circumstances_is_in_no_sentence(with_costs, monkeypatch):
    alone = with_costs["runs_at_once"].mask(with_costs["change"] == machines.AS_RECORDED, 1)
    monkeypatch.setattr(machines, "read_repeats", with_costs.assign(runs_at_once=alone).copy)
    facts = repeated_runs.facts()
    assert facts["repeats_same_train_time_s"] == UNKNOWN != facts["repeats_other_train_cpu_time_s"]
    assert "as recorded" not in facts["repeats_costs_table"]
    assert "was not kept" in chapter(facts)
