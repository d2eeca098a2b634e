"""The history behind the authors' tables: recognised, dated, and clear about it when it is not at hand."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from recordings import needs_history, row, told

from pepr.errors import DataUnavailable, InputError
from pepr.published import history
from pepr.published.tables import TEST_COLUMNS

COMMITTED = Path(history.__file__).with_name("history.csv")


def facts_in(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_a_run_belongs_to_the_setting_of_those_that_came_with_it_and_to_the_first_commit_that_has_it():
    first = {"commit": "a", "recorded": "2024-01-01 10:00"}
    second = {"commit": "b", "recorded": "2024-01-02 10:00"}
    rows = [
        row("ash", 10.0, 0.1, **first),
        row("elm", 20.0, 0.2, **first),
        row("ash", 10.0, 0.1, **second),
        row("ash", 11.0, 0.1, **second),
        row("elm", 21.0, 0.3, **second),
    ]
    table = [row("ash", 10.0, 0.1, dataset="lidc"), row("elm", 21.0, 0.3, dataset="derma")]
    found = told(rows, table).runs
    assert list(found["commit"]) == ["a", "a", "b", "b"]
    assert list(found["setting"]) == ["lidc", "lidc", "derma", "derma"]
    assert list(found["published"]) == [True, False, False, True]
    assert list(found["energy_run"]) == [0, 1, 0, 3], "the third run carries the energy of the first"


def test_a_pasted_row_is_seen_and_the_run_that_it_hides_is_found():
    first = {"commit": "a", "recorded": "2024-01-01 10:00"}
    second = {"commit": "b", "recorded": "2024-01-02 10:00"}
    rows = [
        row("ash", 10.0, 0.1, **first),
        row("elm", 20.0, 0.2, **first),
        row("oak", 30.0, 0.4, **first),
        row("elm", 21.0, 0.3, **second),
        row("oak", 31.0, 0.5, **second),
        row("ash", 11.0, 0.1, **second),
    ]
    table = [
        row("ash", 10.0, 0.1, dataset="lidc"),
        row("elm", 20.0, 0.2, dataset="lidc"),
        row("oak", 30.0, 0.4, dataset="lidc"),
        row("ash", 10.0, 0.1, dataset="derma"),
        row("elm", 21.0, 0.3, dataset="derma", test_09=0.7),
        row("oak", 31.0, 0.5, dataset="derma"),
    ]
    known, table = told(rows, table), pd.DataFrame(table)
    facts = history.facts(known, table)
    pasted = facts[facts["recorded_for"] != facts["setting"]]
    assert list(pasted["model"]) == ["ash"] and list(pasted["missing_run_commit"]) == ["b"]
    assert history.missing_runs(known, table)["train_time"].tolist() == [11.0]
    assert history.changed_cells(known, table)[4] == {"test_09": 0.5}
    assert list(facts["energy_owner"]) == ["own"] * 6


def test_a_row_that_nothing_recorded_is_refused_by_name():
    recording = row("ash", 10.0, 0.1, commit="a", recorded="2024-01-01 10:00")
    known = told([recording], [row("ash", 10.0, 0.1, dataset="lidc")])
    with pytest.raises(InputError, match="elm in lidc"):
        history.facts(known, pd.DataFrame([row("elm", 10.0, 0.1, dataset="lidc")]))


def test_every_file_has_a_commit_a_path_and_a_checksum():
    listed = history.files()
    assert listed["name"].is_unique and (listed["sha256"].str.len() == 64).all()
    assert (listed["commit"].str.len() >= 7).all() and listed["path"].str.endswith(".csv").all()
    assert list(listed["recorded"]) == sorted(listed["recorded"])


def test_a_folder_without_the_files_is_one_clear_message(tmp_path):
    table = pd.DataFrame([row("ash", 1.0, 1.0, dataset="lidc")])
    with pytest.raises(DataUnavailable, match="published_history"):
        history.load(table, tmp_path)


def test_without_folder_and_network_the_message_names_the_commit(monkeypatch, tmp_path):
    import pooch

    def offline(*args: object, **options: object) -> str:
        raise OSError("no route")

    monkeypatch.delenv("PEPR_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(pooch, "retrieve", offline)
    assert not history.at_hand()
    with pytest.raises(DataUnavailable, match="could not be downloaded") as raised:
        history.load(pd.DataFrame([row("ash", 1.0, 1.0, dataset="lidc")]))
    assert history.files()["commit"].iloc[0] in str(raised.value)


@needs_history
def test_a_changed_byte_is_noticed(tmp_path, authors_results, monkeypatch):
    for name in history.files()["name"]:
        shutil.copy(history.local_file(name), tmp_path)
    path = tmp_path / history.files()["name"].iloc[3]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(InputError, match=path.name):
        history.load(authors_results, tmp_path)


@needs_history
def test_every_published_row_is_found(recorded, authors_results):
    assert (recorded.rows_of(authors_results) >= 0).all()
    assert not recorded.runs.duplicated(["model", "key"]).any()


@needs_history
def test_the_twelve_cells_and_the_six_rows_are_found(recorded, authors_results):
    changed = [cells for cells in history.changed_cells(recorded, authors_results) if cells]
    assert sum(map(len, changed)) == 12 and len(changed) == 4
    missing = history.missing_runs(recorded, authors_results)
    assert list(missing["commit"].unique()) == ["f2dada0"] and set(missing["setting"]) == {"derma_pt"}
    assert sorted(missing["model"]) == [
        "dla46_c",
        "hardcorenas_a",
        "mobilevitv2_050",
        "resnet18d",
        "semnasnet_075",
        "spnasnet_100",
    ]
    counts = missing[list(TEST_COLUMNS)].to_numpy() * 1984
    assert abs(counts - counts.round()).max() < 1e-6, "they were tested on Derma"


@needs_history
def test_every_shared_energy_has_its_origin(recorded, authors_results):
    facts = history.facts(recorded, authors_results)
    shared = authors_results["energy"].duplicated(keep=False).to_numpy()
    energy = authors_results["energy"].to_numpy()[shared]
    groups = facts[shared].assign(energy=energy).groupby("energy").first()
    assert shared.sum() == 442 and len(groups) == 112
    owner = facts[shared].groupby(energy)["energy_owner"]
    dropped = owner.agg(lambda kinds: (kinds == "dropped").any())
    assert dropped.sum() == 10
    assert groups.loc[~dropped, "energy_of"].value_counts().to_dict() == {
        "derma": 68,
        "derma_pt": 28,
        "lidc": 6,
    }
    assert (facts["energy_owner"] != "own").sum() == 336


@needs_history
def test_the_committed_table_is_what_the_command_makes(tmp_path, authors_results):
    history.write_facts(tmp_path / "history.csv", authors_results)
    pd.testing.assert_frame_equal(facts_in(tmp_path / "history.csv"), facts_in(COMMITTED))


def test_the_committed_table_has_one_row_for_each_published_one():
    facts = facts_in(COMMITTED)
    assert len(facts) == 1048 and not facts.duplicated(["model", "setting"]).any()
