"""Identity of runs, atomic records, the table made of them, and where results are looked for."""

import hashlib
import json
import os
from types import SimpleNamespace

import conftest
import numpy as np
import pandas as pd
import pytest
import several_sets

from pepr import files, runs
from pepr.errors import InputError
from pepr.runs import results as run_results

SPEC = runs.RunSpec("dla46_c", "elpv", "elpv_small", train_fraction=0.1, seed=3)
FAILED = runs.run_record(SPEC, {}, failure="error")
SMALL = {"predictions.npz", "records.jsonl", "results.csv"}
"""The files of a small reference."""


def test_the_run_id_names_what_a_reader_looks_for():
    assert SPEC.run_id.startswith("elpv-elpv_small-dla46_c-s3-")
    assert len(SPEC.run_id.rsplit("-", 1)[1]) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4},
        {"learning_rate": 1e-3},
        {"image_size": 128},
        {"pretrained": True},
        {"device": "cuda"},
        {"split": 1},
    ],
)
def test_anything_that_decides_a_result_changes_the_identity(change):
    other = runs.RunSpec(**{**SPEC.as_dict(), **change})
    assert other.run_id != SPEC.run_id


def test_a_specification_comes_back_whole_from_its_record():
    assert runs.RunSpec.from_dict(json.loads(json.dumps(FAILED))) == SPEC


def test_a_record_older_than_numbered_splits_keeps_its_name():
    """The name that a run of the first version has; today's run of the same name is another."""
    since = ("split", "shuffled", "init_from")
    values = {name: value for name, value in SPEC.as_dict().items() if name not in since}
    old = runs.RunSpec.from_dict(values)
    assert old.split is None and old.run_id != SPEC.run_id
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert old.run_id.endswith(hashlib.sha256(canonical.encode()).hexdigest()[:8])


def test_a_start_of_its_own_changes_the_identity_and_its_absence_does_not():
    older = {k: v for k, v in SPEC.as_dict().items() if k not in ("shuffled", "init_from")}
    assert runs.RunSpec.from_dict(older) == SPEC and runs.RunSpec.from_dict(older).run_id == SPEC.run_id
    assert runs.RunSpec.from_dict({**older, "init_from": "", "shuffled": None}) == SPEC
    others = [{**older, "shuffled": True}, {**older, "init_from": "a-run"}, {**older, "init_from": "b-run"}]
    assert len({SPEC.run_id, *(runs.RunSpec.from_dict(other).run_id for other in others)}) == 4


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    files.write_atomic(path, "whole")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, "half")
    assert path.read_text() == "whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_record_with_a_nan_is_refused(tmp_path):
    record = FAILED | {"test_accuracy": float("nan")}
    with pytest.raises(ValueError):
        runs.Store(tmp_path, "p").write_record(record)


def test_half_a_record_is_named_and_not_read(tmp_path):
    store = runs.Store(tmp_path, "p")
    store.write_record(FAILED)
    path = store.record_path(SPEC.run_id)
    path.write_text(path.read_text()[:200])
    with pytest.raises(InputError, match=f"{SPEC.run_id}.json: not a record"):
        list(store.records())


def test_what_macos_puts_beside_a_record_is_none(tmp_path):
    store = runs.Store(tmp_path, "p")
    store.write_record(FAILED)
    store.record_path(SPEC.run_id).with_name(f"._{SPEC.run_id}.json").write_bytes(b"\0\5\x16\7\xff")
    assert [record["run_id"] for record in store.records()] == [SPEC.run_id]
    assert runs.collect(store)["run_id"].tolist() == [SPEC.run_id]


def test_the_table_has_every_column_in_order_and_keeps_full_precision(tmp_path):
    store = runs.Store(tmp_path, "p")
    for seed in (2, 1):
        spec = runs.RunSpec(**{**SPEC.as_dict(), "seed": seed})
        store.write_record(runs.run_record(spec, {}, failure="error") | {"test_auroc": 0.1 + 0.2 * seed})
    written = runs.collect(store)
    table = runs.read_table(store.folder / "results.csv")
    assert tuple(table.columns) == runs.COLUMNS
    assert list(table["run_id"]) == sorted(table["run_id"])
    assert table["test_auroc"].tolist() == written["test_auroc"].tolist() == [0.1 + 0.2, 0.1 + 0.4]
    assert table["energy_kwh"].isna().all()


def test_a_table_without_a_column_says_which(tmp_path):
    pd.DataFrame({"run_id": ["a"]}).to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(InputError, match="columns missing: model, dataset"):
        runs.read_table(tmp_path / "results.csv")


def test_the_tests_take_nothing_from_outside_but_where_data_are(monkeypatch):
    for name in ("PEPR_COUNTRY", "PEPR_DATA", "PEPR_DEVICE", "PEPR_RESULTS"):
        monkeypatch.setenv(name, "told")
    at_the_end = []
    conftest.pytest_configure(SimpleNamespace(add_cleanup=at_the_end.append))
    folder = runs.results_root()
    told = {name: value for name, value in os.environ.items() if name.startswith("PEPR_")}
    assert told == {"PEPR_DATA": "told", "PEPR_RESULTS": os.environ["PEPR_RESULTS"]}
    assert list(folder.iterdir()) == []
    at_the_end[0]()
    assert not folder.exists()


def test_own_results_come_before_the_reference(tmp_path, monkeypatch, synthetic_results):
    monkeypatch.setenv("PEPR_RESULTS", str(synthetic_results.folder.parent))
    assert runs.find_results("pocket").origin == "this machine"
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "nothing"))
    assert runs.find_results("pocket").origin == "reference"
    with pytest.raises(InputError, match="no results for profile 'nowhere'"):
        runs.find_results("nowhere")


def test_records_of_which_no_table_was_made_are_said_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    store = runs.Store(tmp_path, "by_hand")
    store.write_record(FAILED)
    with pytest.raises(InputError, match=r"holds records, .* by `pepr step collect by_hand`"):
        runs.find_results("by_hand")
    runs.collect(store)
    assert len(runs.find_results("by_hand").table) == 1


def test_a_packed_reference_returns_the_same_records_and_predictions(tmp_path, synthetic_results):
    own = synthetic_results
    runs.write_reference(own, tmp_path / "pocket")
    packed = runs.Results("pocket", "reference", tmp_path / "pocket")
    assert packed.records() == own.records()
    pd.testing.assert_frame_equal(packed.table, own.table)
    run_id = own.table.query("status == 'ok'")["run_id"].iloc[0]
    for mine, theirs in zip(own.predictions(run_id), packed.predictions(run_id), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert own.groups(run_id) is None and packed.groups(run_id) is None


def test_groups_of_test_images_are_kept_by_number_and_packed(tmp_path, synthetic_results):
    record = next(record for record in synthetic_results.records() if record["status"] == "ok")
    probabilities, labels = synthetic_results.predictions(record["run_id"])
    store = runs.Store(tmp_path, "pocket")
    modules = np.array(["b", "a"])[np.arange(len(labels)) % 2]
    store.write_predictions(record["run_id"], probabilities, labels, modules)
    store.write_record(record)
    runs.collect(store)
    own = runs.Results("pocket", "this machine", store.folder)
    runs.write_reference(own, tmp_path / "packed")
    for results in (own, runs.Results("pocket", "reference", tmp_path / "packed")):
        assert results.groups(record["run_id"]).tolist() == [1, 0] * (len(labels) // 2) + [1] * (
            len(labels) % 2
        )


def test_a_reference_of_several_datasets_has_a_file_for_each_setting_and_returns_the_same(tmp_path):
    own = several_sets.write(tmp_path / "own", sets=("breastmnist", "retinamnist"), seeds=(0,))
    folder = tmp_path / "medical"
    runs.write_reference(runs.Results("medical", "this machine", own.folder), folder, own.records()[:3])
    assert {path.name for path in folder.iterdir()} == SMALL | {"checksums.json"}
    runs.write_reference(own, folder)
    names = {path.name for path in folder.iterdir()}
    for setting in own.table["setting"].unique():
        assert {f"records-{setting}.jsonl", f"predictions-{setting}.npz"} <= names
    assert "records.jsonl" not in names, "what an earlier reference had is gone"
    assert names == set(runs.checksums(folder)) | {"checksums.json"}
    packed = runs.Results("medical", "reference", folder)
    assert packed.records() == own.records()
    for run_id in own.table["run_id"]:
        for mine, theirs in zip(own.predictions(run_id), packed.predictions(run_id), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(KeyError, match="no predictions of elsewhere"):
        packed.predictions("elsewhere")


def test_a_setting_whose_files_would_be_large_has_one_for_each_seed(tmp_path, monkeypatch):
    own = several_sets.write(tmp_path / "own", sets=("breastmnist",), starts=(False,), fractions=(1.0,))
    monkeypatch.setattr(run_results, "LARGEST_FILE_BYTES", 30_000)
    folder = tmp_path / "medical"
    runs.write_reference(own, folder)
    assert {path.name for path in folder.glob("records*")} == {
        f"records-breast_scratch-s{seed}.jsonl" for seed in (0, 1, 2)
    }
    assert max(path.stat().st_size for path in folder.glob("[rp]*-*")) <= 30_000
    assert runs.Results("medical", "reference", folder).records() == own.records()


def test_a_record_has_the_same_keys_whether_the_run_ended_well_or_not():
    machine = {"software": "s", "hardware": "h", "environment": {}}
    well = runs.run_record(SPEC, machine, test_auroc=0.9)
    failed = runs.run_record(SPEC, machine, failure="diverged", traceback="loss nan")
    assert list(well) == list(failed)
    assert (well["status"], well["failure"], well["test_auroc"]) == ("ok", None, 0.9)
    assert (failed["status"], failed["failure"], failed["test_auroc"]) == ("failed", "diverged", None)


def test_what_decides_a_result_beyond_model_data_and_setting_is_given_by_name():
    with pytest.raises(TypeError):
        runs.RunSpec("dla46_c", "elpv", "elpv", "study")
