"""Findings against the history: what it confirms, what it refutes, and what it adds."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from recordings import needs_history

from pepr import audit
from pepr.audit.finding import CONFIRMED, INFERRED, REFUTED
from pepr.published import origins
from pepr.published.audit import audit_published

pytestmark = needs_history


@pytest.fixture(scope="module")
def inferred(authors_tables):
    return audit_published(authors_tables)


@pytest.fixture(scope="module")
def judged(authors_tables, recorded):
    return audit_published(authors_tables, recorded)


def test_without_history_everything_is_inferred(inferred):
    assert {f.verdict for f in inferred} == {INFERRED} and all(f.origin is None for f in inferred)


def test_with_history_the_findings_are_the_same_and_more(inferred, judged):
    same = [replace(f, origin=None, verdict=INFERRED) for f in judged[: len(inferred)]]
    assert same == inferred
    assert {f.check for f in judged[len(inferred) :]} == {
        "changed_since_recorded",
        "energy_recorded_elsewhere",
        "owns_shared_energy",
    }


def test_every_row_that_shares_its_energy_has_an_origin(authors_tables, judged):
    shared = authors_tables.results[authors_tables.results["energy"].duplicated(keep=False)]
    known = {(f.setting, f.model) for f in judged if f.origin}
    assert len(shared) == 442 and set(zip(shared["dataset"], shared["model"], strict=True)) <= known


def test_every_origin_names_run_and_date(judged):
    for finding in judged:
        if finding.origin is not None:
            assert {"model", "setting", "recorded", "commit"} <= set(finding.origin)
    assert json.loads(audit.to_json(judged))[0]["verdict"] == CONFIRMED


def test_precision_and_recall_are_those_of_the_history(judged, recorded, authors_tables):
    rows = origins.against_history(judged, recorded, authors_tables.results).set_index("check")
    copied = rows.loc["copied_energy"]
    assert copied["precision"] >= 0.99 and copied["recall"] >= 0.99
    assert (copied["confirmed"], copied["refuted"], copied["in_history"]) == (334, 0, 336)
    assert rows.loc["copied_row", ["precision", "recall"]].tolist() == [1.0, 1.0]
    assert rows.loc["accuracy_not_k_of_n", ["precision", "recall"]].tolist() == [1.0, 1.0]
    assert rows["refuted"].sum() == 0


def test_an_owner_that_the_audit_names_is_the_recorded_one(judged):
    """Rows that share an energy and are not accused are those in which it was recorded first."""
    accused = {(f.setting, f.model) for f in judged if f.check in ("copied_energy", "copied_row")}
    owners = {(f.setting, f.model) for f in judged if f.check == "owns_shared_energy"}
    assert not accused & owners and len(accused) == 340 and len(owners) == 102


def test_a_wrong_accusation_is_refuted(judged, recorded, authors_tables):
    sound = next(f for f in judged if f.check == "owns_shared_energy")
    wrong = replace(sound, check="copied_energy", origin=None, verdict=INFERRED)
    (again, *_) = origins.with_origins([wrong], recorded, authors_tables.results)
    assert again.verdict == REFUTED
    untouched = replace(wrong, check="accuracy_not_k_of_n", columns=["test_09"])
    assert origins.with_origins([untouched], recorded, authors_tables.results)[0].verdict == REFUTED


def test_what_the_table_alone_cannot_show_is_added(judged):
    added = [f for f in judged if f.check == "energy_recorded_elsewhere"]
    assert sorted((f.model, f.setting) for f in added) == [
        ("bat_resnext26ts", "derma"),
        ("densenet121", "derma"),
    ]
    changed = [f for f in judged if f.check == "changed_since_recorded"]
    assert sum(len(f.columns) for f in changed) == 12
    assert all(f.origin["first_values"].keys() == set(f.columns) for f in changed)


def test_pasted_rows_name_the_run_that_they_hide(judged):
    pasted = [f for f in judged if f.check == "copied_row"]
    assert {f.origin["setting"] for f in pasted} == {"lidc"}
    assert Counter(f.origin["missing_run"]["commit"] for f in pasted) == {"f2dada0": 6}
