"""The second edition of the authors' tables: runs put back, cells as recorded, energies where known."""

import numpy as np
import pandas as pd
import pytest
from recordings import needs_history

from pepr.published import claims, history, versions
from pepr.published.tables import RESOURCES, TEST_COLUMNS
from pepr.score import normalise, pepr

pytestmark = needs_history


@pytest.fixture(scope="module")
def runs(authors_results, recorded):
    return versions.versions(authors_results, recorded)


def test_without_history_there_is_one_edition_less(authors_results, runs):
    alone = versions.versions(authors_results)
    assert alone.by_history is None and alone.best is alone.corrected
    assert set(runs.tables()) - set(alone.tables()) == {"history"}
    pd.testing.assert_frame_equal(alone.corrected, runs.corrected)


def test_six_runs_come_back_with_their_own_accuracies(runs, recorded, authors_results):
    back = runs.by_history[runs.by_history["restored"] == "run"].set_index("model")
    missing = history.missing_runs(recorded, authors_results).set_index("model")
    assert len(back) == 6 and set(back["dataset"]) == {"derma_pt"}
    for name in ("train_time", "memR", *TEST_COLUMNS):
        assert np.allclose(back[name], missing.loc[back.index, name])
    assert set(back["energy_kind"]) == {"estimated"}, "their own energy was never recorded"


def test_cells_are_as_first_recorded_beside_the_published_ones(runs, authors_results, recorded):
    table = versions.restored(authors_results, recorded)
    cells = table[(table["restored"] != "") & (table["restored"] != "run")].set_index(["dataset", "model"])
    assert len(cells) == 4
    row = cells.loc[("pneumonia_small", "dla102")]
    assert row["test_00"] == pytest.approx(230 / 608) and row["restored"] == "test_00=0.678289"
    kept = runs.by_history.set_index(["dataset", "model"]).index
    assert ("pneumonia_small", "dla102") in kept
    assert ("derma_pt", "dm_nfnet_f0") not in kept, "a run that collapsed has no use as recorded, either"


def test_an_energy_is_estimated_only_where_its_own_was_never_recorded(runs, recorded):
    table = runs.by_history
    at = recorded.rows_of(table)
    own = recorded.runs["energy_run"].to_numpy()[at] == at
    assert (own == (table["energy_kind"] == "measured").to_numpy()).all()
    assert np.allclose(table["energy"][own], recorded.runs["energy"].to_numpy()[at][own], rtol=1e-9)
    assert not table["energy"].duplicated().any()
    power = table["energy"] * 3.6e6 / (10 * table["train_time"])
    assert power.max() < 835


def test_what_is_written_has_scores_of_its_own_values(tmp_path, runs):
    versions.write_best(tmp_path / "corrected.csv", runs)
    table = pd.read_csv(tmp_path / "corrected.csv")
    assert len(table) == len(runs.by_history)
    for letter, resource in RESOURCES.items():
        for _, group in table.groupby("dataset"):
            assert np.allclose(group[f"{letter}_n"], normalise(group[resource]))
            assert np.allclose(
                group[f"pepr_{letter.lower()}"], pepr(group[TEST_COLUMNS[-1]], group[resource])
            )


def test_every_claim_has_a_verdict_by_history(runs):
    for claim in claims.claims(runs):
        assert claim["verdict_history"] is not None
        if claim["effect_history"] is None:
            assert claim["test_history"].startswith(claims.NO_AVERAGE)
        else:
            assert claim["low_history"] <= claim["effect_history"] <= claim["high_history"]
