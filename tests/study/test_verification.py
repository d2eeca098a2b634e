"""No number can be altered unseen: in a record, a table, the predictions, or what is made from them."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import several_sets
from conftest import simulated_run
from test_cli import call

from pepr import files, runs
from pepr.analysis import pipeline
from pepr.errors import InputError
from pepr.runs import timing
from pepr.runs.results import reference_files
from pepr.study import submission, verification

REFERENCE = runs.Results("pocket", "reference", runs.reference_folder("pocket"))
RECORDS = REFERENCE.records()
PREDICTIONS = [REFERENCE.predictions(record["run_id"]) for record in RECORDS]
RUN = RECORDS[0]["run_id"]
PACKED = sorted({path.name for path in reference_files(REFERENCE.folder)} - {timing.FILE})
"""The files of the reference's runs."""
NUMBERS = [c for c in runs.COLUMNS if isinstance(RECORDS[0].get(c), int | float)]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "own"))


def unpack(folder, records=RECORDS, *, digests=True):
    """The real reference as a machine's own results: `folder/pocket`."""
    store = runs.Store(folder, "pocket")
    for record, predictions in zip(records, PREDICTIONS, strict=True):
        if record["status"] == "ok":
            store.write_predictions(record["run_id"], *predictions)
        if digests:
            store.write_record({k: v for k, v in record.items() if not k.endswith("_sha256") or k[0] in "dw"})
        else:
            files.write_atomic(store.record_path(record["run_id"]), json.dumps(record))
    runs.collect(store)
    return store


@pytest.fixture
def store(tmp_path):
    return unpack(tmp_path)


@pytest.fixture
def older(tmp_path):
    """Results whose records carry no digests."""
    bare = [{k: v for k, v in r.items() if k not in ("record_sha256", "predictions_sha256")} for r in RECORDS]
    return unpack(tmp_path, bare, digests=False)


def mismatches(store):
    return verification.verify(str(store.folder)).mismatches


def test_every_shipped_reference_holds():
    for folder in sorted({path.parent for path in runs.reference_folder("").glob("**/records*.jsonl")}):
        done = verification.verify(str(folder))
        assert done.holds, done.report()
        assert done.compared["records"] == done.compared["predictions"] > 0


def test_results_of_this_machine_hold_and_their_records_carry_digests(store):
    done = verification.verify(str(store.folder))
    assert done.holds and done.compared["cells"] == len(RECORDS) * len(runs.COLUMNS), done.report()
    (promise,) = [note for note in done.notes if note.startswith("Made again on one kind of processor")]
    assert promise in done.report().splitlines() and "points of AUROC" in promise
    record = store.read_record(RUN)
    assert record["record_sha256"] == runs.record_digest(record)
    assert record["predictions_sha256"] == runs.predictions_digest(*REFERENCE.predictions(RUN))


def numbers_of(value, place=()):
    """Where every number of a record stands."""
    if isinstance(value, dict):
        return [found for key, part in value.items() for found in numbers_of(part, (*place, key))]
    if isinstance(value, list):
        return [found for key, part in enumerate(value) for found in numbers_of(part, (*place, key))]
    return [place] if isinstance(value, int | float) and not isinstance(value, bool) else []


def altered(record, place):
    record = json.loads(json.dumps(record))
    part = record
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = (
        part[place[-1]] + 1 if isinstance(part[place[-1]], int) else part[place[-1]] * 1.0001 + 1e-12
    )
    return record


@pytest.mark.parametrize("place", numbers_of(RECORDS[0]), ids=lambda place: ".".join(map(str, place)))
def test_any_number_of_a_record_that_is_altered_is_found(place):
    sealed = RECORDS[0] | {"record_sha256": runs.record_digest(RECORDS[0])}
    name = f"runs/{RUN}.json"
    assert list(verification.record_mismatches(name, sealed)) == []
    found = list(verification.record_mismatches(name, altered(sealed, place)))
    assert any(mismatch.column == "record_sha256" for mismatch in found)


def test_a_record_whose_energy_was_not_metered_holds_and_one_that_claims_some_does_not():
    """On an Apple GPU nothing is metered."""
    derived = ("co2", "carbon", "water")
    none = dict.fromkeys(name for name in RECORDS[0] if "energy" in name or name.startswith(derived))
    record = json.loads(json.dumps(RECORDS[0])) | none
    for part in (*record["history"], *record["meter"].values()):
        part |= dict.fromkeys(name for name in part if "energy" in name)
    record.pop("record_sha256", None)
    name = f"runs/{RUN}.json"
    assert list(verification.record_mismatches(name, record)) == []
    (found,) = verification.record_mismatches(name, record | {"energy_kwh": 0.002})
    assert (found.column, found.found, found.expected) == ("energy_kwh", 0.002, None)


def test_an_altered_record_is_named_with_its_column(store):
    path = store.record_path(RUN)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"energy_kwh": record["energy_kwh"] * 0.9}))
    told = {(m.file, m.row, m.column) for m in mismatches(store)}
    assert (f"runs/{RUN}.json", RUN, "energy_kwh") in told and ("results.csv", RUN, "energy_kwh") in told


@pytest.mark.parametrize(
    "column",
    [
        "test_accuracy",
        "test_auroc",
        "test_specificity",
        "n_test",
        "energy_kwh",
        "energy_cpu_kwh",
        "co2eq_g",
        "train_time_s",
        "epoch_time_s_median",
        "val_accuracy",
        "inference_time_s",
        "seed",
        "learning_rate",
    ],
)
def test_without_digests_the_sums_of_a_record_still_tell(older, column):
    path = older.record_path(RUN)
    path.write_text(json.dumps(altered(json.loads(path.read_text()), (column,))))
    runs.collect(older)
    assert column in {m.column for m in mismatches(older)} or column in ("seed", "learning_rate")
    assert mismatches(older)


@pytest.mark.parametrize("column", NUMBERS)
def test_any_number_of_the_table_that_is_altered_is_found(tmp_path, column):
    table = runs.as_table(RECORDS).astype(object)
    row = table.index[table["run_id"] == RUN][0]
    value = table.loc[row, column]
    if isinstance(value, bool):
        table.loc[row, column] = not value
    else:
        table.loc[row, column] = value + 1 if isinstance(value, int) else np.nextafter(value, 1e9)
    table.to_csv(tmp_path / "results.csv", index=False)
    done = verification.Verification(runs.Results("pocket", "this machine", tmp_path))
    verification.compare_table(done, RECORDS)
    assert [(m.file, m.row, m.column) for m in done.mismatches] == [("results.csv", RUN, column)]


def rewrite_predictions(store, change):
    probabilities, labels = (array.copy() for array in REFERENCE.predictions(RUN))
    change(probabilities, labels)
    store.write_predictions(RUN, probabilities, labels)


def nudge(probabilities, labels):
    probabilities[17] = np.nextafter(probabilities[17], np.float32(1))


def flip_label(probabilities, labels):
    labels[17] = 1 - labels[17]


@pytest.mark.parametrize("change", [nudge, flip_label])
def test_any_prediction_that_is_altered_is_found(store, change):
    rewrite_predictions(store, change)
    assert f"predictions/{RUN}.npz" in {m.file for m in mismatches(store)}


def exceed(probabilities, labels):
    probabilities[17] *= 1.01


@pytest.mark.parametrize(("change", "column"), [(exceed, "probabilities"), (flip_label, "labels")])
def test_without_digests_impossible_predictions_are_still_found(older, change, column):
    rewrite_predictions(older, change)
    assert column in {m.column for m in mismatches(older)}


@pytest.mark.parametrize("harm", ["cut", "remove", "garbage"])
def test_unreadable_files_are_findings_and_not_crashes(store, harm):
    for path in (store.record_path(RUN), store.predictions_path(RECORDS[1]["run_id"])):
        content = path.read_bytes()
        path.unlink()
        if harm != "remove":
            path.write_bytes(content[: len(content) // 2] if harm == "cut" else b"\x00garbage")
    found = mismatches(store)
    assert f"predictions/{RECORDS[1]['run_id']}.npz" in {m.file for m in found}
    assert ("results.csv", RUN) in {(m.file, m.row) for m in found}
    assert harm == "remove" or f"runs/{RUN}.json" in {m.file for m in found}


def test_a_reference_in_several_files_holds_and_a_change_in_any_of_them_is_found(tmp_path):
    own = several_sets.write(tmp_path / "own", sets=("breastmnist", "retinamnist"), seeds=(0,))
    folder = tmp_path / "medical"
    runs.write_reference(own, folder)
    done = verification.verify(str(folder))
    assert done.holds and done.compared["records"] == len(own.table), done.report()
    for name in ("records-retina.jsonl", "predictions-breast_small.npz"):
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: len(raw) // 2])
        found = verification.verify(str(folder))
        assert name in {mismatch.file for mismatch in found.mismatches}
        (folder / name).unlink()
        assert not verification.verify(str(folder)).holds
        (folder / name).write_bytes(raw)
    assert verification.verify(str(folder)).holds


@pytest.mark.parametrize("name", PACKED)
def test_a_flipped_bit_in_a_reference_is_found(tmp_path, name):
    for path in REFERENCE.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    raw = bytearray((tmp_path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / name).write_bytes(raw)
    assert any(
        m.file == name and m.why == "SHA-256 of the file"
        for m in verification.verify(str(tmp_path)).mismatches
    )


def test_what_macos_puts_beside_a_record_is_none(store):
    store.record_path(RUN).with_name(f"._{RUN}.json").write_bytes(b"\0\5\x16\7\xff")
    assert mismatches(store) == []


def chained(tmp_path, **source):
    """A run and the one that it starts from, which `source` alters; the store, and what is found of them."""
    store = runs.Store(tmp_path, "pocket")
    first, second = (simulated_run(model, "elpv", 0) for model in ("dla46_c", "mobilenetv2_050"))
    spec = runs.RunSpec(**{**runs.RunSpec.from_dict(second[0]).as_dict(), "init_from": first[0]["run_id"]})
    start = {"init_energy_kwh": first[0]["energy_kwh"], "weights_sha256": hashlib.sha256(b"kept").hexdigest()}
    second = ({**second[0], **spec.as_dict(), "run_id": spec.run_id, **start}, *second[1:])
    for record, *predictions in ((first[0] | source, *first[1:]), second):
        store.write_predictions(record["run_id"], *predictions)
        store.write_record(record)
    runs.collect(store)
    return store, first[0]["run_id"], spec.run_id


def of_starts(store):
    columns = ("init_from", "init_energy_kwh", "weights_sha256")
    return [(m.row, m.column, m.found, m.expected) for m in mismatches(store) if m.column in columns]


def test_a_run_is_compared_with_the_one_that_it_starts_from(tmp_path):
    store, first, second = chained(tmp_path / "sound")
    network = store.weights_path(first)
    network.parent.mkdir()
    network.write_bytes(b"kept")
    assert of_starts(store) == []
    network.write_bytes(b"another")
    ((row, column, _, expected),) = of_starts(store)
    assert (row, column, expected) == (second, "weights_sha256", files.checksum(network))
    energy = store.read_record(first)["energy_kwh"]
    network.unlink()
    store.record_path(first).unlink()
    assert of_starts(store) == []
    notes = verification.verify(str(store.folder)).notes
    assert f"Runs that others start from are not here: {first}." in notes

    store, _, second = chained(tmp_path / "again", energy_kwh=2 * energy)
    assert of_starts(store) == [(second, "init_energy_kwh", energy, 2 * energy)]
    store, _, second = chained(tmp_path / "failed", status="failed", failure="error")
    assert of_starts(store) == [(second, "init_from", "failed", "ok")]


def test_a_record_in_another_runs_place_is_found(store):
    store.record_path(RUN).rename(store.record_path("elpv-elpv-elsewhere-s0-00000000"))
    assert ("run_id", "name of the file") in {(m.column, m.why) for m in mismatches(store)}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """Results with the analysis that the notebooks write."""
    store = unpack(tmp_path_factory.mktemp("analysed"))
    made = pipeline.Analysis(verification.locate(str(store.folder)), "KEN")
    for stage in pipeline.STAGES:
        made.write(stage, store.folder)
    return store, made


@pytest.mark.slow
def test_the_analysis_is_made_again_and_holds(analysed):
    store, _ = analysed
    done = verification.verify(str(store.folder))
    assert done.holds, done.report()
    assert {"claims", "cells of peaks.csv", "numbers of 03_energy", "numbers of 04_pepr"} <= set(
        done.compared
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numbers.json", "claims.json", "peaks.csv"])
def test_any_number_of_the_analysis_that_is_altered_is_found(analysed, monkeypatch, name):
    store, made = analysed
    monkeypatch.setattr(pipeline, "Analysis", lambda results, country, authors: made)
    path = store.folder / name
    sound = path.read_text()
    if name == "peaks.csv":
        table = pd.read_csv(path, engine="python")
        table.loc[3, "score"] *= 1.001
        table.to_csv(path, index=False)
        place = "4"
    else:
        content = json.loads(sound)
        key = "bill_total" if name == "numbers.json" else 0
        part = "value" if name == "numbers.json" else "effect"
        content[key][part] *= 1.001
        path.write_text(json.dumps(content))
        place = f"{key}.{part}"
    try:
        assert [(m.file, m.row) for m in mismatches(store)] == [(name, place)]
        reasons = submission.flaws(str(store.folder))
        assert [flaw.check for flaw in reasons] == ["verify", "verify"]
        assert "`make book`" in reasons[-1].explanation and "repeat no run" in reasons[-1].explanation
    finally:
        path.write_text(sound)


def with_another_accuracy(path):
    """Change the accuracy of the first run in a table, and nothing else."""
    accuracy = RECORDS[0]["test_accuracy"]
    text = path.read_text()
    assert text.index(f",{accuracy!r},") > text.index(RUN)
    path.write_text(text.replace(f",{accuracy!r},", f",{accuracy / 2!r},", 1))


def test_the_command_has_the_designs_exit_statuses(store):
    status, out, _ = call("verify", str(store.folder))
    assert status == 0 and "Every number holds" in out
    path = store.folder / "results.csv"
    with_another_accuracy(path)
    status, out, _ = call("verify", str(store.folder), "--json")
    (found,) = json.loads(out)["mismatches"]
    assert status == 1 and (found["file"], found["row"], found["column"]) == (
        "results.csv",
        RUN,
        "test_accuracy",
    )
    status, _, err = call("verify", "no-such-folder")
    assert status == 2 and err.startswith("pepr: no-such-folder: no results")


def test_sound_results_are_packed_by_hardware_and_hold_again(store, tmp_path):
    (folder,) = submission.submit(str(store.folder), tmp_path / "out")
    assert folder.name == f"pocket-{files.slug(RECORDS[0]['hardware'])}"
    assert verification.verify(str(folder)).holds
    assert sorted(path.name for path in folder.iterdir()) == sorted([*PACKED, "checksums.json"])


def test_the_committed_references_are_accepted(tmp_path):
    for name in sorted({path.parent.name for path in runs.reference_folder("").glob("*/records*.jsonl")}):
        assert submission.flaws(name) == []


def dishonest(tmp_path, change):
    """Results in which a change was made everywhere, digests included: only its sense can tell."""
    records = [json.loads(json.dumps(record)) for record in RECORDS]
    change(records)
    return unpack(tmp_path, records)


def other_energy(record, energy):
    record["meter"]["train"]["energy_kwh"] = record["energy_kwh"] = energy
    for epoch in record["history"]:
        epoch["energy_kwh"] = energy / len(record["history"])
    record["co2eq_g"] = energy * record["carbon_intensity_g_per_kwh"]


def plant_copied_energy(records):
    other_energy(records[0], records[1]["energy_kwh"])


def plant_missing_energy(records):
    other_energy(records[0], 0.0)


def plant_impossible_power(records):
    other_energy(records[0], records[0]["energy_kwh"] * 40)


def plant_power_below_idle(records):
    records[0]["idle_power_w"] = 500.0


def plant_zero_for_missing(records):
    records[0]["energy_gpu_kwh"] = records[0]["meter"]["train"]["energy_gpu_kwh"] = 0.0


def plant_no_count(records):
    records[0]["test_accuracy"] = records[0]["test_accuracy"] + 0.0003


def plant_failed_but_scored(records):
    records[0] |= {"status": "failed", "failure": "diverged"}


def plant_unnamed_failure(records):
    records[0] |= {"status": "failed", "failure": None}


def plant_copied_row(records):
    for name in runs.COLUMNS:
        if name.startswith(("test_", "energy", "train_time", "co2")):
            records[1][name] = records[0].get(name)
    records[1] |= {"meter": records[0]["meter"], "history": records[0]["history"]}


def plant_another_intensity(records):
    records[0]["carbon_intensity_g_per_kwh"] = 0.475
    records[0]["co2eq_g"] = records[0]["energy_kwh"] * 0.475


def plant_foreign_run(records):
    spec = runs.RunSpec.from_dict(records[0] | {"epochs": 30})
    records[0] |= {"epochs": 30, "run_id": spec.run_id}


def plant_unknown_software(records):
    records[0]["software"] = None


def plant_unknown_data(records):
    records[0]["data_sha256"] = None


@pytest.mark.parametrize(
    ("plant", "checks"),
    [
        (plant_copied_energy, {"energy_unique"}),
        (plant_missing_energy, {"energy_positive", "missing_energy"}),
        (plant_impossible_power, {"power_below_limit", "implied_power"}),
        (plant_power_below_idle, {"power_above_idle"}),
        (plant_zero_for_missing, {"zero_is_missing"}),
        (plant_no_count, {"verify", "accuracy_lattice", "accuracy_not_k_of_n"}),
        (plant_failed_but_scored, {"failed_but_scored", "failed_is_not_scored"}),
        (plant_unnamed_failure, {"failure_is_named"}),
        (plant_copied_row, {"verify", "copied_time"}),
        (plant_another_intensity, {"carbon_fallback"}),
        (plant_foreign_run, {"verify", "not_in_profile"}),
        (plant_unknown_software, {"provenance"}),
        (plant_unknown_data, {"provenance"}),
    ],
)
def test_each_kind_of_flaw_is_refused(tmp_path, monkeypatch, plant, checks):
    store = dishonest(tmp_path, plant)
    found = submission.flaws(str(store.folder))
    assert checks <= {flaw.check for flaw in found}, [str(flaw) for flaw in found]
    monkeypatch.setattr(submission, "flaws", lambda target: found)
    with pytest.raises(InputError, match=f"not accepted, for {len(found)} reasons?:"):
        submission.submit(str(store.folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_altered_number_and_a_foreign_profile_are_refused(store, tmp_path):
    store.folder.rename(tmp_path / "mine")
    assert [flaw.check for flaw in submission.flaws(str(tmp_path / "mine"))] == ["profile"]
    path = tmp_path / "mine" / "results.csv"
    with_another_accuracy(path)
    assert "verify" in {flaw.check for flaw in submission.flaws(str(tmp_path / "mine"))}


def test_the_command_refuses_with_every_reason(store, tmp_path):
    status, out, _ = call("submit", str(store.folder), "--out", str(tmp_path / "out"))
    assert status == 0 and "Add it as pepr/reference/contributed/pocket-" in out
    store.record_path(RUN).unlink()
    status, _, err = call("submit", str(store.folder), "--out", str(tmp_path / "more"))
    assert status == 2 and "not accepted" in err and RUN in err
