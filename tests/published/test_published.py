"""The authors' tables: verified, typed, and clear about it when they are not at hand."""

import hashlib
import shutil

import pandas as pd
import pytest
from recordings import needs_tables

from pepr import published
from pepr.errors import DataUnavailable, InputError
from pepr.published import tables


def test_a_folder_without_the_tables_is_one_clear_message(tmp_path):
    with pytest.raises(DataUnavailable) as raised:
        published.load(tmp_path)
    assert "all_results.csv" in str(raised.value) and "PEPR_DATA" in str(raised.value)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of downloads, in the place of the user's, and no folder of tables."""
    import pooch

    monkeypatch.delenv("PEPR_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    return tmp_path / "pepr"


def test_without_folder_and_network_the_message_says_what_to_do(cache, monkeypatch):
    import pooch

    def offline(*args: object, **options: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(DataUnavailable, match=r"could not be downloaded \(OSError: no route\)"):
        published.load()
    assert not published.at_hand()


def test_what_was_downloaded_before_is_at_hand_where_it_is_whole(cache, monkeypatch):
    monkeypatch.setattr(
        tables, "SHA256", {name: hashlib.sha256(name.encode()).hexdigest() for name in published.SHA256}
    )
    folder = cache / "published" / published.COMMIT[:8]
    folder.mkdir(parents=True)
    for name in published.SHA256:
        assert not published.at_hand()
        (folder / f"{name}.csv").write_text(name)
    assert published.at_hand() and not published.at_hand(cache)
    assert tables.find_table("all_results") == folder / "all_results.csv", "read without a network"
    (folder / "all_results.csv").write_text("half of i")
    assert not published.at_hand()


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path):
    (tmp_path / "all_results.csv").write_text("model\na\n")
    with pytest.raises(InputError, match="SHA-256"):
        published.load(tmp_path)


def test_every_table_has_a_checksum_and_an_address():
    assert len(published.SHA256) == 7
    assert all(len(digest) == 64 for digest in published.SHA256.values())
    assert published.COMMIT in published.BASE_URL


@needs_tables
def test_the_tables_are_typed_and_complete():
    tables = published.load()
    assert len(tables.results) == 1048 and tables.results["model"].nunique() == 131
    assert (tables.results.groupby("dataset").size() == 131).all()
    assert tables.results["efficient"].dtype == bool and tables.imagenet["cnn"].dtype == bool
    assert tables.models["num_param"].dtype == "int64"
    assert tables.leaderboard["param_count"].max() > 1000


@needs_tables
def test_the_tables_read_exactly():
    path = published.find_table("full_data_pepr_dataset_level")
    plain = pd.read_csv(path, dtype=str)
    ours = published.load().results
    for column in ("energy", "test_09", "pepr_e"):
        assert [float(text) for text in plain[column]] == ours[column].tolist()


@needs_tables
def test_a_changed_byte_is_noticed(tmp_path):
    for name in published.SHA256:
        shutil.copy(published.find_table(name), tmp_path)
    path = tmp_path / "model_names.csv"
    path.write_bytes(path.read_bytes().replace(b"dla46x_c", b"dla46x_d"))
    with pytest.raises(InputError, match=r"model_names\.csv"):
        published.load(tmp_path)
